"""Functions of vectors, with the same results as Python's for each value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from resnet_factory.sweep.vector import Vector, is_whole_vector, vector_bounds, vector_values


def choose_vector(condition: Any, yes: Any, no: Any) -> Any:
    """Return `yes` where the condition holds, else `no`; any of them may be plain."""
    if yes is no:
        return yes
    if not isinstance(condition, Vector):
        return yes if condition else no
    (low, high), (other_low, other_high) = vector_bounds(yes), vector_bounds(no)
    values = np.where(condition.values, vector_values(yes), vector_values(no))
    return Vector(values, min(low, other_low), max(high, other_high))


def _extreme_vector_function(
    operate: Callable[[Any, Any], Any], plain: Callable[..., Any]
) -> Callable[..., Any]:
    def function(*values: Any) -> Any:
        if len({is_whole_vector(vector_values(value)) for value in values}) > 1:
            # Python returns one of the arguments, with its type; NumPy would make all of them floats.
            return plain(values)
        result = values[0]
        for value in values[1:]:
            (low, high), (other_low, other_high) = vector_bounds(result), vector_bounds(value)
            chosen = operate(vector_values(result), vector_values(value))
            bounds = plain((low, other_low)), plain((high, other_high))
            result = Vector(chosen, *bounds) if isinstance(chosen, np.ndarray) else chosen.item()
        return result

    return function


def _elementwise_vector_function(plain: Callable[[Any], float]) -> Callable[[Any], Any]:
    """Return a function that calls Python's own for each distinct value, for the same bits."""

    def function(value: Any) -> Any:
        if not isinstance(value, Vector):
            return plain(value)
        if value.low <= 0 and not Vector(value.values > 0, 0, 1):
            # Perhaps outside the domain: Python decides on each value.
            first = value.values[0]
            return plain(first.item()) if Vector(value.values == first, 0, 1) else math.nan
        distinct, where = np.unique(value.values, return_inverse=True)
        results = np.array([plain(each) for each in distinct.tolist()])
        return Vector.of(results[where])

    return function


VECTOR_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": _extreme_vector_function(np.minimum, min),
    "max": _extreme_vector_function(np.maximum, max),
    "sqrt": _elementwise_vector_function(math.sqrt),
    "log2": _elementwise_vector_function(math.log2),
}
