"""Training of jobs in worker processes, in this process, or by the processes of torchrun together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from resnet_factory.study.jobs import StudyJob
from resnet_factory.study.signals import watch_stop_signals
from resnet_factory.study.training_result import (
    FILES,
    RUNNING,
    TrainingResult,
    failed_result,
    read_result,
)
from resnet_factory.study.worker_pool import Perform, Send, WorkerPool, WorkerStopped

REPORT_EVERY = 0.1
"""Seconds between two reports of a worker's progress."""


class TrainingProcessWatcher:
    """Callbacks for the progress of a study, which do nothing by default."""

    def started(self, job: StudyJob) -> None:
        """Called when training starts."""

    def advanced(self, job: StudyJob, iteration: int, iterations: int) -> None:
        """Called after iterations."""

    def ended(self, job: StudyJob, result: TrainingResult) -> None:
        """Called with the result."""


def finished_results_of_processes(
    jobs: Sequence[StudyJob], root: Path, *, fresh: bool
) -> dict[str, TrainingResult]:
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


def train_in_processes(
    jobs: Sequence[StudyJob],
    root: Path,
    watcher: TrainingProcessWatcher,
    stop: Callable[[], bool],
    workers: int,
) -> dict[str, TrainingResult]:
    """Train jobs in `root/NAME`, from their checkpoints where there are any, and return the results by name.

    With 0 workers, or under torchrun, this process trains them one by one. After `stop` has returned true,
    running jobs save their state, and the results are those so far.
    """
    results: dict[str, TrainingResult] = {}
    if not jobs:
        return results
    if workers == 0 or is_torchrun_process():
        _train_in_this_process(jobs, root, watcher, stop, results)
        return results
    setup = partial(prepare_training_process, jobs[0].machine.device)
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


def _train_in_this_process(
    jobs: Sequence[StudyJob],
    root: Path,
    watcher: TrainingProcessWatcher,
    stop: Callable[[], bool],
    results: dict[str, TrainingResult],
) -> None:
    from resnet_factory.study.distributed import process_group
    from resnet_factory.study.trainer import Trainer

    with process_group(jobs[0].machine.device) as group:
        trainer = Trainer(group)
        for job in group.broadcast(jobs):
            watcher.started(job)

            def report(so_far: TrainingResult, job: StudyJob = job) -> None:
                watcher.advanced(job, so_far.iteration, so_far.iterations)

            results[job.name] = trainer.attempt(job, root / job.name, report, stop)
            watcher.ended(job, results[job.name])
            if group.any_process(stop()):
                return


@contextmanager
def prepare_training_process(device: str, slot: int) -> Iterator[Perform]:
    """Prepare a worker of a pool to train jobs, each given with its folder."""
    from resnet_factory.study.distributed import process_group
    from resnet_factory.study.trainer import Trainer

    with watch_stop_signals() as asked, process_group(device, slot) as group:
        trainer = Trainer(group)

        def perform(item: tuple[StudyJob, Path], send: Send) -> TrainingResult:
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
                raise WorkerStopped(result)
            return result

        yield perform


def is_torchrun_process() -> bool:
    """Return whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_main_process() -> bool:
    """Return whether this process is the one that prints and reports."""
    return not is_torchrun_process() or os.environ.get("RANK") == "0"
