"""Sweeps and studies of networks for sequences and volumes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import resnet_factory as rf
from resnet_factory.cli.main import main

SMALL = "model=resnet18", "model.widths=8", "report=false", "sampler=grid", "samples=null", "out=found"


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def rows() -> list[dict[str, str]]:
    with open("found/archs.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("size", ["model.image_size=32", "input.size=32"])
def test_dims_may_vary(size: str) -> None:
    assert main(["sweep", *SMALL, "model.dims=1,2,3", size]) == 0
    found = {int(row["dims"]): row for row in rows()}
    assert list(found) == [1, 2, 3]
    for dims, row in found.items():
        plan = rf.plan(rf.compose("resnet18", "model.widths=8", f"model.dims={dims}"))
        cost = rf.cost(plan, (3, *(32,) * dims))
        assert (row["plan"], row["params"], row["macs"]) == (plan.id, str(cost.params), str(cost.macs))


def test_image_sizes_may_vary_per_axis() -> None:
    words = "model.dims=3", "model.image_size=[16,64,64],32"
    assert main(["sweep", *SMALL, *words]) == 0
    assert [row["plan"].partition("-")[2] for row in rows()] == ["16x64x64", "32"]


def test_scores_at_initialisation_take_sequences_and_volumes() -> None:
    metrics = "naswot", "zen", "synflow", "gradients", "memory"
    words = f"measure=[{','.join(metrics)}]", "measuring.batch=4", "model.dims=1,3", "model.image_size=32"
    assert main(["sweep", *SMALL, *words]) == 0
    for row in rows():
        assert {row[f"{metric} state"] for metric in metrics} == {"ok"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sweep", *SMALL, "model.dims=1,5"], "'model.dims=…': expected whole numbers from 1 to 3, found 5"),
        (
            ["sweep", *SMALL, "model.dims=1,2", "measure=[error]"],
            "measure: 'error' trains on images, of 2 dimensions; this space has networks of 1",
        ),
        (
            ["study", "study=single", "model=resnet18", "model.dims=1"],
            "'model.dims=1': model.dims: networks are trained on images, of 2 dimensions; this one takes 1",
        ),
        (["study", "models=['resnet18 model.dims=3']"], "of 2 dimensions; this one takes 3"),
    ],
)
def test_what_trains_takes_images_only(
    capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(words) == 2
    assert says in capsys.readouterr().err
