"""Draws from a space: free ones, and draws given relations, met by construction where that is exact.

A conditional draw has the distribution of a free one that was kept because its relation holds: an order of
the stages is drawn stage by stage from the exact conditional probabilities, and relations between few values
are drawn from the table of all their combinations. Relations that allow neither are left to rejection.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import NamedTuple, Protocol

import numpy as np

from resnet_factory.sweep.dimension import Dimension
from resnet_factory.sweep.relation import Relation
from resnet_factory.sweep.samplers import draw_samples, sampler_unit_numbers
from resnet_factory.sweep.space import Space
from resnet_factory.sweep.structure_numbers import STRUCTURE_NUMBERS, structure_number, structure_number_name
from resnet_factory.sweep.vector import Array
from resnet_factory.sweep.windows import window_relations

MOST_COMBINATIONS = 2**18
"""The most combinations of values that a table holds."""


class ConditionalDraw(Protocol):
    """Dimensions that are drawn together, given relations between them."""

    dimensions: Sequence[Dimension]
    relations: Sequence[Relation]
    share: float
    """The share of free draws for which the relations hold."""

    def draw(self, unit: Array) -> dict[str, Array]:
        """Return values for uniform numbers in [0, 1), one row per dimension; choices as indices."""


class SpaceDraws(Protocol):
    """Samples of a space by their numbers: the same for the same space, sampler and seed."""

    space: Space

    @property
    def met(self) -> dict[str, float]:
        """Return what is met by construction, with the share of free draws that meet it."""

    def samples(self, start: int, stop: int) -> dict[str, Array]:
        """Return samples `start` to `stop` by key, within one batch of `samplers.BATCH`."""


class Draws:
    """Samples of a space by their numbers: the same for the same space, sampler and seed."""

    def __init__(self, space: Space, sampler: str, seed: int, *, conditional: bool = True) -> None:
        self.space, self.sampler, self.seed = space, sampler, seed
        self.parts: list[ConditionalDraw] = []
        if conditional and sampler != "grid":
            self.parts = list(conditional_draws(space))

    @property
    def met(self) -> dict[str, float]:
        """Return the relations that are met by construction, with the share of free draws that meet them."""
        return {" and ".join(each.text for each in part.relations): part.share for part in self.parts}

    def samples(self, start: int, stop: int) -> dict[str, Array]:
        """Return samples `start` to `stop` by key, within one batch of `samplers.BATCH`."""
        dimensions = self.space.dimensions
        samples = draw_samples(self.sampler, dimensions, self.seed, start, stop)
        if self.parts:
            unit = sampler_unit_numbers(self.sampler, len(dimensions), self.seed, start)[:, : stop - start]
            rows = dict(zip((dimension.key for dimension in dimensions), unit, strict=True))
            for part in self.parts:
                samples |= part.draw(np.stack([rows[dimension.key] for dimension in part.dimensions]))
        return samples


class _DrawSupport(NamedTuple):
    """The values of a dimension by rising number."""

    samples: Array
    """As sampled: choices as indices."""
    numbers: Array
    chances: Array


def _draw_support(dimension: Dimension, sign: int = 1) -> _DrawSupport | None:
    found = dimension.support() if dimension.numeric else None
    if found is None:
        return None
    samples, chances = found
    numbers = dimension.numbers(samples) * sign
    order = np.argsort(numbers, kind="stable")
    return _DrawSupport(samples[order], numbers[order], chances[order])


class OrderedDraw:
    """Stages drawn in an order, each given the one before and that the later ones fit."""

    def __init__(
        self, dimensions: Sequence[Dimension], relation: Relation, supports: Sequence[_DrawSupport]
    ) -> None:
        self.dimensions, self.supports = dimensions, supports
        self.relations: Sequence[Relation] = (relation,)
        self.strict = relation.order in ("increasing", "decreasing")
        later = np.ones(len(supports[-1].numbers))
        self.cumulated = [np.cumsum(supports[-1].chances)]
        for here, after in zip(supports[-2::-1], supports[:0:-1], strict=True):
            total = np.append(0, self.cumulated[0])
            later = total[-1] - total[self._first(after, here.numbers)]
            self.cumulated.insert(0, np.cumsum(here.chances * later))
        self.share = float(self.cumulated[0][-1])

    def _first(self, support: _DrawSupport, before: Array) -> Array:
        """Return the index of the first value that may follow each of `before`."""
        return np.searchsorted(support.numbers, before, "right" if self.strict else "left")

    def draw(self, unit: Array) -> dict[str, Array]:
        """Return values for uniform numbers, by inverting each stage's conditional distribution."""
        samples: dict[str, Array] = {}
        first = numbers = np.zeros(unit.shape[1], np.int64)
        for row, (dimension, support, total) in enumerate(
            zip(self.dimensions, self.supports, self.cumulated, strict=True)
        ):
            if row:
                first = self._first(support, numbers)
            below = np.append(0, total)[first]
            at = np.searchsorted(total, below + unit[row] * (total[-1] - below), "right")
            at = np.clip(at, first, len(total) - 1)
            numbers = support.numbers[at]
            samples[dimension.key] = support.samples[at]
        return samples


class TableDraw:
    """Dimensions of few values, drawn from all combinations for which the relations hold."""

    def __init__(
        self, dimensions: Sequence[Dimension], relations: Sequence[Relation],
        supports: Sequence[_DrawSupport], space: Space,
    ) -> None:  # fmt: skip
        self.dimensions, self.relations, self.supports = dimensions, relations, supports
        shape = [len(support.numbers) for support in supports]
        places = np.indices(shape).reshape(len(shape), -1)
        columns = {
            dimension.key: support.numbers[at]
            for dimension, support, at in zip(dimensions, supports, places, strict=True)
        }
        by_name = {structure_number_name(key): values for key, values in columns.items()}
        size, stages = places.shape[1], space.stages

        def number(name: str) -> Array:
            if name in by_name:
                return by_name[name]
            return structure_number(name, space.base, columns, stages, stages, size)

        good = reduce(np.logical_and, (relation.holds(number, stages, size) for relation in relations))
        chances = reduce(np.multiply.outer, (support.chances for support in supports)).reshape(-1)
        kept = np.flatnonzero(good)
        self.places = places[:, kept]
        self.cumulated = np.cumsum(chances[kept])
        self.share = float(self.cumulated[-1]) if kept.size else 0.0

    def draw(self, unit: Array) -> dict[str, Array]:
        """Return values for the uniform numbers of the first row."""
        at = np.searchsorted(self.cumulated, unit[0] * self.share, "right")
        at = np.minimum(at, len(self.cumulated) - 1)
        return {
            dimension.key: support.samples[place[at]]
            for dimension, support, place in zip(self.dimensions, self.supports, self.places, strict=True)
        }


def conditional_draws(space: Space) -> Iterator[ConditionalDraw]:
    """Yield the draws of all relations that can be met by construction."""
    readable = {structure_number_name(d.key): d for d in space.dimensions if d.numeric}
    made = {structure_number_name(key) for number in space.computed for key in number.keys(space.stages)}
    made |= {structure_number_name(number.key) for number in space.computed}
    waiting: list[tuple[list[Relation], set[str]]] = []
    for relation in (*space.relations, *window_relations(space.windows)):
        read = _dimensions_drawn_together(relation, readable, made, space)
        if read is None:
            continue
        relations = [relation]
        for other in [each for each in waiting if each[1] & read]:  # what shares a dimension is one part
            waiting.remove(other)
            relations, read = other[0] + relations, other[1] | read
        waiting.append((relations, read))
    for relations, read in waiting:
        dimensions = [readable[name] for name in readable if name in read]
        found = [_draw_support(dimension) for dimension in dimensions]
        supports = [support for support in found if support is not None]
        part: ConditionalDraw
        if len(supports) < len(found):
            continue
        if math.prod(len(support.numbers) for support in supports) <= MOST_COMBINATIONS:
            part = TableDraw(dimensions, relations, supports, space)
            if part.share > 0:
                yield part
            continue
        for relation in relations:
            if not relation.order:
                continue
            names = [structure_number_name(f"{relation.key}.{stage}") for stage in range(space.stages)]
            sign = -1 if relation.order in ("non_increasing", "decreasing") else 1
            ordered = [readable[name] for name in names]
            signed = [support for one in ordered if (support := _draw_support(one, sign)) is not None]
            part = OrderedDraw(ordered, relation, signed)
            if part.share > 0:
                yield part
            break  # others that share its dimensions are left to rejection


def _dimensions_drawn_together(
    relation: Relation, readable: Mapping[str, Dimension], made: set[str], space: Space
) -> set[str] | None:
    """Return the names of the dimensions that decide a relation; None where more than they decide it."""
    read: set[str] = set()
    for name in relation.names(space.stages):
        if name in made:
            return None
        if name in readable:
            read.add(name)
            continue
        field = {"total_depth": "depths", "max_width": "widths"}.get(name)
        staged = [f"{field}{stage + 1}" for stage in range(space.stages)]
        if name not in STRUCTURE_NUMBERS or space.generator is not None or not {*staged} <= readable.keys():
            return None
        read |= {*staged}
    return read or None
