"""Plans, costs and explanations as HTML for notebooks, without colours of their own."""

from __future__ import annotations

import html
from collections.abc import Sequence

from resnet_factory.costing.complexity import Cost
from resnet_factory.planning.network_plan import Plan
from resnet_factory.reporting.columns import COLUMNS, ColumnSelection, column_total, report_rows
from resnet_factory.reporting.tables import table_cells, table_headline, table_totals
from resnet_factory.reporting.templating import render_template


def html_of_cost(cost: Cost) -> str:
    """Return the stage table and the totals."""
    selection = ColumnSelection().checked()
    return html_table(
        table_headline(cost),
        [selection.heading(name) for name in selection.columns],
        [table_cells(entry, selection.columns) for entry in report_rows(cost, selection)],
        [COLUMNS[name].kind == "text" for name in selection.columns],
        table_cells(column_total(cost, selection), selection.columns),
        [f"{term}: {text}" for term, text in table_totals(cost, selection).items()],
    )


def html_of_plan(plan: Plan) -> str:
    """Return a plan as HTML: a table of stages, blocks and shortcuts, and its text, collapsed."""
    rows = []
    for stage in plan.stages:
        first = stage.blocks[0]
        kinds = dict.fromkeys(block.kind for block in stage.blocks)
        projected = sum(block.projects for block in stage.blocks)
        added = sum(block.residual for block in stage.blocks)
        rows.append([
            stage.name, " + ".join(kinds), str(len(stage.blocks)), str(first.stride),
            f"{first.in_channels} → {stage.blocks[-1].out_channels}", f"{projected} of {added}",
        ])  # fmt: skip
    heads = ["stage", "block", "depth", "stride", "channels", "shortcuts that project"]
    title = f"{plan.name or 'plan'}  id {plan.id}  {plan.in_channels} channels in"
    table = html_table(title, heads, rows, [True, True, False, False, False, False])
    return f"{table}<details><summary>every layer</summary><pre>{html.escape(str(plan))}</pre></details>"


def register_html_formatter() -> None:
    """Register the HTML formatter of plans in the running notebook; `Plan` itself has none."""
    from IPython import get_ipython

    if (shell := get_ipython()) is not None:
        shell.display_formatter.formatters["text/html"].for_type(Plan, html_of_plan)


def html_table(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: Sequence[bool],
    whole: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """Return a table; `left` marks the left-aligned columns."""
    return render_template(
        "notebook_table.html",
        {"title": title, "heads": heads, "rows": rows, "left": left, "whole": whole, "notes": notes},
    )
