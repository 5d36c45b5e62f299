"""The rule for refusing where some rows are unknown."""

import numpy as np
import pytest

from sklearn_ood.combined._conformal import SHAPE, log_right
from sklearn_ood.metrics import aurc_score


def test_the_rule_is_that_of_bayes():
    log_p, u, share = np.log([0.9, 0.5]), np.array([0.3, 0.01]), 0.2
    density = SHAPE * u ** (SHAPE - 1)
    known = 0.8 / (0.8 + 0.2 * density)
    np.testing.assert_allclose(log_right(log_p, np.log(u), share), log_p + np.log(known))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_it_rises_with_both_and_is_finite_however_far(share):
    log_p = -np.append(np.geomspace(1e-300, 1e3, 50), 1e150)
    right = log_right(np.zeros(51), log_p, share)
    assert np.isfinite(right).all()
    assert (np.diff(right) <= 0).all()
    assert (log_right(np.full(50, -1.0), log_p[:-1], share) < right[:-1]).all()
    assert right.max() <= 0


def test_where_the_densities_are_right_no_other_share_ranks_better():
    rng, n = np.random.default_rng(0), 40_000
    unknown = rng.random(n) < 0.3
    u = np.where(unknown, rng.random(n) ** (1 / SHAPE), rng.random(n))
    p_max = rng.uniform(0.5, 1, size=n)
    right = ~unknown & (rng.random(n) < p_max)
    log_u = np.log(np.maximum(u, 1e-300))

    def aurc(share):
        return aurc_score(
            np.ones(n), right.astype(float), log_right(np.log(p_max), log_u, share)
        )

    assert aurc(0.3) < min(aurc(0.0), aurc(0.01), aurc(0.99))
