"""Steps of measuring: cheap metrics first, each step for the architectures that the previous one kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from resnet_factory.errors import Fault, unknown
from resnet_factory.sweep.filters import Choices, WhereFilter, limits_filter_mask, read_where_filter
from resnet_factory.sweep.objectives import Objective, ObjectiveMetric, read_objective
from resnet_factory.sweep.results_table import ResultsTable
from resnet_factory.sweep.vector import Array
from resnet_factory.sweep.windows import Windows

STEP_KEYS = ("metrics", "top", "by", "where")


class SweepStep(NamedTuple):
    """Metrics measured together, of the architectures that earlier steps left."""

    metrics: tuple[str, ...]
    top: int | None = None
    """Measure only this many, the best by `by`."""
    by: str | None = None
    where: str | None = None


def read_sweep_steps(data: Any, faults: list[Fault]) -> tuple[SweepStep, ...]:
    """Read `measure`: metrics; or steps, each a list or {metrics: […], top: N, by: …, where: …}."""
    entries = data if isinstance(data, list) else [data]
    if not any(isinstance(entry, (list, Mapping)) for entry in entries):
        return (SweepStep(tuple(entries)),) if entries else ()
    steps = []
    for i, entry in enumerate(entries):
        path = f"measure.{i}"
        if not isinstance(entry, Mapping):
            steps.append(SweepStep(tuple(entry) if isinstance(entry, list) else (entry,)))
            continue
        for key in entry:
            if key not in STEP_KEYS:
                faults.append(Fault(f"{path}.{key}", unknown("key of a step", str(key), STEP_KEYS)))
        given = {key: entry.get(key) for key in STEP_KEYS}
        metrics = given["metrics"]
        top = given["top"]
        if top is not None and (type(top) is not int or top < 1):
            faults.append(Fault(f"{path}.top", f"expected a whole number above 0, found {top!r}"))
        if top is not None and given["by"] is None:
            faults.append(Fault(path, "a step with 'top' needs 'by', the metric to rank by, as by: zen"))
        names = tuple(metrics) if isinstance(metrics, list) else () if metrics is None else (metrics,)
        if not names:
            faults.append(Fault(path, "a step has metrics, as {metrics: [error], top: 20, by: zen}"))
        steps.append(SweepStep(names, top, given["by"], given["where"]))
    return tuple(steps)


def check_sweep_steps(
    steps: Collection[SweepStep],
    numbers: Collection[str],
    choices: Choices,
    own: Mapping[str, ObjectiveMetric],
    faults: list[Fault],
) -> None:
    """Check that each step reads numbers that are known when it begins."""
    known = [*numbers]
    for i, step in enumerate(steps):
        path = f"measure.{i}"
        if step.by is not None:
            read_objective(step.by, known, f"{path}.by", own, faults)
        read_where_filter(step.where, known, choices, f"{path}.where", faults)
        known += step.metrics


class StepSurvivors:
    """The architectures that are still measured, step by step."""

    def __init__(self, limits: Windows, where: str | None, own: Mapping[str, ObjectiveMetric]) -> None:
        self.limits, self.own = limits, own
        self.text = where
        self.mask: Array | None = None
        """None: all."""
        self.measured: list[str] = []

    def select(self, results: ResultsTable, step: SweepStep) -> None:
        """Keep those that satisfy all conditions known so far, and of these the best that a step takes."""
        unmeasured = [m for m in (*results.asked, *results.metrics) if m in results.asked]
        known = [name for name in results.rankable if name not in unmeasured or name in self.measured]
        mask = limits_filter_mask(self.limits, results, self.measured)
        faults: list[Fault] = []
        for text in (self.text, step.where):
            condition: WhereFilter | None = read_where_filter(
                text, results.rankable, results.texts, "where", faults
            )
            if condition is not None:
                mask &= condition.mask(results, [*known, *results.texts])
        if self.mask is not None:
            mask &= self.mask
        if step.top is not None and step.by is not None:
            objective = read_objective(step.by, results.rankable, "by", self.own, faults)
            if objective is not None:
                mask = _foremost_in_sweep_step(results, objective, mask, step.top)
        self.mask = mask

    def selects(self, step: SweepStep) -> bool:
        """Return whether a step may exclude anything."""
        return bool(self.limits or self.text or step.top or step.where or self.mask is not None)


def _foremost_in_sweep_step(results: ResultsTable, objective: Objective, mask: Array, top: int) -> Array:
    values = np.where(mask, results.minimised(objective), np.nan)
    order = np.argsort(values, kind="stable")
    kept = np.zeros(len(results), bool)
    kept[order[~np.isnan(values[order])][:top]] = True
    return kept
