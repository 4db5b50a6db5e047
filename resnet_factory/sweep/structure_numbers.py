"""Numbers that follow from the stages of an architecture: how many, their depths and widths, sums of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from resnet_factory.config.model_fields import read_generated_fields
from resnet_factory.config.model_keys import DEFAULTS, PER_STAGE
from resnet_factory.sweep.vector import Array

STRUCTURE_NUMBERS = {
    "stages": "stages",
    "total_depth": "blocks",
    "max_width": "largest stage width",
}
"""Numbers of every architecture, and their labels."""
STAGE_NUMBER = re.compile(rf"({'|'.join(PER_STAGE)})([1-9]\d*)")
"""The number of one stage, as `depths4`: 0 where a network has no such stage."""


def structure_number_name(key: str) -> str:
    """Return the name of a number in an expression: `widths1` for `widths.0`, as its layers are in layer1."""
    *names, last = key.removeprefix("model.").removeprefix("model/").removeprefix("numbers.").split(".")
    return f"{'_'.join(names)}{int(last) + 1}" if last.isdigit() else "_".join([*names, last])


def is_structure_number(name: str) -> bool:
    """Return whether every architecture has a number of this name."""
    return name in STRUCTURE_NUMBERS or STAGE_NUMBER.fullmatch(name) is not None


def structure_number(
    name: str, base: Mapping[str, Any], columns: Mapping[str, Array], stages: Any, most: int, size: int
) -> Array:
    """Return a structure number for each of `size` members.

    `base` is the model that they share, `columns` what differs; `stages` the number of stages of each member,
    or of all, and `most` the largest of them.
    """

    def stage_values(field: str, stage: int) -> Array:
        own = base.get(field, DEFAULTS.get(field, 1))
        shared = own[min(stage, len(own) - 1)] if isinstance(own, (list, tuple)) else own
        values = columns.get(f"{field}.{stage}", columns.get(field, shared))
        return np.where(np.broadcast_to(stages, size) > stage, values, 0)

    if name == "stages":
        return np.full(size, stages)
    if name in STRUCTURE_NUMBERS:
        field = "depths" if name == "total_depth" else "widths"
        join = np.add if name == "total_depth" else np.maximum
        return np.asarray(reduce(join, (stage_values(field, stage) for stage in range(most))))
    found = STAGE_NUMBER.fullmatch(name)
    assert found is not None, f"no structure number is called {name!r}"
    return stage_values(found[1], int(found[2]) - 1)


def structure_number_lists(
    model: Mapping[str, Any], changes: Mapping[str, Any]
) -> tuple[list[Any], list[Any]]:
    """Return depths and widths of an architecture, from its template's model and its changes by key."""
    fields = {**model, **_generated_structure_numbers(model, changes)}
    lists = [fields.get(key, DEFAULTS.get(key, 1)) for key in ("depths", "widths")]
    stages = max((len(one) for one in lists if isinstance(one, list)), default=1)
    found = []
    for key, own in zip(("depths", "widths"), lists, strict=True):
        shared = changes.get(key, own)
        values = [*shared] if isinstance(shared, list) else [shared] * stages
        found.append([changes.get(f"{key}.{stage}", value) for stage, value in enumerate(values)])
    return found[0], found[1]


def _generated_structure_numbers(model: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the per-stage fields of the model's generator, its arguments changed; none without one."""
    if model.get("generator") is None:
        return {}
    ((name, arguments),) = model["generator"].items()
    prefix = f"generator.{name}."
    varied = {key.removeprefix(prefix): value for key, value in changes.items() if key.startswith(prefix)}
    return read_generated_fields({"generator": {name: {**arguments, **varied}}}, "model", [])


class StageTable(NamedTuple):
    """Depths and widths of architectures: a row for each, a column per stage, 0 where there is none."""

    stages: Array
    depths: Array
    widths: Array

    def texts(self, field: str) -> list[str]:
        """Return the depths or the widths of each architecture, joined by dashes."""
        table, found = getattr(self, field), np.full(len(self.stages), "", object)
        for stages in np.unique(self.stages).tolist():
            members = np.flatnonzero(self.stages == stages)
            columns = (table[members, stage].tolist() for stage in range(stages))
            found[members] = list(map("-".join(["%d"] * stages).__mod__, zip(*columns, strict=True)))
        return found.tolist()

    def columns(self) -> dict[str, Array]:
        """Return the structure numbers, those of the stages included, by name."""
        by_name = {"stages": self.stages, "total_depth": self.depths.sum(axis=1)}
        by_name["max_width"] = self.widths.max(axis=1, initial=0)
        for stage in range(self.depths.shape[1]):
            by_name[f"depths{stage + 1}"] = self.depths[:, stage]
            by_name[f"widths{stage + 1}"] = self.widths[:, stage]
        return {name: values.astype(float) for name, values in by_name.items()}


def stage_table(
    models: Sequence[Mapping[str, Any]], structures: Sequence[int], changes: Sequence[str]
) -> StageTable:
    """Return the depths and widths of architectures, many at once.

    `structures` gives for each the index of its template's model in `models`, `changes` its changes as JSON.
    """
    changed = json.loads(f"[{','.join(changes)}]")
    kinds = list(zip(structures, map(tuple, changed), strict=True))
    alike: dict[tuple[int, tuple[str, ...]], list[int]] = {kind: [] for kind in {*kinds}}
    if len(alike) == 1:
        return _alike_stages(changed, models[structures[0]])
    for at, kind in enumerate(kinds):
        alike[kind].append(at)
    parts = [
        (rows, _alike_stages([changed[at] for at in rows], models[index]))
        for (index, _), rows in alike.items()
    ]
    most = max((part.depths.shape[1] for _, part in parts), default=0)
    size = len(kinds)
    whole = StageTable(np.zeros(size, int), np.zeros((size, most), int), np.zeros((size, most), int))
    for rows, part in parts:
        columns = slice(part.depths.shape[1])
        whole.stages[rows] = part.stages
        whole.depths[rows, columns], whole.widths[rows, columns] = part.depths, part.widths
    return whole


def _alike_stages(changes: Sequence[Mapping[str, Any]], model: Mapping[str, Any]) -> StageTable:
    """Return the stages of architectures of one template that change the same keys."""
    fields = ("depths", "widths")
    shared = [key for key in fields if key in changes[0]]
    listed = any(isinstance(changed[key], list) for key in shared for changed in changes)
    if listed or model.get("generator") is not None:
        lists = [
            structure_number_lists(model, changed) for changed in changes
        ]  # their stages may differ in number
        stages = np.array([len(depths) for depths, _ in lists])
        tables = [np.zeros((len(lists), stages.max()), int) for _ in fields]
        for row, both in enumerate(lists):
            for table, values in zip(tables, both, strict=True):
                table[row, : len(values)] = values
        return StageTable(stages, *tables)
    tables = []
    for field, values in zip(fields, structure_number_lists(model, changes[0]), strict=True):
        table = np.tile(np.array(values, int), (len(changes), 1))
        for stage in range(len(values)):
            key = next((key for key in (f"{field}.{stage}", field) if key in changes[0]), None)
            if key is not None:
                table[:, stage] = [changed[key] for changed in changes]
        tables.append(table)
    return StageTable(np.full(len(changes), tables[0].shape[1]), *tables)
