import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from sklearn_ood.metrics import (
    aupr_in,
    aupr_out,
    auroc,
    detection_accuracy,
    ood_report,
    tnr_at_tpr,
)

METRICS = [tnr_at_tpr, auroc, detection_accuracy, aupr_in, aupr_out]


@st.composite
def scored(draw):
    n = draw(st.integers(2, 30))
    is_in = draw(
        st.lists(st.booleans(), min_size=n, max_size=n).filter(lambda v: 0 < sum(v) < n)
    )
    score = draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n))
    return np.array(is_in), np.array(score) / 2.0


def brute_tnr(is_in, score, tpr=0.95):
    reached = [t for t in np.unique(score) if (score[is_in] >= t).mean() >= tpr]
    return (score[~is_in] < max(reached)).mean()


def brute_detection_accuracy(is_in, score):
    thresholds = [-np.inf, *score]
    errors = [((score[is_in] <= t).mean() + (score[~is_in] > t).mean()) / 2 for t in thresholds]
    return 1 - min(errors)


@given(scored())
@settings(max_examples=100, deadline=None)
def test_against_brute_force_and_scikit_learn_under_ties(rows):
    is_in, score = rows
    assert tnr_at_tpr(*rows) == pytest.approx(brute_tnr(*rows))
    assert detection_accuracy(*rows) == pytest.approx(brute_detection_accuracy(*rows))
    assert auroc(*rows) == pytest.approx(roc_auc_score(*rows))
    assert aupr_in(*rows) == pytest.approx(average_precision_score(*rows))
    assert aupr_out(*rows) == pytest.approx(average_precision_score(~is_in, -score))
    assert ood_report(*rows) == {metric.__name__: metric(*rows) for metric in METRICS}


@given(scored(), st.data())
@settings(max_examples=50, deadline=None)
def test_weights_are_repeated_rows_and_order_is_nothing(rows, data):
    weights = np.array(data.draw(st.lists(st.integers(1, 3), min_size=30, max_size=30)))
    weights = weights[: len(rows[0])]
    order = np.argsort(np.sin(np.arange(len(weights)) * 7.0))
    for metric in METRICS:
        expected = metric(*(np.repeat(column, weights) for column in rows))
        assert metric(*rows, sample_weight=weights) == pytest.approx(expected, abs=1e-12)
        assert metric(*(column[order] for column in rows)) == metric(*rows)


def test_sign_is_higher_for_inliers():
    is_in = np.arange(10) < 5
    assert ood_report(is_in, is_in * 1.0) == dict.fromkeys(ood_report(is_in, is_in), 1.0)
    assert auroc(is_in, -1.0 * is_in) == 0
    assert tnr_at_tpr(is_in, -1.0 * is_in) == 0
    assert detection_accuracy(is_in, -1.0 * is_in) == 0.5


def test_constant_score():
    is_in = np.arange(8) < 6
    report = ood_report(is_in, np.zeros(8))
    assert report == {
        "tnr_at_tpr": 0.0,
        "auroc": 0.5,
        "detection_accuracy": 0.5,
        "aupr_in": 0.75,
        "aupr_out": 0.25,
    }


def test_tnr_is_conservative_inside_a_tie():
    # 19 of 20 inliers are above; the 20th shares its score with half of the outliers
    is_in = np.r_[np.ones(20), np.zeros(4)].astype(bool)
    score = np.r_[np.full(18, 3.0), 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert tnr_at_tpr(is_in, score, tpr=0.9) == 1.0
    assert tnr_at_tpr(is_in, score, tpr=0.95) == 0.5


def test_saturated_scores_count_as_ties():
    is_in = np.r_[np.ones(50), np.zeros(50)].astype(bool)
    score = np.r_[np.ones(50), np.ones(25), np.zeros(25)]
    assert auroc(is_in, score) == 0.75


def test_infinite_scores():
    assert auroc([1, 1, 0, 0], [np.inf, 0, -np.inf, 0]) == 0.875


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-300, 1e300, 1e308])
def test_only_ratios_of_weights_matter(metric, scale):
    rng = np.random.default_rng(0)
    rows, weights = (rng.integers(0, 2, 99), rng.integers(0, 9, 99)), rng.integers(0, 2, 99)
    expected = metric(*rows, sample_weight=weights)
    assert metric(*rows, sample_weight=weights * scale) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [*METRICS, ood_report])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (([True, True], [0.1, 0.2]), "2 rows in distribution and 0 outside"),
        (([False], [0.1]), "0 rows in distribution and 1 outside"),
        (([], []), "is_in with 0 rows"),
        (([True, False], [0.1]), "score with 1 rows"),
        (([True, False], [0.1, np.nan]), "score with 1 NaN"),
        (([1, -1], [0.1, 0.2]), "expected booleans"),
        ((["in", "out"], [0.1, 0.2]), "expected booleans"),
    ],
)
def test_bad_rows_are_named(metric, rows, message):
    with pytest.raises(ValueError, match=message):
        metric(*rows)


def test_weights_can_leave_one_kind_only():
    with pytest.raises(ValueError, match="1 rows in distribution and 0 outside"):
        auroc([True, False], [1, 2], sample_weight=[1, 0])


@pytest.mark.parametrize("tpr", [0, 1.2, np.nan])
@pytest.mark.parametrize("metric", [tnr_at_tpr, ood_report])
def test_bad_tpr(metric, tpr):
    with pytest.raises(ValueError, match="tpr="):
        metric([True, False], [1, 0], tpr=tpr)
