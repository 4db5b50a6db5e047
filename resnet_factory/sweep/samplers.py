"""Samplers: which points of a space are looked at, in batches that can be drawn again one by one."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep.dimension import Dimension
from resnet_factory.sweep.vector import Array

BATCH = 65_536
"""Samples drawn, costed and stored together."""
MOST = 100_000_000
"""Samples of one sweep."""
SAMPLERS = ("grid", "random", "sobol")


def size_of(sampler: str, dimensions: Sequence[Dimension], samples: int | None) -> int:
    """How many samples a sampler gives.

    Raises:
        ConfigError: a grid over real numbers; no number of samples where one is needed; too many of them.
    """
    if samples is not None and samples > MOST:
        message = f"{_count(samples)} are more than a sweep takes; expected at most {MOST:,}"
        raise ConfigError([Fault("samples", message)])
    if sampler != "grid":
        if samples is None:
            raise ConfigError([Fault("samples", f"the {sampler!r} sampler needs a number of samples")])
        return samples
    total = 1
    for dimension in dimensions:
        if dimension.count is None:
            message = (
                f"a grid needs countable values, but {dimension.key!r} takes real numbers; give it a step"
            )
            raise ConfigError([Fault("sampler", message)])
        total *= dimension.count
    if samples is None and total > MOST:
        message = (
            f"a grid of {_count(total)} combinations is more than a sweep takes (at most {MOST:,}); "
            "vary less, or look at some of them with sampler=random and samples=…"
        )
        raise ConfigError([Fault("sampler", message)])
    return total if samples is None else min(total, samples)


def _count(number: int) -> str:
    """A whole number for a person, however large."""
    return f"{number:,}" if number < 10**15 else f"{Decimal(number):.2e}"


def draw(sampler: str, dimensions: Sequence[Dimension], seed: int, start: int, stop: int) -> dict[str, Array]:
    """Samples `start` to `stop`, by dimension key. The same arguments give the same samples.

    `grid` counts through all combinations, the last dimension fastest. `random` is uniform. `sobol` is
    a scrambled Sobol sequence (Owen 1998), which fills the space more evenly.
    """
    if sampler == "grid":
        index, columns = np.arange(start, stop, dtype=np.int64), {}
        for dimension in reversed(dimensions):
            count = dimension.count
            assert count is not None
            columns[dimension.key] = dimension.number(index % count)
            index //= count
        return {dimension.key: columns[dimension.key] for dimension in dimensions}
    # Whole batches are drawn, so that a longer run goes on where a shorter one ended.
    if sampler == "random":
        unit = np.random.default_rng([seed, start // BATCH]).random((len(dimensions), BATCH))
    else:
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(dimensions), scramble=True, rng=np.random.default_rng(seed))
        if start:
            sequence.fast_forward(start)
        unit = np.ascontiguousarray(sequence.random(BATCH).T)
    unit = unit[:, : stop - start]
    return {dimension.key: dimension.sample(row) for dimension, row in zip(dimensions, unit, strict=True)}
