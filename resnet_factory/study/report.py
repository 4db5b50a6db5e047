"""A study's report: tables, findings and pictures, as one HTML file and as Markdown."""

from __future__ import annotations

import base64
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from resnet_factory import __version__
from resnet_factory.config.file_access import write_whole
from resnet_factory.study.result import DONE, RUNNING, Outcome
from resnet_factory.study.settings import Data, Folder, Settings, Train
from resnet_factory.study.summary import Row, Spread, best, by_rate, findings, ranked, series

HUGE = 1e6
"""From here on a loss is shown by its order of magnitude: it has left all bounds."""


@dataclass(frozen=True)
class Sheet:
    """A table: what it shows, the names of its columns, and its cells as text. The first column is words."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    """Columns on the left that are words; the rest are numbers."""


@dataclass(frozen=True)
class Report:
    """Everything a reader gets to see, still without a format."""

    title: str
    complete: str
    """Empty, or how much is still to come."""
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    sheets: tuple[Sheet, ...]
    facts: tuple[tuple[str, str], ...]


def report(settings: Settings, outcomes: Sequence[Outcome], jobs: int, command: str) -> Report:
    """What there is to say about `outcomes`, of which there will be `jobs` in the end."""
    rows = best(outcomes)
    if not series(rows):
        rows = ranked(rows)
    sheets = [main_sheet(rows)]
    if len(settings.rates) > 1:
        sheets.append(_rates_sheet(by_rate(outcomes)))
    if settings.paper:
        sheets.append(_paper_sheet(settings, rows))
    if broken := [found for found in outcomes if found.state != DONE]:
        sheets.append(_broken_sheet(broken))
    over = sum(found.state != RUNNING for found in outcomes)
    return Report(
        title=settings.title,
        complete="" if over == jobs else f"Not complete: {over} of {jobs} networks are trained.",
        findings=tuple(findings(rows)),
        notes=settings.notes,
        sheets=tuple(sheets),
        facts=tuple(_facts(settings, outcomes, command)),
    )


def main_sheet(rows: Sequence[Row]) -> Sheet:
    """One line per network: what it is, and its errors over all seeds."""
    columns = (
        "network",
        "depth",
        "params",
        "MACs",
        "rate",
        "train error, %",
        "train loss",
        "test error, %",
        "test loss",
    )
    cells = [
        (
            row.label, str(row.depth), f"{row.params:,}", f"{row.macs:,}", f"{row.rate:g}",
            spread_text(row.train_error, 2), spread_text(row.train_loss, 4),
            spread_text(row.test_error, 2), spread_text(row.test_loss, 4),
        )
        for row in rows
    ]  # fmt: skip
    return Sheet(
        "Each network at its best learning rate: mean ± standard deviation over seeds", columns, tuple(cells)
    )


def _rates_sheet(rows: Sequence[Row]) -> Sheet:
    labels = list(dict.fromkeys(row.label for row in rows))
    rates = sorted({row.rate for row in rows})
    cell = {(row.label, row.rate): _seeds_text(row) for row in rows}
    return Sheet(
        "Final training error of every seed at every learning rate, %",
        ("network", *(f"rate {rate:g}" for rate in rates)),
        tuple((label, *(cell.get((label, rate), "") for rate in rates)) for label in labels),
    )


def _paper_sheet(settings: Settings, rows: Sequence[Row]) -> Sheet:
    ours = {row.label: row for row in rows}
    cells = [
        (
            said.model, said.data, said.where, f"{said.error:.2f}",
            spread_text(ours[said.model].test_error, 2) if said.model in ours else "",
        )
        for said in settings.paper
    ]  # fmt: skip
    columns = (
        "network",
        "paper's data",
        "in the paper",
        "paper's test error, %",
        f"ours on {settings.data.source}, %",
    )
    return Sheet("Published figures (He et al. 2015) beside ours", columns, tuple(cells), words=3)


def _broken_sheet(outcomes: Sequence[Outcome]) -> Sheet:
    cells = [
        (
            found.label, f"{found.rate:g}", str(found.seed), found.state,
            found.reason or f"iteration {found.iteration} of {found.iterations}",
        )
        for found in outcomes
    ]  # fmt: skip
    return Sheet(
        "Runs that did not come to their end", ("network", "rate", "seed", "state", "reason"), tuple(cells), 5
    )


def _facts(settings: Settings, outcomes: Sequence[Outcome], command: str) -> list[tuple[str, str]]:
    facts = [
        ("command", command),
        ("date", ", ".join(sorted({found.date for found in outcomes if found.date}))),
        ("data", _said(settings.data)),
        ("training", _said(settings.train)),
        ("learning rates", _plain(settings.rates)),
        ("seeds", _plain(settings.seeds)),
        ("trained on", "; ".join(sorted({found.place for found in outcomes if found.place}))),
        ("training time", f"{sum(found.seconds for found in outcomes) / 60:.1f} minutes in all"),
        (
            "versions",
            f"resnet-factory {__version__}, torch {version('torch')}, Python {platform.python_version()}",
        ),
    ]
    if isinstance(settings.data, Folder):
        facts.insert(3, ("images", settings.data.transform))
    if settings.overrides:
        facts.insert(3, ("every network with", " ".join(settings.overrides)))
    facts += [(f"{name} trains with", _said(own)) for name, own in settings.per_model.items()]
    return facts


def _said(settings: Train | Data) -> str:
    """What is set, in one line; what is off or has no effect is left out."""
    values = asdict(settings)
    if values.get("schedule") != "steps":
        values.pop("milestones", None)
    if values.get("iterations"):
        values.pop("epochs")
    return ", ".join(f"{key} {_plain(value)}" for key, value in values.items() if value)


def spread_text(spread: Spread | None, digits: int) -> str:
    """`45.60 ± 2.91`, `8.1e+33`; without ± for a single seed; a dash where nothing was measured."""
    if spread is None:
        return "–"
    form = f".{digits}f" if abs(spread.mean) < HUGE else ".4g"
    mean = f"{spread.mean:{form}}"
    return f"{mean} ± {spread.deviation:{form}}" if len(spread.values) > 1 else mean


def _seeds_text(row: Row) -> str:
    return " / ".join(f"{run.train.error:.2f}" if run.train else run.state for run in row.runs)


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_plain, value))
    return "yes" if value is True else f"{value:g}" if isinstance(value, float) else str(value)


def write(said: Report, outcomes: Sequence[Outcome], folder: Path) -> tuple[Path, Path]:
    """Write `report.html` (self-contained), `report.md` and `figures/` into `folder`.

    Raises:
        OSError: the folder cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    from resnet_factory.study.figures import THEMES, pictures

    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    drawn = []
    for picture in pictures(best(outcomes)):
        inline = {}
        for theme in THEMES:
            svg = picture.svg(theme)
            write_whole(figures / f"{picture.name}-{theme.name}.svg", svg)
            inline[theme.name] = base64.b64encode(svg.encode()).decode()
        drawn.append((picture, inline))
    environment = Environment(
        loader=PackageLoader("resnet_factory.study"),
        autoescape=select_autoescape(enabled_extensions=("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    files = folder / "report.html", folder / "report.md"
    for file in files:
        template = environment.get_template(f"{file.name}.jinja")
        write_whole(file, template.render(said=said, pictures=drawn))
    return files
