"""How far classifiers lie apart, and whether one is really better than another."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.stats import binom
from sklearn.utils import check_random_state

from sklearn_ood.gevaldi._divergence import MIN_LOG_PROBA


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
        """The divergences as a pandas DataFrame, first member down, second across.

        Returns
        -------
        DataFrame
        """
        return import_pandas().DataFrame(self.divergence, self.names, self.names)


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
    first_accuracy: float
    second_accuracy: float
    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p_value: float


def compare_accuracy(
    correct, names, *, confidence_level=0.95, n_resamples=10_000, random_state=None
):
    """Compare the accuracies of all pairs of classifiers on the same samples.

    Parameters
    ----------
    correct : ndarray of bool of shape (n_members, n_samples)
        Which answers are right.
    names : sequence of str
    confidence_level : float in (0, 1), default=0.95
        Of the percentile interval of each difference, samples resampled in pairs.
    n_resamples : int >= 1, default=10_000
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    list of PairedAccuracy
        One a pair.

    References
    ----------
    Q. McNemar (1947), Note on the sampling error of the difference between correlated
    proportions; S. Holm (1979), A simple sequentially rejective multiple test procedure.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.gevaldi._comparison import compare_accuracy
    >>> correct = np.array([[1] * 30 + [0] * 2, [0] * 10 + [1] * 20 + [0] * 2], dtype=bool)
    >>> (pair,) = compare_accuracy(correct, ["a", "b"], random_state=0)
    >>> pair.difference, bool(pair.low > 0), round(pair.adjusted_p_value, 4)
    (0.3125, True, 0.002)
    """
    if not 0 < confidence_level < 1:
        raise ValueError(
            f"Got confidence_level={confidence_level!r}, but expected a number in (0, 1)."
        )
    rng = check_random_state(random_state)
    n = correct.shape[1]
    accuracy = correct.mean(axis=1)
    pairs = list(combinations(range(len(correct)), 2))
    first, second = np.array(pairs).T
    both = correct.astype(np.float64) @ correct.T.astype(np.float64)
    right = correct.sum(axis=1)
    only_first = np.round(right[first] - both[first, second]).astype(int)
    only_second = np.round(right[second] - both[first, second]).astype(int)

    p_values = mcnemar(only_first, only_second)
    shares = np.column_stack([only_first, only_second, n - only_first - only_second]) / n
    drawn = np.stack([rng.multinomial(n, share, size=n_resamples) for share in shares])
    tail = (1 - confidence_level) / 2
    ends = np.quantile((drawn[..., 0] - drawn[..., 1]) / n, [tail, 1 - tail], axis=1)
    adjusted = holm(p_values)
    return [
        PairedAccuracy(
            first=names[a],
            second=names[b],
            first_accuracy=float(accuracy[a]),
            second_accuracy=float(accuracy[b]),
            difference=float((only_first[i] - only_second[i]) / n),
            low=float(ends[0, i]),
            high=float(ends[1, i]),
            p_value=float(p_values[i]),
            adjusted_p_value=float(adjusted[i]),
        )
        for i, (a, b) in enumerate(pairs)
    ]


def mcnemar(only_first, only_second):
    """Two-sided p-values of the exact test, from the counts of samples that one gets right.

    Examples
    --------
    >>> from sklearn_ood.gevaldi._comparison import mcnemar
    >>> mcnemar([10, 3], [0, 3]).round(4)
    array([0.002, 1.   ])
    """
    only_first, only_second = np.asarray(only_first), np.asarray(only_second)
    fewer = np.minimum(only_first, only_second)
    return np.minimum(1.0, 2 * binom.cdf(fewer, only_first + only_second, 0.5))


def holm(p_values):
    """p-values corrected for how many there are: any below alpha may be rejected.

    Examples
    --------
    >>> from sklearn_ood.gevaldi._comparison import holm
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)
    factor = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factor * p_values[order]))
    return adjusted


def kl_matrix(names, log_proba):
    """Mean divergence of every ordered pair on given rows.

    Parameters
    ----------
    names : list of str
    log_proba : ndarray of shape (n_members, n_samples, n_classes)

    Returns
    -------
    Disagreement
    """
    log_proba = np.maximum(log_proba, MIN_LOG_PROBA)
    proba = np.exp(log_proba)
    n = log_proba.shape[1]
    crossed = np.tensordot(proba, log_proba, axes=((1, 2), (1, 2))) / n
    divergence = np.maximum(np.diag(crossed)[:, None] - crossed, 0.0)
    answers = log_proba.argmax(axis=2)
    different = (answers[:, None] != answers).mean(axis=2)
    return Disagreement(list(names), divergence, different)


def import_pandas():
    """pandas, or an error that says what it is for."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "to_frame makes a pandas DataFrame, but pandas is not installed; install it, or "
            "use the attributes."
        ) from error
    return pandas
