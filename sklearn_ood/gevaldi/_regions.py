"""Clusters of samples on which classifiers differ: the kinds of input they cannot settle."""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from sklearn.cluster import DBSCAN, HDBSCAN
from sklearn.preprocessing import StandardScaler

SPACES = ("latent", "probability", "input")
MAX_COMPONENTS = 20
CONFUSABLE_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class FailureRegion:
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


def find_regions(samples, *, space, min_samples=10, eps=None):
    """Cluster samples; the parameters are those of ``GeValDi.failure_regions``.

    Parameters
    ----------
    samples : DifferentSamples
    space : {"latent", "probability", "input"}
    min_samples : int >= 2, default=10
    eps : float > 0, default=None

    Returns
    -------
    list of FailureRegion
    """
    _check(space, min_samples, eps)
    points = embed(samples, space)
    labels = cluster_labels(points, min_samples, eps)
    kept = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    kept.sort(key=len, reverse=True)
    return [_region(samples, points, index) for index in kept]


def embed(samples, space):
    """Points in which to cluster samples, (n_samples, n_dims)."""
    if space == "latent":
        return samples.end.latents
    if space == "probability":
        return np.sqrt(np.concatenate(list(samples.end.proba), axis=1))
    from sklearn.decomposition import PCA  # slow to import

    rows = StandardScaler().fit_transform(samples.end.samples)
    return PCA(min(MAX_COMPONENTS, *rows.shape), random_state=0).fit_transform(rows)


def cluster_labels(points, min_samples, eps=None):
    """Cluster of each point, -1 for noise: by DBSCAN of a radius, else by HDBSCAN.

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
    >>> from sklearn_ood.gevaldi._regions import cluster_labels
    >>> points = np.random.RandomState(0).normal(size=(60, 2))
    >>> points += np.repeat([0, 20, 40], 20)[:, None]
    >>> np.bincount(cluster_labels(points, 5) + 1)[1:].size
    3
    """
    if eps is not None:
        return DBSCAN(eps=eps, min_samples=min_samples).fit_predict(points)
    if len(points) < min_samples:
        return np.full(len(points), -1)
    return HDBSCAN(min_cluster_size=min_samples, copy=True).fit_predict(points)


def _region(samples, points, index):
    """What the samples of one cluster have in common."""
    centre = points[index].mean(axis=0)
    nearest = np.argsort(np.linalg.norm(points[index] - centre, axis=1), kind="stable")[:10]
    labels, counts = np.unique(samples.end.predictions[:, index], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    frequent = counts[order] >= CONFUSABLE_SHARE * counts.sum()
    return FailureRegion(
        size=len(index),
        confusable=labels[order][frequent].tolist(),
        mean_divergence=float(samples.end.divergence[index].mean()),
        index=index,
        representatives=index[nearest],
    )


def _check(space, min_samples, eps):
    """Raise where a parameter of ``GeValDi.failure_regions`` is out of its range."""
    if space not in SPACES:
        raise ValueError(f"Got space={space!r}, but expected one of {('auto', *SPACES)}.")
    if not isinstance(min_samples, Integral) or min_samples < 2:
        raise ValueError(f"Got min_samples={min_samples!r}, but expected a whole number >= 2.")
    if eps is not None and (not isinstance(eps, Real) or not eps > 0):
        raise ValueError(f"Got eps={eps!r}, but expected a number > 0 or None.")
