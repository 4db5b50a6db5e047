"""Relations between the numbers of an architecture."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnet_factory.errors import Fault, unknown
from resnet_factory.layers.expressions import Expression, ExpressionError, parse_expression
from resnet_factory.sweep import regnet
from resnet_factory.sweep.computed_numbers import ComputedNumber
from resnet_factory.sweep.dimension import Dimension
from resnet_factory.sweep.member_values import members_where_true
from resnet_factory.sweep.structure_numbers import (
    STRUCTURE_NUMBERS,
    is_structure_number,
    structure_number_name,
)
from resnet_factory.sweep.vector import Array

ORDERS = {
    "non_decreasing": np.greater_equal,
    "increasing": np.greater,
    "non_increasing": np.less_equal,
    "decreasing": np.less,
}


@dataclass(frozen=True)
class Relation:
    """An order of the stages' values, an expression, or a window on one number."""

    text: str
    order: str = ""
    """One of ORDERS, over the stages of `key`."""
    key: str = ""
    expression: Expression | None = None
    window: tuple[float, float] | None = None
    """The least and the most that the number called `key` may be."""

    def names(self, stages: int) -> frozenset[str]:
        """Return the names of the numbers that it reads."""
        if self.expression is not None:
            return self.expression.names
        if self.window is not None:
            return frozenset([self.key])
        return frozenset(structure_number_name(f"{self.key}.{stage}") for stage in range(stages))

    def holds(self, number: Callable[[str], Array], stages: int, size: int) -> Array:
        """Return for each of `size` architectures whether the relation holds; `number` gives one by name."""
        if self.expression is not None:
            scope = {name: number(name) for name in self.expression.names}
            return members_where_true(self.expression.value, scope, size)
        if self.window is not None:
            values = number(self.key)
            return (values >= self.window[0]) & (values <= self.window[1])
        good = np.ones(size, bool)
        columns = [number(structure_number_name(f"{self.key}.{stage}")) for stage in range(stages)]
        for before, after in itertools.pairwise(columns):
            good &= ORDERS[self.order](after, before)
        return good


def read_relations(
    data: Any,
    dimensions: Sequence[Dimension],
    computed: Sequence[ComputedNumber],
    stages: int,
    faults: list[Fault],
) -> tuple[Relation, ...]:
    """Read the relations of a space."""
    keys, names = (
        _relation_number_keys(dimensions, computed, stages),
        relation_names(dimensions, computed, stages),
    )
    relations = []
    for i, entry in enumerate(data if isinstance(data, list) else [data]):
        path = f"space.relations.{i}"
        if isinstance(entry, Mapping) and len(entry) == 1:
            (order, key), *_ = entry.items()
            own = f"{key}" if f"{key}.0" in keys else f"numbers.{key}"
            if order not in ORDERS:
                faults.append(Fault(path, unknown("relation", str(order), ORDERS)))
            elif f"{own}.0" not in keys:
                known = sorted({k.removeprefix("numbers.")[:-2] for k in keys if k.endswith(".0")})
                faults.append(Fault(path, unknown("per-stage key that varies", str(key), known)))
            relations.append(Relation(f"{order} {key}", str(order), own))
            continue
        try:
            expression = parse_expression(str(entry))
        except ExpressionError as error:
            faults.append(Fault(path, str(error)))
            continue
        for name in sorted(expression.names):
            if name not in names and not is_structure_number(name):
                faults.append(Fault(path, unknown(f"name in {str(entry)!r},", name, sorted(names))))
        relations.append(Relation(str(entry), expression=expression))
    return tuple(relations)


def relation_names(
    dimensions: Sequence[Dimension], computed: Sequence[ComputedNumber], stages: int
) -> set[str]:
    """Return the names of all that varies in a space, and of the numbers of its stages."""
    keys = _relation_number_keys(dimensions, computed, stages)
    names = {structure_number_name(key) for key in keys} | set(STRUCTURE_NUMBERS)
    names |= {f"{field}{stage + 1}" for field in ("depths", "widths", "groups") for stage in range(stages)}
    return names | ({regnet.SKIPPED} if any(key.startswith(regnet.PREFIX) for key in keys) else set())


def _relation_number_keys(
    dimensions: Sequence[Dimension], computed: Sequence[ComputedNumber], stages: int
) -> set[str]:
    keys = {dimension.key for dimension in dimensions if dimension.numeric}
    keys |= {key for number in computed for key in number.keys(stages)}
    if any(key.startswith(regnet.PREFIX) for key in keys):
        keys |= {f"{field}.{stage}" for field in ("depths", "widths", "groups") for stage in range(stages)}
    return keys
