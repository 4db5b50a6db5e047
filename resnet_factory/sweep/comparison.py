"""Several sweeps in one page: distributions overlaid, fronts, and medians with their intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from resnet_factory.config.file_access import write_whole_file
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.reporting.templating import render_template
from resnet_factory.sweep.analysis import median_interval
from resnet_factory.sweep.figures import in_sweep_figure_unit, sweep_figure_axis_label, sweep_figure_number
from resnet_factory.sweep.html_table import HtmlTable
from resnet_factory.sweep.objectives import ObjectiveRankingOptions
from resnet_factory.sweep.page.architectures import page_table_of_architectures
from resnet_factory.sweep.page.columns import MOST_ROWS, PageColumn, PageColumnTable
from resnet_factory.sweep.page.document import page_document_parts
from resnet_factory.sweep.results import choose_best_results, read_ranked_results
from resnet_factory.sweep.results_table import ResultsTable
from resnet_factory.sweep.store import STORE_FILE, SweepStore

GROUP = "sweep"
"""The column that tells the sweeps apart."""


@dataclass(frozen=True, kw_only=True)
class ComparedSweep:
    """One of the sweeps."""

    name: str
    run: Mapping[str, str]
    results: ResultsTable
    sampled: int
    table: PageColumnTable


def write_sweep_comparison(
    folders: Mapping[str, Path],
    out: Path,
    options: ObjectiveRankingOptions,
    config_dir: str | Path | None = None,
) -> Path:
    """Write `report.html` of several sweeps, given by their names, into the folder `out`.

    Raises:
        ConfigError: a folder holds no sweep, `out` holds one, or a metric is not in every sweep.
        OSError: the folder cannot be written.
    """
    if (out / STORE_FILE).exists():
        message = f"'{out}' holds a sweep, whose own report this would replace; choose another folder"
        raise ConfigError([Fault("out", message)])
    most = max(1, MOST_ROWS // len(folders))
    sweeps = [
        _read_compared_sweep(folder, name, options, config_dir, most) for name, folder in folders.items()
    ]
    table = join_compared_tables({sweep.name: sweep.table for sweep in sweeps})
    context = {
        "title": f"Comparison of {', '.join(folders)}",
        "warnings": list(_sweep_comparison_warnings(sweeps)),
        "medians": _compared_medians_table(sweeps),
        "sweeps": _compared_sweeps_table(sweeps, [*folders.values()]),
        "page": page_document_parts(table) | {"all": sum(len(sweep.results) for sweep in sweeps)},
    }
    out.mkdir(parents=True, exist_ok=True)
    write_whole_file(out / "report.html", render_template("sweep_comparison.html", context))
    return out / "report.html"


def _read_compared_sweep(
    folder: Path, name: str, options: ObjectiveRankingOptions, config_dir: str | Path | None, most: int
) -> ComparedSweep:
    with SweepStore(folder, write=False) as store:
        results, ranking = read_ranked_results(store, options)
        if not results.plans:
            raise ConfigError([Fault("", "holds no architecture", f"command line '{folder}'")])
        winners = choose_best_results(results, ranking, options.top)
        table = page_table_of_architectures(
            results, store.structures(), store.run(), ranking, winners.indices, config_dir, most
        )
        return ComparedSweep(
            name=name, run=store.run(), results=results, sampled=store.sampled(), table=table
        )


def join_compared_tables(tables: Mapping[str, PageColumnTable]) -> PageColumnTable:
    """Return the rows of all tables in one, with a column that says from where each is."""
    sizes = [len(table) for table in tables.values()]
    codes = np.repeat(np.arange(len(tables)), sizes).astype(float)
    columns = {GROUP: PageColumn(label=GROUP, values=codes, names=list(tables))}
    every = list(tables.values())
    for name in dict.fromkeys(name for table in every for name in table.columns):
        columns[name if name != GROUP else f"sampled {name}"] = _join_compared_column(
            [(table.columns.get(name), len(table)) for table in every]
        )
    texts = {
        name: [text for table in every for text in table.texts.get(name, [""] * len(table))]
        for name in dict.fromkeys(name for table in every for name in table.texts)
    }
    hidden = {
        name: np.concatenate([table.hidden.get(name, np.full(len(table), np.nan)) for table in every])
        for name in dict.fromkeys(name for table in every for name in table.hidden)
    }
    before = np.cumsum([0, *(len(table.recipes) for table in every)]).tolist()
    recipe = [
        index + start if index >= 0 else -1
        for table, start in zip(every, before, strict=False)
        for index in table.recipe
    ]
    # Metrics first, then what varies.
    metrics = {name: column for name, column in columns.items() if column.maximize is not None}
    return replace(
        every[0], columns={GROUP: columns[GROUP]} | metrics | columns, texts=texts, recipe=recipe,
        recipes=[each for table in every for each in table.recipes], hidden=hidden, colour=GROUP, group=GROUP,
    )  # fmt: skip


def _join_compared_column(parts: Sequence[tuple[PageColumn | None, int]]) -> PageColumn:
    known = [column for column, _ in parts if column is not None]
    if all(column.names is None for column in known):
        values = [np.full(size, np.nan) if column is None else column.values for column, size in parts]
        return replace(known[0], values=np.concatenate(values))
    names: dict[str, int] = {}
    found = []
    for column, size in parts:
        texts = [""] * size
        if column is not None:
            texts = [
                "" if np.isnan(value) else f"{value:g}" if column.names is None else column.names[int(value)]
                for value in column.values
            ]
        found += [names.setdefault(text, len(names)) if text else np.nan for text in texts]
    return replace(known[0], values=np.array(found, float), names=list(names))


def _compared_medians_table(sweeps: Sequence[ComparedSweep]) -> HtmlTable:
    metrics = dict.fromkeys(metric for sweep in sweeps for metric in sweep.results.known)
    rows = []
    for metric in metrics:
        cells = [sweep_figure_axis_label(metric)]
        for sweep in sweeps:
            values = in_sweep_figure_unit(metric, sweep.results.metrics.get(metric, np.array([])))
            values = values[np.isfinite(values)]
            if not values.size:
                cells.append("")
                continue
            median, low, high = map(sweep_figure_number, median_interval(values)[:3])
            cells.append(f"{median} [{low}, {high}], n = {values.size:,}")
        rows.append(cells)
    return HtmlTable(["median", *(sweep.name for sweep in sweeps)], rows, [True] + [False] * len(sweeps))


def _compared_sweeps_table(sweeps: Sequence[ComparedSweep], folders: Sequence[Path]) -> HtmlTable:
    rows = [
        [
            f"`{folder}`", sweep.run["name"], sweep.run["base"], f"{sweep.sampled:,}",
            f"{len(sweep.results):,}", f"{sweep.run['sampler']}, {sweep.run['seed']}",
            _compared_image_size(sweep.run),
        ]
        for sweep, folder in zip(sweeps, folders, strict=True)
    ]  # fmt: skip
    heads = ["folder", "space", "base", "samples", "architectures", "sampler, seed", "image"]
    return HtmlTable(heads, rows, [True, True, True, False, False, True, True])


def _compared_image_size(run: Mapping[str, str]) -> str:
    image = json.loads(run["image"])
    return "x".join(map(str, image)) if image else "each model's own"


def _sweep_comparison_warnings(sweeps: Sequence[ComparedSweep]) -> Any:
    if len({_compared_image_size(sweep.run) for sweep in sweeps}) > 1:
        yield "The sweeps are costed at different image sizes; MACs and activations are not comparable."
    conditions = [json.loads(sweep.run.get("conditions", "{}")) for sweep in sweeps]
    for metric in dict.fromkeys(metric for each in conditions for metric in each):
        if len({json.dumps(each[metric], sort_keys=True) for each in conditions if metric in each}) > 1:
            yield f"{sweep_figure_axis_label(metric)} was measured under different conditions."
    for sweep in sweeps:
        for text in sweep.results.partial(
            sweep.sampled, int(sweep.run["samples"]), json.loads(sweep.run.get("architectures", "null"))
        ):
            yield f"{sweep.name} is partial: {text}."
