"""The shipped spaces against the published generator's rules, written down here once more from the papers."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy.special import chdtri

import resnet_factory as rf
from resnet_factory.config.composition import compose_all
from resnet_factory.sweep.draws import Draws
from resnet_factory.sweep.evaluation import evaluate_samples
from resnet_factory.sweep.sampled_populations import CostConditions
from resnet_factory.sweep.space import Space, read_space
from resnet_factory.sweep.structure_numbers import structure_number_lists
from resnet_factory.sweep.templates import ModelTemplates

COUNT = 10_000


def space_of(name: str, *without: str) -> Space:
    composed = compose_all("sweep", [f"space={name}"])
    data = dict(composed.data["space"])
    data["constraints"] = {k: v for k, v in data["constraints"].items() if k not in without}
    return read_space(name, data, [], composed.model.to_dict(), composed.model.name)


def drawn(space: Space, count: int = COUNT, start: int = 0) -> list[dict[str, Any]]:
    """Architectures with what was drawn and what came of it, as the store has them."""
    samples = Draws(space, "random", 3).samples(start, start + count)
    templates = ModelTemplates(space, lambda overrides: rf.compose(space.base_name, *overrides).to_dict())
    found, rejected, *_ = evaluate_samples(space, templates, samples, start, CostConditions())
    assert "invalid" not in rejected
    assert not any("no value" in reason for reason in rejected)
    result = []
    for one in found:
        changes, base = json.loads(one.changes), templates.known[one.structure].model
        assert base is not None
        depths, widths = structure_number_lists(base, changes)
        stages = range(len(depths))
        groups = [changes.get(f"groups.{i}") for i in stages]
        ratios = [changes.get(f"block.ratio.{i}", changes.get("block.ratio")) for i in stages]
        drawn = json.loads(one.numbers)
        made = {"depths": depths, "widths": widths, "groups": groups, "ratios": ratios}
        result.append({"drawn": drawn, "model": made, "plan": one.plan_id})
    return result


def of_stages(one: dict[str, Any], key: str, stages: int = 4) -> list[Any]:
    drawn = one["drawn"]
    return [drawn[f"{key}.{i}"] if f"{key}.{i}" in drawn else drawn[key] for i in range(stages)]


def refit(
    widths: Sequence[int], ratios: Sequence[float], groups: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Widths and numbers of groups that fit (pycls, models/blocks.py), for ratios of at most 1."""
    fitted, counts = [], []
    for width, ratio, group in zip(widths, ratios, groups, strict=True):
        inner = int(max(1, width * ratio))
        own = min(group, inner)
        inner = max(own, round(inner / own) * own)
        fitted.append(int(inner / ratio))
        counts.append(inner // own)
    return fitted, counts


def log_up(low: int, high: int, step: int) -> dict[int, float]:
    """A log-uniform number of (low - min(step, low / 2), high], rounded up (pycls, sweep/random.py)."""
    edges = [low - min(step, low / 2), *range(low, high + 1, step)]
    whole = math.log(edges[-1] / edges[0])
    return {b: math.log(b / a) / whole for a, b in itertools.pairwise(edges)}


DEPTHS, WIDTHS = log_up(1, 16, 1), log_up(8, 1024, 8)
GROUPS = dict.fromkeys([1, 2, 4, 8, 16, 32], 1 / 6)
RATIOS = dict.fromkeys([1, 0.5, 0.25], 1 / 3)


def assert_drawn_from(values: Sequence[Any], chances: dict[Any, float]) -> None:
    """Chi-square; what is expected less than ten times is one bin. One in a million right draws fails."""
    values = list(values)
    assert set(values) <= set(chances)
    rare = [value for value, chance in chances.items() if chance * len(values) < 10]
    bins = [[value] for value in chances if value not in rare] + ([rare] if rare else [])
    seen = np.array([sum(values.count(value) for value in each) for each in bins])
    hoped = np.array([sum(chances[value] for value in each) for each in bins]) * len(values)
    assert (((seen - hoped) ** 2) / hoped).sum() < chdtri(len(bins) - 1, 1e-6)


def ordered(chances: dict[int, float], stages: int = 4) -> list[dict[int, float]]:
    """The marginal of each stage, given that the values of independent stages do not decrease."""
    values, p = sorted(chances), np.array([chances[value] for value in sorted(chances)])
    below, above = [np.ones(len(p))], [np.ones(len(p))]
    for _ in range(stages - 1):
        below.append(np.cumsum(below[-1] * p))
        above.append(np.cumsum((above[-1] * p)[::-1])[::-1])
    marginals = [below[i] * p * above[stages - 1 - i] for i in range(stages)]
    return [dict(zip(values, each / each.sum(), strict=True)) for each in marginals]


@pytest.mark.parametrize("letter", list("abcde"))
def test_anynetx_is_drawn_as_published(letter: str) -> None:
    """Radosavovic et al. 2020, section 3.2."""
    every = drawn(space_of(f"anynetx_{letter}", "macs"))
    assert len(every) > 0.99 * COUNT  # but for equal ones
    shared_ratio, shared_group = letter >= "b", letter >= "c"
    for one in every:
        widths, ratios = of_stages(one, "numbers.width"), of_stages(one, "block.ratio")
        groups, depths = of_stages(one, "numbers.group_width"), of_stages(one, "depths")
        model = one["model"]
        assert (model["widths"], model["groups"]) == refit(widths, ratios, groups)
        assert model["ratios"] == ratios
        assert model["depths"] == depths
        assert letter < "d" or model["widths"] == sorted(model["widths"])
        assert letter < "e" or depths == sorted(depths)
    widths, depths = [WIDTHS] * 4, [DEPTHS] * 4
    if letter >= "d":
        widths = ordered(WIDTHS)
    if letter >= "e":
        depths = ordered(DEPTHS)
    for stage in range(4):
        assert_drawn_from([of_stages(one, "numbers.width")[stage] for one in every], widths[stage])
        assert_drawn_from([of_stages(one, "depths")[stage] for one in every], depths[stage])
        if stage == 0 or not shared_ratio:
            assert_drawn_from([of_stages(one, "block.ratio")[stage] for one in every], RATIOS)
        if stage == 0 or not shared_group:
            assert_drawn_from([of_stages(one, "numbers.group_width")[stage] for one in every], GROUPS)
    keys = every[0]["drawn"]
    assert len(keys) == {"a": 16, "b": 13, "c": 10, "d": 10, "e": 10}[letter]


def generated(w_a: float, w_0: int, w_m: float, depth: int) -> tuple[list[int], list[int], int]:
    """Widths and depths of a RegNet's stages, and the levels that its blocks reach (equations 2 to 4)."""
    levels = [round(math.log((w_0 + w_a * j) / w_0) / math.log(w_m)) for j in range(depth)]
    blocks = [round(w_0 * w_m**level / 8) * 8 for level in levels]
    widths = sorted(set(blocks))
    return widths, [blocks.count(width) for width in widths], levels[-1] + 1


@pytest.mark.parametrize("letter", ["x", "y"])
def test_regnets_are_generated_as_published(letter: str) -> None:
    """Radosavovic et al. 2020, section 3.3, and pycls's sweep/samplers.py."""
    space = space_of(f"regnet{letter}", "macs")
    every = [one for batch in range(3) for one in drawn(space, 65_536, batch * 65_536)]
    assert len(every) > COUNT
    every = every[:COUNT]
    key = "generator.regnet."
    for one in every:
        numbers = {name.removeprefix(key): value for name, value in one["drawn"].items()}
        assert 4 <= numbers["depth"] <= 63
        assert numbers["initial_width"] in range(8, 257, 8)
        assert 8 <= numbers["slope"] <= 256
        assert round(numbers["slope"] * 10) / 10 == numbers["slope"]
        assert 1.5 <= numbers["multiplier"] <= 3
        assert round(numbers["multiplier"] * 1000) / 1000 == numbers["multiplier"]
        made = [numbers[name] for name in ("slope", "initial_width", "multiplier", "depth")]
        widths, depths, levels = generated(*made)
        assert len(widths) == levels == 4
        ratio = numbers["ratio"]
        model = one["model"]
        assert model["depths"] == depths
        assert (model["widths"], model["groups"]) == refit(widths, [ratio] * 4, [numbers["group_width"]] * 4)
        assert model["ratios"] == [ratio] * 4
    for name, chances in (("group_width", GROUPS), ("ratio", RATIOS)):  # the others decide how many stages
        assert_drawn_from([one["drawn"][key + name] for one in every], chances)


def test_what_regnet_draws_before_its_stages_are_counted() -> None:
    samples = Draws(space_of("regnetx"), "random", 5).samples(0, COUNT)
    key = "generator.regnet."
    assert_drawn_from(samples[key + "depth"].tolist(), dict.fromkeys(range(4, 64), 1 / 60))
    assert_drawn_from(samples[key + "initial_width"].tolist(), log_up(8, 256, 8))
    for name, low, high in (("slope", 8.0 - 0.1, 256.0), ("multiplier", 1.5 - 0.001, 3.0)):
        bins = np.geomspace(low, high, 21)
        seen, _ = np.histogram(samples[key + name], bins)
        # Rounding up moves at most a step's share of a bin into the next one.
        assert (((seen - COUNT / 20) ** 2) / (COUNT / 20)).sum() < 2 * chdtri(19, 1e-6)


def test_compound_scaling_is_a_grid_of_depth_width_and_resolution() -> None:
    space = space_of("compound")
    samples = Draws(space, "grid", 0).samples(0, 7 * 5 * 7)
    templates = ModelTemplates(space, lambda overrides: rf.compose(space.base_name, *overrides).to_dict())
    found, rejected, *_ = evaluate_samples(space, templates, samples, 0, CostConditions())
    assert (len(found), rejected) == (245, {})
    known = {one.plan: one for one in found}
    for name, side in (("resnetrs50", 160), ("resnetrs152", 256), ("resnetrs420", 320)):
        plan = rf.plan(rf.compose(name))
        cost = rf.cost(plan, (3, side, side))
        assert known[f"{plan.id}-{side}"].macs == cost.macs
        wide = [64 * 2, 128 * 2, 256 * 2, 512 * 2]
        twice = rf.plan(rf.compose(name, f"model.widths={wide}", "model.stem.width=64"))
        assert f"{twice.id}-{side}" in known


def test_an_elastic_network_loses_blocks_and_widths() -> None:
    every = drawn(space_of("elastic"), 3000)
    whole = rf.compose("resnet50d", "model.depths=[4,4,6,4]")
    assert rf.plan(whole).id in {one["plan"] for one in every} or len(every) < 3000
    for one in every:
        model = one["model"]
        lost, shares = of_stages(one, "numbers.lost"), of_stages(one, "numbers.share")
        assert model["depths"] == [most - less for most, less in zip([4, 4, 6, 4], lost, strict=True)]
        widths = [most * share for most, share in zip([64, 128, 256, 512], shares, strict=True)]
        assert all(
            made % 8 == 0 and made >= 0.9 * width for made, width in zip(model["widths"], widths, strict=True)
        )


@pytest.mark.parametrize(
    ("space", "change", "message"),
    [
        ("anynetx_a", {"numbers": {"width": "wdth + 1"}}, "unknown name in 'wdth [+] 1', 'wdth'"),
        ("anynetx_a", {"numbers": {"depths": 3}}, "'depths' is already in use"),
        ("anynetx_a", {"numbers": {"width1": 3}}, "does not end in a digit"),
        ("anynetx_a", {"numbers": {"kind": {"choice": ["a", "b"]}}}, "expected numbers"),
        ("anynetx_a", {"vary": {"widths": {"is": "widht"}}}, "unknown name in 'widht'.*"),
        ("anynetx_a", {"vary": {"widths": {"is": "1 +"}}}, "not arithmetic"),
        ("anynetx_a", {"vary": {"widths": {"is": "8", "step": 2}}}, "a computed number has 'is' alone"),
        ("anynetx_a", {"constraints": {"stagse": [1, 2]}}, "unknown cost 'stagse'.*did you mean 'stages'"),
    ],
)
def test_mistakes_in_own_numbers_are_told(space: str, change: dict[str, Any], message: str) -> None:
    composed = compose_all("sweep", [f"space={space}"])
    data = {
        key: {**composed.data["space"][key], **change.get(key, {})}
        for key in ("numbers", "vary", "constraints")
    }
    with pytest.raises(rf.ConfigError, match=message):
        read_space(space, data, [], composed.model.to_dict(), composed.model.name)


@pytest.mark.parametrize(
    ("relation", "holds"),
    [
        ("total_depth <= 20", lambda d, w: sum(d) <= 20),
        ("depths4 <= depths3 and stages == 4", lambda d, w: d[3] <= d[2]),
        ("max_width >= 2 * widths1", lambda d, w: max(w) >= 2 * w[0]),
    ],
)
def test_relations_read_numbers_of_the_stages(
    relation: str, holds: Callable[[list[int], list[int]], bool]
) -> None:
    space = space_of("anynetx_a", "macs")
    data = {"numbers": {}, "vary": {"depths": {"range": [1, 9], "each": "stage"}}, "relations": [relation]}
    fixed = read_space("own", data, [], space.base, "resnet50")
    for one in drawn(fixed, 2000):
        assert holds(one["model"]["depths"], one["model"]["widths"])
    samples = Draws(fixed, "random", 3, conditional=False).samples(0, 2000)
    kept = sum(
        holds([int(samples[f"depths.{i}"][j]) for i in range(4)], fixed.base["widths"]) for j in range(2000)
    )
    templates = ModelTemplates(fixed, lambda overrides: {})
    found, rejected, *_ = evaluate_samples(fixed, templates, samples, 0, CostConditions())
    assert len(found) + rejected["duplicate"] == kept
    assert rejected[relation] == 2000 - kept


def test_windows_on_numbers_of_the_stages() -> None:
    composed = compose_all("sweep", ["space=anynetx_a"])
    data = {"vary": {"depths": {"range": [1, 9], "each": "stage"}},
            "constraints": {"total_depth": [10, 14], "depths4": [None, 3]}}  # fmt: skip
    space = read_space("own", data, [], composed.model.to_dict(), "resnet50")
    samples = Draws(space, "random", 0).samples(0, 3000)
    templates = ModelTemplates(space, lambda overrides: {})
    found, rejected, *_ = evaluate_samples(space, templates, samples, 0, CostConditions())
    depths = np.stack([samples[f"depths.{i}"] for i in range(4)])
    total = depths.sum(axis=0)
    assert rejected["total_depth below 10"] == (total < 10).sum()
    assert rejected["total_depth above 14"] == (total > 14).sum()
    inside = (total >= 10) & (total <= 14)
    assert rejected["depths4 above 3"] == (inside & (depths[3] > 3)).sum()
    assert len(found) + rejected["duplicate"] == (inside & (depths[3] <= 3)).sum()
