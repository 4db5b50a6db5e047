"""The results of a sweep as columns: every architecture's numbers, costs, metrics and joined errors."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep import environment
from resnet_factory.sweep.analysis import front
from resnet_factory.sweep.evaluation import Candidate
from resnet_factory.sweep.objectives import Objective
from resnet_factory.sweep.population import COSTS, FURTHER
from resnet_factory.sweep.store import Measured, Store
from resnet_factory.sweep.vector import Array

COUNTS = (*COSTS, "receptive_field")
"""Metrics that are whole numbers of things."""
MEMORY = ("memory", "inference_memory", "training_memory")
"""Metrics in bytes, which tables and figures show in MiB."""
MIB = 2**20
FAILURES = ("failed", "timeout", "died")


@dataclass
class Results:
    """Architectures in the order of their samples; every column has one value for each, NaN where unknown."""

    candidates: list[Candidate]
    numbers: dict[str, Array]
    """What was sampled; choices by their place in `choices`."""
    choices: dict[str, list[str]]
    metrics: dict[str, Array]
    """Costs first, then what was measured, then what was joined."""
    states: dict[str, Counter[str]]
    """Per measured metric, how many ended how."""
    notes: dict[str, Counter[str]]
    """Per measured metric, the reasons where there is no value, and the conditions where there is."""
    spread: dict[str, tuple[Array, Array]]
    """Per measured metric the middle half of what was seen."""
    reasons: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    """Per measured metric and state, the notes."""
    environments: dict[str, Counter[str]] = field(default_factory=dict)
    """Per measured metric, on which machines and how, in words."""
    asked: list[str] = field(default_factory=list)
    """The metrics that were to be measured."""
    joined: list[str] = field(default_factory=list)
    """The columns of the user's file."""
    rows: tuple[int, int] = (0, 0)
    """How many rows of the user's file belong to an architecture here, and how many there are."""

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def known(self) -> list[str]:
        """The metrics that have a value anywhere."""
        return [metric for metric, values in self.metrics.items() if np.isfinite(values).any()]

    def better(self, objective: Objective) -> Array:
        """A metric turned so that less is better."""
        values = self.metrics[objective.metric]
        return -values if objective.maximize else values

    def best(self, by: Objective, top: int) -> Array:
        """The places of the `top` best by one metric; architectures without it are none of them."""
        values = self.better(by)
        order = np.argsort(values, kind="stable")
        return order[~np.isnan(values[order])][:top]

    def front(self, first: Objective, second: Objective) -> Array:
        """The places of those that no other beats in both metrics."""
        return front(self.better(first), self.better(second))

    def failures(self) -> dict[str, tuple[dict[str, int], str]]:
        """Per measured metric with failures: how many ended in which of FAILURES, the commonest reason."""
        found = {}
        for metric, states in self.states.items():
            counts = {state: states[state] for state in FAILURES if states[state]}
            if counts:
                reasons = sum((self.reasons[metric, state] for state in counts), Counter[str]())
                ((reason, _),) = reasons.most_common(1) or [("no reason given", 0)]
                found[metric] = counts, reason
        return found

    def partial(self, sampled: int, wanted: int) -> Iterator[str]:
        """What is still to be done of `wanted` samples and of the metrics asked for, in a few words each."""
        if sampled < wanted:
            yield f"{sampled:,} of {wanted:,} samples so far"
        for metric in self.asked:
            done = self.states.get(metric, Counter()).total()
            if done < len(self):
                yield f"{metric} measured of {done:,} of {len(self):,} architectures so far"

    def joining(self) -> str:
        """What came of the user's own file."""
        matching, rows = self.rows
        left = f"; {rows - matching:,} match no plan here" if rows > matching else ""
        return f"{matching:,} of {rows:,} rows joined by plan: {', '.join(self.joined)}{left}"

    @property
    def error(self) -> Objective | None:
        """The error that was measured or joined, of any architecture."""
        return Objective("error", maximize=False) if "error" in self.known else None


def load(store: Store, errors: str | None = None) -> Results:
    """Everything a store holds, and a user's own CSV of errors by plan id.

    Raises:
        ConfigError: one of the files cannot be read.
    """
    candidates = list(store.candidates())
    run = store.run()
    dimensions = json.loads(run.get("dimensions", "[]"))
    offered = {key: values for key, kind, values, *_ in dimensions if kind == "choice"}
    numbers, choices = _numbers(candidates, offered)
    metrics: dict[str, Array] = {
        cost: np.array([getattr(c, cost) for c in candidates], float) for cost in COSTS
    }
    for cost in (cost for cost in FURTHER if cost in json.loads(run.get("windows", "{}"))):
        metrics[cost] = np.array([json.loads(c.further)[cost] for c in candidates], float)
    asked = json.loads(run.get("metrics", "[]"))
    metrics |= {metric: np.full(len(candidates), math.nan) for metric in asked}
    place = {candidate.plan: i for i, candidate in enumerate(candidates)}
    states: dict[str, Counter[str]] = {}
    notes: dict[str, Counter[str]] = {}
    spread: dict[str, tuple[Array, Array]] = {}
    reasons: dict[tuple[str, str], Counter[str]] = {}
    environments: dict[str, Counter[str]] = {}
    for row in store.measured():
        at = place.get(row.plan)
        if at is None:
            continue
        if row.metric not in states:
            states[row.metric], notes[row.metric] = Counter(), Counter()
            metrics.setdefault(row.metric, np.full(len(candidates), math.nan))
            spread[row.metric] = (np.full(len(candidates), math.nan), np.full(len(candidates), math.nan))
        states[row.metric][row.state] += 1
        _note(row, notes[row.metric])
        if row.environment:
            made = environment.described(row.environment)
            environments.setdefault(row.metric, Counter())[made] += 1
        _note(row, reasons.setdefault((row.metric, row.state), Counter()))
        if row.value is not None:
            metrics[row.metric][at] = row.value
        for column, value in zip(spread[row.metric], (row.low, row.high), strict=True):
            column[at] = math.nan if value is None else value
    results = Results(
        candidates, numbers, choices, metrics, states, notes, spread, reasons, environments, asked
    )
    if errors is not None:
        _join(results, Path(errors).expanduser(), place)
    return results


def _note(row: Measured, notes: Counter[str]) -> None:
    if row.note:
        notes[row.note.split(" [")[0] if row.state == "ok" else row.note] += 1


def _numbers(
    candidates: Sequence[Candidate], offered: Mapping[str, Sequence[Any]]
) -> tuple[dict[str, Array], dict[str, list[str]]]:
    """What was sampled, by key; choices as places in the order that the space offers them in."""
    rows = [json.loads(candidate.numbers) for candidate in candidates]
    numbers: dict[str, Array] = {}
    choices: dict[str, list[str]] = {}
    for key in rows[0] if rows else ():
        values = [row.get(key) for row in rows]
        plain = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        if plain and key not in offered:
            numbers[key] = np.array(values, float)
        else:
            texts = [json.dumps(value) for value in values]
            names = list(dict.fromkeys([*map(json.dumps, offered.get(key, ())), *sorted({*texts})]))
            place = {name: i for i, name in enumerate(names)}
            numbers[key] = np.array([place[text] for text in texts], float)
            choices[key] = [name.strip('"') for name in names]
    return numbers, choices


def _join(results: Results, file: Path, place: Mapping[str, int]) -> None:
    """Columns of a CSV with a `plan` column. `accuracy` becomes an error too, where there is no error.

    Columns of the sweep's own that say what it says are passed over, so that a copy of its `archs.csv`
    with a column more will do; those that say something else are refused.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Fault("errors", f"'{file}' cannot be read: {error}")]) from None
    if not rows or "plan" not in rows[0]:
        message = f"'{file}' needs a column called 'plan', and others with numbers, such as 'error'"
        raise ConfigError([Fault("errors", message)])
    matching = [(place[plan], row) for row in rows if (plan := (row["plan"] or "").strip()) in place]
    if not matching:
        message = (
            f"'{file}' has {len(rows):,} rows, none of them for one of the sweep's {len(place):,} plans: "
            f"found {rows[0]['plan']!r}" + (f", expected ids like {next(iter(place))!r}" if place else "")
        )
        raise ConfigError([Fault("errors", message)])
    _refuse_collisions(results, file, matching)
    own = {"plan", "sample", "overrides", *results.numbers, *results.known}
    own |= {f"{metric} {side}" for metric in results.states for side in ("low", "high", *environment.KEYS)}
    names = [
        name
        for name in rows[0]
        if name and name not in own and any(_is_number(row[name]) for _, row in matching)
    ]
    if not names:
        message = f"'{file}' has no column with numbers besides 'plan', such as 'error'"
        raise ConfigError([Fault("errors", message)])
    results.rows = len(matching), len(rows)
    for name in names:
        column = np.full(len(results), math.nan)
        for at, row in matching:
            if _is_number(row[name]):
                column[at] = float(row[name])
        results.metrics[name] = column
        results.joined.append(name)
        if name == "accuracy" and "error" not in (*names, *results.known):
            whole = 1.0 if np.nanmax(column) <= 1 else 100.0
            results.metrics["error"] = whole - column
            results.joined.append("error")


def _refuse_collisions(
    results: Results, file: Path, matching: Sequence[tuple[int, Mapping[str, str]]]
) -> None:
    """Refuse columns that are called as a cost or a measured metric and hold other values."""
    faults = []
    for name in results.known:
        own = results.metrics[name]
        for at, row in matching:
            text = row.get(name)
            if _is_number(text) and float(text or "") != own[at]:
                known = "nothing" if math.isnan(own[at]) else f"{own[at]:.10g}"
                message = (
                    f"'{file}' says {name} {text} of plan {row['plan']!r}, and the sweep {known}; nothing "
                    f"of the sweep's own is overwritten: call the column otherwise, such as 'my_{name}'"
                )
                faults.append(Fault("errors", message))
                break
    if faults:
        raise ConfigError(faults)


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and math.isfinite(float(text))
    except ValueError:
        return False
