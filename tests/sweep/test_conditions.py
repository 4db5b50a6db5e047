"""Conditions on choices of texts and of numbers, and on the stages that a generator makes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import resnet_factory as rf
from resnet_factory.cli.main import main

CHOSEN = (
    "sweep", "model=resnet18", "model/block=basic,bottleneck", "model.groups=1,2,4",
    "model/stem=imagenet,deep", "model.act=relu,silu", "sampler=grid", "samples=null", "report=false",
    "top=100", "by=macs",
)  # fmt: skip


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def rows(folder: str) -> list[dict[str, str]]:
    with open(f"{folder}/archs.csv") as file:
        return list(csv.DictReader(file))


def winners(folder: str) -> set[str]:
    """The plan ids of the winners, by their file names."""
    return {file.stem.rpartition("_")[2] for file in Path(folder, "winners", "model").iterdir()}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("block == basic", lambda row: row["model/block"] == "basic"),
        ("deep != stem and groups >= 2", lambda row: row["model/stem"] != "deep" and int(row["groups"]) >= 2),
        (
            "act == silu or block == bottleneck and groups == 4",
            lambda row: row["act"] == "silu" or (row["model/block"] == "bottleneck" and row["groups"] == "4"),
        ),
    ],
)
def test_conditions_read_choices_by_their_texts(condition: str, holds: object) -> None:
    assert callable(holds)
    assert main([*CHOSEN, f"where={condition}", "out=found"]) == 0
    every = rows("found")
    wanted = {row["plan"] for row in every if holds(row)}
    assert len(every) == 24
    assert 0 < len(wanted) < 24
    assert winners("found") == wanted


def test_numbers_that_are_chosen_rank() -> None:
    """The choices stand in no order, so that their places are not their values."""
    words = ["model=resnet20", "model.num_classes=7,3,5", "report=false", "top=1"]
    for direction, expected in (("min", 3), ("max", 7)):
        ask = [f"by=num_classes:{direction}", "where=num_classes != 9", f"out={direction}"]
        assert main(["sweep", *words, "sampler=grid", "samples=null", *ask]) == 0
        (file,) = Path(direction, "winners", "model").iterdir()
        assert rf.compose(file.stem, config_dir=f"{direction}/winners").num_classes == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["where=block == basi"], "unknown choice of 'block', 'basi'; known are basic, bottleneck; did you"),
        (["where=block < 3 and act == relu"], "'block' is a choice of texts; compare it as block == basic"),
        (["where=block == basic and block + 1 > 0"], "'block' is a choice of texts"),
        (["where=blok == basic"], "unknown name in 'blok == basic', 'blok'"),
        (["by=block:min"], "unknown metric 'block'"),
    ],
)
def test_conditions_on_choices_that_are_wrong_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*CHOSEN, *words, "out=refused"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("refused").exists()


SPACE = """\
# @package _global_
# a space for tests: depths that a generator makes
defaults:
  - override /model: resnet20
  - _self_
model: {depths: null, shortcut: none, generator: {cifar: {depth: 20}}}
space:
  vary:
    generator: {cifar: {depth: {choice: [20, 32, 44, 56, 110]}}}
    stem: {width: {choice: [8, 16]}}
  relations: ["total_depth <= 24", "depths1 >= 4"]
  constraints: {depths3: [null, 7]}
"""


def test_relations_read_the_depths_that_a_generator_makes(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own/space").mkdir(parents=True)
    Path("own/space/made.yaml").write_text(SPACE)
    words = ["sweep", "space=made", "--config-dir", "own", "sampler=grid", "samples=null", "report=false"]
    assert main([*words, "out=made"]) == 0
    said = capsys.readouterr().out
    expected = set()
    for depth in (20, 32, 44, 56, 110):
        for width in (8, 16):
            changes = "model.depths=null", "model/shortcut=none", f"+model.generator.cifar.depth={depth}"
            plan = rf.plan(rf.compose("resnet20", *changes, f"model.stem.width={width}"))
            depths = [sum(count for _, count in stage.runs) for stage in plan.stages]
            if sum(depths) <= 24 and depths[0] >= 4 and depths[2] <= 7:
                expected.add((plan.id, json.dumps(depths)))
    found = {
        (row["plan"], json.dumps([int(one) for one in row["depths"].split("-")])) for row in rows("made")
    }
    assert found == expected
    assert len(expected) == 4
    assert "4 total_depth <= 24" in said
