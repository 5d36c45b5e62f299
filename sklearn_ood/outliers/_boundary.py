import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_array

from sklearn_ood._parameters import ClosedShare, Count, Share
from sklearn_ood.data._labels import class_means
from sklearn_ood.outliers._sources import MadeOutliers, grouped, mixup_rows

MAX_WALK = 40
# Rows that distances are measured to; from more rows this many are drawn.
MAX_REFERENCE = 10_000
GROWTH = 1.25
# Of the mean variance of the standardised columns: directions without get this much.
VARIANCE_FLOOR = 1e-3
# Least share of each of the two rows that a row between classes is made of.
BETWEEN_LOW = 0.2
# Share of the steps that go in any direction, not as the own class is scattered.
POOLED_SHARE = 0.2
# Share of the rows that say how far from the others a new row is.
HELD_OUT = 0.2
# Of the median distance between neighbours: what classes of equal rows have.
LEAST_DISTANCE = 1e-2


class BoundaryOutliers(MadeOutliers):
    """Rows outside the classes: all around each of them, far out, and between them.

    Vernekar et al. (see :class:`RejectClassifier`) ask for samples that cover the whole
    boundary and leave open how. Of the rows a share ``between`` is drawn on segments between
    rows of two classes, less those that are inside a class. The others start at a row and step
    as far and in such directions as its class is scattered, or in any direction; what is still
    inside goes on until it is out. A point is inside while its ``n_neighbors``-th nearest row
    is close for the class of the nearest one, in units of the class's median: as close as the
    share ``quantile`` is of a fifth of the rows, which the others have not seen. Distances are
    taken where the pooled scatter of the classes is white.

    Parameters
    ----------
    quantile : float in (0, 1), default=0.99
        Share of new rows that counts as inside. A small one lets outliers overlap the data,
        which ranked better on tables with classes left out; a large one is for where the
        decision at score 0 matters.
    n_neighbors : int, default=10
        Neighbours of the density estimate.
    scales : tuple (low, high), default=(0.5, 50.0)
        First steps, in standard deviations of the class, drawn log-uniformly: with a small
        ``high`` all rows are close to the classes, and a net may answer again far out.
    between : float in [0, 1], default=0.25
        Share of rows drawn between classes; 0 where there is one class.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood import BoundaryOutliers
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> outliers = BoundaryOutliers(between=0.0)(X, np.zeros(200), 50, random_state=0)
    >>> bool(np.linalg.norm(outliers, axis=1).min() > 1.0)
    True
    """

    quantile: Share = 0.99
    n_neighbors: Count = 10
    scales: tuple | list = (0.5, 50.0)
    between: ClosedShare = 0.25

    def _make(self, X, codes, n, rng):
        if not 0 < self.scales[0] <= self.scales[1]:
            raise ValueError(
                f"Got scales={self.scales!r}, but expected (low, high) with 0 < low <= high."
            )
        check_array(X, ensure_min_samples=2, estimator=self)
        region = _Region(X, codes, self, rng)
        n_between = round(self.between * n) if codes.max() else 0
        between = mixup_rows(X, codes, n_between, BETWEEN_LOW, rng)
        between = between[~region.contains(between)]
        around = region.walk_out(n - len(between), self.scales)
        return rng.permutation(np.concatenate([around, between]))


class _Region:
    """Where the rows are: inside is what is as close to them as rows held out are."""

    def __init__(self, X, codes, source, rng):
        self.X, self.codes, self.rng = X, codes, rng
        order = rng.permutation(len(X))
        n_held_out = min(int(HELD_OUT * len(X)), MAX_REFERENCE)
        held_out, known = order[:n_held_out], order[n_held_out:]
        self.to_white, self.from_white = within_class_whitening(X[known], codes[known])
        known = known[:MAX_REFERENCE]
        reference = X[known] @ self.to_white
        k = min(source.n_neighbors, len(reference) - 1)
        self.tree = NearestNeighbors(n_neighbors=k).fit(reference)
        own = self.tree.kneighbors()[0][:, -1]
        least = LEAST_DISTANCE * np.median(own[own > 0]) if own.any() else 1.0
        self.usual = np.maximum(median_of_class(own, codes[known])[codes[known]], least)
        judges = held_out if len(held_out) else known
        self.radius = np.quantile(self.distances(X[judges]), source.quantile)

    def distances(self, rows):
        """To the last of the neighbours, over what is usual in the class of the first."""
        distances, neighbors = self.tree.kneighbors(rows @ self.to_white)
        return distances[:, -1] / self.usual[neighbors[:, 0]]

    def contains(self, rows):
        return self.distances(rows) <= self.radius if len(rows) else np.zeros(0, dtype=bool)

    def walk_out(self, n, scales):
        """n rows outside: steps from random rows that grow until they are."""
        chosen = self.rng.randint(len(self.X), size=n)
        start, step = self.X[chosen], self._steps(self.codes[chosen])
        step *= np.exp(self.rng.uniform(*np.log(scales), size=(n, 1)))
        inside = np.arange(n)
        for _ in range(MAX_WALK):
            inside = inside[self.contains(start[inside] + step[inside])]
            step[inside] *= GROWTH
        return start + step

    def _steps(self, codes):
        """One standard deviation each: as the row's class is scattered, or in any direction."""
        # Whose difference has twice their covariance, whatever their number.
        first, second = (self._rows_of(codes) for _ in range(2))
        own = (self.X[first] - self.X[second]) / np.sqrt(2.0)
        lengths = np.linalg.norm(own @ self.to_white, axis=1, keepdims=True)
        pooled = self.rng.normal(size=own.shape)
        usual = np.linalg.norm(pooled, axis=1, keepdims=True)
        pooled *= np.where(lengths > 0, lengths, usual) / usual
        use_pooled = (self.rng.uniform(size=len(codes)) < POOLED_SHARE) | ~own.any(axis=1)
        return np.where(use_pooled[:, None], pooled @ self.from_white, own)

    def _rows_of(self, codes):
        by_class, sizes, start = grouped(self.codes)
        return by_class[start[codes] + self.rng.randint(sizes[codes])]


def within_class_whitening(X, codes):
    """Matrices to and from the space where the pooled scatter of the classes is white."""
    centered = X - class_means(X, codes)[codes]
    scale = centered.std(axis=0)
    scale[scale == 0] = 1.0
    centered /= scale
    variances, axes = np.linalg.eigh(centered.T @ centered / len(X))
    mean = variances.mean() if variances.mean() > 0 else 1.0
    roots = np.sqrt(np.maximum(variances, VARIANCE_FLOOR * mean))
    return (axes / roots) @ axes.T / scale[:, None], (axes * roots) @ axes.T * scale


def median_of_class(values, codes):
    """The (lower) median of the values of each class; of one without values, any number."""
    sizes = np.bincount(codes)
    return values[np.lexsort((values, codes))][np.cumsum(sizes) - sizes + (sizes - 1) // 2]
