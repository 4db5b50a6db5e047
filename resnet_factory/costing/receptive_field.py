"""What of the image a position of a map can see: a walk over the plan, whatever the size of the image.

Position i of a map sees the pixels from `stride * i - before` to `stride * i + after` along each axis.
Where paths meet (body and shortcut, parallel branches) it sees what either path sees. This is the
recurrence of Araujo et al. 2019 ("Computing Receptive Fields of Convolutional Neural Networks",
Distill, eq. 2-4), with both ends kept so that paths of unequal reach can be joined.

The convolution path alone is followed: a gate that pools the whole map (squeeze-and-excitation) and a
norm's statistics let every position see a little of everything, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import NamedTuple

from resnet_factory.layers import Layer
from resnet_factory.layers.expressions import FUNCTIONS
from resnet_factory.planning.nodes import Branches, Chain, Gate, Node, Plan, Residual, Select, join

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


class Sight(NamedTuple):
    """The receptive fields of a plan, by the names of its rows."""

    last: ReceptiveField
    """Of the last map, which a head may pool."""
    sections: dict[str, Seen]
    blocks: dict[str, Seen]
    layers: dict[str, Seen]


def sight(plan: Plan) -> Sight:
    """The receptive field of every section, block and layer of a plan."""
    sections: dict[str, Seen] = {}
    blocks: dict[str, Seen] = {}
    layers: dict[str, Seen] = {}
    seen = sections["stem"] = blocks["stem"] = _through(plan.stem, ReceptiveField(), "", layers)
    last = seen or ReceptiveField()
    for stage in plan.stages:
        if stage.transition.children:
            name = f"{stage.name}.transition"
            seen = blocks[name] = _through(stage.transition, seen, name, layers)
        for i, block in enumerate(stage.blocks):
            name = f"{stage.name}.{i}"
            seen = blocks[name] = _through(block.node, seen, name, layers)
        sections[stage.name] = seen
        last = seen or last
    for name, child in plan.head.children:
        seen = _through(child, seen, name, layers)
        last = seen or last
    sections["head"] = blocks["head"] = seen
    return Sight(last, sections, blocks, layers)


def last_field(plan: Plan) -> ReceptiveField:
    """What `sight` gives for the last map, going through equal blocks once; of many architectures at once.

    A block that follows its like adds as much at either end as that one did.
    """
    unread: dict[str, Seen] = {}
    seen = _through(plan.stem, ReceptiveField(), "", unread)
    last = seen or ReceptiveField()
    for stage in plan.stages:
        seen = _through(stage.transition, seen, "", unread)
        for block, times in stage.runs:
            once = _through(block.node, seen, "", unread)
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
        seen = _through(child, seen, name, unread)
        last = seen or last
    return last


def _through(node: Node, seen: Seen, prefix: str, layers: dict[str, Seen]) -> Seen:
    """What a position sees after `node`; notes each layer on the way."""
    match node:
        case Layer():
            seen = layers[prefix] = _one(node, seen)
        case Chain(children=children):
            for name, child in children:
                seen = _through(child, seen, join(prefix, name), layers)
        case Residual(body=body, shortcut=shortcut):
            one, other = _through(body, seen, prefix, layers), _through(shortcut, seen, prefix, layers)
            seen = one.joined(other) if one is not None else other
        case Gate(gate=gate) | Select(gate=gate):
            beside = _through(gate, seen, prefix, layers)
            seen = seen.joined(beside) if seen is not None else None
        case Branches():
            ends = list(_branches(node, seen, prefix, layers))
            seen = reduce(lambda one, other: one.joined(other) if one is not None else other, ends)
    return seen


def _one(layer: Layer, seen: Seen) -> Seen:
    if seen is None or (reach := layer.reach) is None:
        return None
    before, after = reach
    stride = seen.stride
    return ReceptiveField(stride * layer.step, seen.before + stride * before, seen.after + stride * after)


def _branches(node: Branches, seen: Seen, prefix: str, layers: dict[str, Seen]) -> Iterator[Seen]:
    previous: Seen = None
    for i, branch in enumerate(node.branches):
        entry = seen
        if 0 < i < node.linked and seen is not None:
            entry = seen.joined(previous)
        previous = _through(branch, entry, join(prefix, str(i)), layers)
        yield previous
