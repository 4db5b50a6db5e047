"""Numbers of a space's own, drawn or computed, and keys of the model computed from what was drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnet_factory.config.model_keys import KEYS, PER_STAGE, ROLES, SLOTS, WHOLE
from resnet_factory.errors import Fault, unknown
from resnet_factory.layers.expressions import FUNCTIONS, Expression, ExpressionError, parse_expression
from resnet_factory.sweep.dimension import DIMENSION_KEYS, Dimension, read_dimension
from resnet_factory.sweep.member_values import member_values
from resnet_factory.sweep.structure_numbers import STRUCTURE_NUMBERS, structure_number_name
from resnet_factory.sweep.vector import Array

OWN = "numbers."
"""Begins the keys of a space's own numbers."""
COMPUTED = "is"
"""The word of a key of the model that is computed: `widths: {is: 2 * width}`."""


@dataclass(frozen=True)
class ComputedNumber:
    """A number that is computed from others of the same architecture."""

    key: str
    expression: Expression
    each: bool
    """True: one value per stage, with the names of that stage."""

    def keys(self, stages: int) -> list[str]:
        """Return the keys of its columns."""
        return [f"{self.key}.{stage}" for stage in range(stages)] if self.each else [self.key]


@dataclass
class ComputedNumberNames:
    """The names that arithmetic of a space may read, and which of them have a value per stage."""

    shared: set[str]
    staged: set[str]
    """`widths` where there are `widths1`, `widths2`, ….; these are `shared`."""

    def add(self, key: str, *, each: bool, stages: int) -> None:
        """Add a number and, where it has one per stage, those of its stages."""
        name = structure_number_name(key)
        if each:
            self.shared.discard(name)
            self.staged.add(name)
            self.shared |= {f"{name}{stage + 1}" for stage in range(stages)}
        else:
            self.staged.discard(name)
            self.shared.add(name)

    @property
    def every(self) -> list[str]:
        """Return all names."""
        return sorted({*self.shared, *self.staged})


def read_drawn_and_computed_numbers(
    data: Any, names: ComputedNumberNames, stages: int, faults: list[Fault]
) -> tuple[list[Dimension], list[ComputedNumber]]:
    """Read the own numbers of a space in their order: those that are drawn, and those that are computed."""
    dimensions: list[Dimension] = []
    computed: list[ComputedNumber] = []
    if not isinstance(data, Mapping):
        faults.append(Fault("space.numbers", f"expected names with numbers, found {data!r}"))
        return [], []
    for name, value in data.items():
        path, key = f"space.numbers.{name}", f"{OWN}{name}"
        if reason := _computed_name_fault(name):
            faults.append(Fault(path, reason))
        elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
            if (found := read_computed(key, value, path, names, faults)) is not None:
                computed.append(found)
                names.add(key, each=found.each, stages=stages)
        else:
            dimension, each = read_dimension(key, value, path, faults)
            if not dimension.numeric:
                faults.append(Fault(path, "expected numbers, as all arithmetic does"))
            dimensions += [dimension.at(f"{key}.{i}") for i in range(stages)] if each else [dimension]
            names.add(key, each=each, stages=stages)
    return dimensions, computed


def _computed_name_fault(name: object) -> str:
    """Return why a name cannot be that of an own number; empty if it can."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z_0-9]*(?<!\d)", name):
        return (
            "a number's name consists of letters and _, and does not end in a digit, as numbers of stages do"
        )
    if name in FUNCTIONS or name in (*KEYS, *STRUCTURE_NUMBERS, "stage") or name in DIMENSION_KEYS:
        return f"{name!r} is already in use; choose another name"
    return ""


def read_computed(
    key: str, text: Any, path: str, names: ComputedNumberNames, faults: list[Fault]
) -> ComputedNumber | None:
    """Read one computed number; None where it cannot be read."""
    try:
        expression = parse_expression(str(text))
    except ExpressionError as error:
        faults.append(Fault(path, str(error)))
        return None
    strange = sorted(expression.names - {*names.shared, *names.staged, "stage"})
    for name in strange:
        faults.append(Fault(path, unknown(f"name in {str(text)!r},", name, names.every)))
    each = bool(expression.names & {*names.staged, "stage"})
    return None if strange else ComputedNumber(key, expression, each)


def base_numbers_to_compute_from(base: Mapping[str, Any], stages: int) -> dict[str, Any]:
    """Return the numbers of a model as plain data, by their names in arithmetic."""
    found: dict[str, Any] = {"stages": stages}
    for key in WHOLE:
        if isinstance(base.get(key), int):
            found[key] = base[key]
    for key in PER_STAGE:
        value = base.get(key)
        values = value if isinstance(value, list) else [value] * stages
        if all(isinstance(one, int) for one in values):
            found |= {f"{key}{stage + 1}": one for stage, one in enumerate(values)}
    for head in (*ROLES, *SLOTS):
        recipe = base.get(head)
        for name, value in recipe.items() if isinstance(recipe, Mapping) else ():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                found[structure_number_name(f"{head}.{name}")] = value
    return found


def base_names_to_compute_from(base: Mapping[str, Any], stages: int) -> ComputedNumberNames:
    """Return the names of `base_numbers_to_compute_from`."""
    names = ComputedNumberNames(set(), set())
    every = base_numbers_to_compute_from(base, stages)
    for key in PER_STAGE:
        if f"{key}1" in every:
            names.add(key, each=True, stages=stages)
    names.shared |= set(every)
    return names


def add_computed(
    columns: dict[str, Array],
    drawn: Mapping[str, Array],
    computed: Sequence[ComputedNumber],
    base: Mapping[str, Any],
    stages: int,
) -> Iterator[tuple[str, Array]]:
    """Add the computed numbers to `columns`; yield each key that has no value somewhere, with its mask.

    `drawn` are all numbers that were drawn. A key of the model that was not drawn is the base model's own in
    arithmetic, also where it is computed.
    """
    scope: dict[str, Any] = {**base_numbers_to_compute_from(base, stages)}
    scope |= {structure_number_name(key): values for key, values in drawn.items()}
    size = len(next(iter(columns.values())))
    for number in computed:
        for stage, key in enumerate(number.keys(stages)):
            own = {name: _value_to_compute_from(scope, name, stage) for name in number.expression.names}
            values, defined = member_values(number.expression.value, own, size)
            if number.key.split(".")[0] in (*PER_STAGE, *WHOLE) and values.dtype.kind == "f":
                whole = values == np.rint(values)
                values, defined = np.where(whole & defined, values, 1).astype(np.int64), defined & whole
            if not defined.all():
                yield structure_number_name(key), ~defined
            columns[key] = values
            if key.startswith(OWN):
                scope[structure_number_name(key)] = values


def _value_to_compute_from(scope: Mapping[str, Any], name: str, stage: int) -> Any:
    """Return the value of a name in a stage: the stage's own, or that of all."""
    if name == "stage":
        return stage + 1
    return scope[name] if name in scope else scope[f"{name}{stage + 1}"]
