"""Executors of measurements: this process, worker processes, or a Dask cluster."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from resnet_factory.errors import ConfigError, Fault, install_hint
from resnet_factory.study.signals import signal_handler
from resnet_factory.study.worker_pool import (
    Perform,
    PoolEvent,
    Send,
    Setup,
    WorkerPool,
    WorkerStopped,
    allow_worker_children,
)
from resnet_factory.sweep.environment import exclusive_environment

COUNT_EVERY = 1.0
"""Seconds between counts of a cluster's threads."""
POLL = 0.02
"""Seconds between checks for finished jobs of a cluster."""
EMPTY = 10.0
"""Seconds after which a cluster without workers is reported."""
ALARM_INTERVAL = 0.1
"""Seconds after which the alarm of a time limit is repeated."""
INTERRUPTED_STATE = "interrupted"
"""The state of a job that was asked to stop: not measured, and no failure."""

KeyedJob = tuple[str, str]
"""A key and the job as JSON."""
Measure = Callable[[str], str]
"""Runs a job given as JSON and returns its result as JSON."""


class ExecutionResult(NamedTuple):
    """The end of one job."""

    key: str
    state: str
    """`ok`, `failed`, `timeout`, `died` or `interrupted`."""
    text: str
    """The result as JSON; or the error."""
    seconds: float = 0.0
    """The time that it took; 0 where it was killed."""


def import_torch() -> None:
    """Import torch and all else that jobs need, so that it does not count as time of the first job."""
    import resnet_factory.sweep.jobs  # noqa: F401


def execute_job(job: str) -> str:
    """Measure one architecture."""
    from resnet_factory.sweep.jobs import measure_sweep_job

    return measure_sweep_job(job)


def executor_turn(job: str) -> AbstractContextManager[None]:
    """Wait until no other process of this machine measures latency, if the job does."""
    return exclusive_environment() if json.loads(job).get("alone") else nullcontext()


def attempt_job(key: str, job: str, measure: Measure) -> ExecutionResult:
    """Run a job; an exception is a result, too."""
    start = time.perf_counter()
    try:
        state, text = "ok", measure(job)
    except Exception as error:  # noqa: BLE001 - any exception of a job is the row of that job
        state, text = "failed", " ".join(f"{type(error).__name__}: {error}".split())
    return ExecutionResult(key, state, text, time.perf_counter() - start)


def execute_inline(
    jobs: Iterable[KeyedJob], limit: float | None, measure: Measure = execute_job
) -> Iterator[ExecutionResult]:
    """Run jobs in this process, which ends with a job that is killed; the next start goes on."""
    import_torch()
    for key, job in jobs:
        try:
            with executor_turn(job), _execution_alarm(limit):
                result = attempt_job(key, job, measure)
        except TimeoutError:
            result = ExecutionResult(key, "timeout", f"took more than {limit:g} seconds")
        yield result


@contextmanager
def prepare_executor_process(_slot: int = 0, measure: Measure = execute_job) -> Iterator[Perform]:
    """Prepare a worker process; what its jobs print goes to standard error."""
    os.dup2(2, 1)
    if measure is execute_job:
        import_torch()

    def perform(keyed: KeyedJob, send: Send) -> ExecutionResult:
        key, job = keyed
        with executor_turn(job):
            send("begun")
            try:
                return attempt_job(key, job, measure)
            except KeyboardInterrupt:
                raise WorkerStopped(ExecutionResult(key, INTERRUPTED_STATE, "")) from None

    yield perform


def execute_in_processes(
    jobs: Iterable[KeyedJob], limit: float | None, workers: int, setup: Setup = prepare_executor_process
) -> Iterator[ExecutionResult]:
    """Run jobs in `workers` processes."""
    with WorkerPool(setup, workers) as pool:
        yield from _execution_results(pool.run(jobs, limit))


def _execution_results(events: Iterable[PoolEvent]) -> Iterator[ExecutionResult]:
    for event in events:
        if isinstance(event.value, ExecutionResult):
            yield event.value
        elif event.kind in ("timeout", "died"):
            yield ExecutionResult(event.job[0], event.kind, event.value)


def execute_on_dask(
    jobs: Iterable[KeyedJob],
    limit: float | None,
    workers: int,
    address: str | None,
    setup: Setup = prepare_executor_process,
) -> Iterator[ExecutionResult]:
    """Run jobs on the Dask cluster at `address`, or on `workers` processes of this machine.

    Raises:
        ConfigError: dask.distributed is not installed, or nothing answers at the address.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        message = f"needs dask.distributed; {install_hint('dask')}"
        raise ConfigError([Fault("executor", message)]) from None
    try:
        cluster = None
        if not address:
            with signal_handler(signal.SIGINT, signal.SIG_IGN):  # Ctrl-C is for this process
                cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
        client = Client(address or cluster, timeout="10s")
    except (OSError, ValueError) as error:
        message = f"no Dask scheduler answers at {address!r}: {error}"
        raise ConfigError([Fault("executor.address", message)]) from None
    try:
        yield from _execute_on_cluster(client, jobs, limit, workers, setup)
    except (OSError, asyncio.CancelledError, CancelledError) as error:
        where = f"at {address!r} " if address else ""
        message = f"the Dask scheduler {where}was lost ({type(error).__name__}); finished results are kept, "
        raise ConfigError([Fault("executor", f"{message}and the same command resumes")]) from None
    finally:
        with _without_dask_log():
            client.close(timeout=2)
            if cluster is not None:
                cluster.close()


def _execute_on_cluster(
    client: Any, jobs: Iterable[KeyedJob], limit: float | None, workers: int, setup: Setup
) -> Iterator[ExecutionResult]:
    """Yield the results of jobs, four of them submitted for each thread that the cluster has at the time.

    Raises:
        OSError, CancelledError: the scheduler is gone.
    """
    from distributed import as_completed

    source, running = iter(jobs), as_completed()
    keys: dict[Any, str] = {}
    size = _ClusterSize(client)
    while True:
        most = 4 * max(size.threads(), workers, 1)
        while len(keys) < most and (job := next(source, None)) is not None:
            # pure=False: a key of its own for every start, so that no older result is taken for this one.
            future = client.submit(execute_on_dask_worker, job, limit, setup, pure=False)
            keys[future] = job[0]
            running.add(future)
        if not keys:
            return
        if client.status != "running":
            raise ConnectionError
        if not running.has_ready():  # a cluster that has grown gets jobs before any of the old ones ends
            time.sleep(POLL)
            continue
        future = next(running)
        key = keys.pop(future)
        if future.cancelled():
            raise ConnectionError
        lost = future.exception()
        # Dask runs the jobs of a lost worker on others; one that loses several workers is at fault itself.
        yield (
            ExecutionResult(key, "died", " ".join(str(lost).split()))
            if lost
            else ExecutionResult(*future.result())
        )


class _ClusterSize:
    """The number of threads of a cluster, counted periodically; a cluster without any is reported once."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._count, self._counted = 0, -math.inf
        self._empty_since: float | None = None
        self._told = False

    def threads(self) -> int:
        """Return the number of threads, which may be `COUNT_EVERY` seconds old."""
        now = time.monotonic()
        if now - self._counted > COUNT_EVERY:
            self._count, self._counted = sum(self.client.nthreads().values()), now
            self._empty_since = None if self._count else (self._empty_since or now)
        if self._empty_since is not None and not self._told and now - self._empty_since > EMPTY:
            self._told = True
            print("waiting: the Dask cluster has no workers", file=sys.stderr)
        return self._count


_OF_THREAD = threading.local()


def execute_on_dask_worker(job: KeyedJob, limit: float | None, setup: Setup) -> ExecutionResult:
    """Run a job in a process that belongs to this thread of a Dask worker."""
    allow_worker_children()
    if (pool := getattr(_OF_THREAD, "pool", None)) is None:
        pool = _OF_THREAD.pool = WorkerPool(setup, 1)
    (result,) = _execution_results(pool.run([job], limit))
    return result


@contextmanager
def _without_dask_log() -> Iterator[None]:
    """Keep Dask's messages about a lost scheduler off the terminal."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _execution_alarm(limit: float | None) -> Iterator[None]:
    """Raise TimeoutError in this thread after `limit` seconds, where the system has alarms."""
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if limit is None or not usable:
        yield
        return

    def ring(*_: object) -> None:
        error = sys.exc_info()[1]
        while error is not None:  # the job is being left already
            if isinstance(error, _ExecutionLimitReached):
                return
            error = error.__context__
        raise _ExecutionLimitReached

    with signal_handler(signal.SIGALRM, ring):
        # Repeated: Python drops what is raised in a destructor or a callback of its garbage collector.
        signal.setitimer(signal.ITIMER_REAL, limit, ALARM_INTERVAL)
        try:
            yield
        except _ExecutionLimitReached:
            raise TimeoutError from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


class _ExecutionLimitReached(BaseException):
    """Not an Exception: an `except Exception` in a job must not catch it."""
