"""The linked views of a page, as Bokeh's models; what links them are the scripts in `scripts/`."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import (
    BoxSelectTool,
    CDSView,
    ColorBar,
    ColumnDataSource,
    CustomJS,
    CustomJSTicker,
    CustomJSTickFormatter,
    DataTable,
    HoverTool,
    IndexFilter,
    InlineStyleSheet,
    LassoSelectTool,
    LinearColorMapper,
    NumberFormatter,
    Range1d,
    Select,
    TableColumn,
    TapTool,
)
from bokeh.palettes import Category10_10, Plasma256
from bokeh.plotting import figure

from resnet_factory.sweep.page.columns import PageColumnTable, page_column_number
from resnet_factory.sweep.page.filters import FilterWidgets, add_brush, filter_widgets
from resnet_factory.sweep.page.scripts import MUTED, PALE, STRETCH, WARM, script

SHADES, KINDS = list(Plasma256[50:230]), list(Category10_10)
MOST_PATHS = 500
"""Lines of the parallel coordinates."""
MOST_AXES = 9
AXES = ("x", "y", "colour")
"""The choices of columns of the scatter."""
PLAIN: dict[str, Any] = {"background_fill_color": None, "border_fill_color": None, "outline_line_color": None}


class PageViews:
    """The views of one table; `roots` are the parts that the page places."""

    def __init__(self, table: PageColumnTable) -> None:
        self.table = table
        self.columns = {name: column.described() for name, column in table.columns.items()}
        data, rows = table.data(), len(table)
        empty = np.full(rows, np.nan, np.float32)
        self.source = ColumnDataSource(data | {"x": empty, "y": empty, "colour": empty})
        self.kept, self.shown = IndexFilter(indices=None), IndexFilter(indices=None)
        self.current = ColumnDataSource({"x": [], "y": []})
        self.style = InlineStyleSheet(css=script("widgets.css"))
        self.args: dict[str, Any] = {
            "source": self.source, "columns": self.columns, "kept": self.kept, "shown": self.shown,
            "group": table.group, "pale": PALE, "warm": WARM, "kinds": KINDS, "current": self.current,
        }  # fmt: skip
        self.scatter = self._scatter()
        self.histogram, self.edf, self.distribution = self._distribution()
        self.paths = self._parallel()
        self.show = self.call("show.js", distribution=self.distribution, parallel=self.paths[1])
        self.source.selected.js_on_change("indices", self.show)
        self.filters = self._filters()
        self.rows = self._table()

    def call(self, name: str, **more: Any) -> CustomJS:
        """Return a script as a callback that knows the page's source, its columns, and more."""
        return CustomJS(code=script(name), args=self.args | more)

    def axis(self, axis: Any) -> None:
        """Set the ticks and labels of an axis or a colour bar to those of the column it shows."""
        args = {"log": False, "names": None}
        axis.formatter = CustomJSTickFormatter(code=script("label.js"), args=args)
        axis.ticker = CustomJSTicker(major_code=script("ticks.js"), args=args)

    def select(self, title: str, value: str) -> Select:
        """Return a choice of columns."""
        options: Any = [(name, column.label) for name, column in self.table.columns.items()]
        return Select(title=title, value=value, options=options, stylesheets=[self.style], **STRETCH)

    def _scatter(self) -> dict[str, Any]:
        table = self.table
        plot = figure(
            height=460, x_range=Range1d(0, 1), y_range=Range1d(0, 1), output_backend="webgl",
            tools="pan,wheel_zoom,box_zoom,reset,save", active_scroll=None, toolbar_location="above",
            stylesheets=[self.style], **STRETCH, **PLAIN,
        )  # fmt: skip
        mapper = LinearColorMapper(palette=SHADES, nan_color=PALE)
        dots = plot.scatter(
            "x", "y", source=self.source, view=CDSView(filter=self.kept), line_color=None, fill_alpha=0.75,
            size=7 if len(table) < 3000 else 4, nonselection_fill_alpha=0.08,
            fill_color={"field": "colour", "transform": mapper},
        )  # fmt: skip
        lines = ColumnDataSource({"xs": [], "ys": [], "colours": []})
        plot.multi_line("xs", "ys", source=lines, line_color="colours", line_width=2)
        ring: Any = {"fill_color": None, "line_color": WARM, "line_width": 3, "size": 15}
        plot.scatter("x", "y", source=self.current, **ring)
        lists = [(name, f"@{{{name}}}") for name in table.texts]
        numbers = [
            (column.label, f"@{{{name} name}}" if column.names else f"@{{{name}}}{{{column.format}}}")
            for name, column in table.columns.items()
            if column.maximize is not None or column.names or name == table.group
        ]
        hover = HoverTool(renderers=[dots], tooltips=lists + numbers, limit=1, point_policy="snap_to_data")
        brush, lasso = BoxSelectTool(renderers=[dots]), LassoSelectTool(renderers=[dots], continuous=False)
        tap = TapTool(renderers=[dots], behavior="inspect")
        plot.add_tools(hover, brush, lasso, tap)
        plot.toolbar.active_drag = brush
        plot.toolbar.logo = None
        bar = ColorBar(color_mapper=mapper, width=10, background_fill_color=None, padding=4,
                       major_label_text_color=MUTED, major_tick_line_color=PALE)  # fmt: skip
        plot.add_layout(bar, "right")
        for each in (plot.xaxis[0], plot.yaxis[0], bar):
            self.axis(each)
        x, y = (
            self.select(title, value)
            for title, value in (("horizontal", table.axes[0]), ("vertical", table.axes[1]))
        )
        colour = self.select("colour", table.colour)
        front = self.call("front.js", x=x, y=y, lines=lines)
        place = self.call(
            "place.js",
            x=x,
            y=y,
            colour=colour,
            figure=plot,
            bar=bar,
            mapper=mapper,
            front=front,
            shades=SHADES,
        )
        for each in (x, y, colour):
            each.js_on_change("value", place)
        return {"plot": plot, "x": x, "y": y, "colour": colour, "front": front, "place": place, "tap": tap}

    def _distribution(self) -> tuple[Any, Any, CustomJS]:
        column = self.select("distribution of", self.scatter["y"].value)
        self.column = column
        bars = ColumnDataSource({"left": [], "right": [], "all": [], "shown": []})
        steps = ColumnDataSource({"xs": [], "ys": [], "colours": [], "names": []})
        histogram, edf = (
            figure(height=300, tools="", toolbar_location=None, **STRETCH, **PLAIN) for _ in range(2)
        )
        for top, fill, alpha in (("all", PALE, 0.5), ("shown", WARM, 0.6)):
            histogram.quad(
                left="left", right="right", bottom=0, top=top, source=bars, line_color=None, fill_color=fill,
                fill_alpha=alpha,
            )  # fmt: skip
        edf.multi_line("xs", "ys", source=steps, line_color="colours", line_width=2, legend_field="names")
        edf.legend.location, edf.legend.background_fill_alpha = "bottom_right", 0
        edf.legend.border_line_color, edf.yaxis.axis_label = None, "share of architectures (EDF)"
        histogram.yaxis.axis_label, histogram.y_range.start = "architectures", 0
        edf.legend.label_text_color = MUTED
        histogram.title.update(text=" ", text_color=MUTED)
        for plot in (histogram, edf):
            self.axis(plot.xaxis[0])
        callback = self.call(
            "distribution.js", column=column, bars=bars, steps_of=steps, histogram=histogram, edf=edf
        )
        column.js_on_change("value", callback)
        return histogram, edf, callback

    def _parallel(self) -> tuple[Any, CustomJS]:
        axes: list[dict[str, Any]] = []
        metrics = [name for name, column in self.table.columns.items() if column.maximize is not None]
        others = [name for name in self.table.columns if name not in metrics]
        for name in [*others[: max(MOST_AXES - len(metrics), 4)], *metrics]:
            column = self.table.columns[name]
            if column.varies:
                values = column.scaled
                low, high = float(values.min()), float(values.max())
                axes.append({"name": name, "low": low, "high": high})
        paths = ColumnDataSource({"xs": [], "ys": [], "colour": []})
        plot = figure(
            height=340, tools="", toolbar_location=None, y_range=Range1d(-0.08, 1.08),
            x_range=Range1d(-0.4, max(len(axes) - 0.6, 0.6)), **STRETCH, **PLAIN,
        )  # fmt: skip
        mapper = self.scatter["place"].args["mapper"]
        plot.multi_line(
            "xs", "ys", source=paths, line_alpha=0.35, line_color={"field": "colour", "transform": mapper}
        )
        plot.xaxis.ticker = list(range(len(axes)))
        labels = {i: self.table.columns[axis["name"]].label for i, axis in enumerate(axes)}
        plot.xaxis.major_label_overrides, plot.yaxis.visible = labels, False
        plot.xaxis.major_label_orientation = 0.5
        plot.ygrid.visible = False
        plot.title.update(text=" ", text_color=MUTED)
        ends = {
            "x": [*range(len(axes)), *range(len(axes))],
            "y": [-0.07] * len(axes) + [1.02] * len(axes),
            "text": [self._end(axis, side) for side in ("low", "high") for axis in axes],
        }
        plot.text("x", "y", "text", source=ColumnDataSource(ends), text_align="center", text_font_size="10px",
                  text_color=MUTED)  # fmt: skip
        return plot, self.call("parallel.js", axes=axes, most=MOST_PATHS, paths=paths, figure=plot)

    def _end(self, axis: dict[str, Any], side: str) -> str:
        column, value = self.table.columns[axis["name"]], axis[side]
        if column.names is not None:
            return str(column.names[int(value)])
        return page_column_number(10**value if column.logarithmic else value)

    def _filters(self) -> FilterWidgets:
        found = filter_widgets(self.table, self.style)
        more = {"ranges": found.ranges, "choices": found.choices}
        keep = self.call(
            "filter.js", search=found.search, front=self.scatter["front"], show=self.show, **more
        )
        found.search.js_on_change("value_input", keep)
        for widget in found.ranges.values():
            widget.js_on_change("value_throttled", keep)
        for widget in found.choices.values():
            widget.js_on_change("value", keep)
        found.clear.js_on_click(self.call("clear.js", search=found.search, keep=keep, **more))
        more |= {"column": self.column, "keep": keep}
        brushes = [
            add_brush(self.histogram, "width", self.call("brush.js", axes=None, **more)),
            add_brush(self.paths[0], "both", self.call("brush.js", axes=self.paths[1].args["axes"], **more)),
        ]
        self.state = more | {"search": found.search, "brushes": brushes}
        self.state |= {name: self.scatter[name] for name in AXES}
        return found

    def _table(self) -> tuple[DataTable, CustomJS]:
        rows = ColumnDataSource({name: [] for name in self.source.data})
        columns = [TableColumn(field=name, title=name, width=130) for name in self.table.texts]
        for name, column in self.table.columns.items():
            if column.names is not None:
                columns.append(TableColumn(field=f"{name} name", title=column.label, width=90))
            else:
                shape = NumberFormatter(format=column.format, nan_format="", text_align="right")
                wide = 120 if column.finite.size and column.finite.max() >= 1e7 else 90
                columns.append(TableColumn(field=name, title=column.label, width=wide, formatter=shape))
        table = DataTable(
            source=rows, view=CDSView(filter=self.shown), columns=columns, height=420, fit_columns=False,
            index_position=None, reorderable=False, stylesheets=[self.style], **STRETCH,
        )  # fmt: skip
        profile = ColumnDataSource({"left": [], "right": [], "top": []})
        plot = figure(height=180, tools="", toolbar_location=None, **STRETCH, **PLAIN)
        plot.quad(left="left", right="right", bottom=0, top="top", source=profile, fill_color=WARM,
                  fill_alpha=0.3, line_color=WARM)  # fmt: skip
        plot.xaxis.axis_label, plot.yaxis.axis_label, plot.y_range.start = "block", "stage width", 0
        self.profile = plot
        more = {"recipes": self.table.recipes, "texts": list(self.table.texts), "profile": profile}
        self.scatter["tap"].callback = self.call("detail.js", picked=self.source, **more)
        rows.selected.js_on_change("indices", self.call("detail.js", picked=rows, **more))
        begin = self.call("begin.js", rows=rows, place=self.scatter["place"], **self.state)
        return table, begin
