"""The results of a sweep as columns: sampled numbers, costs, metrics and joined errors."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from resnet_factory.sweep.analysis import pareto_front
from resnet_factory.sweep.environment import describe_environment
from resnet_factory.sweep.evaluation import EvaluatedCandidate
from resnet_factory.sweep.json_rows import parsed_json_columns
from resnet_factory.sweep.objectives import METRICS, Objective, ObjectiveMetric
from resnet_factory.sweep.own_metrics import own_metrics_of_record
from resnet_factory.sweep.population import BASIC_COSTS, OPTIONAL_COSTS
from resnet_factory.sweep.store import StoredMeasurement, SweepStore
from resnet_factory.sweep.structure_numbers import (
    STAGE_NUMBER,
    STRUCTURE_NUMBERS,
    stage_table,
    structure_number_lists,
    structure_number_name,
)
from resnet_factory.sweep.vector import Array

FAILURES = ("failed", "timeout", "died")


@dataclass
class ResultsTableMetric:
    """All measurements of one metric."""

    low: Array
    high: Array
    """Quartiles of every architecture; NaN where it was measured once."""
    states: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    """Conditions of values, and reasons where there is no value."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Notes of failures."""
    environments: Counter[str] = field(default_factory=Counter)

    def add(self, row: StoredMeasurement, index: int) -> None:
        """Add a measurement of the architecture at `index`."""
        self.states[row.state] += 1
        if row.note:
            self.notes[row.note.split(" [")[0] if row.state == "ok" else row.note] += 1
            if row.state in FAILURES:
                self.reasons[row.note] += 1
        if row.environment:
            self.environments[describe_environment(row.environment)] += 1
        self.low[index] = math.nan if row.low is None else row.low
        self.high[index] = math.nan if row.high is None else row.high

    @property
    def failures(self) -> dict[str, int]:
        """Return the number of failures by state."""
        return {state: self.states[state] for state in FAILURES if self.states[state]}


@dataclass(kw_only=True)
class ResultsTable:
    """Architectures in the order of their samples; columns have one value for each, NaN where unknown."""

    store: SweepStore
    plans: list[str]
    """The ids of the architectures."""
    numbers: dict[str, Array]
    """Sampled values; choices as indices in `choices`."""
    choices: dict[str, list[str]]
    metrics: dict[str, Array]
    """Costs, then measured metrics, then joined columns."""
    own: Mapping[str, ObjectiveMetric] = field(default_factory=dict)
    """The user's own metrics among them."""
    wanted: Mapping[str, int] = field(default_factory=dict)
    """Of how many architectures each metric is to be measured, where not of all."""
    eligible: Array | None = None
    """Mask of those that winners and fronts are taken from; None: all."""
    models: Sequence[Mapping[str, Any]] = ()
    """The models of the templates."""
    asked: list[str]
    """The metrics that were to be measured."""
    measured: dict[str, ResultsTableMetric] = field(default_factory=dict)
    joined: list[str] = field(default_factory=list)
    """The columns of the user's file."""
    rows: tuple[int, int] = (0, 0)
    """Rows of the user's file that belong to an architecture, and all its rows."""

    def __len__(self) -> int:
        return len(self.plans)

    def candidates(self, indices: Iterable[int]) -> list[EvaluatedCandidate]:
        """Return some of the architectures, read from the store."""
        return self.store.candidates_of([self.plans[i] for i in indices])

    @property
    def known(self) -> list[str]:
        """Return the metrics that have a value anywhere."""
        return [metric for metric, values in self.metrics.items() if np.isfinite(values).any()]

    @cached_property
    def structure(self) -> dict[str, Array]:
        """Return the numbers of the stages of each architecture, by name."""
        rows = self.store.columns("structure", "changes", most=len(self))
        parts = [stage_table(self.models, *columns).columns() for columns in rows]
        longest = max(parts, key=len, default=stage_table([], [], []).columns())
        return {
            name: np.concatenate([part.get(name, np.zeros(len(part["stages"]))) for part in parts] or [none])
            for name, none in longest.items()
        }

    @cached_property
    def texts(self) -> dict[str, list[str]]:
        """Return the sampled choices that are no numbers, by name."""
        return {
            structure_number_name(key): names
            for key, names in self.choices.items()
            if not all(map(is_number, names))
        }

    @property
    def rankable(self) -> list[str]:
        """Return the names of all columns of numbers: metrics, numbers of the stages, sampled ones."""
        sampled = [
            structure_number_name(key) for key in self.numbers if structure_number_name(key) not in self.texts
        ]
        stages = max((len(structure_number_lists(model, {})[0]) for model in self.models), default=0)
        named = [f"{field}{stage + 1}" for field in ("depths", "widths") for stage in range(stages)]
        return list(dict.fromkeys([*self.metrics, *STRUCTURE_NUMBERS, *named, *sampled]))

    def column(self, name: str) -> Array:
        """Return a column by one of the `rankable` names; of a choice of texts, their indices in `texts`."""
        if name in self.metrics:
            return self.metrics[name]
        if name in STRUCTURE_NUMBERS or STAGE_NUMBER.fullmatch(name):
            return self.structure[name]
        key = next(key for key in self.numbers if structure_number_name(key) == name)
        if key not in self.choices or name in self.texts:
            return self.numbers[key]
        values: Array = np.array([float(text) for text in self.choices[key]])
        return np.asarray(values[self.numbers[key].astype(int)])

    def minimised(self, objective: Objective) -> Array:
        """Return a metric with the sign for which less is better; NaN where it is not eligible."""
        values = self.column(objective.metric)
        if self.eligible is not None:
            values = np.where(self.eligible, values, np.nan)
        return -values if objective.maximize else values

    def best(self, by: Objective, top: int) -> Array:
        """Return the indices of the `top` best by one metric; architectures without it are left out."""
        values = self.minimised(by)
        order = np.argsort(values, kind="stable")
        return order[~np.isnan(values[order])][:top]

    def front(self, first: Objective, second: Objective) -> Array:
        """Return the indices of the Pareto front of two metrics."""
        return pareto_front(self.minimised(first), self.minimised(second))

    def partial(self, sampled: int, wanted: int, architectures: int | None = None) -> Iterator[str]:
        """Yield what is still to be done of the samples or architectures, and of the metrics asked for."""
        if architectures is not None:
            if len(self) < architectures:
                yield f"{len(self):,} of {architectures:,} architectures so far"
        elif sampled < wanted:
            yield f"{sampled:,} of {wanted:,} samples so far"
        for metric in self.asked:
            done = self.measured[metric].states.total() if metric in self.measured else 0
            if done < (wanted_of := self.wanted.get(metric, len(self))):
                yield f"{metric} measured of {done:,} of {wanted_of:,} architectures so far"

    def joining(self) -> str:
        """Return a summary of the joined file."""
        matching, rows = self.rows
        left = f"; {rows - matching:,} match no plan of this sweep" if rows > matching else ""
        return f"{matching:,} of {rows:,} rows joined by plan: {', '.join(self.joined)}{left}"

    def metric(self, name: str) -> ObjectiveMetric:
        """Return what is known about a metric; one that was joined or told is one of quality."""
        quality = name in self.joined or name in self.measured
        return METRICS.get(name) or self.own.get(name) or ObjectiveMetric(name, quality=quality)

    @property
    def error(self) -> Objective | None:
        """Return the objective of the first metric of quality of which less is better; None without one."""
        for name in self.known:
            directed = name in METRICS or name in self.own
            if directed and name not in self.joined and self._is_error(name):
                return Objective(name, maximize=False)
        return Objective("error", maximize=False) if "error" in self.known else None

    def _is_error(self, name: str) -> bool:
        return self.metric(name).quality and not self.metric(name).maximize


def load_results_table(store: SweepStore, errors: str | None = None) -> ResultsTable:
    """Return all that a store holds, joined with a user's own CSV of errors by plan id.

    Raises:
        ConfigError: one of the files cannot be read.
    """
    from resnet_factory.sweep.error_file import join_error_file

    run = store.run()
    windows = json.loads(run.get("windows", "{}"))
    optional = [cost for cost in OPTIONAL_COSTS if cost in windows]
    first = next(store.candidates(), None)
    plans: list[str] = []
    sampled: dict[str, list[Any]] = {key: [] for key in (json.loads(first.numbers) if first else ())}
    costs: dict[str, list[int]] = {cost: [] for cost in (*BASIC_COSTS, *optional)}
    for names, texts, further, *basic in store.columns("plan", "numbers", "further", *BASIC_COSTS):
        plans += names
        for key, values in parsed_json_columns(texts, sampled).items():
            sampled[key] += values
        others = parsed_json_columns(further, optional) if optional else {}
        for cost, column in (dict(zip(BASIC_COSTS, basic, strict=True)) | others).items():
            costs[cost] += column
    dimensions = json.loads(run.get("dimensions", "[]"))
    offered = {key: values for key, kind, values, *_ in dimensions if kind == "choice"}
    numbers, choices = _results_table_numbers(sampled, offered)
    metrics = {cost: np.array(values, float) for cost, values in costs.items()}
    results = ResultsTable(
        store=store, plans=plans, numbers=numbers, choices=choices, metrics=metrics,
        asked=json.loads(run.get("metrics", "[]")), wanted=json.loads(run.get("asked", "{}")),
        own=own_metrics_of_record(json.loads(run.get("own_metrics", "{}"))),
        models=[template.model or {"depths": 1, "widths": 1} for template in store.structures()],
    )  # fmt: skip

    def empty() -> Array:
        return np.full(len(plans), math.nan)

    metrics |= {metric: empty() for metric in results.asked}
    indices = {plan: i for i, plan in enumerate(plans)}
    for row in store.measured():
        if (index := indices.get(row.plan)) is None:
            continue
        if row.metric not in results.measured:
            results.measured[row.metric] = ResultsTableMetric(empty(), empty())
            metrics.setdefault(row.metric, empty())
        results.measured[row.metric].add(row, index)
        if row.value is not None:
            metrics[row.metric][index] = row.value
    if errors is not None:
        join_error_file(results, Path(errors).expanduser(), indices)
    return results


def is_number(text: str) -> bool:
    """Return whether a choice is a number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _results_table_numbers(
    sampled: Mapping[str, Sequence[Any]], offered: Mapping[str, Sequence[Any]]
) -> tuple[dict[str, Array], dict[str, list[str]]]:
    """Return sampled values by key; choices as indices in the order of the space, and their names."""
    numbers: dict[str, Array] = {}
    choices: dict[str, list[str]] = {}
    for key, values in sampled.items():
        if {*map(type, values)} <= {int, float} and key not in offered:
            numbers[key] = np.array(values, float)
        else:
            shown = list(map(repr, values))
            texts = {text: json.dumps(value) for text, value in dict(zip(shown, values, strict=True)).items()}
            names = list(dict.fromkeys([*map(json.dumps, offered.get(key, ())), *sorted({*texts.values()})]))
            index = {name: i for i, name in enumerate(names)}
            places = {text: index[name] for text, name in texts.items()}
            numbers[key] = np.array([places[text] for text in shown], float)
            choices[key] = [name.strip('"') for name in names]
    return numbers, choices
