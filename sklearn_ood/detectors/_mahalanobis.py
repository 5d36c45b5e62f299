import numpy as np
import torch
from torch.nn.functional import linear, one_hot

from sklearn_ood._parameters import fitted
from sklearn_ood._response import log_softmax
from sklearn_ood.base import OODClassifier
from sklearn_ood.detectors import _linear
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

    Attributes
    ----------
    means_, mean_ : ndarray of shape (n_classes, n_features) and (n_features,)
        Of the classes, and of all rows.
    whitening_, background_whitening_ : ndarray of shape (n_features, rank)
        Their products ``whitening_ @ whitening_.T`` are the (pseudo-)inverse of the covariance
        within the classes, and of that of all rows.

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
    >>> bool(detector.score_samples(X + 3).max() < detector.score_samples(X).min())
    True
    """

    normalize: bool = True
    relative: bool = False

    means_: np.ndarray = fitted()
    whitening_: np.ndarray = fitted()
    mean_: np.ndarray = fitted()
    background_whitening_: np.ndarray = fitted()

    _keeps_tensors = True

    def fit(self, X, y=None, sample_weight=None):
        """Learn the means and the covariance."""
        data = self._training_data(X, y, sample_weight, keep_tensors=True)
        rows, codes, weight = data.known._replace(weight=data.known.weights)

        def sums(block, block_codes, block_weight):
            members = one_hot(block_codes, len(data.classes)).double() * block_weight[:, None]
            return members.T @ self._prepared(block)

        def scatter(block, block_codes, block_weight):
            away = self._prepared(block) - means[block_codes]
            return gram(away * block_weight.sqrt()[:, None])

        of_classes, n_rows = _linear.total(sums, rows, codes, weight), weight.sum()
        counts = _linear.as_tensor(np.bincount(codes, weight), of_classes)[:, None]
        means, mean = of_classes / counts, of_classes.sum(dim=0) / n_rows
        within = _linear.total(scatter, rows, codes, weight)
        between = gram(counts.sqrt() * (means - mean))
        self.means_, self.mean_ = means.cpu().numpy(), mean.cpu().numpy()
        everything = (within + between) / n_rows
        self.whitening_ = whitening(within / n_rows, everything)
        self.background_whitening_ = whitening(everything, everything)
        if not self.whitening_.size:
            raise ValueError(
                f"Got X of n_samples={len(rows)} and n_features={rows.shape[1]} whose rows do "
                "not differ within their classes; give unlike rows, or take NeighborDistance."
            )
        self.classes_ = data.classes
        return self

    @property
    def scored_network_(self):
        head = _linear.EvidenceHead(temperature=2.0)
        return ScoredNetwork(_linear.RowFunction(self._batch_evidence), head)

    def _evidence(self, rows):
        return _linear.batched(self._batch_evidence, rows)

    def _log_proba(self, rows):
        return log_softmax(self._evidence(rows) / 2)

    def _batch_evidence(self, batch):
        rows = self._prepared(batch)
        learned = self.mean_, self.means_, self.whitening_
        mean, means, whiten = (_linear.as_tensor(each, rows) for each in learned)
        rows, means = rows - mean, means - mean
        rows_white, means_white = linear(rows, whiten.T), means @ whiten
        squares = rows_white.square().sum(dim=1, keepdim=True) + means_white.square().sum(dim=1)
        distances = (squares - 2 * linear(rows_white, means_white)).clamp(min=0)
        if self.relative:
            background = linear(rows, _linear.as_tensor(self.background_whitening_, rows).T)
            distances = distances - background.square().sum(dim=1, keepdim=True)
        return -distances

    def _prepared(self, batch):
        batch = batch.double()
        return _linear.unit(batch) if self.normalize else batch

    @property
    def _needs_labels(self):
        return self.relative


def gram(rows):
    return rows.T @ rows


def whitening(covariance, everything):
    """A square root of the pseudo-inverse, without what is rounding beside all variance."""
    variances, axes = torch.linalg.eigh(covariance)
    largest = torch.maximum(variances[-1], everything.diagonal().max())
    kept = variances > ROUNDING * len(variances) * largest
    return (axes[:, kept] / variances[kept].sqrt()).cpu().numpy()
