"""One number of many architectures at once: a column that recipes and formulas compute with like an int.

A column holds a NumPy array, and bounds on what stands in it. Three things make it behave as its members
would one by one:

- A question (`if`, `and`, a comparison of tuples) that all members answer alike has that answer; where
  they differ, `Split` asks for the two parts to be computed apart.
- Bounds travel along: a comparison they decide costs nothing, and no int64 can overflow unseen.
- What it cannot do exactly as Python does it refuses with `Unfit`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from resnet_factory.layers.expressions import ExpressionError

Array = NDArray[Any]
Plain = int | float
MOST_COUNTS = 64
"""Different counts, such as of branches, that members are parted by; with more each is planned alone."""
_TRUTH = np.dtype(bool)
EXACT = 2**62
"""Integers up to here are far from int64's end."""
EXACT_FLOAT = 2**53
"""Integers up to here are floats exactly."""


class Split(Exception):  # noqa: N818 - a request, not an error anybody sees
    """Members disagree on a question; `mask` holds their answers."""

    def __init__(self, mask: Array) -> None:
        super().__init__("members disagree")
        self.mask = mask


class Unfit(Exception):  # noqa: N818 - makes the caller take the members one by one
    """Arrays cannot answer this exactly as Python would."""


class Column:
    """The values of one number, one for each architecture, none outside `low` to `high`."""

    __slots__ = ("high", "low", "values")

    def __init__(self, values: Array, low: Plain, high: Plain) -> None:
        self.values = values
        self.low = low
        self.high = high

    @classmethod
    def of(cls, values: Array) -> Column | Plain:
        """A column; a plain number where all values are the same."""
        low, high = values.min().item(), values.max().item()
        return low if low == high else cls(values, low, high)

    # Questions ------------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        mask = self.values if self.values.dtype is _TRUTH else self.values != 0
        true = np.count_nonzero(mask)
        if 0 < true < mask.size:
            raise Split(mask)
        return bool(true)

    def __int__(self) -> int:
        if self.values.dtype is not _TRUTH:
            raise Unfit("an integer of a column")
        return int(bool(self))

    def __index__(self) -> int:
        """The one number that all members have; those that differ ask for a split."""
        first = self.values[0]
        same = self.values == first
        if self.values.dtype.kind != "i" or (not same.all() and len(np.unique(self.values)) > MOST_COUNTS):
            raise Unfit("a count of a column")
        if not same.all():
            raise Split(same)
        return int(first)

    def _compare(self, other: Any, operate: Callable[[Any, Any], Any], inside: bool, outside: bool) -> Any:
        """`inside`: known true by the bounds; `outside`: known false."""
        if inside or outside:
            return inside
        return Column(operate(self.values, _values(other)), 0, 1)

    def __lt__(self, other: Any) -> Any:
        low, high = _bounds(other)
        return self._compare(other, np.less, self.high < low, self.low >= high)

    def __le__(self, other: Any) -> Any:
        low, high = _bounds(other)
        return self._compare(other, np.less_equal, self.high <= low, self.low > high)

    def __gt__(self, other: Any) -> Any:
        low, high = _bounds(other)
        return self._compare(other, np.greater, self.low > high, self.high <= low)

    def __ge__(self, other: Any) -> Any:
        low, high = _bounds(other)
        return self._compare(other, np.greater_equal, self.low >= high, self.high < low)

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, (Column, int, float)):
            return NotImplemented
        low, high = _bounds(other)
        apart = self.high < low or self.low > high
        return self._compare(other, np.equal, self is other, apart)

    def __ne__(self, other: object) -> Any:
        if not isinstance(other, (Column, int, float)):
            return NotImplemented
        low, high = _bounds(other)
        apart = self.high < low or self.low > high
        return self._compare(other, np.not_equal, apart, self is other)

    __hash__ = object.__hash__

    def __and__(self, other: Any) -> Any:
        if isinstance(other, bool):
            return self if other else False
        return Column(self.values & _values(other), 0, 1)

    __rand__ = __and__

    def __or__(self, other: Any) -> Any:
        if isinstance(other, bool):
            return True if other else self
        return Column(self.values | _values(other), 0, 1)

    __ror__ = __or__

    def __invert__(self) -> Column:
        return Column(~self.values, 0, 1)

    # Arithmetic -----------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Any:
        if isinstance(other, int) and other == 0:
            return self if self.values.dtype is not _TRUTH else self * 1
        low, high = _bounds(other)
        return self._exact(np.add, other, self.low + low, self.high + high)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        low, high = _bounds(other)
        return self._exact(np.subtract, other, self.low - high, self.high - low)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __neg__(self) -> Any:
        return Column(-_number(self.values), -self.high, -self.low)

    def __abs__(self) -> Any:
        if self.low >= 0:
            return self
        return Column(np.abs(self.values), 0, max(abs(self.low), abs(self.high)))

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, int):
            if other == 1:
                return Column(_number(self.values), self.low, self.high)
            if other == 0 and self.values.dtype.kind != "f":
                return 0
        low, high = _bounds(other)
        if self.low >= 0 and low >= 0:
            return self._exact(np.multiply, other, self.low * low, self.high * high)
        corners = [a * b for a in (self.low, self.high) for b in (low, high)]
        return self._exact(np.multiply, other, min(corners), max(corners))

    __rmul__ = __mul__

    def _exact(self, operate: Callable[[Any, Any], Any], other: Any, low: Plain, high: Plain) -> Column:
        mine, others = _number(self.values), other
        if isinstance(other, Column):
            others = _number(other.values)
        if not -EXACT < low <= high < EXACT and _is_whole(mine) and _is_whole(others):
            large = np.abs(operate(mine.astype(float), others)) >= EXACT
            if large.any():
                if large.all():
                    raise Unfit("too large for arrays")
                raise Split(large)
            low, high = max(low, -EXACT), min(high, EXACT)
        return Column(operate(mine, others), low, high)

    def __floordiv__(self, other: Any) -> Any:
        if isinstance(other, int) and other == 1 and self.values.dtype.kind == "i":
            return self
        return _divided(np.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _divided(np.floor_divide, other, self)

    def __mod__(self, other: Any) -> Any:
        if isinstance(other, int) and other == 1 and self.values.dtype.kind == "i":
            return 0
        return _divided(np.remainder, self, other)

    def __rmod__(self, other: Any) -> Any:
        return _divided(np.remainder, other, self)

    def __truediv__(self, other: Any) -> Any:
        return _divided(np.true_divide, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _divided(np.true_divide, other, self)

    # Rounding -------------------------------------------------------------------------------------

    def __round__(self) -> Any:
        return self._rounded(np.rint)

    def __floor__(self) -> Any:
        return self._rounded(np.floor)

    def __ceil__(self) -> Any:
        return self._rounded(np.ceil)

    def _rounded(self, operate: Callable[[Any], Array]) -> Column:
        if self.values.dtype.kind != "f":
            return Column(_number(self.values), self.low, self.high)
        if not max(abs(self.low), abs(self.high)) < EXACT:
            raise Unfit("too large to round")
        return Column(operate(self.values).astype(np.int64), math.floor(self.low), math.ceil(self.high))

    def whole(self) -> Any:
        """The same as integers; members that are not whole numbers ask for a split.

        Raises:
            ValueError: no member is whole.
        """
        if self.values.dtype.kind != "f":
            return Column(_number(self.values), self.low, self.high)
        if not Column(np.floor(self.values) == self.values, 0, 1):
            raise ValueError("not whole numbers")
        return self._rounded(np.floor)

    def take(self, mask: Array) -> Column:
        """The members where `mask` holds."""
        return Column(self.values[mask], self.low, self.high)

    def __repr__(self) -> str:
        return f"{self.low}…{self.high}"

    def __format__(self, _spec: str) -> str:
        return repr(self)

    functions: ClassVar[dict[str, Callable[..., Any]]]
    """What `min(…)` and the like in a recipe mean for columns."""


def holds(question: Callable[[dict[str, Any]], Any], scope: dict[str, Array], size: int) -> Array:
    """For each member whether the answer to a question about its numbers is yes."""
    answers = np.zeros(size, bool)
    try:
        with np.errstate(all="ignore"):
            answers[:] = bool(question({name: Column.of(values) for name, values in scope.items()}))
    except Split as split:
        for mask in (split.mask, ~split.mask):
            part = {name: values[mask] for name, values in scope.items()}
            answers[mask] = holds(question, part, int(np.count_nonzero(mask)))
    except Unfit:
        for member in range(size):
            one = {name: values[member].item() for name, values in scope.items()}
            with suppress(ExpressionError):  # a question without an answer is none that holds
                answers[member] = bool(question(one))
    except ExpressionError:
        answers[:] = False
    return answers


def choose(condition: Any, yes: Any, no: Any) -> Any:
    """For each member `yes` or `no`; plain numbers and columns alike."""
    if yes is no:
        return yes
    if not isinstance(condition, Column):
        return yes if condition else no
    (low, high), (other_low, other_high) = _bounds(yes), _bounds(no)
    values = np.where(condition.values, _values(yes), _values(no))
    return Column(values, min(low, other_low), max(high, other_high))


def _values(value: Any) -> Any:
    if isinstance(value, Column):
        return value.values
    if isinstance(value, int) and not -EXACT < value < EXACT:
        raise Unfit("too large for arrays")
    return value


def _bounds(value: Any) -> tuple[Plain, Plain]:
    return (value.low, value.high) if isinstance(value, Column) else (value, value)


def _number(values: Array) -> Array:
    """Truth values as numbers: True + True is 2 in Python."""
    return values.astype(np.int64) if values.dtype is _TRUTH else values


def _is_whole(value: Any) -> bool:
    return value.dtype.kind != "f" if isinstance(value, np.ndarray) else isinstance(value, int)


def _divided(operate: Callable[[Any, Any], Any], above: Any, below: Any) -> Column:
    low, high = _bounds(below)
    if low <= 0 <= high and below == 0:
        raise ZeroDivisionError
    top, bottom = _values(above), _values(below)
    top = _number(top) if isinstance(top, np.ndarray) else top
    bottom = _number(bottom) if isinstance(bottom, np.ndarray) else bottom
    limits = *_bounds(above), low, high
    if operate is np.true_divide and not all(abs(limit) <= EXACT_FLOAT for limit in limits):
        raise Unfit("too large to divide")
    values = operate(top, bottom)
    if low >= 1 and limits[0] >= 0:
        if operate is np.remainder:
            return Column(values, 0, min(high, limits[1]))
        return Column(values, 0, limits[1])
    reach = max(abs(limits[0]), abs(limits[1]))
    if operate is np.remainder:
        return Column(values, min(low, 0), max(high, 0))
    if _is_whole(values):
        return Column(values, -reach - 1, reach + 1)
    return Column(values, values.min().item(), values.max().item())


def _extreme(operate: Callable[[Any, Any], Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    def function(*values: Any) -> Any:
        if len({_is_whole(_values(value)) for value in values}) > 1:
            # Python gives back one of its arguments, with its type; NumPy would make all of them floats.
            return plain(values)
        result = values[0]
        for value in values[1:]:
            (low, high), (other_low, other_high) = _bounds(result), _bounds(value)
            chosen = operate(_values(result), _values(value))
            bounds = plain((low, other_low)), plain((high, other_high))
            result = Column(chosen, *bounds) if isinstance(chosen, np.ndarray) else chosen.item()
        return result

    return function


def _each(plain: Callable[[Any], float]) -> Callable[[Any], Any]:
    """A function of Python's own, taken once for each distinct value: to the last bit what Python gives."""

    def function(value: Any) -> Any:
        if not isinstance(value, Column):
            return plain(value)
        if value.low <= 0 and not Column(value.values > 0, 0, 1):
            # Outside its domain, maybe: each value apart, for Python to judge.
            first = value.values[0]
            return plain(first.item()) if Column(value.values == first, 0, 1) else math.nan
        distinct, where = np.unique(value.values, return_inverse=True)
        results = np.array([plain(each) for each in distinct.tolist()])
        return Column.of(results[where])

    return function


Column.functions = {
    "min": _extreme(np.minimum, min),
    "max": _extreme(np.maximum, max),
    "sqrt": _each(math.sqrt),
    "log2": _each(math.log2),
}
