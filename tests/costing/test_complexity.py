"""Costs at every depth: rows sum to totals, reach Python as plain data, and agree with other counters."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchinfo
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import resnet_factory as rf
from resnet_factory.config.model_index import index_models
from resnet_factory.costing.node_costs import Tally
from resnet_factory.reporting.columns import COLUMNS, DEPTHS
from resnet_factory.reporting.explanation.layer_table import collect_layer_table, layer_table_total
from resnet_factory.reporting.html import html_of_plan
from resnet_factory.reporting.other_counters import counts_of_other_tools

MODELS = index_models()
VARIED = [
    "resnet18", "resnet50d", "plain20", "preact_resnet50", "seresnet50", "ecaresnet50d", "resnetblur50",
    "res2net50_26w_4s", "resnest14d", "skresnet18", "resnetv2_50x1_bit", "resnetv2_50d_evos", "regnetz_005",
    "rezero_resnet50", "pyramidnet110_a48",
]  # fmt: skip
"""Networks that between them have every kind of layer and node."""


def costed(name: str, side: int | None = None) -> rf.CostReport:
    plan = rf.plan(MODELS.config(name))
    side = side or plan.image_size
    return rf.cost(plan, (plan.in_channels, side, side))


@pytest.mark.parametrize("name", VARIED)
def test_rows_sum_to_the_total_at_every_depth(name: str) -> None:
    cost = costed(name)
    for depth in DEPTHS:
        total = Tally(0, 0, 0)
        for row in cost.rows(depth):
            total = total.plus(row.tally)
        assert total == cost.total, depth
    assert layer_table_total(collect_layer_table(cost)) == cost.total
    assert [row.name for row in cost.layers] == [leaf.name for leaf in cost.plan.leaves]


@pytest.mark.parametrize("name", VARIED)
def test_other_counters_differ_as_said(name: str) -> None:
    """torch's counter and torchinfo, run on the built module, give exactly the numbers that are printed."""
    cost = costed(name, 96)
    with torch.device("meta"):
        network = rf.build(cost.plan).eval()
    with FlopCounterMode(display=False) as flops:
        network(torch.empty(1, *cost.image, device="meta"))
    statistics = torchinfo.summary(network, input_size=(1, *cost.image), device="meta", verbose=0)
    numbers = {(peer.tool, peer.quantity): peer.number for peer in counts_of_other_tools(cost)}
    assert numbers["torch FlopCounterMode", "flops"] == flops.get_total_flops()
    assert numbers["torchinfo", "mult-adds"] == statistics.total_mult_adds
    for peer in counts_of_other_tools(cost)[1:]:
        reasons = sum(int(reason.split()[0].replace(",", "")) for reason in peer.why)
        assert peer.number - peer.ours == reasons


@pytest.mark.parametrize(
    ("name", "flops", "activations"),
    [  # pycls dev/model_complexity.json
        ("resnet50", 4_089_185_256, 11_315_688),
        ("resnet101", 7_801_406_440, 16_433_640),
        ("resnet152", 11_513_627_624, 22_755_816),
        ("resnext50_32x4d", 4_230_480_872, 14_602_216),
        ("regnetx_040", 3_964_499_816, 12_201_608),
        ("regnety_040", 3_973_301_344, 12_287_200),
    ],
)
def test_pycls_rules_give_pycls_numbers(name: str, flops: int, activations: int) -> None:
    found = {
        peer.quantity: peer.number
        for peer in counts_of_other_tools(costed(name, 224))
        if peer.tool == "pycls"
    }
    assert found == {"flops": flops, "activations": activations}


def test_plain_data() -> None:
    cost = costed("resnet18")
    blocks = cost.to_dict("block", ["name", "params", "params_share"], sort="-params")
    assert list(blocks) == ["name", "params", "params_share"]
    assert blocks["name"][:2] == ["layer4.1", "layer4.0"]
    assert sum(blocks["params"]) == 11_689_512
    assert sum(blocks["params_share"]) == pytest.approx(1)
    everything = cost.to_dict("layer")
    assert list(everything) == [name for name in COLUMNS if name not in ("length", "map_depth")]
    assert {len(column) for column in everything.values()} == {len(cost.plan.leaves)}
    assert everything["output"][0] == (64, 112, 112)
    assert everything["height"][-1] is None


def test_a_frame_needs_pandas_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = costed("resnet18")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pandas"):
        cost.to_frame()
    assert cost.to_dict()["params"]


def test_a_frame_holds_what_the_plain_data_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    cost = costed("resnet18")
    frame = cost.to_frame("layer", ["name", "macs"])
    assert frame == cost.to_dict("layer", ["name", "macs"])
    assert sum(frame["macs"]) == cost.macs


def test_wrong_depths_columns_and_batches_are_all_named() -> None:
    cost = costed("resnet20")
    with pytest.raises(rf.ConfigError) as error:
        cost.to_dict("blok", ["parms"], sort="-mac", batch=0, dtype="int8")
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["depth", "columns.0", "sort", "batch", "dtype"]
    assert "did you mean 'block'" in lines[0]
    assert "did you mean 'params'" in lines[1]


def test_reprs_are_one_line_and_html_holds_the_numbers() -> None:
    cost = costed("resnet50")
    assert repr(cost) == (
        f"<Cost of resnet50 {cost.plan.id} at 3x224x224: 25,557,032 parameters, 4,089,184,256 MACs, "
        "11,114,984 activations>"
    )
    assert repr(cost.plan) == f"<Plan resnet50 {cost.plan.id}: 3-4-6-3 blocks of bottleneck>"
    page = cost._repr_html_()
    assert page.startswith("<table>")
    assert "4,089,184,256" in page
    plan = html_of_plan(cost.plan)
    assert "bottleneck" in plan
    assert "layer4.2.conv3: conv2d 512 -&gt; 2048" in plan


def test_a_notebook_shows_plans_as_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans know no HTML: importing the package in IPython registers it with IPython's formatters."""
    shown: dict[type, Callable[[Any], str]] = {}
    html = SimpleNamespace(for_type=shown.__setitem__)
    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": html}))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    importlib.reload(rf)
    assert shown[rf.Plan](rf.plan(MODELS.config("resnet18"))).startswith("<table>")


@given(height=st.integers(33, 400), width=st.integers(33, 400))
def test_costs_do_not_depend_on_which_axis_is_which(height: int, width: int) -> None:
    plan = rf.plan(MODELS.config("resnet18"))
    one, other = rf.cost(plan, (3, height, width)), rf.cost(plan, (3, width, height))
    assert one.total == other.total
    assert one.last_map == (512, *reversed(other.last_map[1:]))
