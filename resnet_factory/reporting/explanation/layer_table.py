"""A table of a plan's layers with their positions and input sizes, which explanations are based on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from resnet_factory.costing.complexity import Cost
from resnet_factory.costing.node_costs import Tally
from resnet_factory.layers import Conv, Layer, Size, largest_axis_entry
from resnet_factory.planning import paths
from resnet_factory.planning.nodes import CONCAT, PREVIOUS, Chain, Node, Parallel, Read, Walk

MAIN, SHORTCUT, GATE = "main", "shortcut", "gate"
"""The path that a layer is on: the main path, the block's shortcut, or a gate."""


class LayerTablePlace(NamedTuple):
    """A position in a network."""

    section: str
    """stem, head, or the stage."""
    block: str = ""
    """The block, as layer1.0; empty outside blocks."""
    path: str = MAIN
    lane: int = 0
    """The number of the parallel branch, those of a sum included."""


class LayerRecord(NamedTuple):
    """One layer with its position."""

    name: str
    layer: Layer
    place: LayerTablePlace
    arrives: Size
    leaves: Size
    tally: Tally


LayerRecords = tuple[LayerRecord, ...]


def collect_layer_table(cost: Cost) -> LayerRecords:
    """Return the layers of a network in state-dict order."""
    plan, collector = cost.plan, _LayerTableCollector(cost)
    size = collector.walk(plan.stem, cost.image[1:], "", LayerTablePlace("stem"))
    for stage in plan.stages:
        size = collector.walk(stage.transition, size, f"{stage.name}.transition", LayerTablePlace(stage.name))
        for i, block in enumerate(stage.blocks):
            name = f"{stage.name}.{i}"
            size = collector.walk(block.node, size, name, LayerTablePlace(stage.name, name))
        collector.walk(stage.tap, size, "", LayerTablePlace(stage.name))
    collector.walk(plan.head, size, "", LayerTablePlace("head"))
    return tuple(collector.parts)


Position = tuple[Size, LayerTablePlace]
"""The size of the data, and its position."""


class _LayerTableCollector(Walk[Position]):
    def __init__(self, cost: Cost) -> None:
        self.parts: list[LayerRecord] = []
        self.tallies = {row.name: row.tally for row in cost.layers}

    def walk(self, node: Node, size: Size, prefix: str, place: LayerTablePlace) -> Size:
        """Record the layers below `node`; return the size of its output."""
        return self.through(node, (size, place), prefix)[0]

    def layer(self, layer: Layer, value: Position, name: str) -> Position:
        size, place = value
        after = layer.output(size)
        self.parts.append(LayerRecord(name, layer, place, size, after, self.tallies[name]))
        return after, place

    def chain(self, chain: Chain, value: Position, name: str) -> Position:
        size, place = value
        # A block's own shortcut; the name is reserved for it.
        own = name == f"{place.block}.downsample"
        size, _ = super().chain(chain, (size, place._replace(path=SHORTCUT) if own else place), name)
        return size, place

    def entry(
        self, node: Parallel, branch: int, value: Position, ends: list[Position], name: str
    ) -> Position:
        size, place = value
        if node.source(branch) == PREVIOUS:
            size = ends[-1][0]
        if node.gates:
            return size, place._replace(path=GATE)
        return size, place._replace(lane=branch) if branch or node.join == CONCAT else place

    def join(self, node: Parallel, value: Position, ends: list[Position], name: str) -> Position:
        return next((size for size, _ in ends if size != (1,) * len(size)), ends[0][0]), value[1]

    def read(self, node: Read, value: Position, name: str) -> Position:
        return super().read(node, value, name)[0], value[1]


def layer_table_total(parts: Iterable[LayerRecord]) -> Tally:
    """Return the total cost of layers."""
    total = Tally(0, 0, 0)
    for part in parts:
        total = total.plus(part.tally)
    return total


def table_layer_has_weights(part: LayerRecord) -> bool:
    """Return whether it is a convolution or linear layer with trainable weights."""
    return paths.counts_on_path(part.layer)


def table_layer_is_spatial(part: LayerRecord) -> bool:
    """Return whether it is a convolution with a kernel larger than 1, along any axis."""
    return isinstance(part.layer, Conv) and largest_axis_entry(part.layer.kernel) > 1
