"""Outliers just outside the classes, made from the data alone."""

from numbers import Real
from typing import Annotated

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils._param_validation import Interval

from sklearn_ood._parameters import Count, Share
from sklearn_ood.outliers._base import MadeOutliers

MAX_WALK = 40
GROWTH = 1.25
# Of the mean variance: directions without variance get this much.
VARIANCE_FLOOR = 1e-3
# Least share of each of the two rows that a row between classes is made of.
BETWEEN_LOW = 0.2
# Share of the steps that follow the pooled scatter, not that of the own class.
POOLED_SHARE = 0.2


class BoundaryOutliers(MadeOutliers):
    """Rows just outside the classes, all around each of them and between them.

    A share ``between`` of the rows lies on segments between rows of two classes. The others
    start at a row and step as far and in such directions as its class, or all classes
    together, are scattered; what is still inside goes on until it is out. A point is inside
    while its distance to the ``n_neighbors``-th nearest row is within the ``quantile`` of
    the same distance of the rows themselves (each without itself), in the space in which the
    pooled scatter of the classes is white.

    Parameters
    ----------
    quantile : float in (0, 1), default=0.95
        Share of the data that counts as inside. A small one lets outliers overlap the data,
        which ranked better on tables with classes left out; a tight boundary is for where
        the decision at score 0 matters.
    n_neighbors : int, default=10
        Neighbours of the density estimate.
    scales : tuple (low, high), default=(0.2, 2.0)
        First steps, in standard deviations of the class, drawn log-uniformly. A larger
        ``high``, such as 20, helps a confident net where unknown rows may lie far out.
    between : float in [0, 1], default=0.25
        Share of rows between classes.
    max_reference : int, default=10000
        Rows that distances are measured to; from more rows this many are drawn.

    References
    ----------
    .. [1] S. Vernekar et al., "Analysis of confident-classifiers for out-of-distribution
       detection", 2019: asks for samples that cover the whole boundary and leaves open how.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood import BoundaryOutliers
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> outliers = BoundaryOutliers(between=0.0)(X, np.zeros(200), 50, random_state=0)
    >>> outliers.shape
    (50, 2)
    >>> bool(np.linalg.norm(outliers, axis=1).min() > 1.0)
    True
    """

    quantile: Share = 0.95
    n_neighbors: Count = 10
    scales: tuple | list = (0.2, 2.0)
    between: Annotated[float, Interval(Real, 0, 1, closed="both")] = 0.25
    max_reference: Count = 10_000

    def _make(self, X, codes, n, rng):
        if not 0 < self.scales[0] <= self.scales[1]:
            raise ValueError(
                f"Got scales={self.scales!r}, but expected (low, high) with 0 < low <= high."
            )
        region = _Region(X, codes, self, rng)
        between = mixup_rows(
            X, codes, round(self.between * n) if codes.max() else 0, BETWEEN_LOW, rng
        )
        between = between[~region.contains(between)]
        around = region.walk_out(n - len(between), self.scales)
        return rng.permutation(np.concatenate([around, between]))


class _Region:
    """Where the rows are: inside is what is as close to them as they are to each other."""

    def __init__(self, X, codes, source, rng):
        self.X, self.codes, self.rng = X, codes, rng
        self.to_white, self.from_white = within_class_whitening(X, codes)
        chosen = rng.permutation(len(X))[: source.max_reference]
        k = min(source.n_neighbors, len(chosen) - 1)
        self.tree = NearestNeighbors(n_neighbors=k).fit(X[chosen] @ self.to_white)
        distances, _ = self.tree.kneighbors()
        self.radius = np.quantile(distances[:, -1], source.quantile)

    def contains(self, rows):
        if not len(rows):
            return np.zeros(0, dtype=bool)
        distances, _ = self.tree.kneighbors(rows @ self.to_white)
        return distances[:, -1] <= self.radius

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
        """One standard deviation: most of the steps as the row's own class is scattered.

        The difference of two random rows has twice their covariance, whatever their number.
        The other steps follow the pooled scatter, which has some variance in every direction.
        """
        first, second = (self._rows_of(codes) for _ in range(2))
        own = (self.X[first] - self.X[second]) / np.sqrt(2.0)
        pooled = self.rng.normal(size=own.shape) @ self.from_white
        use_pooled = (self.rng.uniform(size=len(codes)) < POOLED_SHARE) | ~own.any(axis=1)
        return np.where(use_pooled[:, None], pooled, own)

    def _rows_of(self, codes):
        """A random row of each of the classes."""
        by_class, sizes, start = _grouped(self.codes)
        return by_class[start[codes] + self.rng.randint(sizes[codes])]


def within_class_whitening(X, codes):
    """Matrices to and from the space where the pooled scatter of the classes is white.

    Both are symmetric. Directions of (nearly) no variance get ``VARIANCE_FLOOR`` of the mean
    one.
    """
    sizes = np.bincount(codes)
    means = np.zeros((len(sizes), X.shape[1]))
    np.add.at(means, codes, X)
    centered = X - (means / sizes[:, None])[codes]
    variances, axes = np.linalg.eigh(centered.T @ centered / len(X))
    mean = variances.mean() if variances.mean() > 0 else 1.0
    roots = np.sqrt(np.maximum(variances, VARIANCE_FLOOR * mean))
    return (axes / roots) @ axes.T, (axes * roots) @ axes.T


def mixup_rows(X, codes, n, low, rng):
    """n rows on segments between rows of two classes, each with a share of at least low."""
    by_class, sizes, start = _grouped(codes)
    first = rng.randint(len(X), size=n)
    # The rows of another class follow those of the own, in a circle.
    own = sizes[codes[first]]
    others = len(X) - own
    if not others.all():
        raise ValueError("Got rows of one class, but rows between classes need two.")
    second = by_class[(start[codes[first]] + own + rng.randint(others)) % len(X)]
    share = rng.uniform(low, 1.0 - low, size=(n, 1))
    return share * X[first] + (1.0 - share) * X[second]


def _grouped(codes):
    """Rows class by class, how many each class has, and where it begins."""
    sizes = np.bincount(codes)
    return np.argsort(codes, kind="stable"), sizes, np.cumsum(sizes) - sizes
