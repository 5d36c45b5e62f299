"""Thresholds on a confidence, and what they promise: pure functions.

A row is accepted where its confidence is at least the threshold. Rows of equal confidence
are accepted or refused together.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta


@dataclass(frozen=True)
class Guarantee:
    """What a threshold promises on new rows like the calibration rows.

    Attributes
    ----------
    quantity : {"risk", "ood_acceptance"}
    limit : float
        What was asked for.
    bound : float
        Upper confidence bound of the quantity at the threshold; at most ``limit``.
    delta : float
        The promise is broken with at most this probability, over calibration sets.
    n_samples : int
        Calibration rows used (for "ood_acceptance" the outliers among them).
    n_accepted : int
        Those of them that the threshold accepts.
    n_errors : int
        Accepted rows that count against the promise.
    """

    quantity: str
    limit: float
    bound: float
    delta: float
    n_samples: int
    n_accepted: int
    n_errors: int


def coverage_threshold(confidence, coverage):
    """The largest threshold that accepts at least this share of the rows."""
    if not len(confidence):
        raise ValueError(
            "Got no in-distribution calibration rows, but coverage is counted on them; "
            "pass rows of the known classes."
        )
    n_accepted = int(np.ceil(coverage * len(confidence) - 1e-9))
    return float(np.sort(confidence)[::-1][max(n_accepted, 1) - 1])


def upper_bound(n_errors, n_accepted, delta):
    """Clopper-Pearson bound: the error rate exceeds it with probability ``delta`` at most.

    It is 1 where every accepted row is an error, or none is accepted.
    """
    n_right = np.asarray(n_accepted) - n_errors
    bound = beta.ppf(1 - delta, np.add(n_errors, 1), np.maximum(n_right, 1))
    return np.where(n_right > 0, bound, 1.0)


def fewest(limit, delta):
    """How many rows without an error are needed to promise that few are errors."""
    return int(np.ceil(np.log(delta) / np.log1p(-limit)))


def risk_threshold(confidence, error, risk, delta, at_least=-np.inf):
    """The threshold of most coverage whose selective risk is at most ``risk``.

    As selection with guaranteed risk (SGR, Geifman & El-Yaniv, 2017), with exact binomial
    bounds, tests few thresholds at a level of their own. SGR searches by bisection, where
    the next threshold to test depends on the same rows as the tests; here the order is
    fixed beforehand, which makes the promise exact: from each of J starts (the fewest rows
    that can pass, about twice as many ... all rows) coverage grows row by row as long as the
    bound at level delta / J stays below ``risk`` (fixed-sequence testing).

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
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    n_accepted = np.append(np.flatnonzero(np.diff(ranked)) + 1, n_rows)
    n_errors = np.cumsum(error[order])[n_accepted - 1]
    refused = np.append(ranked[n_accepted[:-1]], -np.inf)
    thresholds = np.where(np.isneginf(refused), -np.inf, np.nextafter(refused, np.inf))

    starts = _starts(n_rows, risk, delta)
    level = delta / len(starts)
    bounds = upper_bound(n_errors, n_accepted, level)
    first_tests = np.searchsorted(n_accepted, starts)
    allowed = thresholds >= at_least
    chosen = np.flatnonzero(_passing(bounds <= risk, first_tests) & allowed)
    if not len(chosen):
        tested = first_tests[allowed[first_tests]] if allowed[first_tests].any() else [0]
        best = min(tested, key=bounds.__getitem__)
        raise ValueError(
            f"No threshold can promise risk={risk} with delta={delta:.3g} from {n_rows} "
            f"calibration rows: the best reachable bound is {bounds[best]:.3g}, accepting "
            f"{n_accepted[best]} rows with {n_errors[best]} errors"
            f"{'' if allowed.all() else ' (ood_acceptance leaves no more)'}; ask for a larger "
            f"risk or delta, give more calibration rows (at least {fewest(risk, delta)}), or a "
            "better confidence."
        )
    last = chosen[-1]
    counts = n_rows, int(n_accepted[last]), int(n_errors[last])
    return float(thresholds[last]), Guarantee("risk", risk, float(bounds[last]), delta, *counts)


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
    threshold = float(np.nextafter(np.sort(confidence)[::-1][kept[-1]], np.inf))
    n_accepted = int((confidence >= threshold).sum())
    bound = float(upper_bound(n_accepted, n_rows, delta))
    counts = n_rows, n_accepted, n_accepted
    return threshold, Guarantee("ood_acceptance", ood_acceptance, bound, delta, *counts)


def chosen_threshold(confidence, error, outlier, calibrating, *, delta, **limits):
    """The threshold of a coverage, or that which keeps one promise or both.

    Parameters
    ----------
    confidence : ndarray of shape (n_samples,)
        Of rows that trained nothing.
    error : ndarray of bool of shape (n_samples,)
        Where answering would be wrong.
    outlier : ndarray of bool of shape (n_samples,)
        The rows that the outliers' acceptance is counted on; the others count for coverage.
    calibrating : ndarray of bool of shape (n_samples,)
        Rows as new ones come, outliers in their proportion: what the risk is counted on.
    delta : float in (0, 1)
        Shared equally by two promises.
    **limits
        ``coverage``, or of ``risk`` and ``ood_acceptance`` one or both.

    Returns
    -------
    threshold : float
    guarantees : dict of str to Guarantee
    """
    if "coverage" in limits:
        return coverage_threshold(confidence[~outlier], limits["coverage"]), {}
    delta = delta / len(limits)
    threshold, guarantees = -np.inf, {}
    if "ood_acceptance" in limits:
        threshold, guarantees["ood_acceptance"] = ood_threshold(
            confidence[outlier], limits["ood_acceptance"], delta
        )
    if "risk" in limits:
        threshold, guarantees["risk"] = risk_threshold(
            confidence[calibrating], error[calibrating], limits["risk"], delta, threshold
        )
    return threshold, guarantees


def _starts(n_rows, risk, delta):
    """Ranks from which coverage grows: J of them, in geometric progression up to all rows.

    The smallest is where an error-free block just passes at level delta / J, and each is at
    most twice the one before.
    """
    n_starts = 1
    while True:
        least = fewest(risk, delta / n_starts)
        if least >= n_rows:
            return np.array([n_rows])
        if n_starts >= 1 + np.log2(n_rows / least):
            return np.geomspace(least, n_rows, n_starts).round().astype(int)
        n_starts += 1


def _passing(passes, starts):
    """Positions reached from a start by passing positions only."""
    failures_before = np.concatenate([[0], np.cumsum(~passes)])
    reached = np.zeros(len(passes), dtype=bool)
    for start in starts:  # at most log2(n) of them
        reached[start:] |= failures_before[start + 1 :] == failures_before[start]
    return reached
