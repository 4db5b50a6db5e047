"""The results of a sweep so far: CSV, winners as files, report, and a summary in the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from resnet_factory.errors import ConfigError, Fault, install_hint
from resnet_factory.reporting.tables import plain_table
from resnet_factory.sweep.collection import collection_shortfall
from resnet_factory.sweep.conclusion import conclusion_lines, conclusion_question, conclusion_reason
from resnet_factory.sweep.csv_table import write_csv
from resnet_factory.sweep.filters import limits_filter_mask, read_where_filter, windows_as_filter_text
from resnet_factory.sweep.objectives import (
    BYTE_METRICS,
    Objective,
    ObjectiveRanking,
    ObjectiveRankingOptions,
    read_objective_ranking,
)
from resnet_factory.sweep.results_table import ResultsTable, load_results_table
from resnet_factory.sweep.rows import architecture_rows
from resnet_factory.sweep.store import SweepStore
from resnet_factory.sweep.vector import Array
from resnet_factory.sweep.winners import write_winners

METRIC_HEADINGS = {"macs": "MACs", **{metric: f"{metric} (MiB)" for metric in BYTE_METRICS}}
"""Headings of metrics that are not their names."""


class Winners(NamedTuple):
    """The best architectures."""

    indices: Array
    objectives: tuple[Objective, ...]
    reason: str


class WrittenResults(NamedTuple):
    """The files made from the results of a sweep, and what they show."""

    results: ResultsTable
    winners: Winners
    names: list[str]
    """The models of the winners."""
    files: list[Path]


def write_results(
    store: SweepStore,
    options: ObjectiveRankingOptions,
    out: Console,
    *,
    config_dir: str | Path | None = None,
    page: bool,
    notes: Sequence[str] = (),
) -> int:
    """Write all files made from the results and print a summary; return the number of failed measurements.

    Fewer architectures than were asked for count as one.

    `config_dir` holds models and recipes that are not shipped; `notes` are printed before the closing lines.

    Raises:
        ConfigError: a metric that is asked for is not there, or a file cannot be written.
    """
    results, winners, names_of_winners, written = write_files(store, options, config_dir, page=page)
    _print_results_summary(store, results, winners, out)
    if winners.objectives and len(results) and options.top and not winners.indices.size:
        names = " and ".join(objective.metric for objective in winners.objectives)
        out.print(f"no winners: no architecture has {names}", markup=False)
    for path in written:
        out.print(f"  {path}", markup=False)
    for text in notes:
        out.print(text, markup=False, soft_wrap=True)
    question = conclusion_question(winners.objectives, store.run(), options.where)
    folder = str(store.folder / "winners")
    for text in conclusion_lines(results, question, winners.indices, names_of_winners, folder):
        out.print(text, markup=False, soft_wrap=True)
    failures = sum(sum(measured.failures.values()) for measured in results.measured.values())
    return failures + (collection_shortfall(store) is not None)


def write_files(
    store: SweepStore, options: ObjectiveRankingOptions, config_dir: str | Path | None, *, page: bool
) -> WrittenResults:
    """Write the table, the winners and, with `page`, the report of what is stored into its folder.

    Raises:
        ConfigError: a metric that is asked for is not there, or a file cannot be written.
    """
    results, ranking = read_ranked_results(store, options)
    folder, run = store.folder, store.run()
    written = [write_csv(store)]
    winners, names = choose_best_results(results, ranking, options.top), list[str]()
    try:
        if winners.indices.size or (folder / "winners").is_dir():
            files = write_winners(
                folder / "winners", run["base"], json.loads(run["choices"]),
                [(candidate, f"{winners.reason}, rank {rank}")
                 for rank, candidate in enumerate(results.candidates(winners.indices), 1)],
                store.structures(), config_dir,
            )  # fmt: skip
            written += [file.parent for file in files[:1]]
            names = [file.stem for file in files]
        if page and results.plans:
            try:
                from resnet_factory.sweep.report import write_sweep_report
            except ImportError as error:
                message = f"needs {error.name}; {install_hint('sweep')}, or report=false"
                raise ConfigError([Fault("report", message)]) from None
            written.append(write_sweep_report(store, results, ranking, winners, config_dir))
    except OSError as error:
        raise ConfigError([Fault("out", f"'{folder}' cannot be written: {error}")]) from None
    return WrittenResults(results, winners, names, written)


def read_ranked_results(
    store: SweepStore, options: ObjectiveRankingOptions
) -> tuple[ResultsTable, ObjectiveRanking]:
    """Return what is stored, with the mask of what satisfies all conditions, and what it is ranked by.

    Raises:
        ConfigError: a metric that is asked for is not there, or a file cannot be read.
    """
    results = load_results_table(store, options.errors)
    ranking = read_objective_ranking(options, results.rankable, results.own)
    limits = json.loads(store.run().get("limits", "{}"))
    faults: list[Fault] = []
    condition = read_where_filter(options.where, results.rankable, results.texts, "where", faults)
    if faults:
        raise ConfigError(faults)
    if limits or condition is not None:
        inside = limits_filter_mask(limits, results)
        results.eligible = inside if condition is None else inside & condition.mask(results)
    return results, ranking


def write_results_page(
    store: SweepStore, options: ObjectiveRankingOptions, config_dir: str | Path | None, refresh: int | None
) -> None:
    """Write the page of what is stored so far; browsers load it again after `refresh` seconds.

    Raises:
        OSError: the folder cannot be written.
    """
    from resnet_factory.sweep.report import write_sweep_report

    results, ranking = read_ranked_results(store, options)
    if results.plans:
        winners = choose_best_results(results, ranking, options.top)
        write_sweep_report(store, results, ranking, winners, config_dir, refresh)


def choose_best_results(results: ResultsTable, ranking: ObjectiveRanking, top: int) -> Winners:
    """Return the best by one metric; without one, those on the first Pareto front."""
    if ranking.by is not None:
        by = (ranking.by,)
        return Winners(results.best(ranking.by, top), by, conclusion_reason(results, by))
    if not ranking.pareto:
        return Winners(np.array([], int), (), "")
    first, second = ranking.pareto[0]
    front = results.front(first, second)
    if len(front) > top:
        front = front[np.round(np.linspace(0, len(front) - 1, top)).astype(int)]
    return Winners(front, (first, second), conclusion_reason(results, (first, second)))


def _print_results_summary(store: SweepStore, results: ResultsTable, winners: Winners, out: Console) -> None:
    def line(text: str, style: str = "") -> None:
        out.print(text, style=style, markup=False)

    reasons = [f"; {count:,} {reason}" for reason, count in store.rejected().most_common()]
    line(f"{store.sampled():,} samples, {len(results):,} architectures{''.join(reasons)}")
    run = store.run()
    if met := json.loads(run.get("met", "{}")):
        parts = [f"{text} ({100 * share:.3g} % of free draws)" for text, share in met.items()]
        line(f"by construction: {'; '.join(parts)}")
    if (lack := collection_shortfall(store)) is not None:
        line(str(lack))
    else:
        wanted = json.loads(run.get("architectures", "null"))
        for text in results.partial(store.sampled(), int(run["samples"]), wanted):
            line(f"partial: {text}")
    if results.joined:
        line(results.joining())
    for metric, measured in results.measured.items():
        if failures := measured.failures:
            counts = [
                f"{count:,} {state}".replace("timeout", "timed out") for state, count in failures.items()
            ]
            reason = max(measured.reasons, key=measured.reasons.__getitem__, default="no reason given")
            line(f"{metric}: {', '.join(counts)}: {reason}")
    for name, (low, high) in json.loads(run.get("limits", "{}")).items():
        if name in results.metrics:
            values = results.metrics[name]
            sides = {"below": values < low, "above": values > high, "not measured": np.isnan(values)}
            parts = [f"{n:,} {side}" for side, mask in sides.items() if (n := int(np.count_nonzero(mask)))]
            (limit,) = windows_as_filter_text({name: (low, high)}) or [name]
            line(f"{limit}: {', '.join(parts) or 'all inside'} of {len(results):,}")
    if spent := store.spent():
        parts = [f"{seconds:,.1f} s on {metrics} of {count:,}" for metrics, count, seconds in spent]
        line(f"spent: {'; '.join(parts)}")
    if not winners.indices.size:
        return
    names = [objective.metric for objective in winners.objectives]
    base, templates = store.run()["base"], store.structures()
    rows = architecture_rows(results, templates, base, winners.indices, names, results.known)
    table = plain_table()
    table.add_column("model")
    columns = [rows.names]
    for group in (rows.ranked, rows.settings, rows.others):
        for name, cells in group.items():
            heading = METRIC_HEADINGS.get(name, name)
            table.add_column(heading, justify="left" if group is rows.settings else "right")
            columns.append(cells)
    for row in zip(*columns, strict=True):
        table.add_row(*row)
    line(winners.reason, "bold")
    out.print(table)
