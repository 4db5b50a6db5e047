"""Hydra's multirun: run each job, and write one table and one results file at the end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from resnet_factory.cli.hydra_runner import (
    HydraJob,
    current_hydra_job,
    hydra_sweep_folder,
    request_from_hydra,
)
from resnet_factory.cli.hydra_runner import run_hydra_jobs as launch
from resnet_factory.cli.job_objective import objective_of_row
from resnet_factory.cli.multirun_results import COLUMNS, COSTS, SHOWN, collect_results, first_free
from resnet_factory.cli.request import CommandRequest
from resnet_factory.cli.verbs import VERBS
from resnet_factory.config.composition import Composed, composed_image_size
from resnet_factory.config.file_access import write_whole_file
from resnet_factory.costing.complexity import compute_complexity
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.planning.planner import run_planner
from resnet_factory.reporting.tables import table_console

DEFAULT = "runs/multirun"
"""Default of `hydra.sweep.dir`; runs with this default get separate folders next to it."""
INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def refuse_output_shared_by_jobs(key: str, jobs: Sequence[Sequence[str]]) -> None:
    """Refuse jobs that would overwrite each other's file; `key` is the key of its name.

    Raises:
        ConfigError: two jobs name the same file.
    """
    named: dict[str, int] = {}
    for job in jobs:
        words = [word for word in job if word.lstrip("+").partition("=")[0] == key]
        if words and "${" not in words[-1]:
            named[words[-1]] = named.get(words[-1], 0) + 1
    faults = [
        Fault(key, f"{count} jobs would all write this file; put ${{hydra:job.num}} into its name",
              f"command line '{word}'")
        for word, count in named.items()
        if count > 1 and not word.endswith("=null")
    ]  # fmt: skip
    if faults:
        raise ConfigError(faults)


def perform_multirun_job(rows: Path, config: Any) -> float | tuple[float, ...] | None:
    """Run the command of one job and write its row to `rows`; errors do not stop other jobs.

    Return the job's objective, one number or several, if the configuration names any.

    Raises:
        JobError: there is an objective, and the job failed.
    """
    job = current_hydra_job()
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {
        "job": job.number,
        "overrides": " ".join(job.overrides),
    }
    out, start = table_console(), time.perf_counter()
    figures: Callable[[], Mapping[str, Any]] = dict
    out.print(f"#{job.number}  {row['overrides']}", style="bold", markup=False)
    try:
        composed = request_from_hydra(job.config_dir, verify=run_planner)
        verb = VERBS[job.verb]
        figures = partial(verb.load_figures() or _multirun_row_costs, composed)
        costs = figures()
        row |= {name: costs[name] for name in COSTS if name in costs}
        row[SHOWN] = _shown(composed, str(row["plan"]), job)
        _claim_multirun_outputs(rows, composed, verb.writes)
        status = verb.load()(composed)
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        row |= {"state": "ok"} if status == 0 else {"state": "failed", "error": f"exit code {status}"}
        if verb.figures:  # the command may have changed these, but not costs
            row |= figures()
    except KeyboardInterrupt:
        with suppress(ConfigError):
            row |= figures()
        row |= {
            "state": "interrupted",
            "error": "by Ctrl-C",
            "seconds": round(time.perf_counter() - start, 3),
        }
        _keep_multirun_rows(rows, row)
        raise
    except ConfigError as error:
        print(error, file=sys.stderr)
        row |= {"state": "failed", "error": "; ".join(fault.message for fault in error.faults)}
    except Exception as error:  # noqa: BLE001 - a failure is recorded in the job's row; the other jobs continue
        import traceback

        traceback.print_exc()
        row |= {"state": "failed", "error": " ".join(f"{type(error).__name__}: {error}".split())}
    row["seconds"] = round(time.perf_counter() - start, 3)
    out.print()
    _keep_multirun_rows(rows, row)
    return objective_of_row(row, config.get("objective"))


def _shown(composed: Composed, plan_id: str, job: HydraJob) -> dict[str, Any]:
    """Return what the page shows of a job besides its row."""
    own = run_planner(composed.model).id == plan_id  # a study may train another
    return {
        "base": composed.choices.get("model", "model"),
        "model": composed.model.to_dict() if own else None,
        "words": job.overrides,
        "begin": [job.verb, *(["--config-dir", job.config_dir] if job.config_dir else [])],
    }


def _multirun_row_costs(composed: Composed) -> dict[str, Any]:
    """Return the costs of the model, for the row of a command without figures of its own."""
    planned = run_planner(composed.model)
    found = compute_complexity(planned, (planned.in_channels, *composed_image_size(composed.data)))
    values = (planned.id, found.params, found.macs, found.activations)
    return dict(zip(COSTS, values, strict=True))


def _claim_multirun_outputs(rows: Path, composed: Composed, key: str) -> None:
    """Reserve the output file named by `key` for this job, however other jobs spell its path.

    Raises:
        ConfigError: another job of this run has reserved it.
    """
    file = composed.data.get(key) if key else None
    if not isinstance(file, str):
        return
    place = Path(file).expanduser().resolve()
    if place.exists() and not place.is_file():
        return  # several jobs may write to a device or a pipe
    try:
        (rows / f"{hashlib.sha256(os.fsencode(place)).hexdigest()}.taken").touch(exist_ok=False)
    except FileExistsError:
        message = f"another job of this run writes '{file}'; put ${{hydra:job.num}} into its name"
        raise ConfigError([composed.locate(Fault(key, message))]) from None


def _keep_multirun_rows(rows: Path, row: Mapping[str, Any]) -> None:
    """Write a job's row atomically; jobs may run in other processes."""
    write_whole_file(rows / f"{row['job']}.json", json.dumps(row))


def run_multirun(verb: str, wanted: CommandRequest, config_dir: str | None) -> int:
    """Run the jobs by Hydra, then collect their rows; return 1 if any failed, 130 after Ctrl-C.

    Raises:
        ConfigError: Hydra refuses its own settings, or the folder cannot be written.
    """
    folder = hydra_sweep_folder(verb, wanted, config_dir)
    try:
        made = not folder.exists()
        folder = _own_multirun_folder(folder) if str(folder) == DEFAULT else folder
        folder.mkdir(parents=True, exist_ok=True)
        rows = Path(tempfile.mkdtemp(prefix=".rows-", dir=folder)).resolve()
    except OSError as error:
        raise _unwritable_multirun_folder(folder, wanted, error) from None
    status, missing = 0, ("died", "ended without a result")
    try:
        try:
            launch(verb, wanted, folder, config_dir, partial(perform_multirun_job, rows))
        except KeyboardInterrupt:
            status, missing = INTERRUPTED, ("not run", "interrupted")
        except ConfigError as error:
            if not any(rows.iterdir()):
                raise
            print(error, file=sys.stderr)  # Ctrl-C within a job: the finished ones are reported
            status, missing = 1, ("not run", "Hydra has stopped")
        except Exception as error:  # noqa: BLE001 - an error of the launcher: the finished jobs are reported
            print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
            status = 1
        try:
            return max(collect_results(folder, rows, wanted.jobs, missing), status)
        except OSError as error:
            raise _unwritable_multirun_folder(folder, wanted, error) from None
    finally:
        shutil.rmtree(rows, ignore_errors=True)
        if made:
            with suppress(OSError):
                folder.rmdir()  # empty if Hydra has not started


def _own_multirun_folder(folder: Path) -> Path:
    """Create and return a folder for this run, named by the time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    name = f"{folder.name}-{time.strftime('%Y-%m-%d-%H-%M-%S')}"
    return first_free(lambda n: folder.with_name(name if n == 1 else f"{name}-{n}"), Path.mkdir)


def _unwritable_multirun_folder(folder: Path, wanted: CommandRequest, error: OSError) -> ConfigError:
    given = [word for word in wanted.words if word.lstrip("+").startswith("hydra.sweep.dir=")]
    where = f"command line '{given[-1]}'" if given else "command line '-m'"
    reason = "it is a file" if folder.is_file() else error.strerror
    return ConfigError([Fault("", f"'{folder}' cannot be written: {reason}", where)])
