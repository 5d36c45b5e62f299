"""What people would pick instead: every competitor once, with settings of its package or paper.

All have ``fit`` and one of the scores that ``score`` knows, higher for more in-distribution.
"""

from importlib.util import find_spec

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from sklearn_ood import NeighborDistance, NetFeatures, SoftmaxClassifier, Subspace
from sklearn_ood.detectors import last_linear


def score(estimator, X):
    """How in-distribution rows are, by whatever method the estimator has."""
    if hasattr(estimator, "decision_scores_"):  # PyOD: higher is more outlying
        return -estimator.decision_function(X)
    if hasattr(estimator, "score_samples"):
        return estimator.score_samples(X)
    return np.asarray(estimator.predict_proba(X)).max(axis=1)


def scaled(estimator):
    """The estimator behind a standardisation."""
    return make_pipeline(StandardScaler(), estimator)


def detectors(seed, n_features=None):
    """Detectors of one class, on rows as they come."""
    return {
        "isolation forest": IsolationForest(random_state=seed),
        "local outlier factor": LocalOutlierFactor(novelty=True),
        "one-class SVM": OneClassSVM(),
        "nearest row": NeighborDistance(),
        "k-NN (5)": NeighborDistance(5),
        "mean of five neighbors": MeanDistance(),
    } | pyod(seed, n_features)


def pyod(seed, n_features=None):
    """PyOD's detectors, where it is installed; Deep SVDD must be told how wide rows are."""
    if not find_spec("pyod"):
        return {}
    from pyod.models.auto_encoder import AutoEncoder
    from pyod.models.copod import COPOD
    from pyod.models.deep_svdd import DeepSVDD
    from pyod.models.ecod import ECOD

    quiet = {"random_state": seed, "verbose": 0}
    found = {
        "PyOD AutoEncoder": AutoEncoder(**quiet),
        "PyOD ECOD": ECOD(),
        "PyOD COPOD": COPOD(),
    }
    if n_features:
        found["PyOD DeepSVDD"] = DeepSVDD(n_features, **quiet)
    return found


class MeanDistance(NearestNeighbors):
    """Mean distance to five neighbours, the rule of DTE-NP (Livernoche et al., ICLR 2024)."""

    def score_samples(self, X):
        return -self.kneighbors(X)[0].mean(axis=1)


class ClassMixtures:
    """A Gaussian mixture of scikit-learn a class, scored by the best class's density."""

    def __init__(self, n_components, random_state=None):
        self.n_components, self.random_state = n_components, random_state

    def fit(self, X, y):
        self.mixtures_ = [
            GaussianMixture(self.n_components, random_state=self.random_state).fit(X[y == k])
            for k in np.unique(y)
        ]
        return self

    def score_samples(self, X):
        return np.max([mixture.score_samples(X) for mixture in self.mixtures_], axis=0)


class LitPixels:
    """How far an image's light is from what is usual: the crudest score of all."""

    def fit(self, X, y=None):
        self.typical_ = np.median(X.sum(axis=1))
        return self

    def score_samples(self, X):
        return -np.abs(X.sum(axis=1) - self.typical_).astype(np.float64)


class OneClass(BaseEstimator):
    """A detector that is shown no labels."""

    def __init__(self, detector):
        self.detector = detector

    def fit(self, X, y=None):
        self.detector_ = self.detector.fit(X)
        return self

    def score_samples(self, X):
        return self.detector_.score_samples(X)


def rescored(net, **settings):
    """A trained network with another score, frozen."""
    made = SoftmaxClassifier.from_module(
        net.net_.module_, net.classes_, net.input_shape_, **settings
    )
    return FrozenEstimator(made)


def odin(net):
    """ODIN, with settings of its authors (not tuned here)."""
    return rescored(net, temperature=1000.0, epsilon=0.0014)


def virtual_logit(net):
    """ViM of 64 dimensions, of what the last layer of a trained network takes."""
    frozen = FrozenEstimator(net)
    vim = Subspace(n_components=64, linear=last_linear(frozen))
    return make_pipeline(NetFeatures(frozen), vim)
