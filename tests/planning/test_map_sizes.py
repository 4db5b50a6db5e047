"""Maps that grow, shrink in blocks, or must be of one size, through planning, costing and building."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

import resnet_factory as rf
from resnet_factory.reporting.columns import ColumnSelection
from resnet_factory.reporting.tables import comma_separated_table, json_table, markdown_table


def model(*head: Any, **more: Any) -> dict[str, Any]:
    """Two stages to a quarter of the image, without shortcuts, and a head."""
    return {
        "depths": [1, 1], "widths": 8, "strides": [1, 2], "num_classes": 0, "act": "relu", "image_size": 32,
        "norm": {"layer": "batch_norm"}, "conv": {"layer": "conv2d"},
        "stem": {"layers": [{"conv": {"to": 8, "kernel": 3, "stride": 2}}]},
        "shortcut": {"when": "never", "add": "never"},
        "block": {"out": "width", "body": [{"conv": {"to": "width", "stride": "stride"}}, "norm", "act"]},
        "head": {"layers": list(head)}, **more,
    }  # fmt: skip


def outputs(plan: rf.Plan) -> torch.Tensor:
    """What the network makes of images of the planned size."""
    return rf.build(plan).eval()(torch.randn(2, *plan.image))  # type: ignore[no-any-return]


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("scale", "stride"), [(2, 2), (4, 1), (8, "1/2")])
def test_a_head_may_enlarge_the_map(dims: int, scale: int, stride: Any) -> None:
    upsample = {"upsample": {"scale": scale, "mode": "linear"}}
    plan = rf.plan(rf.read(model(upsample, {"conv": {"to": 5, "kernel": 3}}, dims=dims)))
    cost = rf.cost(plan)
    assert str(cost.stride) == str(stride)
    assert cost.shape == (5, *(8 * scale,) * dims)
    assert outputs(plan).shape[1:] == cost.shape


def test_reports_write_strides_below_one() -> None:
    cost = rf.cost(rf.plan(rf.read(model({"upsample": {"scale": 8}}))))
    selection = ColumnSelection("layer", ("name", "stride", "padding"))
    assert comma_separated_table(cost, selection).splitlines()[-1] == "upsample,1/2,9/2"
    assert json.loads(json_table(cost, selection))["rows"][-1]["stride"] == 0.5
    assert "| 1/2 |" in markdown_table(cost, selection)


def test_features_of_a_decoder() -> None:
    head = {"upsample": {"scale": 2, "name": "up"}}, {"conv": {"to": 5, "name": "seen"}}
    plan = rf.plan(rf.read(model(*head, features=["layer2", "seen"])))
    assert [(feature.name, feature.stride) for feature in plan.features] == [("layer2", 4), ("seen", 2)]


def test_a_residual_around_a_smaller_map() -> None:
    """Down and up again: the branch is at the stride of the identity."""
    down = {"conv": {"to": 8, "kernel": 3, "stride": 2}}
    hourglass = {"residual": {"body": [down, {"upsample": {"scale": 2}}], "shortcut": []}}
    plan = rf.plan(rf.read(model(hourglass)))
    assert outputs(plan).shape[1:] == rf.cost(plan).shape == (8, 8, 8)
    data = model({"residual": {"body": [down, {"upsample": {"scale": 4}}], "shortcut": []}})
    with pytest.raises(rf.ConfigError, match="stride 2, the shortcut 8 at stride 4"):
        rf.plan(rf.read(data))


def test_space_to_depth_and_back() -> None:
    head = {"space_to_depth": {"block": 2}}, {"conv": {"to": "channels"}}, {"depth_to_space": {"block": 2}}
    plan = rf.plan(rf.read(model(*head)))
    assert rf.cost(plan).stride == 4
    assert outputs(plan).shape[1:] == rf.cost(plan).shape == (8, 8, 8)


CLIP = [
    {"conv": {"to": 24}},
    {"self_attention": {"heads": 2, "key": 4, "position": "relative", "sides": "image_size // 4"}},
    {"attention_pool": {"to": 5, "heads": 2, "sides": "image_size // 4"}},
]


def test_attention_is_made_for_one_size() -> None:
    plan = rf.plan(rf.read(model(*CLIP)))
    assert outputs(plan).shape[1:] == rf.cost(plan).shape == (5,)
    with pytest.raises(rf.ConfigError) as caught:
        rf.cost(plan, (3, 40, 40))
    message = str(caught.value)
    assert "takes maps of size 8x8, but 10x10 arrives" in message
    assert "model.image_size" in message
    assert "32x32 works" in message
    assert rf.cost(rf.plan(rf.read(model(*CLIP, image_size=40)))).shape == (5,)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"self_attention": {"heads": 2, "key": 2}}, "key: 8 channels for 2 heads leave no"),
        ({"self_attention": {"heads": 3, "key": 1}}, "heads: 8 channels are not divisible by 3 heads"),
        ({"self_attention": {"heads": 2, "key": 1, "position": "bias"}}, "sides: 'bias' positions need a"),
        ({"self_attention": {"heads": 0, "key": 1}}, "heads: 0 is less than the minimum of 1"),
        ({"attention_pool": {"to": 5, "heads": 3, "sides": 8}}, "heads: 8 channels are not divisible"),
        ({"narrow": {"start": 4, "count": 6}}, "count: channels 4 to 9, but the input has only 8"),
        ({"narrow": {"start": -1, "count": 6}}, "start: -1 is less than the minimum of 0"),
        ({"channel_shuffle": {"groups": 3}}, "groups: 8 channels are not divisible by 3 groups"),
        ({"depth_to_space": {"block": 4}}, "block: 8 channels are not divisible by the 16 positions"),
        ({"space_to_depth": {"block": 0}}, "block: 0 is less than the minimum of 1"),
        ({"upsample": {"scale": [2, 0]}}, "scale: 0 is less than the minimum of 1"),
        ({"upsample": {"scale": 2, "mode": "cubic"}}, "mode: unknown choice 'cubic'; known are nearest"),
        ({"reduce": {"over": "channels", "how": "median"}}, "how: unknown choice 'median'"),
        ({"reduce": {}}, "'reduce' needs 'over'"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(layer: Any, message: str) -> None:
    with pytest.raises(rf.ConfigError) as caught:
        rf.plan(rf.read(model(layer)))
    assert message in str(caught.value)


def test_a_map_that_blocks_do_not_fill() -> None:
    plan = rf.plan(rf.read(model({"space_to_depth": {"block": 3}}, image_size=24)))
    assert rf.cost(plan).shape == (72, 2, 2)
    with pytest.raises(rf.ConfigError, match="needs sides divisible by 3, but 8x8 arrives; 24x24 and 33x33"):
        rf.cost(plan, (3, 32, 32))
