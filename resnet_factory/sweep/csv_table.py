"""The results of a sweep as one CSV file with a row per architecture."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from resnet_factory.config.file_access import replacing_file
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep.environment import ENVIRONMENT_KEYS
from resnet_factory.sweep.rows import dashed_row_list
from resnet_factory.sweep.store import StoredMeasurement, SweepStore
from resnet_factory.sweep.structure_numbers import structure_number_lists

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

    def cells(self, plan: str) -> list[object]:
        """Return the cells of one architecture."""
        if (row := self.rows.get(plan)) is None:
            return [None] * len(self.head)
        made = json.loads(row.environment) if row.environment else {}
        sides = [getattr(row, side) for side in self.sides]
        return [row.value, *sides, row.state, row.note, *(made.get(key) for key in self.environment)]


def csv_rows(store: SweepStore) -> Iterator[list[Any]]:
    """Yield the names of the columns, then the values of each architecture; None where there is none."""
    measured: dict[str, list[StoredMeasurement]] = {}
    for one in store.measured():
        measured.setdefault(one.metric, []).append(one)
    metrics = [_CsvMetricColumns(metric, measured[metric]) for metric in sorted(measured)]
    overrides = [" ".join(template.overrides) for template in store.structures()]
    first = next(store.candidates(), None)
    keys, optional = ([*json.loads(text)] for text in (first.numbers, first.further)) if first else ([], [])
    stages = [name for name in ("stages", "total_depth", "depths", "widths") if name not in keys]
    models: list[Any] = [template.model for template in store.structures()]
    head = ["plan", "sample", "overrides", *keys, "params", "macs", "activations", *optional, *stages]
    yield [*head, *(name for metric in metrics for name in metric.head)]
    for row in store.candidates():
        numbers = json.loads(row.numbers)
        costs = [row.params, row.macs, row.activations, *json.loads(row.further).values()]
        cells = [cell for metric in metrics for cell in metric.cells(row.plan)]
        values = [numbers.get(key) for key in keys]
        depths, widths = structure_number_lists(models[row.structure], json.loads(row.changes))
        own = {
            "stages": len(depths),
            "total_depth": sum(depths),
            "depths": dashed_row_list(depths),
            "widths": dashed_row_list(widths),
        }
        shape = [own[name] for name in stages]
        yield [row.plan, row.sample, overrides[row.structure], *values, *costs, *shape, *cells]
