"""How the score of a member is read, whatever it is."""

import numpy as np
import pytest
from contract.estimators import COOL, TAUGHT_BY_OUTLIERS, TINY_DAE
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import (
    CombinedClassifier,
    DAEConfidence,
    GenerativeClassifier,
    NeighborDistance,
)
from sklearn_ood.combined._members import member_scores

PIXELS = GenerativeClassifier("pca", validation_fraction=0)


@pytest.fixture(scope="module")
def blobs():
    X, y = make_blobs(600, centers=4, n_features=4, random_state=0)
    return X, np.array(["a", "b", "c", "d"])[y]


def test_class_scores_are_read_at_the_predicted_class(blobs):
    X, y = blobs
    labels = np.roll(np.unique(y), 1)[np.unique(y, return_inverse=True)[1]]
    pca = clone(PIXELS).fit(X, y)
    evidence = pca.decision_function(X)
    codes = np.searchsorted(pca.classes_, labels)
    np.testing.assert_allclose(
        member_scores(pca, X, labels), evidence[np.arange(len(X)), codes], rtol=1e-5
    )
    np.testing.assert_allclose(member_scores(pca, X), pca.score_samples(X))
    near = NeighborDistance().fit(X, y)
    evidence = near.decision_function(X)[np.arange(len(X)), codes]
    np.testing.assert_allclose(member_scores(near, X, labels), evidence)


@pytest.mark.parametrize("member", [COOL, TAUGHT_BY_OUTLIERS[-1], DAEConfidence(**TINY_DAE)])
def test_our_classifiers_are_read_at_the_given_class_not_at_their_own_best(member):
    X, y = make_blobs(200, centers=3, n_features=4, random_state=0)
    fitted, others = clone(member).fit(X, y), (y + 1) % 3
    evidence = fitted.decision_function(X)[np.arange(len(X)), others]
    np.testing.assert_allclose(member_scores(fitted, X, others), evidence)
    own = member_scores(fitted, X, fitted.predict(X))
    np.testing.assert_allclose(own, fitted.score_samples(X))


def test_two_classes_are_read_at_the_predicted_one_too(blobs):
    X, y = blobs
    two = np.isin(y, ["a", "b"])
    near = NeighborDistance().fit(X[two], y[two])
    at_a = member_scores(near, X, np.full(len(X), "a"))
    expected = NeighborDistance().fit(X[y == "a"]).score_samples(X)
    np.testing.assert_allclose(at_a, expected, atol=1e-4)


def test_probabilities_at_the_label_also_inside_a_pipeline(blobs):
    X, y = blobs
    pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    log_p = pipe.predict_log_proba(X)
    np.testing.assert_allclose(member_scores(pipe, X, np.full(len(X), "b")), log_p[:, 1])
    np.testing.assert_allclose(member_scores(pipe, X), log_p.max(axis=1))
    with pytest.raises(ValueError, match="not taught the classes"):
        member_scores(pipe, X[:1], ["z"])


def test_a_combination_is_read_as_a_whole(blobs):
    X, y = blobs
    members = [("near", NeighborDistance())]
    inner = CombinedClassifier(LogisticRegression(), members, random_state=0).fit(X, y)
    scores = member_scores(inner, X, np.full(len(X), "b"))
    np.testing.assert_array_equal(scores, inner.score_samples(X))
