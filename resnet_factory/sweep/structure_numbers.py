"""Numbers that follow from the stages of an architecture: how many, their depths and widths, sums of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

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
    *names, last = key.removeprefix("model.").removeprefix("numbers.").split(".")
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


def structure_number_columns(
    models: Sequence[Mapping[str, Any]], members: Sequence[tuple[int, str]]
) -> dict[str, Array]:
    """Return the structure numbers of architectures, those of their stages included.

    `members` gives for each the index of its template's model in `models`, and its changes as JSON.
    """
    lists = [structure_number_lists(models[index], json.loads(changes)) for index, changes in members]
    most = max((len(depths) for depths, _ in lists), default=0)
    columns = {
        "stages": [len(depths) for depths, _ in lists],
        "total_depth": [sum(depths) for depths, _ in lists],
        "max_width": [max(widths) for _, widths in lists],
    }
    for stage in range(most):
        for field, at in (("depths", 0), ("widths", 1)):
            columns[f"{field}{stage + 1}"] = [one[at][stage] if stage < len(one[at]) else 0 for one in lists]
    return {name: np.array(values, float) for name, values in columns.items()}
