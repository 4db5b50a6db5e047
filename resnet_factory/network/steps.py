"""The forward pass of a module as steps: its children by name, joins of branches, and maps read by name."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
import torch.fx
from torch import Tensor, nn

from resnet_factory.planning.nodes import (
    CASCADE,
    CONCAT,
    DENSE,
    INPUT,
    PREVIOUS,
    PRODUCT,
    SELECT,
    SUM,
)


class JoinStep(NamedTuple):
    """Branches run over one input, and their join; see `Parallel`."""

    how: str
    runs: tuple[tuple[Step, ...], ...]
    """The steps of each branch; none for what it reads itself."""
    sources: tuple[str, ...]
    """The input of each branch, as `Parallel.source` names it."""
    split: bool | tuple[int, ...] = False
    parts: int = 1
    groups: int = 1
    dims: int = 2
    """The number of axes of a map, for a selection of parts."""
    gates: bool = False
    """Whether it is a gate; see `Parallel.gates`."""


class TapStep(NamedTuple):
    """A name for the map at this place."""

    of: str


class ReadStep(NamedTuple):
    """The map of a tap in place of the one that arrives."""

    of: str


Step = str | JoinStep | TapStep | ReadStep
"""One step of a module: the name of a child, a join of branches, a tap or a read."""
SUM_IN_PLACE = "sum in place"
"""A sum in the memory of its first term, which nothing else reads; of networks for inference."""
ARITHMETIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    SUM: operator.add,
    PRODUCT: operator.mul,
    SUM_IN_PLACE: lambda one, other: add_into(one, other),  # noqa: PLW0108  # torch.fx replaces the global
}


def add_into(one: Tensor, other: Tensor) -> Tensor:
    """Return one + other, in the memory of `one` if their shapes and types agree; torch.fx keeps it whole."""
    return one.add_(other) if one.shape == other.shape and one.dtype == other.dtype else one + other


torch.fx.wrap("add_into")


def run_steps(module: nn.Module, steps: tuple[Step, ...], x: Tensor, taps: dict[str, Tensor]) -> Tensor:
    """Return the output of `steps`, whose names are children of `module`, for the input `x`.

    `taps` holds the maps named so far in this forward pass of the module.
    """
    for step in steps:
        if isinstance(step, str):
            x = getattr(module, step)(x)
        elif isinstance(step, TapStep):
            taps[step.of] = x
        elif isinstance(step, ReadStep):
            x = taps[step.of]
        elif step.how == SELECT:
            parts = torch.unflatten(x, 1, (step.parts, -1))
            x = join_by_weighted_sum(parts, run_steps(module, step.runs[1], parts.sum(dim=1), taps), step)
        else:
            x = run_join_step(module, step, x, taps)
    return x


def run_join_step(module: nn.Module, step: JoinStep, x: Tensor, taps: dict[str, Tensor]) -> Tensor:
    """Return the join of branches; sums and products are formed as branches end, unless others read them."""
    count = len(step.runs)
    if isinstance(step.split, tuple):
        shares = torch.split(x, list(step.split), 1)
    else:
        shares = x.chunk(count, 1) if step.split else (x,) * count
    ends: list[Tensor] = []
    linked = any(source != INPUT for source in step.sources)
    for i in range(count):
        ends.append(run_steps(module, step.runs[i], _join_step_input(step.sources[i], shares[i], ends), taps))
        if len(ends) == 2 and not linked and step.how != CONCAT:
            ends = [ARITHMETIC[step.how](*ends)]
    return torch.cat(ends, 1) if step.how == CONCAT else reduce(ARITHMETIC[step.how], ends)


def _join_step_input(source: str, share: Tensor, ends: list[Tensor]) -> Tensor:
    """Return what a branch reads, after branches that gave `ends`."""
    if source == PREVIOUS:
        return ends[-1]
    if source == CASCADE:
        return ends[-1] + share
    return torch.cat([share, *ends], 1) if source == DENSE else share


def join_by_weighted_sum(x: Tensor, logits: Tensor, step: JoinStep) -> Tensor:
    """Return the sum of (N, parts, C, H, W) weighted by `logits`, (N, parts * C, 1, 1): (N, C, H, W)."""
    # Numbers of parts and axes come from the step, not from the tensor: torch.fx traces without shapes.
    batch = x.shape[0]
    if step.parts == 1:
        weights = torch.sigmoid(logits)
    else:
        weights = logits.view(batch, step.groups, step.parts, -1).transpose(1, 2).softmax(dim=1)
    return (x * weights.reshape(batch, step.parts, -1, *(1,) * step.dims)).sum(dim=1)


class Composite(nn.Module):
    """A module that runs its children as planned: in sequence, or side by side and joined.

    Children are registered modules, looked up by name, so a replaced child is used.
    """

    def __init__(self, children: dict[str, nn.Module], steps: tuple[Step, ...]) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        return run_steps(self, self.steps, x, {})


class Block(Composite):
    """A block of a stage, and nothing else: the class for policies that wrap or checkpoint by class."""


class Gate(Composite):
    """A map times factors computed from it, or a weighted sum of its parts: channel or spatial attention."""


class Branches(Composite):
    """Any other join of branches that is a module of its own, as of Inception or Res2Net."""
