"""Memory that a network's values lie in, and the steps that read and make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(slots=True, eq=False)
class Store:
    """A piece of memory, freed when nobody holds it any more."""

    bytes: int
    rows: tuple[tuple[str, str], ...] = ()
    """The report rows it was made in, as (depth, name)."""
    holders: int = 1
    kept: bool = False


@dataclass(slots=True, eq=False)
class Value:
    """The output of a step: a map or a vector. Several values may lie in one store."""

    store: Store
    channels: int
    size: tuple[int, int]
    learns: bool
    """Whether it has a gradient; the image has none."""

    @property
    def elements(self) -> int:
        """Numbers per image."""
        return self.channels * self.size[0] * self.size[1]


class Step(NamedTuple):
    """One step of the forward pass, as the backward pass finds it."""

    name: str
    reads: tuple[Value, ...]
    makes: tuple[Value, ...]
    saved: tuple[Store, ...] = ()
    weights: int = 0
    """Bytes of its weights."""
    passes: bool = False
    """Whether what it reads gets the gradient of what it makes as it is (sums and views)."""
    scratch: int = 0
    """Bytes its backward pass needs for a moment."""
