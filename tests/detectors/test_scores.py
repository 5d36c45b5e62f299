"""Each score of features equals a computation of its own in numpy, row by row."""

from functools import cache

import joblib
import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.covariance import EmpiricalCovariance

from sklearn_ood import MahalanobisDistance, Subspace
from sklearn_ood.detectors import (
    FDBD,
    NCI,
    ActivationShaping,
    GradNorm,
    KLMatching,
    LogitScore,
    NNGuide,
)

D, K, N = 12, 4, 300
rng = np.random.default_rng(0)
CENTERS = 3 * rng.random((K, D))
Y = np.arange(N) % K
X = np.maximum(CENTERS[Y] + rng.normal(size=(N, D)), 0).astype(np.float32)
NEW = np.maximum(2 * rng.normal(size=(50, D)), 0).astype(np.float32)
W, B = rng.normal(size=(K, D)), rng.normal(size=K)
MEAN = X.mean(0, dtype=float)
ORIGIN = -np.linalg.pinv(W) @ B


def logits(row):
    return W @ row.astype(float) + B


def energy(row):
    return logsumexp(logits(row))


def unit(rows):
    rows = rows.astype(float)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@cache
def gaussians(normalize):
    rows = unit(X) if normalize else X.astype(float)
    means = np.stack([rows[k == Y].mean(0) for k in range(K)])
    shared = EmpiricalCovariance(assume_centered=True).fit(rows - means[Y]).precision_
    return means, shared, EmpiricalCovariance().fit(rows)


def mahalanobis(row, normalize, relative):
    means, shared, of_all = gaussians(normalize)
    row = unit(row) if normalize else row.astype(float)
    distances = [(row - mean) @ shared @ (row - mean) for mean in means]
    background = (row - of_all.location_) @ of_all.precision_ @ (row - of_all.location_)
    return -min(distances) + (background if relative else 0)


def residuals(rows, origin, n_components):
    axes = np.linalg.svd(X - origin, full_matrices=False)[2][n_components:]
    return np.linalg.norm((rows - origin) @ axes.T, axis=1)


@cache
def alpha():
    largest = np.mean([logits(each).max() for each in X])
    return largest / residuals(X, ORIGIN, 5).mean()


def vim(row):
    return energy(row) - alpha() * residuals(row[None], ORIGIN, 5)[0]


def nci(row):
    h, w = row - MEAN, W[logits(row).argmax()]
    return w @ h / np.linalg.norm(h) + 0.01 * np.abs(row).sum()


def fdbd(row):
    f = logits(row)
    best = f.argmax()
    others = [k for k in range(K) if k != best]
    distances = [abs(f[best] - f[k]) / np.linalg.norm(W[best] - W[k]) for k in others]
    return np.mean(distances) / np.linalg.norm(row - MEAN)


def nnguide(row):
    guides = logsumexp(X @ W.T + B, axis=1) * (unit(X) @ unit(row))
    return np.mean(np.sort(guides)[-7:]) * energy(row)


def gradnorm(row):
    layer = torch.nn.Linear(D, K).double()
    layer.load_state_dict({"weight": torch.tensor(W), "bias": torch.tensor(B)})
    log_p = layer(torch.tensor(row.astype(float))).log_softmax(0)
    (-log_p.mean()).backward()
    return layer.weight.grad.abs().sum().item()


def kl_matching(row):
    p = softmax(X @ W.T + B, axis=1)
    templates = [p[p.argmax(1) == k].mean(0) for k in range(K) if (p.argmax(1) == k).any()]
    own = softmax(logits(row))
    return -min((own * np.log(own / template)).sum() for template in templates)


def react(row):
    return energy(np.minimum(row, np.percentile(X, 80)))


def shaped(row, pruned):
    upper = np.sort(row.astype(float))[-round(D * 0.4) :]
    growth = np.exp(row.astype(float).sum() / upper.sum())
    return energy(row * growth * (row >= upper[0] if pruned else 1))


LAYER = {"linear": (W, B)}
SCORES = {
    "mahalanobis": (
        MahalanobisDistance(normalize=False),
        lambda row: mahalanobis(row, False, False),
    ),
    "mds++": (MahalanobisDistance(), lambda row: mahalanobis(row, True, False)),
    "rmds": (
        MahalanobisDistance(normalize=False, relative=True),
        lambda row: mahalanobis(row, False, True),
    ),
    "rmds++": (MahalanobisDistance(relative=True), lambda row: mahalanobis(row, True, True)),
    "residual": (
        Subspace(n_components=3),
        lambda row: -residuals(row[None], MEAN, 3)[0],
    ),
    "vim": (Subspace(n_components=5, **LAYER), vim),
    "nci": (NCI(alpha=0.01, **LAYER), nci),
    "fdbd": (FDBD(**LAYER), fdbd),
    "nnguide": (NNGuide(n_neighbors=7, **LAYER), nnguide),
    "energy": (LogitScore(**LAYER), energy),
    "gradnorm": (GradNorm(**LAYER), gradnorm),
    "kl_matching": (KLMatching(**LAYER), kl_matching),
    "react": (ActivationShaping(percentile=80, **LAYER), react),
    "ash": (
        ActivationShaping(method="ash", percentile=60, **LAYER),
        lambda row: shaped(row, True),
    ),
    "scale": (
        ActivationShaping(method="scale", percentile=60, **LAYER),
        lambda row: shaped(row, False),
    ),
}


@pytest.mark.parametrize("name", SCORES)
def test_score_equals_an_independent_computation(name):
    detector, formula = SCORES[name]
    expected = np.array([formula(row) for row in NEW])
    scores = detector.fit(X, Y).score_samples(NEW)
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-6 * expected.std())
    in_double = detector.score_samples(NEW.astype(float))
    np.testing.assert_allclose(in_double, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", SCORES)
def test_a_rows_score_depends_on_nothing_beside_it(name, monkeypatch):
    detector = SCORES[name][0].fit(X, Y)
    scores = detector.score_samples(NEW)
    np.testing.assert_array_equal(detector.score_samples(NEW[7:8]), scores[7:8])
    in_place = detector.score_samples(torch.from_numpy(NEW))
    np.testing.assert_array_equal(in_place, scores)
    monkeypatch.setattr("sklearn_ood.detectors._linear.FLOATS_OF_LOGITS", 1)
    np.testing.assert_array_equal(detector.score_samples(NEW), scores)


@pytest.mark.parametrize("name", ["max_proba", "entropy"])
def test_rows_are_told_apart_by_odds_that_float32_lacks(name):
    detector = LogitScore(score_function=name, **LAYER).fit(X)
    rows = NEW * np.geomspace(1, 400, len(NEW), dtype=np.float32)[:, None]
    scores, exact = map(detector.score_samples, (rows, rows.astype(float)))
    assert (exact > -1e-40).sum() > 5
    np.testing.assert_allclose(scores, exact, rtol=1e-3)


@pytest.mark.parametrize("name", SCORES)
def test_rows_at_the_edge_have_finite_scores(name):
    edges = np.stack([np.zeros(D), X.mean(0), np.full(D, 1e30), -np.ones(D), np.full(D, 1e-30)])
    detector = SCORES[name][0].fit(X, Y)
    in_double, in_single = map(detector.score_samples, (edges, edges.astype(np.float32)))
    assert np.isfinite(in_double).all()
    far = slice(2, None)  # beside the mean a distance is rounding
    np.testing.assert_allclose(in_single[far], in_double[far], rtol=1e-4)


def test_memory_is_that_of_a_block(monkeypatch):
    whole = {name: SCORES[name][0].fit(X, Y).score_samples(NEW) for name in SCORES}
    monkeypatch.setattr("sklearn_ood.detectors._linear.rows_per_batch", lambda width: 64)
    for name, expected in whole.items():
        scores = SCORES[name][0].fit(X, Y).score_samples(NEW)
        np.testing.assert_allclose(scores, expected, rtol=1e-9, err_msg=name)


def test_mahalanobis_knows_its_classes_and_dead_features_count_for_nothing():
    dead = np.zeros((N, 2), dtype=np.float32)
    alone = MahalanobisDistance().fit(X, Y)
    beside = MahalanobisDistance().fit(np.hstack([X, dead]), Y)
    np.testing.assert_allclose(
        beside.score_samples(np.hstack([NEW, dead[:50]])), alone.score_samples(NEW), rtol=1e-6
    )
    assert alone.score(X, Y) > 0.9
    classes = np.repeat(1, 50)
    np.testing.assert_array_equal(
        alone.class_score_samples(NEW, classes), alone.decision_function(NEW)[:, 1]
    )
    with pytest.raises(ValueError, match="at least 2 classes"):
        MahalanobisDistance(relative=True).fit(X, np.ones(N))


@pytest.mark.parametrize("n_classes", [2, K])
def test_without_a_layer_a_logistic_regression_is_one(n_classes):
    codes = Y % n_classes
    detector = FDBD().fit(X, codes)
    found = log_softmax(X @ detector.weight_.T + detector.bias_, axis=1)
    assert detector.weight_.shape == (n_classes, D)
    assert (found.argmax(1) == codes).mean() > (0.7 if n_classes == 2 else 0.9)
    with pytest.raises(ValueError, match="requires y"):
        FDBD().fit(X)
    np.testing.assert_array_equal(
        FDBD(ood_label=9, **LAYER).fit(np.vstack([X, NEW]), np.append(Y, [9] * 50)).mean_,
        FDBD(**LAYER).fit(X).mean_,
    )


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        (FDBD(linear=(W,)), "pair"),
        (FDBD(linear=(W[:, 1:], B)), "NetFeatures"),
        (FDBD(linear=(W, B[1:])), "linear of shapes"),
        (Subspace(n_components=D), "n_components=12"),
        (ActivationShaping(percentile=100), "percentile=100"),
        (ActivationShaping(method="vra"), "method='vra'"),
        (NCI(alpha=-1), "alpha=-1"),
        (NNGuide(n_neighbors=0), "n_neighbors=0"),
    ],
)
def test_bad_parameters_say_what_was_expected(detector, message):
    with pytest.raises(ValueError, match=message):
        detector.fit(X, Y)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (X[:K], Y[:K]),
        (X[:1], None),
        (np.repeat(X[:K], 50, axis=0), np.repeat(Y[:K], 50)),
        (np.zeros((9, D)), None),
    ],
    ids=["a row a class", "one row", "copies", "nothing"],
)
def test_classes_without_spread_have_no_standard_deviation(rows, labels, normalize):
    with pytest.raises(ValueError, match="do not differ within their classes.*unlike rows"):
        MahalanobisDistance(normalize=normalize).fit(rows, labels)


@pytest.mark.parametrize("linear", [(W * np.nan, B), (W, B + np.inf), (W.tolist(), [None] * K)])
@pytest.mark.parametrize("score", [Subspace, FDBD, LogitScore])
def test_a_layer_that_is_not_finite(score, linear):
    with pytest.raises((ValueError, TypeError), match="linear|NoneType"):
        score(linear=linear).fit(X, Y)


def test_a_bank_of_some_rows():
    few = NNGuide(max_samples=20, random_state=0, **LAYER).fit(X)
    assert few.bank_.shape == (20, D)
    assert np.isfinite(few.score_samples(NEW)).all()


@pytest.mark.parametrize(
    "name", ["energy", "vim", "fdbd", "nnguide", "kl_matching", "react", "ash"]
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_wherever_it_stands(name, value):
    detector = SCORES[name][0].fit(X, Y)
    for dtype in (np.float32, np.float64):
        spoilt = np.tile(NEW, (7, 1)).astype(dtype)
        spoilt[301, 3] = value
        for rows in (spoilt, torch.from_numpy(spoilt), spoilt.tolist()):
            with pytest.raises(ValueError, match="NaN|infinity"):
                detector.score_samples(rows)


def test_scores_are_in_double_and_of_rows_of_any_layout():
    wide = np.asfortranarray(np.tile(NEW, (3, 1)))
    for name, (detector, _) in SCORES.items():
        scores = detector.fit(X, Y).score_samples(wide)
        assert scores.dtype == np.float64, name
        np.testing.assert_array_equal(scores[50:100], detector.score_samples(NEW), err_msg=name)
        np.testing.assert_array_equal(
            scores[3:40], detector.score_samples(wide[3:40]), err_msg=name
        )


@pytest.mark.parametrize("detector", [MahalanobisDistance(), Subspace(), NNGuide()])
def test_what_is_read_from_a_mapped_file_answers_in_silence(detector, tmp_path, recwarn):
    X = np.random.default_rng(0).normal(size=(40, 5))
    detector.fit(X, np.arange(40) % 2)
    joblib.dump(detector, tmp_path / "detector.joblib")
    mapped = joblib.load(tmp_path / "detector.joblib", mmap_mode="r")
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        np.testing.assert_array_equal(mapped.score_samples(X), detector.score_samples(X))
    finally:
        torch.set_warn_always(always)
    assert not [each for each in recwarn if "not writable" in str(each.message)]
