"""The command line as a person uses it: what it prints, what it exits with, what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from resnet_factory.cli import main
from resnet_factory.cli.verbs import VERBS
from resnet_factory.config.model_index import index_models
from resnet_factory.reporting.columns import COLUMNS


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def command(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "resnet_factory.cli", *arguments],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_build_is_the_default_and_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main.main(["model=resnet18"]) == 0
    first = capsys.readouterr()
    assert "built: 11,689,512 parameters in 122 tensors, as planned" in first.out
    assert main.main(["build", "model=resnet18"]) == 0
    assert capsys.readouterr() == first
    assert not list(tmp_path.iterdir())


def test_depths_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["describe", "model=resnet50", "model.depths=[3,4,23,3]"]) == 0
    assert "44,549,160" in capsys.readouterr().out


def test_describe_and_build_print_the_same_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["describe", "model=resnet20"]) == 0
    described = capsys.readouterr().out
    assert main.main(["build", "model=resnet20"]) == 0
    assert capsys.readouterr().out.startswith(described.rstrip("\n"))


def test_input_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["describe", "model=resnet18", "input.size=[64,96]"]) == 0
    assert "512x2x3" in capsys.readouterr().out


def test_layers_adds_torchinfos_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["model=resnet18", "layers=true", "input.size=64"]) == 0
    out = capsys.readouterr().out
    assert "Total params: 11,689,512" in out
    assert "downsample" in out


def test_save_writes_one_file_whole(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main.main(["model=resnet20", "save=mine.safetensors"]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["mine.safetensors"]
    from safetensors import safe_open

    with safe_open(tmp_path / "mine.safetensors", "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["resnet_factory.config"])["num_classes"] == 10
    assert "mine.safetensors" in capsys.readouterr().out


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["list", "resnext101*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["model", "depths", "image", "params", "MACs"]
    assert len(lines) == 1 + len(index_models().names("resnext101*"))
    assert main.main(["list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(index_models().names())
    assert main.main(["list", "resnot*"]) == 2


def test_help_is_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == 0
    text = capsys.readouterr().out
    for verb in VERBS:
        assert f"\n  {verb} " in text
    for word in ("model/stem", "deep_tiered", "model/shortcut", "avg_down", "--config-dir", "-m"):
        assert word in text
    examples = [line for line in text.splitlines() if line.startswith("  resnet-factory ")]
    assert len(examples) >= 5


def test_a_folder_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "conf_of_mine" / "model" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# mine\ndefaults:\n  - resnet50\n  - _self_\ndepths: [1, 1, 1, 1]\n")
    for flag in ("--config-dir", "-cd"):
        assert main.main(["describe", "model=mine", flag, "conf_of_mine"]) == 0
        assert "mine  id" in capsys.readouterr().out
    assert main.main(["--help", "--config-dir", "conf_of_mine"]) == 0


def test_hydras_own_flags(tmp_path: Path) -> None:
    done = command("--cfg", "job", "model=resnet20", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "depths: 3" in done.stdout
    done = command("describe", "--info", "searchpath", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = command("describe", "-m", "model=resnet18,resnet34", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "11,689,512" in done.stdout
    assert "21,797,672" in done.stdout
    assert not list(tmp_path.glob("outputs")) + list(tmp_path.glob(".hydra"))


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("resnet-factory model=resnext50", "model=resnext50_32x4d"),
        ("resnet-factory describe model/stem=de", "model/stem=deep_tiered"),
        ("resnet-factory model.dep", "model.depths"),
    ],
)
def test_shell_completion(typed: str, expected: str, tmp_path: Path) -> None:
    done = command("-sc", "query=bash", cwd=tmp_path, COMP_LINE=typed, COMP_POINT=str(len(typed)))
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert VERBS[verb].help in said
    if verb == "describe":
        assert all(column in said for column in COLUMNS)
    if (file := ROOT / "conf" / f"{verb}.yaml").is_file():
        keys = [key for key in yaml.safe_load(file.read_text(encoding="utf-8")) if key != "defaults"]
        assert all(f"  {key}:" in said for key in keys)
        assert not re.search(r"^ *defaults:", said, re.M)


def test_mistakes_exit_with_2_and_no_traceback(tmp_path: Path) -> None:
    done = command("describe", "model=resnet5O", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'resnet50'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    "words", ["list", "sweep space=anynet model.groups=1,2 --cfg job", "--info defaults"]
)
def test_output_to_a_closed_pipe_ends_quietly(words: str, tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m resnet_factory.cli.main {words} | head -2",
        shell=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout
    assert not done.stderr


def test_a_home_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell leaves the `~` of `file=~/x.svg` alone."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    assert main.main(["draw", "model=resnet20", "file=~/x.svg"]) == 0
    assert (tmp_path / "home" / "x.svg").is_file()
    assert main.main(["build", "model=resnet20", "save=~/x.safetensors"]) == 0
    assert (tmp_path / "home" / "x.safetensors").is_file()
    assert main.main(["build", "model=resnet20", "weights=~/x.safetensors"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    said = "weights: ~/x.safetensors\nsave: ~/y.safetensors\n"
    file = tmp_path / "conf" / "experiment" / "mine.yaml"
    file.write_text(f"# @package _global_\n# in a file\ndefaults:\n  - override /model: resnet20\n{said}")
    assert main.main(["build", "experiment=mine", "--config-dir", f"{tmp_path}/conf"]) == 0
    assert (tmp_path / "home" / "y.safetensors").is_file()
    sweep = ["space.vary={depths:{range:[1,2],each:stage}}", "samples=4", "report=false"]
    assert main.main(["sweep", "model=resnet20", *sweep, "out=~/s"]) == 0
    assert (tmp_path / "home" / "s" / "archs.csv").is_file()
    capsys.readouterr()


def test_help_and_version_by_other_names(capsys: pytest.CaptureFixture[str]) -> None:
    for words, same in (
        (["help"], ["--help"]),
        (["help", "draw"], ["draw", "--help"]),
        (["-V"], ["--version"]),
    ):
        assert main.main(words) == 0
        said = capsys.readouterr().out
        assert main.main(same) == 0
        assert capsys.readouterr().out == said
