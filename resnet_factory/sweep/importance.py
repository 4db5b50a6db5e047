"""Importance of the varied parameters: the share of a metric's variance that each explains on its own.

The first-order (main-effect) index of functional ANOVA, Var(E[y|x]) / Var(y) (Sobol 1993; Hutter et al. 2014
for hyperparameters), estimated by one-way analysis of variance over at most ten groups of a parameter's
values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from resnet_factory.sweep.vector import Array

GROUPS = 10
"""Groups of a parameter with more values: tenths of the architectures."""


class Importance(NamedTuple):
    """The share of variance explained, with its 95 % interval of the bootstrap."""

    share: float
    low: float
    high: float
    size: int
    """Architectures it is from."""


def variance_importance(parameter: Array, values: Array) -> float:
    """Return omega squared, the share of the variance of `values` (n,) that `parameter` (n,) explains.

    Unlike eta squared it is not biased by the number of groups (Hays 1963); below 0 it is 0.
    """
    return _omega_squared_importance(_importance_groups(parameter), values)


def _omega_squared_importance(groups: Array, values: Array) -> float:
    sizes = np.bincount(groups)
    filled = sizes > 0
    count, kinds = len(values), int(filled.sum())
    total = float(((values - values.mean()) ** 2).sum())
    if total <= 0 or kinds < 2 or count <= kinds:
        return 0.0
    means = np.bincount(groups, values)[filled] / sizes[filled]
    between = float((sizes[filled] * (means - values.mean()) ** 2).sum())
    within = (total - between) / (count - kinds)
    return max(0.0, (between - (kinds - 1) * within) / (total + within))


def parameter_importance(
    parameter: Array, values: Array, *, times: int = 200, most: int = 5_000, seed: int = 0
) -> Importance:
    """Return the importance of a parameter for a metric; NaN where a value is unknown are left out.

    Metrics that are positive and spread over more than a factor of ten are taken by their logarithm. Of more
    than `most` architectures an even share is taken.
    """
    known = np.isfinite(values) & np.isfinite(parameter)
    parameter, values = parameter[known], values[known]
    if len(values) > most:
        even = np.linspace(0, len(values) - 1, most).astype(int)
        parameter, values = parameter[even], values[even]
    if values.size and values.min() > 0 and values.max() > 10 * values.min():
        values = np.log(values)
    random, count = np.random.default_rng(seed), len(values)
    if count < 3:
        return Importance(0.0, 0.0, 0.0, count)
    groups, drawn = _importance_groups(parameter), []
    for _ in range(times):
        rows = random.integers(0, count, count)
        drawn.append(_omega_squared_importance(groups[rows], values[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Importance(_omega_squared_importance(groups, values), float(low), float(high), count)


def _importance_groups(parameter: Array) -> Array:
    """Return the group of each value: the value itself where they are few, else its tenth by rank."""
    found, codes = np.unique(parameter, return_inverse=True)
    if len(found) <= GROUPS:
        return codes.reshape(-1)
    edges = np.quantile(parameter, np.linspace(0, 1, GROUPS + 1)[1:-1])
    return np.searchsorted(edges, parameter, side="right")
