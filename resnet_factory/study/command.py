"""The study command: train what is missing, then tell."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.markup import escape
from rich.table import Table as RichTable

from resnet_factory.config.composition import Composed, compose_all
from resnet_factory.costing.complexity import cost
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.planning.planner import plan
from resnet_factory.reporting import tables as reports
from resnet_factory.study.jobs import image, jobs
from resnet_factory.study.preflight import ready
from resnet_factory.study.processes import finished_results, is_main_process, train_all
from resnet_factory.study.progress import Bars, Silence
from resnet_factory.study.report import Sheet, main_sheet, report, write
from resnet_factory.study.result import FAILED
from resnet_factory.study.settings import Folder, Settings
from resnet_factory.study.signals import leaving
from resnet_factory.study.summary import best, findings, ranked, series

WIDE = 110
"""Columns of a terminal that the whole table fits in."""
DISPENSABLE = ("MACs", "train loss")


def study(composed: Composed) -> int:
    """Train the study's networks, print what came out, and write its report.

    Exit code 1 where a network could not be trained, 130 after Ctrl-C.

    Raises:
        ConfigError: with every fault in what the user wrote.
    """
    command, composed = _typed(composed), _chosen(composed)
    settings = ready(composed)
    _refuse_unread(settings, composed)
    todo = jobs(settings, composed)
    folder = Path(settings.out).expanduser()
    runs, out = folder / "runs", reports.console()
    found = finished_results(todo, runs, fresh=not settings.resume)
    left = [job for job in todo if job.name not in found]
    workers = _workers(settings, composed) if left else 0
    if left:
        _refuse_unfit(settings, composed)
    _refuse_unwritable(folder, composed)
    with leaving() as stop:
        if not is_main_process():
            train_all(left, runs, Silence(), stop, workers)
            return 0
        before = f", {len(found)} of them trained before" if found else ""
        many = f"{len(todo)} training{'s' if len(todo) > 1 else ''}"
        out.print(f"{settings.title}: {many}{before}, in {folder}", style="bold", markup=False)
        if isinstance(settings.data, Folder):
            out.print(settings.data.transform, markup=False)
        with Bars(out, len(left)) as bars:
            found |= train_all(left, runs, bars, stop, workers)
        asked = stop()
    outcomes = [found[job.name] for job in todo if job.name in found]
    rows = best(outcomes)
    out.print()
    out.print(_table(main_sheet(rows if series(rows) else ranked(rows)), out.width))
    out.print()
    for line in findings(rows):
        out.print(line, markup=False, soft_wrap=True)
    said = report(settings, outcomes, len(todo), command)
    for file in write(said, outcomes, folder):
        out.print(f"report: {file}", markup=False, soft_wrap=True)
    if asked:
        out.print(f"interrupted; {said.complete or 'all was done'} The same command goes on from here.")
        return 130
    return 1 if any(found.state == FAILED for found in outcomes) else 0


def figures(composed: Composed) -> dict[str, float | str]:
    """What a multirun's table says of a study of one network: what is trained, and its errors so far."""
    composed = _chosen(composed)
    settings = ready(composed)
    todo = jobs(settings, composed)
    if len({job.label for job in todo}) != 1:
        return {}
    rows = best(list(finished_results(todo, Path(settings.out).expanduser() / "runs", fresh=False).values()))
    costed = cost(plan(todo[0].config), image(settings.data))
    said: dict[str, float | str] = {"plan": todo[0].plan_id}
    said |= {"params": costed.params, "macs": costed.macs, "activations": costed.activations}
    for name in ("train_error", "test_error", "test_loss"):
        if rows and (spread := getattr(rows[0], name)) is not None:
            said |= {name: spread.mean, f"{name}_deviation": spread.deviation}
    return said


def _workers(settings: Settings, composed: Composed) -> int:
    """How many processes to train in; the device is looked for here."""
    from resnet_factory.study.distributed import room

    machine = settings.machine
    try:
        space = room(machine.device, machine.threads)
    except RuntimeError as error:
        message = f"{machine.device!r} does not work here: {' '.join(str(error).split())}"
        raise ConfigError([composed.locate(Fault("machine.device", message))]) from None
    return space if machine.jobs is None else machine.jobs


def _chosen(composed: Composed) -> Composed:
    """Somebody who names models compares them; the degradation study keeps its own."""
    if "models" in composed.given and "study" not in composed.given:
        return compose_all("study", ["study=compare", *composed.overrides], composed.config_dir)
    return composed


def _refuse_unread(settings: Settings, composed: Composed) -> None:
    """Changes of `model` change nothing where `models` says what to train."""
    if not settings.entries:
        return
    faults = [
        Fault(
            "",
            "'models' is set, so this is not read; put it in overrides=[…], or name the network in models=[…]"
            ", or take study=single",
            f"command line '{override}'",
        )
        for override in composed.overrides
        if override.lstrip("+~").startswith(("model.", "model/", "model=", "input."))
    ]
    if faults:
        raise ConfigError(faults)


def _refuse_unfit(settings: Settings, composed: Composed) -> None:
    """What would stop each training on its own is said once, before the first."""
    from resnet_factory.study.data import faults

    batches = {"train.batch": settings.train.batch}
    for name, own in settings.per_model.items():
        if own.batch != settings.train.batch:
            batches[f"per_model.{name}.batch"] = own.batch
    if found := faults(settings.data, batches):
        raise ConfigError(map(composed.locate, found))


def _refuse_unwritable(folder: Path, composed: Composed) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            [composed.locate(Fault("out", f"'{folder}' cannot be written: {error.strerror}"))]
        ) from None


def _table(sheet: Sheet, width: int) -> RichTable:
    """The sheet for a terminal; a narrow one does without what the report has anyway."""
    shown = [i for i, name in enumerate(sheet.columns) if width >= WIDE or name not in DISPENSABLE]
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for i in shown:
        table.add_column(sheet.columns[i], justify="left" if i < sheet.words else "right")
    for row in sheet.rows:
        table.add_row(*(escape(row[i]) for i in shown))
    return table


def _typed(composed: Composed) -> str:
    """The command line that says the same."""
    own = ["--config-dir", str(composed.config_dir)] if composed.config_dir else []
    return shlex.join(["resnet-factory", "study", *composed.overrides, *own])
