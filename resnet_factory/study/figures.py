"""Figures of a study for light and for dark pages: errors, gradients and responses."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resnet_factory.study.summary import SeedSummary, StudyNetworkSummary, summaries_by_series
from resnet_factory.study.training_result import EpochRecord


@dataclass(frozen=True)
class Theme:
    """The colours of one kind of page."""

    name: str
    ink: str
    faint: str
    ramps: tuple[tuple[str, str], ...]
    """For each series, the colours of its shallowest and its deepest network."""
    single: tuple[str, ...]
    """Colours of networks that belong to no series."""


LIGHT_THEME = Theme(
    "light",
    ink="#1f2430",
    faint="#c9ced8",
    ramps=(("#f2a65a", "#c8281e"), ("#6fb3e8", "#12519b"), ("#86c98f", "#1f7a3a"), ("#c3a2e0", "#6a3d9a")),
    single=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#6a3d9a", "#555555"),
)
DARK_THEME = Theme(
    "dark",
    ink="#e4e7ee",
    faint="#454c5a",
    ramps=(("#a85f2a", "#ff7b6b"), ("#3d74a8", "#8fcbff"), ("#3f7d4c", "#8fe3a0"), ("#7a5aa0", "#d6b8ff")),
    single=("#56b4e9", "#ff8a4c", "#2ecc9b", "#e79cc2", "#e6c34a", "#9fd3ff", "#c3a2e0", "#bbbbbb"),
)
THEMES = (LIGHT_THEME, DARK_THEME)


@dataclass(frozen=True)
class StudyFigure:
    """A figure with its title and caption."""

    name: str
    title: str
    caption: str
    draw: Callable[[Theme], Figure]

    def svg(self, theme: Theme) -> str:
        """Return the figure as SVG, the same text for the same data."""
        style: Any = {
            "svg.hashsalt": "resnet-factory", "font.family": "sans-serif", "font.size": 10,
            "text.color": theme.ink, "axes.labelcolor": theme.ink, "axes.edgecolor": theme.faint,
            "axes.titlesize": 10.5, "axes.titlelocation": "left", "axes.titleweight": "bold",
            "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
            "grid.color": theme.faint, "grid.linewidth": 0.6, "grid.alpha": 0.6, "xtick.color": theme.ink,
            "ytick.color": theme.ink, "xtick.major.size": 0, "ytick.major.size": 0, "ytick.minor.size": 0,
            "legend.frameon": False, "legend.fontsize": 9, "figure.constrained_layout.use": True,
        }  # fmt: skip
        with rc_context(style):
            figure, text = self.draw(theme), io.StringIO()
            figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        return text.getvalue()


def study_figures(rows: Sequence[StudyNetworkSummary]) -> list[StudyFigure]:
    """Return the figures that there are data for."""
    rows = [row for row in rows if any(run.history for run in row.runs)]
    if not rows:
        return []
    done = [row for row in rows if row.done]
    networks = summaries_by_series(done)
    found = [
        StudyFigure(
            "curves", "Error while training",
            "Percentage of misclassified images after each epoch. Thin lines are seeds, thick lines their "
            "mean. Training error is the mean over the epoch's batches; test error is measured after it.",
            lambda theme: _draw_curves(rows, theme),
        )
    ]  # fmt: skip
    if any(len(line) > 1 for line in networks.values()):
        found.append(StudyFigure(
            "depth", "Final error against depth",
            "Each dot is a seed; lines connect the means. Each network at its best learning rate.",
            lambda theme: _draw_depth(networks, theme),
        ))  # fmt: skip
    elif len(rows) > 1 and done:
        found.append(StudyFigure(
            "scores", "Final test loss and error", "Each dot is a seed, each bar their mean; best first.",
            lambda theme: _draw_scores(done, theme),
        ))  # fmt: skip
    if any(run.start for row in rows for run in row.runs):
        found.append(StudyFigure(
            "gradients", "Gradient in each layer",
            "Euclidean norm of the loss's gradient in the weights of each layer of the main path, on one "
            "batch; layer 1 is next to the image. A line that falls from left to right shows a gradient "
            "that grows during backpropagation.",
            lambda theme: _draw_gradients(rows, theme),
        ))  # fmt: skip
    if any(run.end for row in rows for run in row.runs):
        found.append(StudyFigure(
            "responses", "Response of each layer",
            "Standard deviation of the output of each convolution, after its normalisation and before the "
            "nonlinearity, after training (the paper's figure 7).",
            lambda theme: _draw_responses(rows, theme),
        ))  # fmt: skip
    return found


def study_figure_colours(rows: Sequence[StudyNetworkSummary], theme: Theme) -> dict[str, str]:
    """Label -> colour: a hue for each series, a shade for each depth."""
    found = {}
    for (_, line), (shallow, deep) in zip(
        summaries_by_series(rows).items(), cycle(theme.ramps), strict=False
    ):
        ramp = LinearSegmentedColormap.from_list("", [shallow, deep])
        for i, row in enumerate(line):
            found[row.label] = to_hex(ramp(i / (len(line) - 1) if len(line) > 1 else 1.0))
    singles = [row.label for row in rows if row.label not in found]
    return found | dict(zip(singles, cycle(theme.single), strict=False))


def _draw_curves(rows: Sequence[StudyNetworkSummary], theme: Theme) -> Figure:
    columns = [*summaries_by_series(rows).items()] or [("", list(rows))]
    figure = Figure(figsize=(4.1 * max(len(columns), 2) if len(columns) > 1 else 7.6, 5.6))
    grid = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
    colour = study_figure_colours(rows, theme)
    measures: list[tuple[str, Callable[[EpochRecord], float]]] = [
        ("training error, %", lambda epoch: epoch.train_error),
        ("test error, %", lambda epoch: epoch.test_error),
    ]
    for column, (name, line) in enumerate(columns):
        for (measure, value), axes in zip(measures, grid[:, column], strict=True):
            for row in line:
                _draw_study_seeds(axes, row, value, colour[row.label])
            axes.set_ylim(bottom=-0.02 * axes.get_ylim()[1])
            if column == 0:
                axes.set_ylabel(measure)
        grid[0, column].set_title(name)
        grid[0, column].legend(loc="upper right")
        grid[1, column].set_xlabel("epoch")
        grid[1, column].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _draw_study_seeds(
    axes: Axes, row: StudyNetworkSummary, value: Callable[[EpochRecord], float], colour: str
) -> None:
    curves = [[value(epoch) for epoch in run.history] for run in row.runs]
    for curve in curves:
        axes.plot(
            range(1, len(curve) + 1),
            curve,
            _study_curve_style(curve),
            color=colour,
            linewidth=0.8,
            alpha=0.45,
        )
    whole = [curve for curve in curves if len(curve) == max(map(len, curves))]
    mean = [sum(values) / len(values) for values in zip(*whole, strict=True)]
    axes.plot(
        range(1, len(mean) + 1), mean, _study_curve_style(mean), color=colour, linewidth=2.2, label=row.label
    )


def _study_curve_style(curve: Sequence[float]) -> str:
    """Line style of a curve: a dot where there is a single epoch."""
    return "-" if len(curve) > 1 else "o"


def _draw_depth(lines: dict[str, list[StudyNetworkSummary]], theme: Theme) -> Figure:
    figure = Figure(figsize=(8.2, 3.4))
    grid = figure.subplots(1, 2)
    measures: list[tuple[str, Callable[[StudyNetworkSummary], SeedSummary | None]]] = [
        ("final training error, %", lambda row: row.train_error),
        ("final test error, %", lambda row: row.test_error),
    ]
    for axes, (measure, value) in zip(grid, measures, strict=True):
        for (name, line), (_, colour) in zip(lines.items(), cycle(theme.ramps), strict=False):
            depths = [row.depth for row in line]
            spreads = [spread for row in line if (spread := value(row)) is not None]
            axes.plot(depths, [spread.mean for spread in spreads], color=colour, linewidth=2, label=name)
            for depth, spread in zip(depths, spreads, strict=True):
                dots = [depth] * len(spread.values)
                axes.scatter(dots, spread.values, s=24, color=colour, alpha=0.8, linewidths=0, zorder=3)
        axes.set_title(measure)
        axes.set_xlabel("depth, weighted layers")
        axes.set_xticks(sorted({row.depth for line in lines.values() for row in line}))
        axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])  # a network without errors is drawn whole
    grid[0].legend(loc="upper left")
    return figure


def _draw_scores(rows: Sequence[StudyNetworkSummary], theme: Theme) -> Figure:
    figure = Figure(figsize=(8.2, 1.1 + 0.36 * len(rows)))
    grid = figure.subplots(1, 2, sharey=True)
    colour = study_figure_colours(rows, theme)
    for axes, measure in zip(grid, ("test loss", "test error, %"), strict=True):
        for i, row in enumerate(rows):
            spread = row.test_loss if measure == "test loss" else row.test_error
            if spread is not None:
                axes.barh(i, spread.mean, color=colour[row.label], alpha=0.28, height=0.62)
                axes.scatter(spread.values, [i] * len(spread.values), color=colour[row.label], s=26, zorder=3)
        axes.set_title(measure)
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")
    grid[0].set_yticks(range(len(rows)), [row.label for row in rows])
    grid[0].invert_yaxis()
    return figure


def _draw_gradients(rows: Sequence[StudyNetworkSummary], theme: Theme) -> Figure:
    panels: dict[str, dict[str, list[tuple[float, ...]]]] = {}
    for title, start in (("at initialisation", True), ("after training", False)):
        probes = {row.label: [run.start if start else run.end for run in row.runs] for row in rows}
        panels[title] = {label: [p.gradients for p in found if p] for label, found in probes.items()}
    figure = _draw_study_layers(rows, panels, "gradient norm", theme)
    for axes in figure.axes:
        axes.set_yscale("log")
    return figure


def _draw_responses(rows: Sequence[StudyNetworkSummary], theme: Theme) -> Figure:
    ordered = {row.label: [run.end.responses for run in row.runs if run.end] for row in rows}
    by_size = {label: [sorted(values, reverse=True) for values in seeds] for label, seeds in ordered.items()}
    panels: dict[str, Mapping[str, Sequence[Sequence[float]]]] = {}
    panels |= {"layers in order": ordered, "layers by size": by_size}
    figure = _draw_study_layers(rows, panels, "standard deviation of responses", theme)
    for axes in figure.axes:
        axes.set_ylim(bottom=0)
    return figure


def _draw_study_layers(
    rows: Sequence[StudyNetworkSummary],
    panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    ylabel: str,
    theme: Theme,
) -> Figure:
    """Return two plots, given by title, of the values of layers for the seeds of each network."""
    figure = Figure(figsize=(8.2, 3.6))
    grid = figure.subplots(1, 2, sharey=True)
    colour = study_figure_colours(rows, theme)
    for axes, (title, networks) in zip(grid, panels.items(), strict=True):
        for label, seeds in networks.items():
            layers = range(1, max(map(len, seeds), default=0) + 1)
            for values in seeds:
                axes.plot(layers, values, color=colour[label], linewidth=0.7, alpha=0.4)
            if seeds:
                mean = [sum(values) / len(values) for values in zip(*seeds, strict=True)]
                axes.plot(layers, mean, color=colour[label], linewidth=1.9, label=label)
        axes.set_title(title)
        axes.set_xlabel("layer")
    grid[0].set_ylabel(ylabel)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right upper")
    return figure
