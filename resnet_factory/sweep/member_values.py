"""Values of arithmetic for many members at once, equal to those computed member by member."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from resnet_factory.layers.expressions import ExpressionError
from resnet_factory.sweep.vector import Array, Vector, VectorSplit, VectorUnfit, vector_values


def member_values(
    compute: Callable[[dict[str, Any]], Any], scope: Mapping[str, Any], size: int
) -> tuple[Array, Array]:
    """Return the value for each of `size` members, and the mask of those that have one.

    `scope` holds arrays with one number per member, or plain numbers.
    """
    try:
        with np.errstate(all="ignore"):
            value = compute({n: Vector.of(v) if isinstance(v, np.ndarray) else v for n, v in scope.items()})
            return np.full(size, vector_values(value)), np.ones(size, bool)
    except VectorSplit as split:
        values, defined = np.zeros(size, np.int64), np.zeros(size, bool)
        for mask in (split.mask, ~split.mask):
            part = {n: v[mask] if isinstance(v, np.ndarray) else v for n, v in scope.items()}
            found, good = member_values(compute, part, int(np.count_nonzero(mask)))
            values = values.astype(np.result_type(values, found), copy=False)
            values[mask], defined[mask] = found, good
        return values, defined
    except VectorUnfit:
        return _member_values_one_by_one(compute, scope, size)
    except ExpressionError:
        return np.zeros(size, np.int64), np.zeros(size, bool)


def _member_values_one_by_one(
    compute: Callable[[dict[str, Any]], Any], scope: Mapping[str, Any], size: int
) -> tuple[Array, Array]:
    defined = np.zeros(size, bool)
    found: list[Any] = [0] * size
    for member in range(size):
        one = {n: v[member].item() if isinstance(v, np.ndarray) else v for n, v in scope.items()}
        try:
            found[member], defined[member] = compute(one), True
        except ExpressionError:
            continue
    return np.array(found), defined


def members_where_true(
    condition: Callable[[dict[str, Any]], Any], scope: Mapping[str, Any], size: int
) -> Array:
    """Return for each member whether a condition on its numbers is true; one without a value is not."""
    true, defined = member_values(lambda numbers: bool(condition(numbers)), scope, size)
    return np.asarray(true.astype(bool) & defined)
