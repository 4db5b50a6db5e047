"""Memory of layers that no shipped network uses yet, against what PyTorch has alive when it runs one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_memory import Following
from torch import nn

import resnet_factory as rf
from resnet_factory import layers
from resnet_factory.layers import Layer
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import Chain

SIDES = [(64,), (12, 12), (5, 6, 7)]
LAYERS: dict[str, tuple[type[Layer], dict[str, Any]]] = {
    **{
        f"{how} of {over}": (layers.Reduce, {"channels": 96, "over": over, "how": how})
        for over in ("positions", "channels")
        for how in ("mean", "max", "sum", "norm")
    },
    "softmax of positions": (layers.Softmax, {"channels": 96, "over": "positions"}),
    "softmax of channels": (layers.Softmax, {"channels": 96, "over": "channels"}),
    "global response norm": (layers.GlobalResponseNorm, {"channels": 96}),
    "shuffle": (layers.ChannelShuffle, {"channels": 96, "groups": 4}),
    "narrow": (layers.Narrow, {"channels": 96, "start": 8, "count": 40}),
    "depth to space": (layers.DepthToSpace, {"channels": 96, "block": 2}),
    "nearest": (layers.Upsample, {"channels": 96, "scale": 2}),
    "linear": (layers.Upsample, {"channels": 96, "scale": 2, "mode": "linear"}),
    "leaky relu": (layers.LeakyReLU, {"channels": 96, "function": "leaky_relu"}),
    "prelu": (layers.PReLU, {"channels": 96, "function": "prelu"}),
    "attention pool": (layers.AttentionPool, {"channels": 96, "to": 10, "heads": 4}),
    **{
        f"{position} attention by {order}, key {key}": (
            layers.SelfAttention,
            {"channels": 96, "heads": 4, "key": key, "position": position, "order": order},
        )
        for position in ("none", "relative", "bias")
        for order in ("role", "head")
        for key in (2, 8)
    },
}


def network_of(layer: Layer, sides: tuple[int, ...]) -> tuple[nn.Module, Plan]:
    """A convolution, so that a gradient is wanted, and the layer."""
    first = layers.Conv(3, layer.channels, dims=layer.dims)
    stem = Chain((("conv1", first), ("part", layer)))
    size: Any = layers.merge_axes(sides)
    plan = Plan(3, stem, (), Chain(), dims=layer.dims, image_size=size)
    return rf.build(plan), plan


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", [2, 8])
def test_what_is_alive_when_torch_runs_the_layer(name: str, sides: tuple[int, ...], batch: int) -> None:
    made, arguments = LAYERS[name]
    if made in (layers.SelfAttention, layers.AttentionPool):
        arguments = arguments | {"sides": sides}
    network, plan = network_of(made(**arguments, dims=len(sides)), sides)
    memory = rf.cost(plan).memory(batch=batch)
    images = torch.randn(batch, *plan.image)
    own = [*network.parameters(), *network.buffers()]
    assert memory.weights == sum(tensor.nbytes for tensor in own)
    with torch.no_grad(), Following(images, *own) as inference:
        network.eval()(images)
    assert inference.peak + images.nbytes == memory.inference
    with Following(images, *own) as training:
        outputs = network.train()(images)
        kept = training.now()
        outputs.backward(torch.ones_like(outputs))
    assert kept + images.nbytes == memory.kept
    # The model makes all gradients of a layer's weights at once, which weighs most beside few small maps.
    weighty = made is layers.AttentionPool and batch == 2
    assert training.peak + images.nbytes == pytest.approx(memory.training, rel=0.2 if weighty else 0.05)
