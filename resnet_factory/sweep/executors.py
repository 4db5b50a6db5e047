"""Where jobs are performed: in this process, in processes beside it, or on a Dask cluster."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep.worker import COMMAND, Outcome, Perform, Worker, attempt, perform, prepare

KINDS = ("inline", "processes", "dask")
Job = tuple[str, str]
"""A key and the job as JSON."""


def inline(jobs: Iterable[Job], limit: float | None, perform: Perform = perform) -> Iterator[Outcome]:
    """One after the other, here. A job that dies hard takes this process along; another start goes on."""
    prepare()
    for key, job in jobs:
        try:
            with _alarm(limit):
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
        for worker in crew:
            if worker.child is not None:
                worker.child.kill()
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
        from distributed import Client, LocalCluster, as_completed
    except ImportError:
        message = "needs dask.distributed: pip install 'resnet-factory[dask]'"
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
        source = iter(jobs)
        keys: dict[Any, str] = {}

        def submit() -> Any:
            job = next(source, None)
            if job is None:
                return None
            # pure=False: a key of its own for every start, so that no older result is taken for this one.
            future = client.submit(ask_here, *job, limit, tuple(command), pure=False)
            keys[future] = job[0]
            return future

        ahead = 4 * max(sum(client.nthreads().values()), workers, 1)
        first = [future for _ in range(ahead) if (future := submit()) is not None]
        running = as_completed(first)
        for future in running:
            key = keys.pop(future)
            lost = future.exception()
            # Dask gives a lost worker's jobs to others; one that loses several workers is its own fault.
            yield Outcome(key, "died", " ".join(str(lost).split())) if lost else Outcome(*future.result())
            if (following := submit()) is not None:
                running.add(following)
    finally:
        client.close()
        if cluster is not None:
            cluster.close()


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
