"""Explanations of a network's blocks: filters, widths, bottlenecks, groups and gates.

Every equation is exact as written; `≈` marks rounded results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from math import prod

from resnet_factory.costing.complexity import Cost
from resnet_factory.layers import Axes, Conv, GlobalPool, axes_text, per_axis, positions
from resnet_factory.planning.network_plan import PlanBlock
from resnet_factory.reporting.columns import shape_text
from resnet_factory.reporting.explanation.equations import (
    chain,
    equation_size_text,
    filter_weights_equation,
    kernel_weights_equation,
    many,
    number,
    product,
    sum_of,
    weights_equation,
)
from resnet_factory.reporting.explanation.layer_table import (
    GATE,
    MAIN,
    LayerRecord,
    LayerRecords,
    layer_table_total,
    table_layer_has_weights,
    table_layer_is_spatial,
)
from resnet_factory.reporting.explanation.phrases import (
    SHOWN,
    cost_shares_phrase,
    weights_phrase,
    widths_phrase,
)
from resnet_factory.reporting.wording import kernel_noun_wording, kernel_wording

HALVED = {1: "half", 2: "a quarter", 3: "an eighth"}
"""The part of a map's positions that is left at half its sides, by its number of axes."""
BALANCE = {
    1: "twice as much from stage to stage",
    2: "the same in every stage",
    3: "half as much from stage to stage",
}


def explain_block_filters(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Explain the weights of one filter: of a spatial and of a pointwise convolution."""
    inside = [part for part in parts if part.place.block and part.place.path != GATE]
    convolutions = [part for part in inside if isinstance(part.layer, Conv)]
    over = next((part for part in convolutions if table_layer_is_spatial(part)), None)
    at = next((part for part in convolutions if not table_layer_is_spatial(part)), None)
    for part, remark in (
        (over, "summed into one number at each position"),
        (at, "mixing the channels of one position without reading others"),
    ):
        if part is not None and isinstance(conv := part.layer, Conv):
            deep = conv.channels // conv.groups
            read = f"{number(deep)} of the " if conv.groups > 1 else "all "
            yield (
                f"{part.name}: a {kernel_wording(conv.kernel, conv.dims)} filter reads {read}"
                f"{many(conv.channels, 'channel')}: {filter_weights_equation(conv)} weights, {remark}. "
                f"{many(conv.to, 'filter')} make {many(conv.to, 'channel')}: {weights_equation(conv)} "
                f"{weights_phrase(conv)}, "
                f"kept as {equation_size_text((conv.to, deep, *per_axis(conv.kernel, conv.dims)))}."
            )


def explain_blocks_of_stages(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Explain the widths along each stage's blocks."""
    rows = {row.name: row for row in cost.sections}
    dilations: dict[str, set[Axes]] = {}
    for part in parts:
        if table_layer_is_spatial(part) and isinstance(part.layer, Conv) and part.place.path == MAIN:
            dilations.setdefault(part.place.block, set()).add(part.layer.dilation)
    for stage in cost.plan.stages:
        said, at = [], 0
        for way, run in groupby(stage.blocks, widths_phrase):
            count = len(list(run))
            said.append(f"{_explained_block_range(stage.name, at, at + count - 1)} {way}")
            at += count
        if len(said) > SHOWN:
            said[2:-1] = ["…"]
        dilated = _explained_block_dilation(
            stage.name, [dilations.get(f"{stage.name}.{i}", {1}) for i in range(at)]
        )
        shape = shape_text(rows[stage.name].shape)
        yield f"{stage.name}: {many(len(stage.blocks), 'block')}, {shape} out{dilated}: {', '.join(said)}."
    if any(stage.blocks for stage in cost.plan.stages):
        yield (
            "The arrows connect the channels along the longest path, after each layer with weights; blocks "
            "with the same channels are listed together."
        )


def _explained_block_dilation(stage: str, blocks: Sequence[set[Axes]]) -> str:
    """Return the dilations of a stage's blocks, if any."""
    if all(found == {1} for found in blocks):
        return ""
    said, at = [], 0
    for found, run in groupby(blocks):
        count = len(list(run))
        numbers = " and ".join(sorted(map(axes_text, found), key=_block_dilation_sort_key))
        said.append(
            numbers
            if count == len(blocks)
            else f"{numbers} in {_explained_block_range(stage, at, at + count - 1)}"
        )
        at += count
    return f", dilation {', '.join(said)}"


def _block_dilation_sort_key(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))


def _explained_block_range(stage: str, first: int, last: int) -> str:
    if first == last:
        return f"{stage}.{first}"
    return f"{stage}.{first} {'and' if last == first + 1 else 'to'} {stage}.{last}"


def explain_bottleneck_blocks(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Compare a block that narrows or widens inside with the basic one."""
    for name, block, layers in _last_blocks_to_explain(cost, parts):
        over = [part for part in layers if table_layer_is_spatial(part)]
        width = max((part.layer.channels for part in over), default=0)
        out = block.out_channels
        if not over or width == out or len(layers) < 2 or not isinstance(conv := over[0].layer, Conv):
            continue
        if table_layer_is_spatial(layers[0]) or table_layer_is_spatial(layers[-1]):
            continue  # no layer before or after the main one
        own = [part.layer.macs(1) for part in layers]
        sides = per_axis(3, conv.dims)
        basic = 2 * prod(sides) * out * out
        yield (
            f"{name}, {widths_phrase(block)}: its convolutions have {chain(sum_of(own), number(sum(own)))} "
            f"weights. The basic block of the same output, two {kernel_wording(3, conv.dims)} convolutions "
            f"at {number(out)} channels, has {chain(product(2, *sides, out, out), number(basic))}: ≈ "
            f"{basic / sum(own):.1f} times as many, and as many times the multiply-adds."
        )
        kernel = kernel_noun_wording(conv.kernel, conv.dims)
        if width < out:
            yield (
                f"A bottleneck: the {kernel} works on {number(width)} channels, not {number(out)}; "
                f"{kernel_wording(1, conv.dims)} convolutions reduce and expand the channels."
            )
        else:
            yield f"An inverted bottleneck: the {kernel} works on {number(width)}, for {number(out)}."
        return


def explain_block_resolution(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Compare the cost of a block from stage to stage."""
    told = []
    for name, _, layers in _last_blocks_to_explain(cost, parts):
        areas = {positions(part.leaves) for part in layers}
        if len(areas) == 1:
            told.append((name, areas.pop(), sum(part.layer.macs(1) for part in layers)))
    dims, alike = cost.plan.dims, 0
    for (before, few, one), (after, fewer, other) in pairwise(told):
        left, right = few * one, fewer * other
        if (few, one) == (fewer, other):
            continue
        alike += few == 2**dims * fewer and 4 * one == other
        same = "the same" if left == right else f"≈ {right / left:.2f} times as many"
        yield (
            f"{before} to {after}: {number(few)} positions become {number(fewer)}, {number(one)} weights "
            f"{number(other)}. Multiply-adds: {chain(product(few, one), number(left))} and "
            f"{chain(product(fewer, other), number(right))}, {same}."
        )
    if told and alike == len(told) - 1 > 0:
        yield (
            f"Half the side is {HALVED[dims]} of the positions, twice the width is four times the weights: "
            f"a block costs {BALANCE[dims]}."
        )


def _last_blocks_to_explain(
    cost: Cost, parts: LayerRecords
) -> Iterator[tuple[str, PlanBlock, list[LayerRecord]]]:
    """Yield the last block of each stage, with its layers with weights on the main path."""
    main: dict[str, list[LayerRecord]] = {}
    for part in parts:
        if part.place.path == MAIN and table_layer_has_weights(part):
            main.setdefault(part.place.block, []).append(part)
    for stage in cost.plan.stages:
        name = f"{stage.name}.{len(stage.blocks) - 1}"
        yield name, stage.blocks[-1], main.get(name, [])


def explain_block_groups(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Explain the savings of grouped convolutions."""
    grouped = [part for part in parts if isinstance(part.layer, Conv) and part.layer.groups > 1]
    for part in grouped[:1]:
        assert isinstance(part.layer, Conv)
        conv = part.layer
        each = many(conv.channels // conv.groups, "channel")
        read = chain(f"{number(conv.channels)}/{number(conv.groups)}", each)
        yield (
            f"{part.name} has {number(conv.groups)} groups: a filter reads {read} with "
            f"{filter_weights_equation(conv)} weights; without groups it would have "
            f"{kernel_weights_equation(conv, conv.channels)}."
        )
    if grouped:
        yield (
            f"In all, {many(len(grouped), 'grouped convolution')}: "
            f"{cost_shares_phrase(layer_table_total(grouped), cost)}."
        )


def explain_block_gates(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Explain the cost of gates such as squeeze-and-excitation."""
    within = [part for part in parts if part.place.path == GATE]
    first = [part for part in within if part.place.block == within[0].place.block]
    counted = [part for part in first if table_layer_has_weights(part)]
    if not counted:
        return
    said = ", ".join(f"{part.name} {weights_equation(part.layer)}" for part in counted)
    pools = [part.layer for part in first if part.layer.reach is None]
    means = [pool for pool in pools if isinstance(pool, GlobalPool) or getattr(pool, "how", "") == "mean"]
    of = ("the mean of each" if means == pools else "one number for each") if pools else "them"
    yield f"A gate multiplies each channel by a factor computed from {of}: {said} parameters."
    blocks = len({part.place.block for part in within})
    yield (
        f"In all, the gates of {many(blocks, 'block')}: "
        f"{cost_shares_phrase(layer_table_total(within), cost)}."
    )
