"""The results of a multirun: one table, one file, and one page."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from resnet_factory.config.file_access import write_whole_file
from resnet_factory.reporting.tables import table_console

COSTS = ("plan", "params", "macs", "activations")
LEAST = 3
"""Minimum number of jobs for which a page is written; for two the table is enough."""
SHOWN = "shown"
"""The key of a row for what only the page shows."""
COLUMNS = ("job", "overrides", "state", *COSTS, "seconds", "error")
RESULTS, PAGE = "results.csv", "report.html"


def collect_results(
    folder: Path,
    rows: Path,
    expected: Sequence[Sequence[str]] | None,
    missing: tuple[str, str] = ("died", "ended without a result"),
) -> int:
    """Collect the rows in one file and one table; return 1 if any job failed, or ended without a row.

    `expected` holds every job's overrides, if they are known; `missing` is the state and the error of a job
    without a row. Existing results of another run are renamed.

    Raises:
        OSError: the folder cannot be written.
    """
    found: dict[int, dict[str, Any]] = {}
    for file in rows.glob("*.json"):
        row = json.loads(file.read_text(encoding="utf-8"))
        found[row["job"]] = row
    for number, overrides in enumerate(expected or []):
        if number in found:  # as typed; those given to Hydra have additions
            found[number]["overrides"] = " ".join(overrides)
        lost = {
            "job": number,
            "overrides": " ".join(overrides),
            "state": missing[0],
            "error": missing[1],
        }
        found.setdefault(number, dict.fromkeys(COLUMNS, "") | lost)
    if not found:
        return 1
    ordered = [found[number] for number in sorted(found)]
    jobs = [row | _page_entries(row.pop(SHOWN, None), row, expected) for row in ordered]
    target, text = folder / RESULTS, io.StringIO(newline="")
    table = csv.DictWriter(text, (*COLUMNS, *_report_columns(ordered)), restval="")
    table.writeheader()
    table.writerows(ordered)
    before = _set_aside(target)
    write_whole_file(target, text.getvalue())
    _print_table(ordered, target)
    if before is not None:
        table_console().print(f"previous results: {before}", markup=False, soft_wrap=True)
    if (page := _write_page(folder, jobs, _report_columns(ordered))) is not None:
        table_console().print(f"  {page}", markup=False, soft_wrap=True)
    return int(any(row["state"] != "ok" for row in ordered))


def _page_entries(
    shown: Mapping[str, Any] | None, row: Mapping[str, Any], expected: Sequence[Sequence[str]] | None
) -> dict[str, Any]:
    """Return the words, the text and the command of a job; nothing where it was not composed."""
    if shown is None:
        return {}
    words = list(expected[row["job"]]) if expected else shown["words"]
    command = shlex.join(["resnet-factory", *shown["begin"], *words])
    return {"base": shown["base"], "model": shown["model"], "words": words, "command": command}


def _write_page(folder: Path, jobs: Sequence[Mapping[str, Any]], figures: Sequence[str]) -> Path | None:
    """Write the page of a multirun, if enough jobs succeeded and the packages of pages are installed."""
    if sum(job["state"] == "ok" for job in jobs) < LEAST or find_spec("bokeh") is None:
        return None
    from resnet_factory.sweep.multirun_page import write_multirun_page

    _set_aside(folder / PAGE)
    write_multirun_page(folder / PAGE, f"Multirun in {folder}", jobs, figures)
    return folder / PAGE


def _set_aside(file: Path) -> Path | None:
    """Rename an existing file to the first free name of `results-1.csv`, `results-2.csv`, …."""
    if not file.exists():
        return None
    aside = first_free(lambda n: file.with_stem(f"{file.stem}-{n}"), lambda free: free.touch(exist_ok=False))
    os.replace(file, aside)
    return aside


def _report_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns that the command itself added."""
    return list(dict.fromkeys(key for row in rows for key in row if key not in COLUMNS))


def _print_table(rows: Sequence[Mapping[str, Any]], target: Path) -> None:
    out = table_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    failed = [row for row in rows if row["state"] != "ok"]
    for name in ("job", "overrides", "plan", "params", "MACs", "activations", "seconds"):
        table.add_column(name, justify="left" if name in ("overrides", "plan") else "right")
    more = _report_columns(rows)
    for name in more:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("state")
    for row in rows:
        numbers = [f"{row[key]:,}" if row[key] != "" else "" for key in ("params", "macs", "activations")]
        state = row["state"] if row["state"] == "ok" else f"{row['state']}: {row['error']}"
        seconds = f"{row['seconds']:.2f}" if row["seconds"] != "" else ""
        figures = [f"{row[key]:.4g}" if row.get(key, "") != "" else "" for key in more]
        table.add_row(
            str(row["job"]), escape(row["overrides"]), row["plan"], *numbers, seconds, *figures, state
        )
    out.print(table)
    out.print(f"{len(rows)} jobs, {len(failed)} failed: {target}", markup=False)


def first_free(named: Callable[[int], Path], make: Callable[[Path], None]) -> Path:
    """Create and return the first of `named(1)`, `named(2)`, … that does not exist."""
    for number in count(1):
        with suppress(FileExistsError):
            make(named(number))
            return named(number)
    raise AssertionError
