"""Conditions on the numbers of architectures, as `where=` writes them."""

from __future__ import annotations

import ast
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnet_factory.errors import Fault, unknown
from resnet_factory.layers.expressions import Expression, ExpressionError, parse_expression
from resnet_factory.sweep.member_values import members_where_true
from resnet_factory.sweep.results_table import ResultsTable
from resnet_factory.sweep.vector import Array
from resnet_factory.sweep.windows import Windows, format_window_limit

Choices = Mapping[str, Sequence[str]]
"""Name of what is chosen -> the texts that it may be."""


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
    text: str | None, names: Collection[str], choices: Choices, key: str, faults: list[Fault]
) -> WhereFilter | None:
    """Read a condition over `names` and `choices` of texts; None where there is none, or it is wrong."""
    if text is None:
        return None
    before = len(faults)
    plain = _with_indices(str(text), choices, key, faults)
    if len(faults) > before:
        return None
    try:
        whole = parse_expression(plain)
        parts = tuple(map(parse_expression, _filter_conjuncts(plain)))
    except ExpressionError as error:
        faults.append(Fault(key, str(error)))
        return None
    strange = sorted(whole.names - {*names, *choices})
    for name in strange:
        message = unknown(f"name in {str(text)!r},", name, sorted({*names, *choices}))
        faults.append(Fault(key, message))
    return None if strange else WhereFilter(str(text), parts)


def choice_texts(values: Collection[Any]) -> list[str]:
    """Return choices as conditions name them."""
    return [json.dumps(value).strip('"') for value in values]


def _with_indices(text: str, choices: Choices, key: str, faults: list[Fault]) -> str:
    """Return a condition with the index of a choice in place of its text: `block == 0`."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return text  # read, and refused, as arithmetic
    chosen = {node: node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in choices}
    if not chosen:
        return text
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Eq, ast.NotEq))):
            continue
        sides = [node.left, *node.comparators]
        if len(sides) != 2 or len(asked := [side for side in sides if side in chosen]) != 1:
            continue
        (other,) = (side for side in sides if side not in chosen)
        name, offered = chosen.pop(asked[0]), [*choices[asked[0].id]]
        said = ast.unparse(other)
        if isinstance(other, ast.Constant):
            (said,) = choice_texts([other.value])
        if said not in offered:
            faults.append(Fault(key, unknown(f"choice of {name!r},", said, offered)))
            return text
        node.left, node.comparators = asked[0], [ast.Constant(offered.index(said))]
    for name in dict.fromkeys(chosen.values()):
        faults.append(
            Fault(key, f"{name!r} is a choice of texts; compare it as {name} == {choices[name][0]}")
        )
    return ast.unparse(tree)


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
