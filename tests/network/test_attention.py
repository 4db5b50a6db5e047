"""Attention against timm's modules, bit for bit where these compute in the same order, and against loops."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import symbolic_trace
from torch.utils.flop_counter import FlopCounterMode

from resnet_factory.layers import AttentionPool, SelfAttention
from resnet_factory.network.modules import make_module

Sides = Any
"""A tuple of the sides of a map."""
SIDES: list[Sides] = [(6,), (5, 3), (7, 7), (2, 4, 3)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Normal random numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn(layer: Any) -> nn.Module:
    """The module of a layer, every parameter random."""
    made = make_module(layer)
    with torch.no_grad():
        for i, parameter in enumerate(made.parameters()):
            parameter.copy_(0.5 * normal(*parameter.shape, seed=i + 1))
    return made


@pytest.mark.parametrize("sides", [(8, 8), (14, 14), (7, 5)])
@pytest.mark.parametrize(("heads", "key", "value"), [(4, 16, 64), (2, 32, 16)])
def test_relative_positions_are_those_of_timms_bottleneck_attention(
    sides: Sides, heads: int, key: int, value: int
) -> None:
    """What botnet26t_256 and halonets' relatives run: a convolution to q, k and v, then this."""
    bottleneck_attn = pytest.importorskip("timm.layers.bottleneck_attn")
    theirs = bottleneck_attn.BottleneckAttn(24, heads * value, sides, num_heads=heads, dim_head=key)
    ours = make_module(SelfAttention(heads * (2 * key + value), heads, key, "relative", sides))
    ours.load_state_dict(theirs.pos_embed.state_dict())
    x = normal(2, 24, *sides)
    with torch.no_grad():
        assert torch.equal(ours(theirs.qkv(x)), theirs(x))


@pytest.mark.parametrize("sides", [(7, 7), (14, 14), (5, 3)])
@pytest.mark.parametrize("position", ["bias", "none"])
@pytest.mark.parametrize("order", ["head", "role"])
def test_bias_and_none_are_those_of_timms_coatnet(sides: Sides, position: Any, order: Any) -> None:
    maxxvit = pytest.importorskip("timm.models.maxxvit")
    timm_layers = pytest.importorskip("timm.layers")
    table = partial(timm_layers.RelPosBias, window_size=sides) if position == "bias" else None
    theirs = maxxvit.Attention2d(48, 96, 32, rel_pos_cls=table, head_first=order == "head")
    theirs.fused_attn = False
    ours = make_module(SelfAttention(3 * 96, 3, 32, position, sides, order))
    if table:
        ours.load_state_dict(theirs.rel_pos.state_dict())
    x = normal(2, 48, *sides)
    with torch.no_grad():
        assert torch.equal(theirs.proj(ours(theirs.qkv(x))), theirs(x))


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("position", ["none", "relative", "bias"])
@pytest.mark.parametrize("order", ["role", "head"])
def test_attention_pair_by_pair(sides: Sides, position: Any, order: Any) -> None:
    heads, key, value = 2, 3, 5
    layer = SelfAttention(heads * (2 * key + value), heads, key, position, sides, order, dims=len(sides))
    ours = drawn(layer).double()
    x = normal(2, layer.channels, *sides).double()
    tables = [parameter.detach() for parameter in ours.parameters()]
    flat = x.flatten(2)
    parts = [heads * key, heads * key, heads * value]
    if order == "role":
        split = torch.split(flat, parts, 1)
        query, key_of, value_of = (torch.unflatten(part, 1, (heads, -1)) for part in split)
    else:
        query, key_of, value_of = torch.split(torch.unflatten(flat, 1, (heads, -1)), [key, key, value], 2)
    places = list(itertools.product(*(range(side) for side in sides)))
    logits = torch.einsum("nhci,nhcj->nhij", query, key_of) * key**-0.5
    for (i, here), (j, there) in itertools.product(enumerate(places), repeat=2):
        steps = [b - a + side - 1 for a, b, side in zip(here, there, sides, strict=True)]
        if position == "relative":
            for table, step in zip(tables, steps, strict=True):
                logits[:, :, i, j] += query[..., i] @ table[step]
        elif position == "bias":
            # timm's index counts the distance from the key to the query.
            index = 0
            for step, side in zip(steps, sides, strict=True):
                index = index * (2 * side - 1) + 2 * side - 2 - step
            logits[:, :, i, j] += tables[0][index]
    expected = torch.einsum("nhij,nhcj->nhci", logits.softmax(-1), value_of).flatten(1, 2)
    torch.testing.assert_close(ours(x), torch.unflatten(expected, 2, sides), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sides", SIDES)
def test_attention_pool_is_timms(sides: Sides) -> None:
    """timm computes the queries of all tokens and picks one; sums of one row come out in another order."""
    attention_pool2d = pytest.importorskip("timm.layers.attention_pool2d")
    ours = drawn(AttentionPool(32, 10, 4, sides, dims=len(sides)))
    state = ours.state_dict()
    x = normal(3, 32, *sides)
    area = x[0, 0].numel()
    theirs = attention_pool2d.AttentionPool2d(32, (1, area), 10, num_heads=4, qkv_separate=True)
    assert list(theirs.state_dict()) == list(state)
    theirs.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x.flatten(2)[:, :, None]), rtol=1e-5, atol=1e-5)


def every_layer(sides: Sides) -> list[SelfAttention | AttentionPool]:
    dims = len(sides)
    found: list[Any] = [AttentionPool(24, 7, 3, sides, dims=dims)]
    for position, order in itertools.product(("none", "relative", "bias"), ("role", "head")):
        found.append(SelfAttention(40, 2, 4, position, sides, order, dims=dims))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("sides", SIDES)
def test_costs_are_those_of_the_module(sides: Sides) -> None:
    for layer in every_layer(sides):
        made = make_module(layer)
        assert sum(parameter.numel() for parameter in made.parameters()) == layer.params()
        with FlopCounterMode(display=False) as counter:
            output = made(normal(1, layer.channels, *sides))
        assert counter.get_total_flops() == 2 * layer.macs(output[0, 0].numel())
        size = layer.output(sides)
        assert tuple(output.shape[1:]) == (layer.out_channels, *(() if layer.produces else size))


@pytest.mark.parametrize("sides", SIDES)
def test_attention_traces_and_exports(sides: Sides) -> None:
    for layer in every_layer(sides):
        made = drawn(layer).eval()
        x = normal(2, layer.channels, *sides)
        with torch.no_grad():
            assert torch.equal(symbolic_trace(made)(x), made(x))
            assert torch.equal(torch.export.export(made, (x,)).module()(x), made(x))


@pytest.mark.parametrize("sides", SIDES)
def test_a_map_of_another_size_is_refused(sides: Sides) -> None:
    other = (*sides[:-1], sides[-1] + 1)
    for layer in every_layer(sides):
        assert not layer.misfit(sides)
        wanted = "x".join(map(str, sides))
        assert layer.misfit(other).startswith(f"takes maps of size {wanted}, but ")
        with pytest.raises(AssertionError, match=f"made for maps of {wanted}"):
            make_module(layer)(normal(1, layer.channels, *other))
    free = SelfAttention(40, 2, 4, dims=len(sides))
    assert not free.misfit(other)
    assert make_module(free)(normal(1, 40, *other)).shape[2:] == other


def test_every_position_reads_every_other() -> None:
    sides: Sides = (5, 4)
    layer = SelfAttention(40, 2, 4, "relative", sides)
    x = normal(1, 40, 5, 4).requires_grad_()
    drawn(layer)(x)[:, :, 0, 3].sum().backward()
    assert layer.reach is None
    assert x.grad is not None
    assert x.grad.abs().amax(1).min() > 0
