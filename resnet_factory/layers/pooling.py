"""Pooling layers: over a window, or over the whole map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from resnet_factory.layers.layer import INPUT, MAP, NEITHER, POINT, Fault, Layer, at_least, window


@dataclass(frozen=True, slots=True)
class Pool(Layer):
    """Base of all sliding-window pools. `padding` defaults to (kernel - 1) // 2."""

    kernel: int
    stride: int = 1
    padding: int = 0
    ceil_mode: bool = False

    numbered: ClassVar[bool] = False

    @classmethod
    def complete(cls, arguments: dict[str, Any]) -> None:
        if arguments.get("padding") is None:
            arguments["padding"] = (arguments.get("kernel", 1) - 1) // 2

    @property
    def step(self) -> int:
        return self.stride

    @property
    def reach(self) -> tuple[int, int] | None:
        return self.padding, self.kernel - 1 - self.padding

    def size(self, side: int) -> int:
        if not self.ceil_mode:
            return window(side, self.kernel, self.stride, self.padding)
        out = -(-(side + 2 * self.padding - self.kernel) // self.stride) + 1
        # torch drops a last window that would start in the right or bottom padding.
        return out - ((out - 1) * self.stride >= side + self.padding)

    def valid(self) -> bool:
        return (self.kernel > 0) & (self.stride > 0) & (self.padding >= 0) & (2 * self.padding <= self.kernel)

    def faults(self) -> Iterator[Fault]:
        yield from at_least(self, 1, "kernel", "stride")
        yield from at_least(self, 0, "padding")
        if 2 * self.padding > self.kernel:
            yield "padding", f"{self.padding} is more than half of kernel {self.kernel}"


@dataclass(frozen=True, slots=True)
class MaxPool(Pool):
    """Maximum over a window."""

    family: ClassVar[str] = "maxpool"

    def extra_bytes(self, height: int, width: int, itemsize: int, training: bool) -> int:
        # The position of each maximum, as 64-bit indices.
        return 8 * self.channels * self.size(height) * self.size(width)


@dataclass(frozen=True, slots=True)
class AvgPool(Pool):
    """Mean over a window; with `count_include_pad`, padding counts as zeros in the mean.

    `extend` first pads that many zeros at the right and bottom: TensorFlow's SAME for kernel 2, stride 1.
    """

    count_include_pad: bool = True
    extend: int = 0

    family: ClassVar[str] = "avgpool"

    def size(self, side: int) -> int:
        return Pool.size(self, side + self.extend)

    @property
    def saves(self) -> str:
        return NEITHER if self.extend or self.view(True) else INPUT

    def view(self, training: bool) -> bool:
        return self.kernel == self.stride == 1

    def extra_bytes(self, height: int, width: int, itemsize: int, training: bool) -> int:
        longer = (height + self.extend) * (width + self.extend)  # the padded map
        return self.channels * longer * itemsize * (self.extend > 0)


@dataclass(frozen=True, slots=True)
class BlurPool(Layer):
    """Fixed binomial filter [1 2 1]² / 16 with reflection padding and a stride (Zhang 2019).

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

    def size(self, side: int) -> int:
        # The padding is (stride + 1) // 2 (timm get_padding); reflection needs a larger map.
        border = (self.stride + 1) // 2
        return window(side, 3, self.stride, border) * (side > border)

    @property
    def reach(self) -> tuple[int, int] | None:
        border = (self.stride + 1) // 2
        return border, 2 - border

    def extra_bytes(self, height: int, width: int, itemsize: int, training: bool) -> int:
        both = 2 * ((self.stride + 1) // 2)
        return self.channels * (height + both) * (width + both) * itemsize  # the padded map

    def buffers(self, itemsize: int) -> int:
        return 9 * self.channels * itemsize  # the filter, once for each channel

    def macs(self, area: int) -> int:
        return area * self.channels * 9

    def valid(self) -> bool:
        return self.stride > 0

    def faults(self) -> Iterator[Fault]:
        yield from at_least(self, 1, "stride")


@dataclass(frozen=True, slots=True)
class GlobalPool(Layer):
    """Mean over the whole map: (C, H, W) -> (C, 1, 1)."""

    family: ClassVar[str] = "avgpool"
    numbered: ClassVar[bool] = False
    produces: ClassVar[str | None] = POINT

    def size(self, side: int) -> int:
        return side * 0 + 1

    @property
    def reach(self) -> tuple[int, int] | None:
        return None

    @property
    def saves(self) -> str:
        return NEITHER
