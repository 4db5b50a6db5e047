"""The columns of a picture, one per section: its maps, the layers of one block, a heading and a note."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from resnet_factory.costing.complexity import Cost
from resnet_factory.costing.measurement import Row
from resnet_factory.planning.network_plan import Block
from resnet_factory.planning.nodes import Chain, Node
from resnet_factory.planning.paths import main_path
from resnet_factory.reporting.drawing.block_layout import lay_out
from resnet_factory.reporting.drawing.geometry import Element
from resnet_factory.reporting.drawing.labels import first_block, image_label, rest, shape_label, shortcut_kind
from resnet_factory.reporting.drawing.stage_row import Slab, SlabRow, slab_row


@dataclass(frozen=True)
class SectionColumn:
    """One section of the network: the stem, a stage or the head."""

    row: Row
    heading: str
    slab_row: SlabRow
    element: Element
    note: str = ""


def columns(cost: Cost) -> Iterator[SectionColumn]:
    """Yield the sections in order; a head without layers has none."""
    plan, rows = cost.plan, {row.name: row for row in cost.sections}
    layers = {row.name: row for row in cost.layers}
    blocks = {row.name: row for row in cost.blocks}
    image = Slab(cost.image, "none", image_label(cost), "image")
    stem = [image, *_slabs_of_layers(plan.stem, layers, cost.image)]
    yield SectionColumn(rows["stem"], _layer_count(plan.stem), slab_row(stem), lay_out(plan.stem, ""))
    for stage in plan.stages:
        row = rows[stage.name]
        slabs = [_output_slab(blocks[f"{stage.name}.{i}"], block) for i, block in enumerate(stage.blocks)]
        if stage.transition.children:
            between = blocks[f"{stage.name}.transition"]
            slabs.insert(0, Slab(between.shape, "none", f"{between.name}: {shape_label(between.shape)}"))
        heading = f"{row.depth} × {row.kind.replace('_', ' ')}"
        yield SectionColumn(
            row, heading, slab_row(slabs), lay_out(first_block(stage), stage.name), rest(stage)
        )
    if plan.head.children:
        maps = list(_slabs_of_layers(plan.head, layers, cost.sections[-2].shape))
        yield SectionColumn(
            cost.sections[-1], _layer_count(plan.head), slab_row(maps), lay_out(plan.head, "")
        )


def _layer_count(node: Chain) -> str:
    count = len(main_path(node))
    return f"{count} layer{'s' * (count != 1)}"


def _output_slab(row: Row, block: Block) -> Slab:
    title = f"{row.name}: {row.kind}, {shape_label(row.shape)}, {row.tally.params:,} parameters"
    return Slab(row.shape, shortcut_kind(block), title)


def _slabs_of_layers(node: Node, layers: dict[str, Row], before: tuple[int, ...]) -> Iterator[Slab]:
    """Yield a slab for each change of shape within a stem or head."""
    for name, _ in main_path(node):
        shape = layers[name].shape
        if before != shape and (
            len(shape) > 1 or before != (*shape, *(1,) * (len(before) - 1))
        ):  # no slab for flatten
            yield Slab(shape, "none", f"{name}: {shape_label(shape)}")
        before = shape
