import numpy as np
import pytest
from scipy.stats import binom

from sklearn_ood.selective._bounds import fewest, mean_bound, p_value, starts, upper_bound

LEVEL = 0.05


def test_upper_bound_inverts_the_binomial():
    bound = upper_bound(np.array([0, 3, 10]), np.array([50, 50, 10]), 0.05)
    np.testing.assert_allclose(binom.cdf([0, 3], 50, bound[:2]), 0.05, rtol=1e-10)
    assert bound[2] == 1.0


@pytest.mark.parametrize("kind", [int, float])
def test_the_bound_of_a_mean_is_the_largest_that_is_not_excluded(kind):
    total, n_rows = np.array([0, 4, 30]).astype(kind), np.array([60, 100, 200])
    bound = mean_bound(total, n_rows, LEVEL)
    assert (p_value(total, n_rows, bound + 1e-6) <= LEVEL).all()
    assert (p_value(total, n_rows, bound - 1e-6) > LEVEL).all()


def test_a_bound_for_any_losses_is_wider_than_the_exact_one_but_where_there_is_no_loss():
    n_rows = np.array([60, 100, 200])
    exact = mean_bound(np.array([0, 4, 30]), n_rows, LEVEL)
    wide = mean_bound(np.array([0.0, 4.0, 30.0]), n_rows, LEVEL)
    assert wide[0] == pytest.approx(exact[0], abs=1e-9)
    assert (wide[1:] > exact[1:]).all()
    assert (wide[1:] < exact[1:] + 0.03).all()


def test_as_few_rows_as_can_pass_do():
    n_rows = fewest(0.1, LEVEL)
    assert p_value(np.array([0.0, 0.0]), np.array([n_rows, n_rows - 1]), 0.1) == pytest.approx(
        [0.9**n_rows, 0.9 ** (n_rows - 1)]
    )
    assert 0.9**n_rows <= LEVEL < 0.9 ** (n_rows - 1)


@pytest.mark.slow
@pytest.mark.parametrize("values", [[0, 1], [0, 0.1, 1], [0.2, 0.4], [0.0, 0.5]])
@pytest.mark.parametrize("n_rows", [20, 200])
def test_bounds_of_losses_are_exceeded_as_seldom_as_they_say(values, n_rows):
    rng, values = np.random.default_rng(0), np.array(values, dtype=float)
    chances = np.append(0.9, np.full(len(values) - 1, 0.1 / (len(values) - 1)))
    totals = rng.choice(values, p=chances, size=(4000, n_rows)).sum(axis=1)
    excluded = p_value(totals, n_rows, values @ chances) <= LEVEL
    assert excluded.sum() <= binom.ppf(1 - 1e-4, 4000, LEVEL)


def test_starts_grow_by_two_at_most_from_the_fewest_rows_to_all():
    n_rows = np.array([5, 100, 3000, 100_000])
    ranks, n_starts = starts(n_rows, 0.02, LEVEL)
    assert n_starts[:2].tolist() == [1, 1]  # too few rows: all of them, or none
    for group, own in enumerate(np.split(ranks, np.cumsum(n_starts)[:-1])):
        assert own[-1] == n_rows[group]
        assert (own[1:] <= 2 * own[:-1] + 1).all()
        assert n_starts[group] == 1 or own[0] == fewest(0.02, LEVEL / n_starts[group])
