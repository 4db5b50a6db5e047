"""Warnings about a plan: choices that cost accuracy or speed, or have no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from resnet_factory.costing.complexity import Cost
from resnet_factory.layers import BatchNorm, Conv, Norm, Scale, ScaledConv, Size
from resnet_factory.planning.paths import depth, joins
from resnet_factory.reporting.explanation.equations import many, number, size_text
from resnet_factory.reporting.explanation.layer_table import (
    MAIN,
    LayerRecord,
    LayerRecords,
    has_weights,
    spatial,
)

SMALL_IMAGE = 64
"""Pixels; networks for images this small (CIFAR, digits) do not downsample in the stem."""
NARROW_GROUP = 8
"""Channels; matrix units of GPUs process at least eight numbers at a time."""
DEEP_PLAIN = 20
"""Number of layers above which deeper plain networks train worse (He et al. 2015, fig. 1)."""


def warnings(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Yield all warnings, the most serious first."""
    for warn in WARNINGS:
        yield from warn(cost, parts)


def small_image(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about an ImageNet stem on small images."""
    first = cost.receptive_fields.sections["stem"]
    if min(cost.image[1:]) <= SMALL_IMAGE and first is not None and first.stride >= 4:
        left = size_text(_map_size(cost.sections[0].shape))
        normed = any(isinstance(part.layer, Norm) for part in parts if part.place.section == "stem")
        other = "cifar" if normed else "cifar_preact"
        yield (
            f"The stem leaves {left} of {size_text(cost.image[1:])} before the first block. Networks for "
            f"images this small begin with one 3x3 convolution at full size: model/stem={other}."
        )


def one_position(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about feature maps smaller than the kernels applied to them."""
    if _map_size(cost.last_map) == (1, 1):
        yield "The last map is 1x1: the stages shrink more than this image allows; no mean is left to take."
    worst: dict[str, tuple[int, LayerRecord]] = {}
    for part in parts:
        if spatial(part) and isinstance(conv := part.layer, Conv):
            used = _used_kernel_rows(conv, part.arrives[0]) * _used_kernel_rows(conv, part.arrives[1])
            idle = conv.kernel * conv.kernel - used
            if idle > worst.get(part.place.section, (0, part))[0]:
                worst[part.place.section] = idle, part
    for idle, part in worst.values():
        assert isinstance(part.layer, Conv)
        kernel = part.layer.kernel
        yield (
            f"{part.name} reads {size_text(part.arrives)}: {idle} of the {kernel * kernel} weights of its "
            f"{kernel}x{kernel} only ever meet padding; they are paid for and learn nothing."
        )


def _used_kernel_rows(conv: Conv, side: int) -> int:
    """Return the number of kernel rows that overlap the map at any position, along one axis."""
    starts = range(-conv.padding, conv.size(side) * conv.stride - conv.padding, conv.stride)
    return sum(any(0 <= start + row * conv.dilation < side for start in starts) for row in range(conv.kernel))


def plain_and_deep(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about deep networks without shortcuts."""
    root, layers = cost.plan.root, depth(cost.plan.root)
    blocks = [block for stage in cost.plan.stages for block in stage.blocks]
    joined = any(block.residual for block in blocks) or any(entry.passes for entry in joins(root))
    if blocks and not joined and layers > DEEP_PLAIN:
        yield (
            f"{number(layers)} layers and no shortcut: such networks train worse the deeper they are "
            "(He et al. 2015, fig. 1)."
        )


def unnormalised(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about deep networks without norms, and about biases before norms."""
    scaled = any(isinstance(part.layer, (Norm, Scale, ScaledConv)) for part in parts)
    if not scaled and sum(has_weights(part) for part in parts) > DEEP_PLAIN // 2:
        yield "Nothing normalises the maps: their scale grows with every block, unless weights start small."
    biased = [
        before.name
        for before, after in pairwise(parts)
        if isinstance(before.layer, Conv)
        and before.layer.bias
        and isinstance(after.layer, BatchNorm)
        and before.place == after.place
    ]
    if biased:
        yield (
            f"{many(len(biased), 'convolution')} with a bias before a batch norm, which takes it away again: "
            f"{_first_names(biased)}."
        )


def skipped(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about strides larger than the kernel on the main path."""
    found: dict[tuple[int, int], list[str]] = {}
    for part in parts:
        if part.place.path == MAIN and isinstance(conv := part.layer, Conv) and conv.stride > conv.kernel:
            found.setdefault((conv.kernel, conv.stride), []).append(part.name)
    for (kernel, stride), names in found.items():
        better = "With the stride on the 3x3" if (kernel, stride) == (1, 2) else f"With a stride of {kernel}"
        yield (
            f"A {kernel}x{kernel} convolution that strides by {stride} reads {kernel**2} of {stride**2} "
            f"positions and drops the rest: {_first_names(names)}. {better} none is dropped."
        )


def narrow_groups(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about groups too narrow for matrix units."""
    narrow = {
        part.name: part.layer.channels // part.layer.groups
        for part in parts
        if isinstance(part.layer, Conv)
        and part.layer.groups > 1
        and part.layer.channels // part.layer.groups < NARROW_GROUP
    }
    if narrow:
        yield (
            f"{many(len(narrow), 'convolution')} with groups under {NARROW_GROUP} channels wide, down to "
            f"{min(narrow.values())}: {_first_names(list(narrow))}. They need few multiply-adds and yet much "
            "time: matrix units stay idle."
        )


def odd_widths(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about widths that are not multiples of 8."""
    found: dict[int, str] = {}
    for part in parts:
        width = part.layer.out_channels
        if part.place.path == MAIN and part.place.section != "head" and has_weights(part) and width % 8:
            found.setdefault(width, part.name)
    if found:
        said = [f"{number(width)} ({name})" for width, name in found.items()]
        yield f"Widths that are no multiple of 8 fill matrix units badly: {_first_names(said)}."


def uneven(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about an image size that is not divisible by the total stride."""
    stride = cost.stride
    for side in dict.fromkeys(cost.image[1:]):
        below = side // stride * stride
        if side - below > 1 and below:  # a multiple plus one leaves no remainder either
            yield (
                f"{number(side)} pixels are no multiple of the stride of {stride}: maps are rounded on the "
                "way and features lie off the pixels' grid. "
                f"{number(below)} and {number(below + stride)} fit."
            )


def short_sight(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about a receptive field smaller than the image."""
    side, size = max(cost.image[1:]), cost.receptive_field
    if size < side:
        yield (f"The receptive field of the last map is {size} of {side} pixels: nothing larger fits in it.")


def shrinking(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about stages narrower than the previous one."""
    for before, after in pairwise(cost.plan.stages):
        wide, narrow = before.blocks[-1].out_channels, after.blocks[-1].out_channels
        if narrow < wide:
            yield (
                f"{after.name} is narrower than {before.name}, {number(narrow)} against {number(wide)} "
                "channels: what is dropped there no later stage gets back."
            )


def _first_names(names: list[str]) -> str:
    """Return the first few names as text."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _map_size(shape: tuple[int, ...]) -> Size:
    return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)


WARNINGS: tuple[Callable[[Cost, LayerRecords], Iterator[str]], ...] = (
    small_image, one_position, plain_and_deep, unnormalised, skipped, narrow_groups, odd_widths, uneven,
    short_sight, shrinking,
)  # fmt: skip
