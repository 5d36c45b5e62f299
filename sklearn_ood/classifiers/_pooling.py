"""A logarithmic opinion pool: the weights of several classifiers' log-probabilities."""

import numpy as np
from scipy.optimize import minimize

from sklearn_ood._response import log_softmax


def pooling_weights(log_p, codes, *, prior, strength):
    """Weights, none negative, of members' log-probabilities with the least log loss.

    Parameters
    ----------
    log_p : ndarray of shape (n_members, n_samples, n_classes)
    codes : ndarray of int of shape (n_samples,)
    prior : ndarray of shape (n_members,)
        Where the weights are drawn.
    strength : float
        Of the penalty on their squared distance from there, beside the summed log loss.

    Returns
    -------
    ndarray of shape (n_members,)
    """
    n_members, n, _ = log_p.shape
    truth = log_p[:, np.arange(n), codes]

    def loss(weights):
        pooled = log_softmax(np.tensordot(weights, log_p, 1))
        away = weights - prior
        value = -pooled[np.arange(n), codes].sum() + strength * away @ away
        expected = np.einsum("mnk,nk->mn", log_p, np.exp(pooled))
        slope = (expected - truth).sum(axis=1) + 2 * strength * away
        return value / n, slope / n

    start = np.full(n_members, 1 / n_members)
    return minimize(loss, start, jac=True, bounds=[(0, None)] * n_members).x
