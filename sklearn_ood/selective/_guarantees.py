"""What a threshold promises, and the words where nothing can be promised."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_ood._parameters import Parameterized
from sklearn_ood._response import steps_and_inner
from sklearn_ood.data._blocks import in_blocks, take_rows


@dataclass(frozen=True)
class Guarantee:
    """What a threshold promises on new rows like the calibration rows.

    Attributes
    ----------
    quantity : {"risk", "loss", "ood_acceptance"}
        What is at most ``limit``; "loss" is the risk of losses that were given.
    limit, bound : float
        What was asked for, and the upper confidence bound of the quantity at the threshold: at
        most ``limit``, or 1 where nothing could be promised, and nothing is accepted.
    delta : float
        The promise is broken with at most this probability, over calibration sets; of several
        (for each class or group, of several limits) any of them.
    n_samples, n_accepted : int
        Calibration rows used (outliers for "ood_acceptance", of a class those that are
        answered so, of a group its own), and those of them that the threshold accepts.
    n_errors : int or float
        Accepted rows that count against the promise; with losses the sum of these.
    guarantee_for, label : {"all", "class", "group"} and label, default="all" and None
        Of which answers it is promised: those that name this class, or of rows of this group.
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


def nothing_promised(rows, limits, counts, delta, least, sequence, level, at_least):
    """What to say where no threshold passes: how far it is, and what would help."""
    what = f"risk={limits if len(limits) > 1 else limits[0]} with delta={delta:.3g}"
    help_ = "ask for a larger risk or delta, give more calibration rows"
    if rows.guarantee_for != "all":
        return (
            f"No threshold can promise {what} for the answers of any {rows.guarantee_for}: "
            f"{(counts >= least).sum()} of {len(counts)} have enough calibration rows (the "
            f"most are {counts.max()}, and it takes {least:.6g} without an error for one); "
            f"{help_}, or a better confidence."
        )
    help_ += f" (at least {least:.6g})" if counts[-1] < least else ""
    allowed = sequence.threshold >= at_least
    first = sequence.first[allowed[sequence.first]]
    best = first[sequence.p_value[first].argmin()] if len(first) else 0
    _, n_accepted, total, bound = sequence.accepted(best, level)
    return (
        f"No threshold can promise {what} from {counts[-1]} calibration rows: the best "
        f"reachable bound is {bound:.3g}, accepting {n_accepted} rows with {total:.4g} errors"
        f"{'' if allowed.all() else ' (ood_acceptance leaves no more)'}; {help_}, or a better "
        "confidence."
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


def warn_of_company(estimator, X, scores, ask):
    """Warn where the least or the middle row has another score alone, as none of ours has."""
    steps, inner = steps_and_inner(estimator)
    parts = [*(step for _, step in steps), inner]
    if all(isinstance(each, Parameterized) for each in parts):
        return
    for place in np.argsort(scores)[[0, len(scores) // 2]]:
        is_it = np.arange(len(scores)) == place
        row = X[[place]] if isinstance(X, np.ndarray) else take_rows(X, is_it)  # or read all
        try:
            alone = in_blocks(ask, row)[0]
        except (IndexError, ValueError) as error:
            alone = f"none ({error})"
        else:
            if np.isclose(alone, scores[place], 1e-4, 1e-3 * float(np.ptp(scores))):
                continue
        warnings.warn(
            f"Got the score {scores[place]} of a row among others, but alone {alone}, from "
            f"{', '.join(type(each).__name__ for each in parts)}: where scores hang on the "
            "rows beside a row, or on chance, nothing is promised of new ones; take what "
            "scores each row by itself.",
            stacklevel=4,
        )
        return


def first_of(counts):
    return f"{dict(list(counts.items())[:10])}{' and so on' * (len(counts) > 10)}"
