import numpy as np
import pytest
from scipy.stats import binom

from sklearn_ood.selective._bounds import (
    STAKES,
    bet_p_values,
    fewest,
    largest_not_excluded,
    p_values,
    starts,
    upper_bound,
)
from sklearn_ood.selective._sequences import FixedSequences

LEVEL = 0.05


def p_value(loss, limit, weight=None):
    """Of a mean loss above the limit, from one array of losses."""
    gain = (limit - loss) / (1 - limit) * (1 if weight is None else weight)
    return bet_p_values(lambda stakes: np.log1p(stakes * gain).sum(axis=1, keepdims=True))


def test_upper_bound_inverts_the_binomial():
    bound = upper_bound(np.array([0, 3, 10]), np.array([50, 50, 10]), 0.05)
    np.testing.assert_allclose(binom.cdf([0, 3], 50, bound[:2]), 0.05, rtol=1e-10)
    assert bound[2] == 1.0


def test_the_wealth_is_the_mean_of_the_products():
    loss, weight = np.array([0.0, 0.4, 1.0, 0.0]), np.array([1.0, 0.5, 0.2, 0.3])
    factors = 1 + STAKES[:, None] * weight * (0.5 - loss) / 0.5
    assert p_value(loss, 0.5, weight) == pytest.approx(min(1, 1 / factors.prod(axis=1).mean()))
    assert p_value(np.zeros(100), 0.5) < 1e-20
    assert p_value(np.ones(100), 0.5) == 1


@pytest.mark.parametrize("weight", [None, np.linspace(0.2, 1, 200)])
@pytest.mark.parametrize("kind", [bool, float])
def test_the_bound_of_a_mean_is_the_largest_that_is_not_excluded(kind, weight):
    loss = (np.arange(200) % 9 == 0).astype(kind)
    of = np.arange(200.0), loss, weight, np.zeros(200, dtype=int), np.array([0.3]), 0.1
    tests = FixedSequences(*of)
    [bound] = tests.bounds(np.array([199]), np.array([LEVEL]))
    for limit, is_excluded in ((bound + 1e-5, True), (bound - 1e-5, False)):
        found = tests.p_values(np.array([limit]), np.array([199])) <= LEVEL
        assert found.tolist() == [is_excluded]


def test_a_bound_for_any_losses_is_wider_than_the_exact_one():
    loss = np.arange(200) % 9 == 0
    of = np.zeros(200, dtype=int), np.array([0.3]), 0.1
    exact, wide = (
        FixedSequences(np.arange(200.0), each, None, *of).bounds(np.array([199]), LEVEL)
        for each in (loss, loss.astype(float))
    )
    assert exact < wide < exact + 0.04


def test_halvings_find_the_largest_limit_that_is_not_excluded():
    found = largest_not_excluded(lambda limit: limit > [0.3, 0.8], np.zeros(2), np.ones(2))
    np.testing.assert_allclose(found, [0.3, 0.8], atol=2e-6)


def test_as_few_rows_as_can_pass_do():
    n_rows = fewest(0.1, LEVEL)
    assert 0.9**n_rows <= LEVEL < 0.9 ** (n_rows - 1)


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
    found = bet_p_values(lambda stakes: np.log1p(stakes[:, None] * gain).sum(axis=2))
    assert (found <= LEVEL).sum() <= binom.ppf(1 - 1e-4, 4000, LEVEL)


def test_starts_grow_by_two_at_most_from_the_fewest_rows_to_all():
    n_rows = np.array([5, 100, 3000, 100_000])
    ranks, n_starts = starts(n_rows, np.full(4, 0.02), LEVEL)
    assert n_starts[:2].tolist() == [1, 1]  # too few rows: all of them, or none
    for group, own in enumerate(np.split(ranks, np.cumsum(n_starts)[:-1])):
        assert own[-1] == n_rows[group]
        assert (own[1:] <= 2 * own[:-1] + 1).all()
        assert n_starts[group] == 1 or own[0] == fewest(0.02, LEVEL / n_starts[group])
