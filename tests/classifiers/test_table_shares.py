import numpy as np
import pytest
from sklearn.preprocessing import TargetEncoder

from sklearn_ood.classifiers import _table_shares
from sklearn_ood.classifiers._table_shares import ClassShares
from sklearn_ood.data._rows import Part


def levels(n=600, n_levels=40, n_classes=3, seed=0):
    """Codes of levels, some missing, and classes that most of their rows share."""
    rng = np.random.default_rng(seed)
    level = rng.integers(n_levels, size=n).astype(float)
    codes = np.where(rng.random(n) < 0.7, level % n_classes, rng.integers(n_classes, size=n))
    level[rng.random(n) < 0.05] = np.nan
    return level[:, None], codes.astype(int)


def shares(rows, codes, weight=None, n_levels=40):
    known = Part(rows, codes, weight)
    return ClassShares.of(known, range(rows.shape[1]), np.full(rows.shape[1], n_levels), 0)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_numbers_are_those_of_target_encoding(monkeypatch, n_classes):
    monkeypatch.setattr(_table_shares, "SMOOTHINGS", (4.0,))
    rows, codes = levels(n_classes=n_classes)
    found, _ = shares(rows, codes)
    reference = TargetEncoder(smooth=4.0).fit(rows, codes).transform(rows)
    share = np.bincount(codes) / len(codes)
    expected = np.log(reference) - np.log(share if n_classes > 2 else share[1])
    if n_classes == 2:
        expected -= np.log((1 - reference) / share[0])
    np.testing.assert_allclose(found.encode(rows), expected, atol=1e-12)


def test_a_row_is_told_by_others_only():
    rows, codes = levels()
    alone = np.arange(40) * 1.0
    told = np.append(alone, rows[:, 0] + 40)[:, None]
    found, learned = shares(told, np.append(np.arange(40) % 3, codes), n_levels=80)
    np.testing.assert_allclose(learned[:40], 0, atol=1e-12)
    assert (np.abs(found.encode(told[:40])) > 0.1).all()
    np.testing.assert_allclose(found.encode(np.array([[80.0]])), 0, atol=1e-12)  # never met


def test_chance_tells_nothing():
    rows, codes = levels()
    noise = np.random.default_rng(0).integers(40, size=(len(rows), 20)) * 1.0
    found, learned = shares(np.hstack([np.zeros_like(rows), rows, noise]), codes)
    assert found.columns[0] == 1  # and no constant
    assert len(found.columns) < 4
    assert learned.shape == (len(rows), 3 * len(found.columns))


def test_weights_count_rows(monkeypatch):
    monkeypatch.setattr(_table_shares, "SMOOTHINGS", (1.0,))
    rows, codes = levels()
    twice, _ = shares(np.repeat(rows, 2, axis=0), np.repeat(codes, 2))
    weighted, _ = shares(rows, codes, np.full(len(rows), 2.0))
    np.testing.assert_allclose(weighted.log_ratios[0], twice.log_ratios[0], atol=1e-12)


def test_of_many_classes_the_frequent_ones_are_told(monkeypatch):
    monkeypatch.setattr(_table_shares, "MAX_SHARES", 4)
    rows, codes = levels(n_classes=6)
    found, learned = shares(np.hstack([rows, rows]), codes)
    assert [each.shape[1] for each in found.log_ratios] == [2, 2]
    assert learned.shape == (600, 4)
