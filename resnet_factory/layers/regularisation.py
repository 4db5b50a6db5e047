"""Dropout layers: of elements, branches or blocks of positions, in training mode only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from resnet_factory.layers.axes import Size
from resnet_factory.layers.layer import FLAT, MAP, NEITHER, POINT, Fault, Layer, positions


@dataclass(frozen=True, slots=True)
class Dropout(Layer):
    """Zero single elements with probability `rate` in training mode."""

    rate: float

    family: ClassVar[str] = "dropout"
    numbered: ClassVar[bool] = False
    accepts: ClassVar[tuple[str, ...]] = (MAP, POINT, FLAT)

    @property
    def saves(self) -> str:
        return NEITHER

    def view(self, training: bool) -> bool:
        return not training or self.rate == 0

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        return self.channels * positions(size) * itemsize  # the mask

    def valid(self) -> bool:
        return (self.rate >= 0) & (self.rate < 1)

    def faults(self) -> Iterator[Fault]:
        if not 0 <= self.rate < 1:
            yield "rate", f"{self.rate:g} is not in [0, 1)"


@dataclass(frozen=True, slots=True)
class DropPath(Dropout):
    """Stochastic depth (Huang et al. 2016): drop the whole branch with probability `rate`.

    `mode` drops per sample (row) or for the batch at once; `rescale` divides kept branches by 1 - rate.
    """

    mode: Literal["row", "batch"] = "row"
    rescale: bool = True

    family: ClassVar[str] = "drop_path"
    accepts: ClassVar[tuple[str, ...]] = (MAP,)

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        return itemsize  # one number per image


@dataclass(frozen=True, slots=True)
class DropBlock(Dropout):
    """Drop regions of `block` positions per axis while training (Ghiasi et al. 2018; timm's drop_block_2d).

    `gamma` scales how many regions are seeded.
    """

    block: int = 7
    gamma: float = 1.0

    family: ClassVar[str] = "drop_block"
    accepts: ClassVar[tuple[str, ...]] = (MAP,)

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        return positions(size) * itemsize  # one mask for all channels
