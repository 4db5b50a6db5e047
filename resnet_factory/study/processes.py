"""Training of jobs in worker processes, in this process, or by the processes of torchrun together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from resnet_factory.study.jobs import Job
from resnet_factory.study.signals import leaving
from resnet_factory.study.training_result import (
    FILES,
    RUNNING,
    TrainingResult,
    failed_result,
    read_result,
)
from resnet_factory.study.worker_pool import Perform, Send, Stopped, WorkerPool

REPORT_EVERY = 0.1
"""Seconds between two reports of a worker's progress."""


class Watcher:
    """Callbacks for the progress of a study, which do nothing by default."""

    def started(self, job: Job) -> None:
        """Called when training starts."""

    def advanced(self, job: Job, iteration: int, iterations: int) -> None:
        """Called after iterations."""

    def ended(self, job: Job, result: TrainingResult) -> None:
        """Called with the result."""


def finished_results(jobs: Sequence[Job], root: Path, *, fresh: bool) -> dict[str, TrainingResult]:
    """Return the finished results in `root` by job name; `fresh` deletes all results of the jobs first."""
    found = {}
    for job in jobs:
        if fresh:
            for file in FILES:
                (root / job.name / file).unlink(missing_ok=True)
        old = read_result(root / job.name)
        if old is not None and old.finished:
            found[job.name] = old
    return found


def train_all(
    jobs: Sequence[Job], root: Path, watcher: Watcher, stop: Callable[[], bool], workers: int
) -> dict[str, TrainingResult]:
    """Train jobs in `root/NAME`, from their checkpoints where there are any, and return the results by name.

    With 0 workers, or under torchrun, this process trains them one by one. After `stop` has returned true,
    running jobs save their state, and the results are those so far.
    """
    results: dict[str, TrainingResult] = {}
    if not jobs:
        return results
    if workers == 0 or torchrun():
        _train_here(jobs, root, watcher, stop, results)
        return results
    setup = partial(training_worker, jobs[0].machine.device)
    with WorkerPool(setup, min(len(jobs), workers)) as pool:
        for (job, folder), kind, value in pool.run([(job, root / job.name) for job in jobs], stop=stop):
            if kind == "started":
                watcher.started(job)
            elif kind == "progress":
                watcher.advanced(job, *value)
            else:
                result = value if isinstance(value, TrainingResult) else failed_result(job, value, folder)
                results[job.name] = result
                watcher.ended(job, result)
    return results


def _train_here(
    jobs: Sequence[Job],
    root: Path,
    watcher: Watcher,
    stop: Callable[[], bool],
    results: dict[str, TrainingResult],
) -> None:
    from resnet_factory.study.distributed import process_group
    from resnet_factory.study.trainer import Trainer

    with process_group(jobs[0].machine.device) as group:
        trainer = Trainer(group)
        for job in group.broadcast(jobs):
            watcher.started(job)

            def report(so_far: TrainingResult, job: Job = job) -> None:
                watcher.advanced(job, so_far.iteration, so_far.iterations)

            results[job.name] = trainer.attempt(job, root / job.name, report, stop)
            watcher.ended(job, results[job.name])
            if group.any_process(stop()):
                return


@contextmanager
def training_worker(device: str, slot: int) -> Iterator[Perform]:
    """Prepare a worker of a pool to train jobs, each given with its folder."""
    from resnet_factory.study.distributed import process_group
    from resnet_factory.study.trainer import Trainer

    with leaving() as asked, process_group(device, slot) as group:
        trainer = Trainer(group)

        def perform(item: tuple[Job, Path], send: Send) -> TrainingResult:
            orphaned, reported = False, 0.0

            def report(so_far: TrainingResult) -> None:
                nonlocal orphaned, reported
                if time.monotonic() - reported > REPORT_EVERY:
                    reported = time.monotonic()
                    try:
                        send("progress", (so_far.iteration, so_far.iterations))
                    except OSError:  # the parent is gone: save and end
                        orphaned = True

            result = trainer.attempt(*item, report, lambda: orphaned or asked())
            if result.state == RUNNING:
                raise Stopped(result)
            return result

        yield perform


def torchrun() -> bool:
    """Return whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_main_process() -> bool:
    """Return whether this process is the one that prints and reports."""
    return not torchrun() or os.environ.get("RANK") == "0"
