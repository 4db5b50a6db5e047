"""Combinations of what can be drawn for one stage of a space, or for all of them together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep.dimension import Dimension
from resnet_factory.sweep.vector import Array


def conditional_sampler_fault(message: str) -> Fault:
    """Return why a space cannot be sampled inside a window."""
    return Fault("sampler", f"'conditional' {message}; use sampler=random")


class StageOptions:
    """All combinations of the values of some dimensions; the last one varies fastest."""

    def __init__(self, dimensions: Sequence[Dimension]) -> None:
        self.dimensions = tuple(dimensions)
        self.samples: list[Array] = []
        """The values of each dimension, numbers rising; choices as indices."""
        self.odds: list[Array] = []
        """Their probabilities."""
        for dimension in dimensions:
            found = dimension.support()
            if found is None:
                message = f"draws from tables, and {dimension.key!r} has too many values for one"
                raise ConfigError([conditional_sampler_fault(message)])
            samples, odds = found
            order = np.argsort(dimension.numbers(samples) if dimension.numeric else samples, kind="stable")
            self.samples.append(samples[order])
            self.odds.append(odds[order])
        counts = [len(each) for each in self.samples]
        self.places = np.indices(counts).reshape(len(counts), math.prod(counts))
        """[dimension, combination]: the index of the dimension's value."""
        self.chances: Array = np.ones(len(self))
        """The probability of each combination."""
        for odds, place in zip(self.odds, self.places, strict=True):
            self.chances = self.chances * odds[place]

    def __len__(self) -> int:
        return self.places.shape[1]

    def find(self, key: str) -> int | None:
        """Return the index of a dimension."""
        return next((i for i, dimension in enumerate(self.dimensions) if dimension.key == key), None)

    def numbers(self, at: int) -> Array:
        """Return the values of a dimension as numbers, rising."""
        return self.dimensions[at].numbers(self.samples[at])


def sampled_stage_options(
    shared: StageOptions, stages: Sequence[StageOptions], at: Array, drawn: Sequence[Array]
) -> dict[str, Array]:
    """Return samples, by key, from the combinations of what is shared and of each stage."""
    parts = zip((shared, *stages), (at, *drawn), strict=True)
    return {
        dimension.key: values[place[index]]
        for options, index in parts
        for dimension, values, place in zip(options.dimensions, options.samples, options.places, strict=True)
    }
