"""Labels of a picture: of layers, shapes and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from resnet_factory.costing.complexity import Cost
from resnet_factory.layers import (
    MAP,
    AttentionPool,
    Axes,
    Conv,
    Layer,
    Reduce,
    SelfAttention,
    Softmax,
    SpaceToDepth,
    Upsample,
    axes_text,
    largest_axis_entry,
    per_axis,
)
from resnet_factory.planning.network_plan import PlanBlock, PlanStage
from resnet_factory.planning.nodes import Chain, Node, Parallel, Read, Walk, leaves, parallel_nodes
from resnet_factory.planning.plan_text import layer_plan_text
from resnet_factory.reporting.wording import wording_for_dimensions

ROLES = {
    "bn": "norm",
    "grn": "norm",
    "act": "act",
    "softmax": "act",
    "reduce": "shape",
    "narrow": "shape",
    "shuffle": "shape",
    "space_to_depth": "shape",
    "depth_to_space": "shape",
    "upsample": "shape",
    "maxpool": "shape",
    "avgpool": "shape",
    "flatten": "shape",
    "blur": "shape",
    "pad": "shape",
    "border": "shape",
    "identity": "shape",
}
"""A layer's family -> its colour role; convolution and linear layers have `weight`, others `other`."""

WORDS = {
    "conv1d": "",
    "conv2d": "",
    "conv3d": "",
    "standardized_conv": "ws",
    "scaled_conv": "scaled ws",
    "channel_conv": "1-d conv",
    "filter_response_norm": "response norm",
    "global_pool": "global avg pool",
    "stochastic_depth": "drop path",
    "block_dropout": "drop block",
}


class LayerLabel(NamedTuple):
    """The label of a layer."""

    text: str
    role: str
    title: str
    """The full description of the layer, for the tooltip."""


def layer_label(layer: Layer, name: str = "") -> LayerLabel:
    """Return `3×3, 128, /2` for a convolution; the name and main arguments for other layers."""
    full = layer_plan_text(layer)
    word = full.split(" ", 1)[0]
    weighs = layer.counted and layer.params() > 0
    role = "weight" if weighs else ROLES.get(layer.family, "other")
    kernel = getattr(layer, "kernel", None)
    own = 1 if MAP not in layer.accepts else layer.dims
    sides = "" if kernel is None else "×".join(map(str, per_axis(kernel, own)))
    text = " ".join(filter(None, (WORDS.get(word, word.replace("_", " ")), sides)))
    if hasattr(layer, "to"):
        text += f", {layer.out_channels}"
    return LayerLabel(text + _layer_label_details(layer), role, f"{name}: {full}" if name else full)


def _layer_label_details(layer: Layer) -> str:
    details = ""
    if isinstance(layer, Reduce | Softmax):
        details += f" {layer.how} over {layer.over}" if isinstance(layer, Reduce) else f" over {layer.over}"
    if isinstance(layer, Upsample | SpaceToDepth):
        details += f", ×{_axes_label(layer.scale if isinstance(layer, Upsample) else layer.block)}"
    if isinstance(layer, SelfAttention | AttentionPool):
        details += f", {layer.heads} heads"
    if (stride := getattr(layer, "stride", 1)) != 1:
        details += f", /{_axes_label(stride)}"
    if (dilation := getattr(layer, "dilation", 1)) != 1:
        details += f", dil {_axes_label(dilation)}"
    groups = getattr(layer, "groups", 1)
    if layer.counted and groups != 1:
        details += ", depthwise" if groups == layer.channels else f", {groups} groups"
    for argument in ("rate", "by"):
        if value := getattr(layer, argument, 0):
            details += f" {value:.2g}"
    return details


def _axes_label(value: Axes) -> str:
    return axes_text(value).replace("x", "×")


def shape_label(shape: tuple[int, ...]) -> str:
    """Return a shape as `64 × 56 × 56`."""
    return " × ".join(map(str, shape))


def image_label(cost: Cost) -> str:
    """Return `image 3 × 224 × 224`; of a sequence or a volume, `input 3 × 5000`."""
    return wording_for_dimensions(f"image {shape_label(cost.image)}", cost.plan.dims)


def short_number_label(number: int) -> str:
    """Return three digits and a unit: `25.6 M`."""
    scaled, unit = float(number), ""
    for larger in ("k", "M", "G", "T", "P"):
        if scaled < 999.5:
            break
        scaled, unit = scaled / 1000, larger
    digits = 0 if scaled >= 99.95 or not unit else 1 if scaled >= 9.995 else 2
    return f"{scaled:.{digits}f} {unit}".strip()


def share_label(part: int, whole: int) -> str:
    """Return a share as `12 %`, with one more digit below ten."""
    value = 100 * part / whole if whole else 0.0
    return "< 0.1 %" if 0 < value < 0.05 else f"{value:.{1 if 0 < value < 9.95 else 0}f} %"


def block_shortcut_label(block: PlanBlock) -> str:
    """Return `identity`, `projection` (a shortcut with weights), `padding` (without weights) or `none`."""
    if not block.residual:
        return "none"
    return shortcut_label(next(_shortcuts_to_label(block.node)).branches[1]) if block.projects else "identity"


def shortcut_label(shortcut: Chain) -> str:
    """Return `identity`, `projection` or `padding`, by the layers of a shortcut."""
    if not shortcut.children:
        return "identity"
    return "projection" if any(leaf.layer.params() for leaf in leaves(shortcut)) else "padding"


def first_block_to_label(stage: PlanStage) -> Chain:
    """Return the part of a stage that a picture shows: its transition, if any, and its first block."""
    return Chain(tuple(child for child in stage.node.children if child[0] in ("transition", "0")))


def further_blocks_label(stage: PlanStage) -> str:
    """Return a note on the blocks after a stage's first: `then 3 more, identity shortcut`."""
    first, *others = stage.blocks
    if not others:
        return ""
    kinds = list(dict.fromkeys(block_shortcut_label(block) for block in others))
    if kinds == [block_shortcut_label(first)] and first.stride == 1:
        return "both blocks alike" if len(others) == 1 else f"all {len(stage.blocks)} blocks alike"
    what = {"none": "stride 1", "identity": "identity shortcut", "padding": "padded shortcut"}
    news = _block_difference_labels(first, others[0])
    shortcut = " or ".join(what.get(kind, kind) for kind in kinds)
    return ", ".join([f"then {len(others)} more", shortcut, *news])


def _block_difference_labels(first: PlanBlock, other: PlanBlock) -> list[str]:
    """Return the differences between the bodies of the first and the second block."""
    news = []
    dilations = [
        {
            _axes_label(leaf.layer.dilation)
            for leaf in leaves(block.node)
            if isinstance(leaf.layer, Conv) and largest_axis_entry(leaf.layer.kernel) > 1
        }
        for block in (first, other)
    ]
    if dilations[0] != dilations[1]:
        news.append(f"dilation {' and '.join(sorted(dilations[1], key=lambda text: (len(text), text)))}")
    cascades = [
        any(branches.linked > 1 for _, branches in parallel_nodes(block.node)) for block in (first, other)
    ]
    if cascades[0] != cascades[1]:
        news.append("branches in a cascade" if cascades[1] else "branches side by side")
    before, after = (
        {layer_plan_text(layer).split(" ", 1)[0] for layer in _BodyToLabel().through(block.node, ())}
        for block in (first, other)
    )
    news += [f"with {WORDS.get(word) or word.replace('_', ' ')}" for word in sorted(after - before)]
    news += [f"without {WORDS.get(word) or word.replace('_', ' ')}" for word in sorted(before - after)]
    return news


def _shortcuts_to_label(node: Node) -> Iterator[Parallel]:
    return (inner for _, inner in parallel_nodes(node) if inner.shortcut)


class _BodyToLabel(Walk[tuple[Layer, ...]]):
    """The layers of a block, except those of its shortcut."""

    def layer(self, layer: Layer, value: tuple[Layer, ...], name: str) -> tuple[Layer, ...]:
        return (*value, layer)

    def entry(
        self,
        node: Parallel,
        branch: int,
        value: tuple[Layer, ...],
        ends: list[tuple[Layer, ...]],
        name: str,
    ) -> tuple[Layer, ...]:
        return ()

    def join(
        self, node: Parallel, value: tuple[Layer, ...], ends: list[tuple[Layer, ...]], name: str
    ) -> tuple[Layer, ...]:
        return value + sum(ends[:1] if node.shortcut else ends, ())

    def read(self, node: Read, value: tuple[Layer, ...], name: str) -> tuple[Layer, ...]:
        return value
