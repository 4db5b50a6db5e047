"""The example package of metrics of one's own, installed without network: on executors, and without it."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from test_own_layer import Place, installed_example

import resnet_factory as rf

pytestmark = pytest.mark.slow
EXAMPLE = ROOT / "examples" / "own_metric"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return installed_example(EXAMPLE, tmp_path_factory.mktemp("own_metric"))


SWEEP = (
    "sweep", "model=resnet20", "model.image_size=8", "model.in_channels=1", "sampler=grid",
    "samples=null", "model.depths=[1,1,1],[2,1,1],[1,1,2]", "measuring.batch=8", "report=false",
    "measuring.study=['data=digits']",
)  # fmt: skip


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "archs.csv").open() as file:
        return list(csv.DictReader(file))


def test_installed_metrics_are_measured_on_executors(place: Place) -> None:
    words = (*SWEEP, "measure=[intensity,grad_norm,start_loss]", "by=grad_norm", "top=1")
    found = {}
    for executor in ("inline", "processes"):
        answer = place.command(*words, f"executor={executor}", f"out={executor}")
        assert answer.code == 0, answer.err
        assert "asked: highest grad_norm" in answer.out
        found[executor] = rows(place.work / executor)
    assert found["inline"] == [
        row | {key: here[key] for key in here if key.endswith(("concurrency", "host"))}
        for row, here in zip(found["processes"], found["inline"], strict=True)
    ]
    for row in found["inline"]:
        depths = row["model.depths"] if "model.depths" in row else row["depths"]
        overrides = ("model.image_size=8", "model.in_channels=1", f"model.depths={depths.replace(' ', '')}")
        cost = rf.cost(rf.compose("resnet20", *overrides))
        assert math.isclose(float(row["intensity"]), cost.macs / (cost.params + cost.activations))
        assert 1 < float(row["start_loss"]) < 10  # about log 10
        assert row["start_loss note"] == "data digits"
        assert float(row["grad_norm"]) > 0


def test_without_the_package_a_metric_is_unknown_and_its_results_stay(place: Place) -> None:
    done = place.command(*SWEEP, "measure=[intensity]", "out=kept")
    assert done.code == 0, done.err
    answer = place.command("report", "kept", "by=intensity", "top=1", installed=False)
    assert answer.code == 0, answer.err
    assert "asked: highest intensity" in answer.out
    answer = place.command(*SWEEP, "measure=[intensity]", "out=new", installed=False)
    assert answer.code == 2
    assert "unknown metric 'intensity'" in answer.err


def test_a_broken_package_is_named(place: Place, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(place.packages, broken)
    (broken / "quick_metrics" / "__init__.py").write_text("raise RuntimeError('as asked')\n")
    answer = Place(place.work, broken).command(*SWEEP, "measure=[intensity]", "out=new")
    assert answer.code == 2
    assert "metric 'intensity' of package 'quick-metrics 1.0' cannot be used: RuntimeError" in answer.err
