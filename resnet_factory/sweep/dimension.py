"""One thing that varies in a design space: fixed values, choices, ranges; from random numbers to values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from resnet_factory.errors import Fault, one_of, unknown
from resnet_factory.sweep.vector import Array

KINDS = ("choice", "range", "log", "uniform")


@dataclass(frozen=True)
class Dimension:
    """A key and the values it may take."""

    key: str
    kind: str
    values: tuple[Any, ...] = ()
    """The choices."""
    low: float = 0
    high: float = 0
    step: float = 1
    """Integers are multiples of it; 0 leaves real numbers as they are."""

    @property
    def count(self) -> int | None:
        """How many values there are; None for real numbers."""
        if self.kind == "choice":
            return len(self.values)
        return None if self.step == 0 else int(self.high // self.step - -(-self.low // self.step)) + 1

    @property
    def numeric(self) -> bool:
        """Whether all values are numbers."""
        return self.kind != "choice" or all(
            isinstance(value, (int, float)) and not isinstance(value, bool) for value in self.values
        )

    def number(self, index: Array) -> Array:
        """The values at places 0 to `count` - 1 of a grid. Choices give their place."""
        if self.kind == "choice":
            return index
        return self._multiples(-(-self.low // self.step) + index)

    def sample(self, unit: Array) -> Array:
        """Values from uniform numbers in [0, 1). Choices give their place.

        `log` is log-uniform, rounded to a multiple of `step` (Radosavovic et al. 2020, section 3.1);
        `range` gives each multiple of `step` the same chance.
        """
        if self.kind == "uniform" and self.step == 0:
            return self.low + unit * (self.high - self.low)
        if self.kind == "log":
            low, high = math.log(self.low), math.log(self.high)
            values = np.exp(low + unit * (high - low))
            return values if self.step == 0 else self._multiples(np.rint(values / self.step))
        count = self.count
        assert count is not None
        return self.number(np.minimum((unit * count).astype(np.int64), count - 1))

    def _multiples(self, index: Array) -> Array:
        values = index * self.step
        return np.rint(values).astype(np.int64) if float(self.step).is_integer() else values

    def shown(self, value: Any) -> Any:
        """The value behind a number of this dimension: a choice itself for its place."""
        return self.values[int(value)] if self.kind == "choice" else value

    def at(self, key: str) -> Dimension:
        """The same values for another key."""
        return replace(self, key=key)


def read_dimension(key: str, data: Any, path: str, faults: list[Fault]) -> tuple[Dimension, bool]:
    """A dimension from YAML, and whether each stage has its own.

    A number or a text is fixed; `{choice: […]}`, `{range: [low, high], step: 1}`, `{log: [low, high],
    step: 1}` and `{uniform: [low, high]}` vary, ends included. `each: stage` draws one value per stage.
    """
    if not isinstance(data, Mapping):
        return Dimension(key, "choice", (data,)), False
    each = data.get("each")
    if each not in (None, "stage"):
        faults.append(Fault(f"{path}.each", f"expected 'stage', found {each!r}"))
    kinds = [kind for kind in KINDS if kind in data]
    for word in data:
        if word not in (*KINDS, "step", "each"):
            faults.append(Fault(f"{path}.{word}", unknown("key", str(word), (*KINDS, "step", "each"))))
    if len(kinds) != 1:
        found = one_of(kinds) if kinds else "none"
        faults.append(Fault(path, f"expected one of {one_of(KINDS)}, found {found}"))
        return Dimension(key, "choice", (0,)), False
    kind = kinds[0]
    values = data[kind]
    if kind == "choice":
        if not isinstance(values, list) or not values:
            faults.append(Fault(f"{path}.choice", f"expected a list of choices, found {values!r}"))
            values = [0]
        return Dimension(key, kind, tuple(map(_frozen, values))), each == "stage"
    if not (isinstance(values, list) and len(values) == 2 and all(map(_is_number, values))):
        faults.append(Fault(f"{path}.{kind}", f"expected [low, high], found {values!r}"))
        return Dimension(key, "choice", (0,)), False
    low, high = values
    step = data.get("step", 0 if kind == "uniform" or not all(isinstance(v, int) for v in values) else 1)
    if low > high:
        faults.append(Fault(f"{path}.{kind}", f"{low} is more than {high}"))
    if not _is_number(step) or not 0 <= step < math.inf:
        faults.append(Fault(f"{path}.step", f"expected a number of at least 0, found {step!r}"))
        step = 1
    if kind == "log" and low <= 0:
        faults.append(Fault(f"{path}.log", f"{low} has no logarithm; a log-uniform range begins above 0"))
    if isinstance(step, (int, float)) and step and (low % step or high % step) and float(step).is_integer():
        faults.append(
            Fault(f"{path}.{kind}", f"{low} to {high} does not begin and end at a multiple of {step}")
        )
    if kind == "range" and not step:
        kind = "uniform"
    return Dimension(key, kind, (), low, high, step), each == "stage"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
