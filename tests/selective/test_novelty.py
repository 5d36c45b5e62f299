import numpy as np
import pytest
from sklearn.base import is_outlier_detector
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import NoveltyDetector, SoftmaxClassifier


@pytest.fixture(scope="module")
def normal():
    return np.random.default_rng(0).normal(size=(500, 3))


def test_the_outlier_detectors_contract(normal):
    detector = NoveltyDetector(GaussianMixture(random_state=0), contamination=0.1).fit(normal)
    assert is_outlier_detector(detector)
    decision = detector.decision_function(normal)
    np.testing.assert_allclose(decision, detector.score_samples(normal) - detector.offset_)
    np.testing.assert_array_equal(detector.predict(normal), np.where(decision < 0, -1, 1))
    assert (detector.predict(normal) == -1).mean() == pytest.approx(0.1)
    assert (detector.predict(normal + 20) == -1).all()


def test_auto_refuses_one_in_twenty_new_rows_of_a_method_that_remembers(normal):
    """A narrow kernel density is high at its own training rows and low everywhere else."""
    density = KernelDensity(bandwidth=0.3)
    fresh = np.random.default_rng(1).normal(size=(2000, 3))
    auto = NoveltyDetector(density, random_state=0).fit(normal)
    remembering = NoveltyDetector(density, contamination=0.05).fit(normal)
    assert 0.02 < (auto.predict(fresh) == -1).mean() < 0.09
    assert (remembering.predict(fresh) == -1).mean() > 0.1


def test_around_a_classifier_and_a_pipeline():
    X, y = load_iris(return_X_y=True)
    inner = make_pipeline(StandardScaler(), SoftmaxClassifier(max_epochs=20, random_state=0))
    detector = NoveltyDetector(inner, contamination=0.05).fit(X, y)
    assert (detector.predict(X) == -1).sum() == pytest.approx(0.05 * len(X), abs=1)
    assert detector.n_features_in_ == 4


def test_labels_are_asked_for_where_they_are_needed(normal):
    with pytest.raises(ValueError, match="requires y"):
        NoveltyDetector(LogisticRegression(), contamination=0.1).fit(normal, None)


def test_a_frozen_estimator_is_not_fitted_again_and_all_rows_place_the_offset(normal):
    density = KernelDensity().fit(normal[:100])
    for frozen in (FrozenEstimator(density), make_pipeline(FrozenEstimator(density))):
        detector = NoveltyDetector(frozen).fit(normal[100:])
        assert detector.estimator_ is frozen
        assert detector.offset_ == np.quantile(density.score_samples(normal[100:]), 0.05)


def test_a_frozen_classifier_needs_no_labels():
    X, y = load_iris(return_X_y=True)
    frozen = FrozenEstimator(LogisticRegression(max_iter=500).fit(X, y))
    detector = NoveltyDetector(frozen, contamination=0.1).fit(X)
    assert (detector.predict(X) == -1).mean() == pytest.approx(0.1)


@pytest.mark.parametrize("contamination", [-0.1, 0.0, 0.6, "some"])
def test_contamination_out_of_range(normal, contamination):
    detector = NoveltyDetector(KernelDensity(), contamination=contamination)
    with pytest.raises(
        ValueError, match=r"contamination=.*expected one of 'auto' or a float in .*0\.5\]"
    ):
        detector.fit(normal)
