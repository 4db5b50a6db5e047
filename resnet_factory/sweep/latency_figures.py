"""Figures of benchmarks, as SVG: latencies against the batch, and where the time of a network goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from resnet_factory.sweep.figures import ACCENT, INK, PALE, SWEEP_STYLE, WARM, sweep_figure_svg

STYLE: Any = SWEEP_STYLE
COLOURS = (ACCENT, WARM, INK, "#6b7280", "#15803d", "#7c3aed", PALE)
MARKERS = "osD^vPX"


@dataclass(frozen=True)
class LatencyPoint:
    """The latency of one network, runtime and batch."""

    label: str
    """The name of its line or bar: model, runtime and so on."""
    batch: int
    milliseconds: float
    low: float
    high: float
    """The quartiles."""


def latency_svg(points: Sequence[LatencyPoint]) -> str:
    """Return latencies as lines over the batch; as bars if there is one batch only."""
    with rc_context(STYLE):
        several = len({point.batch for point in points}) > 1
        return sweep_figure_svg(_lines(points) if several else _bars(points))


def _lines(points: Sequence[LatencyPoint]) -> Figure:
    figure = Figure(figsize=(6.2, 4.2))
    axes: Any = figure.add_subplot()
    for number, label in enumerate(dict.fromkeys(point.label for point in points)):
        line = sorted((point for point in points if point.label == label), key=lambda point: point.batch)
        below = [point.milliseconds - point.low for point in line]
        above = [point.high - point.milliseconds for point in line]
        axes.errorbar(
            [point.batch for point in line], [point.milliseconds for point in line], yerr=[below, above],
            color=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)], markersize=4,
            linewidth=1.2, capsize=2, label=label,
        )  # fmt: skip
    batches = sorted({point.batch for point in points})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("images in a batch")
    axes.set_ylabel("latency (ms)")
    axes.set_title(
        "median of interleaved rounds, with quartiles", loc="left", fontweight="normal", fontsize=9
    )
    axes.legend(fontsize=8)
    return figure


def _bars(points: Sequence[LatencyPoint]) -> Figure:
    figure = Figure(figsize=(6.2, 0.8 + 0.32 * len(points)))
    axes: Any = figure.add_subplot()
    places = range(len(points))
    values = [point.milliseconds for point in points]
    spread = [[p.milliseconds - p.low for p in points], [p.high - p.milliseconds for p in points]]
    axes.barh(places, values, xerr=spread, color=ACCENT, ecolor=INK, capsize=2, height=0.6)
    for place, point in zip(places, points, strict=True):
        axes.annotate(
            f"{point.milliseconds:,.4g}", (point.high, place), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=8,
        )  # fmt: skip
    axes.set_yticks(places, [point.label for point in points])
    axes.invert_yaxis()
    axes.set_xlim(0, max(point.high for point in points) * 1.15)
    axes.set_xlabel(f"latency (ms), batch {points[0].batch}: median of interleaved rounds, with quartiles")
    return figure


def part_shares_svg(shares: Mapping[str, Sequence[tuple[str, float, float]]]) -> str:
    """Return, for each network, the parts with their shares of the time and of the multiply-adds, as bars."""
    with rc_context(STYLE):
        rows = sum(len(parts) for parts in shares.values())
        figure = Figure(figsize=(6.2, 0.9 * len(shares) + 0.3 * rows))
        panels: Any = figure.subplots(
            len(shares), 1, squeeze=False, height_ratios=[len(parts) + 1 for parts in shares.values()]
        )
        for axes, (title, parts) in zip(panels[:, 0], shares.items(), strict=True):
            places = range(len(parts))
            for shift, column, colour, label in (
                (-0.2, 1, ACCENT, "of the time"), (0.2, 2, PALE, "of the MACs"),
            ):  # fmt: skip
                axes.barh(
                    [place + shift for place in places], [part[column] for part in parts], height=0.38,
                    color=colour, label=label,
                )  # fmt: skip
            axes.set_yticks(places, [part[0] for part in parts])
            axes.invert_yaxis()
            axes.xaxis.set_major_formatter(lambda value, _place: f"{value:.0%}")
            axes.set_title(title, loc="left")
            axes.legend(fontsize=8)
        return sweep_figure_svg(figure)
