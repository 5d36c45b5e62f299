"""What people would pick instead: every competitor once, with settings of its package or paper.

All have ``fit`` and one of the scores that ``score`` knows, higher for more in-distribution.
"""

from importlib.util import find_spec

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from sklearn_ood import NeighborDistance, NetFeatures, SoftmaxClassifier, Subspace
from sklearn_ood.detectors import last_linear


def score(estimator, X):
    """How in-distribution rows are, by whatever method the estimator has."""
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if hasattr(last, "decision_scores_"):  # PyOD: higher is more outlying
        return -estimator.decision_function(X)
    if hasattr(estimator, "score_samples"):
        return estimator.score_samples(X)
    return np.asarray(estimator.predict_proba(X)).max(axis=1)


def scores(estimators, X, y, X_test):
    """The same of test rows by several that learn the others, by name."""
    return {name: score(each.fit(X, y), X_test) for name, each in estimators.items()}


def scaled(estimator):
    """The estimator behind a standardisation."""
    return make_pipeline(StandardScaler(), estimator)


def named(seed, *names, n_features=None):
    """Some peers, on rows as they come; but for those of a package that is not installed."""
    found = {
        "isolation forest": IsolationForest(random_state=seed),
        "local outlier factor": LocalOutlierFactor(novelty=True),
        "one-class SVM": OneClassSVM(),
        "nearest row": NeighborDistance(),
        "k-NN (5)": NeighborDistance(5),
        "mean of five neighbors": MeanDistance(),
        "GaussianMixture(1) a class": ClassMixtures(1, seed),
        "GaussianMixture(4) a class": ClassMixtures(4, seed),
        "random forest": RandomForestClassifier(200, random_state=seed),
    } | pyod(seed, n_features)
    return {name: found[name] for name in names if name in found}


def pyod(seed, n_features=None):
    """PyOD's detectors, where it is installed; Deep SVDD must be told how wide rows are."""
    if not find_spec("pyod"):
        return {}
    from pyod.models import auto_encoder, copod, deep_svdd, ecod

    quiet = {"random_state": seed, "verbose": 0}
    found = {"PyOD AutoEncoder": auto_encoder.AutoEncoder(**quiet)}
    found |= {"PyOD ECOD": ecod.ECOD(), "PyOD COPOD": copod.COPOD()}
    if n_features:
        found["PyOD DeepSVDD"] = deep_svdd.DeepSVDD(n_features, **quiet)
    return found


class MeanDistance(NearestNeighbors):
    """Mean distance to five neighbours, the rule of DTE-NP (Livernoche et al., ICLR 2024)."""

    def score_samples(self, X):
        return -self.kneighbors(X)[0].mean(axis=1)


class ClassMixtures:
    """A Gaussian mixture of scikit-learn a class, scored by the best class's density."""

    def __init__(self, n_components, random_state=None):
        self.mixture = GaussianMixture(n_components, random_state=random_state)

    def fit(self, X, y):
        self.mixtures_ = [clone(self.mixture).fit(X[y == label]) for label in np.unique(y)]
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


class OneClass(NeighborDistance):
    """Neighbours among all rows, whatever their labels."""

    def fit(self, X, y=None):
        return super().fit(X)


def rescored(net, **settings):
    """A trained network with another score, frozen."""
    trained = net.net_.module_, net.classes_, net.input_shape_
    return FrozenEstimator(SoftmaxClassifier.from_module(*trained, **settings))


def odin(net):
    """ODIN, with settings of its authors (not tuned here)."""
    return rescored(net, temperature=1000.0, epsilon=0.0014)


def virtual_logit(net):
    """ViM of 64 dimensions, of what the last layer of a trained network takes."""
    vim = Subspace(n_components=64, linear=last_linear(FrozenEstimator(net)))
    return make_pipeline(NetFeatures(FrozenEstimator(net)), vim)
