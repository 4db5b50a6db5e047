"""A pool of worker processes: jobs that raise, hang or are killed are results, and the other jobs go on.

Built on multiprocessing's Process, Pipe and wait rather than on a library. concurrent.futures and loky give
up all running jobs when one worker is killed, and have no time limits. pebble has both, but its workers are
daemons, which cannot start the processes of a data loader; they report no progress; and a job's time limit
includes the imports of its worker and the wait for other processes of the machine.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal, NamedTuple

START = 300.0
"""Seconds until a new worker must be ready: importing torch on a busy machine."""
PATIENCE = 60.0
"""Seconds for workers to save what they are training before they are killed."""
POLL = 0.2
"""Seconds between two calls of `stop`."""
KILLED = "killed by SIGKILL"

EventKind = Literal["started", "progress", "done", "stopped", "timeout", "died"]
Send = Callable[..., None]
"""send("begun") starts the time limit of a job, send("progress", value) reports how far it is."""
Perform = Callable[[Any, Send], Any]
"""Runs one job in a worker and returns its result."""
Setup = Callable[[int], AbstractContextManager[Perform]]
"""Prepares a worker, given its number; picklable."""


class PoolEvent(NamedTuple):
    """One event of one job; `done`, `stopped`, `timeout` and `died` are its last."""

    job: Any
    kind: EventKind
    value: Any = None
    """Progress or result; a message where the job has none."""


class WorkerStopped(Exception):  # noqa: N818 - a request was followed
    """Raised by a job that followed a request to stop; its worker ends, too."""

    def __init__(self, result: Any) -> None:
        super().__init__("stopped")
        self.result = result


class WorkerPool:
    """Processes that are started when they are needed, and again after they were lost; a context manager."""

    def __init__(self, setup: Setup, size: int) -> None:
        self.workers = [_PoolWorker(setup, slot) for slot in range(size)]

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers; those that have a job get SIGTERM, and PATIENCE seconds."""
        until = time.monotonic() + PATIENCE
        try:
            for worker in self.workers:
                worker.leave()
            for worker in self.workers:
                worker.end(max(until - time.monotonic(), 0))
        finally:
            for worker in self.workers:
                worker.end(0)

    def run(
        self, jobs: Iterable[Any], limit: float | None = None, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[PoolEvent]:
        """Run jobs, each for at most `limit` seconds, and yield their events.

        A job whose worker was killed by the system is run once more. After `stop` has returned true, busy
        workers get SIGTERM, and no other job is started.
        """
        source, exhausted, stopping = iter(jobs), False, False
        while True:
            if not stopping and stop():
                stopping = True
                for worker in self.workers:
                    worker.terminate()
            for worker in self.workers:
                if worker.idle and not (exhausted or stopping):
                    if (job := next(source, _NONE)) is _NONE:
                        exhausted = True
                    else:
                        worker.submit(job)
                        yield PoolEvent(job, "started")
            busy = {worker.pipe: worker for worker in self.workers if not worker.idle}
            if not busy:
                return
            first = min(worker.deadline for worker in busy.values()) - time.monotonic()
            for pipe in wait(list(busy), max(min(POLL, first), 0)):
                assert isinstance(pipe, Connection)
                if (event := busy[pipe].receive(limit, stopping)) is not None:
                    yield event
            for worker in busy.values():
                if time.monotonic() > worker.deadline:
                    yield worker.expire(limit)


_NONE = object()


class _PoolWorker:
    """A process and its job."""

    process: BaseProcess
    pipe: Connection

    def __init__(self, setup: Setup, slot: int) -> None:
        self.setup, self.slot = setup, slot
        self.job: Any = _NONE
        self.deadline = math.inf
        self.alive = self.ready = self.retried = False

    @property
    def idle(self) -> bool:
        """Return whether the worker has no job."""
        return self.job is _NONE

    def submit(self, job: Any) -> None:
        """Start a job, and a process where there is none."""
        self.job, self.retried = job, False
        if self.alive and not self.process.is_alive():
            self.end(0)
        self._send()

    def _send(self) -> None:
        if not self.alive:
            context = multiprocessing.get_context("spawn")
            self.pipe, theirs = context.Pipe()
            # As a daemon, it does not keep an interpreter from ending that does not close the pool.
            self.process = context.Process(
                target=_serve_worker_pool, args=(theirs, self.setup, self.slot), daemon=True
            )
            self.process.start()
            theirs.close()
            self.alive, self.ready, self.deadline = True, False, time.monotonic() + START
        with suppress(OSError):  # it was lost; receiving says so
            self.pipe.send(self.job)

    def receive(self, limit: float | None, stopping: bool) -> PoolEvent | None:
        """Return the next event, if the next message is one."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            return self._lost(stopping)
        if kind in ("ready", "begun"):
            self.ready = True
            self.deadline = time.monotonic() + limit if kind == "begun" and limit is not None else math.inf
            return None
        event = PoolEvent(self.job, kind, value)
        if kind != "progress":
            self.job, self.deadline = _NONE, math.inf
        if kind == "stopped":
            self.leave()
            self.end(PATIENCE)
        return event

    def _lost(self, stopping: bool) -> PoolEvent | None:
        code = self.end(PATIENCE)
        message = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if message == KILLED and not (stopping or self.retried):
            self.retried = True
            self._send()
            return None
        if message == KILLED:
            message += ", and again when tried once more; is there too little memory?"
        event = self._failed("died", message)
        return None if stopping else event

    def expire(self, limit: float | None) -> PoolEvent:
        """End the process, which is past its deadline."""
        self.end(0)
        if self.ready:
            return self._failed("timeout", f"took more than {limit:g} seconds")
        return self._failed("died", f"not ready after {START:g} seconds")

    def _failed(self, kind: EventKind, message: str) -> PoolEvent:
        job, self.job = self.job, _NONE
        return PoolEvent(job, kind, message if self.ready else f"the worker did not start: {message}")

    def terminate(self) -> None:
        """Send SIGTERM to a process that has a job."""
        if self.alive and not self.idle:
            self.process.terminate()

    def leave(self) -> None:
        """Ask the process to end."""
        self.terminate()
        if self.alive:
            self.pipe.close()

    def end(self, timeout: float) -> int:
        """Wait for the end of the process, enforce it after `timeout` seconds, and return its exit code."""
        if not self.alive:
            return 0
        self.process.join(timeout)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.alive = False
        return self.process.exitcode or 0


def _serve_worker_pool(pipe: Connection, setup: Setup, slot: int) -> None:
    """Run the jobs that arrive until the pipe is closed."""
    # Ctrl-C in a terminal reaches a whole process group; the parent decides what it means.
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    allow_worker_children()

    def send(kind: str, value: Any = None) -> None:
        pipe.send((kind, value))

    with setup(slot) as perform, suppress(EOFError, OSError):
        send("ready")
        while True:
            job = pipe.recv()
            try:
                kind, result = "done", perform(job, send)
            except WorkerStopped as stopped:
                kind, result = "stopped", stopped.result
            send(kind, result)
            if kind == "stopped":
                return


def allow_worker_children() -> None:
    """Let this process start others although it is a daemon, as workers of this pool and of Dask are."""
    multiprocessing.current_process().daemon = False
