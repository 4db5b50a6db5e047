"""Has jobs trained, several at a time, each in a process of its own: one that dies takes nothing with it."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from resnet_factory.study import result
from resnet_factory.study.jobs import Job
from resnet_factory.study.result import Outcome, failed

PATIENCE = 60.0
"""Seconds that workers are given to save before they are ended."""


class Watch(Protocol):
    """What wants to know how a study goes on."""

    def began(self, job: Job) -> None:
        """A job is being trained."""

    def went_on(self, job: Job, iteration: int, iterations: int) -> None:
        """It has come this far."""

    def ended(self, job: Job, found: Outcome) -> None:
        """It is over, or was over before."""


def kept(jobs: Sequence[Job], root: Path, *, fresh: bool) -> dict[str, Outcome]:
    """The outcomes, by job name, that need no more work; `fresh` deletes what lies there first."""
    found = {}
    for job in jobs:
        if fresh:
            for file in result.FILES:
                (root / job.name / file).unlink(missing_ok=True)
        old = result.read(root / job.name)
        if old is not None and old.finished:
            found[job.name] = old
    return found


def conduct(
    jobs: Sequence[Job], root: Path, watch: Watch, stop: Callable[[], bool], workers: int
) -> dict[str, Outcome]:
    """Train jobs in `root/NAME`, from their checkpoints where there are any; the outcomes by name.

    `workers` processes share them; with 0, or under torchrun, this process trains them one by one. Once
    `stop` says so, running jobs save their state, and the outcomes are those so far.
    """
    found: dict[str, Outcome] = {}
    if not jobs:
        return found
    if workers == 0 or torchrun():
        _here(jobs, root, watch, stop, found)
    else:
        _apart(jobs, root, watch, stop, found, workers)
    return found


def _here(
    todo: Sequence[Job], root: Path, watch: Watch, stop: Callable[[], bool], found: dict[str, Outcome]
) -> None:
    """Train in this process, one job after another; under torchrun, together with its peers."""
    from resnet_factory.study.distributed import joined
    from resnet_factory.study.worker import Bench

    with joined(todo[0].machine.device) as world:
        bench = Bench(world)
        for job in world.share(todo):
            watch.began(job)

            def tell(so_far: Outcome, job: Job = job) -> None:
                watch.went_on(job, so_far.iteration, so_far.iterations)

            ended = found[job.name] = bench.attempt(job, root / job.name, tell, stop)
            watch.ended(job, ended)
            if world.anyone(stop()):
                return


class _Worker:
    """A process, this end of its pipe, and the job it is training."""

    def __init__(self, device: str, slot: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, device, slot))
        self.process.start()
        theirs.close()
        self.slot = slot
        self.job: Job

    def close(self) -> None:
        """No more jobs: wait until it has left, or end it."""
        self.pipe.close()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _apart(
    todo: Sequence[Job],
    root: Path,
    watch: Watch,
    stop: Callable[[], bool],
    found: dict[str, Outcome],
    count: int,
) -> None:
    """Train in worker processes."""
    left, asked = list(reversed(todo)), False
    crew: dict[Connection, _Worker] = {}

    def employ(worker: _Worker | None, slot: int) -> None:
        """Give a worker, or a new one, the next job; let it go where there is none."""
        if left and not asked:
            worker = worker or _Worker(todo[0].machine.device, slot)
            crew[worker.pipe] = worker
            worker.job = left.pop()
            watch.began(worker.job)
            worker.pipe.send((worker.job, root / worker.job.name))
        elif worker is not None:
            del crew[worker.pipe]
            worker.close()

    def end(job: Job, ended: Outcome) -> None:
        found[job.name] = ended
        watch.ended(job, ended)

    try:
        for slot in range(min(len(todo), count)):
            employ(None, slot)
        while crew:
            if stop() and not asked:
                asked = True
                for worker in crew.values():
                    worker.process.terminate()
            for pipe in wait(list(crew), timeout=0.2):
                assert isinstance(pipe, Connection)
                worker = crew[pipe]
                try:
                    said = pipe.recv()
                except (EOFError, OSError):
                    del crew[pipe]
                    worker.close()
                    if not asked:
                        reason = f"its process died (exit code {worker.process.exitcode})"
                        end(worker.job, failed(worker.job, reason, root / worker.job.name))
                        employ(None, worker.slot)
                    continue
                if isinstance(said, Outcome):
                    end(worker.job, said)
                    employ(worker, worker.slot)
                else:
                    watch.went_on(worker.job, *said)
    finally:
        for worker in crew.values():
            worker.process.kill()


def _serve(pipe: Connection, device: str, slot: int) -> None:
    # Ctrl-C in a terminal reaches a whole process group; the parent decides what it means and passes it on.
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    from resnet_factory.study.worker import serve

    serve(pipe, device, slot)


def torchrun() -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def speaks() -> bool:
    """Whether this process is the one that prints and reports."""
    return not torchrun() or os.environ.get("RANK") == "0"
