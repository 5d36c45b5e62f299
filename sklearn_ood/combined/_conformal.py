"""Conformal prediction: rows that calibrate, scores as p-values, several as one.

A score is higher for what looks more like the calibration rows; a statistic of combined
evidence is higher for what looks less like them.
"""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from scipy.special import logsumexp

MIN_CALIBRATION, N_FOLDS = 20, 5
# Below how many rows "auto" crosses them; which share calibrates above, at least and at most.
AUTO, AUTO_ASKED = (2000, 0.1, 500, 10_000), (1000, 0.1, 200, 10_000)
TAIL_SHARE = 0.1
TAIL_MIN_ROWS = 10
# Where a sine is its argument to the last bit, and 1 its cosine.
SMALL_LOG_P = -20.0
LARGEST_EXCESS = 1e150


def split_rows(n_rows, calibration, random_state):
    """Positions of the rows to train on, and the parts of those that calibrate.

    All are drawn at random, whatever their class, so that calibration rows and new rows are
    exchangeable. Two parts are for members and combination; with "cross" every row trains,
    and each part is scored by what learned from the others; with "all" no row trains.
    """
    order = random_state.permutation(n_rows)
    is_crossed = calibration == "cross"
    n_calibration = calibration_size(calibration, n_rows)
    parts = np.array_split(order[:n_calibration], N_FOLDS if is_crossed else 2)
    training = order if is_crossed else order[n_calibration:]
    if min(map(len, parts)) < 1 or (calibration != "all" and len(training) < 1):
        raise ValueError(
            f"Got n_samples={n_rows} in-distribution rows with calibration={calibration!r}, "
            "but members and combination need rows of their own to calibrate; give more rows."
        )
    return training, parts


def auto_calibration(n_rows, *, is_asked, is_given):
    """ "cross" where rows are few, else a number: fewer where a classifier loses them.

    A given network, of which members are made, may have more features than there are rows, and
    the scale of a member then depends on which it learned from: a third calibrates.
    """
    if is_asked and is_given:
        return min(n_rows // 3, AUTO_ASKED[-1])
    crossed_below, share, least, most = AUTO_ASKED if is_asked else AUTO
    return "cross" if n_rows < crossed_below else int(np.clip(share * n_rows, least, most))


def calibration_size(calibration, n_rows):
    """How many of ``n_rows`` rows calibrate."""
    if calibration in ("all", "cross"):
        return n_rows
    is_count = isinstance(calibration, Integral)
    return min(calibration, n_rows) if is_count else round(calibration * n_rows)


def calibrated(parts, method, weights=1.0, *, is_crossed):
    """Scales of the members, and that of their combination.

    Parameters
    ----------
    parts : list of ndarray of shape (n_part, n_members)
        Scores of the parts of the calibration rows.
    method : str
    weights : ndarray of shape (n_members,)
    is_crossed : bool
        Whether every part is read on the scales of all others, and members have the scales
        of all rows in the end; else the second part is read on the scales of the first.

    Returns
    -------
    scales : list of ConformalScale
    scale : ConformalScale
    """
    if not is_crossed:
        scales = list(map(ConformalScale.fit, parts[0].T))
        return scales, ConformalScale.fit(
            -combine(on_scales(scales, parts[1]), method, weights)
        )
    typicality = []
    for i, part in enumerate(parts):
        others = np.concatenate(parts[:i] + parts[i + 1 :])
        log_p = on_scales(map(ConformalScale.fit, others.T), part)
        typicality.append(-combine(log_p, method, weights))
    scales = list(map(ConformalScale.fit, np.concatenate(parts).T))
    return scales, ConformalScale.fit(np.concatenate(typicality))


def on_scales(scales, scores, method="log_p"):
    """What each member's scale says of its scores (n_samples, n_members)."""
    read = zip(scales, scores.T, strict=True)
    return np.column_stack([getattr(scale, method)(column) for scale, column in read])


@dataclass(frozen=True)
class ConformalScale:
    """The scores of calibration rows, as a scale from scores to p-values.

    Attributes
    ----------
    values, levels : ndarray of shape (n_values,)
        Distinct calibration scores, ascending, and the p-value of each.
    n_samples : int
        Calibration rows.
    tail_start, tail_scale, tail_shape : float
        Of the generalised Pareto distribution of ``tail_start - score`` below that score.

    Notes
    -----
    ``p_values`` is exact: at most a share alpha of rows that are exchangeable with the
    calibration rows has a p-value of at most alpha, whatever their distribution, ties
    included [1]_. It is a staircase that never falls below ``1 / (n_samples + 1)``.

    ``log_p`` ranks where the staircase is flat. Between calibration scores it joins the tops
    of the steps by straight lines, so that it is never below the logarithm of ``p_values``.
    Below the lowest one it follows the tail of a generalised Pareto distribution [2]_ with a
    shape between 0 (exponential) and 1/2: strictly decreasing, and a belief, no promise.

    References
    ----------
    .. [1] V. Vovk, A. Gammerman and G. Shafer, "Algorithmic learning in a random world",
       2005, section 2.2.
    .. [2] J. Pickands, "Statistical inference using extreme order statistics", Annals of
       Statistics 1975.
    """

    values: np.ndarray
    levels: np.ndarray
    n_samples: int
    tail_start: float
    tail_scale: float
    tail_shape: float

    @classmethod
    def fit(cls, scores):
        """The scale of the scores of calibration rows: at least one, finite."""
        values, counts = np.unique(scores, return_counts=True)
        levels = (1 + np.cumsum(counts)) / (len(scores) + 1)
        return cls(values, levels, len(scores), *fit_tail(np.sort(scores)))

    def p_values(self, scores):
        """Share of the calibration rows, and the row itself, that score as low or lower."""
        below = np.searchsorted(self.values, scores, side="right")
        return np.append(1 / (self.n_samples + 1), self.levels)[below]

    def log_p(self, scores):
        """Logarithm of the p-value, interpolated, with its tail extrapolated.

        In (-inf, 0], non-decreasing in the score, strictly so below the highest.
        """
        level = np.interp(scores, self.values, self.levels)
        above = np.searchsorted(self.values, scores).clip(max=len(self.values) - 1)
        inside = np.log(np.minimum(level, self.levels[above]))  # rounding may exceed it
        lowest = self.values[0]
        first = np.log(min(self.levels[0], 2 / (self.n_samples + 1)))
        tail = self.tail_start, self.tail_scale, self.tail_shape
        beyond = log_survival(np.minimum(scores, lowest), *tail) - log_survival(lowest, *tail)
        return np.where(scores < lowest, first + np.minimum(beyond, 0.0), inside)


def fit_tail(scores):
    """Start, scale and shape of the lowest tenth of ascending scores, by moments.

    The scale is positive, the shape in [0, 1/2] (Hosking & Wallis, "Parameter and quantile
    estimation for the generalized Pareto distribution", Technometrics 1987, section 2.2).
    """
    n_tail = min(max(TAIL_MIN_ROWS, int(np.ceil(TAIL_SHARE * len(scores)))), len(scores) - 1)
    start = float(scores[n_tail])
    excess = start - scores[:n_tail]
    mean = float(excess.mean()) if n_tail else 0.0
    if not 0 < mean < np.inf:
        spread = float(scores[-1] / 2 - scores[0] / 2)
        return start, spread if 0 < spread < np.inf else max(abs(start) / 2, 1.0), 0.0
    variance = mean**2 * float(((excess / mean - 1) ** 2).mean())
    shape = float(np.clip(0.5 * (1 - mean**2 / variance), 0, 0.5)) if variance > 0 else 0.0
    return start, mean * (1 - shape), shape


def log_survival(scores, start, scale, shape):
    """Logarithm of the share of the generalised Pareto tail that lies below some scores."""
    with np.errstate(over="ignore"):  # infinitely far is clipped, too
        excess = np.clip((start - scores) / scale, 0.0, LARGEST_EXCESS)
    return -excess if shape == 0 else -np.log1p(shape * excess) / shape


def fisher(log_p):
    """Minus twice the sum of the logarithms (Fisher, 1932): all evidence counts."""
    return -2 * log_p.sum(axis=1)


def cauchy(log_p):
    """Logarithm of the mean half-Cauchy quantile: the strongest evidence counts most.

    The quantile is ``cot(pi p / 2)``, about ``2 / (pi p)`` for a small p. The Cauchy quantile
    ``cot(pi p)`` of Liu & Xie (2020) is half of that there, but minus infinity where p is 1,
    so that one very typical score could outweigh any evidence.
    """
    angle = np.exp(log_p) * (np.pi / 2)
    is_small = log_p < SMALL_LOG_P
    safe = np.where(is_small, np.pi / 4, np.minimum(angle, np.pi / 2 - 1e-12))
    log_quantile = np.where(is_small, -log_p - np.log(np.pi / 2), -np.log(np.tan(safe)))
    return logsumexp(log_quantile, axis=1) - np.log(log_p.shape[1])


def smallest(log_p):
    """Minus the smallest logarithm (Tippett, 1931): only the strongest evidence counts."""
    return -log_p.min(axis=1)


COMBINATIONS = {"fisher": fisher, "cauchy": cauchy, "min": smallest}


def combine(log_p, method, weights=1.0):
    """Evidence against each row, from its p-values' logarithms (n_samples, n_members).

    The statistics are as published, but no distribution of theirs is used: p-values of the
    same row depend on each other, so the statistic is calibrated again, as one more score.
    It is higher where there is more evidence, and non-increasing in every p-value, which is
    raised to its weight first (Good, "On the weighted combination of significance tests", JRSS
    B 1955).

    References
    ----------
    .. [1] R. Fisher, "Statistical methods for research workers", 4th ed., 1932.
    .. [2] Y. Liu and J. Xie, "Cauchy combination test", JASA 2020, eq. 2.
    .. [3] L. Tippett, "The methods of statistics", 1931.
    """
    return COMBINATIONS[method](weights * log_p)
