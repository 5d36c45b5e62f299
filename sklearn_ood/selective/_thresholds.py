"""Thresholds on a confidence, and what they promise: pure functions.

A row is accepted where its confidence is at least the threshold. Rows of equal confidence
are accepted or refused together.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklearn_ood.selective._bounds import fewest, mean_bound, p_value, starts, upper_bound


@dataclass(frozen=True)
class Guarantee:
    """What a threshold promises on new rows like the calibration rows.

    Attributes
    ----------
    quantity : {"risk", "loss", "ood_acceptance"}
        What is at most ``limit``; "loss" is the risk of losses that were given.
    limit : float
        What was asked for.
    bound : float
        Upper confidence bound of the quantity at the threshold; at most ``limit``, or 1 where
        nothing could be promised, and nothing is accepted.
    delta : float
        The promise is broken with at most this probability, over calibration sets; of the
        promises for each class, any of them.
    n_samples : int
        Calibration rows used (for "ood_acceptance" the outliers among them; for a class those
        that are answered so).
    n_accepted : int
        Those of them that the threshold accepts.
    n_errors : int or float
        Accepted rows that count against the promise; with losses the sum of these.
    label : label, default=None
        The class of whose answers it is promised; None for all answers.
    """

    quantity: str
    limit: float
    bound: float
    delta: float
    n_samples: int
    n_accepted: int
    n_errors: float
    label: Any = None

    def __str__(self):
        of = "" if self.label is None else f" among the answers {self.label}"
        none = "" if self.n_accepted else ", by refusing all of them"
        return (
            f"{self.quantity} at most {self.limit:.2%}{of}{none}, with probability "
            f"{100 * (1 - self.delta):.4g}%, from {self.n_samples:,} rows"
        )


def coverage_threshold(confidence, coverage):
    """The largest threshold that accepts at least this share of the rows."""
    if not len(confidence):
        raise ValueError(
            "Got no in-distribution calibration rows, but coverage is counted on them; "
            "pass rows of the known classes."
        )
    n_accepted = int(np.ceil(coverage * len(confidence) - 1e-9))
    return float(np.sort(confidence)[::-1][max(n_accepted, 1) - 1])


def cost_threshold(confidence, loss, cost):
    """The threshold at which these rows cost least, where each refusal costs ``cost``.

    Chow's rule, with the confidence in the place of a probability. Of thresholds that cost
    the same, the one that accepts most.

    References
    ----------
    .. [1] C. K. Chow, "On optimum recognition error and reject tradeoff", 1970.
    """
    steps = _Steps(confidence, loss, np.zeros(len(confidence), dtype=int))
    saved = np.append(0, cost * steps.n_accepted - steps.total)
    most = np.flatnonzero(saved >= saved.max() - 1e-12 * len(confidence))[-1]
    return float(np.append(np.inf, steps.threshold)[most])


def risk_threshold(confidence, loss, risk, delta, at_least=-np.inf):
    """The threshold of most coverage whose selective risk is at most ``risk``.

    As selection with guaranteed risk (SGR, Geifman & El-Yaniv, 2017), with bounds that hold
    for any number of rows, tests few thresholds at a level of their own. SGR searches by
    bisection, where the next threshold to test depends on the same rows as the tests; here the
    order is fixed beforehand, which makes the promise exact: from each of J starts (the fewest
    rows that can pass, about twice as many ... all rows) coverage grows row by row as long as
    the bound at level delta / J stays below ``risk`` (fixed-sequence testing).

    Only thresholds from ``at_least`` on are chosen, whatever that was chosen by: the promise
    holds for all thresholds that pass at once. Returns the threshold and its Guarantee; where
    there is none, a ValueError has the best reachable bound.

    References
    ----------
    .. [1] Y. Geifman and R. El-Yaniv, "Selective classification for deep neural networks",
       NeurIPS 2017.
    .. [2] A. Angelopoulos et al., "Learn then test", 2021.
    """
    n_rows = len(confidence)
    tests = _Tests(confidence, loss, np.zeros(n_rows, dtype=int), 1, risk, delta)
    [chosen], [level] = tests.last_passed(at_least)
    if chosen >= 0:
        [promise] = tests.guarantees([chosen], [level], [n_rows], [None])
        return float(tests.threshold[chosen]), promise
    allowed = tests.threshold >= at_least
    tested = tests.first[allowed[tests.first]] if allowed[tests.first].any() else np.array([0])
    bounds = mean_bound(tests.total[tested], tests.n_accepted[tested], level)
    best = tested[bounds.argmin()]
    raise ValueError(
        f"No threshold can promise risk={risk} with delta={delta:.3g} from {n_rows} "
        f"calibration rows: the best reachable bound is {bounds.min():.3g}, accepting "
        f"{tests.n_accepted[best]} rows with {tests.total[best]:.4g} errors"
        f"{'' if allowed.all() else ' (ood_acceptance leaves no more)'}; ask for a larger "
        f"risk or delta, give more calibration rows (at least {fewest(risk, delta)}), or a "
        "better confidence."
    )


def class_risk_thresholds(confidence, loss, answer, labels, risk, delta, at_least=-np.inf):
    """For each class the threshold of most coverage with this risk among its answers.

    Each as :func:`risk_threshold`, all at once with probability ``1 - delta`` by Holm's
    correction: a class of which every threshold passes leaves its level to the others.
    Classes that too few rows are answered with are not tested and take no level: which answers
    there are says nothing of whether they are right.

    Returns the thresholds, +inf for classes of which nothing can be promised, and their
    Guarantees. Where that is every class, a ValueError says so.

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    .. [2] F. Bretz et al., "A graphical approach to sequentially rejective multiple test
       procedures", 2009.
    """
    counts = np.bincount(answer, minlength=len(labels))
    falling = np.argsort(-counts, kind="stable")
    enough = counts[falling] >= fewest(risk, delta / np.arange(1, len(counts) + 1))
    tested = np.sort(falling[: np.append(0, np.flatnonzero(enough) + 1)[-1]])
    place = np.full(len(labels), -1)
    place[tested] = np.arange(len(tested))
    thresholds = np.full(len(labels), np.inf)
    promises = [
        Guarantee("risk", risk, 1.0, delta, n_rows, 0, 0, label)
        for n_rows, label in zip(counts.tolist(), labels.tolist(), strict=True)
    ]
    if len(tested):
        rows = place[answer] >= 0
        own = confidence[rows], loss[rows], place[answer[rows]], len(tested)
        tests = _Tests(*own, risk, delta)
        chosen, levels = tests.last_passed(at_least)
        passed, codes = chosen >= 0, tested[chosen >= 0]
        thresholds[codes] = tests.threshold[chosen[passed]]
        of_each = chosen[passed], levels[passed], counts[codes], labels[codes].tolist()
        kept = {promise.label: promise for promise in tests.guarantees(*of_each)}
        promises = [kept.get(promise.label, promise) for promise in promises]
    if np.isposinf(thresholds).all():
        raise ValueError(
            f"No threshold can promise risk={risk} with delta={delta:.3g} for the answers of "
            f"any class: {len(tested)} of {len(labels)} classes are answered to enough of the "
            f"{len(answer)} calibration rows (the most are {counts.max()}, and it takes "
            f"{fewest(risk, delta)} without an error for one class alone); ask for a larger "
            "risk or delta, give more calibration rows, or a better confidence."
        )
    return thresholds, promises


def ood_threshold(confidence, ood_acceptance, delta):
    """The smallest threshold that new outliers pass with at most this probability.

    The share of outliers above the (k+1)-th largest of n has a Beta(k+1, n-k) distribution
    (smaller under ties), whatever theirs is; k is the largest that keeps the promise.
    A ValueError says how many outliers are needed, where there are too few to promise it.
    """
    n_rows = len(confidence)
    kept = np.flatnonzero(upper_bound(np.arange(n_rows), n_rows, delta) <= ood_acceptance)
    if not len(kept):
        best = float(upper_bound(0, n_rows, delta))
        raise ValueError(
            f"No threshold can promise ood_acceptance={ood_acceptance} with delta={delta:.3g} "
            f"from {n_rows} outlier rows: the best reachable bound is {best:.3g}; give at "
            f"least {fewest(ood_acceptance, delta)} outlier rows, or ask for a larger "
            "ood_acceptance or delta."
        )
    least = np.sort(confidence)[::-1][kept[-1]]
    if np.isposinf(least):
        raise ValueError(
            "Got outliers with a confidence of +inf, which no threshold refuses; pass finite "
            "numbers."
        )
    threshold = float(np.nextafter(least, np.inf))
    n_accepted = int((confidence >= threshold).sum())
    bound = float(upper_bound(n_accepted, n_rows, delta))
    counts = n_rows, n_accepted, n_accepted
    return threshold, Guarantee("ood_acceptance", ood_acceptance, bound, delta, *counts)


def chosen_threshold(
    confidence,
    loss,
    outlier,
    calibrating,
    *,
    delta,
    quantity="risk",
    answer=None,
    labels=None,
    **limits,
):
    """The threshold of a coverage or a cost, or that which keeps one promise or both.

    Parameters
    ----------
    confidence : ndarray of shape (n_samples,)
        Of rows that trained nothing.
    loss : ndarray of shape (n_samples,)
        Whether answering would be wrong, or how costly, in [0, 1].
    outlier : ndarray of bool of shape (n_samples,)
        The rows that the outliers' acceptance is counted on; the others count for coverage.
    calibrating : ndarray of bool of shape (n_samples,)
        Rows as new ones come, outliers in their proportion: what the risk is counted on.
    delta : float in (0, 1)
        Shared equally by two promises.
    quantity : {"risk", "loss"}, default="risk"
        What the mean loss is called.
    answer : ndarray of int of shape (n_samples,), default=None
        Codes of what is answered, to promise the risk of each class by itself.
    labels : ndarray of shape (n_classes,), default=None
        The classes of these codes.
    **limits
        ``coverage``, ``cost``, or of ``risk`` and ``ood_acceptance`` one or both.

    Returns
    -------
    threshold : float, or ndarray of shape (n_classes,)
    guarantees : dict of str to Guarantee
    """
    if "coverage" in limits:
        return coverage_threshold(confidence[~outlier], limits["coverage"]), {}
    rows = confidence[calibrating], loss[calibrating]
    if "cost" in limits:
        return cost_threshold(*rows, limits["cost"]), {}
    delta = delta / len(limits)
    threshold, guarantees = -np.inf, {}
    if "ood_acceptance" in limits:
        threshold, guarantees["ood_acceptance"] = ood_threshold(
            confidence[outlier], limits["ood_acceptance"], delta
        )
    if "risk" in limits and labels is None:
        threshold, promise = risk_threshold(*rows, limits["risk"], delta, threshold)
        guarantees[quantity] = replace(promise, quantity=quantity)
    elif "risk" in limits:
        threshold, promises = class_risk_thresholds(
            *rows, answer[calibrating], labels, limits["risk"], delta, threshold
        )
        named = (replace(promise, quantity=quantity) for promise in promises)
        guarantees |= {f"{quantity} of {promise.label}": promise for promise in named}
    return threshold, guarantees


class _Steps:
    """The thresholds of each group, from the strictest on: one between unequal confidences.

    Arrays of one entry for each: its group, how many rows it accepts, their total loss, and
    the position of the last of them among all rows.
    """

    def __init__(self, confidence, loss, group):
        order = np.lexsort((-confidence, group))
        ranked, of_row = confidence[order], group[order]
        last_of_group = np.append(np.diff(of_row) > 0, True)
        self.end = np.flatnonzero(np.append(np.diff(ranked) != 0, True) | last_of_group)
        self.group = of_row[self.end]
        before = np.searchsorted(of_row, self.group)
        self.n_accepted = self.end + 1 - before
        cumulated = np.append(0, np.cumsum(loss[order]))
        self.total = (cumulated[self.end + 1] - cumulated[before]).round(9)
        refused = np.append(ranked, -np.inf)[self.end + 1]
        everything = last_of_group[self.end] | np.isneginf(refused)
        self.threshold = np.where(everything, -np.inf, np.nextafter(refused, np.inf))


class _Tests(_Steps):
    """Of "the mean loss is above ``risk``", from the starts of each group on."""

    def __init__(self, confidence, loss, group, n_groups, risk, delta):
        super().__init__(confidence, loss, group)
        self.risk, self.delta = risk, delta
        counts = np.bincount(group, minlength=n_groups)
        ranks, self.n_starts = starts(counts, risk, delta / n_groups)
        begins = np.repeat(np.cumsum(counts) - counts, self.n_starts)
        self.first = np.searchsorted(self.end, begins + ranks - 1)
        self.p_value = p_value(self.total, self.n_accepted, risk)

    def last_passed(self, at_least):
        """The last step of each group that passes, -1 where none, and the levels of tests."""
        n_groups = n_open = len(self.n_starts)
        at = np.arange(len(self.group))
        from_first = at >= self.first[np.cumsum(self.n_starts) - self.n_starts][self.group]
        while True:
            levels = self.delta / n_open / self.n_starts
            passed = self._reached(self.p_value <= levels[self.group])
            still = np.unique(self.group[from_first & ~passed])
            if len(still) in (0, n_open):
                break
            n_open = len(still)
        chosen = np.full(n_groups, -1)
        kept = passed & (self.threshold >= at_least)
        np.maximum.at(chosen, self.group[kept], at[kept])
        return chosen, levels

    def guarantees(self, chosen, levels, n_rows, labels):
        """What the thresholds of some steps promise, each of one group."""
        bounds = mean_bound(self.total[chosen], self.n_accepted[chosen], np.asarray(levels))
        lists = bounds, np.asarray(n_rows), self.n_accepted[chosen], self.total[chosen]
        columns = *(each.tolist() for each in lists), labels
        return [
            Guarantee("risk", self.risk, bound, self.delta, *counts, label)
            for bound, *counts, label in zip(*columns, strict=True)
        ]

    def _reached(self, passes):
        """Steps reached from a first one of their group by passing steps only."""
        at = np.arange(len(passes))
        started = np.full(len(passes), -1)
        started[self.first] = self.first
        failed = np.where(passes, np.searchsorted(self.group, self.group) - 1, at)
        return np.maximum.accumulate(started) > np.maximum.accumulate(failed)
