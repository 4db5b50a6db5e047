"""Training of jobs in worker processes, in this process, or by the processes of torchrun together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from resnet_factory.study import result
from resnet_factory.study.jobs import Job
from resnet_factory.study.result import RUNNING, Outcome, failed
from resnet_factory.study.signals import leaving
from resnet_factory.study.worker_pool import Perform, Send, Stopped, WorkerPool

REPORT_EVERY = 0.1
"""Seconds between two reports of a worker's progress."""


class Watcher(Protocol):
    """Callbacks for the progress of a study."""

    def started(self, job: Job) -> None:
        """Called when training starts."""

    def advanced(self, job: Job, iteration: int, iterations: int) -> None:
        """Called after iterations."""

    def ended(self, job: Job, found: Outcome) -> None:
        """Called with the result."""


def finished_results(jobs: Sequence[Job], root: Path, *, fresh: bool) -> dict[str, Outcome]:
    """Return the finished results in `root` by job name; `fresh` deletes all results of the jobs first."""
    found = {}
    for job in jobs:
        if fresh:
            for file in result.FILES:
                (root / job.name / file).unlink(missing_ok=True)
        old = result.read(root / job.name)
        if old is not None and old.finished:
            found[job.name] = old
    return found


def train_all(
    jobs: Sequence[Job], root: Path, watcher: Watcher, stop: Callable[[], bool], workers: int
) -> dict[str, Outcome]:
    """Train jobs in `root/NAME`, from their checkpoints where there are any, and return the results by name.

    With 0 workers, or under torchrun, this process trains them one by one. After `stop` has returned true,
    running jobs save their state, and the results are those so far.
    """
    found: dict[str, Outcome] = {}
    if not jobs:
        return found
    if workers == 0 or torchrun():
        _train_here(jobs, root, watcher, stop, found)
        return found
    setup = partial(training_worker, jobs[0].machine.device)
    with WorkerPool(setup, min(len(jobs), workers)) as pool:
        for (job, folder), kind, value in pool.run([(job, root / job.name) for job in jobs], stop=stop):
            if kind == "started":
                watcher.started(job)
            elif kind == "progress":
                watcher.advanced(job, *value)
            else:
                ended = value if isinstance(value, Outcome) else failed(job, value, folder)
                found[job.name] = ended
                watcher.ended(job, ended)
    return found


def _train_here(
    jobs: Sequence[Job], root: Path, watcher: Watcher, stop: Callable[[], bool], found: dict[str, Outcome]
) -> None:
    from resnet_factory.study.distributed import joined
    from resnet_factory.study.trainer import Trainer

    with joined(jobs[0].machine.device) as world:
        trainer = Trainer(world)
        for job in world.share(jobs):
            watcher.started(job)

            def tell(so_far: Outcome, job: Job = job) -> None:
                watcher.advanced(job, so_far.iteration, so_far.iterations)

            ended = found[job.name] = trainer.attempt(job, root / job.name, tell, stop)
            watcher.ended(job, ended)
            if world.anyone(stop()):
                return


@contextmanager
def training_worker(device: str, slot: int) -> Iterator[Perform]:
    """Prepare a worker of a pool to train jobs, each given with its folder."""
    from resnet_factory.study.distributed import joined
    from resnet_factory.study.trainer import Trainer

    with leaving() as asked, joined(device, slot) as world:
        trainer = Trainer(world)

        def perform(item: tuple[Job, Path], send: Send) -> Outcome:
            orphaned, reported = False, 0.0

            def tell(so_far: Outcome) -> None:
                nonlocal orphaned, reported
                if time.monotonic() - reported > REPORT_EVERY:
                    reported = time.monotonic()
                    try:
                        send("progress", (so_far.iteration, so_far.iterations))
                    except OSError:  # the parent is gone: save and end
                        orphaned = True

            found = trainer.attempt(*item, tell, lambda: orphaned or asked())
            if found.state == RUNNING:
                raise Stopped(found)
            return found

        yield perform


def torchrun() -> bool:
    """Return whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_main_process() -> bool:
    """Return whether this process is the one that prints and reports."""
    return not torchrun() or os.environ.get("RANK") == "0"
