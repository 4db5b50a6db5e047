"""Jobs that raise, hang or die are outcomes, and the rest go on: in this process, beside it, and on Dask."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sweep_jobs import SETUP, broken
from sweep_processes import count_of

import resnet_factory as rf
from resnet_factory.cli.main import main
from resnet_factory.errors import ConfigError
from resnet_factory.sweep import environment, executors, own_metrics
from resnet_factory.sweep.store import STORE_FILE


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


class Cluster:
    """A Dask scheduler and workers on loopback, as shell lines would start them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self.workers: list[subprocess.Popen[bytes]] = []
        self.address = self.begin()

    def start(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *words, "--host", "127.0.0.1"]
        return subprocess.Popen(
            [*command, "--no-dashboard"], env=self.environment, cwd=self.folder, stderr=subprocess.DEVNULL
        )

    def begin(self, port: str = "0") -> str:
        """Start a scheduler, and return its address."""
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        self.scheduler = self.start("scheduler", "--port", port, "--scheduler-file", str(file))
        for _ in range(600):
            if file.is_file() and file.stat().st_size:
                break
            time.sleep(0.1)
        address: str = json.loads(file.read_text())["address"]
        return address

    def add(self, threads: int = 1) -> subprocess.Popen[bytes]:
        """Start a worker."""
        words = ["--nthreads", str(threads), "--no-nanny"]
        self.workers.append(self.start("worker", self.address, *words))
        return self.workers[-1]

    def lose(self) -> None:
        """Kill the scheduler and all workers."""
        for process in (self.scheduler, *self.workers):
            process.kill()
            process.wait()
        self.workers.clear()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler and two workers."""
    pytest.importorskip("distributed")
    folder = tmp_path / "cluster"
    folder.mkdir()
    made = Cluster(folder)
    try:
        made.add()
        made.add()
        yield made
    finally:
        made.lose()


@pytest.mark.slow
def test_dask_outlives_what_jobs_do_and_a_lost_worker(cluster: Cluster) -> None:
    good = [f"good{i}" for i in range(60)]
    running = executors.execute_on_dask(jobs(*good[:5], *BAD, *good[5:]), 2, 2, cluster.address, SETUP)
    found = {}
    for key, state, text, _ in running:
        assert key not in found
        found[key] = (state, text)
        if len(found) == 8:
            cluster.workers[0].kill()
    assert len(found) == 64
    expect(found, good)


@pytest.mark.slow
def test_a_lost_scheduler_is_one_line(
    cluster: Cluster, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dask's handlers may have the closed streams of an earlier test, which logging reports by itself.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    running = executors.execute_on_dask(jobs(*(f"good{i}" for i in range(400))), 2, 2, cluster.address, SETUP)
    for _ in range(5):
        assert next(running).state == "ok"
    cluster.scheduler.kill()
    with pytest.raises(ConfigError, match=r"scheduler at .* was lost.*the same command resumes"):
        list(running)
    assert "Traceback" not in capfd.readouterr().err


class Counted:
    """Jobs, and how many of them were taken."""

    def __init__(self, *keys: str) -> None:
        self.keys, self.taken = keys, 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for job in jobs(*self.keys):
            self.taken += 1
            yield job


@pytest.mark.slow
def test_a_cluster_that_grows_gets_more_jobs_before_any_ends(cluster: Cluster, tmp_path: Path) -> None:
    """The first jobs end only after one that the queue of the small cluster has no room for."""
    gate = tmp_path / "gate"
    keys = [*(f"wait {gate} {i}" for i in range(8)), f"touch {gate}", *(f"good{i}" for i in range(20))]
    cluster.add(8)  # threads, in seconds: enough for all that wait, and more
    found = by_key(executors.execute_on_dask(jobs(*keys), 120, 1, cluster.address, SETUP))
    assert sorted(found) == sorted(keys)
    assert {state for state, _ in found.values()} == {"ok"}


@pytest.mark.slow
def test_a_cluster_that_grows_and_shrinks_is_followed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is four jobs for a thread, also for those that join; others take jobs of those that leave."""
    monkeypatch.setattr(executors, "COUNT_EVERY", 0.1)
    source = Counted(*(f"slow 0.2 {i}" for i in range(150)))
    queues: list[int] = []
    left: list[subprocess.Popen[bytes]] = []
    found = {}
    for done, result in enumerate(executors.execute_on_dask(source, 20, 1, cluster.address, SETUP), 1):
        found[result.key] = result.state
        queues.append(source.taken - done)
        if done == 10:
            cluster.add(6)
        if done > 40 and max(queues[10:]) > 24 and not left:
            left = cluster.workers[1:]
            for worker in left:
                worker.terminate()  # as a batch system asks it to leave
    assert [*found.values()] == ["ok"] * 150
    assert max(queues[:10]) <= 8
    assert max(queues[10:100]) > 24
    assert len(left) == 2
    assert queues[130] <= 4


@pytest.mark.slow
def test_a_cluster_without_workers_is_waited_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(executors, "EMPTY", 1.0)
    for worker in cluster.workers:
        worker.kill()
        worker.wait()
    threading.Timer(6, cluster.add).start()
    found = by_key(executors.execute_on_dask(jobs("a", "b"), 20, 1, cluster.address, SETUP))
    assert {state for state, _ in found.values()} == {"ok"}
    assert capsys.readouterr().err.count("waiting: the Dask cluster has no workers") == 1


SWEEP = (
    "sweep", "model=resnet20", "model.depths.0=range(1,8)", "model.depths.1=range(1,8)", "sampler=grid",
    "samples=null", "measure=[slowly]", "report=false",
)  # fmt: skip


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric of one's own, found by workers in its module."""
    monkeypatch.setattr(own_metrics, "REGISTERED", {})
    rf.register_metric("slowly", "plan_metrics:slowly", needs="plan")


@pytest.mark.slow
@pytest.mark.usefixtures("slowly")
def test_a_sweep_goes_on_when_its_scheduler_is_back(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a metric of one's own; nothing is measured twice, and all is as it is without a cluster."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    assert main([*SWEEP, "out=here"]) == 0
    capsys.readouterr()
    line = [*SWEEP, "executor=dask", f"executor.address={cluster.address}", "out=there"]

    def stored(folder: str) -> dict[str, tuple[str, float]]:
        with sqlite3.connect(f"file:{folder}/{STORE_FILE}?mode=ro", uri=True) as db:
            return {plan: row for plan, *row in db.execute("SELECT plan, state, value FROM metrics")}

    def kill() -> None:
        while count_of(Path("there")) < 8:
            time.sleep(0.05)
        cluster.lose()

    killer = threading.Thread(target=kill)
    killer.start()
    assert main(line) == 2
    killer.join()
    said = capsys.readouterr()
    assert len(said.err.strip().splitlines()) == 1
    assert "was lost" in said.err
    assert "finished results are kept, and the same command resumes" in said.err
    before = stored("there")
    assert 8 <= len(before) < 49
    assert before.items() <= stored("here").items()
    cluster.begin(cluster.address.rpartition(":")[2])
    cluster.add(2)
    assert main(line) == 0
    assert stored("there") == stored("here")


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


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms on this system")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_time_limit_holds_where_its_first_alarm_is_lost() -> None:
    """Python drops an exception that is raised while an object is destroyed."""
    left: list[str] = []

    class Lost:
        def __del__(self) -> None:
            try:
                time.sleep(0.15)
            except BaseException:
                left.append("destroyed")
                raise

    def job() -> None:
        Lost()
        assert left == ["destroyed"]
        try:
            time.sleep(20)
        finally:
            time.sleep(0.25)  # the alarm goes on, and does not disturb what is done while leaving
            left.append("left")

    with pytest.raises(TimeoutError), executors._execution_alarm(0.05):
        job()
    assert left == ["destroyed", "left"]
    time.sleep(0.15)  # and ends with the job
