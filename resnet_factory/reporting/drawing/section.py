"""The columns of a picture, one per section: its maps, the layers of one block, a heading and a note."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from resnet_factory.costing.complexity import Cost
from resnet_factory.costing.node_costs import NodeCostRow
from resnet_factory.planning.network_plan import PlanBlock
from resnet_factory.planning.nodes import Chain, Node
from resnet_factory.planning.paths import main_path
from resnet_factory.reporting.drawing.block_layout import lay_out_block
from resnet_factory.reporting.drawing.geometry import ElementGeometry
from resnet_factory.reporting.drawing.labels import (
    block_shortcut_label,
    first_block_to_label,
    further_blocks_label,
    image_label,
    shape_label,
)
from resnet_factory.reporting.drawing.stage_row import Slab, StageRow, make_stage_row


@dataclass(frozen=True)
class SectionColumn:
    """One section of the network: the stem, a stage or the head."""

    row: NodeCostRow
    heading: str
    slab_row: StageRow
    element: ElementGeometry
    note: str = ""


def section_columns(cost: Cost) -> Iterator[SectionColumn]:
    """Yield the sections in order; a head without layers has none."""
    plan, rows = cost.plan, {row.name: row for row in cost.sections}
    layers = {row.name: row for row in cost.layers}
    blocks = {row.name: row for row in cost.blocks}
    image = Slab(cost.image, "none", image_label(cost), "image")
    stem = [image, *_section_layer_slabs(plan.stem, layers, cost.image)]
    yield SectionColumn(
        rows["stem"], _section_layer_count(plan.stem), make_stage_row(stem), lay_out_block(plan.stem, "")
    )
    for stage in plan.stages:
        row = rows[stage.name]
        slabs = [
            _section_output_slab(blocks[f"{stage.name}.{i}"], block) for i, block in enumerate(stage.blocks)
        ]
        if stage.transition.children:
            between = blocks[f"{stage.name}.transition"]
            slabs.insert(0, Slab(between.shape, "none", f"{between.name}: {shape_label(between.shape)}"))
        heading = f"{row.depth} × {row.kind.replace('_', ' ')}"
        yield SectionColumn(
            row,
            heading,
            make_stage_row(slabs),
            lay_out_block(first_block_to_label(stage), stage.name),
            further_blocks_label(stage),
        )
    if plan.head.children:
        maps = list(_section_layer_slabs(plan.head, layers, cost.sections[-2].shape))
        yield SectionColumn(
            cost.sections[-1],
            _section_layer_count(plan.head),
            make_stage_row(maps),
            lay_out_block(plan.head, ""),
        )


def _section_layer_count(node: Chain) -> str:
    count = len(main_path(node))
    return f"{count} layer{'s' * (count != 1)}"


def _section_output_slab(row: NodeCostRow, block: PlanBlock) -> Slab:
    title = f"{row.name}: {row.kind}, {shape_label(row.shape)}, {row.tally.params:,} parameters"
    return Slab(row.shape, block_shortcut_label(block), title)


def _section_layer_slabs(
    node: Node, layers: dict[str, NodeCostRow], before: tuple[int, ...]
) -> Iterator[Slab]:
    """Yield a slab for each change of shape within a stem or head."""
    for name, _ in main_path(node):
        shape = layers[name].shape
        if before != shape and (
            len(shape) > 1 or before != (*shape, *(1,) * (len(before) - 1))
        ):  # no slab for flatten
            yield Slab(shape, "none", f"{name}: {shape_label(shape)}")
        before = shape
