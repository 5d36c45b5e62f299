from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import f1_score

from sklearn_ood.metrics import (
    expected_calibration_error,
    open_set_f_measure,
    openness,
    oscr_score,
)


def make_rows(seed, text=False):
    rng = np.random.default_rng(seed)
    y_true, y_pred = rng.integers(0, 6, 60), rng.integers(0, 4, 60)
    y_pred = np.where(rng.random(60) < 0.5, np.minimum(y_true, 3), y_pred)
    names = np.array([f"class {i}" for i in range(6)])
    confidence = rng.integers(0, 8, 60) / 8
    return (
        (names[y_true], names[y_pred], confidence, names[:4])
        if text
        else (
            y_true,
            y_pred,
            confidence,
            np.arange(4),
        )
    )


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_oscr_counts_pairs(seed, text):
    y_true, y_pred, confidence, classes = make_rows(seed, text)
    known = np.isin(y_true, classes)
    right = (y_true == y_pred)[known][:, None]
    above, below = confidence[known][:, None], confidence[~known][None, :]
    pairs = right * ((above > below) + 0.5 * (above == below))
    got = oscr_score(y_true, y_pred, confidence, classes=classes)
    assert got == pytest.approx(pairs.mean())


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("threshold", [-1, 0.25, 0.5])
def test_f_measure_is_scikit_learns_with_a_label_for_refusals(threshold, text):
    y_true, y_pred, confidence, classes = make_rows(0, text)
    refused = "none" if text else -1
    kept = np.where(confidence >= threshold, y_pred.astype(object), refused)
    expected = f1_score(
        y_true.astype(str), kept.astype(str), labels=classes.astype(str), average="macro"
    )
    got = open_set_f_measure(y_true, y_pred, confidence, classes=classes, threshold=threshold)
    assert got == pytest.approx(expected)


def test_f_measure_with_nothing_answered_and_with_absent_classes():
    rows = ([0, 1, 9], [0, 1, 1], [0.5, 0.5, 0.5])
    assert open_set_f_measure(*rows, classes=[0, 1], threshold=0.6) == 0
    assert open_set_f_measure(*rows, classes=[0, 1, 2], threshold=0.0) == pytest.approx(5 / 6)
    with pytest.raises(ValueError, match="no row of the classes"):
        open_set_f_measure(*rows, classes=[4], threshold=0.0)
    for threshold in (np.nan, None, "high", [0.5]):
        with pytest.raises(ValueError, match="Got threshold=.*expected one number"):
            open_set_f_measure(*rows, classes=[0], threshold=threshold)


def test_unknown_rows_may_have_labels_of_another_kind():
    y_true = [0, 1, "unknown", "unknown"]
    score = oscr_score(y_true, np.array([0, 1, 1, 0]), [0.9, 0.6, 0.7, 0.1], classes=[0, 1])
    assert score == 0.75


def test_weights_are_repeated_rows():
    y_true, y_pred, confidence, classes = make_rows(3)
    weights = np.arange(60) % 3 + 1
    repeated = [np.repeat(column, weights) for column in (y_true, y_pred, confidence)]
    for metric, settings in [
        (oscr_score, {"classes": classes}),
        (open_set_f_measure, {"classes": classes, "threshold": 0.4}),
        (expected_calibration_error, {}),
    ]:
        got = metric(y_true, y_pred, confidence, sample_weight=weights, **settings)
        assert got == pytest.approx(metric(*repeated, **settings))


@pytest.mark.parametrize("y_true", [[0, 1], [7, 8]])
def test_oscr_needs_both_kinds(y_true):
    with pytest.raises(ValueError, match="at least one of each"):
        oscr_score(y_true, [0, 1], [0.5, 0.6], classes=[0, 1])


def test_openness_of_both_papers():
    assert openness(10, 10) == 0
    assert openness(2, 10) == pytest.approx(1 - np.sqrt(0.2))
    assert openness(2, 10, n_target=2) == pytest.approx(1 - np.sqrt(4 / 12))


@pytest.mark.parametrize("numbers", [(0, 5), (6, 5), (2, 5, 1), (2, 5, 6)])
def test_openness_needs_ordered_numbers(numbers):
    with pytest.raises(ValueError, match="1 <= n_train <= n_target <= n_test"):
        openness(*numbers)


def test_ece_against_a_loop_over_bins():
    rng = np.random.default_rng(0)
    confidence, right = rng.random(500), rng.random(500) < 0.6
    edges = np.linspace(0, 1, 21)
    expected = 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        expected += abs(right[inside].sum() - confidence[inside].sum()) / 500
    got = expected_calibration_error(np.ones(500), right.astype(int), confidence)
    assert got == pytest.approx(expected)


@pytest.mark.parametrize(("edge", "n_bins"), [(0.28, 25), (0.07, 100), (0.5, 2)])
def test_ece_has_bins_that_are_closed_on_the_right(edge, n_bins):
    # Both rows are in one bin, in which a right and a wrong answer make up for each other.
    confidence = [edge, edge - 1e-3]
    error = expected_calibration_error([0, 0], [0, 1], confidence, n_bins=n_bins)
    assert error == pytest.approx(abs(0.5 - np.mean(confidence)))


def test_ece_at_the_ends():
    assert expected_calibration_error([0, 0], [0, 1], [1.0, 0.0]) == 0
    assert expected_calibration_error([0, 0], [1, 1], [1.0, 1.0]) == 1
    assert expected_calibration_error([0, 0], [0, 1], [1.0, 0.0], n_bins=1) == 0


@pytest.mark.parametrize(
    ("confidence", "n_bins", "message"),
    [
        ([0.5, 1.5], 20, "confidence from 0.5 to 1.5"),
        ([0.5, np.nan], 20, "NaN"),
        ([0.5, 0.5], 0, "n_bins=0"),
        ([0.5, 0.5], 2.5, "n_bins=2.5"),
    ],
)
def test_bad_ece_arguments(confidence, n_bins, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error([0, 1], [0, 1], confidence, n_bins=n_bins)
