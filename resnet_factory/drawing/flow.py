"""How the layers of one block hang together: pills in a column, shortcuts and gates beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from resnet_factory.drawing.canvas import Canvas, width_of
from resnet_factory.drawing.caption import Caption, caption, has_weights
from resnet_factory.layers import Layer
from resnet_factory.nodes import Chain, Gate, Node, Residual, join

GAP, BEND, JOINT, LANE = 8.0, 8.0, 6.5, 17.0
"""Between two pills; a line's corner; the radius of a sum; the room a line beside a column takes."""
TALL, SMALL = 24.0, 18.0
TEXT, SMALL_TEXT = 11.5, 10.5
"""Height and type of a pill with weights, and of one without."""


@dataclass(frozen=True)
class Piece:
    """Something laid out around a vertical axis, on which the flow enters above and leaves below."""

    left: float
    right: float
    height: float
    paint: Callable[[Canvas, float, float], None]
    """Draws it: canvas, x of the axis, y of the top."""


@dataclass(frozen=True)
class Widths:
    """How wide pills are: in the main column, and on shortcuts."""

    main: float
    aside: float


def lay(node: Node, prefix: str) -> Piece:
    """Lay out a block, stem or head; `prefix` is its dotted name."""
    found = list(_captions(node, aside=False))
    widths = Widths(*(_widest(text for place, text in found if place is aside) for aside in (False, True)))
    return _node(node, prefix, widths)


def _captions(node: Node, *, aside: bool) -> Iterator[tuple[bool, Caption]]:
    match node:
        case Layer():
            yield aside, caption(node)
        case Chain(children=children):
            for _, child in children:
                yield from _captions(child, aside=aside)
        case Residual(body=body, shortcut=shortcut):
            yield from _captions(body, aside=aside)
            yield from _captions(shortcut, aside=True)
        case Gate(gate=gate):
            yield from _captions(gate, aside=aside)


def _widest(captions: Iterator[Caption]) -> float:
    return max((width_of(c.text, _type(c)[1]) + 18 for c in captions), default=0)


def _type(text: Caption) -> tuple[float, float]:
    return (TALL, TEXT) if text.role == "weight" else (SMALL, SMALL_TEXT)


def _node(node: Node, prefix: str, widths: Widths) -> Piece:
    match node:
        case Layer():
            return _pill(caption(node, prefix), widths.main)
        case Chain(children=children):
            return _stack([_node(child, join(prefix, name), widths) for name, child in children])
        case Residual(body=body, shortcut=shortcut):
            beside = _node(shortcut, prefix, Widths(widths.aside, widths.aside))
            look = "identity" if not shortcut.children else "projection"
            if look == "projection" and not has_weights(shortcut):
                look = "padding"
            return _residual(_node(body, prefix, widths), beside, look)
        case Gate(gate=gate):
            return _gate(_node(gate, prefix, widths))


def _pill(text: Caption, width: float) -> Piece:
    height, size = _type(text)

    def paint(canvas: Canvas, x: float, y: float) -> None:
        canvas.box(
            x - width / 2, y, width, height, text.role, height / 2 if height == SMALL else 6, text.title
        )
        canvas.text(x, y + height / 2, text.text, size, f"{text.role}-ink", "middle", text.title)

    return Piece(width / 2, width / 2, height, paint)


def _stack(pieces: list[Piece]) -> Piece:
    pieces = [piece for piece in pieces if piece.height]

    def paint(canvas: Canvas, x: float, y: float) -> None:
        for i, piece in enumerate(pieces):
            if i:
                canvas.line([(x, y - GAP), (x, y)], "flow")
            piece.paint(canvas, x, y)
            y += piece.height + GAP

    return Piece(
        max((piece.left for piece in pieces), default=0),
        max((piece.right for piece in pieces), default=0),
        sum(piece.height for piece in pieces) + GAP * max(len(pieces) - 1, 0),
        paint,
    )


def _residual(body: Piece, beside: Piece, look: str) -> Piece:
    offset = body.right + (LANE - 2 + beside.left if beside.height else LANE)
    inner = max(body.height, beside.height)
    height = BEND + inner + GAP + 2 * JOINT

    def paint(canvas: Canvas, x: float, y: float) -> None:
        side, joint = x + offset, y + height - JOINT
        above = y + BEND + (inner - beside.height) / 2
        canvas.line([(x, y), (x, y + BEND)], "flow")
        canvas.line([(x, y + BEND + body.height), (x, joint - JOINT)], "flow")
        start = [(x, y), (side, y)]
        end = [(side, joint), (x + JOINT, joint)]
        if beside.height:
            canvas.line([*start, (side, above)], look, BEND)
            canvas.line([(side, above + beside.height), *end], look, BEND)
            beside.paint(canvas, side, above)
        else:
            canvas.line([*start, *end], look, BEND)
        canvas.disc(x, y, 2.2, "tip")
        body.paint(canvas, x, y + BEND)
        _sum(canvas, x, joint, "+")

    return Piece(body.left, offset + max(beside.right, 2), height, paint)


def _gate(inner: Piece) -> Piece:
    height = BEND + inner.height + GAP + 2 * JOINT
    offset = inner.left + LANE - 4

    def paint(canvas: Canvas, x: float, y: float) -> None:
        joint = y + height - JOINT
        canvas.line([(x, y), (x, y + BEND)], "flow")
        canvas.line([(x, y + BEND + inner.height), (x, joint - JOINT)], "flow")
        canvas.line([(x, y), (x - offset, y), (x - offset, joint), (x - JOINT, joint)], "flow", BEND)
        canvas.disc(x, y, 2.2, "tip")
        inner.paint(canvas, x, y + BEND)
        _sum(canvas, x, joint, "×")

    return Piece(offset + 2, inner.right, height, paint)


def _sum(canvas: Canvas, x: float, y: float, sign: str) -> None:
    canvas.disc(x, y, JOINT, "sum")
    reach = 3.0 if sign == "+" else 2.2
    across = [(-reach, 0.0), (reach, 0.0)] if sign == "+" else [(-reach, -reach), (reach, reach)]
    for dx, dy in (1, 1), (-1, 1):
        turned = [(v, u) if dx < 0 and sign == "+" else (dx * u, dy * v) for u, v in across]
        canvas.line([(x + u, y + v) for u, v in turned], "flow")
