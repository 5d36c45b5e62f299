"""The p-values keep their promise by simulation, for any scores and any combination."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from sklearn_ood.combined._conformal import (
    COMBINATIONS,
    ConformalScale,
    auto_calibration,
    calibrated,
    calibration_size,
    combine,
    fit_tail,
    on_scales,
    split_rows,
)

METHODS = sorted(COMBINATIONS)
REPEATS = 1000


def draw_scores(kind, n_rows, rng):
    """Scores of three members for rows of one distribution."""
    if kind == "independent":
        return rng.normal(size=(n_rows, 3))
    if kind == "dependent":
        common = rng.normal(size=(n_rows, 1))
        return np.concatenate(
            [common, 2 * common, common + 1e-3 * rng.normal(size=(n_rows, 1))], 1
        )
    if kind == "opposed":
        common = rng.standard_cauchy(size=(n_rows, 1))
        return np.concatenate([common, -common, abs(common)], axis=1)
    if kind == "ties":
        return rng.integers(3, size=(n_rows, 3)).astype(float)
    return np.ones((n_rows, 3))


def pooled_scale(calibration, method):
    """Scales of the members from the first half, of the combination from the second."""
    half = len(calibration) // 2
    members = [ConformalScale.fit(column) for column in calibration[:half].T]

    def statistic(scores):
        columns = [scale.log_p(column) for scale, column in zip(members, scores.T, strict=True)]
        return -combine(np.column_stack(columns), method)

    return ConformalScale.fit(statistic(calibration[half:])), statistic


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["independent", "dependent", "opposed", "ties", "constant"])
@pytest.mark.parametrize("method", METHODS)
def test_at_most_alpha_of_exchangeable_rows_is_refused(kind, method):
    rng = np.random.default_rng(0)
    alphas = np.array([0.05, 0.1, 0.3])
    refused, refused_log = np.zeros((REPEATS, 3)), np.zeros((REPEATS, 3))
    for repeat in range(REPEATS):
        scores = draw_scores(kind, 80, rng)
        scale, statistic = pooled_scale(scores[:78], method)
        new = statistic(scores[78:])
        refused[repeat] = (scale.p_values(new)[:, None] <= alphas + 1e-12).mean(0)
        refused_log[repeat] = (scale.log_p(new)[:, None] < np.log(alphas) - 1e-9).mean(0)
    # Independent repeats: three standard deviations of the mean of 1,000 shares.
    tolerance = 3 * np.sqrt(alphas * (1 - alphas) / REPEATS)
    assert (refused.mean(0) <= alphas + tolerance).all()
    assert (refused_log.mean(0) <= alphas + tolerance).all()
    if kind == "independent":  # 39 rows calibrate the combination: 1/40 is one step
        assert (refused.mean(0) >= alphas - tolerance).all()


@pytest.mark.slow
@pytest.mark.parametrize("share_of_outliers", [0.0, 0.3])
def test_false_discovery_rate_is_at_most_its_level(share_of_outliers):
    rng = np.random.default_rng(1)
    alpha, n_rows = 0.2, 40
    n_outliers = int(share_of_outliers * n_rows)
    false, found = np.zeros(REPEATS), np.zeros(REPEATS)
    for repeat in range(REPEATS):
        scores = draw_scores("dependent", 400 + n_rows, rng)
        scores[400 : 400 + n_outliers] -= 6
        scale, statistic = pooled_scale(scores[:400], "fisher")
        rejected = (
            stats.false_discovery_control(scale.p_values(statistic(scores[400:]))) <= alpha
        )
        false[repeat] = rejected[n_outliers:].sum() / max(rejected.sum(), 1)
        found[repeat] = rejected[:n_outliers].mean() if n_outliers else 1
    assert false.mean() <= alpha + 3 * false.std() / np.sqrt(REPEATS)
    assert found.mean() > 0.9


def test_p_value_is_the_share_of_rows_as_low():
    rng = np.random.default_rng(2)
    calibration = rng.integers(20, size=150).astype(float)
    new = rng.integers(-3, 24, size=60) / 1.0
    expected = (1 + (calibration <= new[:, None]).sum(1)) / 151
    np.testing.assert_allclose(ConformalScale.fit(calibration).p_values(new), expected)


finite_floats = st.floats(-1e6, 1e6, allow_subnormal=False)


@settings(max_examples=100, deadline=None)
@example(np.array([-51.0, 1.0, *[7.55e-205] * 31]), np.zeros(2))
@example(np.array([-51.0, 1.0, *[0.0] * 31]), np.array([-1.4e-45, 0.0]))
@given(
    arrays(float, st.integers(1, 60), elements=finite_floats),
    arrays(float, st.integers(2, 60), elements=finite_floats),
)
def test_log_p_is_monotone_and_never_below_the_staircase(calibration, new):
    scale = ConformalScale.fit(calibration)
    new = np.sort(np.concatenate([new, calibration]))
    p, log_p = scale.p_values(new), scale.log_p(new)
    assert (np.diff(log_p) >= 0).all()
    assert (log_p <= 0).all()
    inside = new >= calibration.min()
    assert (log_p[inside] >= np.log(p[inside]) - 1e-12).all()
    assert np.isfinite(log_p).all()


@pytest.mark.parametrize("method", METHODS)
def test_far_rows_are_ranked_and_never_tied(method):
    rng = np.random.default_rng(3)
    calibration = rng.normal(size=(400, 2))
    scale, statistic = pooled_scale(calibration, method)
    far = -np.geomspace(8, 1e6, 200)
    score = scale.log_p(statistic(np.column_stack([far, np.zeros(200)])))
    assert (np.diff(score) < 0).all()
    assert score.max() < np.log(2 / 201)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("worst", [-np.inf, -1e308, -1e30])
def test_no_overflow_however_far(method, worst):
    scale, statistic = pooled_scale(np.random.default_rng(4).normal(size=(100, 3)), method)
    log_p = scale.log_p(statistic(np.array([[worst] * 3, [0.0] * 3])))
    assert np.isfinite(log_p).all()
    assert log_p[0] < log_p[1]


def test_constant_scores_calibrate_to_one():
    scale = ConformalScale.fit(np.full(50, 7.0))
    np.testing.assert_allclose(scale.p_values(np.array([7.0, 8.0, 6.9])), [1, 1, 1 / 51])
    np.testing.assert_allclose(scale.log_p(np.array([7.0, 8.0])), 0)
    assert np.all(np.diff(scale.log_p(np.array([6.0, 6.9]))) > 0)


@pytest.mark.parametrize(("method", "reference"), [("fisher", "fisher"), ("min", "tippett")])
def test_statistics_match_scipy(method, reference):
    p = np.random.default_rng(5).uniform(size=(20, 4))
    expected = [stats.combine_pvalues(row, reference).statistic for row in p]
    statistic = combine(np.log(p), method)
    if method == "min":
        statistic = np.exp(-statistic)
    np.testing.assert_allclose(statistic, expected)


def test_cauchy_is_the_mean_half_cauchy_quantile():
    p = np.random.default_rng(6).uniform(size=(20, 4))
    expected = stats.halfcauchy.isf(p).mean(1)
    np.testing.assert_allclose(combine(np.log(p), "cauchy"), np.log(expected))
    tiny = combine(np.array([[-800.0, -1.0]]), "cauchy")
    np.testing.assert_allclose(tiny, 800 - np.log(np.pi))
    assert np.isfinite(combine(np.zeros((1, 3)), "cauchy")).all()


def test_average_is_the_mean_of_the_powers():
    p = np.random.default_rng(6).uniform(size=(20, 4))
    expected = np.log((p**-0.25).mean(axis=1))
    np.testing.assert_allclose(combine(np.log(p), "average"), expected)
    tiny = combine(np.array([[-8000.0, -1.0]]), "average")
    np.testing.assert_allclose(tiny, 2000 - np.log(2))


@pytest.mark.parametrize("method", METHODS)
def test_combination_falls_with_every_p_value(method):
    rng = np.random.default_rng(7)
    log_p = -rng.exponential(5, size=(100, 3))
    lower = log_p.copy()
    lower[:, 1] -= rng.exponential(5, size=100)
    assert (combine(lower, method) >= combine(log_p, method)).all()


def test_tail_of_a_generalised_pareto_distribution():
    quantiles = stats.genpareto.ppf((np.arange(200_000) + 0.5) / 200_000, c=0.2, scale=3.0)
    start, scale, shape = fit_tail(-quantiles[::-1])
    assert shape == pytest.approx(0.2, abs=0.03)
    assert scale == pytest.approx(3.0 + 0.2 * -start, rel=0.05)  # a tail of it is one again


def test_calibration_rows_are_a_random_part():
    rng = np.random.RandomState(0)
    training, parts = split_rows(51, 0.5, rng)
    assert [len(part) for part in parts] == [13, 13]
    assert sorted([*training, *parts[0], *parts[1]]) == list(range(51))
    training, parts = split_rows(51, "all", rng)
    assert (len(training), [len(part) for part in parts]) == (0, [26, 25])
    training, parts = split_rows(51, "cross", rng)
    assert len(training) == 51
    assert sorted(np.concatenate(parts)) == list(range(51))
    for n_rows, calibration in ((4, "cross"), (200, 200), (1, "all"), (30, 40)):
        with pytest.raises(ValueError, match=f"n_samples={n_rows} "):
            split_rows(n_rows, calibration, rng)


def test_as_many_rows_calibrate_as_the_classifier_can_spare():
    sizes = [
        auto_calibration(n, is_asked=True, is_given=False) for n in (999, 1000, 10_000, 600_000)
    ]
    assert sizes == ["cross", 200, 1000, 10_000]
    sizes = [auto_calibration(n, is_asked=True, is_given=True) for n in (300, 600_000)]
    assert sizes == [100, 10_000]
    sizes = [
        auto_calibration(n, is_asked=False, is_given=True)
        for n in (1999, 2000, 10_000, 600_000)
    ]
    assert sizes == ["cross", 500, 1000, 10_000]
    assert [calibration_size(share, 60) for share in (0.5, 40, 100, "all")] == [30, 40, 60, 60]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["independent", "opposed", "ties"])
@pytest.mark.parametrize("n_rows", [20, 80])
def test_crossed_scales_refuse_about_alpha(kind, n_rows):
    rng = np.random.default_rng(0)
    alphas = np.array([0.05, 0.1, 0.3])
    refused = np.zeros((REPEATS, 3))
    for repeat in range(REPEATS):
        scores = draw_scores(kind, n_rows + 2, rng)
        parts = np.array_split(scores[:n_rows], 5)
        scales, scale = calibrated(parts, "fisher", is_crossed=True)
        new = -combine(on_scales(scales, scores[n_rows:]), "fisher")
        refused[repeat] = (scale.p_values(new)[:, None] <= alphas + 1e-12).mean(0)
    tolerance = 3 * np.sqrt(alphas * (1 - alphas) / REPEATS)
    assert (refused.mean(0) <= 1.1 * alphas + tolerance).all()


def test_equal_weights_change_nothing_and_whole_ones_are_rows():
    scores = np.random.default_rng(0).integers(9, size=(2, 60, 3)).astype(float)
    for is_crossed in (False, True):
        plain = calibrated(list(scores), "fisher", is_crossed=is_crossed)
        one = [np.ones(60)] * 2
        weighted = calibrated(list(scores), "fisher", is_crossed=is_crossed, row_weights=one)
        np.testing.assert_array_equal(plain[1].levels, weighted[1].levels)
    few = ConformalScale.fit(scores[0, :, 0], np.repeat([1.0, 0.0], 30))
    assert few.n_samples == 30
    kept = ConformalScale.fit(scores[0, :30, 0])
    np.testing.assert_array_equal(few.p_values(np.arange(9)), kept.p_values(np.arange(9)))


@pytest.mark.parametrize("seed", range(20))
def test_the_best_score_has_a_p_value_of_one_whatever_the_weights(seed):
    rng = np.random.default_rng(seed)
    scale = ConformalScale.fit(rng.normal(size=200), rng.random(200))
    assert scale.p_values(np.array([9.0])) == 1


@pytest.mark.parametrize("ties", [None, 20])
def test_weighted_scales_keep_their_level_under_a_known_shift(ties):
    """Rows are uniform, new ones have the density 2 (1 - x), and small x are strange."""
    rng, shares = np.random.default_rng(0), []
    for _ in range(400):
        known, new = rng.random((2, 150, 1)), 1 - np.sqrt(rng.random((50, 1)))
        weights = list(1 - known[..., 0])
        if ties:
            known, new = np.ceil(known * ties), np.ceil(new * ties)
        for row_weights in (None, weights):
            scales, scale = calibrated(
                list(known), "fisher", is_crossed=False, row_weights=row_weights
            )
            found = scale.p_values(-combine(on_scales(scales, new), "fisher"))
            shares.append((found <= 0.1).mean())
    plain, weighted = np.reshape(shares, (-1, 2)).T
    assert plain.mean() > 0.14
    assert (0.02 if ties else 0.08) < weighted.mean() < 0.1 + 4 * weighted.std() / 20


def test_tail_of_an_exponential_distribution():
    quantiles = -stats.expon.ppf((np.arange(100_000) + 0.5) / 100_000)[::-1]
    assert fit_tail(quantiles) == pytest.approx((-np.log(10), 1.0, 0.0), abs=0.01)
