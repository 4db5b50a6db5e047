"""Architectures as rows of a table: name, what they are ranked by, in what they differ, all other metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resnet_factory.config.schema import PER_STAGE
from resnet_factory.sweep.evaluation import Structure
from resnet_factory.sweep.measuring import model_of
from resnet_factory.sweep.results_table import COUNTS, MEMORY, MIB, Results
from resnet_factory.sweep.vector import Array
from resnet_factory.sweep.winners import name_of


@dataclass(frozen=True)
class Listing:
    """Rows of one table, their cells as text."""

    names: list[str]
    """Each architecture's model name."""
    ranked: dict[str, list[str]]
    """The metrics they were chosen by -> a cell per row."""
    traits: dict[str, list[str]]
    """Depths, widths, and every other sampled key in which the rows differ -> a cell per row."""
    others: dict[str, list[str]]
    """The other metrics -> a cell per row."""
    profiles: list[tuple[list[int], list[int]]]
    """Depths and widths of each."""


def listing(
    results: Results,
    structures: Sequence[Structure],
    base: str,
    chosen: Array,
    ranked: Sequence[str],
    others: Sequence[str],
) -> Listing:
    """The chosen architectures as rows; `base` is the model that the space varies."""
    places = chosen.tolist()
    candidates = [results.candidates[i] for i in places]
    models = [model_of(candidate, structures[candidate.structure]) for candidate in candidates]
    profiles = [_profile(model) for model in models]
    names = [name_of(base, candidate, structures[candidate.structure]) for candidate in candidates]
    traits = {
        "depths": [dashed(depths) for depths, _ in profiles],
        "widths": [dashed(widths) for _, widths in profiles],
    }
    sampled = [json.loads(candidate.numbers) for candidate in candidates]
    for key in dict.fromkeys(key for numbers in sampled for key in numbers):
        field = key.split(".")[0]
        if field in traits or key == "model":  # the name begins with the model
            continue
        above, _, last = key.rpartition(".")
        read = field if field in PER_STAGE else above if last.isdigit() else key
        if field in PER_STAGE or last.isdigit():
            cells = [text_of(_inside(model, read)) for model in models]
        else:
            cells = [text_of(one.get(read)) for one in sampled]
        if len(set(cells)) > 1:
            traits[title(read)] = cells
    cells_of = {
        metric: [cell(results, metric, i) for i in places] for metric in dict.fromkeys((*ranked, *others))
    }
    return Listing(
        names,
        {metric: cells_of[metric] for metric in ranked},
        traits,
        {metric: cells for metric, cells in cells_of.items() if metric not in ranked},
        profiles,
    )


def cell(results: Results, metric: str, place: int) -> str:
    """A metric's value, with half the spread where it was measured more than once; empty where unknown."""
    value = float(results.metrics[metric][place])
    if math.isnan(value):
        return ""
    if metric in COUNTS:
        return f"{value:,.0f}"
    unit = MIB if metric in MEMORY else 1
    text = decimal(value / unit)
    if metric in results.spread:
        low, high = (float(side[place]) for side in results.spread[metric])
        if math.isfinite(high - low):
            text += f" ± {(high - low) / 2 / unit:.2g}"
    return text


def decimal(value: float) -> str:
    """A real number with four digits, never in powers of ten unless it is tiny."""
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def title(key: str) -> str:
    """A sampled key as a column is called."""
    for prefix in ("model/", "model.", "generator.regnet."):
        key = key.removeprefix(prefix)
    return key


def text_of(value: Any) -> str:
    """A sampled value in short: lists dashed together, choices by name."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(v, (dict, list)) for v in value):
        return dashed(value)
    if isinstance(value, float):
        return decimal(value)
    return json.dumps(value, separators=(",", ":"))


def dashed(values: Sequence[Any]) -> str:
    """`3-4-6-3`."""
    return "-".join(map(str, values))


def _inside(model: Mapping[str, Any], key: str) -> Any:
    """What a model's plain data has at a dotted key."""
    value: Any = model
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _profile(model: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    stages = max((len(model[k]) for k in ("depths", "widths") if isinstance(model[k], list)), default=1)
    depths, widths = (m if isinstance(m := model[k], list) else [m] * stages for k in ("depths", "widths"))
    return depths, widths
