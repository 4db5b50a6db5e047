"""Phrases shared by several explanations."""

from __future__ import annotations

from itertools import groupby

from resnet_factory.costing.complexity import Cost
from resnet_factory.costing.node_costs import Tally
from resnet_factory.layers import AvgPool, Conv, Layer, MaxPool, Norm, ZeroPad, axes_text, largest_axis_entry
from resnet_factory.planning.network_plan import PlanBlock
from resnet_factory.planning.paths import path_widths
from resnet_factory.planning.plan_text import layer_plan_text
from resnet_factory.reporting.explanation.equations import (
    chain,
    many,
    number,
    percent,
    weights_equation,
)
from resnet_factory.reporting.explanation.layer_table import (
    LayerRecord,
)
from resnet_factory.reporting.wording import kernel_wording, window_wording

SHOWN = 6
"""The largest number of blocks of one kind that are listed."""


def layer_phrase(part: LayerRecord) -> str:
    """Return the name of a layer in prose."""
    match part.layer:
        case Conv(kernel=kernel, stride=stride):
            strides = f"stride {axes_text(stride)} and " if largest_axis_entry(stride) > 1 else ""
            own = f"{weights_equation(part.layer)} {weights_phrase(part.layer)}"
            return f"a {kernel_wording(kernel, part.layer.dims)} convolution with {strides}{own}"
        case MaxPool(kernel=kernel, stride=stride):
            return f"the maximum of {window_wording(kernel, part.layer.dims)}, stride {axes_text(stride)}"
        case AvgPool(kernel=kernel, stride=stride):
            return f"the mean of {window_wording(kernel, part.layer.dims)}, stride {axes_text(stride)}"
        case ZeroPad(channels=channels, to=to):
            added = to - channels
            difference = chain(f"{number(to)}−{number(channels)}", number(added))
            return f"{many(added, 'channel')} of zeros, {difference}"
        case Norm():
            return f"a norm of {number(part.layer.params())} parameters"
        case layer:
            return layer_plan_text(layer)


def weights_phrase(layer: Layer) -> str:
    """Return `weights_equation` if all of a layer's parameters are multiplied with, else `parameters`."""
    return "weights" if layer.params() == layer.macs(1) else "parameters"


def widths_phrase(block: PlanBlock) -> str:
    """Return the channels along a block's longest path as 256→64→256."""
    short = [width for width, _ in groupby([block.in_channels, *path_widths(block.node, block.in_channels)])]
    return "→".join(map(number, short if len(short) > 1 else short * 2))


def cost_shares_phrase(tally: Tally, cost: Cost) -> str:
    """Return parameters and multiply-adds with their share of the whole network."""
    return (
        f"{number(tally.params)} parameters ({percent(tally.params, cost.params)} of all), "
        f"{number(tally.macs)} multiply-adds ({percent(tally.macs, cost.macs)})"
    )
