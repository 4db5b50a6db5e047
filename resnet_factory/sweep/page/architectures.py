"""The architectures of a sweep as the rows of a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from resnet_factory.config.schema import PER_STAGE
from resnet_factory.sweep.evaluation import EvaluatedCandidate
from resnet_factory.sweep.objectives import BYTE_METRICS, METRICS, MIB, ObjectiveRanking
from resnet_factory.sweep.page.architecture_texts import architecture_text_numbers, read_architecture_texts
from resnet_factory.sweep.page.columns import MOST_ROWS, PageColumn, PageColumnTable
from resnet_factory.sweep.results_table import ResultsTable, is_number
from resnet_factory.sweep.rows import dashed_row_list, row_key_title
from resnet_factory.sweep.structure_numbers import STRUCTURE_NUMBERS, structure_number_lists
from resnet_factory.sweep.templates import ModelTemplate
from resnet_factory.sweep.vector import Array
from resnet_factory.sweep.winners import WinnerStarts


def page_table_of_architectures(
    results: ResultsTable,
    structures: Sequence[ModelTemplate],
    run: Mapping[str, str],
    ranking: ObjectiveRanking,
    winners: Array,
    config_dir: str | Path | None = None,
    most: int = MOST_ROWS,
) -> PageColumnTable:
    """Return the rows of a sweep's page: all, or winners, fronts and an even share of the others.

    Raises:
        ConfigError: the models and recipes of the space cannot be read.
    """
    chosen = architectures_on_page(results, ranking, winners, most)
    candidates = results.candidates(chosen)
    starts = WinnerStarts(run["base"], json.loads(run["choices"]), config_dir)
    # The texts of winners are the likeliest to be asked for.
    recipes = read_architecture_texts([*results.candidates(winners), *candidates], structures, starts)
    order = list(recipes)
    place = {number: i for i, number in enumerate(order)}
    rows = [architecture_text_numbers(candidate, structures[candidate.structure]) for candidate in candidates]
    read = dict.fromkeys(key for recipe in recipes.values() for key, index in recipe.keys if index is None)
    metrics = dict(_page_architecture_metrics(results, ranking, chosen))
    settings = dict(_page_architecture_settings(results, chosen))
    first = ranking.pareto[0] if ranking.pareto else None
    axes = (first[0].metric, first[1].metric) if first else ("params", "macs")
    third = next((name for name in reversed(metrics) if name not in axes), next(iter(settings), axes[0]))
    return PageColumnTable(
        columns=metrics | settings,
        texts={"plan": [candidate.plan for candidate in candidates]}
        | _page_architecture_lists(rows, candidates, structures),
        recipe=[place.get(candidate.structure, -1) for candidate in candidates],
        recipes=[vars(recipes[number]) for number in order],
        axes=(axes[0] if axes[0] in metrics else "params", axes[1] if axes[1] in metrics else "macs"),
        colour=ranking.by.metric if ranking.by is not None and ranking.by.metric in metrics else third,
        hidden={key: np.array([row.get(key, np.nan) for row in rows], float) for key in read},
    )


def architectures_on_page(
    results: ResultsTable, ranking: ObjectiveRanking, winners: Array, most: int
) -> list[int]:
    """Return the indices of the rows that a page shows, in the order of the samples."""
    if len(results) <= most:
        return list(range(len(results)))
    fronts = [results.front(first, second) for first, second in ranking.pareto]
    kept = dict.fromkeys(i for indices in (winners, *fronts) for i in indices.tolist())
    others = np.array([i for i in range(len(results)) if i not in kept])
    for measured in results.measured:  # what cost the most to know comes before an even share
        known = others[np.isfinite(results.metrics[measured][others])]
        kept |= dict.fromkeys(known[: max(0, most - len(kept))].tolist())
    others = np.array([i for i in others.tolist() if i not in kept])
    wanted = max(0, most - len(kept))
    even = np.unique(np.linspace(0, max(len(others) - 1, 0), wanted).round().astype(int))
    return sorted([*list(kept)[:most], *(others[even].tolist() if len(others) else [])])


def _page_architecture_metrics(
    results: ResultsTable, ranking: ObjectiveRanking, chosen: list[int]
) -> Iterator[tuple[str, PageColumn]]:
    asked = [objective for pair in ranking.pareto for objective in pair]
    asked += [ranking.by] if ranking.by is not None else []
    directions = {objective.metric: objective.maximize for objective in asked}
    for name in results.known:
        unit = MIB if name in BYTE_METRICS else 1
        known = METRICS.get(name) or results.own.get(name)
        yield (
            name,
            PageColumn(
                label=known.label if known else name,
                values=results.metrics[name][chosen] / unit,
                maximize=directions.get(name, known.maximize if known else None),
            ),
        )


def _page_architecture_settings(results: ResultsTable, chosen: list[int]) -> Iterator[tuple[str, PageColumn]]:
    for name, label in STRUCTURE_NUMBERS.items():
        column = PageColumn(label=label, values=results.column(name)[chosen].astype(float))
        if column.varies:
            yield name, column
    for key, values in results.numbers.items():
        name = key if key not in results.metrics else f"sampled {key}"
        names = results.choices.get(key)
        numeric = names is not None and all(map(is_number, names))
        if numeric and names is not None:  # choices of numbers are numbers
            shown = np.array([float(each) for each in names])[values[chosen].astype(int)]
            yield name, PageColumn(label=row_key_title(key), values=shown)
        else:
            yield name, PageColumn(label=row_key_title(key), values=values[chosen], names=names)


def _page_architecture_lists(
    rows: Sequence[Mapping[str, object]],
    candidates: Sequence[EvaluatedCandidate],
    structures: Sequence[ModelTemplate],
) -> dict[str, list[str]]:
    """Return depths, widths and the other lists per stage as text."""
    keys = [key for key in PER_STAGE if key in ("depths", "widths") or any(key in row for row in rows)]
    found: dict[str, list[str]] = {key: [] for key in keys}
    for row, candidate in zip(rows, candidates, strict=True):
        structure = structures[candidate.structure]
        model = structure.model or {}
        depths, widths = structure_number_lists(model, json.loads(candidate.changes))
        values = {**model, "depths": depths, "widths": widths}
        for key in keys:
            value = values.get(key, 1)
            listed = value if isinstance(value, list) else [value] * structure.stages
            found[key].append(str(row[key]) if key in row else dashed_row_list(listed))
    return found
