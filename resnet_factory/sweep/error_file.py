"""A user's own CSV file of errors, joined to the results of a sweep by plan id."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep.environment import ENVIRONMENT_KEYS
from resnet_factory.sweep.results_table import ResultsTable
from resnet_factory.sweep.structure_numbers import STRUCTURE_NUMBERS


def read_error_file(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns of a CSV file with a `plan` column, and its rows.

    Raises:
        ConfigError: the file cannot be read or has no such column.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            names, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Fault("errors", f"'{file}' cannot be read: {error}")]) from None
    if "plan" not in names:
        message = f"'{file}' needs a column called 'plan', and others with numbers, such as 'error'"
        raise ConfigError([Fault("errors", message)])
    return names, rows


def join_error_file(results: ResultsTable, file: Path, indices: Mapping[str, int]) -> None:
    """Add the columns of a CSV file with a `plan` column. `accuracy` is an error too, unless there is one.

    Columns of the sweep's own with the same values are skipped, so that a copy of its `archs.csv` with
    another column can be joined; those with other values are refused.

    Raises:
        ConfigError: the file cannot be read, or there is nothing to join.
    """
    columns, rows = read_error_file(file)
    matching = [(indices[plan], row) for row in rows if (plan := (row["plan"] or "").strip()) in indices]
    own = {"plan", "sample", "overrides", *STRUCTURE_NUMBERS, *results.numbers, *results.known}
    own |= {f"{name} {side}" for name in results.measured for side in ("low", "high", *ENVIRONMENT_KEYS)}
    names = [
        name
        for name in columns
        if name and name not in own and any(_is_error_file_number(row[name]) for _, row in matching)
    ]
    faults = list(_error_file_collisions(results, file, matching))
    if not matching:
        message = f"'{file}' has {len(rows):,} rows, none of them for one of the sweep's "
        message += f"{len(indices):,} plans"
        message += f": found {rows[0]['plan']!r}" if rows else ""
        message += f", expected ids like {next(iter(indices))!r}" if indices else ""
        faults = [Fault("errors", message)]
    elif not (names or faults):
        message = f"'{file}' has no column with numbers besides 'plan', such as 'error'"
        faults = [Fault("errors", message)]
    if faults:
        raise ConfigError(faults)
    results.rows = len(matching), len(rows)
    for name in names:
        column = np.full(len(results), math.nan)
        for index, row in matching:
            if _is_error_file_number(row[name]):
                column[index] = float(row[name])
        results.metrics[name] = column
        results.joined.append(name)
        if name == "accuracy" and "error" not in (*names, *results.known):
            results.metrics["error"] = (1.0 if np.nanmax(column) <= 1 else 100.0) - column
            results.joined.append("error")


def _error_file_collisions(
    results: ResultsTable, file: Path, matching: Sequence[tuple[int, Mapping[str, str]]]
) -> Iterator[Fault]:
    """Yield columns that have the name of a cost or a measured metric, and other values."""
    for name in results.known:
        own = results.metrics[name]
        for index, row in matching:
            text = row.get(name)
            if _is_error_file_number(text) and float(text or "") != own[index]:
                known = "nothing" if math.isnan(own[index]) else f"{own[index]:.10g}"
                message = (
                    f"'{file}' has {name} {text} for plan {row['plan']!r}, but the sweep has {known}; values "
                )
                message += f"of the sweep are not overwritten: rename the column, for example to 'my_{name}'"
                yield Fault("errors", message)
                break


def _is_error_file_number(text: str | None) -> bool:
    try:
        return text is not None and math.isfinite(float(text))
    except ValueError:
        return False
