"""Thresholds on a confidence, and what they promise: pure functions."""

from collections.abc import Sequence as Labels
from dataclasses import dataclass
from itertools import product
from operator import itemgetter
from typing import Any

import numpy as np
from scipy.special import bdtr, rel_entr

from sklearn_ood.metrics._blocks import as_weights, n_effective
from sklearn_ood.selective._guarantees import Guarantee, nothing_promised

# Shares of the most that may be staked on a row without ever losing everything.
STAKES = np.arange(1, 7)[:, None] / 6 * (1 - 1e-4)
SMALLEST = 1e-300  # of limits and levels, so that numbers of rows are finite


@dataclass(frozen=True, eq=False)
class CalibrationRows:
    """Rows that trained nothing, and what was answered to them: arrays of length n_samples."""

    confidence: np.ndarray
    loss: np.ndarray  # whether answering is wrong, or how costly, in [0, 1]
    outlier: np.ndarray  # that the outliers' acceptance is counted on
    calibrating: np.ndarray  # as new rows come, for the risk
    part: np.ndarray  # codes of answers, or of groups, called labels: the risk of each
    weight: np.ndarray | None = None  # relative to the largest
    labels: Labels[Any] = (None,)
    guarantee_for: str = "all"
    quantity: str = "risk"

    def those(self, mask):
        weight = None if self.weight is None else self.weight[mask]
        return self.confidence[mask], self.loss[mask], weight


def checked_weights(sample_weight, n_rows, name="sample_weight"):
    """Weights relative to the largest; None where all count alike."""
    if sample_weight is None:
        return None
    weight = as_weights(sample_weight, n_rows, name)
    return None if np.ptp(weight) == 0 else weight / weight.max()


def chosen_threshold(rows, *, delta, **limits):
    """The threshold of a coverage or a cost, or that which keeps one promise or several."""
    if "coverage" in limits:
        return coverage_threshold(*rows.those(~rows.outlier), limits["coverage"]), {}
    if "cost" in limits:
        return cost_threshold(*rows.those(rows.calibrating), limits["cost"]), {}
    delta = delta / len(limits)
    threshold, guarantees = -np.inf, {}
    if "ood_acceptance" in limits:
        found = ood_threshold(*rows.those(rows.outlier), limits["ood_acceptance"], delta)
        threshold, guarantees["ood_acceptance"] = found
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
    """The threshold at which these rows cost least, where each refusal costs ``cost``."""
    # Chow's rule ("On optimum recognition error and reject tradeoff", 1970), with the
    # confidence in the place of a probability. Of equal costs, that which accepts most.
    steps = Steps(confidence, (cost - loss) * (1.0 if weight is None else weight))
    saved = np.append(0, steps.total)
    most = np.flatnonzero(saved >= saved.max() - 1e-12 * len(confidence))[-1]
    return float(np.append(np.inf, steps.threshold)[most])


def ood_threshold(confidence, loss, weight, limit, delta):
    """The smallest threshold that new outliers pass with at most this probability."""
    # The share of outliers above the (k+1)-th largest of n has a Beta(k+1, n-k) distribution
    # (smaller under ties), whatever theirs is; k is the largest that keeps the promise.
    n_rows, order = len(confidence), np.argsort(-confidence, kind="stable")
    ranked = None if weight is None else weight[order]

    def bound(n_accepted):
        return largest_not_excluded(
            lambda share: acceptance_p_values(n_rows, ranked, share)[n_accepted] <= delta, limit
        )

    kept = np.flatnonzero(acceptance_p_values(n_rows, ranked, limit) <= delta)
    if not len(kept):
        raise ValueError(
            f"No threshold can promise ood_acceptance={limit} with delta={delta:.3g} from "
            f"{n_rows} outlier rows, those labelled ood_label or of classes that were not "
            f"taught: the best reachable bound is {bound(0) if n_rows else 1.0:.3g}; give at "
            f"least {fewest(limit, delta):.6g} of them, or ask for a larger ood_acceptance."
        )
    least = confidence[order[kept[-1]]]
    if np.isposinf(least):
        raise ValueError(
            "Got outliers with a confidence of +inf, which no threshold refuses; pass finite "
            "numbers."
        )
    n_accepted = int((confidence > least).sum())
    numbers = bound(n_accepted), delta, n_rows, n_accepted, n_accepted
    promise = Guarantee("ood_acceptance", limit, *numbers, n_effective=n_effective(weight))
    return float(np.nextafter(least, np.inf)), promise


def risk_thresholds(rows, limits, delta, at_least=-np.inf):
    """The thresholds of most coverage whose selective risk is at most each of rising limits.

    As selection with guaranteed risk (Geifman, El-Yaniv, NeurIPS 2017), with bounds that hold
    for any number of rows. SGR searches by bisection, where the next threshold to test depends
    on the same rows as the tests; here the order is fixed beforehand, which makes the promise
    exact (A. Angelopoulos et al., "Learn then test", 2021): from each of J starts (the fewest
    rows that can pass, about twice as many ... all rows) coverage grows row by row as long as
    the test at level delta / J passes. Where there are several parts or limits, all promises
    hold at once by Holm's correction (F. Bretz et al., "A graphical approach to sequentially
    rejective multiple test procedures", 2009).

    Thresholds, from ``at_least`` on, are of shape (n_limits, n_parts), +inf where nothing can
    be promised; a ValueError has the best reachable bound, where that is everywhere.
    """
    n_parts = len(rows.labels)
    of_part = [rows.those(rows.calibrating & (rows.part == code)) for code in range(n_parts)]
    cells = list(product(limits, range(n_parts)))
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
        which = rows, limits, counts[-n_parts:], delta, fewest(limits[-1], delta)
        raise ValueError(nothing_promised(*which, sequences[-1], level, at_least))
    labels, best = np.asarray(rows.labels).tolist(), [(np.inf, 0, 0, 1.0)] * n_parts
    thresholds, promises = [], []
    for limit, part in cells:  # what is promised for a limit is so for larger ones
        best[part] = max(found.get((limit, part), best[part]), best[part], key=itemgetter(1))
        threshold, n_accepted, total, bound = best[part]
        confidence, _, weight = of_part[part]
        total = int(total) if rows.loss.dtype == bool else round(float(total), 9)
        counted = len(confidence), n_accepted, total, rows.guarantee_for, labels[part]
        thresholds.append(threshold)
        promise = Guarantee(rows.quantity, limit, bound, delta, *counted, n_effective(weight))
        promises.append(promise)
    return np.reshape(thresholds, (len(limits), -1)), promises


def _testable(counts, limit, delta):
    """Those of which enough rows are there, tested together; at least one."""
    # How many rows there are says nothing of whether the answers are right: no level is lost.
    log_room = np.log(delta) - counts * np.log1p(-limit)
    falling = np.argsort(-log_room, kind="stable")
    enough = np.flatnonzero(log_room[falling] >= np.log(np.arange(1, len(counts) + 1)))
    return np.sort(falling[: 1 + (enough[-1] if len(enough) else 0)])


@np.errstate(under="ignore")
def p_values(total, n_accepted, limit):
    """How likely a total loss so small is, were the mean loss of new rows above ``limit``."""
    if total.dtype.kind in "iu":  # numbers of errors
        return bdtr(total, n_accepted, limit)
    # Hoeffding's and Bentkus's tail hold for any losses ([2]_ of SelectiveClassifier).
    total = total.round(9)  # a whole number of losses stays one
    seen = np.minimum(total / n_accepted, limit)
    divergence = rel_entr(seen, limit) + rel_entr(1 - seen, 1 - limit)
    bentkus = np.e * bdtr(np.ceil(total), n_accepted, limit)
    return np.minimum(np.exp(-n_accepted * divergence), bentkus)


@np.errstate(under="ignore")
def bet_p_values(log_wealth):
    """How likely the wealth of these bets, were each of them no better than fair."""
    # A gambler bets on every row that its loss is smaller than a limit, and multiplies his
    # wealth by 1 + stake * gain with gain = weight * (limit - loss) / (1 - limit). Where the
    # weighted mean loss of new rows is the limit or more, the mean of each factor is at most 1,
    # so that the wealth, also its mean over stakes, reaches 1 / p with probability p at most
    # ([3]_ of SelectiveClassifier). log_wealth, (n_stakes, n_tests), has its logarithm after
    # each test.
    return np.minimum(len(STAKES) * np.exp(-np.logaddexp.reduce(log_wealth)), 1.0)


def acceptance_p_values(n_rows, weight, limit):
    """How likely so few accepted rows are, were their share ``limit``: for the first k."""
    if weight is None:  # else in the order of falling confidence
        return bdtr(np.arange(n_rows), n_rows, limit)
    lost = np.log1p(-STAKES * weight)
    won = np.log1p(STAKES * weight * limit / (1 - limit))
    more = np.cumsum(lost - won, axis=1) - (lost - won)  # of those before each
    return bet_p_values(more + won.sum(axis=1, keepdims=True))


def largest_not_excluded(excludes, limit):
    """By halving, just above the largest number in (0, 1) that a test does not exclude."""
    # What it excludes it excludes for all larger ones.
    low, high = (0.0, limit) if excludes(limit) else (limit, 1.0)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if excludes(middle) else (middle, high)
    return float(high)


def fewest(limit, delta):
    """How many rows without an error are needed to promise that few are errors."""
    return np.ceil(np.log(max(delta, SMALLEST)) / np.log1p(-max(limit, SMALLEST)))


def starts(n_rows, limit, delta):
    """Ranks from which coverage grows: J of them, each at most twice the one before."""
    for n_starts in range(1, 65):
        least = fewest(limit, delta / n_starts)  # an error-free block just passes
        if least >= n_rows:
            break
        if n_starts >= 1 + np.log2(n_rows / least):
            return np.geomspace(least, n_rows, n_starts).round().astype(int)
    return np.array([n_rows])


class Steps:
    """The thresholds from the strictest on: one between unequal confidences, at least one."""

    def __init__(self, confidence, loss, weight=None):
        order = np.argsort(-confidence, kind="stable")
        ranked, self.loss = confidence[order], loss[order]
        self.weight = None if weight is None else weight[order]
        self.n_accepted = 1 + np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        self.total = self._sums(self.loss)
        next_above = np.nextafter(ranked[self.n_accepted[:-1]], np.inf)
        self.threshold = np.append(next_above, -np.inf)

    def _sums(self, values):
        return np.cumsum(values, axis=-1)[..., self.n_accepted - 1]


class Sequence(Steps):
    """Tests of "the mean loss is above the limit" in a fixed order, from some starts on."""

    def __init__(self, confidence, loss, weight, limit, level):
        super().__init__(confidence, loss, weight)
        level /= 1 if weight is None else len(STAKES)
        self.first = np.searchsorted(self.n_accepted, starts(len(loss), limit, level))
        self.limit, self.p_value = limit, self.p_values(limit)

    def p_values(self, limit, steps=slice(None)):
        if self.weight is None:
            return p_values(self.total[steps], self.n_accepted[steps], limit)
        gain = self.weight * (limit - self.loss) / (1 - limit)
        return bet_p_values(self._sums(np.log1p(STAKES * gain))[:, steps])

    def passed(self, level):
        """Mask of the steps that are reached from a start by passing steps only."""
        at = np.arange(len(self.p_value))
        started = np.full(len(at), -1)
        started[self.first] = self.first
        failed = np.where(self.p_value <= level / len(self.first), -1, at)
        return np.maximum.accumulate(started) > np.maximum.accumulate(failed)

    def accepted(self, step, level):
        """Threshold, number of rows, total loss and the bound of its mean at a step."""
        level = level / len(self.first)
        bound = largest_not_excluded(lambda x: self.p_values(x, step) <= level, self.limit)
        return self.threshold[step], int(self.n_accepted[step]), self.total[step], bound


def passed_together(sequences, delta):
    """By Holm's correction: the steps of each sequence that pass, and the level."""
    n_open = len(sequences)
    while True:  # one of which every step passes leaves its level to the others
        level = delta / n_open
        passed = [each.passed(level) for each in sequences]
        pairs = zip(sequences, passed, strict=True)
        n_still = sum(not own[each.first[0] :].all() for each, own in pairs)
        if n_still in (0, n_open):
            return passed, level
        n_open = n_still
