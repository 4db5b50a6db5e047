"""Convolution and linear layers: every layer that multiplies by a weight matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import is_
from typing import Any, ClassVar

from resnet_factory.layers.axes import (
    SAME,
    Axes,
    Padding,
    Size,
    axes_product,
    axis_entry,
    axis_padding,
    combine_axes,
    merge_axes,
    no_less,
)
from resnet_factory.layers.layer import FLAT, POINT, Fault, Layer, check_layer_at_least, layer_window


@dataclass(frozen=True, slots=True)
class Conv(Layer):
    """Convolution. `padding` defaults to dilation * (kernel - 1) // 2: stride 1 keeps the size.

    Kernel, stride, padding and dilation are one number, or one per axis; padding may differ per side, and
    `same` pads so that ceil(side / stride) positions are left, more zeros after than before (TensorFlow).
    `init` multiplies the initial weights; 0 starts a residual branch at zero (Fixup, Zhang et al. 2019).
    """

    to: int
    kernel: Axes = 1
    stride: Axes = 1
    padding: Padding = 0
    dilation: Axes = 1
    groups: int = 1
    bias: bool = False
    init: float = 1.0

    family: ClassVar[str] = "conv"
    counted: ClassVar[bool] = True

    @classmethod
    def complete(cls, arguments: dict[str, Any]) -> None:
        if arguments.get("padding") is None:
            kernel, dilation = arguments.get("kernel", 1), arguments.get("dilation", 1)
            arguments["padding"] = combine_axes(lambda k, d: d * (k - 1) // 2, kernel, dilation)

    @property
    def out_channels(self) -> int:
        return self.to

    @property
    def step(self) -> Axes:
        return self.stride

    def size(self, side: int, axis: int = 0) -> int:
        stride = axis_entry(self.stride, axis)
        if self.padding == SAME:
            return -(-side // stride)
        before, after = axis_padding(self.padding, axis)
        return layer_window(
            side, axis_entry(self.kernel, axis), stride, before + after, axis_entry(self.dilation, axis)
        )

    def output(self, size: Size) -> Size:
        kernel, stride, padding, dilation = self.kernel, self.stride, self.padding, self.dilation
        if not (
            type(kernel) is type(stride) is type(padding) is type(dilation) is int
            and all(map(is_, size, size[1:]))
        ):
            return super(Conv, self).output(size)
        # Equal along all axes, as most are: computed once.
        side = layer_window(size[0], kernel, stride, 2 * padding, dilation)
        return size if side is size[0] else (side,) * len(size)

    @property
    def reach(self) -> tuple[Axes, Axes] | None:
        return convolution_reach(self.kernel, self.stride, self.padding, self.dilation, self.dims)

    def params(self) -> int:
        return (
            axes_product(self.kernel, self.dims) * self.channels // self.groups * self.to
            + self.bias * self.to
        )

    def biases(self) -> int:
        return self.bias * self.to

    def macs(self, positions: int) -> int:
        return positions * axes_product(self.kernel, self.dims) * self.to * (self.channels // self.groups)

    def valid(self) -> bool:
        return (self.to > 0) & no_less(self.kernel, 1) & no_less(self.stride, 1) & (
            self.padding == SAME or no_less(self.padding, 0)
        ) & no_less(self.dilation, 1) & (self.groups > 0) and (self.channels % self.groups == 0) & (
            self.to % self.groups == 0
        )

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 1, "to", "kernel", "stride", "dilation", "groups")
        # The default follows from these.
        if no_less(self.kernel, 1) and no_less(self.dilation, 1) and self.padding != SAME:
            yield from check_layer_at_least(self, 0, "padding")
        if self.groups > 0:
            for channels, which in ((self.channels, "input"), (self.to, "output")):
                if channels % self.groups:
                    yield (
                        "groups",
                        f"{channels} {which} channels are not divisible by {self.groups} groups"
                        f"; nearest that work: {_nearest_multiples_of_groups(channels, self.groups)} channels"
                        f", or {_nearest_divisors_for_groups(channels, self.groups)} groups",
                    )


@dataclass(frozen=True, slots=True)
class StandardizedConv(Conv):
    """Convolution whose weight is standardised per output channel (Qiao et al. 2019; timm StdConv2d)."""

    eps: float = 1e-6

    def workspace(self) -> int:
        return self.macs(1)


@dataclass(frozen=True, slots=True)
class ScaledConv(Conv):
    """Scaled weight standardisation with a gain (Brock et al. 2021a; timm ScaledStdConv2d).

    The standardised weight is multiplied by gamma / sqrt(fan-in) and by a trained gain per channel,
    which starts at `init`.
    """

    eps: float = 1e-5
    gamma: float = 1.0

    def workspace(self) -> int:
        return self.macs(1)

    def params(self) -> int:
        weights = axes_product(self.kernel, self.dims) * self.channels // self.groups * self.to
        return weights + (1 + self.bias) * self.to


@dataclass(frozen=True, slots=True)
class ChannelConv(Layer):
    """One-dimensional convolution along the channels of a 1x1 map (ECA, Wang et al. 2019): k weights."""

    kernel: int

    family: ClassVar[str] = "conv"
    accepts: ClassVar[tuple[str, ...]] = (POINT,)
    counted: ClassVar[bool] = True

    def params(self) -> int:
        return self.kernel

    def macs(self, positions: int) -> int:
        return positions * self.channels * self.kernel

    def valid(self) -> bool:
        return (self.kernel > 0) & (self.kernel % 2 == 1)

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 1, "kernel")
        if self.kernel % 2 == 0:
            yield "kernel", f"{self.kernel} is even; {self.kernel - 1} or {self.kernel + 1} would do"


@dataclass(frozen=True, slots=True)
class Linear(Layer):
    """Fully connected layer."""

    to: int
    bias: bool = True
    init: float = 1.0

    family: ClassVar[str] = "fc"
    numbered: ClassVar[bool] = False
    accepts: ClassVar[tuple[str, ...]] = (FLAT,)
    counted: ClassVar[bool] = True

    @property
    def out_channels(self) -> int:
        return self.to

    def params(self) -> int:
        return self.channels * self.to + self.bias * self.to

    def biases(self) -> int:
        return self.bias * self.to

    def macs(self, positions: int) -> int:
        return self.channels * self.to

    def valid(self) -> bool:
        return self.to > 0

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 1, "to")


def convolution_reach(
    kernel: Axes, stride: Axes, padding: Padding, dilation: Axes, dims: int
) -> tuple[Axes, Axes]:
    """Return the positions that a window reads before and after its first one; see `Layer.reach`.

    The padding of `same` depends on the size of the map; this is that of a side divisible by the stride.
    """
    if padding == SAME:
        before: Axes = combine_axes(
            lambda k, s, d: max(d * (k - 1) + 1 - s, 0) // 2, kernel, stride, dilation
        )
    else:
        before = merge_axes(tuple(axis_padding(padding, axis)[0] for axis in range(dims)))
    return before, combine_axes(lambda k, d, b: d * (k - 1) - b, kernel, dilation, before)


def _nearest_multiples_of_groups(value: int, factor: int) -> str:
    below = value // factor * factor
    return " or ".join(str(near) for near in (below, below + factor) if near)


def _nearest_divisors_for_groups(value: int, wanted: int) -> str:
    divisors = [d for d in range(1, min(value, 4096) + 1) if value % d == 0]
    below = max((d for d in divisors if d <= wanted), default=1)
    above = min((d for d in divisors if d > wanted), default=below)
    return " or ".join(dict.fromkeys((str(below), str(above))))
