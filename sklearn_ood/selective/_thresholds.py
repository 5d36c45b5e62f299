"""Thresholds on a confidence, and what they promise: pure functions.

A row is accepted where its confidence is at least the threshold. Rows of equal confidence
are accepted or refused together.
"""

import warnings
from dataclasses import dataclass
from itertools import product
from operator import itemgetter
from typing import Any

import numpy as np

from sklearn_ood.selective._bounds import (
    Sequence,
    Steps,
    acceptance_p_values,
    fewest,
    largest_not_excluded,
    n_effective,
    passed_together,
)
from sklearn_ood.selective._calibration import first_of


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
        The promise is broken with at most this probability, over calibration sets; of several
        (for each class or group, of several limits) any of them.
    n_samples : int
        Calibration rows used (for "ood_acceptance" the outliers among them; for a class those
        that are answered so; for a group its own).
    n_accepted : int
        Those of them that the threshold accepts.
    n_errors : int or float
        Accepted rows that count against the promise; with losses the sum of these.
    guarantee_for : {"all", "class", "group"}, default="all"
        Of which answers it is promised.
    label : label, default=None
        The class that these answers name, or the group that their rows are of.
    n_effective : float, default=None
        Of weighted rows, how many of equal weight are as good: the squared sum of the weights
        over the sum of their squares.
    """

    quantity: str
    limit: float
    bound: float
    delta: float
    n_samples: int
    n_accepted: int
    n_errors: float
    guarantee_for: str = "all"
    label: Any = None
    n_effective: float | None = None

    def __str__(self):
        of = {"class": " among the answers", "group": " among the answers in group"}
        of = f"{of[self.guarantee_for]} {self.label}" if self.guarantee_for in of else ""
        none = "" if self.n_accepted else ", which no answer keeps"
        text = (
            f"{self.quantity} at most {self.limit:.2%}{of}{none}, with probability "
            f"{100 * (1 - self.delta):.4g}%, from {self.n_samples:,} rows"
        )
        if self.n_effective is None:
            return text
        return f"{text} (as good as {self.n_effective:,.0f} of equal weight)"


def chosen_threshold(rows, *, delta, **limits):
    """The threshold of a coverage or a cost, or that which keeps one promise or several.

    Parameters
    ----------
    rows : CalibrationRows
    delta : float in (0, 1)
        Shared equally by risk and outliers' acceptance.
    **limits
        ``coverage``, ``cost``, or of ``risk``, a number or several rising ones, and
        ``ood_acceptance`` one or both.

    Returns
    -------
    threshold : float, or ndarray of shape (n_parts,), (n_limits,) or (n_limits, n_parts)
    guarantees : dict of str to Guarantee
    """
    if "coverage" in limits:
        return coverage_threshold(*rows.those(~rows.outlier), limits["coverage"]), {}
    if "cost" in limits:
        return cost_threshold(*rows.those(rows.calibrating), limits["cost"]), {}
    delta = delta / len(limits)
    threshold, guarantees = -np.inf, {}
    if "ood_acceptance" in limits:
        threshold, guarantees["ood_acceptance"] = ood_threshold(
            *rows.those(rows.outlier), limits["ood_acceptance"], delta
        )
    if "risk" in limits:
        risks = np.atleast_1d(limits["risk"]).tolist()
        threshold, promises = risk_thresholds(rows, risks, delta, threshold)
        for each in promises:
            limit = f" {each.limit}" if np.ndim(limits["risk"]) else ""
            of = "" if each.guarantee_for == "all" else f" of {each.label}"
            guarantees[f"{each.quantity}{limit}{of}"] = each
        threshold = threshold if np.ndim(limits["risk"]) else threshold[0]
        threshold = threshold[..., 0] if rows.guarantee_for == "all" else threshold
    return threshold if np.ndim(threshold) else float(threshold), guarantees


def coverage_threshold(confidence, loss, weight, coverage):
    """The largest threshold that accepts at least this share of the rows, or of weights."""
    order = np.argsort(-confidence)
    accepted = np.cumsum(np.ones(len(order)) if weight is None else weight[order])
    if not len(order) or not accepted[-1]:
        raise ValueError(
            "Got no in-distribution calibration rows with a weight, but coverage is counted on "
            "them; pass rows of the known classes."
        )
    return float(confidence[order[np.argmax(accepted >= coverage * accepted[-1] - 1e-9)]])


def cost_threshold(confidence, loss, weight, cost):
    """The threshold at which these rows cost least, where each refusal costs ``cost``.

    Chow's rule, with the confidence in the place of a probability. Of thresholds that cost
    the same, the one that accepts most.

    References
    ----------
    .. [1] C. K. Chow, "On optimum recognition error and reject tradeoff", 1970.
    """
    steps = Steps(confidence, (cost - loss) * (1.0 if weight is None else weight))
    saved = np.append(0, steps.total)
    most = np.flatnonzero(saved >= saved.max() - 1e-12 * len(confidence))[-1]
    return float(np.append(np.inf, steps.threshold)[most])


def ood_threshold(confidence, loss, weight, limit, delta):
    """The smallest threshold that new outliers pass with at most this probability.

    The share of outliers above the (k+1)-th largest of n has a Beta(k+1, n-k) distribution
    (smaller under ties), whatever theirs is; k is the largest that keeps the promise. With
    weights it is the largest at which bets on few outliers being accepted pay.
    A ValueError says how many outliers are needed, where there are too few to promise it.
    """
    n_rows, order = len(confidence), np.argsort(-confidence, kind="stable")
    weight = None if weight is None else weight[order]

    def bound(n_accepted):
        return largest_not_excluded(
            lambda share: acceptance_p_values(n_rows, weight, share)[n_accepted] <= delta, limit
        )

    kept = np.flatnonzero(acceptance_p_values(n_rows, weight, limit) <= delta)
    if not len(kept):
        best = bound(0) if n_rows else 1.0
        raise ValueError(
            f"No threshold can promise ood_acceptance={limit} with delta={delta:.3g} from "
            f"{n_rows} outlier rows, those labelled ood_label or of classes that were not "
            f"taught: the best reachable bound is {best:.3g}; give at least "
            f"{fewest(limit, delta):.6g} of them, or ask for a larger ood_acceptance or delta."
        )
    least = confidence[order[kept[-1]]]
    if np.isposinf(least):
        raise ValueError(
            "Got outliers with a confidence of +inf, which no threshold refuses; pass finite "
            "numbers."
        )
    n_accepted = int((confidence > least).sum())
    counted = n_rows, n_accepted, n_accepted
    effective = None if weight is None else n_effective(weight)
    return float(np.nextafter(least, np.inf)), Guarantee(
        "ood_acceptance", limit, bound(n_accepted), delta, *counted, n_effective=effective
    )


def risk_thresholds(rows, limits, delta, at_least=-np.inf):
    """The thresholds of most coverage whose selective risk is at most each of some limits.

    As selection with guaranteed risk (SGR, Geifman & El-Yaniv, 2017), with bounds that hold
    for any number of rows, tests few thresholds at a level of their own. SGR searches by
    bisection, where the next threshold to test depends on the same rows as the tests; here the
    order is fixed beforehand, which makes the promise exact: from each of J starts (the fewest
    rows that can pass, about twice as many ... all rows) coverage grows row by row as long as
    the test at level delta / J passes (fixed-sequence testing). Where there are several parts
    (the answers of each class, the rows of each group) or limits, all promises hold at once by
    Holm's correction. Parts of too few rows are not tested and take no level: how many rows
    there are says nothing of whether the answers are right.

    Only thresholds from ``at_least`` on are chosen, whatever that was chosen by: the promise
    holds for all thresholds that pass at once.

    Parameters
    ----------
    rows : CalibrationRows
    limits : sequence of float
        Rising.
    delta : float in (0, 1)
    at_least : float, default=-inf

    Returns
    -------
    thresholds : ndarray of shape (n_limits, n_parts)
        Falling along the limits; +inf where nothing can be promised. A ValueError has the best
        reachable bound, where that is everywhere.
    promises : list of Guarantee
        In that order.

    References
    ----------
    .. [1] Y. Geifman and R. El-Yaniv, "Selective classification for deep neural networks",
       NeurIPS 2017.
    .. [2] A. Angelopoulos et al., "Learn then test", 2021.
    .. [3] S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    .. [4] F. Bretz et al., "A graphical approach to sequentially rejective multiple test
       procedures", 2009.
    """
    of_part = rows.of_parts()
    cells = list(product(limits, range(len(of_part))))
    counts = np.array([len(of_part[part][0]) for _, part in cells])
    if not counts.any():
        raise ValueError("Got no calibration rows, but a risk is counted on them; pass some.")
    tested = _testable(counts, np.array([limit for limit, _ in cells]), delta)
    level = delta / len(tested)
    sequences = [Sequence(*of_part[cells[i][1]], cells[i][0], level) for i in tested]
    passed, level = passed_together(sequences, delta)
    found = {}
    for i, sequence, steps in zip(tested, sequences, passed, strict=True):
        allowed = np.flatnonzero(steps & (sequence.threshold >= at_least))
        if len(allowed):
            found[cells[i]] = sequence.accepted(allowed[-1], level)
    if not found:
        which = rows, limits, counts[-len(of_part) :], delta
        raise ValueError(_nothing_promised(*which, sequences[-1], level, at_least))
    labels, best = np.asarray(rows.labels).tolist(), [(np.inf, 0, 0, 1.0)] * len(of_part)
    thresholds, promises = [], []
    for limit, part in cells:  # what is promised for a limit is so for larger ones
        best[part] = max(found.get((limit, part), best[part]), best[part], key=itemgetter(1))
        threshold, n_accepted, total, bound = best[part]
        confidence, _, weight = of_part[part]
        total = int(total) if rows.loss.dtype == bool else round(float(total), 9)
        counted = len(confidence), n_accepted, total, rows.guarantee_for, labels[part]
        effective = None if weight is None else n_effective(weight)
        thresholds.append(threshold)
        promises.append(Guarantee(rows.quantity, limit, bound, delta, *counted, effective))
    return np.reshape(thresholds, (len(limits), -1)), promises


def _testable(counts, limit, delta):
    """Those of which enough rows are there, tested together; at least one."""
    log_room = np.log(delta) - counts * np.log1p(-limit)
    falling = np.argsort(-log_room, kind="stable")
    enough = np.flatnonzero(log_room[falling] >= np.log(np.arange(1, len(counts) + 1)))
    return np.sort(falling[: 1 + (enough[-1] if len(enough) else 0)])


def _nothing_promised(rows, limits, counts, delta, sequence, level, at_least):
    """What to say where no threshold passes: how far it is, and what would help."""
    what = f"risk={limits if len(limits) > 1 else limits[0]} with delta={delta:.3g}"
    help_ = "ask for a larger risk or delta, give more calibration rows"
    least = fewest(limits[-1], delta)
    if rows.guarantee_for != "all":
        return (
            f"No threshold can promise {what} for the answers of any {rows.guarantee_for}: "
            f"{(counts >= least).sum()} of {len(counts)} have enough calibration rows (the "
            f"most are {counts.max()}, and it takes {least:.6g} without an error for one); "
            f"{help_}, or a better confidence."
        )
    allowed = sequence.threshold >= at_least
    first = sequence.first[allowed[sequence.first]]
    first = first if len(first) else np.array([0])
    best = first[sequence.p_value[first].argmin()]
    _, n_accepted, total, bound = sequence.accepted(best, level)
    return (
        f"No threshold can promise {what} from {counts[-1]} calibration rows: the best "
        f"reachable bound is {bound:.3g}, accepting {n_accepted} rows with {total:.4g} errors"
        f"{'' if allowed.all() else ' (ood_acceptance leaves no more)'}; {help_} (at least "
        f"{least:.6g}), or a better confidence."
    )


def warn_of_unpromised(guarantees):
    """Name the limits, and the classes or groups, of which nothing could be promised."""
    promises = [each for each in guarantees.values() if each.quantity != "ood_acceptance"]
    kinds = {"class": "classes", "group": "groups"}
    for limit in sorted({each.limit for each in promises if not each.n_accepted}):
        own = [each for each in promises if each.limit == limit]
        refused = [each for each in own if not each.n_accepted]
        rows, of = own[0].n_samples, ""
        if kind := kinds.get(own[0].guarantee_for):
            rows = first_of({each.label: each.n_samples for each in refused})
            of = f"For the answers of {len(refused)} of {len(own)} {kind} "
        warnings.warn(
            f"{of}risk={limit} cannot be promised; no answer keeps it, and all are refused "
            f"that keep no larger limit (calibration rows of these answers: {rows}). Ask for a "
            "larger risk or delta, or give more calibration rows.",
            stacklevel=4,
        )
