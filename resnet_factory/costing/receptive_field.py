"""Receptive fields of a plan's feature maps; they do not depend on the image size.

The receptive field of position i of a map is the pixels from `stride * i - before` to `stride * i + after`
along an axis. Where paths are joined (body and shortcut, parallel branches) it is the union of theirs.
This is the recurrence of Araujo et al. 2019 ("Computing Receptive Fields of Convolutional Neural Networks",
Distill, eq. 2-4), with both ends tracked so that paths of unequal receptive fields can be joined. Where a
map has been enlarged, the stride is a fraction, positions read unequally far, and the ends are the furthest
of all positions.

Only paths through convolutions and pools count. Gates that pool the whole map (squeeze-and-excitation) and
the statistics of norms would let every pixel reach every position, and are left out.
"""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from typing import Any, NamedTuple

from resnet_factory.layers import Axes, Layer, combine_axes, multiply_axes, simplest_axes
from resnet_factory.layers.expressions import FUNCTIONS
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import CASCADE, DENSE, Parallel, Walk

larger = FUNCTIONS["max"]


class ReceptiveField(NamedTuple):
    """Receptive field of one position of a map, in pixels per axis."""

    stride: Axes = 1
    """Pixels between the receptive fields of neighbouring positions."""
    before: Axes = 0
    """Pixels before `stride * i`: the effective padding of all layers so far."""
    after: Axes = 0

    @property
    def size(self) -> Axes:
        """Total number of pixels."""
        return combine_axes(_receptive_field_size, self.before, self.after)

    def joined(self, other: ReceptiveField | None) -> ReceptiveField:
        """Return the joined field of two paths of equal stride; None, for a global pool, is left out."""
        if other is None:
            return self
        before, after = (
            combine_axes(larger, self.before, other.before),
            combine_axes(larger, self.after, other.after),
        )
        return ReceptiveField(self.stride, before, after)


Field = ReceptiveField | None
"""None: the whole image, after a global pool."""


class ReceptiveFields(NamedTuple):
    """The receptive fields of a plan, by the names of its rows."""

    last: ReceptiveField
    """Of the last map, which a head may pool."""
    sections: dict[str, Field]
    blocks: dict[str, Field]
    layers: dict[str, Field]


def receptive_fields(plan: Plan) -> ReceptiveFields:
    """Return the receptive field of every section, block and layer of a plan."""
    sections: dict[str, Field] = {}
    blocks: dict[str, Field] = {}
    layers: dict[str, Field] = {}
    walk = _ReceptiveFieldWalk(layers)
    field = sections["stem"] = blocks["stem"] = walk.through(plan.stem, ReceptiveField(), "")
    last = field or ReceptiveField()
    for stage in plan.stages:
        if stage.transition.children:
            name = f"{stage.name}.transition"
            field = blocks[name] = walk.through(stage.transition, field, name)
        for i, block in enumerate(stage.blocks):
            name = f"{stage.name}.{i}"
            field = blocks[name] = walk.through(block.node, field, name)
        sections[stage.name] = field
        walk.through(stage.tap, field, "")
        last = field or last
    for name, child in plan.head.children:
        field = walk.through(child, field, name)
        last = field or last
    sections["head"] = blocks["head"] = field
    return ReceptiveFields(last, sections, blocks, layers)


def last_receptive_field(plan: Plan) -> ReceptiveField:
    """Return the last map's receptive field, running equal blocks once; for many architectures at once, too.

    Each of several equal blocks in a row, from the second on, adds the same at either end.
    """
    walk = _ReceptiveFieldWalk({})
    field = walk.through(plan.stem, ReceptiveField(), "")
    last = field or ReceptiveField()
    for stage in plan.stages:
        field = walk.through(stage.transition, field, "")
        for block, count in stage.runs:
            once = walk.through(block.node, field, "")
            if once is None or field is None:
                field = once
            else:
                before = combine_axes(_repeated_receptive_field, field.before, once.before, count)
                after = combine_axes(_repeated_receptive_field, field.after, once.after, count)
                field = ReceptiveField(once.stride, before, after)
        walk.through(stage.tap, field, "")
        last = field or last
    for name, child in plan.head.children:
        field = walk.through(child, field, name)
        last = field or last
    return last


class _ReceptiveFieldWalk(Walk[Field]):
    """Computes the field after each node of a plan, and records that of each layer."""

    def __init__(self, layers: dict[str, Field]) -> None:
        self.layers = layers

    def layer(self, layer: Layer, value: Field, name: str) -> Field:
        after = self.layers[name] = _receptive_field_after_layer(layer, value)
        return after

    def entry(self, node: Parallel, branch: int, value: Field, ends: list[Field], name: str) -> Field:
        if (source := node.source(branch)) in (CASCADE, DENSE):
            return _joined_receptive_field([value, *(ends if source == DENSE else ends[-1:])])
        return super().entry(node, branch, value, ends, name)

    def join(self, node: Parallel, value: Field, ends: list[Field], name: str) -> Field:
        return _joined_receptive_field(ends)


def _joined_receptive_field(fields: list[Field]) -> Field:
    return reduce(lambda one, other: one.joined(other) if one is not None else other, fields)


def _receptive_field_after_layer(layer: Layer, field: Field) -> Field:
    if field is None or (reach := layer.reach) is None:
        return None
    stride = multiply_axes(field.stride, layer.step)
    ends = (
        combine_axes(_extended_receptive_field, end, field.stride, reached, stride)
        for end, reached in zip((field.before, field.after), reach, strict=True)
    )
    return ReceptiveField(stride, *ends)


def _receptive_field_size(before: int, after: int) -> int:
    return (before + after) // 1 + 1


def _extended_receptive_field(pixels: Any, stride: Any, positions: Any, after: Any) -> Any:
    """Return an end of the field, extended by positions; whole if the stride `after` the layer is."""
    extended = pixels + stride * positions
    whole = isinstance(extended, Fraction) and not isinstance(after, Fraction)
    return extended // 1 if whole else simplest_axes(extended)


def _repeated_receptive_field(before: int, once: int, times: int) -> int:
    """Return a number that a block changes from `before` to `once`, after `multiply_axes` such blocks."""
    return before + (once - before) * times
