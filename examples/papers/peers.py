"""What people would pick instead: every competitor once, with settings of its package or paper.

All have ``fit`` and a score that ``known_of`` finds, higher for more in-distribution.
"""

from functools import partial
from importlib.util import find_spec

import numpy as np
from sklearn import ensemble, mixture, neighbors, preprocessing, svm
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

import sklearn_ood as ood
from sklearn_ood._response import known_of
from sklearn_ood.generators import GaussianMixtureGenerator, PCAGenerator


def scores(estimators, X, y, X_test):
    """How in-distribution test rows are, by several that learn the others, by name."""
    return {name: known_of(each.fit(X, y), X_test) for name, each in estimators.items()}


def scaled(estimator):
    """The estimator behind a standardisation."""
    return make_pipeline(preprocessing.StandardScaler(), estimator)


def detectors(seed, n_features=None):
    """What needs no labels, on rows as they come; PyOD's where it is installed."""
    return {
        "isolation forest": ensemble.IsolationForest(random_state=seed),
        "local outlier factor": neighbors.LocalOutlierFactor(novelty=True),
        "one-class SVM": svm.OneClassSVM(),
        "nearest row": ood.NeighborDistance(),
        "k-NN (5)": ood.NeighborDistance(5),
        "mean of five neighbors": MeanDistance(),
    } | pyod(seed, n_features)


def named(seed, *names):
    """Some peers, on rows as they come; but for those of a package that is not installed."""
    found = detectors(seed) | {
        "GaussianMixture(1) a class": ClassMixtures(1, seed),
        "GaussianMixture(4) a class": ClassMixtures(4, seed),
        "random forest": ensemble.RandomForestClassifier(200, random_state=seed),
    }
    return {name: found[name] for name in names if name in found}


def of_table(seed):
    """What people would pick for a table with classes."""
    four = GaussianMixtureGenerator(4, reg_covar=1e-2, random_state=seed)
    one = GaussianMixtureGenerator(1, reg_covar=1e-6, random_state=seed)
    net = ood.SoftmaxClassifier(batch_size=256, max_epochs=60, random_state=seed)
    boosting = ensemble.HistGradientBoostingClassifier(max_iter=60, random_state=seed)
    return {
        "Gaussian mixture a class": ood.GenerativeClassifier(four),
        "Gaussian a class": ood.GenerativeClassifier(one),
        "local outlier factor": scaled(neighbors.LocalOutlierFactor(novelty=True)),
        "nearest row": scaled(ood.NeighborDistance()),
        "random forest": ensemble.RandomForestClassifier(random_state=seed),
        "gradient boosting": boosting,
        "MLP, max softmax": scaled(net),
        "isolation forest": ensemble.IsolationForest(random_state=seed),
        "one-class SVM": scaled(svm.OneClassSVM(nu=0.1)),
    } | pyod(seed)


def of_anomalies(seed, n_features):
    """What people would pick for a table of normal rows."""
    found = detectors(seed, n_features).items()
    return {name: each if "forest" in name else scaled(each) for name, each in found}


def of_images(net, seed):
    """What people would pick for images; those that need a net share a trained one."""
    nearest = partial(OneClass, max_samples=10_000, random_state=seed)
    pca = ood.GenerativeClassifier(PCAGenerator(64), similarity="l2", validation_fraction=0)
    return {
        "max softmax": FrozenEstimator(net),
        "energy": rescored(net, score_function="energy"),
        "max logit": rescored(net, score_function="max_logit"),
        "ODIN": odin(net),
        "ViM": virtual_logit(net),
        "k-NN (50), hidden layer, 10,000 rows": on_layer(net, nearest(50)),
        "nearest of 10,000 training images, pixels": nearest(),
        "PCA a class, reconstruction": pca,
        "isolation forest, pixels": ensemble.IsolationForest(random_state=seed),
    } | {f"{k}, pixels": each for k, each in pyod(seed).items() if "AutoEncoder" in k}


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


class MeanDistance(neighbors.NearestNeighbors):
    """Mean distance to five neighbours, the rule of DTE-NP (Livernoche et al., ICLR 2024)."""

    def score_samples(self, X):
        return -self.kneighbors(X)[0].mean(axis=1)


class ClassMixtures:
    """A Gaussian mixture of scikit-learn a class, scored by the best class's density."""

    def __init__(self, n_components, random_state=None):
        self.mixture = mixture.GaussianMixture(n_components, random_state=random_state)

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


class OneClass(ood.NeighborDistance):
    """Neighbours among all rows, whatever their labels."""

    def fit(self, X, y=None):
        return super().fit(X)


def rescored(net, **settings):
    """A trained network with another score, frozen."""
    trained = net.net_.module_, net.classes_, net.input_shape_
    return FrozenEstimator(ood.SoftmaxClassifier.from_module(*trained, **settings))


def odin(net):
    """ODIN, with settings of its authors (not tuned here)."""
    return rescored(net, temperature=1000.0, epsilon=0.0014)


def on_layer(net, *steps, **layer):
    """Steps on what a layer of a trained network says, by default its last hidden one."""
    return make_pipeline(ood.NetFeatures(FrozenEstimator(net), **layer), *steps)


def virtual_logit(net):
    """ViM of 64 dimensions, of what the last layer of a trained network takes."""
    linear = ood.detectors.last_linear(FrozenEstimator(net))
    return on_layer(net, ood.Subspace(n_components=64, linear=linear))
