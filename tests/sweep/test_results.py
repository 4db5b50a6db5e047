"""What a sweep says at its end: winners told apart, errors joined, failures told, files that compose."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.errors import ConfigError
from resnet_factory.sweep import figures
from resnet_factory.sweep.objectives import Objective, ObjectiveRankingOptions
from resnet_factory.sweep.page.architectures import page_table_of_architectures
from resnet_factory.sweep.results import read_ranked_results, write_results
from resnet_factory.sweep.results_table import load_results_table
from resnet_factory.sweep.store import StoredMeasurement, SweepStore

VIEWS: dict[str, Any] = {"by": "params", "top": 5, "pareto": (("params", "macs"),), "errors": None}
SMALL = (Objective("params", maximize=False), Objective("macs", maximize=False))
FOUR = ("model=resnet20", "model.depths=[1,1,1],[2,2,2]", "model/shortcut=none,zero_pad")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def swept(home: Path) -> Iterator[Callable[..., SweepStore]]:
    """Sweeps a whole grid, opens its results to write."""
    stores = []

    def sweep(*arguments: str) -> SweepStore:
        command = ["sweep", "sampler=grid", "samples=null", "report=false", "out=s", *arguments]
        assert main.main(command) == 0
        stores.append(SweepStore(home / "s", write=True))
        return stores[0]

    yield sweep
    for store in stores:
        store.close()


def concluded(store: SweepStore, *, page: bool = False, config_dir: Path | None = None, **views: Any) -> str:
    """What is printed at the end of a sweep."""
    out = io.StringIO()
    options = ObjectiveRankingOptions(**VIEWS | views)
    write_results(store, options, Console(file=out, width=1000), config_dir=config_dir, page=page)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def plans(store: SweepStore) -> list[str]:
    return [candidate.plan for candidate in store.candidates()]


def measured(
    store: SweepStore, metric: str, *rows: tuple[str, float | None, float | None, float | None, str]
) -> None:
    """One row for each of the first architectures: state, value, low, high, note."""
    for plan, (state, value, low, high, note) in zip(plans(store), rows, strict=False):
        store.add_measured([StoredMeasurement(plan, metric, state, value, low, high, note)])


def cells(text: str, start: str) -> list[list[str]]:
    """The table's header and rows."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("model "))
    return [re.split(r"  +", line) for line in lines[first:] if line.startswith(("model ", start))]


def test_winners_show_all_in_which_they_differ(home: Path, swept: Callable[..., SweepStore]) -> None:
    store = swept("model=resnet20", "model/attention=none,se", "model.act=relu,silu", "model.groups=1,2")
    text = concluded(store, by="macs")
    head, *rows = cells(text, "resnet20_")
    assert head[:6] == ["model", "MACs", "depths", "widths", "attention", "act"]
    assert {row[4] for row in rows} == {"none", "se"}
    assert len({tuple(row[2:]) for row in rows}) == len(rows) == 5
    # What all have in common is not shown.
    assert "act" not in cells(concluded(store, by="macs", top=1), "resnet20_")[0]


def test_keys_per_stage_are_dashed_together(home: Path, swept: Callable[..., SweepStore]) -> None:
    store = swept("model=resnet20", "model.groups.0=1,2", "model.groups.2=1,4")
    head, *rows = cells(concluded(store), "resnet20_")
    assert head[:5] == ["model", "params", "depths", "widths", "groups"]
    assert {row[4] for row in rows} == {"1-1-1", "2-1-1", "1-1-4", "2-1-4"}


def test_the_ranked_metric_comes_first_and_bytes_are_mebibytes(
    home: Path, swept: Callable[..., SweepStore]
) -> None:
    store = swept(*FOUR, "space.constraints.training_memory=[null,null]")
    head, *rows = cells(concluded(store, by="training_memory"), "resnet20_")
    assert head[:2] == ["model", "training_memory (MiB)"]
    exact = load_results_table(store).metrics["training_memory"]
    assert [row[1] for row in rows] == [f"{value / 2**20:.4g}" for value in sorted(exact)]
    with (home / "s/archs.csv").open() as file:
        assert all(row["training_memory"].isdigit() for row in csv.DictReader(file))


def test_spreads_are_kept_and_shown(home: Path, swept: Callable[..., SweepStore]) -> None:
    store = swept(*FOUR)
    measured(
        store, "latency", ("ok", 4.0, 3.5, 4.7, "here"), ("ok", 3.0, None, None, "here"),
        ("failed", None, None, None, "RuntimeError: no"),
    )  # fmt: skip
    measured(store, "synflow", ("ok", 1.0, None, None, "log10"))
    _, *rows = cells(concluded(store, by="latency"), "resnet20_")
    assert [row[1] for row in rows] == ["3", "4 ± 0.6"]
    with (home / "s/archs.csv").open() as file:
        found = {row["plan"]: row for row in csv.DictReader(file)}
    first, second, third, fourth = (found[plan] for plan in plans(store))
    assert (first["latency"], first["latency low"], first["latency high"]) == ("4.0", "3.5", "4.7")
    assert (second["latency low"], second["latency note"]) == ("", "here")
    assert (third["latency state"], third["latency note"]) == ("failed", "RuntimeError: no")
    assert fourth["latency state"] == fourth["synflow"] == ""
    assert "synflow low" not in first


def test_failures_are_told_with_the_commonest_reason(home: Path, swept: Callable[..., SweepStore]) -> None:
    store = swept(*FOUR)
    boom, late = "RuntimeError: boom [x]", "took more than 1 seconds"
    failed = [("failed", None, None, None, boom)] * 2
    measured(store, "latency", *failed, ("timeout", None, None, None, late), ("ok", 1.0, None, None, ""))
    measured(store, "zen", *[("not applicable", None, None, None, "no norms")] * 4)
    text = concluded(store)
    assert "latency: 2 failed, 1 timed out: RuntimeError: boom [x]" in text
    assert "nan" not in text
    assert "zen:" not in text
    page = concluded(store, page=True) and (home / "s/report.html").read_text()
    assert ">nan<" not in page
    assert "no winners: no architecture has zen" in concluded(store, by="zen")


def test_measuring_that_is_not_done_is_partial(home: Path, swept: Callable[..., SweepStore]) -> None:
    store = swept(*FOUR)
    store.connection.execute("UPDATE run SET value = ? WHERE key = 'metrics'", (json.dumps(["latency"]),))
    store.connection.execute("INSERT INTO run VALUES ('torch', 'torch 9.9')")
    assert "partial: latency measured of 0 of 4 architectures so far" in concluded(store)
    measured(store, "latency", *[("ok", 1.0, None, None, "")] * 3)
    assert "partial: latency measured of 3 of 4 architectures so far" in concluded(store, page=True)
    page = (home / "s/report.html").read_text()
    assert "Partial: latency measured of 3 of 4" in page
    assert "torch 9.9 ·" in page
    measured(store, "latency", *[("ok", 1.0, None, None, "")] * 4)
    assert "partial" not in concluded(store)


def test_errors_join_by_plan_whatever_the_first_row_says(
    home: Path, swept: Callable[..., SweepStore]
) -> None:
    store = swept(*FOUR)
    first, second, third, _ = plans(store)
    file = home / "errors.csv"
    file.write_text(
        f"plan,error,remark\n{first},n/a,a\n{second},0.25,b\n{third},0.125,c\nffffffffffff,0.1,d\n"
    )
    text = concluded(store, errors=str(file), by="error")
    assert "3 of 4 rows joined by plan: error; 1 match no plan of this sweep" in text
    assert [row[1] for row in cells(text, "resnet20_")[1:]] == ["0.125", "0.25"]
    # A copy of the sweep's own CSV with one more column joins that column only.
    with (home / "s/archs.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, [*rows[0], "accuracy"])
        writer.writeheader()
        writer.writerows(row | {"accuracy": 90 + i} for i, row in enumerate(rows))
    results = load_results_table(store, str(file))
    assert results.joined == ["accuracy", "error"]
    assert sorted(results.metrics["error"]) == [7, 8, 9, 10]


def joined(store: SweepStore, header: str, values: list[float]) -> str:
    """A CSV file with one column of values for the first architectures."""
    file = store.folder.parent / "mine.csv"
    rows = (f"{plan},{value!r}" for plan, value in zip(plans(store), values, strict=False))
    file.write_text("\n".join([f"plan,{header}", *rows]) + "\n")
    return str(file)


@pytest.mark.parametrize(
    ("by", "best"),
    [("top1_acc:max", 0.9), ("-top1_acc", 0.9), ("top1_acc:min", 0.1)],
)
def test_a_joined_column_ranks_in_the_direction_that_is_written(
    home: Path, swept: Callable[..., SweepStore], by: str, best: float
) -> None:
    store = swept(*FOUR)
    file = joined(store, "top1_acc", [0.5, 0.1, 0.9, 0.3])
    text = concluded(store, by=by, errors=file, top=1, pareto=[["params", "top1_acc:max"]], page=True)
    assert [row[1] for row in cells(text, "resnet20_")[1:]] == [f"{best:g}"]
    assert "more top1_acc" in (home / "s/figures/front_params_top1_acc.svg").read_text()
    assert load_results_table(store, file).front(SMALL[0], Objective("top1_acc", maximize=True)).size


def test_a_joined_column_without_a_direction_is_refused_with_both_forms(
    home: Path, swept: Callable[..., SweepStore], capsys: pytest.CaptureFixture[str]
) -> None:
    store = swept(*FOUR)
    file = joined(store, "top1_acc", [0.5, 0.1, 0.9, 0.3])
    for views in ({"by": "top1_acc"}, {"by": None, "pareto": [["params", "top1_acc"]]}):
        with pytest.raises(ConfigError, match=r"'top1_acc:max' where more is better, 'top1_acc:min'"):
            concluded(store, errors=file, **views)
    # Also before anything is sampled.
    capsys.readouterr()
    arguments = ["sweep", *FOUR, "out=new", f"errors={file}", "by=top1_acc"]
    assert main.main(arguments) == 2
    assert "'top1_acc:max'" in capsys.readouterr().err
    assert not (home / "new").exists()


def test_a_direction_turns_a_known_metric_too(home: Path, swept: Callable[..., SweepStore]) -> None:
    store = swept(*FOUR)
    most = [cells(concluded(store, by=by, top=1), "resnet20_")[1][1] for by in ("params:max", "-params")]
    assert most == [f"{max(load_results_table(store).metrics['params']):,.0f}"] * 2
    measured(store, "zen", *[("ok", value, None, None, "") for value in (1.0, 4.0, 2.0, 3.0)])
    found = [
        cells(concluded(store, by=by, top=1), "resnet20_")[1][1]
        for by in ("zen", "-zen", "zen:max", "zen:min")
    ]
    assert found == ["4", "4", "4", "1"]


def test_nothing_measured_is_overwritten(home: Path, swept: Callable[..., SweepStore]) -> None:
    store = swept(*FOUR)
    own = [(0.5 + i, 0.4 + i, 0.6 + i) for i in range(4)]
    measured(store, "error", *[("ok", *each, "trained") for each in own])
    results = load_results_table(store, joined(store, "accuracy", [90, 80, 70, 60]))
    assert results.joined == ["accuracy"]
    assert results.metrics["error"].tolist() == [0.5, 1.5, 2.5, 3.5]
    assert results.measured["error"].low.tolist() == [0.4, 1.4, 2.4, 3.4]
    for header in ("error", "params"):
        file = joined(store, header, [1, 2, 3, 4])
        with pytest.raises(ConfigError, match=f"rename the column, for example to 'my_{header}'"):
            load_results_table(store, file)
    # A copy that says what is known is no collision, but joins nothing by itself.
    with pytest.raises(ConfigError, match="no column with numbers"):
        load_results_table(store, joined(store, "error", [0.5, 1.5, 2.5, 3.5]))


def test_ranking_by_what_is_asked_for_holds_without_any_architecture(home: Path) -> None:
    arguments = ["sweep", *FOUR, "sampler=grid", "samples=null", "out=none", "report=false"]
    windows = ["space.constraints.params=[1,2]", "space.constraints.training_memory=[1,2]"]
    for by in ("error", "training_memory"):
        assert main.main([*arguments, *windows, "measure=[error]", f"by={by}"]) == 0


def test_no_winners_are_wanted_with_top_0(home: Path, swept: Callable[..., SweepStore]) -> None:
    store = swept(*FOUR)
    concluded(store, top=2)
    text = concluded(store, top=0)
    assert "no winners" not in text
    assert "4 architectures" in text
    assert not list((home / "s/winners/model").iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plan,error\nresnet20,0.5\nabc,0.25\n", "2 rows, none of them for one of the sweep's 4 plans"),
        ("name,error\na,0.5\n", "needs a column called 'plan'"),
        ("plan,error\nPLAN,n/a\n", "no column with numbers"),
    ],
)  # fmt: skip
def test_a_file_without_errors_is_an_error(
    home: Path, swept: Callable[..., SweepStore], text: str, message: str
) -> None:
    store = swept(*FOUR)
    (home / "errors.csv").write_text(text.replace("PLAN", plans(store)[0]))
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_results_table(store, str(home / "errors.csv"))


def test_a_winner_is_named_after_the_model_it_was_made_from(
    home: Path, swept: Callable[..., SweepStore]
) -> None:
    store = swept("model=resnet18,resnet50,resnext50_32x4d", "model.depths.0=1,2", "model.num_classes=7")
    text = concluded(store, top=6)
    files = sorted((home / "s/winners/model").iterdir())
    bases = [file.stem.rsplit("_", 1)[0] for file in files]
    assert bases == ["resnet18"] * 2 + ["resnet50"] * 2 + ["resnext50_32x4d"] * 2
    for file, base in zip(files, bases, strict=True):
        assert file.stem in text
        assert f"defaults: [{base}, _self_]" in file.read_text()
        assert len(file.read_text().splitlines()) <= 4
        assert rf.plan(rf.compose(file.stem, config_dir=home / "s/winners")).id == file.stem.rsplit("_", 1)[1]
    # Fewer winners leave none of the others behind.
    concluded(store, top=1)
    assert len(list((home / "s/winners/model").iterdir())) == 1


MINE = """\
# a user's own
defaults:
  - resnet50
  - override block: odd
  - override stem: deep
  - _self_
widths: [32, 64, 128, 256]
"""
ODD = """\
# a user's own block
defaults:
  - odder
  - _self_
out: width
"""
ODDER = """\
# what it starts from
out: 2 * width
body:
  - conv: {kernel: 5, stride: stride, to: out}
  - norm
post: [act]
"""


def test_winners_of_a_users_own_model_are_short_and_need_no_other_folder(
    home: Path, swept: Callable[..., SweepStore]
) -> None:
    (home / "conf/model/block").mkdir(parents=True)
    (home / "conf/model/mine.yaml").write_text(MINE)
    (home / "conf/model/block/odd.yaml").write_text(ODD)
    (home / "conf/model/block/odder.yaml").write_text(ODDER)
    store = swept("--config-dir", "conf", "model=mine", "model.depths=[1,1,1,1],[2,2,2,2]")
    concluded(store, config_dir=home / "conf")
    files = list((home / "s/winners/model").glob("mine_*.yaml"))
    assert len(files) == 2
    for file in files:
        assert "- resnet50\n- {override block: odd}\n" in file.read_text()
        assert len(file.read_text().splitlines()) < 10
        assert rf.plan(rf.compose(file.stem, config_dir=home / "s/winners")).id == file.stem.rsplit("_", 1)[1]


def test_choices_are_counted_not_averaged(home: Path, swept: Callable[..., SweepStore]) -> None:
    store = swept("model=resnet20", "model.act=silu,relu,gelu", "model.widths.0=range(8,25,8)")
    rows = "\n".join(f"{plan},{i}" for i, plan in enumerate(plans(store)))
    (home / "errors.csv").write_text(f"plan,error\n{rows}\n")
    results = load_results_table(store, str(home / "errors.csv"))
    assert results.choices["act"] == ["silu", "relu", "gelu"]
    figure = figures.best_ranges_figure(results, Objective("error", maximize=False), ["act", "widths.0"])
    shares = figure.axes[0]
    assert shares.get_title(loc="left") == "act"
    assert [label.get_text() for label in shares.get_yticklabels()] == ["silu", "relu", "gelu"]


def test_counts_are_whole_and_wide_axes_logarithmic(home: Path, swept: Callable[..., SweepStore]) -> None:
    store = swept(*FOUR)
    results = load_results_table(store)
    for axes in figures.metric_histograms_figure(results, ["params", "macs"]).axes:
        assert all(float(tick).is_integer() for tick in axes.get_yticks())
        assert axes.yaxis.get_major_formatter()(0.8) == "1"
    results.metrics["params"] = np.array([1e3, 2e3, 4e3, 5e4])
    results.metrics["macs"] = np.array([5e6, 4e6, 3e6, 2e6])
    picked = figures.pareto_figure_picks(results, *SMALL, 8)
    assert picked == [0, 1, 2, 3]
    axes = figures.pareto_figure(results, *SMALL, picked).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert [text.get_text() for text in axes.texts] == ["1", "2", "3", "4"]
    # Numbers that would touch are left out.
    results.metrics["params"][1] = 1001
    results.metrics["macs"][1] = 4.999e6
    assert figures.pareto_figure_picks(results, *SMALL, 8) == [0, 2, 3]


@pytest.mark.parametrize(
    ("generator", "varied", "depths"),
    [
        ("{cifar: {depth: 20}}", "model.generator.cifar.depth=20,32", {"3-3-3", "5-5-5"}),
        (
            "{scaled: {depths: [1, 2], widths: [16, 32]}}",
            "model.generator.scaled.depth=1.0,1.5",
            {"1-2", "2-3"},
        ),
        ("{scaled: {depths: [1, 2], widths: [16, 32]}}", "model.act=relu,silu", {"1-2"}),
    ],
)
def test_depths_of_a_generator(home: Path, generator: str, varied: str, depths: set[str]) -> None:
    (home / "model").mkdir()
    lines = ["defaults: [resnet20, _self_]", "depths: null", f"generator: {generator}"]
    if "scaled" in generator:
        lines += ["widths: null", "strides: [1, 2]"]
    (home / "model" / "own.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ["model=own", varied, "report=false", "out=runs", "samples=40", "--config-dir", "."]
    assert main.main(["sweep", *words]) == 0
    key, _, values = varied.partition("=")
    key, _, values = varied.partition("=")
    rows = list(csv.DictReader((home / "runs" / "archs.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["plan"] for row in rows} == {
        rf.plan(rf.compose("own", f"{key}={value}", config_dir=home)).id for value in values.split(",")
    }
    for file in (home / "runs" / "winners" / "model").glob("*.yaml"):
        made = rf.compose(file.stem, config_dir=home / "runs" / "winners")
        assert "-".join(map(str, made.depths)) in depths
    with SweepStore(home / "runs", write=False) as store:
        results, ranking = read_ranked_results(store, ObjectiveRankingOptions(**VIEWS))
        table = page_table_of_architectures(
            results, store.structures(), store.run(), ranking, np.arange(len(results)), home
        )
    assert set(table.texts["depths"]) == depths
