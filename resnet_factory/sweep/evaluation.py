"""From samples to candidates: related, planned, costed, held against the wanted costs, named by plan id."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from resnet_factory.config import pruning, schema
from resnet_factory.config.schema import PER_STAGE, ROLES, SLOTS, ModelConfig
from resnet_factory.costing.complexity import cost
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.planning.network_plan import Stage
from resnet_factory.planning.planner import plan
from resnet_factory.sweep import regnet
from resnet_factory.sweep.dimension import Dimension
from resnet_factory.sweep.plan_ids import plan_ids
from resnet_factory.sweep.population import FURTHER, Part, Population, parts, takes
from resnet_factory.sweep.space import Space, limit_of, with_lists
from resnet_factory.sweep.vector import Array, Column

UNPLANNABLE = "invalid"
"""Why a sample was rejected that cannot be planned or costed."""
EXAMPLES = 64
"""So many are asked what is wrong with them."""


class Candidate(NamedTuple):
    """One architecture that holds everything asked of it."""

    plan: str
    """Its plan id; followed by `-` and the image size where that varies."""
    sample: int
    """The first sample that gave it."""
    structure: int
    """Which structure its numbers belong to."""
    numbers: str
    """JSON: what was sampled, by key."""
    changes: str
    """JSON: what differs from the structure's model, by key."""
    params: int
    macs: int
    activations: int
    further: str
    """JSON: the other costs that the space has windows on, by name."""

    @property
    def plan_id(self) -> str:
        """The id of its plan alone."""
        return self.plan.partition("-")[0]


class Reason(NamedTuple):
    """Why one sample cannot be planned or costed."""

    kind: str
    """The message without its numbers: the same for alike mistakes."""
    example: str
    """The message."""
    sample: int


class Survey(NamedTuple):
    """What came of one batch of samples."""

    candidates: list[Candidate]
    rejected: Counter[str]
    """How many were rejected by what."""
    reasons: list[Reason]
    """Of some of those that cannot be planned."""


class Setting(NamedTuple):
    """What an architecture is costed for."""

    image: tuple[int, int] | None = None
    """None: each model's own image size."""
    batch: int = 1
    """Images at a time, for memory."""
    dtype: str = "float32"
    """For memory."""


@dataclass(frozen=True)
class Structure:
    """What several architectures share: everything but their numbers."""

    overrides: tuple[str, ...]
    stages: int
    model: Mapping[str, Any] | None
    """Plain data; None: nothing can be composed from the overrides."""


@dataclass
class Structures:
    """The structures met so far, each composed once and frozen."""

    space: Space
    compose: Callable[[Sequence[str]], Mapping[str, Any]]
    """Overrides of the base model -> a model's plain data."""
    known: list[Structure] = field(default_factory=list)
    numbers: dict[tuple[tuple[str, ...], int], int] = field(default_factory=dict)
    """Overrides and stages of those in `known` -> their place there."""
    configs: dict[int, ModelConfig | ConfigError] = field(default_factory=dict)
    """Those read so far, or what is wrong with them."""

    def config(self, number: int) -> ModelConfig:
        """A structure's config, read once.

        Raises:
            ConfigError: nothing can be composed from its overrides.
        """
        if number not in self.configs:
            try:
                self.configs[number] = self._read(self.known[number])
            except ConfigError as error:
                self.configs[number] = error
        found = self.configs[number]
        if isinstance(found, ConfigError):
            raise found
        return found

    def _read(self, structure: Structure) -> ModelConfig:
        if structure.model is None:
            self.compose(structure.overrides)  # says why
            raise ConfigError([Fault("model", "could not be composed when this sweep began")])
        return pruning.read(structure.model)

    def find(self, overrides: tuple[str, ...], stages: int) -> int:
        """The number of a structure."""
        for number in range(len(self.numbers), len(self.known)):  # of an earlier run
            structure = self.known[number]
            self.numbers[structure.overrides, structure.stages] = number
        if (known := self.numbers.get((overrides, stages))) is not None:
            return known
        try:
            model: Mapping[str, Any] | None = self.compose(overrides) if overrides else self.space.base
        except ConfigError:
            model = None
        if model is not None and self.space.generator is not None:
            model = resized(model, stages)
        if model is not None:
            model = with_lists(model, self.space.lists, stages)
        self.known.append(Structure(overrides, stages, model))
        return len(self.known) - 1


def resized(model: Mapping[str, Any], stages: int) -> Mapping[str, Any]:
    """The model's plain data with another number of stages, the last one's values repeated."""
    data = dict(model)
    for key in (*PER_STAGE, "block"):
        if isinstance(value := data.get(key), list):
            data[key] = [value[min(i, len(value) - 1)] for i in range(stages)]
    data.pop("generator", None)
    return data | {"depths": [1] * stages, "widths": [8] * stages, "groups": [1] * stages}


def survey(
    space: Space,
    structures: Structures,
    samples: Mapping[str, Array],
    start: int,
    setting: Setting,
    examples: int = EXAMPLES,
) -> Survey:
    """The candidates among one batch of samples, and how many were rejected by what.

    So many of those that cannot be planned as `examples` says are asked why.

    Equal architectures within the batch collapse: the first one stays, the others count as `duplicate`.
    """
    rejected: Counter[str] = Counter()
    size = len(next(iter(samples.values())))
    numbers = np.arange(start, start + size)
    stages = np.full(size, space.stages)
    columns = dict(samples)
    kept = np.ones(size, bool)
    if space.generator is not None:
        made = _generate(columns, space)
        stages, kept = made.many, made.valid
        if (count := size - int(np.count_nonzero(kept))) > 0:
            rejected[UNPLANNABLE] += count
    for relation in space.relations:
        good = relation.holds(_shown(columns, space), space.stages)
        if (count := int(np.count_nonzero(kept & ~good))) > 0:
            rejected[relation.text] += count
        kept &= good
    candidates: list[Candidate] = []
    reasons: list[Reason] = []
    sized = setting.image is None and any(d.key == "image_size" for d in space.dimensions)
    further = [metric for metric in FURTHER if metric in space.windows]
    for key, members in _groups(space, columns, stages, np.flatnonzero(kept)):
        structure = structures.find(key, int(stages[members[0]]))
        try:
            config = structures.config(structure)
        except ConfigError as error:
            rejected[UNPLANNABLE] += len(members)
            reasons += [_reason(error, int(numbers[members[0]]))][:examples]
            continue
        population = _population(config, space, columns, members, setting)
        for part in parts(population, further=further):
            for i in part.members[~part.valid][: max(examples - len(reasons), 0)].tolist():
                reasons += _why(population, i, int(numbers[members[i]]))
            for i, costs, name in _chosen(part, population, space, rejected):
                at = members[part.members[i]]
                candidates.append(
                    Candidate(
                        f"{name}-{config.image_size}" if sized else name,
                        int(numbers[at]),
                        structure,
                        _json({d.key: d.shown(samples[d.key][at].item()) for d in space.dimensions}),
                        _json({k: v[part.members[i]].item() for k, v in population.columns.items()}),
                        costs["params"],
                        costs["macs"],
                        costs["activations"],
                        _json({metric: costs[metric] for metric in further}),
                    )
                )
    return Survey(_distinct(candidates, rejected), rejected, reasons)


def _why(population: Population, member: int, sample: int) -> list[Reason]:
    """What planning and costing one member says against it."""
    try:
        planned = plan(population.member(member))
        cost(planned, (planned.in_channels, *population.image))
    except ConfigError as error:
        return [_reason(error, sample)]
    return []


def _reason(error: ConfigError, sample: int) -> Reason:
    message = error.faults[0].message.partition("; read by ")[0].partition("; in stage ")[0]
    return Reason(re.sub(r"\d+(\.\d+)?", "N", message.partition(";")[0]), message, sample)


def _distinct(candidates: list[Candidate], rejected: Counter[str]) -> list[Candidate]:
    first: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda candidate: candidate.sample):
        if first.setdefault(candidate.plan, candidate) is not candidate:
            rejected["duplicate"] += 1
    return list(first.values())


def _generate(columns: dict[str, Array], space: Space) -> regnet.Stages:
    """Put the stages of RegNet's generator in the place of its parameters."""
    assert space.generator is not None
    size = len(next(iter(columns.values())))
    known = {dimension.key: dimension for dimension in space.dimensions}
    numbers = {}
    for name in regnet.PARAMETERS:
        key = regnet.PREFIX + name
        own = _real(columns.pop(key), known[key]) if key in columns else None
        numbers[name] = np.full(size, space.generator[name]) if own is None else own
    made = regnet.generate(numbers, space.generator["rounding"])
    for name, values in (("depths", made.depths), ("widths", made.widths), ("groups", made.groups)):
        for stage in range(values.shape[1]):
            columns[f"{name}.{stage}"] = values[:, stage]
    if (
        regnet.PREFIX + "ratio" in known
        and isinstance(space.base["block"], Mapping)
        and "ratio" in space.base["block"]
    ):
        columns["block.ratio"] = numbers["ratio"]
    return made


def _real(values: Array, dimension: Dimension) -> Array:
    return np.array(dimension.values)[values] if dimension.kind == "choice" else values


def _shown(columns: Mapping[str, Array], space: Space) -> dict[str, Array]:
    known = {dimension.key: dimension for dimension in space.dimensions}
    return {
        key: _real(values, known[key]) if key in known else values
        for key, values in columns.items()
        if key not in known or known[key].numeric
    }


def _outside(space: Space) -> list[Dimension]:
    """The dimensions that are no number in a place that may differ within one population."""
    try:
        base = schema.read(space.base)
    except ConfigError:
        return list(space.dimensions)
    return [d for d in space.dimensions if not d.numeric or "/" in d.key or not takes(base, d.key)]


def _groups(
    space: Space, columns: Mapping[str, Array], stages: Array, members: Array
) -> Iterator[tuple[tuple[str, ...], Array]]:
    """Members of one structure each: the overrides that give it."""
    outside = [d for d in _outside(space) if d.key in columns]
    codes = np.stack([stages, *(columns[d.key] for d in outside)], axis=1)[members]
    if not members.size:
        return
    rows, where = np.unique(codes, axis=0, return_inverse=True)
    where = where.reshape(-1)
    for i, row in enumerate(rows):
        values = [d.shown(code.item()) for d, code in zip(outside, row[1:], strict=True)]
        overrides = [override(d.key, value) for d, value in zip(outside, values, strict=True)]
        yield tuple(overrides), members[where == i]


def override(key: str, value: Any) -> str:
    """A choice as an override of the base model, in Hydra's grammar."""
    if key == "model" or "/" in key:
        return f"{key}={value}"
    if key in (*ROLES, *SLOTS) and isinstance(value, str) and key != "act":
        return f"model/{key}={value}"
    return f"++model.{key}={_json(value).replace(chr(34), '')}"


def _population(
    config: ModelConfig,
    space: Space,
    columns: Mapping[str, Array],
    members: Array,
    setting: Setting,
) -> Population:
    stages = len(config.depths)
    inside = {
        key: values[members]
        for key, values in _shown(columns, space).items()
        if takes(config, key) and (not key.split(".")[-1].isdigit() or int(key.split(".")[-1]) < stages)
    }
    size = setting.image or (config.image_size, config.image_size)
    columns = inside or {"num_classes": np.full(len(members), config.num_classes)}
    return Population(config, columns, size, setting.batch, setting.dtype)


def _chosen(
    part: Part, population: Population, space: Space, rejected: Counter[str]
) -> Iterator[tuple[int, dict[str, int], str]]:
    """Those of a part inside every window: their place in it, their costs and their plan id."""
    size = len(part.members)
    kept = part.valid.copy()
    if (count := size - int(np.count_nonzero(kept))) > 0:
        rejected[UNPLANNABLE] += count
    if part.plan is None:
        return
    values = {
        key: value.values if isinstance(value, Column) else np.full(size, value)
        for key, value in part.costs.items()
    }
    for key, (low, high) in space.windows.items():
        good = (values[key] >= low) & (values[key] <= high)
        if not good[kept].all():
            for side, limit, beyond in (
                ("below", low, values[key] < low), ("above", high, values[key] > high)
            ):  # fmt: skip
                if (count := int(np.count_nonzero(kept & beyond))) > 0:
                    rejected[f"{key} {side} {limit_of(limit)}"] += count
        kept &= good
    chosen = np.flatnonzero(kept)
    if not chosen.size:
        return
    plan = part.plan
    planned_apart = type(plan.stages[0]) is Stage
    ids = [plan.id] * len(chosen) if planned_apart else plan_ids(plan, chosen)
    rows = zip(*(values[key][chosen].tolist() for key in values), strict=True)
    costs = [dict(zip(values, row, strict=True)) for row in rows]
    yield from zip(chosen.tolist(), costs, ids, strict=True)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
