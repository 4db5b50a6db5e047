"""Reductions of a map over its positions or its channels, and the softmax over either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from resnet_factory.layers.axes import Axes, Size
from resnet_factory.layers.layer import BOTH, NEITHER, OUTPUT, POINT, Layer, positions

Over = Literal["positions", "channels"]


@dataclass(frozen=True, slots=True)
class Reduce(Layer):
    """Mean, maximum, sum or Euclidean norm over positions, (C, 1, 1), or over channels, (1, H, W)."""

    over: Over
    how: Literal["mean", "max", "sum", "norm"] = "mean"

    family: ClassVar[str] = "reduce"
    numbered: ClassVar[bool] = False

    @property
    def produces(self) -> str | None:
        return POINT if self.over == "positions" else None

    @property
    def out_channels(self) -> int:
        return self.channels if self.over == "positions" else 1

    def size(self, side: int, axis: int = 0) -> int:
        return side * 0 + 1 if self.over == "positions" else side

    @property
    def reach(self) -> tuple[Axes, Axes] | None:
        return None if self.over == "positions" else (0, 0)

    @property
    def saves(self) -> str:
        return BOTH if self.how in ("max", "norm") else NEITHER

    def scratch_bytes(self, size: Size, itemsize: int, batch: int) -> int:
        # The mask of maxima, as bytes; the input times a factor.
        per_element = {"max": 1, "norm": itemsize}.get(self.how, 0)
        return self.channels * positions(size) * per_element * batch


@dataclass(frozen=True, slots=True)
class Softmax(Layer):
    """Softmax over the positions of each channel, or over the channels of each position."""

    over: Over

    family: ClassVar[str] = "softmax"
    numbered: ClassVar[bool] = False

    @property
    def saves(self) -> str:
        return OUTPUT
