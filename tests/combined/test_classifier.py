"""One calibrated p-value from several members, by scikit-learn's contract."""

import pickle
import warnings
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.base import BaseEstimator, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits, load_iris, make_blobs
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sklearn_ood import (
    CombinedClassifier,
    GenerativeClassifier,
    NeighborDistance,
    NetFeatures,
    NoveltyDetector,
    SelectiveClassifier,
    SoftmaxClassifier,
)
from sklearn_ood.combined._conformal import log_right
from sklearn_ood.metrics import aurc_score, auroc, selective_scorer
from sklearn_ood.model_selection import LeaveClassesOut

METHODS = ["fisher", "average", "cauchy", "min"]
PIXELS = GenerativeClassifier("pca", validation_fraction=0)


class PyodStyle(BaseEstimator):
    """The contract of a PyOD detector: a higher decision is more outlying."""

    def fit(self, X, y=None):
        self.mean_ = np.mean(X, axis=0)
        self.decision_scores_ = self.decision_function(X)
        return self

    def decision_function(self, X):
        return np.linalg.norm(X - self.mean_, axis=1)


class FirstColumn(BaseEstimator):
    """A fitted member whose score is a column, or what ``change`` makes of it."""

    def __init__(self, column=0, change=None):
        self.column = column
        self.change = change

    def fit(self, X, y=None):
        return self

    def score_samples(self, X):
        scores = np.asarray(X)[:, self.column].astype(float)
        return scores if self.change is None else self.change(scores)

    def __sklearn_is_fitted__(self):
        return True


def members():
    return [
        ("confidence", "classifier"),
        ("pca", PIXELS),
        ("neighbors", NeighborDistance()),
        ("density", make_pipeline(StandardScaler(), KernelDensity())),
    ]


def combined(**parameters):
    parameters = {"members": members(), "random_state": 0} | parameters
    return CombinedClassifier(LogisticRegression(max_iter=500), **parameters)


@pytest.fixture(scope="module")
def blobs():
    X, y = make_blobs(600, centers=4, n_features=4, random_state=0)
    return X, np.array(["a", "b", "c", "d"])[y]


@pytest.fixture(scope="module")
def fitted(blobs):
    X, y = blobs
    return combined().fit(X, y)


def test_the_classifier_names_the_class(blobs, fitted):
    X, y = blobs
    np.testing.assert_array_equal(fitted.predict(X), fitted.classifier_.predict(X))
    np.testing.assert_allclose(
        fitted.predict_proba(X), fitted.classifier_.predict_proba(X), rtol=1e-4
    )
    decided = fitted.classes_[fitted.decision_function(X).argmax(1)]
    np.testing.assert_array_equal(decided, fitted.predict(X))
    assert fitted.score(X, y) > 0.9


def test_far_rows_are_outliers_and_keep_their_order(blobs, fitted):
    X, _ = blobs
    far = X[0] + np.geomspace(30, 1e4, 20)[:, None]
    score = fitted.score_samples(far)
    assert score.max() < fitted.score_samples(X).min()
    assert (np.diff(score) < 0).all()
    np.testing.assert_allclose(fitted.p_values(far), 1 / (fitted.n_calibration_ + 1))
    assert fitted.member_p_values(far).shape == (20, 4)
    np.testing.assert_allclose(fitted.member_p_values(far)[:, 2], 1 / 601)


def test_score_is_the_log_of_the_p_value(blobs, fitted):
    X, _ = blobs
    p, score = fitted.p_values(X), fitted.score_samples(X)
    inside = p > 1 / (fitted.n_calibration_ + 1)
    step = 1 / (fitted.n_calibration_ + 1)
    assert (np.exp(score[inside]) >= p[inside] - 1e-12).all()
    assert (np.exp(score[inside]) <= p[inside] + step + 1e-12).all()


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ties", [False, True])
def test_p_values_are_valid_for_exchangeable_rows(method, ties):
    rng = np.random.default_rng(0)
    change = np.round if ties else None
    names = [(str(j), FrozenEstimator(FirstColumn(j, change))) for j in (0, 1, 2)]
    alphas, refused = np.array([0.05, 0.2]), np.zeros((200, 2))
    for repeat in range(200):
        X = rng.normal(size=(80, 3)) + rng.normal(size=(80, 1))
        detector = CombinedClassifier(None, names, method=method)
        p = detector.fit(X[:60]).p_values(X[60:])
        refused[repeat] = (p[:, None] <= alphas + 1e-12).mean(0)
    error = refused.std(0) / np.sqrt(200)
    assert (refused.mean(0) <= alphas + 3 * error).all()


@pytest.mark.parametrize("later", ["cauchy", "min"])
def test_p_values_are_combined_as_they_were_calibrated(later):
    """Another rule asks for another calibration: it counts from the next fit."""
    X = np.random.default_rng(0).normal(size=(100, 2))
    names = [(str(j), FrozenEstimator(FirstColumn(j))) for j in (0, 1)]
    detector = CombinedClassifier(None, names).fit(X)
    expected = detector.p_values(X)
    detector.set_params(method=later)
    np.testing.assert_array_equal(detector.p_values(X), expected)
    assert (detector.fit(X).p_values(X) != expected).any()


@pytest.mark.slow
def test_false_discoveries_are_few():
    rng = np.random.default_rng(1)
    names = [(str(j), FrozenEstimator(FirstColumn(j))) for j in (0, 1)]
    false = []
    for _ in range(200):
        X = rng.normal(size=(400, 2))
        detector = CombinedClassifier(None, names).fit(X)
        new = np.concatenate([rng.normal(size=(40, 2)), rng.normal(-6, size=(10, 2))])
        called = detector.outliers_fdr(new, alpha=0.2)
        false.append(called[:40].sum() / max(called.sum(), 1))
    assert np.mean(false) <= 0.2 + 3 * np.std(false) / np.sqrt(200)
    assert called[40:].mean() > 0.8


def test_novelty_detector_takes_the_p_value_as_it_is(blobs):
    X, y = blobs
    detector = NoveltyDetector(combined(), contamination=0.1).fit(X[:400], y[:400])
    assert detector.offset_ == pytest.approx(np.log(0.1))
    inner = detector.estimator_
    refused = detector.predict(X) == -1
    np.testing.assert_array_equal(refused, inner.score_samples(X) < np.log(0.1))
    assert (inner.p_values(X)[refused] <= 0.1).all()
    assert refused[400:].mean() < 0.2
    pipe = make_pipeline(StandardScaler(), combined(members=members()[1:]))
    piped = NoveltyDetector(pipe).fit(X)
    assert piped.offset_ == pytest.approx(np.log(0.05))


def test_selective_classifier_keeps_its_guarantee(blobs):
    X, y = blobs
    classifier = SelectiveClassifier(combined(), risk=0.1, random_state=0).fit(X, y)
    assert classifier.guarantee_["risk"].bound <= 0.1
    classifier = SelectiveClassifier(combined(), coverage=0.9, random_state=0).fit(X, y)
    assert classifier.predict(X[:1] + 1000).tolist() == ["reject"]


def test_members_may_be_anything_with_a_score(blobs):
    X, y = blobs
    names = [
        ("pyod", PyodStyle()),
        ("lof", LocalOutlierFactor(novelty=True)),
        ("pipeline", make_pipeline(PCA(2), GaussianMixture())),
        ("other", LogisticRegression(C=0.1)),
    ]
    detector = combined(members=names).fit(X, y)
    far = X[0] + np.full((1, 4), 100.0)
    pyod, lof, _, _ = detector.member_p_values(far)[0]
    assert max(pyod, lof) == pytest.approx(1 / 601)
    assert detector.score_samples(far) < detector.score_samples(X).min()


def test_one_class_needs_no_classifier():
    X = np.random.default_rng(0).normal(size=(300, 3))
    detector = combined().fit(X)
    assert detector.classifier_ is None
    assert list(detector.members_) == ["pca", "neighbors", "density"]
    np.testing.assert_array_equal(detector.predict_proba(X[:2]), [[1.0], [1.0]])
    default = CombinedClassifier(random_state=0).fit(X)
    assert list(default.members_) == [
        "nearest",
        "mixture",
        "nearest_whitened",
        "nearest_ranks",
        "extreme",
    ]
    assert default.score_samples([[9.0, 0, 0]]) < np.log(0.03)
    with pytest.raises(ValueError, match="leaves no member"):
        combined(members=[("confidence", "classifier")]).fit(X)


@pytest.mark.slow
def test_defaults_for_a_table():
    X, y = load_iris(return_X_y=True)
    detector = CombinedClassifier(random_state=0).fit(X, y)
    table = ["mixture", "nearest_whitened", "nearest_ranks", "extreme"]
    assert list(detector.members_) == ["trees", *table]
    np.testing.assert_array_equal(detector.weights_, [2, 3, 1, 0.5, 0.5])
    statistic = detector.member_score_samples(X) @ detector.weights_
    order = np.argsort(statistic)
    assert (np.diff(detector.score_samples(X)[order]) >= -1e-9).all()
    assert detector.score_samples(X + 5).max() < detector.score_samples(X).mean()


def test_defaults_for_images():
    X, y = load_digits(n_class=4, return_X_y=True)
    images = (X / 16).reshape(-1, 1, 8, 8).astype(np.float32)
    net = SoftmaxClassifier(max_epochs=8, hidden_layer_sizes=(16,))
    detector = CombinedClassifier(net, calibration=0.3, random_state=0).fit(images, y)
    assert list(detector.members_) == ["confidence", "neighbors", "pixels"]
    assert detector.score(images, y) > 0.9
    flipped = images[:, :, ::-1]
    assert (
        auroc(
            np.repeat([True, False], len(y)),
            np.concatenate([detector.score_samples(images), detector.score_samples(flipped)]),
        )
        > 0.8
    )
    flat = detector.score_samples(images.reshape(len(y), -1))
    np.testing.assert_array_equal(flat, detector.score_samples(images))


def test_features_of_a_frozen_net():
    X, y = load_digits(n_class=3, return_X_y=True)
    X = X / 16
    net = SoftmaxClassifier(max_epochs=3, random_state=0).fit(X[:200], y[:200])

    def hidden(classifier):
        return make_pipeline(NetFeatures(classifier), PIXELS)

    names = [("hidden", hidden), ("own", "classifier")]
    detector = CombinedClassifier(FrozenEstimator(net), names, random_state=0)
    detector.fit(X[200:], y[200:])
    features = detector.members_["hidden"][0]
    assert features.estimator_.net_ is net.net_
    one_class = CombinedClassifier(None, [*names, ("pixels", PIXELS)]).fit(X)
    assert list(one_class.members_) == ["pixels"]


def test_member_scores_are_p_values_that_go_on_beyond_the_calibration_rows(blobs, fitted):
    X, _ = blobs
    p, score = fitted.member_p_values(X), fitted.member_score_samples(X)
    assert (np.exp(score) >= p - 1e-12)[p > 1 / 601].all()
    far = X[0] + np.geomspace(30, 1e4, 20)[:, None]
    assert (np.diff(fitted.member_score_samples(far)[:, 2]) < 0).all()


def test_same_seed_same_bits_pickled_and_row_by_row(blobs, fitted):
    X, y = blobs
    again = clone(fitted).fit(X, y)
    score = fitted.score_samples(X)
    np.testing.assert_array_equal(again.score_samples(X), score)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).score_samples(X), score)
    np.testing.assert_allclose(fitted.score_samples(X[7:8]), score[7:8], rtol=1e-9)


def test_grid_search_over_members_and_their_parameters(blobs):
    X, y = blobs
    grid = {"density": ["drop", KernelDensity()], "neighbors__n_neighbors": [1, 5]}
    splits = LeaveClassesOut(n_splits=2, random_state=0)
    search = GridSearchCV(
        combined(), grid, cv=splits, scoring=selective_scorer("aurc"), error_score="raise"
    )
    search.fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    dropped = combined().set_params(density="drop").fit(X, y)
    assert "density" not in dropped.members_


def test_known_outliers_neither_train_nor_calibrate(blobs, fitted):
    X, y = blobs
    with_outliers = np.concatenate([X, X[:50] + 100])
    labels = np.append(y, np.full(50, "out"))
    detector = combined(ood_label="out").fit(with_outliers, labels)
    assert detector.classes_.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(detector.score_samples(X), fitted.score_samples(X))


def test_frozen_members_calibrate_on_all_rows(blobs):
    X, y = blobs
    classifier = LogisticRegression().fit(X[:300], y[:300])
    pca = FrozenEstimator(clone(PIXELS).fit(X[:300], y[:300]))
    members = [("own", "classifier"), ("pca", pca)]
    detector = CombinedClassifier(FrozenEstimator(classifier), members)
    detector.fit(np.concatenate([X[300:], X[:9]]), np.append(y[300:], ["z"] * 9))
    assert detector.n_calibration_ == 150
    assert detector.classifier_.estimator is classifier
    assert detector.members_["pca"] is pca
    assert detector.classes_.tolist() == ["a", "b", "c", "d"]


def test_weights_calibrate_the_rows_that_they_are_of(blobs):
    X, y = blobs
    classifier = FrozenEstimator(LogisticRegression().fit(X[:300], y[:300]))
    pca = FrozenEstimator(clone(PIXELS).fit(X[:300], y[:300]))
    detector = CombinedClassifier(
        classifier, [("own", "classifier"), ("pca", pca)], ood_label="out", random_state=0
    )
    n = len(X) - 300
    rows = np.concatenate([X[300:] + 50, X[300:], X[:9]])
    labels = np.concatenate([["out"] * n, y[300:], ["z"] * 9])
    weight = np.random.default_rng(0).random(len(rows))
    detector.fit(rows, labels, calibration_weight=weight)
    kept = weight[n : 2 * n][detector.calibration_indices_] / weight.max()
    combination = kept[(n + 1) // 2 :].sum()
    assert detector.n_calibration_ == pytest.approx(combination)
    assert detector.p_values(X + 1000).min() == pytest.approx(1 / (1 + combination))
    plain = detector.p_values(X)
    detector.fit(rows, labels, calibration_weight=3 * weight)
    np.testing.assert_allclose(detector.p_values(X), plain, rtol=1e-12)
    for wrong in (-weight, weight[:5], 0 * weight):
        with pytest.raises(ValueError, match="calibration_weight"):
            detector.fit(rows, labels, calibration_weight=wrong)


def test_the_classes_are_those_of_a_frozen_classifier(blobs):
    X, y = blobs
    known = y != "d"
    classifier = FrozenEstimator(LogisticRegression().fit(X[known], y[known]))
    members = [("own", "classifier"), ("near", NeighborDistance())]
    detector = CombinedClassifier(classifier, members, random_state=0).fit(X, y)
    assert detector.classes_.tolist() == ["a", "b", "c"]
    assert detector.members_["near"].classes_.tolist() == ["a", "b", "c"]
    assert detector.n_calibration_ == (y != "d").sum()
    assert CombinedClassifier(classifier, members).fit(X).classifier_ is None
    with pytest.raises(NotFittedError):
        CombinedClassifier(FrozenEstimator(LogisticRegression()), members).fit(X, y)


def test_constant_and_infinite_scores_give_right_numbers(blobs):
    X, y = blobs
    constant = ("constant", FirstColumn(0, np.zeros_like))
    detector = combined(members=[*members(), constant]).fit(X, y)
    np.testing.assert_array_equal(detector.member_p_values(X)[:, -1], 1.0)
    alone = combined(members=[constant]).fit(X, y)
    np.testing.assert_array_equal(alone.p_values(X), 1.0)
    lost = ("lost", FirstColumn(0, lambda scores: np.where(scores > 0, 0, -np.inf)))
    assert np.isfinite(combined(members=[lost]).fit(X, y).score_samples(X)).all()


def test_few_rows_are_warned_of():
    X, y = make_blobs(24, centers=2, random_state=0)
    with pytest.warns(UserWarning, match="no p-value is below 0.14"):
        combined(calibration=0.5).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crossed = combined().fit(X, y)
    assert crossed.p_values(X + 100).max() == 1 / 25


def test_a_rare_class_without_a_training_row_is_unknown_and_said_so(blobs):
    X, y = blobs
    X, y = np.concatenate([X, X[:1] + 20]), np.append(y, "rare")
    for seed in range(20):
        detector = combined(calibration=0.5, random_state=seed)
        held_out = 600 in np.random.RandomState(seed).permutation(601)[:300]
        with pytest.warns(UserWarning, match="rare") if held_out else nullcontext():
            detector.fit(X, y)
        assert ("rare" in detector.classes_) != held_out
        assert detector.n_calibration_ == 150
    assert "rare" in combined().fit(X, y).classes_


def test_two_classes_of_which_one_has_a_single_row():
    X = np.random.default_rng(0).normal(size=(40, 2))
    detector = combined().fit(X, np.arange(40) == 0)
    assert detector.n_calibration_ == 40
    assert np.isfinite(detector.score_samples(X)).all()


def test_confidence_is_the_probability_lowered_where_a_row_is_unknown(blobs, fitted):
    X, _ = blobs
    log_p, known = fitted.predict_log_proba(X).max(axis=1), fitted.score_samples(X)
    confidence = fitted.confidence(X)
    np.testing.assert_array_equal(confidence, log_right(log_p, known, 0.01))
    blind = clone(fitted).set_params(outlier_share=0.0).fit(*blobs)
    np.testing.assert_array_equal(blind.confidence(X), log_p)
    far = X[0] + np.geomspace(30, 1e4, 20)[:, None]
    assert fitted.confidence(far).max() < np.quantile(confidence, 0.05)
    answers, at_once = fitted.answers_and_confidence(X)
    np.testing.assert_array_equal(at_once, confidence)
    np.testing.assert_array_equal(answers, fitted.predict(X))


def test_thresholds_and_risks_take_the_confidence_and_outliers_the_score(blobs):
    X, y = blobs
    detector = combined().fit(X, y)
    truth = np.where(X[:, 0] > np.median(X[:, 0]), y, "z")
    expected = aurc_score(truth, detector.predict(X), detector.confidence(X))
    assert selective_scorer("aurc")(detector, X, truth) == -expected
    known = auroc(truth != "z", detector.score_samples(X))
    assert selective_scorer("auroc")(detector, X, truth) == known
    selective = SelectiveClassifier(combined(), coverage=0.9, random_state=0).fit(X, y)
    np.testing.assert_array_equal(
        selective.score_samples(X), selective.estimator_.confidence(X)
    )


def test_cross_calibration_uses_all_rows_and_one_model(blobs):
    X, y = blobs
    crossed = combined(calibration="cross").fit(X, y)
    assert crossed.n_calibration_ == len(X)
    assert sorted(crossed.calibration_indices_) == list(range(len(X)))
    everything = clone(crossed.classifier_).fit(X, y)
    np.testing.assert_allclose(crossed.predict_proba(X), everything.predict_proba(X))


@pytest.mark.slow
@pytest.mark.parametrize("n_rows", [20, 60, 300])
@pytest.mark.parametrize("kind", ["blobs", "ties", "rare"])
def test_cross_calibration_keeps_its_level(n_rows, kind):
    """By several classes, Zipf's among them, and features of few values; 2 alpha is allowed."""
    rng, repeats = np.random.default_rng(0), 40 if n_rows < 300 else 15
    shares = 1 / np.arange(1, 9) ** (2.0 if kind == "rare" else 0.5)
    centres, refused = 3 * rng.normal(size=(8, 3)), []
    for _ in range(repeats):
        y = rng.choice(8, size=n_rows + 200, p=shares / shares.sum())
        X = centres[y] + rng.normal(size=(len(y), 3))
        X = np.round(X / 3) if kind == "ties" else X
        members = [("near", NeighborDistance()), ("own", "classifier")]
        detector = CombinedClassifier(GaussianNB(), members, random_state=0)
        detector.fit(X[:n_rows], y[:n_rows])
        refused.append((detector.p_values(X[n_rows:]) <= 0.1).mean())
    assert np.mean(refused) <= 0.1 + 0.02 + 3 * np.std(refused) / np.sqrt(repeats)


def test_a_classifier_that_no_member_asks_learns_from_all_rows(blobs):
    X, y = blobs
    detector = combined(members=members()[1:], calibration=0.4).fit(X, y)
    everything = clone(detector.classifier_).fit(X, y)
    np.testing.assert_allclose(detector.predict_proba(X), everything.predict_proba(X))
    other = CombinedClassifier(GaussianNB(), members()[1:], calibration=0.4, random_state=0)
    np.testing.assert_array_equal(other.fit(X, y).p_values(X), detector.p_values(X))
    X, y = np.concatenate([X, X[:1] + 20]), np.append(y, "rare")
    seed = next(s for s in range(9) if 600 in np.random.RandomState(s).permutation(601)[:300])
    rare = combined(members=members()[1:], calibration=0.5, random_state=seed)
    with pytest.warns(UserWarning, match="rare"):
        rare.fit(X, y)
    assert "rare" in rare.classes_


def test_frames_come_to_the_members_as_they_are(blobs):
    X, y = blobs
    frame = pd.DataFrame(X, columns=list("abcd")).assign(kind=y)
    frame.iloc[::7, 1] = np.nan
    columns = make_column_transformer((SimpleImputer(), list("abcd")), ("drop", ["kind"]))
    names = [("own", "classifier"), ("near", make_pipeline(columns, NeighborDistance()))]
    classifier = make_pipeline(clone(columns), LogisticRegression(max_iter=500))
    detector = CombinedClassifier(classifier, names, random_state=0).fit(frame, y)
    assert detector.score(frame, y) > 0.8
    assert detector.n_features_in_ == 5
    with pytest.raises(ValueError, match="feature names"):
        detector.predict(frame[list("dcba") + ["kind"]])


@pytest.mark.parametrize("method", ["explain", "p_values", "predict"])
def test_a_frame_without_rows_is_named(blobs, fitted, method):
    frame = pd.DataFrame(blobs[0])
    model = clone(fitted).fit(frame, blobs[1])
    with pytest.raises(ValueError, match=r"0 sample\(s\) .* required by CombinedClassifier"):
        getattr(model, method)(frame[:0])


def test_members_are_shown_and_fitted_at_the_same_time(blobs, fitted, capsys):
    X, y = blobs
    with parallel_config("threading"):
        detector = combined(verbose=1, n_jobs=2).fit(X, y)
    shown = capsys.readouterr().err
    assert "model in use, density" in shown
    assert "fold 5, classifier" in shown
    np.testing.assert_array_equal(detector.score_samples(X), fitted.score_samples(X))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"method": "stouffer"}, ValueError, "method='stouffer'"),
        ({"calibration": 1.5}, ValueError, "calibration=1.5"),
        ({"calibration": 10}, ValueError, "calibration=10, .*20"),
        ({"calibration": "prefit"}, ValueError, "calibration='prefit'"),
        ({"outlier_share": 1.0}, ValueError, "outlier_share=1.0"),
        ({"members": []}, ValueError, "list of pairs"),
        ({"members": [KernelDensity()]}, ValueError, "list of pairs"),
        ({"members": [("a", "unknown")]}, TypeError, "member 'a'"),
        ({"members": [("a", lambda classifier: "pca")]}, TypeError, "member 'a'"),
        ({"members": [("a", PIXELS), ("a", PIXELS)]}, ValueError, "not unique"),
        ({"members": [("a", LocalOutlierFactor())]}, TypeError, "no score_samples"),
        ({"members": [("a", LinearRegression())]}, TypeError, "no score_samples"),
        ({"members": [("a", FirstColumn(0, lambda s: s * np.nan))]}, ValueError, "NaN"),
        ({"classifier": LinearSVC()}, TypeError, "no predict_proba"),
    ],
)
def test_bad_parameters_say_what_to_do(parameters, error, message):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(error, match=message):
        combined().set_params(**parameters).fit(X, y.astype(str))


def test_members_of_other_widths_or_classes(blobs):
    X, y = blobs
    narrow = FrozenEstimator(clone(PIXELS).fit(X[:, :2], y))
    with pytest.raises(ValueError, match="fitted on 2"):
        combined(members=[("narrow", narrow)]).fit(X, y)
    known = FrozenEstimator(clone(PIXELS).fit(X[y != "a"], y[y != "a"]))
    with pytest.raises(ValueError, match="not taught the classes"):
        combined(members=[("own", "classifier"), ("known", known)]).fit(X, y)
    with pytest.raises(ValueError, match="alpha=2"):
        combined().fit(X, y).outliers_fdr(X, alpha=2)
