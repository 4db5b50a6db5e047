"""Pooling layers: over a window, or over the whole map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from resnet_factory.layers.axes import (
    SAME,
    Axes,
    Padding,
    Size,
    axes_product,
    axes_text,
    axis_entry,
    axis_padding,
    combine_axes,
    is_uneven_padding,
    no_less,
    same_padding,
)
from resnet_factory.layers.convolution import convolution_reach
from resnet_factory.layers.layer import (
    INPUT,
    MAP,
    NEITHER,
    POINT,
    Fault,
    Layer,
    check_layer_at_least,
    layer_window,
    positions,
)


@dataclass(frozen=True, slots=True)
class Pool(Layer):
    """Base of all sliding-window pools. `padding` defaults to (kernel - 1) // 2.

    Kernel, stride and padding are one number, or one per axis; padding may differ per side, or be `same`: the
    map is then padded before it is pooled (a maximum ignores the padding, a mean counts it as zeros).
    """

    kernel: Axes
    stride: Axes = 1
    padding: Padding = 0
    ceil_mode: bool = False

    numbered: ClassVar[bool] = False

    @classmethod
    def complete(cls, arguments: dict[str, Any]) -> None:
        if arguments.get("padding") is None:
            arguments["padding"] = combine_axes(lambda k: (k - 1) // 2, arguments.get("kernel", 1))

    @property
    def step(self) -> Axes:
        return self.stride

    @property
    def reach(self) -> tuple[Axes, Axes] | None:
        return convolution_reach(self.kernel, self.stride, self.padding, 1, self.dims)

    @property
    def padded_first(self) -> bool:
        """Whether the map is padded before it is pooled: torch's own padding is the same on both sides."""
        return is_uneven_padding(self.padding)

    def size(self, side: int, axis: int = 0) -> int:
        kernel, stride = axis_entry(self.kernel, axis), axis_entry(self.stride, axis)
        if self.padding == SAME:
            return -(-side // stride)
        before, after = axis_padding(self.padding, axis)
        if not self.ceil_mode:
            return layer_window(side, kernel, stride, before + after)
        out = -(-(side + before + after - kernel) // stride) + 1
        # torch drops a last window that would start in the right or bottom padding.
        inside = side + before + after * self.padded_first
        return out - ((out - 1) * stride >= inside)

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        if not self.padded_first:
            return 0
        if self.padding == SAME:
            longer = tuple(
                side + same_padding(side, axis_entry(self.kernel, axis), axis_entry(self.stride, axis), 1)
                for axis, side in enumerate(size)
            )
        else:
            longer = tuple(side + sum(axis_padding(self.padding, axis)) for axis, side in enumerate(size))
        return self.channels * positions(longer) * itemsize

    def valid(self) -> bool:
        good = no_less(self.kernel, 1) & no_less(self.stride, 1)
        return good & (self.padded_first or (no_less(self.padding, 0) & self._padding_fits()))

    def _padding_fits(self) -> bool:
        """Return whether no window lies in the padding alone."""
        return no_less(combine_axes(lambda k, p: k - 2 * p, self.kernel, self.padding), 0)

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 1, "kernel", "stride")
        if not self.padded_first:
            yield from check_layer_at_least(self, 0, "padding")
            if not self._padding_fits():
                yield (
                    "padding",
                    f"{axes_text(self.padding)} is more than half of kernel {axes_text(self.kernel)}",
                )


@dataclass(frozen=True, slots=True)
class MaxPool(Pool):
    """Maximum over a window."""

    family: ClassVar[str] = "maxpool"

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        # The position of each maximum, as 64-bit indices.
        indices = 8 * self.channels * positions(self.output(size))
        return indices + Pool.extra_bytes(self, size, itemsize, training)


@dataclass(frozen=True, slots=True)
class AvgPool(Pool):
    """Mean over a window; with `count_include_pad`, padding counts as zeros in the mean.

    `extend` first pads that many zeros at the right and bottom: TensorFlow's SAME for kernel 2, stride 1.
    """

    count_include_pad: bool = True
    extend: int = 0

    family: ClassVar[str] = "avgpool"

    def size(self, side: int, axis: int = 0) -> int:
        # torch refuses to pool a volume with a kernel larger than the map, whatever its padding.
        fits = (side >= axis_entry(self.kernel, axis)) | (self.dims < 3)
        return Pool.size(self, side + self.extend, axis) * fits

    @property
    def saves(self) -> str:
        return NEITHER if self.extend or self.padded_first or self.view(True) else INPUT

    def view(self, training: bool) -> bool:
        return self.kernel == self.stride == 1 and not self.padded_first

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        longer = tuple(side + self.extend for side in size)
        extended = self.channels * positions(longer) * itemsize * (self.extend > 0)
        return extended + Pool.extra_bytes(self, longer, itemsize, training)


@dataclass(frozen=True, slots=True)
class BlurPool(Layer):
    """Fixed binomial filter, [1 2 1]² / 16 in 2 dimensions, reflection padding and a stride (Zhang 2019).

    Its MACs are counted as those of a depthwise convolution; it has no parameters.
    """

    stride: int = 2

    family: ClassVar[str] = "blur"
    numbered: ClassVar[bool] = False
    accepts: ClassVar[tuple[str, ...]] = (MAP,)
    counted: ClassVar[bool] = True

    @property
    def step(self) -> int:
        return self.stride

    def size(self, side: int, axis: int = 0) -> int:
        # The padding is (stride + 1) // 2 (timm get_padding); reflection needs a larger map.
        border = (self.stride + 1) // 2
        return layer_window(side, 3, self.stride, 2 * border) * (side > border)

    @property
    def reach(self) -> tuple[int, int] | None:
        border = (self.stride + 1) // 2
        return border, 2 - border

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        both = 2 * ((self.stride + 1) // 2)
        return self.channels * positions(tuple(side + both for side in size)) * itemsize  # the padded map

    def buffers(self, itemsize: int) -> int:
        return axes_product(3, self.dims) * self.channels * itemsize  # the filter, once for each channel

    def macs(self, positions: int) -> int:
        return positions * self.channels * axes_product(3, self.dims)

    def valid(self) -> bool:
        return self.stride > 0

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 1, "stride")


@dataclass(frozen=True, slots=True)
class GlobalPool(Layer):
    """Mean over the whole map: (C, H, W) -> (C, 1, 1) in 2 dimensions."""

    family: ClassVar[str] = "avgpool"
    numbered: ClassVar[bool] = False

    @property
    def produces(self) -> str | None:
        return POINT

    def size(self, side: int, axis: int = 0) -> int:
        return side * 0 + 1

    @property
    def reach(self) -> tuple[int, int] | None:
        return None

    @property
    def saves(self) -> str:
        return NEITHER
