"""Spaces, samplers, constraints, candidates: what is drawn, what is rejected and why, which ids come out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resnet_factory as rf
from resnet_factory.cli.main import main
from resnet_factory.config import schema
from resnet_factory.config.generators import RegNetGenerator
from resnet_factory.sweep import regnet
from resnet_factory.sweep.dimension import Dimension, read_dimension
from resnet_factory.sweep.evaluation import EvaluatedCandidate, evaluate_samples
from resnet_factory.sweep.measuring import measuring_model
from resnet_factory.sweep.sampled_populations import CostConditions
from resnet_factory.sweep.samplers import BATCH, draw_samples, sampler_size
from resnet_factory.sweep.space import Space, read_space
from resnet_factory.sweep.templates import ModelTemplates


def space_of(data: dict[str, Any], model: str = "resnet50", sweeps: Sequence[Dimension] = ()) -> Space:
    return read_space("test", data, sweeps, rf.compose(model).to_dict(), model)


def candidates(
    space: Space, count: int, sampler: str = "random", seed: int = 0
) -> tuple[list[EvaluatedCandidate], Counter[str], ModelTemplates]:
    structures = ModelTemplates(space, lambda overrides: rf.compose(space.base_name, *overrides).to_dict())
    samples = draw_samples(sampler, space.dimensions, seed, 0, sampler_size(sampler, space.dimensions, count))
    found, rejected, *_ = evaluate_samples(space, structures, samples, 0, CostConditions())
    return found, rejected, structures


def costs_of(candidate: EvaluatedCandidate) -> tuple[int, int, int]:
    return candidate.params, candidate.macs, candidate.activations


FOUR = {
    "vary": {
        "depths": {"range": [1, 4], "each": "stage"},
        "widths": {"log": [16, 128], "step": 8, "each": "stage"},
        "groups": {"choice": [1, 3], "each": "stage"},
        "attention": {"choice": ["none", "se"]},
        "block": "regnet",
        "stem.width": {"range": [16, 64], "step": 16},
    },
    "relations": [{"non_decreasing": "widths"}, "depths2 >= depths1 and stem_width <= widths1"],
    "constraints": {"params": [1e5, 2e6], "macs": [None, 4e8]},
}


def test_every_candidate_is_what_its_plan_id_says() -> None:
    space = space_of(FOUR)
    found, rejected, structures = candidates(space, 12000)
    assert len(found) > 20
    assert sum(rejected.values()) + len(found) == 12000
    assert {"invalid", "non_decreasing widths", "params below 100,000"} <= set(rejected)
    for candidate in found[::3]:
        config = schema.read_config(measuring_model(candidate, structures.known[candidate.structure]))
        planned = rf.plan(config)
        cost = rf.cost(planned)
        assert planned.id == candidate.plan
        assert (cost.params, cost.macs, cost.activations) == costs_of(candidate)
        assert 1e5 <= cost.params <= 2e6
        assert cost.macs <= 4e8
        assert list(config.widths) == sorted(config.widths)
        assert config.depths[1] >= config.depths[0]


REPEATED = {
    "repeats": 2, "out": "repeats * width", "ratio": 1,
    "body": [
        {"conv": {"kernel": 1, "to": "width // ratio", "stride": "stride"}},
        {"branches": {"count": "repeats", "each": [{"conv": {"kernel": 3, "to": "width"}}]}},
        "norm", "attention",
    ],
    "post": ["act"],
}  # fmt: skip
"""A block with numbers of its own."""


@pytest.mark.parametrize(
    "also", [{}, {"attention": {"choice": ["none", "se"]}}, {"act": {"choice": ["silu"]}}]
)
def test_a_recipes_own_number_varies_per_stage(also: dict[str, Any]) -> None:
    """Exactly as the same lists written into the model and planned one by one."""
    base = rf.compose("resnet18").to_dict() | {"block": REPEATED}
    vary = {
        "block": {
            "repeats": {"range": [2, 5], "each": "stage"},
            "ratio": {"choice": [1, 2, 4], "each": "stage"},
        },
        "widths": {"range": [6, 24], "step": 6, "each": "stage"},
        "depths": {"range": [1, 2], "each": "stage"},
        **also,
    }
    data = {"vary": vary, "relations": [{"non_decreasing": "block.repeats"}, "block_repeats2 < 4"]}
    space = read_space("test", data, [], base, "resnet18")

    def composed(overrides: Sequence[str]) -> dict[str, Any]:
        return rf.compose("resnet18", *overrides).to_dict() | {"block": REPEATED}

    structures = ModelTemplates(space, composed)
    samples = draw_samples("random", space.dimensions, 0, 0, 3000)
    found, rejected, *_ = evaluate_samples(space, structures, samples, 0, CostConditions())
    assert len(found) > 20
    planned_one_by_one = 0
    for i in range(0, 3000, 5):
        one = {d.key: d.shown(samples[d.key][i].item()) for d in space.dimensions}
        repeats = [one[f"block.repeats.{stage}"] for stage in range(4)]
        if repeats != sorted(repeats) or repeats[1] >= 4:
            continue
        overrides = [f"model/attention={one['attention']}"] if "attention" in one else []
        overrides += [f"model.act={one['act']}"] if "act" in one else []
        model = composed(overrides)
        model["block"] = REPEATED | {
            "repeats": repeats,
            "ratio": [one[f"block.ratio.{stage}"] for stage in range(4)],
        }
        for key in ("widths", "depths"):
            model[key] = [one[f"{key}.{stage}"] for stage in range(4)]
        match = [candidate for candidate in found if candidate.sample == i]
        try:
            plan = rf.plan(schema.read_config(model))
        except rf.ConfigError:
            assert not match
            continue
        planned_one_by_one += 1
        cost = rf.cost(plan)
        same = [candidate for candidate in found if candidate.plan == plan.id]
        assert [costs_of(candidate) for candidate in same] == [(cost.params, cost.macs, cost.activations)]
    assert planned_one_by_one > 5
    assert {"non_decreasing block.repeats", "block_repeats2 < 4"} <= set(rejected)


def test_numbers_per_stage_fit_as_many_stages_as_a_generator_makes() -> None:
    space = read_space(
        "test",
        {
            "vary": {
                "generator.regnet.depth": {"range": [8, 20]},
                "generator.regnet.multiplier": {"uniform": [1.5, 3]},
                "block.ratio": {"choice": [1, 2], "each": "stage"},
            }
        },
        [], rf.compose("regnetx_002").to_dict(), "regnetx_002",
    )  # fmt: skip
    found, _, structures = candidates(space, 2000)
    assert len({structures.known[candidate.structure].stages for candidate in found}) > 1
    for candidate in found[::50]:
        structure = structures.known[candidate.structure]
        model = measuring_model(candidate, structure)
        assert len(model["block"]["ratio"]) == structure.stages
        assert rf.plan(schema.read_config(model)).id == candidate.plan


@pytest.mark.parametrize("key", ["stem.width", "block.body", "block.nothing", "norm.eps_", "act"])
def test_what_cannot_be_a_list_is_refused_per_stage(key: str) -> None:
    with pytest.raises(rf.ConfigError, match="has no value per stage"):
        space_of({"vary": {key: {"choice": [1, 2], "each": "stage"}}})


def test_what_is_rejected_is_rejected_for_its_reason() -> None:
    """Every sample planned on its own falls where the survey says it does."""
    space = space_of(FOUR)
    samples = draw_samples("random", space.dimensions, 0, 0, 400)
    _, rejected, _ = candidates(space, 400)
    expected: Counter[str] = Counter()
    seen = set()
    configs = {
        name: rf.compose("resnet50", f"model/attention={name}", "model/block=regnet")
        for name in ("none", "se")
    }
    for i in range(400):
        one = {d.key: d.shown(samples[d.key][i].item()) for d in space.dimensions}
        widths, depths = ([one[f"{key}.{stage}"] for stage in range(4)] for key in ("widths", "depths"))
        if widths != sorted(widths):
            expected["non_decreasing widths"] += 1
            continue
        if not (depths[1] >= depths[0] and one["stem.width"] <= widths[0]):
            expected[space.relations[1].text] += 1
            continue
        data = configs[one["attention"]].to_dict()
        groups = [one[f"groups.{stage}"] for stage in range(4)]
        data |= {"widths": widths, "depths": depths, "groups": groups}
        data["stem"]["width"] = one["stem.width"]
        try:
            planned = rf.plan(schema.read_config(data))
        except rf.ConfigError:
            expected["invalid"] += 1
            continue
        cost = rf.cost(planned)
        if cost.params < 1e5:
            expected["params below 100,000"] += 1
        elif cost.params > 2e6:
            expected["params above 2,000,000"] += 1
        elif cost.macs > 4e8:
            expected["macs above 400,000,000"] += 1
        elif planned.id in seen:
            expected["duplicate"] += 1
        seen.add(planned.id)
    assert {key: count for key, count in rejected.items() if count} == dict(expected)


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"block": {"choice": ["basic", "botleneck"]}}, "block: unknown block 'botleneck'.*'bottleneck'"),
        ({"act": {"choice": ["relu", "rellu"]}}, "act: unknown act 'rellu'.*did you mean 'relu'"),
        ({"stem": {"widht": {"choice": [32, 64]}}}, "stem.widht: unknown number of 'stem' 'widht'.*'width'"),
        ({"depths": {"choice": ["one", 2]}}, "depths: expected whole numbers from 1 to .*, found 'one'"),
        ({"depths": {"range": [1, 2.5], "each": "stage"}}, "depths: expected whole numbers .*, found 2.5"),
        ({"widths": {"range": [1, 1e12]}}, "widths: expected whole numbers .*, found 1000000000000"),
        ({"widths": {"range": [8, 64], "step": float("inf")}}, "step: expected a number of at least 0"),
        (3, "space.vary: expected keys of the model, found 3"),
    ],
)
def test_values_that_no_choice_makes_right_are_faults(vary: Any, message: str) -> None:
    names = {"block": ["basic", "bottleneck"], "act": []}
    base = rf.compose("resnet18").to_dict()
    with pytest.raises(rf.ConfigError, match=message):
        read_space("test", {"vary": vary}, (), base, names=lambda group: names.get(group, ()))


def test_why_samples_are_invalid_is_told() -> None:
    space = space_of({"vary": {"groups": {"choice": [1, 7]}, "widths": {"choice": [64, 128]}}}, "resnet18")
    structures = ModelTemplates(space, lambda overrides: rf.compose(space.base_name, *overrides).to_dict())
    found = evaluate_samples(
        space, structures, draw_samples("grid", space.dimensions, 0, 0, 4), 0, CostConditions()
    )
    assert found.rejected["invalid"] == 2
    assert [reason.sample for reason in found.invalid] == [2, 3]
    assert {reason.kind for reason in found.invalid} == {"N input channels are not divisible by N groups"}
    assert "64 input channels are not divisible by 7 groups" in found.invalid[0].message


def test_image_sizes_are_architectures_of_their_own() -> None:
    space = space_of({"vary": {"image_size": {"choice": [32, 64, 64]}}}, "resnet18")
    found, rejected, structures = candidates(space, 3, "grid")
    planned = rf.plan(rf.compose("resnet18"))
    assert [one.plan for one in found] == [f"{planned.id}-32", f"{planned.id}-64"]
    assert [one.macs for one in found] == [rf.cost(planned, (3, side, side)).macs for side in (32, 64)]
    assert rejected["duplicate"] == 1
    for one, side in zip(found, (32, 64), strict=True):
        assert measuring_model(one, structures.known[one.structure])["image_size"] == side
        assert one.plan_id == planned.id


def test_a_relation_without_a_value_does_not_hold() -> None:
    space = space_of({"vary": {"depths": {"range": [1, 4], "each": "stage"}},
                      "relations": ["1 / (depths1 - 2) > 0"]}, "resnet18")  # fmt: skip
    found, rejected, _ = candidates(space, 256, "grid")
    assert len(found) == 128
    assert rejected["1 / (depths1 - 2) > 0"] == 128


def test_windows_on_memory_and_receptive_field() -> None:
    windows = {"training_memory": [None, 5e7], "receptive_field": [200, 300], "inference_memory": [0, None]}
    space = space_of({"vary": FOUR["vary"], "constraints": windows})
    setting = CostConditions(image=(96, 128), batch=32, dtype="bfloat16")
    structures = ModelTemplates(space, lambda overrides: rf.compose(space.base_name, *overrides).to_dict())
    samples = draw_samples("random", space.dimensions, 0, 0, 8000)
    found, rejected, *_ = evaluate_samples(space, structures, samples, 0, setting)
    assert len(found) > 20
    reasons = {"training_memory above 50,000,000", "receptive_field below 200", "receptive_field above 300"}
    assert reasons <= {reason for reason, count in rejected.items() if count}
    assert not any("inf" in reason for reason in rejected)
    for candidate in found[::5]:
        config = schema.read_config(measuring_model(candidate, structures.known[candidate.structure]))
        cost = rf.cost(rf.plan(config), (3, 96, 128))
        memory = cost.memory(32, "bfloat16")
        assert json.loads(candidate.further) == {
            "receptive_field": cost.receptive_field,
            "inference_memory": memory.weights + memory.inference,
            "training_memory": memory.weights + memory.training,
        }
        assert memory.weights + memory.training <= 5e7
        assert 200 <= cost.receptive_field <= 300


def test_equal_architectures_collapse() -> None:
    # Groups of width 64 and one group, twice said: base_width has no say where the block ignores it.
    space = space_of(
        {"vary": {"base_width": {"choice": [64, 65]}, "widths": {"choice": [[64] * 4, [32] * 4]}}}
    )
    found, rejected, _ = candidates(space, 100, "grid")
    assert len(found) == 2 + 2 - rejected["duplicate"]
    space = space_of(
        {"vary": {"attention": {"choice": ["none", "none", "se"]}, "num_classes": {"choice": [10, 10]}}}
    )
    found, rejected, _ = candidates(space, 100, "grid")
    assert len(found) == 2
    assert rejected["duplicate"] == 4


@pytest.mark.parametrize("sampler", ["grid", "random", "sobol"])
def test_samples_can_be_drawn_again_in_parts(sampler: str) -> None:
    space = space_of(FOUR)
    whole = draw_samples(sampler, space.dimensions, 7, 0, 1000)
    again = draw_samples(sampler, space.dimensions, 7, 0, 500)
    for key, values in whole.items():
        assert np.array_equal(values[:500], again[key])
    other = draw_samples(sampler, space.dimensions, 8, 0, 1000)
    assert (sampler == "grid") == all(np.array_equal(whole[key], other[key]) for key in whole)
    later = draw_samples(sampler, space.dimensions, 7, BATCH, BATCH + 10)
    assert any(not np.array_equal(later[key], whole[key][:10]) for key in whole)


def test_a_grid_holds_every_combination_once() -> None:
    dimensions = [
        read_dimension("a", {"range": [2, 8], "step": 2}, "", [])[0],
        read_dimension("b", {"choice": ["x", "y", "z"]}, "", [])[0],
        read_dimension("c", {"log": [8, 32], "step": 8}, "", [])[0],
    ]
    drawn = draw_samples("grid", dimensions, 0, 0, sampler_size("grid", dimensions, None))
    rows = list(zip(*(drawn[d.key].tolist() for d in dimensions), strict=True))
    assert len(rows) == len(set(rows)) == 4 * 3 * 4
    assert {row[0] for row in rows} == {2, 4, 6, 8}
    assert {row[2] for row in rows} == {8, 16, 24, 32}


@given(st.integers(1, 30), st.integers(0, 60), st.sampled_from([1, 2, 8]), st.integers(0, 99))
@settings(deadline=None)
def test_ranges_reach_their_ends_and_stay_inside(low: int, more: int, step: int, seed: int) -> None:
    low, high = low * step, (low + more) * step
    unit = np.concatenate([np.random.default_rng(seed).random(500), [0.0, np.nextafter(1, 0)]])
    for kind in ("range", "log"):
        dimension, _ = read_dimension("x", {kind: [low, high], "step": step}, "", [])
        values = dimension.sample(unit)
        assert values.min() == low
        assert values.max() == high
        assert not (values % step).any()


@st.composite
def parameters(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "initial_width": draw(st.integers(0, 40)) * draw(st.sampled_from([8, 8, 8, 4])),
        "slope": round(draw(st.floats(-1, 250)), 2),
        "multiplier": round(draw(st.floats(0.9, 3.5)), 3),
        "depth": draw(st.integers(0, 60)),
        "group_width": draw(st.integers(0, 64)),
        "ratio": draw(st.sampled_from([1.0, 0.5, 0.25, 2.0, 0.0])),
    }


@given(st.lists(parameters(), min_size=1, max_size=20), st.sampled_from(["nearest", "divisible"]))
@settings(deadline=None, max_examples=200)
def test_the_generator_for_many_is_the_generator_for_one(rows: list[dict[str, Any]], rounding: str) -> None:
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    made = regnet.generate_regnet_stages(columns, rounding)
    for i, row in enumerate(rows):
        one = RegNetGenerator(**row, rounding=rounding)  # type: ignore[arg-type]
        assert bool(made.valid[i]) == (not list(one.faults()))
        if made.valid[i]:
            stages = slice(0, int(made.stages[i]))
            found = [made.depths[i, stages], made.widths[i, stages], made.groups[i, stages]]
            assert dict(zip(("depths", "widths", "groups"), map(list, found), strict=True)) == one.stages()


PUBLISHED = [
    # Radosavovic et al. 2020, table 7, and pycls's configurations: parameters, depths, widths.
    ("regnetx_002", (24, 36.44, 2.49, 13, 8), [1, 1, 4, 7], [24, 56, 152, 368]),
    ("regnetx_004", (24, 24.48, 2.54, 22, 16), [1, 2, 7, 12], [32, 64, 160, 384]),
    ("regnetx_016", (80, 34.01, 2.25, 18, 24), [2, 4, 10, 2], [72, 168, 408, 912]),
    ("regnetx_040", (96, 38.65, 2.43, 23, 40), [2, 5, 14, 2], [80, 240, 560, 1360]),
    ("regnetx_320", (320, 69.86, 2.0, 23, 168), [2, 7, 13, 1], [336, 672, 1344, 2520]),
]


@pytest.mark.parametrize(
    ("name", "numbers", "depths", "widths"), PUBLISHED, ids=[row[0] for row in PUBLISHED]
)
def test_published_regnets_come_out_of_their_numbers(
    name: str, numbers: tuple[float, ...], depths: list[int], widths: list[int]
) -> None:
    given = dict(zip(regnet.PARAMETERS, (*numbers, 1.0), strict=True))
    made = regnet.generate_regnet_stages({key: np.array([value]) for key, value in given.items()})
    assert made.depths[0].tolist() == depths
    assert made.widths[0].tolist() == widths
    vary = {f"{regnet.PREFIX}{key}": value for key, value in given.items() if key != "ratio"}
    space = space_of({"vary": vary | {"num_classes": {"choice": [1000, 10]}}}, "regnetx_002")
    found, _, _ = candidates(space, 2, "grid")
    assert found[0].plan == rf.plan(rf.compose(name)).id


def test_structures_are_composed_once_and_mixed_with_numbers() -> None:
    sweeps = [
        Dimension("model/stem", "choice", ("deep", "imagenet")),
        Dimension("model.act", "choice", ("relu", "silu")),
        Dimension("model.depths", "choice", ((1, 1, 1, 1), (2, 1, 1, 2))),
    ]
    space = space_of({"vary": {"widths": {"range": [8, 64], "step": 8}}}, sweeps=sweeps)
    found, _, structures = candidates(space, 64, "grid")
    assert len(found) == 64
    assert len(structures.known) <= 8
    expected = {
        rf.plan(rf.compose("resnet50", f"model/stem={stem}", f"model.act={act}", f"model.depths={depths}",
                           f"model.widths={[width] * 4}")).id
        for stem in ("deep", "imagenet")
        for act in ("relu", "silu")
        for depths in ("[1,1,1,1]", "[2,1,1,2]")
        for width in (8, 64)
    }  # fmt: skip
    assert expected <= {candidate.plan for candidate in found}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"vary": {"depths": {"rang": [1, 2]}}}, "did you mean 'range'?"),
        ({"vary": {"dephts": {"range": [1, 2]}}}, "did you mean 'depths'?"),
        ({"vary": {"depths": {"range": [3, 2]}}}, "3 is more than 2"),
        ({"vary": {"widths": {"log": [0, 2]}}}, "above 0"),
        ({"vary": {"widths": {"range": [9, 16], "step": 8}}}, "multiple of 8"),
        ({"vary": {"act": {"choice": ["relu"], "each": "stage"}}}, "no value per stage"),
        ({"vary": {"depths": 1}, "relations": [{"groing": "depths"}]}, "unknown relation 'groing'"),
        ({"vary": {"num_classes": 1}, "relations": ["num_class > 1"]}, "did you mean 'num_classes'?"),
        ({"vary": {"depths": 1}, "constraints": {"flops": [1, 2]}}, "known are params, macs and activations"),
        ({"vary": {"depths": 1}, "constraints": {"macs": [2, 1]}}, "2 is more than 1"),
        ({"vary": {"generator.regnet.depth": 9}}, "no RegNet generator"),
        ({"constraint": {}}, "did you mean 'constraints'?"),
        ({}, "nothing varies"),
    ],
)
def test_mistakes_in_a_space_are_told(data: dict[str, Any], message: str) -> None:
    with pytest.raises(rf.ConfigError) as error:
        space_of(data)
    assert message.replace(" and activations", ", activations") in str(error.value) or message in str(
        error.value
    )


def test_a_grid_over_real_numbers_is_refused() -> None:
    space = space_of({"vary": {"head.dropout": {"uniform": [0, 1]}}})
    with pytest.raises(rf.ConfigError, match="real numbers"):
        sampler_size("grid", space.dimensions, None)


def test_numbers_and_changes_are_json() -> None:
    found, _, _ = candidates(space_of(FOUR), 2000)
    assert set(json.loads(found[0].numbers)) == {d.key for d in space_of(FOUR).dimensions}


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["model=nf_resnet50", "model.groups=1,2"], "command line 'model.groups=…'"),
        (["model=resnet20", "model/stem_pool=max,none"], "command line 'model/stem_pool=…'"),
        (["space=mine", "--config-dir", "own"], "own/space/mine.yaml:8:5: space.vary.groups"),
    ],
)
def test_a_field_that_varies_and_that_nothing_reads_is_said(
    words: list[str],
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("own", "space", "mine.yaml")
    file.parent.mkdir(parents=True)
    file.write_text(
        "# @package _global_\ndefaults:\n  - override /model: nf_resnet50\n  - _self_\nspace:\n  vary:\n"
        "    depths: {range: [1, 3], each: stage}\n    groups: {choice: [1, 2]}\n"
    )
    assert main(["sweep", *words, "report=false", "out=runs"]) == 2
    said = capsys.readouterr().err
    assert f"{where}: nothing in these networks reads" in said
    assert not Path("runs").exists()
    if words[0] == "model=nf_resnet50":  # another choice reads it
        assert main(["sweep", "model=resnet18,nf_resnet50", *words[1:], "report=false", "out=runs"]) == 0
