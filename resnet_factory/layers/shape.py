"""Layers that change the shape of a tensor and have no MACs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from resnet_factory.layers.axes import (
    SAME,
    Axes,
    Padding,
    axis_entry,
    axis_padding,
    combine_axes,
    merge_axes,
    no_less,
)
from resnet_factory.layers.layer import FLAT, MAP, NEITHER, POINT, Fault, Layer, check_layer_at_least


@dataclass(frozen=True, slots=True)
class Flatten(Layer):
    """(C, 1, 1) -> (C,)."""

    family: ClassVar[str] = "flatten"
    numbered: ClassVar[bool] = False
    accepts: ClassVar[tuple[str, ...]] = (POINT,)

    @property
    def produces(self) -> str | None:
        return FLAT

    @property
    def saves(self) -> str:
        return NEITHER

    def view(self, training: bool) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class ZeroPad(Layer):
    """Option A of He et al. 2015: no parameters; every `stride`-th position, new channels are zero.

    `where` puts the zeros after the old channels (fb.resnet.torch) or half before and half after
    (the widely used CIFAR reimplementation).
    """

    to: int
    stride: Axes = 1
    where: Literal["end", "center"] = "end"

    family: ClassVar[str] = "pad"
    numbered: ClassVar[bool] = False

    @property
    def out_channels(self) -> int:
        return self.to

    @property
    def step(self) -> Axes:
        return self.stride

    def size(self, side: int, axis: int = 0) -> int:
        return (side - 1) // axis_entry(self.stride, axis) + 1

    @property
    def saves(self) -> str:
        return NEITHER

    def valid(self) -> bool:
        return no_less(self.stride, 1) & (self.to >= self.channels)

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 1, "stride")
        if self.to < self.channels:
            yield (
                "to",
                f"{self.to} is fewer than the {self.channels} input channels; zero padding can only add "
                "channels",
            )


@dataclass(frozen=True, slots=True)
class Border(Layer):
    """Zero padding of `width` positions on each side of the map; one number, one per axis, or per side."""

    width: Padding = 1

    family: ClassVar[str] = "border"
    numbered: ClassVar[bool] = False
    accepts: ClassVar[tuple[str, ...]] = (MAP,)

    def size(self, side: int, axis: int = 0) -> int:
        return side + sum(axis_padding(self.width, axis))

    @property
    def reach(self) -> tuple[Axes, Axes] | None:
        before = merge_axes(tuple(axis_padding(self.width, axis)[0] for axis in range(self.dims)))
        return before, combine_axes(lambda width: -width, before)

    @property
    def saves(self) -> str:
        return NEITHER

    def valid(self) -> bool:
        return self.width != SAME and no_less(self.width, 0)

    def faults(self) -> Iterator[Fault]:
        if self.width == SAME:
            yield "width", "'same' padding is available only for layers with a kernel: convolutions and pools"
        else:
            yield from check_layer_at_least(self, 0, "width")


@dataclass(frozen=True, slots=True)
class Identity(Layer):
    """The identity; takes up an index in a list."""

    family: ClassVar[str] = "identity"
    numbered: ClassVar[bool] = False
    accepts: ClassVar[tuple[str, ...]] = (MAP, POINT, FLAT)

    @property
    def saves(self) -> str:
        return NEITHER

    def view(self, training: bool) -> bool:
        return True
