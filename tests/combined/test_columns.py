"""Members that read a table column by column."""

import numpy as np
import pytest
from scipy.stats import genpareto

from sklearn_ood.combined._columns import ClassWhitening, ColumnRanks, ExtremeColumn
from sklearn_ood.combined._conformal import fit_tail


def test_ranks_go_on_beyond_the_training_rows():
    X = np.random.default_rng(0).normal(size=(500, 2))
    ranks = ColumnRanks(100, random_state=0).fit(X)
    inside = ranks.transform(X)
    assert 0 <= inside.min() < inside.max() <= 1
    low, high = ranks.transform([[-9.0, 0.0], [9.0, 0.0]])[:, 0]
    beyond = np.array([-9 - X[:, 0].min(), 9 - X[:, 0].max()]) / 12**0.5
    np.testing.assert_allclose([low, high - 1], beyond)


def test_the_score_is_the_least_share_that_lies_as_far_out():
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(400, 3)), rng.normal(size=(50, 3))
    as_low = (new[:, None] >= X).sum(axis=1)
    as_high = (new[:, None] <= X).sum(axis=1)
    expected = np.log((1 + np.minimum(as_low, as_high).min(axis=1)) / 401)
    inside = (as_low.min(axis=1) > 0) & (as_high.min(axis=1) > 0)
    scores = ExtremeColumn().fit(X).score_samples(new)
    np.testing.assert_allclose(scores[inside], expected[inside])
    assert inside.sum() > 30


def test_beyond_all_rows_it_falls_as_a_generalised_pareto_tail():
    X = np.random.default_rng(1).normal(size=(1000, 2))
    far = np.array([[0.0, X[:, 1].min() - 0.5], [0.0, X[:, 1].min() - 1.5]])
    start, scale, shape = fit_tail(np.sort(X[:, 1]))
    tail = genpareto(shape, scale=scale)
    survival = tail.logsf(start - far[:, 1]) - tail.logsf(start - X[:, 1].min())
    np.testing.assert_allclose(
        ExtremeColumn().fit(X).score_samples(far), np.log(1 / 1001) + survival
    )


@pytest.mark.parametrize("sign", [-1, 1])
def test_one_wrong_unit_among_many_columns_is_seen(sign):
    rng = np.random.default_rng(2)
    X = rng.integers(1, 11, size=(300, 40)).astype(float)
    rows = X[:20].copy()
    rows[np.arange(20), rng.integers(40, size=20)] *= 1000.0**sign
    extreme = ExtremeColumn(random_state=0).fit(X)
    assert extreme.score_samples(rows).max() < extreme.score_samples(X).min()


def test_constant_columns_and_many_rows():
    X = np.column_stack([np.ones(500), np.arange(500.0)])
    extreme = ExtremeColumn(max_samples=100, random_state=0).fit(X)
    assert extreme.columns_.shape == (2, 2, 100)
    inside, far = extreme.score_samples([[1.0, 250.0], [3.0, 250.0]])
    assert inside > -2
    assert far < np.log(1 / 101)


def test_whitened_rows_of_a_class_vary_alike_and_broken_dependence_is_far():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=600)
    common = rng.normal(size=(600, 1))
    X = 5.0 * y[:, None] + common * [1, 1, 3] + 0.3 * rng.normal(size=(600, 3))
    whitening = ClassWhitening().fit(X, y)
    white = whitening.transform(X)
    means = np.stack([white[y == k].mean(axis=0) for k in range(3)])
    np.testing.assert_allclose(np.cov((white - means[y]).T, ddof=0), np.eye(3), atol=1e-6)
    along, across = whitening.transform([[1.0, 1, 3], [1, -1, 3]]) - whitening.transform(
        [[0.0] * 3]
    )
    assert np.linalg.norm(across) > 3 * np.linalg.norm(along)
    same = ClassWhitening().fit(np.ones((5, 2)))
    np.testing.assert_allclose(
        same.transform([[2.0, 1.0]]) - same.transform([[1.0, 1.0]]), [[10, 0]]
    )


def test_of_many_columns_the_widest_directions_are_white():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 1200))
    X += 1e-4 * rng.normal(size=X.shape)
    whitening = ClassWhitening(random_state=0).fit(X)
    np.testing.assert_array_equal(ClassWhitening(random_state=0).fit(X).axes_, whitening.axes_)
    white = np.sort(whitening.transform(X).std(axis=0))[::-1]
    np.testing.assert_allclose(white[:3], 1, atol=1e-6)
    assert white.shape == (60,)
    assert white[3] < 0.05
