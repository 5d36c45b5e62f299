"""Conformal prediction: scores as p-values, several as one, for arrays and tensors."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from scipy.special import logit

from sklearn_ood.nets import _heads

MIN_CALIBRATION, N_FOLDS = 20, 5
# Below how many rows "auto" crosses them; which share calibrates above, at least and at most.
AUTO, AUTO_ASKED = (2000, 0.1, 500, 10_000), (1000, 0.1, 200, 10_000)
TAIL_SHARE = 0.1
TAIL_MIN_ROWS = 10
# Where a sine is its argument to the last bit, and 1 its cosine.
SMALL_LOG_P = -20.0
LARGEST_EXCESS = 1e150
# Of the density of p-values of unknown rows, a * u ** (a - 1).
SHAPE = 0.05
# Of p-values that are averaged: near 0 all evidence counts, near -1 the strongest.
POWER = -0.25


def split_rows(n_rows, calibration, random_state):
    """Positions of the rows to train on, and the parts of those that calibrate."""
    # Whatever their class, so that they and new rows are exchangeable. Two parts are for
    # members and combination; with "cross" each part is scored by what learned from the others.
    order = random_state.permutation(n_rows)
    is_crossed = calibration == "cross"
    n_calibration = calibration_size(calibration, n_rows)
    parts = np.array_split(order[:n_calibration], N_FOLDS if is_crossed else 2)
    parts = [np.sort(part) for part in parts]
    training = np.sort(order if is_crossed else order[n_calibration:])
    if min(map(len, parts)) < 1 or (calibration != "all" and len(training) < 1):
        raise ValueError(
            f"Got n_samples={n_rows} in-distribution rows with calibration={calibration!r}, "
            "but members and combination need rows of their own to calibrate; give more rows."
        )
    return training, parts


def auto_calibration(n_rows, *, is_asked, is_given):
    """ "cross" where rows are few, else a number: fewer where a classifier loses them."""
    # Members made of a given network may have more features than there are rows, and their
    # scales then depend on which they learned from.
    if is_asked and is_given:
        return min(n_rows // 3, AUTO_ASKED[-1])
    crossed_below, share, least, most = AUTO_ASKED if is_asked else AUTO
    return "cross" if n_rows < crossed_below else int(np.clip(share * n_rows, least, most))


def calibration_size(calibration, n_rows):
    if calibration in ("all", "cross"):
        return n_rows
    is_count = isinstance(calibration, Integral)
    return min(calibration, n_rows) if is_count else round(calibration * n_rows)


def calibrated(parts, method, weights=1.0, *, is_crossed, row_weights=None):
    """Scales of members, from parts of scores (n_part, n_members), and of their combination."""
    row_weights = row_weights or [None] * len(parts)

    def scales_of(chosen):
        weight = joined(row_weights, chosen)
        return [ConformalScale.fit(column, weight) for column in joined(parts, chosen).T]

    def joined(arrays, chosen):
        return None if arrays[0] is None else np.concatenate([arrays[i] for i in chosen])

    # If crossed, every part is read on the scales of all others, else the second on the
    # first's.
    every, read = range(len(parts)), range(len(parts)) if is_crossed else [1]
    typicality = []
    for i in read:
        scales = scales_of([j for j in every if j != i])
        typicality.append(-combine(on_scales(scales, parts[i]), method, weights))
    scale = ConformalScale.fit(np.concatenate(typicality), joined(row_weights, read))
    return scales_of(every) if is_crossed else scales, scale


def on_scales(scales, scores, method="log_p"):
    """What each member's scale says of its scores (n_samples, n_members)."""
    if isinstance(scores, torch.Tensor):
        return getattr(ConformalScale.side_by_side(scales), method)(scores)
    read = zip(scales, scores.T, strict=True)
    return np.column_stack([getattr(scale, method)(column) for scale, column in read])


@dataclass(frozen=True)
class ConformalScale:
    """The scores of calibration rows, as a scale from scores to p-values.

    ``p_values`` is exact: at most a share alpha of rows that are exchangeable with the
    calibration rows has a p-value of at most alpha, whatever their distribution, ties included
    (Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005, section 2.2);
    with weights in [0, 1] see :func:`p_values_from_scores`. It is a staircase that never falls
    below ``1 / (n_samples + 1)``.

    ``log_p`` ranks where the staircase is flat. Between calibration scores it joins the tops of
    the steps by straight lines. Below the lowest one it follows the tail of a generalised
    Pareto distribution (Pickands, "Statistical inference using extreme order statistics",
    Annals of Statistics 1975) with a shape between 0 (exponential) and 1/2: a belief, no
    promise.

    Attributes
    ----------
    values, levels : ndarray of shape (n_values,)
        Distinct calibration scores, ascending, and the p-value of each.
    n_samples : int or float
        Calibration rows, or the sum of their weights.
    tail_start, tail_scale, tail_shape : float
        Of the generalised Pareto distribution of ``tail_start - score`` below that score.
    """

    values: np.ndarray
    levels: np.ndarray
    n_samples: int | float
    tail_start: float
    tail_scale: float
    tail_shape: float

    @classmethod
    def fit(cls, scores, weight=None):
        """The scale of the scores of calibration rows: at least one, finite."""
        values, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
        # A new row counts for 1, the most that it may weigh.
        at_most = np.cumsum(counts if weight is None else np.bincount(place, weight))
        n_samples = len(scores) if weight is None else float(at_most[-1])
        levels = (1 + at_most) / (n_samples + 1)  # the last is 1, whatever is rounded
        return cls(values, levels, n_samples, *fit_tail(np.sort(scores)))

    @classmethod
    def side_by_side(cls, scales):
        """One of several columns, whose attributes have one more axis in front."""
        most = max(len(each.values) for each in scales)

        def padded(values, last):
            return np.append(values, np.full(most - len(values), last))

        values = np.stack([padded(each.values, np.inf) for each in scales])
        levels = np.stack([padded(each.levels, 1.0) for each in scales])
        names = "n_samples", "tail_start", "tail_scale", "tail_shape"
        others = (np.array([getattr(each, name) for each in scales]) for name in names)
        return cls(values, levels, *others)

    def p_values(self, scores):
        """Share of the calibration rows, and the row itself, that score as low or lower."""
        (steps,) = constants(scores, np.append(1 / (self.n_samples + 1), self.levels))
        return steps[n_below(self.values, scores)]

    def log_p(self, scores):
        """Logarithm of the p-value, interpolated, with its tail extrapolated; never falling."""
        xp = namespace(scores)
        above = n_below(self.values, scores, strictly=True)
        level = between(self.values, self.levels, scores, above)
        first = np.log(np.minimum(self.levels[..., 0], 2 / (self.n_samples + 1)))
        lowest, first = constants(scores, self.values[..., 0], first)
        tail = self.tail_start, self.tail_scale, self.tail_shape
        beyond = log_survival(xp.minimum(scores, lowest), *tail) - log_survival(lowest, *tail)
        return xp.where(scores < lowest, first + xp.clip(beyond, None, 0), xp.log(level))


def fit_tail(scores):
    """Start, scale and shape, 0 to 1/2, of the lowest tenth of ascending scores, by moments."""
    # Hosking & Wallis, "Parameter and quantile estimation for the generalized Pareto
    # distribution", Technometrics 1987, section 2.2.
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
    xp = namespace(scores)
    start, scale, shape, most = constants(scores, start, scale, shape, LARGEST_EXCESS)
    with np.errstate(over="ignore"):  # infinitely far is clipped, too
        excess = xp.minimum(xp.clip((start - scores) / scale, 0, None), most)
    positive = xp.where(shape > 0, shape, 1.0)
    return xp.where(shape > 0, -log1p(positive * excess) / positive, -excess)


def fisher(log_p):
    """Minus twice the sum of the logarithms (Fisher, 1932): all evidence counts."""
    return -2 * namespace(log_p).sum(log_p, axis=1)


def cauchy(log_p):
    """Logarithm of the mean half-Cauchy quantile: the strongest evidence counts most."""
    # cot(pi p / 2), about 2 / (pi p) for a small p, where the Cauchy quantile cot(pi p) is half
    # of that, but minus infinity at 1: one very typical score could outweigh any evidence.
    xp = namespace(log_p)
    right, most = constants(log_p, np.pi / 2, np.pi / 2 - 1e-12)
    is_small = log_p < SMALL_LOG_P
    safe = xp.where(is_small, right / 2, xp.minimum(xp.exp(log_p) * right, most))
    cotangent = xp.log(xp.cos(safe)) - xp.log(xp.sin(safe))
    log_quantile = xp.where(is_small, -log_p - xp.log(right), cotangent)
    return log_mean_exp(log_quantile)


def average(log_p):
    """Logarithm of the mean of the p-values' powers: between Fisher's rule and Cauchy's."""
    return log_mean_exp(POWER * log_p)


def smallest(log_p):
    """Minus the smallest logarithm (Tippett, 1931): only the strongest evidence counts."""
    return -namespace(log_p).amin(log_p, axis=1)


# R. Fisher, "Statistical methods for research workers", 4th ed., 1932. Y. Liu and J. Xie,
# "Cauchy combination test", JASA 2020, eq. 2. L. Tippett, "The methods of statistics", 1931. V.
# Vovk and R. Wang, "Combining p-values via averaging", Biometrika 2020.
COMBINATIONS = {"fisher": fisher, "average": average, "cauchy": cauchy, "min": smallest}


def combine(log_p, method, weights=1.0):
    """Evidence against each row, from its p-values' logarithms (n_samples, n_members)."""
    # Each is raised to its weight (Good, "On the weighted combination of significance tests",
    # JRSS B 1955). p-values of a row depend on each other, so that this is calibrated again.
    (weights,) = constants(log_p, weights)
    return COMBINATIONS[method](weights * log_p)


def log_right(log_proba, log_p, outlier_share):
    """What to rank answers by, at most 0: likely right, and likely to be of a known class."""
    xp = namespace(log_p)
    # Where a share pi of the rows is unknown, and every answer to them is wrong, the rows best
    # refused have the least p_max / (1 + odds), odds = pi / (1 - pi) * f_out / f_in (reference
    # 2 of CombinedClassifier, section 4). The p-value u is uniform on known rows, f_in(u) = 1,
    # and falls for unknown ones: f_out(u) = a * u ** (a - 1) with a small a.
    first, slope = constants(log_p, logit(outlier_share) + np.log(SHAPE), SHAPE - 1)
    log_odds = first + slope * log_p
    return log_proba - xp.clip(log_odds, 0, None) - log1p(xp.exp(-xp.abs(log_odds)))


def namespace(x):
    """The module of functions for an array or tensor."""
    return torch if isinstance(x, torch.Tensor) else np


def constants(like, *values):
    """Numbers or arrays in float64, for use with an array or tensor: graphs round bare ones."""
    xp = namespace(like)
    return [xp.asarray(value, dtype=xp.float64) for value in values]


def n_below(known, scores, *, strictly=False):
    """How many of ascending numbers, (n_known,), are at most, or strictly below, each score."""
    # Columns (n_columns, n_known) are for scores of shape (n_samples, n_columns).
    if namespace(scores) is torch:
        (known,) = constants(scores, known)
        if known.ndim == 2:
            return _bisected(known, scores, strictly)
        cells = scores[:, None]
        return (known < cells if strictly else known <= cells).sum(dim=1)
    side = "left" if strictly else "right"
    if known.ndim == 1:
        return np.searchsorted(known, scores, side)
    columns = zip(known, scores.T, strict=True)
    return np.column_stack([np.searchsorted(*column, side) for column in columns])


def _bisected(known, scores, strictly):
    """By bisection in all columns at once, in little memory: graphs have no search."""
    (n_columns, size), found = known.shape, torch.zeros_like(scores, dtype=torch.int64)
    before, cells = torch.arange(n_columns) * size - 1, known.flatten()
    for k in reversed(range(size.bit_length())):
        further = found + 2**k
        probed = cells[before + further.clamp(max=size)]
        is_below = probed < scores if strictly else probed <= scores
        found = torch.where((further <= size) & is_below, further, found)
    return found


def between(known, levels, scores, above):
    """Levels at scores that lie just below ``known[above]``, by straight lines."""
    xp, size = namespace(scores), known.shape[-1]
    first = xp.arange(known.size // size) * size if known.ndim == 2 else 0
    right = first + xp.clip(above, 0, size - 1)
    left = first + xp.clip(above - 1, 0, size - 1)
    known, levels = constants(scores, known.ravel(), levels.ravel())
    low, high, level = known[left] / 2, known[right] / 2, levels[left]
    is_inside = high > low  # halves, or the difference may overflow
    share = (scores / 2 - low) / xp.where(is_inside, high - low, 1.0)
    rise = xp.where(is_inside, levels[right] - level, 0.0)
    return xp.minimum(level + xp.clip(share, 0, 1) * rise, levels[right])  # if rounding exceeds


def log_mean_exp(x):
    xp = namespace(x)
    largest = xp.amax(x, axis=1, keepdims=True)
    return largest[:, 0] + xp.log(xp.mean(xp.exp(x - largest), axis=1))


def log1p(x):
    return _heads.log1p(x) if namespace(x) is torch else np.log1p(x)
