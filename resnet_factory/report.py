"""Tables for people: a plan's cost by section, and the list of named models."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from resnet_factory.costing import CONVENTION, Cost, Row
from resnet_factory.nodes import Plan


def console() -> Console:
    """Where reports go: a terminal as it is, a pipe without colour, width limits or cropping."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=10_000, no_color=True, file=sys.stdout)


def stage_table(cost: Cost) -> Table:
    """One row per section: stage, block, depth, output shape, parameters, MACs and their shares."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    table.add_column("block")
    for name in ("depth", "output", "params", "share", "MACs", "share"):
        table.add_column(name, justify="right")
    for row in cost.sections:
        table.add_row(*_cells(row, cost, depth=row.kind != ""))
    table.add_section()
    whole = Row("total", "", sum(len(s.blocks) for s in cost.plan.stages), cost.shape, cost.total)
    table.add_row(*_cells(whole, cost, depth=True), style="bold")
    return table


def _cells(row: Row, cost: Cost, *, depth: bool) -> Iterable[str]:
    return (
        row.name,
        row.kind,
        str(row.depth) if depth else "",
        shape_text(row.shape),
        f"{row.tally.params:,}",
        share_text(row.tally.params, cost.params),
        f"{row.tally.macs:,}",
        share_text(row.tally.macs, cost.macs),
    )


def headline(cost: Cost) -> str:
    """The network in one line: name, id, image."""
    plan = cost.plan
    return f"{plan.name or 'plan'}  id {plan.id}  image {shape_text(cost.image)}"


def totals(cost: Cost) -> str:
    """The totals in one line."""
    return f"{cost.params:,} parameters · {cost.macs:,} MACs · {cost.activations:,} activations\n{CONVENTION}"


def show(cost: Cost, out: Console) -> None:
    """Print headline, stage table and totals."""
    out.print(headline(cost), style="bold")
    out.print()
    out.print(stage_table(cost))
    out.print()
    for name, channels, stride in cost.plan.features:
        out.print(f"returns {name}: {channels} channels at stride {stride}")
    out.print(totals(cost))


def model_table(costs: Iterable[tuple[Plan, Cost]]) -> Table:
    """One row per model: name, depths, image, parameters, MACs."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model")
    table.add_column("depths")
    for name in ("image", "params", "MACs"):
        table.add_column(name, justify="right")
    for plan, cost in costs:
        depths = "-".join(str(len(stage.blocks)) for stage in plan.stages)
        table.add_row(plan.name, depths, str(cost.image[1]), f"{cost.params:,}", f"{cost.macs:,}")
    return table


def shape_text(shape: tuple[int, ...]) -> str:
    """`64x112x112`."""
    return "x".join(map(str, shape))


def share_text(part: int, whole: int) -> str:
    """`12.3 %`."""
    return f"{100 * part / whole:.1f} %" if whole else ""
