"""Families that are not in the zoo: every folder of examples/families, bit-equal to the library it is from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
import timm
import torch
from conftest import ROOT
from references import randomise
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import resnet_factory as rf

FOLDER = ROOT / "examples" / "families"
NAMES = sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir())


@dataclass(frozen=True)
class Reference:
    """What a family is held against, and how closely."""

    library: str = "timm"
    image: int = 64
    last: tuple[str, ...] = ()
    """Modules and parameters that stand after their siblings with us, in this order."""
    tolerance: float = 0.0
    """Largest difference relative to the largest value; 0: the bits."""


REFERENCES: dict[str, Reference] = {
    "convnext_atto": Reference(last=("gamma",)),
    "gernet_s": Reference(last=("shortcut",)),
    "repvgg_a0": Reference(last=("conv_1x1", "conv_kxk", "identity")),
    "resnet33ts": Reference(last=("shortcut",)),
    "resnet51q": Reference(last=("shortcut",)),
    "resnet61q": Reference(last=("shortcut",)),
}
"""Families that differ from the default: timm's network of the folder's name, bit for bit, in its own order."""


class Pair(NamedTuple):
    """A network built from YAML and its reference, of equal random weights."""

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
    for name in sorted([*own, *children], key=lambda name: last.index(name) if name in last else -1):
        if name in children:
            yield from ordered_keys(children[name], last, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Build one family and its reference."""
    name = request.param
    how = REFERENCES.get(name, Reference())
    ours = rf.create_model(name, config_dir=FOLDER / name)
    if how.library == "timm":
        theirs = timm.create_model(name)
    else:
        import torchvision

        theirs = torchvision.models.get_model(name, weights=None)
    randomise(theirs)
    weights = theirs.state_dict()
    keys = dict(zip(ours.state_dict(), ordered_keys(theirs, how.last), strict=True))
    ours.load_state_dict({key: weights[other] for key, other in keys.items()}, strict=True)
    yield Pair(ours, theirs, keys, how)


def equal(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> bool:
    """Return whether two tensors have the same bits, or differ by less than the tolerance."""
    if not tolerance:
        return torch.equal(ours, theirs)
    return ours.shape == theirs.shape and bool(
        (ours - theirs).abs().max() <= tolerance * max(float(theirs.abs().max()), 1e-3)
    )


def test_counts_are_equal(pair: Pair) -> None:
    """Parameters by torch's tensors, MACs by torch's own counter."""
    side = pair.how.image
    cost = rf.cost(pair.ours.plan, image=(3, side, side))
    assert cost.params == sum(parameter.numel() for parameter in pair.theirs.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        pair.theirs.eval()(torch.zeros(1, 3, side, side))
    assert 2 * cost.macs == counter.get_total_flops()


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_outputs_gradients_and_buffers_are_equal(pair: Pair, training: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    side = pair.how.image
    image = torch.randn(2, 3, side, side, generator=generator)
    results = []
    for network in (pair.ours, pair.theirs):
        network.train(training).zero_grad()
        x = image.clone().requires_grad_()
        y = network(x)
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(2)))
        results.append((y, x.grad))
    for ours, theirs in zip(*results, strict=True):
        assert equal(ours, theirs, pair.how.tolerance)
    ours, theirs = (dict(network.named_parameters()) for network in pair[:2])
    wrong = [key for key in ours if not equal(ours[key].grad, theirs[pair.keys[key]].grad, pair.how.tolerance)]
    assert not wrong
    ours, theirs = (dict(network.named_buffers()) for network in pair[:2])
    assert not [key for key in ours if not equal(ours[key], theirs[pair.keys[key]], pair.how.tolerance)]
