"""How surely a mean loss is small, from the losses that were seen: pure functions.

Losses that are booleans are errors, and their bounds exact; others lie in [0, 1].
"""

import numpy as np
from scipy.special import bdtr, rel_entr
from scipy.stats import beta


def upper_bound(n_errors, n_accepted, delta):
    """Clopper-Pearson bound: the error rate exceeds it with probability ``delta`` at most.

    It is 1 where every accepted row is an error, or none is accepted.
    """
    n_right = np.asarray(n_accepted) - n_errors
    bound = beta.ppf(1 - delta, np.add(n_errors, 1), np.maximum(n_right, 1))
    return np.where(n_right > 0, bound, 1.0)


def p_value(total, n_accepted, limit):
    """How likely a total loss so small is, were the mean loss of new rows above ``limit``.

    The binomial tail for numbers of errors (integers), else the smaller of Hoeffding's and
    Bentkus's tail, which hold for any losses in [0, 1].

    References
    ----------
    .. [1] S. Bates et al., "Distribution-free, risk-controlling prediction sets", Journal of
       the ACM 68, 2021.
    """
    if np.asarray(total).dtype.kind in "iu":
        return bdtr(total, n_accepted, limit)
    seen = np.minimum(total / n_accepted, limit)
    divergence = rel_entr(seen, limit) + rel_entr(1 - seen, 1 - limit)
    bentkus = np.e * bdtr(np.ceil(total), n_accepted, limit)
    return np.minimum(np.exp(-n_accepted * divergence), bentkus)


def mean_bound(total, n_accepted, delta):
    """The mean loss of new rows exceeds it with probability ``delta`` at most."""
    if np.asarray(total).dtype.kind in "iu":
        return upper_bound(total, n_accepted, delta)
    low, high = total / n_accepted, np.ones(np.shape(total))
    for _ in range(40):  # halvings
        middle = (low + high) / 2
        excluded = p_value(total, n_accepted, middle) <= delta
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
    n_rows : ndarray of int of shape (n_groups,)
        All positive.

    Returns
    -------
    ranks : ndarray of int of shape (n_starts,)
        One group after the other.
    n_starts : ndarray of int of shape (n_groups,)
        J of each group.
    """
    tried = np.arange(1, 65)
    least = fewest(limit, delta / tried)[:, None]
    enough = (least >= n_rows) | (tried[:, None] >= 1 + np.log2(n_rows / least))
    found = enough.argmax(axis=0)
    alone = least[found, 0] >= n_rows
    n_starts = np.where(alone, 1, tried[found])
    first = np.repeat(np.where(alone, n_rows, least[found, 0]), n_starts)
    number = np.arange(n_starts.sum()) - np.repeat(np.cumsum(n_starts) - n_starts, n_starts)
    way = number / np.repeat(np.maximum(n_starts - 1, 1), n_starts)
    ranks = first * (np.repeat(n_rows, n_starts) / first) ** way
    return ranks.round().astype(int), n_starts
