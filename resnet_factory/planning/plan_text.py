"""A plan as text: what people read, and what its id is the hash of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from resnet_factory.layers import Layer, axes_text
from resnet_factory.layers.registry import registered_word_of
from resnet_factory.planning.nodes import MarkNode, Node, Say


def plan_text_words(part: Layer | int) -> str:
    """Return a layer or a number as a plan's text writes it."""
    return layer_plan_text(part) if isinstance(part, Layer) else str(part)


def plan_text_lines(
    node: Node, prefix: str = "", depth: int = 0, say: Say = plan_text_words
) -> Iterator[str]:
    """Yield the plan as lines: a dotted name and a layer each, structure by indentation."""
    indent = "  " * depth
    if isinstance(node, Layer | MarkNode):
        yield f"{indent}{prefix}: {mark_plan_text(node) if isinstance(node, MarkNode) else say(node)}"
        return
    for heading, (name, child) in zip(node.headings(say), node.items(prefix), strict=True):
        if heading:
            yield f"{indent}{prefix}: {heading}"
        yield from plan_text_lines(child, name, depth + bool(heading), say)


def mark_plan_text(mark: MarkNode) -> str:
    """Return `tap NAME` or `read NAME`."""
    return f"{type(mark).__name__.lower()} {mark.of}"


def layer_plan_text(layer: Layer) -> str:
    """`conv2d 3 -> 64 kernel=7 stride=2 padding=3`: a layer in one line, defaults left out."""
    kind, fixed = registered_word_of(layer)
    if kind == "conv2d":
        kind = f"conv{layer.dims}d"
    channels = str(layer.channels)
    if layer.out_channels != layer.channels or layer.counted:
        channels += f" -> {layer.out_channels}"
    given = [
        f"{entry.name}={axes_text(getattr(layer, entry.name))}"
        for entry in fields(layer)
        if entry.name not in ("channels", "dims", "to", *fixed)
        and getattr(layer, entry.name) != entry.default
    ]
    return " ".join([kind, channels, *given])
