"""Flows of data said with `parallel`, `repeat`, `tap` and `read`: costed, reached, swept over and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from strategies import structured_models
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import resnet_factory as rf
from resnet_factory.costing.peak_memory import peak_memory_of_plan
from resnet_factory.costing.receptive_field import last_receptive_field
from resnet_factory.network.data_flow import verify_data_flow
from resnet_factory.sweep.plan_ids import plan_ids
from resnet_factory.sweep.population import OPTIONAL_COSTS, Population, cost_population, population_parts


def model(body: str, *, stem: str = "[]", head: str = "[]", **changes: Any) -> dict[str, Any]:
    """The smallest model around lists of layers in YAML: one block of 16 channels, no shortcut."""
    return {
        "depths": [1], "widths": 16, "num_classes": 3, "act": "relu",
        "norm": {"layer": "batch_norm"}, "conv": {"layer": "conv2d"},
        "stem": {"layers": [{"conv": {"kernel": 3, "to": 16}}, *yaml.safe_load(stem)]},
        "shortcut": {"when": "never", "add": "never"},
        "block": {"out": "width", "body": yaml.safe_load(body)},
        "head": {"layers": [*yaml.safe_load(head), "global_pool", "flatten", {"linear": {"to": 3}}]},
        **changes,
    }  # fmt: skip


def plan(body: str, *, stem: str = "[]", head: str = "[]", **changes: Any) -> rf.Plan:
    data = model(body, stem=stem, head=head, **changes)
    if not any("num_classes" in str(data[part]) for part in ("stem", "block", "head")):
        del data["num_classes"]
    if "act" not in str(data["block"]) + str(data["head"]) + str(data["stem"]):
        del data["act"]
    return rf.plan(rf.read(data))


def faults(body: str, *, stem: str = "[]", head: str = "[]") -> list[str]:
    """The messages, without those of what a fault left unread."""
    with pytest.raises(rf.ConfigError) as refused:
        plan(body, stem=stem, head=head)
    return [f"{fault.path}: {fault.message}" for fault in refused.value.faults]


CONV = "{conv: {to: 16}}"


@given(structured_models())
@settings(max_examples=30)
def test_costs_are_those_of_the_module(data: dict[str, Any]) -> None:
    planned = rf.plan(rf.read(data))
    network, cost, x = rf.build(planned).eval(), rf.cost(planned, (3, 9, 9)), torch.randn(2, 3, 9, 9)
    with FlopCounterMode(display=False) as counter:
        network(x)
    assert counter.get_total_flops() == 2 * 2 * cost.macs
    assert sum(value.numel() for value in network.parameters()) == cost.params
    for rows in (cost.sections, cost.blocks, cost.layers):
        assert sum(row.tally.macs for row in rows) == cost.macs
        assert sum(row.tally.params for row in rows) == cost.params
    memory = cost.memory(batch=2)
    for training, most in ((False, memory.inference), (True, memory.training)):
        alone = peak_memory_of_plan(planned, (3, 9, 9), 2, "float32", training=training)
        assert alone == memory.weights + most
    assert last_receptive_field(planned) == cost.receptive_fields.last
    assert str(rf.explain(planned))
    assert rf.draw(planned)


FLOWS = {
    "five terms": "[parallel: {join: sum, branches: [[], [conv: {kernel: 3, to: 16}], [norm], [norm], []]}]",
    "one-shot aggregation": "[parallel: {join: concat, reads: previous, branches: [[]], count: 3, "
    "each: [conv: {kernel: 3, to: 4}]}, conv: {to: 16}]",
    "dense": "[parallel: {join: concat, reads: dense, count: 3, each: [conv: {kernel: 3, to: 4}]}, "
    "conv: {to: 16}]",
    "cascade": "[parallel: {join: concat, reads: cascade, split: true, count: 4, "
    "each: [conv: {kernel: 3, to: channels}]}]",
    "uneven": "[parallel: {join: concat, split: [width // 4, 12], "
    "branches: [[conv: {kernel: 5, to: 4}], []]}]",
    "product": "[parallel: {join: product, branches: [[conv: {kernel: 3, to: 16}], [conv: {to: 1}], "
    "[global_pool, conv: {to: 16}]]}]",
    "context": "[parallel: {join: sum, branches: [[global_pool, conv: {to: 16}], "
    "[conv: {kernel: 3, to: 16}], [conv: {to: 1}]]}]",
    "rounds": "[repeat: {count: 3, layers: [conv: {kernel: 3, to: 16, dilation: iteration + 1}]}]",
    "aggregation": "[tap: x, conv: {kernel: 3, to: 16}, tap: one, conv: {kernel: 3, to: 16}, "
    "parallel: {join: concat, branches: [[], [read: one], [read: x]]}, conv: {to: 16}]",
    "two maps handed on": "[tap: a, conv: {kernel: 3, to: 8}, tap: b, repeat: {count: 3, layers: ["
    "parallel: {join: sum, branches: [[read: a], [read: b, conv: {to: 16}]]}, tap: next, "
    "parallel: {join: sum, branches: [[read: b], [read: a, conv: {kernel: 3, to: 8}]]}, tap: b, "
    "read: next, tap: a]}]",
}  # fmt: skip


@pytest.mark.parametrize("body", FLOWS.values(), ids=FLOWS)
def test_receptive_fields_are_what_gradients_reach(body: str) -> None:
    planned = plan(body.replace("norm", CONV), head="[]", in_channels=1, norm={"layers": []})
    network = rf.build(planned).double().eval()
    verify_data_flow(network, (1, 31, 31))
    torch.fx.symbolic_trace(network)
    for parameter in network.parameters():
        nn.init.constant_(parameter, 1 / parameter[0].numel())
    x = torch.ones(1, 1, 31, 31, dtype=torch.float64, requires_grad=True)
    seen: list[Tensor] = []
    network.get_submodule("layer1").register_forward_hook(lambda _module, _given, output: seen.append(output))
    with_pools = [part for part in network.modules() if isinstance(part, nn.AdaptiveAvgPool2d)]
    for part in with_pools:  # a pooled factor is no part of the field
        part.register_forward_hook(lambda _module, _given, output: output.detach())
    network(x)
    seen[0][0, :, 15, 15].sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    reached = x.grad[0, 0].abs().sum(1).nonzero().flatten()
    field = rf.cost(planned, (1, 31, 31)).receptive_fields.sections["layer1"]
    assert field is not None
    assert (15 - int(reached.min()), int(reached.max()) - 15) == (field.before, field.after)


def test_short_forms_are_the_general_one() -> None:
    """Equal networks have equal ids, however they are said."""
    for short, general in (
        (
            "residual: {body: [conv: {to: 16}], shortcut: [norm]}",
            "parallel: {join: sum, branches: [[conv: {to: 16}], [norm]]}",
        ),
        (
            "gate: {layers: [conv: {to: 16}, sigmoid]}",
            "parallel: {join: product, branches: [[], [conv: {to: 16}, sigmoid]]}",
        ),
        (
            "parallel: {join: concat, split: [8, 8], branches: [[norm], []]}",
            "parallel: {join: concat, split: true, branches: [[norm], []]}",
        ),
        ("norm, norm", "repeat: {count: 2, layers: [norm]}"),
    ):
        assert plan(f"[{short}]").id == plan(f"[{general}]").id


def test_names_given_in_rounds_end_in_their_number() -> None:
    planned = plan(
        "[repeat: {count: 2, name: dense, layers: [chain: {name: layer, layers: [norm, tap: x, read: x]}]}, "
        "parallel: {join: sum, count: 2, each: [norm: {name: side}]}]"
    )
    names = [leaf.name.removeprefix("layer1.0.") for leaf in planned.leaves]
    assert names[1:5] == ["dense.layer1.0", "dense.layer2.0", "side1", "side2"]
    verify_data_flow(rf.build(planned), (3, 8, 8))


def test_maps_of_one_name_in_modules_inside_each_other() -> None:
    planned = plan(
        "[tap: x, conv: {to: 16}, chain: {name: inner, layers: [tap: x, norm, "
        "parallel: {join: sum, branches: [[], [read: x]]}]}, "
        "parallel: {join: sum, branches: [[], [read: x]]}]",
        stem="[tap: x]",
        head="[parallel: {join: concat, branches: [[], [read: x], [read: layer1]]}]",
    )
    network: Any = rf.build(planned).eval()
    verify_data_flow(network, (3, 8, 8))
    block, x = network.layer1[0], torch.randn(1, 16, 8, 8)
    inner = block.inner.get_submodule("0")
    y = block.conv1(x)
    torch.testing.assert_close(block(x), inner(y) + y + x)


def test_the_last_tap_of_a_name_is_read() -> None:
    planned = plan(
        "[tap: x, repeat: {count: 2, layers: [conv: {to: 16}, "
        "parallel: {join: sum, branches: [[], [read: x]]}, tap: x]}, "
        "parallel: {join: sum, branches: [[], [read: x]]}]"
    )
    network: Any = rf.build(planned).eval()
    verify_data_flow(network, (3, 8, 8))
    block, x = network.layer1[0], torch.randn(1, 16, 8, 8)
    y = block.conv1(x) + x
    torch.testing.assert_close(block(x), 2 * (block.conv2(y) + y))


UNET = (
    "[tap: low, conv: {to: 16}, parallel: {join: concat, branches: [[], [read: layer1], [read: layer2]]}, "
    "parallel: {join: sum, branches: [[conv: {to: 16}], [read: low]]}]"
)


def test_a_head_reads_the_outputs_of_stages() -> None:
    planned = plan(f"[{CONV}, {CONV}]", head=UNET, depths=[1, 2])
    assert [bool(stage.tap.children) for stage in planned.stages] == [True, True]
    network = rf.build(planned)
    verify_data_flow(network, (3, 8, 8))
    with pytest.raises(TypeError, match="joins paths at its top level"):
        network[:2]
    trunk = plan(f"[{CONV}, {CONV}]", head=UNET, depths=[1, 2], features=["layer1", "layer2"])
    assert not any(stage.tap.children for stage in trunk.stages)
    assert str(trunk) == str(plan(f"[{CONV}, {CONV}]", depths=[1, 2], features=["layer1", "layer2"]))
    cut = plan(f"[{CONV}, {CONV}]", head=UNET, depths=[1, 2], features=["layer1", "conv2"])
    found = rf.build(cut)(torch.randn(1, 3, 8, 8))
    assert [tuple(value.shape) for value in found.values()] == [(1, 16, 8, 8)] * 2


SWEPT = (
    "[tap: x, repeat: {count: rounds, layers: [conv: {kernel: 3, to: mid}, norm]}, "
    "parallel: {join: concat, reads: dense, branches: [[]], count: ways, each: [conv: {to: growth}]}, "
    "conv: {to: width}, parallel: {join: concat, split: [width // 4, width - width // 4], "
    "branches: [[], [conv: {to: mid}]]}, conv: {to: width}, "
    "parallel: {join: product, branches: [[], [read: x, conv: {to: width}], [global_pool, conv: {to: 1}]]}, "
    "parallel: {join: sum, branches: [[], [global_pool, conv: {to: width}], [conv: {to: 1}]]}]"
)


def test_populations_cost_and_name_what_their_members_do() -> None:
    data = model(SWEPT, depths=[1, 2])
    del data["num_classes"], data["act"]
    data["block"] |= {"rounds": 1, "ways": 2, "growth": 4, "mid": "width // 2"}
    branches = [[{"conv": {"to": 8}}], [{"read": "layer1"}, {"conv": {"to": 8}}]]
    joined = {"parallel": {"join": "sum", "branches": branches}}
    data["head"]["layers"] = [joined, *data["head"]["layers"][-3:]]
    random = np.random.default_rng(0)
    columns = {
        "block.rounds": random.integers(0, 3, 60),
        "block.ways": random.integers(1, 4, 60),
        "block.growth": random.integers(1, 9, 60),
        "widths.0": random.choice([1, 8, 16, 24], 60),
        "widths.1": random.choice([8, 16, 24], 60),
    }
    population = Population(config=rf.read(data), columns=columns, image=(16, 16))
    found = cost_population(population, optional=OPTIONAL_COSTS)
    ids: dict[int, str] = {}
    for part in population_parts(population):
        if part.plan is not None and len(part.members) > 1:
            ids |= dict(
                zip(part.members.tolist(), plan_ids(part.plan, np.arange(len(part.members)), {}), strict=True)
            )
    assert found.valid.any()
    assert not found.valid.all()
    for i in range(60):
        try:
            planned = rf.plan(population.member(i))
        except rf.ConfigError:
            assert not found.valid[i]
            continue
        cost = rf.cost(planned, (3, 16, 16))
        assert (found.params[i], found.macs[i], found.activations[i]) == cost.total
        assert found.optional["receptive_field"][i] == cost.receptive_field
        memory = cost.memory()
        assert found.optional["training_memory"][i] == memory.weights + memory.training
        assert ids.get(i, planned.id) == planned.id
    assert ids


def test_layers_of_stem_and_head_have_names_of_their_own() -> None:
    """What stands beside the stages is not called like them, by default or by name."""
    assert faults("[norm]", stem="[norm: {name: layer1}]") == [
        "model.stem.layers.1.norm.name: the name 'layer1' is already taken here"
    ]
    assert faults("[norm]", head="[norm: {name: layer1}]") == [
        "model.head.layers.0.norm.name: the name 'layer1' is already taken here"
    ]


SHRINKING = "[parallel: {join: sum, branches: [[], [conv: {kernel: 3, to: channels, padding: 0}]]}]"


@pytest.mark.parametrize("section", ["stem", "head", "block"])
def test_sizes_that_disagree_are_said_of_their_section(section: str) -> None:
    lists = {"stem": "[]", "head": "[]", "block": f"[{CONV}]"} | {section: SHRINKING}
    with pytest.raises(rf.ConfigError) as error:
        rf.cost(plan(lists["block"], stem=lists["stem"], head=lists["head"]), (3, 9, 9))
    assert error.value.faults[0].path == f"model.{section}"


def test_a_depth_through_tapped_stages_is_that_of_the_longest_path() -> None:
    planned = plan(f"[{CONV}, {CONV}]", head=UNET, depths=[1, 2])
    layers = 1 + 2 * 3 + 2 + 1  # stem, blocks, the head's convolutions, linear
    said = " ".join(str(rf.explain(planned, (3, 8, 8))).split())
    assert f"The longest path from the input to the output has {layers} layers with weights." in said


CASES = [
    case.splitlines()
    for case in (Path(__file__).parent / "structure_faults.txt").read_text(encoding="utf-8").split("\n\n")
    if case.strip()
]
"""The body of a block, and its one fault."""


@pytest.mark.parametrize(("body", "message"), CASES, ids=[body for body, _ in CASES])
def test_mistakes(body: str, message: str) -> None:
    assert faults(body) == [message]


def test_names_of_stages_are_theirs() -> None:
    assert faults("[norm]", stem="[tap: layer1]") == [
        "model.stem.layers.1.tap: 'layer1' is the output of a stage; choose another name"
    ]
    assert faults("[read: layer1]") == ["model.block.body.0.read: unknown tap 'layer1'; none is known here"]
    assert faults("[norm]", stem="[tap: low]", head="[read: layer2]") == [
        "model.head.layers.0.read: unknown tap 'layer2'; known are low, layer1; did you mean 'layer1'?"
    ]
