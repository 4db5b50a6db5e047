"""New networks by YAML alone: what a person writes in a folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import resnet_factory as rf
from resnet_factory.config.recipe import RESERVED


def write(folder: Path, name: str, text: str) -> None:
    """One YAML file of a user's folder."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def test_five_lines_make_a_new_depth_variant(tmp_path: Path) -> None:
    write(tmp_path, "model/mine.yaml", "# mine\ndefaults:\n  - resnet50\n  - _self_\ndepths: [2, 3, 5, 2]\n")
    plan = rf.plan(rf.compose("mine", config_dir=tmp_path))
    assert [len(stage.blocks) for stage in plan.stages] == [2, 3, 5, 2]
    assert plan == rf.plan(rf.compose("resnet50", "model.depths=[2,3,5,2]"))


def test_names_of_torch_modules_are_reserved() -> None:
    """What a module of torch, or a network of ours, has itself can be no child's name."""
    own = {name for name in dir(nn.Sequential()) if not name.startswith("_")}
    assert own <= RESERVED
    assert {
        name for name in vars(rf.create_model("resnet18", "model.depths=1")) if name[0] != "_"
    } <= RESERVED


def test_a_new_block_and_five_stages(tmp_path: Path) -> None:
    """Pre-activation around a depthwise 5x5, in a network of five stages."""
    write(
        tmp_path,
        "model/block/preact_depthwise.yaml",
        """\
# pre-activation, 1x1 expand, depthwise 5x5, 1x1 reduce
ratio: 3
out: width
mid: ratio * in
pre: [norm, act]
body:
  - conv: {to: mid}
  - norm
  - act
  - conv: {kernel: 5, to: mid, stride: stride, groups: mid}
  - norm
  - act
  - conv: {to: out}
""",
    )
    write(
        tmp_path,
        "model/five.yaml",
        """\
# five stages of it
defaults:
  - resnet18
  - override stem: cifar
  - override block: preact_depthwise
  - override shortcut: projection_preact
  - override head: norm_act_linear
  - _self_
depths: [1, 2, 1, 2, 1]
widths: [16, 24, 32, 48, 64]
strides: [1, 2, 2, 2, 2]
num_classes: 7
""",
    )
    plan = rf.plan(rf.compose("five", config_dir=tmp_path))
    assert [stage.name for stage in plan.stages] == ["layer1", "layer2", "layer3", "layer4", "layer5"]
    network = rf.build(plan).eval()
    cost = rf.cost(plan, image=(3, 64, 64))
    assert sum(p.numel() for p in network.parameters()) == cost.params
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 7)
    depthwise = dict(plan.leaves)["layer2.0.conv2"]
    assert (depthwise.channels, depthwise.params()) == (48, 48 * 25)
    # A first block of a stage whose shape stays the same keeps its identity; the others project.
    assert [stage.blocks[0].projects for stage in plan.stages] == [False, True, True, True, True]


def test_a_block_for_each_stage(tmp_path: Path) -> None:
    """As a list of names, on the command line and in a file alike."""
    config = rf.compose("resnet18", "model.block=[basic,basic,bottleneck,basic]")
    assert [stage.blocks[0].kind for stage in rf.plan(config).stages] == [
        "basic",
        "basic",
        "bottleneck",
        "basic",
    ]
    write(
        tmp_path,
        "model/mixed.yaml",
        "# mixed\ndefaults:\n  - resnet18\n  - override block: null\n  - _self_\n"
        "block: [basic, basic, bottleneck, basic]\n",
    )
    assert rf.compose("mixed", config_dir=tmp_path) == config


def test_values_per_stage_and_per_block(tmp_path: Path) -> None:
    """A number in a recipe may be a list: one entry per stage, or one list per stage with one per block."""
    write(
        tmp_path,
        "model/block/listed.yaml",
        """\
# widths by hand
out: width
inner: [8, [8, 16], 24]
body:
  - conv: {kernel: 3, to: inner, stride: stride}
  - norm
  - act
  - conv: {kernel: 3, to: out}
  - norm
post: [act]
""",
    )
    plan = rf.plan(rf.compose("resnet20", "model/block=listed", "model.depths=2", config_dir=tmp_path))
    inner = [dict(plan.leaves)[f"layer{s}.{b}.conv1"].out_channels for s in (1, 2, 3) for b in (0, 1)]
    assert inner == [8, 8, 8, 16, 24, 24]


def test_a_transition_has_numbers_of_its_own(tmp_path: Path) -> None:
    """One per stage, or arithmetic over what arrives; the block after it does not see them."""
    write(
        tmp_path,
        "model/transition/own.yaml",
        """\
# a 1x1 convolution before each stage
extra: [0, 2, 4]
wide: in + extra
layers:
  - conv: {to: wide, when: stage > 1}
""",
    )
    plan = rf.plan(rf.compose("resnet20", "model/transition=own", config_dir=tmp_path))
    arrive = [stage.blocks[0].in_channels for stage in plan.stages]
    assert arrive == [16, 18, 36]


def test_change_is_not_known_before_out(tmp_path: Path) -> None:
    """The message says what to write instead; lists and slots may read it."""
    numbers = "# kernel by change\nout: width\nsize: 3 if {}\n"
    recipe = numbers + "body:\n  - conv: {{kernel: size, to: out, stride: stride}}\n"
    write(tmp_path, "model/block/early.yaml", recipe.format("change else 1"))
    with pytest.raises(rf.ConfigError, match=r"depends on 'out'.*'stride > 1 or in != out'"):
        rf.plan(rf.compose("resnet20", "model/block=early", config_dir=tmp_path))
    write(tmp_path, "model/block/late.yaml", recipe.format("stride > 1 or in != out else 1"))
    plan = rf.plan(rf.compose("resnet20", "model/block=late", config_dir=tmp_path))
    weights = [rf.build(plan).state_dict()[f"layer2.{block}.conv1.weight"] for block in range(3)]
    assert [weight.shape[2] for weight in weights] == [3, 1, 1]


def test_nested_structures(tmp_path: Path) -> None:
    """Residuals, gates and chains may stand inside one another."""
    write(
        tmp_path,
        "model/block/two_sums.yaml",
        """\
# two residual sums and a gate in one block
out: width
body:
  - conv: {kernel: 3, to: out, stride: stride}
  - residual:
      body:
        - conv: {kernel: 3, to: out}
        - norm
        - gate:
            name: squeeze
            layers:
              - global_pool
              - conv2d: {to: channels // 4, bias: true}
              - relu
              - conv2d: {to: out, bias: true}
              - sigmoid
  - norm
  - act
""",
    )
    plan = rf.plan(rf.compose("resnet20", "model/block=two_sums", "model.depths=1", config_dir=tmp_path))
    network = rf.build(plan).eval()
    assert "layer1.0.squeeze.1.weight" in network.state_dict()
    part = network.get_submodule
    x = torch.randn(2, 16, 8, 8)
    with torch.no_grad():
        y = part("layer1.0.conv1")(x)
        inner = part("layer1.0.bn1")(part("layer1.0.conv2")(y))
        squeezed = torch.relu(part("layer1.0.squeeze.1")(inner.mean((2, 3), keepdim=True)))
        y = y + inner * torch.sigmoid(part("layer1.0.squeeze.3")(squeezed))
        assert torch.equal(part("layer1.0")(x), torch.relu(part("layer1.0.bn2")(y)) + x)


def test_model_subtree_is_relocatable() -> None:
    """Somebody else's application composes it under another name and reads it from there."""
    config = rf.compose("resnet34", "model.num_classes=5")
    assert rf.read(config.to_dict(), "backbone") == config
    with pytest.raises(rf.ConfigError, match=r"backbone\.dephts"):
        rf.read({**config.to_dict(), "dephts": [1]}, "backbone")


@pytest.mark.parametrize("act", ["silu", "gelu", "leaky_relu"])
def test_activation_by_name(act: str) -> None:
    plan = rf.plan(rf.compose("resnet18", f"model.act={act}"))
    used = {getattr(leaf.layer, "function", act) for leaf in plan.leaves}
    assert used == {act}


def test_empty_slots_vanish() -> None:
    names = [leaf.name for leaf in rf.plan(rf.compose("resnet18")).leaves]
    assert not any(word in name for name in names for word in ("drop", "attention", "antialias"))
    dropped = rf.plan(rf.compose("resnet18", "model/drop_path=linear", "model.drop_path.rate=0.2"))
    rates = [getattr(leaf.layer, "rate", None) for leaf in dropped.leaves if "drop_path" in leaf.name]
    assert rates == [0.2 * i / 7 for i in range(1, 8)]


def test_convolutions_get_a_bias_where_nothing_normalises_them() -> None:
    plan = rf.plan(rf.compose("resnet18", "model/norm=none"))
    assert all(leaf.layer.bias for leaf in plan.leaves if hasattr(leaf.layer, "bias"))
