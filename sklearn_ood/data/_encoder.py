"""Numbers in place of a table: standardised ones, and an indicator for each category."""

from dataclasses import dataclass, field

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from sklearn_ood._parameters import Parameterized, Positive, fitted
from sklearn_ood.data._tables import TableColumns, read_table, takes_tables

MAX_INDICATORS = 32
# Of a standardised number: what reads it may hold it in single precision, or square it.
FARTHEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Indicators:
    """Numbers of like spread in place of a table that was read: for distances and products.

    A number is standardised, and 0 where it is missing. A category is 1 in the column that
    stands for it; so is a missing cell, where some were missing at first.

    Attributes
    ----------
    numbers : ndarray of int
        Positions of the columns that hold numbers.
    centre, scale : ndarray of float
        Their means and standard deviations.
    columns, codes : ndarray of int
        Column and category of each indicator; the code of a missing cell is -1.
    """

    numbers: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    columns: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, rows, is_category):
        """Indicators for rows as :func:`read_table` gives them."""
        missing = np.isnan(rows)
        present = ~missing.all(axis=0)
        numbers = np.flatnonzero(present & ~is_category)
        codes = np.where(missing, -1.0, rows)
        marked = [(j, _common(codes[:, j])) for j in np.flatnonzero(present & is_category)]
        marked += [(j, [-1]) for j in numbers if missing[:, j].any()]
        owner = np.repeat([j for j, _ in marked], [len(each) for _, each in marked])
        code = np.concatenate([np.empty(0), *(each for _, each in marked)])
        centre, spread = (
            np.nanmean(rows[:, numbers], axis=0),
            np.nanstd(rows[:, numbers], axis=0),
        )
        scale = np.where(spread > 0, spread, 1.0)
        return cls(numbers, centre, scale, owner.astype(np.int64), code.astype(np.int64))

    def encode(self, rows):
        """The rows, standardised numbers first, as (n_samples, n_columns) in float64."""
        numbers = np.nan_to_num((rows[:, self.numbers] - self.centre) / self.scale)
        numbers = numbers.clip(-FARTHEST, FARTHEST)
        codes = np.nan_to_num(rows[:, self.columns], nan=-1.0)
        return np.hstack([numbers, codes == self.codes])


def _common(codes):
    """The most frequent of some codes, without those of a single row."""
    values, counts = np.unique(codes, return_counts=True)
    frequent = np.argsort(-counts, kind="stable")[:MAX_INDICATORS]
    return values[frequent[counts[frequent] > 1]]


class TableEncoder(TransformerMixin, Parameterized):
    """Numbers of like spread in place of a table: for densities, neighbours and networks.

    A column of numbers is standardised, and 0 where it is missing. A column of categories
    becomes one indicator for each of its 32 most frequent ones, and one for a missing cell
    where training rows had several; a category that is new, or that a single training row
    had, has no indicator: such a row lies between the others, not infinitely far.

    Parameters
    ----------
    indicator_scale : float > 0, default=1.0
        What an indicator is where it is not 0, in standard deviations of the numbers.

    Attributes
    ----------
    columns_ : TableColumns
        Kind of each column, and its categories.
    indicators_ : Indicators
        Means and standard deviations, and what each indicator stands for.
    n_features_in_ : int

    See Also
    --------
    TableClassifier, TableDensity : Take tables as they are.

    Notes
    -----
    A column is taken for categories where it is text, boolean or declared so, and else for
    numbers. Columns without any value are left out; dates are refused.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_ood import TableEncoder
    >>> frame = pd.DataFrame({"size": [1.0, 3.0, None, 2.0], "colour": ["r", "g", "r", "g"]})
    >>> encoder = TableEncoder().set_output(transform="pandas")
    >>> encoder.fit_transform(frame).columns.tolist()
    ['size', 'colour_g', 'colour_r', 'size_missing']
    """

    indicator_scale: Positive = field(default=1.0, kw_only=False)

    columns_: TableColumns = fitted()
    indicators_: Indicators = fitted()

    def fit(self, X, y=None):
        """Learn the kinds of the columns, their spread and their categories.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        self
        """
        self._validate_params()
        rows = read_table(self, X, reset=True)
        self.indicators_ = Indicators.of(rows, self.columns_.is_category)
        return self

    def transform(self, X):
        """The table as numbers.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)

        Returns
        -------
        ndarray or frame of shape (n_samples, n_features_out), float64
        """
        check_is_fitted(self)
        encoded = self.indicators_.encode(read_table(self, X, reset=False))
        encoded[:, len(self.indicators_.numbers) :] *= self.indicator_scale
        return encoded

    def get_feature_names_out(self, input_features=None):
        """Names of what ``transform`` gives: "<column>", "<column>_<category>".

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns, where fit was given none.

        Returns
        -------
        ndarray of str objects
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        learned, levels = self.indicators_, self.columns_.levels
        marked = zip(learned.columns.tolist(), learned.codes.tolist(), strict=True)
        marks = [f"{names[j]}_{[*levels[j], 'rare', 'missing'][code]}" for j, code in marked]
        return np.array([*names[learned.numbers], *marks], dtype=object)

    def __sklearn_tags__(self):
        return takes_tables(super().__sklearn_tags__())
