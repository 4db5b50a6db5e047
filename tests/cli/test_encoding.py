"""Output in encodings that lack some of our characters, into full disks and closed pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from resnet_factory.cli import encoding, main
from resnet_factory.cli.verbs import VERBS

COMMANDS = ["--help", *(f"{verb} --help" for verb in VERBS), "explain model=resnet18", "list resnet1*",
            "diff model=resnet18 with=resnet34", "describe model=resnet18", "describe model=resn×t",
            "draw model=resnet20 format=mermaid"]  # fmt: skip


@pytest.mark.parametrize("name", ["ascii", "cp1252", "latin-1"])
def test_every_command_in_every_encoding(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in COMMANDS:
        with (
            open("out", "w", encoding=name) as out,
            open("err", "w", encoding=name) as err,
            monkeypatch.context() as streams,
        ):
            streams.setattr(sys, "stdout", out)
            streams.setattr(sys, "stderr", err)
            assert main.main(words.split()) == (2 if "×" in words else 0)
        assert Path("err" if "×" in words else "out").stat().st_size


def test_signs_are_spelled() -> None:
    assert encoding.text_as_ascii("3×3 → é … 日") == "3x3 -> e ... ?"


@pytest.mark.parametrize("words", [["list", "resnet1*"], ["describe", "model=resnet18"], ["--help"]])
def test_a_full_disk_is_said_in_a_line(words: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "resnet_factory.cli", *words], stdout=full, stderr=subprocess.PIPE,
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "standard output cannot be written: No space left on device\n"
