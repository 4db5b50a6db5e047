"""Differences between two plans, block by block; blocks that changed in the same way are grouped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from resnet_factory.costing.complexity import Cost
from resnet_factory.costing.node_costs import NOTHING, Tally
from resnet_factory.planning.network_plan import Plan, PlanBlock
from resnet_factory.planning.nodes import Chain, dotted_node_name
from resnet_factory.reporting.difference.alignment import AlignmentEdit, align_lines, lines_to_align

Spot = tuple[str, str]
"""A section and a part of it: ("layer1", "0"), ("layer1", "transition"), ("stem", "")."""


@dataclass(frozen=True)
class ChangedBlocks:
    """Blocks in which the same lines changed, or that were added or removed."""

    spots: tuple[Spot, ...]
    sign: str
    """`~` changed, `+` added, `-` removed."""
    every: bool
    """Whether these are all blocks of the network."""
    kind: str
    """The blocks added or removed: `17 × bottleneck 1024 -> 1024`; empty for changed ones."""
    edits: tuple[tuple[AlignmentEdit, ...], ...]
    """For each changed line, its edit in each of the spots."""
    change: Tally
    """The change of costs by these edits or blocks."""


def find_changed_blocks(before: Cost, after: Cost) -> tuple[ChangedBlocks, ...]:
    """Return every difference between two plans, in the order of the network."""
    old, new = _blocks_by_spot(before.plan), _blocks_by_spot(after.plan)
    seen: dict[tuple[int, int], tuple[AlignmentEdit, ...]] = {}
    stories: dict[tuple[object, ...], dict[Spot, AlignmentEdit]] = {}
    blocks: dict[tuple[str, str, str], list[Spot]] = {}
    for spot in _merged_block_spots(list(old), list(new)):
        if spot in old and spot in new:
            pair = _changed_block_chain(old[spot]), _changed_block_chain(new[spot])
            known = id(pair[0]), id(pair[1])
            if known not in seen:
                same = pair[0] is pair[1] or pair[0] == pair[1]
                seen[known] = () if same else tuple(align_lines(*(lines_to_align(node) for node in pair)))
            for edit in seen[known]:
                stories.setdefault((spot[1].isdigit() or spot, *edit.story), {})[spot] = edit
        else:
            sign, side = ("+", new) if spot in new else ("-", old)
            blocks.setdefault((sign, spot[0], _changed_block_kind(side[spot])), []).append(spot)
    together: dict[tuple[Spot, ...], list[tuple[AlignmentEdit, ...]]] = {}
    for story in stories.values():
        together.setdefault(tuple(story), []).append(tuple(story.values()))
    every = {spot for spot in (*old, *new) if spot[1].isdigit()}
    costs = [{row.name: row.tally for row in (*cost.layers, *cost.blocks)} for cost in (before, after)]
    found = [
        ChangedBlocks(
            spots,
            "~",
            set(spots) == every,
            _changed_block_kind(new[spots[0]]),
            tuple(edits),
            _cost_of_changed_blocks(costs, spots, edits),
        )
        for spots, edits in together.items()
    ]
    for (sign, _, kind), spots in blocks.items():
        side = old if sign == "-" else new
        what = f"{len(spots)} × {kind}" if len(spots) > 1 else kind
        what += _changed_block_channels(side[spots[0]], side[spots[-1]])
        found.append(
            ChangedBlocks(tuple(spots), sign, False, what, (), _cost_of_changed_blocks(costs, spots, []))
        )
    order = {spot: i for i, spot in enumerate(_merged_block_spots(list(old), list(new)))}
    return tuple(sorted(found, key=lambda place: (order[place.spots[0]], -len(place.spots))))


def _cost_of_changed_blocks(
    costs: Sequence[dict[str, Tally]], spots: Sequence[Spot], edits: Sequence[Sequence[AlignmentEdit]]
) -> Tally:
    """Return the change of cost of the edited layers, after minus before; without edits, of whole blocks."""
    sums = []
    for side, cost in enumerate(costs):
        total = NOTHING
        for i, spot in enumerate(spots):
            place = "" if spot[0] in ("stem", "head") else ".".join(spot)
            lines = [(line[i].before, line[i].after)[side] for line in edits]
            names = (
                [dotted_node_name(place, line.name) for line in lines if line and not line.meets]
                if edits
                else [place]
            )
            for name in names:
                total = total.plus(cost.get(name, NOTHING))
        sums.append(total)
    return Tally(*(new - old for old, new in zip(*sums, strict=True)))


def _blocks_by_spot(plan: Plan) -> dict[Spot, Chain | PlanBlock]:
    nodes: dict[Spot, Chain | PlanBlock] = {("stem", ""): plan.stem}
    for stage in plan.stages:
        if stage.transition.children:
            nodes[stage.name, "transition"] = stage.transition
        nodes |= {(stage.name, str(i)): block for i, block in enumerate(stage.blocks)}
    return nodes | {("head", ""): plan.head}


def _merged_block_spots(old: Sequence[Spot], new: Sequence[Spot]) -> Iterator[Spot]:
    """Yield all spots in the order of the network: section by section, common spots first."""
    sections = dict.fromkeys(section for section, _ in (*old[:-1], *new[:-1], old[-1]))
    for section in sections:
        yield from dict.fromkeys(spot for spot in (*old, *new) if spot[0] == section)


def _changed_block_chain(node: Chain | PlanBlock) -> Chain:
    return node.node if isinstance(node, PlanBlock) else node


def _changed_block_kind(node: Chain | PlanBlock) -> str:
    return node.kind if isinstance(node, PlanBlock) else "layers"


def _changed_block_channels(first: Chain | PlanBlock, last: Chain | PlanBlock) -> str:
    """Return `256 -> 512`: the input channels of the first block and the output channels of the last."""
    if isinstance(first, PlanBlock) and isinstance(last, PlanBlock):
        return f" {first.in_channels} -> {last.out_channels}"
    return ""


def changed_blocks_text(place: ChangedBlocks) -> str:
    """Return the spots as `layer1.0-2, layer2.0`, or `every block`."""
    if place.every and len(place.spots) > 1:
        return "every block"
    parts = []
    for section, spots in groupby(place.spots, key=lambda spot: spot[0]):
        runs: list[list[int]] = []
        for _, own in spots:
            if not own.isdigit():
                parts.append(f"{section}.{own}" if own else section)
            elif runs and int(own) == runs[-1][1] + 1:
                runs[-1][1] = int(own)
            else:
                runs.append([int(own), int(own)])
        for first, last in runs:
            parts.append(f"{section}.{first}" if first == last else f"{section}.{first}-{last}")
    return ", ".join(parts)
