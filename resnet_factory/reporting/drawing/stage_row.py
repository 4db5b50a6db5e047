"""Overview of one section: its feature maps as slabs, and its shortcuts as arches over them."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from resnet_factory.reporting.drawing.canvas import Canvas, Point

TALLEST, WIDEST = 150.0, 26.0
"""Largest height and width of a slab."""
BETWEEN = 13.0
"""Gap between slabs."""
SHOWN = 6
"""Largest number of blocks drawn per stage; of longer stages only the first and last ones."""
ELLIPSIS = 40.0
CLEAR, RISE, APART = 3.0, 12.0, 1.4
"""Arches: clearance above the slab, height, and distance between neighbours."""


@dataclass(frozen=True)
class StageRowScale:
    """Sizes in the picture, by their square root so that a 7x7 map stays visible next to 224x224."""

    side: int
    channels: int

    def height(self, side: int) -> float:
        """Return the height of a slab."""
        return max(TALLEST * sqrt(side / self.side), 8)

    def width(self, channels: int) -> float:
        """Return the width of a slab's front."""
        return max(WIDEST * sqrt(channels / self.channels), 4)

    def depth(self, side: int) -> float:
        """Return the shift of a slab's back to the right; upwards it is half of that."""
        return 0.26 * self.height(side)


@dataclass(frozen=True)
class Slab:
    """One feature map, and the shortcut of the block that produces it."""

    shape: tuple[int, ...]
    shortcut: str
    """identity, projection, padding or none."""
    title: str
    look: str = ""

    @property
    def sides(self) -> tuple[int, int]:
        """The sides drawn as height and depth: the last two of the map, or a sequence's length and 1."""
        sides = self.shape[1:]
        return (sides[-2], sides[-1]) if len(sides) > 1 else (sum(sides) or 1, 1)


@dataclass(frozen=True)
class StageRow:
    """A row of slabs; `hidden` of them are left out after the first `before`."""

    slabs: tuple[Slab, ...]
    hidden: int = 0
    before: int = 0

    def width(self, scale: StageRowScale) -> float:
        """Return the width of the row."""
        return sum(_stage_row_slab_width(scale, slab) for slab in self.slabs) + (
            ELLIPSIS if self.hidden else 0
        )

    def height(self, scale: StageRowScale) -> float:
        """Return the height of the tallest slab, back included."""
        return max(scale.height(s.sides[0]) + scale.depth(s.sides[1]) / 2 for s in self.slabs)

    def paint(self, canvas: Canvas, scale: StageRowScale, x: float, middle: float) -> list[Point]:
        """Draw the row; return the lower edge of the slab whose block is shown below."""
        edge: list[Point] = []
        for i, slab in enumerate(self.slabs):
            if self.hidden and i == self.before:
                canvas.line([(x + 6, middle), (x + ELLIPSIS - 6, middle)], "more")
                canvas.text(x + ELLIPSIS / 2, middle - 14, f"+{self.hidden}", 10.5, "muted", "middle")
                x += ELLIPSIS
            made = _draw_stage_row_slab(canvas, scale, slab, x, middle)
            if slab.look != "image" and not edge:
                edge = made
            x += _stage_row_slab_width(scale, slab)
        return edge


def _stage_row_slab_width(scale: StageRowScale, slab: Slab) -> float:
    return scale.width(slab.shape[0]) + scale.depth(slab.sides[1]) + BETWEEN


def _draw_stage_row_slab(
    canvas: Canvas, scale: StageRowScale, slab: Slab, x: float, middle: float
) -> list[Point]:
    tall, deep = slab.sides
    width, height, depth = scale.width(slab.shape[0]), scale.height(tall), scale.depth(deep)
    up = depth / 2
    left, end = x + BETWEEN / 2, x + _stage_row_slab_width(scale, slab)
    right, back = left + width, left + width + depth
    top, bottom = middle - (height - up) / 2, middle + (height + up) / 2
    if slab.look != "image":
        canvas.line([(x, middle), (left, middle)], "flow")
    canvas.line([(right + depth / 2, middle), (end, middle)], "flow")
    if slab.shortcut != "none":
        canvas.arch(x + APART, end - APART, middle, top - up - CLEAR, RISE, slab.shortcut)
        canvas.disc(x, middle, 2.2, "tip")
        canvas.disc(end, middle, 2.2, "tip")
    look, title = slab.look, slab.title
    side = [(right, top), (back, top - up), (back, bottom - up), (right, bottom)]
    lid = [(left, top), (left + depth, top - up), (back, top - up), (right, top)]
    canvas.area(side, f"{look} side".strip(), title)
    canvas.area(lid, f"{look} lid".strip(), title)
    canvas.box(left, top, width, bottom - top, f"{look} front".strip(), 0, title)
    return [(left, bottom), (right, bottom), (back, bottom - up)]


def make_stage_row(slabs: list[Slab]) -> StageRow:
    """Return a row of `slabs`, the middle ones left out if there are too many."""
    if len(slabs) <= SHOWN:
        return StageRow(tuple(slabs))
    head, tail = slabs[: SHOWN // 2], slabs[-SHOWN // 2 + 1 :]
    return StageRow((*head, *tail), len(slabs) - len(head) - len(tail), len(head))
