"""The results of a sweep as one CSV file: an architecture a row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_factory.config.file_access import replacing
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep import environment
from resnet_factory.sweep.store import Measured, Store

FILE = "archs.csv"


def export(store: Store) -> Path:
    """Write everything a store holds into its folder, whole or not at all.

    Raises:
        ConfigError: the folder cannot be written.
    """
    target = store.folder / FILE
    try:
        with replacing(target) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
            _write(csv.writer(text), store)
            text.flush()
            text.detach()
    except OSError as error:
        raise ConfigError([Fault("out", f"'{target}' cannot be written: {error}")]) from None
    return target


class _Columns:
    """The columns of one metric; those of spread and environment only where one has them."""

    def __init__(self, metric: str, rows: Sequence[Measured]) -> None:
        self.metric = metric
        self.spread = any(row.low is not None for row in rows)
        self.environment = any(row.environment for row in rows)

    def head(self) -> list[str]:
        sides = ["low", "high"] if self.spread else []
        parts = [*sides, "state", "note", *(environment.KEYS if self.environment else ())]
        return [self.metric, *(f"{self.metric} {part}" for part in parts)]

    def cells(self, row: Measured | None) -> list[object]:
        if row is None:
            return [""] * len(self.head())
        made = json.loads(row.environment) if row.environment else {}
        parts = [made.get(key) for key in environment.KEYS] if self.environment else []
        return [row.value, *([row.low, row.high] if self.spread else []), row.state, row.note, *parts]


def _write(table: Any, store: Store) -> None:
    measured: dict[str, dict[str, Measured]] = {}
    for one in store.measured():
        measured.setdefault(one.metric, {})[one.plan] = one
    columns = [_Columns(metric, list(measured[metric].values())) for metric in sorted(measured)]
    names = {i: " ".join(s.overrides) for i, s in enumerate(store.structures())}
    first = next(store.candidates(), None)
    keys = list(json.loads(first.numbers)) if first else []
    further = list(json.loads(first.further)) if first else []
    extra = [name for each in columns for name in each.head()]
    table.writerow(["plan", "sample", "overrides", *keys, "params", "macs", "activations", *further, *extra])
    for row in store.candidates():
        numbers: Mapping[str, Any] = json.loads(row.numbers)
        cells = [cell for each in columns for cell in each.cells(measured[each.metric].get(row.plan))]
        values = [numbers.get(key) for key in keys]
        costs = [row.params, row.macs, row.activations, *json.loads(row.further).values()]
        table.writerow([row.plan, row.sample, names[row.structure], *values, *costs, *cells])
