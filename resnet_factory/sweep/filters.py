"""Conditions on the numbers of architectures, as `where=` writes them."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from resnet_factory.errors import Fault, unknown
from resnet_factory.layers.expressions import Expression, ExpressionError, parse_expression
from resnet_factory.sweep.member_values import members_where_true
from resnet_factory.sweep.results_table import ResultsTable
from resnet_factory.sweep.vector import Array
from resnet_factory.sweep.windows import Windows, format_window_limit


@dataclass(frozen=True)
class WhereFilter:
    """A condition, in parts that all must hold."""

    text: str
    parts: tuple[Expression, ...]

    def mask(self, results: ResultsTable, known: Collection[str] | None = None) -> Array:
        """Return for each architecture whether it satisfies the parts whose names are all `known`.

        A part that reads a number that the architecture lacks does not hold.
        """
        good = np.ones(len(results), bool)
        for part in self.parts:
            if known is not None and not part.names <= {*known}:
                continue
            scope = {name: results.column(name) for name in part.names}
            there = ~np.isnan(np.stack([*scope.values()])).any(axis=0) if scope else good
            held = np.zeros(len(results), bool)
            kept = {name: values[there] for name, values in scope.items()}
            if there.any():
                held[there] = members_where_true(part.value, kept, int(np.count_nonzero(there)))
            good &= held
        return good


def read_where_filter(
    text: str | None, names: Collection[str], key: str, faults: list[Fault]
) -> WhereFilter | None:
    """Read a condition over `names`; None where there is none, or it is wrong."""
    if text is None:
        return None
    try:
        whole = parse_expression(str(text))
        parts = tuple(map(parse_expression, _filter_conjuncts(str(text))))
    except ExpressionError as error:
        faults.append(Fault(key, str(error)))
        return None
    strange = sorted(whole.names - {*names})
    for name in strange:
        faults.append(Fault(key, unknown(f"number in {str(text)!r},", name, sorted(names))))
    return None if strange else WhereFilter(str(text), parts)


def _filter_conjuncts(text: str) -> list[str]:
    """Return the conditions that `and` joins."""
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:  # a name that is a keyword of Python: the condition is one part
        return [text]
    joined = isinstance(body, ast.BoolOp) and isinstance(body.op, ast.And)
    return [ast.unparse(value) for value in body.values] if joined else [text]  # type: ignore[attr-defined]


def limits_filter_mask(limits: Windows, results: ResultsTable, known: Collection[str] | None = None) -> Array:
    """Return for each architecture whether every measured metric with a limit is inside of it."""
    good = np.ones(len(results), bool)
    for name, (low, high) in limits.items():
        if (known is None or name in known) and name in results.metrics:
            values = results.metrics[name]
            good &= (values >= low) & (values <= high)
    return good


def windows_as_filter_text(windows: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return windows as conditions, `macs <= 300,000,000`."""
    found = []
    for name, (low, high) in windows.items():
        least = f"{format_window_limit(low)} <= " if np.isfinite(low) else ""
        most = f" <= {format_window_limit(high)}" if np.isfinite(high) else ""
        if least or most:
            found.append(f"{least}{name}{most}")
    return found
