import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sklearn_ood import CombinedClassifier, MahalanobisDistance, SoftmaxClassifier
from sklearn_ood._response import log_softmax
from sklearn_ood.data._labels import (
    OUTLIER,
    codes_in,
    encode_labels,
    hold_out_each_class,
    is_label,
    rank_in_class,
)
from sklearn_ood.nets._heads import fit_temperature


@pytest.mark.parametrize(
    ("y", "ood_label", "n_outliers"),
    [
        (np.array([0, 1, -1]), -1, 1),
        (np.array([0.0, 1.0, -1.0]), -1, 1),
        (np.array(["a", "b", "unknown"]), "unknown", 1),
        (np.array(["a", "b", "unknown"], dtype=object), "unknown", 1),
        (np.array(["a", "b", "c"]), -1, 0),
        (np.array([0, 1, 2]), "unknown", 0),
        (np.array([0, 1, 2]), None, 0),
    ],
)
def test_outlier_labels_of_every_kind(y, ood_label, n_outliers):
    codes, classes = encode_labels(y, ood_label)
    assert (codes == OUTLIER).sum() == n_outliers == is_label(y, ood_label).sum()
    assert len(classes) == 3 - n_outliers
    np.testing.assert_array_equal(classes[codes[codes != OUTLIER]], y[codes != OUTLIER])


@given(st.lists(st.integers(-3, 3), min_size=1), st.sets(st.integers(-3, 3), min_size=1))
def test_codes_are_positions_or_outliers(labels, classes):
    classes = np.array(sorted(classes))
    codes = codes_in(classes, labels)
    for label, code in zip(labels, codes, strict=True):
        assert (classes[code] == label) if code != OUTLIER else label not in classes


def test_rank_counts_the_rows_of_the_own_class_before():
    assert rank_in_class(np.array([5, 7, 5, 5, 7])).tolist() == [0, 0, 1, 2, 1]


def test_codes_across_kinds():
    assert codes_in(["b", "a"], ["b", "x", "a"]).tolist() == [0, OUTLIER, 1]
    assert codes_in([0, 1], ["a", "?"]).tolist() == [OUTLIER, OUTLIER]
    mixed = np.array([0, "unknown", 1], dtype=object)
    assert codes_in([0, 1], mixed).tolist() == [0, OUTLIER, 1]


@given(
    st.lists(st.integers(0, 3), min_size=20, max_size=200),
    st.floats(0.1, 0.9),
    st.integers(0, 100),
)
def test_holdout_takes_its_share_of_every_class_and_never_all(codes, fraction, seed):
    codes = np.array(codes)
    assume(np.round(fraction * np.bincount(codes).max()))  # or no row at all is held out
    held_out = hold_out_each_class(codes, fraction, seed)
    for code in np.unique(codes):
        taken, count = held_out[codes == code].sum(), (codes == code).sum()
        assert taken == min(np.round(fraction * count), count - 1)
    np.testing.assert_array_equal(held_out, hold_out_each_class(codes, fraction, seed))


def test_log_softmax_keeps_tiny_odds():
    logits = np.array([[0.0, -100.0, -200.0]])
    assert log_softmax(logits)[0, 0] == pytest.approx(-np.exp(-100.0), rel=1e-12)
    np.testing.assert_allclose(np.exp(log_softmax(logits + 1e6)).sum(), 1.0)


def test_temperature_of_calibrated_logits_is_one():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 4)) * 2
    proba = np.exp(log_softmax(logits))
    codes = (proba.cumsum(axis=1) > rng.random((len(proba), 1))).argmax(axis=1)
    assert fit_temperature(logits, codes) == pytest.approx(1.0, abs=0.05)
    assert fit_temperature(3 * logits, codes) == pytest.approx(3.0, abs=0.15)


@pytest.mark.parametrize("kind", [list, np.array, pd.Series])
def test_texts_are_told_what_makes_numbers_of_them(kind):
    texts = kind(["one or two words"] * 20 + ["or many"] * 20)
    for classifier in (SoftmaxClassifier(), CombinedClassifier(), MahalanobisDistance()):
        with pytest.raises(ValueError, match="Got X of texts such as 'one or two .*Tfidf"):
            classifier.fit(texts, np.arange(40) % 2)


def test_series_are_told_that_they_are_images_of_one_line():
    X = np.random.default_rng(0).normal(size=(40, 3, 20)).astype(np.float32)
    classifier, y = SoftmaxClassifier(max_epochs=1), np.arange(40) % 2
    with pytest.raises(ValueError, match=r"X\[:, :, None\]"):
        classifier.fit(X, y)
    assert classifier.fit(X[:, :, None], y).input_shape_ == (3, 1, 20)
