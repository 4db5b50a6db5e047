"""One sweep from its options to its results: frozen, surveyed, measured, each step kept as it is done."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from resnet_factory import __version__
from resnet_factory.sweep import executors
from resnet_factory.sweep.evaluation import EXAMPLES, Candidate, Setting, Structure, Structures, survey
from resnet_factory.sweep.population import place
from resnet_factory.sweep.samplers import BATCH, draw
from resnet_factory.sweep.space import Space
from resnet_factory.sweep.store import Measured, Store
from resnet_factory.sweep.worker import COMMAND, Outcome

FIXED = ("space", "sampler", "seed", "image", "measuring")
"""What a run may not change when it goes on."""
CHANCES = 3
"""How often a measurement in this process may begin and never end before it is given up."""


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
    executor: str
    workers: int
    address: str | None
    retry: bool


def sweep(
    space: Space, structures: Structures, options: Options, store: Store, command: Sequence[str] = COMMAND
) -> None:
    """Do what is not done yet.

    Raises:
        ConfigError: the store holds another run, or cannot be written.
    """
    store.freeze(described(space, options), FIXED)
    structures.known.extend(store.structures())
    if options.retry:
        store.forget_failures()
    with _progress() as progress:
        _survey(space, structures, options, store, progress)
        if options.metrics:
            _measure(options, store, progress, command)


def described(space: Space, options: Options) -> dict[str, str]:
    """What is run, for the store: all that decides the results, and what they were made with."""
    import numpy as np

    python = platform.python_version()
    return {
        "name": space.name,
        "base": space.base_name,
        "choices": json.dumps(space.choices),
        "space": space.text,
        "sampler": options.sampler,
        "seed": str(options.seed),
        "samples": str(options.samples),
        "image": json.dumps(options.image),
        "measuring": json.dumps(options.measuring, sort_keys=True),
        "metrics": json.dumps(options.metrics),
        "generator": json.dumps(space.generator),
        "dimensions": json.dumps(
            [[d.key, d.kind, list(d.values), d.low, d.high, d.step] for d in space.dimensions]
        ),
        "relations": json.dumps([relation.text for relation in space.relations]),
        "windows": json.dumps({key: list(window) for key, window in space.windows.items()}),
        "versions": f"resnet-factory {__version__}, Python {python}, NumPy {np.__version__}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        **({"torch": f"torch {version('torch')}"} if options.metrics else {}),
    }


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not sys.stderr.isatty(),
        transient=True,
    )


def _advanced(progress: Progress, task: Any, done: int) -> None:
    speed = progress.tasks[task].speed or 0
    progress.update(task, completed=done, rate=f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2f}/s")


def _survey(space: Space, structures: Structures, options: Options, store: Store, progress: Progress) -> None:
    done, reasons = store.batches(), json.loads(store.run().get("invalid", "[]"))
    setting = Setting(options.image, options.measuring["batch"], options.measuring["dtype"])
    task = progress.add_task("costing", total=options.samples, rate="")
    for start in range(0, options.samples, BATCH):
        stop = min(start + BATCH, options.samples)
        if done.get(start, 0) < stop:
            samples = draw(options.sampler, space.dimensions, options.seed, start, stop)
            found = survey(space, structures, samples, start, setting, 0 if reasons else EXAMPLES)
            store.add_batch(start, stop, found.candidates, found.rejected, structures.known)
            if found.reasons and not reasons:
                reasons = found.reasons
                store.note("invalid", json.dumps(reasons))
        _advanced(progress, task, stop)


def _measure(options: Options, store: Store, progress: Progress, command: Sequence[str]) -> None:
    lacking = store.lacking(options.metrics)
    models = store.structures()
    wanted = [candidate for candidate in store.candidates() if candidate.plan in lacking]
    total = store.count()
    done = total - len(wanted)
    task = progress.add_task("measuring", total=total, completed=done, rate="")

    def jobs() -> Iterator[executors.Job]:
        for candidate in wanted:
            yield (
                candidate.plan,
                job_of(candidate, models[candidate.structure], options, lacking[candidate.plan]),
            )

    for outcome in _performed(jobs(), options, store, command):
        store.add_measured(_rows(outcome, lacking[outcome.key]))
        done += 1
        _advanced(progress, task, done)


def _performed(
    jobs: Iterable[executors.Job], options: Options, store: Store, command: Sequence[str]
) -> Iterator[Outcome]:
    if options.executor == "processes":
        return executors.processes(jobs, options.limit, options.workers, command)
    if options.executor == "dask":
        return executors.dask(jobs, options.limit, options.workers, options.address, command)
    return _here(jobs, options, store)


def _here(jobs: Iterable[executors.Job], options: Options, store: Store) -> Iterator[Outcome]:
    """In this process; a job that took the process along more than once is given up."""
    for job in jobs:
        if store.begin(job[0]) > CHANCES:
            yield Outcome(job[0], "died", f"this process ended {CHANCES} times while measuring it")
        else:
            yield from executors.inline([job], options.limit)


def model_of(candidate: Candidate, structure: Structure) -> dict[str, Any]:
    """One architecture's model as plain data."""
    model: dict[str, Any] = json.loads(json.dumps(structure.model))
    depths = model["depths"]
    for key, number in json.loads(candidate.changes).items():
        place(model, key, number, len(depths) if isinstance(depths, list) else structure.stages)
    return model


def job_of(candidate: Candidate, structure: Structure, options: Options, metrics: Sequence[str]) -> str:
    """What a worker needs to measure one architecture: no names, no files, only strings and numbers."""
    return json.dumps({
        "model": model_of(candidate, structure), "plan": candidate.plan_id, "image": options.image,
        "metrics": list(metrics), "seed": options.seed, **options.measuring,
    })  # fmt: skip


def _rows(outcome: Outcome, metrics: Sequence[str]) -> list[Measured]:
    if outcome.state != "ok":
        return [Measured(outcome.key, m, outcome.state, None, None, None, outcome.text) for m in metrics]
    return [Measured(outcome.key, *row) for row in json.loads(outcome.text)]
