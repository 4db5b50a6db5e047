"""Networks for sequences and volumes: parameters, shapes and multiply-adds as torch counts them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from strategies import axial_models
from torch.utils.flop_counter import FlopCounterMode

import resnet_factory as rf
from resnet_factory.planning.network_plan import Plan

SIZES = {1: (320,), 3: (48, 64, 48)}
SAMPLE = [
    "resnet18", "resnet50", "resnet50d", "resnext50_32x4d", "preact_resnet50", "resnet20", "seresnet50",
    "ecaresnet26t", "res2net50_26w_4s", "resnest14d", "skresnet18", "resnetblur50", "regnety_002",
    "nf_resnet50", "pyramidnet110_a48",
]  # fmt: skip


def check(plan: Plan, image: tuple[int, ...]) -> None:
    """Hold parameters, output shape and multiply-adds against torch."""
    torch.manual_seed(0)
    network = rf.build(plan).eval()
    cost = rf.cost(plan, image)
    assert cost.params == sum(parameter.numel() for parameter in network.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        output = network(torch.randn(1, *image))
    assert tuple(output.shape[1:]) == cost.shape
    assert 2 * cost.macs == counter.get_total_flops()


@pytest.mark.parametrize("dims", SIZES)
@pytest.mark.parametrize("name", SAMPLE)
def test_counts_are_those_of_torch(name: str, dims: int) -> None:
    overrides = ["model.depths=1"] if rf.compose(name).text.find('"generator"') < 0 else []
    plan = rf.plan(rf.compose(name, f"model.dims={dims}", *overrides))
    check(plan, (plan.in_channels, *SIZES[dims]))


@settings(max_examples=25)
@given(axial_models())
def test_windows_that_differ_from_axis_to_axis_are_counted_as_torch_does(data: dict[str, Any]) -> None:
    plan = rf.plan(rf.read(data))
    try:
        rf.cost(plan)
    except rf.ConfigError:
        return  # nothing left of a map
    check(plan, plan.image)


@pytest.mark.parametrize("dims", SIZES)
def test_a_file_gives_the_network_back(dims: int, tmp_path: Any) -> None:
    network = rf.create_model("resnet18", f"model.dims={dims}", "model.widths=8").eval()
    rf.save(network, tmp_path / "net.safetensors")
    x = torch.randn(2, 3, *SIZES[dims])
    with torch.no_grad():
        assert torch.equal(rf.load(tmp_path / "net.safetensors").eval()(x), network(x))
