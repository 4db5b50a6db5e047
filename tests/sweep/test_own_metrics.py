"""Metrics of one's own, conditions on what is measured, steps of measuring, and the closing lines."""

from __future__ import annotations

import csv
import json
import math
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plan_metrics
import pytest

import resnet_factory as rf
from resnet_factory.cli.main import main
from resnet_factory.sweep import own_metrics
from resnet_factory.sweep.store import STORE_FILE, SweepStore


@pytest.fixture(autouse=True)
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own_metrics, "REGISTERED", {})
    rf.register_metric("odd", plan_metrics.odd, needs="plan", direction="max", unit="of 97")
    rf.register_metric("weight", "plan_metrics:weight", needs="plan")
    rf.register_metric("late", plan_metrics.late, needs="plan", quality=True)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def command(*words: str) -> tuple[int, str, str]:
        code = main([*words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


GRID = (
    "sweep", "model=resnet20", "model.depths=[1,1,1],[2,1,1],[1,2,1],[1,1,2],[2,2,2]",
    "model.stem.width=4,8,16", "model.widths=[4,8,16],[8,16,32]", "model/shortcut=projection",
    "sampler=grid", "samples=null", "report=false",
)  # fmt: skip


def rows(folder: str) -> list[dict[str, str]]:
    with Path(folder, "archs.csv").open() as file:
        return list(csv.DictReader(file))


def measured(folder: str, metric: str) -> dict[str, float]:
    return {row["plan"]: float(row[metric]) for row in rows(folder) if row.get(metric)}


def test_a_metric_is_measured_ranked_and_stored(run: Callable[..., tuple[int, str, str]]) -> None:
    code, said, err = run(*GRID, "measure=[odd,weight]", "by=odd", "top=2", "out=s")
    assert code == 0, err
    found = rows("s")
    assert len(found) == 30
    for row in found:
        params = int(row["params"])
        assert row["odd"] == (str(float(params % 97)) if params % 97 else "")
        assert row["odd state"] == ("ok" if params % 97 else "not applicable")
        assert math.isclose(float(row["weight"]), math.log(params))
        assert int(row["total_depth"]) == sum(json.loads(row["depths"]))
    most = max(int(row["params"]) % 97 for row in found)
    closing = said[said.index("asked:") :].splitlines()
    assert closing[0] == "asked: highest odd"
    assert f"odd {most}, params" in closing[1]
    assert "not ranked by quality" in closing[1]
    assert "best" not in said
    record = SweepStore(Path("s"), write=False).run()
    assert json.loads(record["own_metrics"])["odd"]["direction"] == "max"
    own_metrics.REGISTERED.clear()  # a report needs no function
    code, said, err = run("report", "s", "by=odd", "top=1")
    assert code == 0, err
    assert "asked: highest odd" in said


@pytest.mark.slow
def test_processes_measure_the_same(run: Callable[..., tuple[int, str, str]], monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
    words = [*GRID, "measure=[late]"]
    one, two = (run(*words, "out=a"), run(*words, "out=b", "executor=processes", "executor.workers=2"))
    assert one[0] == two[0] == 1
    assert "late: " in one[1]
    assert "RuntimeError: too large for this metric" in one[1]
    key = ("plan", "late", "late state", "late note")
    assert [[row[k] for k in key] for row in rows("a")] == [[row[k] for k in key] for row in rows("b")]
    assert "best by" not in one[1]
    code, said, _ = run("report", "a", "by=late", "top=1")
    assert code == 1  # some failed
    assert "asked: best by late" in said
    rf.register_metric("local", lambda plan, image: 1, needs="plan")
    code, _, err = run(*GRID, "measure=[local]", "out=c", "executor=processes")
    assert code == 2
    assert "'local' is known only in this process; give it an entry point" in err
    assert run(*GRID, "measure=[local]", "out=c")[0] == 0


def test_each_step_measures_the_survivors_of_the_one_before(run: Callable[..., tuple[int, str, str]]) -> None:
    steps = "measure=[[weight],{metrics:[odd],where:'total_depth >= 4'},{metrics:[late],top:3,by:odd}]"
    words = [*GRID, steps, "space.constraints.weight=[null,9.3]", "by=late", "top=1"]
    code, said, err = run(*words, "out=s")
    assert code in (0, 1), err
    every = rows("s")
    first = {row["plan"] for row in every if math.log(int(row["params"])) <= 9.3}
    second = {row["plan"] for row in every if row["plan"] in first and int(row["total_depth"]) >= 4}
    ranked = sorted(second, key=lambda plan: -measured("s", "odd").get(plan, -1))
    third = set(ranked[:3])
    assert 3 < len(second) < len(first) < 30
    asked = {m: {row["plan"] for row in every if row.get(f"{m} state")} for m in ("weight", "odd", "late")}
    assert asked == {"weight": {row["plan"] for row in every}, "odd": second, "late": third}
    assert f"on odd of {len(second)}; " in said
    assert "s on late of 3; " in said
    assert "partial" not in said
    values = measured("s", "late")
    winner = min(values, key=values.__getitem__)
    assert f"resnet20_{winner}: late {values[winner]:,.0f}" in said
    assert "where weight <= 9.3" in said
    before = Path("s/archs.csv").read_bytes()
    assert run(*words, "out=s")[0] == code
    assert Path("s/archs.csv").read_bytes() == before
    with sqlite3.connect(Path("s", STORE_FILE)) as db:  # as if it had been killed
        db.execute("DELETE FROM metrics WHERE metric != 'weight' OR plan > '8'")
    run(*words, "out=s")
    assert Path("s/archs.csv").read_bytes() == before


def test_a_condition_leaves_out_winners_and_fronts(run: Callable[..., tuple[int, str, str]]) -> None:
    words = [*GRID, "measure=[weight]", "by=macs", "top=1", "out=s"]
    code, said, err = run(*words, "where=weight > 9 and total_depth != 3 and widths1 == 8")
    assert code == 0, err
    good = [row for row in rows("s") if float(row["weight"] or 0) > 9 and row["total_depth"] != "3"]
    good = [row for row in good if json.loads(row["widths"])[0] == 8]
    least = min(good, key=lambda row: int(row["macs"]))
    assert f"resnet20_{least['plan']}: macs" in said
    assert f"{len(good)} of {len(good)} of 30 satisfy" in said or f"{len(good)} of 30 satisfy" in said
    assert "where weight > 9 and total_depth != 3 and widths1 == 8" in said
    code, said, _ = run("report", "s", "by=-weight", "top=1", "where=macs < 1")
    assert "no winners" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["where=wieght < 3", "measure=[weight]"], "unknown name in 'wieght < 3', 'wieght'.*'weight'"),
        (["where=weight <", "measure=[weight]"], "not arithmetic"),
        (["measure=[wieght]"], "unknown metric 'wieght'.*did you mean 'weight'"),
        (["space.constraints.weight=[null,3]"], "'weight' is not measured; measure=\\[weight\\] measures it"),
        (["measure=[{metrics:[odd],top:3}]"], "a step with 'top' needs 'by'"),
        (["measure=[{metrics:[odd],top:0,by:macs}]"], "expected a whole number above 0, found 0"),
        (["measure=[{metrics:[odd],by:weight,top:3}]"], "unknown metric 'weight'"),
        (["measure=[{metrics:[odd],wher:3}]"], "did you mean 'where'"),
        (["measure=[{top:3,by:macs}]"], "a step has metrics"),
        (["by=total_depth"], "'total_depth' has no direction of its own"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    words: list[str], message: str, run: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, err = run(*GRID, *words, "out=s")
    assert code == 2
    assert re.search(message, err.replace("\n", " ")), err
    assert not Path("s").exists()


def test_what_cannot_be_registered_is_refused() -> None:
    for name, message in (
        ("params", "a metric already"), ("total_depth", "a metric already"), ("depths3", "a metric already"),
        ("1st", "letters, digits"), ("odd", "is registered already"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"register_metric\(\): .*{message}"):
            rf.register_metric(name, plan_metrics.weight, needs="plan")
    rf.register_metric("odd", plan_metrics.odd, needs="plan", direction="max", unit="of 97")  # the same again
    for bad in ({"direction": "up"}, {"needs": "nothing"}):
        with pytest.raises(ValueError, match="register_metric"):
            rf.register_metric("other", plan_metrics.weight, **bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a metric is a function"):
        rf.register_metric("other", 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'package.module:function'"):
        rf.register_metric("other", "no place")
