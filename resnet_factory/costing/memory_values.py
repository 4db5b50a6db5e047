"""Storage of a network's values, and the steps that read and produce them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from resnet_factory.layers import Size, positions


@dataclass(slots=True, eq=False)
class MemoryValueStore:
    """A reference-counted piece of memory."""

    bytes: int
    rows: tuple[tuple[str, str], ...] = ()
    """The report rows it belongs to, as (depth, name)."""
    holders: int = 1
    kept: bool = False


@dataclass(slots=True, eq=False)
class MemoryValue:
    """The output of a step: a map or a vector. Several values may share one store."""

    store: MemoryValueStore
    channels: int
    size: Size
    learns: bool
    """Whether it requires a gradient; the image does not."""

    @property
    def elements(self) -> int:
        """Number of elements per image."""
        return self.channels * positions(self.size)


def whole_memory_value(one: MemoryValue, other: MemoryValue) -> tuple[int, Size]:
    """Return channels and size of a sum or product, one of whose operands may apply to all of them."""
    channels = other.channels if one.channels == 1 else one.channels
    return channels, other.size if one.size == (1,) * len(one.size) else one.size


def spread_memory_values(joined: MemoryValue, *operands: MemoryValue) -> tuple[MemoryValue, ...]:
    """Return the operands of a sum or product that apply to all of its channels or positions."""
    return tuple(operand for operand in operands if operand.elements != joined.elements)


class MemoryValueStep(NamedTuple):
    """One step of the forward pass, recorded for the backward pass."""

    name: str
    reads: tuple[MemoryValue, ...]
    makes: tuple[MemoryValue, ...]
    saved: tuple[MemoryValueStore, ...] = ()
    weights: int = 0
    """Bytes of its weights."""
    passes: bool = False
    """Whether its input gets the gradient of its output unchanged (sums and views)."""
    scratch: int = 0
    """Bytes that its backward pass needs temporarily."""
    spread: tuple[MemoryValue, ...] = ()
    """Values applied to all channels or positions, over which their gradient is summed."""
