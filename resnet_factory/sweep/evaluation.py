"""From samples to candidates: relations checked, planned, costed, held against windows, named by plan id."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from resnet_factory.config import schema
from resnet_factory.config.schema import ModelConfig
from resnet_factory.costing.complexity import cost
from resnet_factory.errors import ConfigError
from resnet_factory.layers import axes_text, per_axis
from resnet_factory.planning.planner import plan
from resnet_factory.sweep import regnet
from resnet_factory.sweep.dimension import Dimension
from resnet_factory.sweep.model_numbers import image_for, may_vary
from resnet_factory.sweep.plan_ids import plan_ids
from resnet_factory.sweep.population import (
    OPTIONAL_COSTS,
    Population,
    PopulationPart,
    parts,
)
from resnet_factory.sweep.space import Space, format_limit
from resnet_factory.sweep.templates import ModelTemplates, override
from resnet_factory.sweep.vector import Array, Vector
from resnet_factory.sweep.vector_planner import VectorStage

INVALID = "invalid"
"""The reason of samples that cannot be planned or costed."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
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


class InvalidSample(NamedTuple):
    """A sample that cannot be planned or costed."""

    kind: str
    """The message without its numbers: the same for alike mistakes."""
    message: str
    sample: int


class BatchEvaluation(NamedTuple):
    """The result of one batch of samples."""

    candidates: list[Candidate]
    rejected: Counter[str]
    """Rejected samples by reason."""
    invalid: list[InvalidSample]
    """Some of those that cannot be planned."""


class CostConditions(NamedTuple):
    """Conditions of costs."""

    image: tuple[int, ...] | None = None
    """None: each model's own image size."""
    batch: int = 1
    """Batch size, for memory."""
    dtype: str = "float32"
    """Type of weights and feature maps, for memory."""


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
        stages, kept = _generate(columns, space)
        reject(INVALID, ~kept)
    for relation in space.relations:
        good = relation.holds(_numeric(columns, space), space.stages)
        reject(relation.text, kept & ~good)
        kept &= good
    candidates: list[Candidate] = []
    invalid: list[InvalidSample] = []
    sized = conditions.image is None and any(d.key == "image_size" for d in space.dimensions)
    optional = [metric for metric in OPTIONAL_COSTS if metric in space.windows]
    for overrides, members in _by_template(space, columns, stages, np.flatnonzero(kept)):
        number = templates.find(overrides, int(stages[members[0]]))
        try:
            config = templates.config(number)
        except ConfigError as error:
            rejected[INVALID] += len(members)
            invalid += [_invalid_sample(error, start + int(members[0]))][:examples]
            continue
        population = _population(config, space, columns, members, conditions)
        for part in parts(population, optional=optional):
            for i in part.members[~part.valid][: max(examples - len(invalid), 0)].tolist():
                invalid += _invalid_reason(population, i, start + int(members[i]))
            for i, name, costs in _inside_windows(part, space, rejected):
                at = members[i]
                numbers = {d.key: d.shown(samples[d.key][at].item()) for d in space.dimensions}
                changes = {key: values[i].item() for key, values in population.columns.items()}
                candidate = Candidate(
                    plan=f"{name}-{axes_text(config.image_size)}" if sized else name, sample=start + int(at),
                    structure=number, numbers=_compact_json(numbers), changes=_compact_json(changes),
                    params=costs["params"], macs=costs["macs"], activations=costs["activations"],
                    further=_compact_json({metric: costs[metric] for metric in optional}),
                )  # fmt: skip
                candidates.append(candidate)
    return BatchEvaluation(_distinct(candidates, rejected), rejected, invalid)


def _invalid_reason(population: Population, member: int, sample: int) -> list[InvalidSample]:
    """Return why a member cannot be planned or costed; nothing where it can."""
    try:
        planned = plan(population.member(member))
        cost(planned, (planned.in_channels, *population.image))
    except ConfigError as error:
        return [_invalid_sample(error, sample)]
    return []


def _invalid_sample(error: ConfigError, sample: int) -> InvalidSample:
    message = error.faults[0].message.partition("; read by ")[0].partition("; in stage ")[0]
    return InvalidSample(re.sub(r"\d+(\.\d+)?", "N", message.partition(";")[0]), message, sample)


def _distinct(candidates: list[Candidate], rejected: Counter[str]) -> list[Candidate]:
    first: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda candidate: candidate.sample):
        if first.setdefault(candidate.plan, candidate) is not candidate:
            rejected["duplicate"] += 1
    return list(first.values())


def _generate(columns: dict[str, Array], space: Space) -> tuple[Array, Array]:
    """Replace parameters of RegNet's generator by its stages; return their number, and which are valid."""
    assert space.generator is not None
    size = len(next(iter(columns.values())))
    numeric = _numeric(columns, space)
    numbers = {}
    for name in regnet.PARAMETERS:
        key = regnet.PREFIX + name
        columns.pop(key, None)
        numbers[name] = numeric[key] if key in numeric else np.full(size, space.generator[name])
    made = regnet.generate(numbers, space.generator["rounding"])
    for name in ("depths", "widths", "groups"):
        for stage, values in enumerate(getattr(made, name).T):
            columns[f"{name}.{stage}"] = values
    block = space.base["block"]
    if regnet.PREFIX + "ratio" in numeric and isinstance(block, Mapping) and "ratio" in block:
        columns["block.ratio"] = numbers["ratio"]
    return made.stages, made.valid


def _numeric(columns: Mapping[str, Array], space: Space) -> dict[str, Array]:
    """Return the numbers among the columns; choices of numbers by value, not by index."""
    known = {dimension.key: dimension for dimension in space.dimensions}
    return {
        key: np.array(known[key].values)[values] if key in known and known[key].kind == "choice" else values
        for key, values in columns.items()
        if key not in known or known[key].numeric
    }


def _structural(space: Space) -> list[Dimension]:
    """Return the dimensions that are no numbers, or numbers that may not differ within a population."""
    try:
        base = schema.read_config(space.base)
    except ConfigError:
        return list(space.dimensions)
    return [d for d in space.dimensions if not d.numeric or "/" in d.key or not may_vary(base, d.key)]


def _by_template(
    space: Space, columns: Mapping[str, Array], stages: Array, members: Array
) -> Iterator[tuple[tuple[str, ...], Array]]:
    """Yield the members of each template with its overrides."""
    if not members.size:
        return
    structural = [d for d in _structural(space) if d.key in columns]
    codes = np.stack([stages, *(columns[d.key] for d in structural)], axis=1)[members]
    rows, inverse = np.unique(codes, axis=0, return_inverse=True)
    for i, row in enumerate(rows):
        choices = zip(structural, row[1:], strict=True)
        overrides = tuple(override(d.key, d.shown(code.item())) for d, code in choices)
        yield overrides, members[inverse.reshape(-1) == i]


def _population(
    config: ModelConfig,
    space: Space,
    columns: Mapping[str, Array],
    members: Array,
    conditions: CostConditions,
) -> Population:
    stages = len(config.depths)
    varying = {}
    for key, values in _numeric(columns, space).items():
        last = key.split(".")[-1]
        if may_vary(config, key) and not (last.isdigit() and int(last) >= stages):
            varying[key] = values[members]
    if not varying:
        varying["num_classes"] = np.full(len(members), config.num_classes)
    image = per_axis(config.image_size, config.dims)
    if conditions.image is not None:
        image = image_for(conditions.image, config.dims)
    return Population(
        config=config, columns=varying, image=image, batch=conditions.batch, dtype=conditions.dtype
    )


def _inside_windows(
    part: PopulationPart, space: Space, rejected: Counter[str]
) -> Iterator[tuple[int, str, dict[str, int]]]:
    """Yield the members of a part that are inside every window, with plan id and costs."""
    size, kept = len(part.members), part.valid.copy()
    if (count := size - int(np.count_nonzero(kept))) > 0:
        rejected[INVALID] += count
    if part.plan is None:
        return
    values = {
        key: value.values if isinstance(value, Vector) else np.full(size, value)
        for key, value in part.costs.items()
    }
    for key, (low, high) in space.windows.items():
        below, above = values[key] < low, values[key] > high
        for side, limit, mask in (("below", low, below), ("above", high, above)):
            if (count := int(np.count_nonzero(kept & mask))) > 0:
                rejected[f"{key} {side} {format_limit(limit)}"] += count
        kept &= ~(below | above)
    chosen = np.flatnonzero(kept)
    if not chosen.size:
        return
    together = isinstance(part.plan.stages[0], VectorStage)
    ids = plan_ids(part.plan, chosen) if together else [part.plan.id] * len(chosen)
    rows = zip(*(column[chosen].tolist() for column in values.values()), strict=True)
    for i, name, row in zip(part.members[chosen].tolist(), ids, rows, strict=True):
        yield i, name, dict(zip(values, row, strict=True))


def _compact_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
