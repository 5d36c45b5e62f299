import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import accuracy_score

from sklearn_ood.selective._thresholds import (
    CalibrationRows,
    chosen_threshold,
    risk_thresholds,
)

N_REPEATS = 1000


def calibration_rows(confidence, loss, **more):
    every = np.ones(len(loss), dtype=bool)
    more = {"part": np.zeros(len(loss), dtype=int)} | more
    return CalibrationRows(confidence, loss, outlier=~every, calibrating=every, **more)


def risk_threshold(confidence, loss, risk, delta, at_least=-np.inf, **more):
    rows = calibration_rows(confidence, loss, **more)
    [[threshold]], [promise] = risk_thresholds(rows, [risk], delta, at_least)
    return threshold, promise


def ood_threshold(confidence, ood_acceptance, delta, weight=None):
    every = np.ones(len(confidence), dtype=bool)
    rows = CalibrationRows(confidence, every, every, ~every, np.zeros(len(every)), weight)
    threshold, promises = chosen_threshold(rows, ood_acceptance=ood_acceptance, delta=delta)
    return threshold, promises["ood_acceptance"]


def coverage_threshold(confidence, coverage, weight=None):
    rows = calibration_rows(confidence, np.zeros(len(confidence)), weight=weight)
    return chosen_threshold(rows, coverage=coverage, delta=0.1)[0]


def cost_threshold(confidence, loss, cost, weight=None):
    rows = calibration_rows(confidence, loss, weight=weight)
    return chosen_threshold(rows, cost=cost, delta=0.1)[0]


def class_risk_thresholds(confidence, loss, answer, labels, risk, delta):
    more = {"part": answer, "labels": labels, "guarantee_for": "class"}
    [thresholds], promises = risk_thresholds(
        calibration_rows(confidence, loss, **more), [risk], delta
    )
    return thresholds, promises


def within_binomial_tolerance(n_broken, delta, n_repeats=N_REPEATS):
    """A promise kept with probability 1 - delta is broken so often with p > 1e-4."""
    return n_broken <= binom.ppf(1 - 1e-4, n_repeats, delta)


def draw(rng, n_rows, ties):
    """Confidence uniform (or on ten values), error probability .3 (1 - confidence)^2."""
    confidence = rng.random(n_rows)
    if ties:
        confidence = np.floor(confidence * 10) / 10
    return confidence, rng.random(n_rows) < 0.3 * (1 - confidence) ** 2


def true_risk(threshold, ties):
    if not ties:
        return 0.1 * (1 - max(threshold, 0.0)) ** 2
    values = np.arange(10) / 10
    return (0.3 * (1 - values[values >= threshold]) ** 2).mean()


@pytest.mark.slow
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("risk", "n_rows"), [(0.03, 1500), (0.06, 500)])
def test_risk_promise_is_kept(risk, n_rows, ties):
    rng, delta, broken, kept = np.random.default_rng(0), 0.1, 0, 0
    for _ in range(N_REPEATS):
        try:
            threshold, _ = risk_threshold(*draw(rng, n_rows, ties), risk, delta)
        except ValueError:
            continue
        kept += 1
        broken += true_risk(threshold, ties) > risk
    assert kept > 0.8 * N_REPEATS
    assert within_binomial_tolerance(broken, delta)


@pytest.mark.slow
def test_risk_promise_is_kept_where_confidence_is_noise():
    """With a useless confidence every threshold has risk .1: any promise of .09 is broken."""
    rng, delta = np.random.default_rng(1), 0.1
    promised = 0
    for _ in range(N_REPEATS):
        try:
            risk_threshold(rng.random(500), rng.random(500) < 0.1, 0.09, delta)
            promised += 1
        except ValueError:
            continue
    assert within_binomial_tolerance(promised, delta)


@pytest.mark.slow
@pytest.mark.parametrize("ties", [False, True])
def test_ood_promise_is_kept(ties):
    rng, delta, limit, broken = np.random.default_rng(2), 0.1, 0.1, 0
    for _ in range(N_REPEATS):
        confidence = rng.random(100)
        if ties:
            confidence = np.floor(confidence * 20) / 20
        threshold, _ = ood_threshold(confidence, limit, delta)
        acceptance = 1 - threshold
        if ties:
            acceptance = (np.arange(20) / 20 >= threshold).mean()
        broken += acceptance > limit
    assert within_binomial_tolerance(broken, delta)
    assert ties or broken > 0.05 * N_REPEATS  # not merely cautious


@pytest.mark.slow
@pytest.mark.parametrize("ties", [False, True])
def test_joint_promise_is_kept(ties):
    rng, delta, risk, limit, broken, kept = np.random.default_rng(3), 0.1, 0.06, 0.3, 0, 0
    for _ in range(N_REPEATS):
        confidence, error = draw(rng, 1000, ties)
        outliers = rng.random(200) ** 2  # P(outlier confidence >= t) = 1 - sqrt(t)
        if ties:
            outliers = np.floor(outliers * 10) / 10
        try:
            at_least, _ = ood_threshold(outliers, limit, delta / 2)
            threshold, _ = risk_threshold(confidence, error, risk, delta / 2, at_least=at_least)
        except ValueError:
            continue
        kept += 1
        accepted = 1 - np.sqrt(np.ceil(threshold * 10) / 10 if ties else threshold)
        broken += (true_risk(threshold, ties) > risk) | (accepted > limit)
    assert kept > 0.8 * N_REPEATS
    assert within_binomial_tolerance(broken, delta)


def test_risk_threshold_separates_a_clean_top_from_a_wrong_bottom():
    confidence = np.arange(1000.0)
    error = confidence < 200
    threshold, guarantee = risk_threshold(confidence, error, 0.05, 0.05)
    accepted = confidence >= threshold
    assert 0.05 > error[accepted].mean() > 0
    assert guarantee.n_accepted == accepted.sum()
    assert guarantee.n_errors == error[accepted].sum()
    assert guarantee.bound <= 0.05


def test_all_rows_right_accepts_everything():
    threshold, guarantee = risk_threshold(np.arange(100.0), np.zeros(100, bool), 0.05, 0.05)
    assert threshold == -np.inf
    assert guarantee.n_accepted == 100


def test_equal_confidences_stay_together():
    confidence = np.repeat([1.0, 0.5], 200)
    error = np.repeat([False, True], 200)
    threshold, guarantee = risk_threshold(confidence, error, 0.05, 0.05)
    assert 0.5 < threshold <= 1.0
    assert guarantee.n_accepted == 200


def test_unreachable_risk_names_the_best_bound():
    with pytest.raises(ValueError, match=r"risk=0\.01 .*best reachable bound is 0\.0\d+"):
        risk_threshold(np.arange(100.0), np.zeros(100, bool), 0.01, 0.05)


def test_too_few_outliers_names_how_many_are_needed():
    with pytest.raises(ValueError, match=r"from 10 outlier rows.*at least 59 of them"):
        ood_threshold(np.arange(10.0), 0.05, 0.05)
    threshold, guarantee = ood_threshold(np.arange(59.0), 0.05, 0.05)
    assert threshold > 58
    assert guarantee.bound <= 0.05


def test_outliers_of_infinite_confidence_cannot_be_refused():
    confidence = np.append(np.arange(50.0), np.full(50, np.inf))
    with pytest.raises(ValueError, match=r"confidence of \+inf, which no threshold refuses"):
        ood_threshold(confidence, 0.2, 0.05)
    assert ood_threshold(-confidence, 0.2, 0.05)[1].bound <= 0.2


@pytest.mark.slow
@pytest.mark.parametrize(("size", "n_repeats"), [(1.0, 500), (0.5, 150)])
def test_promises_for_classes_are_kept_where_each_is_false_or_some_are_sure(size, n_repeats):
    """What is promised of the classes with risk .1 is broken; the sure ones leave levels."""
    rng, delta, labels = np.random.default_rng(5), 0.1, np.arange(6)
    broken = np.zeros(2, dtype=int)
    for _ in range(n_repeats):
        answer, confidence = rng.integers(0, 6, 1500), rng.random(1500)
        error = rng.random(1500) < 0.1 / size
        for i, some_are_sure in enumerate([False, True]):
            loss = error & (answer < 3) if some_are_sure else error
            loss = loss if size == 1 else loss * size
            try:
                found, _ = class_risk_thresholds(confidence, loss, answer, labels, 0.09, delta)
            except ValueError:
                continue
            broken[i] += not np.isposinf(found[: 3 if some_are_sure else 6]).all()
    assert within_binomial_tolerance(broken.max(), delta, n_repeats)
    assert size < 1 or broken.max() > 0.01 * n_repeats  # not merely cautious


def test_the_thresholds_of_classes_are_each_as_that_of_one():
    rng = np.random.default_rng(0)
    confidence, answer = rng.random(3000).round(2), rng.integers(0, 2, 3000)
    error = rng.random(3000) < 0.3 * (1 - confidence) ** 2
    found, promises = class_risk_thresholds(confidence, error, answer, np.arange(2), 0.05, 0.1)
    for code in (0, 1):
        own = answer == code
        alone, promise = risk_threshold(confidence[own], error[own], 0.05, 0.05)
        assert found[code] == alone
        assert promises[code].bound == promise.bound
        assert promises[code].n_accepted == (own & (confidence >= alone)).sum()
        assert (promises[code].label, promises[code].delta) == (code, 0.1)


def test_a_class_that_is_sure_leaves_its_level_to_the_others():
    confidence, answer = np.tile(np.arange(200.0), 2), np.repeat([0, 1], 200)
    error = (answer == 1) & (confidence < 6)
    kept = class_risk_thresholds(confidence, error, answer, np.arange(2), 0.05, 0.06)[1]
    alone = risk_threshold(confidence[answer == 1], error[answer == 1], 0.05, 0.06)[1]
    split = risk_threshold(confidence[answer == 1], error[answer == 1], 0.05, 0.03)[1]
    assert split.n_accepted <= kept[1].n_accepted
    assert kept[1].bound == pytest.approx(alone.bound, abs=0.01)
    assert kept[0].n_accepted == 200


def test_classes_with_too_few_rows_take_no_level_and_are_refused():
    answer = np.append(np.zeros(500, dtype=int), np.arange(1, 400))
    confidence, right = np.arange(899.0), np.zeros(899, dtype=bool)
    found, promises = class_risk_thresholds(
        confidence, right, answer, np.arange(400), 0.02, 0.05
    )
    assert found[0] == -np.inf
    assert np.isposinf(found[1:]).all()
    assert promises[0].n_accepted == 500
    assert promises[0].bound < 0.02
    assert (promises[7].bound, promises[7].n_samples, promises[7].n_accepted) == (1.0, 1, 0)
    with pytest.raises(
        ValueError, match=r"any class: 0 of 400 .*the most are 500, .* takes 598"
    ):
        class_risk_thresholds(confidence, right, answer, np.arange(400), 0.005, 0.05)


def test_each_of_several_risks_has_a_threshold_and_the_larger_one_accepts_more():
    confidence, error = draw(np.random.default_rng(0), 3000, ties=False)
    limits, rows = [0.001, 0.02, 0.05], calibration_rows(confidence, error)
    found, promises = risk_thresholds(rows, limits, 0.06)
    assert (found[1:] < found[:-1]).all()
    assert [each.limit for each in promises] == limits
    for threshold, promise in zip(found[:, 0], promises, strict=True):
        accepted = confidence >= threshold
        assert (promise.n_accepted, promise.n_errors) == (
            accepted.sum(),
            error[accepted].sum(),
        )
        assert error[accepted].sum() / max(accepted.sum(), 1) <= promise.limit
        assert promise.bound <= promise.limit or np.isposinf(threshold)
    # Each alone may use more of delta.
    for limit, threshold in zip(limits[1:], found[1:, 0], strict=True):
        assert risk_threshold(confidence, error, limit, 0.06)[0] <= threshold
        assert risk_threshold(confidence, error, limit, 0.02)[0] >= threshold


def test_what_is_promised_for_a_limit_is_so_for_larger_ones():
    """Where the larger limit's starts end before, the smaller one's threshold is taken."""
    rng = np.random.default_rng(0)
    for seed in range(200):
        confidence, error = draw(np.random.default_rng(seed), int(rng.integers(100, 800)), True)
        try:
            rows = calibration_rows(confidence, error)
            found, promises = risk_thresholds(rows, [0.02, 0.021, 0.05], 0.2)
        except ValueError:
            continue
        assert (found[1:] <= found[:-1]).all()
        accepted = [each.n_accepted for each in promises]
        assert accepted == sorted(accepted)


@pytest.mark.slow
def test_several_risks_are_kept_at_once():
    rng, delta, broken, limits = np.random.default_rng(6), 0.1, 0, [0.02, 0.04, 0.06]
    for _ in range(N_REPEATS):
        rows = calibration_rows(*draw(rng, 1200, ties=False))
        found, _ = risk_thresholds(rows, limits, delta)
        kept = [
            np.isposinf(t) or true_risk(t, False) <= r
            for t, r in zip(found[:, 0], limits, strict=True)
        ]
        broken += not all(kept)
    assert within_binomial_tolerance(broken, delta)


def test_weights_that_are_all_one_weigh_nothing_but_in_the_bound():
    confidence, error = draw(np.random.default_rng(0), 2000, ties=False)
    plain, exact = risk_threshold(confidence, error, 0.05, 0.05)
    weighted, promise = risk_threshold(confidence, error, 0.05, 0.05, weight=np.ones(2000))
    assert weighted == pytest.approx(plain, abs=0.1)
    assert weighted >= plain
    assert promise.n_effective == pytest.approx(2000)
    assert exact.n_effective is None
    assert "(as good as 2,000 of equal weight)" in str(promise)


def test_rows_without_weight_do_not_count():
    rng = np.random.default_rng(0)
    confidence, error = draw(rng, 2000, ties=False)
    counts = rng.random(2000) < 0.6
    weighted = risk_threshold(confidence, error, 0.05, 0.05, weight=counts * 1.0)
    alone = risk_threshold(
        confidence[counts], error[counts], 0.05, 0.05, weight=np.ones(counts.sum())
    )
    assert weighted[1].n_effective == pytest.approx(counts.sum())
    assert (confidence[counts] >= weighted[0]).mean() == pytest.approx(
        (confidence[counts] >= alone[0]).mean(), abs=0.05
    )


@pytest.mark.slow
@pytest.mark.parametrize("largest", [1.0, 3.0])
def test_the_weighted_risk_promise_is_kept_under_a_known_shift(largest):
    """Rows are uniform, new rows have a density that favours those of little confidence."""
    rng, delta, risk, broken, kept = np.random.default_rng(7), 0.1, 0.06, 0, 0
    grid = np.linspace(0, 1, 20_001)
    density = 1 + (largest - 1) * (1 - grid) ** 4
    wrong = 0.3 * (1 - grid) ** 2
    below = np.cumsum((density * wrong)[::-1])[::-1], np.cumsum(density[::-1])[::-1]
    true = below[0] / below[1]
    for _ in range(N_REPEATS):
        confidence, error = draw(rng, 1500, ties=False)
        weight = (1 + (largest - 1) * (1 - confidence) ** 4) / largest
        try:
            threshold, _ = risk_threshold(confidence, error, risk, delta, weight=weight)
        except ValueError:
            continue
        kept += 1
        broken += true[np.searchsorted(grid, max(threshold, 0.0))] > risk
    assert kept > 0.8 * N_REPEATS
    assert within_binomial_tolerance(broken, delta)


@pytest.mark.slow
def test_the_weighted_promise_on_outliers_is_kept():
    rng, delta, limit, broken, chosen = np.random.default_rng(8), 0.1, 0.2, 0, []
    for _ in range(N_REPEATS):
        confidence = rng.random(300)  # new ones have the density 2 * confidence
        threshold, promise = ood_threshold(confidence, limit, delta, confidence)
        chosen.append(promise.bound)
        broken += 1 - threshold**2 > limit
    assert within_binomial_tolerance(broken, delta)
    assert broken
    assert np.mean(chosen) > 0.15


@pytest.mark.parametrize("cost", [0.01, 0.1, 0.4])
def test_the_threshold_of_a_cost_is_the_cheapest(cost):
    confidence, error = draw(np.random.default_rng(0), 300, ties=True)
    best = cost_threshold(confidence, error, cost)

    def spent(threshold):
        accepted = confidence >= threshold
        return error[accepted].sum() + cost * (~accepted).sum()

    others = np.append(np.unique(confidence), np.inf)
    assert spent(best) == pytest.approx(min(map(spent, others)))


def test_a_cost_at_which_nothing_or_everything_is_refused():
    confidence = np.arange(10.0)
    assert cost_threshold(confidence, np.ones(10), 0.5) == np.inf
    assert cost_threshold(confidence, np.full(10, 0.2), 0.2) == -np.inf


def test_a_weight_is_as_many_rows_where_nothing_is_promised():
    rng = np.random.default_rng(0)
    confidence, error = draw(rng, 400, ties=True)
    weight = rng.integers(0, 4, 400)
    often = np.repeat(np.arange(400), weight)
    for coverage in (0.3, 0.9):
        found = coverage_threshold(confidence, coverage, weight / 3)
        assert found == coverage_threshold(confidence[often], coverage)
    found = cost_threshold(confidence, error, 0.1, weight / 3)
    assert found == cost_threshold(confidence[often], error[often], 0.1)
    with pytest.raises(ValueError, match="no in-distribution calibration rows"):
        coverage_threshold(confidence, 0.5, np.zeros(400))


@pytest.mark.parametrize("coverage", [0.01, 0.37, 0.8, 1.0])
def test_coverage_threshold_is_the_largest_that_covers(coverage):
    confidence = np.random.default_rng(0).integers(0, 30, 200).astype(float)
    threshold = coverage_threshold(confidence, coverage)
    assert (confidence >= threshold).mean() >= coverage
    assert (confidence > threshold).mean() < coverage


@pytest.mark.slow
def test_guarantee_holds_for_a_classifier_end_to_end():
    """True risk of accepted answers, measured on fresh rows, over repeated calibrations."""
    from sklearn.frozen import FrozenEstimator
    from sklearn.linear_model import LogisticRegression

    from sklearn_ood import SelectiveClassifier

    rng, delta, broken, n_repeats = np.random.default_rng(4), 0.2, 0, 100

    def sample(n_rows):
        X = rng.normal(size=(n_rows, 1))
        return X, (X[:, 0] + rng.normal(size=n_rows) > 0).astype(int)

    classifier = FrozenEstimator(LogisticRegression().fit(*sample(500)))
    X_new, y_new = sample(50_000)
    for _ in range(n_repeats):
        selective = SelectiveClassifier(classifier, risk=0.2, delta=delta).fit(*sample(400))
        accepted = selective.accept(X_new)
        broken += 1 - accuracy_score(y_new[accepted], selective.predict(X_new)[accepted]) > 0.2
    assert within_binomial_tolerance(broken, delta, n_repeats)
