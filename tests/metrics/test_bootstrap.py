from functools import partial

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss
from sklearn.utils import check_random_state

from sklearn_ood.metrics import (
    augrc_score,
    aupr_in,
    aupr_out,
    aurc_score,
    auroc,
    bootstrap_interval,
    coverage_at_risk,
    detection_accuracy,
    eaurc_score,
    expected_calibration_error,
    ood_report,
    open_set_f_measure,
    oscr_score,
    risk_at_coverage,
    tnr_at_tpr,
)
from sklearn_ood.metrics._blocks import _cells

SELECTIVE = [
    (aurc_score, {}),
    (eaurc_score, {}),
    (augrc_score, {}),
    (risk_at_coverage, {"coverage": 0.6}),
    (coverage_at_risk, {"risk": 0.2}),
]
OUTLIERS = [
    (tnr_at_tpr, {"tpr": 0.8}),
    (auroc, {}),
    (detection_accuracy, {}),
    (aupr_in, {}),
    (aupr_out, {}),
]


def global_state():
    return check_random_state(None).get_state()[1].copy()


def make_rows(metric, n=80, seed=0, levels=12):
    rng = np.random.default_rng(seed)
    confidence = rng.integers(0, levels, n) / levels
    wrong = rng.random(n) > 0.4 + confidence / 2
    if metric is oscr_score:
        return rng.integers(0, 4, n), rng.integers(0, 3, n), confidence
    if metric in dict(OUTLIERS):
        return ~wrong, confidence
    return wrong.astype(int), np.zeros(n, dtype=int), confidence


@pytest.mark.parametrize(
    ("metric", "params"), [*SELECTIVE, *OUTLIERS, (oscr_score, {"classes": [0, 1, 2]})]
)
def test_counts_of_a_resample_give_the_metric_of_the_resample(metric, params):
    rows = make_rows(metric)
    (kind, n_kinds, confidence, _), compute, joins_idle = metric.resampled(*rows, **params)
    cell, n_blocks = _cells(kind, n_kinds, confidence, joins_idle)
    rng = np.random.default_rng(1)
    draws = rng.integers(0, 80, (20, 80))
    counts = np.stack([np.bincount(cell[d], minlength=n_kinds * n_blocks) for d in draws])
    got = compute(counts.reshape(20, n_kinds, n_blocks))
    expected = [metric(*(column[d] for column in rows), **params) for d in draws]
    assert np.allclose(got, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("metric", "params"), [*SELECTIVE, *OUTLIERS])
def test_both_ways_agree(metric, params):
    rows = make_rows(metric, n=150)

    def wrapped(*rows):
        return metric(*rows, **params)

    at_once = bootstrap_interval(metric, *rows, n_resamples=3000, random_state=0, **params)
    one_by_one = bootstrap_interval(wrapped, *rows, n_resamples=1000, random_state=0)
    width = one_by_one[1] - one_by_one[0]
    assert at_once == pytest.approx(one_by_one, abs=0.15 * width + 0.01)


def test_interval_of_a_mean_is_the_normal_one():
    # with a constant confidence the AURC is the error rate
    wrong = (np.arange(2000) < 400).astype(int)
    low, high = bootstrap_interval(
        aurc_score, wrong, np.zeros(2000), np.ones(2000), n_resamples=20_000, random_state=0
    )
    half = 1.96 * np.sqrt(0.2 * 0.8 / 2000)
    assert (low, high) == pytest.approx((0.2 - half, 0.2 + half), abs=0.001)


def test_level_orders_the_intervals():
    rows = make_rows(aurc_score)
    ends = [
        bootstrap_interval(aurc_score, *rows, confidence_level=level, random_state=0)
        for level in (0.5, 0.9, 0.99)
    ]
    assert ends[2][0] < ends[1][0] < ends[0][0] < ends[0][1] < ends[1][1] < ends[2][1]


@pytest.mark.parametrize("metric", [aurc_score, accuracy_score])
def test_same_seed_same_interval_and_global_state_untouched(metric):
    rows = make_rows(aurc_score)[: 3 if metric is aurc_score else 2]
    state = global_state()
    first = bootstrap_interval(metric, *rows, n_resamples=200, random_state=3)
    assert first == bootstrap_interval(metric, *rows, n_resamples=200, random_state=3)
    assert first != bootstrap_interval(metric, *rows, n_resamples=200, random_state=4)
    assert np.array_equal(state, global_state())


def test_any_metric_of_rows():
    rows = make_rows(expected_calibration_error)
    settings = {"n_resamples": 64, "random_state": 0, "n_bins": 5}
    low, high = bootstrap_interval(expected_calibration_error, *rows, **settings)
    assert low < expected_calibration_error(*rows, n_bins=5) < high
    alone = bootstrap_interval(expected_calibration_error, *rows, **settings)
    assert alone == bootstrap_interval(expected_calibration_error, *rows, n_jobs=2, **settings)
    low, high = bootstrap_interval(lambda y: y.mean(), rows[2], n_resamples=64, random_state=0)
    assert low < rows[2].mean() < high
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        bootstrap_interval(accuracy_score, [0, 1], [0, 1, 1])


def test_resamples_without_an_outlier_are_left_out():
    is_in = np.arange(20) > 0
    low, high = bootstrap_interval(auroc, is_in, np.arange(20), random_state=0)
    assert low == high == 1


@pytest.mark.parametrize(
    ("metric", "rows"),
    [
        (log_loss, ([0, 1, 0, 0], [0.1, 0.9, 0.2, 0.3])),
        (
            partial(open_set_f_measure, classes=[0, 1], threshold=0.5),
            ([0, 7, 7, 7], [0, 1, 0, 1], [0.9, 0.1, 0.2, 0.3]),
        ),
    ],
)
def test_resamples_in_which_a_metric_raises_are_left_out(metric, rows):
    low, high = bootstrap_interval(metric, *rows, n_resamples=60, random_state=0)
    assert low <= metric(*rows) <= high
    with pytest.raises(ValueError, match="inconsistent|3 rows"):
        bootstrap_interval(metric, rows[0][:3], *rows[1:])


def test_what_gives_no_number_is_named():
    with pytest.raises(TypeError, match=r"gives \{'tnr_at_tpr'.*expected a number"):
        bootstrap_interval(ood_report, *make_rows(auroc))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"confidence_level": 95}, ValueError, "confidence_level=95"),
        ({"n_resamples": 0}, ValueError, "n_resamples=0"),
        ({"n_resamples": 10.5}, ValueError, "n_resamples=10.5"),
        ({"sample_weight": np.ones(80)}, TypeError, "leave it out"),
    ],
)
def test_bad_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        bootstrap_interval(aurc_score, *make_rows(aurc_score), **settings)


def test_bad_rows_are_named():
    with pytest.raises(ValueError, match="NaN"):
        bootstrap_interval(aurc_score, [0, 1], [0, 1], [0.1, np.nan])
