"""Vectors: one number of many architectures, which recipes and formulas compute with like an int.

A vector holds a NumPy array and bounds of its values. Results are those of computing with each value alone:

- A condition (`if`, `and`, a comparison of tuples) that is the same for all members has that value; otherwise
  `VectorSplit` asks the caller to compute the two parts apart.
- Bounds follow every operation: they decide many comparisons, and show where int64 would overflow.
- Operations that arrays cannot do exactly as Python raise `VectorUnfit`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Plain = int | float
MOST_COUNTS = 64
"""The most different counts, as of branches, that members are split by; with more each is planned alone."""
_TRUTH = np.dtype(bool)
EXACT = 2**62
"""The bound of integers in vectors, well below the maximum of int64."""
EXACT_FLOAT = 2**53
"""The bound of integers that floats hold exactly."""


class VectorSplit(Exception):  # noqa: N818 - a request to the caller
    """Raised when a condition differs between members, with its values."""

    def __init__(self, mask: Array) -> None:
        super().__init__("members disagree")
        self.mask = mask


class VectorUnfit(Exception):  # noqa: N818 - a request to the caller
    """Raised when members must be computed one by one."""


class Vector:
    """The values of one number for all members, between `low` and `high`."""

    __slots__ = ("high", "low", "values")

    def __init__(self, values: Array, low: Plain, high: Plain) -> None:
        self.values = values
        self.low = low
        self.high = high

    @classmethod
    def of(cls, values: Array) -> Vector | Plain:
        """Return a vector; a plain number if all values are the same."""
        low, high = values.min().item(), values.max().item()
        return low if low == high else cls(values, low, high)

    # Conditions ------------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        mask = self.values if self.values.dtype is _TRUTH else self.values != 0
        true = np.count_nonzero(mask)
        if 0 < true < mask.size:
            raise VectorSplit(mask)
        return bool(true)

    def __int__(self) -> int:
        if self.values.dtype is not _TRUTH:
            raise VectorUnfit("an integer of a vector")
        return int(bool(self))

    def __index__(self) -> int:
        """Return the number that all members share; raise VectorSplit if they differ."""
        first = self.values[0]
        same = self.values == first
        if self.values.dtype.kind != "i" or (not same.all() and len(np.unique(self.values)) > MOST_COUNTS):
            raise VectorUnfit("a count of a vector")
        if not same.all():
            raise VectorSplit(same)
        return int(first)

    def _compare(self, operate: Callable[[Any, Any], Any], other: Any, inside: bool, outside: bool) -> Any:
        """Compare the values, unless the bounds already answer: `inside` with true, `outside` with false."""
        if inside or outside:
            return inside
        return Vector(operate(self.values, vector_values(other)), 0, 1)

    def __lt__(self, other: Any) -> Any:
        low, high = vector_bounds(other)
        return self._compare(np.less, other, self.high < low, self.low >= high)

    def __ge__(self, other: Any) -> Any:
        low, high = vector_bounds(other)
        return self._compare(np.greater_equal, other, self.low >= high, self.high < low)

    def __le__(self, other: Any) -> Any:
        low, high = vector_bounds(other)
        return self._compare(np.less_equal, other, self.high <= low, self.low > high)

    def __gt__(self, other: Any) -> Any:
        low, high = vector_bounds(other)
        return self._compare(np.greater, other, self.low > high, self.high <= low)

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, (Vector, int, float, Fraction)):
            return NotImplemented
        low, high = vector_bounds(other)
        return self._compare(np.equal, other, self is other, self.high < low or self.low > high)

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else ~equal if isinstance(equal, Vector) else not equal

    __hash__ = object.__hash__

    def __and__(self, other: Any) -> Any:
        if isinstance(other, bool):
            return self if other else False
        return Vector(self.values & vector_values(other), 0, 1)

    def __or__(self, other: Any) -> Any:
        if isinstance(other, bool):
            return True if other else self
        return Vector(self.values | vector_values(other), 0, 1)

    __rand__, __ror__ = __and__, __or__

    def __invert__(self) -> Vector:
        return Vector(~self.values, 0, 1)

    # Arithmetic -----------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Any:
        if isinstance(other, int) and other == 0:
            return self if self.values.dtype is not _TRUTH else self * 1
        low, high = vector_bounds(other)
        return self._exact(np.add, other, self.low + low, self.high + high)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        low, high = vector_bounds(other)
        return self._exact(np.subtract, other, self.low - high, self.high - low)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __neg__(self) -> Any:
        return Vector(-_vector_truth_as_number(self.values), -self.high, -self.low)

    def __abs__(self) -> Any:
        if self.low >= 0:
            return self
        return Vector(np.abs(self.values), 0, max(abs(self.low), abs(self.high)))

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, int):
            if other == 1:
                return Vector(_vector_truth_as_number(self.values), self.low, self.high)
            if other == 0 and self.values.dtype.kind != "f":
                return 0
        low, high = vector_bounds(other)
        if self.low >= 0 and low >= 0:
            return self._exact(np.multiply, other, self.low * low, self.high * high)
        corners = [a * b for a in (self.low, self.high) for b in (low, high)]
        return self._exact(np.multiply, other, min(corners), max(corners))

    __rmul__ = __mul__

    def _exact(self, operate: Callable[[Any, Any], Any], other: Any, low: Plain, high: Plain) -> Vector:
        if isinstance(other, Fraction):
            raise VectorUnfit("a fraction beside a vector")
        mine, others = _vector_truth_as_number(self.values), other
        if isinstance(other, Vector):
            others = _vector_truth_as_number(other.values)
        if not -EXACT < low <= high < EXACT and is_whole_vector(mine) and is_whole_vector(others):
            large = np.abs(operate(mine.astype(float), others)) >= EXACT
            if large.any():
                if large.all():
                    raise VectorUnfit("too large for arrays")
                raise VectorSplit(large)
            low, high = max(low, -EXACT), min(high, EXACT)
        return Vector(operate(mine, others), low, high)

    def __floordiv__(self, other: Any) -> Any:
        if isinstance(other, int) and other == 1 and self.values.dtype.kind == "i":
            return self
        return _divided_vector(np.floor_divide, self, other)

    def __mod__(self, other: Any) -> Any:
        if isinstance(other, int) and other == 1 and self.values.dtype.kind == "i":
            return 0
        return _divided_vector(np.remainder, self, other)

    def __truediv__(self, other: Any) -> Any:
        return _divided_vector(np.true_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _divided_vector(np.floor_divide, other, self)

    def __rmod__(self, other: Any) -> Any:
        return _divided_vector(np.remainder, other, self)

    def __rtruediv__(self, other: Any) -> Any:
        return _divided_vector(np.true_divide, other, self)

    # Rounding -------------------------------------------------------------------------------------

    def __round__(self) -> Any:
        return self._rounded(np.rint)

    def __floor__(self) -> Any:
        return self._rounded(np.floor)

    def __ceil__(self) -> Any:
        return self._rounded(np.ceil)

    def _rounded(self, operate: Callable[[Any], Array]) -> Vector:
        if self.values.dtype.kind != "f":
            return Vector(_vector_truth_as_number(self.values), self.low, self.high)
        if not max(abs(self.low), abs(self.high)) < EXACT:
            raise VectorUnfit("too large to round")
        return Vector(operate(self.values).astype(np.int64), math.floor(self.low), math.ceil(self.high))

    def whole(self) -> Any:
        """Return integers; raise VectorSplit if some members are not whole numbers.

        Raises:
            ValueError: no member is whole.
        """
        if self.values.dtype.kind != "f":
            return Vector(_vector_truth_as_number(self.values), self.low, self.high)
        if not Vector(np.floor(self.values) == self.values, 0, 1):
            raise ValueError("not whole numbers")
        return self._rounded(np.floor)

    def __repr__(self) -> str:
        return f"{self.low}…{self.high}"

    def __format__(self, _spec: str) -> str:
        return repr(self)

    @property
    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return the functions of recipes that have a version for vectors."""
        from resnet_factory.sweep.vector_functions import VECTOR_FUNCTIONS

        return VECTOR_FUNCTIONS


def vector_values(value: Any) -> Any:
    """Return the array of a vector; a plain number as it is."""
    if isinstance(value, Vector):
        return value.values
    if isinstance(value, int) and not -EXACT < value < EXACT:
        raise VectorUnfit("too large for arrays")
    if isinstance(value, Fraction):
        raise VectorUnfit("a fraction beside a vector")
    return value


def vector_bounds(value: Any) -> tuple[Plain, Plain]:
    """Return the bounds of a vector or a plain number."""
    return (value.low, value.high) if isinstance(value, Vector) else (value, value)


def _vector_truth_as_number(values: Array) -> Array:
    """Return booleans as integers: True + True is 2 in Python."""
    return values.astype(np.int64) if values.dtype is _TRUTH else values


def is_whole_vector(value: Any) -> bool:
    """Return whether an array or a number has an integer type."""
    return value.dtype.kind != "f" if isinstance(value, np.ndarray) else isinstance(value, int)


def _divided_vector(operate: Callable[[Any, Any], Any], above: Any, below: Any) -> Vector:
    low, high = vector_bounds(below)
    if low <= 0 <= high and below == 0:
        raise ZeroDivisionError
    top, bottom = (
        _vector_truth_as_number(v) if isinstance(v := vector_values(side), np.ndarray) else v
        for side in (above, below)
    )
    limits = *vector_bounds(above), low, high
    if operate is np.true_divide and not all(abs(limit) <= EXACT_FLOAT for limit in limits):
        raise VectorUnfit("too large to divide")
    values = operate(top, bottom)
    if low >= 1 and limits[0] >= 0:
        if operate is np.remainder:
            return Vector(values, 0, min(high, limits[1]))
        return Vector(values, 0, limits[1])
    reach = max(abs(limits[0]), abs(limits[1]))
    if operate is np.remainder:
        return Vector(values, min(low, 0), max(high, 0))
    if is_whole_vector(values):
        return Vector(values, -reach - 1, reach + 1)
    return Vector(values, values.min().item(), values.max().item())
