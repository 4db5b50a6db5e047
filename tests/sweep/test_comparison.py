"""Comparisons of sweeps: intervals of medians against drawing, rows of several in one table, the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_factory.cli import main
from resnet_factory.sweep.analysis import median_interval
from resnet_factory.sweep.comparison import join_compared_tables
from resnet_factory.sweep.page.columns import PageColumn, PageColumnTable
from resnet_factory.sweep.sweep_comparison import short_names


@pytest.mark.parametrize("size", [1, 2, 7, 40, 301])
def test_the_interval_of_a_median_is_the_bootstraps(size: int) -> None:
    random = np.random.default_rng(size)
    values = random.lognormal(size=size)
    median, low, high, _ = median_interval(values)
    # Drawn with replacement; of an even number the lower of the middle two.
    drawn = np.sort(random.choice(values, (20_000, size)), axis=1)[:, (size + 1) // 2 - 1]
    assert median == np.median(values)
    ordered = np.sort(values).tolist()
    for found, share in ((low, 0.025), (high, 0.975)):
        near = ordered.index(float(np.quantile(drawn, share, method="inverted_cdf")))
        assert abs(ordered.index(found) - near) <= 1


def small(names: list[str], values: list[float], **more: Any) -> PageColumnTable:
    columns = {
        "params": PageColumn(label="parameters", values=np.array(values, float), maximize=False),
        "kind": PageColumn(label="kind", values=np.arange(len(names), dtype=float), names=names),
    }
    columns |= more
    rows = len(values)
    texts = {"plan": [f"p{i}" for i in range(rows)]}
    return PageColumnTable(
        columns=columns, texts=texts, recipe=[0] * (rows - 1) + [-1], recipes=[{"base": names[0]}],
        axes=("params", "params"), colour="params",
    )  # fmt: skip


def test_rows_of_several_sweeps_keep_their_choices_recipes_and_gaps() -> None:
    width = PageColumn(label="width", values=np.array([8.0, 16.0]))
    joined = join_compared_tables(
        {"a": small(["se", "none"], [1, 2]), "b": small(["none", "eca"], [3, 4], width=width)}
    )
    assert joined.group == joined.colour == "sweep"
    kind, sweep = joined.columns["kind"], joined.columns["sweep"]
    assert [kind.names[int(code)] for code in kind.values] == ["se", "none", "none", "eca"]  # type: ignore[index]
    assert [sweep.names[int(code)] for code in sweep.values] == ["a", "a", "b", "b"]  # type: ignore[index]
    assert joined.recipe == [0, -1, 1, -1]
    assert [recipe["base"] for recipe in joined.recipes] == ["se", "none"]
    assert np.array_equal(joined.columns["width"].values, [np.nan, np.nan, 8, 16], equal_nan=True)
    assert list(joined.columns["params"].values) == [1, 2, 3, 4]


def test_folders_are_named_as_shortly_as_tells_them_apart() -> None:
    assert short_names([Path("/x/a"), Path("/y/b")]) == ["a", "b"]
    assert short_names([Path("/x/a"), Path("/y/a")]) == ["x/a", "y/a"]


@pytest.mark.slow
def test_two_sweeps_are_one_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "model=resnet20", "model.image_size=8", "report=false", "sampler=grid", "samples=null"]
    assert main.main([*words, "model.depths.0=1,2,3", "out=one"]) == 0
    assert main.main([*words, "model.widths.2=64,96", "out=two", "model.depths.1=1,2"]) == 0
    assert main.main(["report", "one", "two", "out=both"]) == 0
    page = (tmp_path / "both/report.html").read_text()
    for part in ("Comparison of one, two", "n = 3", "n = 4", "percentile bootstrap"):
        assert part in page, part
    assert main.main(["report", "one", "two"]) == 0
    assert len(list((tmp_path / "runs").glob("comparison-*/report.html"))) == 1
    capsys.readouterr()
    for refused, message in (
        (["one", "two", "out=one"], "holds a sweep, whose own report"),
        (["one", "nowhere"], "holds no sweep"),
        (["one", "./one"], "two of the folders are the same"),
        (["one", "out=x"], "a sweep's report is in its own folder"),
        (["one", "two", "by=zen"], "unknown metric 'zen'"),
    ):
        assert main.main(["report", *refused]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "one/report.html").exists()
