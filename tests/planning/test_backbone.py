"""Backbones: the maps a plan promises are the maps that come, from the whole network's weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from references import randomise
from timm.models import FeatureListNet
from torch import Tensor, nn

import resnet_factory as rf

FAMILIES = [
    "resnet18", "resnet50d", "resnet20", "plain18", "preact_resnet50", "resnetaa50", "seresnet18",
    "resnest14d", "skresnet18", "res2net50_26w_4s", "regnetx_002", "regnetv_040", "regnetz_005",
    "resnetv2_50d_gn", "nf_resnet26",
]  # fmt: skip


def names(network: rf.Network) -> list[str]:
    return [feature.name for feature in network.plan.features]


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_are_what_the_plan_says(name: str) -> None:
    whole = rf.create_model(name).eval()
    randomise(whole)
    backbone = rf.create_model(name, features=[stage.name for stage in whole.plan.stages]).eval()
    state = whole.state_dict()
    kept = [key for key in state if key in backbone.state_dict()]
    assert list(backbone.state_dict()) == kept, "the same keys in the same order"
    assert not {key.split(".")[0] for key in state.keys() - set(kept)} - {"fc", "conv_last", "bn_last"}
    backbone.load_state_dict({key: state[key] for key in kept}, strict=True)

    seen: dict[str, Tensor] = {}

    def note(key: str, _module: nn.Module, _given: object, output: Tensor) -> None:
        seen[key] = output

    for stage in whole.plan.stages:
        whole.get_submodule(stage.name).register_forward_hook(partial(note, stage.name))
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        whole(x)
        maps = backbone(x)
    assert list(maps) == names(backbone) == list(seen)
    for feature in backbone.plan.features:
        found = maps[feature.name]
        assert torch.equal(found, seen[feature.name]), feature.name
        assert found.shape == (1, feature.channels, 64 // feature.stride, 96 // feature.stride)


@pytest.mark.parametrize("name", ["resnet34", "regnety_002", "resnetv2_50", "res2net50_26w_4s", "skresnet18"])
def test_timms_features_are_the_same(name: str, tmp_path: Path) -> None:
    """Channels, strides and maps of timm's features_only, from one file of the whole network's weights."""
    theirs = timm.create_model(name).eval()
    randomise(theirs)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    feature_net: Any = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4)).eval()
    copy_into(feature_net, theirs)
    ours = rf.create_model(name, features="stages").eval()
    report = rf.load_weights(ours, tmp_path / "w.pth")
    assert any("ignored, which the network does not use" in line and "fc" in line for line in report.done)
    assert [f.channels for f in ours.plan.features] == feature_net.feature_info.channels()
    assert [f.stride for f in ours.plan.features] == feature_net.feature_info.reduction()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for mine, map in zip(ours(x).values(), feature_net(x), strict=True):
            assert torch.equal(mine, map)


def copy_into(feature_net: FeatureListNet, whole: nn.Module) -> None:
    """timm joins what it flattens with underscores: layer1.0 there is layer1.0 here, stages.0 is stages_0."""
    state = {key.replace(".", "_"): value for key, value in whole.state_dict().items()}
    feature_net.load_state_dict({key: state[key.replace(".", "_")] for key in feature_net.state_dict()})


@pytest.mark.parametrize("stages", [1, 2, 3, 5, 6])
def test_any_number_of_stages(stages: int) -> None:
    overrides = [
        f"model.depths={[1] * stages}", f"model.widths={[8 * 2**i for i in range(stages)]}",
        f"model.strides={[1] + [2] * (stages - 1)}",
    ]  # fmt: skip
    backbone = rf.create_model("resnet18", *(text.replace(" ", "") for text in overrides), features="stages")
    assert [(f.name, f.channels, f.stride) for f in backbone.plan.features] == [
        (f"layer{i + 1}", 8 * 2**i, 4 * 2**i) for i in range(stages)
    ]
    maps = backbone.eval()(torch.randn(1, 3, 256, 256))
    assert [map.shape[1] for map in maps.values()] == [8 * 2**i for i in range(stages)]


def test_maps_of_stem_and_head() -> None:
    backbone = rf.create_model("preact_resnet50", features=["act_last", "conv1", "layer2"])
    assert [tuple(feature) for feature in backbone.plan.features] == [
        ("conv1", 64, 2), ("layer2", 512, 8), ("act_last", 2048, 32),
    ]  # fmt: skip
    assert "bn_last.weight" in backbone.state_dict()
    assert "fc.weight" not in backbone.state_dict()


def test_nothing_is_built_behind_the_last_map() -> None:
    backbone = rf.create_model("resnet50", features=["layer2"])
    assert [name for name, _ in backbone.named_children()] == [
        "conv1",
        "bn1",
        "act1",
        "maxpool",
        "layer1",
        "layer2",
    ]
    cost, whole = rf.cost(backbone.plan), rf.cost(rf.plan(rf.compose("resnet50")))
    assert cost.params == sum(row.tally.params for row in whole.sections[:3])
    assert cost.macs == sum(row.tally.macs for row in whole.sections[:3])
    assert sum(parameter.numel() for parameter in backbone.parameters()) == cost.params
    assert cost.shape == (512, 28, 28)


def test_the_config_says_it_too() -> None:
    """Override, argument and saved config give one plan; a backbone is another plan than the whole."""
    config = rf.compose("resnet18", "model.features=[layer3,layer4]")
    plan = rf.plan(config)
    assert plan == rf.create_model("resnet18", features=["layer3", "layer4"]).plan
    assert plan == rf.create_model("resnet18", features=["layer4", "layer3"]).plan
    assert (
        len({plan, rf.plan(rf.compose("resnet18")), rf.plan(rf.compose("resnet18", "model.features=layer4"))})
        == 3
    )
    assert len({plan.id, rf.plan(rf.compose("resnet18")).id}) == 2
    assert rf.plan(rf.read(config.to_dict())) == plan


def test_a_backbone_is_saved_and_rebuilt(tmp_path: Path) -> None:
    config = rf.compose("resnet18", "model.features=[layer1,layer3]")
    backbone = rf.build(rf.plan(config)).eval()
    again = rf.load(rf.save(backbone, config, tmp_path / "b.safetensors")).eval()
    assert isinstance(again, rf.Backbone)
    assert again.plan.features == backbone.plan.features
    x = torch.randn(1, 3, 64, 64)
    for mine, map in zip(again(x).values(), backbone(x).values(), strict=True):
        assert torch.equal(mine, map)


def test_only_the_rest_of_the_network_may_be_left_out(tmp_path: Path) -> None:
    state = rf.create_model("resnet18").state_dict()
    torch.save({**state, "projector.weight": torch.ones(1)}, tmp_path / "odd.pth")
    backbone = rf.create_model("resnet18", features=["layer2"])
    with pytest.raises(rf.ConfigError, match=r"unexpected 'projector\.weight'"):
        rf.load_weights(backbone, tmp_path / "odd.pth")
    torch.save({**state, "layer2.5.conv1.weight": torch.ones(1)}, tmp_path / "odd.pth")
    with pytest.raises(rf.ConfigError, match=r"unexpected 'layer2\.5\.conv1\.weight'"):
        rf.load_weights(backbone, tmp_path / "odd.pth")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            ["layer5"],
            r"model\.features\.0: unknown feature 'layer5'; known are conv1, .*; did you mean 'layer",
        ),
        (["layer1", "avgpool"], r"model\.features\.1: unknown feature 'avgpool'"),
        (["layer1", "layer1"], r"model\.features\.1: 'layer1' is named twice"),
        (
            [],
            r"model\.features: expected names of maps, as \[layer3, layer4\], stages or strides, found \[\]",
        ),
        ("stage", r"unknown feature 'stage'; .*did you mean 'stages'"),
    ],
)
def test_mistakes_are_located(features: list[str] | str, message: str) -> None:
    with pytest.raises(rf.ConfigError, match=message):
        rf.create_model("resnet18", features=features)


def test_numbers_are_no_names() -> None:
    with pytest.raises(
        rf.ConfigError, match=r"command line 'model\.features=\[1,2\]': model\.features: expected names"
    ):
        rf.compose("resnet18", "model.features=[1,2]")


def tiny() -> rf.Network:
    return rf.create_model(
        "resnet18", "model.depths=[1,1]", "model.widths=[8,16]", "model.strides=[1,2]", features="stages"
    ).eval()


def test_torch_compile_has_no_breaks() -> None:
    backbone, x = tiny(), torch.randn(1, 3, 32, 32)
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    with torch.no_grad():
        for name, map in compiled(x).items():
            assert torch.equal(map, backbone(x)[name])


def test_torch_export_keeps_the_names() -> None:
    backbone, x = tiny(), torch.randn(2, 3, 32, 32)
    exported = torch.export.export(
        backbone, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=8)},)
    )
    with torch.no_grad():
        maps = exported.module()(torch.cat([x, x]))
    assert list(maps) == ["layer1", "layer2"]
    assert maps["layer2"].shape == (4, 16, 4, 4)


def test_half_of_a_stem() -> None:
    backbone = rf.create_model("resnet50", features=["bn1"])
    assert (
        list(backbone.state_dict())
        == [key for key in rf.create_model("resnet50").state_dict() if "layer" not in key][:6]
    )
    assert backbone.plan.stages == ()
    assert rf.cost(backbone.plan).shape == (64, 112, 112)


TAPPED = """# taps in stem and head, one name twice
defaults: [resnet18, _self_]
stem:
  width: 16
  layers:
    - conv: {kernel: 3, to: width, stride: 2}
    - tap: early
    - norm
    - act
    - tap: late
    - conv: {kernel: 3, to: 24}
    - tap: early
head:
  layers:
    - conv: {kernel: 1, to: 40}
    - act
    - tap: neck
    - global_pool
    - flatten
    - linear: {to: num_classes}
features: [neck, early, layer2, late]
"""


def test_maps_that_a_recipe_taps(tmp_path: Path) -> None:
    """By their names, in the network's order; a later tap of a name takes it over."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tapped.yaml").write_text(TAPPED, encoding="utf-8")
    backbone: Any = rf.create_model("tapped", config_dir=tmp_path).eval()
    assert [tuple(feature) for feature in backbone.plan.features] == [
        ("late", 16, 2), ("early", 24, 2), ("layer2", 128, 4), ("neck", 40, 16)
    ]  # fmt: skip
    randomise(backbone)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = backbone(x)
        late = backbone.act1(backbone.bn1(backbone.conv1(x)))
        early = backbone.conv2(late)
        layer2 = backbone.layer2(backbone.layer1(early))
        neck = backbone.layer4(backbone.layer3(layer2))
        for name in ("conv3", "act2"):
            neck = getattr(backbone, name)(neck)
        folded = rf.fold(backbone)(x)
    wanted = {"late": late, "early": early, "layer2": layer2, "neck": neck}
    assert list(maps) == list(wanted)
    for name, map in maps.items():
        assert torch.equal(map, wanted[name]), name
        torch.testing.assert_close(folded[name], map, rtol=1e-4, atol=1e-4)
    assert [name for name, _ in backbone.named_children()][-1] == "act2", (
        "what follows the last map is left out"
    )
    with pytest.raises(rf.ConfigError, match=r"unknown feature 'nek'.*did you mean 'neck'"):
        rf.create_model("tapped", config_dir=tmp_path, features=["nek"])
