"""The measurements of a sweep: those missing are handed to an executor, and each is stored as it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import Progress

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep import executors
from resnet_factory.sweep.evaluation import Candidate
from resnet_factory.sweep.executors import INTERRUPTED_STATE, JobResult, KeyedJob
from resnet_factory.sweep.model_numbers import place
from resnet_factory.sweep.objectives import MEASURED, TRAINED
from resnet_factory.sweep.options import SweepOptions
from resnet_factory.sweep.progress import advance
from resnet_factory.sweep.store import Measurement, SweepStore
from resnet_factory.sweep.templates import ModelTemplate

MOST_STARTS = 3
"""Measurements in this process that started so often without an end are given up."""
CHECKPOINTS = "trainings"
"""The folder of checkpoints, while networks are trained."""


class Phase(NamedTuple):
    """Metrics that are measured together, before others."""

    title: str
    metrics: tuple[str, ...]
    limit: float | None
    exclusive: bool = False
    """True: no other process of the machine measures latency at the same time."""
    checkpoints: bool = False


def phases(options: SweepOptions) -> Iterator[Phase]:
    """Yield the metrics asked for; latency is measured apart from all else, so that nothing disturbs it."""
    measuring = options.measuring
    others = tuple(metric for metric in MEASURED if metric != "latency")
    for phase in (
        Phase("measuring", others, measuring.limit),
        Phase("timing", ("latency",), measuring.limit, exclusive=True),
        Phase("training", TRAINED, measuring.training_limit, checkpoints=True),
    ):
        if asked := tuple(metric for metric in options.measure if metric in phase.metrics):
            yield phase._replace(metrics=asked)


def measure_missing(options: SweepOptions, store: SweepStore, progress: Progress) -> None:
    """Measure what the store has not."""
    for phase in phases(options):
        _measure_phase(phase, options, store, progress)


def _measure_phase(phase: Phase, options: SweepOptions, store: SweepStore, progress: Progress) -> None:
    lacking, templates = store.lacking(phase.metrics), store.structures()
    wanted = [candidate for candidate in store.candidates() if candidate.plan in lacking]
    total = store.count()
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
            own = None if folder is None else _made_folder(folder / candidate.plan)
            job = {
                "model": model_of(candidate, templates[candidate.structure]), "plan": candidate.plan_id,
                "image": options.image, "metrics": lacking[candidate.plan], "seed": options.seed,
                "alone": phase.exclusive, "folder": own, "concurrency": concurrency,
                **options.measuring.conditions,
            }  # fmt: skip
            yield candidate.plan, json.dumps(job)

    for result in _run_jobs(jobs(), phase, options, store):
        if result.state == INTERRUPTED_STATE:
            continue
        store.add_measured(_measurements(result, lacking[result.key]))
        if folder is not None and result.state == "ok":
            shutil.rmtree(folder / result.key, ignore_errors=True)
        done += 1
        advance(progress, task, done)
    if folder is not None:
        with suppress(OSError):
            folder.rmdir()


def _made_folder(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([Fault("out", f"'{folder}' cannot be written: {error}")]) from None
    return str(folder)


def _run_jobs(
    jobs: Iterable[KeyedJob], phase: Phase, options: SweepOptions, store: SweepStore
) -> Iterator[JobResult]:
    executor = options.executor
    if executor.kind == "processes":
        return executors.processes(jobs, phase.limit, 1 if phase.exclusive else executor.workers)
    if executor.kind == "dask":
        return executors.dask(jobs, phase.limit, executor.workers, executor.address)
    return _run_inline(jobs, phase.limit, store)


def _run_inline(jobs: Iterable[KeyedJob], limit: float | None, store: SweepStore) -> Iterator[JobResult]:
    """Run jobs in this process; one with which the process was lost more than once is given up."""
    for job in jobs:
        if store.begin(job[0]) > MOST_STARTS:
            yield JobResult(job[0], "died", f"this process ended {MOST_STARTS} times while measuring it")
            continue
        try:
            yield from executors.inline([job], limit)
        except BaseException:  # an interruption is no fault of the job
            with suppress(ConfigError):
                store.take_back(job[0])
            raise


def model_of(candidate: Candidate, template: ModelTemplate) -> dict[str, Any]:
    """Return the model of an architecture as plain data."""
    model: dict[str, Any] = json.loads(json.dumps(template.model))
    depths = model.get("depths")  # a generator may say them
    for key, number in json.loads(candidate.changes).items():
        place(model, key, number, len(depths) if isinstance(depths, list) else template.stages)
    return model


def _measurements(result: JobResult, metrics: list[str]) -> list[Measurement]:
    if result.state == "ok":
        return [Measurement(result.key, *row) for row in json.loads(result.text)]
    return [Measurement(result.key, m, result.state, None, None, None, result.text) for m in metrics]
