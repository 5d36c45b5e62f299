"""From scores to p-values, from several p-values to one: pure functions.

A score is higher for what looks more like the calibration rows; a statistic of combined
evidence is higher for what looks less like them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

TAIL_SHARE = 0.1
TAIL_MIN_ROWS = 10
# Where a sine is its argument to the last bit, and 1 its cosine.
SMALL_LOG_P = -20.0
LARGEST_EXCESS = 1e150


@dataclass(frozen=True)
class ConformalScale:
    """The scores of calibration rows, as a scale from scores to p-values.

    Attributes
    ----------
    values : ndarray of shape (n_values,)
        Distinct calibration scores, ascending.
    levels : ndarray of shape (n_values,)
        The p-value of each.
    n_samples : int
        Calibration rows.
    tail_start : float
        Scores below belong to the tail.
    tail_scale, tail_shape : float
        Of the generalised Pareto distribution of ``tail_start - score`` in the tail.

    Notes
    -----
    ``p_values`` is exact: at most a share alpha of rows that are exchangeable with the
    calibration rows has a p-value of at most alpha, whatever their distribution, ties
    included (Vovk et al., 2005). It is a staircase that never falls below
    ``1 / (n_samples + 1)``.

    ``log_p`` ranks where the staircase is flat. Between calibration scores it joins the tops
    of the steps by straight lines, so that it is never below the logarithm of ``p_values``.
    Below the lowest calibration score it follows the tail of a generalised Pareto
    distribution (Pickands, 1975), fitted by moments to the lowest tenth of the scores, with
    a shape between 0 (exponential) and 1/2: strictly decreasing, and a belief, no promise.

    References
    ----------
    .. [1] V. Vovk, A. Gammerman and G. Shafer, "Algorithmic learning in a random world",
       2005, section 2.2.
    .. [2] J. Pickands, "Statistical inference using extreme order statistics", Annals of
       Statistics 1975.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.combined._conformal import ConformalScale
    >>> scale = ConformalScale.of(np.arange(99.0))
    >>> scale.p_values(np.array([-50.0, 0.0, 49.0, 98.0]))
    array([0.01, 0.02, 0.51, 1.  ])
    >>> near, far = scale.log_p(np.array([-50.0, -100.0]))
    >>> bool(far < near < np.log(0.01))
    True
    """

    values: np.ndarray
    levels: np.ndarray
    n_samples: int
    tail_start: float
    tail_scale: float
    tail_shape: float

    @classmethod
    def of(cls, scores):
        """The scale of calibration scores.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            At least one; minus infinity counts as the lowest finite number.
        """
        values, counts = np.unique(finite(scores), return_counts=True)
        levels = (1 + np.cumsum(counts)) / (len(scores) + 1)
        return cls(values, levels, len(scores), *fit_tail(np.repeat(values, counts)))

    def p_values(self, scores):
        """Share of the calibration rows, and the row itself, that score as low or lower.

        Parameters
        ----------
        scores : ndarray of shape (n,)

        Returns
        -------
        ndarray of shape (n,)
            In [1 / (n_samples + 1), 1].
        """
        below = np.searchsorted(self.values, finite(scores), side="right")
        return np.append(1 / (self.n_samples + 1), self.levels)[below]

    def log_p(self, scores):
        """Logarithm of the p-value, interpolated, with its tail extrapolated.

        Parameters
        ----------
        scores : ndarray of shape (n,)

        Returns
        -------
        ndarray of shape (n,)
            In (-inf, 0], non-decreasing in the score, strictly below the highest
            calibration score.
        """
        scores = finite(scores)
        inside = np.log(np.interp(scores, self.values, self.levels))
        lowest = self.values[0]
        first = np.log(min(self.levels[0], 2 / (self.n_samples + 1)))
        beyond = self._log_survival(np.minimum(scores, lowest)) - self._log_survival(lowest)
        return np.where(scores < lowest, first + beyond, inside)

    def _log_survival(self, scores):
        with np.errstate(over="ignore"):  # infinitely far is clipped, too
            distance = (self.tail_start - scores) / self.tail_scale
        excess = np.clip(distance, 0.0, LARGEST_EXCESS)
        if self.tail_shape == 0:
            return -excess
        return -np.log1p(self.tail_shape * excess) / self.tail_shape


def fit_tail(scores):
    """Generalised Pareto distribution of the lowest scores, by the method of moments.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Ascending.

    Returns
    -------
    start, scale, shape : float
        Of ``start - score``; the scale is positive, the shape in [0, 1/2].

    References
    ----------
    .. [1] J. Hosking and J. Wallis, "Parameter and quantile estimation for the generalized
       Pareto distribution", Technometrics 1987, section 2.2.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import expon
    >>> from sklearn_ood.combined._conformal import fit_tail
    >>> quantiles = -expon.ppf((np.arange(100_000) + 0.5) / 100_000)[::-1]
    >>> start, scale, shape = fit_tail(quantiles)
    >>> round(start, 1), round(scale, 1), round(abs(shape), 1)
    (-2.3, 1.0, 0.0)
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


def finite(scores):
    """Scores as float64, with infinities replaced by the largest and smallest number."""
    return np.nan_to_num(np.asarray(scores, dtype=np.float64), nan=np.nan)


def fisher(log_p):
    """Minus twice the sum of the logarithms (Fisher, 1932): all evidence counts."""
    return -2 * log_p.sum(axis=1)


def cauchy(log_p):
    """Logarithm of the mean half-Cauchy quantile: the strongest evidence counts most.

    The quantile is ``cot(pi p / 2)``, about ``2 / (pi p)`` for a small p. The Cauchy
    quantile ``cot(pi p)`` of Liu & Xie (2020) equals half of that there, but tends to minus
    infinity where p tends to 1, so that one very typical score could outweigh any evidence.
    """
    angle = np.exp(log_p) * (np.pi / 2)
    is_small = log_p < SMALL_LOG_P
    safe = np.where(is_small, np.pi / 4, np.minimum(angle, np.pi / 2 - 1e-12))
    log_quantile = np.where(
        is_small, -log_p - np.log(np.pi / 2), np.log(np.cos(safe)) - np.log(np.sin(safe))
    )
    return logsumexp(log_quantile, axis=1) - np.log(log_p.shape[1])


def smallest(log_p):
    """Minus the smallest logarithm (Tippett, 1931): only the strongest evidence counts."""
    return -log_p.min(axis=1)


COMBINATIONS = {"fisher": fisher, "cauchy": cauchy, "min": smallest}


def combine(log_p, method):
    """Pool the evidence of several p-values of each row.

    The statistics are as published, but no distribution of theirs is used: p-values of the
    same row depend on each other, so the statistic is calibrated again, as one more score.

    Parameters
    ----------
    log_p : ndarray of shape (n_samples, n_members)
        Logarithms of p-values.
    method : {"fisher", "cauchy", "min"}

    Returns
    -------
    ndarray of shape (n_samples,)
        Higher where there is more evidence against the row; non-increasing in every
        p-value.

    References
    ----------
    .. [1] R. Fisher, "Statistical methods for research workers", 4th ed., 1932.
    .. [2] Y. Liu and J. Xie, "Cauchy combination test", JASA 2020, eq. 2.
    .. [3] L. Tippett, "The methods of statistics", 1931.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.combined._conformal import combine
    >>> combine(np.log([[0.5, 0.5], [0.9, 0.001]]), "min").round(2)
    array([0.69, 6.91])
    """
    return COMBINATIONS[method](np.asarray(log_p, dtype=np.float64))


def benjamini_hochberg(p_values, alpha):
    """Which hypotheses to reject so that at most a share alpha is rejected wrongly.

    Parameters
    ----------
    p_values : ndarray of shape (n,)
        Independent, or positively dependent as conformal p-values from one calibration set.
    alpha : float in (0, 1)
        Limit of the false discovery rate: the expected share of true hypotheses among the
        rejected.

    Returns
    -------
    ndarray of bool of shape (n,)

    References
    ----------
    .. [1] Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", JRSS B 1995.
    .. [2] S. Bates et al., "Testing for outliers with conformal p-values", Annals of
       Statistics 2023, theorem 2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.combined._conformal import benjamini_hochberg
    >>> benjamini_hochberg(np.array([0.01, 0.6, 0.04, 0.9]), alpha=0.1)
    array([ True, False,  True, False])
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    ranked = np.sort(p_values)
    passes = np.flatnonzero(ranked <= alpha * np.arange(1, len(ranked) + 1) / len(ranked))
    if not len(passes):
        return np.zeros(len(p_values), dtype=bool)
    return p_values <= ranked[passes[-1]]
