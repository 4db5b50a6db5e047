"""Jobs that raise, hang or die are outcomes, and the rest go on: in this process, beside it, and on Dask."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sweep_jobs import SETUP, broken

from resnet_factory.errors import ConfigError
from resnet_factory.sweep import environment, executors


def jobs(*keys: str) -> Iterator[tuple[str, str]]:
    for key in keys:
        yield key, json.dumps({"plan": key})


def by_key(outcomes: Iterator[executors.ExecutionResult]) -> dict[str, tuple[str, str]]:
    found = {}
    for key, state, text, _ in outcomes:
        assert key not in found
        found[key] = (state, text)
    return found


BAD = ("raise", "hang", "die", "exit")


def expect(found: dict[str, tuple[str, str]], good: list[str]) -> None:
    assert found["raise"] == ("failed", "ValueError: as asked")
    assert found["hang"] == ("timeout", "took more than 2 seconds")
    text = "killed by SIGKILL, and again when tried once more; is there too little memory?"
    assert found["die"] == ("died", text)
    assert found["exit"] == ("died", "ended with exit code 7")
    for key in good:
        assert found[key] == ("ok", json.dumps([["score", "ok", len(key), None, None, ""]]))


def test_processes_outlive_what_their_jobs_do() -> None:
    good = [f"good{i}" for i in range(12)]
    found = by_key(executors.execute_in_processes(jobs(*good[:5], *BAD, *good[5:]), 2, 2, SETUP))
    assert len(found) == 16
    expect(found, good)


def test_a_job_whose_process_was_killed_is_tried_once_more(tmp_path: Path) -> None:
    keys = [f"once {tmp_path / 'killed'}", "good"]
    found = by_key(executors.execute_in_processes(jobs(*keys), 5, 1, SETUP))
    assert [state for state, _ in found.values()] == ["ok", "ok"]
    assert (tmp_path / "killed").exists()


def test_a_job_that_is_asked_to_leave_is_no_failure() -> None:
    found = by_key(executors.execute_in_processes(jobs("leave", "good"), 5, 1, SETUP))
    assert found["leave"] == ("interrupted", "")
    assert found["good"][0] == "ok"


def alone(*keys: str) -> Iterator[tuple[str, str]]:
    for key in keys:
        yield key, json.dumps({"plan": key, "alone": True})


def test_times_are_taken_one_at_a_time_on_a_machine(tmp_path: Path) -> None:
    """Each of the processes writes two lines; none stands between another's."""
    record = tmp_path / "record"
    found = by_key(
        executors.execute_in_processes(alone(*(f"time {record} {i}" for i in range(6))), 5, 3, SETUP)
    )
    assert {state for state, _ in found.values()} == {"ok"}
    lines = record.read_text().split()
    assert len(lines) == 12
    assert len(set(lines)) > 1
    assert lines[::2] == lines[1::2]


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_waiting_for_its_turn_takes_none_of_a_jobs_time(executor: str) -> None:
    release = threading.Event()

    def hold() -> None:
        with environment.exclusive_environment():
            held.set()
            release.wait(60)

    held = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    timer = threading.Timer(1.5, release.set)
    timer.start()
    if executor == "inline":
        found = by_key(executors.execute_inline(alone("good"), 1, lambda job: "fine"))
    else:
        found = by_key(executors.execute_in_processes(alone("good"), 1, 1, SETUP))
    assert release.is_set()
    assert found["good"][0] == "ok"
    holder.join()


def test_processes_end_with_the_reader() -> None:
    running = executors.execute_in_processes(jobs(*(f"good{i}" for i in range(50)), "hang"), None, 2, SETUP)
    next(running)
    running.close()  # type: ignore[attr-defined]


def test_a_worker_that_does_not_start_is_told_of() -> None:
    (found,) = executors.execute_in_processes(jobs("x"), 1, 1, broken)  # type: ignore[arg-type]
    assert found.state == "died"
    assert found.text == "the worker did not start: ended with exit code 3"


def test_inline_jobs_that_raise_or_hang_are_outcomes() -> None:
    def perform(job: str) -> str:
        if "raise" in job:
            raise RuntimeError("as asked")
        while "hang" in job:
            with suppress(Exception):  # as careless code does
                time.sleep(0.01)
        return "fine"

    found = by_key(executors.execute_inline(jobs("a", "raise", "hang", "b"), 0.5, perform))
    assert found == {
        "a": ("ok", "fine"),
        "raise": ("failed", "RuntimeError: as asked"),
        "hang": ("timeout", "took more than 0.5 seconds"),
        "b": ("ok", "fine"),
    }


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers on loopback, as three shell lines would start them."""
    pytest.importorskip("distributed")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    file = tmp_path / "scheduler.json"
    base = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    started = [subprocess.Popen([*base, *options], env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL)]
    try:
        for _ in range(600):
            if file.is_file() and file.stat().st_size:
                break
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        base = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
        options = ["--no-dashboard", "--no-nanny", "--host", "127.0.0.1"]
        started += [
            subprocess.Popen([*base, *options], env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL)
            for _ in range(2)
        ]
        yield address, started
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_dask_outlives_what_jobs_do_and_a_lost_worker(
    cluster: tuple[str, list[subprocess.Popen[bytes]]],
) -> None:
    address, (_, lost, _) = cluster
    good = [f"good{i}" for i in range(60)]
    running = executors.execute_on_dask(jobs(*good[:5], *BAD, *good[5:]), 2, 2, address, SETUP)
    found = {}
    for key, state, text, _ in running:
        assert key not in found
        found[key] = (state, text)
        if len(found) == 8:
            os.kill(lost.pid, signal.SIGKILL)
    assert len(found) == 64
    expect(found, good)


@pytest.mark.slow
def test_a_lost_scheduler_is_one_line(
    cluster: tuple[str, list[subprocess.Popen[bytes]]],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Dask's handlers may have the closed streams of an earlier test, which logging reports by itself.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    address, (scheduler, *_) = cluster
    running = executors.execute_on_dask(jobs(*(f"good{i}" for i in range(400))), 2, 2, address, SETUP)
    for _ in range(5):
        assert next(running).state == "ok"
    scheduler.kill()
    with pytest.raises(ConfigError, match=r"scheduler at .* was lost.*the same command goes on"):
        list(running)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_cluster_that_grows_gets_more_jobs(
    cluster: tuple[str, list[subprocess.Popen[bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "COUNT_EVERY", 0.0)
    address, started = cluster
    taken = 0

    def counted() -> Iterator[tuple[str, str]]:
        nonlocal taken
        for job in jobs(*(f"good{i}" for i in range(400))):
            taken += 1
            yield job

    running = executors.execute_on_dask(counted(), 20, 1, address, SETUP)
    done = 0
    for done, _ in enumerate(running, 1):
        if done == 5:
            assert taken - done <= 8
            base = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "6"]
            started.append(
                subprocess.Popen(
                    [*base, "--no-dashboard", "--no-nanny", "--host", "127.0.0.1"],
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, stderr=subprocess.DEVNULL,
                )
            )  # fmt: skip
            time.sleep(8)
        if taken - done > 8:
            break
    assert taken - done > 8
    running.close()  # type: ignore[attr-defined]


def test_no_jobs_time_goes_into_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    ready: list[str] = []

    def import_torch() -> None:
        time.sleep(0.4)
        ready.append("ready")

    monkeypatch.setattr(executors, "import_torch", import_torch)
    found = by_key(executors.execute_inline(jobs("a"), 0.3, lambda job: ready[0]))
    assert found["a"] == ("ok", "ready")


def test_no_scheduler_is_a_clear_error() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(ConfigError, match="no Dask scheduler answers"):
        list(executors.execute_on_dask(jobs("a"), 1, 1, "tcp://127.0.0.1:9", SETUP))
