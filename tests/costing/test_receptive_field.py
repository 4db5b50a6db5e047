"""Receptive fields against published figures, and against what gradients of the built network reach."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

import resnet_factory as rf
from resnet_factory import layers
from resnet_factory.config.model_index import index_models
from resnet_factory.network.modules import make_module
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import Chain
from resnet_factory.reporting.explanation.layer_table import GATE, collect_layer_table

MODELS = index_models()
NARROW = [
    "model.in_channels=1", "model.num_classes=0", "++model.stem.width=4", "model/norm=none",
    "model/head=none", "model.act=relu",
]  # fmt: skip
"""Few channels, for speed; no norms, whose statistics reach everywhere."""


@pytest.mark.parametrize(
    ("name", "pixels", "stride"),
    [  # for the shapes of torchvision; TF-slim's strides stand elsewhere (483, Araujo et al. 2019, table 1)
        ("resnet18", 435, 32),
        ("resnet50", 427, 32),
        ("resnet152", 1451, 32),
        ("resnet20", 81, 4),  # 3 + 6·2 + (2 + 5·4) + (4 + 5·8)
    ],
)
def test_published_figures(name: str, pixels: int, stride: int) -> None:
    cost = rf.cost(rf.plan(MODELS.config(name)))
    assert (cost.receptive_field, cost.stride) == (pixels, stride)
    assert cost.padding == pixels // 2


def averaging(network: nn.Module) -> nn.Module:
    """Maximum pools made means, of which every pixel moves the output; factors made 1."""
    for name, part in list(network.named_modules()):
        if isinstance(part, nn.MaxPool2d):
            mean = nn.AvgPool2d(part.kernel_size, part.stride, part.padding, ceil_mode=part.ceil_mode)
            network.set_submodule(name, mean)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.ones_(parameter)
    return network.double().eval()


def positive(network: nn.Module) -> nn.Module:
    """The same with all weights positive, so that nothing cancels out and no ReLU cuts off."""
    for parameter in network.parameters():
        nn.init.constant_(parameter, 1 / parameter[0].numel())
    return averaging(network)


def reached(gradient: torch.Tensor) -> Iterator[tuple[int, int]]:
    """First and last position with a gradient, axis by axis: rows, then columns of an image."""
    for axis in range(2, gradient.ndim):
        others = [other for other in range(gradient.ndim) if other != axis]
        found = gradient.abs().amax(dim=others).nonzero().flatten()
        yield int(found[0]), int(found[-1])


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("resnet18", ["model.widths=[4,4,4,4]"]),
        ("resnet50", ["model.widths=[4,4,4,4]"]),
        ("resnet50", ["model.widths=[4,4,4,4]", "model/block=bottleneck_v1"]),
        ("resnet50d", ["model.widths=[4,4,4,4]"]),
        ("resnet50", ["model.widths=[4,4,4,4]", "model.output_stride=8"]),
        ("resnet18", ["model.widths=[4,4,4,4]", "model/antialias=blur"]),
        ("resnet18", ["model.widths=[4,4,4,4]", "model/shortcut=avg_down", "model.strides=[2,3,1,2]"]),
        ("resnet18", ["model.widths=[4,4,4,4]", "model/stem_pool=max_zero_padded"]),
        ("resnet20", ["model.widths=[4,8,8]"]),
        ("plain20", ["model.widths=[4,4,4]"]),
        ("res2net50_26w_4s", ["model.widths=[4,4,4,4]", "model.base_width=16"]),
    ],
)
def test_gradients_reach_as_far_as_the_plan_says(name: str, overrides: list[str]) -> None:
    config = rf.compose(name, *NARROW, *overrides)
    last = f"layer{len(config.depths)}"
    plan = rf.plan(rf.compose(name, *NARROW, *overrides, f"++model.features=[{last}]"))
    seen = rf.cost(plan, (1, 97, 97)).receptive_fields.last
    # Room on every side of what the chosen position sees, odd so that rounding shows.
    position = -(-seen.before // seen.stride) + 1
    side = seen.stride * position + seen.after + 2 * seen.stride + 1
    image = torch.rand(1, 1, side, side, dtype=torch.double, requires_grad=True)
    output = positive(rf.build(plan))(image)[last]
    output[:, :, position, position].sum().backward()
    assert image.grad is not None
    ends = position * seen.stride - seen.before, position * seen.stride + seen.after
    assert list(reached(image.grad)) == [ends, ends]


def shipped_layers() -> dict[str, layers.Layer]:
    """One layer of each kind and shape of window in the shipped networks, the narrowest."""
    found: dict[str, layers.Layer] = {}
    for name in MODELS.names():
        for _, layer in rf.plan(MODELS.config(name)).leaves:
            whole = isinstance(layer, layers.Norm | layers.Softmax)  # through the statistics of the map
            if layers.MAP not in layer.accepts or whole or layer.reach is None:
                continue
            key = f"{type(layer).__name__} {layer.dims} {layer.reach} {layer.step}"
            if key not in found or layer.channels < found[key].channels:
                found[key] = layer
    return found


def test_every_layer_reaches_as_far_as_it_says() -> None:
    """What a new kind of layer must define: a shipped network that uses it brings it here."""
    found = shipped_layers()
    assert len(found) > 20
    for name, layer in found.items():
        size = (31,) * layer.dims
        image = torch.rand(1, layer.channels, *size, dtype=torch.double, requires_grad=True)
        output = averaging(nn.Sequential(make_module(layer)))(image + 1)
        assert tuple(output.shape[1:]) == (layer.out_channels, *layer.output(size)), name
        steps = [layers.axis_entry(layer.step, axis) for axis in range(layer.dims)]
        positions = [10 // step for step in steps]
        output[(slice(None), slice(None), *positions)].sum().backward()
        assert image.grad is not None
        assert layer.reach is not None
        ends = [
            (
                at * step - layers.axis_entry(layer.reach[0], axis),
                at * step + layers.axis_entry(layer.reach[1], axis),
            )
            for axis, (at, step) in enumerate(zip(positions, steps, strict=True))
        ]
        assert list(reached(image.grad)) == ends, name


def conv(kernel: int, stride: int = 1) -> layers.Layer:
    """A convolution of one channel of a sequence."""
    return layers.Conv(1, 1, kernel, stride, (kernel - 1) // 2, dims=1)


def upsample(scale: int, mode: Any = "nearest") -> layers.Layer:
    """An enlarged sequence."""
    return layers.Upsample(1, scale, mode, dims=1)


GROWING: dict[str, tuple[list[layers.Layer], Any]] = {
    "nearest": ([upsample(2)], "1/2"),
    "nearest of three": ([upsample(3)], "1/3"),
    "linear": ([upsample(2, "linear")], "1/2"),
    "linear of three": ([upsample(3, "linear")], "1/3"),
    "linear of four": ([upsample(4, "linear")], "1/4"),
    "after a stride": ([conv(3, 2), upsample(2), conv(3)], 1),
    "less than the strides": ([conv(3, 2), conv(3, 2), upsample(2, "linear"), conv(3)], 2),
    "as the strides": ([conv(3, 2), conv(5, 2), upsample(4, "linear"), conv(3)], 1),
    "in two steps": ([conv(3, 2), conv(3, 2), upsample(2), conv(3), upsample(2), conv(3)], 1),
    "before a stride": ([upsample(3, "linear"), conv(3, 2)], "2/3"),
    "beside strides of three": ([conv(3, 3), upsample(2), conv(3)], "3/2"),
    "and back": ([conv(3, 2), upsample(3, "linear"), conv(5), conv(3, 3)], 2),
    "depth to space": (
        [
            layers.SpaceToDepth(1, 2, dims=1),
            layers.Conv(2, 2, 3, padding=1, dims=1),
            layers.DepthToSpace(2, 2, dims=1),
        ],
        1,
    ),
}
"""Sequences that grow, and the stride of the last map."""


@pytest.mark.parametrize("name", GROWING)
def test_enlarged_maps_reach_as_far_as_the_plan_says(name: str) -> None:
    """Positions reach unequally far: the ends are those of the furthest, and no position passes them."""
    made, stride = GROWING[name]
    chain = Chain(tuple((f"part{i}", layer) for i, layer in enumerate(made)))
    plan = Plan(1, chain, (), Chain(), dims=1, image_size=144)
    seen = rf.cost(plan).receptive_fields.last
    assert seen.stride == Fraction(stride)
    assert isinstance(seen.stride, int) == (Fraction(stride).denominator == 1)
    network = positive(rf.build(plan))
    ends = []
    middle = rf.cost(plan).shape[1] // 2
    for position in range(middle, middle + 24):
        image = torch.rand(1, 1, 144, dtype=torch.double, requires_grad=True)
        network(image)[:, :, position].sum().backward()
        assert image.grad is not None
        found = image.grad[0, 0].nonzero().flatten()
        first, last = int(found[0]), int(found[-1])
        ends.append((seen.stride * position - first, last - seen.stride * position))
        assert last - first + 1 <= seen.size
    assert (max(before for before, _ in ends), max(after for _, after in ends)) == (seen.before, seen.after)


@pytest.mark.parametrize("name", ["seresnet50", "ecaresnet50d", "resnest14d", "skresnet18"])
def test_gates_that_pool_the_whole_map_are_left_out(name: str) -> None:
    cost = rf.cost(rf.plan(MODELS.config(name)))
    assert cost.receptive_field < 1000
    gates = [part for part in collect_layer_table(cost) if part.place.path == GATE]
    assert gates
    assert not any(cost.receptive_fields.layers[part.name] for part in gates)


def test_after_the_pool_everything_is_seen() -> None:
    cost = rf.cost(rf.plan(MODELS.config("resnet18")))
    assert cost.receptive_fields.sections["head"] is None
    assert cost.receptive_fields.layers["fc"] is None
    assert cost.receptive_fields.layers["layer1.0.conv1"] == (4, 9, 9)


def test_a_backbone_sees_what_its_last_map_sees() -> None:
    plan = rf.plan(rf.compose("resnet18", "++model.features=[conv1]"))
    assert rf.cost(plan).receptive_field == 7
