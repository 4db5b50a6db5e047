"""Depths and widths of many architectures at once are those of each one alone."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from resnet_factory.sweep.structure_numbers import stage_table, structure_number_lists

MODELS: list[dict[str, Any]] = [
    {"depths": [1, 2, 3, 4], "widths": [8, 16, 32, 64]},
    {"depths": 2, "widths": [8, 16]},
    {"depths": [3, 3, 3], "widths": 24},
    {
        "generator": {
            "regnet": {"depth": 12, "initial": 24, "slope": 24.5, "multiplier": 2.5, "group_width": 8}
        }
    },
    {},
]


def changes_of(model: Mapping[str, Any], chance: random.Random) -> dict[str, Any]:
    """Random changes, of any of the forms in which a space says them."""
    if "generator" in model:
        return {"generator.regnet.depth": chance.randint(8, 20)}
    stages = len(structure_number_lists(model, {})[0])
    found: dict[str, Any] = {"stem.width": chance.randint(1, 9)}
    for field in ("depths", "widths"):
        form = chance.choice(("none", "shared", "some", "each", "list"))
        if form == "shared":
            found[field] = chance.randint(1, 99)
        if form == "list":
            found[field] = [chance.randint(1, 99) for _ in range(stages)]
        chosen = {"some": chance.sample(range(stages), 1), "each": range(stages)}.get(form, ())
        found |= {f"{field}.{stage}": chance.randint(1, 99) for stage in chosen}
    return found


def test_many_at_once_are_each_one_alone() -> None:
    chance = random.Random(3)
    picked = [chance.randrange(len(MODELS)) for _ in range(500)]
    changes = [changes_of(MODELS[index], chance) for index in picked]
    table = stage_table(MODELS, picked, [*map(json.dumps, changes)])
    alone = [structure_number_lists(MODELS[index], each) for index, each in zip(picked, changes, strict=True)]
    assert len({len(depths) for depths, _ in alone}) >= 4  # RegNets of several numbers of stages among them
    columns = table.columns()
    texts = table.texts("depths"), table.texts("widths")
    for row, (depths, widths) in enumerate(alone):
        assert (table.stages[row], texts[0][row], texts[1][row]) == (
            len(depths), "-".join(map(str, depths)), "-".join(map(str, widths)),
        )  # fmt: skip
        said = {name: int(values[row]) for name, values in columns.items()}
        both = {f"depths{i + 1}": depth for i, depth in enumerate(depths)}
        both |= {f"widths{i + 1}": width for i, width in enumerate(widths)}
        most = {"stages": len(depths), "total_depth": sum(depths), "max_width": max(widths)}
        assert said == dict.fromkeys(said, 0) | both | most


def test_no_architecture_has_no_stages() -> None:
    table = stage_table(MODELS, [], [])
    assert table.texts("depths") == []
    assert all(values.size == 0 for values in table.columns().values())
    assert np.array_equal(table.stages, [])
