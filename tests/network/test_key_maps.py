"""Key maps: every shipped model of timm and torchvision, there and back, and pycls's names and channels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from references import MODELS, digest, randomise
from torch import Tensor, nn

import resnet_factory as rf
from resnet_factory.config.model_index import index_models
from resnet_factory.network.builder import assemble_network
from resnet_factory.network.weights import key_map, key_matching
from resnet_factory.planning.network_plan import Plan

SHIPPED = set(index_models().names())
REFERENCES = [name for name in MODELS if name.split("/")[1] in SHIPPED]


def assembled(name: str) -> rf.Network:
    with torch.device("meta"):
        return assemble_network(rf.plan(rf.compose(name)))


@pytest.mark.parametrize("reference", REFERENCES)
def test_map_of_every_reference_model(reference: str) -> None:
    """The map told by the plan gives the reference's keys, order and shapes; reading them tells it too."""
    library, name = reference.split("/")
    network = assembled(name)
    state = network.state_dict()
    chosen = key_map.find_key_map(library, network.plan, list(state))
    theirs = chosen.names(network.plan, state).theirs
    assert digest({theirs[key]: state[key] for key in theirs}) == MODELS[reference]["state_dict_sha256"]
    reading = key_matching.match_keys(network.plan, state, list(state), list(theirs.values()))
    assert (reading.missing, reading.unexpected) == ((), ())
    assert {key: reading.theirs[key] for key in state} == dict(theirs)
    assert reading.keys == ("" if all(ours == name for ours, name in theirs.items()) else chosen.name)


def test_every_map_is_tried() -> None:
    tried = {"pycls"}
    for name in ("resnet50", "regnet_y_400mf"):
        network = assembled(name)
        tried.add(key_map.find_key_map("torchvision", network.plan, list(network.state_dict())).name)
    for name in (
        "resnet50",
        "resnetv2_50",
        "regnety_002",
        "regnetv_040",
        "nf_resnet50",
        "skresnet18",
        "res2net50d",
    ):
        network = assembled(name)
        tried.add(key_map.find_key_map("timm", network.plan, list(network.state_dict())).name)
    assert tried == set(key_map.shipped_key_maps())


@pytest.mark.parametrize("file", sorted(key_map.FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_first_line_says_what_it_is(file: Path) -> None:
    assert file.read_text().startswith("# ")
    assert key_map.read_key_map(file).library


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet110", "wrn40_4"])
def test_export_says_why_no_map_fits(name: str) -> None:
    network = assembled(name)
    with pytest.raises(
        rf.ConfigError, match="does not fit this network: its stems have stride 4, this one 1"
    ):
        rf.export(network, "never.safetensors", to="timm")


def test_unknown_names_are_suggested() -> None:
    network = assembled("resnet18")
    with pytest.raises(rf.ConfigError, match=r"unknown library 'tim'; known are .*; did you mean 'timm'"):
        rf.export(network, "never.safetensors", to="tim")
    with pytest.raises(rf.ConfigError, match=r"unknown key map 'timm_regnett'.*did you mean 'timm_regnet'"):
        key_map.find_named_key_map("timm_regnett")


def test_a_map_of_ones_own(tmp_path: Path) -> None:
    """Any names can be read and written through a YAML file."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "stem: {first.conv: conv1, first.norm: bn1}\n"
        "block: part{stage}.{block * 10}\n"
        "body: {a: conv1, a_norm: bn1, b: conv2, b_norm: bn2, 'skip.{i}': 'downsample.{i}'}\n"
        "head: {last: fc}\n"
    )
    network = rf.create_model("resnet18", "model.num_classes=3")
    out = tmp_path / "out.safetensors"
    report = rf.export(network, out, keys=str(file))
    assert report.tensors == len(network.state_dict())
    again = rf.create_model("resnet18", "model.num_classes=3")
    assert rf.load_weights(again, out, keys=str(file)).keys == "mine"
    assert equal(again.state_dict(), network.state_dict())
    assert (
        "part4.10.b_norm.running_var"
        in key_map.find_named_key_map(str(file)).names(network.plan, network.state_dict()).theirs.values()
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "expected a mapping"),
        ("steem: {}\n", "unknown key 'steem'; .*did you mean 'stem'"),
        ("fits: {stride: 2}\n", "unknown key 'stride'"),
        ("input: grb\n", "expected rgb or bgr"),
        ("stem: [a]\n", "expected lines as"),
        ("stem: {a: 3}\n", "expected names"),
        ("block: 's{stge}'\n", "known are stage and block"),
        ("stem: {a: b\n", "not YAML"),
    ],
)
def test_a_faulty_map_is_located(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(rf.ConfigError, match=f"mine.yaml.*{message}"):
        key_map.find_named_key_map(str(file))


def test_a_map_that_is_not_there() -> None:
    with pytest.raises(rf.ConfigError, match=r"none\.yaml"):
        key_map.find_named_key_map("none.yaml")


def equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)


class PyclsTransform(nn.Module):
    """pycls, models/anynet.py (2020): a, b, c with their norms."""

    def __init__(self, channels: int, middle: int, out: int, stride: int, groups: int, squeezed: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, middle, 1, bias=False)
        self.a_bn, self.a_af = nn.BatchNorm2d(middle), nn.ReLU()
        self.b = nn.Conv2d(middle, middle, 3, stride, 1, groups=groups, bias=False)
        self.b_bn, self.b_af = nn.BatchNorm2d(middle), nn.ReLU()
        self.se = PyclsSE(middle, squeezed)
        self.c = nn.Conv2d(middle, out, 1, bias=False)
        self.c_bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x


class PyclsSE(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d((1, 1))
        self.f_ex = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.f_ex(self.avg_pool(x))
        return x * gate


class PyclsBlock(nn.Module):
    def __init__(self, channels: int, out: int, stride: int, group_width: int) -> None:
        super().__init__()
        self.projects = channels != out or stride != 1
        if self.projects:
            self.proj = nn.Conv2d(channels, out, 1, stride, bias=False)
            self.bn = nn.BatchNorm2d(out)
        self.f = PyclsTransform(channels, out, out, stride, out // group_width, round(channels / 4))

    def forward(self, x: Tensor) -> Tensor:
        beside = self.bn(self.proj(x)) if self.projects else x
        return torch.relu(beside + self.f(x))


class PyclsNet(nn.Module):
    """RegNetY of the plan's widths and depths, under pycls's names."""

    def __init__(self, plan: Plan, group_width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        self.stem.add_module("conv", nn.Conv2d(3, 32, 3, 2, 1, bias=False))
        self.stem.add_module("bn", nn.BatchNorm2d(32))
        self.stem.add_module("af", nn.ReLU())
        for number, stage in enumerate(plan.stages, 1):
            blocks = nn.Sequential()
            for i, block in enumerate(stage.blocks, 1):
                made = PyclsBlock(block.in_channels, block.out_channels, block.stride, group_width)
                blocks.add_module(f"b{i}", made)
            self.add_module(f"s{number}", blocks)
        self.head = nn.Sequential()
        self.head.add_module("fc", nn.Linear(plan.stages[-1].blocks[-1].out_channels, 1000))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for name, part in self.named_children():
            if name.startswith("s") and name != "stem":
                x = part(x)
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def test_pycls_names_and_channels(tmp_path: Path) -> None:
    """A pycls network takes BGR images; ours, loaded from it, gives the same for RGB."""
    plan = rf.plan(rf.compose("regnety_002"))
    theirs = PyclsNet(plan, 8)
    randomise(theirs)
    file = tmp_path / "model_epoch_0100.pyth"
    torch.save({"epoch": 100, "model_state": theirs.state_dict(), "optimizer_state": {}, "cfg": "text"}, file)
    ours = rf.build(plan)
    report = rf.load_weights(ours, file)
    assert report.keys == "pycls"
    assert any("BGR to RGB" in line for line in report.done)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x.flip(1)), theirs.eval()(x), rtol=1e-4, atol=1e-4)
    out = tmp_path / "back.pth"
    rf.export(ours, out, to="pycls")
    assert equal(torch.load(out), theirs.state_dict())
