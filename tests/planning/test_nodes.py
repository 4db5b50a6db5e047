"""Nodes of a plan: a kind that no report has heard of is costed, drawn and run; few places ask for a kind."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from conftest import ROOT
from torch.utils.flop_counter import FlopCounterMode

import resnet_factory as rf
from resnet_factory.layers import Activation, BatchNorm, Conv
from resnet_factory.network.data_flow import verify_data_flow
from resnet_factory.network.modules import make_module
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import CONCAT, Chain, Parallel
from resnet_factory.reporting.difference.block_changes import find_changed_blocks
from resnet_factory.reporting.drawing.mermaid import mermaid_flowchart


@dataclass(frozen=True)
class Dense:
    """Chains of which each reads x and the outputs of all before it (Huang et al. 2017, eq. 2)."""

    layers: tuple[Chain, ...]

    @property
    def lowered(self) -> Chain:
        """The same in kinds there are."""
        return Chain(
            tuple((str(i), Parallel((Chain(), layer), CONCAT)) for i, layer in enumerate(self.layers))
        )

    def items(self, prefix: str) -> Iterator[tuple[str, Any]]:
        return self.lowered.items(prefix)

    def headings(self, say: Callable[[Any], str]) -> Iterator[str]:
        return self.lowered.headings(say)

    def changed(self, change: Callable[[Any], Any]) -> Dense:
        return Dense(tuple(layer.changed(change) for layer in self.layers))

    def walked(self, walk: Any, value: Any, name: str) -> Any:
        return walk.chain(self.lowered, value, name)


@make_module.register
def _make_dense(node: Dense) -> torch.nn.Module:
    return make_module(node.lowered)


GROWTH = 8
DENSE = Dense(
    tuple(
        Chain(
            (
                ("bn", BatchNorm(16 + GROWTH * i)),
                ("act", Activation(16 + GROWTH * i, "relu")),
                ("conv", Conv(16 + GROWTH * i, GROWTH, kernel=3, padding=1)),
            )
        )
        for i in range(2)
    )
)


def with_dense(kind: Any) -> Plan:
    """A ResNet-20 with two dense layers behind its stem's."""
    plan = rf.plan("resnet20")
    back: Any = ("reduce", Conv(16 + 2 * GROWTH, 16, kernel=1))
    return replace(plan, stem=Chain((*plan.stem.children, ("dense", kind), back)))


def test_a_kind_that_nothing_has_heard_of() -> None:
    ours, lowered = with_dense(DENSE), with_dense(DENSE.lowered)
    cost, expected = rf.cost(ours), rf.cost(lowered)
    assert ours.id == lowered.id
    assert str(ours) == str(lowered)
    assert cost.layers == expected.layers
    assert cost.receptive_fields == expected.receptive_fields
    assert cost.memory(4) == expected.memory(4)
    assert str(rf.explain(ours)) == str(rf.explain(lowered))
    assert mermaid_flowchart(cost) == mermaid_flowchart(expected)
    before = rf.cost(rf.plan("resnet20"))
    assert find_changed_blocks(before, cost) == find_changed_blocks(before, expected)


def test_it_runs_as_planned_and_counted() -> None:
    plan = with_dense(DENSE)
    network = rf.build(plan).eval()
    verify_data_flow(network, (3, 32, 32))
    x = torch.randn(1, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        output = network(x)
    cost = rf.cost(plan)
    assert counter.get_total_flops() == 2 * cost.macs
    assert sum(value.numel() for value in network.parameters()) == cost.params
    y = network[:3](x)
    for layer in network.get_submodule("dense").children():
        y = torch.cat([y, layer.get_submodule("1")(y)], 1)
    torch.testing.assert_close(network[4:](y), output)


def test_few_places_ask_for_a_kind_of_node() -> None:
    """Whoever needs a value for each node walks; functions that ask for the kind by themselves are few."""
    places = []
    for file in sorted((ROOT / "resnet_factory").rglob("*.py")):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef) and any(asks(node) for node in ast.walk(function)):
                places.append(f"{file.stem}.{function.name}")
    assert 0 < len(places) <= 8, places


def asks(node: ast.AST) -> bool:
    """Return whether code tests something for being a chain or a parallel."""
    kinds: list[ast.AST] = []
    if isinstance(node, ast.MatchClass):
        kinds = [node.cls]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
        kinds = list(ast.walk(node.args[1]))
    return any(isinstance(kind, ast.Name) and kind.id in ("Chain", "Parallel") for kind in kinds)
