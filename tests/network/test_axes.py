"""Maps of 1, 2 and 3 axes, with numbers per axis: sizes, padding, MACs, memory and receptive fields."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import resnet_factory as rf
from resnet_factory import layers
from resnet_factory.network.modules import make_module

Draw = Any
CONVOLVE = (functional.conv1d, functional.conv2d, functional.conv3d)


@st.composite
def axes(draw: Draw, dims: int, least: int, most: int) -> Any:
    """One number, or one per axis."""
    number = st.integers(least, most)
    return draw(st.one_of(number, st.tuples(*(number,) * dims).filter(lambda t: len(set(t)) > 1)))


@st.composite
def paddings(draw: Draw, dims: int) -> Any:
    """Padding in any of its forms."""
    pair = st.tuples(st.integers(0, 3), st.integers(0, 3))
    return draw(st.one_of(st.just("same"), axes(dims, 0, 3), st.tuples(*(pair,) * dims), st.integers(0, 2)))


@st.composite
def convolutions(draw: Draw) -> tuple[layers.Conv, tuple[int, ...]]:
    """A convolution of two channels in and out, and the size of a map."""
    dims = draw(st.integers(1, 3))
    layer = layers.Conv(
        2,
        dims=dims,
        to=2,
        kernel=draw(axes(dims, 1, 4)),
        stride=draw(axes(dims, 1, 3)),
        dilation=draw(axes(dims, 1, 2)),
        padding=draw(paddings(dims)),
    )
    size = draw(st.tuples(*(st.integers(5, 9),) * dims))
    assume(min(layer.output(size)) > 0)
    return layer, size


def per_axis(value: Any, dims: int) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value] * dims


def pads(layer: Any, size: tuple[int, ...]) -> list[tuple[int, int]]:
    """The padding of each axis, computed by hand."""
    if layer.padding != "same":
        return [p if isinstance(p, tuple) else (p, p) for p in per_axis(layer.padding, layer.dims)]
    found = []
    numbers = (per_axis(layer.kernel, layer.dims), per_axis(layer.stride, layer.dims))
    dilations = per_axis(getattr(layer, "dilation", 1), layer.dims)
    for side, kernel, stride, dilation in zip(size, *numbers, dilations, strict=True):
        # Padding grows one zero at a time, behind first, until ceil(side / stride) windows fit.
        before = after = 0
        while (side + before + after - dilation * (kernel - 1) - 1) // stride + 1 < -(-side // stride):
            before, after = (before, after + 1) if after == before else (before + 1, after)
        found.append((before, after))
    return found


@settings(deadline=None, max_examples=150)
@given(convolutions())
def test_a_convolution(given: tuple[layers.Conv, tuple[int, ...]]) -> None:
    layer, size = given
    made = make_module(layer)
    x = torch.randn(1, 2, *size, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        y = made(x)
    flat = [width for pair in reversed(pads(layer, size)) for width in pair]
    weight = made.weight
    assert isinstance(weight, Tensor)
    wanted = CONVOLVE[layer.dims - 1](functional.pad(x, flat), weight, None, layer.stride, 0, layer.dilation)
    assert torch.allclose(y, wanted, atol=1e-5)
    assert tuple(y.shape[2:]) == layer.output(size)
    assert layer.params() == sum(parameter.numel() for parameter in made.parameters())
    positions = y[0, 0].numel()
    assert 2 * layer.macs(positions) == counter.get_total_flops()


@settings(deadline=None, max_examples=150)
@given(st.data(), st.booleans(), st.booleans())
def test_a_pool(data: Draw, largest: bool, ceil_mode: bool) -> None:
    dims = data.draw(st.integers(1, 3))
    made = layers.MaxPool if largest else layers.AvgPool
    layer = made(
        2,
        dims=dims,
        kernel=data.draw(axes(dims, 1, 4)),
        stride=data.draw(axes(dims, 1, 3)),
        padding=data.draw(paddings(dims)),
        ceil_mode=ceil_mode,
    )
    size = data.draw(st.tuples(*(st.integers(4, 9),) * dims))
    assume(layer.valid() and min(layer.output(size)) > 0)
    x = torch.randn(1, 2, *size)
    y = make_module(layer)(x)
    assert tuple(y.shape[2:]) == layer.output(size)
    value = float("-inf") if largest else 0.0
    flat = [width for pair in reversed(pads(layer, size)) for width in pair]
    kernel, stride = per_axis(layer.kernel, dims), per_axis(layer.stride, dims)
    if not ceil_mode:
        windows = functional.pad(x, flat, value=value)
        for axis in range(dims):
            windows = windows.unfold(2 + axis, kernel[axis], stride[axis])
        windows = windows.flatten(2 + dims)
        wanted = windows.amax(-1) if largest else windows.mean(-1)
        assert torch.allclose(y, wanted, atol=1e-6)


def test_same_is_timms() -> None:
    """timm's ports of TensorFlow's convolutions and pools."""
    x = torch.randn(2, 4, 13, 10)
    for kernel in (2, 3, 5):
        for stride in (1, 2, 3):
            ours = make_module(layers.Conv(4, to=6, kernel=kernel, stride=stride, padding="same"))  # type: ignore[arg-type]
            theirs = Conv2dSame(4, 6, kernel, stride, bias=False)
            theirs.load_state_dict(ours.state_dict())
            assert torch.equal(ours(x), theirs(x))
            most = make_module(layers.MaxPool(4, kernel=kernel, stride=stride, padding="same"))  # type: ignore[arg-type]
            assert torch.equal(most(x), MaxPool2dSame(kernel, stride)(x))
            mean = make_module(layers.AvgPool(4, kernel=kernel, stride=stride, padding="same"))  # type: ignore[arg-type]
            assert torch.equal(mean(x), AvgPool2dSame(kernel, stride)(x))


RECIPE = """\
# a block that differs between axes
out: width
body:
  - conv: {kernel: [1, 5], to: out, stride: [1, stride], padding: [[0, 0], [1, 3]]}
  - norm
  - act
  - conv: {kernel: [3, 1], to: out, dilation: [2, 1]}
  - norm
post: [act]
"""
SHORTCUT = """\
# along the second axis only
when: change
layers:
  - max_pool: {kernel: [1, 2], stride: [1, stride], padding: same}
  - conv: {to: out}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a block and a shortcut that treat the axes differently."""
    root = tmp_path_factory.mktemp("axes")
    for name, text in {"block/wide_kernel": RECIPE, "shortcut/one_axis": SHORTCUT}.items():
        path = root / "model" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_a_network_whose_axes_differ(folder: str) -> None:
    config = rf.compose(
        "resnet20", "model/block=wide_kernel", "model/shortcut=one_axis", "model.depths=1", config_dir=folder
    )
    plan = rf.plan(config)
    cost = rf.cost(plan, image=(3, 21, 32))
    assert cost.last_map == (64, 21, 8)
    assert tuple(layers.axis_entry(cost.stride, axis) for axis in (0, 1)) == (1, 4)
    network = rf.build(plan).double().eval()
    for part in network.modules():  # a gradient at every position that is read
        if isinstance(part, nn.Conv2d):
            nn.init.ones_(part.weight)
    network.set_submodule("layer3.0.act2", nn.Identity())
    x = torch.ones(1, 3, 21 + 60, 32 + 120, dtype=torch.double, requires_grad=True)
    y = x
    for name in ("conv1", "bn1", "act1", "layer1", "layer2", "layer3"):
        y = network.get_submodule(name)(y)
    torch.autograd.backward(y[0, 0, 40, 19])
    assert x.grad is not None
    touched = x.grad[0].abs().sum(0) != 0
    rows, columns = touched.any(1).sum().item(), touched.any(0).sum().item()
    field = cost.receptive_field
    assert (layers.axis_entry(field, 0), layers.axis_entry(field, 1)) == (rows, columns)
    text = str(plan)
    assert "conv2d 16 -> 16 kernel=1x5 padding=0+0x1+3" in text
    read = rf.read(config.to_dict())
    assert rf.plan(read).id == plan.id


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_memory_with_uneven_padding(dims: int, folder: str) -> None:
    """A padded copy of the map is counted where torch makes one."""
    layer = layers.MaxPool(3, dims=dims, kernel=3, stride=2, padding="same")  # type: ignore[arg-type]
    size = (9,) * dims
    assert layer.extra_bytes(size, 4, False) == 8 * 3 * 5**dims + 4 * 3 * 11**dims
