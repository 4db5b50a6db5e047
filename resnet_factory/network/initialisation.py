"""Initialise weights in the order of the reference libraries, so that one seed gives the same weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from resnet_factory import layers
from resnet_factory.config.schema import Init
from resnet_factory.network.truncated_normal import draw_truncated_normal
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import leaves


def initialise(network: nn.Module, plan: Plan) -> None:
    """Redraw every convolution (and linear layer) of a freshly constructed network by the plan's scheme.

    Then norms with `zero_init` are set to 0, and layers with an `init` factor are scaled by it.
    Source of the schemes: torchvision's and timm's constructors, named in conf/model/init.
    """
    scheme = plan.init
    for name, layer in leaves(plan.root, shortcuts_first=scheme.shortcut == "first"):
        part = network.get_submodule(name)
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            _draw_conv(part, scheme)
        elif isinstance(part, nn.Linear):
            _draw_linear(part, scheme)
        if isinstance(layer, layers.Norm) and layer.zero_init:
            weight = part.weight
            assert isinstance(weight, nn.Parameter)
            nn.init.zeros_(weight)
        elif isinstance(layer, layers.Conv | layers.Linear) and layer.init != 1.0:
            # In a scaled convolution the gain is scaled, in any other the weights.
            weight = getattr(part, "gain", part.weight)
            assert isinstance(weight, nn.Parameter)
            with torch.no_grad():
                weight.mul_(layer.init)


def _draw_conv(part: nn.Conv1d | nn.Conv2d | nn.Conv3d, scheme: Init) -> None:
    fan_out = math.prod(part.kernel_size) * part.out_channels
    match scheme.conv:
        case "he":
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        case "fan_in":
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="linear")
        case "fan_out":
            # As "he", except for the last bit of the standard deviation, which affects those of the weights.
            nn.init.normal_(part.weight, 0.0, math.sqrt(2.0 / fan_out))
        case "fan_out_per_group":
            nn.init.normal_(part.weight, 0.0, math.sqrt(2.0 / (fan_out // part.groups)))
        case "trunc_normal":
            draw_truncated_normal(part.weight, 0.02)
    if scheme.bias == "zero" and part.bias is not None:
        nn.init.zeros_(part.bias)


def _draw_linear(part: nn.Linear, scheme: Init) -> None:
    match scheme.linear:
        case "torch":
            return
        case "normal":
            nn.init.normal_(part.weight, 0.0, 0.01)
        case "trunc_normal":
            draw_truncated_normal(part.weight, 0.02)
    if part.bias is not None:
        nn.init.zeros_(part.bias)
