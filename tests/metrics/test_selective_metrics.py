from itertools import permutations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sklearn_ood.metrics import (
    augrc_score,
    aurc_score,
    coverage_at_risk,
    eaurc_score,
    risk_at_coverage,
    risk_coverage_curve,
)

SCALARS = [aurc_score, eaurc_score, augrc_score, risk_at_coverage, coverage_at_risk]


@st.composite
def answers(draw, max_size=40):
    n = draw(st.integers(1, max_size))
    wrong = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    values = st.sampled_from([-np.inf, -2.5, -1.0, -0.0, 0.0, 1e-300, 1.0, 2.0, np.inf])
    confidence = draw(st.lists(values, min_size=n, max_size=n))
    return np.array(wrong), np.zeros(n, dtype=int), np.array(confidence)


def mean_over_orders(measure, wrong, confidence):
    """Brute force: every order that the confidence allows is equally likely."""
    orders = (np.array(order) for order in permutations(range(len(wrong))))
    falling = [order for order in orders if (np.diff(confidence[order]) <= 0).all()]
    return np.mean([measure(wrong[order]) for order in falling])


def mean_risk(errors):
    return np.mean(np.cumsum(errors) / np.arange(1, len(errors) + 1))


def generalised_area(errors):
    joint = np.r_[0, np.cumsum(errors)] / len(errors)
    return np.mean((joint[1:] + joint[:-1]) / 2)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    ("metric", "measure"), [(aurc_score, mean_risk), (augrc_score, generalised_area)]
)
def test_areas_are_the_mean_over_all_orders_of_ties(metric, measure, seed):
    rng = np.random.default_rng(seed)
    wrong, confidence = rng.integers(0, 2, 7), rng.integers(-1, 2, 7) / 2.0
    expected = mean_over_orders(measure, wrong, confidence)
    assert metric(wrong, np.zeros(7), confidence) == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("n_wrong", [0, 1, 4, 9, 10])
def test_eaurc_subtracts_the_exact_optimum(n_wrong):
    wrong = np.array([1] * n_wrong + [0] * (10 - n_wrong))
    j = np.arange(1, n_wrong + 1)
    optimum = (j / (10 - n_wrong + j)).sum() / 10
    rising = np.arange(10.0)
    assert aurc_score(wrong, np.zeros(10), rising) == pytest.approx(optimum, abs=1e-14)
    assert eaurc_score(wrong, np.zeros(10), rising) == pytest.approx(0, abs=1e-14)
    worst = aurc_score(wrong, np.zeros(10), -rising)
    assert eaurc_score(wrong, np.zeros(10), -rising) == pytest.approx(
        worst - optimum, abs=1e-14
    )


@given(answers())
@example((np.ones(6, dtype=int), np.zeros(6, dtype=int), np.array([1, 2, 3, 3, 4, 5.0])))
@settings(max_examples=80, deadline=None)
def test_eaurc_is_never_negative_and_augrc_is_the_auroc_identity(rows):
    wrong, confidence = rows[0], rows[2]
    accuracy = 1 - wrong.mean()
    assert 0 <= eaurc_score(*rows) <= aurc_score(*rows) <= 1
    if 0 < accuracy < 1:
        finite = np.unique(confidence, return_inverse=True)[1]
        auroc = roc_auc_score(wrong == 0, finite)
        identity = (1 - auroc) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2
        assert augrc_score(*rows) == pytest.approx(identity, abs=1e-12)


@given(answers(), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_order_of_rows_and_monotone_transforms_change_nothing(rows, random):
    order = list(range(len(rows[0])))
    random.shuffle(order)
    ranks = np.unique(rows[2], return_inverse=True)[1]
    transformed = (rows[0], rows[1], np.exp(ranks / 3.0) - 7)
    for metric in SCALARS:
        assert metric(*(column[order] for column in rows)) == metric(*rows)
        assert metric(*transformed) == metric(*rows)
    for got, expected in zip(
        risk_coverage_curve(*transformed)[:2], risk_coverage_curve(*rows)[:2], strict=True
    ):
        assert np.array_equal(got, expected)


@given(answers(max_size=15), st.data())
@settings(max_examples=80, deadline=None)
def test_weights_are_repeated_rows(rows, data):
    n = len(rows[0])
    weights = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n).filter(any))
    repeated = [np.repeat(column, weights) for column in rows]
    for metric in SCALARS:
        weighted = metric(*rows, sample_weight=weights)
        assert weighted == pytest.approx(metric(*repeated), abs=1e-12)
    for got, expected in zip(
        risk_coverage_curve(*rows, sample_weight=weights),
        risk_coverage_curve(*repeated),
        strict=True,
    ):
        assert np.allclose(got[np.isfinite(got)], expected[np.isfinite(expected)])


@pytest.mark.parametrize("metric", SCALARS)
@pytest.mark.parametrize("scale", [1 / 200, 1e-6, 1e-300, 1e308])
def test_weights_may_be_shares(metric, scale):
    rng = np.random.default_rng(0)
    wrong, confidence = rng.integers(0, 2, 200), rng.integers(0, 50, 200)
    rows = wrong, np.zeros(200), confidence
    weighted = metric(*rows, sample_weight=np.full(200, scale))
    assert weighted == pytest.approx(metric(*rows), rel=1e-9)
    curve = risk_coverage_curve(*rows, sample_weight=np.full(200, scale))
    assert np.allclose(curve, risk_coverage_curve(*rows))


def test_curve_has_only_achievable_points():
    rng = np.random.default_rng(0)
    wrong, confidence = rng.integers(0, 2, 200), rng.integers(-5, 5, 200) / 4.0
    coverage, risk, threshold = risk_coverage_curve(wrong, np.zeros(200), confidence)
    assert np.array_equal(threshold, np.unique(confidence)[::-1])
    accepted = [confidence >= t for t in threshold]
    assert np.allclose(coverage, [a.mean() for a in accepted])
    assert np.allclose(risk, [wrong[a].mean() for a in accepted])


def test_positive_and_negative_confidences_of_one_magnitude_are_apart():
    coverage, _, threshold = risk_coverage_curve([0, 0], [0, 1], [1.0, -1.0])
    assert coverage.tolist() == [0.5, 1.0]
    assert threshold.tolist() == [1.0, -1.0]


def test_minus_zero_is_a_tie_of_zero():
    assert risk_coverage_curve([0, 0], [0, 1], [0.0, -0.0])[0].tolist() == [1.0]


def test_constant_confidence_gives_a_flat_curve():
    wrong = np.array([1, 0, 0, 0, 1, 0, 0])
    rows = (wrong, np.zeros(7), np.full(7, 0.3))
    coverage, risk, threshold = risk_coverage_curve(*rows)
    assert coverage.tolist() == [1.0]
    assert risk.tolist() == [2 / 7]
    assert threshold.tolist() == [0.3]
    assert aurc_score(*rows) == pytest.approx(2 / 7, abs=1e-15)
    assert augrc_score(*rows) == pytest.approx(1 / 7, abs=1e-15)
    assert risk_at_coverage(*rows, coverage=0.1) == 2 / 7
    assert coverage_at_risk(*rows, risk=0.2) == 0


@pytest.mark.parametrize(
    ("answer", "aurc", "augrc", "risk", "coverage"), [(1, 0, 0, 0, 1), (0, 1, 0.5, 1, 0)]
)
def test_all_right_and_all_wrong(answer, aurc, augrc, risk, coverage):
    rows = (np.ones(9), np.full(9, answer), np.linspace(-1, 1, 9))
    assert aurc_score(*rows) == pytest.approx(aurc, abs=1e-15)
    assert eaurc_score(*rows) == pytest.approx(0, abs=1e-15)
    assert augrc_score(*rows) == augrc
    assert risk_at_coverage(*rows) == risk
    assert coverage_at_risk(*rows) == coverage


def test_single_row():
    assert aurc_score([0], [1], [-np.inf]) == 1
    assert risk_coverage_curve([0], [0], [3.0])[1].tolist() == [0.0]


def test_the_block_of_ones_that_cannot_be_refused():
    # 343 wrong of 5,644 at confidence 1.0: the lowest risk that a threshold can reach
    wrong = np.r_[np.ones(343), np.zeros(5644 - 343), np.ones(2000)]
    confidence = np.r_[np.ones(5644), np.linspace(0, 0.9, 2000)]
    rows = (wrong, np.zeros_like(wrong), confidence)
    assert risk_coverage_curve(*rows)[1].min() == 343 / 5644
    assert risk_at_coverage(*rows, coverage=0.01) == 343 / 5644
    assert coverage_at_risk(*rows, risk=0.05) == 0
    assert coverage_at_risk(*rows, risk=343 / 5644) == 5644 / 7644


def test_coverage_can_come_back_after_a_bad_start():
    rows = ([1, 0, 0, 0], [0, 0, 0, 0], [4, 3, 2, 1])
    assert coverage_at_risk(*rows, risk=0.25) == 1
    assert coverage_at_risk(*rows, risk=0.24) == 0
    assert risk_at_coverage(*rows, coverage=0.5) == 0.5


@pytest.mark.parametrize("share", np.arange(1, 11) / 10)
def test_shares_that_are_not_binary_fractions_are_met(share):
    rows = (np.arange(10) < 5, np.zeros(10), np.arange(10))
    expected = max(0, round(share * 10) - 5) / round(share * 10)
    assert risk_at_coverage(*rows, coverage=share) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "wrong"),
    [
        (["a", "b", "unknown"], ["a", "a", "a"], [0, 1, 1]),
        ([0, 1, "unknown"], np.array([0, 0, 1]), [0, 1, 1]),
        (np.array(["0", "1", "2"]), np.array([0, 1, 2]), [1, 1, 1]),
        (np.array([True, False, True]), np.array([1, 1, 1]), [0, 1, 0]),
        (np.array(["cat", "catfish", "cat"]), np.array(["cat"] * 3, object), [0, 1, 0]),
    ],
)
def test_labels_of_any_kind(y_true, y_pred, wrong):
    got = aurc_score(y_true, y_pred, [3, 2, 1])
    assert got == aurc_score(wrong, [0, 0, 0], [3, 2, 1])


def test_pandas_columns():
    pd = pytest.importorskip("pandas")
    numbers = pd.array([0, 1], dtype="Int64"), pd.array([0, 0], dtype="Int64")
    assert aurc_score(*numbers, pd.array([0.9, 0.1], dtype="Float64")) == 0.25
    with pytest.raises(ValueError, match="y_true with 1 missing labels"):
        aurc_score(pd.array([0, None], dtype="Int64"), [0, 0], [0.9, 0.1])
    frame = pd.DataFrame({"y": ["a", "b"], "answer": ["a", "a"], "c": [0.9, 0.1]}, index=[7, 3])
    assert aurc_score(frame["y"], frame["answer"], frame["c"]) == 0.25


@pytest.mark.parametrize("metric", [risk_coverage_curve, *SCALARS])
@pytest.mark.parametrize(
    ("rows", "weights", "message"),
    [
        (([0, 1], [0, 1], [0.5, np.nan]), None, "confidence with 1 NaN"),
        (([], [], []), None, "y_true with 0 rows"),
        (([0, 1], [0], [0.5, 0.2]), None, "y_pred with 1 rows"),
        (([0, 1], [0, 1], [0.5]), None, "confidence with 1 rows"),
        (([[0, 1], [1, 0]], [0, 1], [0.5, 0.2]), None, r"y_true of shape \(2, 2\)"),
        (([0, 1], [0, 1], [0.5, 0.2]), [1, -1], "sample_weight from -1.0"),
        (([0, 1], [0, 1], [0.5, 0.2]), [0, 0], "not all of them 0"),
        (([0, 1], [0, 1], [0.5, 0.2]), [1, np.inf], "finite"),
        (([0, 1], [0, 1], [0.5, 0.2]), [1], "sample_weight with 1 rows"),
        (([0, 1], [0, 1], [0.5, 0.2]), ["1", "2"], "sample_weight of <U1"),
        (([0, 1], [0, 1], ["low", "high"]), None, "confidence of <U4, such as"),
        (([0, 1], [0, 1], [0.5 + 1j, 0.2]), None, "confidence of complex128"),
        (([0, 1], [0, 1], np.arange(2).astype("M8[s]")), None, "confidence of datetime64"),
        (
            ([0, 1], [0, 1], np.ma.array([0.5, 0.2], mask=[0, 1])),
            None,
            "1 entries that",
        ),
        (([np.nan, 1], [0, 1], [0.5, 0.2]), None, "y_true with 1 missing labels"),
        (([0, None], [0, 1], [0.5, 0.2]), None, "y_true with 1 missing labels"),
    ],
)
def test_bad_rows_are_named(metric, rows, weights, message):
    with pytest.raises(ValueError, match=message):
        metric(*rows, sample_weight=weights)


@pytest.mark.parametrize("coverage", [0, -0.1, 1.1, np.nan])
def test_bad_coverage(coverage):
    with pytest.raises(ValueError, match=r"coverage=.*\(0.0, 1.0\]"):
        risk_at_coverage([0], [0], [0], coverage=coverage)


@pytest.mark.parametrize("risk", [-0.1, 1.1, np.nan])
def test_bad_risk(risk):
    with pytest.raises(ValueError, match=r"risk=.*\[0.0, 1.0\]"):
        coverage_at_risk([0], [0], [0], risk=risk)


def test_large_arrays_stay_exact():
    rng = np.random.default_rng(0)
    n = 200_000
    wrong, confidence = rng.random(n) < 0.2, rng.normal(size=n)
    errors = np.cumsum(wrong[np.argsort(-confidence)])
    expected = np.mean(errors / np.arange(1, n + 1))
    assert aurc_score(wrong, np.zeros(n), confidence) == pytest.approx(expected, rel=1e-11)


def test_labels_of_bytes_are_an_error():
    with pytest.raises(TypeError, match="Got y_true of bytes such as b'a', .* decode"):
        aurc_score([b"a", b"b"], ["a", "b"], [0.5, 0.2])
