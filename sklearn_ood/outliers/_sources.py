"""Where outlier samples come from: made from the data alone, or given.

A source is a callable ``(X, y, n, random_state) -> X_out``; the classes here are such
callables with parameters, and a name stands for one with its defaults.
"""

from collections.abc import Callable
from dataclasses import field
from numbers import Real
from typing import Annotated, Any

import numpy as np
from sklearn.utils._param_validation import Interval

from sklearn_ood._parameters import NonNegative, Positive, called
from sklearn_ood.outliers._base import MadeOutliers, OutlierSource
from sklearn_ood.outliers._boundary import mixup_rows


class UniformOutliers(MadeOutliers):
    """Rows spread evenly over a box.

    Parameters
    ----------
    low, high : float or array-like of shape (n_features,), default=None
        Corners of the box; by default those of the data, moved out by ``margin``.
    margin : float, default=0.5
        Share of the data's range that a default box is wider by, on each side.

    Examples
    --------
    >>> from sklearn_ood import UniformOutliers
    >>> UniformOutliers(low=-50, high=50)([[0.0, 0.0], [1.0, 1.0]], [0, 1], 4, 0).shape
    (4, 2)
    """

    low: Any = field(default=None, kw_only=False)
    high: Any = field(default=None, kw_only=False)
    margin: NonNegative = 0.5

    def _make(self, X, codes, n, rng):
        smallest, largest = X.min(axis=0), X.max(axis=0)
        reach = self.margin * (largest - smallest)
        low = smallest - reach if self.low is None else self.low
        high = largest + reach if self.high is None else self.high
        if not np.all(np.less_equal(low, high)):
            raise ValueError(
                f"Got low={self.low!r} and high={self.high!r}, but expected low <= high in "
                "every feature (and where one is left out, on the data's side of it)."
            )
        return rng.uniform(low, high, size=(n, X.shape[1]))


class MixupOutliers(MadeOutliers):
    """Rows on the segments between rows of two classes.

    Parameters
    ----------
    low : float in (0, 0.5], default=0.2
        Least share that each of the two rows has.

    References
    ----------
    .. [1] H. Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.

    Examples
    --------
    >>> from sklearn_ood import MixupOutliers
    >>> MixupOutliers(low=0.5)([[0.0, 0.0], [1.0, 1.0]], ["a", "b"], 1, random_state=0)
    array([[0.5, 0.5]])
    """

    low: Annotated[float, Interval(Real, 0, 0.5, closed="right")] = 0.2

    def _make(self, X, codes, n, rng):
        return mixup_rows(X, codes, n, self.low, rng)


class NoiseOutliers(MadeOutliers):
    """Gaussian noise with the mean and the standard deviation of each feature.

    Parameters
    ----------
    scale : float > 0, default=1.0
        Multiplies the standard deviations.

    Examples
    --------
    >>> from sklearn_ood import NoiseOutliers
    >>> NoiseOutliers(scale=2.0)([[0.0, 5.0], [1.0, 5.0]], [0, 1], 3, 0)[:, 1]
    array([5., 5., 5.])
    """

    scale: Positive = 1.0

    def _make(self, X, codes, n, rng):
        noise = rng.normal(size=(n, X.shape[1]))
        return X.mean(axis=0) + self.scale * X.std(axis=0) * noise


class GivenOutliers(OutlierSource):
    """Rows that are known to be outliers.

    Parameters
    ----------
    rows : array-like of shape (n_outliers, n_features), default=None
        None takes the rows of y that are labelled ``ood_label``.

    Examples
    --------
    >>> from sklearn_ood import GivenOutliers
    >>> GivenOutliers([[9.0, 9.0]])([[0.0, 0.0], [1.0, 1.0]], [0, 1], 5)
    array([[9., 9.]])
    """

    rows: Any = field(default=None, kw_only=False)

    def __call__(self, X, y, n, random_state=None):
        """All given rows, however many are asked for."""
        if self.rows is None or not len(self.rows):
            raise ValueError(
                "Got outliers='given', but y has no row labelled ood_label; set ood_label to "
                "the label of the known outliers, or take outliers that are made, such as "
                "'boundary'."
            )
        return np.asarray(self.rows)

    def sample(self, data, n, random_state):
        """The given rows, or those of the data that are labelled as outliers."""
        if self.rows is None:
            return GivenOutliers(data.outliers).sample(data, n, random_state)
        return super().sample(data, n, random_state)


class CallableOutliers(OutlierSource):
    """What a function ``(X, y, n, random_state) -> X_out`` makes."""

    function: Callable = field(kw_only=False)

    def __call__(self, X, y, n, random_state=None):
        """Call the function."""
        return called("outliers", self.function, X, y, n, random_state)

    def __repr__(self, N_CHAR_MAX=700):
        return getattr(self.function, "__name__", type(self.function).__name__)
