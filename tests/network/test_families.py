"""Every folder of examples/families equals timm's network, and so do shipped ones with names of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Literal, NamedTuple

import pytest
import timm
import torch
from conftest import ROOT
from references import randomise
from timm.layers.config import set_fused_attn
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

import resnet_factory as rf
from resnet_factory.cli import main

FOLDER = ROOT / "examples" / "families"
FOLDERS = {file.stem: file.parent.parent for file in sorted(FOLDER.glob("*/model/*.yaml"))}
"""The network's name -> the folder that has it."""
CLIP = [f"resnet{size}_clip" for size in ("50", "101", "50x4", "50x16", "50x64")]
TIERED = [f"{kind}resnet33ts" for kind in ("", "se", "eca_")]
TIERED += [f"{kind}resnext26ts" for kind in ("", "se", "eca_")]
TIERED += [f"{name}_gap" for name in CLIP]
TIERED += ["resnet32ts", "resnet51q", "resnet61q", "resnet50_mlp"]
CONTEXT = ["gcresnet33ts", "gcresnext26ts", "gcresnet50t", "gcresnext50ts"]
LEGACY = [f"legacy_seresnet{depth}" for depth in (18, 34, 50, 101, 152)]
LEGACY += [f"legacy_seresnext{depth}_32x4d" for depth in (26, 50, 101)]
ZOO = [*TIERED, *CONTEXT, *LEGACY, *CLIP]
"""Shipped networks that are held here."""
RUN = [name for name in ZOO if not re.search("101|152|x[0-9]+_clip|gc.*50", name)]
"""Those that are run; the others are deeper or wider ones of the same recipes."""


@dataclass(frozen=True)
class Reference:
    """How a network is compared with timm's of the same name, without dropout."""

    torchvision: ModuleType | None = None
    """The module of torchvision that has the network; None for timm's."""
    last: tuple[str, ...] = ()
    """Modules and parameters that with us stand last among their siblings, in this order; or `CLASS.NAME`."""
    exact: Literal["all", "outputs", "none"] = "all"
    """What is summed in timm's order; of the rest, twelve digits agree in double precision."""
    image: tuple[int, ...] = (3, 64, 64)
    counted: bool = True
    """Whether timm computes what the plan counts, and no more."""
    summed_by: str = ""
    """Layers that weigh a sum over positions, which timm makes, and torch counts, as a matrix product."""
    overrides: tuple[str, ...] = ()
    """Changes of our configuration."""
    options: tuple[tuple[str, Any], ...] = ()
    """timm's arguments."""

    @property
    def dtype(self) -> torch.dtype:
        """Return the precision in which the two networks are compared."""
        return torch.float32 if self.exact == "all" else torch.float64


SMALL = Reference(
    last=("shortcut", "TransformerBlock2d.norm2", "TransformerBlock2d.mlp"),
    exact="none",
    overrides=("model.image_size=64",),
    options=(("img_size", 64),),
)
"""For attention at positions, whose number the network knows: smaller images."""
REFERENCES: dict[str, Reference] = {
    "botnet26t_256": SMALL,
    "coatnet_0_rw_224": SMALL,
    "coatnet_nano_rw_224": SMALL,
    "convnext_atto": Reference(last=("gamma",)),
    "convnextv2_atto": Reference(options=(("conv_mlp", True),)),
    "dla34": Reference(last=("project", "tree2", "root"), exact="outputs"),
    "dpn68": Reference(last=("c1x1_w_s1", "c1x1_w_s2")),
    "eca_nfnet_l0": Reference(last=("downsample",)),
    "fasternet_t0": Reference(last=("blocks", "mlp")),
    "gernet_s": Reference(last=("shortcut",)),
    "hrnet_w18": Reference(exact="outputs"),
    "inception_resnet_v2": Reference(image=(3, 112, 112)),
    "legacy_xception": Reference(last=("skip", "skipbn")),
    # A map that more than two branches read gets their gradients in another order.
    "mobileone_s0": Reference(last=("conv_scale", "conv_kxk", "identity"), exact="outputs"),
    "repvgg_a0": Reference(last=("conv_1x1", "conv_kxk", "identity"), exact="outputs"),
    "shufflenet_v2_x1_0": Reference(torchvision=models),
    "squeezenet1_1": Reference(torchvision=models),
    "tresnet_m": Reference(last=("downsample",)),
    **dict.fromkeys(TIERED, Reference(last=("shortcut",))),
    **dict.fromkeys(CONTEXT, Reference(last=("shortcut",), exact="none", summed_by="conv_attn")),
    # timm's queries are those of all positions, of which only the mean's is read.
    **dict.fromkeys(CLIP, replace(SMALL, counted=False)),
}
"""All others are held to timm's bits, in timm's order."""


def how(name: str) -> Reference:
    """Return what a family is held against."""
    return REFERENCES.get(name, Reference())


class Pair(NamedTuple):
    """A network built from YAML and its reference, of equal random weights."""

    plan: rf.Plan
    ours: nn.Module
    theirs: nn.Module
    keys: dict[str, str]
    """Our state-dict keys -> the reference's."""
    how: Reference


def ordered_keys(module: nn.Module, last: tuple[str, ...], prefix: str = "") -> Iterator[str]:
    """Yield the state-dict keys of a module, with the children called `last` after their siblings."""
    persistent = module.state_dict()
    own = [name for name in persistent if "." not in name]
    children = dict(module.named_children())
    kind = f"{type(module).__name__}."
    place = {name: i for i, entry in enumerate(last) for name in (entry, entry.removeprefix(kind))}
    for name in sorted([*own, *children], key=lambda name: place.get(name, -1)):
        if name in children:
            yield from ordered_keys(children[name], last, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.fixture(scope="module", params=[*FOLDERS, *RUN])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Build one family and its reference; their state dicts have equal shapes in equal order."""
    name = request.param
    ours = rf.create_model(name, *how(name).overrides, config_dir=FOLDERS.get(name))
    set_fused_attn(False)  # torch counts no MACs of its fused attention
    other = how(name).torchvision
    theirs = (
        getattr(other, name)() if other else timm.create_model(name, drop_rate=0.0, **dict(how(name).options))
    )
    for module in theirs.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    randomise(theirs)
    weights = theirs.state_dict()
    keys = dict(zip(ours.state_dict(), ordered_keys(theirs, how(name).last), strict=True))
    ours.load_state_dict({key: weights[other] for key, other in keys.items()}, strict=True)
    return Pair(ours.plan, ours.to(how(name).dtype), theirs.to(how(name).dtype), keys, how(name))


def equal(ours: torch.Tensor | None, theirs: torch.Tensor | None) -> bool:
    """Return whether two tensors have the same bits, or in double precision the same twelve digits."""
    assert ours is not None
    assert theirs is not None
    if not ours.is_floating_point() or ours.dtype != torch.float64:
        return torch.equal(ours, theirs)
    scale = max(float(theirs.detach().abs().max()), 1.0)
    return torch.allclose(ours, theirs, rtol=0, atol=1e-12 * scale)


def test_counts_are_equal(pair: Pair) -> None:
    """Parameters by torch's tensors, MACs by torch's own counter."""
    cost = rf.cost(pair.plan, image=pair.how.image)
    assert cost.params == sum(parameter.numel() for parameter in pair.theirs.parameters())
    if not pair.how.counted:
        return
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        pair.theirs.eval()(torch.zeros(1, *pair.how.image, dtype=pair.how.dtype))
    by_product = sum(
        row.tally.macs for row in cost.layers if pair.how.summed_by and row.name.endswith(pair.how.summed_by)
    )
    assert 2 * (cost.macs + by_product) == counter.get_total_flops()


@pytest.mark.parametrize("name", ZOO)
def test_shipped_networks_have_timms_tensors(name: str) -> None:
    """The same shapes in the same order."""
    with torch.device("meta"):
        ours, theirs = rf.create_model(name), timm.create_model(name)
    weights = theirs.state_dict()
    shapes = [weights[key].shape for key in ordered_keys(theirs, how(name).last)]
    assert shapes == [tensor.shape for tensor in ours.state_dict().values()]


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_outputs_gradients_and_buffers_are_equal(pair: Pair, training: bool) -> None:
    """One step: outputs, gradients of the image and of every parameter, and running statistics after it."""
    dtype, generator = pair.how.dtype, torch.Generator().manual_seed(1)
    image = torch.randn(2, *pair.how.image, generator=generator, dtype=dtype)
    results = []
    for network in (pair.ours, pair.theirs):
        network.train(training).zero_grad()
        x = image.clone().requires_grad_()
        y = network(x)
        y.backward(torch.linspace(-1, 1, y.numel(), dtype=dtype).view_as(y))
        gradients = {key: parameter.grad for key, parameter in network.named_parameters()}
        buffers = {key: value for key, value in network.state_dict().items() if key not in gradients}
        results.append((y, x.grad, gradients, buffers))
    (y, dx, gradients, buffers), (y_, dx_, gradients_, buffers_) = results
    assert torch.equal(y, y_) or (pair.how.exact == "none" and equal(y, y_))
    assert equal(dx, dx_)
    assert not [key for key in gradients if not equal(gradients[key], gradients_[pair.keys[key]])]
    assert not [key for key in buffers if not equal(buffers[key], buffers_[pair.keys[key]])]


def test_folders_are_usable_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line, as README.md says, and nothing in them that the network does not read."""
    name = "efficientnet_b0"
    assert main.main(["describe", "--config-dir", str(FOLDER / name), f"model={name}"]) == 0
    assert "5,288,548" in capsys.readouterr().out
    for file in FOLDER.rglob("*.yaml"):
        first, second, *_ = file.read_text().splitlines()
        assert first.startswith("# ")
        assert not second.startswith("#")


def test_readme_lists_the_folders() -> None:
    """Run with -s, it prints how many lines of YAML each takes, and how it is held."""
    rows = re.findall(r"^\| `(\w+)` \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert rows == sorted(FOLDERS)
    print()
    for name, folder in sorted(FOLDERS.items()):
        others = {other for other in FOLDERS if other != name}
        files = [file for file in folder.rglob("*.yaml") if file.stem not in others]
        lines = sum(len(file.read_text().splitlines()) for file in files)
        held = {
            "all": "equal",
            "outputs": "outputs equal, gradients to twelve digits",
            "none": "to twelve digits",
        }
        print(f"{name:<24} {lines:>3} lines  {held[how(name).exact]}")
