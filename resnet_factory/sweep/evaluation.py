"""Evaluate samples: check relations, plan, cost, check constraints, and compute plan ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from resnet_factory.costing.complexity import compute_complexity
from resnet_factory.errors import ConfigError
from resnet_factory.layers import axes_text
from resnet_factory.planning.planner import run_planner
from resnet_factory.sweep.computed_numbers import add_computed
from resnet_factory.sweep.json_rows import json_rows
from resnet_factory.sweep.plan_ids import LayerTexts, plan_ids
from resnet_factory.sweep.population import (
    BASIC_COSTS,
    OPTIONAL_COSTS,
    Population,
    PopulationPart,
    population_parts,
)
from resnet_factory.sweep.sampled_populations import (
    CostConditions,
    generate_sampled_stages,
    numeric_sampled_columns,
    sampled_members_by_template,
    sampled_numbers_before_planning,
    sampled_population,
    sampled_population_numbers,
    sampled_structural_dimensions,
)
from resnet_factory.sweep.space import Space
from resnet_factory.sweep.templates import ModelTemplates
from resnet_factory.sweep.vector import Array, Vector
from resnet_factory.sweep.vector_planner import VectorStage
from resnet_factory.sweep.windows import COSTS, format_window_limit, window_relations

INVALID = "invalid"
"""The reason of samples that cannot be planned or costed."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedCandidate:
    """An architecture that satisfies the space; its fields are the columns of the store."""

    plan: str
    """Its plan id; followed by `-` and the image size where that varies."""
    sample: int
    """The first sample of it."""
    structure: int
    """The index of its template."""
    numbers: str
    """JSON: sampled values, by key."""
    changes: str
    """JSON: differences from the template, by key."""
    params: int
    macs: int
    activations: int
    further: str
    """JSON: the costs among OPTIONAL_COSTS that the space has windows on, by name."""

    @property
    def plan_id(self) -> str:
        """Return the id of its plan without an image size."""
        return self.plan.partition("-")[0]


class InvalidEvaluation(NamedTuple):
    """A sample that cannot be planned or costed."""

    kind: str
    """The message without its numbers: the same for alike mistakes."""
    message: str
    sample: int


class BatchEvaluation(NamedTuple):
    """The result of one batch of samples."""

    candidates: list[EvaluatedCandidate]
    rejected: Counter[str]
    """Rejected samples by reason."""
    invalid: list[InvalidEvaluation]
    """Some of those that cannot be planned."""
    templates: list[int]
    """The templates of the samples, in the order in which they were needed."""


def evaluate_samples(
    space: Space,
    templates: ModelTemplates,
    samples: Mapping[str, Array],
    start: int,
    conditions: CostConditions,
    examples: int = 64,
) -> BatchEvaluation:
    """Return the candidates among samples `start` and following, and the rejected by reason.

    At most `examples` of those that cannot be planned are returned with their messages. Of equal
    architectures the first is a candidate, the others are rejected as `duplicate`.
    """
    rejected: Counter[str] = Counter()
    size = len(next(iter(samples.values())))
    stages, kept, columns = np.full(size, space.stages), np.ones(size, bool), dict(samples)

    def reject(reason: str, mask: Array) -> None:
        if count := int(np.count_nonzero(mask)):
            rejected[reason] += count

    if space.generator is not None:
        stages, kept = generate_sampled_stages(columns, space)
        reject(INVALID, ~kept)
    for name, lacking in add_computed(
        columns, numeric_sampled_columns(samples, space), space.computed, space.base, space.stages
    ):
        reject(f"{name} has no value", kept & lacking)
        kept &= ~lacking
    late = []
    for relation in (*space.relations, *window_relations(space.windows)):
        if (number := sampled_numbers_before_planning(relation, columns, stages, space)) is None:
            late.append(relation)
            continue
        good = relation.holds(number, space.stages, size)
        reject(relation.text, kept & ~good)
        kept &= good
    candidates: list[EvaluatedCandidate] = []
    invalid: list[InvalidEvaluation] = []
    needed: list[int] = []
    sized = conditions.image is None and any(d.key == "image_size" for d in space.dimensions)
    optional = [metric for metric in OPTIONAL_COSTS if metric in space.windows]
    template_keys = sampled_structural_dimensions(space)
    for overrides, alike in sampled_members_by_template(template_keys, columns, stages, np.flatnonzero(kept)):
        members = alike
        template = templates.find(overrides, int(stages[members[0]]))
        needed.append(template)
        try:
            config = templates.config(template)
        except ConfigError as error:
            rejected[INVALID] += len(members)
            invalid += [_invalid_evaluation(error, start + int(members[0]))][:examples]
            continue
        population = sampled_population(config, space, columns, members, conditions)
        for relation in late:
            good = relation.holds(
                sampled_population_numbers(population, columns, members, space), space.stages, len(members)
            )
            if count := int(np.count_nonzero(~good)):
                rejected[relation.text] += count
                members = members[good]
                population = sampled_population(config, space, columns, members, conditions)
            if not members.size:
                break
        if not members.size:
            continue
        for part in population_parts(population, optional=optional):
            for i in part.members[~part.valid][: max(examples - len(invalid), 0)].tolist():
                invalid += _evaluate_invalid_member(population, i, start + int(members[i]))
            inside, names, costs = _evaluate_population_part(part, space, rejected, templates.layer_texts)
            if not inside.size:
                continue
            at = members[inside]
            drawn = {
                d.key: (samples[d.key][at], d.values if d.kind == "choice" else ()) for d in space.dimensions
            }
            changed = {key: (values[inside], ()) for key, values in population.columns.items()}
            further = {metric: (costs[metric], ()) for metric in optional}
            ending = f"-{axes_text(config.image_size)}" if sized else ""
            rows = zip(
                names, (start + at).tolist(), json_rows(drawn, len(at)), json_rows(changed, len(at)),
                *(costs[cost].tolist() for cost in BASIC_COSTS), json_rows(further, len(at)), strict=True,
            )  # fmt: skip
            for name, sample, numbers, changes, params, macs, activations, others in rows:
                candidate = EvaluatedCandidate(
                    plan=name + ending, sample=sample, structure=template, numbers=numbers,
                    changes=changes, params=params, macs=macs, activations=activations, further=others,
                )  # fmt: skip
                candidates.append(candidate)
    return BatchEvaluation(_distinct_evaluated_candidates(candidates, rejected), rejected, invalid, needed)


def _evaluate_invalid_member(population: Population, member: int, sample: int) -> list[InvalidEvaluation]:
    """Return why a member cannot be planned or costed; nothing where it can."""
    try:
        planned = run_planner(population.member(member))
        compute_complexity(planned, (planned.in_channels, *population.image))
    except ConfigError as error:
        return [_invalid_evaluation(error, sample)]
    return []


def _invalid_evaluation(error: ConfigError, sample: int) -> InvalidEvaluation:
    message = error.faults[0].message.partition("; read by ")[0].partition("; in stage ")[0]
    return InvalidEvaluation(re.sub(r"\d+(\.\d+)?", "N", message.partition(";")[0]), message, sample)


def _distinct_evaluated_candidates(
    candidates: list[EvaluatedCandidate], rejected: Counter[str]
) -> list[EvaluatedCandidate]:
    first: dict[str, EvaluatedCandidate] = {}
    for candidate in sorted(candidates, key=lambda candidate: candidate.sample):
        if first.setdefault(candidate.plan, candidate) is not candidate:
            rejected["duplicate"] += 1
    return list(first.values())


def _evaluate_population_part(
    part: PopulationPart, space: Space, rejected: Counter[str], known: LayerTexts
) -> tuple[Array, list[str], dict[str, Array]]:
    """Return the members of a part that are inside every window, with plan ids and costs."""
    size, kept = len(part.members), part.valid.copy()
    if (count := size - int(np.count_nonzero(kept))) > 0:
        rejected[INVALID] += count
    if part.plan is None:
        return part.members[:0], [], {}
    values = {
        key: value.values if isinstance(value, Vector) else np.full(size, value)
        for key, value in part.costs.items()
    }
    for key, (low, high) in space.windows.items():
        if key not in COSTS:
            continue
        below, above = values[key] < low, values[key] > high
        for side, limit, mask in (("below", low, below), ("above", high, above)):
            if (count := int(np.count_nonzero(kept & mask))) > 0:
                rejected[f"{key} {side} {format_window_limit(limit)}"] += count
        kept &= ~(below | above)
    chosen = np.flatnonzero(kept)
    if not chosen.size:
        return chosen, [], {}
    together = isinstance(part.plan.stages[0], VectorStage)
    ids = plan_ids(part.plan, chosen, known) if together else [part.plan.id] * len(chosen)
    return part.members[chosen], ids, {key: column[chosen] for key, column in values.items()}
