"""Thresholds on a confidence, and what they promise: pure functions.

A row is accepted where its confidence is at least the threshold. Rows of equal confidence
are accepted or refused together.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_ood.selective._bounds import (
    bet_p_values,
    fewest,
    largest_not_excluded,
    upper_bound,
)
from sklearn_ood.selective._sequences import Steps


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
        of = {"all": "", "class": f" among the answers {self.label}"}.get(
            self.guarantee_for, f" among the answers in group {self.label}"
        )
        alike = ""
        if self.n_effective is not None:
            alike = f" (as good as {self.n_effective:,.0f} of equal weight)"
        none = "" if self.n_accepted else ", which no answer keeps"
        return (
            f"{self.quantity} at most {self.limit:.2%}{of}{none}, with probability "
            f"{100 * (1 - self.delta):.4g}%, from {self.n_samples:,} rows{alike}"
        )


@dataclass(frozen=True, eq=False)
class CalibrationRows:
    """Rows that trained nothing.

    Attributes
    ----------
    confidence : ndarray of shape (n_samples,)
    loss : ndarray of shape (n_samples,)
        Whether answering would be wrong, or how costly, in [0, 1].
    outlier : ndarray of bool of shape (n_samples,)
        The rows that the outliers' acceptance is counted on; the others count for coverage.
    calibrating : ndarray of bool of shape (n_samples,)
        Rows as new ones come, outliers in their proportion: what the risk is counted on.
    weight : ndarray of shape (n_samples,), default=None
        How often there are such rows among new ones, relative to the largest weight.
    part : ndarray of int of shape (n_samples,), default=None
        Codes of what is answered, or of groups: the risk of each is promised by itself.
    labels : ndarray of shape (n_parts,), default=(None,)
        The classes or groups of these codes.
    guarantee_for : {"all", "class", "group"}, default="all"
    quantity : {"risk", "loss"}, default="risk"
        What the mean loss is called.
    """

    confidence: np.ndarray
    loss: np.ndarray
    outlier: np.ndarray
    calibrating: np.ndarray
    weight: np.ndarray | None = None
    part: np.ndarray | None = None
    labels: Any = (None,)
    guarantee_for: str = "all"
    quantity: str = "risk"

    def those(self, mask):
        """Of some rows: confidence, loss, weight and part."""
        optional = (None if each is None else each[mask] for each in (self.weight, self.part))
        return self.confidence[mask], self.loss[mask], *optional


def coverage_threshold(confidence, coverage, weight=None):
    """The largest threshold that accepts at least this share of the rows, or of weights."""
    order = np.argsort(-confidence)
    accepted = np.cumsum(np.ones(len(order)) if weight is None else weight[order])
    if not len(order) or not accepted[-1]:
        raise ValueError(
            "Got no in-distribution calibration rows, but coverage is counted on them; "
            "pass rows of the known classes."
        )
    return float(confidence[order[np.argmax(accepted >= coverage * accepted[-1] - 1e-9)]])


def cost_threshold(confidence, loss, cost, weight=None):
    """The threshold at which these rows cost least, where each refusal costs ``cost``.

    Chow's rule, with the confidence in the place of a probability. Of thresholds that cost
    the same, the one that accepts most.

    References
    ----------
    .. [1] C. K. Chow, "On optimum recognition error and reject tradeoff", 1970.
    """
    weight = np.ones(len(confidence)) if weight is None else weight
    steps = Steps(confidence, (cost - loss) * weight)
    saved = np.append(0, steps.total)
    most = np.flatnonzero(saved >= saved.max() - 1e-12 * len(confidence))[-1]
    return float(np.append(np.inf, steps.threshold)[most])


def ood_threshold(confidence, ood_acceptance, delta, weight=None):
    """The smallest threshold that new outliers pass with at most this probability.

    The share of outliers above the (k+1)-th largest of n has a Beta(k+1, n-k) distribution
    (smaller under ties), whatever theirs is; k is the largest that keeps the promise. With
    weights it is the largest at which bets on few outliers being accepted pay.
    A ValueError says how many outliers are needed, where there are too few to promise it.
    """
    n_rows = len(confidence)
    order = np.argsort(-confidence, kind="stable")
    if weight is None:
        bounds = upper_bound(np.arange(n_rows), n_rows, delta)
    else:
        weight = weight[order]
        bounds = np.where(_acceptance_p_values(weight, ood_acceptance) <= delta, 0.0, 1.0)
    kept = np.flatnonzero(bounds <= ood_acceptance)
    if not len(kept):
        best = float(_acceptance_bound(0, n_rows, weight, delta))
        raise ValueError(
            f"No threshold can promise ood_acceptance={ood_acceptance} with delta={delta:.3g} "
            f"from {n_rows} outlier rows: the best reachable bound is {best:.3g}; give at "
            f"least {fewest(ood_acceptance, delta)} outlier rows, or ask for a larger "
            "ood_acceptance or delta."
        )
    least = confidence[order[kept[-1]]]
    if np.isposinf(least):
        raise ValueError(
            "Got outliers with a confidence of +inf, which no threshold refuses; pass finite "
            "numbers."
        )
    threshold = float(np.nextafter(least, np.inf))
    n_accepted = int((confidence >= threshold).sum())
    bound = float(_acceptance_bound(n_accepted, n_rows, weight, delta))
    counts = n_rows, n_accepted, n_accepted
    effective = (
        None if weight is None else n_effective(weight, np.zeros(n_rows, dtype=int), 1).item()
    )
    return threshold, Guarantee(
        "ood_acceptance", ood_acceptance, bound, delta, *counts, n_effective=effective
    )


def n_effective(weight, part, n_parts):
    """Of each part, how many rows of equal weight are as good as its own."""
    total, squares = (np.bincount(part, each, n_parts) for each in (weight, weight**2))
    return total**2 / np.where(squares > 0, squares, 1)


def _acceptance_p_values(weight, limit):
    """How likely so few accepted outliers are, were their share the limit: for the first k.

    ``weight`` is in the order of falling confidence.
    """

    def log_wealth(stakes):
        lost = np.log1p(-stakes * weight)
        won = np.log1p(stakes * weight * limit / (1 - limit))
        more = np.cumsum(lost - won, axis=1) - (lost - won)  # of those before each
        return more + won.sum(axis=1, keepdims=True)

    return bet_p_values(log_wealth)


def _acceptance_bound(n_accepted, n_rows, weight, delta):
    """What the share of accepted outliers exceeds with probability delta at most."""
    if weight is None or not n_rows:
        return upper_bound(n_accepted, n_rows, delta)
    return largest_not_excluded(
        lambda limit: _acceptance_p_values(weight, limit)[n_accepted] <= delta, 0.0, 1.0
    )
