"""Why a row looks strange: which member says so, which features, and what is expected."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, gen_batches

from sklearn_ood._optional import optional
from sklearn_ood.data._tables import is_missing, positions_in

# Rows to hold others against.
MAX_ROWS = 5_000
# Of distances that are held at once.
MAX_DISTANCES = 2**21
MISSING = -1
# Cells of rows with one feature replaced that are scored at once.
MAX_CELLS = 2**20
# Of the strongest evidence; what is less fades beside it.
LEAST_PART = 0.1
# Rows that say what a cell is like beside the others, and how far alike cells lie apart.
N_NEAR, BANDWIDTH = 10, 0.3
# Of distances: rows that are less apart are equally near.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Explanation:
    """Why rows look strange, as frames with a line for each row and the index of X.

    Attributes
    ----------
    summary : pandas.DataFrame of shape (n_samples, 4)
        ``label``, the class that is named; ``p_value``; ``member``, the one with the smallest
        p-value; ``nearest_label``, the class of the nearest training row.
    members : pandas.DataFrame of shape (n_samples, n_members)
        Logarithm of each member's p-value: ``member_score_samples``.
    changes, evidence : pandas.DataFrame of shape (n_samples, n_features)
        Change of the logarithm of the row's p-value when the feature takes its ``expected``
        value, positive where the feature speaks against the row; and that, by which features
        are named, with how much rarer the row's value is beside its others than by itself.
    rows, expected, nearest : pandas.DataFrame of shape (n_samples, n_features)
        The rows; of each feature the value in the training row that has one and is nearest in
        all others; and the nearest training row, which of a training row is itself.

    Notes
    -----
    Near is Gower's distance, in which a value that is far off counts as one that differs. How
    rare a value is beside the others is the logarithm of how like it those of all training rows
    are, over how like those of the ten that are nearest in the other features, and at least 0:
    minus their pointwise mutual information, by nearest neighbours. Of a value unlike all, such
    as a new category, it is the logarithm of the number of rows. Two features that are strange
    together may both have a large change, or neither.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import CombinedClassifier, TableDensity
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = CombinedClassifier(members=[("density", TableDensity())], random_state=0)
    >>> found = model.fit(X, y).explain(X[:1].assign(**{"petal width (cm)": 20}))
    >>> found.to_frame().features.tolist()
    ['petal width (cm) 20 (0.2)']
    """

    summary: Any
    members: Any
    changes: Any
    evidence: Any
    rows: Any
    expected: Any
    nearest: Any

    def to_frame(self, max_features=3):
        """The summary, and in ``features`` those that speak against each row, in words.

        At most ``max_features``, those with the most evidence, and none that has less than a
        tenth of the most; each with its value, and in brackets the expected one.
        """
        named = (self.against(i, max_features)[0] for i in range(len(self.rows)))
        return self.summary.assign(features=list(map(", ".join, named)))

    def against(self, position, max_features=3):
        """Up to ``max_features``, in words, that speak against a row, and their evidence."""
        evidence = self.evidence.iloc[position].to_numpy()
        order = np.argsort(-evidence, kind="stable")[:max_features]
        least = np.maximum(LEAST_PART * evidence.max(), np.finfo(np.float64).tiny)
        order = order[evidence[order] >= least]
        own, other = (frame.iloc[position] for frame in (self.rows, self.expected))
        names = self.rows.columns
        said = [f"{names[j]} {_shown(own.iloc[j])} ({_shown(other.iloc[j])})" for j in order]
        return said, evidence[order]


def explained(combined, reference, table):
    """The :class:`Explanation` of a table's rows by a fitted combination."""
    pd = optional("pandas", "An explanation", "table")
    own, known = reference.locate(table), reference.positions()
    in_all, but_one, rarity = nearest(own, known)
    differs = apart(own, known[but_one, np.arange(own.shape[1])]) > 0
    changes = changes_of(combined.score_samples, table, reference, but_one, differs)
    rows = table
    if not hasattr(table, "iloc"):
        names = getattr(table, "columns", map("x{}".format, range(table.shape[1])))
        rows = pd.DataFrame(dict(enumerate(map(np.asarray, columns_of(table)))))
        rows = rows.set_axis(list(names), axis=1)
    members = list(combined.members_)
    log_p = pd.DataFrame(combined.member_score_samples(table), rows.index, members)
    labels, _, p_values, _ = combined.answers_and_p_values(table)
    summary = {
        "label": labels,
        "p_value": p_values,
        "member": np.array(members, dtype=object)[log_p.to_numpy().argmin(axis=1)],
        "nearest_label": reference.labels[in_all],
    }
    return Explanation(
        summary=pd.DataFrame(summary, rows.index),
        members=log_p,
        changes=pd.DataFrame(changes, rows.index, rows.columns),
        evidence=pd.DataFrame(changes + rarity * differs, rows.index, rows.columns),
        rows=rows,
        expected=_from_reference(rows, reference, but_one),
        nearest=_from_reference(rows, reference, in_all[:, None]),
    )


def changes_of(log_p, table, reference, donors, differs):
    """Change of each row's log p with one feature as in a donor, where it differs."""
    changes, before = np.zeros(differs.shape), log_p(table)
    rows, columns = np.nonzero(differs)
    size = max(1, MAX_CELLS // differs.shape[1])
    for start in range(0, len(rows), size):
        row, column = rows[start : start + size], columns[start : start + size]
        swapped = cells_replaced(table, row, column, reference, donors[row, column])
        changes[row, column] = log_p(swapped) - before[row]
    return changes


def _from_reference(rows, reference, donors):
    """A frame like another, with cells of the reference: a donor a row, or a cell."""
    for j, donor in enumerate(np.broadcast_to(donors, rows.shape).T):
        rows = with_cells(rows, j, slice(None), reference.cells(j, donor))
    return rows


def _shown(cell):
    if is_missing(cell):
        return "missing"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


@dataclass(frozen=True)
class ReferenceRows:
    """Some rows of a table with columns of any kind, and their labels."""

    values: list  # of each column its distinct cells: ascending numbers in an array, or a list
    codes: np.ndarray  # of each cell its place among them, -1 where it is missing
    labels: np.ndarray

    @classmethod
    def sampled(cls, table, labels, places, seed):
        """Of the rows at some places as many as are kept, drawn at random."""
        kept = np.random.RandomState(seed).permutation(places)[:MAX_ROWS]
        return cls.of(_safe_indexing(table, kept), labels[kept])

    @classmethod
    def of(cls, table, labels):
        found = [_distinct(_cells(column)) for column in columns_of(table)]
        values, codes = zip(*found, strict=True)
        return cls(list(values), np.column_stack(codes), labels)

    def positions(self):
        """What the rows are compared by (n_rows, n_features): NaN is missing."""
        # The share of these rows below a number, with half of those that equal it; the place
        # of any other cell in values.
        columns = (np.append(self._levels(j), np.nan)[c] for j, c in enumerate(self.codes.T))
        return np.column_stack(list(columns))

    def locate(self, table):
        columns = enumerate(map(_cells, columns_of(table)))
        return np.column_stack([self._place(j, cells) for j, cells in columns])

    def cells(self, column, rows):
        """Cells of a column in some of these rows: an array of numbers, or of objects."""
        values, codes = self.values[column], self.codes[rows, column]
        if isinstance(values, np.ndarray):
            return np.append(values, np.nan)[codes]
        return np.array([*values, None], dtype=object)[codes]

    def _levels(self, j):
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
        return positions_in(values, _without_nan(cells))


def nearest(positions, known):
    """Which known row is nearest, in all columns and in all but one, and how rare cells are."""
    in_all = np.empty(len(positions), dtype=np.int64)
    but_one, rarity = np.empty(positions.shape, dtype=np.int64), np.empty(positions.shape)
    last, like_none = min(N_NEAR, len(known)) - 1, np.log(len(known))
    size = max(1, MAX_DISTANCES // len(known))
    for part in gen_batches(len(positions), size):
        columns = list(zip(positions[part].T[..., None], known.T, strict=True))
        total = sum(apart(*column) for column in columns)
        in_all[part] = total.argmin(axis=1)
        for j, column in enumerate(columns):
            cells = apart(*column)
            others = total - cells
            # Of those whose cell in this column is not missing.
            but_one[part, j] = (others + len(columns) * np.isnan(known[:, j])).argmin(axis=1)
            near = others < np.partition(others, last, axis=1)[:, last : last + 1] + ROUNDING
            like = 1 / (cells + BANDWIDTH)
            lift = np.log(like.mean(axis=1) / np.average(like, axis=1, weights=near))
            rarity[part, j] = np.where(cells.min(axis=1) < 1, np.maximum(lift, 0), like_none)
    return in_all, but_one, rarity


def apart(positions, others):
    """Distances of cells, at most 1: of what is missing in one alone 1, in both 0."""
    # Gower, "A general coefficient of similarity and some of its properties", Biometrics 1971.
    distances = np.minimum(np.abs(positions - others), 1.0)
    if not np.isnan(distances).any():
        return distances
    one_is_missing = np.isnan(positions) != np.isnan(others)
    return np.where(np.isnan(distances), one_is_missing, distances)


def cells_replaced(table, rows, columns, reference, donors):
    """Rows of a table, each with the cell of one column taken from a row of the reference."""
    table = _safe_indexing(table, rows)
    for j in np.unique(columns).tolist():
        mask = columns == j
        table = with_cells(table, j, mask, reference.cells(j, donors[mask]))
    return table


def columns_of(table):
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
        cells = dict.fromkeys(_without_nan(objects))
        new = [cell for cell in cells if cell not in {None, *known}]
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
    return [None if is_missing(cell) else cell for cell in cells]


def _distinct(cells):
    if isinstance(cells, list):
        values = [cell for cell in dict.fromkeys(cells) if cell is not None]
        place = {value: code for code, value in enumerate(values)} | {None: MISSING}
        return values, np.array([place[cell] for cell in cells], dtype=np.int32)
    values, codes = np.unique(cells, return_inverse=True)
    values = values[~np.isnan(values)]
    return values, np.where(np.isnan(cells), MISSING, codes).astype(np.int32)
