"""Draws given relations against free draws that are kept where the relations hold."""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import chdtri

import resnet_factory as rf
from resnet_factory.cli.main import main
from resnet_factory.sweep import collection
from resnet_factory.sweep.dimension import read_dimension
from resnet_factory.sweep.draws import Draws, OrderedDraw, TableDraw
from resnet_factory.sweep.space import Space, read_space
from resnet_factory.sweep.store import STORE_FILE

COUNT = 20_000


def space_of(vary: dict[str, Any], relations: list[Any], **more: Any) -> Space:
    data = {"vary": vary, "relations": relations, **more}
    return read_space("test", data, [], rf.compose("resnet50").to_dict(), "resnet50")


def test_the_chances_of_values_are_those_of_drawing_them() -> None:
    unit = (np.arange(400_000) + 0.5) / 400_000
    for data in (
        {"log": [16, 128], "step": 8},
        {"log": [8, 64], "step": 8, "rounding": "up"},
        {"log": [1.5, 1.6], "step": 0.01, "rounding": "up"},
        {"range": [2, 12], "step": 2},
        {"choice": [4, 1, 4]},
    ):
        dimension, _ = read_dimension("x", data, "", [])
        found = dimension.support()
        assert found is not None
        values, chances = found
        drawn, counts = np.unique(dimension.sample(unit), return_counts=True)
        assert np.array_equal(drawn, values)
        assert np.abs(counts / len(unit) - chances).max() < 1e-4
        assert np.isclose(chances.sum(), 1)
    assert read_dimension("x", {"uniform": [0, 1]}, "", [])[0].support() is None


LOGS = {"log": [1, 5], "step": 1, "rounding": "up", "each": "stage"}
CHOICES = {"choice": [2, 1, 2, 3, 5], "each": "stage"}
WIDE = {"log": [8, 512], "step": 8, "each": "stage"}


ORDERS: list[tuple[Any, Callable[[tuple[int, ...]], bool]]] = [
    ({"non_decreasing": "depths"}, lambda d: d[0] <= d[1] <= d[2] <= d[3]),
    ({"increasing": "depths"}, lambda d: d[0] < d[1] < d[2] < d[3]),
    ({"non_increasing": "depths"}, lambda d: d[0] >= d[1] >= d[2] >= d[3]),
    ({"decreasing": "depths"}, lambda d: d[0] > d[1] > d[2] > d[3]),
]
TEXTS: list[tuple[Any, Callable[[tuple[int, ...]], bool]]] = [
    ("depths4 % depths1 == 0 and depths2 == depths3", lambda d: d[3] % d[0] == 0 and d[1] == d[2]),
    ("total_depth <= 8", lambda d: sum(d) <= 8),
]


@pytest.mark.parametrize("values", [LOGS, CHOICES], ids=["log", "choice"])
@pytest.mark.parametrize(
    ("relation", "holds", "made"),
    [
        *((*each, "table") for each in (*ORDERS, *TEXTS)),
        *((*each, "order") for each in ORDERS),
    ],
)
def test_conditional_draws_have_the_distribution_of_rejection(
    values: dict[str, Any],
    relation: Any,
    holds: Callable[[tuple[int, ...]], bool],
    made: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All combinations, each with the product of its values' chances, counted by brute force."""
    if made == "order":
        monkeypatch.setattr("resnet_factory.sweep.draws.MOST_COMBINATIONS", 1)
    space = space_of({"depths": values}, [relation])
    one = space.dimensions[0]
    found = one.support()
    assert found is not None
    chances: Counter[int] = Counter()
    for value, chance in zip(one.numbers(found[0]).tolist(), found[1].tolist(), strict=True):
        chances[value] += chance
    joint = {
        each: np.prod([chances[value] for value in each])
        for each in itertools.product(sorted(chances), repeat=4)
        if holds(each)
    }
    draws = Draws(space, "random", 1)
    (part,) = draws.parts
    assert isinstance(part, TableDraw if made == "table" else OrderedDraw)
    assert np.isclose(part.share, sum(joint.values()))
    samples = draws.samples(0, COUNT)
    columns = [d.numbers(samples[d.key]).tolist() for d in space.dimensions]
    seen = Counter(zip(*columns, strict=True))
    assert set(seen) <= set(joint)
    hoped = {each: COUNT * chance / part.share for each, chance in joint.items()}
    common = [each for each in hoped if hoped[each] >= 8]
    rest = COUNT - sum(hoped[each] for each in common), COUNT - sum(seen[each] for each in common)
    pairs = [(hoped[each], seen[each]) for each in common] + ([rest] if rest[0] >= 8 else [])
    assert sum((a - b) ** 2 / a for a, b in pairs) < chdtri(max(len(pairs) - 1, 1), 1e-6)


def test_what_cannot_be_drawn_given_its_relations_is_left_to_rejection() -> None:
    space = space_of({"widths": WIDE}, [{"non_decreasing": "widths"}, "widths4 <= 4 * widths1"])
    draws = Draws(space, "random", 0)
    assert list(draws.met) == ["non_decreasing widths"]  # 64^4 combinations are no table
    real = {"stem.width": {"range": [16, 64]}, "head.dropout": {"uniform": [0, 1]}}
    assert not Draws(space_of(real, ["head_dropout < 0.5"]), "random", 0).parts
    assert not Draws(space_of({"widths": WIDE}, [{"non_decreasing": "widths"}]), "grid", 0).parts
    impossible = space_of({"depths": LOGS}, ["depths1 > 9"])
    assert not Draws(impossible, "random", 0).parts


@pytest.mark.parametrize("sampler", ["random", "sobol"])
def test_conditional_draws_can_be_drawn_again_in_parts(sampler: str) -> None:
    space = space_of({"widths": WIDE, "depths": LOGS}, [{"non_decreasing": "widths"}, "depths1 == depths2"])
    whole, part = (Draws(space, sampler, 7).samples(0, stop) for stop in (1000, 300))
    for key, values in whole.items():
        assert np.array_equal(values[:300], part[key])
    assert all((whole[f"widths.{i}"] <= whole[f"widths.{i + 1}"]).all() for i in range(3))
    free = Draws(space, sampler, 7, conditional=False).samples(0, 1000)
    assert np.array_equal(free["depths.3"], whole["depths.3"])  # what no relation reads is as before


def tables(folder: Path) -> list[list[tuple[Any, ...]]]:
    with sqlite3.connect(f"file:{folder / STORE_FILE}?mode=ro", uri=True) as db:
        return [db.execute(f"SELECT * FROM {name}").fetchall() for name in ("archs", "batches", "structures")]


SWEEP = ("sweep", "space=anynetx_d", "report=false", "top=1")


def test_samples_are_drawn_until_there_are_enough_architectures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SWEEP, "architectures=300", "out=whole"]) == 0
    said = capsys.readouterr().out
    assert ", 300 architectures; " in said
    assert "by construction: non_decreasing width (5.54 % of free draws)" in said
    archs, batches, _ = tables(tmp_path / "whole")
    assert len(archs) == 300
    assert batches[0][1] == max(row[1] for row in archs) + 1  # not one sample more
    assert main([*SWEEP, "architectures=40", "out=grown"]) == 0
    assert len(tables(tmp_path / "grown")[0]) == 40
    assert main([*SWEEP, "architectures=300", "out=grown"]) == 0
    assert tables(tmp_path / "grown") == tables(tmp_path / "whole")
    before = (tmp_path / "whole/archs.csv").read_bytes()
    assert main([*SWEEP, "architectures=300", "out=whole"]) == 0
    assert (
        (tmp_path / "whole/archs.csv").read_bytes() == before == (tmp_path / "grown/archs.csv").read_bytes()
    )


def test_why_there_are_too_few_architectures_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SWEEP, "architectures=300", "max_samples=2000", "out=few"]) == 1
    said = capsys.readouterr().out
    assert "of 300 architectures in 2,000 samples: 1 sample in" in said
    assert "% macs below 360,000,000" in said
    assert "raise max_samples=2000" in said
    monkeypatch.setattr(collection, "IDLE", 1)
    words = ["model=resnet20", "model.depths=[1,1,1],[2,1,1],[3,1,1]", "architectures=5"]
    assert main(["sweep", *words, "report=false", "out=three"]) == 1
    assert "3 of 5 architectures in 131,072 samples" in (said := capsys.readouterr().out)
    assert "the space seems to have no more" in said


def test_a_sweep_begun_before_relations_were_drawn_goes_on_as_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "space=anynetx_d", "report=false", "out=old"]
    assert main([*words, "samples=10"]) == 0
    with sqlite3.connect(tmp_path / "old" / STORE_FILE) as db:  # as an earlier version wrote it
        db.execute("DELETE FROM run WHERE key IN ('drawing', 'met', 'architectures')")
        db.execute("DELETE FROM archs")
        db.execute("DELETE FROM batches")
    capsys.readouterr()
    assert main([*words, "samples=2000"]) == 0
    said = capsys.readouterr().out
    assert "non_decreasing width" in said
    assert "by construction" not in said


@pytest.mark.slow
def test_any_number_of_processes_stores_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(collection, "BATCH", 4096)  # several batches; the draws stay whole
    words = [*SWEEP[:2], "report=false", "top=1", "model/attention=none,se", "samples=12000"]
    assert main([*words, "out=one"]) == 0
    assert main([*words, "out=two", "executor=processes", "executor.workers=2"]) == 0
    assert tables(tmp_path / "one") == tables(tmp_path / "two")
    enough = ["architectures=5000", "space.constraints.macs=null", "samples=1"]
    assert main([*words, *enough, "out=three"]) == 0
    assert main([*words, *enough, "out=four", "executor=processes", "executor.workers=3"]) == 0
    assert tables(tmp_path / "three") == tables(tmp_path / "four")
