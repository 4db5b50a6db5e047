"""What a plan costs: parameters, multiply-adds and activations of every layer, block, stage and the whole.

Conventions: `macs` is one per multiply-add of convolution and linear layers, without biases, for one
image; norm, activation and pooling count 0. `activations` is the elements that convolution and linear
layers output (Radosavovic et al. 2020, section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from resnet_factory.costing.memory import Memory, memory
from resnet_factory.costing.receptive_field import Sight, sight
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.layers import FLAT, MAP, Layer
from resnet_factory.planning.nodes import SUM, Chain, Node, Parallel, Plan, Walk, describe
from resnet_factory.planning.paths import out_channels

Size = tuple[int, int]


class Tally(NamedTuple):
    """Three sums."""

    params: int
    macs: int
    activations: int

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(self.params + other.params, self.macs + other.macs, self.activations + other.activations)


NOTHING = Tally(0, 0, 0)
SEARCHED = 300
"""Pixels more and fewer than an image has, among which one that fits is looked for."""


class Row(NamedTuple):
    """One line of a report: a layer, a block, or a section (stem, stage, head)."""

    name: str
    kind: str
    depth: int
    """Blocks in a stage; 1 for anything smaller."""
    shape: tuple[int, ...]
    """What leaves, without the batch: (C, H, W) or (C,)."""
    tally: Tally


@dataclass(frozen=True, repr=False)
class Cost:
    """The cost of one plan at one image size. Totals are sums of the rows at any level.

    Parameters, multiply-adds, activations and shapes are there at once; receptive fields and memory are
    worked out when first asked for.
    """

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
    def last_map(self) -> tuple[int, ...]:
        """What leaves the last stage, (channels, height, width)."""
        return self.sections[-2].shape

    @cached_property
    def sight(self) -> Sight:
        """The receptive fields of the convolution path, at every depth."""
        return sight(self.plan)

    @property
    def receptive_field(self) -> int:
        """Pixels along one axis that a position of the last map sees."""
        return self.sight.last.size

    @property
    def stride(self) -> int:
        """Pixels between what neighbouring positions of the last map see."""
        return self.sight.last.stride

    @property
    def padding(self) -> int:
        """Pixels that the first position of the last map sees before the image begins."""
        return self.sight.last.before

    def memory(self, batch: int = 1, dtype: str = "float32") -> Memory:
        """The bytes needed for `batch` images; `memory.py` says what is alive when.

        Raises:
            ConfigError: an unknown dtype, or no image.
        """
        known = self._memories.get((batch, dtype))
        if known is None:
            known = self._memories[batch, dtype] = memory(self.plan, self.image, batch, dtype)
        return known

    @cached_property
    def _memories(self) -> dict[tuple[int, str], Memory]:
        return {}

    def rows(self, depth: str = "stage") -> tuple[Row, ...]:
        """The rows at one depth: network, stage, block or layer."""
        if depth == "network":
            blocks = sum(len(stage.blocks) for stage in self.plan.stages)
            kinds = dict.fromkeys(block.kind for stage in self.plan.stages for block in stage.blocks)
            return (Row(self.plan.name, "+".join(kinds), blocks, self.shape, self.total),)
        return {"stage": self.sections, "block": self.blocks, "layer": self.layers}[depth]

    def __repr__(self) -> str:
        image = "x".join(map(str, self.image))
        return (
            f"<Cost of {self.plan.name or 'unnamed'} {self.plan.id} at {image}: {self.params:,} parameters, "
            f"{self.macs:,} MACs, {self.activations:,} activations>"
        )

    @property
    def layers(self) -> tuple[Row, ...]:
        """One row per layer, in state-dict order."""
        collected = _LayerRows()
        collected.through(self.plan.root, (self.image[1:], MAP))
        return tuple(collected.rows)

    @property
    def blocks(self) -> tuple[Row, ...]:
        """One row per block, stem and head included."""
        meter, rows = _Meter(), [self.sections[0]]
        _, size = meter.measure(self.plan.stem, self.image[1:])
        for stage in self.plan.stages:
            if stage.transition.children:
                tally, size = meter.measure(stage.transition, size)
                shape_out = shape(stage.blocks[0].in_channels, size, MAP)
                rows.append(Row(f"{stage.name}.transition", "", 1, shape_out, tally))
            for i, block in enumerate(stage.blocks):
                tally, size = meter.measure(block.node, size)
                rows.append(Row(f"{stage.name}.{i}", block.kind, 1, (block.out_channels, *size), tally))
        return (*rows, self.sections[-1])


def cost(plan: Plan, image: tuple[int, int, int] | None = None) -> Cost:
    """The cost of `plan` for one image of shape (channels, height, width).

    Unless given, the image has the size that the network is meant for.

    Raises:
        ConfigError: the image does not fit the network: too small, or other channels.
    """
    shape = image or (plan.in_channels, plan.image_size, plan.image_size)
    sides = shape[1:] if isinstance(shape, tuple) and len(shape) == 3 else ()
    if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
        message = f"expected (channels, height, width), whole numbers above 0, found {shape!r}"
        raise ConfigError([Fault("image", message)])
    if shape[0] != plan.in_channels:
        message = f"an image of {shape[0]} channels; the network takes {plan.in_channels}"
        raise ConfigError([Fault("image", message)])
    try:
        return _cost(plan, shape)
    except _Unfit as error:
        raise ConfigError([_misfit(plan, shape, error)]) from None


def _misfit(plan: Plan, image: tuple[int, int, int], error: _Unfit) -> Fault:
    """Whether another image would do, or none."""
    where = f"{error.where}: " if error.where else ""
    size, side = f"{image[1]}x{image[2]}", min(image[1:])
    above = next((s for s in range(side + 1, side + SEARCHED) if _works(plan, s)), None)
    below = next((s for s in range(side - 1, max(side - SEARCHED, 0), -1) if _works(plan, s)), None)
    near = [f"{s}x{s}" for s in (below, above) if s is not None]
    if isinstance(error, _TooSmall):
        message = f"{size} is too small: {where}{error}"
        return Fault("input.size", message + (f"; the least that works is {near[-1]}" if above else ""))
    if near:
        works = "work" if len(near) > 1 else "works"
        return Fault("input.size", f"{size} does not fit: {where}{error}; {' and '.join(near)} {works}")
    message = f"{where}{error}, and so at any other size; kernels, strides and paddings must agree"
    return Fault("model.block", message)


def _works(plan: Plan, side: int) -> bool:
    try:
        _cost(plan, (plan.in_channels, side, side))
    except _Unfit:
        return False
    return True


def _cost(plan: Plan, image: tuple[int, int, int]) -> Cost:
    meter = _Meter()
    stem, size = meter.measure(plan.stem, image[1:])
    channels, form = out_channels(plan.stem, plan.in_channels), form_after(plan.stem, MAP)
    total, rows = stem, [Row("stem", "", 1, shape(channels, size, form), stem)]
    for stage in plan.stages:
        params, macs, activations, size = meter.node(stage.transition, size)
        for block, count in stage.runs:
            try:
                p, m, a, after = meter.node(block.node, size)
            except _Unfit as error:
                error.where = f"{stage.name}.{next(i for i, b in enumerate(stage.blocks) if b is block)}"
                raise
            if after is size or after == size:
                params, macs, activations = params + p * count, macs + m * count, activations + a * count
                continue
            for _ in range(count):
                p, m, a, size = meter.node(block.node, size)
                params, macs, activations = params + p, macs + m, activations + a
        tally = Tally(params, macs, activations)
        total = total.plus(tally)
        channels = stage.out_channels
        kinds = dict.fromkeys(block.kind for block in stage.blocks)
        rows.append(Row(stage.name, "+".join(kinds), len(stage.blocks), shape(channels, size, form), tally))
    head, size = meter.measure(plan.head, size)
    channels, form = out_channels(plan.head, channels), form_after(plan.head, form)
    rows.append(Row("head", "", 1, shape(channels, size, form), head))
    return Cost(plan, image, total.plus(head), rows[-1].shape, tuple(rows))


def form_after(node: Node, form: str) -> str:
    """What leaves `node`, a map or a flat vector, when `form` arrives."""
    return _Form().through(node, form)


def shape(channels: int, size: Size, form: str) -> tuple[int, ...]:
    """(C,) of a flat vector, (C, H, W) of anything else."""
    return (channels,) if form == FLAT else (channels, *size)


class _Unfit(Exception):  # noqa: N818 - becomes a Fault
    """Maps that are to be joined have different sizes."""

    where = ""
    """The block."""


class _TooSmall(_Unfit):
    """Nothing is left of a map."""


Measured = tuple[int, int, int, Size]
"""Parameters, multiply-adds and activations of a node, and the size of the map that leaves it."""


class _Meter(Walk[Measured]):
    """Measures nodes; a node met again at the same size is not measured again."""

    def __init__(self) -> None:
        self.seen: dict[Size, dict[int, Measured]] = {}

    def measure(self, node: Node, size: Size) -> tuple[Tally, Size]:
        """The cost of `node` on a map of `size`, and the size that leaves."""
        params, macs, activations, size = self.node(node, size)
        return Tally(params, macs, activations), size

    def node(self, node: Node, size: Size) -> Measured:
        """What `measure` gives, in one tuple."""
        seen = self.seen.setdefault(size, {})
        if (known := seen.get(id(node))) is None:
            known = seen[id(node)] = super().through(node, (0, 0, 0, size))
        return known

    def through(self, node: Node, value: Measured, name: str = "") -> Measured:
        params, macs, activations, size = value
        p, m, a, after = self.node(node, size)
        return params + p, macs + m, activations + a, after

    def layer(self, layer: Layer, value: Measured, name: str) -> Measured:
        size = value[3]
        if layer.still:
            return layer.params(), 0, 0, size
        height, width = size
        tall = layer.size(height)
        wide = tall if width is height else layer.size(width)
        if tall < 1 or wide < 1:
            raise _TooSmall(f"nothing is left of a {height}x{width} map after {describe(layer)!r}")
        # Identity, not equality: sizes may be those of many architectures at once.
        after = size if tall is height and wide is width else (tall, wide)
        if not layer.counted:
            return layer.params(), 0, 0, after
        area = tall * wide
        return layer.params(), layer.macs(area), layer.out_channels * area, after

    def chain(self, chain: Chain, value: Measured, name: str) -> Measured:
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

    def entry(
        self, node: Parallel, branch: int, value: Measured, ends: list[Measured], name: str
    ) -> Measured:
        return 0, 0, 0, value[3]

    def join(self, node: Parallel, value: Measured, ends: list[Measured], name: str) -> Measured:
        params, macs, activations, after = ends[0]
        for p, m, a, other in ends[1:]:
            params, macs, activations = params + p, macs + m, activations + a
            if not node.gates and other != after:
                raise _Unfit(_unequal(node, after, other))
        return params, macs, activations, after


def _unequal(node: Parallel, size: Size, other: Size) -> str:
    one, another = ("the body", "the shortcut one") if node.join == SUM else ("one branch", "another one")
    return f"{one} gives a map of {size[0]}x{size[1]}, {another} of {other[0]}x{other[1]}"


Flow = tuple[Size, str]
"""The size and the form of what flows."""


class _LayerRows(Walk[Flow]):
    """Collects one row per layer."""

    def __init__(self) -> None:
        self.meter = _Meter()
        self.rows: list[Row] = []

    def layer(self, layer: Layer, value: Flow, name: str) -> Flow:
        tally, size = self.meter.measure(layer, value[0])
        form = layer.gives or value[1]
        self.rows.append(Row(name, describe(layer), 1, shape(layer.out_channels, size, form), tally))
        return size, form

    def join(self, node: Parallel, value: Flow, ends: list[Flow], name: str) -> Flow:
        return ends[0]


class _Form(Walk[str]):
    def layer(self, layer: Layer, value: str, name: str) -> str:
        return layer.gives or value

    def join(self, node: Parallel, value: str, ends: list[str], name: str) -> str:
        return ends[0]
