"""Explanations of a network's shortcuts: which blocks project and why, and joins inside blocks.

Every equation is exact as written; `≈` marks rounded results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from resnet_factory.costing.complexity import Cost
from resnet_factory.planning.network_plan import PlanBlock
from resnet_factory.planning.paths import PathJoin, path_joins
from resnet_factory.reporting.explanation.equations import (
    equation_size_text,
    many,
    number,
)
from resnet_factory.reporting.explanation.layer_table import (
    SHORTCUT,
    LayerRecord,
    LayerRecords,
    layer_table_total,
)
from resnet_factory.reporting.explanation.phrases import SHOWN, cost_shares_phrase, layer_phrase


def explain_shortcuts(cost: Cost, parts: LayerRecords) -> Iterator[str]:
    """Explain the blocks whose shortcuts project, the reasons, and their cost."""
    blocks = {
        f"{stage.name}.{i}": block for stage in cost.plan.stages for i, block in enumerate(stage.blocks)
    }
    alike = [block for block in blocks.values() if block.residual and _shortcut_keeps_shape(block)]
    kept = sum(not block.projects for block in alike)
    alone = sum(not block.residual for block in blocks.values())
    if alone == len(blocks):
        if blocks:
            yield from _explain_inner_shortcuts(blocks)
        return
    then = "x is added unchanged, at no cost" if kept == len(alike) else "all of these project x nevertheless"
    if 0 < kept < len(alike):
        then = (
            f"in {number(kept)} of these x is added unchanged, at no cost; the others project x nevertheless"
        )
    yield (
        f"A block gives x + F(x), which requires x and F(x) to have the same shape. In {number(len(alike))} "
        f"of {many(len(blocks), 'block')} they do, and {then}."
    )
    if alone:
        yield f"{many(alone, 'block')} with different input and output shapes, without a shortcut."
    beside: dict[str, list[LayerRecord]] = {}
    for part in parts:
        if part.place.path == SHORTCUT and part.place.block in blocks:
            beside.setdefault(part.place.block, []).append(part)
    for name, layers in list(beside.items())[:SHOWN]:
        steps = [layer_phrase(part) for part in layers if not part.layer.view(True)]
        reason, path = (
            _reason_for_shortcut_projection(blocks[name], layers),
            ", then ".join(steps) or "nothing",
        )
        yield f"{name}: {reason}. On the shortcut {path}."
    if len(beside) > SHOWN:
        yield f"In the same way {many(len(beside) - SHOWN, 'block')} more, up to {list(beside)[-1]}."
    if beside:
        tally = layer_table_total(part for layers in beside.values() for part in layers)
        if tally.params:
            yield f"In all, {many(len(beside), 'projection')}: {cost_shares_phrase(tally, cost)}."
        else:
            yield f"In all, {many(len(beside), 'shortcut')} of this kind, without parameters."


def _explain_inner_shortcuts(blocks: Mapping[str, PlanBlock]) -> Iterator[str]:
    """Explain joins inside blocks, for networks whose blocks have no shortcut around all of their layers."""
    found = {name: list(path_joins(block.node, name)) for name, block in blocks.items()}
    passing = [entry for entries in found.values() for entry in entries if entry.passes]
    side_by_side = [entry for entries in found.values() for entry in entries if not entry.passes]
    many_blocks = many(len(blocks), "block")
    if not passing and not side_by_side:
        yield f"None of {many_blocks} adds its input to its output: a plain network."
        return
    yield f"None of {many_blocks} has a shortcut around all of its layers."
    for sums, how in (
        (True, "a sum adds the input of some layers to their output, x + F(x), inside the block"),
        (False, "a concatenation keeps the input of some layers next to their output, [x, F(x)]"),
    ):
        if of_kind := [entry for entry in passing if entry.sums == sums]:
            yield f"In {_count_of_inner_shortcuts(of_kind, found)} {how}."
    if side_by_side:
        yield (
            f"In {_count_of_inner_shortcuts(side_by_side, found)} parallel branches are joined, each of them "
            "with weights of its own."
        )


def _count_of_inner_shortcuts(entries: Sequence[PathJoin], found: Mapping[str, Sequence[PathJoin]]) -> str:
    """Return a count as `12 of 16 blocks (24 times)`."""
    names = [name for name, inner in found.items() if any(entry in entries for entry in inner)]
    times = f" ({number(len(entries))} times)" if len(entries) > len(names) else ""
    return f"{number(len(names))} of {many(len(found), 'block')}{times}"


def _shortcut_keeps_shape(block: PlanBlock) -> bool:
    return block.stride == 1 and block.in_channels == block.out_channels


def _reason_for_shortcut_projection(block: PlanBlock, layers: Sequence[LayerRecord]) -> str:
    reasons = []
    if block.stride > 1:
        before, after = equation_size_text(layers[0].arrives), equation_size_text(layers[-1].leaves)
        reasons.append(f"stride {block.stride} takes {before} to {after}")
    if block.in_channels != block.out_channels:
        reasons.append(f"{number(block.in_channels)} channels become {number(block.out_channels)}")
    return ", ".join(reasons) or "its shape stays, but the shortcut projects"
