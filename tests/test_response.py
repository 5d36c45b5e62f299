import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, OutlierMixin, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from sklearn_ood import NeighborDistance, SelectiveClassifier
from sklearn_ood._response import (
    answers_and_confidence,
    answers_by_largest,
    answers_of,
    confidence_of,
    is_frozen,
    unwrap,
)

X, y = load_iris(return_X_y=True)


class Rejecting(LogisticRegression):
    """Answers -1 always, knows the class behind it."""

    def answers(self, X):
        return super().predict(X)

    def predict(self, X):
        return np.full(len(X), -1)


def test_score_samples_comes_first():
    mixture = GaussianMixture(random_state=0).fit(X)
    assert np.array_equal(confidence_of(mixture, X), mixture.score_samples(X))


def test_max_proba_also_behind_a_pipeline():
    pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    assert np.array_equal(confidence_of(pipe, X), pipe.predict_proba(X).max(axis=1))


def test_margin_of_two_classes_is_absolute():
    svc = LinearSVC().fit(X[:100], y[:100])
    assert np.array_equal(confidence_of(svc, X), np.abs(svc.decision_function(X)))


def test_margin_of_many_classes_is_top_minus_second():
    svc = LinearSVC().fit(X, y)
    ordered = np.sort(svc.decision_function(X), axis=1)
    assert np.array_equal(confidence_of(svc, X), ordered[:, 2] - ordered[:, 1])


def test_nothing_to_take_a_confidence_from():
    with pytest.raises(TypeError, match="with no score_samples"):
        confidence_of(LinearRegression().fit(X, y), X)


def test_multi_output_is_named():
    class TwoOutputs:
        classes_ = np.arange(2)

        def predict_proba(self, X):
            return [np.ones((len(X), 2)), np.ones((len(X), 2))]

    with pytest.raises(ValueError, match="no list for several outputs"):
        confidence_of(TwoOutputs(), X)


@pytest.mark.parametrize("method", ["score_samples", "decision_function"])
def test_wrong_shape_is_named(method):
    shape = (len(X), 1, 1)
    wrong = type("Wrong", (), {method: lambda self, X: np.zeros(shape), "classes_": [0, 1]})()
    with pytest.raises(ValueError, match=rf"{method}.*|\(150, 1, 1\)"):
        confidence_of(wrong, X)


def test_answers_look_behind_a_rejection_through_pipeline_and_search():
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    rejecting = make_pipeline(StandardScaler(), Rejecting())
    search = GridSearchCV(rejecting, {"rejecting__C": [1.0]}).fit(X, y)
    assert set(search.predict(X)) == {-1}
    assert np.array_equal(answers_of(search, X), plain.predict(X))
    assert np.array_equal(answers_of(plain, X), plain.predict(X))


def test_unwrap_transforms_on_the_way():
    pipe = make_pipeline(
        StandardScaler(), make_pipeline(StandardScaler(), LogisticRegression())
    )
    last, rows = unwrap(pipe.fit(X, y), X)
    assert isinstance(last, LogisticRegression)
    assert np.allclose(rows.mean(axis=0), 0)
    assert np.array_equal(last.predict(rows), pipe.predict(X))


def test_answers_and_confidence_of_our_own_are_its_verbs():
    ours = NeighborDistance().fit(X, y)
    answers, confidence = answers_and_confidence(make_pipeline("passthrough", ours), X)
    np.testing.assert_array_equal(answers, ours.predict(X))
    np.testing.assert_array_equal(confidence, ours.confidence(X))


@pytest.mark.parametrize("classifier", [LogisticRegression(max_iter=500), LinearSVC()])
@pytest.mark.parametrize("n_rows", [100, 150])
def test_answers_and_confidence_asked_once_or_twice_are_the_same(classifier, n_rows):
    classifier.fit(X[:n_rows], y[:n_rows])
    assert answers_by_largest(classifier, X).all()
    once = answers_and_confidence(classifier, X, by_largest=True)
    twice = answers_and_confidence(classifier, X)
    np.testing.assert_array_equal(once[0], classifier.predict(X))
    np.testing.assert_array_equal(twice[0], classifier.predict(X))
    np.testing.assert_array_equal(once[1], twice[1])
    np.testing.assert_array_equal(once[1], confidence_of(classifier, X))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_confidence_is_that_of_the_answer_of_a_support_vector_machine(n_classes):
    rng = np.random.default_rng(0)
    noisy, labels = rng.normal(size=(60, 2)), rng.integers(0, n_classes, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the parameter probability
        svc = SVC(probability=True, random_state=0).fit(noisy, labels)
    proba, predictions = svc.predict_proba(noisy), svc.predict(noisy)
    assert (proba.argmax(axis=1) != predictions).any()
    assert not answers_by_largest(svc, noisy).any()
    answers, confidence = answers_and_confidence(svc, noisy)
    np.testing.assert_array_equal(answers, predictions)
    np.testing.assert_array_equal(confidence, proba[np.arange(60), predictions])


def test_margin_is_that_of_the_answer_of_a_threshold_on_it():
    binary = X[50:], y[50:]
    classifier = FixedThresholdClassifier(
        LinearSVC(), threshold=0.5, response_method="decision_function"
    ).fit(*binary)
    decision = classifier.decision_function(X[50:])
    answers, confidence = answers_and_confidence(classifier, X[50:])
    assert ((decision > 0) & (decision < 0.5)).any()
    np.testing.assert_array_equal(answers, np.where(decision >= 0.5, 2, 1))
    np.testing.assert_array_equal(confidence, np.where(decision >= 0.5, decision, -decision))


class Column(LogisticRegression):
    """Answers in a column, as some libraries do."""

    def predict(self, X):
        return super().predict(X)[:, None]


def test_a_column_of_answers_is_one_answer_a_row():
    classifier = Column(max_iter=500).fit(X, y)
    answers, confidence = answers_and_confidence(classifier, X)
    np.testing.assert_array_equal(
        answers, LogisticRegression(max_iter=500).fit(X, y).predict(X)
    )
    assert confidence.shape == (150,)


class Foreign(ClassifierMixin, BaseEstimator):
    """Answers what it is told to, whatever the rows."""

    def __init__(self, classes=(0, 1, 2), **told):
        self.classes_ = np.array(classes)
        for method, values in told.items():
            setattr(self, method, lambda X, values=values: values)


ROWS = np.zeros((4, 1))
PROBA = np.full((4, 3), 1 / 3)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"predict": np.zeros(3)}, r"shape \(3,\) from Foreign.predict.*shape \(4,\)"),
        ({"predict": np.zeros((4, 2))}, r"shape \(4, 2\) from Foreign.predict"),
        ({"predict": np.zeros((1, 4))}, r"shape \(1, 4\) from Foreign.predict"),
        ({"predict": 0}, r"shape \(\) from Foreign.predict"),
        ({"predict": np.array([0, 1, 2, 3])}, r"the answers \[3\] from Foreign.predict"),
        ({"predict": np.array([0, 1, np.nan, 1])}, r"the answers \[nan\] from Foreign.predict"),
        ({"predict": np.array(list("0120"))}, "the answers .* from Foreign.predict"),
        ({"answers": np.array([0, 1, 2, -1])}, r"the answers \[-1\] from Foreign.answers"),
        ({"predict_proba": PROBA[:3]}, r"\(3, 3\), .* but expected .* of shape \(4, 3\)"),
        ({"predict_proba": PROBA[:, :2]}, r"\(4, 2\), .* but expected .* of shape \(4, 3\)"),
        ({"predict_proba": PROBA[:, 0]}, r"\(4,\), .* but expected .* of shape \(4, 3\)"),
        ({"predict_proba": PROBA * np.nan}, "no numbers from Foreign.predict_proba"),
        ({"predict_proba": PROBA * np.inf}, r"but expected probabilities of shape \(4, 3\)"),
        ({"predict_proba": -PROBA}, r"but expected probabilities of shape \(4, 3\)"),
        ({"predict_proba": 2 * PROBA + 1}, r"from 1.67 to 1.67, but expected probabilities"),
        ({"predict_proba": [PROBA, PROBA]}, "no list for several outputs"),
        ({"predict_proba": PROBA.tolist()}, None),
        ({"predict_proba": torch.tensor(PROBA, requires_grad=True)}, None),
        ({"predict_proba": torch.tensor(PROBA, dtype=torch.bfloat16)}, None),
        ({"predict": torch.tensor([0, 1, 2, 0])}, None),
        ({"predict_proba": PROBA.astype(str)}, "no numbers from Foreign.predict_proba"),
        ({"predict_proba": PROBA + 0j}, "no numbers from Foreign.predict_proba"),
        ({"decision_function": PROBA[:, 0]}, r"\(4,\), .* but expected .* of shape \(4, 3\)"),
        ({"decision_function": PROBA[:, :2]}, r"\(4, 2\), .* but expected .* \(4, 3\)"),
        ({"decision_function": PROBA}, None),
        ({"score_samples": PROBA}, r"shape \(4, 3\) from Foreign.score_samples"),
        ({"score_samples": np.zeros(5)}, r"shape \(5,\) from Foreign.score_samples"),
        (
            {"score_samples": np.array([0, np.nan, 1, 2])},
            "no numbers from Foreign.score_samples",
        ),
        ({"confidence": np.full(4, "high")}, "no numbers from Foreign.confidence"),
        ({"confidence": np.zeros((4, 1))}, None),
        ({"predict": np.array([[0], [1], [2], [0]])}, None),
        ({"predict": np.array([0, 1, 2, 0], dtype=object)}, None),
        ({"predict": [0.0, 1.0, 2.0, 0.0]}, None),
    ],
)
def test_whatever_comes_from_a_foreign_estimator_is_checked(told, message):
    evidence = {"predict_proba": PROBA} if "decision_function" not in told else {}
    foreign = Foreign(**{"predict": np.zeros(4, dtype=int)} | evidence | told)
    if message is None:
        answers, confidence = answers_and_confidence(foreign, ROWS)
        assert answers.shape == confidence.shape == (4,)
        return
    with pytest.raises(ValueError, match=message):
        answers_and_confidence(foreign, ROWS)


def test_infinite_scores_keep_their_order_and_are_numbers():
    scores = np.array([-np.inf, 0.0, np.inf, 1.0], dtype=np.float32)
    found = confidence_of(Foreign(score_samples=scores), ROWS)
    np.testing.assert_array_equal(np.argsort(found), [0, 1, 3, 2])
    assert np.isfinite(found - found[:, None]).all()
    margins = np.array([[np.inf, np.inf, 0], [0, -np.inf, -np.inf], [1, 2, 3], [np.inf, 0, 0]])
    assert np.isfinite(confidence_of(Foreign(decision_function=margins), ROWS)).all()


def test_pairs_of_classes_are_no_evidence_for_three():
    svc = SVC(decision_function_shape="ovo").fit(X, y)
    with pytest.raises(ValueError, match="decision_function_shape='ovr'"):
        answers_and_confidence(svc, X)


class Distance(BaseEstimator):
    """Far from the mean: PyOD's sign without a mixin, scikit-learn's with it."""

    sign = 1

    def fit(self, X, y=None):
        self.centre_ = X.mean(axis=0)
        if self.sign == 1:
            self.decision_scores_ = self.decision_function(X)
        return self

    def decision_function(self, X):
        return self.sign * np.linalg.norm(X - self.centre_, axis=1)

    def predict_proba(self, X):
        p = self.decision_function(X) / 100
        return np.column_stack([1 - p, p])


class LikeSklearn(OutlierMixin, Distance):
    sign = -1


@pytest.mark.parametrize("detector", [Distance(), LikeSklearn(), IsolationForest()])
@pytest.mark.parametrize("around", [lambda e: e, lambda e: make_pipeline(StandardScaler(), e)])
def test_higher_is_more_normal_whatever_the_sign_of_a_detector(detector, around):
    fitted = around(detector).fit(X, y)
    assert confidence_of(fitted, X).min() > confidence_of(fitted, X + 50).max()
    frozen = FrozenEstimator(fitted)
    np.testing.assert_array_equal(confidence_of(frozen, X), confidence_of(fitted, X))


def test_a_decision_of_unknown_meaning_is_an_error():
    class Ambiguous(Distance):
        sign = -1

    with pytest.raises(TypeError, match="sklearn.base.OutlierMixin"):
        confidence_of(Ambiguous().fit(X), X)


def test_steps_that_lose_rows_are_an_error():
    class Half(StandardScaler):
        def transform(self, X):
            return super().transform(X)[::2]

    pipe = Pipeline([("half", Half().fit(X)), ("ours", NeighborDistance().fit(X, y))])
    with pytest.raises(ValueError, match=r"'half' \(Half\).*numbers of samples: \[150, 75\]"):
        answers_and_confidence(pipe, X)


class Stateless(TransformerMixin, BaseEstimator):
    """Learns nothing, and says nothing of it."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X / 10


def test_a_stateless_step_right_before_the_classifier():
    pipe = make_pipeline(Stateless(), LogisticRegression()).fit(X, y)
    answers, confidence = answers_and_confidence(pipe, X)
    np.testing.assert_array_equal(answers, pipe.predict(X))
    np.testing.assert_array_equal(confidence, pipe.predict_proba(X).max(axis=1))


class Sampler(BaseEstimator):
    """As those of imbalanced-learn: changes rows in fit alone."""

    def fit_resample(self, X, y):
        return X, y


def test_a_sampler_changes_rows_in_fit_alone():
    inner = LogisticRegression(max_iter=1000).fit(X, y)
    pipe = Pipeline([("sampler", Sampler()), ("nothing", "passthrough"), ("last", inner)])
    answers, confidence = answers_and_confidence(pipe, X)
    np.testing.assert_array_equal(answers, inner.predict(X))
    np.testing.assert_array_equal(confidence, inner.predict_proba(X).max(axis=1))


@pytest.mark.parametrize(
    ("estimator", "frozen"),
    [
        (FrozenEstimator(LogisticRegression()), True),
        (make_pipeline(FrozenEstimator(Stateless()), FrozenEstimator(LinearSVC())), True),
        (make_pipeline("passthrough", FrozenEstimator(LinearSVC())), True),
        (make_pipeline(Stateless(), FrozenEstimator(LinearSVC())), False),
        (make_pipeline(FrozenEstimator(Stateless()), LinearSVC()), False),
        (LogisticRegression(), False),
    ],
)
def test_a_pipeline_is_frozen_where_every_step_is(estimator, frozen):
    assert is_frozen(estimator) == frozen


class Named(LogisticRegression):
    """Gives a frame whose columns are called as the classes, in another order."""

    def predict_proba(self, X):
        names = np.asarray(self.classes_)[::-1]
        return self.frame(super().predict_proba(X)[:, ::-1], columns=names)

    frame = pd.DataFrame


class OfPolars(Named):
    def frame(self, values, columns):
        return pl.DataFrame(values, schema=list(map(str, columns)))


@pytest.mark.parametrize("kind", [Named, OfPolars])
@pytest.mark.parametrize("labels", [y, np.array(["a", "b", "c"])[y], y == 2])
def test_columns_of_a_frame_go_by_their_names(kind, labels):
    named, plain = (each(C=0.1).fit(X, labels) for each in (kind, LogisticRegression))
    found, expected = (answers_and_confidence(each, X) for each in (named, plain))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_names_that_pandas_makes_up_say_nothing():
    class Falling(LogisticRegression):
        def predict_proba(self, X):
            return pd.DataFrame(super().predict_proba(X)[:, ::-1])

        @property
        def classes_(self):
            return self.own_[::-1]

        @classes_.setter
        def classes_(self, classes):
            self.own_ = classes

    confidence = confidence_of(Falling(max_iter=500).fit(X, y), X)
    np.testing.assert_array_equal(
        confidence, LogisticRegression(max_iter=500).fit(X, y).predict_proba(X).max(axis=1)
    )


@pytest.mark.parametrize(
    "classes", [[np.arange(2), np.arange(2)], np.array([[0, 1, 2]]), np.array([0, 1, 1])]
)
def test_classes_that_are_not_one_label_each_are_named(classes):
    model = LogisticRegression(max_iter=500).fit(X, y)
    model.classes_ = classes
    with pytest.raises(ValueError, match="with classes_=(?s:.*) of one output"):
        SelectiveClassifier(FrozenEstimator(model), coverage=0.8).fit(X, y)


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (LocalOutlierFactor(), "novelty=False. .*Use novelty=True"),
        (VotingClassifier([("a", LogisticRegression(max_iter=500))]), "voting='hard'"),
        (KMeans(2), r"decision_function\.$"),
    ],
)
def test_a_method_that_a_parameter_hides_says_which(estimator, reason):
    with pytest.raises(TypeError, match=f"with no score_samples.*{reason}"):
        confidence_of(estimator.fit(X, y), X)
