"""The local outlier factor where rows are repeated."""

import numpy as np
from sklearn.neighbors import LocalOutlierFactor


class DistinctLocalOutlierFactor(LocalOutlierFactor):
    """scikit-learn's local outlier factor, of the distinct training rows.

    Where rows are repeated more often than there are neighbours, their density is infinite
    and all rows beside them seem outliers.
    """

    def fit(self, X, y=None):
        """Fit to every distinct row once; see ``sklearn.neighbors.LocalOutlierFactor``."""
        return super().fit(np.unique(X, axis=0))
