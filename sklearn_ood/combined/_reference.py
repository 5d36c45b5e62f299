"""Training rows to hold others against: the nearest of them, and cells taken from it."""

from dataclasses import dataclass
from numbers import Real

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils._missing import is_pandas_na

MAX_ROWS = 5_000
# Of distances that are held at once.
MAX_DISTANCES = 2**21
MISSING = -1


@dataclass(frozen=True)
class ReferenceRows:
    """Some rows of a table with columns of any kind, and their labels.

    Attributes
    ----------
    values : list of ndarray or list
        Of each column the distinct cells: an ascending array of numbers, else a list.
    codes : ndarray of int of shape (n_rows, n_features)
        Place of each cell in ``values``, -1 where it is missing.
    labels : ndarray of shape (n_rows,)

    Notes
    -----
    The distance of two rows is Gower's [1]_, the sum over columns of at most 1: of numbers the
    share of these rows that lie between, of others 1 where they differ; 1 where one of the two
    is missing. So a column that is far off weighs no more than one that differs.

    References
    ----------
    .. [1] J. Gower, "A general coefficient of similarity and some of its properties",
       Biometrics 1971.
    """

    values: list
    codes: np.ndarray
    labels: np.ndarray

    @classmethod
    def sampled(cls, table, labels, places, seed):
        """Of the rows at some places as many as are kept, drawn at random."""
        kept = np.random.RandomState(seed).permutation(places)[:MAX_ROWS]
        return cls.of(_safe_indexing(table, kept), labels[kept])

    @classmethod
    def of(cls, table, labels):
        """The rows of an array or a frame."""
        found = [_distinct(_cells(column)) for column in columns_of(table)]
        return cls(
            [values for values, _ in found], np.column_stack([c for _, c in found]), labels
        )

    def positions(self):
        """What the rows are compared by (n_rows, n_features): NaN is missing.

        The share of these rows below a number, with half of those that equal it; the place of
        any other cell in ``values``.
        """
        columns = (np.append(self._levels(j), np.nan)[c] for j, c in enumerate(self.codes.T))
        return np.column_stack(list(columns))

    def locate(self, table):
        """Positions of the rows of another table."""
        columns = enumerate(map(_cells, columns_of(table)))
        return np.column_stack([self._place(j, cells) for j, cells in columns])

    def cells(self, column, rows):
        """Cells of a column in some of these rows: an array of numbers, or of objects."""
        values, codes = self.values[column], self.codes[rows, column]
        if isinstance(values, np.ndarray):
            return np.append(values, np.nan)[codes]
        return np.array([*values, None], dtype=object)[codes]

    def _levels(self, j):
        """Position of each distinct cell of a column."""
        values, codes = self.values[j], self.codes[:, j]
        if not isinstance(values, np.ndarray):
            return np.arange(len(values), dtype=np.float64)
        counts = np.bincount(codes[codes != MISSING], minlength=len(values))
        return (np.cumsum(counts) - counts / 2) / max(counts.sum(), 1)

    def _place(self, j, cells):
        """Positions of cells of a column, read in the way of its known ones."""
        values = self.values[j]
        if isinstance(values, np.ndarray):
            cells = np.asarray(cells, dtype=np.float64)
            return np.interp(cells, values, self._levels(j), 0, 1) if len(values) else 0 * cells
        place = {value: code for code, value in enumerate(values)} | {None: np.nan}
        return np.array([place.get(cell, len(values)) for cell in _without_nan(cells)])


def nearest(positions, known):
    """Which known row, the first of equals, is nearest: in all columns, and in all but one.

    Parameters
    ----------
    positions : ndarray of shape (n_samples, n_features)
    known : ndarray of shape (n_known, n_features)

    Returns
    -------
    in_all : ndarray of int of shape (n_samples,)
    but_one : ndarray of int of shape (n_samples, n_features)
        The nearest in the other columns, of those whose cell in this one is not missing.
    """
    in_all = np.empty(len(positions), dtype=np.int64)
    but_one = np.empty(positions.shape, dtype=np.int64)
    size = max(1, MAX_DISTANCES // len(known))
    for start in range(0, len(positions), size):
        part = slice(start, start + size)
        columns = list(zip(positions[part].T[..., None], known.T, strict=True))
        total = sum(apart(*column) for column in columns)
        in_all[part] = total.argmin(axis=1)
        for j, column in enumerate(columns):
            farther = len(columns) * np.isnan(known[:, j])
            but_one[part, j] = (total - apart(*column) + farther).argmin(axis=1)
    return in_all, but_one


def apart(positions, others):
    """Distances of cells, at most 1: of what is missing in one alone 1, in both 0."""
    distances = np.minimum(np.abs(positions - others), 1.0)
    if not np.isnan(distances).any():
        return distances
    one_is_missing = np.isnan(positions) != np.isnan(others)
    return np.where(np.isnan(distances), one_is_missing, distances)


def cells_replaced(table, rows, columns, reference, donors):
    """Rows of a table, each with the cell of one column taken from a row of the reference.

    Parameters
    ----------
    table : ndarray or frame of shape (n_samples, n_features)
    rows, columns, donors : ndarray of int of shape (n_replaced,)
        Which row it is, which column of it, and the row of the reference.
    reference : ReferenceRows

    Returns
    -------
    ndarray or frame of shape (n_replaced, n_features)
    """
    table = _safe_indexing(table, rows)
    for j in np.unique(columns).tolist():
        mask = columns == j
        table = with_cells(table, j, mask, reference.cells(j, donors[mask]))
    return table


def columns_of(table):
    """The columns of an array or a frame, one after the other."""
    by_place = getattr(table, "iloc", table)
    return (by_place[:, j] for j in range(table.shape[1]))


def with_cells(table, j, mask, cells):
    """A table with some cells of one column set; an array is changed where it is."""
    if isinstance(table, np.ndarray):
        table[mask, j] = cells
        return table
    column = getattr(table, "iloc", table)[:, j]
    objects = np.array(column, dtype=object)
    objects[mask] = cells
    if not hasattr(table, "iloc"):
        column = type(column)(column.name, objects.tolist(), dtype=column.dtype, strict=False)
        return table.with_columns(column)
    table = table.copy(deep=False)
    table.isetitem(j, _as_in_pandas(column, objects))
    return table


def _as_in_pandas(column, objects):
    """Cells as a series of the type of another, or of one that holds them."""
    kind, dtype = type(column), column.dtype
    if hasattr(column, "cat"):
        known = set(dtype.categories)
        new = [
            cell for cell in dict.fromkeys(_without_nan(objects)) if cell not in {None, *known}
        ]
        dtype = type(dtype)([*dtype.categories, *new], dtype.ordered)
    try:
        return kind(objects, index=column.index, dtype=dtype)
    except (TypeError, ValueError):
        return kind(objects, index=column.index).infer_objects()


def _cells(column):
    """Cells of a column: float64 with NaN where they are numbers, else a list with None."""
    values = np.asarray(column)
    declared = str(getattr(column, "dtype", "")).lower().startswith(("cat", "enum"))
    if values.dtype.kind in "iuf" and not declared:
        return values.astype(np.float64)
    cells = _without_nan(list(values) if values.dtype.kind in "mM" else values.tolist())
    if declared or not all(map(_is_number_or_none, cells)):
        return cells
    return np.array(cells, dtype=np.float64)


def _is_number_or_none(cell):
    return cell is None or (isinstance(cell, Real) and not isinstance(cell, bool))


def _without_nan(cells):
    return [
        None if cell is None or is_pandas_na(cell) or cell != cell else cell for cell in cells
    ]


def _distinct(cells):
    """Distinct cells, and which of them each cell is."""
    if isinstance(cells, list):
        values = [cell for cell in dict.fromkeys(cells) if cell is not None]
        place = {value: code for code, value in enumerate(values)} | {None: MISSING}
        return values, np.array([place[cell] for cell in cells], dtype=np.int32)
    values, codes = np.unique(cells, return_inverse=True)
    values = values[~np.isnan(values)]
    return values, np.where(np.isnan(cells), MISSING, codes).astype(np.int32)
