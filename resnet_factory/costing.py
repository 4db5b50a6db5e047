"""What a plan costs: parameters, multiply-adds and activations of every layer, block, stage and the whole.

Conventions: `macs` is one per multiply-add of convolution and linear layers, without biases, for one
image; norm, activation and pooling count 0. `activations` is the elements that convolution and linear
layers output (Radosavovic et al. 2020, section 3.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from resnet_factory.fault import ConfigError, Fault
from resnet_factory.layers import FLAT, MAP, Layer
from resnet_factory.nodes import Branches, Chain, Gate, Node, Plan, Residual, Select, describe, join

CONVENTION = (
    "MACs: one per multiply-add of convolution and linear layers; norm, activation and pooling 0. "
    "Activations: elements output by convolution and linear layers. One image."
)
Size = tuple[int, int]


class Tally(NamedTuple):
    """Three sums."""

    params: int
    macs: int
    activations: int

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(self.params + other.params, self.macs + other.macs, self.activations + other.activations)

    def times(self, count: int) -> Tally:
        """The same `count` times over."""
        return Tally(self.params * count, self.macs * count, self.activations * count)


NOTHING = Tally(0, 0, 0)


class Row(NamedTuple):
    """One line of a report: a layer, a block, or a section (stem, stage, head)."""

    name: str
    kind: str
    depth: int
    """Blocks in a stage; 1 for anything smaller."""
    shape: tuple[int, ...]
    """What leaves, without the batch: (C, H, W) or (C,)."""
    tally: Tally


@dataclass(frozen=True)
class Cost:
    """The cost of one plan at one image size. Totals are sums of the rows at any level."""

    plan: Plan
    image: tuple[int, int, int]
    total: Tally
    shape: tuple[int, ...]
    """What leaves the network."""
    sections: tuple[Row, ...]
    """Stem, stages and head."""

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return self.total.params

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return self.total.macs

    @property
    def activations(self) -> int:
        """Elements output by convolution and linear layers for one image."""
        return self.total.activations

    @property
    def layers(self) -> tuple[Row, ...]:
        """One row per layer, in state-dict order."""
        return tuple(_layer_rows(self.plan.root, self.image[1:], "", MAP, _Meter()))

    @property
    def blocks(self) -> tuple[Row, ...]:
        """One row per block, stem and head included."""
        meter, rows = _Meter(), [self.sections[0]]
        _, size, form = meter.chain(self.plan.stem, self.image[1:], MAP)
        for stage in self.plan.stages:
            if stage.transition.children:
                tally, size, form = meter.measure(stage.transition, size, form)
                channels = stage.blocks[0].in_channels
                rows.append(Row(f"{stage.name}.transition", "", 1, (channels, *size), tally))
            for i, block in enumerate(stage.blocks):
                tally, size, form = meter.measure(block.node, size, form)
                rows.append(Row(f"{stage.name}.{i}", block.kind, 1, (block.out_channels, *size), tally))
        return (*rows, self.sections[-1])


def cost(plan: Plan, image: tuple[int, int, int] | None = None) -> Cost:
    """The cost of `plan` for one image of shape (channels, height, width); 224 x 224 unless given.

    Raises:
        ConfigError: the image does not fit the network: too small, or other channels.
    """
    shape = image or (plan.in_channels, 224, 224)
    if shape[0] != plan.in_channels:
        message = f"an image of {shape[0]} channels; the network takes {plan.in_channels}"
        raise ConfigError([Fault("image", message)])
    try:
        return _cost(plan, shape)
    except _TooSmall as error:
        message = f"{shape[1]}x{shape[2]} is too small: {error}"
        if (least := _least_size(plan, min(shape[1:]))) is not None:
            message += f"; the least that works is {least}x{least}"
        raise ConfigError([Fault("input.size", message)]) from None


def _cost(plan: Plan, image: tuple[int, int, int]) -> Cost:
    meter = _Meter()
    size, form, channels = image[1:], MAP, plan.in_channels
    rows: list[Row] = []
    total = NOTHING

    def add(name: str, kind: str, depth: int, tally: Tally) -> None:
        nonlocal total
        total = total.plus(tally)
        rows.append(Row(name, kind, depth, (channels,) if form == FLAT else (channels, *size), tally))

    tally, size, form = meter.measure(plan.stem, size, form)
    channels = out_channels(plan.stem, channels)
    add("stem", "", 1, tally)
    for stage in plan.stages:
        whole, size, form = meter.measure(stage.transition, size, form)
        for block, count in stage.runs:
            tally, after, form = meter.measure(block.node, size, form)
            if after == size:
                whole = whole.plus(tally.times(count))
                continue
            for _ in range(count):
                tally, size, form = meter.measure(block.node, size, form)
                whole = whole.plus(tally)
        channels = stage.out_channels
        kinds = dict.fromkeys(block.kind for block in stage.blocks)
        add(stage.name, "+".join(kinds), len(stage.blocks), whole)
    tally, size, form = meter.measure(plan.head, size, form)
    channels = out_channels(plan.head, channels)
    add("head", "", 1, tally)
    return Cost(plan, image, total, rows[-1].shape, tuple(rows))


def _least_size(plan: Plan, above: int) -> int | None:
    for side in range(above + 1, above + 1025):
        try:
            _cost(plan, (plan.in_channels, side, side))
        except _TooSmall:
            continue
        return side
    return None


def out_channels(node: Node, channels: int) -> int:
    """Channels that leave `node` when `channels` arrive."""
    match node:
        case Layer():
            return node.out_channels
        case Chain(children=children):
            for _, child in children:
                channels = out_channels(child, channels)
            return channels
        case Residual(body=body):
            return out_channels(body, channels)
        case Gate():
            return channels
        case Select(parts=parts):
            return channels // parts
        case Branches(branches=branches, split=split):
            share = channels // len(branches) if split else channels
            return sum(out_channels(branch, share) for branch in branches)


class _TooSmall(Exception):  # noqa: N818 - becomes a Fault
    pass


class _Meter:
    """Measures nodes; a node met again at the same size is not measured again."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, Size, str], tuple[Tally, Size, str]] = {}

    def measure(self, node: Node, size: Size, form: str) -> tuple[Tally, Size, str]:
        """The cost of `node` on a map of `size`, the size that leaves, and its form."""
        key = (id(node), size, form)
        if (known := self.seen.get(key)) is not None:
            return known
        match node:
            case Layer():
                result = self.layer(node, size, form)
            case Chain():
                result = self.chain(node, size, form)
            case Residual(body=body, shortcut=shortcut):
                tally, after, form_after = self.chain(body, size, form)
                other, beside, _ = self.chain(shortcut, size, form)
                if after != beside:
                    raise _TooSmall(
                        f"the body gives a map of {after[0]}x{after[1]}, "
                        f"the shortcut one of {beside[0]}x{beside[1]}"
                    )
                result = tally.plus(other), after, form_after
            case Gate(gate=gate):
                result = self.chain(gate, size, form)[0], size, form
            case Select(gate=gate):
                result = self.chain(gate, size, form)[0], size, form
            case Branches(branches=branches):
                results = [self.chain(branch, size, form) for branch in branches]
                sizes = [after for _, after, _ in results]
                if any(after != sizes[0] for after in sizes):
                    raise _TooSmall(f"the branches give maps of different sizes: {sorted(set(sizes))}")
                total = NOTHING
                for tally, _, _ in results:
                    total = total.plus(tally)
                result = total, *results[0][1:]
        self.seen[key] = result
        return result

    def layer(self, layer: Layer, size: Size, form: str) -> tuple[Tally, Size, str]:
        height, width = size
        out = layer.size(height), layer.size(width)
        if out[0] < 1 or out[1] < 1:
            raise _TooSmall(f"nothing is left of a {height}x{width} map after {describe(layer)!r}")
        if layer.counted:
            area = out[0] * out[1]
            tally = Tally(layer.params(), layer.macs(area), layer.out_channels * area)
        else:
            tally = Tally(layer.params(), 0, 0)
        return tally, out, layer.gives or form

    def chain(self, node: Chain, size: Size, form: str) -> tuple[Tally, Size, str]:
        params = macs = activations = 0
        for _, child in node.children:
            tally, size, form = self.measure(child, size, form)
            params += tally.params
            macs += tally.macs
            activations += tally.activations
        return Tally(params, macs, activations), size, form


def _layer_rows(node: Node, size: Size, prefix: str, form: str, meter: _Meter) -> Iterator[Row]:
    match node:
        case Layer():
            tally, after, left = meter.measure(node, size, form)
            channels = node.out_channels
            shape = (channels,) if left == FLAT else (channels, *after)
            yield Row(prefix, describe(node), 1, shape, tally)
        case Chain(children=children):
            for name, child in children:
                yield from _layer_rows(child, size, join(prefix, name), form, meter)
                _, size, form = meter.measure(child, size, form)
        case Residual(body=body, shortcut=shortcut):
            yield from _layer_rows(body, size, prefix, form, meter)
            yield from _layer_rows(shortcut, size, prefix, form, meter)
        case Gate(gate=gate) | Select(gate=gate):
            yield from _layer_rows(gate, size, prefix, form, meter)
        case Branches(branches=branches):
            for i, branch in enumerate(branches):
                yield from _layer_rows(branch, size, join(prefix, str(i)), form, meter)
