"""Importance of parameters: shares of variance on populations whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_factory.sweep.importance import parameter_importance, variance_importance

RANDOM = np.random.default_rng(1)
ONE, TWO, NOISE = RANDOM.random((3, 20_000))


def test_shares_of_an_additive_model_are_those_of_its_variances() -> None:
    # Var(3 a) : Var(b) = 9 : 1 for independent uniform a and b.
    values = 3 * ONE + TWO
    assert variance_importance(ONE, values) == pytest.approx(0.9, abs=0.02)
    assert variance_importance(TWO, values) == pytest.approx(0.1, abs=0.02)
    assert variance_importance(NOISE, values) < 0.002


def test_choices_are_groups_and_their_order_is_nothing() -> None:
    codes = RANDOM.integers(0, 4, 20_000)
    values = np.array([5.0, 1.0, 3.0, 1.0])[codes] + 0.001 * NOISE
    assert variance_importance(codes, values) == pytest.approx(1, abs=1e-4)
    assert variance_importance(np.array([2, 0, 3, 1])[codes], values) == pytest.approx(1, abs=1e-4)


def test_omega_squared_of_a_table_is_scipys_f_in_another_form() -> None:
    from scipy.stats import f_oneway

    codes, values = np.repeat([0, 1, 2], [4, 5, 6]), RANDOM.random(15)
    statistic = f_oneway(*(values[codes == code] for code in range(3))).statistic
    expected = max(0.0, 2 * (statistic - 1) / (2 * (statistic - 1) + 15))
    assert variance_importance(codes, values) == pytest.approx(expected)


def test_the_interval_holds_the_share_and_unknown_values_are_left_out() -> None:
    values = 3 * ONE[:500] + TWO[:500]
    values[:100] = np.nan
    found = parameter_importance(ONE[:500], values)
    assert found.size == 400
    assert found.low <= found.share <= found.high
    assert found.high - found.low < 0.1
    assert parameter_importance(ONE[:500], np.full(500, np.nan)).size == 0
    assert parameter_importance(ONE[:500], np.ones(500)).share == 0
