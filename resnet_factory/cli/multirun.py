"""Hydra's multirun: what each job does, and one table and one results file at the end."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from resnet_factory.cli.hydra_runner import from_hydra, job_of_hydra, sweep_folder
from resnet_factory.cli.hydra_runner import run_jobs as launch
from resnet_factory.cli.request import Request
from resnet_factory.cli.verbs import VERBS
from resnet_factory.config.composition import Composed, image_size
from resnet_factory.config.file_access import write_whole
from resnet_factory.costing.complexity import cost
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.planning.planner import plan
from resnet_factory.reporting.tables import console

COSTS = ("plan", "params", "macs", "activations")
COLUMNS = ("job", "overrides", "state", *COSTS, "seconds", "error")
RESULTS = "results.csv"
DEFAULT = "runs/multirun"
"""Hydra's folder in our configuration: where nobody gives another, each run has its own beside it."""
INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def refuse_shared_output(key: str, jobs: Sequence[Sequence[str]]) -> None:
    """Refuse jobs that would write one file, each over the one before; `key` names the file.

    Raises:
        ConfigError: two jobs name the same file.
    """
    named: dict[str, int] = {}
    for job in jobs:
        words = [word for word in job if word.lstrip("+").partition("=")[0] == key]
        if words and "${" not in words[-1]:
            named[words[-1]] = named.get(words[-1], 0) + 1
    faults = [
        Fault(key, f"{count} jobs would write it, one over the other; put ${{hydra:job.num}} into its name",
              f"command line '{word}'")
        for word, count in named.items()
        if count > 1 and not word.endswith("=null")
    ]  # fmt: skip
    if faults:
        raise ConfigError(faults)


def perform(rows: Path, config: Any) -> None:
    """One job, wherever the launcher runs it: the command, then a row in `rows`; its errors stop no other."""
    job = job_of_hydra()
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {
        "job": job.number,
        "overrides": " ".join(job.overrides),
    }
    out, start = console(), time.perf_counter()
    figures: Callable[[], Mapping[str, Any]] = dict
    out.print(f"#{job.number}  {row['overrides']}", style="bold", markup=False)
    try:
        composed = from_hydra(job.config_dir, verify=plan)
        verb = VERBS[job.verb]
        figures = partial(verb.load_figures() or _row_costs, composed)
        costs = figures()
        row |= {name: costs[name] for name in COSTS if name in costs}
        _claim_outputs(rows, composed, verb.writes)
        status = verb.load()(composed)
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        row |= {"state": "ok"} if status == 0 else {"state": "failed", "error": f"exit code {status}"}
        if verb.figures:  # which the command has just changed; costs are what they were
            row |= figures()
    except KeyboardInterrupt:
        with suppress(ConfigError):
            row |= figures()
        row |= {
            "state": "interrupted",
            "error": "by Ctrl-C",
            "seconds": round(time.perf_counter() - start, 3),
        }
        _keep_rows(rows, row)
        raise
    except ConfigError as error:
        print(error, file=sys.stderr)
        row |= {"state": "failed", "error": "; ".join(fault.message for fault in error.faults)}
    except Exception as error:  # noqa: BLE001 - a job's failure is its row; the others go on
        import traceback

        traceback.print_exc()
        row |= {"state": "failed", "error": " ".join(f"{type(error).__name__}: {error}".split())}
    row["seconds"] = round(time.perf_counter() - start, 3)
    out.print()
    _keep_rows(rows, row)


def _row_costs(composed: Composed) -> dict[str, Any]:
    """Costs of the model, for the row of a command without figures of its own."""
    planned = plan(composed.model)
    found = cost(planned, (planned.in_channels, *image_size(composed.data)))
    values = (planned.id, found.params, found.macs, found.activations)
    return dict(zip(COSTS, values, strict=True))


def _claim_outputs(rows: Path, composed: Composed, key: str) -> None:
    """Take the file that `key` names for this job alone, under whatever name other jobs have for it.

    Raises:
        ConfigError: another job of this run has taken it.
    """
    file = composed.data.get(key) if key else None
    if not isinstance(file, str):
        return
    place = Path(file).expanduser().resolve()
    if place.exists() and not place.is_file():
        return  # a device or a pipe takes one after the other
    try:
        (rows / f"{hashlib.sha256(os.fsencode(place)).hexdigest()}.taken").touch(exist_ok=False)
    except FileExistsError:
        message = f"another job of this run writes '{file}'; put ${{hydra:job.num}} into its name"
        raise ConfigError([composed.locate(Fault(key, message))]) from None


def _keep_rows(rows: Path, row: Mapping[str, Any]) -> None:
    """Write a job's row, whole or not at all; jobs may run in other processes."""
    write_whole(rows / f"{row['job']}.json", json.dumps(row))


def conclude(
    folder: Path,
    rows: Path,
    expected: Sequence[Sequence[str]] | None,
    missing: tuple[str, str] = ("died", "ended without a result"),
) -> int:
    """Gather the rows into one file and one table; 1 if any job failed, or ended without a row.

    `expected` holds every job's overrides, where they are known; `missing` is the state and the error of one
    that has left no row. Results of another run that lie there are kept under another name.

    Raises:
        OSError: the folder cannot be written any more.
    """
    found: dict[int, dict[str, Any]] = {}
    for file in rows.glob("*.json"):
        row = json.loads(file.read_text(encoding="utf-8"))
        found[row["job"]] = row
    for number, overrides in enumerate(expected or []):
        if number in found:  # as they were typed; Hydra was given more
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
    target, text = folder / RESULTS, io.StringIO(newline="")
    table = csv.DictWriter(text, (*COLUMNS, *_report_columns(ordered)), restval="")
    table.writeheader()
    table.writerows(ordered)
    before = _set_aside(target)
    write_whole(target, text.getvalue())
    _print_table(ordered, target)
    if before is not None:
        console().print(f"the results that were there: {before}", markup=False, soft_wrap=True)
    return int(any(row["state"] != "ok" for row in ordered))


def _set_aside(file: Path) -> Path | None:
    """Give a file that is there another name, `results-1.csv`, one that nothing has."""
    if not file.exists():
        return None
    aside = _first_free(lambda n: file.with_stem(f"{file.stem}-{n}"), lambda free: free.touch(exist_ok=False))
    os.replace(file, aside)
    return aside


def _report_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns that the command itself has filled."""
    return list(dict.fromkeys(key for row in rows for key in row if key not in COLUMNS))


def _print_table(rows: Sequence[Mapping[str, Any]], target: Path) -> None:
    out = console()
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


def run_multirun(verb: str, wanted: Request, config_dir: str | None) -> int:
    """Let Hydra do the jobs, then gather what they left; 1 if any failed, 130 after Ctrl-C.

    Raises:
        ConfigError: Hydra refuses its own settings, or the folder cannot be written.
    """
    folder = sweep_folder(verb, wanted, config_dir)
    try:
        made = not folder.exists()
        folder = _own_folder(folder) if str(folder) == DEFAULT else folder
        folder.mkdir(parents=True, exist_ok=True)
        rows = Path(tempfile.mkdtemp(prefix=".rows-", dir=folder)).resolve()
    except OSError as error:
        raise _unwritable(folder, wanted, error) from None
    status, missing = 0, ("died", "ended without a result")
    try:
        try:
            launch(verb, wanted, folder, config_dir, partial(perform, rows))
        except KeyboardInterrupt:
            status, missing = INTERRUPTED, ("not run", "interrupted")
        except ConfigError as error:
            if not any(rows.iterdir()):
                raise
            print(error, file=sys.stderr)  # of a job in the middle: what is done is told all the same
            status, missing = 1, ("not run", "Hydra has stopped")
        except Exception as error:  # noqa: BLE001 - a launcher's own trouble: what is done is told all the same
            print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
            status = 1
        try:
            return max(conclude(folder, rows, wanted.jobs, missing), status)
        except OSError as error:
            raise _unwritable(folder, wanted, error) from None
    finally:
        shutil.rmtree(rows, ignore_errors=True)
        if made:
            with suppress(OSError):
                folder.rmdir()  # which holds nothing, if Hydra has not begun


def _own_folder(folder: Path) -> Path:
    """A folder that no other run has: called by the time, and made here."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    name = f"{folder.name}-{time.strftime('%Y-%m-%d-%H-%M-%S')}"
    return _first_free(lambda n: folder.with_name(name if n == 1 else f"{name}-{n}"), Path.mkdir)


def _first_free(named: Callable[[int], Path], make: Callable[[Path], None]) -> Path:
    """The first of `named(1)`, `named(2)`, … that is not there yet, made."""
    for number in count(1):
        with suppress(FileExistsError):
            make(named(number))
            return named(number)
    raise AssertionError


def _unwritable(folder: Path, wanted: Request, error: OSError) -> ConfigError:
    given = [word for word in wanted.words if word.lstrip("+").startswith("hydra.sweep.dir=")]
    where = f"command line '{given[-1]}'" if given else "command line '-m'"
    reason = "it is a file" if folder.is_file() else error.strerror
    return ConfigError([Fault("", f"'{folder}' cannot be written: {reason}", where)])
