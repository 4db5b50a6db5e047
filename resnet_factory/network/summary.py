"""Check a built network against its plan, and print torchinfo's layer table."""

from __future__ import annotations

import torch
import torchinfo

from resnet_factory.costing.complexity import Cost
from resnet_factory.network.builder import build
from resnet_factory.network.data_flow import verify_data_flow
from resnet_factory.network.network import Network


def build_for_summary(cost: Cost) -> Network:
    """Build the plan behind `cost` and check that the module has the planned parameters and data flow.

    Raises:
        AssertionError: plan and module disagree, which is a bug in this package.
    """
    network = build(cost.plan)
    found = sum(parameter.numel() for parameter in network.parameters())
    assert found == cost.params, f"built {found} parameters, planned {cost.params}"
    verify_data_flow(network, cost.image)
    return network


def torchinfo_summary(network: Network, image: tuple[int, ...]) -> str:
    """Return torchinfo's table: every layer with its output shape, parameters and multiply-adds."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    statistics = torchinfo.summary(
        network,
        input_size=(1, *image),
        depth=6,
        device=device,
        col_names=("output_size", "num_params", "mult_adds"),
        row_settings=("var_names",),
        verbose=0,
    )
    network.to("cpu")
    return str(statistics)
