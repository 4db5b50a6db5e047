"""Costs of the stages of a space in tables: by a stage's own numbers and the width of the stage before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resnet_factory.costing.complexity import compute_complexity
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep.computed_numbers import add_computed
from resnet_factory.sweep.dimension import Dimension
from resnet_factory.sweep.population import BASIC_COSTS, population_parts
from resnet_factory.sweep.sampled_populations import (
    CostConditions,
    numeric_sampled_columns,
    sampled_members_by_template,
    sampled_population,
    sampled_structural_dimensions,
)
from resnet_factory.sweep.space import Space
from resnet_factory.sweep.stage_options import (
    StageOptions,
    conditional_sampler_fault,
    sampled_stage_options,
)
from resnet_factory.sweep.templates import ModelTemplates
from resnet_factory.sweep.vector import Array, vector_values

MOST_CELLS = 2**24
"""The most entries of the table of one stage."""
CHUNK = 2**17
"""Networks costed at a time."""
SAME, LEAST, MOST = OTHERS = ("same", "least", "most")
"""Options of the other stages while one is costed: those of the nearer one, the first, or the last."""
CHECKED = 4096
"""Random networks of which the tables must give the exact costs."""


@dataclass(frozen=True, kw_only=True)
class StageCosts:
    """Costs of every stage, for all that can be drawn for it.

    `h` counts the combinations of what all stages share, `i` the different widths of the stage before, and
    `z` the combinations of the stage's own numbers.
    """

    metric: str
    """One of BASIC_COSTS."""
    shared: StageOptions
    stages: tuple[StageOptions, ...]
    widths: tuple[Array, ...]
    """For each stage [h, z]: the index `i` of its width, for the stage after it."""
    costs: tuple[Array, ...]
    """For each stage [h, i, z]: exact, infinite where such a stage cannot be planned.

    Those of the stem are in the first stage's, those of the head in the last one's.
    """

    def total(self, shared: Array, options: Sequence[Array]) -> Array:
        """Return the costs of networks given by `h` and the `z` of each stage."""
        found, before = np.zeros(len(shared)), np.zeros(len(shared), np.int64)
        for own, widths, costs in zip(options, self.widths, self.costs, strict=True):
            found = found + costs[shared, before, own]
            before = widths[shared, own]
        return found


def tabulate_stage_costs(space: Space, templates: ModelTemplates, conditions: CostConditions) -> StageCosts:
    """Tabulate the cost that the windows of a space restrict most, with the planner.

    A stage's cost is taken as linear in its depth, and to depend on no more than its own numbers, what all
    stages share and the width of the stage before; random networks are costed as a whole to check that.

    Raises:
        ConfigError: the space has no window on a cost, too many combinations, or stages of other costs.
    """
    metrics = [metric for metric in BASIC_COSTS if metric in space.windows]
    if space.generator is not None or not metrics:
        message = "draws inside a window on params, macs or activations, and this space has none"
        if metrics:
            message = "draws stage by stage, and RegNet's generator makes all stages at once"
        raise ConfigError([conditional_sampler_fault(message)])
    shared, stages = _options_by_stage(space)
    coster = _SectionCoster(space, ModelTemplates(space, templates.compose), conditions)
    random = np.random.default_rng(0)
    at = random.choice(len(shared), CHECKED, p=shared.chances)
    drawn = [random.choice(len(one), CHECKED, p=one.chances) for one in stages]
    samples = sampled_stage_options(shared, stages, at, drawn)
    exact = {metric: coster.costs(samples, metric).sum(axis=1) for metric in metrics}

    def inside(metric: str) -> int:
        low, high = space.windows[metric]
        return int(np.count_nonzero((exact[metric] >= low) & (exact[metric] <= high)))

    metric = min(metrics, key=inside)
    found = _tabulate(coster, metric, shared, stages)
    valid = ~np.isnan(exact[metric])
    if not np.array_equal(found.total(at, drawn)[valid], exact[metric][valid]):
        message = f"needs {metric} of a stage to depend only on its own numbers and the width before it"
        raise ConfigError([conditional_sampler_fault(f"{message}, and linearly on its depth")])
    return found


def _options_by_stage(space: Space) -> tuple[StageOptions, list[StageOptions]]:
    """Return the combinations of what all stages share, and of the numbers of each stage.

    Raises:
        ConfigError: there are too many.
    """
    staged: list[list[Dimension]] = [[] for _ in range(space.stages)]
    rest: list[Dimension] = []
    for dimension in space.dimensions:
        last = dimension.key.rpartition(".")[2]
        (staged[int(last)] if last.isdigit() and dimension.numeric else rest).append(dimension)
    for stage, dimensions in enumerate(staged):  # the depth varies fastest
        own = [dimension for dimension in dimensions if dimension.key == f"depths.{stage}"]
        dimensions[:] = [dimension for dimension in dimensions if dimension not in own] + own
    counts = [math.prod(one.count or 1 for one in dimensions) for dimensions in (rest, *staged)]
    if counts[0] * max(counts[1:]) > MOST_CELLS:
        raise ConfigError([_too_many_combinations()])
    return StageOptions(rest), [StageOptions(dimensions) for dimensions in staged]


class _SectionCoster:
    """Costs the stem, the stages and the head of sampled networks."""

    def __init__(self, space: Space, templates: ModelTemplates, conditions: CostConditions) -> None:
        self.space, self.templates, self.conditions = space, templates, conditions

    def columns(self, samples: dict[str, Array]) -> dict[str, Array]:
        """Return the samples and what is computed from them."""
        columns = dict(samples)
        for _ in add_computed(
            columns, numeric_sampled_columns(samples, self.space), self.space.computed, self.space.base,
            self.space.stages,
        ):  # fmt: skip
            pass  # what has no value is not drawn either, or fails the check of the tables
        return columns

    def costs(self, samples: dict[str, Array], metric: str) -> Array:
        """Return the costs of each section [member, section]; NaN where it cannot be planned."""
        size = len(next(iter(samples.values())))
        found = np.full((size, self.space.stages + 2), np.nan)
        for start in range(0, size, CHUNK):
            stop = min(start + CHUNK, size)
            part = {key: values[start:stop] for key, values in samples.items()}
            self._fill(found[start:stop], part, metric)
        return found

    def _fill(self, found: Array, samples: dict[str, Array], metric: str) -> None:
        space, size = self.space, len(found)
        columns, stages = self.columns(samples), np.full(size, space.stages)
        keys = sampled_structural_dimensions(space)
        for overrides, members in sampled_members_by_template(keys, columns, stages, np.arange(size)):
            try:
                config = self.templates.config(self.templates.find(overrides, space.stages))
            except ConfigError:
                continue
            population = sampled_population(config, space, columns, members, self.conditions)
            for part in population_parts(population):
                if part.plan is None:
                    continue
                with np.errstate(all="ignore"):
                    image = (part.plan.in_channels, *population.image)
                    sections = compute_complexity(part.plan, image).sections
                at = members[part.members]
                for section, row in enumerate(sections):
                    found[at, section] = vector_values(getattr(row.tally, metric))
                found[at[~part.valid]] = np.nan


def _tabulate(
    coster: _SectionCoster, metric: str, shared: StageOptions, stages: Sequence[StageOptions]
) -> StageCosts:
    many = len(shared)
    # A combination of the stage before for each of its widths; the first stage has one predecessor.
    firsts = [np.zeros(1, np.int64)] * many
    widths, costs = [], []
    for stage, options in enumerate(stages):
        table = _stage_table(coster, metric, shared, stages, stage, firsts)
        known = np.zeros((many, len(options.chances)), np.int64)
        planned = np.asarray(np.isfinite(table).any(axis=1))
        found = _stage_widths(coster, shared, stages, stage)
        firsts = []
        for h in range(many):
            _, known[h] = np.unique(found[h], return_inverse=True)
            order = np.argsort(~planned[h], kind="stable")  # those that can be planned first
            firsts.append(order[np.unique(known[h][order], return_index=True)[1]])
        widths.append(known)
        costs.append(table)
    return StageCosts(
        metric=metric, shared=shared, stages=tuple(stages), widths=tuple(widths), costs=tuple(costs)
    )


def _stage_table(
    coster: _SectionCoster,
    metric: str,
    shared: StageOptions,
    stages: Sequence[StageOptions],
    stage: int,
    firsts: Sequence[Array],
) -> Array:
    """Return the costs of one stage [h, i, z]: two depths are planned, all others follow from them."""
    options, most = stages[stage], max(map(len, firsts))
    size, many = len(options), len(firsts)
    if many * most * size > MOST_CELLS:
        raise ConfigError([_too_many_combinations()])
    deep = options.find(f"depths.{stage}")
    depths = np.zeros(1) if deep is None else options.numbers(deep)
    count = len(depths)
    second = int(np.searchsorted(depths, depths[0], "right")) % count
    pairs = [(h, i, first) for h in range(many) for i, first in enumerate(firsts[h].tolist())]
    at, before_at, before = np.array(pairs).T
    kinds = np.arange(0, size, count)
    sections = [stage + 1, *([0] if stage == 0 else []), *([-1] if stage == len(stages) - 1 else [])]

    def costs_of(kinds: Array) -> Array:
        first, own = np.repeat(before, len(kinds)), np.tile(kinds, len(at))
        found = np.full(len(own), np.nan)
        for others in OTHERS:  # beside some stages no network can be planned
            lacking = np.flatnonzero(np.isnan(found))
            if not lacking.size:
                break
            drawn = [
                _stage_beside((first if i < stage else own)[lacking], len(one), others)
                for i, one in enumerate(stages)
            ]
            if stage:
                drawn[stage - 1] = first[lacking]
            drawn[stage] = own[lacking]
            samples = sampled_stage_options(shared, stages, np.repeat(at, len(kinds))[lacking], drawn)
            found[lacking] = coster.costs(samples, metric)[:, sections].sum(axis=1)
        return found

    least = costs_of(kinds)
    slope = (costs_of(kinds + second) - least) / (depths[second] - depths[0]) if second else least * 0
    rows = least[:, None] + slope[:, None] * (depths - depths[0])
    table = np.full((many, most, size), np.inf)
    table[at, before_at] = np.where(np.isnan(rows), np.inf, rows).reshape(len(at), size)
    return table


def _stage_beside(near: Array, size: int, others: str) -> Array:
    """Return options of a stage that is costed along: those of a nearer one, the first, or the last."""
    if others == SAME:
        return np.minimum(near, size - 1)
    return np.full(len(near), 0 if others == LEAST else size - 1)


def _stage_widths(
    coster: _SectionCoster, shared: StageOptions, stages: Sequence[StageOptions], stage: int
) -> Array:
    """Return the width of a stage [h, z]; 0 where it does not vary by stage."""
    many, size = len(shared), len(stages[stage])
    others = [np.zeros(many * size, np.int64)] * len(stages)
    others[stage] = np.tile(np.arange(size), many)
    samples = sampled_stage_options(shared, stages, np.repeat(np.arange(many), size), others)
    columns = coster.columns(samples)
    return np.asarray(columns.get(f"widths.{stage}", others[stage] * 0)).reshape(many, size)


def _too_many_combinations() -> Fault:
    return conditional_sampler_fault(
        f"draws from tables of at most {MOST_CELLS:,} entries, and this space needs more"
    )
