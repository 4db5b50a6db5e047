"""The end of a sweep, from whatever is stored so far: the CSV, the winners as files, the page, and words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from resnet_factory.errors import ConfigError, Fault, install_hint
from resnet_factory.reporting.tables import plain_table
from resnet_factory.sweep.csv_table import export
from resnet_factory.sweep.objectives import Objective, Ranking, read_ranking
from resnet_factory.sweep.results_table import FAILURES, MEMORY, Results, load
from resnet_factory.sweep.rows import listing
from resnet_factory.sweep.store import Store
from resnet_factory.sweep.vector import Array
from resnet_factory.sweep.winners import write_winners

HEADINGS = {"macs": "MACs", **{metric: f"{metric} (MiB)" for metric in MEMORY}}
"""How a metric's column is headed, where not by its name."""
ENDED = {"timeout": "timed out"}


def conclude(store: Store, views: Mapping[str, Any], out: Console, *, page: bool) -> int:
    """Write everything that is made from the results, say where; how many measurements failed.

    `views` has `by`, `top`, `pareto` and `errors` as `conf/sweep.yaml` says, and may have `config_dir`,
    where models and recipes are that are not shipped.

    Raises:
        ConfigError: a metric that is asked for is not there, or a file cannot be written.
    """
    results = load(store, views["errors"])
    ranking = read_ranking(views, results.metrics)
    folder = store.folder
    written = [export(store)]
    chosen, ranked, why = _winners(results, ranking, views["top"])
    run, structures = store.run(), store.structures()
    try:
        if chosen.size or (folder / "winners").is_dir():
            files = write_winners(
                folder / "winners", run["base"], json.loads(run["choices"]),
                [(results.candidates[i], f"{why}, rank {n}") for n, i in enumerate(chosen.tolist(), 1)],
                structures, views.get("config_dir"),
            )  # fmt: skip
            written += [file.parent for file in files[:1]]
        if page and results.candidates:
            written.append(_write_page(store, results, ranking, chosen, ranked, why))
    except OSError as error:
        raise ConfigError([Fault("out", f"'{folder}' cannot be written: {error}")]) from None
    _say(store, results, chosen, ranked, why, out)
    if ranked and len(results) and views["top"] and not chosen.size:
        names = " and ".join(objective.metric for objective in ranked)
        out.print(f"no winners: no architecture has {names}", markup=False)
    for path in written:
        out.print(f"  {path}", markup=False)
    return sum(counts[state] for counts in results.states.values() for state in FAILURES)


def _winners(results: Results, ranking: Ranking, top: int) -> tuple[Array, tuple[Objective, ...], str]:
    """The best by one metric, the first front where none is named; the objectives, and why in words."""
    if ranking.by is not None:
        return results.best(ranking.by, top), (ranking.by,), f"best by {ranking.by}"
    if not ranking.pareto:
        return np.array([], int), (), ""
    first, second = ranking.pareto[0]
    chosen = results.front(first, second)
    if len(chosen) > top:
        chosen = chosen[np.round(np.linspace(0, len(chosen) - 1, top)).astype(int)]
    return chosen, (first, second), f"on the front of {first} and {second}"


def _write_page(
    store: Store,
    results: Results,
    ranking: Ranking,
    chosen: Array,
    ranked: Sequence[Objective],
    why: str,
) -> Path:
    try:
        from resnet_factory.sweep import report_sections
    except ImportError as error:
        message = f"needs {error.name}; {install_hint('sweep')}, or report=false"
        raise ConfigError([Fault("report", message)]) from None
    return report_sections.write_page(store, results, ranking, chosen, ranked, why)


def _say(
    store: Store, results: Results, chosen: Array, ranked: Sequence[Objective], why: str, out: Console
) -> None:
    def line(text: str, style: str = "") -> None:
        out.print(text, style=style, markup=False)

    rejected = store.rejected()
    line(
        f"{store.sampled():,} samples, {len(results):,} architectures"
        + "".join(f"; {count:,} {reason}" for reason, count in rejected.most_common())
    )
    for text in results.partial(store.sampled(), int(store.run()["samples"])):
        line(f"partial: {text}")
    if results.joined:
        line(results.joining())
    for metric, (counts, reason) in results.failures().items():
        ended = ", ".join(f"{count:,} {ENDED.get(state, state)}" for state, count in counts.items())
        line(f"{metric}: {ended}: {reason}")
    if not chosen.size:
        return
    names = [objective.metric for objective in ranked]
    listed = listing(results, store.structures(), store.run()["base"], chosen, names, results.known)
    table = plain_table()
    table.add_column("model")
    columns = [listed.names]
    for cells in (listed.ranked, listed.traits, listed.others):
        for name, column in cells.items():
            table.add_column(HEADINGS.get(name, name), justify="left" if cells is listed.traits else "right")
            columns.append(column)
    for row in zip(*columns, strict=True):
        table.add_row(*row)
    line(why, "bold")
    out.print(table)
