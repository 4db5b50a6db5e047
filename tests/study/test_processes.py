"""Many processes: workers that die, kills at any moment, and two that train one network."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file
from study_rooms import ALONE, small, source

from resnet_factory.study import processes, training_result
from resnet_factory.study.jobs import StudyJob
from resnet_factory.study.settings import MachineSettings, TrainSettings
from resnet_factory.study.training import run_training
from resnet_factory.study.training_result import TrainingResult

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
STUDY = [
    "study", "models=[resnet8, plain8]", "overrides=['model.widths=[8,16,32]', 'model.stem.width=8']",
    "seeds=[0]", "train.batch=64", "machine.device=cpu", "machine.checkpoint=0",
]  # fmt: skip


class Notes(processes.TrainingProcessWatcher):
    """A watch that remembers."""

    def __init__(self) -> None:
        self.over: list[str] = []

    def started(self, job: StudyJob) -> None:
        pass

    def advanced(self, job: StudyJob, iteration: int, iterations: int) -> None:
        pass

    def ended(self, job: StudyJob, found: TrainingResult) -> None:
        self.over.append(job.name)


def runs(out: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = sorted((out / "runs").glob(f"*/{training_result.WEIGHTS}"))
    return {file.parent.name: load_file(file) for file in files}


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "resnet_factory.cli", *STUDY, f"out={out}", *more],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(out: Path, *more: str) -> str:
    process = start(out, *more)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


class Killer(Notes):
    """Kills every worker as soon as one job is under way."""

    def __init__(self, victim: StudyJob) -> None:
        super().__init__()
        self.victim = victim.name

    def advanced(self, job: StudyJob, iteration: int, iterations: int) -> None:
        if job.name == self.victim:
            for child in multiprocessing.active_children():
                child.kill()


@pytest.mark.slow
def test_a_dying_worker_is_a_row_and_the_rest_go_on(tmp_path: Path) -> None:
    """kill -9 at one job, nonsense in another: both are rows, and a new process does the rest."""
    first, last = (
        replace(small(seed=seed), machine=MachineSettings(device="cpu", loaders=0)) for seed in (0, 1)
    )
    dies = replace(first, train=TrainSettings(iterations=100_000, batch=32), seed=2)
    fails = replace(first, model={"not": "a model"}, seed=3)
    watch = Killer(dies)
    found = processes.train_in_processes([first, dies, fails, last], tmp_path, watch, lambda: False, 1)
    assert watch.over == [job.name for job in (first, dies, fails, last)]
    assert [found[job.name].state for job in (first, dies, fails, last)] == [
        "done",
        "failed",
        "failed",
        "done",
    ]
    killed = "killed by SIGKILL, and again when tried once more; is there too little memory?"
    assert found[dies.name].reason == killed
    assert "unknown key 'not'" in found[fails.name].reason
    kept = processes.finished_results_of_processes([first, dies, fails, last], tmp_path, fresh=False)
    assert kept.keys() == {first.name, last.name}
    assert not processes.finished_results_of_processes([first, last], tmp_path, fresh=True)


@pytest.mark.slow
def test_killed_again_and_again_ends_in_the_same_bits(tmp_path: Path) -> None:
    """kill -9 of everything, at different moments, until the command gets through."""
    jobs = [small(name, train=TrainSettings(iterations=100, batch=64)) for name in ("resnet8", "plain8")]
    for job in jobs:
        run_training(job, ALONE, source(), tmp_path / "whole" / "runs" / job.name)
    for wait in (0.2, 0.7):
        process = start(tmp_path / "killed", "train.iterations=100", "machine.jobs=0")
        deadline = time.monotonic() + 240
        while (
            not list((tmp_path / "killed").glob(f"runs/*/{training_result.RESULT_FILE}"))
            and time.monotonic() < deadline
        ):
            time.sleep(0.02)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(tmp_path / "killed", "train.iterations=100")
    whole, killed = runs(tmp_path / "whole"), runs(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    assert len(whole) == 2
    for name, tensors in whole.items():
        assert all(torch.equal(tensor, killed[name][key]) for key, tensor in tensors.items())


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path, "train.iterations=40000", "machine.checkpoint=0.2", "machine.jobs=2")
    deadline = time.monotonic() + 240
    while (
        len(list(tmp_path.glob(f"runs/*/{training_result.RESULT_FILE}"))) < 2 and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "The same command resumes it" in said
    assert "Traceback" not in said
    states = [training_result.read_result(folder) for folder in (tmp_path / "runs").iterdir()]
    assert [state.state for state in states if state] == ["running", "running"]
    assert all((folder / training_result.CHECKPOINT).is_file() for folder in (tmp_path / "runs").iterdir())
    assert "Not complete" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert not subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, check=False).stdout


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """torchrun with two gloo processes against one: the same weights within 1e-5, whole and from half way on.

    Group normalisation, since a batch statistic over half a batch is another number: that is what
    sync_batch_norm is for, which torch has on GPUs only. SiLU, since the kink of a ReLU can make a jump
    out of a rounding error: in float64 the two stay within 1e-15 with either.
    """
    overrides = ("model/norm=group", "model.norm.groups=4", "model.act=silu")
    recipe = TrainSettings(iterations=50, batch=64, schedule="constant")
    jobs = [small("resnet8", *overrides, train=recipe, seed=seed, rate=0.05) for seed in (0, 1)]
    alone = {}
    for job in jobs:
        run_training(job, ALONE, source(), tmp_path / "alone" / job.name)
        alone[job.name] = load_file(tmp_path / "alone" / job.name / training_result.WEIGHTS)
    asked = iter([False] * 29 + [True])
    run_training(jobs[1], ALONE, source(), tmp_path / "runs" / jobs[1].name, stop=lambda: next(asked))
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m",
            "resnet_factory.cli", "study", "study=compare", "seeds=[0,1]", "rates=[0.05]",
            "train.iterations=50", "train.batch=64", "train.schedule=constant", f"out={tmp_path}",
            "machine.device=cpu",
            f"models=['resnet8 model.widths=[8,16,32] model.stem.width=8 {' '.join(overrides)}']",
        ],
        env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("2/2") == 1, "one process speaks"
    together = runs(tmp_path)
    assert together.keys() == alone.keys()
    for job in jobs:
        for key, tensor in alone[job.name].items():
            torch.testing.assert_close(together[job.name][key], tensor, rtol=1e-4, atol=1e-5)
        one = training_result.read_result(tmp_path / "alone" / job.name)
        two = training_result.read_result(tmp_path / "runs" / job.name)
        assert one is not None
        assert two is not None
        assert "2 x cpu" in two.place
        assert two.iteration == 50
        assert one.train is not None
        assert two.train is not None
        assert two.train.loss == pytest.approx(one.train.loss, rel=1e-3)
        assert [epoch.iteration for epoch in two.history] == [epoch.iteration for epoch in one.history]
        for ours, theirs in zip(one.history, two.history, strict=True):
            assert theirs.train_loss == pytest.approx(ours.train_loss, rel=1e-3)
