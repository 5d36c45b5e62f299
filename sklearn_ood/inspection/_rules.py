"""Rules in the names of columns, for where something holds: the leaves of a shallow tree."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import _num_samples

from sklearn_ood.data._tables import TableColumns

MAX_DEPTH, MAX_CATEGORIES = 3, 30
LEAST_ROWS, LEAST_SHARE = 10, 0.02
# Rows that a tree is grown on, and numbers held at once where it is applied.
MAX_GROWN, MAX_NUMBERS = 50_000, 2**22
MISSING = -1


class Columns(NamedTuple):
    """A table as numbers, and what a rule can ask of it.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_columns)
        Numbers, and positions of categories; NaN for missing numbers.
    questions : list of (int, int or None, str, str or None)
        A column, the position of a category or None for the number itself, and the names of
        both.
    unread : list of str
        Columns that hold neither numbers nor categories.
    """

    values: np.ndarray
    questions: list
    unread: list

    @classmethod
    def of(cls, X):
        """Of a frame or an array; there is none to ask of sparse matrices and of texts."""
        values, questions, unread = [np.empty((_num_samples(X), 0))], [], []
        for name, part in _parts(X).items():
            try:
                found = TableColumns.of(part)
                read = found.read(part)
            except (TypeError, ValueError):
                unread.append(name)
                continue
            for column, levels in zip(read.T, found.levels, strict=True):
                place, codes = len(values) - 1, [(None, None)]
                if len(levels):
                    codes = [(MISSING, "missing"), *enumerate(levels[:MAX_CATEGORIES].tolist())]
                    column = np.where(np.isnan(column), MISSING, column)
                values.append(column[:, None])
                questions += [(place, code, name, level) for code, level in codes]
        return cls(np.hstack(values), questions, unread)

    def answers(self, rows):
        """What the questions have for answers in some rows: numbers, or whether 0 or 1."""
        places, codes, *_ = zip(*self.questions, strict=True)
        asked = np.array([np.nan if code is None else code for code in codes])
        taken = self.values[rows][:, places]
        return np.where(np.isnan(asked), taken, taken == asked)


def find_rules(columns, holds, grown, max_rules):
    """Rules, and which rows each describes: from a tree that tells some rows where it holds.

    Returns
    -------
    list of (str, ndarray of bool of shape (n_rows,))
        Every row is in one of them.
    """
    rows = np.flatnonzero(grown)[:MAX_GROWN]
    if max_rules == 1 or not columns.questions or len(np.unique(holds[rows])) < 2:
        return [("all rows", np.ones(len(holds), dtype=bool))]
    from sklearn.tree import DecisionTreeClassifier  # slow to import

    least = max(LEAST_ROWS, int(LEAST_SHARE * len(rows)))
    settings = {"max_leaf_nodes": max_rules, "min_samples_leaf": least, "random_state": 0}
    tree = DecisionTreeClassifier(max_depth=MAX_DEPTH, **settings)
    tree.fit(columns.answers(rows), holds[rows])
    size = max(1, MAX_NUMBERS // len(columns.questions))
    blocks = (slice(first, first + size) for first in range(0, len(holds), size))
    leaf = np.concatenate([tree.apply(columns.answers(block)) for block in blocks])
    return [(rule, leaf == node) for node, rule in _rules(tree.tree_, columns).items()]


def _parts(X):
    """Tables of one column, by its name; of an array x0, x1 and so on."""
    if hasattr(X, "columns"):
        return {str(name): X[[name]] for name in dict.fromkeys(X.columns)}
    if issparse(X) or np.ndim(X) < 2:
        return {}
    rows = np.asarray(X)
    rows = rows.reshape(len(rows), -1)
    return {f"x{j}": rows[:, [j]] for j in range(rows.shape[1])}


def _rules(tree, columns):
    """Of every leaf its rule: what each split above it asks, in words."""
    said, has_missing = {0: []}, np.isnan(columns.values).any(axis=0)
    for node in np.flatnonzero(tree.children_left >= 0):  # children come after their parent
        place, _, name, level = columns.questions[tree.feature[node]]
        for side, child in enumerate((tree.children_left[node], tree.children_right[node])):
            text = f"{name} {('<=', '>')[side]} {tree.threshold[node]:.4g}"
            if level is not None:
                text = f"{name} is {('not ', '')[side]}{level}"
            elif has_missing[place] and tree.missing_go_to_left[node] != side:
                text = f"({text} or missing)"
            said[child] = [*said[node], text]
    leaves = np.flatnonzero(tree.children_left < 0).tolist()
    return {leaf: " and ".join(said[leaf]) or "all rows" for leaf in leaves}
