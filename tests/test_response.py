import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sklearn_ood._response import answers_of, confidence_of, unwrap

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
    with pytest.raises(TypeError, match="score_samples, predict_proba or decision_function"):
        confidence_of(LinearRegression().fit(X, y), X)


def test_multi_output_is_named():
    class TwoOutputs:
        def predict_proba(self, X):
            return [np.ones((len(X), 2)), np.ones((len(X), 2))]

    with pytest.raises(ValueError, match="multi-output"):
        confidence_of(TwoOutputs(), X)


@pytest.mark.parametrize("method", ["score_samples", "decision_function"])
def test_wrong_shape_is_named(method):
    shape = (len(X), 1, 1)
    wrong = type("Wrong", (), {method: lambda self, X: np.zeros(shape)})()
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
