"""The cost of a plan: parameters, multiply-adds and activations per layer, block, stage and network.

Conventions: `macs` is one per multiply-add of convolution and linear layers, without biases, for one
image; norm, activation and pooling count 0. `activations` is the number of elements that convolution and
linear layers output (Radosavovic et al. 2020, section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from resnet_factory.costing.memory import Memory, compute_memory
from resnet_factory.costing.node_costs import (
    FormAfterNode,
    LayerCostRows,
    Meter,
    NodeCostRow,
    SizeMismatch,
    Tally,
    TooSmall,
    map_size_text,
    node_shape,
)
from resnet_factory.costing.receptive_field import ReceptiveFields, receptive_fields
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.layers import MAP, Axes, Size
from resnet_factory.layers.attention import MADE_FOR
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import Node
from resnet_factory.planning.paths import PathChannelCount

IMAGE_SHAPES = {
    1: "(channels, length)",
    2: "(channels, height, width)",
    3: "(channels, depth, height, width)",
}
SEARCHED = 300
"""Range, in pixels around the size of an image, in which a size that fits is searched."""


@dataclass(frozen=True, repr=False)
class Cost:
    """The cost of one plan at one image size. Totals are sums of the rows at any level.

    Parameters, multiply-adds, activations and shapes are computed at once; receptive fields and memory on
    first access.
    """

    plan: Plan
    image: tuple[int, ...]
    total: Tally
    shape: tuple[int, ...]
    """The shape of the network's output."""
    sections: tuple[NodeCostRow, ...]
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
        """The shape of the last stage's output, (channels, height, width) in 2 dimensions."""
        return self.sections[-2].shape

    @cached_property
    def receptive_fields(self) -> ReceptiveFields:
        """The receptive fields of the convolution path, at every depth."""
        return receptive_fields(self.plan)

    @property
    def receptive_field(self) -> Axes:
        """Receptive field of a position of the last map, in pixels; per axis where these differ."""
        return self.receptive_fields.last.size

    @property
    def stride(self) -> Axes:
        """Pixels between the receptive fields of neighbouring positions of the last map."""
        return self.receptive_fields.last.stride

    @property
    def padding(self) -> Axes:
        """Pixels of the first position's receptive field that lie before the image."""
        return self.receptive_fields.last.before

    def memory(self, batch: int = 1, dtype: str = "float32") -> Memory:
        """Return the memory needed for `batch` images, by the model described in `memory.py`.

        Raises:
            ConfigError: an unknown dtype, or no image.
        """
        known = self._memory_by_request.get((batch, dtype))
        if known is None:
            known = self._memory_by_request[batch, dtype] = compute_memory(
                self.plan, self.image, batch, dtype
            )
        return known

    @cached_property
    def _memory_by_request(self) -> dict[tuple[int, str], Memory]:
        return {}

    def rows(self, depth: str = "stage") -> tuple[NodeCostRow, ...]:
        """Return the rows at one depth: network, stage, block or layer."""
        if depth == "network":
            blocks = sum(len(stage.blocks) for stage in self.plan.stages)
            kinds = dict.fromkeys(block.kind for stage in self.plan.stages for block in stage.blocks)
            return (NodeCostRow(self.plan.name, "+".join(kinds), blocks, self.shape, self.total),)
        return {"stage": self.sections, "block": self.blocks, "layer": self.layers}[depth]

    def __repr__(self) -> str:
        image = map_size_text(self.image)
        return (
            f"<Cost of {self.plan.name or 'unnamed'} {self.plan.id} at {image}: {self.params:,} parameters, "
            f"{self.macs:,} MACs, {self.activations:,} activations>"
        )

    @property
    def layers(self) -> tuple[NodeCostRow, ...]:
        """One row per layer, in state-dict order."""
        collected = LayerCostRows()
        collected.through(self.plan.root, (self.image[1:], MAP))
        return tuple(collected.rows)

    @property
    def blocks(self) -> tuple[NodeCostRow, ...]:
        """One row per block, stem and head included."""
        meter, rows = Meter(), [self.sections[0]]
        _, size = meter.measure(self.plan.stem, self.image[1:])
        for stage in self.plan.stages:
            if stage.transition.children:
                tally, size = meter.measure(stage.transition, size)
                shape_out = node_shape(stage.blocks[0].in_channels, size, MAP)
                rows.append(NodeCostRow(f"{stage.name}.transition", "", 1, shape_out, tally))
            for i, block in enumerate(stage.blocks):
                tally, size = meter.measure(block.node, size)
                rows.append(
                    NodeCostRow(f"{stage.name}.{i}", block.kind, 1, (block.out_channels, *size), tally)
                )
        return (*rows, self.sections[-1])


def compute_complexity(plan: Plan, image: tuple[int, ...] | None = None) -> Cost:
    """Return the cost of `plan` for one image of shape (channels, height, width), a side per axis.

    The default image size is the model's `image_size`.

    Raises:
        ConfigError: the image does not fit the network: it is too small, or has other channels.
    """
    shape = image or plan.image
    sides = shape[1:] if isinstance(shape, tuple) and len(shape) == plan.dims + 1 else ()
    if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
        message = f"expected {IMAGE_SHAPES[plan.dims]}, whole numbers above 0, found {shape!r}"
        raise ConfigError([Fault("image", message)])
    if shape[0] != plan.in_channels:
        message = f"the image has {shape[0]} channels, but the network takes {plan.in_channels}"
        raise ConfigError([Fault("image", message)])
    try:
        return _plan_complexity(plan, shape)
    except SizeMismatch as error:
        raise ConfigError([_complexity_size_fault(plan, shape, error)]) from None


def _complexity_size_fault(plan: Plan, image: tuple[int, ...], error: SizeMismatch) -> Fault:
    """Return the fault of an image size, with the nearest sizes that work, if any."""
    where = f"{error.where}: " if "." in error.where else ""
    size, side = map_size_text(image[1:]), min(image[1:])
    above = next((s for s in range(side + 1, side + SEARCHED) if _complexity_works_at_size(plan, s)), None)
    below = next(
        (s for s in range(side - 1, max(side - SEARCHED, 0), -1) if _complexity_works_at_size(plan, s)), None
    )
    near = [map_size_text((s,) * plan.dims) for s in (below, above) if s is not None]
    if isinstance(error, TooSmall):
        message = f"{size} is too small: {where}{error}"
        return Fault(
            "input.size", message + (f"; the smallest size that works is {near[-1]}" if above else "")
        )
    if near:
        works = "work" if len(near) > 1 else "works"
        message = f"{size} does not fit: {where}{error}; {' and '.join(near)} {works}"
        if MADE_FOR in str(error) and _shape_works(plan, plan.image):
            message += (
                f"; or set model.image_size, the size for which the layers are made, to {_image_text(image)}"
            )
        return Fault("input.size", message)
    message = f"{where}{error}, and no other image size fits; kernels, strides and paddings must agree"
    return Fault(f"model.{'block' if '.' in error.where else error.where}", message)


def _image_text(image: tuple[int, ...]) -> str:
    """Return the sides of an image as `model.image_size` takes them."""
    return str(image[1]) if len(set(image[1:])) == 1 else f"[{','.join(map(str, image[1:]))}]"


def _complexity_works_at_size(plan: Plan, side: int) -> bool:
    return _shape_works(plan, (plan.in_channels, *(side,) * plan.dims))


def _shape_works(plan: Plan, image: tuple[int, ...]) -> bool:
    try:
        _plan_complexity(plan, image)
    except SizeMismatch:
        return False
    return True


def _section_complexity(meter: Meter, node: Node, size: Size, where: str) -> tuple[Tally, Size]:
    """Return the cost of a section and the size of its output; an error says the section."""
    try:
        return meter.measure(node, size)
    except SizeMismatch as error:
        error.where = where
        raise


def _plan_complexity(plan: Plan, image: tuple[int, ...]) -> Cost:
    meter = Meter()
    stem, size = _section_complexity(meter, plan.stem, image[1:], "stem")
    counts, forms = PathChannelCount(), FormAfterNode()
    channels, form = counts.through(plan.stem, plan.in_channels), forms.through(plan.stem, MAP)
    total, rows = stem, [NodeCostRow("stem", "", 1, node_shape(channels, size, form), stem)]
    for stage in plan.stages:
        (params, macs, activations), size = _section_complexity(meter, stage.transition, size, "transition")
        for block, count in stage.runs:
            try:
                p, m, a, after = meter.node(block.node, size)
            except SizeMismatch as error:
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
        if stage.tap.children:
            counts.through(stage.tap, channels)
            forms.through(stage.tap, form)
            meter.measure(stage.tap, size)
        kinds = dict.fromkeys(block.kind for block in stage.blocks)
        rows.append(
            NodeCostRow(
                stage.name, "+".join(kinds), len(stage.blocks), node_shape(channels, size, form), tally
            )
        )
    head, size = _section_complexity(meter, plan.head, size, "head")
    channels, form = counts.through(plan.head, channels), forms.through(plan.head, form)
    rows.append(NodeCostRow("head", "", 1, node_shape(channels, size, form), head))
    return Cost(plan, image, total.plus(head), rows[-1].shape, tuple(rows))
