"""Dimensions of a design space: choices and ranges, and how they are drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from resnet_factory.errors import Fault, one_of, unknown
from resnet_factory.sweep.vector import Array

DISTRIBUTIONS = ("choice", "range", "log", "uniform")
DIMENSION_KEYS = (*DISTRIBUTIONS, "step", "each")


@dataclass(frozen=True)
class Dimension:
    """A key and the values it may have."""

    key: str
    kind: str
    """One of DISTRIBUTIONS."""
    values: tuple[Any, ...] = ()
    """The choices."""
    low: float = 0
    high: float = 0
    step: float = 1
    """Integers are multiples of it; 0 stands for real numbers."""

    @property
    def count(self) -> int | None:
        """Return the number of values; None for real numbers."""
        if self.kind == "choice":
            return len(self.values)
        return None if self.step == 0 else int(self.high // self.step - -(-self.low // self.step)) + 1

    @property
    def numeric(self) -> bool:
        """Return whether all values are numbers."""
        return self.kind != "choice" or all(
            isinstance(value, (int, float)) and not isinstance(value, bool) for value in self.values
        )

    def grid(self, index: Array) -> Array:
        """Return the values at indices 0 to `count` - 1 of a grid; choices stay indices."""
        return index if self.kind == "choice" else self._multiples(-(-self.low // self.step) + index)

    def sample(self, unit: Array) -> Array:
        """Return values for uniform numbers in [0, 1); choices as indices.

        `log` is log-uniform, rounded to a multiple of `step` (Radosavovic et al. 2020, section 3.1);
        `range` is uniform over the multiples of `step`.
        """
        if self.kind == "uniform" and self.step == 0:
            return self.low + unit * (self.high - self.low)
        if self.kind == "log":
            low, high = math.log(self.low), math.log(self.high)
            values = np.exp(low + unit * (high - low))
            return values if self.step == 0 else self._multiples(np.rint(values / self.step))
        count = self.count
        assert count is not None
        return self.grid(np.minimum((unit * count).astype(np.int64), count - 1))

    def _multiples(self, index: Array) -> Array:
        values = index * self.step
        return np.rint(values).astype(np.int64) if float(self.step).is_integer() else values

    def shown(self, value: Any) -> Any:
        """Return a sampled value; a choice itself for its index."""
        return self.values[int(value)] if self.kind == "choice" else value

    def at(self, key: str) -> Dimension:
        """Return the same values for another key."""
        return replace(self, key=key)


def read_dimension(key: str, data: Any, path: str, faults: list[Fault]) -> tuple[Dimension, bool]:
    """Return a dimension read from YAML, and whether it is one per stage.

    A number or a text is fixed; `{choice: […]}`, `{range: [low, high], step: 1}`, `{log: [low, high],
    step: 1}` and `{uniform: [low, high]}` vary, ends included. `each: stage` draws one value per stage.
    """
    if not isinstance(data, Mapping):
        return Dimension(key, "choice", (data,)), False
    before = len(faults)

    def check(good: object, place: str, message: str) -> None:
        if not good:
            faults.append(Fault(f"{path}{place}", message))

    each = data.get("each")
    check(each in (None, "stage"), ".each", f"expected 'stage', found {each!r}")
    for word in data:
        check(word in DIMENSION_KEYS, f".{word}", unknown("key", str(word), DIMENSION_KEYS))
    kinds = [kind for kind in DISTRIBUTIONS if kind in data]
    found = one_of(kinds) if kinds else "none"
    check(len(kinds) == 1, "", f"expected one of {one_of(DISTRIBUTIONS)}, found {found}")
    kind = kinds[0] if kinds else "choice"
    values, staged = data.get(kind), each == "stage"
    if len(kinds) == 1 and kind == "choice":
        check(isinstance(values, list) and values, ".choice", f"expected a list of choices, found {values!r}")
    elif len(kinds) == 1:
        pair = isinstance(values, list) and len(values) == 2 and all(map(_is_finite, values))
        check(pair, f".{kind}", f"expected [low, high], found {values!r}")
    if not isinstance(values, list) or (len(faults) > before and kind != "choice"):
        return Dimension(key, "choice", (0,)), staged
    if kind == "choice":
        return Dimension(key, kind, tuple(map(_as_tuple, values))), staged
    low, high = values
    step = data.get("step", 0 if kind == "uniform" or not all(isinstance(v, int) for v in values) else 1)
    check(low <= high, f".{kind}", f"{low} is more than {high}")
    good = _is_finite(step) and step >= 0
    check(good, ".step", f"expected a number of at least 0, found {step!r}")
    logarithm = f"{low} has no logarithm; a log-uniform range begins above 0"
    check(kind != "log" or low > 0, ".log", logarithm)
    whole = good and step and float(step).is_integer()
    multiples = f"{low} to {high} does not begin and end at a multiple of {step}"
    check(not (whole and (low % step or high % step)), f".{kind}", multiples)
    if kind == "range" and not step:
        kind = "uniform"
    return Dimension(key, kind, (), low, high, step if good else 1), staged


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
