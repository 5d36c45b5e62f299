"""Thresholds in a fixed order, each tested until one fails.

Rows come in parts (of a class, of a group, for one of several limits), each with thresholds of
its own. Rows of equal confidence are accepted together.
"""

import numpy as np

from sklearn_ood.selective._bounds import (
    STAKES,
    bet_p_values,
    largest_not_excluded,
    p_values,
    starts,
    upper_bound,
)


class Steps:
    """The thresholds of each part, from the strictest on: one between unequal confidences.

    Parameters
    ----------
    confidence : ndarray of shape (n_rows,)
    loss : ndarray of shape (n_rows,)
        Booleans, or numbers in [0, 1].
    weight : ndarray of shape (n_rows,), default=None
        In [0, 1].
    part : ndarray of int of shape (n_rows,), default=None
        All rows are of one part where it is None.

    Attributes
    ----------
    part, n_accepted, total, threshold : ndarray of shape (n_steps,)
        The part of each threshold, how many rows of it are accepted, and their total loss.
    """

    def __init__(self, confidence, loss, weight=None, part=None):
        part = np.zeros(len(confidence), dtype=int) if part is None else part
        order = np.lexsort((-confidence, part))
        ranked, self.of_row, self.loss = confidence[order], part[order], loss[order]
        self.weight = None if weight is None else weight[order]
        last_of_part = np.append(np.diff(self.of_row) > 0, True)
        self.end = np.flatnonzero(np.append(np.diff(ranked) != 0, True) | last_of_part)
        self.part = self.of_row[self.end]
        self.begin = np.searchsorted(self.of_row, self.part)
        self.n_accepted = self.end + 1 - self.begin
        self.total = self.sums(self.loss)
        refused = np.append(ranked, -np.inf)[self.end + 1]
        everything = last_of_part[self.end] | np.isneginf(refused)
        self.threshold = np.where(everything, -np.inf, np.nextafter(refused, np.inf))

    def sums(self, values, steps=slice(None)):
        """Over the rows that each of the steps accepts."""
        cumulated = np.zeros(
            (*values.shape[:-1], values.shape[-1] + 1),
            dtype=int if values.dtype == bool else float,
        )
        np.cumsum(values, axis=-1, out=cumulated[..., 1:])
        return cumulated[..., self.end[steps] + 1] - cumulated[..., self.begin[steps]]


class FixedSequences(Steps):
    """Tests of "the mean loss is above the limit of the part", from some starts of each on.

    Parameters
    ----------
    limit : ndarray of shape (n_parts,)
    delta : float in (0, 1)
        Probability that any threshold passes whose mean loss is above the limit.
    """

    def __init__(self, confidence, loss, weight, part, limit, delta):
        super().__init__(confidence, loss, weight, part)
        self.limit, self.delta = limit, delta
        counts = np.bincount(part, minlength=len(limit))
        level = delta / len(limit) / (1 if weight is None else len(STAKES))
        ranks, self.n_starts = starts(counts, limit, level)
        begins = np.repeat(np.cumsum(counts) - counts, self.n_starts)
        self.first = np.searchsorted(self.end, begins + ranks - 1)

    def p_values(self, limit, steps=slice(None)):
        """How likely so small losses are, were the mean loss the limit of the part or more."""
        if self.weight is None:
            return p_values(self.total[steps], self.n_accepted[steps], limit[self.part[steps]])
        of_row = limit[self.of_row]
        gain = self.weight * (of_row - self.loss) / (1 - of_row)
        return bet_p_values(lambda stakes: self.sums(np.log1p(stakes * gain), steps))

    def last_passed(self, at_least):
        """The last step of each part that passes, -1 where none, and the levels of tests.

        By Holm's correction: a part of which every step passes leaves its level to the others.
        """
        n_parts = n_open = len(self.n_starts)
        at, p_value = np.arange(len(self.part)), self.p_values(self.limit)
        from_first = at >= self.first[np.cumsum(self.n_starts) - self.n_starts][self.part]
        while True:
            levels = self.delta / n_open / self.n_starts
            passed = self._reached(p_value <= levels[self.part])
            still = np.unique(self.part[from_first & ~passed])
            if len(still) in (0, n_open):
                break
            n_open = len(still)
        chosen = np.full(n_parts, -1)
        kept = passed & (self.threshold >= at_least)
        np.maximum.at(chosen, self.part[kept], at[kept])
        return chosen, levels

    def bounds(self, steps, level):
        """Of some steps, no two of one part, what the mean loss exceeds with that probability.

        Parameters
        ----------
        steps : ndarray of int of shape (n_chosen,)
        level : ndarray of shape (n_chosen,)
        """
        if self.weight is None and self.loss.dtype == bool:
            return upper_bound(self.total[steps], self.n_accepted[steps], level)

        def excludes(tried):
            limit = self.limit.copy()
            limit[self.part[steps]] = tried
            return self.p_values(limit, steps) <= level

        limit = self.limit[self.part[steps]]
        passed = excludes(limit)
        return largest_not_excluded(
            excludes, np.where(passed, 0.0, limit), np.where(passed, limit, 1.0)
        )

    def _reached(self, passes):
        """Steps reached from a first one of their part by passing steps only."""
        at = np.arange(len(passes))
        started = np.full(len(passes), -1)
        started[self.first] = self.first
        failed = np.where(passes, np.searchsorted(self.part, self.part) - 1, at)
        return np.maximum.accumulate(started) > np.maximum.accumulate(failed)
