"""Dimensions of a design space: choices and ranges, and how they are drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from resnet_factory.errors import Fault, one_of, unknown
from resnet_factory.sweep.vector import Array

DISTRIBUTIONS = ("choice", "range", "log", "uniform")
DIMENSION_KEYS = (*DISTRIBUTIONS, "step", "rounding", "each")
LOG_UP = "log_up"
"""The kind of a log-uniform dimension whose numbers are rounded up."""
MOST_VALUES = 4096
"""The most values of a dimension whose probabilities are computed."""


@dataclass(frozen=True)
class Dimension:
    """A key and the values it may have."""

    key: str
    kind: str
    """One of DISTRIBUTIONS, or LOG_UP."""
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

    @property
    def range_text(self) -> str:
        """Return the values as text."""
        if self.kind == "choice":
            return one_of(json.dumps(value) for value in self.values)
        return f"a number from {self.low:g} to {self.high:g}"

    def grid(self, index: Array) -> Array:
        """Return the values at indices 0 to `count` - 1 of a grid; choices stay indices."""
        return index if self.kind == "choice" else self._multiples(-(-self.low // self.step) + index)

    def sample(self, unit: Array) -> Array:
        """Return values for uniform numbers in [0, 1); choices as indices.

        `log` is log-uniform, rounded to a multiple of `step` (Radosavovic et al. 2020, section 3.1), with
        `rounding: up` from above `low - min(step, low / 2)` on, so that the ends are as likely as their
        neighbours (pycls, sweep/random.py); `range` is uniform over the multiples of `step`.
        """
        if self.kind == "uniform" and self.step == 0:
            return self.low + unit * (self.high - self.low)
        if self.kind == LOG_UP:
            ratio = math.log(self.high / self._below)
            index = np.ceil(self.high * np.exp(-unit * ratio) / self.step)
            return self._multiples(np.minimum(index, self.high // self.step))
        if self.kind == "log":
            low, high = math.log(self.low), math.log(self.high)
            values = np.exp(low + unit * (high - low))
            return values if self.step == 0 else self._multiples(np.rint(values / self.step))
        count = self.count
        assert count is not None
        return self.grid(np.minimum((unit * count).astype(np.int64), count - 1))

    @property
    def _below(self) -> float:
        """Return where rounding up begins."""
        return self.low - min(self.step, self.low / 2)

    def support(self) -> tuple[Array, Array] | None:
        """Return all values that `sample` returns, in order, and their probabilities.

        None for real numbers, and for more than MOST_VALUES values.
        """
        count = self.count
        if count is None or count > MOST_VALUES:
            return None
        if self.kind not in ("log", LOG_UP):
            return self.grid(np.arange(count)), np.full(count, 1 / count)
        up = self.kind == LOG_UP
        index = np.arange(np.rint(self.low / self.step), np.rint(self.high / self.step) + 1)
        edges = (np.append(index - 1, index[-1]) + (0 if up else 0.5)) * self.step
        if not up:
            edges[-1] = self.high
        edges = np.clip(edges, self._below if up else self.low, self.high)
        return self._multiples(index), np.diff(np.log(edges)) / math.log(edges[-1] / edges[0])

    def numbers(self, values: Array) -> Array:
        """Return sampled values as numbers: choices of numbers by value, not by index."""
        return np.array(self.values)[values] if self.kind == "choice" else values

    def _multiples(self, index: Array) -> Array:
        values = index * self.step
        if self.kind == LOG_UP and not float(self.step).is_integer():  # 361 * 0.1 is 36.1 there
            return np.asarray(np.round(values, 12))
        return np.rint(values).astype(np.int64) if float(self.step).is_integer() else values

    def shown(self, value: Any) -> Any:
        """Return a sampled value; a choice itself for its index."""
        return self.values[int(value)] if self.kind == "choice" else value

    def nearest(self, value: Any) -> Any:
        """Return the sampled value nearest to a number, or that of a choice; None for any other."""
        if self.kind == "choice":
            wanted = _dimension_choice_as_tuple(value)
            same = [i for i, own in enumerate(self.values) if own == wanted and type(own) is type(wanted)]
            return next(iter(same or [i for i, own in enumerate(self.values) if own == wanted]), None)
        if not _is_dimension_bound(value) or not self.low <= value <= self.high:
            return None
        if not self.step:
            return float(value)
        least, most = -(-self.low // self.step), self.high // self.step
        return self._multiples(np.clip(np.rint(value / self.step), least, most)).item()

    def at(self, key: str) -> Dimension:
        """Return the same values for another key."""
        return replace(self, key=key)


def read_dimension(key: str, data: Any, path: str, faults: list[Fault]) -> tuple[Dimension, bool]:
    """Return a dimension read from YAML, and whether it is one per stage.

    A number or a text is fixed; `{choice: […]}`, `{range: [low, high], step: 1}`, `{log: [low, high],
    step: 1}` and `{uniform: [low, high]}` vary, ends included. `each: stage` draws one value per stage,
    and `rounding: up` rounds a log-uniform number up rather than to the nearest multiple.
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
        pair = isinstance(values, list) and len(values) == 2 and all(map(_is_dimension_bound, values))
        check(pair, f".{kind}", f"expected [low, high], found {values!r}")
    if not isinstance(values, list) or (len(faults) > before and kind != "choice"):
        return Dimension(key, "choice", (0,)), staged
    if kind == "choice":
        return Dimension(key, kind, tuple(map(_dimension_choice_as_tuple, values))), staged
    low, high = values
    step = data.get("step", 0 if kind == "uniform" or not all(isinstance(v, int) for v in values) else 1)
    check(low <= high, f".{kind}", f"{low} is more than {high}")
    good = _is_dimension_bound(step) and step >= 0
    check(good, ".step", f"expected a number of at least 0, found {step!r}")
    logarithm = f"{low} is not above 0, as a log-uniform range must be"
    check(kind != "log" or low > 0, ".log", logarithm)
    whole = good and step and float(step).is_integer()
    multiples = f"{low} to {high} does not begin and end at a multiple of {step}"
    check(not (whole and (low % step or high % step)), f".{kind}", multiples)
    rounding = data.get("rounding", "nearest")
    check(rounding in ("nearest", "up"), ".rounding", f"expected 'nearest' or 'up', found {rounding!r}")
    upward = kind == "log" and step
    check(rounding != "up" or upward, ".rounding", "only a log-uniform range with a step is rounded up")
    if kind == "range" and not step:
        kind = "uniform"
    if rounding == "up" and upward:
        kind = LOG_UP
    return Dimension(key, kind, (), low, high, step if good else 1), staged


def _is_dimension_bound(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _dimension_choice_as_tuple(value: Any) -> Any:
    return tuple(map(_dimension_choice_as_tuple, value)) if isinstance(value, list) else value
