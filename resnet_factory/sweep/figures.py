"""The report's figures: matplotlib in, SVG out (PNG inside where there are very many dots)."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from resnet_factory.sweep import analysis
from resnet_factory.sweep.column import Array
from resnet_factory.sweep.table import MORE_IS_BETTER, Results

INK, PALE, ACCENT, WARM = "#1f2933", "#9fb3c8", "#0b69a3", "#c2410c"
STYLE: dict[str, Any] = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "axes.titlesize": 10, "axes.titleweight": "bold", "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "svg.fonttype": "none", "svg.hashsalt": "resnet-factory",
    "font.family": "sans-serif", "legend.frameon": False, "figure.constrained_layout.use": True,
}  # fmt: skip
MANY = 2_000
"""More dots than this are drawn as pixels inside the SVG."""
UNITS = {
    "params": "parameters", "macs": "MACs", "activations": "activations", "latency": "latency (ms)",
    "memory": "peak memory (bytes)", "synflow": "log synflow", "naswot": "NASWOT", "zen": "Zen score",
    "gradients": "gradient spread (decades)", "receptive_field": "receptive field (pixels)",
    "inference_memory": "inference memory (bytes)", "training_memory": "training memory (bytes)",
}  # fmt: skip


def label(metric: str) -> str:
    """How a metric is called at an axis."""
    return UNITS.get(metric, metric)


def svg(figure: Figure) -> str:
    """The figure as one SVG element."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def pareto(results: Results, first: str, second: str, names: Sequence[str]) -> Figure:
    """All architectures and the front, its dots numbered as in the table beside it."""
    figure, axes = _canvas(6.2, 4.2)
    x, y = results.metrics[first], results.metrics[second]
    chosen = results.front(first, second)
    axes.scatter(
        x, y, s=6 if len(x) > MANY else 12, color=PALE, alpha=0.5, linewidths=0, rasterized=len(x) > MANY,
        label=f"{np.count_nonzero(~np.isnan(x + y)):,} architectures",
    )  # fmt: skip
    axes.plot(x[chosen], y[chosen], color=WARM, linewidth=1)
    axes.scatter(x[chosen], y[chosen], s=26, color=WARM, zorder=3, label=f"front: {len(chosen)}")
    for place, name in zip(spread_out(len(chosen), len(names)), names, strict=False):
        axes.annotate(
            name, (x[chosen[place]], y[chosen[place]]), xytext=(5, 4), textcoords="offset points", fontsize=8
        )
    _axis(axes, "x", first, x)
    _axis(axes, "y", second, y)
    better = [
        f"{'more' if metric in MORE_IS_BETTER else 'less'} {label(metric)}" for metric in (first, second)
    ]
    axes.set_title(f"better: {' and '.join(better)}", loc="left", fontweight="normal", fontsize=9, pad=18)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8)
    return figure


def spread_out(count: int, wanted: int) -> list[int]:
    """At most `wanted` places of `count`, evenly apart, both ends among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, wanted))}) if count else []


def distributions(results: Results, metrics: Sequence[str]) -> Figure:
    """A histogram of every metric, with its median."""
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    figure, _ = _canvas(3.1 * columns, 2.3 * rows, bare=True)
    for i, metric in enumerate(metrics):
        axes = figure.add_subplot(rows, columns, i + 1)
        values = results.metrics[metric]
        values = values[np.isfinite(values)]
        if values.size:
            axes.hist(values, bins=min(60, max(10, round(values.size**0.5))), color=PALE)
            axes.axvline(np.median(values), color=WARM, linewidth=1.2)
            axes.set_title(f"median {short(np.median(values))}", loc="left", fontweight="normal", fontsize=8)
        _axis(axes, "x", metric, values)
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def profiles(
    depths: Sequence[Sequence[int]], widths: Sequence[Sequence[int]], names: Sequence[str]
) -> Figure:
    """Stage width by block: how wide each architecture is at which depth."""
    figure, axes = _canvas(6.2, 3.2)
    colours = mpl.colormaps["viridis"](np.linspace(0.05, 0.85, max(len(names), 1)))
    for depth, width, name, colour in zip(depths, widths, names, colours, strict=True):
        edges = np.arange(sum(depth) + 1)
        axes.stairs(np.repeat(width, depth), edges, color=colour, label=name, linewidth=1.4, baseline=None)
    axes.set_xlabel("block")
    axes.set_ylabel("stage width (channels)")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, ncols=2)
    return figure


def best_ranges(results: Results, by: str, keys: Sequence[str]) -> Figure:
    """Bootstrap of each parameter's best range, over how the parameter is distributed in all."""
    columns = min(4, len(keys))
    rows = -(-len(keys) // columns)
    figure, _ = _canvas(2.4 * columns, 1.9 * rows, bare=True)
    values = results.better(by)
    known = ~np.isnan(values)
    for i, key in enumerate(keys):
        axes = figure.add_subplot(rows, columns, i + 1)
        parameter = results.numbers[key][known]
        found = analysis.bootstrap(parameter, values[known], times=2_500)
        axes.hist(parameter, bins=min(30, max(2, len(np.unique(parameter)))), color=PALE, alpha=0.7)
        axes.axvspan(found.low, found.high, color=WARM, alpha=0.18, linewidth=0)
        axes.axvline(found.median, color=WARM, linewidth=1.4)
        axes.set_title(f"{key}: {found.median:g} [{found.low:g}, {found.high:g}]", loc="left", fontsize=8)
        axes.set_yticks([])
        if key in results.choices:
            axes.set_xticks(range(len(results.choices[key])), results.choices[key], fontsize=7, rotation=20)
    return figure


def distribution_of_errors(results: Results) -> Figure:
    """The error distribution, plain and with complexity evened out; random search's efficiency."""
    error = results.error
    assert error is not None
    known = ~np.isnan(results.metrics[error])
    errors, macs = results.metrics[error][known], results.metrics["macs"][known]
    figure, _ = _canvas(8.2, 3.2, bare=True)
    axes = figure.add_subplot(1, 2, 1)
    plain = analysis.edf(errors)
    axes.step(plain.values, plain.shares, where="post", color=ACCENT,
              label=f"EDF, n={len(errors)}, min {errors.min():.4g}, mean {errors.mean():.4g}")  # fmt: skip
    weights, empty = analysis.complexity_weights(macs)
    weighed = analysis.edf(errors, weights)
    mean = float((errors * weights).sum())
    note = f", {empty} empty bins left out" if empty else ""
    axes.step(weighed.values, weighed.shares, where="post", color=WARM,
              label=f"normalised by MACs, mean {mean:.4g}{note}")  # fmt: skip
    axes.set_xlabel(error)
    axes.set_ylabel("share of models")
    axes.legend(fontsize=7, loc="lower right")
    axes = figure.add_subplot(1, 2, 2)
    picks = np.unique(np.round(np.geomspace(1, len(errors), 40)).astype(int))
    axes.plot(picks, analysis.random_search(errors, picks), color=ACCENT)
    axes.set_xscale("log")
    axes.set_xlabel("models picked at random")
    axes.set_ylabel(f"expected least {error}")
    return figure


def stages_of(changes: str, model: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Depths and widths of one architecture."""
    from resnet_factory.sweep.population import place

    data = json.loads(json.dumps(model))
    stages = max((len(data[key]) for key in ("depths", "widths") if isinstance(data[key], list)), default=1)
    for key, number in json.loads(changes).items():
        if key.split(".")[0] in ("depths", "widths"):
            place(data, key, number, stages)
    return [
        list(data[key]) if isinstance(data[key], list) else [data[key]] * stages
        for key in ("depths", "widths")
    ]  # type: ignore[return-value]


def _canvas(width: float, height: float, *, bare: bool = False) -> tuple[Figure, Any]:
    settings: Any = mpl.rcParams
    settings.update(STYLE)
    figure = Figure(figsize=(width, height), dpi=150)
    return figure, None if bare else figure.add_subplot()


def _axis(axes: Any, which: str, metric: str, values: Array) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_label_text(label(metric))
    finite = values[np.isfinite(values)]
    if finite.size and np.abs(finite).max() >= 1e4:
        axis.set_major_formatter(EngFormatter(sep=""))


def short(value: float) -> str:
    """A number in a few characters."""
    return EngFormatter(sep="", places=2)(value) if abs(value) >= 1e4 else f"{value:.4g}"
