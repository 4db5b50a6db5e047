"""The closing lines of a sweep: the question, the answer, and the next command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from resnet_factory.sweep.filters import windows_as_filter_text
from resnet_factory.sweep.objectives import Objective
from resnet_factory.sweep.population import BASIC_COSTS
from resnet_factory.sweep.results_table import ResultsTable
from resnet_factory.sweep.rows import format_row_metric
from resnet_factory.sweep.vector import Array


class ConclusionQuestion(NamedTuple):
    """The question that a sweep answers."""

    objectives: tuple[Objective, ...]
    """One metric, or the two of a front."""
    conditions: Sequence[str]
    """All that an architecture must satisfy, as text."""


def conclusion_question(
    objectives: Sequence[Objective], run: dict[str, str], where: str | None
) -> ConclusionQuestion:
    """Return the question of a sweep's record and its report's options."""
    windows = json.loads(run.get("windows", "{}")) | json.loads(run.get("limits", "{}"))
    conditions = [*json.loads(run.get("relations", "[]")), *windows_as_filter_text(windows)]
    return ConclusionQuestion(tuple(objectives), [*conditions, *([where] if where else [])])


def conclusion_reason(results: ResultsTable, objectives: Sequence[Objective]) -> str:
    """Return why architectures were chosen; best only by a metric of quality."""
    if len(objectives) == 1:
        (by,) = objectives
        if results.metric(by.metric).quality:
            return f"best by {by}"
        return f"{'highest' if by.maximize else 'lowest'} {by.metric}"
    return f"on the front of {' and '.join(map(str, objectives))}"


def conclusion_lines(
    results: ResultsTable, question: ConclusionQuestion, chosen: Array, names: Sequence[str], folder: str
) -> list[str]:
    """Return three lines that answer a question; none where nothing was chosen."""
    if not chosen.size:
        return []
    objectives, first = question.objectives, int(chosen[0])
    front = len(objectives) > 1
    metrics = [objective.metric for objective in objectives]
    what = conclusion_reason(results, objectives).removeprefix("on ")
    asked = f"asked: {what}"
    if question.conditions:
        asked += f", where {' and '.join(question.conditions)}"
    named = [metric for metric in dict.fromkeys((*metrics, *BASIC_COSTS[:2])) if metric in results.rankable]
    numbers = ", ".join(f"{metric} {format_row_metric(results, metric, first)}" for metric in named)
    eligible = len(results) if results.eligible is None else int(np.count_nonzero(results.eligible))
    there = np.count_nonzero(~np.isnan(np.stack([results.minimised(one) for one in objectives])).any(axis=0))
    among = f"among {there:,} with {' and '.join(metrics)}" if there < eligible else f"among {there:,}"
    if eligible < len(results):
        among += f"; {eligible:,} of {len(results):,} satisfy all conditions"
    many = f"{len(names):,} on it, first " if front else ""
    answer = f"answer: {many}{names[0]}: {numbers}; {among}"
    if not any(results.metric(metric).quality for metric in metrics):
        known = [metric for metric in results.known if results.metric(metric).quality]
        rank = f"by={known[0]} ranks by it" if known else "measure=[error] by=error ranks by trained error"
        answer += f"; not ranked by quality: {rank}"
    return [asked, answer, f"next: resnet-factory model={names[0]} --config-dir {folder}"]
