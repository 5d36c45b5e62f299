"""What comparing and refitting members returns."""

from itertools import permutations
from typing import NamedTuple

import numpy as np

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

    @classmethod
    def of_pairs(cls, names, climb):
        """From one ascent for each ordered pair.

        Parameters
        ----------
        names : list of str
        climb : callable
            Maps a pair of names to a `DifferentSamples`.

        Returns
        -------
        Disagreement
        """
        divergence = np.zeros((len(names), len(names)))
        different = np.zeros_like(divergence)
        for a, b in permutations(range(len(names)), 2):
            found = climb((names[a], names[b]))
            divergence[a, b] = found.divergence.mean()
            different[a, b] = found.differ.mean()
        return cls(list(names), divergence, different)

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
        With the new members.
    before, after : dict of str to float
        Accuracy of the consensus on each set that was to be evaluated.
    """

    estimator: object
    before: dict
    after: dict


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


def accuracy_of(estimator, rows):
    """Accuracy on each of several named sets ``(X, y)``."""
    return {name: float(estimator.score(X, y)) for name, (X, y) in rows.items()}


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
