"""The command `study`."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.markup import escape
from rich.table import Table as RichTable

from resnet_factory.config.composition import Composed, compose_all
from resnet_factory.costing.complexity import compute_complexity
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.planning.planner import run_planner
from resnet_factory.reporting.tables import table_console
from resnet_factory.study.jobs import study_job_image_shape, study_jobs
from resnet_factory.study.preflight import preflight_settings
from resnet_factory.study.processes import (
    TrainingProcessWatcher,
    finished_results_of_processes,
    is_main_process,
    train_in_processes,
)
from resnet_factory.study.progress import ProgressBars
from resnet_factory.study.report import StudyTable, study_report, study_report_main_table, write_study_report
from resnet_factory.study.settings import FolderData, StudySettings
from resnet_factory.study.signals import watch_stop_signals
from resnet_factory.study.summary import (
    summaries_at_best_rates,
    summaries_by_series,
    summaries_by_test_loss,
    summary_findings,
)
from resnet_factory.study.training_result import FAILED

WIDE = 110
"""Columns of a terminal that the whole table fits in."""
DISPENSABLE = ("MACs", "train loss")


def study_command(composed: Composed) -> int:
    """Train the study's networks, print the results, and write its report.

    Exit code 1 where a network could not be trained, 130 after Ctrl-C.

    Raises:
        ConfigError: with every fault in what the user wrote.
    """
    own = ["--config-dir", str(composed.config_dir)] if composed.config_dir else []
    command = shlex.join(["resnet-factory", "study", *composed.overrides, *own])
    composed = _command_with_default_study(composed)
    settings = preflight_settings(composed)
    _refuse_unread(settings, composed)
    jobs = study_jobs(settings, composed)
    folder = Path(settings.out).expanduser()
    runs, out = folder / "runs", table_console()
    found = finished_results_of_processes(jobs, runs, fresh=not settings.resume)
    left = [job for job in jobs if job.name not in found]
    workers = _worker_count(settings, composed) if left else 0
    if left:
        _refuse_unfit(settings, composed)
    _refuse_unwritable(folder, composed)
    with watch_stop_signals() as stop:
        if not is_main_process():
            train_in_processes(left, runs, TrainingProcessWatcher(), stop, workers)
            return 0
        before = f", {len(found)} of them trained before" if found else ""
        count = f"{len(jobs)} training{'s' if len(jobs) > 1 else ''}"
        out.print(f"{settings.title}: {count}{before}, in {folder}", style="bold", markup=False)
        if isinstance(settings.data, FolderData):
            out.print(settings.data.transform, markup=False)
        with ProgressBars(out, len(left)) as bars:
            found |= train_in_processes(left, runs, bars, stop, workers)
        stopped = stop()
    results = [found[job.name] for job in jobs if job.name in found]
    rows = summaries_at_best_rates(results)
    out.print()
    out.print(
        _study_command_table(
            study_report_main_table(rows if summaries_by_series(rows) else summaries_by_test_loss(rows)),
            out.width,
        )
    )
    out.print()
    for line in summary_findings(rows):
        out.print(line, markup=False, soft_wrap=True)
    report = study_report(settings, results, len(jobs), command)
    for file in write_study_report(report, results, folder):
        out.print(f"report: {file}", markup=False, soft_wrap=True)
    if stopped:
        complete = report.complete or "everything was already done"
        out.print(f"interrupted; {complete} The same command resumes it.")
        return 130
    return 1 if any(result.state == FAILED for result in results) else 0


def study_command_figures(composed: Composed) -> dict[str, float | str]:
    """Return costs, and errors so far, of a study of one network, for the table of a multirun."""
    composed = _command_with_default_study(composed)
    settings = preflight_settings(composed)
    jobs = study_jobs(settings, composed)
    if len({job.label for job in jobs}) != 1:
        return {}
    results = finished_results_of_processes(jobs, Path(settings.out).expanduser() / "runs", fresh=False)
    costed = compute_complexity(run_planner(jobs[0].config), study_job_image_shape(settings.data))
    columns: dict[str, float | str] = {"plan": jobs[0].plan_id}
    columns |= {"params": costed.params, "macs": costed.macs, "activations": costed.activations}
    for row in summaries_at_best_rates(list(results.values())):
        for name in ("train_error", "test_error", "test_loss"):
            if (spread := getattr(row, name)) is not None:
                columns |= {name: spread.mean, f"{name}_deviation": spread.deviation}
    return columns


def _worker_count(settings: StudySettings, composed: Composed) -> int:
    """Return the number of worker processes.

    Raises:
        ConfigError: there is no such device.
    """
    from resnet_factory.study.distributed import parallel_trainings

    machine = settings.machine
    try:
        fit = parallel_trainings(machine.device, machine.threads)
    except RuntimeError as error:
        message = f"{machine.device!r} does not work here: {' '.join(str(error).split())}"
        raise ConfigError([composed.locate(Fault("machine.device", message))]) from None
    return fit if machine.jobs is None else machine.jobs


def _command_with_default_study(composed: Composed) -> Composed:
    """Return study=compare where `models` is set without a study."""
    if "models" in composed.given and "study" not in composed.given:
        return compose_all("study", ["study=compare", *composed.overrides], composed.config_dir)
    return composed


def _refuse_unread(settings: StudySettings, composed: Composed) -> None:
    """Refuse overrides of `model`, which nothing reads where `models` is set."""
    message = (
        "has no effect because 'models' is set; put it into overrides=[…], name the network in models=[…], "
        "or use study=single"
    )
    faults = [
        Fault("", message, f"command line '{override}'")
        for override in composed.overrides
        if override.lstrip("+~").startswith(("model.", "model/", "model=", "input."))
    ]
    if settings.entries and faults:
        raise ConfigError(faults)


def _refuse_unfit(settings: StudySettings, composed: Composed) -> None:
    """Refuse settings that would stop every training."""
    from resnet_factory.study.data_checks import data_check_faults

    batches = {"train.batch": settings.train.batch}
    for name, own in settings.per_model.items():
        if own.batch != settings.train.batch:
            batches[f"per_model.{name}.batch"] = own.batch
    if found := data_check_faults(settings.data, batches):
        raise ConfigError(map(composed.locate, found))


def _refuse_unwritable(folder: Path, composed: Composed) -> None:
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        fault = Fault("out", f"'{folder}' cannot be written: {error.strerror}")
        raise ConfigError([composed.locate(fault)]) from None


def _study_command_table(table: StudyTable, width: int) -> RichTable:
    """Return a table for a terminal; a narrow one leaves out what is in the report anyway."""
    made = RichTable(box=None, pad_edge=False, header_style="bold")
    shown = [i for i, name in enumerate(table.columns) if width >= WIDE or name not in DISPENSABLE]
    for i in shown:
        made.add_column(table.columns[i], justify="left" if table.left[i] else "right")
    for row in table.rows:
        made.add_row(*(escape(row[i]) for i in shown))
    return made
