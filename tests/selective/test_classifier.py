import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, make_blobs
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    BaggingClassifier,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import LinearSVC

from sklearn_ood import NoveltyDetector, RiskMonitor, SelectiveClassifier, SoftmaxClassifier
from sklearn_ood._response import unwrap
from sklearn_ood.metrics import selective_report, selective_scorer


@pytest.fixture(scope="module")
def blobs():
    """Three overlapping classes, and 300 outlier rows labelled -1 far away."""
    X, y = make_blobs(1500, centers=[[0, 0], [4, 0], [0, 4]], random_state=0)
    rng = np.random.default_rng(0)
    outliers = rng.uniform(1, 3, size=(300, 2)) * rng.choice([-4, 4], size=(300, 2))
    return np.vstack([X, outliers]), np.append(y, np.full(300, -1))


@pytest.fixture(scope="module")
def known(blobs):
    X, y = blobs
    return X[y >= 0], y[y >= 0]


def test_nothing_asked_nothing_refused(known):
    X, y = known
    selective = SelectiveClassifier(LogisticRegression()).fit(X, y)
    plain = LogisticRegression().fit(X, y)
    np.testing.assert_array_equal(selective.predict(X), plain.predict(X))
    np.testing.assert_allclose(selective.predict_proba(X), plain.predict_proba(X))
    assert selective.accept(X).all()
    assert selective.threshold_ == -np.inf
    assert selective.guarantee_ == {}
    assert selective.reject_label_ is None


@pytest.mark.parametrize(
    "inner",
    [
        LogisticRegression(),
        RandomForestClassifier(20, random_state=0),
        LinearSVC(),
        RidgeClassifier(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        SoftmaxClassifier(max_epochs=5, random_state=0),
    ],
    ids=lambda inner: type(inner).__name__,
)
def test_coverage_with_any_classifier(known, inner):
    X, y = known
    selective = SelectiveClassifier(inner, coverage=0.8, random_state=0).fit(X, y)
    accepted = selective.accept(X)
    assert 0.7 < accepted.mean() < 0.9
    predictions = selective.predict(X)
    assert (predictions[~accepted] == -1).all()
    np.testing.assert_array_equal(predictions[accepted], selective.answers(X)[accepted])
    assert is_classifier(selective)
    assert list(selective.classes_) == [0, 1, 2]


def test_risk_and_outliers_answered_at_once(blobs):
    X, y = blobs
    selective = SelectiveClassifier(
        LogisticRegression(),
        detector=IsolationForest(random_state=0),
        risk=0.1,
        ood_acceptance=0.2,
        ood_label=-1,
        reject_label=-2,
        calibration=0.5,
        random_state=0,
    ).fit(X, y)
    assert set(selective.guarantee_) == {"risk", "ood_acceptance"}
    for guarantee in selective.guarantee_.values():
        assert guarantee.bound <= guarantee.limit
        assert guarantee.delta == 0.025
    accepted = selective.accept(X)
    assert accepted[y == -1].mean() <= 0.2
    assert (selective.answers(X) != y)[accepted].mean() <= 0.1
    assert list(selective.classes_) == [0, 1, 2]


def test_outliers_do_not_reach_a_classifier_that_does_not_know_them(blobs):
    X, y = blobs
    selective = SelectiveClassifier(LogisticRegression(), ood_label=-1).fit(X, y)
    assert list(selective.estimator_.classes_) == [0, 1, 2]
    without = LogisticRegression().fit(X[y >= 0], y[y >= 0])
    np.testing.assert_allclose(selective.estimator_.coef_, without.coef_)


class RememberLabels(LogisticRegression):
    """Keeps the labels that reached ``fit``, for the tests; learns no class for outliers."""

    def __init__(self, ood_label=None):
        super().__init__()
        self.ood_label = ood_label

    def fit(self, X, y):
        self.seen_ = set(np.unique(y).tolist())
        known = y != self.ood_label
        return super().fit(X[known], y[known])


@pytest.mark.parametrize(("own", "seen"), [(None, {0, 1, 2}), (-1, {-1, 0, 1, 2})])
def test_outliers_reach_a_classifier_that_knows_them(blobs, own, seen):
    X, y = blobs
    inner = make_pipeline(StandardScaler(), RememberLabels(ood_label=own))
    selective = SelectiveClassifier(inner, ood_label=-1).fit(X, y)
    assert selective.estimator_[-1].seen_ == seen


@pytest.mark.parametrize(("own", "n_outliers"), [(None, 300), (-1, 57)])
def test_all_outliers_that_trained_nothing_calibrate(blobs, own, n_outliers):
    selective = SelectiveClassifier(
        RememberLabels(ood_label=own),
        detector=IsolationForest(random_state=0),
        ood_acceptance=0.3,
        risk=0.9,
        ood_label=-1,
        reject_label=-2,
        random_state=0,
    ).fit(*blobs)
    assert selective.guarantee_["ood_acceptance"].n_samples == n_outliers
    assert selective.guarantee_["risk"].n_samples == 360


def test_two_different_ood_labels_are_an_error(blobs):
    selective = SelectiveClassifier(RememberLabels(ood_label=-9), ood_label=-1)
    with pytest.raises(ValueError, match=r"different labels of outliers, ood_label=\[-9, -1\]"):
        selective.fit(*blobs)


@pytest.mark.parametrize(
    "freeze",
    [
        FrozenEstimator,
        lambda e: make_pipeline(*map(FrozenEstimator, (StandardScaler().fit(e.X), e))),
        lambda e: make_pipeline("passthrough", FrozenEstimator(e)),
    ],
)
def test_frozen_is_used_as_it_is_and_untaught_labels_are_outliers(blobs, freeze):
    X, y = blobs
    inner = LogisticRegression().fit(X[(y == 0) | (y == 1)], y[(y == 0) | (y == 1)])
    inner.X = X
    frozen = freeze(inner)
    selective = SelectiveClassifier(frozen, ood_acceptance=0.1).fit(X, y)
    assert selective.estimator_ is frozen
    assert unwrap(selective.estimator_)[0] is inner
    assert selective.guarantee_["ood_acceptance"].n_samples == (y == -1).sum() + (y == 2).sum()


def test_an_unfitted_frozen_estimator_is_an_error(known):
    with pytest.raises(NotFittedError):
        SelectiveClassifier(FrozenEstimator(LogisticRegression()), coverage=0.9).fit(*known)


def test_beside_a_frozen_classifier_a_detector_is_trained_on_rows_that_do_not_calibrate(known):
    X, y = known
    frozen = FrozenEstimator(LogisticRegression().fit(X, y))
    forest = IsolationForest(random_state=0)
    selective = SelectiveClassifier(frozen, detector=forest, risk=0.2, random_state=0)
    selective.fit(X, y)
    assert selective.estimator_ is frozen
    assert selective.guarantee_["risk"].n_samples == 300


@pytest.mark.parametrize("outside", [None, -1])
@pytest.mark.parametrize(
    "around",
    [
        lambda inner: inner,
        lambda inner: make_pipeline(StandardScaler(), inner),
        lambda inner: GridSearchCV(make_pipeline(inner), {"rememberlabels__ood_label": [-1]}),
        lambda inner: SelectiveClassifier(make_pipeline(inner)),
    ],
)
def test_an_ood_label_that_is_set_inside_alone_is_the_one_outside_too(blobs, around, outside):
    """Rows must not both train and calibrate, wherever the outliers' label is named."""
    X, y = blobs
    how = {"ood_acceptance": 0.5, "ood_label": outside, "reject_label": -2, "random_state": 0}
    selective = SelectiveClassifier(around(RememberLabels(ood_label=-1)), **how).fit(X, y)
    assert selective.guarantee_["ood_acceptance"].n_samples == 57
    assert list(selective.classes_) == [0, 1, 2]


@pytest.mark.parametrize(
    "ensemble",
    [
        BaggingClassifier(RememberLabels(ood_label=-1), 2),
        CalibratedClassifierCV(RememberLabels(ood_label=-1), cv=2),
        VotingClassifier([("one", RememberLabels(ood_label=-1))]),
        FrozenEstimator(LogisticRegression().fit([[0.0], [1.0]], [-1, 0])),
    ],
)
@pytest.mark.filterwarnings("ignore:Got ood_label=-1, but no row")
def test_an_ensemble_that_learns_the_outliers_as_a_class_is_an_error(blobs, ensemble):
    X, y = blobs
    selective = SelectiveClassifier(ensemble, coverage=0.9, ood_label=-1, reject_label=-2)
    with pytest.raises(ValueError, match="ood_label=-1, which .* learned as one of its class"):
        selective.fit(X[:, :1], y)


def test_an_ood_label_that_no_row_has_is_a_warning_and_a_list_an_error(known):
    X, y = known
    names = np.array(["a", "b", "c"])[y]
    with pytest.warns(UserWarning, match="ood_label='misspelt', but no row of y has it"):
        SelectiveClassifier(LogisticRegression(), ood_label="misspelt").fit(X, names)
    with pytest.raises(ValueError, match=r"ood_label=\[1\], but expected one label"):
        SelectiveClassifier(LogisticRegression(), ood_label=[1]).fit(X, y)
    with pytest.raises(ValueError, match=r"reject_label=\[1\]"):
        SelectiveClassifier(LogisticRegression(), coverage=0.9, reject_label=[1]).fit(X, y)


def test_calibration_rows_are_a_simple_random_part_whatever_the_classes():
    """A class of two loses one row, both or none with the chances of a draw by lot."""
    X, y = np.zeros((100, 1)), np.repeat(np.arange(50), 2)
    drawn = np.zeros(3)
    for seed in range(200):
        inner = RememberCounts()
        selective = SelectiveClassifier(inner, coverage=0.5, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counts = selective.fit(X, y).estimator_.counts_
        assert counts.sum() == 80
        drawn += np.bincount(2 - counts, minlength=3)
    both, one = 20 / 100 * 19 / 99, 2 * 20 / 100 * 80 / 99
    np.testing.assert_allclose(drawn / drawn.sum(), [1 - both - one, one, both], atol=0.01)


class RememberCounts(DummyClassifier):
    """Keeps how many rows of each of 50 classes reached ``fit``."""

    def fit(self, X, y):
        self.counts_ = np.bincount(y, minlength=50)
        return super().fit(X, y)


def test_rows_of_a_class_that_chance_left_untaught_are_errors_and_named():
    rng = np.random.default_rng(0)
    y = np.append(np.repeat([0, 1], 100), np.arange(2, 42))
    X = np.c_[y + 0.1 * rng.random(len(y)), np.zeros(len(y))]
    selective = SelectiveClassifier(GaussianNB(), risk=0.9, calibration=0.5, random_state=0)
    with pytest.warns(UserWarning, match=r"Of 21 classes all rows were drawn.*\{3: 1, 4: 1, "):
        selective.fit(X, y)
    assert len(selective.classes_) == 21
    guarantee = selective.guarantee_["risk"]
    assert guarantee.n_samples == guarantee.n_accepted == 120
    assert guarantee.n_errors == 21  # whatever is answered to their rows


def test_untaught_classes_count_for_coverage_and_are_no_outliers(blobs):
    X, y = blobs
    y = np.where(np.arange(len(y)) == 3, 9, y)
    for seed in range(20):
        selective = SelectiveClassifier(
            LogisticRegression(), ood_acceptance=0.9, ood_label=-1, reject_label=-2,
            random_state=seed,
        )  # fmt: skip
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            selective.fit(X, y)
        assert selective.guarantee_["ood_acceptance"].n_samples == 300
        if caught:
            assert 9 not in selective.classes_
            break
    else:
        pytest.fail("the only row of class 9 was never drawn")


@pytest.mark.parametrize(
    "what",
    [
        Ridge(),
        KMeans(),
        make_pipeline(IsolationForest()),
        GridSearchCV(Ridge(), {"alpha": [1]}),
    ],
)
def test_what_is_no_classifier_is_an_error_before_it_is_fitted(known, what):
    with pytest.raises(TypeError, match="but expected a classifier"):
        SelectiveClassifier(what, coverage=0.8).fit(known[0], None)


@pytest.mark.parametrize("around", [SelectiveClassifier, NoveltyDetector])
def test_what_cannot_be_cloned_is_an_error_that_says_so(known, around):
    class Bare:
        def fit(self, X, y=None):
            raise AssertionError

    with pytest.raises(TypeError, match="without get_params, but expected an estimator"):
        around(Bare()).fit(*known)


def test_a_density_of_bounded_support_as_detector(known):
    X, y = known
    tophat = KernelDensity(kernel="tophat", bandwidth=0.5)
    selective = SelectiveClassifier(LogisticRegression(), detector=tophat, coverage=0.9)
    far = selective.fit(X, y).score_samples(X + 100)
    assert np.isfinite(far).all()
    assert not selective.accept(X + 100).any()


@pytest.mark.parametrize("sign", [1, -1])
def test_infinite_confidences_tie_and_promise_nothing_that_does_not_hold(known, sign):
    class Infinite(LogisticRegression):
        def score_samples(self, X):
            return np.where(X[:, 0] > 0, sign * np.inf, 0.0)

    X, y = known
    wrong = (y + 1) % 3
    frozen = FrozenEstimator(Infinite().fit(X, wrong))
    with pytest.raises(ValueError, match="No threshold can promise"):
        SelectiveClassifier(frozen, risk=0.05).fit(X, y)
    frozen = FrozenEstimator(Infinite().fit(X, y))
    selective = SelectiveClassifier(frozen, risk=0.2).fit(X, y)
    accepted = selective.accept(X)
    assert selective.guarantee_["risk"].n_accepted == accepted.sum()
    assert accepted[X[:, 0] > 0].all() if sign == 1 else accepted[X[:, 0] <= 0].all()


class Counting(RandomForestClassifier):
    """Counts how often it is asked."""

    def predict_proba(self, X):
        self.n_asked_ = getattr(self, "n_asked_", 0) + 1
        return super().predict_proba(X)


class CountingScaler(StandardScaler):
    """Counts how often it is asked."""

    def transform(self, X):
        self.n_asked_ = getattr(self, "n_asked_", 0) + 1
        return super().transform(X)


@pytest.mark.parametrize("how", [{"coverage": 0.8}, {"risk": 0.1}, {"threshold": 0.9}])
def test_predict_asks_the_classifier_and_the_steps_before_it_once(known, how):
    X, y = known
    pipe = make_pipeline(CountingScaler(), Counting(20, random_state=0))
    selective = SelectiveClassifier(pipe, random_state=0, **how).fit(X, y)
    scaler, forest = (step for _, step in selective.estimator_.steps)
    verbs = ("predict", "answers", "accept", "score_samples", "decide", "answers_and_accepted")
    monitor = RiskMonitor(FrozenEstimator(selective), risk=0.1).fit(X, y)
    scorer = selective_scorer("selective_risk")
    for ask in (
        *(getattr(selective, method) for method in verbs),
        lambda X: selective_report(selective, X, y),
        lambda X: scorer(selective, X, y),
        lambda X: monitor.partial_fit(X, y),
    ):
        forest.n_asked_ = scaler.n_asked_ = 0
        ask(X)
        assert (forest.n_asked_, scaler.n_asked_) == (1, 1)


@pytest.mark.parametrize(
    "thresholded",
    [
        FixedThresholdClassifier(LogisticRegression(), threshold=0.2),
        make_pipeline(FixedThresholdClassifier(LogisticRegression(), threshold=0.8)),
        TunedThresholdClassifierCV(LogisticRegression(), scoring="recall"),
    ],
)
def test_confidence_is_that_of_the_class_that_a_threshold_answers(known, thresholded):
    X, y = known
    X, y = X[y < 2], y[y < 2]
    selective = SelectiveClassifier(thresholded, coverage=0.9, random_state=0).fit(X, y)
    answers = selective.estimator_.predict(X)
    assert (answers != selective.predict_proba(X).argmax(axis=1)).any()
    np.testing.assert_array_equal(selective.answers(X), answers)
    of_answer = selective.predict_proba(X)[np.arange(len(X)), answers]
    np.testing.assert_array_equal(selective.score_samples(X), of_answer)
    accepted = selective.accept(X)
    np.testing.assert_array_equal(selective.predict(X), np.where(accepted, answers, -1))


class Cautious(LogisticRegression):
    """Answers 1 only where it is sure: a threshold that no type tells of."""

    def predict(self, X):
        return (self.predict_proba(X)[:, 1] > 0.9).astype(int)


def test_what_the_calibration_rows_tell_of_the_answers_is_remembered(known):
    X, y = known
    X, y = X[y < 2], y[y < 2]
    selective = SelectiveClassifier(Cautious(), coverage=0.9, random_state=0).fit(X, y)
    assert not selective.answers_by_largest_
    np.testing.assert_array_equal(selective.answers(X), selective.estimator_.predict(X))
    plain = SelectiveClassifier(LogisticRegression(), coverage=0.9, random_state=0).fit(X, y)
    assert plain.answers_by_largest_


def test_fixed_threshold(known):
    X, y = known
    selective = SelectiveClassifier(LogisticRegression(), threshold=0.9).fit(X, y)
    proba = selective.predict_proba(X).max(axis=1)
    np.testing.assert_array_equal(selective.accept(X), proba >= 0.9)
    np.testing.assert_array_equal(selective.predict(X) == -1, proba < 0.9)


@pytest.mark.parametrize(
    ("labels", "reject"),
    [
        (np.array(["a", "bb", "c"]), "reject"),
        (np.array([10, 20, 30]), -1),
        (np.array([0.5, 1.5, 2.5]), -1),
        (np.array(["a", "bb", "c"], dtype=object), "reject"),
        (np.array([1, 2, 3], dtype=np.uint8), -1),
    ],
)
def test_reject_label_is_of_the_kind_of_the_classes_and_whole(known, labels, reject):
    X, codes = known
    if labels.dtype.kind == "f":
        labels = labels * 2  # whole numbers, or they would be regression targets
    selective = SelectiveClassifier(LogisticRegression(), coverage=0.5, random_state=0)
    predictions = selective.fit(X, labels[codes]).predict(X)
    assert selective.reject_label_ == reject
    assert set(predictions.tolist()) == {*labels.tolist(), reject}


def test_boolean_and_pandas_labels(known):
    X, codes = known
    X, codes = X[codes < 2], codes[codes < 2]
    frame = pd.DataFrame(X, columns=["a", "b"])
    selective = SelectiveClassifier(LogisticRegression(), coverage=0.5, random_state=0)
    selective.fit(frame, pd.Series(codes.astype(bool)))
    assert set(selective.predict(frame).tolist()) == {-1, 0, 1}
    assert list(selective.feature_names_in_) == ["a", "b"]
    categorical = pd.Series(np.array(["no", "yes"])[codes], dtype="category")
    assert set(selective.fit(frame, categorical).predict(frame)) == {"no", "yes", "reject"}


@pytest.mark.parametrize(
    "labels",
    [
        pd.array([2**62, 2**62 + 1, 2**62 + 2], dtype="Int64"),
        pd.array([2**63, 2**63 + 1, 2**63 + 2], dtype="UInt64"),
        pd.array([7, 8, 9], dtype="Int8"),
        pd.array(["a", "b", "c"], dtype="string"),
    ],
    ids=str,
)
def test_labels_of_pandas_own_types_stay_what_they_are(known, labels):
    X, codes = known
    y = pd.Series(labels).take(codes).reset_index(drop=True)
    selective = SelectiveClassifier(LogisticRegression(), coverage=0.9, random_state=0)
    assert selective.fit(X, y).classes_.tolist() == list(labels)
    assert (selective.answers(X) == y.to_numpy()).mean() > 0.9
    assert SoftmaxClassifier(max_epochs=1).fit(X, y).classes_.tolist() == list(labels)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (
            np.array(["a", 1, 2.0], dtype=object),
            TypeError,
            "labels of the types float, int",
        ),
        (np.array(["2020", "2021", "2022"], dtype="M8[D]"), ValueError, "y with dates such as"),
    ],
)
def test_labels_without_an_order_or_a_kind_are_errors(known, labels, error, message):
    X, codes = known
    with pytest.raises(error, match=message):
        SelectiveClassifier(LogisticRegression(), coverage=0.9).fit(X, labels[codes])


def test_no_row_is_an_error(known):
    X, y = known
    with pytest.raises(ValueError, match=r"0 sample\(s\) .* required by Selective"):
        SelectiveClassifier(LogisticRegression(), coverage=0.9).fit(X[:0], y[:0])


def test_inside_a_pipeline_around_one_and_in_a_grid_search(blobs):
    X, y = blobs
    around = SelectiveClassifier(
        make_pipeline(StandardScaler(), LogisticRegression()),
        coverage=0.9,
        ood_label=-1,
        reject_label=-2,
    )
    inside = make_pipeline(
        StandardScaler(),
        SelectiveClassifier(
            LogisticRegression(), coverage=0.9, ood_label=-1, reject_label=-2, random_state=0
        ),
    )
    assert inside.fit(X, y).score_samples(X).shape == (len(X),)
    assert cross_val_score(around, X, y, cv=3).shape == (3,)
    grid = {
        "selectiveclassifier__estimator__C": [0.01, 1.0],
        "selectiveclassifier__coverage": [0.5, 1.0],
    }
    search = GridSearchCV(inside, grid, cv=3, error_score="raise").fit(X, y)
    assert search.best_params_["selectiveclassifier__coverage"] == 1.0


def test_pickle_and_clone(known):
    X, y = known
    selective = SelectiveClassifier(LogisticRegression(), risk=0.1, random_state=0).fit(X, y)
    again = pickle.loads(pickle.dumps(selective))
    np.testing.assert_array_equal(again.predict(X), selective.predict(X))
    assert again.guarantee_ == selective.guarantee_
    refitted = clone(selective).fit(X, y)
    assert refitted.threshold_ == selective.threshold_


def test_probabilities_are_offered_only_where_the_classifier_has_them(known):
    selective = SelectiveClassifier(LinearSVC())
    assert not hasattr(selective, "predict_proba")
    assert selective.fit(*known).decision_function(known[0]).shape == (len(known[0]), 3)


def test_images_pass_through(known):
    rng = np.random.default_rng(0)
    X = rng.random((40, 1, 8, 8), dtype=np.float32)
    y = np.arange(40) % 2
    inner = SoftmaxClassifier(max_epochs=1, random_state=0)
    selective = SelectiveClassifier(inner, coverage=0.5, random_state=0).fit(X, y)
    assert selective.predict(X).shape == (40,)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"coverage": 0.9, "risk": 0.1}, "coverage=0.9 together with risk=0.1"),
        ({"threshold": 0.5, "coverage": 0.9}, "threshold=0.5 together with coverage=0.9"),
        ({"threshold": 0.5, "ood_acceptance": 0.1}, "threshold=0.5 together with ood_accep"),
        ({"threshold": float("nan")}, "threshold=nan"),
        (
            {"coverage": 0.0},
            r"coverage=0\.0, but expected a float in the range \(0\.0, 1\.0\]",
        ),
        ({"coverage": 1.2}, r"coverage=1\.2"),
        ({"risk": 1.0}, r"risk=1\.0, but expected a number in \(0, 1\), or several"),
        ({"ood_acceptance": -0.1}, r"ood_acceptance=-0\.1"),
        ({"risk": 0.1, "delta": 0.0}, r"delta=0\.0"),
        ({"risk": 0.1, "calibration": 1.5}, r"calibration=1\.5"),
        ({"risk": 0.1, "calibration": "half"}, "calibration='half'"),
        ({"coverage": 0.5, "calibration": 1e-6}, "calibration=1e-06 for"),
        (
            {"coverage": 0.9, "reject_label": 1},
            r"reject_label=1.*one of the classes \[0, 1, 2\]",
        ),
        ({"coverage": 0.9, "reject_label": "no"}, "reject_label='no'.*expected a number"),
        ({"coverage": 0.9, "reject_label": np.nan}, "reject_label=nan, but expected one label"),
        ({"risk": 1e-4}, "No threshold can promise risk=0.0001"),
        ({"risk": 1e-320}, "No threshold can promise risk=1e-320"),
        ({"risk": 0.1, "delta": 1e-320}, "No threshold can promise risk=0.1 with delta=1e-320"),
        ({"ood_acceptance": 0.1}, "from 0 outlier rows, .* give at least 29 of them"),
    ],
)
def test_contradictory_or_impossible_parameters(known, parameters, message):
    selective = SelectiveClassifier(LogisticRegression(), random_state=0, **parameters)
    with pytest.raises(ValueError, match=message):
        selective.fit(*known)


def test_default_reject_label_that_is_a_class(known):
    X, codes = known
    selective = SelectiveClassifier(LogisticRegression(), coverage=0.9)
    with pytest.raises(ValueError, match=r"-1, but that is one of the classes \[-1, 0, 1\]"):
        selective.fit(X, codes - 1)


def test_outlier_rows_only(known):
    X, _ = known
    selective = SelectiveClassifier(LogisticRegression(), ood_label=-1)
    with pytest.raises(ValueError, match="only outlier rows"):
        selective.fit(X, np.full(len(X), -1))


def test_unknown_parameter_name():
    with pytest.raises(ValueError, match="Invalid parameter 'coverge'"):
        SelectiveClassifier(LogisticRegression()).set_params(coverge=0.5)


def test_a_fit_that_fails_leaves_an_unfitted_estimator(known):
    X, y = known
    selective = SelectiveClassifier(LogisticRegression(), risk=0.1, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="No threshold can promise"):
        selective.set_params(risk=1e-4).fit(X, y)
    with pytest.raises(NotFittedError):
        selective.predict(X)


def test_nan_confidence_is_an_error():
    class Odd(LogisticRegression):
        def score_samples(self, X):
            return np.full(len(X), np.nan)

    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=r"or no numbers from Odd\.score_samples"):
        SelectiveClassifier(Odd(max_iter=1000), coverage=0.5).fit(X, y)


def semi_supervised():
    inner = SelfTrainingClassifier(GaussianNB())
    yield inner
    yield make_pipeline(StandardScaler(), LabelSpreading())
    yield GridSearchCV(inner, {"threshold": [0.8, 0.9]}, cv=3)


@pytest.mark.parametrize("inner", [*semi_supervised()])
def test_unlabelled_rows_train_and_do_not_calibrate(known, inner):
    X, y = known
    hidden = np.arange(len(y)) % 3 == 0
    some = np.where(hidden, -1, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selective = SelectiveClassifier(inner, risk=0.2, random_state=0).fit(X, some)
        frozen = FrozenEstimator(clone(inner).fit(X, some))
        calibrated = SelectiveClassifier(frozen, risk=0.2).fit(X, some)
        again = clone(calibrated).fit(X, y).recalibrate(X, some)
    assert selective.classes_.tolist() == [0, 1, 2]
    assert selective.reject_label_ == -1
    assert selective.guarantee_["risk"].n_samples < 0.2 * len(y)
    for each in (calibrated, again):
        assert each.guarantee_["risk"].n_samples == (~hidden).sum()
    with pytest.raises(ValueError, match="from 300 calibration rows"):  # as outliers they do
        SelectiveClassifier(inner, risk=0.2, ood_label=-1, random_state=0).fit(X, some)
