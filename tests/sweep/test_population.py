"""A population costs exactly what planning its members one by one gives, and flags the same ones invalid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import resnet_factory as rf
from resnet_factory.config import schema
from resnet_factory.costing.memory import DTYPES
from resnet_factory.layers.axes import axes_entries
from resnet_factory.layers.expressions import ExpressionError, parse_expression
from resnet_factory.sweep import population as rooms
from resnet_factory.sweep.model_numbers import model_number_may_vary
from resnet_factory.sweep.plan_ids import plan_ids
from resnet_factory.sweep.population import OPTIONAL_COSTS, Population, cost_population, population_parts
from resnet_factory.sweep.vector import Vector, VectorSplit, VectorUnfit

MODELS = {
    "resnet50": (),
    "resnet18": (),
    "resnet50d": (),
    "resnet20": (),
    "preact_resnet50": (),
    "plain34": (),
    "resnext50_32x4d": (),
    "stochastic": ("model=resnet50", "model/drop_path=linear"),
    "grouped": ("model=resnet34", "model/norm=group", "model.norm.groups=8"),
    "always": ("model=resnet50", "model/shortcut=projection_always", "model/head=none"),
    "no_norm": ("model=resnet18", "model/norm=none"),
    "squeezed": ("model=resnet50", "model/attention=se", "model/antialias=blur"),
    "eca": ("model=resnet18", "model/attention=eca", "model/norm=group_width", "model/conv=standardized"),
    "regnet": ("model=resnet50", "model/block=regnet", "model/shortcut=regnet", "model/stem=regnet"),
    "se_regnet": ("model=resnet50", "model/block=regnet", "model/attention=se_regnet"),
    "res2net": ("model=resnet50", "model/block=res2net"),
    "resnest": ("model=resnet50", "model/block=resnest"),
    "selective": ("model=resnet50", "model/block=sk_bottleneck"),
    "pyramid": ("model=resnet20", "model/block=pyramid_basic", "model/shortcut=avg_zero_pad"),
    "sequence": ("model=resnet18", "model.dims=1"),
    "volume": ("model=resnet50d", "model.dims=3", "model/attention=se"),
    "output_stride": ("model=resnet50", "+model.output_stride=8"),
}
GROWING = {
    "title": "blocks that widen one by one (PyramidNet), with every kind of arithmetic",
    "step": "max(1, round(width / blocks))",
    "mid": "divisible(0.75 * (width + index * step), 4) if width > 24 else min(width, 16)",
    "out": "width + index * step",
    "body": [
        {"conv": {"kernel": "3 if block % 2 == 0 and depth > 2 else 1", "to": "mid", "stride": "stride"}},
        "norm",
        {"conv": {"kernel": 1, "to": "out", "when": "mid >= 8 or first_block"}},
        {"conv": {"kernel": 3, "to": "out", "when": "not (mid >= 8 or first_block)"}},
        {
            "conv": {
                "to": "ceil(out / 2) * 2 - out % 2",
                "groups": "1 + (out % 3 == 0)",
                "when": "log2(width) > 5",
            }
        },
    ],
}


def configs() -> dict[str, schema.ModelConfig]:
    """What is varied: shipped recipes of many kinds, and one that computes a lot."""
    found = {
        name: rf.compose(overrides[0].split("=")[1], *overrides[1:]) if overrides else rf.compose(name)
        for name, overrides in MODELS.items()
    }
    data = found["resnet18"].to_dict()
    data["block"] = {key: value for key, value in GROWING.items() if key != "title"}
    found["growing"] = schema.read_config(data)
    return found


CONFIGS = configs()
for each in CONFIGS.values():
    rf.plan(each)


@st.composite
def populations(draw: st.DrawFn) -> Population:
    """Random members of a random config; many of them invalid, some out of range."""
    config = CONFIGS[draw(st.sampled_from(sorted(CONFIGS)))]
    size = draw(st.integers(5, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    columns: dict[str, Any] = {}
    values = {
        "depths": [1, 2, 3, 5],
        "widths": [0, 8, 12, 16, 24, 64, 68, 96],
        "groups": [1, 2, 4, 8, 3],
        "base_width": [4, 64, 65, 128],
        "strides": [1, 2, 3],
        "dilations": [1, 2],
    }
    for key, choices in values.items():
        if draw(st.booleans()):
            continue
        if draw(st.booleans()):
            columns[key] = random.choice(choices, size)
        else:
            for stage in range(len(config.depths)):
                columns[f"{key}.{stage}"] = random.choice(
                    choices[1:] if random.random() < 0.7 else choices, size
                )
    for key, choices in {
        "num_classes": [0, 10, 1000],
        "in_channels": [1, 3],
        "stem.width": [8, 16, 20],
    }.items():
        if draw(st.booleans()) and model_number_may_vary(config, key):
            columns[key] = random.choice(choices, size)
    columns = columns or {"widths": random.choice([8, 16], size)}
    side = draw(st.sampled_from([1, 7, 32, 33, 224]))
    sides = (side, side + draw(st.integers(0, 3)), side)
    return Population(config=config, columns=columns, image=sides[: config.dims])


def one_by_one(population: Population, member: int, further: Sequence[str] = ()) -> tuple[int, ...]:
    """What planning and costing one member says."""
    try:
        planned = rf.plan(population.member(member))
        found = rf.cost(planned, (planned.in_channels, *population.image))
    except rf.ConfigError:
        return (False,) + (0,) * (3 + len(further))
    memory = found.memory(population.batch, population.dtype)
    more = {
        "receptive_field": max(axes_entries(found.receptive_field)),
        "inference_memory": memory.weights + memory.inference,
        "training_memory": memory.weights + memory.training,
    }
    return True, found.params, found.macs, found.activations, *(more[name] for name in further)


@given(populations())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_population_costs_what_its_members_cost(population: Population) -> None:
    together = cost_population(population, chunk=13)
    for member in range(len(population)):
        found = (bool(together.valid[member]), *(int(column[member]) for column in together[1:4]))
        assert found == one_by_one(population, member), population.data(member)


@given(populations(), st.integers(1, 65), st.sampled_from(list(DTYPES)))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_population_needs_what_its_members_need(population: Population, batch: int, dtype: str) -> None:
    """Memory and receptive fields: a simulation that unrolls nothing against one that does."""
    population = replace(population, batch=batch, dtype=dtype)
    together = cost_population(population, chunk=13, optional=OPTIONAL_COSTS)
    for member in range(len(population)):
        columns = (*together[1:4], *together.optional.values())
        found = (bool(together.valid[member]), *(int(column[member]) for column in columns))
        assert found == one_by_one(population, member, OPTIONAL_COSTS), population.data(member)


def test_numbers_of_single_axes_vary_too() -> None:
    """Costs and plan ids of a kernel along one axis, against planning each member."""
    data = rf.compose("resnet18", "model.widths=[16,32,64,128]").to_dict()
    conv = {"kernel": [1, "reach"], "stride": [1, 2], "padding": [[0, 0], ["reach // 2", "reach // 3"]]}
    pool = {"kernel": [1, "reach"], "stride": 2, "padding": "same"}
    data["stem"] = {"reach": 7, "layers": [{"conv": conv | {"to": 16}}, "norm", "act", {"max_pool": pool}]}
    columns = {"stem.reach": np.array([1, 3, 5, 7, 9, 9]), "widths.0": np.array([24, 32, 24, 32, 24, 32])}
    population = Population(config=rf.read(data), columns=columns, image=(64, 64))
    together = cost_population(population, optional=OPTIONAL_COSTS)
    for member in range(len(population)):
        costs = (*together[1:4], *together.optional.values())
        found = (bool(together.valid[member]), *(int(column[member]) for column in costs))
        assert found == one_by_one(population, member, OPTIONAL_COSTS)
    (part,) = population_parts(population)
    assert part.plan is not None
    ids = [rf.plan(population.member(member)).id for member in part.members]
    assert plan_ids(part.plan, np.arange(len(part.members)), {}) == ids


def test_members_are_really_costed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a member was planned on its own")

    monkeypatch.setattr(rooms, "_plan_population_member", refuse)
    random = np.random.default_rng(0)
    columns = {f"widths.{stage}": random.integers(3, 60, 3000) * 8 for stage in range(4)}
    columns |= {f"depths.{stage}": random.integers(1, 12, 3000) for stage in range(4)}
    columns |= {f"groups.{stage}": random.choice([1, 2, 4, 8, 16, 32], 3000) for stage in range(4)}
    columns |= {"base_width": random.choice([32, 64, 128], 3000)}
    found = cost_population(Population(config=CONFIGS["resnet50"], columns=columns))
    assert 0 < found.valid.sum() <= 3000


def test_numbers_beyond_int64_are_costed_exactly() -> None:
    config = CONFIGS["resnet50"]
    columns = {
        "widths.3": np.array([64, 512] * 5 + [2**20 // 4] * 6),
        "depths": np.array([1] * 10 + [2000] * 6),
    }
    population = Population(config=config, columns=columns, image=(60000, 60000))
    found = cost_population(population)
    assert found.valid.tolist() == [True] * 10 + [False] * 6
    for member in range(10):
        assert found.macs[member] == one_by_one(population, member)[2] > 2**46
    assert one_by_one(population, 15)[2] > 2**63


NAMES = ("a", "b", "c")
NUMBERS = st.integers(-9, 99) | st.floats(-4, 50, allow_nan=False).map(lambda value: round(value, 2))


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> str:
    """Arithmetic as a recipe may hold it."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return str(draw(st.sampled_from(NAMES) | st.integers(0, 9) | st.sampled_from([0.5, 1.5, 64])))
    inner = expressions(depth - 1)
    kind = draw(st.sampled_from(["binary", "compare", "call", "if", "and", "not", "negative"]))
    first, second = draw(inner), draw(inner)
    match kind:
        case "binary":
            return f"({first} {draw(st.sampled_from(['+', '-', '*', '/', '//', '%']))} {second})"
        case "compare":
            return f"({first} {draw(st.sampled_from(['<', '<=', '>', '>=', '==', '!=']))} {second})"
        case "call":
            name = draw(
                st.sampled_from(["min", "max", "divisible", "abs", "round", "floor", "ceil", "sqrt", "log2"])
            )
            one = name in ("abs", "round", "floor", "ceil", "sqrt", "log2")
            return f"{name}({first})" if one else f"{name}({first}, {second})"
        case "if":
            return f"({first} if {second} else {draw(inner)})"
        case "and":
            return f"({first} {draw(st.sampled_from(['and', 'or']))} {second})"
        case "not":
            return f"(not {first})"
        case _:
            return f"(-{first})"


def scalar(text: str, scope: dict[str, Any]) -> Any:
    try:
        return parse_expression(text).value(scope)
    except ExpressionError:
        return "error"


def vector(text: str, scope: dict[str, Any]) -> list[Any]:
    """The values of an expression over columns, split where they ask for it."""
    size = len(scope["a"])
    try:
        with np.errstate(all="ignore"):
            result = parse_expression(text).value(
                {name: Vector.of(np.array(values)) for name, values in scope.items()}
            )
    except ExpressionError:
        return ["error"] * size
    except VectorUnfit:
        return [scalar(text, {name: values[i] for name, values in scope.items()}) for i in range(size)]
    except VectorSplit as split:
        results: list[Any] = [None] * size
        for answer in (True, False):
            members = np.flatnonzero(split.mask == answer)
            assert 0 < members.size < size
            part = vector(text, {name: [values[i] for i in members] for name, values in scope.items()})
            for member, value in zip(members, part, strict=True):
                results[member] = value
        return results
    if not isinstance(result, Vector):
        return [result] * size
    values: list[Any] = result.values.tolist()
    assert all(result.low <= value <= result.high for value in values), (text, result, values)
    return values


@given(
    expressions(),
    st.integers(0, 2**32 - 1),
    st.lists(st.sampled_from(["int", "float"]), min_size=3, max_size=3),
)
@settings(max_examples=400, deadline=None)
def test_arithmetic_over_columns_is_arithmetic(text: str, seed: int, kinds: list[str]) -> None:
    random = np.random.default_rng(seed)
    scope = {
        name: (
            random.integers(-3, 40, 9) if kind == "int" else np.round(random.uniform(-3, 40, 9), 1)
        ).tolist()
        for name, kind in zip(NAMES, kinds, strict=True)
    }
    together = vector(text, scope)
    for member in range(9):
        assert together[member] == scalar(text, {name: values[member] for name, values in scope.items()})


def test_counts_of_branches_part_the_members() -> None:
    """The number of branches decides what there is: members are planned together that have as many."""
    config = rf.compose("res2net50_26w_4s", "model.depths=1")
    scale = np.array([2, 3, 4, 5] * 8)
    population = Population(
        config=config,
        columns={"block.scale": scale, "base_width": np.arange(32) % 5 + 20},
        image=(32, 32),
    )
    found = cost_population(population)
    for i in range(len(population)):
        cost = rf.cost(rf.plan(population.member(i)), (3, 32, 32))
        assert (found.params[i], found.macs[i], found.activations[i]) == cost.total
    assert max(len(part.members) for part in population_parts(population)) == 8
