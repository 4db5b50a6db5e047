"""Reductions, rearrangements and small layers against torch's and timm's own, in 1, 2 and 3 dimensions."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import symbolic_trace
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from resnet_factory import layers
from resnet_factory.layers import POINT, Layer
from resnet_factory.network.modules import make_module

SIDES = [(12,), (12, 6), (6, 6, 12)]
INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


def map_of(channels: int, sides: tuple[int, ...], seed: int = 0) -> Tensor:
    """A random map."""
    return torch.randn(2, channels, *sides, generator=torch.Generator().manual_seed(seed))


def built(layer: Layer, x: Tensor) -> Tensor:
    """What the module of a layer makes of a map: of the planned shape, traced or not, with its MACs."""
    made = make_module(layer)
    assert sum(parameter.numel() for parameter in made.parameters()) == layer.params()
    with torch.no_grad():
        for i, parameter in enumerate(made.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
        with FlopCounterMode(display=False) as counter:
            output: Tensor = made(x)
        assert torch.equal(symbolic_trace(made)(x), output)
    assert counter.get_total_flops() == layer.macs(output[0, 0].numel()) == 0
    assert tuple(output.shape[1:]) == (layer.out_channels, *layer.output(tuple(x.shape[2:])))
    return output


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("over", ["positions", "channels"])
def test_reductions(sides: tuple[int, ...], over: Any) -> None:
    dims = len(sides)
    x = map_of(8, sides)
    axes = tuple(range(2, 2 + dims)) if over == "positions" else (1,)
    expected: dict[Any, Tensor] = {
        "mean": torch.mean(x, axes, keepdim=True),
        "max": torch.amax(x, axes, keepdim=True),
        "sum": torch.sum(x, axes, keepdim=True),
        "norm": torch.linalg.vector_norm(x, dim=axes, keepdim=True),
    }
    for how, wanted in expected.items():
        layer = layers.Reduce(8, over, how, dims=dims)
        assert torch.equal(built(layer, x), wanted)
        assert layer.produces == (POINT if over == "positions" else None)


@pytest.mark.parametrize("sides", SIDES)
def test_softmax(sides: tuple[int, ...]) -> None:
    x = map_of(8, sides)
    dims = len(sides)
    over_positions = torch.unflatten(functional.softmax(x.flatten(2), 2), 2, sides)
    assert torch.equal(built(layers.Softmax(8, "positions", dims=dims), x), over_positions)
    assert torch.equal(built(layers.Softmax(8, "channels", dims=dims), x), functional.softmax(x, 1))
    assert torch.equal(make_module(layers.Softmax(8, "channels", dims=dims))(x), nn.Softmax(1)(x))


def test_cbam_is_reductions_and_products() -> None:
    """Woo et al. 2018, as timm's ChannelAttn and SpatialAttn have it."""
    cbam = pytest.importorskip("timm.layers.cbam")
    x = map_of(16, (7, 5))
    mean, most = (make_module(layers.Reduce(16, "positions", how)) for how in ("mean", "max"))
    theirs = cbam.ChannelAttn(16).eval()
    squeeze = nn.Sequential(theirs.fc1, theirs.act, theirs.fc2)
    assert torch.equal(x * (squeeze(mean(x)) + squeeze(most(x))).sigmoid(), theirs(x))
    mean, most = (make_module(layers.Reduce(16, "channels", how)) for how in ("mean", "max"))
    spatial = cbam.SpatialAttn().eval()
    assert torch.equal(x * spatial.conv(torch.cat([mean(x), most(x)], 1)).sigmoid(), spatial(x))


def test_global_context_is_a_softmax_and_a_sum() -> None:
    """Cao et al. 2019, as in gcresnet33ts; timm makes the sum as a matrix product."""
    global_context = pytest.importorskip("timm.layers.global_context")
    theirs = global_context.GlobalContext(16).eval()
    x = map_of(16, (7, 5))
    weights = make_module(layers.Softmax(1, "positions"))(theirs.conv_attn(x))
    context = make_module(layers.Reduce(16, "positions", "sum"))(x * weights)
    torch.testing.assert_close(x * theirs.gate(theirs.mlp_scale(context)), theirs(x))


@pytest.mark.parametrize("sides", SIDES)
def test_global_response_norm(sides: tuple[int, ...]) -> None:
    grn = pytest.importorskip("timm.layers.grn")
    theirs = grn.GlobalResponseNorm(8, channels_last=False)
    ours = make_module(layers.GlobalResponseNorm(8, dims=len(sides)))
    assert [(k, v.tolist()) for k, v in ours.state_dict().items()] == [
        (k, v.tolist()) for k, v in theirs.state_dict().items()
    ]
    theirs.spatial_dim, theirs.wb_shape = tuple(range(2, 2 + len(sides))), (1, -1, *(1,) * len(sides))
    x = map_of(8, sides)
    with torch.no_grad():
        for i, parameter in enumerate(theirs.parameters()):
            parameter.copy_(torch.randn(8, generator=torch.Generator().manual_seed(i)))
    assert torch.equal(built(layers.GlobalResponseNorm(8, dims=len(sides)), x), theirs(x))


@pytest.mark.parametrize("sides", SIDES)
def test_channel_shuffle(sides: tuple[int, ...]) -> None:
    x = map_of(12, sides)
    expected = torch.unflatten(x, 1, (3, 4)).transpose(1, 2).flatten(1, 2)
    assert torch.equal(built(layers.ChannelShuffle(12, 3, dims=len(sides)), x), expected)


@pytest.mark.parametrize("sides", SIDES)
def test_narrow(sides: tuple[int, ...]) -> None:
    x = map_of(12, sides)
    assert torch.equal(built(layers.Narrow(12, 3, 5, dims=len(sides)), x), x[:, 3:8])


@pytest.mark.parametrize("block", [2, 3])
def test_space_to_depth_is_torchs_and_timms(block: int) -> None:
    x = map_of(4, (12, 6))
    assert torch.equal(built(layers.SpaceToDepth(4, block), x), nn.PixelUnshuffle(block)(x))
    space_to_depth = pytest.importorskip("timm.layers.space_to_depth")
    theirs = space_to_depth.SpaceToDepth(4)
    theirs.bs = block
    assert torch.equal(built(layers.SpaceToDepth(4, block, "position"), x), theirs(x))
    x = map_of(36, (5, 3))
    assert torch.equal(built(layers.DepthToSpace(36, block), x), nn.PixelShuffle(block)(x))
    back = space_to_depth.DepthToSpace(block)
    assert torch.equal(built(layers.DepthToSpace(36, block, "position"), x), back(x))


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("order", ["channel", "position"])
@pytest.mark.parametrize("apart", [False, True])
def test_space_to_depth_element_by_element(sides: tuple[int, ...], order: Any, apart: bool) -> None:
    dims = len(sides)
    blocks = (3, 2, 4)[:dims] if apart else (2,) * dims
    block: Any = blocks if apart else 2
    x = map_of(4, sides)
    layer = layers.SpaceToDepth(4, block, order, dims=dims)
    output = built(layer, x)
    inside = list(itertools.product(*(range(block) for block in blocks)))
    for channel, (number, place) in itertools.product(range(4), enumerate(inside)):
        new = channel * len(inside) + number if order == "channel" else number * 4 + channel
        every = tuple(slice(start, None, step) for start, step in zip(place, blocks, strict=True))
        assert torch.equal(output[:, new], x[:, channel][(slice(None), *every)])
    back = layers.DepthToSpace(layer.out_channels, layer.block, order, dims=dims)
    assert torch.equal(built(back, output), x)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("apart", [False, True])
def test_upsample(sides: tuple[int, ...], apart: bool) -> None:
    dims = len(sides)
    scales = (3, 2, 1)[:dims] if apart else (2,) * dims
    scale: Any = scales if apart else 2
    x = map_of(4, sides)
    size = [side * each for side, each in zip(sides, scales, strict=True)]
    nearest = functional.interpolate(x, size)
    linear = functional.interpolate(x, size, mode=INTERPOLATION[dims], align_corners=False)
    assert torch.equal(built(layers.Upsample(4, scale, dims=dims), x), nearest)
    assert torch.equal(built(layers.Upsample(4, scale, "linear", dims=dims), x), linear)


@pytest.mark.parametrize("sides", SIDES)
def test_activations_with_arguments(sides: tuple[int, ...]) -> None:
    x, dims = map_of(8, sides), len(sides)
    slopes = torch.randn(8, generator=torch.Generator().manual_seed(0))
    leaky = layers.LeakyReLU(8, "leaky_relu", 0.2, dims=dims)
    assert torch.equal(built(leaky, x), functional.leaky_relu(x, 0.2))
    assert torch.equal(built(layers.PReLU(8, "prelu", dims=dims), x), functional.prelu(x, slopes))
    one = layers.PReLU(8, "prelu", per="layer", dims=dims)
    assert torch.equal(built(one, x), functional.prelu(x, slopes[:1]))
    assert torch.equal(make_module(layers.PReLU(8, "prelu", 0.1))(x), functional.leaky_relu(x, 0.1))
    tanh = layers.Activation(8, "gelu_tanh", dims=dims)
    assert torch.equal(built(tanh, x), functional.gelu(x, approximate="tanh"))
