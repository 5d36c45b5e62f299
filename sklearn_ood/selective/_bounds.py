"""How surely a mean loss is small, from the losses that were seen: pure functions."""

import numpy as np
from scipy.special import bdtr, rel_entr
from scipy.stats import beta

# Shares of the most that may be staked on a row without ever losing everything.
STAKES = np.arange(1, 7) / 6 * (1 - 1e-4)


def upper_bound(n_errors, n_accepted, delta):
    """Clopper-Pearson bound: the error rate exceeds it with probability ``delta`` at most.

    It is 1 where every accepted row is an error, or none is accepted.
    """
    n_right = np.asarray(n_accepted) - n_errors
    bound = beta.ppf(1 - delta, np.add(n_errors, 1), np.maximum(n_right, 1))
    return np.where(n_right > 0, bound, 1.0)


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
    log_wealth : callable
        From stakes, of shape (n_stakes, 1), to the logarithm of the wealth after each test's
        rows, of shape (n_stakes, n_tests).

    Returns
    -------
    ndarray of shape (n_tests,)

    References
    ----------
    .. [1] I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by
       betting", Journal of the Royal Statistical Society B 86, 2024.
    """
    total = np.logaddexp.reduce(log_wealth(STAKES[:, None]))
    return np.minimum(len(STAKES) * np.exp(-total), 1.0)


def largest_not_excluded(excludes, low, high, n_halvings=20):
    """By halving, a millionth above the largest limits that a test does not exclude.

    Parameters
    ----------
    excludes : callable
        From limits to booleans; what it excludes it excludes for all larger limits.
    low, high : ndarray of shape (n_tests,)
        Between these.
    """
    for _ in range(n_halvings):
        middle = (low + high) / 2
        excluded = excludes(middle)
        low, high = np.where(excluded, low, middle), np.where(excluded, middle, high)
    return high


def fewest(limit, delta):
    """How many rows without an error are needed to promise that few are errors."""
    return np.ceil(np.log(delta) / np.log1p(-limit)).astype(int)


def starts(n_rows, limit, delta):
    """Ranks from which coverage grows: J of them, in geometric progression up to all rows.

    The smallest is where an error-free block just passes at level delta / J, and each is at
    most twice the one before.

    Parameters
    ----------
    n_rows : ndarray of int of shape (n_parts,)
        All positive.
    limit : ndarray of shape (n_parts,)
    delta : float

    Returns
    -------
    ranks : ndarray of int of shape (n_starts,)
        One part after the other.
    n_starts : ndarray of int of shape (n_parts,)
        J of each part.
    """
    tried = np.arange(1, 65)[:, None]
    least = fewest(limit, delta / tried)
    enough = (least >= n_rows) | (tried >= 1 + np.log2(n_rows / least))
    found = enough.argmax(axis=0)
    least = least[found, np.arange(len(n_rows))]
    n_starts = np.where(least >= n_rows, 1, 1 + found)
    first = np.repeat(np.minimum(least, n_rows), n_starts)
    number = np.arange(n_starts.sum()) - np.repeat(np.cumsum(n_starts) - n_starts, n_starts)
    way = number / np.repeat(np.maximum(n_starts - 1, 1), n_starts)
    ranks = first * (np.repeat(n_rows, n_starts) / first) ** way
    return ranks.round().astype(int), n_starts
