"""Clusters of samples on which classifiers differ: the kinds of input they cannot settle."""

from dataclasses import dataclass
from numbers import Integral
from typing import Annotated, Literal

import numpy as np
from sklearn.cluster import HDBSCAN
from sklearn.utils._param_validation import Interval

from sklearn_ood._parameters import check_arguments

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


def find_regions(
    samples,
    generator,
    *,
    space: Literal["auto", "latent", "probability"],
    min_samples: Annotated[int, Interval(Integral, 2, None, closed="left")],
):
    """Clusters of samples, the largest first."""
    check_arguments(find_regions, locals())
    if space == "auto":
        one_space = getattr(generator, "conditional", False) or generator.n_classes_ == 1
        space = "latent" if one_space else "probability"
    points = samples.end.latents
    if space == "probability":
        points = np.sqrt(np.concatenate(list(samples.end.proba), axis=1))
    labels = cluster_labels(points, min_samples)
    kept = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    kept.sort(key=len, reverse=True)
    return [_region(samples, points, index) for index in kept]


def cluster_labels(points, min_samples):
    """Cluster of each point, -1 for noise."""
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
