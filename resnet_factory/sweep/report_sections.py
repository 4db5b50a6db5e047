"""The sections of a sweep's report, made of its results and nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from resnet_factory.config.file_access import write_whole
from resnet_factory.sweep import figures
from resnet_factory.sweep import html_page as html
from resnet_factory.sweep.objectives import Objective, Ranking, maximized
from resnet_factory.sweep.population import COSTS
from resnet_factory.sweep.results_table import Results
from resnet_factory.sweep.rows import Listing, listing
from resnet_factory.sweep.space import limit_of
from resnet_factory.sweep.store import Store
from resnet_factory.sweep.vector import Array

REMINDER = (
    "Scores at initialisation need no training, and are easily overrated: over many published comparisons "
    "plain parameter and MAC counts rank trained networks about as well or better. Read each score beside "
    "params and MACs; its rank correlation with them is in the table."
)

NUMBERS = (
    "Numbers: median and 95 % interval of the best of a quarter of the architectures, drawn with replacement "
    "2,500 times; pale: how all of them are distributed."
)
CHOICES = (
    "Choices: the share of each among the best tenth, with the 95 % interval of drawing as many of them "
    "anew, with replacement, 1,000 times; pale: its share among all."
)


def write_page(
    store: Store,
    results: Results,
    ranking: Ranking,
    chosen: Array,
    ranked: Sequence[Objective],
    why: str,
) -> Path:
    """Write `report.html` and its figures into the sweep's folder.

    `chosen` are the winners' places, by the metrics `ranked`; `why` says so.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = store.folder / "figures"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    name = f"Sweep of {store.run()['name']}"
    body = [f"<h1>{escape(name)}</h1>", *_sections(store, results, ranking, chosen, ranked, why)]
    target = store.folder / "report.html"
    write_whole(target, html.page(name, body))
    return target


def _drawn(store: Store, name: str, figure: Any) -> str:
    text = figures.svg(figure)
    file = re.sub(r"[^\w.-]+", "_", name)  # a joined column may be called anything
    write_whole(store.folder / "figures" / f"{file}.svg", text)
    return html.figure(text)


def _sections(
    store: Store,
    results: Results,
    ranking: Ranking,
    chosen: Array,
    ranked: Sequence[Objective],
    why: str,
) -> Iterator[str]:
    run = store.run()
    sampled, rejected = store.sampled(), store.rejected()
    versions = ", ".join(filter(None, (run["versions"], run.get("torch"))))
    yield html.paragraph(f"{versions} · {run['machine']}", "soft")
    yield html.tiles({
        "samples": f"{sampled:,}", "distinct architectures kept": f"{len(results):,}",
        "sampler, seed": f"{run['sampler']}, {run['seed']}",
        **{f"{figures.label(m)}, median": figures.short(float(np.median(results.metrics[m]))) for m in COSTS},
    })  # fmt: skip
    for text in results.partial(sampled, int(run["samples"])):
        yield html.paragraph(f"Partial: {text}.", "warn")
    yield html.heading("What came of the samples")
    yield html.bars({"kept": len(results), **{f"rejected: {k}": v for k, v in rejected.items()}}, sampled)
    if chosen.size:
        yield from _winners(store, results, chosen, ranked, why)
    if ranking.pareto:
        yield html.heading("Pareto fronts")
    for first, second in ranking.pareto:
        yield _front(store, results, first, second)
    if results.error is not None:
        yield html.heading("Errors")
        if results.joined:
            yield html.paragraph(results.joining(), "soft")
        yield _drawn(store, "errors", figures.distribution_of_errors(results))
    yield html.heading("Distributions")
    yield _drawn(store, "distributions", figures.distributions(results, results.known))
    yield from _best(store, results, ranking.by or results.error)
    if results.states:
        yield html.heading("Measured")
        yield html.paragraph(REMINDER, "warn")
        if (several := len(_made(results, "latency"))) > 1:
            text = f"Latency was measured in {several} environments; compare it within one only."
            yield html.paragraph(text, "warn")
        yield _measured(results)
    yield html.heading("What was run")
    yield _asked(run)


def _listing(
    store: Store, results: Results, places: Array, ranked: Sequence[Objective], others: Sequence[str]
) -> Listing:
    names = [objective.metric for objective in ranked]
    return listing(results, store.structures(), store.run()["base"], places, names, others)


def _winners(
    store: Store, results: Results, chosen: Array, ranked: Sequence[Objective], why: str
) -> Iterator[str]:
    listed = _listing(store, results, chosen, ranked, results.known)
    yield html.heading(f"Winners: {why}")
    place = store.folder / "winners"
    yield html.paragraph(f"Each is a model file: resnet-factory model=NAME --config-dir {place}", "soft")
    yield _table(listed, [f"`{name}`" for name in listed.names], "model")
    profiles = listed.profiles[:12]
    names = [f"{n}: {depths}" for n, depths in enumerate(listed.traits["depths"][:12], 1)]
    drawing = figures.profiles([depths for depths, _ in profiles], [widths for _, widths in profiles], names)
    yield html.heading("Width profiles of the winners")
    yield _drawn(store, "profiles", drawing)


def _front(store: Store, results: Results, first: Objective, second: Objective) -> str:
    """A front, and beside it a table of those that are numbered in it."""
    picked = figures.picked_on_front(results, first, second, 8)
    figure = _drawn(
        store, f"front_{first.metric}_{second.metric}", figures.pareto(results, first, second, picked)
    )
    places = results.front(first, second)[picked]
    listed = _listing(store, results, places, (first, second), ())
    aside = _table(listed, [f"`{results.candidates[i].plan}`" for i in places], "plan")
    return f'<div class="pair"><div>{figure}</div><div>{aside}</div></div>'


def _table(listed: Listing, names: Sequence[str], called: str) -> str:
    """Rows numbered from 1."""
    ranked = {figures.label(metric): cells for metric, cells in listed.ranked.items()}
    others = {figures.label(metric): cells for metric, cells in listed.others.items()}
    columns = [*ranked.items(), *listed.traits.items(), *others.items()]
    head = ["#", called, *(name for name, _ in columns)]
    rows = [[n, name, *(cells[n - 1] for _, cells in columns)] for n, name in enumerate(names, 1)]
    start, end = 2 + len(ranked), 2 + len(ranked) + len(listed.traits)
    return html.table(head, rows, [*range(2, start), *range(end, len(head))])


def _best(store: Store, results: Results, by: Objective | None) -> Iterator[str]:
    keys = [key for key, values in results.numbers.items() if len(np.unique(values)) > 1]
    if not by or not keys or np.isfinite(results.metrics[by.metric]).sum() < 2:
        return
    yield html.heading(f"Where the best by {by} are")
    chosen = [key in results.choices for key in keys]
    if not all(chosen):
        yield html.paragraph(NUMBERS, "soft")
    if any(chosen):
        yield html.paragraph(CHOICES, "soft")
    yield _drawn(store, "best_ranges", figures.best_ranges(results, by, keys))


def _made(results: Results, metric: str) -> Counter[str]:
    return results.environments.get(metric, Counter())


def _measured(results: Results) -> str:
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
        spread = ""
        if metric in results.spread:
            low, high = results.spread[metric]
            width = np.abs(high - low)[values != 0] / np.abs(values)[values != 0]
            if np.isfinite(width).any():
                spread = f"{100 * float(np.median(width[np.isfinite(width)])):.1f} %"
        better = "more" if maximized(metric) else "less"
        counts = ", ".join(f"{count:,} {state}" for state, count in results.states[metric].most_common())
        notes = "; ".join(f"{note} ({count:,})" for note, count in results.notes[metric].most_common(3))
        made = "; ".join(f"{name} ({n:,})" for name, n in _made(results, metric).most_common(3))
        rows.append([metric, better, counts, spread, *ranks, notes, made])
    head = ["metric", "better", "ended", "spread", "rank with params", "rank with MACs"]
    head += [*(["rank with error"] if results.error else []), "conditions and reasons", "measured on"]
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
