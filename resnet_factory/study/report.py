"""A study's report: tables, findings and figures, as one HTML file and as Markdown."""

from __future__ import annotations

import base64
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from resnet_factory import __version__
from resnet_factory.config.file_access import write_whole_file
from resnet_factory.reporting.templating import render_template
from resnet_factory.study.settings import DataSettings, FolderData, StudySettings, TrainSettings
from resnet_factory.study.summary import (
    SeedSummary,
    StudyNetworkSummary,
    study_summaries,
    summaries_at_best_rates,
    summaries_by_series,
    summaries_by_test_loss,
    summary_findings,
)
from resnet_factory.study.training_result import DONE, RUNNING, TrainingResult

HUGE = 1e6
"""A loss from here on is shown by its order of magnitude."""


@dataclass(frozen=True)
class StudyTable:
    """A table; its columns have as many cells as there are rows."""

    title: str
    cells: Mapping[str, Sequence[str]]
    """Column -> its cells."""
    words: int = 1
    """Columns on the left that are words; the others are numbers."""

    @property
    def columns(self) -> list[str]:
        """Return the names of the columns."""
        return list(self.cells)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells row by row."""
        return list(zip(*self.cells.values(), strict=True))

    @property
    def left(self) -> list[bool]:
        """Return for each column whether it is aligned to the left."""
        return [i < self.words for i in range(len(self.cells))]


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """The content of a report, without a format."""

    title: str
    complete: str
    """Empty, or how much is still to be trained."""
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    tables: tuple[StudyTable, ...]
    facts: tuple[tuple[str, str], ...]


def study_report(
    settings: StudySettings, results: Sequence[TrainingResult], jobs: int, command: str
) -> StudyReport:
    """Return the report of the results so far of `jobs` trainings."""
    rows = summaries_at_best_rates(results)
    if not summaries_by_series(rows):
        rows = summaries_by_test_loss(rows)
    tables = [study_report_main_table(rows)]
    if len(settings.rates) > 1:
        tables.append(_study_report_rates_table(study_summaries(results)))
    if settings.paper:
        tables.append(_study_report_paper_table(settings, rows))
    if unfinished := [result for result in results if result.state != DONE]:
        tables.append(_study_report_unfinished_table(unfinished))
    over = sum(result.state != RUNNING for result in results)
    return StudyReport(
        title=settings.title,
        complete="" if over == jobs else f"Not complete: {over} of {jobs} networks are trained.",
        findings=tuple(summary_findings(rows)),
        notes=settings.notes,
        tables=tuple(tables),
        facts=tuple(_study_facts(settings, results, command).items()),
    )


def study_report_main_table(rows: Sequence[StudyNetworkSummary]) -> StudyTable:
    """Return each network with its size and its errors over all seeds."""
    return StudyTable("Each network at its best learning rate: mean ± standard deviation over seeds", {
        "network": [row.label for row in rows],
        "depth": [str(row.depth) for row in rows],
        "params": [f"{row.params:,}" for row in rows],
        "MACs": [f"{row.macs:,}" for row in rows],
        "rate": [f"{row.rate:g}" for row in rows],
        "train error, %": [study_report_spread_text(row.train_error, 2) for row in rows],
        "train loss": [study_report_spread_text(row.train_loss, 4) for row in rows],
        "test error, %": [study_report_spread_text(row.test_error, 2) for row in rows],
        "test loss": [study_report_spread_text(row.test_loss, 4) for row in rows],
    })  # fmt: skip


def _study_report_rates_table(rows: Sequence[StudyNetworkSummary]) -> StudyTable:
    labels = list(dict.fromkeys(row.label for row in rows))
    cells = {(row.label, row.rate): " / ".join(map(_study_report_error_text, row.runs)) for row in rows}
    by_rate = {
        f"rate {rate:g}": [cells.get((label, rate), "") for label in labels]
        for rate in sorted({row.rate for row in rows})
    }
    title = "Final training error of every seed at every learning rate, %"
    return StudyTable(title, {"network": labels, **by_rate})


def _study_report_error_text(run: TrainingResult) -> str:
    return f"{run.train.error:.2f}" if run.train else run.state


def _study_report_paper_table(settings: StudySettings, rows: Sequence[StudyNetworkSummary]) -> StudyTable:
    ours, paper = {row.label: row for row in rows}, settings.paper
    return StudyTable("Published figures (He et al. 2015) beside ours", {
        "network": [published.model for published in paper],
        "paper's data": [published.data for published in paper],
        "in the paper": [published.where for published in paper],
        "paper's test error, %": [f"{published.error:.2f}" for published in paper],
        f"ours on {settings.data.source}, %": [
            study_report_spread_text(ours[published.model].test_error, 2) if published.model in ours else ""
            for published in paper
        ],
    }, words=3)  # fmt: skip


def _study_report_unfinished_table(results: Sequence[TrainingResult]) -> StudyTable:
    return StudyTable("Runs that did not finish", {
        "network": [result.label for result in results],
        "rate": [f"{result.rate:g}" for result in results],
        "seed": [str(result.seed) for result in results],
        "state": [result.state for result in results],
        "reason": [
            result.reason or f"iteration {result.iteration} of {result.iterations}" for result in results
        ],
    }, words=5)  # fmt: skip


def _study_facts(settings: StudySettings, results: Sequence[TrainingResult], command: str) -> dict[str, str]:
    seconds = sum(result.seconds for result in results)
    versions = f"resnet-factory {__version__}, torch {version('torch')}, Python {platform.python_version()}"
    return {
        "command": command,
        "date": ", ".join(sorted({result.date for result in results if result.date})),
        "data": _study_report_settings_text(settings.data),
        **({"every network with": " ".join(settings.overrides)} if settings.overrides else {}),
        **({"images": settings.data.transform} if isinstance(settings.data, FolderData) else {}),
        "training": _study_report_settings_text(settings.train),
        "learning rates": _study_report_value_text(settings.rates),
        "seeds": _study_report_value_text(settings.seeds),
        "trained on": "; ".join(sorted({result.place for result in results if result.place})),
        "training time": f"{seconds / 60:.1f} minutes in all",
        "versions": versions,
        **{
            f"{name} trains with": _study_report_settings_text(own)
            for name, own in settings.per_model.items()
        },
    }


def _study_report_settings_text(settings: TrainSettings | DataSettings) -> str:
    """Return settings in one line, without those that are off or have no effect."""
    values = asdict(settings)
    if values.get("schedule") != "steps":
        values.pop("milestones", None)
    if values.get("iterations"):
        values.pop("epochs")
    return ", ".join(f"{key} {_study_report_value_text(value)}" for key, value in values.items() if value)


def _study_report_value_text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_study_report_value_text, value))
    return "yes" if value is True else f"{value:g}" if isinstance(value, float) else str(value)


def study_report_spread_text(spread: SeedSummary | None, digits: int) -> str:
    """Return `45.60 ± 2.91`, `8.1e+33`; without ± for a single seed; a dash without a value."""
    if spread is None:
        return "–"
    form = f".{digits}f" if abs(spread.mean) < HUGE else ".4g"
    mean = f"{spread.mean:{form}}"
    return f"{mean} ± {spread.deviation:{form}}" if len(spread.values) > 1 else mean


def write_study_report(report: StudyReport, results: Sequence[TrainingResult], folder: Path) -> list[Path]:
    """Write `report.html` (self-contained), `report.md` and `figures/` into `folder`.

    Raises:
        OSError: the folder cannot be written.
    """
    from resnet_factory.study.figures import THEMES, study_figures

    (folder / "figures").mkdir(parents=True, exist_ok=True)
    drawn = []
    for figure in study_figures(summaries_at_best_rates(results)):
        inline = {}
        for theme in THEMES:
            svg = figure.svg(theme)
            write_whole_file(folder / "figures" / f"{figure.name}-{theme.name}.svg", svg)
            inline[theme.name] = base64.b64encode(svg.encode()).decode()
        drawn.append((figure, inline))
    files = [folder / "report.html", folder / "report.md"]
    for file in files:
        context = {"title": report.title, "report": report, "figures": drawn}
        write_whole_file(file, render_template(f"study_{file.name}", context))
    return files
