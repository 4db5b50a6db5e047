"""The sections of an explanation: each reads a plan and its cost, and says what follows from them.

Every equation holds as it is written; `≈` marks what is rounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise

from resnet_factory.costing.complexity import Cost, Row, Tally
from resnet_factory.layers import AvgPool, Conv, GlobalPool, Layer, Linear, MaxPool, Norm, ZeroPad
from resnet_factory.planning.nodes import Block, describe
from resnet_factory.planning.paths import Join, joins, widths
from resnet_factory.reporting.columns import bytes_text, shape_text
from resnet_factory.reporting.explanation.equations import (
    chain,
    filter_weights,
    many,
    multiply_adds,
    number,
    percent,
    product,
    sides,
    size_text,
    sum_of,
    weights,
)
from resnet_factory.reporting.explanation.layer_table import (
    GATE,
    MAIN,
    SHORTCUT,
    Part,
    spatial,
    summed,
    weighted,
)

Parts = tuple[Part, ...]

SHOWN = 6
"""So many blocks of one kind are listed; of more, the first ones."""


def stem(cost: Cost, parts: Parts) -> Iterator[str]:
    """What happens to the image before the first block."""
    here = [part for part in parts if part.place.section == "stem"]
    for part in here:
        layer, shape = part.layer, f"{part.layer.out_channels}x{size_text(part.leaves)}"
        if isinstance(layer, Conv):
            yield (
                f"{part.name}: {many(layer.to, 'filter')} of {layer.kernel}x{layer.kernel} over "
                f"{many(layer.channels, 'channel')}, stride {layer.stride}. "
                f"Map: {sides(layer, part.arrives)}, so {shape}. "
                f"{_owns(layer).capitalize()}: {weights(layer)}. "
                f"Multiply-adds: {multiply_adds(layer, part.leaves)}."
            )
        elif part.arrives != part.leaves:
            yield f"{part.name}: {_in_words(part)}. Map: {sides(layer, part.arrives)}, so {shape}."
    terms = [part.layer.params() for part in here if part.layer.params()]
    if any(isinstance(part.layer, Norm) for part in here) and len(terms) > 1:
        yield f"With its norms the stem has {chain(sum_of(terms), number(sum(terms)))} parameters."
    before, after = cost.image[1] * cost.image[2], _positions(cost.sections[0])
    if after < before:
        yield (
            f"{size_text(cost.image[1:])} has become {shape_text(cost.sections[0].shape[1:])}: of "
            f"{number(before)} positions {number(after)} are left where the blocks begin."
        )


def filters(cost: Cost, parts: Parts) -> Iterator[str]:
    """The weights of one filter: over a window, and at one position."""
    inside = [part for part in parts if part.place.block and part.place.path != GATE]
    convolutions = [part for part in inside if isinstance(part.layer, Conv)]
    over = next((part for part in convolutions if spatial(part)), None)
    at = next((part for part in convolutions if not spatial(part)), None)
    for part, remark in (
        (over, "summed into one number at each position"),
        (at, "mixing the channels of one position and looking at no other"),
    ):
        if part is not None and isinstance(conv := part.layer, Conv):
            deep = conv.channels // conv.groups
            read = f"{number(deep)} of the " if conv.groups > 1 else "all "
            yield (
                f"{part.name}: a {conv.kernel}x{conv.kernel} filter reads {read}"
                f"{many(conv.channels, 'channel')}: {filter_weights(conv)} weights, {remark}. "
                f"{many(conv.to, 'filter')} make {many(conv.to, 'channel')}: {weights(conv)} {_owns(conv)}, "
                f"kept as {conv.to}x{deep}x{conv.kernel}x{conv.kernel}."
            )


def stages(cost: Cost, parts: Parts) -> Iterator[str]:
    """The widths on the way through each stage's blocks."""
    rows = {row.name: row for row in cost.sections}
    dilations: dict[str, set[int]] = {}
    for part in parts:
        if spatial(part) and isinstance(part.layer, Conv) and part.place.path == MAIN:
            dilations.setdefault(part.place.block, set()).add(part.layer.dilation)
    for stage in cost.plan.stages:
        said, at = [], 0
        for way, run in groupby(stage.blocks, _way):
            count = len(list(run))
            said.append(f"{_range(stage.name, at, at + count - 1)} {way}")
            at += count
        if len(said) > SHOWN:
            said[2:-1] = ["…"]
        dilated = _dilated(stage.name, [dilations.get(f"{stage.name}.{i}", {1}) for i in range(at)])
        shape = shape_text(rows[stage.name].shape)
        yield f"{stage.name}: {many(len(stage.blocks), 'block')}, {shape} out{dilated}: {', '.join(said)}."
    if any(stage.blocks for stage in cost.plan.stages):
        yield (
            "The arrows are the channels along the longest path, after each layer with weights; "
            "what repeats is said once."
        )


def _dilated(stage: str, blocks: Sequence[set[int]]) -> str:
    """The dilations of a stage's blocks, where there are any."""
    if all(found == {1} for found in blocks):
        return ""
    said, at = [], 0
    for found, run in groupby(blocks):
        count = len(list(run))
        numbers = " and ".join(map(str, sorted(found)))
        said.append(numbers if count == len(blocks) else f"{numbers} in {_range(stage, at, at + count - 1)}")
        at += count
    return f", dilation {', '.join(said)}"


def _range(stage: str, first: int, last: int) -> str:
    if first == last:
        return f"{stage}.{first}"
    return f"{stage}.{first} {'and' if last == first + 1 else 'to'} {stage}.{last}"


def _way(block: Block) -> str:
    short = [width for width, _ in groupby([block.in_channels, *widths(block.node, block.in_channels)])]
    return "→".join(map(number, short if len(short) > 1 else short * 2))


def shortcuts(cost: Cost, parts: Parts) -> Iterator[str]:
    """Which blocks project, why, and what that costs."""
    blocks = {
        f"{stage.name}.{i}": block for stage in cost.plan.stages for i, block in enumerate(stage.blocks)
    }
    alike = [block for block in blocks.values() if block.residual and _keeps_shape(block)]
    kept = sum(not block.projects for block in alike)
    alone = sum(not block.residual for block in blocks.values())
    if alone == len(blocks):
        if blocks:
            yield from _inner_joins(blocks)
        return
    then = "x is added as it is, for nothing" if kept == len(alike) else "all of these project even so"
    if 0 < kept < len(alike):
        then = f"in {number(kept)} of these x is added as it is, for nothing; the others project even so"
    yield (
        f"A block gives x + F(x), which needs one shape for both. In {number(len(alike))} of "
        f"{many(len(blocks), 'block')} they have it, and {then}."
    )
    if alone:
        yield f"{many(alone, 'block')} with another shape out than in, and no shortcut there."
    beside: dict[str, list[Part]] = {}
    for part in parts:
        if part.place.path == SHORTCUT and part.place.block in blocks:
            beside.setdefault(part.place.block, []).append(part)
    for name, layers in list(beside.items())[:SHOWN]:
        steps = [_in_words(part) for part in layers if not part.layer.view(True)]
        yield f"{name}: {_why(blocks[name], layers)}. On the shortcut {', then '.join(steps) or 'nothing'}."
    if len(beside) > SHOWN:
        yield f"And {many(len(beside) - SHOWN, 'block')} more in the same way, to {list(beside)[-1]}."
    if beside:
        tally = summed(part for layers in beside.values() for part in layers)
        if tally.params:
            yield f"In all, {many(len(beside), 'projection')}: {_shares(tally, cost)}."
        else:
            yield f"In all, {many(len(beside), 'shortcut')} of this kind, which learn nothing."


def _inner_joins(blocks: Mapping[str, Block]) -> Iterator[str]:
    """The sums and concatenations inside blocks, where no block has a shortcut around all of its layers."""
    found = {name: list(joins(block.node, name)) for name, block in blocks.items()}
    passing = [entry for entries in found.values() for entry in entries if entry.passes]
    side_by_side = [entry for entries in found.values() for entry in entries if not entry.passes]
    many_blocks = many(len(blocks), "block")
    if not passing and not side_by_side:
        yield f"None of {many_blocks} adds its input to its output: a plain network."
        return
    yield f"None of {many_blocks} has a shortcut around all of its layers."
    for sums, how in (
        (True, "a sum adds the input of some layers to their output, x + F(x), inside the block"),
        (False, "a concatenation keeps the input beside what layers make of it, [x, F(x)]"),
    ):
        if of_kind := [entry for entry in passing if entry.sums == sums]:
            yield f"In {_in_blocks(of_kind, found)} {how}."
    if side_by_side:
        yield (
            f"In {_in_blocks(side_by_side, found)} parallel branches are joined, each of them "
            "with weights of its own."
        )


def _in_blocks(entries: Sequence[Join], found: Mapping[str, Sequence[Join]]) -> str:
    """`12 of 16 blocks (24 times)`."""
    names = [name for name, inner in found.items() if any(entry in entries for entry in inner)]
    times = f" ({number(len(entries))} times)" if len(entries) > len(names) else ""
    return f"{number(len(names))} of {many(len(found), 'block')}{times}"


def _keeps_shape(block: Block) -> bool:
    return block.stride == 1 and block.in_channels == block.out_channels


def _why(block: Block, layers: Sequence[Part]) -> str:
    reasons = []
    if block.stride > 1:
        before, after = size_text(layers[0].arrives), size_text(layers[-1].leaves)
        reasons.append(f"stride {block.stride} takes {before} to {after}")
    if block.in_channels != block.out_channels:
        reasons.append(f"{number(block.in_channels)} channels become {number(block.out_channels)}")
    return ", ".join(reasons) or "its shape stays, and still it projects"


def _in_words(part: Part) -> str:
    """A layer as a person would name it."""
    match part.layer:
        case Conv(kernel=kernel, stride=stride):
            strides = f"stride {stride} and " if stride > 1 else ""
            own = f"{weights(part.layer)} {_owns(part.layer)}"
            return f"a {kernel}x{kernel} convolution with {strides}{own}"
        case MaxPool(kernel=kernel, stride=stride):
            return f"the maximum of {kernel}x{kernel}, stride {stride}"
        case AvgPool(kernel=kernel, stride=stride):
            return f"the mean of {kernel}x{kernel}, stride {stride}"
        case ZeroPad(channels=channels, to=to):
            added = to - channels
            difference = chain(f"{number(to)}−{number(channels)}", number(added))
            return f"{many(added, 'channel')} of zeros, {difference}"
        case Norm():
            return f"a norm of {number(part.layer.params())} parameters"
        case layer:
            return describe(layer)


def _owns(layer: Layer) -> str:
    return "weights" if layer.params() == layer.macs(1) else "parameters"


def depth(cost: Cost, parts: Parts) -> Iterator[str]:
    """How the number in a network's name is counted."""
    plan = cost.plan
    before, after = len(widths(plan.stem, plan.in_channels)), len(widths(plan.head, 1))
    between = sum(len(widths(stage.transition, 1)) for stage in plan.stages)
    counts = [[len(widths(block.node, block.in_channels)) for block in stage.blocks] for stage in plan.stages]
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
        f"Counted are the layers with weights on the longest path: those of the blocks, {', '.join(where)}. "
        f"{chain(*terms, number(whole))}."
    )
    if sum(map(weighted, parts)) > whole:
        yield "Projections and gates are not counted; of branches side by side the longest is."
    beside = sum(part.place.path == SHORTCUT and weighted(part) for part in parts)
    entry = cost.sight.sections["stem"]
    if beside and entry is not None and entry.stride == 1:  # small images, where wide ResNets live
        less = f"−{after}" if after else ""
        more = chain(f"{number(whole)}+{number(beside)}{less}", number(whole + beside - after))
        yield f"Names of wide ResNets count the {many(beside, 'projection')} too, and not the head: {more}."
    if before > 1:
        less = chain(f"{number(whole)}−{before - 1}", number(whole - before + 1))
        yield f"Most names count a stem of {before} convolutions as one: {less}."


def inside(cost: Cost, parts: Parts) -> Iterator[str]:
    """What a block that narrows or widens inside saves or spends against the basic one."""
    for name, block, layers in _typical(cost, parts):
        over = [part for part in layers if spatial(part)]
        width = max((part.layer.channels for part in over), default=0)
        out = block.out_channels
        if not over or width == out or len(layers) < 2 or not isinstance(conv := over[0].layer, Conv):
            continue
        if spatial(layers[0]) or spatial(layers[-1]):
            continue  # nothing leads in or out
        own = [part.layer.macs(1) for part in layers]
        basic = 2 * 9 * out * out
        yield (
            f"{name}, {_way(block)}: its convolutions have {chain(sum_of(own), number(sum(own)))} weights. "
            f"The basic block of the same output, two 3x3 convolutions at {number(out)} channels, has "
            f"{chain(product(2, 3, 3, out, out), number(basic))}: ≈ {basic / sum(own):.1f} times as many, "
            "and so with the multiply-adds."
        )
        kernel = f"{conv.kernel}x{conv.kernel}"
        if width < out:
            yield (
                f"A bottleneck: the {kernel} works on {number(width)} channels, not {number(out)}; 1x1 "
                "convolutions lead in and out."
            )
        else:
            yield f"An inverted bottleneck: the {kernel} works on {number(width)}, for {number(out)}."
        return


def balance(cost: Cost, parts: Parts) -> Iterator[str]:
    """Whether a block costs the same in every stage, and why."""
    told = []
    for name, _, layers in _typical(cost, parts):
        areas = {part.leaves[0] * part.leaves[1] for part in layers}
        if len(areas) == 1:
            told.append((name, areas.pop(), sum(part.layer.macs(1) for part in layers)))
    quarters = 0
    for (before, few, one), (after, fewer, other) in pairwise(told):
        left, right = few * one, fewer * other
        if (few, one) == (fewer, other):
            continue
        quarters += few == 4 * fewer and 4 * one == other
        same = "the same" if left == right else f"≈ {right / left:.2f} times as many"
        yield (
            f"{before} to {after}: {number(few)} positions become {number(fewer)}, {number(one)} weights "
            f"{number(other)}. Multiply-adds: {chain(product(few, one), number(left))} and "
            f"{chain(product(fewer, other), number(right))}, {same}."
        )
    if told and quarters == len(told) - 1 > 0:
        yield (
            "Half the side is a quarter of the positions, twice the width is four times the weights: "
            "a block costs the same in every stage."
        )


def _typical(cost: Cost, parts: Parts) -> Iterator[tuple[str, Block, list[Part]]]:
    """The last block of each stage, with its layers with weights on the main path."""
    main: dict[str, list[Part]] = {}
    for part in parts:
        if part.place.path == MAIN and weighted(part):
            main.setdefault(part.place.block, []).append(part)
    for stage in cost.plan.stages:
        name = f"{stage.name}.{len(stage.blocks) - 1}"
        yield name, stage.blocks[-1], main.get(name, [])


def groups(cost: Cost, parts: Parts) -> Iterator[str]:
    """What groups save."""
    grouped = [part for part in parts if isinstance(part.layer, Conv) and part.layer.groups > 1]
    for part in grouped[:1]:
        assert isinstance(part.layer, Conv)
        conv = part.layer
        each = many(conv.channels // conv.groups, "channel")
        read = chain(f"{number(conv.channels)}/{number(conv.groups)}", each)
        whole = conv.kernel * conv.kernel * conv.channels
        yield (
            f"{part.name} has {number(conv.groups)} groups: a filter reads {read} with "
            f"{filter_weights(conv)} weights; without groups it would have "
            f"{chain(product(conv.kernel, conv.kernel, conv.channels), number(whole))}."
        )
    if grouped:
        yield f"In all, {many(len(grouped), 'grouped convolution')}: {_shares(summed(grouped), cost)}."


def gates(cost: Cost, parts: Parts) -> Iterator[str]:
    """What gates cost: squeeze-and-excitation and its like."""
    within = [part for part in parts if part.place.path == GATE]
    first = [part for part in within if part.place.block == within[0].place.block]
    counted = [part for part in first if weighted(part)]
    if not counted:
        return
    said = ", ".join(f"{part.name} {weights(part.layer)}" for part in counted)
    of = "the mean of each" if any(part.layer.reach is None for part in first) else "them"
    yield f"A gate weighs channels by what it makes of {of}: {said} parameters."
    blocks = len({part.place.block for part in within})
    yield f"In all, the gates of {many(blocks, 'block')}: {_shares(summed(within), cost)}."


def _shares(tally: Tally, cost: Cost) -> str:
    return (
        f"{number(tally.params)} parameters ({percent(tally.params, cost.params)} of all), "
        f"{number(tally.macs)} multiply-adds ({percent(tally.macs, cost.macs)})"
    )


def head(cost: Cost, parts: Parts) -> Iterator[str]:
    """From the last map to what leaves."""
    if cost.plan.features:
        maps = [
            f"{name}, {many(channels, 'channel')} in steps of {stride}"
            for name, channels, stride in cost.plan.features
        ]
        yield f"A backbone: it returns {many(len(maps), 'map')}. {'; '.join(maps)}."
    for part in parts:
        if part.place.section != "head" or part.place.path != MAIN:
            continue
        if isinstance(part.layer, GlobalPool):
            positions = part.arrives[0] * part.arrives[1]
            yield (
                f"{part.name}: each {size_text(part.arrives)} map becomes its mean over "
                f"{many(positions, 'position')}; {many(part.layer.channels, 'number')} are left, whatever "
                "the size of the image."
            )
        elif isinstance(part.layer, (Linear, Conv)):
            yield f"{part.name}: {many(part.layer.out_channels, 'output')}, {weights(part.layer)} parameters."


def whereabouts(cost: Cost, parts: Parts) -> Iterator[str]:
    """Where 80 % of the parameters and of the multiply-adds sit."""
    for title, whole, of in (("parameters", cost.params, 0), ("multiply-adds", cost.macs, 1)):
        if not whole:
            continue
        rows = _most([(row.name, row.tally[of]) for row in cost.sections], whole)
        layers = _most([(part.name, part.tally[of]) for part in parts], whole)
        holding = sum(part.tally[of] > 0 for part in parts)
        said = ", ".join(f"{name} {percent(value, whole)}" for name, value in rows)
        most, most_of = layers[0]
        yield (
            f"80 % of the {number(whole)} {title} are in {said}. Of {many(holding, 'layer')} with any, "
            f"{number(len(layers))} {'holds' if len(layers) == 1 else 'hold'} as much, {most} the most with "
            f"{percent(most_of, whole)}."
        )


def _most(values: list[tuple[str, int]], whole: int) -> list[tuple[str, int]]:
    """The largest that make up 80 %."""
    found: list[tuple[str, int]] = []
    so_far = 0
    for name, value in sorted(values, key=lambda entry: -entry[1]):
        if 5 * so_far >= 4 * whole:
            break
        found.append((name, value))
        so_far += value
    return found


def sight(cost: Cost, parts: Parts) -> Iterator[str]:
    """The receptive field against the image."""
    sections = cost.sight.sections.items()
    seen = [(name, field) for name, field in sections if name != "head" or cost.plan.head.children]
    steps = ", ".join(f"{name} {number(field.size)}" for name, field in seen if field is not None)
    yield f"Pixels along one axis that a position sees through the convolutions, after each part: {steps}."
    last = next((part for part in reversed(parts) if spatial(part) and part.place.path == MAIN), None)
    after = cost.sight.layers.get(last.name) if last is not None else None
    if last is not None and after is not None and isinstance(conv := last.layer, Conv):
        stride = after.stride // conv.stride
        dilation = f"{conv.dilation}·" if conv.dilation > 1 else ""
        adds = chain(
            f"{dilation}({conv.kernel}−1)·{stride}", number(conv.dilation * (conv.kernel - 1) * stride)
        )
        yield (
            f"{last.name} alone adds {adds}: a kernel reaches the further the larger the stride before it, "
            f"here {stride}."
        )
    side, size, field = max(cost.image[1:]), cost.receptive_field, cost.sight.last
    places = [field.stride * i for i in range(max(cost.last_map[1:]))]
    whole = [at for at in places if at - field.before <= 0 and at + field.after >= side - 1]
    if len(whole) == len(places) and size >= 2 * side - 1:
        corner = chain(f"2·{number(side)}−1", number(2 * side - 1))
        yield f"{number(size)} is no less than {corner}: even a corner of the last map sees the whole image."
    elif len(whole) == len(places):
        yield f"The image has {number(side)}: every position of the last map sees all of it."
    elif whole:
        yield f"The image has {number(side)}: the middle of the last map sees all of it, its corners do not."
    else:
        yield f"The image has {number(side)}: no position of the last map sees all of it."
    if any(part.place.path == GATE and part.layer.reach is None for part in parts):
        yield "Besides, gates that pool the whole map let everything weigh a little on everything."


def memory(cost: Cost, parts: Parts) -> Iterator[str]:
    """What is alive at the worst moments."""
    one, batch = cost.memory(), cost.memory(batch=32)
    yield (
        f"Weights and buffers take {bytes_text(one.weights)} in float32. One image takes "
        f"{bytes_text(one.inference)} of maps on top at the worst moment, at {one.inference_at}."
    )
    yield (
        f"A training step on 32 images takes {bytes_text(batch.training)} of maps and gradients on top at "
        f"the worst moment, {batch.training_at}: {bytes_text(batch.kept)} of maps have to wait for the "
        "backward pass."
    )


def _positions(row: Row) -> int:
    return row.shape[1] * row.shape[2] if len(row.shape) == 3 else 1
