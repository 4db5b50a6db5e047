"""Sweeps in Python: what the command does, from a program; searches, merged and compared sweeps."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sweep_processes import rows_of

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.sweep.csv_table import write_csv
from resnet_factory.sweep.store import SweepStore

SPACE = """\
# @package _global_
# a space for tests
defaults:
  - override /model: resnet20
  - _self_
model: {in_channels: 1, image_size: 8, strides: 2, shortcut: none}
space:
  vary:
    depths: {range: [1, 3], each: stage}
    widths: {log: [8, 64], step: 8, each: stage}
    stem: {width: {range: [2, 4]}}
    act: {choice: [relu, silu]}
  relations: [non_decreasing: widths]
  constraints: {macs: [null, 3e5]}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "tiny.yaml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tiny(out: str, *overrides: str) -> rf.Sweep:
    return rf.run_sweep("tiny", *overrides, out=out, config_dir="conf")


def write_table(folder: str) -> None:
    with SweepStore(Path(folder), write=False) as store:
        write_csv(store)


def test_a_program_sweeps_as_the_command_does(home: Path) -> None:
    words = ("architectures=40", "measure=[synflow]", "measuring.batch=2")
    sweep = tiny("here", *words)
    line = ["sweep", "space=tiny", *words, "out=there", "report=false", "--config-dir", "conf"]
    assert main.main(line) == 0
    for table in ("archs", "metrics", "batches", "structures"):
        assert rows_of(home / "here", table) == rows_of(home / "there", table)
    assert (sweep.space, len(sweep)) == ("tiny", 40)
    line[line.index("out=there")] = "out=here"
    assert main.main(line) == 0  # each goes on with the other's
    assert rf.open_sweep("there").overrides == ("space=tiny", *words)


def test_every_architecture_is_what_its_config_plans_and_costs(home: Path) -> None:
    sweep = tiny("runs", "samples=300")
    found = list(sweep)
    assert len(found) == len(sweep) > 20
    for one in found:
        assert rf.plan(one.config).id == one.id == one.plan.id
        cost = rf.cost(one.config)
        assert one.numbers["params"] == cost.params
        assert one.numbers["macs"] == cost.macs <= 3e5
        assert [len(stage.blocks) for stage in one.plan.stages] == list(one.depths)
        assert [one.values[f"depths.{i}"] for i in range(3)] == list(one.depths)
        assert [one.values[f"widths.{i}"] for i in range(3)] == list(one.widths) == sorted(one.widths)
        assert one.numbers["total_depth"] == sum(one.depths)
        assert sweep[one.id] == one
        assert sweep[one.id].numbers == one.numbers
    assert [one.sample for one in found] == sorted(one.sample for one in found)
    assert len({*found}) == len(found)
    assert found[0].id in sweep
    assert "nothing" not in sweep
    with pytest.raises(KeyError, match="nothing"):
        sweep["nothing"]


def test_a_frame_is_what_pandas_reads_of_the_table(home: Path) -> None:
    pandas = pytest.importorskip("pandas")
    sweep = tiny("runs", "architectures=30", "measure=[synflow]", "measuring.batch=2")
    sweep.tell(next(iter(sweep)), {"top1": 90.5})
    write_table("runs")
    read = pandas.read_csv("runs/archs.csv")
    frame = sweep.frame()
    assert len(frame) == 30
    assert frame["top1"].notna().sum() == 1
    pandas.testing.assert_frame_equal(
        frame.replace("", np.nan).fillna(np.nan), read, check_dtype=False, check_exact=False, rtol=1e-14
    )


def test_a_larger_sweep_goes_on_with_the_smaller(home: Path) -> None:
    sweep = tiny("grown", "architectures=10")
    sweep.resume("architectures=60")
    tiny("whole", "architectures=60")
    assert len(sweep) == 60
    assert rows_of(home / "grown", "archs") == rows_of(home / "whole", "archs")
    assert sweep.overrides == ("space=tiny", "architectures=60")
    with pytest.raises(rf.ConfigError, match="holds another sweep"):
        sweep.resume("seed=1")


def test_the_foremost_are_those_of_every_number(home: Path) -> None:
    sweep = tiny("runs", "samples=400")
    numbers = {one.id: one.numbers for one in sweep}
    inside = [id for id, own in numbers.items() if own["params"] < 40_000]
    best = sweep.best("activations:max", top=5, where="params < 40e3")
    assert len(best) == 5
    most = sorted((numbers[id]["activations"] for id in inside), reverse=True)[:5]
    assert [one.numbers["activations"] for one in best] == most
    pairs = {id: (own["params"], own["macs"]) for id, own in numbers.items()}
    front = {
        own
        for own in pairs.values()
        if not any(a <= own[0] and b <= own[1] and (a, b) != own for a, b in pairs.values())
    }
    found = [(one.numbers["params"], one.numbers["macs"]) for one in sweep.front("params", "macs")]
    assert {*found} == front
    assert found == sorted(found)
    with pytest.raises(rf.ConfigError, match=r"unknown metric 'flopz'"):
        sweep.best("flopz")
    for wrong in (0, -1, 2.5, "3"):
        with pytest.raises(rf.ConfigError, match=f"top: expected a whole number from 1, found {wrong!r}"):
            sweep.best("macs", top=wrong)  # type: ignore[arg-type]


def test_metrics_are_measured_and_told_afterwards(home: Path) -> None:
    sweep = tiny("runs", "architectures=12", "measuring.batch=2")
    sweep.measure("synflow")
    ids = [one.id for one in sweep]
    sweep.add_metric("top1", {id: float(i) for i, id in enumerate(ids)})
    assert sweep.tell(ids[0], {"top1": 50, "flips": None}, note="diverged").numbers["top1"] == 50
    assert sweep[ids[0]].measurements["flips"].note == "diverged"
    assert "flips" not in sweep[ids[0]].numbers
    assert sweep.metrics == ["flips", "synflow", "top1"]
    assert [one.id for one in sweep.best("top1:max", top=2)] == [ids[0], ids[-1]]
    for one in sweep:
        sweep.tell(one, {"depth": one.numbers["total_depth"]})  # while it is read
    assert all(one.numbers["depth"] == sum(one.depths) for one in sweep)
    sweep.measure("zen", "synflow")
    assert all(math.isfinite(one.numbers["zen"]) for one in sweep)
    assert main.main(["report", "runs", "by=top1:max", "top=1", "pareto=[]"]) == 0
    (winner,) = (home / "runs/winners/model").iterdir()
    assert winner.read_text().startswith("# best by top1:max, rank 1;")
    assert rf.plan(rf.compose(winner.stem, config_dir="runs/winners")).id == ids[0]


def test_the_page_is_written_when_it_is_asked_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:  # packages of the page are needed by nothing else
        without.setattr("resnet_factory.sweep.options.find_spec", lambda name: None)
        sweep = tiny("runs", "samples=60", "by=activations:max", "top=2")
        sweep.resume("samples=80")
        search("search")
        with pytest.raises(rf.ConfigError, match="report: needs Bokeh and matplotlib and SciPy"):
            sweep.report()
    assert not (home / "runs/report.html").exists()
    assert "lowest params" in sweep.report("by=params").read_text()
    assert "highest activations" in sweep.report().read_text()
    assert len([*(home / "runs/winners/model").iterdir()]) == 2
    with pytest.raises(rf.ConfigError, match=r"report=true': the page is written by report\(\)"):
        tiny("runs", "report=true")


def test_wrong_numbers_are_refused_together_and_nothing_is_stored(home: Path) -> None:
    sweep = tiny("runs", "architectures=3", "measure=[synflow]", "measuring.batch=2")
    first, second, _ = sweep
    before = rows_of(home / "runs", "metrics")
    with pytest.raises(rf.ConfigError) as caught:
        sweep.add_metric("synflow", {first.id: 1.0, "other": 2.0, second.id: math.nan})
    assert str(caught.value).splitlines() == [
        f"add_metric(): synflow of {first.id} was measured by the sweep, whose results are not replaced: "
        "use another name",
        "add_metric(): 'runs' has no architecture 'other'",
        f"add_metric(): synflow of {second.id} is a number, or None where it has no value; found nan",
    ]
    with pytest.raises(rf.ConfigError) as caught:
        sweep.tell(first, {"macs": 1, "depths2": 1, "stem_width": 2, "my metric": 3, "fine": 4})
    assert [line.split(";")[0] for line in str(caught.value).splitlines()] == [
        "tell(): 'macs' is already a number of every architecture",
        "tell(): 'depths2' is already a number of every architecture",
        "tell(): 'stem_width' is already a number of every architecture",
        "tell(): 'my metric' cannot be the name of a metric: letters, digits and _ only, no digit first",
    ]
    assert rows_of(home / "runs", "metrics") == before
    with pytest.raises(rf.ConfigError, match="holds no sweep"):
        rf.open_sweep("nowhere")
    with pytest.raises(TypeError, match=r"^run_sweep\(\) takes the name of a space.*found 5$"):
        rf.run_sweep(5)  # type: ignore[arg-type]


# Merged and compared --------------------------------------------------------------------------------


def test_merged_sweeps_have_what_each_of_them_has(home: Path) -> None:
    few = "space.vary.depths.range=[1,1]"
    first = tiny("first", few, "architectures=60", "measure=[synflow]", "measuring.batch=2", "seed=0")
    second = tiny("second", few, "architectures=50", "measuring.batch=2", "seed=1")
    both = {one.id for one in first} & {one.id for one in second}
    assert both  # some are in both
    second.measure("zen")
    second.tell(one := next(one for one in second if one.id not in both), {"top1": 1.0})
    merged = rf.merge_sweeps(first, "second", out="merged")
    known = {one.id: one for one in second} | {one.id: one for one in first}
    assert {one.id for one in merged} == known.keys()
    for each in merged:
        assert (each.config, each.values) == (known[each.id].config, known[each.id].values)
        own = [sweep[each.id].numbers for sweep in (second, first) if each.id in sweep]
        assert each.numbers == {**own[0], **own[-1]}
    assert merged[one.id].numbers["top1"] == 1.0
    assert [each.id for each in merged][: len(first)] == [each.id for each in first]
    merged.measure("synflow")  # what lacked it
    assert all("synflow" in each.numbers for each in merged)
    assert {each.id: each.numbers["synflow"] for each in first}.items() <= {
        each.id: each.numbers["synflow"] for each in merged
    }.items()
    assert len(merged) == len(known)
    with pytest.raises(
        rf.ConfigError,
        match=r"'architectures' is not allowed here: a search or a merged sweep draws no samples",
    ):
        merged.resume("architectures=500")
    assert main.main(["report", "merged", "by=zen"]) == 0
    third = rf.merge_sweeps(merged, tiny("third", few, "samples=50", "seed=2"), out="again")
    assert {each.id for each in third} >= known.keys()


def test_sweeps_that_differ_are_not_merged(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny("first", "samples=20", "measure=[synflow]", "measuring.seeds=1")
    tiny("larger", "samples=20", "input.size=16")
    tiny("other", "samples=20", "measure=[synflow]", "measuring.seeds=2")
    rf.run_sweep("digits", "samples=20", out="digits")
    with pytest.raises(rf.ConfigError) as caught:
        rf.merge_sweeps("first", "larger", "other", "digits", out="merged")
    assert str(caught.value).splitlines() == [
        "merge_sweeps(): 'larger' has another image size than 'first'; rf.compare_sweeps compares them",
        "merge_sweeps(): 'other' has synflow measured under other conditions than 'first'; results are never "
        "mixed",
        "merge_sweeps(): 'digits' has another space than 'first'; rf.compare_sweeps compares them",
    ]
    with pytest.raises(rf.ConfigError, match="'first' is there already"):
        rf.merge_sweeps("first", "first", out="first")
    assert sorted(path.name for path in home.iterdir()) == ["conf", "digits", "first", "larger", "other"]
    rf.merge_sweeps("first", "first", out="merged")
    line = ["sweep", "space=tiny", "samples=20", "out=merged", "--config-dir", "conf"]
    assert main.main(line) == 2
    assert "holds another sweep (with another sampler" in capsys.readouterr().err


def test_a_merge_that_fails_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny("first", "samples=20")
    monkeypatch.setattr("resnet_factory.sweep.store.SweepStore.add_batch", None)
    with pytest.raises(TypeError):
        rf.merge_sweeps("first", "first", out="merged")
    assert sorted(path.name for path in home.iterdir()) == ["conf", "first"]


def test_compared_sweeps_have_medians_and_a_page(home: Path) -> None:
    small = tiny("small", "samples=300")
    large = rf.run_sweep("digits", "samples=300", out="large")
    comparison = rf.compare_sweeps(small, "large")
    assert comparison.names == ["small", "large"]
    for name, sweep in (("small", small), ("large", large)):
        values = [one.numbers["params"] for one in sweep]
        found = comparison.medians()["params"][name]
        assert (found.median, found.values) == (np.median(values), len(values))
        assert found.low <= found.median <= found.high
    page = comparison.report("page")
    assert "small" in page.read_text()
    if (pandas := sys.modules.get("pandas")) is not None:
        assert isinstance(frame := comparison.frame(), pandas.DataFrame)
        assert frame["sweep"].value_counts().to_dict() == {"small": len(small), "large": len(large)}
    with pytest.raises(rf.ConfigError, match="two of the folders are the same"):
        rf.compare_sweeps(small, "small")


# Ask and tell ---------------------------------------------------------------------------------------


VALUES = {
    "depths.0": 1, "depths.1": 2, "depths.2": 1, "widths.0": 8, "widths.1": 8, "widths.2": 16,
    "stem.width": 3, "act": "silu",
}  # fmt: skip


def search(out: str = "search", *overrides: str) -> rf.Search:
    return rf.open_search("tiny", *overrides, out=out, config_dir="conf")


def test_what_is_asked_for_is_what_the_values_say(home: Path) -> None:
    asked = search().ask(VALUES | {"widths.2": 18.3, "stem.width": np.int64(3)})
    expected = rf.compose(
        "resnet20", "model.in_channels=1", "model.image_size=8", "model.strides=2", "model.shortcut=none",
        "model.depths=[1,2,1]", "model.widths=[8,8,16]", "model.stem.width=3", "model.act=silu",
    )  # fmt: skip
    assert asked.id == rf.plan(expected).id
    assert asked.numbers["macs"] == rf.cost(expected).macs
    assert asked.values == VALUES


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"widths.0": 16}, "non_decreasing widths"),
        ({"widths.1": 64, "widths.2": 64}, "macs above 300,000"),
    ],
)
def test_what_the_space_excludes_is_rejected(home: Path, changes: dict[str, int], reason: str) -> None:
    with pytest.raises(rf.RejectedProposal) as caught:
        search().ask(VALUES | changes)
    assert caught.value.reason == reason
    assert len(rf.open_sweep("search")) == 0


def test_what_cannot_be_planned_is_rejected_with_its_reason(home: Path) -> None:
    asking = rf.open_search(None, "model=resnet20", "model.groups=1,7", out="search")
    assert asking.ask({"groups": 1}).numbers["params"] == rf.cost("resnet20").params
    with pytest.raises(rf.RejectedProposal, match="16 input channels are not divisible by 7 groups"):
        asking.ask({"groups": 7})


def test_wrong_values_are_told_together(home: Path) -> None:
    wrong = VALUES | {"depths.0": 9, "act": "rellu", "widths.1": "wide", "depth": 1}
    del wrong["stem.width"]
    with pytest.raises(rf.ConfigError) as caught:
        search().ask(wrong)
    lines = str(caught.value).splitlines()
    assert "did you mean 'depths.2', 'depths.1' or 'depths.0'?" in lines[0]
    assert lines[1:] == [
        "ask(): depths.0: expected a number from 1 to 3, found 9",
        "ask(): widths.1: expected a number from 8 to 64, found 'wide'",
        "ask(): no value for 'stem.width'",
        'ask(): act: expected "relu" or "silu", found \'rellu\'',
    ]
    with pytest.raises(
        rf.ConfigError, match="'samples' is not allowed here: the architectures of a search are asked for"
    ):
        search("other", "samples=5")


def test_a_search_remembers_when_it_is_opened_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = search().ask(VALUES)
    assert search().tell(one, {"error": 3.5}).numbers["error"] == 3.5
    again = search().ask(VALUES)
    assert (again.id, again.numbers["error"]) == (one.id, 3.5)
    assert len(search()) == 1
    search().measure("synflow", overrides=["measuring.batch=2"])
    assert "synflow" in search()[one.id].numbers
    assert main.main(["report", "search", "by=error", "pareto=[]"]) == 0
    assert "best by error" in capsys.readouterr().out
    assert main.main(["sweep", "space=tiny", "out=search", "--config-dir", "conf"]) == 2
    assert "holds another sweep (with another sampler" in capsys.readouterr().err
    with pytest.raises(rf.ConfigError, match="holds another sweep"):
        search("search", "seed=1")


def test_draws_of_a_search_are_those_of_a_sweep(home: Path) -> None:
    """However often it is opened, and the same with the seed."""
    sweep = tiny("sweep", "architectures=25", "seed=3")
    asked = [search("search", "seed=3").ask() for _ in range(3)]
    asking = search("search", "seed=3")
    asked += [asking.ask() for _ in range(22)]
    assert [(one.id, one.sample) for one in asked] == [(one.id, one.sample) for one in sweep]
    assert [one.id for one in asking] == [one.id for one in sweep]


def test_a_space_that_is_used_up_is_told(home: Path) -> None:
    asking = rf.open_search(None, "model=resnet20", "model.groups=1,2", out="search")
    assert asking.ask() != asking.ask()
    with pytest.raises(rf.ConfigError, match="none of 16,384 samples is a new architecture"):
        asking.ask()


def test_constraints_on_what_is_told_decide(home: Path) -> None:
    asking = search("search", "space.constraints.latency=[null,5]")
    slow, fast = asking.ask(VALUES), asking.ask(VALUES | {"depths.0": 2})
    asking.tell(slow, {"latency": 9, "error": 1})
    asking.tell(fast, {"latency": 4, "error": 2})
    assert asking.best("error") == [fast]


ASKING = """\
import sys
import resnet_factory as rf
search = rf.open_search("tiny", out="search", config_dir="conf")
for _ in range(int(sys.argv[1])):
    one = search.ask()
    search.tell(one, {"error": one.numbers["params"]})
    print(one.id)
"""


def test_threads_and_processes_share_a_search(home: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", ASKING, "15"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    asking = search()
    with ThreadPoolExecutor(3) as pool:
        ids = [one.id for one in pool.map(lambda _: asking.ask(), range(15))]
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        ids += out.split()
    assert len(ids) == len({*ids}) == 45
    sweep = tiny("sweep", "architectures=45")
    assert [one.id for one in asking] == [one.id for one in sweep]
    told = [one for one in asking if "error" in one.numbers]
    assert len(told) == 30
    assert all(one.numbers["error"] == one.numbers["params"] for one in told)
    assert sum(stop - start for start, stop, _ in rows_of(home / "search", "batches")) == sweep_samples(home)


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on(home: Path) -> None:
    """At any moment: it ends with the architectures of one that was left alone."""
    chance, kills = random.Random(0), 0
    search()
    while kills < 3 or len(rows_of(home / "search", "archs")) < 40:
        process = subprocess.Popen([sys.executable, "-c", ASKING, "1000"], stdout=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.7, 2.5))
        process.kill()
        kills += process.wait() < 0
    asked = [*rf.open_sweep("search")]
    sweep = [*tiny("sweep", f"architectures={len(asked)}")]
    assert [(one.id, one.sample) for one in asked] == [(one.id, one.sample) for one in sweep]
    untold = [one for one in asked if "error" not in one.numbers]
    assert len(untold) <= kills
    assert all(one.numbers["error"] == one.numbers["params"] for one in asked if one not in untold)


def sweep_samples(home: Path) -> int:
    return sum(stop - start for start, stop, _ in rows_of(home / "sweep", "batches"))
