"""Hydra's multirun at home: its grammar, one table, one results file, failing jobs as rows, launchers."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

import resnet_factory as rf
from resnet_factory.cli import commands, main, request
from resnet_factory.config import composition
from resnet_factory.study import command


def multirun(*arguments: str, cwd: Path) -> tuple[int, str, str, list[dict[str, str]]]:
    done = subprocess.run(
        [sys.executable, "-m", "resnet_factory.cli", *arguments], cwd=cwd, text=True, capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, timeout=300,
    )  # fmt: skip
    files = list(cwd.glob("runs/*/results.csv"))
    rows: list[dict[str, str]] = []
    if files:
        (file,) = files
        assert str(file.relative_to(cwd)) in done.stdout
        with file.open() as opened:
            rows = list(csv.DictReader(opened))
    return done.returncode, done.stdout, done.stderr, rows


def test_one_table_and_one_file_at_the_end(tmp_path: Path) -> None:
    code, out, err, rows = multirun("describe", "-m", "model=resnet18,resnet34,resnet50", cwd=tmp_path)
    assert code == 0, err
    assert [row["params"] for row in rows] == ["11689512", "21797672", "25557032"]
    assert [row["overrides"] for row in rows] == ["model=resnet18", "model=resnet34", "model=resnet50"]
    assert {row["state"] for row in rows} == {"ok"}
    table = out[out.rindex("overrides") :]
    for text in ("11,689,512", "21,797,672", "25,557,032", "3 jobs, 0 failed"):
        assert text in table
    files = {file.name for file in tmp_path.glob("runs/*/*")}
    assert files == {"results.csv", "multirun.yaml", "report.html"}
    assert "report.html" in out.splitlines()[-1]


def test_the_grammar_people_know(tmp_path: Path) -> None:
    code, _, err, rows = multirun(
        "describe", "-m", "model=glob(resnet1?)", "model.depths=[1,1,1,1],[2,1,1,1]",
        "model.stem.width=choice(16,32)", "model.base_width=range(64,66)", cwd=tmp_path,
    )  # fmt: skip
    assert code == 0, err
    assert len(rows) % 8 == 0
    assert len({row["overrides"] for row in rows}) == len(rows)
    assert {row["state"] for row in rows} == {"ok"}


def test_a_failing_job_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    code, out, err, rows = multirun(
        "describe", "-m", "model=resnet18,resnet34", "model.groups=1,7", cwd=tmp_path
    )
    assert code == 1
    assert [row["state"] for row in rows] == ["ok", "failed", "ok", "failed"]
    assert "not divisible by 7 groups" in rows[1]["error"]
    assert "4 jobs, 2 failed" in out
    assert "Traceback" not in err


def test_mistakes_are_told_before_the_first_job(tmp_path: Path) -> None:
    for arguments, message in (
        (["model=resnet18,resnet5O"], "did you mean 'resnet"),
        (["model=resnet18,resnet34", "model.dephts=1,2"], "did you mean 'depths'?"),
        (["model.stem.width=interval(1,2)"], "an interval has no finite list"),
    ):
        code, out, err, rows = multirun("describe", "-m", *arguments, cwd=tmp_path)
        assert code == 2, err
        assert message in err
        assert not rows
        assert not out


def test_a_sweep_file(tmp_path: Path) -> None:
    code, _, err, rows = multirun("describe", "-m", "sweep=depth", cwd=tmp_path)
    assert code == 0, err
    assert len(rows) == 5


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_other_launchers(launcher: str, tmp_path: Path) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    code, _, err, rows = multirun(
        "describe",
        "-m",
        "model=resnet18,resnet34",
        "model.groups=1,7",
        f"hydra/launcher={launcher}",
        cwd=tmp_path,
    )
    assert code == 1, err
    assert [row["state"] for row in rows] == ["ok", "failed", "ok", "failed"]
    assert rows[0]["params"] == "11689512"


SWEEPER = """
from dataclasses import dataclass, field
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

@dataclass
class Options:
    _target_: str = "hydra_plugins.descent.Descent"
    widths: list[int] = field(default_factory=lambda: [32, 8, 64, 16])

ConfigStore.instance().store(group="hydra/sweeper", name="descent", node=Options)

class Descent(Sweeper):
    def __init__(self, widths):
        self.widths = widths

    def setup(self, *, hydra_context, task_function, config):
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        told = {}
        for number, width in enumerate(self.widths):
            (job,) = self.launcher.launch([[*arguments, f"model.base_width={width}"]], number)
            try:
                told[width] = job.return_value
            except Exception as error:
                told[width] = f"{type(error).__name__}: {error}"
        print("told", told)
"""
"""A sweeper that uses what jobs return, as those of Optuna, Ax and Nevergrad do."""


def test_a_sweeper_that_optimises_is_told_the_objective(tmp_path: Path) -> None:
    """hydra-optuna-sweeper 1.3 needs an Optuna before 3; its interface is Hydra's, as this one's."""
    plugins = tmp_path / "plugins" / "hydra_plugins"
    plugins.mkdir(parents=True)
    (plugins / "descent.py").write_text(SWEEPER, encoding="utf-8")
    words = ("describe", "-m", "model=resnet20", "hydra/sweeper=descent")

    def told(*more: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "resnet_factory.cli", *words, *more], cwd=tmp_path, text=True,
            capture_output=True, check=False, timeout=300,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(plugins.parent)])},
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    costs = {width: rf.cost(rf.compose("resnet20", f"model.base_width={width}")) for width in (32, 8, 64, 16)}
    found = {width: float(cost.macs) for width, cost in costs.items()}
    assert f"told {found}" in told("objective=macs")
    pairs = {width: (float(cost.params), float(cost.activations)) for width, cost in costs.items()}
    assert f"told {pairs}" in told("objective=[params,activations]")
    assert "told {32: None, 8: None, 64: None, 16: None}" in told()
    failed = told("objective=macs", "model.groups=5", code=1)
    assert all(f"{width}: 'JobError: job {number} failed" in failed for number, width in enumerate(found))
    wrong = told("objective=[macz,3,test_error]", code=2).splitlines()
    where = "command line 'objective=[macz,3,test_error]': objective: "
    assert wrong == [
        f"{where}unknown objective 'macz'; known are params, macs, activations; did you mean 'macs'?",
        f"{where}expected one of params, macs, activations, found 3",
        f"{where}only 'study' has test_error; known here are params, macs, activations",
    ]


def test_each_run_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that begin within one second: here time stands still."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda _: "now")
    for _ in range(3):
        assert main.main(["describe", "-m", "model=resnet18,resnet34"]) == 0
    runs = Path("runs")
    assert sorted(folder.name for folder in runs.iterdir()) == [f"multirun-now{n}" for n in ("", "-2", "-3")]
    for folder in runs.iterdir():
        assert sorted(file.name for file in folder.iterdir()) == ["multirun.yaml", "results.csv"]


def test_a_folder_used_again_keeps_what_is_there(tmp_path: Path) -> None:
    """Neither do rows of a run that was killed join, nor are earlier results lost."""
    words = ("describe", "-m", "model=resnet18", "hydra.sweep.dir=runs/mine")
    stray = tmp_path / "runs" / "mine" / ".rows-killed" / "7.json"
    stray.parent.mkdir(parents=True)
    stray.write_text('{"job": 7, "state": "ok"}', encoding="utf-8")
    for number, classes in enumerate(("10,20", "30", "40")):
        code, out, err, rows = multirun(*words, f"model.num_classes={classes}", cwd=tmp_path)
        assert code == 0, err
        assert len(rows) == (1 if number else 2)
        assert ("previous results: runs/mine/results-" in out) == (number > 0)
    first, second = (tmp_path / "runs" / "mine" / f"results-{n}.csv" for n in (1, 2))
    assert len(first.read_text(encoding="utf-8").splitlines()) == 3
    assert "num_classes=30" in second.read_text(encoding="utf-8")


@pytest.mark.parametrize("step", ["pathlib.Path.touch", "os.replace"])
def test_a_folder_that_fills_up_is_said(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["describe", "-m", "model=resnet18,resnet34", "hydra.sweep.dir=mine"]
    assert main.main(words) == 0

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, full)
    assert main.main(words) == 2
    assert "No space left on device" in capsys.readouterr().err


def test_few_jobs_are_composed_before_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every choice and every value, but not every combination; and Hydra composes each job once."""
    composed = []

    def counted(*arguments: Any, check: Any) -> Any:
        composed.append(arguments[2])
        return composition.compose_in_library(*arguments, check=check)

    monkeypatch.setattr("resnet_factory.cli.request.compose_in_library", counted)
    wanted = request.compose_request(
        "describe",
        ["model=resnet18,resnet34", "model.num_classes=range(1,21)", "model.stem.width=8,16,24"],
        multirun=True,
    )
    assert wanted.jobs is not None
    assert len(wanted.jobs) == 2 * 20 * 3
    assert len(composed) == 2 + 19 + 2
    assert {word for job in composed for word in job} == {word for job in wanted.jobs for word in job}


def test_ctrl_c_leaves_a_table_of_what_is_done(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "resnet_factory.cli", "describe", "-m", "model.num_classes=range(1,200)"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("#2 "):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    (file,) = tmp_path.glob("runs/*/results.csv")
    with file.open() as opened:
        states = [row["state"] for row in csv.DictReader(opened)]
    assert len(states) == 199
    assert states[:2] == ["ok", "ok"]
    assert states[-1] == "not run"
    assert f"199 jobs, {199 - states.count('ok')} failed: " in out
    assert {found.name for found in file.parent.iterdir()} == {"results.csv", "multirun.yaml"}


def test_a_job_that_was_interrupted_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study answers Ctrl-C itself, by its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "describe_command", lambda composed: 130)
    assert main.main(["describe", "-m", "model=resnet18,resnet34"]) == 130
    assert re.search(r"interrupted: by Ctrl-C\s.*not run: interrupted\s", capsys.readouterr().out, re.DOTALL)


def test_an_interrupted_study_shows_the_costs_of_a_finished_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are costed at the data's image size, whatever the model's own."""
    monkeypatch.chdir(tmp_path)
    train = command.study_command
    monkeypatch.setattr(
        command, "study_command", lambda composed: train(composed) if not list(Path().glob("s/*")) else 130
    )
    words = ["study", "-m", "study=single", "model=resnet20", "data=digits", "train.iterations=1"]
    words += ["out=s", "train.weight_decay=0,0.1", "seeds=[0]", "machine.jobs=0"]
    assert main.main(words) == 130
    (file,) = Path().glob("runs/*/results.csv")
    with file.open() as opened:
        done, interrupted = csv.DictReader(opened)
    assert (done["state"], interrupted["state"]) == ("ok", "interrupted")
    for key in ("plan", "params", "macs", "activations"):
        assert interrupted[key] == done[key] != ""
    assert done["test_error"]
    assert not interrupted["test_error"]


def test_each_jobs_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["describe", "-m", "model=resnet18,resnet50", "model.num_classes=3,4"]
    assert main.main([*words, "--cfg", "job", "--package", "model"]) == 0
    documents = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [document["num_classes"] for document in documents] == [3, 4, 3, 4]
    assert [document["depths"] for document in documents[1:3]] == [[2, 2, 2, 2], [3, 4, 6, 3]]


def test_a_sweep_files_parameters_give_way_to_the_command_line(tmp_path: Path) -> None:
    code, _, err, rows = multirun("describe", "-m", "sweep=depth", "model=resnet18", cwd=tmp_path)
    assert code == 0, err
    assert [row["params"] for row in rows] == ["11689512"]


def test_a_parameter_without_a_value_gives_way_too(tmp_path: Path) -> None:
    """Hydra adds a value that was null by `++`, which is another key to it."""
    file = tmp_path / "mine" / "sweep" / "mine.yaml"
    file.parent.mkdir(parents=True)
    params = "{model: 'resnet18,resnet34', model.output_stride: '8,16'}"
    file.write_text(f"# @package _global_\nhydra: {{sweeper: {{params: {params}}}}}\n", encoding="utf-8")
    words = ["sweep=mine", "model.output_stride=32,8", "--config-dir", "mine"]
    code, _, err, rows = multirun("describe", "-m", *words, cwd=tmp_path)
    assert code == 0, err
    assert [row["overrides"].split()[:2] for row in rows] == [
        [f"model={name}", f"model.output_stride={stride}"]
        for name in ("resnet18", "resnet34")
        for stride in (32, 8)
    ]
    assert rows[0]["macs"] < rows[1]["macs"]


def test_the_last_of_a_key_counts(tmp_path: Path) -> None:
    words = ["describe", "-m", "model=resnet18,resnet34", "model=resnet50"]
    code, _, err, rows = multirun(*words, cwd=tmp_path)
    assert code == 0, err
    assert [row["params"] for row in rows] == ["25557032"]
