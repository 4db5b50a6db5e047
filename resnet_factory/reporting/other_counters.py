"""Counts of other tools for the same network, and the reasons for the differences.

Sources: torch 2.13 `torch/utils/flop_counter.py`; torchinfo 1.8 `layer_info.py: calculate_macs`;
pycls `models/blocks.py: conv2d_cx, linear_cx, pool2d_cx, norm2d_cx`.
"""

from __future__ import annotations

from typing import NamedTuple

from resnet_factory import layers
from resnet_factory.costing.complexity import Cost


class OtherCount(NamedTuple):
    """One tool's count of one quantity."""

    tool: str
    quantity: str
    number: int
    ours: int
    """Our count."""
    why: tuple[str, ...]
    """The reasons for the difference; empty if there is none."""


def counts_of_other_tools(cost: Cost) -> tuple[OtherCount, ...]:
    """Return the counts of torch's FlopCounterMode, torchinfo and pycls for this network and image.

    pycls has no layers for other than 2 dimensions, and so no counts there.
    """
    placed = [(leaf.layer, row) for leaf, row in zip(cost.plan.leaves, cost.layers, strict=True)]
    positions = [(layer, row.positions) for layer, row in placed]
    found = (
        OtherCount(
            "torch FlopCounterMode", "flops", 2 * cost.macs, cost.macs, ("a multiply and an add are two",)
        ),
        _torchinfo_count(cost, positions),
    )
    if cost.plan.dims != 2:
        return found
    return (*found, _pycls_flops(cost, positions), _pycls_activations(cost, positions))


Placed = list[tuple[layers.Layer, int]]
"""Layers, each with its number of output positions."""


def _torchinfo_count(cost: Cost, placed: Placed) -> OtherCount:
    """Convolutions: parameters times positions, biases included; other modules: `weight` and `bias` once."""
    biases = sum(layer.biases() * area for layer, area in placed)
    norms = sum(2 * layer.channels for layer, _ in placed if isinstance(layer, layers.Norm))
    once = layers.Scale | layers.PReLU | layers.GlobalResponseNorm
    scales = sum(layer.params() for layer, _ in placed if isinstance(layer, once))
    attention = sum(_torchinfo_attention_count(layer, area) for layer, area in placed)
    blurs = sum(layer.macs(area) for layer, area in placed if isinstance(layer, layers.BlurPool))
    channel = sum(
        layer.macs(1) - layer.params() for layer, _ in placed if isinstance(layer, layers.ChannelConv)
    )
    number = cost.macs + biases + norms + scales - blurs - channel - attention
    return OtherCount(
        "torchinfo",
        "mult-adds",
        number,
        cost.macs,
        _reasons_of_other_count(
            (norms, "weights and biases of norms, once each"),
            (biases, "biases, at every position"),
            (scales, "trained factors, once each"),
            (-attention, "products between positions in attention, which it does not count"),
            (-blurs, "fixed blur filters, which it does not count"),
            (-channel, "convolutions along channels, which it counts once"),
        ),
    )


def _torchinfo_attention_count(layer: layers.Layer, area: int) -> int:
    """Return the multiply-adds of attention beyond one use of each weight matrix."""
    if isinstance(layer, layers.SelfAttention):
        return layer.macs(area)
    if isinstance(layer, layers.AttentionPool):
        matrices = layer.params() - layer.biases() - layer.tokens * layer.channels
        return layer.macs(area) - matrices
    return 0


def _pycls_flops(cost: Cost, placed: Placed) -> OtherCount:
    biases = sum(layer.biases() for layer, _ in placed)
    return OtherCount(
        "pycls",
        "flops",
        cost.macs + biases,
        cost.macs,
        _reasons_of_other_count((biases, "biases, once each")),
    )


def _pycls_activations(cost: Cost, placed: Placed) -> OtherCount:
    pooled = sum(layer.channels * area for layer, area in placed if isinstance(layer, layers.MaxPool))
    return OtherCount(
        "pycls",
        "activations",
        cost.activations + pooled,
        cost.activations,
        _reasons_of_other_count((pooled, "elements that max-pooling outputs")),
    )


def _reasons_of_other_count(*parts: tuple[int, str]) -> tuple[str, ...]:
    return tuple(f"{amount:+,} {what}" for amount, what in parts if amount)
