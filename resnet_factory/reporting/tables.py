"""Tables as text, Markdown, CSV and JSON: a plan's cost at any depth, and the list of named models."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from resnet_factory.costing.complexity import Cost
from resnet_factory.layers import axes_text
from resnet_factory.planning.network_plan import Plan
from resnet_factory.reporting.columns import (
    COLUMNS,
    DEFAULT,
    ColumnSelection,
    ReportRow,
    bytes_text,
    column_total,
    column_values,
    report_rows,
    shape_text,
)
from resnet_factory.reporting.other_counters import counts_of_other_tools
from resnet_factory.reporting.wording import wording_for_dimensions

WIDEST = 110
"""Maximum number of characters in a line of prose."""
FORMATS = ("table", "markdown", "csv", "json")
MEMORY_CONVENTION = (
    "peak size of all tensors that are alive at once when PyTorch runs the network eagerly, including the "
    "images; without the kernels' scratch space and the optimiser's state (momentum: the size of the "
    "weights; Adam: twice)"
)


def table_console() -> Console:
    """Return a console for reports; for pipes, without colour, width limits or cropping."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=10_000, no_color=True, file=sys.stdout)


def plain_table() -> Table:
    """Return an empty table in the common style: no lines, bold headings."""
    return Table(box=None, pad_edge=False, header_style="bold")


def print_cost_table(
    cost: Cost, out: Console, selection: ColumnSelection | None = None, form: str = "table"
) -> None:
    """Print a report. CSV and JSON are printed without any other text."""
    selection = (selection or ColumnSelection()).checked()
    if form == "csv":
        out.file.write(comma_separated_table(cost, selection))
        print(
            "\n".join(f"{term}: {text}" for term, text in table_conventions(cost, selection).items()),
            file=sys.stderr,
        )
    elif form == "json":
        out.file.write(json_table(cost, selection) + "\n")
    elif form == "markdown":
        out.file.write(markdown_table(cost, selection) + "\n")
    else:
        out.print(table_headline(cost), style="bold", markup=False)
        out.print()
        table = fitting_table(cost, selection, out)
        print_table_at_width(table, out, max(table_width(table, out), min(out.width, WIDEST)))
        out.print()
        for name, channels, stride in cost.plan.features:
            out.print(f"returns {name}: {channels} channels at stride {axes_text(stride)}", markup=False)
        print_table_of_terms(table_totals(cost, selection).items(), out)
        for title, terms in (
            ("conventions", table_conventions(cost, selection).items()),
            ("other counters", table_of_other_counts(cost)),
        ):
            out.print(f"\n{title}", style="dim bold", markup=False)
            print_table_of_terms(terms, out, style="dim")


def print_table_at_width(renderable: Table, out: Console, width: int) -> None:
    """Print at the given width: a narrow terminal wraps lines, and no number is cut off.

    Output to a pipe has no colours and no trailing spaces.
    """
    wide = Console(
        file=out.file, width=width, highlight=False, force_terminal=out.is_terminal, no_color=out.no_color
    )
    if out.is_terminal:
        wide.print(renderable, crop=False)
        return
    with wide.capture() as captured:
        wide.print(renderable, crop=False)
    out.file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def print_table_of_terms(terms: Iterable[tuple[str, str]], out: Console, style: str = "") -> None:
    """Print terms and their descriptions side by side."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for term, text in terms:
        grid.add_row(Text(term), Text(text), style=style)
    print_table_at_width(grid, out, min(out.width, WIDEST))


def table_width(table: Table, out: Console) -> int:
    """Return the width of a table in characters."""
    return Measurement.get(out, out.options.update(width=10_000), table).maximum


def fitting_table(cost: Cost, selection: ColumnSelection, out: Console) -> Table:
    """Return the table; on a narrow terminal without the columns that the totals repeat."""
    table = cost_table(cost, selection)
    for spare in ("macs_share", "params_share", "receptive_field"):
        if not out.is_terminal or selection.columns != DEFAULT[selection.depth]:
            break
        if table_width(table, out) > out.width:
            selection = selection._replace(columns=tuple(c for c in selection.columns if c != spare))
            table = cost_table(cost, selection)
    return table


def cost_table(cost: Cost, selection: ColumnSelection) -> Table:
    """Return one row per network, stage, block or layer, and the total."""
    table = plain_table()
    for name in selection.columns:
        side: Any = "left" if COLUMNS[name].kind == "text" else "right"
        table.add_column(selection.heading(name), justify=side, no_wrap=True)
    for entry in report_rows(cost, selection):
        table.add_row(
            *map(Text, table_cells(entry, selection.columns)), style=_table_row_style(entry, selection)
        )
    if selection.depth != "network":
        table.add_section()
        table.add_row(*map(Text, table_cells(column_total(cost, selection), selection.columns)), style="bold")
    return table


def markdown_table(cost: Cost, selection: ColumnSelection) -> str:
    """Return the report as Markdown."""
    rows = [[selection.heading(name) for name in selection.columns]]
    rows.append([":--" if COLUMNS[name].kind == "text" else "--:" for name in selection.columns])
    rows += [table_cells(entry, selection.columns) for entry in report_rows(cost, selection)]
    if selection.depth != "network":
        whole = table_cells(column_total(cost, selection), selection.columns)
        rows.append([f"**{cell}**" if cell else "" for cell in whole])
    table = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
    parts = [f"### {table_headline(cost)}", table]
    for terms in (
        table_totals(cost, selection).items(),
        table_conventions(cost, selection).items(),
        table_of_other_counts(cost),
    ):
        parts.append("\n".join(f"- {term}: {text}" for term, text in terms))
    return "\n\n".join(parts)


def comma_separated_table(cost: Cost, selection: ColumnSelection) -> str:
    """Return rows as CSV: plain numbers, memory in bytes, shares as fractions of 1, no total."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(selection.columns)
    columns = column_values(report_rows(cost, selection), selection.columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([shape_text(cell) if isinstance(cell, tuple) else cell for cell in row])
    return text.getvalue()


ALWAYS = ("params", "macs", "activations", "receptive_field", "stride", "padding")
"""Figures of the whole network that JSON has for any selection of columns."""


def json_table(cost: Cost, selection: ColumnSelection) -> str:
    """Return rows as JSON, with the totals and the conventions."""
    memory = cost.memory(selection.batch, selection.dtype)
    columns = column_values(report_rows(cost, selection), selection.columns)
    data = {
        "model": cost.plan.name,
        "id": cost.plan.id,
        "image": cost.image,
        "output": cost.shape,
        "params": cost.params,
        "macs": cost.macs,
        "activations": cost.activations,
        "last_map": cost.last_map,
        "receptive_field": cost.receptive_field,
        "stride": cost.stride,
        "padding": cost.padding,
        "memory": {entry.name: getattr(memory, entry.name) for entry in fields(memory) if entry.repr},
        "depth": selection.depth,
        "rows": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        "conventions": _reworded_table_terms(
            {name: COLUMNS[name].meaning for name in dict.fromkeys((*selection.columns, *ALWAYS))}
            | {"memory": MEMORY_CONVENTION},
            cost,
        ),
        "peers": [peer._asdict() for peer in counts_of_other_tools(cost)],
    }
    # The stride of an enlarged map is a fraction.
    return json.dumps(data, indent=2, ensure_ascii=False, default=float)


def table_headline(cost: Cost) -> str:
    """Return the network in one line: name, id, image."""
    plan = cost.plan
    return (
        f"{plan.name or 'plan'}  id {plan.id}  "
        f"{wording_for_dimensions(f'image {shape_text(cost.image)}', plan.dims)}"
    )


def table_totals(cost: Cost, selection: ColumnSelection) -> dict[str, str]:
    """Return costs, receptive field and memory of the whole network, as text by heading."""
    memory = cost.memory(selection.batch, selection.dtype)
    images = "1 image" if memory.batch == 1 else f"{memory.batch} images"
    found = {
        "parameters": f"{cost.params:,}",
        "MACs": f"{cost.macs:,}",
        "activations": f"{cost.activations:,}",
        "last map": f"{shape_text(cost.last_map)}; receptive field {axes_text(cost.receptive_field)} "
        f"pixels of {shape_text(cost.image[1:])}, stride {axes_text(cost.stride)}",
        "weights": f"{bytes_text(memory.weights)} in {memory.dtype}",
        "inference": f"{bytes_text(memory.inference)} of feature maps for {images}, peak at "
        f"{memory.inference_at}",
        "training": f"{bytes_text(memory.training)} of feature maps and gradients for {images}, "
        f"peak at {memory.training_at}; {bytes_text(memory.kept)} saved for the backward pass",
    }
    return _reworded_table_terms(found, cost)


def _reworded_table_terms(terms: Mapping[str, str], cost: Cost) -> dict[str, str]:
    return {term: wording_for_dimensions(text, cost.plan.dims) for term, text in terms.items()}


def table_conventions(cost: Cost, selection: ColumnSelection) -> dict[str, str]:
    """Return the meaning of the columns shown and of the totals."""
    said = ("macs", "activations", "receptive_field")
    named = dict.fromkeys([*said, *(name for name in selection.columns if COLUMNS[name].kind == "bytes")])
    found = {COLUMNS[name].heading: COLUMNS[name].meaning for name in named} | {"memory": MEMORY_CONVENTION}
    return _reworded_table_terms(found, cost)


def table_of_other_counts(cost: Cost) -> list[tuple[str, str]]:
    """Return the counts of other tools, with the reasons of differences, and the tools that count none."""
    found = [
        (peer.tool, f"{peer.number:,} {peer.quantity}: {', '.join(peer.why) or 'the same'}")
        for peer in counts_of_other_tools(cost)
    ]
    if cost.plan.dims != 2:
        found.append(("pycls", "counts networks for images only, of 2 dimensions"))
    return found


def model_table(costs: Iterable[tuple[Plan, Cost]]) -> Table:
    """Return one row per model: name, depths, image, parameters, MACs."""
    table = plain_table()
    table.add_column("model")
    table.add_column("depths")
    for name in ("image", "params", "MACs"):
        table.add_column(name, justify="right")
    for plan, cost in costs:
        depths = "-".join(str(len(stage.blocks)) for stage in plan.stages)
        table.add_row(plan.name, depths, _table_image_size(cost), f"{cost.params:,}", f"{cost.macs:,}")
    return table


def _table_image_size(cost: Cost) -> str:
    """Return the side of a square image, the sides of another one, or a sequence's length."""
    sides = cost.image[1:]
    if cost.plan.dims == 1:
        return f"{sides[0]} long"
    return str(sides[0]) if cost.plan.dims == 2 and len(set(sides)) == 1 else shape_text(sides)


def table_cells(entry: ReportRow, columns: Sequence[str]) -> list[str]:
    """Return the formatted values of a row."""
    return [COLUMNS[name].text(entry) for name in columns]


def _table_row_style(entry: ReportRow, selection: ColumnSelection) -> str:
    """Return the style of a row: dim for layers without cost."""
    free = selection.depth == "layer" and not entry.row.tally.params and not entry.row.tally.macs
    return "dim" if free else ""
