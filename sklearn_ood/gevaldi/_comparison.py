"""How far classifiers lie apart, and whether one is really better than another."""

from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from sklearn_ood._optional import optional
from sklearn_ood._parameters import Count, RandomState, Share, check_arguments
from sklearn_ood.gevaldi._divergence import kl_divergence
from sklearn_ood.inspection._churn import holm, mcnemar


class Disagreement(NamedTuple):
    """How far every member lies from every other.

    Attributes
    ----------
    names : list of str
    divergence : ndarray of shape (n_members, n_members)
        Entry (a, b) is the mean of ``KL(p_a || p_b)`` in nats; 0 on the diagonal.
    different : ndarray of shape (n_members, n_members)
        Share of the samples to which a and b give different answers.
    """

    names: list
    divergence: np.ndarray
    different: np.ndarray

    def to_frame(self):
        """The divergences as a pandas DataFrame, first member down, second across."""
        pandas = optional("pandas", "A frame", "table")
        return pandas.DataFrame(self.divergence, self.names, self.names)


class Refit(NamedTuple):
    """Members fitted again with further rows.

    Attributes
    ----------
    estimator : GeValDi
        With the new members, frozen.
    before, after : dict of str to float
        Accuracy of the consensus on each set that was to be evaluated.
    """

    estimator: object
    before: dict
    after: dict


class PairedAccuracy(NamedTuple):
    """Two classifiers on the same samples.

    Attributes
    ----------
    first, second : str
        Their names.
    n_samples : int
        How many were judged.
    first_accuracy, second_accuracy : float
    difference : float
        First less second.
    low, high : float
        Bootstrap interval of the difference.
    p_value : float
        Exact McNemar test, two-sided: could the two be equally accurate?
    adjusted_p_value : float
        The same after Holm's correction for all the pairs compared.
    """

    first: str
    second: str
    n_samples: int
    first_accuracy: float
    second_accuracy: float
    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p_value: float


def compare_accuracy(
    correct,
    names,
    confidence_level: Share = 0.95,
    n_resamples: Count = 10_000,
    random_state: RandomState = None,
):
    """Compare all pairs of classifiers, of which (n_members, n_samples) answers are correct.

    The parameters are those of ``DifferentSamples.compare_accuracy``.

    References
    ----------
    Q. McNemar (1947), Note on the sampling error of the difference between correlated
    proportions; S. Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    check_arguments(compare_accuracy, locals())
    rng, n = check_random_state(random_state), correct.shape[1]
    if not n:
        raise ValueError("Got no sample on whose label condition and judge agree; take more.")
    tail = (1 - confidence_level) / 2
    compared = []
    pairs = zip(combinations(names, 2), combinations(correct, 2), strict=True)
    for pair, (first, second) in pairs:
        only = (first & ~second).sum(), (second & ~first).sum()
        shares = np.array([*only, n - sum(only)]) / n
        drawn = rng.multinomial(n, shares, size=n_resamples) / n
        interval = np.quantile(drawn[:, 0] - drawn[:, 1], [tail, 1 - tail])
        numbers = first.mean(), second.mean(), shares[0] - shares[1], *interval, mcnemar(*only)
        compared.append([*pair, n, *map(float, numbers)])
    adjusted = holm([each[-1] for each in compared]).tolist()
    corrected = zip(compared, adjusted, strict=True)
    return [PairedAccuracy._make([*each, p]) for each, p in corrected]


def nearest_rows(samples, rows):
    """Which rows are nearest to a sample, each once, in units of the features' spread."""
    scaler = StandardScaler().fit(rows)
    nearest = NearestNeighbors(n_neighbors=1).fit(scaler.transform(rows))
    return np.unique(nearest.kneighbors(scaler.transform(samples), return_distance=False))


def disagreement(names, log_proba_of):
    """Of every ordered pair, from a function of two positions to predictions (2, n, K)."""
    divergence, different = np.zeros((2, len(names), len(names)))
    for pair in permutations(range(len(names)), 2):
        log_proba = log_proba_of(*pair)
        first, second = log_proba.argmax(axis=2)
        divergence[pair] = kl_divergence(torch.from_numpy(log_proba)).mean()
        different[pair] = (first != second).mean()
    return Disagreement(names, divergence, different)
