from dataclasses import field

import numpy as np
from scipy.spatial import cKDTree
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches

from sklearn_ood._parameters import Count, RandomState, fitted
from sklearn_ood._response import log_softmax
from sklearn_ood.base import OODClassifier
from sklearn_ood.data._labels import some_of_each_class

# What is farther from the training rows is this far, so that no square overflows.
FARTHEST = 1e150
# Held at once, to measure the distances that were found.
MAX_DIFFERENCES = 2**22
# In more features a tree is no faster than all distances.
MAX_TREE_FEATURES, LEAF_SIZE = 20, 32


class NeighborDistance(OODClassifier):
    """Distance to the nearest training rows of each class.

    Parameters
    ----------
    n_neighbors : int >= 1, default=1
        The evidence for a class is minus the distance to this neighbour among its rows, or
        to the last one of a class with fewer.
    max_samples : int >= 1 or None, default=None
        Remember at most this many training rows, drawn at random, but one of every class at
        least. Time and memory of scoring are proportional to it.

    Attributes
    ----------
    neighbors_ : list of scipy.spatial.cKDTree or sklearn.neighbors.NearestNeighbors
        What searches, one a class: a tree, or by brute force in more than 20 features.
    rows_ : list of ndarray
        The rows remembered, less ``centre_``; one array a class.
    centre_, scale_ : ndarray of shape (n_features,), and float
        Mean of the rows remembered, and the root of their total variance.

    Notes
    -----
    ``score_samples`` is the evidence of the nearest class, at most 0, in the units of X:
    scale the features first. ``predict_proba`` is the softmax of the evidence divided by
    ``scale_``, not calibrated.

    Examples
    --------
    >>> from sklearn_ood import NeighborDistance
    >>> detector = NeighborDistance().fit([[0.0], [1.0], [7.0]], ["a", "a", "b"])
    >>> detector.score_samples([[1.5], [9.0]])
    array([-0.5, -2. ])
    >>> detector.class_score_samples([[1.5], [9.0]], ["b", "b"])
    array([-5.5, -2. ])
    """

    n_neighbors: Count = field(default=1, kw_only=False)
    max_samples: Count | None = None
    random_state: RandomState = None

    neighbors_: list = fitted()
    rows_: list = fitted()
    centre_: np.ndarray = fitted()
    scale_: float = fitted()

    _needs_labels = False

    def fit(self, X, y=None, sample_weight=None):
        """Remember the training rows.

        Parameters
        ----------
        sample_weight : array-like of shape (n_samples,), default=None
            Rows of weight 0 are not remembered; the others count alike for distances, and by
            their weights for ``centre_`` and ``scale_``. Of several neighbours refused.
        """
        data = self._training_data(X, y, sample_weight)
        known = data.known
        rows, codes, weight = known.at(self._remembered(known.codes))
        if self.n_neighbors > 1 and weight is not None and (weight != 1).any():
            raise ValueError(
                f"Got sample_weight with n_neighbors={self.n_neighbors}, but neighbours are "
                "counted; leave the weights out, or take n_neighbors=1."
            )
        self.centre_ = _mean(rows, weight)
        rows = self._centred(rows)
        self.rows_ = [rows[codes == code] for code in range(len(data.classes))]
        self.neighbors_ = list(map(_searched, self.rows_))
        variance = rows.var(axis=0) if weight is None else _mean(rows**2, weight)
        self.scale_ = float(np.sqrt(variance.sum())) or 1.0
        self.classes_ = data.classes
        return self

    def _evidence(self, rows):
        rows = self._centred(rows)
        return -np.column_stack([self._distances(rows, k) for k in range(len(self.classes_))])

    def _log_proba(self, rows):
        return log_softmax(self._evidence(rows) / self.scale_)

    def _class_scores(self, rows, codes):
        rows, scores = self._centred(rows), np.empty(len(rows))
        for code in np.unique(codes):
            scores[codes == code] = -self._distances(rows[codes == code], code)
        return scores

    def _centred(self, rows):
        return np.clip(rows - self.centre_, -FARTHEST, FARTHEST)

    def _distances(self, rows, code):
        """To the last neighbour found, each row's by itself: the search rounds by batch."""
        n_neighbors = min(self.n_neighbors, len(self.rows_[code]))
        last = _neighbor(self.neighbors_[code], rows, n_neighbors)
        parts = gen_batches(len(rows), max(1, MAX_DIFFERENCES // rows.shape[1]))
        apart = (self.rows_[code][last[part]] - rows[part] for part in parts)
        distances = np.concatenate([np.linalg.norm(away, axis=1) for away in apart])
        return np.minimum(distances, FARTHEST)

    def _remembered(self, codes):
        if self.max_samples is None or len(codes) <= self.max_samples:
            return slice(None)
        return some_of_each_class(codes, self.max_samples, self.random_state)


def _mean(rows, weight):
    if weight is None:
        return rows.mean(axis=0, dtype=np.float64)
    return weight @ rows / weight.sum()


def _searched(rows):
    if rows.shape[1] <= MAX_TREE_FEATURES:
        return cKDTree(rows, leafsize=LEAF_SIZE)
    return NearestNeighbors(algorithm="brute").fit(rows)


def _neighbor(searched, rows, k):
    if isinstance(searched, cKDTree):
        return searched.query(rows, [k])[1][:, 0]
    return searched.kneighbors(rows, k, return_distance=False)[:, -1]
