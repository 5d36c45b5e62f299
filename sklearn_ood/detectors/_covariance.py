"""Scores by the covariance of the features: how far off a row is, and in which directions."""

from typing import Any

import numpy as np
import torch
from torch.linalg import vector_norm
from torch.nn.functional import one_hot

from sklearn_ood._parameters import Count, fitted
from sklearn_ood._response import log_softmax
from sklearn_ood.base import OODClassifier
from sklearn_ood.data._rows import validate_training_data
from sklearn_ood.detectors._linear import (
    EvidenceHead,
    LinearScore,
    RowFunction,
    as_tensor,
    batched,
    mean_of,
    projected,
    total,
    unit,
)
from sklearn_ood.nets._heads import ScoredNetwork

# Directions of less variance, beside the largest, are the rounding of float32 features.
ROUNDING = np.finfo(np.float32).eps ** 2


class MahalanobisDistance(OODClassifier):
    """Squared distance to the nearest class mean, under one covariance of all classes.

    Parameters
    ----------
    normalize : bool, default=True
        Whether rows are divided by their length first (Mahalanobis++ [3]_): for features of a
        network. False is the distance of Lee et al. [1]_.
    relative : bool, default=False
        Whether the distance to one Gaussian of all rows is subtracted [2]_; with
        ``normalize`` that is RMDS++ [3]_.
    ood_label : label, default=None
        Rows of ``y`` with this label are outliers, which are left out.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    means_ : ndarray of shape (n_classes, n_features)
    whitening_ : ndarray of shape (n_features, rank)
        Of which ``whitening_ @ whitening_.T`` is the (pseudo-)inverse of the covariance.
    mean_, background_whitening_
        The same of the one Gaussian of all rows.
    n_features_in_ : int

    Notes
    -----
    The evidence for class k is :math:`-(x-\\mu_k)^\\top \\Sigma^{-1} (x-\\mu_k)`, at most 0, or
    with ``relative`` that plus :math:`(x-\\mu)^\\top \\Sigma_0^{-1} (x-\\mu)`, in (-inf, inf),
    and ``score_samples`` is the largest. ``predict_proba`` is the posterior of equally likely
    Gaussians with these means. Directions in which training rows do not vary count for nothing.

    References
    ----------
    .. [1] K. Lee et al., "A simple unified framework for detecting out-of-distribution samples
       and adversarial attacks", NeurIPS 2018.
    .. [2] J. Ren et al., "A simple fix to Mahalanobis distance for improving near-OOD
       detection", 2021.
    .. [3] M. Mueller and M. Hein, "Mahalanobis++: improving OOD detection via feature
       normalization", ICML 2025.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import MahalanobisDistance
    >>> X, y = load_iris(return_X_y=True)
    >>> detector = MahalanobisDistance(normalize=False).fit(X, y)
    >>> detector.score(X, y)
    0.98
    >>> bool(detector.score_samples(X + 3).max() < detector.score_samples(X).min())
    True
    """

    normalize: bool = True
    relative: bool = False
    ood_label: Any = None

    means_: np.ndarray = fitted()
    whitening_: np.ndarray = fitted()
    mean_: np.ndarray = fitted()
    background_whitening_: np.ndarray = fitted()

    _keeps_tensors = True

    def fit(self, X, y=None, sample_weight=None):
        """Learn the means and the covariance.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,), default=None
            Labels; None is one class.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        self._validate_params()
        how = {"sample_weight": sample_weight, "min_classes": 1 + self.relative}
        data = validate_training_data(self, X, y, keep_tensors=True, **how)
        rows, codes, weight = data.known
        weight = np.ones(len(codes)) if weight is None else weight

        def sums(block, block_codes, block_weight):
            members = one_hot(block_codes, len(data.classes)).double() * block_weight[:, None]
            return members.T @ self._prepared(block)

        def scatter(block, block_codes, block_weight):
            away = self._prepared(block) - means[block_codes]
            return gram(away * block_weight.sqrt()[:, None])

        of_classes, n_rows = total(sums, rows, codes, weight), weight.sum()
        counts = as_tensor(np.bincount(codes, weight), of_classes)[:, None]
        means, mean = of_classes / counts, of_classes.sum(dim=0) / n_rows
        within = total(scatter, rows, codes, weight)
        between = gram(counts.sqrt() * (means - mean))
        self.means_, self.mean_ = means.cpu().numpy(), mean.cpu().numpy()
        self.whitening_ = whitening(within / n_rows)
        self.background_whitening_ = whitening((within + between) / n_rows)
        self.classes_ = data.classes
        return self

    @property
    def scored_network_(self):
        """Evidence and score as a module of tensor operations, from features in float64."""
        return ScoredNetwork(RowFunction(self._batch_evidence), EvidenceHead(temperature=2.0))

    def _evidence(self, rows):
        return batched(self._batch_evidence, rows)

    def _log_proba(self, rows):
        return log_softmax(self._evidence(rows) / 2)

    def _batch_evidence(self, batch):
        rows = self._prepared(batch)
        mean, means, whiten = (
            as_tensor(each, rows) for each in (self.mean_, self.means_, self.whitening_)
        )
        rows, means = rows - mean, means - mean
        rows_white, means_white = rows @ whiten, means @ whiten
        squares = rows_white.square().sum(dim=1, keepdim=True) + means_white.square().sum(dim=1)
        distances = (squares - 2 * rows_white @ means_white.T).clamp(min=0)
        if self.relative:
            background = rows @ as_tensor(self.background_whitening_, rows)
            distances = distances - background.square().sum(dim=1, keepdim=True)
        return -distances

    def _prepared(self, batch):
        batch = batch.double()
        return unit(batch) if self.normalize else batch

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.relative
        return tags


class Subspace(LinearScore):
    """Minus the length of what the principal subspace leaves over, alone or beside the logits.

    With the last linear layer it is ViM [1]_: the energy of the logits, less that length times
    the mean largest logit over the mean length. Without, the length alone ("residual").

    Parameters
    ----------
    n_components : int >= 1 or None, default=None
        Dimensions of the subspace, fewer than there are features; None is half of them.
    linear : tuple (weight, bias), default=None
        The network's last layer, as :func:`last_linear` gives it; None is the residual alone.
        The subspace goes through the point where the logits are zero, or through the mean.

    Attributes
    ----------
    origin_ : ndarray of shape (n_features,)
    residual_axes_ : ndarray of shape (n_features, n_features - n_components)
    residual_offset_ : ndarray of shape (n_features - n_components,)
        Minus the origin, along these axes.
    scale_ : float
        What a unit of the residual's length costs.

    Notes
    -----
    ``score_samples`` is in (-inf, inf) with logits, in (-inf, 0] without.

    References
    ----------
    .. [1] H. Wang, Z. Li, L. Feng and W. Zhang, "ViM: out-of-distribution with virtual-logit
       matching", CVPR 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import Subspace
    >>> X, _ = load_iris(return_X_y=True)
    >>> detector = Subspace(n_components=2).fit(X)
    >>> bool(detector.score_samples(X - [0, 0, 0, 9]).max() < detector.score_samples(X).min())
    True
    """

    n_components: Count | None = None

    origin_: np.ndarray = fitted()
    residual_axes_: np.ndarray = fitted()
    residual_offset_: np.ndarray = fitted()
    scale_: float = fitted()

    @property
    def _needs_labels(self):
        return False

    def _learn(self, known):
        rows, _, weight = known
        n_features = rows.shape[1]
        n_components = n_features // 2 if self.n_components is None else self.n_components
        if n_components >= n_features:
            raise ValueError(
                f"Got n_components={n_components} for X with n_features={n_features}, but "
                "expected fewer: what is left over is the score."
            )
        if self.linear is None:  # a layer whose logits tell nothing
            self.weight_, self.bias_, self.scale_ = np.zeros((1, n_features)), np.zeros(1), 1.0
            self.origin_ = mean_of(torch.clone, rows, weight).cpu().numpy()
        else:
            # Directions of less weight are the rounding of float32 weights.
            rounding = max(self.weight_.shape) * np.finfo(np.float32).eps
            self.origin_ = -np.linalg.pinv(self.weight_, rcond=rounding) @ self.bias_
        axes = torch.linalg.eigh(self._scatter(rows, weight)).eigenvectors.cpu().numpy()
        self.residual_axes_ = axes[:, : n_features - n_components]
        self.residual_offset_ = -self.origin_ @ self.residual_axes_
        if self.linear is not None:
            largest = mean_of(lambda block: self._logits(block).amax(dim=1), rows, weight)
            residual = mean_of(self._residual, rows, weight).clamp(min=1e-12)
            self.scale_ = float(largest / residual)

    def _scatter(self, rows, weight):
        """Sum of the outer products of rows around the origin."""

        def of_block(block, *some):
            away = block - as_tensor(self.origin_, block)
            return gram(away * some[0].sqrt()[:, None] if some else away)

        return total(of_block, rows, *([] if weight is None else [weight]))

    def _score(self, features, logits):
        return logits.logsumexp(dim=1) - self.scale_ * self._residual(features)

    def _residual(self, features):
        axes = as_tensor(self.residual_axes_, features).T
        return vector_norm(projected(features, axes, self.residual_offset_), dim=1)


def gram(rows):
    """Sum of the rows' outer products."""
    return rows.T @ rows


def whitening(covariance):
    """A square root of the pseudo-inverse, without the directions that are rounding."""
    variances, axes = torch.linalg.eigh(covariance)
    kept = variances > ROUNDING * len(variances) * variances[-1]
    return (axes[:, kept] / variances[kept].sqrt()).cpu().numpy()
