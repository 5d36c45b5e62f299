import numpy as np
import pytest
from scipy.stats import binom

from sklearn_ood.selective._thresholds import (
    STAKES,
    Sequence,
    acceptance_p_values,
    bet_p_values,
    fewest,
    largest_not_excluded,
    p_values,
    starts,
)

LEVEL = 0.05


def p_value(loss, limit, weight=None):
    """Of a mean loss above the limit, from one array of losses."""
    gain = (limit - loss) / (1 - limit) * (1 if weight is None else weight)
    return bet_p_values(np.log1p(STAKES * gain).sum(axis=1, keepdims=True))


def bound_of_all(loss, limit, level, weight=None):
    """Of the mean of all losses, from one test alone."""
    tests = Sequence(np.arange(len(loss), dtype=float), loss, weight, limit, 0.5)
    return tests.accepted(len(loss) - 1, level * len(tests.first))[-1]


@pytest.mark.parametrize(("n_errors", "n_rows"), [(0, 50), (3, 50), (10, 10)])
def test_the_bound_of_errors_inverts_the_binomial(n_errors, n_rows):
    bound = bound_of_all(np.arange(n_rows) < n_errors, 0.1, LEVEL)
    assert binom.cdf(n_errors, n_rows, bound) == pytest.approx(LEVEL) or bound == 1.0
    assert (bound == 1.0) == (n_errors == n_rows)


def test_the_shares_of_accepted_rows_are_tested_as_numbers_of_errors_are():
    found = acceptance_p_values(50, None, 0.2)
    np.testing.assert_allclose(found, binom.cdf(np.arange(50), 50, 0.2))


def test_the_wealth_is_the_mean_of_the_products():
    loss, weight = np.array([0.0, 0.4, 1.0, 0.0]), np.array([1.0, 0.5, 0.2, 0.3])
    factors = 1 + STAKES * weight * (0.5 - loss) / 0.5
    assert p_value(loss, 0.5, weight) == pytest.approx(min(1, 1 / factors.prod(axis=1).mean()))
    assert p_value(np.zeros(100), 0.5) < 1e-20
    assert p_value(np.ones(100), 0.5) == 1


@pytest.mark.parametrize("weight", [None, np.linspace(0.2, 1, 200)])
@pytest.mark.parametrize("kind", [bool, float])
@pytest.mark.parametrize("limit", [0.05, 0.3])
def test_the_bound_of_a_mean_is_the_largest_that_is_not_excluded(kind, weight, limit):
    loss = (np.arange(200) % 9 == 0).astype(kind)
    bound = bound_of_all(loss, limit, LEVEL, weight)
    for mean, is_excluded in ((bound + 1e-5, True), (bound - 1e-5, False)):
        tests = Sequence(np.arange(200.0), loss, weight, mean, LEVEL)
        assert (tests.p_value[-1] <= LEVEL) == is_excluded


def test_a_bound_for_any_losses_is_wider_than_the_exact_one():
    loss = np.arange(200) % 9 == 0
    exact, wide = (bound_of_all(each, 0.3, LEVEL) for each in (loss, loss.astype(float)))
    assert exact < wide < exact + 0.04


@pytest.mark.parametrize("limit", [0.2, 0.3, 0.9])
def test_halvings_find_the_largest_number_that_is_not_excluded(limit):
    found = largest_not_excluded(lambda share: share > 0.3, limit)
    assert 0.3 <= found <= 0.3 + 1e-8


def test_as_few_rows_as_can_pass_do():
    n_rows = fewest(0.1, LEVEL)
    assert 0.9**n_rows <= LEVEL < 0.9 ** (n_rows - 1)
    assert 1e300 < fewest(1e-320, 0) < np.inf


@pytest.mark.slow
@pytest.mark.parametrize("values", [[0, 1], [0, 0.1, 1], [0.2, 0.4], [0.0, 0.5]])
@pytest.mark.parametrize("n_rows", [20, 200])
def test_bounds_of_losses_are_exceeded_as_seldom_as_they_say(values, n_rows):
    rng, values = np.random.default_rng(0), np.array(values, dtype=float)
    chances = np.append(0.9, np.full(len(values) - 1, 0.1 / (len(values) - 1)))
    totals = rng.choice(values, p=chances, size=(4000, n_rows)).sum(axis=1)
    excluded = p_values(totals, n_rows, values @ chances) <= LEVEL
    assert excluded.sum() <= binom.ppf(1 - 1e-4, 4000, LEVEL)


@pytest.mark.slow
@pytest.mark.parametrize("values", [[0, 1], [0, 0.1, 1], [0.2, 0.4], [0.0, 0.5]])
@pytest.mark.parametrize("n_rows", [20, 200])
@pytest.mark.parametrize("weights", [None, [1.0, 0.3, 0.05]])
def test_bets_are_won_as_seldom_as_they_say(values, n_rows, weights):
    """Weights go with losses: the mean is the weighted one."""
    rng, values = np.random.default_rng(0), np.array(values, dtype=float)
    chances = np.append(0.9, np.full(len(values) - 1, 0.1 / (len(values) - 1)))
    drawn = rng.choice(len(values), p=chances, size=(4000, n_rows))
    weight_of = np.ones(len(values)) if weights is None else np.array(weights)[: len(values)]
    mean = (values * weight_of) @ chances / (weight_of @ chances)
    gain = weight_of[drawn] * (mean - values[drawn]) / (1 - mean)
    found = bet_p_values(np.log1p(STAKES[:, None] * gain).sum(axis=2))
    assert (found <= LEVEL).sum() <= binom.ppf(1 - 1e-4, 4000, LEVEL)


@pytest.mark.parametrize("n_rows", [5, 100, 3000, 100_000])
def test_starts_grow_by_two_at_most_from_the_fewest_rows_to_all(n_rows):
    ranks = starts(n_rows, 0.02, LEVEL)
    assert ranks[-1] == n_rows
    assert (ranks[1:] <= 2 * ranks[:-1] + 1).all()
    if n_rows <= 100:  # too few rows: all of them, or none
        assert len(ranks) == 1
    else:
        assert ranks[0] == fewest(0.02, LEVEL / len(ranks))
