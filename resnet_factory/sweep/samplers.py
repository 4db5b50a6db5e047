"""Samplers of a design space, in batches that can be drawn again one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep.dimension import Dimension
from resnet_factory.sweep.vector import Array

BATCH = 65_536
"""Samples drawn, costed and stored together."""
MOST = 100_000_000
"""The largest number of samples of one sweep."""


def sampler_size(sampler: str, dimensions: Sequence[Dimension], samples: int | None) -> int:
    """Return how many samples a sampler draws.

    Raises:
        ConfigError: a grid over real numbers; no number of samples where one is needed; too many of them.
    """
    key, total, message = "samples", samples or 0, ""
    if samples is not None and samples > MOST:
        message = f"{_sampler_count_text(samples)} are more than a sweep takes; expected at most {MOST:,}"
    elif sampler != "grid" and samples is None:
        message = f"the {sampler!r} sampler needs a number of samples"
    elif sampler == "grid":
        key = "sampler"
        counts = {dimension.key: dimension.count for dimension in dimensions}
        total = math.prod(count or 0 for count in counts.values())
        real = next((key for key, count in counts.items() if count is None), None)
        if real is not None:
            message = f"a grid needs countable values, but {real!r} takes real numbers; give it a step"
        elif samples is not None:
            total = min(total, samples)
        elif total > MOST:
            message = (
                f"a grid of {_sampler_count_text(total)} combinations is more than a sweep takes (at most "
                f"{MOST:,}); vary fewer keys, or draw from it with sampler=random and samples=…"
            )
    if message:
        raise ConfigError([Fault(key, message)])
    return total


def _sampler_count_text(number: int) -> str:
    """Return a whole number as short text."""
    return f"{number:,}" if number < 10**15 else f"{Decimal(number):.2e}"


def draw_samples(
    sampler: str, dimensions: Sequence[Dimension], seed: int, start: int, stop: int
) -> dict[str, Array]:
    """Return samples `start` to `stop` by dimension key; the same for the same arguments.

    `grid` counts through all combinations, the last dimension fastest. `random` is uniform. `sobol` is
    a scrambled Sobol sequence (Owen 1998), which covers the space more evenly.
    """
    if sampler == "grid":
        index, columns = np.arange(start, stop, dtype=np.int64), {}
        for dimension in reversed(dimensions):
            count = dimension.count
            assert count is not None
            columns[dimension.key] = dimension.grid(index % count)
            index //= count
        return {dimension.key: columns[dimension.key] for dimension in dimensions}
    unit = sampler_unit_numbers(sampler, len(dimensions), seed, start)[:, : stop - start]
    return {dimension.key: dimension.sample(row) for dimension, row in zip(dimensions, unit, strict=True)}


def sampler_unit_numbers(sampler: str, count: int, seed: int, start: int) -> Array:
    """Return BATCH numbers in [0, 1) for each of `count` dimensions, those of samples `start` and following.

    Whole batches are drawn, so that a longer run goes on where a shorter one ended.
    """
    if sampler == "random":
        return np.random.default_rng([seed, start // BATCH]).random((count, BATCH))
    assert sampler == "sobol", f"no sampler is called {sampler!r}"
    from scipy.stats import qmc

    sequence = qmc.Sobol(count, scramble=True, rng=np.random.default_rng(seed))
    if start:
        sequence.fast_forward(start)
    return np.ascontiguousarray(sequence.random(BATCH).T)
