"""From the nodes of a block to their place on paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from resnet_factory.layers import Layer
from resnet_factory.planning.nodes import Branches, Chain, Gate, Node, Residual, Select, join
from resnet_factory.reporting.drawing.block_layout import (
    Piece,
    gate,
    parallel,
    pill,
    residual,
    stack,
    type_of,
)
from resnet_factory.reporting.drawing.canvas import width_of
from resnet_factory.reporting.drawing.labels import Caption, caption, shortcut_look


@dataclass(frozen=True)
class Widths:
    """How wide pills are: in the main column, and on shortcuts."""

    main: float
    aside: float


def lay(node: Node, prefix: str) -> Piece:
    """Lay out a block, stem or head; `prefix` is its dotted name."""
    found = list(_captions(node, aside=False))
    main, aside = (_widest(text for place, text in found if place is here) for here in (False, True))
    return _node(node, prefix, Widths(main, aside))


def _captions(node: Node, *, aside: bool) -> Iterator[tuple[bool, Caption]]:
    """What the columns that run through `node` say, and whether on a shortcut; branches have their own."""
    match node:
        case Layer():
            yield aside, caption(node)
        case Chain(children=children):
            for _, child in children:
                yield from _captions(child, aside=aside)
        case Residual(body=body, shortcut=shortcut):
            yield from _captions(body, aside=aside)
            yield from _captions(shortcut, aside=True)
        case Gate(gate=inner) | Select(gate=inner):
            yield from _captions(inner, aside=aside)
        case Branches():
            yield from ((aside, text) for text in _around(node) if text)


def _widest(captions: Iterable[Caption]) -> float:
    return max((width_of(text.text, type_of(text)[1]) + 18 for text in captions), default=0)


def _node(node: Node, prefix: str, widths: Widths) -> Piece:
    match node:
        case Layer():
            return pill(caption(node, prefix), widths.main)
        case Chain(children=children):
            return stack([_node(child, join(prefix, name), widths) for name, child in children])
        case Residual(body=body, shortcut=shortcut):
            beside = _node(shortcut, prefix, Widths(widths.aside, widths.aside))
            return residual(_node(body, prefix, widths), beside, shortcut_look(shortcut))
        case Gate(gate=inner):
            return gate(_node(inner, prefix, widths), "×")
        case Select(gate=inner, parts=parts):
            told = Caption(f"sum of {parts} parts", "shape", f"{prefix}: {parts} parts, weighted and summed")
            weighed = gate(_node(inner, prefix, widths), "×")
            return stack([weighed, pill(told, widths.main)]) if parts > 1 else weighed
        case Branches(branches=branches, linked=linked):
            beside = parallel([lay(b, join(prefix, str(i))) for i, b in enumerate(branches)], linked)
            before, after = (pill(text, widths.main) for text in _around(node, prefix))
            return stack([before, beside, after])
    raise AssertionError(node)


def _around(node: Branches, prefix: str = "") -> tuple[Caption, Caption]:
    """What stands above and below branches."""
    count = len(node.branches)
    above = f"split in {count}" if node.split else f"{count} copies"
    return Caption(above, "shape", f"{prefix}: {above}"), Caption(
        "concat", "shape", f"{prefix}: side by side"
    )
