"""How likely an answer is right where some rows may be of no known class."""

import numpy as np
from scipy.special import logit

from sklearn_ood.combined._arrays import constants, log1p, namespace

# Of the density of p-values of unknown rows, a * u ** (a - 1).
SHAPE = 0.05


def log_right(log_proba, log_p, outlier_share):
    """What to rank answers by: likely right, and likely to be of a known class.

    Where a share pi of the rows is unknown, and every answer to them is wrong, the rows that
    are best refused are those with the least ``p_max / (1 + odds)``, ``odds = pi / (1 - pi) *
    f_out / f_in`` being those of an unknown row [1]_; [2]_ has another product of the two. The
    p-value u of the novelty is uniform on known rows, ``f_in(u) = 1``, and falls for unknown
    ones: ``f_out(u) = a * u ** (a - 1)`` with a small a.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples,)
        Logarithm of the probability of the answer, were the row of a known class.
    log_p : ndarray of shape (n_samples,)
        Logarithm of the p-value.
    outlier_share : float in [0, 1)
        Share of unknown rows, pi.

    Returns
    -------
    ndarray of shape (n_samples,)
        At most 0; ``log_proba`` where the share is 0.

    References
    ----------
    .. [1] H. Narasimhan, A. K. Menon, W. Jitkrittum and S. Kumar, "Plugin estimators for
       selective classification with out-of-distribution detection", ICLR 2024, section 4.
    .. [2] G. Xia and C.-S. Bouganis, "Augmenting softmax information for selective
       classification with out-of-distribution data", ACCV 2022.
    """
    xp = namespace(log_p)
    first, slope = constants(log_p, logit(outlier_share) + np.log(SHAPE), SHAPE - 1)
    log_odds = first + slope * log_p
    return log_proba - xp.clip(log_odds, 0, None) - log1p(xp.exp(-xp.abs(log_odds)))
