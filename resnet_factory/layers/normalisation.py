"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from resnet_factory.layers.axes import Size
from resnet_factory.layers.convolution import _nearest_divisors_for_groups
from resnet_factory.layers.layer import NEITHER, Fault, Layer, check_layer_at_least, positions


@dataclass(frozen=True, slots=True)
class Norm(Layer):
    """Base of all normalisation layers: a weight and a bias per channel, and the names bn1, bn2 and so on."""

    eps: float = 1e-5
    zero_init: bool = False
    """Start with weight 0, so that a residual branch begins as the identity (Goyal et al. 2017)."""

    family: ClassVar[str] = "bn"
    elementwise: ClassVar[bool] = True

    def params(self) -> int:
        return 2 * self.channels

    def valid(self) -> bool:
        return self.eps >= 0

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 0, "eps")


@dataclass(frozen=True, slots=True)
class BatchNorm(Norm):
    """Batch normalisation (Ioffe & Szegedy 2015). `momentum` as in torch: weight of the new statistics."""

    momentum: float = 0.1

    def buffers(self, itemsize: int) -> int:
        return 2 * self.channels * itemsize + 8  # running mean and variance; a 64-bit counter of batches

    def valid(self) -> bool:
        return (self.eps >= 0) & (self.momentum >= 0) & (self.momentum <= 1)

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 0, "eps")
        if not 0 <= self.momentum <= 1:
            yield "momentum", f"{self.momentum} is not between 0 and 1"


@dataclass(frozen=True, slots=True)
class GroupNorm(Norm):
    """Group normalisation (Wu & He 2018), over `groups` groups of channels."""

    groups: int = 32

    def valid(self) -> bool:
        return (self.eps >= 0) & (self.groups > 0) and self.channels % self.groups == 0

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 0, "eps")
        yield from check_layer_at_least(self, 1, "groups")
        if self.groups > 0 and self.channels % self.groups:
            yield (
                "groups",
                f"{self.channels} channels are not divisible by {self.groups} groups"
                f"; {_nearest_divisors_for_groups(self.channels, self.groups)} groups would do",
            )


@dataclass(frozen=True, slots=True)
class LayerNorm(Norm):
    """Layer normalisation over the channels of each position (Ba et al. 2016; ConvNeXt's LayerNorm2d)."""

    @property
    def saves(self) -> str:
        return NEITHER

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        return self.channels * positions(size) * itemsize  # the input with its channels last


@dataclass(frozen=True, slots=True)
class EvoNorm(GroupNorm):
    """EvoNorm-S0 (Liu et al. 2020), norm and nonlinearity in one; `act: false` keeps only weight and bias."""

    act: bool = True

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        return ((4 if training else 3) if self.act else 1) * self.channels * positions(size) * itemsize

    def params(self) -> int:
        return (2 + self.act) * self.channels


@dataclass(frozen=True, slots=True)
class FilterResponseNorm(Norm):
    """Filter response normalisation with its thresholded linear unit (Singh & Krishnan 2019)."""

    act: bool = True

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        return (2 if self.act else 1) * self.channels * positions(size) * itemsize

    def params(self) -> int:
        return (2 + self.act) * self.channels


@dataclass(frozen=True, slots=True)
class GlobalResponseNorm(Layer):
    """Global response normalisation (Woo et al. 2023, ConvNeXt V2): scale channels by their relative norm.

    x + weight * x * n + bias, n a channel's Euclidean norm over its positions, divided by the channels' mean;
    weight and bias start at zero.
    """

    eps: float = 1e-6

    family: ClassVar[str] = "grn"
    numbered: ClassVar[bool] = False
    elementwise: ClassVar[bool] = True

    def params(self) -> int:
        return 2 * self.channels

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        # x * n, in inference also the sum that is added to x; the norms, and in training they divided.
        area = positions(size)
        elements = self.channels * (area + 2) + 1 if training else self.channels * (2 * area + 1)
        return elements * itemsize

    def scratch_bytes(self, size: Size, itemsize: int, batch: int) -> int:
        return self.channels * positions(size) * itemsize * batch

    def valid(self) -> bool:
        return self.eps >= 0

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 0, "eps")
