"""Scores of a trained network that people would pick: ODIN and ViM."""

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn_ood._scores import energy

from sklearn_ood import NetFeatures, SoftmaxClassifier


def odin(net, temperature=1000.0, epsilon=0.0014):
    """The same network with ODIN's score, with settings of its authors (not tuned here)."""
    return SoftmaxClassifier.from_module(
        net.net_.module_.network,
        net.classes_,
        net.input_shape_,
        confidence="odin",
        temperature=temperature,
        epsilon=epsilon,
    )


class VirtualLogit:
    """ViM: the energy less the scaled residual of the last hidden features.

    Parameters
    ----------
    net : fitted classifier
        Whose network has a layer ``output``, as those known by name have.
    n_components : int, default=64
        Dimensions that the features are taken to live in.

    References
    ----------
    H. Wang et al., "ViM: out-of-distribution with virtual-logit matching", CVPR 2022.
    """

    def __init__(self, net, n_components=64):
        self.features = NetFeatures(FrozenEstimator(net))
        self.net, self.n_components = net, n_components

    def fit(self, X, y=None):
        """Learn the residual space, and its scale beside the largest logits."""
        output = self.net.net_.module_.network.output
        weight, bias = (p.detach().double().numpy() for p in (output.weight, output.bias))
        self.origin_ = -np.linalg.pinv(weight) @ bias
        centred = self.features.fit_transform(X).astype(np.float64) - self.origin_
        _, axes = np.linalg.eigh(centred.T @ centred)
        self.residual_ = axes[:, : -self.n_components]
        norm = np.linalg.norm(centred @ self.residual_, axis=1)
        self.scale_ = self.net._logits(X).max(axis=1).mean() / norm.mean()
        return self

    def score_samples(self, X):
        """Higher is more in-distribution."""
        centred = self.features.transform(X).astype(np.float64) - self.origin_
        norm = np.linalg.norm(centred @ self.residual_, axis=1)
        return energy(self.net._logits(X)) - self.scale_ * norm
