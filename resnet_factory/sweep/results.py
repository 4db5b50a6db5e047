"""The end of a sweep, from whatever is stored so far: the CSV, the winners as files, figures and the page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from resnet_factory.fault import ConfigError, Fault, unknown
from resnet_factory.sweep import page as html
from resnet_factory.sweep.column import Array
from resnet_factory.sweep.population import FURTHER
from resnet_factory.sweep.space import limit_of
from resnet_factory.sweep.store import Store
from resnet_factory.sweep.table import COSTS, MORE_IS_BETTER, Results, load
from resnet_factory.sweep.winners import write_winners

REMINDER = (
    "Scores at initialisation need no training, and are easily overrated: over many published comparisons "
    "plain parameter and MAC counts rank trained networks about as well or better. Read each score beside "
    "params and MACs; its rank correlation with them is in the table."
)

RANGES = (
    "Median and 95 % interval of each parameter among the best of a quarter of the architectures, drawn "
    "with replacement 2,500 times; pale: all of them."
)


def conclude(store: Store, views: Mapping[str, Any], out: Console, *, page: bool) -> int:
    """Write everything that is made from the results, say where; how many measurements failed.

    Raises:
        ConfigError: a metric that is asked for is not there, or a file cannot be written.
    """
    results = load(store, views["errors"])
    _check(results, views)
    folder = store.folder
    written = [store.export()]
    chosen, why = _winners(results, views)
    try:
        if chosen.size:
            base = _base(store)
            files = write_winners(
                folder / "winners", base, json.loads(store.run()["choices"]),
                [(results.candidates[i], f"{why}, rank {n}") for n, i in enumerate(chosen.tolist(), 1)],
                store.structures(), views.get("config_dir"),
            )  # fmt: skip
            written.append(files[0].parent)
        if page and results.candidates:
            written.append(_write_page(store, results, views, chosen, why))
    except OSError as error:
        raise ConfigError([Fault("out", f"'{folder}' cannot be written: {error}")]) from None
    _say(store, results, chosen, why, out)
    for path in written:
        out.print(f"  {path}", markup=False)
    return sum(
        count
        for states in results.states.values()
        for state, count in states.items()
        if state in ("failed", "timeout", "died")
    )


def _check(results: Results, views: Mapping[str, Any]) -> None:
    names = {name for pair in views["pareto"] for name in pair} | ({views["by"]} if views["by"] else set())
    faults = [
        Fault("by" if name == views["by"] else "pareto", unknown("metric", name, results.metrics))
        for name in sorted(names)
        if name not in results.metrics
    ]
    if faults:
        raise ConfigError(faults)


def _winners(results: Results, views: Mapping[str, Any]) -> tuple[Array, str]:
    """The best by one metric; the first front where none is named."""
    if not results.candidates:
        return np.array([], int), ""
    if views["by"]:
        return results.best(views["by"], views["top"]), f"best by {views['by']}"
    if not views["pareto"]:
        return np.array([], int), ""
    first, second = views["pareto"][0]
    front = results.front(first, second)
    if len(front) > views["top"]:
        front = (
            front[np.round(np.linspace(0, len(front) - 1, views["top"])).astype(int)]
            if views["top"]
            else front[:0]
        )
    return front, f"on the front of {first} and {second}"


def _base(store: Store) -> str:
    base = store.run()["base"]
    assert base
    return base


def _say(store: Store, results: Results, chosen: Array, why: str, out: Console) -> None:
    rejected = store.rejected()
    out.print(
        f"{store.sampled():,} samples, {len(results):,} architectures"
        + "".join(f"; {count:,} {reason}" for reason, count in rejected.most_common())
    )
    if not chosen.size:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = list(results.metrics)
    table.add_column("model")
    for key in ("depths", "widths"):
        table.add_column(key)
    for metric in shown:
        table.add_column("MACs" if metric == "macs" else metric, justify="right")
    for row in _rows(store, results, chosen, shown):
        table.add_row(
            *(
                f"{cell:,}"
                if isinstance(cell, int)
                else f"{cell:.4g}"
                if isinstance(cell, float)
                else str(cell).strip("`")
                for cell in row
            )
        )
    out.print(why, style="bold")
    out.print(table)


def _rows(store: Store, results: Results, chosen: Array, metrics: Sequence[str]) -> Iterator[list[object]]:
    base = _base(store)
    for i, depths, widths in _profiles(store, results, chosen):
        values = [results.metrics[metric][i].item() for metric in metrics]
        shown: list[object] = [
            int(v) if metric in (*COSTS, *FURTHER) else v for metric, v in zip(metrics, values, strict=True)
        ]
        yield [f"`{base}_{results.candidates[i].plan}`", _dashed(depths), _dashed(widths), *shown]


def _profiles(store: Store, results: Results, chosen: Array) -> Iterator[tuple[int, list[int], list[int]]]:
    from resnet_factory.sweep.run import model_of

    structures = store.structures()
    for i in chosen.tolist():
        model = model_of(results.candidates[i], structures[results.candidates[i].structure])
        stages = max((len(model[k]) for k in ("depths", "widths") if isinstance(model[k], list)), default=1)
        depths, widths = (
            m if isinstance(m := model[k], list) else [m] * stages for k in ("depths", "widths")
        )
        yield i, depths, widths


def _dashed(numbers: Sequence[int]) -> str:
    return "-".join(map(str, numbers))


def _write_page(store: Store, results: Results, views: Mapping[str, Any], chosen: Array, why: str) -> Path:
    try:
        from resnet_factory.sweep import figures
    except ImportError as error:
        message = f"needs {error.name}: pip install 'resnet-factory[sweep]', or report=false"
        raise ConfigError([Fault("report", message)]) from None
    folder = store.folder / "figures"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()

    def drawn(name: str, figure: Any) -> str:
        text = figures.svg(figure)
        _replace(folder / f"{name}.svg", text)
        return html.figure(text)

    run = store.run()
    sampled, rejected = store.sampled(), store.rejected()
    body = [f"<h1>Sweep of {run['name']}</h1>"]
    body.append(html.paragraph(f"{run['versions']} · {run['machine']}", "soft"))
    body.append(
        html.tiles({
            "samples": f"{sampled:,}", "distinct architectures kept": f"{len(results):,}",
            "sampler, seed": f"{run['sampler']}, {run['seed']}",
            **{f"{figures.label(m)}, median": _median(results, m) for m in COSTS},
        })
    )  # fmt: skip
    if sampled < int(run["samples"]):
        body.append(
            html.paragraph(f"Partial: {sampled:,} of {int(run['samples']):,} samples so far.", "warn")
        )
    body += [html.heading("What came of the samples")]
    body.append(
        html.bars({"kept": len(results), **{f"rejected: {k}": v for k, v in rejected.items()}}, sampled)
    )
    shown = list(results.metrics)
    if chosen.size:
        head = ["#", "model", "depths", "widths", *(figures.label(m) for m in shown)]
        rows = list(_rows(store, results, chosen, shown))
        body += [html.heading(f"Winners: {why}")]
        body.append(html.paragraph("Each is a model file: resnet-factory model=NAME --config-dir "
                                   f"{store.folder / 'winners'}", "soft"))  # fmt: skip
        body.append(html.table(head, [[n, *row] for n, row in enumerate(rows, 1)]))
        profiles = list(_profiles(store, results, chosen[:12]))
        names = [f"{n}  {_dashed(depths)}" for n, (_, depths, _) in enumerate(profiles, 1)]
        drawing = figures.profiles([p[1] for p in profiles], [p[2] for p in profiles], names)
        body += [html.heading("Width profiles of the winners"), drawn("profiles", drawing)]
    if views["pareto"]:
        body.append(html.heading("Pareto fronts"))
    for first, second in views["pareto"]:
        names = [_named(results, i) for i in results.front(first, second)]
        picked = figures.spread_out(len(names), 8)
        drawing = figures.pareto(results, first, second, [names[i] for i in picked])
        listed = results.front(first, second)[picked]
        rows = [
            [names[p], *row[1:3], *row[3:]]
            for p, row in zip(picked, _rows(store, results, listed, [first, second]), strict=True)
        ]
        figure = drawn(f"front_{first}_{second}", drawing)
        aside = html.table(["name", "depths", "widths", figures.label(first), figures.label(second)], rows)
        body.append(f'<div class="pair"><div>{figure}</div><div>{aside}</div></div>')
    if results.error is not None and np.isfinite(results.metrics["error"]).any():
        body += [html.heading("Errors"), drawn("errors", figures.distribution_of_errors(results))]
    body += [html.heading("Distributions"), drawn("distributions", figures.distributions(results, shown))]
    by = views["by"] or results.error
    keys = [key for key, values in results.numbers.items() if len(np.unique(values)) > 1]
    if by and keys and np.isfinite(results.metrics[by]).sum() > 1:
        body.append(html.heading(f"Where the best by {by} are"))
        body.append(html.paragraph(RANGES, "soft"))
        body.append(drawn("best_ranges", figures.best_ranges(results, by, keys[:24])))
    if results.states:
        body += [html.heading("Measured"), html.paragraph(REMINDER, "warn"), _measured(results)]
    body += [html.heading("What was run"), _asked(run)]
    target = store.folder / "report.html"
    _replace(target, html.page(f"Sweep of {run['name']}", body))
    return target


def _median(results: Results, metric: str) -> str:
    from resnet_factory.sweep.figures import short

    return short(float(np.median(results.metrics[metric])))


def _named(results: Results, i: int) -> str:
    return results.candidates[i].plan[:5]


def _measured(results: Results) -> str:
    from scipy.stats import spearmanr

    rows = []
    for metric in results.states:
        values = results.metrics[metric]
        known = np.isfinite(values)
        ranks = []
        for other in ("params", "macs", *(["error"] if results.error else [])):
            both = known & np.isfinite(results.metrics[other])
            distinct = (
                both.sum() > 2 and np.ptp(values[both]) > 0 and np.ptp(results.metrics[other][both]) > 0
            )
            ranks.append(
                float(spearmanr(values[both], results.metrics[other][both]).statistic)
                if distinct
                else float("nan")
            )
        low, high = results.spread[metric]
        width = np.abs(high - low) / np.abs(values)
        spread = (
            f"{100 * float(np.median(width[np.isfinite(width)])):.1f} %" if np.isfinite(width).any() else ""
        )
        better = "more" if metric in MORE_IS_BETTER else "less"
        counts = ", ".join(f"{count:,} {state}" for state, count in results.states[metric].most_common())
        notes = "; ".join(f"{note} ({count:,})" for note, count in results.notes[metric].most_common(3))
        rows.append([metric, better, counts, spread, *ranks, notes])
    head = ["metric", "better", "ended", "spread", "rank with params", "rank with MACs"]
    head += [*(["rank with error"] if results.error else []), "conditions and reasons"]
    return html.table(head, rows)


def _asked(run: Mapping[str, str]) -> str:
    rows = []
    for key, kind, values, low, high, step in json.loads(run["dimensions"]):
        what = (
            ", ".join(map(str, values))
            if kind == "choice"
            else f"{low:g} to {high:g}" + (f" in steps of {step:g}" if step else "")
        )
        rows.append(
            [f"`{key}`", {"choice": "one of", "range": "uniform", "log": "log-uniform"}.get(kind, kind), what]
        )
    parts = [html.table(["varies", "", "values"], rows)]
    asked = [[f"`{text}`"] for text in json.loads(run["relations"])]
    for key, (low, high) in json.loads(run["windows"]).items():
        least = f"{limit_of(low)} <= " if low > -np.inf else ""
        most = f" <= {limit_of(high)}" if high < np.inf else ""
        asked.append([f"`{least}{key}{most}`"])
    if asked:
        parts.append(html.table(["must hold"], asked))
    if generator := json.loads(run["generator"]):
        parts.append(
            html.paragraph(f"Stages by RegNet's generator, rounding to groups: {generator['rounding']}.")
        )
    image = json.loads(run["image"])
    size = "x".join(map(str, image)) if image else "each model's own"
    parts.append(html.paragraph(f"Image size: {size}. Base model: {run['base']}. "
                                "MACs: one per multiply-add of convolution and linear layers."))  # fmt: skip
    return "\n".join(parts)


def _replace(target: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, target)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
