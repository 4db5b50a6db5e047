"""The geometry of a block: pills in a column, with shortcuts, gates and branches next to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resnet_factory.reporting.drawing.canvas import Canvas
from resnet_factory.reporting.drawing.labels import LayerLabel

GAP, BEND, JOINT, LANE = 8.0, 8.0, 6.5, 17.0
"""Gap between pills; corner radius of lines; radius of a sum; width of a line next to a column."""
TALL, SMALL = 24.0, 18.0
TEXT, SMALL_TEXT = 11.5, 10.5
"""Height and font size of pills with weights, and of pills without."""
SHOWN = 4
"""Largest number of branches drawn; of more, only the first two and the last."""


@dataclass(frozen=True)
class ElementGeometry:
    """An element laid out around a vertical axis; the data enters at the top and leaves at the bottom."""

    left: float
    right: float
    height: float
    paint: Callable[[Canvas, float, float], None]
    """Draws it: canvas, x of the axis, y of the top."""


def pill_type_geometry(text: LayerLabel) -> tuple[float, float]:
    """Return the height and font size of a layer's pill."""
    return (TALL, TEXT) if text.role == "weight" else (SMALL, SMALL_TEXT)


def pill_geometry(text: LayerLabel, width: float) -> ElementGeometry:
    """Return the element of one layer."""
    height, size = pill_type_geometry(text)

    def paint(canvas: Canvas, x: float, y: float) -> None:
        corner = height / 2 if height == SMALL else 6
        canvas.box(x - width / 2, y, width, height, text.role, corner, text.title)
        canvas.text(x, y + height / 2, text.text, size, f"{text.role}-ink", "middle", text.title)

    return ElementGeometry(width / 2, width / 2, height, paint)


def stack_geometry(elements: Sequence[ElementGeometry]) -> ElementGeometry:
    """Return elements stacked vertically."""
    elements = [element for element in elements if element.height]

    def paint(canvas: Canvas, x: float, y: float) -> None:
        for i, element in enumerate(elements):
            if i:
                canvas.line([(x, y - GAP), (x, y)], "flow")
            element.paint(canvas, x, y)
            y += element.height + GAP

    return ElementGeometry(
        max((element.left for element in elements), default=0),
        max((element.right for element in elements), default=0),
        sum(element.height for element in elements) + GAP * max(len(elements) - 1, 0),
        paint,
    )


def residual_geometry(body: ElementGeometry, beside: ElementGeometry, look: str) -> ElementGeometry:
    """Return a body with the shortcut that is added to it on its right."""
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
        _draw_join_geometry(canvas, x, joint, "+")

    return ElementGeometry(body.left, offset + max(beside.right, 2), height, paint)


def gate_geometry(inner: ElementGeometry, sign: str) -> ElementGeometry:
    """Return a gate's layers with the gated branch on their left; `sign` is the operation that joins them."""
    height = BEND + inner.height + GAP + 2 * JOINT
    offset = inner.left + LANE - 4

    def paint(canvas: Canvas, x: float, y: float) -> None:
        joint = y + height - JOINT
        canvas.line([(x, y), (x, y + BEND)], "flow")
        canvas.line([(x, y + BEND + inner.height), (x, joint - JOINT)], "flow")
        canvas.line([(x, y), (x - offset, y), (x - offset, joint), (x - JOINT, joint)], "flow", BEND)
        canvas.disc(x, y, 2.2, "tip")
        inner.paint(canvas, x, y + BEND)
        _draw_join_geometry(canvas, x, joint, sign)

    return ElementGeometry(offset + 2, inner.right, height, paint)


def parallel_geometry(branches: Sequence[ElementGeometry], linked: int) -> ElementGeometry:
    """Return parallel branches; each of the first `linked` also feeds the next."""
    hidden = len(branches) - 3 if len(branches) > SHOWN else 0
    shown = [*branches[:2], branches[-1]] if hidden else list(branches)
    between = 18.0 if linked else 10.0
    gaps = [between + 24 if hidden and i == 1 else between for i in range(len(shown) - 1)]
    width = sum(element.left + element.right for element in shown) + sum(gaps)
    tallest = max(element.height for element in shown)
    lead = BEND + 6
    height = tallest + 2 * lead

    def paint(canvas: Canvas, x: float, y: float) -> None:
        axes, left = [], x - width / 2
        for element, gap in zip(shown, [*gaps, 0.0], strict=True):
            axes.append(left + element.left)
            left += element.left + element.right + gap
        top, foot = y + lead, y + lead + tallest
        for axis, element in zip(axes, shown, strict=True):
            canvas.line([(x, y), (x, y + 4), (axis, y + 4), (axis, top)], "flow", 4)
            element.paint(canvas, axis, top)
            ends = [
                (axis, top + element.height),
                (axis, foot + lead - 4),
                (x, foot + lead - 4),
                (x, foot + lead),
            ]
            canvas.line(ends, "flow", 4)
        for i in range(min(linked, len(shown)) - 1):
            if hidden and i >= 1:
                break
            middle = axes[i] + shown[i].right + between / 2
            points = [(axes[i], top + shown[i].height + 5), (middle, top + shown[i].height + 5)]
            canvas.line([*points, (middle, top - 5), (axes[i + 1], top - 5)], "flow", 4)
            canvas.disc(axes[i + 1], top - 5, 2.2, "tip")
        if hidden:
            canvas.text(
                axes[1] + shown[1].right + gaps[1] / 2,
                top + tallest / 2,
                f"+{hidden}",
                10.5,
                "muted",
                "middle",
            )

    return ElementGeometry(width / 2, width / 2, height, paint)


def _draw_join_geometry(canvas: Canvas, x: float, y: float, sign: str) -> None:
    canvas.disc(x, y, JOINT, "sum")
    if sign == "+":
        strokes = [((-3.0, 0.0), (3.0, 0.0)), ((0.0, -3.0), (0.0, 3.0))]
    else:
        strokes = [((-2.2, -2.2), (2.2, 2.2)), ((-2.2, 2.2), (2.2, -2.2))]
    for (u, v), (s, t) in strokes:
        canvas.line([(x + u, y + v), (x + s, y + t)], "flow")
