"""Where outliers come from: made from the data alone, or given."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import field
from numbers import Real
from typing import Annotated, Any

import numpy as np
import torch
from sklearn.utils import check_array, check_random_state, check_X_y
from sklearn.utils._param_validation import Interval

from sklearn_ood._parameters import NonNegative, Parameterized, Positive, called
from sklearn_ood.nets._evaluation import Arrays


class OutlierSource(Parameterized):
    """A callable ``(X, y, n, random_state) -> X_out`` with parameters."""

    def supply(self, net, data, n, random_state, as_inputs):
        """Function from a number to that many of n outliers, as inputs of the net."""
        rows = as_inputs(self.sample(data, n, random_state))
        n_unseen = int(net.unseen * len(rows))
        if n_unseen:
            rows = rows[check_random_state(random_state).permutation(len(rows))]
        bank = Arrays(rows, device=net.device)

        def draw(n):
            seen = net.module_.training or not n_unseen
            low, high = (n_unseen, len(bank)) if seen else (0, n_unseen)
            (rows,) = bank.batch(torch.randint(low, high, (n,)))
            return rows

        return draw

    def sample(self, data, n, random_state):
        """n outliers for :class:`TrainingData`, as flat rows of the same type, checked."""
        rows, codes, _ = data.known
        outliers = np.asarray(self(rows, data.classes[codes], n, random_state))
        if outliers.ndim < 2 or not len(outliers) or outliers[0].size != rows.shape[1]:
            raise ValueError(
                f"Got outliers of shape {outliers.shape} from {self}, but expected "
                f"({n}, {rows.shape[1]}): rows as wide as X."
            )
        outliers = outliers.reshape(len(outliers), -1).astype(rows.dtype)
        if not np.isfinite(outliers).all():
            raise ValueError(
                f"Got NaN or infinite outliers from {self}, but expected finite numbers."
            )
        return outliers


class MadeOutliers(OutlierSource):
    def __call__(self, X, y, n, random_state=None):
        """Draw n outliers, (n, n_features), for rows and their classes (None is one class).

        Parameters
        ----------
        X, y : array-like of shape (n_samples, n_features) and (n_samples,), or None
        n : int
        random_state : int, RandomState or None, default=None
        """
        self._validate_params()
        check_array(X, dtype=np.float32)  # whose range the outliers must not leave
        X, y = check_X_y(X, np.zeros(len(X)) if y is None else y, dtype=np.float64)
        codes = np.unique(y, return_inverse=True)[1]
        return self._make(X, codes, n, check_random_state(random_state))

    @abstractmethod
    def _make(self, X, codes, n, rng):
        """n outliers for rows in float64 of integer classes."""


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
    """Rows on the segments between rows of two classes [1]_.

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
                "Got outliers='given', but y has no row labelled ood_label; set it to the "
                "label of known outliers, or take outliers that are made, such as 'boundary'."
            )
        return np.asarray(self.rows)

    def sample(self, data, n, random_state):
        if self.rows is None:
            return GivenOutliers(data.outliers).sample(data, n, random_state)
        return super().sample(data, n, random_state)


class CallableOutliers(OutlierSource):
    """What a function ``(X, y, n, random_state) -> X_out`` makes."""

    function: Callable = field(kw_only=False)

    def __call__(self, X, y, n, random_state=None):
        return called("outliers", self.function, X, y, n, random_state)

    def __repr__(self, N_CHAR_MAX=700):
        return getattr(self.function, "__name__", type(self.function).__name__)


def mixup_rows(X, codes, n, low, rng):
    """n rows on segments between rows of two classes, each with a share of at least low."""
    by_class, sizes, start = grouped(codes)
    first = rng.randint(len(X), size=n)
    # The rows of another class follow those of the own, in a circle.
    own = sizes[codes[first]]
    others = len(X) - own
    if not others.all():
        raise ValueError("Got rows of one class, but rows between classes need two.")
    second = by_class[(start[codes[first]] + own + rng.randint(others)) % len(X)]
    share = rng.uniform(low, 1.0 - low, size=(n, 1))
    return share * X[first] + (1.0 - share) * X[second]


def grouped(codes):
    """Rows class by class, how many each class has, and where it begins."""
    sizes = np.bincount(codes)
    return np.argsort(codes, kind="stable"), sizes, np.cumsum(sizes) - sizes
