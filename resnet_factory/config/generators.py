"""Per-stage fields from a few numbers: RegNet's widths, CIFAR networks' nominal depth, compound scaling."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, Protocol

from resnet_factory.layers.expressions import divisible

Stages = dict[str, list[int]]
"""Field of the model -> its values per stage."""


class StageGenerator(Protocol):
    """A generator of per-stage fields."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the faults: the name of an argument and a message."""

    def stages(self) -> Stages:
        """Return the generated fields; only called if there are no faults."""


def generated_block_width(
    initial: Any,
    slope: Any,
    multiplier: Any,
    block: Any,
    log: Callable[[Any], Any] = math.log,
    rint: Callable[[Any], Any] = round,
) -> Any:
    """Return the width of a block of RegNet; works on NumPy arrays of many networks as well."""
    step = rint(log((initial + slope * block) / initial) / log(multiplier))
    return rint(initial * multiplier**step / 8) * 8


@dataclass(frozen=True, slots=True)
class RegNetGenerator:
    """Linearly growing widths, quantised (Radosavovic et al. 2020, eq. 2-4).

    u_j = initial_width + slope * j; s_j = log(u_j / initial_width) / log(multiplier);
    w_j = initial_width * multiplier ** round(s_j), rounded to a multiple of 8. Blocks of equal width form a
    stage. Each width is then rounded to a multiple of the group width: to the nearest (pycls, timm) or, with
    `divisible`, to one that is at least nine tenths of it (torchvision).
    """

    initial_width: int
    slope: float
    multiplier: float
    depth: int
    group_width: int
    ratio: float = 1.0
    rounding: Literal["nearest", "divisible"] = "nearest"

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the faults: the name of an argument and a message."""
        if self.initial_width < 8 or self.initial_width % 8:
            yield "initial_width", f"{self.initial_width} is not a positive multiple of 8"
        if self.slope < 0:
            yield "slope", f"{self.slope} is negative; widths cannot decrease"
        if self.multiplier <= 1:
            yield "multiplier", f"{self.multiplier} is not greater than 1"
        if not 1 <= self.depth <= 10_000:
            yield "depth", f"{self.depth} is not between 1 and 10000"
        if self.group_width < 1:
            yield "group_width", f"{self.group_width} is less than 1"
        if self.initial_width * self.ratio < 1:
            yield "ratio", f"{self.ratio} leaves no channels of a width of {self.initial_width}"

    def stages(self) -> Stages:
        """Return depths, widths and groups."""
        widths = [
            generated_block_width(self.initial_width, self.slope, self.multiplier, block)
            for block in range(self.depth)
        ]
        depths = [len(list(same)) for _, same in groupby(widths)]
        fitted = [self._fit(width) for width in dict.fromkeys(widths)]
        return {
            "depths": depths,
            "widths": [width for width, _ in fitted],
            "groups": [groups for _, groups in fitted],
        }

    def _fit(self, width: int) -> tuple[int, int]:
        inner = int(width * self.ratio)
        group = min(self.group_width, inner)
        fits = round(inner / group) * group if self.rounding == "nearest" else divisible(inner, group)
        return int(fits / self.ratio), fits // group


@dataclass(frozen=True, slots=True)
class CifarGenerator:
    """Three equal stages from the nominal depth, 3 * convolutions * n + 2 (He et al. 2015, section 4.2).

    `convolutions` is the number per block: 2 (basic) or 3 (bottleneck). Wide ResNets count four layers
    outside the blocks instead of two (Zagoruyko & Komodakis 2016): `outside: 4`.
    """

    depth: int
    convolutions: int = 2
    outside: int = 2

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the faults: the name of an argument and a message."""
        if self.convolutions < 1:
            yield "convolutions", f"{self.convolutions} is less than 1"
            return
        per_depth = 3 * self.convolutions
        if self.depth < per_depth + self.outside or (self.depth - self.outside) % per_depth:
            below = max((self.depth - self.outside) // per_depth, 1) * per_depth + self.outside
            nearest = f"nearest are {below} and {below + per_depth}"
            yield "depth", f"{self.depth} is not {per_depth} n + {self.outside}; {nearest}"

    def stages(self) -> Stages:
        """Return the depths."""
        return {"depths": [(self.depth - self.outside) // (3 * self.convolutions)] * 3}


@dataclass(frozen=True, slots=True)
class ScaledGenerator:
    """Depths and widths of a base network, multiplied (Tan & Le 2019, section 3.3; timm's rounding).

    Depths are rounded up, widths to a multiple of `divisor` that is at least nine tenths of the product.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    depth: float = 1.0
    width: float = 1.0
    divisor: int = 8

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the faults: the name of an argument and a message."""
        for name, factor in (("depth", self.depth), ("width", self.width)):
            if factor <= 0:
                yield name, f"{factor} is not greater than 0"
        if self.divisor < 1:
            yield "divisor", f"{self.divisor} is less than 1"
        if len(self.depths) != len(self.widths):
            yield "depths", f"{len(self.depths)} stages, but 'widths' has {len(self.widths)}"

    def stages(self) -> Stages:
        """Return depths and widths."""
        return {
            "depths": [math.ceil(depth * self.depth) for depth in self.depths],
            "widths": [divisible(width * self.width, self.divisor) for width in self.widths],
        }


GENERATORS: dict[str, type[RegNetGenerator] | type[CifarGenerator] | type[ScaledGenerator]] = {
    "regnet": RegNetGenerator,
    "cifar": CifarGenerator,
    "scaled": ScaledGenerator,
}
"""The name in a model file -> the generator."""
