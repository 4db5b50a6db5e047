"""What of the image a position of a map can see: a walk over the plan, whatever the size of the image.

Position i of a map sees the pixels from `stride * i - before` to `stride * i + after` along each axis.
Where paths meet (body and shortcut, parallel branches) it sees what either path sees. This is the
recurrence of Araujo et al. 2019 ("Computing Receptive Fields of Convolutional Neural Networks",
Distill, eq. 2-4), with both ends kept so that paths of unequal reach can be joined.

The convolution path alone is followed: a gate that pools the whole map (squeeze-and-excitation) and a
norm's statistics let every position see a little of everything, and are left out.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

from resnet_factory.layers import Layer
from resnet_factory.layers.expressions import FUNCTIONS
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import Parallel, Walk

larger = FUNCTIONS["max"]


class ReceptiveField(NamedTuple):
    """What one position of a map sees of the image, along one axis."""

    stride: int = 1
    """Pixels between what neighbouring positions see."""
    before: int = 0
    """Pixels seen before `stride * i`: the effective padding of everything up to here."""
    after: int = 0

    @property
    def size(self) -> int:
        """Pixels seen in all."""
        return self.before + self.after + 1

    def joined(self, other: ReceptiveField | None) -> ReceptiveField:
        """What is seen where two paths of one stride meet; a path that sees everything is left out."""
        if other is None:
            return self
        return ReceptiveField(self.stride, larger(self.before, other.before), larger(self.after, other.after))


Seen = ReceptiveField | None
"""None: the whole image, since a global pool."""


class ReceptiveFields(NamedTuple):
    """The receptive fields of a plan, by the names of its rows."""

    last: ReceptiveField
    """Of the last map, which a head may pool."""
    sections: dict[str, Seen]
    blocks: dict[str, Seen]
    layers: dict[str, Seen]


def receptive_fields(plan: Plan) -> ReceptiveFields:
    """The receptive field of every section, block and layer of a plan."""
    sections: dict[str, Seen] = {}
    blocks: dict[str, Seen] = {}
    layers: dict[str, Seen] = {}
    walk = _Fields(layers)
    seen = sections["stem"] = blocks["stem"] = walk.through(plan.stem, ReceptiveField(), "")
    last = seen or ReceptiveField()
    for stage in plan.stages:
        if stage.transition.children:
            name = f"{stage.name}.transition"
            seen = blocks[name] = walk.through(stage.transition, seen, name)
        for i, block in enumerate(stage.blocks):
            name = f"{stage.name}.{i}"
            seen = blocks[name] = walk.through(block.node, seen, name)
        sections[stage.name] = seen
        last = seen or last
    for name, child in plan.head.children:
        seen = walk.through(child, seen, name)
        last = seen or last
    sections["head"] = blocks["head"] = seen
    return ReceptiveFields(last, sections, blocks, layers)


def last_field(plan: Plan) -> ReceptiveField:
    """What `sight` gives for the last map, going through equal blocks once; of many architectures at once.

    A block that follows its like adds as much at either end as that one did.
    """
    walk = _Fields({})
    seen = walk.through(plan.stem, ReceptiveField(), "")
    last = seen or ReceptiveField()
    for stage in plan.stages:
        seen = walk.through(stage.transition, seen, "")
        for block, times in stage.runs:
            once = walk.through(block.node, seen, "")
            if once is None or seen is None:
                seen = once
            else:
                seen = ReceptiveField(
                    once.stride,
                    seen.before + (once.before - seen.before) * times,
                    seen.after + (once.after - seen.after) * times,
                )
        last = seen or last
    for name, child in plan.head.children:
        seen = walk.through(child, seen, name)
        last = seen or last
    return last


class _Fields(Walk[Seen]):
    """Follows what a position sees through a plan's nodes; notes each layer on the way."""

    def __init__(self, layers: dict[str, Seen]) -> None:
        self.layers = layers

    def layer(self, layer: Layer, value: Seen, name: str) -> Seen:
        after = self.layers[name] = _one(layer, value)
        return after

    def entry(self, node: Parallel, branch: int, value: Seen, ends: list[Seen], name: str) -> Seen:
        return value.joined(ends[-1]) if 0 < branch < node.cascade and value is not None else value

    def join(self, node: Parallel, value: Seen, ends: list[Seen], name: str) -> Seen:
        return reduce(lambda one, other: one.joined(other) if one is not None else other, ends)


def _one(layer: Layer, seen: Seen) -> Seen:
    if seen is None or (reach := layer.reach) is None:
        return None
    before, after = reach
    stride = seen.stride
    return ReceptiveField(stride * layer.step, seen.before + stride * before, seen.after + stride * after)
