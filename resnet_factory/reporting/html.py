"""Plans, costs and explanations as HTML, for notebooks; the colours are the page's own."""

from __future__ import annotations

import html
from collections.abc import Sequence

from resnet_factory.costing.complexity import Cost
from resnet_factory.planning.network_plan import Plan
from resnet_factory.reporting.columns import COLUMNS, Selection, entries, total
from resnet_factory.reporting.tables import cells, headline, totals


def html_of_cost(cost: Cost) -> str:
    """The stage table and the totals."""
    selection = Selection().checked()
    return html_table(
        headline(cost),
        [selection.heading(name) for name in selection.columns],
        [cells(entry, selection.columns) for entry in entries(cost, selection)],
        [COLUMNS[name].kind == "text" for name in selection.columns],
        cells(total(cost, selection), selection.columns),
        [f"{term}: {text}" for term, text in totals(cost, selection).items()],
    )


def html_of_plan(plan: Plan) -> str:
    """A plan for a notebook: its stages, their blocks and shortcuts, and its text to unfold."""
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


def register() -> None:
    """Let the notebook that this runs in show plans as tables; plans themselves know no HTML."""
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
    """A table; `left` says which columns are read from the left."""

    def line(tag: str, cells: Sequence[str]) -> str:
        sides = ["left" if is_left else "right" for is_left in left]
        made = "".join(
            f'<{tag} style="text-align:{side}">{html.escape(cell)}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        return f"<tr>{made}</tr>"

    caption = f'<caption style="text-align:left;font-weight:bold">{html.escape(title)}</caption>'
    body = "".join(line("td", row) for row in rows)
    foot = f"<tfoot>{line('th', whole)}</tfoot>" if whole else ""
    note = f"<p>{'<br>'.join(map(html.escape, notes))}</p>" if notes else ""
    return f"<table>{caption}<thead>{line('th', heads)}</thead><tbody>{body}</tbody>{foot}</table>{note}"
