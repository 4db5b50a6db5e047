"""Populations of architectures planned and costed together, by the planner and the costing over vectors.

A population shares one config; some of its numbers differ from member to member. Where a condition in a
recipe, or a formula of a layer, asks a question that members answer differently, the population is split, so
that each part has one structure of layers, whose numbers are vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from resnet_factory.config import pruning
from resnet_factory.config.schema import (
    MAX_BLOCKS,
    MAX_CHANNELS,
    PER_STAGE,
    WHOLE,
    ModelConfig,
    Specification,
)
from resnet_factory.costing.complexity import Cost, cost
from resnet_factory.costing.peak_memory import most_memory
from resnet_factory.costing.receptive_field import larger, last_field
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.layers import along
from resnet_factory.planning.compiled import Scope
from resnet_factory.planning.evaluation import Broken
from resnet_factory.planning.network_plan import Block, Plan, Stage
from resnet_factory.planning.planner import Planner
from resnet_factory.planning.planner import plan as plan_one
from resnet_factory.sweep.model_numbers import place, substitute
from resnet_factory.sweep.vector import Array, Split, Unfit, Vector
from resnet_factory.sweep.vector_functions import choose

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
            place(data, key, values[member].item(), len(self.config.depths))
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


def cost_all(population: Population, chunk: int = CHUNK, optional: Sequence[str] = ()) -> PopulationCosts:
    """Return the costs of every member: the same integers as planning and costing each one."""
    size = len(population)
    valid = np.zeros(size, bool)
    totals = {name: np.zeros(size, np.int64) for name in (*BASIC_COSTS, *optional)}
    for part in parts(population, chunk, optional):
        valid[part.members] = part.valid
        for name, found in part.costs.items():
            values = found.values if isinstance(found, Vector) else found
            totals[name][part.members] = np.where(part.valid, values, 0)
    params, macs, activations = (totals.pop(name) for name in BASIC_COSTS)
    return PopulationCosts(valid, params, macs, activations, totals)


def parts(
    population: Population, chunk: int = CHUNK, optional: Sequence[str] = ()
) -> Iterator[PopulationPart]:
    """Yield the population in parts of one structure each, with some of OPTIONAL_COSTS.

    Members whose arithmetic is not exact in arrays are parts of their own, planned one by one.
    """
    inside = population.in_range()
    if not inside.all():
        yield _invalid(np.flatnonzero(~inside))
    # Members by the answers they have given so far: those that agreed stay together, in full chunks.
    waiting: dict[tuple[bool, ...], list[Array]] = {(): [np.flatnonzero(inside)]}
    while waiting:
        key = max(waiting, key=lambda key: sum(map(len, waiting[key])))
        pool = np.concatenate(waiting.pop(key))
        members, rest = pool[:chunk], pool[chunk:]
        if rest.size:
            waiting[key] = [rest]
        try:
            if members.size <= FEW:
                raise Unfit
            yield _planned_together(population, members, optional)
        except Split as split:
            for answer in (True, False):
                mask = split.mask if answer else ~split.mask
                waiting.setdefault((*key, answer), []).append(members[mask])
        except Unfit:
            yield from (_planned_alone(population, member, optional) for member in members)


def _invalid(members: Array) -> PopulationPart:
    return PopulationPart(members, np.zeros(members.size, bool), None)


def _planned_alone(population: Population, member: int, optional: Sequence[str]) -> PopulationPart:
    at = np.array([member])
    try:
        planned = plan_one(population.member(member))
        costs = _costs_of_plan(planned, population, optional)
    except ConfigError:
        return _invalid(at)
    return PopulationPart(at, np.ones(1, bool), planned, costs) if costs else _invalid(at)


def _planned_together(population: Population, members: Array, optional: Sequence[str]) -> PopulationPart:
    if population.config.features is not None:
        raise Unfit("a backbone is cut from its whole network")
    columns = {key: Vector.of(values[members]) for key, values in population.columns.items()}
    planner = VectorPlanner(substitute(population.config, columns), members.size)
    with np.errstate(all="ignore"):
        plan = planner.network()
        if plan is None or planner.faults:
            return _invalid(members)
        try:
            costs = _costs_of_plan(plan, population, optional)
        except ConfigError:
            return _invalid(members)
    valid = planner.valid if costs else np.zeros_like(planner.valid)
    return PopulationPart(members, valid, plan, costs)


def _costs_of_plan(plan: Plan, population: Population, names: Sequence[str]) -> dict[str, Any]:
    """Return all costs asked for; none where one is beyond 64 bits.

    Raises:
        ConfigError: the image is too small.
    """
    found: Cost = cost(plan, (plan.in_channels, *population.image))
    values: dict[str, Any] = dict(zip(BASIC_COSTS, found.total, strict=True))
    for name in names:
        if name == "receptive_field":
            field = last_field(plan).size
            values[name] = reduce(larger, (along(field, axis) for axis in range(plan.dims)))
        else:
            training = name == "training_memory"
            values[name] = most_memory(
                plan, found.image, population.batch, population.dtype, training=training
            )
    return values if all(isinstance(value, Vector) or value < 2**63 for value in values.values()) else {}


@dataclass(frozen=True, slots=True)
class VectorStage(Stage):
    """A stage whose block `i` is repeated `counts[i]` times."""

    counts: tuple[Any, ...] = ()
    leaves: Any = 0

    @property
    def runs(self) -> tuple[tuple[Block, Any], ...]:
        return tuple(zip(self.blocks, self.counts, strict=True))

    @property
    def out_channels(self) -> Any:
        return self.leaves


class VectorPlanner(Planner):
    """The planner over vectors; members that are invalid are noted in `valid` and carried along."""

    def __init__(self, config: Specification, size: int) -> None:
        super().__init__(config)
        self.valid = np.ones(size, bool)
        self.applies: Any = True
        """Mask of the members that have the block being planned."""

    def repeat(
        self, stage: Stage, depth: Any, channels: Any, repeats: bool, at: Callable[[int, Any], Block]
    ) -> Stage:
        blocks: list[Block] = []
        counts: list[Any] = []
        for block in range(int(depth.high) if isinstance(depth, Vector) else depth):
            if repeats and block > 1 and blocks[-1].in_channels == channels:
                counts[-1] = depth - (block - 1)
                if isinstance(counts[-1], Vector) and counts[-1].low < 0:
                    counts[-1] = counts[-1].functions["max"](counts[-1], 0)
                break
            self.applies = depth > block
            try:
                blocks.append(at(block, channels))
            except Broken:
                if isinstance(self.applies, Vector):
                    raise Split(self.applies.values) from None
                raise
            counts.append(self.applies * 1)
            channels = choose(self.applies, blocks[-1].out_channels, channels)
        self.applies = True
        return VectorStage(stage.name, tuple(blocks), stage.transition, tuple(counts), channels)

    def holds(self, valid: Any) -> bool:
        if isinstance(valid, Vector):
            if valid.values.all():
                return True
            if isinstance(self.applies, Vector):
                raise Split(self.applies.values)
            self.valid &= valid.values
            valid = self.valid.any()
        if not valid:
            self.fault("", "a layer's arguments do not fit together")
            raise Broken
        return True

    def fault(self, path: str, message: str, scope: Scope | None = None, value: Any = None) -> None:
        # Messages are not read: whoever wants one plans a single member.
        self.faults[Fault(path, "cannot be planned")] = None

    def whole(self, value: Any, path: str, scope: Scope, written: Any = None) -> Any:
        if not isinstance(value, Vector):
            return super().whole(value, path, scope, written)
        try:
            return value.whole()
        except ValueError:
            self.fault(path, "")
            raise Broken from None

    def cast(self, value: Any, wanted: type, origin: tuple[str, Any], scope: Scope) -> Any:
        if not isinstance(value, Vector):
            return super().cast(value, wanted, origin, scope)
        if wanted is bool:
            return bool(value)
        return self.whole(value, origin[0], scope) if wanted is int else value
