"""Explanations of a network as a whole: stem, head, depth, and how its costs are distributed.

Every equation is exact as written; `≈` marks rounded results.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import floordiv

from resnet_factory.costing.complexity import Cost
from resnet_factory.layers import (
    Axes,
    Conv,
    GlobalPool,
    Linear,
    Norm,
    axes_text,
    axis_entry,
    combine_axes,
    positions,
)
from resnet_factory.planning.paths import path_depth, path_widths
from resnet_factory.reporting.columns import bytes_text, shape_text
from resnet_factory.reporting.explanation.equations import (
    chain,
    equation_size_text,
    many,
    multiply_adds_equation,
    number,
    percent,
    size_equation,
    sum_of,
    weights_equation,
)
from resnet_factory.reporting.explanation.layer_table import (
    GATE,
    MAIN,
    SHORTCUT,
    LayerRecords,
    table_layer_has_weights,
    table_layer_is_spatial,
)
from resnet_factory.reporting.explanation.phrases import layer_phrase, weights_phrase
from resnet_factory.reporting.wording import (
    axes_number_wording,
    kernel_wording,
    window_wording,
    wording_along_axes,
)


def explain_network_stem(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Explain the layers before the first block."""
    here = [part for part in parts if part.place.section == "stem"]
    for part in here:
        layer, shape = part.layer, f"{part.layer.out_channels}x{equation_size_text(part.leaves)}"
        if isinstance(layer, Conv):
            yield (
                f"{part.name}: {many(layer.to, 'filter')} of {window_wording(layer.kernel, layer.dims)} over "
                f"{many(layer.channels, 'channel')}, stride {axes_text(layer.stride)}. "
                f"Map: {size_equation(layer, part.arrives)}, so {shape}. "
                f"{weights_phrase(layer).capitalize()}: {weights_equation(layer)}. "
                f"Multiply-adds: {multiply_adds_equation(layer, part.leaves)}."
            )
        elif part.arrives != part.leaves:
            yield f"{part.name}: {layer_phrase(part)}. Map: {size_equation(layer, part.arrives)}, so {shape}."
    terms = [part.layer.params() for part in here if part.layer.params()]
    if any(isinstance(part.layer, Norm) for part in here) and len(terms) > 1:
        yield f"With its norms the stem has {chain(sum_of(terms), number(sum(terms)))} parameters."
    before, after = positions(cost.image[1:]), cost.sections[0].positions
    if after < before:
        yield (
            f"The stem reduces {equation_size_text(cost.image[1:])} to "
            f"{shape_text(cost.sections[0].shape[1:])}: {number(after)} of {number(before)} positions "
            "remain."
        )


def explain_network_head(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Explain the head, from the last map to the output."""
    if cost.plan.features:
        maps = [
            f"{name}, {many(channels, 'channel')} in steps of {axes_text(stride)}"
            for name, channels, stride in cost.plan.features
        ]
        yield f"A backbone: it returns {many(len(maps), 'map')}. {'; '.join(maps)}."
    for part in parts:
        if part.place.section != "head" or part.place.path != MAIN:
            continue
        if isinstance(part.layer, GlobalPool):
            yield (
                f"{part.name}: each {kernel_wording(part.arrives, cost.plan.dims)} map is averaged over "
                f"{many(positions(part.arrives), 'position')}; {many(part.layer.channels, 'number')} "
                "remain, whatever the size of the image."
            )
        elif isinstance(part.layer, (Linear, Conv)):
            yield (
                f"{part.name}: {many(part.layer.out_channels, 'output')}, {weights_equation(part.layer)} "
                "parameters."
            )


def explain_network_depth(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Explain the number in a network's name."""
    plan = cost.plan
    if any(stage.tap.children for stage in plan.stages):
        longest = path_depth(plan.root)
        yield f"The longest path from the input to the output has {many(longest, 'layer')} with weights."
        return
    before, after = len(path_widths(plan.stem, plan.in_channels)), len(path_widths(plan.head, 1))
    between = sum(len(path_widths(stage.transition, 1)) for stage in plan.stages)
    counts = [
        [len(path_widths(block.node, block.in_channels)) for block in stage.blocks] for stage in plan.stages
    ]
    whole = before + sum(map(sum, counts)) + between + after
    kinds = {count for stage in counts for count in stage}
    if len(kinds) == 1:
        each, blocks = kinds.pop(), [len(stage) for stage in counts]
        first = f"{each}·({sum_of(blocks)})" if len(blocks) > 1 else f"{each}·{blocks[0]}"
        middles = [first, f"{each}·{sum(blocks)}"]
    elif all(len(set(stage)) == 1 for stage in counts):
        middles = ["+".join(f"{stage[0]}·{len(stage)}" for stage in counts)]
    else:
        middles = [sum_of([sum(stage) for stage in counts])]
    ends = [number(count) for count in (between, after) if count]
    terms = ["+".join([*([number(before)] if before else []), middle, *ends]) for middle in middles if middle]
    where = [
        f"{number(count)} {name}"
        for count, name in ((before, "in the stem"), (between, "between stages"), (after, "in the head"))
        if count
    ]
    yield (
        f"The layers with weights on the longest path are counted: those of the blocks, {', '.join(where)}. "
        f"{chain(*terms, number(whole))}."
    )
    if sum(map(table_layer_has_weights, parts)) > whole:
        yield "Projections and gates are not counted; of parallel branches only the longest is."
    beside = sum(part.place.path == SHORTCUT and table_layer_has_weights(part) for part in parts)
    entry = cost.receptive_fields.sections["stem"]
    if beside and entry is not None and entry.stride == 1:  # small images, as for wide ResNets
        less = f"−{after}" if after else ""
        more = chain(f"{number(whole)}+{number(beside)}{less}", number(whole + beside - after))
        yield f"Names of wide ResNets count the {many(beside, 'projection')} too, but not the head: {more}."
    if before > 1:
        less = chain(f"{number(whole)}−{before - 1}", number(whole - before + 1))
        yield f"Most names count a stem of {before} convolutions as one: {less}."


def explain_network_costs(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Name the sections and layers that hold 80 % of the parameters and of the multiply-adds."""
    for title, whole, of in (("parameters", cost.params, 0), ("multiply-adds", cost.macs, 1)):
        if not whole:
            continue
        rows = _largest_network_costs([(row.name, row.tally[of]) for row in cost.sections], whole)
        layers = _largest_network_costs([(part.name, part.tally[of]) for part in parts], whole)
        holding = sum(part.tally[of] > 0 for part in parts)
        said = ", ".join(f"{name} {percent(value, whole)}" for name, value in rows)
        most, most_of = layers[0]
        yield (
            f"80 % of the {number(whole)} {title} are in {said}. Of {many(holding, 'layer')} with {title}, "
            f"the largest {number(len(layers))} {'holds' if len(layers) == 1 else 'hold'} 80 %; {most} has "
            f"the most, {percent(most_of, whole)}."
        )


def _largest_network_costs(values: list[tuple[str, int]], whole: int) -> list[tuple[str, int]]:
    """Return the largest items that make up 80 %."""
    found: list[tuple[str, int]] = []
    so_far = 0
    for name, value in sorted(values, key=lambda entry: -entry[1]):
        if 5 * so_far >= 4 * whole:
            break
        found.append((name, value))
        so_far += value
    return found


def explain_network_receptive_field(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Compare the receptive field with the image."""
    sections = cost.receptive_fields.sections.items()
    seen = [(name, field) for name, field in sections if name != "head" or cost.plan.head.children]
    steps = ", ".join(
        f"{name} {axes_number_wording(field.size)}" for name, field in seen if field is not None
    )
    yield f"Pixels along one axis that a position depends on through the convolutions, by section: {steps}."
    last = next(
        (part for part in reversed(parts) if table_layer_is_spatial(part) and part.place.path == MAIN), None
    )
    after = cost.receptive_fields.layers.get(last.name) if last is not None else None
    if last is not None and after is not None and isinstance(conv := last.layer, Conv):
        stride = combine_axes(floordiv, after.stride, conv.stride)
        adds = wording_along_axes([_explain_added_reach(conv, stride, axis) for axis in range(conv.dims)])
        yield (
            f"{last.name} alone adds {adds}: the larger the stride before a kernel, the more it adds; here "
            f"it is {axes_text(stride)}."
        )
    yield _explain_image_coverage(cost)
    if any(part.place.path == GATE and part.layer.reach is None for part in parts):
        yield (
            "Gates that pool the whole map are not included; through them every pixel reaches every position."
        )


def _explain_added_reach(conv: Conv, stride: Axes, axis: int) -> str:
    """Return the equation of the pixels that a convolution adds to the receptive field along an axis."""
    kernel, dilation, step = (axis_entry(value, axis) for value in (conv.kernel, conv.dilation, stride))
    spread = f"{dilation}·" if dilation > 1 else ""
    return chain(f"{spread}({kernel}−1)·{step}", number(dilation * (kernel - 1) * step))


def _explain_image_coverage(cost: Cost) -> str:
    """Return at which positions of the last map the receptive field covers the image."""
    field, image, last = cost.receptive_fields.last, cost.image[1:], cost.last_map[1:]
    if all(isinstance(value, int) for value in field):
        image, last = (max(image),), (max(last, default=1),)  # the longest side is covered last
    covered = []
    for axis, (side, count) in enumerate(zip(image, last, strict=True)):
        before, after = axis_entry(field.before, axis), axis_entry(field.after, axis)
        places = [axis_entry(field.stride, axis) * i for i in range(count)]
        covered.append([at - before <= 0 and at + after >= side - 1 for at in places])
    sides = "x".join(map(number, image))
    everywhere = all(map(all, covered))
    if everywhere and all(axis_entry(field.size, axis) >= 2 * side - 1 for axis, side in enumerate(image)):
        corner = wording_along_axes([chain(f"2·{number(side)}−1", number(2 * side - 1)) for side in image])
        size = axes_number_wording(field.size)
        return f"{size} is at least {corner}: it covers the image even at the last map's corners."
    if everywhere:
        return f"The image has {sides}: the receptive field covers it at every position of the last map."
    if all(map(any, covered)):
        return (
            f"The image has {sides}: the receptive field covers it in the middle of the last map, but not "
            "at the corners."
        )
    return f"The image has {sides}: the receptive field covers it at no position of the last map."


def explain_network_memory(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Explain the peak memory of inference and training."""
    one, batch = cost.memory(), cost.memory(batch=32)
    yield (
        f"Weights and buffers take {bytes_text(one.weights)} in float32. One image takes "
        f"{bytes_text(one.inference)} of feature maps on top, at its peak at {one.inference_at}."
    )
    yield (
        f"A training step on 32 images takes {bytes_text(batch.training)} of feature maps and gradients "
        f"on top, at its peak at {batch.training_at}: {bytes_text(batch.kept)} of feature maps are saved for "
        "the backward pass."
    )
