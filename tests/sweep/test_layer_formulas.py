"""Formulas of every layer over the numbers of many architectures at once are those of each one alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from fractions import Fraction
from operator import add, eq, floordiv, mul
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from resnet_factory.layers import VOCABULARY, Axes, Layer, Padding, axis_entry
from resnet_factory.sweep.vector import Vector, VectorSplit, VectorUnfit

MEMBERS = 60
SIDES = (7, 56)
DIMS = (1, 2, 3)
FORMULAS: dict[str, Callable[[Layer, Any], Any]] = {
    "out_channels": lambda layer, side: layer.out_channels,
    "step": lambda layer, side: axis_entry(layer.step, 0),
    "size": lambda layer, side: layer.size(side, layer.dims - 1),
    "params": lambda layer, side: layer.params(),
    "biases": lambda layer, side: layer.biases(),
    "macs": lambda layer, side: layer.macs(side * side),
    "reach before": lambda layer, side: layer.reach and axis_entry(layer.reach[0], 0),
    "reach after": lambda layer, side: layer.reach and axis_entry(layer.reach[1], layer.dims - 1),
    "scratch bytes": lambda layer, side: layer.scratch_bytes((side,) * layer.dims, 4, 2),
    "misfit": lambda layer, side: bool(layer.misfit((side,) * layer.dims)),
    "extra bytes": lambda layer, side: layer.extra_bytes((side,) * layer.dims, 4, True),
    "workspace": lambda layer, side: layer.workspace(),
    "buffers": lambda layer, side: layer.buffers(4),
    "valid": lambda layer, side: layer.valid(),
}


def variants() -> Iterator[tuple[str, dict[str, str]]]:
    """Each layer with the first of its words, then with another one for one of its arguments at a time."""
    for word, (made, fixed) in VOCABULARY.items():
        hints = get_type_hints(made)
        words = {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}
        first = {name: choices[0] for name, choices in words.items() if name not in fixed}
        yield word, first
        for name in first:
            yield from ((word, first | {name: choice}) for choice in words[name][1:])


def members(
    made: type[Layer], fixed: dict[str, Any], seed: int, dims: int, apart: bool
) -> list[dict[str, Any]]:
    """Random arguments with which a layer is valid; what is no whole number is the same in all.

    With `apart`, the arguments that may be one number per axis are.
    """
    random = np.random.default_rng(seed)
    hints = get_type_hints(made)
    extras = get_type_hints(made, include_extras=True)
    numbers = [entry.name for entry in fields(made) if hints[entry.name] is int and entry.name != "dims"]
    per_axis = [name for name in numbers if extras[name] in (Axes, Padding) and apart and dims > 1]
    rates = {
        entry.name: 0.25 for entry in fields(made) if hints[entry.name] is float and entry.default is MISSING
    }
    flags = {entry.name: bool(random.integers(2)) for entry in fields(made) if hints[entry.name] is bool}
    found: list[dict[str, Any]] = []
    for _ in range(100 * MEMBERS):
        arguments: dict[str, Any] = {name: int(random.integers(1, 9)) for name in numbers}
        arguments["channels"] = 8 * int(random.integers(1, 9))
        if "to" in arguments:
            arguments["to"] = arguments["channels"] * int(random.integers(1, 4))
        for name in per_axis:
            arguments[name] = tuple(int(random.integers(1, 9)) for _ in range(dims))
        arguments |= flags | rates | fixed | {"dims": dims}
        if made(**arguments).valid():
            found.append(arguments)
        if len(found) == MEMBERS:
            break
    return found


def over_columns(
    formula: Callable[[Layer, Any], Any], made: type[Layer], rows: list[dict[str, Any]], sides: list[int]
) -> list[Any]:
    """A formula's value for every member, computed together, and apart where members disagree."""
    columns: dict[str, Any] = {
        name: tuple(Vector.of(np.array(axis)) for axis in zip(*(row[name] for row in rows), strict=True))
        if isinstance(value, tuple)
        else Vector.of(np.array([row[name] for row in rows]))
        if type(value) is int
        else value
        for name, value in rows[0].items()
    }
    try:
        result = formula(made(**columns), Vector.of(np.array(sides)))
    except VectorSplit as split:
        results: list[Any] = [None] * len(rows)
        for answer in (True, False):
            part = np.flatnonzero(split.mask == answer)
            values = over_columns(formula, made, [rows[i] for i in part], [sides[i] for i in part])
            for member, value in zip(part, values, strict=True):
                results[member] = value
        return results
    return result.values.tolist() if isinstance(result, Vector) else [result] * len(rows)


def test_fractions_beside_columns_are_left_to_each_architecture() -> None:
    column = Vector.of(np.array([1, 2, 3]))
    stride = Fraction(3, 2)
    for operate in (mul, add, floordiv, eq):
        for operands in ((column, stride), (stride, column)):
            with pytest.raises(VectorUnfit):
                operate(*operands)
    assert (column == Fraction(1, 2)) is False


@pytest.mark.parametrize(("dims", "apart"), [(1, False), (2, False), (2, True), (3, False), (3, True)])
@pytest.mark.parametrize(("word", "words"), [entry for entry in variants() if entry[0] != "identity"])
def test_formulas_hold_for_columns(word: str, words: dict[str, str], dims: int, apart: bool) -> None:
    made, fixed = VOCABULARY[word]
    rows = members(made, fixed | words, len(word), dims, apart)
    assert len(rows) > 1
    sides = np.random.default_rng(1).integers(*SIDES, len(rows)).tolist()
    for formula, compute in FORMULAS.items():
        alone = [compute(made(**row), side) for row, side in zip(rows, sides, strict=True)]
        assert over_columns(compute, made, rows, sides) == alone, formula
