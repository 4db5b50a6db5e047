"""Filters of a page: the search, a range or choices for each column, and brushes of plots that set them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bokeh.events import DoubleTap, SelectionGeometry
from bokeh.models import (
    BoxSelectTool,
    Button,
    CustomJS,
    CustomJSTickFormatter,
    InlineStyleSheet,
    MultiChoice,
    RangeSlider,
    TextInput,
)

from resnet_factory.sweep.page.columns import PageColumn, PageColumnTable
from resnet_factory.sweep.page.scripts import PALE, STRETCH, script


@dataclass(frozen=True, kw_only=True)
class FilterWidgets:
    """The widgets that filter rows, those of columns by name."""

    search: TextInput
    clear: Button
    ranges: dict[str, RangeSlider]
    choices: dict[str, MultiChoice]


def filter_widgets(table: PageColumnTable, style: InlineStyleSheet) -> FilterWidgets:
    """Return the widgets for the columns that vary."""
    look: dict[str, Any] = {"stylesheets": [style], **STRETCH}
    search = TextInput(title="search", placeholder="plan, depths, widths, choices", **look)
    ranges, choices = {}, {}
    for name, column in table.columns.items():
        if not column.varies:
            continue
        if column.names is None:
            ranges[name] = _range(column, look)
        else:
            choices[name] = MultiChoice(title=column.label, options=list(column.names), **look)
    clear = Button(label="Show all", **look)
    return FilterWidgets(search=search, clear=clear, ranges=ranges, choices=choices)


def _range(column: PageColumn, look: dict[str, Any]) -> RangeSlider:
    values = column.scaled
    low, high = float(values.min()), float(values.max())
    step = 1 if column.whole and not column.logarithmic else (high - low) / 200
    slack = 0 if step == 1 else step
    start, end = low - slack, high + slack
    label = CustomJSTickFormatter(code=script("label.js"), args={"log": column.logarithmic, "names": None})
    return RangeSlider(
        title=column.label, start=start, end=end, value=(start, end), step=step, format=label,
        bar_color=PALE, **look,
    )  # fmt: skip


def add_brush(plot: Any, dimensions: Literal["width", "both"], brush: CustomJS) -> BoxSelectTool:
    """Make dragging over a plot set the filters of its columns, and double-clicking reset them.

    Return its tool.
    """
    tool = BoxSelectTool(dimensions=dimensions, renderers=[])
    plot.add_tools(tool)
    plot.toolbar.active_drag = tool
    plot.js_on_event(SelectionGeometry, brush)
    plot.js_on_event(DoubleTap, brush)
    return tool
