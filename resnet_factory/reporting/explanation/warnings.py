"""Warnings about a plan: choices that cost accuracy or speed, or have no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import prod

from resnet_factory.costing.complexity import Cost
from resnet_factory.layers import (
    SAME,
    Axes,
    BatchNorm,
    Conv,
    Norm,
    Scale,
    ScaledConv,
    axes_text,
    axis_entry,
    axis_padding,
    largest_axis_entry,
    merge_axes,
    per_axis,
)
from resnet_factory.layers.axes import same_padding
from resnet_factory.planning.paths import path_depth, path_joins
from resnet_factory.reporting.explanation.equations import equation_size_text, many, number
from resnet_factory.reporting.explanation.layer_table import (
    MAIN,
    LayerRecord,
    LayerRecords,
    table_layer_has_weights,
    table_layer_is_spatial,
)
from resnet_factory.reporting.wording import kernel_noun_wording, kernel_wording, window_wording

SMALL_IMAGE = 64
"""Pixels; networks for images this small (CIFAR, digits) do not downsample in the stem."""
NARROW_GROUP = 8
"""Channels; matrix units of GPUs process at least eight numbers at a time."""
DEEP_PLAIN = 20
"""Number of layers above which deeper plain networks train worse (He et al. 2015, fig. 1)."""


def all_network_warnings(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Yield all warnings, the most serious first."""
    for warn in WARNINGS:
        yield from warn(cost, parts)


def warn_of_small_image(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about an ImageNet stem on small images, of two axes as those of CIFAR."""
    if cost.plan.dims != 2:
        return
    first = cost.receptive_fields.sections["stem"]
    if min(cost.image[1:]) <= SMALL_IMAGE and first is not None and largest_axis_entry(first.stride) >= 4:
        left = equation_size_text(cost.sections[0].shape[1:])
        normed = any(isinstance(part.layer, Norm) for part in parts if part.place.section == "stem")
        other = "cifar" if normed else "cifar_preact"
        yield (
            f"The stem leaves {left} of {equation_size_text(cost.image[1:])} before the first block. "
            "Networks for images this small start with one 3x3 convolution at full size: "
            f"model/stem={other}."
        )


def warn_of_one_position(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about feature maps smaller than the kernels applied to them."""
    last = cost.last_map[1:] or (1,) * cost.plan.dims
    if set(last) == {1}:
        yield (
            f"The last map is {window_wording(last, len(last))}: the stages reduce this image to one "
            "position, and the global pool has nothing to average."
        )
    worst: dict[str, tuple[int, LayerRecord]] = {}
    for part in parts:
        if table_layer_is_spatial(part) and isinstance(conv := part.layer, Conv):
            used = prod(
                _kernel_rows_without_warning(conv, side, axis) for axis, side in enumerate(part.arrives)
            )
            idle = prod(per_axis(conv.kernel, conv.dims)) - used
            if idle > worst.get(part.place.section, (0, part))[0]:
                worst[part.place.section] = idle, part
    for idle, part in worst.values():
        assert isinstance(part.layer, Conv)
        kernel, dims = part.layer.kernel, part.layer.dims
        yield (
            f"{part.name} reads {window_wording(part.arrives, dims)}: {idle} of the "
            f"{prod(per_axis(kernel, dims))} weights of its {kernel_noun_wording(kernel, dims)} only ever "
            "meet padding; they cost memory and computation, but never affect the output."
        )


def _kernel_rows_without_warning(conv: Conv, side: int, axis: int) -> int:
    """Return the number of kernel rows that overlap the map at any position, along one axis."""
    kernel, stride, dilation = (
        axis_entry(value, axis) for value in (conv.kernel, conv.stride, conv.dilation)
    )
    if conv.padding == SAME:
        before = same_padding(side, kernel, stride, dilation) // 2
    else:
        before, _ = axis_padding(conv.padding, axis)
    starts = range(-before, conv.size(side, axis) * stride - before, stride)
    return sum(any(0 <= start + row * dilation < side for start in starts) for row in range(kernel))


def warn_of_plain_depth(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about deep networks without shortcuts."""
    root, layers = cost.plan.root, path_depth(cost.plan.root)
    blocks = [block for stage in cost.plan.stages for block in stage.blocks]
    joined = any(block.residual for block in blocks) or any(entry.passes for entry in path_joins(root))
    if blocks and not joined and layers > DEEP_PLAIN:
        yield (
            f"{number(layers)} layers and no shortcut: such networks train worse the deeper they are "
            "(He et al. 2015, fig. 1)."
        )


def warn_of_missing_norms(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about deep networks without norms, and about biases before norms."""
    scaled = any(isinstance(part.layer, (Norm, Scale, ScaledConv)) for part in parts)
    if not scaled and sum(table_layer_has_weights(part) for part in parts) > DEEP_PLAIN // 2:
        yield (
            "Nothing normalises the maps: their scale grows with every block, unless the initial weights "
            "are small."
        )
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
            f"{many(len(biased), 'convolution')} with a bias before a batch norm, which cancels it: "
            f"{_first_names_to_warn_of(biased)}."
        )


def warn_of_skipped_positions(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about strides larger than the kernel on the main path."""
    found: dict[tuple[Axes, Axes, Axes, int], list[str]] = {}
    for part in parts:
        if part.place.path == MAIN and isinstance(conv := part.layer, Conv):
            window = conv.kernel, conv.stride, conv.dilation, conv.dims
            if any(
                stride > kernel for kernel, stride in zip(*_axes_of_warned_window(window)[:2], strict=True)
            ):
                found.setdefault(window, []).append(part.name)
    for window, names in found.items():
        kernel, stride, _, dims = window
        axes = list(zip(*_axes_of_warned_window(window), strict=True))
        read = prod(len({spread * i % step for i in range(width)}) for width, step, spread in axes)
        least = merge_axes(tuple(min(width, step) for width, step, _ in axes))
        better = f"With a stride of {axes_text(least)}"
        if (kernel, stride) == (1, 2):
            better = f"With the stride on the {kernel_noun_wording(3, dims)}"
        yield (
            f"A {kernel_wording(kernel, dims)} convolution that strides by {axes_text(stride)} reads "
            f"{read} of "
            f"{prod(per_axis(stride, dims))} positions and drops the rest: {_first_names_to_warn_of(names)}. "
            f"{better} none is dropped."
        )


def _axes_of_warned_window(window: tuple[Axes, Axes, Axes, int]) -> list[tuple[int, ...]]:
    """Return kernel, stride and dilation, each per axis."""
    return [per_axis(value, window[-1]) for value in window[:-1]]


def warn_of_narrow_groups(cost: Cost, parts: LayerRecords) -> Iterator[str]:
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
            f"{min(narrow.values())}: {_first_names_to_warn_of(list(narrow))}. They have few multiply-adds "
            "but are slow, because they use matrix units poorly."
        )


def warn_of_odd_widths(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about widths that are not multiples of 8."""
    found: dict[int, str] = {}
    for part in parts:
        width = part.layer.out_channels
        if (
            part.place.path == MAIN
            and part.place.section != "head"
            and table_layer_has_weights(part)
            and width % 8
        ):
            found.setdefault(width, part.name)
    if found:
        said = [f"{number(width)} ({name})" for width, name in found.items()]
        yield f"Widths that are not multiples of 8 use matrix units poorly: {_first_names_to_warn_of(said)}."


def warn_of_uneven_image(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about an image size that is not divisible by the total stride."""
    for side, stride in dict.fromkeys(
        zip(cost.image[1:], per_axis(cost.stride, cost.plan.dims), strict=True)
    ):
        below = side // stride * stride
        if side - below > 1 and below:  # a multiple plus one leaves no remainder either
            yield (
                f"{number(side)} pixels are not a multiple of the stride of {stride}: map sizes are "
                f"rounded, and features are not aligned with the pixels. {number(below)} and "
                f"{number(below + stride)} fit."
            )


def warn_of_small_receptive_field(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about a receptive field smaller than the image."""
    image, size = cost.image[1:], cost.receptive_field
    if isinstance(size, int):
        image = (max(image),)
    if any(axis_entry(size, axis) < side for axis, side in enumerate(image)):
        yield (
            f"The receptive field of the last map is {axes_text(size)} of {equation_size_text(image)} "
            "pixels: it does not cover larger structures."
        )


def warn_of_narrowing_stages(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Warn about stages narrower than the previous one."""
    for before, after in pairwise(cost.plan.stages):
        wide, narrow = before.blocks[-1].out_channels, after.blocks[-1].out_channels
        if narrow < wide:
            yield (
                f"{after.name} is narrower than {before.name}, {number(narrow)} against {number(wide)} "
                "channels: later stages cannot recover what is lost there."
            )


def _first_names_to_warn_of(names: list[str]) -> str:
    """Return the first few names as text."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


WARNINGS: tuple[Callable[[Cost, LayerRecords], Iterator[str]], ...] = (
    warn_of_small_image, warn_of_one_position, warn_of_plain_depth, warn_of_missing_norms,
    warn_of_skipped_positions, warn_of_narrow_groups, warn_of_odd_widths, warn_of_uneven_image,
    warn_of_small_receptive_field, warn_of_narrowing_stages,
)  # fmt: skip
