"""Fronts, error distributions and bootstraps on populations whose answers are known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_factory.sweep import analysis

POINTS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12) | st.just(None)), max_size=40)


@given(POINTS)
def test_front_is_what_brute_force_finds(points: list[tuple[int, int | None]]) -> None:
    first = np.array([a for a, _ in points], float)
    second = np.array([np.nan if b is None else b for _, b in points], float)

    def beaten(i: int) -> bool:
        return any(
            first[j] <= first[i] and second[j] <= second[i] and (first[j] < first[i] or second[j] < second[i])
            for j in range(len(points))
        )

    expected = {i for i in range(len(points)) if not np.isnan(second[i]) and not beaten(i)}
    found = analysis.pareto_front(first, second).tolist()
    assert set(found) == expected
    assert len(found) == len(expected)
    assert first[found].tolist() == sorted(first[found])


def test_edf_of_known_errors() -> None:
    steps = analysis.empirical_distribution(np.array([4.0, 1.0, 2.0, 2.0]))
    assert steps.values.tolist() == [1, 2, 2, 4]
    assert steps.shares.tolist() == [0.25, 0.5, 0.75, 1.0]


def test_normalised_edf_gives_every_bin_its_share() -> None:
    # 90 small models of error 10 and 10 large ones of error 0: plainly 90 % bad, normalised half of them.
    complexity = np.array([1.0] * 90 + [2.0] * 10)
    errors = np.array([10.0] * 90 + [0.0] * 10)
    weights, empty = analysis.distribution_bin_weights(complexity, bins=2)
    assert empty == 0
    assert analysis.empirical_distribution(errors, weights).shares[9] == pytest.approx(0.5)
    assert weights.sum() == pytest.approx(1)
    weights, empty = analysis.distribution_bin_weights(complexity, bins=10)
    assert empty == 8
    assert weights.sum() == pytest.approx(1)
    weights, empty = analysis.distribution_bin_weights(np.ones(4))
    assert weights.tolist() == [0.25] * 4
    assert empty == 0


def test_bootstrap_finds_where_the_best_are() -> None:
    random = np.random.default_rng(0)
    parameter = random.uniform(0, 10, 500)
    errors = (parameter - 7) ** 2
    found = analysis.bootstrap_range(parameter, errors, times=1000)
    assert found.low <= 7 <= found.high
    assert found.high - found.low < 0.5
    assert found == analysis.bootstrap_range(parameter, errors, times=1000)
    # A quarter of four is one pick: every model is as often the best one.
    alike = analysis.bootstrap_range(np.array([1.0, 2, 3, 4]), np.arange(4.0), times=20_000)
    assert (alike.low, alike.high) == (1, 4)


def test_bootstrap_is_what_drawing_one_by_one_gives() -> None:
    random = np.random.default_rng(1)
    errors = random.permutation(40).astype(float)
    drawn = errors[random.integers(0, 40, (20_000, 10))].min(axis=1)
    found = analysis.bootstrap_range(errors, errors, times=20_000)
    assert (found.low, found.median, found.high) == tuple(np.quantile(drawn, [0.025, 0.5, 0.975]))


def test_shares_of_choices_tell_the_better_one() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 3, 900)
    errors = random.normal(0, 1, 900) - 2 * (codes == 2)
    found = analysis.choice_shares(codes.astype(float), errors, 4)
    assert found.every == pytest.approx(np.bincount(codes, minlength=4) / 900)
    best = codes[np.argsort(errors)[:90]]
    assert found.best == pytest.approx(np.bincount(best, minlength=4) / 90)
    assert (found.low <= found.best).all()
    assert (found.best <= found.high).all()
    assert found.low[2] > found.every[2]
    assert found.high[0] < found.every[0]
    assert found.every[3] == found.best[3] == found.high[3] == 0


def test_intervals_of_shares_are_what_drawing_one_by_one_gives() -> None:
    random = np.random.default_rng(2)
    codes, errors = random.integers(0, 2, 200), random.random(200)
    shares = []
    for _ in range(4000):
        picked = random.integers(0, 200, 200)
        best = picked[np.argsort(errors[picked])[:20]]
        shares.append(codes[best].mean())
    found = analysis.choice_shares(codes, errors, 2, times=4000)
    expected = np.quantile(shares, [0.025, 0.975])
    assert [found.low[1], found.high[1]] == pytest.approx(expected, abs=0.051)  # one of 20


def test_random_search_is_the_mean_over_all_subsets() -> None:
    errors = np.array([5.0, 1.0, 4.0, 2.5, 9.0])
    for k in range(1, 6):
        expected = np.mean([min(subset) for subset in combinations(errors, k)])
        assert analysis.expected_random_search_error(errors, np.array([k]))[0] == pytest.approx(expected)


def test_kendalls_tau_is_counted_pair_by_pair() -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 6, 40).astype(float), random.random(40)
    y[:5] = np.nan
    found = analysis.kendall(x, y)
    assert found is not None
    score, ties = 0.0, 0
    for i, j in combinations(range(5, 40), 2):
        score += np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
        ties += x[i] == x[j]
    pairs = 35 * 34 / 2
    assert found.tau == pytest.approx(score / np.sqrt(pairs * (pairs - ties)))
    assert found.ranked == 35
    assert analysis.kendall(np.ones(9), np.arange(9.0)) is None
    few = analysis.kendall(np.arange(5.0), np.arange(5.0))
    assert few is not None
    assert few.tau == pytest.approx(1)
    assert np.isnan(few.low)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_the_interval_of_tau_covers_the_true_one(rho: float) -> None:
    """Of a normal pair with correlation rho tau is 2/pi asin(rho); 95 of 100 intervals should hold it."""
    random, true, held = np.random.default_rng(3), 2 / np.pi * np.arcsin(rho), 0
    for _ in range(300):
        x, noise = random.normal(size=(2, 60))
        found = analysis.kendall(x, rho * x + np.sqrt(1 - rho**2) * noise)
        assert found is not None
        held += found.low <= true <= found.high
    assert 0.9 < held / 300 < 0.99
