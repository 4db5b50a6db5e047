"""The results of a sweep as one CSV file with a row per architecture."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from resnet_factory.config.file_access import replacing_file
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep.environment import ENVIRONMENT_KEYS
from resnet_factory.sweep.evaluation import EvaluatedCandidate
from resnet_factory.sweep.json_rows import parsed_json_columns
from resnet_factory.sweep.store import StoredMeasurement, SweepStore
from resnet_factory.sweep.structure_numbers import stage_table

CSV_FILE = "archs.csv"


def write_csv(store: SweepStore) -> Path:
    """Write all that a store holds into its folder.

    Raises:
        ConfigError: the folder cannot be written.
    """
    target = store.folder / CSV_FILE
    try:
        with replacing_file(target) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
            csv.writer(text).writerows(csv_rows(store))
            text.flush()
            text.detach()
    except OSError as error:
        raise ConfigError([Fault("out", f"'{target}' cannot be written: {error}")]) from None
    return target


class _CsvMetricColumns:
    """The columns of one metric; those of spread and environment only where a measurement has them."""

    def __init__(self, metric: str, rows: Sequence[StoredMeasurement]) -> None:
        self.rows = {row.plan: row for row in rows}
        self.sides = ("low", "high") if any(row.low is not None for row in rows) else ()
        self.environment = ENVIRONMENT_KEYS if any(row.environment for row in rows) else ()
        parts = [*self.sides, "state", "note", *self.environment]
        self.head = [metric, *(f"{metric} {part}" for part in parts)]

    def columns(self, plans: Sequence[str]) -> list[tuple[object, ...]]:
        """Return the cells of architectures by column."""
        return list(zip(*map(self._cells, plans), strict=True))

    def _cells(self, plan: str) -> list[object]:
        if (row := self.rows.get(plan)) is None:
            return [None] * len(self.head)
        made = json.loads(row.environment) if row.environment else {}
        sides = [getattr(row, side) for side in self.sides]
        return [row.value, *sides, row.state, row.note, *(made.get(key) for key in self.environment)]


def csv_rows(store: SweepStore) -> Iterator[tuple[Any, ...]]:
    """Yield the names of the columns, then the values of each architecture; None where there is none."""
    measured: dict[str, list[StoredMeasurement]] = {}
    for one in store.measured():
        measured.setdefault(one.metric, []).append(one)
    metrics = [_CsvMetricColumns(metric, measured[metric]) for metric in sorted(measured)]
    overrides = [" ".join(template.overrides) for template in store.structures()]
    first = next(store.candidates(), None)
    keys, optional = ([*json.loads(text)] for text in (first.numbers, first.further)) if first else ([], [])
    shapes = [name for name in ("stages", "total_depth", "depths", "widths") if name not in keys]
    models: list[Any] = [template.model for template in store.structures()]
    head = ["plan", "sample", "overrides", *keys, "params", "macs", "activations", *optional, *shapes]
    yield (*head, *(name for metric in metrics for name in metric.head))
    for chunk in store.columns(*EvaluatedCandidate._fields):
        plans, samples, structures, numbers, changes, params, macs, activations, further = chunk
        table = stage_table(models, structures, changes)
        own: dict[str, list[Any]] = {
            "stages": table.stages.tolist(),
            "total_depth": table.depths.sum(axis=1).tolist(),
            "depths": table.texts("depths"),
            "widths": table.texts("widths"),
        }
        yield from zip(
            plans, samples, map(overrides.__getitem__, structures),
            *parsed_json_columns(numbers, keys).values(), params, macs, activations,
            *(parsed_json_columns(further, optional).values() if optional else ()),
            *map(own.__getitem__, shapes), *chain.from_iterable(metric.columns(plans) for metric in metrics),
            strict=True,
        )  # fmt: skip
