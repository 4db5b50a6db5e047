"""The whole picture: a column for each section, with its maps above and one block's layers below."""

from __future__ import annotations

from collections.abc import Mapping

from resnet_factory.costing.complexity import Cost
from resnet_factory.costing.node_costs import NodeCostRow
from resnet_factory.reporting.drawing.canvas import Canvas, canvas_text_width
from resnet_factory.reporting.drawing.labels import image_label, shape_label, share_label, short_number_label
from resnet_factory.reporting.drawing.section import SectionColumn, section_columns
from resnet_factory.reporting.drawing.stage_row import RISE, StageRowScale

MARGIN, PAD, APART, STUB, NOTE = 28.0, 14.0, 12.0, 9.0, 20.0
"""Outer margin; padding of a card; gap between columns; line leaving a block; height of a small line."""
HEADER, TITLES, BEAM, SHARES = 94.0, 52.0, 30.0, 66.0
"""Heights: name and totals; column heading; space between slabs and cards; bars below the cards."""
LEAST, LONGEST, LEADING = 112.0, 1560.0, 34.0
"""Minimum column width; maximum width of a row of columns; space between two rows."""
BIG, MEDIUM, SMALL = 22.0, 14.0, 11.0
"""Font sizes."""
LEGEND = {
    "identity": "identity shortcut",
    "projection": "projection: a shortcut with weights",
    "padding": "shortcut without weights, changing the shape",
    "weight": "convolution: kernel, channels, /stride",
}
"""The meaning of lines and colours."""
SLABS = {
    1: "output of a block: height its length, thickness its channels (√ scale)",
    2: "output of a block: height × depth its map, thickness its channels (√ scale)",
    3: "output of a block: height × depth its map's height and width, thickness its channels (√ scale)",
}
"""The meaning of a slab, by the number of a map's axes."""


def draw_network_figure(cost: Cost) -> str:
    """Return the picture of a costed plan as an SVG document."""
    found = list(section_columns(cost))
    scale = _figure_scale(found)
    lines = _figure_lines(found, scale)
    title = cost.plan.name or "network"
    totals = f"{cost.params:,} parameters · {cost.macs:,} MACs · {image_label(cost)}"
    if cost.plan.features:
        totals += f" · returns {', '.join(feature.name for feature in cost.plan.features)}"
    longest = max(sum(_figure_column_width(c, scale) + APART for c in line) for line in lines)
    legend = LEGEND | {"front": SLABS[cost.plan.dims]}
    key = 26 + max(canvas_text_width(words, SMALL) for words in legend.values())
    width = max(longest + 4, canvas_text_width(totals, 12.5), canvas_text_width(title, 26), key) + 2 * MARGIN
    canvas = Canvas()
    y = HEADER - LEADING
    for line in lines:
        y = _draw_figure_line(canvas, line, scale, cost, y + LEADING)
    height = _draw_figure_legend(canvas, legend, y, width)
    front = Canvas()
    front.box(0, 0, width, height, "paper", 12)
    front.text(MARGIN, MARGIN + 6, title, BIG, "ink strong")
    front.text(MARGIN, MARGIN + 31, totals, 12.5, "muted")
    front.parts += canvas.parts
    return front.document(width, height, f"{title}: {totals}", f"plan {cost.plan.id}")


def _figure_scale(found: list[SectionColumn]) -> StageRowScale:
    shapes = [slab.shape for column in found for slab in column.slab_row.slabs]
    sides = [side for column in found for slab in column.slab_row.slabs for side in slab.sides]
    return StageRowScale(max(sides), max(shape[0] for shape in shapes))


def _figure_column_width(column: SectionColumn, scale: StageRowScale) -> float:
    """Return the width of the widest part."""
    return max(
        LEAST,
        column.slab_row.width(scale),
        column.element.left + column.element.right + 2 * PAD,
        canvas_text_width(column.row.name, MEDIUM) * 1.1,
        canvas_text_width(column.heading, SMALL),
        canvas_text_width(column.note, SMALL) + PAD,
        canvas_text_width(f"{short_number_label(column.row.tally.params)} params  < 0.1 %", SMALL),
        canvas_text_width(f"{short_number_label(column.row.tally.macs)} MACs  < 0.1 %", SMALL),
    )


def _figure_card_height(column: SectionColumn) -> float:
    """Return the card's height."""
    return PAD + column.element.height + STUB + (NOTE if column.note else 0) + PAD - 2


def _figure_lines(found: list[SectionColumn], scale: StageRowScale) -> list[list[SectionColumn]]:
    """Return the columns split into as few rows as LONGEST allows, of about equal length."""
    total = sum(_figure_column_width(column, scale) + APART for column in found)
    target = total / -(-total // LONGEST)
    lines: list[list[SectionColumn]] = [[]]
    used = 0.0
    for column in found:
        if lines[-1] and used + _figure_column_width(column, scale) / 2 > target:
            lines.append([])
            used = 0
        lines[-1].append(column)
        used += _figure_column_width(column, scale) + APART
    return lines


def _draw_figure_line(
    canvas: Canvas, line: list[SectionColumn], scale: StageRowScale, cost: Cost, y: float
) -> float:
    """Draw one row of columns; return its lower end."""
    tallest = max(column.slab_row.height(scale) for column in line)
    middle = y + TITLES + RISE + 12 + tallest / 2
    top = middle + tallest / 2 + BEAM
    foot = top + max(map(_figure_card_height, line))
    x = MARGIN
    for column in line:
        width = _figure_column_width(column, scale)
        canvas.text(x, y + 6, column.row.name, MEDIUM, "ink strong")
        canvas.text(x, y + 24, column.heading, SMALL, "muted")
        canvas.text(x, y + 40, shape_label(column.row.shape), SMALL, "muted")
        last = column is line[-1]
        _draw_figure_maps(canvas, column, scale, (x, x + width, APART - 2 if last else APART), middle, top)
        if last:
            canvas.arrow(x + width + APART + 2, middle)
        _draw_figure_card(canvas, column, x, top, width)
        _draw_figure_cost_shares(canvas, column.row, cost, x, foot + 18, width)
        x += width + APART
    return foot + SHARES


def _draw_figure_maps(
    canvas: Canvas,
    column: SectionColumn,
    scale: StageRowScale,
    span: tuple[float, float, float],
    middle: float,
    top: float,
) -> None:
    """Draw the slabs in the middle of their column, and the beam to the card."""
    left, right, beyond = span
    room = column.slab_row.width(scale)
    start = (left + right - room) / 2
    if column.slab_row.slabs[0].look != "image":
        canvas.line([(left, middle), (start, middle)], "flow")
    canvas.line([(start + room, middle), (right + beyond, middle)], "flow")
    behind = len(canvas.parts)
    edge = column.slab_row.paint(canvas, scale, start, middle)
    if edge:
        canvas.area([*edge, (right, top), (left, top)], "beam", below=behind)


def _draw_figure_card(canvas: Canvas, column: SectionColumn, x: float, top: float, width: float) -> None:
    height = _figure_card_height(column)
    canvas.box(x, top, width, height, "card", 10)
    axis = x + (width + column.element.left - column.element.right) / 2
    foot = top + PAD + column.element.height
    canvas.line([(axis, top), (axis, top + PAD)], "flow")
    column.element.paint(canvas, axis, top + PAD)
    canvas.line([(axis, foot), (axis, foot + STUB - 3)], "flow")
    canvas.arrow(axis, foot + STUB, down=True)
    if column.note:
        canvas.text(x + width / 2, top + height - PAD - 1, column.note, SMALL, "muted", "middle")


def _draw_figure_cost_shares(
    canvas: Canvas, row: NodeCostRow, cost: Cost, x: float, y: float, width: float
) -> None:
    """Draw a section's costs as numbers and as bars of the whole."""
    for label, part, whole in (
        ("params", row.tally.params, cost.params),
        ("MACs", row.tally.macs, cost.macs),
    ):
        canvas.text(x, y, f"{short_number_label(part)} {label}", SMALL, "muted")
        canvas.text(x + width, y, share_label(part, whole), SMALL, "muted", "end")
        canvas.box(x, y + 9, width, 3, "track", 1.5)
        if part:
            canvas.box(x, y + 9, max(width * part / whole, 1.5), 3, "front", 1.5)
        y += 25


def _draw_figure_legend(canvas: Canvas, legend: Mapping[str, str], y: float, width: float) -> float:
    """Draw the legend of the lines and colours that occur; return the picture's lower end."""
    samples = [(look, words) for look, words in legend.items() if look in canvas.looks]
    x, y = MARGIN, y + 14
    for look, words in samples:
        room = 26 + canvas_text_width(words, SMALL)
        if x > MARGIN and x + room > width - MARGIN:
            x, y = MARGIN, y + 20
        if look == "front":
            canvas.box(x + 4, y - 5, 10, 10, look)
        elif look == "weight":
            canvas.box(x, y - 5, 18, 10, look, 3)
        else:
            canvas.arch(x + 1, x + 17, y + 5, y, 5, look)
        canvas.text(x + 26, y, words, SMALL, "muted")
        x += room + 22
    return y + MARGIN
