"""Clusters of samples on which classifiers differ: the kinds of input they cannot settle."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.cluster import DBSCAN, HDBSCAN
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

METHODS = ("dbscan", "hdbscan")
SPACES = ("latent", "probability", "input")
EPS_QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MAX_COMPONENTS = 20
MAX_SILHOUETTE_ROWS = 1000
CONFUSABLE_SHARE = 0.1


class FailureRegion(NamedTuple):
    """One kind of input that the members cannot settle.

    Attributes
    ----------
    size : int
        Samples in it.
    confusable : list of labels
        Classes that get at least 10 % of the members' answers, the most frequent first.
    mean_divergence : float
    index : ndarray of shape (size,)
        Which samples.
    representatives : ndarray of shape (at most 10,)
        Which samples are nearest its centre.
    """

    size: int
    confusable: list
    mean_divergence: float
    index: np.ndarray
    representatives: np.ndarray

    @property
    def name(self):
        """The confusable classes as one word, such as "9-5-3"."""
        return "-".join(map(str, self.confusable))


def find_regions(samples, method, space, min_samples, eps):
    """Cluster samples; the parameters are those of `GeValDi.failure_regions`.

    Parameters
    ----------
    samples : DifferentSamples
    method : {"dbscan", "hdbscan"}
    space : {"latent", "probability", "input"}
    min_samples : int
    eps : float or None

    Returns
    -------
    list of FailureRegion
    """
    _check(method, space, min_samples, eps)
    points = embed(samples, space)
    if method == "hdbscan":
        labels = HDBSCAN(min_cluster_size=min_samples, copy=True).fit_predict(points)
    else:
        labels = dbscan_labels(points, min_samples, eps)
    kept = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    kept.sort(key=len, reverse=True)
    return [_region(samples, points, index) for index in kept]


def embed(samples, space):
    """Points in which to cluster samples, (n_samples, n_dims)."""
    if space == "latent":
        return samples.latents
    if space == "probability":
        return np.sqrt(np.concatenate(list(samples.proba), axis=1))
    rows = StandardScaler().fit_transform(samples.samples)
    from sklearn.decomposition import PCA  # slow to import

    return PCA(min(MAX_COMPONENTS, *rows.shape), random_state=0).fit_transform(rows)


def dbscan_labels(points, min_samples, eps=None):
    """Cluster of each point, -1 for noise; the radius from a grid where none is given.

    The grid are quantiles of the distance to the `min_samples`-th neighbour. The best radius
    has the highest silhouette, times the share of the points that are in a cluster.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_dims)
    min_samples : int
    eps : float, default=None

    Returns
    -------
    ndarray of shape (n_samples,)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.gevaldi._regions import dbscan_labels
    >>> points = np.random.RandomState(0).normal(size=(60, 2))
    >>> points += np.repeat([0, 20, 40], 20)[:, None]
    >>> np.bincount(dbscan_labels(points, 5) + 1)[1:].size
    3
    """
    if eps is not None:
        return DBSCAN(eps=eps, min_samples=min_samples).fit_predict(points)
    if len(points) == 1:
        return np.array([-1])
    n_neighbors = min(min_samples, len(points) - 1)
    distances, _ = NearestNeighbors(n_neighbors=n_neighbors).fit(points).kneighbors()
    grid = np.unique(np.quantile(distances[:, -1], EPS_QUANTILES))
    grid = grid[grid > 0] if (grid > 0).any() else np.ones(1)
    candidates = [DBSCAN(eps=eps, min_samples=min_samples).fit_predict(points) for eps in grid]
    return max(candidates, key=lambda labels: _quality(points, labels))


def _quality(points, labels):
    """Silhouette of the clustered points times their share; negative for a single cluster."""
    clustered = np.flatnonzero(labels >= 0)
    share = len(clustered) / len(labels)
    if len(np.unique(labels[clustered])) < 2:
        return share - 2
    kept = np.random.RandomState(0).permutation(clustered)[:MAX_SILHOUETTE_ROWS]
    n_labels = len(np.unique(labels[kept]))
    if not 2 <= n_labels < len(kept):
        return share - 2
    return share * silhouette_score(points[kept], labels[kept])


def _region(samples, points, index):
    centre = points[index].mean(axis=0)
    nearest = np.argsort(np.linalg.norm(points[index] - centre, axis=1), kind="stable")[:10]
    labels, counts = np.unique(samples.predictions[:, index], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    frequent = counts[order] >= CONFUSABLE_SHARE * counts.sum()
    return FailureRegion(
        len(index),
        labels[order][frequent].tolist(),
        float(samples.divergence[index].mean()),
        index,
        index[nearest],
    )


def _check(method, space, min_samples, eps):
    if method not in METHODS:
        raise ValueError(f"Got method={method!r}, but expected one of {METHODS}.")
    if space not in SPACES:
        raise ValueError(f"Got space={space!r}, but expected one of {('auto', *SPACES)}.")
    if not isinstance(min_samples, Integral) or min_samples < 2:
        raise ValueError(f"Got min_samples={min_samples!r}, but expected a whole number >= 2.")
    if eps is not None and (not isinstance(eps, Real) or not eps > 0):
        raise ValueError(f"Got eps={eps!r}, but expected a number > 0 or None.")
