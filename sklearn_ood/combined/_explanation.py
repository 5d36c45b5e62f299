"""Why a row looks strange: which member says so, which features, and what is expected."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils._missing import is_pandas_na

from sklearn_ood._optional import optional
from sklearn_ood.combined._reference import (
    apart,
    cells_replaced,
    columns_of,
    nearest,
    with_cells,
)

# Cells of rows with one feature replaced that are scored at once.
MAX_CELLS = 2**20
# Of the largest change; what is less fades beside it.
LEAST_PART = 0.1


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
    changes : pandas.DataFrame of shape (n_samples, n_features)
        Change of the logarithm of the row's p-value when the feature takes its ``expected``
        value: positive where the feature speaks against the row.
    rows : pandas.DataFrame of shape (n_samples, n_features)
    expected : pandas.DataFrame of shape (n_samples, n_features)
        Of each feature the value in the training row that has one and is nearest in all others.
    nearest : pandas.DataFrame of shape (n_samples, n_features)
        The nearest training row.

    Notes
    -----
    Near is Gower's distance, in which a value that is far off counts as one that differs.
    Two features that are strange together may both have a large change, or neither. A
    training row is its own nearest.

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
    rows: Any
    expected: Any
    nearest: Any

    def to_frame(self, max_features=3):
        """The summary, and in words the features that speak against each row.

        Parameters
        ----------
        max_features : int, default=3
            Name at most so many for a row, those with the largest changes, and none that has
            less than a tenth of the largest.

        Returns
        -------
        pandas.DataFrame of shape (n_samples, 5)
            In ``features`` each has its value, and in brackets the expected one.
        """
        named = (self.against(i, max_features)[0] for i in range(len(self.rows)))
        return self.summary.assign(features=list(map(", ".join, named)))

    def against(self, position, max_features=3):
        """What speaks against one row, the strongest first.

        Parameters
        ----------
        position : int
            Of the row, from 0.
        max_features : int, default=3

        Returns
        -------
        features : list of str
            Each with its value, and in brackets the expected one.
        changes : ndarray of shape (n_named,)
        """
        changes = self.changes.iloc[position].to_numpy()
        order = np.argsort(-changes, kind="stable")[:max_features]
        least = np.maximum(LEAST_PART * changes.max(), np.finfo(np.float64).tiny)
        order = order[changes[order] >= least]
        own, other = (frame.iloc[position] for frame in (self.rows, self.expected))
        names = self.rows.columns
        return [
            f"{names[j]} {_shown(own.iloc[j])} ({_shown(other.iloc[j])})" for j in order
        ], changes[order]


def explained(combined, reference, table):
    """The :class:`Explanation` of a table's rows by a fitted combination."""
    pd = optional("pandas", "An explanation", "table")
    own, known = reference.locate(table), reference.positions()
    in_all, but_one = nearest(own, known)
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
    """A cell in few digits."""
    if cell is None or is_pandas_na(cell) or cell != cell:
        return "missing"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
