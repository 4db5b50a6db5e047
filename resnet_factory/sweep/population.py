"""Populations of architectures planned and costed together, by the planner and the costing over vectors.

A population shares one config; some of its numbers differ from member to member. Where a condition in a
recipe, or a formula of a layer, asks a question that members answer differently, the population is split, so
that each part has one structure of layers, whose numbers are vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from resnet_factory.config import pruning
from resnet_factory.config.own_layers import own_layers
from resnet_factory.config.schema import (
    MAX_BLOCKS,
    MAX_CHANNELS,
    PER_STAGE,
    WHOLE,
    ModelConfig,
)
from resnet_factory.costing.complexity import Cost, compute_complexity
from resnet_factory.costing.peak_memory import peak_memory_of_plan
from resnet_factory.costing.receptive_field import larger, last_receptive_field
from resnet_factory.errors import ConfigError
from resnet_factory.layers import per_axis
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.planner import run_planner as plan_one
from resnet_factory.sweep.model_numbers import place_model_number, substitute_model_numbers
from resnet_factory.sweep.vector import Array, Vector, VectorSplit, VectorUnfit, vector_values
from resnet_factory.sweep.vector_planner import VectorPlanner

CHUNK = 32_768
"""Members planned at a time: their vectors stay in the processor's cache."""
FEW = 4
"""Up to here members are planned faster one by one."""
BASIC_COSTS = ("params", "macs", "activations")
"""Costs of every architecture."""
OPTIONAL_COSTS = ("receptive_field", "inference_memory", "training_memory")
"""Costs computed on demand: pixels along one axis, the one with most; bytes, weights included."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """Architectures that share `config` but for some numbers."""

    config: ModelConfig
    columns: Mapping[str, Array]
    """Dotted key below the model -> one value per member: `widths.0`, `depths`, `stem.width`, …"""
    image: tuple[int, ...] = (224, 224)
    batch: int = 1
    """Batch size, for memory."""
    dtype: str = "float32"
    """Type of weights and feature maps, for memory."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 1

    def take(self, members: Array) -> Population:
        """Return the population of some of the members."""
        return replace(self, columns={key: values[members] for key, values in self.columns.items()})

    def data(self, member: int) -> dict[str, Any]:
        """Return the model of one member as plain data."""
        data = self.config.to_dict()
        for key, values in self.columns.items():
            place_model_number(data, key, values[member].item(), len(self.config.depths))
        return data

    def member(self, member: int) -> ModelConfig:
        """Return the config of one member.

        Raises:
            ConfigError: its numbers are out of range.
        """
        return pruning.read_pruned(self.data(member), name=self.config.name)

    def in_range(self) -> Array:
        """Return for each member whether its numbers are allowed by the schema."""
        good: Array = np.ones(len(self), bool)
        for key, values in self.columns.items():
            head = key.split(".")[0]
            least = PER_STAGE.get(head, WHOLE[head][0] if head in WHOLE else None)
            if least is not None:
                good &= (values >= least) & (values <= MAX_CHANNELS)
            else:
                good &= np.abs(values) < 2.0**40
        depths = self.columns.get("depths")
        blocks: Any = sum(
            self.columns.get(f"depths.{stage}", depth if depths is None else depths)
            for stage, depth in enumerate(self.config.depths)
        )
        good &= blocks <= MAX_BLOCKS
        return good


class PopulationPart(NamedTuple):
    """Members with one structure, planned and costed together."""

    members: Array
    """Their indices in the population."""
    valid: Array
    """Mask of the members that can be planned and costed."""
    plan: Plan | None
    """Numbers are vectors where they differ. None: none of the members can be planned."""
    costs: Mapping[str, Any] = {}
    """By name, vectors where they differ."""


class PopulationCosts(NamedTuple):
    """Arrays with one value per member; 0 for members that are invalid or beyond 64 bits."""

    valid: Array
    params: Array
    macs: Array
    activations: Array
    optional: dict[str, Array]
    """Those of OPTIONAL_COSTS that were asked for."""


def cost_population(
    population: Population, chunk: int = CHUNK, optional: Sequence[str] = ()
) -> PopulationCosts:
    """Return the costs of every member: the same integers as planning and costing each one."""
    size = len(population)
    valid = np.zeros(size, bool)
    totals = {name: np.zeros(size, np.int64) for name in (*BASIC_COSTS, *optional)}
    for part in population_parts(population, chunk, optional):
        valid[part.members] = part.valid
        for name, found in part.costs.items():
            values = found.values if isinstance(found, Vector) else found
            totals[name][part.members] = np.where(part.valid, values, 0)
    params, macs, activations = (totals.pop(name) for name in BASIC_COSTS)
    return PopulationCosts(valid, params, macs, activations, totals)


def population_parts(
    population: Population, chunk: int = CHUNK, optional: Sequence[str] = ()
) -> Iterator[PopulationPart]:
    """Yield the population in parts of one structure each, with some of OPTIONAL_COSTS.

    Members whose arithmetic is not exact in arrays are parts of their own, planned one by one.
    """
    inside = population.in_range()
    if not inside.all():
        yield _invalid_population_part(np.flatnonzero(~inside))
    # Members by the answers they have given so far: those that agreed stay together, in full chunks.
    waiting: dict[tuple[bool, ...], list[Array]] = {(): [np.flatnonzero(inside)]}
    plan_together = (
        _plan_population_own_layers if own_layers(population.config) else _plan_population_together
    )
    while waiting:
        key = max(waiting, key=lambda key: sum(map(len, waiting[key])))
        pool = np.concatenate(waiting.pop(key))
        members, rest = pool[:chunk], pool[chunk:]
        if rest.size:
            waiting[key] = [rest]
        try:
            if members.size <= FEW:
                raise VectorUnfit
            yield plan_together(population, members, optional)
        except VectorSplit as split:
            for answer in (True, False):
                mask = split.mask if answer else ~split.mask
                waiting.setdefault((*key, answer), []).append(members[mask])
        except VectorUnfit:
            yield from (_plan_population_member(population, member, optional) for member in members)


def _invalid_population_part(members: Array) -> PopulationPart:
    return PopulationPart(members, np.zeros(members.size, bool), None)


def _plan_population_member(population: Population, member: int, optional: Sequence[str]) -> PopulationPart:
    at = np.array([member])
    try:
        planned = plan_one(population.member(member))
        costs = _costs_of_population_plan(planned, population, optional)
    except ConfigError:
        return _invalid_population_part(at)
    return PopulationPart(at, np.ones(1, bool), planned, costs) if costs else _invalid_population_part(at)


def _plan_population_together(
    population: Population, members: Array, optional: Sequence[str]
) -> PopulationPart:
    if population.config.features is not None:
        raise VectorUnfit("a backbone is cut from its whole network")
    columns = {key: Vector.of(values[members]) for key, values in population.columns.items()}
    planner = VectorPlanner(substitute_model_numbers(population.config, columns), members.size)
    with np.errstate(all="ignore"):
        plan = planner.network()
        if plan is None or planner.faults:
            return _invalid_population_part(members)
        try:
            costs = _costs_of_population_plan(plan, population, optional)
        except ConfigError:
            return _invalid_population_part(members)
    valid = planner.valid if costs else np.zeros_like(planner.valid)
    return PopulationPart(members, valid, plan, costs)


def _plan_population_own_layers(
    population: Population, members: Array, optional: Sequence[str]
) -> PopulationPart:
    """Plan together members with registered layers, whose formulas may not hold for columns.

    Raises:
        VectorUnfit: a formula fails, or gives the first or the last member other costs than alone.
    """
    try:
        part = _plan_population_together(population, members, optional)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise VectorUnfit("a formula does not hold for columns") from error
    for at in (0, members.size - 1):
        alone = _plan_population_member(population, members[at], optional)
        costs = {name: vector_values(value) for name, value in part.costs.items()}
        together = {
            name: value[at] if isinstance(value, np.ndarray) else value for name, value in costs.items()
        }
        if part.valid[at] != alone.valid[0] or (alone.valid[0] and together != dict(alone.costs)):
            raise VectorUnfit("a formula gives other numbers for columns")
    return part


def _costs_of_population_plan(plan: Plan, population: Population, names: Sequence[str]) -> dict[str, Any]:
    """Return all costs asked for; none where one is beyond 64 bits.

    Raises:
        ConfigError: the image is too small.
    """
    found: Cost = compute_complexity(plan, (plan.in_channels, *population.image))
    values: dict[str, Any] = dict(zip(BASIC_COSTS, found.total, strict=True))
    for name in names:
        if name == "receptive_field":
            field = last_receptive_field(plan).size
            values[name] = reduce(larger, per_axis(field, plan.dims))
        else:
            training = name == "training_memory"
            values[name] = peak_memory_of_plan(
                plan, found.image, population.batch, population.dtype, training=training
            )
    return values if all(isinstance(value, Vector) or value < 2**63 for value in values.values()) else {}
