"""Bets against a hypothesis, one row after the other: wealth that hardly grows if it is true.

All wealth is in logarithms. A factor is what one unit that is bet on a row becomes; where the
hypothesis is true its expectation is at most 1, whatever came before.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln, logsumexp, xlog1py, xlogy

POWERS = np.array([0.2, 0.5, 0.8])
ODDS = np.array([1.25, 1.5, 2.0, 3.0, 5.0])
PRIOR = 0.5  # of Jeffreys' beta distribution


def log_power_bets(p_values):
    """Logarithms of the factors ``k p**(k - 1)`` and of their mirrors, (n, 2 * n_powers)."""
    # On uniform p-values their mean is 1; they grow where p-values are small, or large.
    p = np.clip(p_values, np.finfo(float).tiny, 1 - np.finfo(float).epsneg)
    log_p = np.column_stack([np.log(p), np.log1p(-p)])[:, :, None]
    return (np.log(POWERS) + (POWERS - 1) * log_p).reshape(len(p), -1)


def log_error_bets(errors, risk):
    """Logarithms of the likelihood ratios of larger risks to ``risk``, (n, n_odds)."""
    # Their mean is at most 1 where the probability of an error is at most the risk.
    odds = ODDS * risk / (1 - risk)
    larger = odds / (1 + odds)
    errors = np.asarray(errors, dtype=bool)[:, None]
    return np.where(errors, np.log(larger / risk), np.log((1 - larger) / (1 - risk)))


def log_unopened(n_rows):
    """Logarithm of the part of the wealth that is not yet bet after ``n_rows`` rows."""
    return -np.log(np.log(np.e + n_rows))


def log_opened(n_rows):
    """Logarithm of the part that is first bet on row ``n_rows``, counted from 1."""
    after = np.e + n_rows
    return np.log(-np.log1p(-1 / after) / (np.log(after) * np.log(after - 1)))


def mixture(log_factors, log_open, n_before):
    """Wealth after each row of a gambler who begins to bet at every row with a part of it."""
    # 1 / log(e + n) of it is unopened after n rows. What is opened at row n stays on one bet
    # from there on: a change is found whenever it comes, and the sum is a test martingale,
    # which reaches 1 / alpha with probability at most alpha, ever (Ville).
    row = n_before + 1 + np.arange(len(log_factors))[:, None]
    grown = np.cumsum(log_factors, axis=0)
    begun = log_opened(row) - (grown - log_factors)
    open_at_start = np.logaddexp.accumulate(np.vstack([log_open, begun]))[1:]
    opened = grown + open_at_start
    log_mean = logsumexp(opened, axis=1) - np.log(opened.shape[1])
    log_wealth = np.logaddexp(log_mean, log_unopened(row[:, 0]))
    return log_wealth, opened[-1] if len(opened) else log_open


def confidence_sequence(n_errors, n_rows, alpha):
    """Bounds on the probability of an error that hold at all times at once (Robbins, 1970)."""
    # The mixture of likelihoods under Jeffreys' prior stays below 1 / alpha times that of the
    # true probability, at every row, with probability 1 - alpha.
    if n_rows == 0:
        return 0.0, 1.0
    n_right = n_rows - n_errors
    mixed = betaln(n_errors + PRIOR, n_right + PRIOR) - betaln(PRIOR, PRIOR)

    def excess(probability):
        likelihood = xlogy(n_errors, probability) + xlog1py(n_right, -probability)
        return mixed - likelihood + np.log(alpha)

    share = n_errors / n_rows
    lower = brentq(excess, 0.0, share) if n_errors and excess(0.0) > 0 else 0.0
    upper = brentq(excess, share, 1.0) if n_right and excess(1.0) > 0 else 1.0
    return lower, upper


def ranks(scores, past, uniform):
    """P-values of scores, each among those before it, and all scores in ascending order."""
    # Independent and uniform, if scores are exchangeable, ties included (Vovk, Gammerman and
    # Shafer, "Algorithmic learning in a random world", 2nd ed., 2022, proposition 2.8).
    earlier = np.tri(len(scores), k=-1, dtype=bool)
    lower = np.searchsorted(past, scores) + (earlier & (scores < scores[:, None])).sum(axis=1)
    equal = np.searchsorted(past, scores, side="right") - np.searchsorted(past, scores)
    equal += (earlier & (scores == scores[:, None])).sum(axis=1)
    n_before = len(past) + np.arange(len(scores))
    p_values = (lower + uniform * (equal + 1)) / (n_before + 1)
    ordered = np.sort(scores)
    return p_values, np.insert(past, np.searchsorted(past, ordered), ordered)
