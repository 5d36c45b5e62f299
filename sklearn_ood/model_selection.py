"""Splitters that hold whole classes out, to tune for the unknown without outlier data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state, indexable

from sklearn_ood._parameters import Count, RandomState, Share, check_parameters, declare
from sklearn_ood.data._labels import OUTLIER, checked_labels, encode_labels, rank_in_class

__all__ = ["LeaveClassesOut"]

MIN_TRAINING_CLASSES = 2


def _choose_classes(n_classes, n_left_out, n_splits, random_state):
    """Rows of class numbers in which every class is left out equally often, up to one."""
    times = np.zeros(n_classes, dtype=int)
    chosen = np.empty((n_splits, n_left_out), dtype=int)
    for row in chosen:
        row[:] = np.lexsort((random_state.permutation(n_classes), times))[:n_left_out]
        times[row] += 1
    return chosen


def _stratified_test_rows(codes, test_size, random_state):
    """Mark the share test_size of every class of two rows or more, neither none nor all."""
    sizes = np.bincount(codes)
    n_test = np.clip(np.rint(test_size * sizes), 1, sizes - 1)
    order = np.argsort(random_state.permutation(len(codes)))
    in_test = np.empty(len(codes), dtype=bool)
    in_test[order] = rank_in_class(codes[order]) < n_test[codes[order]]
    return in_test


@declare
class LeaveClassesOut(BaseCrossValidator):
    """Folds whose test part holds classes that the training part never shows.

    The test part of a split is all rows of the classes left out, and a share of the rows of
    every other class; at least two classes stay in training. To a classifier fitted on the
    rest the left-out classes are unknown: a score that counts an answer to them as an error,
    as those of :mod:`sklearn_ood.metrics` do, tunes for the unknown without any outlier data.
    The test parts overlap and do not cover every row, as ``cross_val_predict`` would need.

    Parameters
    ----------
    n_out : int >= 1 or float in (0, 1), default=1
        Classes to leave out: their number, or their share (rounded, at least one).
    n_splits : int >= 1, default=5
        Over the splits, any two classes are left out equally often, up to one time: exactly
        with ``n_out * n_splits`` a multiple of the number of classes.
    test_size : float in (0, 1), default=0.3
        Share of each remaining class to test on, at least one row and never all of them,
        drawn anew for every split.
    ood_label : label, default=None
        Label of known outliers. They are no class to leave out and stay in training.
    random_state : int, RandomState instance or None, default=None
        Chooses classes and rows. Pass an int for the same splits at every call.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.model_selection import LeaveClassesOut
    >>> y = np.repeat(["cat", "cow", "dog", "emu"], 10)
    >>> X = np.zeros((40, 1))
    >>> splitter = LeaveClassesOut(n_splits=4, random_state=0)
    >>> unknown = [
    ...     sorted(set(y[test].tolist()) - set(y[train].tolist()))
    ...     for train, test in splitter.split(X, y)
    ... ]
    >>> sorted(unknown)
    [['cat'], ['cow'], ['dog'], ['emu']]
    """

    n_out: Count | Share = field(default=1, kw_only=False)
    n_splits: Count = field(default=5, kw_only=False)
    test_size: Share = 0.3
    ood_label: Any = None
    random_state: RandomState = None

    def split(
        self, X: ArrayLike, y: ArrayLike | None = None, groups: object = None
    ) -> Iterator[tuple[NDArray, NDArray]]:
        """Generate the indices of the training and test rows, ascending.

        A ValueError says where y is no class label, fewer than two classes would stay in
        training, or a class has a single row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Only its number of rows is read.
        y : array-like of shape (n_samples,)
            Class labels.
        groups : object
            Ignored, exists for compatibility.
        """
        check_parameters(vars(self), self._parameter_constraints, type(self).__name__)
        codes, classes = self._encode(indexable(X, y)[1])
        n_left_out = self._count_left_out(len(classes))
        known = np.flatnonzero(codes != OUTLIER)
        random_state = check_random_state(self.random_state)
        for left_out in _choose_classes(len(classes), n_left_out, self.n_splits, random_state):
            in_test = np.zeros(len(codes), dtype=bool)
            in_test[known] = np.isin(codes[known], left_out)
            in_test[known] |= _stratified_test_rows(codes[known], self.test_size, random_state)
            yield np.flatnonzero(~in_test), np.flatnonzero(in_test)

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Return the number of splits, whatever X, y and groups."""
        check_parameters(vars(self), self._parameter_constraints, type(self).__name__)
        return self.n_splits

    def _encode(self, y):
        """The code of each row and the classes, each of two rows at least."""
        y = checked_labels(self, y)
        codes, classes = encode_labels(y, self.ood_label, owner=type(self).__name__)
        single = classes[np.bincount(codes[codes != OUTLIER], minlength=len(classes)) < 2]
        if len(single):
            raise ValueError(
                f"Got y with a single row of the class {single.tolist()[0]!r}, but expected at "
                "least 2 of every class: one to train on and one to test on."
            )
        return codes, classes

    def _count_left_out(self, n_classes):
        n_out = self.n_out
        count = n_out if isinstance(n_out, Integral) else max(1, round(n_out * n_classes))
        if n_classes - count < MIN_TRAINING_CLASSES:
            raise ValueError(
                f"Got n_out={n_out!r} with {n_classes} classes in y, which leaves "
                f"{max(n_classes - count, 0)} to train on, but expected at least "
                f"{MIN_TRAINING_CLASSES} left. Take a smaller n_out or more classes."
            )
        return count
