"""Draws inside a window on a cost against all architectures of small spaces, each costed alone."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import chdtri

import resnet_factory as rf
from resnet_factory.cli.main import main
from resnet_factory.errors import ConfigError
from resnet_factory.sweep import samplers
from resnet_factory.sweep.sampled_populations import CostConditions
from resnet_factory.sweep.space import Space, read_space
from resnet_factory.sweep.stage_costs import tabulate_stage_costs
from resnet_factory.sweep.templates import ModelTemplates
from resnet_factory.sweep.window_draws import WindowDraws

DEPTHS = {"log": [1, 4], "step": 1, "rounding": "up", "each": "stage"}
WIDTHS = {"choice": [48, 16, 24], "each": "stage"}


def space_of(vary: dict[str, Any], model: str = "resnet20", **more: Any) -> Space:
    data = {"vary": vary, **more}
    return read_space("test", data, [], rf.compose(model).to_dict(), model)


def window_draws(space: Space, seed: int = 0, model: str = "resnet20") -> WindowDraws:
    templates = ModelTemplates(space, lambda words: rf.compose(model, *words).to_dict())
    return WindowDraws(space, tabulate_stage_costs(space, templates, CostConditions()), seed)


def chances_of(space: Space) -> list[dict[Any, float]]:
    """The probability of each value of each dimension, from a fine grid of uniform numbers."""
    unit = (np.arange(200_000) + 0.5) / 200_000
    found = []
    for dimension in space.dimensions:
        values, counts = np.unique(dimension.sample(unit), return_counts=True)
        shown = [dimension.shown(value) for value in values.tolist()]
        found.append(dict(zip(shown, (counts / len(unit)).tolist(), strict=True)))
    return found


def cost_alone(drawn: Mapping[str, Any]) -> Any:
    """The cost of one architecture, composed by itself; None if it is invalid: shortcuts pad with zeros."""
    numbers = dict(drawn)
    for i in range(3):
        if (half := numbers.pop(f"numbers.half.{i}", None)) is not None:
            numbers[f"widths.{i}"] = 8 * half
    lists = {field: [numbers.pop(f"{field}.{i}", None) for i in range(3)] for field in ("widths", "depths")}
    numbers |= {field: values for field, values in lists.items() if None not in values}
    words = [f"model.{key}={str(value).replace(' ', '')}" for key, value in numbers.items()]
    try:
        return rf.cost(rf.plan(rf.compose("resnet20", *words)))
    except ConfigError:
        return None


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], Callable[[dict[str, Any]], bool]]] = {
    "widths": (
        {"widths": WIDTHS, "depths": DEPTHS},
        {"constraints": {"macs": [18e6, 20e6]}},
        lambda d: True,
    ),
    "orders": (
        {"widths": WIDTHS, "depths": DEPTHS},
        {
            "constraints": {"macs": [22e6, 30e6]},
            "relations": [{"non_decreasing": "widths"}, {"non_increasing": "depths"}],
        },
        lambda d: (
            d["widths.0"] <= d["widths.1"] <= d["widths.2"]
            and d["depths.0"] >= d["depths.1"] >= d["depths.2"]
        ),
    ),
    "one side": (
        {"widths": WIDTHS, "depths": DEPTHS},
        {
            "constraints": {"params": [None, 100_000], "macs": [1e6, None]},
            "relations": [{"increasing": "widths"}],
        },
        lambda d: d["widths.0"] < d["widths.1"] < d["widths.2"],
    ),
    "shared": (
        {"widths": WIDTHS, "depths": DEPTHS, "stem.width": {"choice": [8, 16]}},
        {
            "constraints": {"activations": [70_000, 100_000]},
            "relations": [{"non_increasing": "widths"}, "widths1 <= 2 * widths3"],
        },
        lambda d: 2 * d["widths.2"] >= d["widths.0"] >= d["widths.1"] >= d["widths.2"],
    ),
    "computed": (
        {"widths": {"is": "8 * half"}, "depths": DEPTHS},
        {
            "numbers": {"half": {"range": [1, 4], "each": "stage"}},
            "constraints": {"macs": [20e6, 22e6]},
            "relations": [{"non_decreasing": "half"}],
        },
        lambda d: d["numbers.half.0"] <= d["numbers.half.1"] <= d["numbers.half.2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_draws_have_the_distribution_of_rejection(case: str) -> None:
    vary, more, holds = CASES[case]
    space = space_of(vary, **more)
    keys = [dimension.key for dimension in space.dimensions]
    joint: dict[tuple[Any, ...], float] = {}
    for combination in itertools.product(*(odds.items() for odds in chances_of(space))):
        values = tuple(value for value, _ in combination)
        drawn = dict(zip(keys, values, strict=True))
        if not holds(drawn):
            continue
        if (cost := cost_alone(drawn)) is None:
            continue
        if all(low <= getattr(cost, name) <= high for name, (low, high) in space.windows.items()):
            joint[values] = math.prod(chance for _, chance in combination)
    assert len(joint) > 9
    draws = window_draws(space)
    assert 1 > draws.met.popitem()[1] >= sum(joint.values()) * 0.999
    samples = draws.samples(0, samplers.BATCH)
    columns = [[d.shown(value) for value in samples[d.key].tolist()] for d in space.dimensions]
    seen = Counter(one for one in zip(*columns, strict=True) if one in joint)
    count = seen.total()
    assert count > 0.2 * samplers.BATCH  # a good part of the draws is inside, though few free ones are
    share = sum(joint.values())
    hoped = {each: count * chance / share for each, chance in joint.items()}
    assert all(seen[each] for each in hoped if hoped[each] >= 40)
    common = [each for each in hoped if hoped[each] >= 8]
    rest = count - sum(hoped[each] for each in common), count - sum(seen[each] for each in common)
    pairs = [(hoped[each], seen[each]) for each in common] + ([rest] if rest[0] >= 8 else [])
    assert sum((a - b) ** 2 / a for a, b in pairs) < chdtri(max(len(pairs) - 1, 1), 1e-6)


def test_draws_are_the_same_in_parts_and_differ_by_seed() -> None:
    space = space_of(*CASES["orders"][:1], **CASES["orders"][1])
    draws, again, other = window_draws(space), window_draws(space), window_draws(space, seed=1)
    size = samplers.BATCH
    whole = draws.samples(size, 2 * size)
    for key, values in again.samples(size + 100, size + 300).items():
        assert np.array_equal(values, whole[key][100:300])
    assert not np.array_equal(draws.samples(0, size)["depths.0"], whole["depths.0"])
    assert not np.array_equal(other.samples(size, 2 * size)["depths.0"], whole["depths.0"])


@pytest.mark.parametrize(("name", "rows"), [("anynetx_e", 400), ("anynetx_c", 400)])
def test_the_spaces_of_the_papers_are_drawn_inside_their_window(name: str, rows: int, tmp_path: Path) -> None:
    sweep = rf.run_sweep(name, "sampler=conditional", f"architectures={rows}", out=tmp_path / "s")
    found = list(sweep)
    assert len(found) == rows
    assert max(sweep.frame()["sample"]) < 2.5 * rows  # free draws take fifty times as many
    for one in found[::20]:
        cost = rf.cost(rf.plan(one.config))
        assert 360e6 <= cost.macs <= 400e6
        assert cost.macs == one.numbers["macs"]


def test_choices_of_recipes_are_drawn_by_their_part_of_the_window(tmp_path: Path) -> None:
    """Random draws that are kept, and conditional ones, choose each recipe as often."""
    words = [
        "model=resnet20", "model/attention=none,se", "model/block=basic,bottleneck",
        "++space.vary.widths={choice: [16, 24, 32, 48], each: stage}",
        "++space.vary.depths={range: [1, 4], each: stage}",
        "++space.constraints.macs=[10e6, 16e6]",
    ]  # fmt: skip
    shares = []
    for sampler in ("random", "conditional"):
        sweep = rf.run_sweep(None, *words, f"sampler={sampler}", "architectures=1500", out=tmp_path / sampler)
        frame = sweep.frame()
        # Architectures that are drawn twice are stored once, so that both samplers tend to the same set.
        shares.append(frame.groupby(["model/attention", "model/block"]).size().to_dict())
        assert frame["macs"].between(10e6, 16e6).all()
    assert shares[0].keys() == shares[1].keys()
    assert len(shares[0]) == 4
    for key, count in shares[0].items():
        assert abs(count - shares[1][key]) < 5 * math.sqrt(count + shares[1][key])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["space=anynet", "space.constraints=null"], "params, macs or activations"),
        (["space=regnetx"], "RegNet's generator"),
        (["space=anynetx_e", "++space.numbers.real={uniform: [0, 1]}"], "'numbers.real' has too many"),
        (["space=anynetx_e", "space.constraints.macs=[1, 2]"], "no architecture of the space has"),
        (["space=anynetx_e", "++space.numbers.more={range: [1, 99]}"], "needs more"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_inside_a_window_is_refused(
    words: list[str],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *words, "sampler=conditional", "architectures=10", "report=false", "out=s"]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert "Traceback" not in said


def test_stages_that_depend_on_more_than_the_width_before_are_refused() -> None:
    space = space_of(
        {"widths": {"is": "width + width1"}, "depths": DEPTHS},
        numbers={"width": WIDTHS},
        constraints={"macs": [20e6, 90e6]},
    )
    with pytest.raises(ConfigError, match="only on its own numbers and the width before it"):
        window_draws(space)


def tables(folder: Path) -> Any:
    import sqlite3

    with sqlite3.connect(f"file:{folder / 'sweep.sqlite'}?mode=ro", uri=True) as db:
        return [db.execute(f"SELECT * FROM {name}").fetchall() for name in ("archs", "batches", "structures")]


def test_a_sweep_grows_and_goes_on_with_any_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "sweep", "space=anynetx_e", "sampler=conditional", "report=false", "top=1", "max_samples=200000",
        "space.numbers.group_width=8", "space.vary.block.ratio=0.5",
    ]  # fmt: skip
    for out, steps in (("whole", ["70000"]), ("grown", ["30", "70000"])):
        for count in steps:
            assert main([*words, f"architectures={count}", f"out={out}"]) == 0
    more = ["executor=processes", "executor.workers=2"]
    assert main([*words, "architectures=70000", "out=two", *more]) == 0
    assert tables(tmp_path / "whole") == tables(tmp_path / "grown") == tables(tmp_path / "two")
    assert (
        "by construction: non_decreasing width and non_decreasing depths and macs near"
        in capsys.readouterr().out
    )
    assert main([*words[:-1], "architectures=10", "sampler=random", "out=whole"]) == 2
