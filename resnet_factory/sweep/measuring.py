"""The measurements of a sweep: those missing are handed to an executor, and each is stored as it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import Progress

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep import executors
from resnet_factory.sweep.evaluation import EvaluatedCandidate
from resnet_factory.sweep.executors import INTERRUPTED_STATE, ExecutionResult, KeyedJob
from resnet_factory.sweep.model_numbers import place_model_number
from resnet_factory.sweep.objectives import TRAINED
from resnet_factory.sweep.options import SweepOptions
from resnet_factory.sweep.own_metrics import own_metrics_of_record, own_metrics_record
from resnet_factory.sweep.progress import advance_sweep_progress
from resnet_factory.sweep.results_table import load_results_table
from resnet_factory.sweep.steps import StepSurvivors, SweepStep
from resnet_factory.sweep.store import StoredMeasurement, SweepStore
from resnet_factory.sweep.templates import ModelTemplate
from resnet_factory.sweep.windows import Windows

BEGUN = "begun"
"""A file that is written whenever the trainings of an architecture begin."""
MOST_STARTS = 3
"""Measurements in this process that started so often without an end are given up."""
CHECKPOINTS = "trainings"
"""The folder of checkpoints, while networks are trained."""


class MeasuringPhase(NamedTuple):
    """Metrics that are measured together, before others."""

    title: str
    metrics: tuple[str, ...]
    limit: float | None
    exclusive: bool = False
    """True: no other process of the machine measures latency at the same time."""
    checkpoints: bool = False


def measuring_phases(metrics: Sequence[str], options: SweepOptions) -> Iterator[MeasuringPhase]:
    """Yield the metrics of a step; latency is measured apart from all else, so that nothing disturbs it."""
    measuring = options.measuring
    others = tuple(metric for metric in metrics if metric != "latency" and metric not in TRAINED)
    for phase in (
        MeasuringPhase("measuring", others, measuring.limit),
        MeasuringPhase("timing", ("latency",), measuring.limit, exclusive=True),
        MeasuringPhase("training", TRAINED, measuring.training_limit, checkpoints=True),
    ):
        if asked := tuple(metric for metric in metrics if metric in phase.metrics):
            yield phase._replace(metrics=asked)


def measure_missing(
    options: SweepOptions,
    limits: Windows,
    store: SweepStore,
    progress: Progress,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Measure what the store lacks; each step and phase covers the architectures that earlier ones kept.

    `tick` is called after each measurement, except where it would disturb.
    """
    own = own_metrics_of_record(json.loads(store.run().get("own_metrics", "{}")))
    survivors = StepSurvivors(limits, options.where, own)
    for step in options.steps:
        for number, phase in enumerate(measuring_phases(step.metrics, options)):
            among = None
            if survivors.selects(step):
                results = load_results_table(store)
                survivors.select(results, step if number == 0 else SweepStep(step.metrics))
                assert survivors.mask is not None, "a selection has a mask"
                among = {results.plans[i] for i in np.flatnonzero(survivors.mask)}
            _run_measuring_phase(phase, options, store, progress, among, tick)
            survivors.measured += phase.metrics


def _run_measuring_phase(
    phase: MeasuringPhase,
    options: SweepOptions,
    store: SweepStore,
    progress: Progress,
    among: set[str] | None,
    tick: Callable[[], None],
) -> None:
    """Measure what is missing of `among`; None: of all architectures."""
    lacking, templates = store.lacking(phase.metrics), store.structures()
    if among is not None:
        lacking = {plan: missing for plan, missing in lacking.items() if plan in among}
    wanted = [candidate for candidate in store.candidates() if candidate.plan in lacking]
    total = store.count() if among is None else len(among)
    asked = json.loads(store.run().get("asked", "{}")) | dict.fromkeys(phase.metrics, total)
    store.note("asked", json.dumps(asked, sort_keys=True))
    done = total - len(wanted)
    task = progress.add_task(phase.title, total=total, completed=done, rate="")
    folder = (store.folder / CHECKPOINTS).absolute() if phase.checkpoints else None
    if folder is not None and folder.is_dir():
        for old in folder.iterdir():
            if old.name not in lacking and not store.failed(old.name):
                shutil.rmtree(old, ignore_errors=True)

    executor = options.executor
    concurrency = None if executor.address is not None else executor.workers
    if phase.exclusive or executor.kind == "inline":
        concurrency = 1

    def jobs() -> Iterator[KeyedJob]:
        for candidate in wanted:
            own = None if folder is None else _make_measuring_folder(folder / candidate.plan)
            job = {
                "model": measuring_model(candidate, templates[candidate.structure]),
                "plan": candidate.plan_id,
                "image": options.image, "metrics": lacking[candidate.plan], "seed": options.seed,
                "own": own_metrics_record(lacking[candidate.plan]),
                "alone": phase.exclusive, "folder": own, "concurrency": concurrency,
                **options.measuring.conditions,
            }  # fmt: skip
            yield candidate.plan, json.dumps(job)

    for result in _run_measuring_jobs(jobs(), phase, options, store):
        if result.state == INTERRUPTED_STATE:
            continue
        rows = _measuring_outcomes(result, lacking[result.key])
        store.add_measured(rows, " ".join(lacking[result.key]), result.seconds)
        if folder is not None and result.state == "ok":
            shutil.rmtree(folder / result.key, ignore_errors=True)
        done += 1
        advance_sweep_progress(progress, task, done)
        if not phase.exclusive:
            tick()
    if folder is not None:
        with suppress(OSError):
            folder.rmdir()


def _make_measuring_folder(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([Fault("out", f"'{folder}' cannot be written: {error}")]) from None
    return str(folder)


def _run_measuring_jobs(
    jobs: Iterable[KeyedJob], phase: MeasuringPhase, options: SweepOptions, store: SweepStore
) -> Iterator[ExecutionResult]:
    executor = options.executor
    if executor.kind == "processes":
        return executors.execute_in_processes(jobs, phase.limit, 1 if phase.exclusive else executor.workers)
    if executor.kind == "dask":
        return executors.execute_on_dask(jobs, phase.limit, executor.workers, executor.address)
    return _run_measuring_inline(jobs, phase.limit, store)


def _run_measuring_inline(
    jobs: Iterable[KeyedJob], limit: float | None, store: SweepStore
) -> Iterator[ExecutionResult]:
    """Run jobs in this process; one with which the process was lost more than once is given up."""
    for job in jobs:
        folder = json.loads(job[1])["folder"]
        if folder is not None and _has_gone_on(Path(folder)):
            store.take_back(job[0])  # whatever ended the process, it was not this training
        if store.begin(job[0]) > MOST_STARTS:
            yield ExecutionResult(
                job[0], "died", f"this process ended {MOST_STARTS} times while measuring it"
            )
            continue
        try:
            yield from executors.execute_inline([job], limit)
        except BaseException:  # an interruption is no fault of the job
            with suppress(ConfigError):
                store.take_back(job[0])
            raise


def _has_gone_on(folder: Path) -> bool:
    """Return whether trainings in a folder wrote anything since they began last; they begin now."""
    mark = folder / BEGUN
    before = mark.stat().st_mtime_ns if mark.exists() else None
    files = [file for file in folder.rglob("*") if file.is_file() and file != mark]
    found = before is not None and any(file.stat().st_mtime_ns > before for file in files)
    mark.touch()
    return found


def measuring_model(candidate: EvaluatedCandidate, template: ModelTemplate) -> dict[str, Any]:
    """Return the model of an architecture as plain data."""
    model: dict[str, Any] = json.loads(json.dumps(template.model))
    depths = model.get("depths")  # a generator may say them
    for key, number in json.loads(candidate.changes).items():
        place_model_number(model, key, number, len(depths) if isinstance(depths, list) else template.stages)
    return model


def _measuring_outcomes(result: ExecutionResult, metrics: list[str]) -> list[StoredMeasurement]:
    if result.state == "ok":
        return [StoredMeasurement(result.key, *row) for row in json.loads(result.text)]
    return [StoredMeasurement(result.key, m, result.state, None, None, None, result.text) for m in metrics]
