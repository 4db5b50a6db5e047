"""Parameters, multiply-adds and activations of any node of a plan, for a map of some size."""

from __future__ import annotations

from typing import NamedTuple

from resnet_factory.layers import FLAT, MAP, POINT, Layer, Size, positions
from resnet_factory.planning.nodes import (
    DENSE,
    INPUT,
    PREVIOUS,
    PRODUCT,
    SELECT,
    SUM,
    Chain,
    Node,
    Parallel,
    Read,
    Tap,
    Walk,
)
from resnet_factory.planning.plan_text import layer_plan_text


class Tally(NamedTuple):
    """Sums of parameters, MACs and activations."""

    params: int
    macs: int
    activations: int

    def plus(self, other: Tally) -> Tally:
        """Return the sum of both."""
        return Tally(self.params + other.params, self.macs + other.macs, self.activations + other.activations)


NOTHING = Tally(0, 0, 0)


class NodeCostRow(NamedTuple):
    """One line of a report: a layer, a block, or a section (stem, stage, head)."""

    name: str
    kind: str
    depth: int
    """Blocks in a stage; 1 for anything smaller."""
    shape: tuple[int, ...]
    """The shape of the output without the batch: (C, H, W) in 2 dimensions, or (C,)."""
    tally: Tally

    @property
    def positions(self) -> int:
        """The number of positions of the output: height times width in 2 dimensions, 1 of a vector."""
        return positions(self.shape[1:]) if len(self.shape) > 1 else 1


def node_shape(channels: int, size: Size, form: str) -> tuple[int, ...]:
    """Return (C,) for a flat vector, (C, H, W) in 2 dimensions for anything else."""
    return (channels,) if form == FLAT else (channels, *size)


class SizeMismatch(Exception):  # noqa: N818 - becomes a Fault
    """Raised when a map is of a size that a layer does not take, or that of another to be joined with it."""

    where = ""
    """The block."""


class TooSmall(SizeMismatch):
    """Raised when a map becomes empty."""


Measured = tuple[int, int, int, Size]
"""Parameters, multiply-adds and activations of a node, and the size of its output map."""


class Meter(Walk[Measured]):
    """Measures nodes; results are cached per node and size, except of nodes that name or read maps."""

    def __init__(self) -> None:
        self.seen: dict[Size, dict[int, Measured]] = {}
        self.marks = 0
        """The number of taps and reads so far in the module being measured."""

    def measure(self, node: Node, size: Size) -> tuple[Tally, Size]:
        """Return the cost of `node` on a map of `size`, and the size of its output."""
        params, macs, activations, size = self.node(node, size)
        return Tally(params, macs, activations), size

    def node(self, node: Node, size: Size) -> Measured:
        """Return the result of `measure` as one tuple."""
        seen = self.seen.setdefault(size, {})
        if (known := seen.get(id(node))) is None:
            value, marks = (0, 0, 0, size), self.marks
            known = self.layer(node, value, "") if isinstance(node, Layer) else node.walked(self, value, "")
            if self.marks == marks:
                seen[id(node)] = known
        return known

    def tap(self, node: Tap, value: Measured, name: str) -> Measured:
        """Note the size at a tap."""
        self.marks += 1
        return super().tap(node, value, name)

    def read(self, node: Read, value: Measured, name: str) -> Measured:
        """Return the sums so far, and the size of the map that is read."""
        self.marks += 1
        return *value[:3], super().read(node, value, name)[3]

    def owner(self, chain: Chain, value: Measured, name: str) -> Measured:
        """Return the sums over a module, which depend on nothing that is named outside of it."""
        marks = self.marks
        value = super().owner(chain, value, name)
        self.marks = marks
        return value

    def through(self, node: Node, value: Measured, name: str = "") -> Measured:
        """Return the sums so far plus the cost of `node`."""
        params, macs, activations, size = value
        p, m, a, after = self.node(node, size)
        return params + p, macs + m, activations + a, after

    def layer(self, layer: Layer, value: Measured, name: str) -> Measured:
        """Return the cost of one layer."""
        size = value[3]
        if layer.elementwise:
            return layer.params(), 0, 0, size
        if misfit := layer.misfit(size):
            raise SizeMismatch(f"{layer_plan_text(layer)!r} {misfit}")
        after = layer.output(size)
        if after is not size:
            for side in after:
                if side < 1:
                    raise TooSmall(
                        f"nothing is left of a {map_size_text(size)} map after {layer_plan_text(layer)!r}"
                    )
        if not layer.counted:
            return layer.params(), 0, 0, after
        area = positions(after)
        return layer.params(), layer.macs(area), layer.out_channels * area, after

    def chain(self, chain: Chain, value: Measured, name: str) -> Measured:
        """Return the sums over a chain's children."""
        params, macs, activations, size = value
        seen = self.seen.setdefault(size, {})
        for _, child in chain.children:
            p, m, a, after = seen.get(id(child)) or self.node(child, size)
            params += p
            macs += m
            activations += a
            if after is not size:
                size = after
                seen = self.seen.setdefault(size, {})
        return params, macs, activations, size

    def parallel(self, node: Parallel, value: Measured, name: str) -> Measured:
        """Sum over branches; each reads a map of the size that reaches the node, or one before it gives."""
        ends: list[Measured] = []
        for i, branch in enumerate(node.branches):
            source, size = node.source(i), value[3]
            if source == PREVIOUS:
                size = ends[-1][3]
            elif source != INPUT:
                for _, _, _, other in ends if source == DENSE else ends[-1:]:
                    if other != size:
                        raise SizeMismatch(_node_size_mismatch_text(node, size, other))
            ends.append(self.node(branch, size))
        return self.join(node, value, ends, name)

    def join(self, node: Parallel, value: Measured, ends: list[Measured], name: str) -> Measured:
        """Return the sums over branches, of one size; a term or a factor may be a single position."""
        params, macs, activations, after = ends[0]
        for i, (p, m, a, other) in enumerate(ends[1:], 1):
            params, macs, activations = params + p, macs + m, activations + a
            if other is after or other == after:
                continue
            if other == (1,) * len(other) and self.spreads(node, i):
                continue
            if after != (1,) * len(after) or not all(self.spreads(node, j) for j in range(i)):
                raise SizeMismatch(_node_size_mismatch_text(node, after, other))
            after = other
        return params, macs, activations, after

    def spreads(self, node: Parallel, branch: int) -> bool:
        """Return whether a single position of a branch applies to all; of a sum, only what is one by plan."""
        if node.join != SUM:
            return node.join in (PRODUCT, SELECT)
        return _NodeForms().through(node.branches[branch], MAP) == POINT


def map_size_text(size: Size) -> str:
    """Return the sides of a map as `56x56`."""
    return "x".join(map(str, size))


def _node_size_mismatch_text(node: Parallel, size: Size, other: Size) -> str:
    one, another = ("the body", "the shortcut one") if node.shortcut else ("one branch", "another one")
    return f"{one} gives a map of {map_size_text(size)}, {another} of {map_size_text(other)}"


Flow = tuple[Size, str]
"""The size and the form of the data."""


class LayerCostRows(Walk[Flow]):
    """Collects one row per layer."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.rows: list[NodeCostRow] = []

    def layer(self, layer: Layer, value: Flow, name: str) -> Flow:
        """Add a layer's row."""
        tally, size = self.meter.measure(layer, value[0])
        form = layer.produces or value[1]
        self.rows.append(
            NodeCostRow(name, layer_plan_text(layer), 1, node_shape(layer.out_channels, size, form), tally)
        )
        return size, form

    def join(self, node: Parallel, value: Flow, ends: list[Flow], name: str) -> Flow:
        """Return the output map: of several sizes, the one that is not a single position."""
        return next((end for end in ends if end[1] == MAP and end[0] != (1,) * len(end[0])), ends[0])


class FormAfterNode(Walk[str]):
    """The form of the data after each node."""

    def layer(self, layer: Layer, value: str, name: str) -> str:
        """Return the form after a layer."""
        return layer.produces or value

    def join(self, node: Parallel, value: str, ends: list[str], name: str) -> str:
        """Return the form after a join: a map where any branch gives one."""
        return MAP if MAP in ends else ends[0]


class _NodeForms(FormAfterNode):
    """The form after each node of a branch, which may read maps of any form tapped before it."""

    def read(self, node: Read, value: str, name: str) -> str:
        """Return the form at the tap; a single position where it is not known."""
        return self.taps.get(node.of, POINT)
