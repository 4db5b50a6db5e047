"""Architectures as the rows of a table: name, ranked metrics, differing settings, all other metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resnet_factory.config.schema import PER_STAGE
from resnet_factory.sweep.computed_numbers import OWN
from resnet_factory.sweep.measuring import measuring_model
from resnet_factory.sweep.objectives import BYTE_METRICS, INTEGER_METRICS, MIB
from resnet_factory.sweep.results_table import ResultsTable
from resnet_factory.sweep.structure_numbers import is_structure_number, structure_number_lists
from resnet_factory.sweep.templates import ModelTemplate
from resnet_factory.sweep.vector import Array
from resnet_factory.sweep.winners import winner_name


@dataclass(frozen=True, kw_only=True)
class ArchitectureRows:
    """Columns of one table, their cells as text."""

    names: list[str]
    """Model names."""
    ranked: dict[str, list[str]]
    """The metrics they were chosen by."""
    settings: dict[str, list[str]]
    """Depths, widths, and every other sampled key in which the rows differ."""
    others: dict[str, list[str]]
    """The other metrics."""
    stages: list[tuple[list[int], list[int]]]
    """Depths and widths of each architecture."""


def architecture_rows(
    results: ResultsTable,
    templates: Sequence[ModelTemplate],
    base: str,
    chosen: Array,
    ranked: Sequence[str],
    others: Sequence[str],
) -> ArchitectureRows:
    """Return the chosen architectures as rows; `base` is the model that the space varies."""
    indices = chosen.tolist()
    candidates = results.candidates(indices)
    models = [measuring_model(candidate, templates[candidate.structure]) for candidate in candidates]
    stages = [structure_number_lists(model, {}) for model in models]
    settings = {
        "depths": [dashed_row_list(depths) for depths, _ in stages],
        "widths": [dashed_row_list(widths) for _, widths in stages],
    }
    sampled = [json.loads(candidate.numbers) for candidate in candidates]
    changed = [json.loads(candidate.changes) for candidate in candidates]  # computed ones included
    for key in dict.fromkeys(key for numbers in (*sampled, *changed) for key in numbers):
        field = key.split(".")[0]
        if field in settings or key == "model":  # the name begins with the model
            continue
        if key.startswith(OWN) and key.rpartition(".")[2].isdigit():  # the model's keys made of it are shown
            continue
        above, _, last = key.rpartition(".")
        read = field if field in PER_STAGE else above if last.isdigit() else key
        if field in PER_STAGE or last.isdigit():
            cells = [format_row_value(_nested_row_value(model, read)) for model in models]
        else:
            given = zip(sampled, models, strict=True)
            cells = [
                format_row_value(one[read] if read in one else _nested_row_value(model, read))
                for one, model in given
            ]
        if len(set(cells)) > 1:
            settings[row_key_title(read)] = cells
    metrics = {name: [format_row_metric(results, name, i) for i in indices] for name in (*ranked, *others)}
    return ArchitectureRows(
        names=[winner_name(base, candidate, templates[candidate.structure]) for candidate in candidates],
        ranked={name: metrics[name] for name in ranked},
        settings=settings,
        others={name: cells for name, cells in metrics.items() if name not in ranked},
        stages=stages,
    )


def format_row_metric(results: ResultsTable, metric: str, index: int) -> str:
    """Return a value, with half the spread where it was measured several times; empty where unknown."""
    value = float(results.column(metric)[index])
    if math.isnan(value):
        return ""
    if metric in INTEGER_METRICS or is_structure_number(metric):
        return f"{value:,.0f}"
    unit = MIB if metric in BYTE_METRICS else 1
    text = format_row_decimal(value / unit)
    if (measured := results.measured.get(metric)) is not None:
        spread = float(measured.high[index] - measured.low[index])
        text += f" ± {spread / 2 / unit:.2g}" if math.isfinite(spread) else ""
    return text


def format_row_decimal(value: float) -> str:
    """Return a number with four digits, in powers of ten only if it is tiny."""
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def row_key_title(key: str) -> str:
    """Return the heading of a sampled key."""
    for prefix in ("model/", "model.", "generator.regnet.", OWN):
        key = key.removeprefix(prefix)
    return key


def format_row_value(value: Any) -> str:
    """Return a sampled value as text: lists joined by dashes, choices by name."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(v, (dict, list)) for v in value):
        return dashed_row_list(value)
    return format_row_decimal(value) if isinstance(value, float) else json.dumps(value, separators=(",", ":"))


def dashed_row_list(values: Sequence[Any]) -> str:
    """Return `3-4-6-3`."""
    return "-".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def _nested_row_value(model: Mapping[str, Any], key: str) -> Any:
    value: Any = model
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
