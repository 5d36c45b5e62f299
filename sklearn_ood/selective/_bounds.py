"""How surely a mean loss is small, from the losses that were seen: pure functions.

Rows are accepted by falling confidence, those of equal confidence together.
"""

import numpy as np
from scipy.special import bdtr, rel_entr

# Shares of the most that may be staked on a row without ever losing everything.
STAKES = np.arange(1, 7)[:, None] / 6 * (1 - 1e-4)
SMALLEST = 1e-300  # of limits and levels, so that numbers of rows are finite


def p_values(total, n_accepted, limit):
    """How likely a total loss so small is, were the mean loss of new rows above ``limit``.

    The binomial tail for numbers of errors (integers), else the smaller of Hoeffding's and
    Bentkus's tail, which hold for any losses in [0, 1].

    References
    ----------
    .. [1] S. Bates et al., "Distribution-free, risk-controlling prediction sets", Journal of
       the ACM 68, 2021.
    """
    if total.dtype.kind in "iu":
        return bdtr(total, n_accepted, limit)
    total = total.round(9)  # a whole number of losses stays one
    seen = np.minimum(total / n_accepted, limit)
    divergence = rel_entr(seen, limit) + rel_entr(1 - seen, 1 - limit)
    bentkus = np.e * bdtr(np.ceil(total), n_accepted, limit)
    return np.minimum(np.exp(-n_accepted * divergence), bentkus)


def bet_p_values(log_wealth):
    """How likely the wealth of these bets, were each of them no better than fair.

    A gambler bets on every row that its loss is smaller than a limit, and multiplies his
    wealth by ``1 + stake * gain`` with ``gain = weight * (limit - loss) / (1 - limit)``. Where
    the weighted mean loss of new rows is the limit or more, the mean of each factor is at
    most 1, so that the wealth reaches ``1 / p`` with probability p at most: for any losses and
    weights in [0, 1]. The mean over several stakes is such a wealth too.

    Parameters
    ----------
    log_wealth : ndarray of shape (n_stakes, n_tests)
        Logarithm of the wealth after each test's rows, for each of the ``STAKES``.

    References
    ----------
    .. [1] I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by
       betting", Journal of the Royal Statistical Society B 86, 2024.
    """
    return np.minimum(len(STAKES) * np.exp(-np.logaddexp.reduce(log_wealth)), 1.0)


def acceptance_p_values(n_rows, weight, limit):
    """How likely so few accepted rows are, were their share ``limit``: for the first k.

    ``weight`` is in the order of falling confidence, or None.
    """
    if weight is None:
        return bdtr(np.arange(n_rows), n_rows, limit)
    lost = np.log1p(-STAKES * weight)
    won = np.log1p(STAKES * weight * limit / (1 - limit))
    more = np.cumsum(lost - won, axis=1) - (lost - won)  # of those before each
    return bet_p_values(more + won.sum(axis=1, keepdims=True))


def largest_not_excluded(excludes, limit, n_halvings=30):
    """By halving, just above the largest number that a test does not exclude.

    Parameters
    ----------
    excludes : callable
        From a number in (0, 1) to a boolean; what it excludes it excludes for all larger ones.
    limit : float
        Where that is excluded the result is not above it.
    """
    low, high = (0.0, limit) if excludes(limit) else (limit, 1.0)
    for _ in range(n_halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if excludes(middle) else (middle, high)
    return float(high)


def fewest(limit, delta):
    """How many rows without an error are needed to promise that few are errors."""
    return np.ceil(np.log(max(delta, SMALLEST)) / np.log1p(-max(limit, SMALLEST)))


def starts(n_rows, limit, delta):
    """Ranks from which coverage grows: J of them, in geometric progression up to all rows.

    The smallest is where an error-free block just passes at level delta / J, and each is at
    most twice the one before.
    """
    for n_starts in range(1, 65):
        least = fewest(limit, delta / n_starts)
        if least >= n_rows:
            break
        if n_starts >= 1 + np.log2(n_rows / least):
            return np.geomspace(least, n_rows, n_starts).round().astype(int)
    return np.array([n_rows])


def n_effective(weight):
    """How many rows of equal weight are as good as these."""
    return float(weight.sum() ** 2 / max((weight**2).sum(), 1e-300))


class Steps:
    """The thresholds from the strictest on: one between unequal confidences.

    Parameters
    ----------
    confidence : ndarray of shape (n_rows,)
        Of one row at least.
    loss : ndarray of shape (n_rows,)
        Booleans, or numbers in [0, 1].
    weight : ndarray of shape (n_rows,), default=None
        In [0, 1].

    Attributes
    ----------
    n_accepted, total, threshold : ndarray of shape (n_steps,)
        How many rows each threshold accepts, and their total loss.
    """

    def __init__(self, confidence, loss, weight=None):
        order = np.argsort(-confidence, kind="stable")
        ranked, self.loss = confidence[order], loss[order]
        self.weight = None if weight is None else weight[order]
        self.n_accepted = 1 + np.flatnonzero(np.append(np.diff(ranked) != 0, True))
        self.total = self._sums(self.loss)
        refused = np.append(ranked, -np.inf)[self.n_accepted]
        next_above = np.nextafter(refused, np.inf)
        self.threshold = np.where(np.isneginf(refused), -np.inf, next_above)

    def _sums(self, values):
        return np.cumsum(values, axis=-1)[..., self.n_accepted - 1]


class Sequence(Steps):
    """Tests of "the mean loss is above the limit" in a fixed order, from some starts on.

    Parameters
    ----------
    limit : float in (0, 1)
    level : float in (0, 1)
        About the level of the tests, by which the starts are chosen.
    """

    def __init__(self, confidence, loss, weight, limit, level):
        super().__init__(confidence, loss, weight)
        level /= 1 if weight is None else len(STAKES)
        self.first = np.searchsorted(self.n_accepted, starts(len(loss), limit, level))
        self.limit, self.p_value = limit, self.p_values(limit)

    def p_values(self, limit, steps=slice(None)):
        """How likely losses so small are, were the mean loss the limit or more."""
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
    """The steps of each sequence that pass, so that all promises hold at once, and the level.

    By Holm's correction: a sequence of which every step passes leaves its level to the others.
    """
    n_open = len(sequences)
    while True:
        level = delta / n_open
        passed = [each.passed(level) for each in sequences]
        n_still = sum(
            not own[each.first[0] :].all() for each, own in zip(sequences, passed, strict=True)
        )
        if n_still in (0, n_open):
            return passed, level
        n_open = n_still
