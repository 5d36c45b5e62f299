"""What all sources of outliers have in common."""

import numpy as np
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from sklearn_ood._parameters import Parameterized
from sklearn_ood.outliers._training import Bank


class OutlierSource(Parameterized):
    """A callable with parameters that makes outliers from data.

    A source defines ``__call__(X, y, n, random_state)``, which returns n rows.
    """

    def supply(self, net, data, n, random_state):
        """Where a net in training draws its outliers from: n rows that are made now.

        Parameters
        ----------
        net : OutlierNet
        data : TrainingData
        n : int
        random_state : int or RandomState

        Returns
        -------
        callable
            From a number to that many outliers, on the device of the net.
        """
        return Bank(self.sample(data, n, random_state), net.device)

    def sample(self, data, n, random_state):
        """n outliers, checked.

        Parameters
        ----------
        data : TrainingData
        n : int
        random_state : int or RandomState

        Returns
        -------
        ndarray of shape (n_outliers, n_features), float32

        Raises
        ------
        ValueError
            If there are none, or they have the wrong width or values that are not finite.
        """
        rows, codes = data.in_distribution
        outliers = np.asarray(self(rows, data.classes[codes], n, random_state))
        if outliers.ndim < 2 or not len(outliers) or outliers[0].size != rows.shape[1]:
            raise ValueError(
                f"Got outliers of shape {outliers.shape} from {self}, but expected "
                f"({n}, {rows.shape[1]}): rows as wide as X."
            )
        outliers = outliers.reshape(len(outliers), -1).astype(np.float32)
        if not np.isfinite(outliers).all():
            raise ValueError(
                f"Got NaN or infinite outliers from {self}, but expected finite numbers."
            )
        return outliers


def rows_and_codes(X, y):
    """Rows in float64 and integer classes, checked, for a source of outliers.

    Examples
    --------
    >>> from sklearn_ood.outliers._base import rows_and_codes
    >>> rows_and_codes([[1, 2], [3, 4]], ["b", "a"])
    (array([[1., 2.],
           [3., 4.]]), array([1, 0]))
    """
    check_array(X, dtype=np.float32)  # whose range the outliers must not leave
    X = check_array(X, dtype=np.float64)
    if y is None:
        return X, np.zeros(len(X), dtype=np.int64)
    y = column_or_1d(y)
    check_consistent_length(X, y)
    return X, np.unique(y, return_inverse=True)[1]
