"""Hydra's multirun at home: its grammar, one table, one results file, failing jobs as rows, launchers."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
    assert {file.name for file in tmp_path.glob("runs/*/*")} == {"results.csv", "multirun.yaml"}


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
        (["model.stem.width=interval(1,2)"], "an interval has no list"),
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
