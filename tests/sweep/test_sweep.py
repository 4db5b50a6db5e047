"""The sweep command from end to end: resumed, refused when changed, reported, winners as files."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.sweep import options as options_of_sweep
from resnet_factory.sweep.store import FILE


def start(*arguments: str, cwd: Path, **more: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "resnet_factory.cli", *arguments], cwd=cwd, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,
    )  # fmt: skip


def command(*arguments: str, cwd: Path, **more: Any) -> tuple[int, str, str]:
    process = start(*arguments, cwd=cwd, **more)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def rows_of(folder: Path, table: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{folder / FILE}?mode=ro", uri=True) as db:
        return db.execute(f"SELECT * FROM {table}").fetchall()


def count_of(folder: Path) -> int:
    """How many measurements there are so far."""
    try:
        return len(rows_of(folder, "metrics"))
    except sqlite3.OperationalError:
        return 0


SPACE = """\
# @package _global_
# a space for tests
defaults:
  - override /model: resnet20
  - _self_
model: {in_channels: 1, image_size: 8, strides: 2, shortcut: none}
space:
  vary:
    depths: {range: [1, 2], each: stage}
    widths: {range: [1, 6], each: stage}
    stem:
      width: {range: [2, 4]}
  relations: [non_decreasing: widths]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "tiny.yaml").write_text(SPACE)
    return tmp_path


TINY = ("sweep", "space=tiny", "--config-dir", "conf")
MEASURED = (*TINY, "sampler=grid", "samples=null", "measure=[synflow]", "measuring.batch=2", "report=false")


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_goes_on(home: Path) -> None:
    code, _, err = command(*MEASURED, "out=whole", cwd=home)
    assert code == 0, err
    expected = {table: rows_of(home / "whole", table) for table in ("archs", "metrics", "batches")}
    assert len(expected["archs"]) == len(expected["metrics"]) == 1344
    chance, kills, done = random.Random(0), 0, 0
    while True:
        process = start(*MEASURED, "out=killed", cwd=home)
        if chance.random() < 0.3:
            time.sleep(chance.uniform(0, 2))  # while it starts, freezes, costs
        else:
            until = done + chance.randint(1, 400)
            while process.poll() is None and count_of(home / "killed") < until:
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 0.05))
        if process.poll() is None and kills < 40:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        before, done = done, count_of(home / "killed")
        assert done >= before
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0
            break
    assert kills >= 2
    for table, rows in expected.items():
        assert rows_of(home / "killed", table) == rows
    assert (home / "killed/archs.csv").read_text() == (home / "whole/archs.csv").read_text()


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_with_what_is_done(home: Path) -> None:
    done = 0
    for executor in ("inline", "processes"):
        process = start(*MEASURED, f"executor={executor}", "out=stopped", cwd=home)
        while process.poll() is None:
            time.sleep(0.05)
            if count_of(home / "stopped") > done + 20:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        assert "the same command goes on" in out
        before, done = done, count_of(home / "stopped")
        assert before + 20 < done < 1344
        with (home / "stopped/archs.csv").open() as file:
            assert sum(row["synflow state"] == "ok" for row in csv.DictReader(file)) == done


def test_a_changed_space_is_refused_or_started_aside(home: Path) -> None:
    assert command(*TINY, "samples=50", "out=here", "report=false", cwd=home)[0] == 0
    before = (home / "here" / FILE).read_bytes()
    for change in ("seed=1", "space.vary.widths.range=[1,5]", "model.num_classes=3", "sampler=sobol"):
        code, _, err = command(*TINY, "samples=50", "out=here", change, "report=false", cwd=home)
        assert code == 2
        assert "results are never mixed" in err
    assert rows_of(home / "here", "run")
    assert sqlite3.connect(home / "here" / FILE).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len((home / "here" / FILE).read_bytes()) == len(before)
    for change in ("seed=0", "seed=1"):
        assert command(*TINY, "samples=50", change, "report=false", cwd=home)[0] == 0
    assert len(list((home / "runs").iterdir())) == 2


def test_a_longer_run_goes_on_where_a_shorter_one_ended(home: Path) -> None:
    assert command(*TINY, "samples=700", "out=once", "report=false", cwd=home)[0] == 0
    for samples in (100, 300, 700):
        assert command(*TINY, f"samples={samples}", "out=twice", "report=false", cwd=home)[0] == 0
    for table in ("archs", "batches"):
        assert sorted(rows_of(home / "twice", table)) == sorted(rows_of(home / "once", table))


def test_a_full_disk_is_a_clear_error_and_leaves_what_was_there(home: Path) -> None:
    first = (*TINY, "samples=200", "out=small", "report=false")
    assert command(*first, cwd=home)[0] == 0
    before = rows_of(home / "small", "archs")

    def tight() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    longer = (*TINY, "samples=60000", "out=small", "report=false")
    code, _, err = command(*longer, cwd=home, preexec_fn=tight)
    assert code == 2, err
    assert "cannot be used" in err
    assert "what was stored before is whole" in err
    assert "Traceback" not in err
    assert rows_of(home / "small", "archs") == before
    assert command(*longer, cwd=home)[0] == 0
    assert len(rows_of(home / "small", "archs")) > len(before)


def test_an_unwritable_place_is_a_clear_error(home: Path) -> None:
    (home / "file").write_text("")
    code, _, err = command(*TINY, "out=file/below", cwd=home)
    assert code == 2
    assert "cannot be used" in err
    assert "Traceback" not in err


def test_two_at_once_are_refused(home: Path) -> None:
    from resnet_factory.sweep.store import Store

    store = Store(home / "held", write=True)
    code, _, err = command(*TINY, "out=held", cwd=home)
    store.close()
    assert code == 2
    assert "another sweep is writing" in err


def test_winners_are_models_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    arguments = ["sweep", "space=regnetx", "samples=3000", "by=params", "top=4", "out=rx", "report=false"]
    assert main.main(arguments) == 0
    arguments = [
        "sweep",
        "space=anynet",
        "samples=300",
        "top=5",
        "out=any",
        "model/attention=se,eca",
        "report=false",
    ]
    assert main.main(arguments) == 0
    for folder, count in (("rx", 4), ("any", 5)):
        files = sorted((home / folder / "winners" / "model").glob("*.yaml"))
        assert 0 < len(files) <= count
        for file in files:
            text = file.read_text()
            assert re.match(r"# (best by|on the front of) .*rank \d+; [\d,]+ parameters", text)
            assert "defaults:" in text
            assert len(text.splitlines()) < 20
            config = rf.compose(file.stem, config_dir=home / folder / "winners")
            assert rf.plan(config).id == file.stem.rsplit("_", 1)[1]


def test_the_report_is_one_page_from_whatever_is_there(home: Path) -> None:
    code, _, err = command(
        *TINY, "samples=300", "out=r", "measure=[synflow,naswot]", "measuring.batch=2", "top=3", cwd=home
    )
    assert code == 0, err
    assert "Traceback" not in err
    with (home / "r/archs.csv").open() as file:
        plans = [row["plan"] for row in csv.DictReader(file)]
    chance = random.Random(0)
    lines = ["plan,error", *(f"{plan},{chance.random():.4f}" for plan in plans[:-5])]
    (home / "errors.csv").write_text("\n".join(lines))
    code, _, err = command(
        "report", "r", "errors=errors.csv", "by=error", "top=3", "pareto=[[params,error]]", cwd=home
    )
    assert code == 0, err
    page = (home / "r/report.html").read_text()
    for part in (
        "Pareto fronts", "Distributions", "Width profiles", "non_decreasing widths", "EDF, n=", "NumPy",
        "normalised by MACs", "Where the best by error are", "rank with error", "random, 0",
        "plain parameter and MAC counts", "expected least error",
    ):  # fmt: skip
        assert part in page, part
    assert not re.search(r'(src|href)="(http|//|file)', page), "the page needs nothing else"
    names = {file.stem for file in (home / "r/figures").glob("*.svg")}
    assert names == {"profiles", "front_params_error", "errors", "distributions", "best_ranges"}
    files = list((home / "r/winners/model").glob("*.yaml"))
    assert len(files) == 3
    # Partial: part of a longer run, and it says so.
    with sqlite3.connect(home / "r" / FILE) as db:
        db.execute("UPDATE run SET value = '999999' WHERE key = 'samples'")
    assert command("report", "r", cwd=home)[0] == 0
    assert "Partial: 300 of 999,999" in (home / "r/report.html").read_text()


def test_failing_measurements_are_rows_and_an_exit_code(home: Path) -> None:
    code, _, err = command(
        *TINY,
        "samples=30",
        "out=f",
        "measure=[synflow]",
        "measuring.device=meta",
        "report=false",
        cwd=home,
    )
    assert code == 1, err
    states = {row[2] for row in rows_of(home / "f", "metrics")}
    assert states == {"failed"}
    assert all("meta" in row[-1] for row in rows_of(home / "f", "metrics"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep"], "nothing varies"),
        (["sweep", "space=anynett"], "did you mean 'anynet'?"),
        (["sweep", "space=anynet", "sampler=randm"], "expected grid, random or sobol"),
        (["sweep", "space=anynet", "samples=1e12"], "1,000,000,000,000 are more than a sweep takes"),
        (
            ["sweep", "space=anynet_growing", "sampler=grid", "samples=null"],
            "a grid of 6.63e+16 combinations is more than a sweep takes",
        ),
        (["sweep", "space=anynet", "by=zen"], "unknown metric 'zen'"),
        (["sweep", "space=anynet", "errors=nowhere.csv"], "'nowhere.csv' cannot be read"),
        (["sweep", "space=anynet", "measure=[zenn]"], "did you mean 'zen'?"),
        (["sweep", "space=anynet", "samples=none"], "whole number"),
        (["sweep", "space=anynet", "executor=dusk"], "did you mean 'dask'?"),
        (["sweep", "space=anynet", "executor.worker=2"], "executor"),
        (["sweep", "seed=1,2"], "only the model can be swept"),
        (["sweep", "space=anynet", "smples=1"], "did you mean 'samples'?"),
        (["report"], "expected one folder"),
        (["report", "nowhere"], "holds no sweep"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], message: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(home)
    assert main.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("absent", "options", "message"),
    [
        ("scipy", ["sampler=sobol", "report=false"], "sampler: needs SciPy: pip install"),
        ("scipy", [], "report: needs SciPy: pip install"),
        ("matplotlib", [], "report: needs matplotlib: pip install"),
        ("distributed", ["executor=dask", "report=false"], "executor: needs dask.distributed: pip install"),
    ],
)
def test_missing_packages_are_told_before_anything_is_made(
    absent: str,
    options: list[str],
    message: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.chdir(home)
    find = options_of_sweep.find_spec
    monkeypatch.setattr(options_of_sweep, "find_spec", lambda name: None if name == absent else find(name))
    assert main.main([*TINY, "samples=10", "out=o", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (home / "o").exists()


def test_a_sweep_without_measured_metrics_imports_no_torch(home: Path) -> None:
    code = (
        "import sys; from resnet_factory.cli import main; "
        "status = main.main(['sweep', 'space=anynet_growing', 'samples=20000', 'out=n']); "
        "assert status == 0; assert 'torch' not in sys.modules; print('fine')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("fine\n")


def test_the_hydra_grammar_sweeps_without_a_space(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    arguments = [
        "sweep", "sampler=grid", "samples=null", "model=resnet18,resnet34",
        "model.depths=[1,1,1,1],[2,2,2,2]", "model.widths.0=range(8,33,8)", "out=g", "report=false",
    ]  # fmt: skip
    assert main.main(arguments) == 0
    found = rows_of(home / "g", "archs")
    rejected = json.loads(rows_of(home / "g", "batches")[0][2])
    # resnet18 and resnet34 differ in their depths only, which are given here.
    assert len(found) == 8
    assert rejected == {"duplicate": 8}
