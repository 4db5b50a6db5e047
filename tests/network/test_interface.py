"""A network reads like one of timm's: timm's own functions do with ours what they do with theirs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import timm.data
import timm.optim
import timm.utils
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointWrapper,
    apply_activation_checkpointing,
)

import resnet_factory as rf
from resnet_factory.network.steps import Block, Gate
from resnet_factory.planning.anatomy import image_normalisation

create_model: Any = rf.create_model
library: Any = timm
"""Untyped: a network's children are its own, and timm states few types."""
data_config = library.data.resolve_model_data_config
SAME_NAMES = [
    "resnet18",
    "resnet50",
    "resnet50d",
    "seresnet50",
    "resnext50_32x4d",
    "resnetblur18",
    "ecaresnet26t",
]
"""Networks whose parameters have timm's names."""
SAMPLE = [
    *SAME_NAMES, "resnetv2_50", "resnetv2_50x1_bit", "regnety_002", "regnetx_002", "res2net50_26w_4s",
    "resnest14d", "skresnet18", "nf_resnet50", "resnet50_clip", "resnet50_clip_gap", "resnet51q",
    "gcresnext26ts", "legacy_seresnet18", "resnet33ts", "test_resnet",
]  # fmt: skip
LAST_IN_HEAD = {"resnet51q", "resnet33ts"}
"""timm takes a convolution of the head for the map of the last stage."""


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    """Few bottlenecks of ours and of timm, with equal weights."""
    ours = create_model("resnet50", "model.depths=[1,2,1,1]")
    theirs = library.models.resnet.ResNet(library.models.resnet.Bottleneck, (1, 2, 1, 1))
    theirs.load_state_dict(ours.state_dict())
    return ours.eval(), theirs.eval()


def test_parts_of_the_forward_pass(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = ours.forward_features(x)
        assert torch.equal(features, theirs.forward_features(x))
        for pre_logits in (False, True):
            found = ours.forward_head(features, pre_logits=pre_logits)
            assert torch.equal(found.flatten(1), theirs.forward_head(features, pre_logits=pre_logits))
        assert torch.equal(ours.forward_head(features), ours(x))


@pytest.mark.parametrize("name", SAMPLE)
def test_numbers_are_timms(name: str) -> None:
    """Classes, channels, maps, size and normalisation of images."""
    with torch.device("meta"):
        ours, theirs = create_model(name), library.create_model(name)
    assert ours.num_classes == theirs.num_classes
    assert ours.num_features == theirs.num_features
    assert ours.head_hidden_size == getattr(theirs, "head_hidden_size", theirs.num_features)
    maps = [(entry["num_chs"], entry["reduction"]) for entry in theirs.feature_info]
    found = list(zip(ours.feature_info.channels(), ours.feature_info.reduction(), strict=True))
    assert found[: -1 if name in LAST_IN_HEAD else None] == maps[: -1 if name in LAST_IN_HEAD else None]
    settings, wanted = ours.pretrained_cfg, theirs.pretrained_cfg
    for key in ("mean", "std"):
        assert settings[key] == tuple(wanted[key])
    if name in SAME_NAMES:
        for key in ("first_conv", "classifier", "num_classes", "crop_mode"):
            assert settings[key] == wanted[key]
        assert ours.get_classifier(name_only=True) == theirs.get_classifier(name_only=True)


def test_normalisation_is_timms() -> None:
    """Of every shipped model that timm has, by its YAML; other channels drop its means."""
    known = [name for name in rf.list_models() if library.is_model(name)]
    assert len(known) > 190
    for name in known:
        wanted = library.models.get_pretrained_cfg(name)
        assert image_normalisation(rf.compose(name)) == (tuple(wanted.mean), tuple(wanted.std)), name
    assert image_normalisation(rf.compose("resnet50_clip", in_channels=1)) == ((0.5,), (0.5,))
    assert rf.compose("resnet50_clip").changed({"in_channels": 2}).image_mean is None


def test_normalisation_is_a_key_of_the_model(tmp_path: Path) -> None:
    """It travels into settings and folders, and back; networks that differ in it are the same network."""
    config = rf.compose("resnet20", "model.image_mean=[0.1,0.2,0.3]", "model.image_std=0.5")
    network = rf.build(config)
    assert network.pretrained_cfg["mean"] == (0.1, 0.2, 0.3)
    assert network.pretrained_cfg["std"] == (0.5, 0.5, 0.5)
    assert rf.plan(config).id == rf.plan("resnet20").id
    assert rf.read(config.to_dict()) == config != rf.compose("resnet20")
    rf.save(network, f"{tmp_path}/folder/")
    assert rf.load(tmp_path / "folder").pretrained_cfg["mean"] == (0.1, 0.2, 0.3)
    assert (
        "mean 0.1, 0.2, 0.3, standard deviation 0.5, 0.5, 0.5" in (tmp_path / "folder/README.md").read_text()
    )
    with pytest.raises(rf.ConfigError, match=r"image_mean: 2 numbers for 3 channels; give one number, or 3"):
        rf.compose("resnet20", "model.image_mean=[1,2]")
    with pytest.raises(rf.ConfigError, match=r"image_std: expected a number above 0, or a list of one"):
        rf.compose("resnet20", "model.image_std=0")


def test_data_settings_are_the_networks() -> None:
    assert data_config(create_model("resnet20"))["input_size"] == (3, 32, 32)
    gray = create_model("resnet18", "model.depths=1", in_channels=1)
    found = data_config(gray)
    assert (found["input_size"], found["mean"]) == ((1, 224, 224), (0.5,))
    gray.pretrained_cfg = {**gray.pretrained_cfg, "mean": (0.1,)}
    assert data_config(gray)["mean"] == (0.1,)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("name", ["resnet50", "seresnet50", "resnet50d"])
def test_layer_groups_are_timms(name: str, coarse: bool) -> None:
    with torch.device("meta"):
        ours, theirs = create_model(name), library.create_model(name)
    found, wanted = (
        library.models.group_parameters(network, network.group_matcher(coarse=coarse), reverse=True)
        for network in (ours, theirs)
    )
    assert found == wanted


@pytest.mark.parametrize("name", ["regnety_002", "resnetv2_50", "nf_resnet50"])
def test_layer_groups_of_other_names_are_timms(name: str) -> None:
    """As many parameters in each group, in order, where the names are others."""
    with torch.device("meta"):
        ours, theirs = create_model(name), library.create_model(name)
    sizes: list[list[int]] = []
    for network in (ours, theirs):
        numbers = dict(network.named_parameters())
        groups = library.models.group_parameters(network, network.group_matcher())
        sizes.append([sum(numbers[name].numel() for name in groups[i]) for i in sorted(groups)])
    assert sizes[0] == sizes[1]


def test_layer_decay_is_timms(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair

    def rates(network: nn.Module) -> dict[str, tuple[float, float]]:
        names = {parameter: name for name, parameter in network.named_parameters()}
        groups = library.optim.param_groups_layer_decay(network, layer_decay=0.5)
        return {
            names[parameter]: (group["lr_scale"], group["weight_decay"])
            for group in groups
            for parameter in group["params"]
        }

    assert rates(ours) == rates(theirs)
    assert len(set(rates(ours).values())) == 2 * 6 + 2  # a stem, five blocks, the classifier
    optimizer = library.optim.create_optimizer_v2(
        ours, opt="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.5
    )
    assert {group["lr_scale"] for group in optimizer.param_groups} == {0.5**i for i in range(7)}


def test_every_parameter_is_in_a_group() -> None:
    """Of networks with other names, transitions and convolutions in the head."""
    for name in ("densenet121", "hgnetv2_b0", "mobilenetv3_small_100", "convnext_atto", "dla34"):
        folder = Path(__file__).parents[2] / "examples" / "families" / name
        with torch.device("meta"):
            network = create_model(name, config_dir=folder)
        groups = library.models.group_parameters(network, network.group_matcher(), reverse=True)
        blocks = sum(len(stage.blocks) for stage in network.plan.stages)
        assert set(groups) == {name for name, _ in network.named_parameters()}
        assert max(groups.values()) == blocks + 1
        assert {number for name, number in groups.items() if number == blocks + 1} == {blocks + 1}
        last = {name.rpartition(".")[0] for name, number in groups.items() if number == blocks + 1}
        assert last == {network.get_classifier(name_only=True)}


def test_ema_and_freezing() -> None:
    network = create_model("resnet18", "model.depths=1")
    ema = library.utils.ModelEmaV3(network, decay=0.5)
    with torch.no_grad():
        network.fc.bias.fill_(1.0)
    before = ema.module.fc.bias.clone()
    ema.update(network)
    assert torch.allclose(ema.module.fc.bias, 0.5 * before + 0.5)
    assert ema.module.plan == network.plan
    library.utils.freeze(network, ["conv1", "bn1", "layer1"])
    assert {name.partition(".")[0] for name, p in network.named_parameters() if not p.requires_grad} == {
        "conv1", "layer1"
    }  # fmt: skip
    network.eval()(torch.zeros(1, 3, 32, 32))
    library.utils.unfreeze(network, ["conv1", "bn1", "layer1"])
    assert isinstance(network.bn1, nn.BatchNorm2d)


def test_another_classifier(tmp_path: Path) -> None:
    """timm's method: the numbers follow, and the file that is saved has them."""
    network = create_model("resnet18", "model.depths=1")
    network.reset_classifier(7)
    assert (network.num_classes, network.config.num_classes) == (7, 7)
    assert network.get_classifier() is network.fc
    x = torch.randn(1, 3, 32, 32)
    rf.save(network, tmp_path / "a.safetensors")
    rf.save(network, rf.compose("resnet18", "model.depths=1", num_classes=7), tmp_path / "b.safetensors")
    for file in ("a", "b"):
        again = rf.load(tmp_path / f"{file}.safetensors")
        assert torch.equal(again.eval()(x), network.eval()(x))
    network.reset_classifier(0)
    assert network.num_classes == 0
    assert network(x).shape == (1, 512)
    assert torch.equal(
        network(x), network.forward_head(network.forward_features(x), pre_logits=True).flatten(1)
    )
    network.reset_classifier(7)
    assert network(x).shape == (1, 7)
    with pytest.raises(ValueError, match="the pool is part of the head's recipe"):
        network.reset_classifier(7, "max")


def test_a_classifier_replaced_by_hand_is_saved_with_its_config(tmp_path: Path) -> None:
    network = create_model("resnet18", "model.depths=1")
    network.fc = nn.Linear(512, 7)
    assert network.num_classes == 7
    rf.save(network, rf.compose("resnet18", "model.depths=1", num_classes=7), tmp_path / "a.safetensors")
    assert torch.equal(rf.load(tmp_path / "a.safetensors").get_parameter("fc.weight"), network.fc.weight)
    with pytest.raises(
        rf.ConfigError, match=r"the network is no longer what 'resnet18' plans: fc.weight \[7, 512\]"
    ):
        rf.save(network, tmp_path / "b.safetensors")
    with pytest.raises(rf.ConfigError, match="the network is not what 'resnet18' plans"):
        rf.save(network, rf.compose("resnet18", num_classes=7), tmp_path / "b.safetensors")


def test_a_pool_that_attends_keeps_its_other_weights() -> None:
    network = create_model("resnet50_clip", "model.depths=1", "model.image_size=64")
    assert network.get_classifier(name_only=True) == "attnpool.proj"
    before = network.attnpool.q.weight
    network.reset_classifier(5)
    assert network.attnpool.q.weight is before
    assert network.num_classes == 5
    x = torch.randn(1, 3, 64, 64)
    hidden = network.eval().forward_head(network.forward_features(x), pre_logits=True)
    assert torch.equal(network.get_classifier()(hidden), network(x))


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "resnetv2_18"])
def test_checkpointing_keeps_less_and_gives_the_same_gradients(name: str) -> None:
    network = create_model(name, "model.depths=2").eval()
    x = torch.randn(1, 3, 32, 32)
    kept: list[list[int]] = []
    gradients: list[list[torch.Tensor]] = []
    for enable in (False, True):
        network.set_grad_checkpointing(enable)
        network.zero_grad()
        saved: dict[int, int] = {}

        def note(tensor: torch.Tensor, saved: dict[int, int] = saved) -> torch.Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = network(x).sum()
        kept.append([sum(saved.values())])
        loss.backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert kept[1] < kept[0]
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    with torch.no_grad():
        stem = network[: list(network._modules).index("layer1")](x)
    assert torch.equal(library.models.checkpoint_seq(network.layer1, stem), network.layer1(stem))


def test_policies_by_class_see_blocks_only() -> None:
    """Activation checkpointing by class wraps the 16 blocks: gates, branches and stages are of others."""
    with torch.device("meta"):
        network = create_model("seresnet50")
        plain = create_model("plain20")
    assert sum(isinstance(part, Block) for part in network.modules()) == 16
    assert sum(isinstance(part, Gate) for part in network.modules()) == 16
    assert sum(isinstance(part, Block) for part in plain.modules()) == 9
    apply_activation_checkpointing(network, check_fn=lambda part: isinstance(part, Block))
    assert sum(isinstance(part, CheckpointWrapper) for part in network.modules()) == 16


def test_a_backbone_is_sliced() -> None:
    backbone = create_model("resnet18", "model.depths=1", features="stages").eval()
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(backbone[:5](x), backbone(x)["layer1"])


def test_configs_are_pickled() -> None:
    config = rf.compose("resnet50", "model.act=silu")
    assert pickle.loads(pickle.dumps(config)) == config


def test_the_interface_adds_no_state() -> None:
    network = create_model("resnet18", "model.depths=1")
    before = list(network.state_dict())
    network.set_grad_checkpointing()
    network.pretrained_cfg = dict(network.pretrained_cfg)
    assert list(network.state_dict()) == before


@pytest.mark.parametrize("name", ["resnet18", "regnety_002", "resnetv2_18", "skresnet18"])
def test_strides_are_timms_features(name: str) -> None:
    backbone = create_model(name, features="strides", device="meta")
    with torch.device("meta"):
        theirs = library.create_model(name, features_only=True)
    assert backbone.out_channels == theirs.feature_info.channels() == backbone.feature_info.channels()
    assert backbone.feature_info.reduction() == theirs.feature_info.reduction() == [2, 4, 8, 16, 32]


def test_strides_of_other_networks() -> None:
    """Every stride above 1 once, by its last map; a network of one stride gives its last stage."""
    for change, strides in (
        (("resnet20",), [2, 4]),
        (("resnet50", "model.output_stride=8"), [2, 4, 8]),
        (("resnet18", "model.depths=[1]", "model.widths=[8]", "model.strides=1", "model/stem=cifar"), [1]),
    ):
        plan = rf.plan(rf.compose(*change, features="strides"))
        assert [feature.stride for feature in plan.features] == strides


@pytest.mark.parametrize("outputs", ["dict", "list", "tuple"])
def test_forms_of_output(outputs: Any) -> None:
    backbone = create_model("resnet18", "model.depths=1", features="strides", outputs=outputs).eval()
    found = backbone(torch.zeros(1, 3, 32, 32))
    assert type(found).__name__ == outputs
    maps = list(found.values()) if outputs == "dict" else found
    assert [m.shape[1] for m in maps] == backbone.out_channels
    assert torch.equal(maps[-1], backbone.forward_features(torch.zeros(1, 3, 32, 32)))
    with pytest.raises(ValueError, match=r"unknown form of outputs 'lists'.* did you mean 'list'"):
        create_model("resnet18", features="strides", outputs="lists")
