"""Statistics of populations: Pareto fronts, error distributions, ranges of the best.

Methods: error distributions and their normalised form (Radosavovic et al. 2019, section 3 and equation
3), the empirical bootstrap of best ranges (Radosavovic et al. 2020, section 3.2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from resnet_factory.sweep.vector import Array


def pareto_front(first: Array, second: Array) -> Array:
    """Return the indices of the Pareto front (less is better), by rising `first`.

    Of equal points all are on the front. Points with a NaN are not.
    """
    there = np.flatnonzero(~(np.isnan(first.astype(float)) | np.isnan(second.astype(float))))
    order = there[np.lexsort((second[there], first[there]))]
    if not order.size:
        return order
    a, b = first[order], second[order]
    best_before = np.concatenate(([np.inf], np.minimum.accumulate(b)[:-1].astype(float)))
    # A point is on the front if it is lower than all before it, or equal to the one that is.
    keep = b < best_before
    same = np.concatenate(([False], (a[1:] == a[:-1]) & (b[1:] == b[:-1])))
    starts = np.maximum.accumulate(np.where(~same, np.arange(len(order)), 0))
    return order[keep[starts]]


class EmpiricalDistribution(NamedTuple):
    """An empirical distribution: at each of the sorted values, the share of models not above it."""

    values: Array
    shares: Array


def empirical_distribution(errors: Array, weights: Array | None = None) -> EmpiricalDistribution:
    """Return F(e) = sum of w_i where e_i <= e, with weights 1/n by default. The paper counts e_i < e."""
    order = np.argsort(errors, kind="stable")
    given = np.full(len(errors), 1 / max(len(errors), 1)) if weights is None else weights
    return EmpiricalDistribution(errors[order], np.cumsum(given[order]))


def distribution_bin_weights(complexity: Array, bins: int = 10) -> tuple[Array, int]:
    """Return weights that give each bin of complexity the same share, and the number of empty bins.

    Empty bins are left out: their share goes to the others, which the caller should report.
    """
    low, high = complexity.min(), complexity.max()
    place = np.zeros(len(complexity), int)
    if high > low:
        place = np.minimum(((complexity - low) / (high - low) * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = int(np.count_nonzero(counts))
    return 1 / (counts[place] * filled), bins - filled if high > low else 0


class BootstrapRange(NamedTuple):
    """The range of a parameter among the best models: median and 95 % interval of the bootstrap."""

    low: float
    median: float
    high: float


def bootstrap_range(
    parameter: Array, errors: Array, *, share: float = 0.25, times: int = 10_000, seed: int = 0
) -> BootstrapRange:
    """Return the range of the best model's parameter among a fraction of the models, by the bootstrap."""
    random = np.random.default_rng(seed)
    count = len(errors)
    size = max(1, round(share * count))
    # The best rank of `size` draws is the least of as many uniform numbers, which has a closed form.
    least = -np.expm1(np.log1p(-random.random(times)) / size)
    best = np.minimum((least * count).astype(int), count - 1)
    order = np.argsort(errors, kind="stable")
    low, median, high = np.quantile(parameter[order[best]], [0.025, 0.5, 0.975])
    return BootstrapRange(float(low), float(median), float(high))


class RankAgreement(NamedTuple):
    """Kendall's tau-b of two columns, with its 95 % interval."""

    tau: float
    low: float
    high: float
    """NaN, as `low`, for fewer than LEAST_RANKED."""
    ranked: int
    """The number of architectures that have both."""


LEAST_RANKED = 8
"""The fewest architectures for which an interval of a rank correlation means anything."""
MOST_COMPARED = 2_000
"""The variance is estimated from so many architectures; with more only the interval shrinks."""


def kendall(first: Array, second: Array) -> RankAgreement | None:
    """Return Kendall's tau-b where both are known; None where there are fewer than 3, or one is constant.

    The interval is that of its asymptotic normal distribution, with the variance of the U-statistic estimated
    from each one's own concordance (Daniels & Kendall 1947), and the ties' by the delta method.
    """
    from scipy.stats import kendalltau

    both = np.isfinite(first) & np.isfinite(second)
    x, y, count = first[both], second[both], int(both.sum())
    if count < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    tau = float(kendalltau(x, y).statistic)
    if count < LEAST_RANKED:
        return RankAgreement(tau, np.nan, np.nan, count)
    x, y = x[:MOST_COMPARED], y[:MOST_COMPARED]
    signs = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    pairs = len(x) - 1
    agree = (signs[0] * signs[1]).sum(axis=1) / pairs
    apart = [np.abs(each).sum(axis=1) / pairs for each in signs]
    whole = [each.mean() for each in apart]
    if not all(whole):
        return RankAgreement(tau, np.nan, np.nan, count)
    own = agree.mean() / np.sqrt(whole[0] * whole[1])
    influence = 2 * (agree - agree.mean()) / np.sqrt(whole[0] * whole[1])
    influence -= own * sum((each - mean) / mean for each, mean in zip(apart, whole, strict=True))
    error = 1.96 * float(np.sqrt(influence.var(ddof=1) / count))
    return RankAgreement(tau, max(tau - error, -1.0), min(tau + error, 1.0), count)


class ChoiceShares(NamedTuple):
    """The share of each choice among all models, and among the best with its 95 % interval."""

    every: Array
    best: Array
    low: Array
    high: Array


def choice_shares(
    codes: Array, errors: Array, count: int, *, best: float = 0.1, times: int = 1_000, seed: int = 0
) -> ChoiceShares:
    """Return the share of each of `count` choices among the best of the models, and among all.

    The interval is the percentile bootstrap's: as many models as there are, drawn with replacement
    `times` times, and the best part of each draw is examined. `codes` has the choice of each model.
    """
    random = np.random.default_rng(seed)
    size = max(1, round(best * len(errors)))
    ordered = codes[np.argsort(errors, kind="stable")].astype(int)
    drawn = np.empty((times, count))
    for i in range(times):
        # The `size` least of n uniform numbers, in order, without drawing the others: sums of exponential
        # waiting times over the sum of all n + 1 of them (Devroye 1986, chapter V, theorem 2.2).
        waits = np.cumsum(random.standard_exponential(size))
        total = waits[-1] + random.standard_gamma(len(errors) + 1 - size)
        ranks = np.minimum((waits / total * len(errors)).astype(int), len(errors) - 1)
        drawn[i] = np.bincount(ordered[ranks], minlength=count)
    low, high = np.quantile(drawn / size, [0.025, 0.975], axis=0)
    return ChoiceShares(
        np.bincount(ordered, minlength=count) / len(errors),
        np.bincount(ordered[:size], minlength=count) / size,
        low,
        high,
    )


def expected_random_search_error(errors: Array, picks: Array) -> Array:
    """Return the expected least error of k models drawn without replacement, for each k of `picks`."""
    ordered, count = np.sort(errors), len(errors)
    expected = []
    for k in picks:
        # P(the i-th best is the best of k) is C(n - i - 1, k - 1) / C(n, k): a product of ratios.
        i = np.arange(count - k)
        ratios = (
            np.concatenate(([k / count], 1 - (k - 1) / (count - 1 - i))) if count > k else np.array([1.0])
        )
        expected.append(float((np.cumprod(ratios) * ordered[: len(ratios)]).sum()))
    return np.array(expected)


class MedianInterval(NamedTuple):
    """A median with its 95 % interval."""

    median: float
    low: float
    high: float
    values: int
    """The number of values."""


def median_interval(values: Array) -> MedianInterval:
    """Return the median of values (n,) and the 95 % interval of its percentile bootstrap.

    The median of n draws with replacement is at most the k-th least value as often as at least half of them
    are among the k least: a binomial tail (Efron 1979, section 3), so that nothing is drawn.
    """
    from scipy.special import bdtrc

    ordered, count = np.sort(values), len(values)
    tails = bdtrc((count + 1) // 2 - 1, count, np.arange(1, count + 1) / count)
    low, high = (ordered[np.searchsorted(tails, share)] for share in (0.025, 0.975))
    return MedianInterval(float(np.median(values)), float(low), float(high), count)
