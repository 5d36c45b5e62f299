"""What all sources of outliers have in common."""

from abc import abstractmethod

import numpy as np
import torch
from sklearn.utils import check_array, check_random_state, check_X_y

from sklearn_ood._parameters import Parameterized
from sklearn_ood.nets._evaluation import Arrays


class OutlierSource(Parameterized):
    """A callable with parameters that makes outliers from data.

    A source defines ``__call__(X, y, n, random_state)``, which returns n rows.
    """

    def supply(self, net, data, n, random_state, as_inputs):
        """Function from a number to that many outliers on a net's device, of n made now.

        ``as_inputs`` makes inputs of the net of rows in the units of the data. Of a net that
        is being evaluated it draws those that it was not trained on.
        """
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
        rows, codes = data.in_distribution
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
    """A source that makes outliers from the data alone."""

    def __call__(self, X, y, n, random_state=None):
        """Draw n outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            In-distribution rows.
        y : array-like of shape (n_samples,) or None
            Their classes; None is one class.
        n : int
        random_state : int, RandomState or None, default=None

        Returns
        -------
        ndarray of shape (n, n_features)
        """
        self._validate_params()
        check_array(X, dtype=np.float32)  # whose range the outliers must not leave
        X, y = check_X_y(X, np.zeros(len(X)) if y is None else y, dtype=np.float64)
        codes = np.unique(y, return_inverse=True)[1]
        return self._make(X, codes, n, check_random_state(random_state))

    @abstractmethod
    def _make(self, X, codes, n, rng):
        """n outliers for rows in float64 of integer classes."""
