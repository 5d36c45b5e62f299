import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import kstest

from sklearn_ood.monitoring._martingale import (
    POWERS,
    confidence_sequence,
    log_error_bets,
    log_opened,
    log_power_bets,
    log_unopened,
    mixture,
    ranks,
)


def wealth_by_hand(factors):
    """The definition: what is opened at each row stays on its bet."""
    n_rows, n_bets = factors.shape
    opened = np.zeros(n_bets)
    wealth = []
    for n in range(1, n_rows + 1):
        begun = 1 / np.log(np.e + n - 1) - 1 / np.log(np.e + n)
        opened = (opened + begun) * factors[n - 1]
        wealth.append(opened.mean() + 1 / np.log(np.e + n))
    return np.array(wealth)


@pytest.mark.parametrize("seed", range(3))
def test_wealth_is_that_of_its_definition_in_any_batches(seed):
    rng = np.random.default_rng(seed)
    factors = rng.gamma(2, 0.5, size=(300, 4))
    whole, _ = mixture(np.log(factors), np.full(4, -np.inf), 0)
    assert np.allclose(np.exp(whole), wealth_by_hand(factors), rtol=1e-10)
    log_open, parts, start = np.full(4, -np.inf), [], 0
    for stop in sorted(rng.choice(300, size=5, replace=False)) + [300]:
        part, log_open = mixture(np.log(factors[start:stop]), log_open, start)
        parts.append(part)
        start = stop
    assert np.allclose(np.concatenate(parts), whole, rtol=1e-12)


def test_what_is_opened_and_what_is_not_sum_to_one():
    opened = np.exp(log_opened(np.arange(1, 1001))).sum()
    assert opened + np.exp(log_unopened(1000)) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("bet", range(2 * len(POWERS)))
def test_bets_on_uniform_p_values_are_fair(bet):
    mean, _ = quad(lambda p: np.exp(log_power_bets(np.array([p]))[0, bet]), 0, 1, limit=200)
    assert mean == pytest.approx(1, rel=1e-4)


@given(st.floats(1e-6, 0.99), st.floats(0, 1))
def test_bets_on_errors_are_never_better_than_fair(risk, share):
    factors = np.exp(log_error_bets([True, False], risk))
    mean = share * risk * factors[0] + (1 - share * risk) * factors[1]
    assert (mean <= 1 + 1e-9).all()


@pytest.mark.parametrize("n_values", [2, 5, 1000])
def test_ranks_of_exchangeable_scores_are_uniform_and_independent(n_values):
    rng = np.random.default_rng(0)
    scores = rng.integers(n_values, size=4000).astype(float)
    past, parts = np.empty(0), []
    for start in range(0, 4000, 500):
        part, past = ranks(scores[start : start + 500], past, rng.random(500))
        parts.append(part)
    p_values = np.concatenate(parts)
    assert kstest(p_values, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(p_values[1:], p_values[:-1])[0, 1]) < 0.06
    assert (past == np.sort(scores)).all()


def test_ranks_are_those_of_one_row_at_a_time():
    rng = np.random.default_rng(1)
    scores, uniform = rng.integers(6, size=80).astype(float), rng.random(80)
    whole, _ = ranks(scores, np.array([2.0, 2.0, 4.0]), uniform)
    past = [2.0, 2.0, 4.0]
    for score, u, p in zip(scores, uniform, whole, strict=True):
        lower, equal = sum(s < score for s in past), sum(s == score for s in past)
        assert p == pytest.approx((lower + u * (equal + 1)) / (len(past) + 1))
        past.append(score)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_alarms_are_as_rare_as_promised(alpha):
    rng = np.random.default_rng(0)
    n_alarms, repeats = 0, 400
    for _ in range(repeats):
        wealth, _ = mixture(log_power_bets(rng.random(5000)), np.full(6, -np.inf), 0)
        n_alarms += wealth.max() >= -np.log(alpha)
    assert n_alarms <= repeats * alpha + 3 * np.sqrt(repeats * alpha)


@pytest.mark.parametrize("risk", [0.02, 0.3])
def test_confidence_sequence_holds_at_all_times(risk):
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(200):
        errors = rng.random(400) < risk
        counts = np.cumsum(errors)
        at = [1, 3, 10, 30, 100, 200, 400]
        bounds = [confidence_sequence(int(counts[n - 1]), n, 0.1) for n in at]
        missed += any(not low <= risk <= high for low, high in bounds)
    assert missed <= 20 + 3 * np.sqrt(20)


def test_confidence_sequence_without_rows_says_nothing():
    assert confidence_sequence(0, 0, 0.05) == (0.0, 1.0)
    assert confidence_sequence(5, 5, 0.05)[1] == 1.0
