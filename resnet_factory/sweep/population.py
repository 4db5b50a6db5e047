"""Many architectures planned and costed at once: the planner's and the costing's own code, over columns.

A population shares one config; some of its numbers differ from member to member. Where a recipe's
condition or a layer's formula asks a question that members answer differently, the population is split
and each part goes its own way, so every part has one structure of layers holding columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from resnet_factory.config import pruning, schema
from resnet_factory.config.recipe import PerStage, Recipe
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
from resnet_factory.costing.receptive_field import last_field
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.planning.compiled import Scope
from resnet_factory.planning.evaluation import Broken
from resnet_factory.planning.network_plan import Block, Plan, Stage
from resnet_factory.planning.planner import Planner
from resnet_factory.planning.planner import plan as plan_one
from resnet_factory.sweep.vector import Array, Column, Split, Unfit, choose

CHUNK = 32_768
"""Members at a time: their columns stay in the processor's cache."""
FEW = 4
"""So few members are quicker planned one by one."""
COSTS = ("params", "macs", "activations")
"""Costs that every architecture gets."""
FURTHER = ("receptive_field", "inference_memory", "training_memory")
"""Costs worked out when they are asked for: pixels along one axis, and bytes, weights included."""


@dataclass(frozen=True)
class Population:
    """Architectures that share `config` but for some numbers."""

    config: ModelConfig
    columns: Mapping[str, Array]
    """Dotted key below the model -> one value per member: `widths.0`, `depths`, `stem.width`, …"""
    image: tuple[int, int] = (224, 224)
    batch: int = 1
    """Images at a time, for memory."""
    dtype: str = "float32"
    """Of weights and maps, for memory."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 1

    def take(self, members: Array) -> Population:
        """Some of the members."""
        return replace(self, columns={key: values[members] for key, values in self.columns.items()})

    def data(self, member: int) -> dict[str, Any]:
        """One member's model as plain data."""
        data = self.config.to_dict()
        for key, values in self.columns.items():
            place(data, key, values[member].item(), len(self.config.depths))
        return data

    def member(self, member: int) -> ModelConfig:
        """One member's config.

        Raises:
            ConfigError: its numbers are out of range.
        """
        return pruning.read(self.data(member), name=self.config.name)


class Part(NamedTuple):
    """Members with one structure, planned and costed together."""

    members: Array
    """Their numbers in the population."""
    valid: Array
    """Which of them can be planned and costed."""
    plan: Plan | None
    """Columns where they differ. None: none of them can be planned."""
    costs: Mapping[str, Any] = {}
    """By name, columns where they differ."""


class Costs(NamedTuple):
    """One value per member; what is not valid costs 0. What no 64 bits can count is not valid either."""

    valid: Array
    params: Array
    macs: Array
    activations: Array
    further: dict[str, Array]
    """Those of FURTHER that were asked for."""


def cost_all(population: Population, chunk: int = CHUNK, further: Sequence[str] = ()) -> Costs:
    """The costs of every member: the integers that planning and costing each one gives."""
    size = len(population)
    valid = np.zeros(size, bool)
    totals = {name: np.zeros(size, np.int64) for name in (*COSTS, *further)}
    for part in parts(population, chunk, further):
        valid[part.members] = part.valid
        for name, found in part.costs.items():
            values = found.values if isinstance(found, Column) else found
            totals[name][part.members] = np.where(part.valid, values, 0)
    params, macs, activations = (totals.pop(name) for name in COSTS)
    return Costs(valid, params, macs, activations, totals)


def parts(population: Population, chunk: int = CHUNK, further: Sequence[str] = ()) -> Iterator[Part]:
    """The population in parts of one structure each, with some costs of FURTHER.

    Members whose arrays cannot be computed with exactly are parts of their own, planned one by one.
    """
    inside = _in_range(population)
    waiting: dict[tuple[bool, ...], list[Array]] = {(): [np.flatnonzero(inside)]}
    if (outside := np.flatnonzero(~inside)).size:
        yield Part(outside, np.zeros(outside.size, bool), None)
    while waiting:
        # The answers given so far lead the way: members that agreed stay together, in full chunks.
        key = max(waiting, key=lambda key: sum(map(len, waiting[key])))
        pool = np.concatenate(waiting.pop(key))
        members, rest = pool[:chunk], pool[chunk:]
        if rest.size:
            waiting[key] = [rest]
        if not members.size:
            continue
        if members.size <= FEW:
            yield from (_alone(population, member, further) for member in members)
            continue
        try:
            yield _together(population, members, further)
        except Split as split:
            for answer in (True, False):
                mask = split.mask if answer else ~split.mask
                waiting.setdefault((*key, answer), []).append(members[mask])
        except Unfit:
            yield from (_alone(population, member, further) for member in members)


def _alone(population: Population, member: int, further: Sequence[str]) -> Part:
    at = np.array([member])
    try:
        planned = plan_one(population.member(member))
        found = cost(planned, (planned.in_channels, *population.image))
    except ConfigError:
        return Part(at, np.zeros(1, bool), None)
    costs = _costs(found, population, further)
    return Part(at, np.ones(1, bool), planned, costs) if costs else Part(at, np.zeros(1, bool), None)


def _costs(found: Cost, population: Population, names: Sequence[str]) -> dict[str, Any]:
    """All costs asked for; none where one is more than 64 bits can count."""
    plan, image, batch, dtype = found.plan, found.image, population.batch, population.dtype
    values: dict[str, Any] = dict(zip(COSTS, found.total, strict=True))
    for name in names:
        if name == "receptive_field":
            values[name] = last_field(plan).size
        else:
            training = name == "training_memory"
            values[name] = most_memory(plan, image, batch, dtype, training=training)
    countable = all(isinstance(value, Column) or value < 2**63 for value in values.values())
    return values if countable else {}


def _together(population: Population, members: Array, further: Sequence[str]) -> Part:
    if population.config.features is not None:
        raise Unfit("a backbone is cut from its whole network")
    columns = {key: Column.of(values[members]) for key, values in population.columns.items()}
    planner = _Together(substitute(population.config, columns), members.size)
    with np.errstate(all="ignore"):
        plan = planner.network()
        if plan is None or planner.faults:
            return Part(members, np.zeros(members.size, bool), None)
        try:
            found = cost(plan, (plan.in_channels, *population.image))
        except ConfigError:
            return Part(members, np.zeros(members.size, bool), None)
        costs = _costs(found, population, further)
        return (
            Part(members, planner.valid, plan, costs) if costs else Part(members, planner.valid & False, None)
        )


@dataclass(frozen=True, slots=True)
class Repeated(Stage):
    """A stage whose blocks are there as often as `counts` says."""

    counts: tuple[Any, ...] = ()
    leaves: Any = 0

    @property
    def runs(self) -> tuple[tuple[Block, Any], ...]:
        return tuple(zip(self.blocks, self.counts, strict=True))

    @property
    def out_channels(self) -> Any:
        return self.leaves


class _Together(Planner):
    """The planner over columns: invalid members are noted and carried along."""

    def __init__(self, config: Specification, size: int) -> None:
        super().__init__(config)
        self.valid = np.ones(size, bool)
        self.applies: Any = True
        """Which members have the block that is being planned."""

    def repeat(
        self, stage: Stage, depth: Any, channels: Any, repeats: bool, at: Callable[[int, Any], Block]
    ) -> Stage:
        blocks: list[Block] = []
        counts: list[Any] = []
        for block in range(int(depth.high) if isinstance(depth, Column) else depth):
            if repeats and block > 1 and blocks[-1].in_channels == channels:
                counts[-1] = depth - (block - 1)
                if isinstance(counts[-1], Column) and counts[-1].low < 0:
                    counts[-1] = Column.functions["max"](counts[-1], 0)
                break
            self.applies = depth > block
            try:
                blocks.append(at(block, channels))
            except Broken:
                if isinstance(self.applies, Column):
                    raise Split(self.applies.values) from None
                raise
            counts.append(self.applies * 1)
            channels = choose(self.applies, blocks[-1].out_channels, channels)
        self.applies = True
        return Repeated(stage.name, tuple(blocks), stage.transition, tuple(counts), channels)

    def holds(self, valid: Any) -> bool:
        if isinstance(valid, Column):
            if valid.values.all():
                return True
            if isinstance(self.applies, Column):
                raise Split(self.applies.values)
            self.valid &= valid.values
            valid = self.valid.any()
        if not valid:
            self.fault("", "a layer's arguments do not fit together")
            raise Broken
        return True

    def fault(self, path: str, message: str, scope: Scope | None = None, value: Any = None) -> None:
        # That members cannot be planned is all that is asked here; `plan` tells a person why.
        self.faults[Fault(path, "cannot be planned")] = None

    def whole(self, value: Any, path: str, scope: Scope, written: Any = None) -> Any:
        if not isinstance(value, Column):
            return super().whole(value, path, scope, written)
        try:
            return value.whole()
        except ValueError:
            self.fault(path, "")
            raise Broken from None

    def cast(self, value: Any, wanted: type, origin: tuple[str, Any], scope: Scope) -> Any:
        if not isinstance(value, Column):
            return super().cast(value, wanted, origin, scope)
        if wanted is bool:
            return bool(value)
        return self.whole(value, origin[0], scope) if wanted is int else value


# Where a member's numbers stand ---------------------------------------------------------------


def substitute(config: ModelConfig, numbers: Mapping[str, Any]) -> Specification:
    """The model with numbers (or columns) in the places `takes` knows."""
    stages = len(config.depths)
    changes: dict[str, Any] = {}
    recipes: dict[str, Any] = {
        "stem": config.stem, "head": config.head, "shortcut": config.shortcut, "block": config.blocks,
        "transition": config.transition, **config.slots,
    }  # fmt: skip
    for key, number in numbers.items():
        head, *rest = key.split(".")
        if head in WHOLE:
            changes[head] = number
        elif head in PER_STAGE:
            old = changes.get(head, getattr(config, head))
            changes[head] = tuple(
                number if not rest or stage == int(rest[0]) else old[stage] for stage in range(stages)
            )
        elif head == "block":
            recipes[head] = tuple(_renumbered(block, rest, number) for block in recipes[head])
        else:
            recipes[head] = _renumbered(recipes[head], rest, number)
    slots = {name: recipes[name] for name in config.slots}
    said = {entry.name: getattr(config, entry.name) for entry in fields(Specification)}
    said |= {key: recipes[key] for key in ("stem", "head", "shortcut", "transition")}
    return Specification(**said | {"blocks": recipes["block"], "slots": slots} | changes)


def _renumbered(recipe: Recipe, keys: list[str], number: Any) -> Recipe:
    name, *index = keys
    names: list[tuple[str, Any]] = []
    for key, value in recipe.names:
        if key == name and index:
            assert isinstance(value, PerStage)
            values = list(value.values)
            values[int(index[0])] = number
            names.append((key, PerStage(tuple(values))))
        else:
            names.append((key, number if key == name else value))
    return replace(recipe, names=tuple(names))


def takes(config: ModelConfig, key: str) -> bool:
    """Whether the number at a dotted key below the model may differ within one population."""
    head, *rest = key.split(".")
    if head in WHOLE and head != "image_size":
        return not rest
    if head in PER_STAGE:
        return not rest or (len(rest) == 1 and rest[0].isdigit() and int(rest[0]) < len(config.depths))
    recipes: dict[str, tuple[Recipe, ...]] = {
        "stem": (config.stem,), "head": (config.head,), "shortcut": (config.shortcut,),
        "transition": (config.transition,), **{name: (slot,) for name, slot in config.slots.items()},
    }  # fmt: skip
    if len(set(config.blocks)) == 1:
        recipes["block"] = config.blocks[:1]
    if head not in recipes or not rest:
        return False
    for recipe in recipes[head]:
        value = dict(recipe.names).get(rest[0])
        if value is None or isinstance(value, str):
            return False
        if len(rest) == 1 and isinstance(value, PerStage):
            return False
        if len(rest) == 2 and not (
            isinstance(value, PerStage)
            and rest[1].isdigit()
            and int(rest[1]) < len(value.values)
            and not isinstance(value.values[int(rest[1])], tuple)
        ):
            return False
    return len(rest) <= 2


def place(data: dict[str, Any], key: str, number: Any, stages: int) -> None:
    """Write a number into a model's plain data, at a dotted key."""
    head, *rest = key.split(".")
    if head in PER_STAGE:
        old = data.get(head, schema.DEFAULTS.get(head, 1))
        data[head] = list(old) if isinstance(old, list) else [old] * stages
        data[head][int(rest[0]) if rest else slice(None)] = number if rest else [number] * stages
    elif rest:
        inner = data[head]
        for step in rest[:-1]:
            inner = inner[int(step) if isinstance(inner, list) else step]
        inner[int(rest[-1]) if isinstance(inner, list) else rest[-1]] = number
    else:
        data[head] = number


def _in_range(population: Population) -> Array:
    """Which members have numbers the schema allows."""
    config = population.config
    good: Array = np.ones(len(population), bool)
    for key, values in population.columns.items():
        head = key.split(".")[0]
        least = PER_STAGE.get(head, WHOLE[head][0] if head in WHOLE else None)
        if least is not None:
            good &= (values >= least) & (values <= MAX_CHANNELS)
        else:
            good &= np.abs(values) < 2.0**40
    blocks: Any = 0
    for stage, depth in enumerate(config.depths):
        own = population.columns.get(f"depths.{stage}", population.columns.get("depths", depth))
        blocks = blocks + own
    good &= blocks <= MAX_BLOCKS
    return good
