"""A list for a config group means the same wherever it stands: one recipe per stage for blocks, else no."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.config.composition import compose_all

BLOCKS = ["basic", "bottleneck", "preact_basic"]
ONE = sorted(
    folder.name
    for folder in (ROOT / "conf" / "model").iterdir()
    if folder.is_dir() and folder.name != "block"
)
numbers = itertools.count()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to write the user's own YAML in."""
    for name in ("model", "experiment"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def doors(here: Path, group: str, names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each way of choosing a list of recipes, as the overrides that ask for it."""
    written = f"[{', '.join(names)}]"
    yield "command line", ["model=resnet18", f"model/{group}=[{','.join(names)}]"]
    name = f"mine{next(numbers)}"
    (here / "model" / f"{name}.yaml").write_text(
        f"defaults: [resnet18, {{override {group}: {written}}}, _self_]\n", encoding="utf-8"
    )
    yield "file", [f"model={name}"]
    (here / "model" / f"{name}_child.yaml").write_text(f"defaults: [{name}, _self_]\n", encoding="utf-8")
    yield "child", [f"model={name}_child"]
    (here / "experiment" / f"{name}.yaml").write_text(
        f"# @package _global_\ndefaults: [override /model: resnet18, override /model/{group}: {written}]\n",
        encoding="utf-8",
    )
    yield "experiment", [f"experiment={name}"]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(BLOCKS), min_size=4, max_size=4))
def test_one_block_per_stage(here: Path, names: list[str]) -> None:
    expected = rf.plan(rf.compose("resnet18", f"model.block=[{','.join(names)}]")).id
    for door, words in doors(here, "block", names):
        for command in ("config", "describe", "sweep"):
            found = compose_all(command, words, here).model
            assert rf.plan(found).id == expected, (door, command)


def test_every_job_has_one_block_per_stage(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["basic", "basic", "bottleneck", "bottleneck"]
    expected = rf.plan(rf.compose("resnet18", f"model.block=[{','.join(names)}]")).id
    for door, words in doors(here, "block", names):
        assert main.main(["describe", "-m", *words, "--config-dir", str(here)]) == 0, door
        assert expected in capsys.readouterr().out, door
        assert main.main(["describe", "--cfg", "job", *words, "--config-dir", str(here)]) == 0, door
        assert "".join(f"  - {name}\n" for name in names) in capsys.readouterr().out, door


def test_one_stage_of_a_list_is_changed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = rf.plan(rf.compose("resnet18", "model.block=[bottleneck,basic,basic,basic]")).id
    for door, words in doors(here, "block", ["basic"] * 4):
        asked = [*words, "model.block.0=bottleneck", "--config-dir", str(here)]
        for flags in ([], ["-m"]):
            assert main.main(["describe", *flags, *asked]) == 0, (door, flags)
            assert expected in capsys.readouterr().out, (door, flags)
        assert main.main(["describe", "--cfg", "job", *asked]) == 0, door
        assert "  - bottleneck\n  - basic\n" in capsys.readouterr().out, door


def test_a_choice_replaces_a_list_of_the_parent(here: Path) -> None:
    _, (_, words), *_ = doors(here, "block", ["basic", "bottleneck", "basic", "basic"])
    found = compose_all("config", [*words, "model/block=basic"], here).model
    assert rf.plan(found).id == rf.plan(rf.compose("resnet18")).id


@pytest.mark.parametrize("group", ONE)
def test_other_groups_take_one(here: Path, group: str) -> None:
    name = sorted((ROOT / "conf" / "model" / group).glob("*.yaml"))[0].stem
    for door, words in doors(here, group, [name, name]):
        with pytest.raises(rf.ConfigError) as error:
            compose_all("config", words, here)
        (fault,) = error.value.faults
        assert f"expected one name for 'model/{group}'" in fault.message, door
        assert fault.where, door
