"""Every shipped model: what it composes to, costs and builds. A new YAML is tested by being there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from torch.utils.flop_counter import FlopCounterMode

import resnet_factory as rf
from resnet_factory.config.composition import compose_all
from resnet_factory.config.model_index import index_models
from resnet_factory.planning.nodes import leaves

MODELS = index_models().names()
HUGE = 250_000_000
"""Parameters above which a network is planned but not run, to spare memory and time."""


def test_totals(golden: Callable[[str, str], None]) -> None:
    """Plan ids, parameters, MACs and activations of every model: a change of any default shows here."""
    lines = []
    for name in MODELS:
        plan = rf.plan(index_models().config(name))
        cost = rf.cost(plan, image=plan.image)
        lines.append(f"{name} {plan.id} {cost.params} {cost.macs} {cost.activations}")
    golden("models.txt", "\n".join(lines) + "\n")


@pytest.mark.parametrize("name", MODELS)
def test_module_is_the_plan(name: str) -> None:
    """Names, order, shapes, parameters and multiply-adds: the module's own, and the plan's."""
    config = index_models().config(name)
    plan = rf.plan(config)
    cost = rf.cost(plan, image=plan.image)
    with torch.device("meta"):
        network = rf.build(plan)
        image = torch.empty(1, *cost.image)
    assert sum(parameter.numel() for parameter in network.parameters()) == cost.params
    with FlopCounterMode(display=False) as counter:
        output = network.eval()(image)
    assert counter.get_total_flops() == 2 * cost.macs
    assert tuple(output.shape[1:]) == cost.shape

    owners = [key.rpartition(".")[0] for key in network.state_dict()]
    planned = [leaf.name for leaf in leaves(plan.root)]
    # A layer may be a module of several, as attention_pool is.
    assert all(owner in planned or owner.rpartition(".")[0] in planned for owner in owners)
    assert len(set(planned)) == len(planned)
    for rows in (cost.sections, cost.blocks, cost.layers):
        assert sum(row.tally.params for row in rows) == cost.params
        assert sum(row.tally.macs for row in rows) == cost.macs
        assert sum(row.tally.activations for row in rows) == cost.activations


@pytest.mark.parametrize("name", MODELS[:: max(len(MODELS) // 12, 1)])
def test_catalogue_reads_what_hydra_composes(name: str) -> None:
    composed = compose_all("config", [f"model={name}"]).model
    assert index_models().config(name) == composed == rf.compose(name)
    assert index_models().config(name).to_dict() == composed.to_dict()


@pytest.mark.parametrize(
    "file", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda file: str(file.relative_to(ROOT / "conf"))
)
def test_first_line_says_what_it_is(file: Path) -> None:
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 10


TEXTS = ["resnet18", "resnet50", "resnet20", "plain20", "preact_resnet50", "resnet50d"]


@pytest.mark.parametrize("name", TEXTS)
def test_plan_text(name: str, golden: Callable[[str, str], None]) -> None:
    plan = rf.plan(index_models().config(name))
    golden(f"plan_{name}.txt", f"{plan}\n")
    assert plan == rf.plan(index_models().config(name))
    assert hash(plan) == hash(rf.plan(index_models().config(name)))


def test_each_id_is_one_network() -> None:
    plans = {name: rf.plan(index_models().config(name)) for name in MODELS}
    by_id: dict[str, rf.Plan] = {}
    for plan in plans.values():
        assert by_id.setdefault(plan.id, plan) == plan
    assert plans["resnet50"].id != plans["notebook_resnet50"].id
