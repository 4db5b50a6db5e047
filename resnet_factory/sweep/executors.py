"""Where jobs are performed: in this process, in processes beside it, or on a Dask cluster."""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from resnet_factory.errors import ConfigError, Fault, install_hint
from resnet_factory.sweep.worker import (
    COMMAND,
    PATIENCE,
    Outcome,
    Perform,
    Worker,
    attempt,
    perform,
    prepare,
    turn,
)

KINDS = ("inline", "processes", "dask")
COUNT_EVERY = 1.0
"""Seconds between counts of a cluster's threads."""
Job = tuple[str, str]
"""A key and the job as JSON."""


def inline(jobs: Iterable[Job], limit: float | None, perform: Perform = perform) -> Iterator[Outcome]:
    """One after the other, here. A job that dies hard takes this process along; another start goes on."""
    prepare()
    for key, job in jobs:
        try:
            with turn(job), _alarm(limit):
                outcome = attempt(key, job, perform)
        except TimeoutError:
            outcome = Outcome(key, "timeout", f"took more than {limit:g} seconds")
        yield outcome


def processes(
    jobs: Iterable[Job], limit: float | None, workers: int, command: Sequence[str] = COMMAND
) -> Iterator[Outcome]:
    """In `workers` processes, as they come free."""
    lock, source, stop = threading.Lock(), iter(jobs), threading.Event()
    done: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
    crew = [Worker(command) for _ in range(workers)]

    def work(worker: Worker) -> None:
        try:
            while not stop.is_set():
                with lock:
                    job = next(source, None)
                if job is None:
                    break
                done.put(worker.ask(*job, limit))
        except BaseException as error:  # noqa: BLE001 - raised again where the results are read
            done.put(error)
        finally:
            worker.close()
            done.put(None)

    threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in crew]
    for thread in threads:
        thread.start()
    try:
        left = workers
        while left:
            outcome = done.get()
            if outcome is None:
                left -= 1
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                yield outcome
    finally:
        stop.set()
        try:
            for worker in crew:
                worker.leave()
            until = time.monotonic() + PATIENCE
            for thread in threads:
                thread.join(max(until - time.monotonic(), 0))
        finally:
            for worker in crew:
                worker.kill()
        for thread in threads:
            thread.join()


def dask(
    jobs: Iterable[Job],
    limit: float | None,
    workers: int,
    address: str | None,
    command: Sequence[str] = COMMAND,
) -> Iterator[Outcome]:
    """On a Dask cluster: the one at `address`, or `workers` processes of its own on this machine.

    Raises:
        ConfigError: dask.distributed is not installed, or nobody answers at the address.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        message = f"needs dask.distributed; {install_hint('dask')}"
        raise ConfigError([Fault("executor", message)]) from None
    try:
        with _deaf():
            cluster = (
                LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
                if not address
                else None
            )
        client = Client(address or cluster, timeout="10s")
    except (OSError, ValueError) as error:
        raise ConfigError(
            [Fault("executor.address", f"no Dask scheduler answers at {address!r}: {error}")]
        ) from None
    try:
        yield from _on_cluster(client, jobs, limit, workers, command)
    except (OSError, asyncio.CancelledError, CancelledError) as error:
        where = f"at {address!r} " if address else ""
        message = f"the Dask scheduler {where}was lost ({type(error).__name__}); what is done is kept, "
        raise ConfigError([Fault("executor", f"{message}and the same command goes on")]) from None
    finally:
        with _quiet():
            client.close(timeout=2)
            if cluster is not None:
                cluster.close()


def _on_cluster(
    client: Any, jobs: Iterable[Job], limit: float | None, workers: int, command: Sequence[str]
) -> Iterator[Outcome]:
    """The outcomes of jobs on a cluster, a few more submitted than there are threads, as these come and go.

    Raises:
        OSError, CancelledError: the scheduler is gone.
    """
    from distributed import as_completed

    source = iter(jobs)
    keys: dict[Any, str] = {}
    running = as_completed()
    ahead = Ahead(client, workers)

    def fill() -> None:
        while len(keys) < ahead.now():
            job = next(source, None)
            if job is None:
                return
            # pure=False: a key of its own for every start, so that no older result is taken for this one.
            future = client.submit(ask_here, *job, limit, tuple(command), pure=False)
            keys[future] = job[0]
            running.add(future)

    fill()
    for future in running:
        key = keys.pop(future)
        if future.cancelled() or client.status != "running":
            raise ConnectionError
        lost = future.exception()
        # Dask gives a lost worker's jobs to others; one that loses several workers is its own fault.
        yield Outcome(key, "died", " ".join(str(lost).split())) if lost else Outcome(*future.result())
        fill()


class Ahead:
    """How many jobs to have submitted: four for each of a cluster's threads, counted anew now and then."""

    def __init__(self, client: Any, workers: int) -> None:
        self.client, self.workers = client, workers
        self.counted, self.count = -math.inf, 0

    def now(self) -> int:
        """The number for the cluster as it is.

        Raises:
            OSError: the scheduler is gone.
        """
        if time.monotonic() - self.counted > COUNT_EVERY:
            self.count = 4 * max(sum(self.client.nthreads().values()), self.workers, 1)
            self.counted = time.monotonic()
        return self.count


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's own words about a lost scheduler off the terminal; ours follow."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def ask_here(key: str, job: str, limit: float | None, command: Sequence[str]) -> Outcome:
    """Perform a job on a cluster's worker: in a process of its own, one for each of its threads."""
    if (worker := getattr(_HERE, "worker", None)) is None or worker.command != tuple(command):
        worker = _HERE.worker = Worker(command)
    return worker.ask(key, job, limit)


_HERE = threading.local()


@contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that are started here ignore Ctrl-C, which is for the one that leads."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _alarm(limit: float | None) -> Iterator[None]:
    """Raise TimeoutError in this thread after `limit` seconds, where the system has alarms."""
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if limit is None or not usable:
        yield
        return

    def ring(*_: object) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    except _Late:
        raise TimeoutError from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Late(BaseException):
    """Not an Exception: a job's own `except` must not swallow it."""
