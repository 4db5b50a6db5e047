"""The measurements of a sweep: what is missing, handed out to an executor, each kept as it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import Progress

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep import executors
from resnet_factory.sweep.evaluation import Candidate, Structure
from resnet_factory.sweep.executors import INTERRUPTED, JobResult
from resnet_factory.sweep.objectives import MEASURED, TRAINED
from resnet_factory.sweep.population import place
from resnet_factory.sweep.store import Measured, Store

CHANCES = 3
"""How often a measurement in this process may begin and never end before it is given up."""
TRAININGS = "trainings"
"""The folder of checkpoints, while networks are trained."""


@dataclass(frozen=True)
class Options:
    """How a space is swept."""

    samples: int
    sampler: str
    seed: int
    image: tuple[int, int] | None
    """None: each model's own image size."""
    metrics: tuple[str, ...]
    measuring: Mapping[str, Any]
    limit: float | None
    """Seconds that one architecture's measurement may take."""
    training_limit: float | None
    """Seconds that one architecture's trainings may take."""
    executor: str
    workers: int
    address: str | None
    retry: bool


class Phase(NamedTuple):
    """Measurements that are done together, before others begin."""

    title: str
    metrics: tuple[str, ...]
    limit: float | None
    alone: bool = False
    """Whether each has its machine to itself."""
    kept: bool = False
    """Whether what was begun is kept in a folder, and taken up again."""


def phases(options: Options) -> Iterator[Phase]:
    """The metrics asked for in an order in which none disturbs another: times apart from all else."""
    untimed = tuple(metric for metric in MEASURED if metric != "latency")
    for phase in (
        Phase("measuring", untimed, options.limit),
        Phase("timing", ("latency",), options.limit, alone=True),
        Phase("training", TRAINED, options.training_limit, kept=True),
    ):
        asked = tuple(metric for metric in options.metrics if metric in phase.metrics)
        if asked:
            yield phase._replace(metrics=asked)


def measure(options: Options, store: Store, progress: Progress) -> None:
    """Measure what is lacking."""
    for phase in phases(options):
        _measure(phase, options, store, progress)


def _measure(phase: Phase, options: Options, store: Store, progress: Progress) -> None:
    lacking = store.lacking(phase.metrics)
    models = store.structures()
    wanted = [candidate for candidate in store.candidates() if candidate.plan in lacking]
    total = store.count()
    done = total - len(wanted)
    task = progress.add_task(phase.title, total=total, completed=done, rate="")
    trainings = Trainings(store, phase)

    def jobs() -> Iterator[executors.KeyedJob]:
        for candidate in wanted:
            model = model_of(candidate, models[candidate.structure])
            folder = trainings.begin(candidate.plan)
            yield candidate.plan, job_of(candidate, model, options, phase, lacking[candidate.plan], folder)

    for outcome in _performed(jobs(), phase, options, store):
        if outcome.state == INTERRUPTED:
            continue
        store.add_measured(_rows(outcome, lacking[outcome.key]))
        if outcome.state == "ok":
            trainings.end(outcome.key)
        done += 1
        advance(progress, task, done)
    trainings.close()


class Trainings:
    """The folders of checkpoints of networks that are being trained, one for each plan."""

    def __init__(self, store: Store, phase: Phase) -> None:
        self.root = (store.folder / TRAININGS).absolute()
        self.kept = phase.kept
        if self.kept and self.root.is_dir():
            lacking = store.lacking(phase.metrics)
            for folder in self.root.iterdir():
                if folder.name not in lacking and not store.failed(folder.name):
                    shutil.rmtree(folder, ignore_errors=True)

    def begin(self, plan: str) -> Path | None:
        """The folder for one plan, made; None where nothing is kept.

        Raises:
            ConfigError: it cannot be made.
        """
        if not self.kept:
            return None
        folder = self.root / plan
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError([Fault("out", f"'{folder}' cannot be written: {error}")]) from None
        return folder

    def end(self, plan: str) -> None:
        """Delete what was kept of one plan, whose results are stored."""
        if self.kept:
            shutil.rmtree(self.root / plan, ignore_errors=True)

    def close(self) -> None:
        """Delete the folder of all, where nothing is left in it."""
        if self.kept:
            with suppress(OSError):
                self.root.rmdir()


def _performed(
    jobs: Iterable[executors.KeyedJob], phase: Phase, options: Options, store: Store
) -> Iterator[JobResult]:
    if options.executor == "processes":
        return executors.processes(jobs, phase.limit, 1 if phase.alone else options.workers)
    if options.executor == "dask":
        return executors.dask(jobs, phase.limit, options.workers, options.address)
    return _here(jobs, phase.limit, store)


def _here(jobs: Iterable[executors.KeyedJob], limit: float | None, store: Store) -> Iterator[JobResult]:
    """In this process; a job that took the process along more than once is given up."""
    for job in jobs:
        if store.begin(job[0]) > CHANCES:
            yield JobResult(job[0], "died", f"this process ended {CHANCES} times while measuring it")
            continue
        try:
            yield from executors.inline([job], limit)
        except BaseException:  # whoever interrupts a measurement says nothing against it
            with suppress(ConfigError):
                store.take_back(job[0])
            raise


def advance(progress: Progress, task: Any, done: int) -> None:
    """Show how far a task is, and how fast it goes."""
    speed = progress.tasks[task].speed or 0
    progress.update(task, completed=done, rate=f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2f}/s")


def model_of(candidate: Candidate, structure: Structure) -> dict[str, Any]:
    """One architecture's model as plain data."""
    model: dict[str, Any] = json.loads(json.dumps(structure.model))
    depths = model["depths"]
    for key, number in json.loads(candidate.changes).items():
        place(model, key, number, len(depths) if isinstance(depths, list) else structure.stages)
    return model


def job_of(
    candidate: Candidate,
    model: Mapping[str, Any],
    options: Options,
    phase: Phase,
    metrics: Sequence[str],
    folder: Path | None,
) -> str:
    """What a worker needs to measure one architecture: only strings and numbers."""
    at_once = options.workers if options.executor != "inline" else 1
    known = options.address is None
    return json.dumps({
        "model": model, "plan": candidate.plan_id, "image": options.image, "metrics": list(metrics),
        "seed": options.seed, "alone": phase.alone, "folder": None if folder is None else str(folder),
        "concurrency": 1 if phase.alone else at_once if known else None, **options.measuring,
    })  # fmt: skip


def _rows(outcome: JobResult, metrics: Sequence[str]) -> list[Measured]:
    if outcome.state != "ok":
        return [Measured(outcome.key, m, outcome.state, None, None, None, outcome.text) for m in metrics]
    return [Measured(outcome.key, *row) for row in json.loads(outcome.text)]
