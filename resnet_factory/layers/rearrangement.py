"""Layers that move, pick or repeat elements: between channels, and between channels and positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from operator import index
from typing import Any, ClassVar, Literal

from resnet_factory.layers.axes import Axes, Size, axes_product, axes_text, axis_entry, combine_axes, no_less
from resnet_factory.layers.layer import MAP, NEITHER, Fault, Layer, check_layer_at_least


@dataclass(frozen=True, slots=True)
class ChannelShuffle(Layer):
    """Channel shuffle (Zhang et al. 2017): take one channel of each of `groups` groups in turn."""

    groups: int

    family: ClassVar[str] = "shuffle"
    numbered: ClassVar[bool] = False

    @property
    def saves(self) -> str:
        return NEITHER

    def valid(self) -> bool:
        return self.groups > 0 and self.channels % self.groups == 0

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 1, "groups")
        if self.groups > 0 and self.channels % self.groups:
            yield "groups", f"{self.channels} channels are not divisible by {self.groups} groups"


@dataclass(frozen=True, slots=True)
class SpaceToDepth(Layer):
    """Move each block of positions into channels: (C, H, W) -> (C b², H / b, W / b) for blocks of side b.

    `block` is one number, or one per axis. `order` sorts the new channels by old `channel` first (torch's
    pixel_unshuffle), or by `position` in the block first (TResNet, Ridnik et al. 2020; TensorFlow).
    """

    block: Axes
    order: Literal["channel", "position"] = "channel"

    family: ClassVar[str] = "space_to_depth"
    numbered: ClassVar[bool] = False
    accepts: ClassVar[tuple[str, ...]] = (MAP,)

    @property
    def out_channels(self) -> int:
        return self.channels * axes_product(self.block, self.dims)

    @property
    def step(self) -> Axes:
        return self.block

    def size(self, side: int, axis: int = 0) -> int:
        return side // axis_entry(self.block, axis)

    def misfit(self, size: Size) -> str:
        if all(side % axis_entry(self.block, axis) == 0 for axis, side in enumerate(size)):
            return ""
        return f"needs sides divisible by {axes_text(self.block)}, but {axes_text(size)} arrives"

    @property
    def reach(self) -> tuple[Axes, Axes] | None:
        return 0, combine_axes(lambda block: block - 1, self.block)

    @property
    def saves(self) -> str:
        return NEITHER

    def view(self, training: bool) -> bool:
        return self.block == 1

    def valid(self) -> bool:
        return no_less(self.block, 1)

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 1, "block")


@dataclass(frozen=True, slots=True)
class DepthToSpace(SpaceToDepth):
    """Move channels into blocks of positions, the inverse of space_to_depth (torch's pixel_shuffle)."""

    family: ClassVar[str] = "depth_to_space"

    @property
    def out_channels(self) -> int:
        return self.channels // axes_product(self.block, self.dims)

    @property
    def step(self) -> Axes:
        return combine_axes(_upsample_shrinking, self.block)

    def size(self, side: int, axis: int = 0) -> int:
        return side * axis_entry(self.block, axis)

    def misfit(self, size: Size) -> str:
        return ""

    @property
    def reach(self) -> tuple[Axes, Axes] | None:
        return combine_axes(_positions_before_nearest_upsample, self.block), 0

    def valid(self) -> bool:
        return no_less(self.block, 1) and self.channels % axes_product(self.block, self.dims) == 0

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 1, "block")
        if no_less(self.block, 1) and self.channels % (parts := axes_product(self.block, self.dims)):
            yield (
                "block",
                f"{self.channels} channels are not divisible by the {parts} positions of a block"
                f" of {axes_text(self.block)}",
            )


@dataclass(frozen=True, slots=True)
class Upsample(Layer):
    """Enlarge the map `scale` times, by the nearest position or by linear interpolation (torch's Upsample).

    `scale` is one number, or one per axis. Linear in each axis: bilinear for images, trilinear for volumes,
    without aligned corners.
    """

    scale: Axes
    mode: Literal["nearest", "linear"] = "nearest"

    family: ClassVar[str] = "upsample"
    numbered: ClassVar[bool] = False
    accepts: ClassVar[tuple[str, ...]] = (MAP,)

    @property
    def step(self) -> Axes:
        return combine_axes(_upsample_shrinking, self.scale)

    def size(self, side: int, axis: int = 0) -> int:
        return side * axis_entry(self.scale, axis)

    @property
    def reach(self) -> tuple[Axes, Axes] | None:
        if self.mode == "nearest":
            return combine_axes(_positions_before_nearest_upsample, self.scale), 0
        return combine_axes(_positions_before_linear_upsample, self.scale), combine_axes(
            _positions_after_linear_upsample, self.scale
        )

    @property
    def saves(self) -> str:
        return NEITHER

    def valid(self) -> bool:
        return no_less(self.scale, 1)

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 1, "scale")


@dataclass(frozen=True, slots=True)
class Narrow(Layer):
    """Take the channels from `start` on, `count` of them; the first channel is 0."""

    start: int
    count: int

    family: ClassVar[str] = "narrow"

    @property
    def out_channels(self) -> int:
        return self.count

    @property
    def saves(self) -> str:
        return NEITHER

    def view(self, training: bool) -> bool:
        return True

    def valid(self) -> bool:
        return (self.start >= 0) & (self.count >= 1) & (self.start + self.count <= self.channels)

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 0, "start")
        yield from check_layer_at_least(self, 1, "count")
        if self.start + self.count > self.channels:
            yield (
                "count",
                f"channels {self.start} to {self.start + self.count - 1}, but the input has only "
                f"{self.channels}",
            )


def _upsample_shrinking(scale: Any) -> Any:
    """Return the stride of a map that grows `scale` times."""
    # A fraction of numbers that differ between architectures would not be exact in arrays.
    return 1 if scale == 1 else Fraction(1, index(scale))


def _positions_before_nearest_upsample(scale: Any) -> Any:
    """Return how far before i / scale the position i reads at most: it reads position i // scale."""
    return Fraction(index(scale) - 1, index(scale)) if scale != 1 else 0


def _positions_before_linear_upsample(scale: Any) -> Any:
    return (
        _linear_upsample_fraction(scale) + Fraction(index(scale) - 1, 2 * index(scale)) if scale != 1 else 0
    )


def _positions_after_linear_upsample(scale: Any) -> Any:
    return (
        _linear_upsample_fraction(scale) - Fraction(index(scale) - 1, 2 * index(scale)) if scale != 1 else 0
    )


def _linear_upsample_fraction(scale: Any) -> Fraction:
    """Return the largest distance to a position that interpolation at (i + 1/2) / scale - 1/2 reads."""
    wide = 2 * index(scale)
    return Fraction(wide - 1 - index(scale) % 2, wide)
