"""Hydra's multirun: what each job does, and one table and one results file at the end."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from resnet_factory.composer import from_hydra, image_size, job_of_hydra, jobs_of, run_hydra
from resnet_factory.costing import cost
from resnet_factory.fault import ConfigError
from resnet_factory.planner import plan
from resnet_factory.report import console

COLUMNS = ("job", "overrides", "state", "plan", "params", "macs", "activations", "seconds", "error")
RESULTS = "results.csv"


def perform(config: Any) -> None:
    """One job, wherever the launcher runs it: the command, then a row; what it raises stops no other."""
    job = job_of_hydra()
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {
        "job": job.number,
        "overrides": " ".join(job.overrides),
    }
    out, start = console(), time.perf_counter()
    out.print(f"#{job.number}  {row['overrides']}", style="bold", markup=False)
    try:
        composed = from_hydra(config, job.config_dir)
        planned = plan(composed.model)
        found = cost(planned, (planned.in_channels, *image_size(composed.data)))
        row |= {
            "plan": planned.id,
            "params": found.params,
            "macs": found.macs,
            "activations": found.activations,
        }
        from resnet_factory.cli import VERBS

        verb = VERBS[job.verb]
        status = verb.load()(composed)
        row |= {"state": "ok"} if status == 0 else {"state": "failed", "error": f"exit code {status}"}
        if (figures := verb.load_figures()) is not None:
            row |= figures(composed)
    except ConfigError as error:
        print(error, file=sys.stderr)
        row |= {"state": "failed", "error": "; ".join(fault.message for fault in error.faults)}
    except Exception as error:  # noqa: BLE001 - a job's failure is its row; the others go on
        import traceback

        traceback.print_exc()
        row |= {"state": "failed", "error": " ".join(f"{type(error).__name__}: {error}".split())}
    row["seconds"] = round(time.perf_counter() - start, 3)
    out.print()
    _keep(Path(job.folder), row)


def _keep(folder: Path, row: Mapping[str, Any]) -> None:
    """Write a job's row, whole or not at all; jobs may run in other processes."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".row-{row['job']}.part"
    part.write_text(json.dumps(row), encoding="utf-8")
    os.replace(part, folder / f".row-{row['job']}.json")


def conclude(folder: Path, expected: Sequence[Sequence[str]] | None) -> int:
    """Gather the rows into one file and one table; 1 if any job failed, or ended without a row.

    `expected` holds every job's overrides, where they are known.
    """
    rows: dict[int, dict[str, Any]] = {}
    files = list(folder.glob(".row-*.json"))
    for file in files:
        row = json.loads(file.read_text(encoding="utf-8"))
        rows[row["job"]] = row
    for number, overrides in enumerate(expected or []):
        lost = {
            "job": number,
            "overrides": " ".join(overrides),
            "state": "died",
            "error": "ended without a result",
        }
        rows.setdefault(number, dict.fromkeys(COLUMNS, "") | lost)
    if not rows:
        return 1
    ordered = [rows[number] for number in sorted(rows)]
    target, part = folder / RESULTS, folder / f".{RESULTS}.part"
    folder.mkdir(parents=True, exist_ok=True)
    with part.open("w", newline="", encoding="utf-8") as opened:
        table = csv.DictWriter(opened, (*COLUMNS, *_more(ordered)), restval="")
        table.writeheader()
        table.writerows(ordered)
    os.replace(part, target)
    for file in files:
        with suppress(OSError):
            file.unlink()
    _show(ordered, target)
    return int(any(row["state"] != "ok" for row in ordered))


def _more(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns that the command itself has filled."""
    return list(dict.fromkeys(key for row in rows for key in row if key not in COLUMNS))


def _show(rows: Sequence[Mapping[str, Any]], target: Path) -> None:
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    failed = [row for row in rows if row["state"] != "ok"]
    for name in ("job", "overrides", "plan", "params", "MACs", "activations", "seconds"):
        table.add_column(name, justify="left" if name in ("overrides", "plan") else "right")
    more = _more(rows)
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


def run(verb: str, words: Sequence[str], config_dir: str | None) -> int:
    """Let Hydra do the jobs in `sys.argv`, then gather what they left; 1 if any failed.

    `words` are the overrides as they were typed.

    Raises:
        ConfigError: an override cannot be read.
    """
    given = [word.partition("=")[2] for word in words if word.lstrip("+").startswith("hydra.sweep.dir=")]
    folder = Path(given[-1]) if given else Path("runs") / time.strftime("multirun-%Y-%m-%d-%H-%M-%S")
    if not given:
        sys.argv.append(f"hydra.sweep.dir={folder}")
    # A file or another sweeper may bring more jobs; then only they know how many they are.
    whole = not any(re.match(r"\+?(experiment=|sweep=|hydra\W.*sweeper)", word) for word in words)
    expected = jobs_of(words, config_dir) if whole else None
    trouble = run_hydra(verb, perform)
    return conclude(folder, expected) or int(trouble != 0)
