"""A drawsvg drawing that rounds coordinates, styles by class and centres text the same in every viewer."""

from __future__ import annotations

import drawsvg

from resnet_factory.reporting.drawing.palette import FONT, palette_style_sheet

Point = tuple[float, float]


class Canvas:
    """Shapes in drawing order; later ones are on top."""

    def __init__(self) -> None:
        self.parts: list[drawsvg.DrawingElement] = []
        self.looks: set[str] = set()
        """Every class that something drawn has."""

    def box(
        self, x: float, y: float, width: float, height: float, look: str, corner: float = 0, title: str = ""
    ) -> None:
        """Draw a rectangle with rounded corners; `title` is its tooltip."""
        part = drawsvg.Rectangle(
            _round_canvas_coordinate(x),
            _round_canvas_coordinate(y),
            _round_canvas_coordinate(width),
            _round_canvas_coordinate(height),
            rx=corner or None,
            class_=look,
        )
        self._add(part, title)

    def disc(self, x: float, y: float, radius: float, look: str) -> None:
        """Draw a circle."""
        self._add(
            drawsvg.Circle(_round_canvas_coordinate(x), _round_canvas_coordinate(y), radius, class_=look)
        )

    def text(
        self, x: float, y: float, words: str, size: float, look: str, anchor: str = "start", title: str = ""
    ) -> None:
        """Draw one line of text, its capitals centred on `y`; `anchor` is start, middle or end."""
        # dominant-baseline differs between viewers: shift the baseline by half the cap height instead.
        part = drawsvg.Text(
            words,
            size,
            _round_canvas_coordinate(x),
            _round_canvas_coordinate(y + 0.36 * size),
            text_anchor=_canvas_text_anchor(anchor),
            class_=look,
        )
        self._add(part, title)

    def line(self, points: list[Point], look: str, corner: float = 0) -> None:
        """Draw a line with right angles, each rounded by `corner`."""
        path = drawsvg.Path(class_=look)
        path.M(*map(_round_canvas_coordinate, points[0]))
        for before, here, after in zip(points, points[1:], points[2:], strict=False):
            start, end = (
                _canvas_point_towards(here, before, corner),
                _canvas_point_towards(here, after, corner),
            )
            path.L(*map(_round_canvas_coordinate, start))
            path.Q(*map(_round_canvas_coordinate, (*here, *end)))
        path.L(*map(_round_canvas_coordinate, points[-1]))
        self._add(path)

    def arch(self, left: float, right: float, foot: float, spring: float, rise: float, look: str) -> None:
        """Draw an arch: verticals from `foot` up to `spring` and half an ellipse above."""
        path = drawsvg.Path(class_=look)
        path.M(_round_canvas_coordinate(left), _round_canvas_coordinate(foot)).L(
            _round_canvas_coordinate(left), _round_canvas_coordinate(spring)
        )
        path.A(
            _round_canvas_coordinate((right - left) / 2),
            _round_canvas_coordinate(rise),
            0,
            0,
            1,
            _round_canvas_coordinate(right),
            _round_canvas_coordinate(spring),
        )
        path.L(_round_canvas_coordinate(right), _round_canvas_coordinate(foot))
        self._add(path)

    def area(self, points: list[Point], look: str, title: str = "", below: int | None = None) -> None:
        """Draw a filled polygon, on top, or below all shapes from index `below` on."""
        flat = [_round_canvas_coordinate(value) for point in points for value in point]
        self._add(drawsvg.Lines(*flat, close=True, class_=look), title)
        if below is not None:
            self.parts.insert(below, self.parts.pop())

    def arrow(self, x: float, y: float, *, down: bool = False) -> None:
        """Draw an arrowhead that ends at (x, y), pointing right or down."""
        points = [(x - 3, y - 5), (x + 3, y - 5)] if down else [(x - 6, y - 3.5), (x - 6, y + 3.5)]
        self.area([(x, y), *points], "tip")

    def document(self, width: float, height: float, title: str, description: str) -> str:
        """Return the drawing as a self-contained SVG document."""
        drawing = drawsvg.Drawing(
            _round_canvas_coordinate(width),
            _round_canvas_coordinate(height),
            id_prefix="rf",
            class_="rf",
            role="img",
            font_family=FONT,
        )
        drawing.append_css(palette_style_sheet())
        drawing.append(drawsvg.Title(title))
        drawing.append(_CanvasDescription(description))
        drawing.extend(self.parts)
        return str(drawing.as_svg(header="")) + "\n"

    def _add(self, part: drawsvg.DrawingElement, title: str = "") -> None:
        self.looks.update(part.args["class"].split())
        if title:
            part.append_title(title)
        self.parts.append(part)


class _CanvasDescription(drawsvg.Title):  # type: ignore[misc]
    TAG_NAME = "desc"


WIDTHS = {"il.,:;|'Ij·": 0.3, " tfr()/-": 0.4, "mwMW×%": 0.87}
"""Widths of characters as a fraction of the font size; all others are 0.63."""
_WIDTH = {character: width for characters, width in WIDTHS.items() for character in characters}


def canvas_text_width(words: str, size: float) -> float:
    """Return the approximate width of a text in DejaVu Sans, the widest of the fallback fonts."""
    return size * sum(_WIDTH.get(character, 0.63) for character in words)


def _canvas_point_towards(start: Point, end: Point, distance: float) -> Point:
    length = abs(end[0] - start[0]) + abs(end[1] - start[1])
    part = min(distance / length, 0.5) if length else 0
    return start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])


def _round_canvas_coordinate(value: float) -> float:
    rounded = round(value, 1)
    return int(rounded) if rounded == int(rounded) else rounded


def _canvas_text_anchor(anchor: str) -> str | None:
    return None if anchor == "start" else anchor
