"""Jobs that raise, hang or die are outcomes, and the rest go on: in this process, beside it, and on Dask."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from resnet_factory.errors import ConfigError
from resnet_factory.sweep import executors
from resnet_factory.sweep.worker import Outcome, Worker

COMMAND = (sys.executable, str(Path(__file__).with_name("sweep_jobs.py")))


def jobs(*keys: str) -> Iterator[tuple[str, str]]:
    for key in keys:
        yield key, json.dumps({"plan": key})


def by_key(outcomes: Iterator[Outcome]) -> dict[str, tuple[str, str]]:
    found = {}
    for key, state, text in outcomes:
        assert key not in found
        found[key] = (state, text)
    return found


BAD = ("raise", "hang", "die", "exit")


def expect(found: dict[str, tuple[str, str]], good: list[str]) -> None:
    assert found["raise"] == ("failed", "ValueError: as asked")
    assert found["hang"] == ("timeout", "took more than 2 seconds")
    assert found["die"] == ("died", "killed by SIGKILL")
    assert found["exit"] == ("died", "ended with exit code 7")
    for key in good:
        assert found[key] == ("ok", json.dumps([["score", "ok", len(key), None, None, ""]]))


def test_processes_outlive_what_their_jobs_do() -> None:
    good = [f"good{i}" for i in range(12)]
    found = by_key(executors.processes(jobs(*good[:5], *BAD, *good[5:]), 2, 2, COMMAND))
    assert len(found) == 16
    expect(found, good)


def test_processes_end_with_the_reader() -> None:
    running = executors.processes(jobs(*(f"good{i}" for i in range(50)), "hang"), None, 2, COMMAND)
    next(running)
    running.close()  # type: ignore[attr-defined]


def test_a_worker_that_does_not_start_is_told_of() -> None:
    worker = Worker((sys.executable, "-c", "raise SystemExit(3)"))
    outcome = worker.ask("x", "{}", 1)
    assert outcome.state == "died"
    assert "exit code 3" in outcome.text


def test_inline_jobs_that_raise_or_hang_are_outcomes() -> None:
    def perform(job: str) -> str:
        if "raise" in job:
            raise RuntimeError("as asked")
        while "hang" in job:
            with suppress(Exception):  # as careless code does
                time.sleep(0.01)
        return "fine"

    found = by_key(executors.inline(jobs("a", "raise", "hang", "b"), 0.5, perform))
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
    running = executors.dask(jobs(*good[:5], *BAD, *good[5:]), 2, 2, address, COMMAND)
    found = {}
    for key, state, text in running:
        assert key not in found
        found[key] = (state, text)
        if len(found) == 8:
            os.kill(lost.pid, signal.SIGKILL)
    assert len(found) == 64
    expect(found, good)


def test_no_jobs_time_goes_into_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    ready: list[str] = []

    def prepare() -> None:
        time.sleep(0.4)
        ready.append("ready")

    monkeypatch.setattr(executors, "prepare", prepare)
    found = by_key(executors.inline(jobs("a"), 0.3, lambda job: ready[0]))
    assert found["a"] == ("ok", "ready")


def test_no_scheduler_is_a_clear_error() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(ConfigError, match="no Dask scheduler answers"):
        list(executors.dask(jobs("a"), 1, 1, "tcp://127.0.0.1:9", COMMAND))
