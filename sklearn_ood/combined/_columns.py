"""Members that read a table column by column, in no unit."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.preprocessing import QuantileTransformer
from sklearn.utils import check_random_state
from sklearn.utils.extmath import randomized_svd
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_ood.combined._conformal import (
    constants,
    fit_tail,
    log_survival,
    n_below,
    namespace,
)
from sklearn_ood.data._labels import class_means
from sklearn_ood.detectors._linear import batched, projected
from sklearn_ood.detectors._neighbors import NeighborDistance

MAX_QUANTILES = 200
# Of more columns the widest directions alone are found.
MANY_COLUMNS, WIDEST = 1000, 200
# Of a direction, where a column has 1; and of a column, where the table has about 1.
LEAST_VARIANCE, LEAST_SPREAD = 0.01, 1e-5
FARTHEST = 1e100
# That the nearest row is looked for in.
MAX_CELLS = 500_000


class ColumnRanks(QuantileTransformer):
    """Standardised columns as shares of the training rows that lie below, in no unit."""

    def __init__(self, n_quantiles=MAX_QUANTILES, random_state=None):
        super().__init__(n_quantiles=n_quantiles, random_state=random_state)

    def transform(self, X):
        # Beyond all training rows they go on, or what is far would be near.
        shares, values = np.asarray(super().transform(X)), np.asarray(X)  # of any frame
        beyond = values - np.clip(values, self.quantiles_[0], self.quantiles_[-1])
        return shares + beyond / np.sqrt(12)


class ClassWhitening(TransformerMixin, BaseEstimator):
    """Directions in which the rows of a class spread alike, instead of columns."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y=None):
        X = validate_data(self, X, dtype=np.float64)
        codes = np.unique(np.zeros(len(X)) if y is None else y, return_inverse=True)[1]
        # Columns that tell the same count once, and what breaks their dependence is far.
        within = X - class_means(X, codes)[codes]
        spread = within.std(axis=0)
        scale = np.where(spread > LEAST_SPREAD, spread, 1.0)
        scaled = within / scale
        if X.shape[1] > MANY_COLUMNS:
            seed = check_random_state(self.random_state)
            _, singular, axes = randomized_svd(scaled, WIDEST, random_state=seed)
            variances, axes = singular**2 / len(X), axes.T
        else:
            variances, axes = np.linalg.eigh(scaled.T @ scaled / len(X))
        self.axes_ = axes / np.sqrt(variances.clip(min=LEAST_VARIANCE)) / scale[:, None]
        return self

    def transform(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False).clip(-FARTHEST, FARTHEST)
        return batched(lambda batch: projected(batch, self.axes_.T), X, is_aligned=True)


class NearestRow(NeighborDistance):
    """Distance to the nearest training row, whatever its class: one search for all."""

    def fit(self, X, y=None):
        return super().fit(X)

    def _remembered(self, codes):
        most = min(self.max_samples, max(1, MAX_CELLS // self.n_features_in_))
        kept = check_random_state(self.random_state).permutation(len(codes))[:most]
        return slice(None) if len(codes) <= most else kept


class ExtremeColumn(BaseEstimator):
    """How far out in its column the most extreme number of a row lies."""

    def __init__(self, max_samples=10_000, random_state=None):
        self.max_samples = max_samples
        self.random_state = random_state

    def fit(self, X, y=None):
        X = validate_data(self, X, dtype=np.float64)
        order = check_random_state(self.random_state).permutation(len(X))
        columns = X[order[: self.max_samples]].T
        # Both sides, ascending, and the start, scale and shape of each one's lower tail.
        self.columns_ = np.sort(np.stack([columns, -columns]))
        tails = [[fit_tail(column) for column in side] for side in self.columns_]
        self.tails_ = np.moveaxis(np.array(tails), 2, 0)
        return self

    def score_samples(self, X):
        """Logarithm of the least tail share, (n_samples,), at most 0."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return least_share(self.columns_, self.tails_, X)


def least_share(columns, tails, X):
    """Logarithm of the least share of columns, and of their negatives, that lies as far out."""
    xp = namespace(X)
    known, tails = columns.reshape(-1, columns.shape[-1]), tails.reshape(3, -1)
    values = xp.concatenate([X, -X], axis=1)
    lowest, one, size = constants(X, known[:, 0], 1, known.shape[1])
    log_share = xp.log((one + n_below(known, values)) / (one + size))
    beyond = log_survival(xp.minimum(values, lowest), *tails) - log_survival(lowest, *tails)
    return xp.clip(xp.amin(log_share + beyond, axis=1), None, 0)
