"""From logits to log-probabilities and confidences: pure functions in float64.

All confidences are higher for inputs that look more in-distribution, and all are computed
in log space: a softmax saturates at 1.0, where thousands of rows could not be told apart.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from sklearn_ood._response import log_softmax


def max_proba(logits):
    """Logarithm of the largest probability, in (-inf, 0] (Hendrycks & Gimpel, 2017)."""
    # As log_softmax, for the largest logit alone; one row a class is kinder to the memory.
    shifted = np.array(np.transpose(logits), dtype=np.float64, order="C")
    shifted -= shifted.max(axis=0)
    top = shifted == 0
    odds = np.exp(shifted, out=shifted)
    odds[top] = 0
    return -np.log1p(odds.sum(axis=0) + (top.sum(axis=0) - 1))


def entropy(logits):
    """Minus the entropy of the probabilities in nats, in [-log(n_classes), 0]."""
    log_p = log_softmax(logits)
    return (np.exp(log_p) * log_p).sum(axis=1)


def margin(logits):
    """Difference of the two largest log-probabilities, in [0, inf)."""
    top = np.partition(logits, -2, axis=1)[:, -2:]
    return top[:, 1] - top[:, 0]


def max_logit(logits):
    """The largest logit, in (-inf, inf)."""
    return logits.max(axis=1)


def energy(logits):
    """Minus the free energy, logsumexp of the logits, in (-inf, inf) (Liu et al., 2020)."""
    return logsumexp(logits, axis=1)


CONFIDENCES = {
    "max_proba": max_proba,
    "entropy": entropy,
    "margin": margin,
    "max_logit": max_logit,
    "energy": energy,
}


def fit_temperature(logits, codes):
    """Temperature with the least cross entropy on held-out rows (Guo et al., 2017).

    Parameters
    ----------
    logits : ndarray of shape (n_samples, n_classes)
    codes : ndarray of shape (n_samples,)
        Index of the true class.

    Returns
    -------
    float
        Between 1/50 and 50.

    Examples
    --------
    Overconfident logits, right three times of four, are cooled down:

    >>> import numpy as np
    >>> from sklearn_ood.nets._heads import fit_temperature
    >>> logits = np.tile([5.0, -5.0], (4, 1))
    >>> round(fit_temperature(logits, np.array([0, 0, 0, 1])), 2)
    9.1
    """
    rows = np.arange(len(codes))

    def cross_entropy(log_temperature):
        return -log_softmax(logits / np.exp(log_temperature))[rows, codes].mean()

    bound = np.log(50.0)
    best = minimize_scalar(cross_entropy, bounds=(-bound, bound), method="bounded")
    return float(np.exp(best.x))
