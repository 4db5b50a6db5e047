"""Figures of a sweep's report, as SVG; very many dots are pixels inside."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

from resnet_factory.sweep import analysis, own_metrics
from resnet_factory.sweep.objectives import BYTE_METRICS, METRICS, MIB, Objective
from resnet_factory.sweep.results_table import ResultsTable
from resnet_factory.sweep.rows import row_key_title
from resnet_factory.sweep.structure_numbers import STRUCTURE_NUMBERS
from resnet_factory.sweep.vector import Array

INK, PALE, ACCENT, WARM = "#1f2933", "#9fb3c8", "#0b69a3", "#c2410c"
SWEEP_STYLE: dict[str, Any] = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "axes.titlesize": 10, "axes.titleweight": "bold", "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "svg.fonttype": "none", "svg.hashsalt": "resnet-factory",
    "font.family": "sans-serif", "legend.frameon": False, "figure.constrained_layout.use": True,
}  # fmt: skip
MANY = 2_000
"""More dots than this are drawn as pixels inside the SVG."""


def sweep_figure_axis_label(metric: str) -> str:
    """Return a metric's name and unit."""
    if metric in STRUCTURE_NUMBERS:
        return STRUCTURE_NUMBERS[metric]
    own = own_metrics.REGISTERED.get(metric)
    if own is not None:
        return own.metric(metric).label
    return METRICS[metric].label if metric in METRICS else metric


def in_sweep_figure_unit(metric: str, values: Array) -> Array:
    """Return a metric's values in the unit of its label."""
    return values / MIB if metric in BYTE_METRICS else values


def sweep_figure_svg(figure: Figure) -> str:
    """Return a figure as one SVG element."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def pareto_figure(
    results: ResultsTable, first: Objective, second: Objective, picked: Sequence[int]
) -> Figure:
    """Return all architectures and the front, numbered at its `picked` indices."""
    figure = _new_sweep_figure(6.2, 4.2)
    axes: Any = figure.add_subplot()
    x, y = (in_sweep_figure_unit(one.metric, results.column(one.metric)) for one in (first, second))
    chosen = results.front(first, second)
    axes.scatter(
        x, y, s=6 if len(x) > MANY else 12, color=PALE, alpha=0.5, linewidths=0, rasterized=len(x) > MANY,
        label=f"{np.count_nonzero(~np.isnan(x + y)):,} architectures",
    )  # fmt: skip
    axes.plot(x[chosen], y[chosen], color=WARM, linewidth=1)
    axes.scatter(x[chosen], y[chosen], s=26, color=WARM, zorder=3, label=f"front: {len(chosen)}")
    # Numbers are on the front's better side, where there are no dots by definition.
    right, up = first.maximize, second.maximize
    for number, at in enumerate(chosen[list(picked)], 1):
        axes.annotate(
            str(number), (x[at], y[at]), xytext=(4 if right else -4, 4 if up else -4),
            textcoords="offset points", fontsize=8, ha="left" if right else "right",
            va="bottom" if up else "top",
        )  # fmt: skip
    _label_sweep_figure_axis(axes.xaxis, first.metric, x, logarithmic=_sweep_figure_needs_log_axis(x))
    _label_sweep_figure_axis(axes.yaxis, second.metric, y, logarithmic=_sweep_figure_needs_log_axis(y))
    axes.margins(0.06)
    better = [
        f"{'more' if one.maximize else 'less'} {sweep_figure_axis_label(one.metric)}"
        for one in (first, second)
    ]
    axes.set_title(f"better: {' and '.join(better)}", loc="left", fontweight="normal", fontsize=9, pad=18)
    legend = axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8)
    for handle in legend.legend_handles:
        handle.set(sizes=[26], alpha=1)
    return figure


def pareto_figure_picks(results: ResultsTable, first: Objective, second: Objective, wanted: int) -> list[int]:
    """Return at most `wanted` indices of the front with both ends, about equally far apart in the figure."""
    chosen = results.front(first, second)
    if not chosen.size:
        return []
    way = np.zeros(len(chosen))
    for objective in (first, second):
        every = results.column(objective.metric)
        scale = np.log10 if _sweep_figure_needs_log_axis(every) else np.asarray
        values = scale(every[chosen])
        full = np.ptp(scale(every[np.isfinite(every)]))
        way[1:] += (np.diff(values) / (full or 1)) ** 2
    way = np.cumsum(np.sqrt(way))
    targets = np.linspace(0, way[-1], wanted)
    found = {int(np.abs(way - target).argmin()) for target in targets}
    least = 0.03  # of an axis: closer labels would touch
    kept: list[int] = []
    for place in sorted(found):
        if not kept or way[place] - way[kept[-1]] > least:
            kept.append(place)
    return kept


def metric_histograms_figure(results: ResultsTable, metrics: Sequence[str]) -> Figure:
    """Return a histogram of every metric, with its median."""
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = _new_sweep_figure(3.1 * columns, 2.3 * rows)
    for i, metric in enumerate(metrics):
        axes = figure.add_subplot(rows, columns, i + 1)
        values = in_sweep_figure_unit(metric, results.metrics[metric])
        values = values[np.isfinite(values)]
        wide = _sweep_figure_needs_log_axis(values, 100)
        if values.size:
            bins: Any = min(60, max(10, round(values.size**0.5)))
            if wide:
                bins = np.geomspace(values.min(), values.max(), bins + 1)
            axes.hist(values, bins=bins, color=PALE)
            axes.axvline(np.median(values), color=WARM, linewidth=1.2)
            axes.set_title(
                f"median {sweep_figure_number(np.median(values))}, n={values.size:,}",
                loc="left",
                fontweight="normal",
                fontsize=8,
            )
        _label_sweep_figure_axis(axes.xaxis, metric, values, logarithmic=wide)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.yaxis.set_major_formatter("{x:,.0f}")
    return figure


def width_profiles_figure(
    stages: Sequence[tuple[Sequence[int], Sequence[int]]], names: Sequence[str]
) -> Figure:
    """Return the stage width of every block, in one small plot for the depths and widths of each network."""
    columns = min(6, len(names))
    rows = -(-len(names) // columns)
    figure = _new_sweep_figure(1.75 * columns if columns > 1 else 3, 1.5 * rows + 0.2)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name, (depths, widths) in zip(grid.flat, names, stages, strict=False):
        steps, edges = np.repeat(widths, depths), np.arange(sum(depths) + 1)
        axes.stairs(steps, edges, fill=True, color=PALE, alpha=0.6)
        axes.stairs(steps, edges, color=ACCENT, linewidth=1.2)
        axes.set_title(name, loc="left", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.tick_params(labelsize=7)
    figure.supxlabel("block", fontsize=8)
    figure.supylabel("stage width (channels)", fontsize=8)
    return figure


def best_ranges_figure(results: ResultsTable, by: Objective, keys: Sequence[str]) -> Figure:
    """Return the range of each sampled key among the best, over its distribution in all.

    Numbers: the bootstrap of the best range. Choices: the share of each among the best tenth.
    """
    columns = min(4, len(keys))
    heights = [max(1.9, 0.75 + 0.2 * len(results.choices.get(key, ()))) for key in keys]
    rows = [max(heights[start : start + columns]) for start in range(0, len(keys), columns)]
    figure = _new_sweep_figure(2.6 * columns, sum(rows) + 0.25)
    grid = figure.add_gridspec(len(rows), columns, height_ratios=rows)
    values = results.minimised(by)
    known = ~np.isnan(values)
    figure.suptitle(f"n={np.count_nonzero(known):,}", x=0.01, ha="left", fontsize=8)
    for i, key in enumerate(keys):
        axes = figure.add_subplot(grid[divmod(i, columns)])
        parameter = results.numbers[key][known]
        if key in results.choices:
            _plot_choice_shares(axes, key, results.choices[key], parameter, values[known])
            continue
        found = analysis.bootstrap_range(parameter, values[known], times=2_500)
        whole = bool((parameter == np.rint(parameter)).all())
        wide = _sweep_figure_needs_log_axis(parameter, 20)
        axes.hist(parameter, bins=_histogram_bins(parameter, 30, logarithmic=wide), color=PALE, alpha=0.7)
        axes.axvspan(found.low, found.high, color=WARM, alpha=0.18, linewidth=0)
        axes.axvline(found.median, color=WARM, linewidth=1.4)
        axes.set_title(
            f"{row_key_title(key)}: {found.median:.4g} [{found.low:.4g}, {found.high:.4g}]",
            loc="left",
            fontsize=8,
        )
        if wide:
            _make_sweep_figure_axis_log(axes.xaxis)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=whole))
        axes.set_yticks([])
    return figure


def _plot_choice_shares(axes: Any, key: str, names: Sequence[str], codes: Array, errors: Array) -> None:
    found = analysis.choice_shares(codes, errors, len(names))
    at = np.arange(len(names))
    axes.barh(at, 100 * found.every, color=PALE, alpha=0.7, height=0.75)
    axes.hlines(at, 100 * found.low, 100 * found.high, color=WARM, linewidth=1.4)
    axes.scatter(100 * found.best, at, s=16, color=WARM, zorder=3)
    axes.set_yticks(at, [name if len(name) < 17 else f"{name[:15]}…" for name in names], fontsize=7)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.tick_params(axis="x", labelsize=7)
    axes.set_title(row_key_title(key), loc="left", fontsize=8)


def _histogram_bins(values: Array, most: int, *, logarithmic: bool) -> Any:
    """Return bins of a histogram; a bin for each of at most `most` whole numbers of a grid."""
    low, high = values.min(), values.max()
    if logarithmic:
        return np.geomspace(low, high, most + 1)
    if high > low and (values == np.rint(values)).all():
        step = int(np.gcd.reduce(np.diff(np.unique(values)).astype(int)))
        if (high - low) / step < most:
            return np.arange(low - step / 2, high + step, step)
    return min(most, max(2, len(np.unique(values))))


def error_distribution_figure(results: ResultsTable, error: str) -> Figure:
    """Return the distribution of a metric like an error, plain and normalised by complexity.

    Beside it is the least of so many models picked at random, as expected.
    """
    known = ~np.isnan(results.metrics[error])
    errors, macs = results.metrics[error][known], results.metrics["macs"][known]
    figure = _new_sweep_figure(8.2, 3.6)
    axes = figure.add_subplot(1, 2, 1)
    plain = analysis.empirical_distribution(errors)
    axes.step(plain.values, plain.shares, where="post", color=ACCENT,
              label=f"EDF, n={len(errors)}, min {errors.min():.4g}, mean {errors.mean():.4g}")  # fmt: skip
    weights, empty = analysis.distribution_bin_weights(macs)
    weighed = analysis.empirical_distribution(errors, weights)
    mean = float((errors * weights).sum())
    note = f", {empty} empty bins left out" if empty else ""
    axes.step(weighed.values, weighed.shares, where="post", color=WARM,
              label=f"normalised by MACs, mean {mean:.4g}{note}")  # fmt: skip
    axes.set_xlabel(error)
    axes.set_ylabel("share of models")
    axes.legend(fontsize=7, loc="lower left", bbox_to_anchor=(0, 1))
    axes = figure.add_subplot(1, 2, 2)
    picks = np.unique(np.round(np.geomspace(1, len(errors), 40)).astype(int))
    axes.plot(picks, analysis.expected_random_search_error(errors, picks), color=ACCENT)
    axes.set_xscale("log")
    axes.set_xlabel(f"models picked at random, of {len(errors):,}")
    axes.set_ylabel(f"expected least {error}")
    return figure


def _new_sweep_figure(width: float, height: float) -> Figure:
    settings: Any = mpl.rcParams
    settings.update(SWEEP_STYLE)
    return Figure(figsize=(width, height), dpi=150)


def _sweep_figure_needs_log_axis(values: Array, least: float = 10) -> bool:
    """Return whether the largest is more than `least` times the smallest, so that the axis is logarithmic."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > least * finite.min())


def _label_sweep_figure_axis(axis: Any, metric: str, values: Array, *, logarithmic: bool = False) -> None:
    axis.set_label_text(sweep_figure_axis_label(metric))
    finite = values[np.isfinite(values)]
    if logarithmic:
        _make_sweep_figure_axis_log(axis)
    elif finite.size and np.abs(finite).max() >= 1e4:
        axis.set_major_formatter(EngFormatter(sep=""))


def _make_sweep_figure_axis_log(axis: Any) -> None:
    (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
    axis.set_major_formatter(EngFormatter(sep=""))
    axis.set_minor_formatter(NullFormatter())


def sweep_figure_number(value: float) -> str:
    """Return a number in a few characters."""
    return EngFormatter(sep="", places=2)(value) if abs(value) >= 1e4 else f"{value:,.4g}"
