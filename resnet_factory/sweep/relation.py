"""Relations between the numbers of an architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnet_factory.errors import Fault, unknown
from resnet_factory.layers.expressions import Expression, ExpressionError, parse
from resnet_factory.sweep import regnet
from resnet_factory.sweep.dimension import Dimension
from resnet_factory.sweep.vector import Array, Split, Unfit, Vector

ORDERS = {
    "non_decreasing": np.greater_equal,
    "increasing": np.greater,
    "non_increasing": np.less_equal,
    "decreasing": np.less,
}


@dataclass(frozen=True)
class Relation:
    """An order of the stages' values, or an expression."""

    text: str
    order: str = ""
    """One of ORDERS, over the stages of `key`."""
    key: str = ""
    expression: Expression | None = None

    def holds(self, columns: Mapping[str, Array], stages: int) -> Array:
        """Return for each architecture whether the relation holds."""
        size = len(next(iter(columns.values())))
        if self.expression is not None:
            scope = {scope_name(key): values for key, values in columns.items()}
            return where_true(
                self.expression.value, {name: scope[name] for name in self.expression.names}, size
            )
        good = np.ones(size, bool)
        for stage in range(1, stages):
            good &= ORDERS[self.order](columns[f"{self.key}.{stage}"], columns[f"{self.key}.{stage - 1}"])
        return good


def where_true(condition: Callable[[dict[str, Any]], Any], scope: dict[str, Array], size: int) -> Array:
    """Return for each member whether a condition on its numbers is true."""
    true = np.zeros(size, bool)
    try:
        with np.errstate(all="ignore"):
            true[:] = bool(condition({name: Vector.of(values) for name, values in scope.items()}))
    except Split as split:
        for mask in (split.mask, ~split.mask):
            part = {name: values[mask] for name, values in scope.items()}
            true[mask] = where_true(condition, part, int(np.count_nonzero(mask)))
    except Unfit:
        for member in range(size):
            one = {name: values[member].item() for name, values in scope.items()}
            with suppress(ExpressionError):  # a condition without a value is not true
                true[member] = bool(condition(one))
    except ExpressionError:
        true[:] = False
    return true


def scope_name(key: str) -> str:
    """Return the name of a number in an expression: `widths1` for `widths.0`, as its layers are in layer1."""
    *names, last = key.removeprefix("model.").split(".")
    return f"{'_'.join(names)}{int(last) + 1}" if last.isdigit() else "_".join([*names, last])


def read_relations(
    data: Any, dimensions: Sequence[Dimension], stages: int, faults: list[Fault]
) -> tuple[Relation, ...]:
    """Read the relations of a space."""
    keys = {dimension.key for dimension in dimensions if dimension.numeric}
    if any(key.startswith(regnet.PREFIX) for key in keys):
        keys |= {f"{field}.{stage}" for field in ("depths", "widths", "groups") for stage in range(stages)}
    names = {scope_name(key) for key in keys}
    relations = []
    for i, entry in enumerate(data if isinstance(data, list) else [data]):
        path = f"space.relations.{i}"
        if isinstance(entry, Mapping) and len(entry) == 1:
            (order, key), *_ = entry.items()
            if order not in ORDERS:
                faults.append(Fault(path, unknown("relation", str(order), ORDERS)))
            elif f"{key}.0" not in keys:
                known = sorted({k.split(".")[0] for k in keys if k.endswith(".0")})
                faults.append(Fault(path, unknown("per-stage key that varies", str(key), known)))
            relations.append(Relation(f"{order} {key}", str(order), str(key)))
            continue
        try:
            expression = parse(str(entry))
        except ExpressionError as error:
            faults.append(Fault(path, str(error)))
            continue
        for name in sorted(expression.names - names):
            faults.append(Fault(path, unknown(f"name in {str(entry)!r},", name, sorted(names))))
        relations.append(Relation(str(entry), expression=expression))
    return tuple(relations)
