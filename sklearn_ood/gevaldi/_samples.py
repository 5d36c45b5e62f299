"""The samples on which classifiers differ most, what they show, and who is better there."""

import warnings
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from sklearn_ood._optional import optional
from sklearn_ood._parameters import Count, RandomState, Share, check_arguments
from sklearn_ood.inspection._churn import holm, mcnemar
from sklearn_ood.metrics import prediction_set_distance
from sklearn_ood.search._ascent import checkpoints

LEAST_AGREEMENT = 0.9


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Samples at one step of an ascent.

    Attributes
    ----------
    latents, samples : ndarray of shape (n_samples, latent_dim), and (n_samples, n_features)
        What the latents generate are the samples.
    log_proba : ndarray of shape (n_members, n_samples, n_classes)
        The members' predictions.
    log_prior, divergence : ndarray of shape (n_samples,)
        Log density of the latents, and how far the predictions lie apart.
    classes : ndarray of shape (n_classes,)
    """

    latents: np.ndarray
    samples: np.ndarray
    log_proba: np.ndarray
    log_prior: np.ndarray
    divergence: np.ndarray
    classes: np.ndarray

    @property
    def proba(self):
        """The members' probabilities, (n_members, n_samples, n_classes)."""
        return np.exp(self.log_proba)

    @property
    def predictions(self):
        """The members' answers, (n_members, n_samples)."""
        return self.classes[self.log_proba.argmax(axis=2)]


@dataclass(frozen=True, eq=False)
class DifferentSamples:
    """Samples that climbed the divergence of classifiers.

    Attributes
    ----------
    start, end : Snapshot
        Before and after the ascent.
    y : ndarray of shape (n_samples,) or None
        The class whose generator was climbed; None for a generator without classes.
    names : list of str
        The members that were set apart.
    divergence_path, drift_path : ndarray of shape (n_steps + 1, n_samples)
        Divergence, and ``||z - z_start|| / ||z||``, at the start and after every step. By
        evolution a step's state is the best so far.
    log_proba_path : ndarray of shape (n_checkpoints, n_members, n_samples, n_classes)
        Predictions after each of ``steps``.
    input_shape : tuple of int
    class_means : ndarray of shape (n_classes, n_features) or None
        Of the training rows.
    """

    start: Snapshot
    end: Snapshot
    y: np.ndarray | None
    names: list
    divergence_path: np.ndarray
    drift_path: np.ndarray
    log_proba_path: np.ndarray
    input_shape: tuple
    class_means: np.ndarray | None

    def __len__(self):
        return len(self.end.samples)

    def __repr__(self):
        return f"<{len(self)} samples that set {', '.join(map(str, self.names))} apart>"

    @property
    def steps(self):
        """At most eleven steps, the first and the last among them, (n_checkpoints,)."""
        return checkpoints(len(self.divergence_path) - 1)

    @property
    def drift(self):
        """``||z - z_start|| / ||z||`` of each sample, (n_samples,)."""
        return self.drift_path[-1]

    @property
    def differ(self):
        """Whether the members give different answers at the end, (n_samples,)."""
        answers = self.end.predictions
        return (answers != answers[0]).any(axis=0)

    def condition(self):
        """The class that each sample was generated for; an error where there are none."""
        if self.y is None:
            raise ValueError(
                "Got samples without condition labels: their generator was fitted without "
                "classes; use one with a class for each label, to know which answer is right."
            )
        return self.y

    def compare_accuracy(self, judge=None, **options):
        """Which member is better on the samples, taking the condition for the label.

        People would give many samples another label, the more the farther they climbed: the
        verdict may be the wrong way round, and that of :meth:`GeValDi.compare_accuracy`, on
        real rows, goes before it. Interval and test take the samples as independent. Samples of
        one class that climbed to the same summit are not: look at them (``plot_samples``)
        before trusting a p-value. The list has one :class:`PairedAccuracy` a pair of members.

        Parameters
        ----------
        judge : classifier, default=None
            Fitted, and none of the members, such as nearest neighbours of real rows. Samples
            that it gives another label than their condition do not count. A warning says where
            there is none, or it agrees with fewer than nine conditions in ten.
        **options
            ``confidence_level=0.95`` of the bootstrap intervals, ``n_resamples=10_000`` and
            ``random_state=None``.
        """
        label = self.condition()
        agrees, doubt = np.ones(len(self), bool), "no judge"
        if judge is not None:
            agrees = np.asarray(judge.predict(self.end.samples) == label)
            doubt = f"a judge that agrees with {agrees.mean():.0%}"
        if judge is None or agrees.mean() < LEAST_AGREEMENT:
            warnings.warn(
                f"Got {doubt} of the samples' conditions, but the verdict takes these for "
                "labels: trust the one on real rows, GeValDi.compare_accuracy(samples, X, y).",
                stacklevel=2,
            )
        correct = self.end.predictions == label
        return compare_accuracy(correct[:, agrees], self.names, **options)

    def set_distance_path(self, hierarchy=None, *, n=(1, 3, 5)):
        """The first two members' :func:`prediction_set_distance` at ``steps`` of the ascent.

        It is of shape (n_checkpoints, n_samples, len(n)); for a ``hierarchy`` of None a tree is
        learned from the means of the training rows.
        """
        pair = np.moveaxis(self.log_proba_path, 1, 0)[:2]
        known = {"classes": self.end.classes, "class_means": self.class_means}
        distance = prediction_set_distance(*map(np.concatenate, pair), hierarchy, n=n, **known)
        return distance.reshape(*pair.shape[1:3], -1)

    def to_frame(self):
        """One row a sample, as a pandas DataFrame, before and after the ascent."""
        columns = {
            "condition": self.y,
            "start_divergence": self.start.divergence,
            "divergence": self.end.divergence,
            "drift": self.drift,
            "log_prior": self.end.log_prior,
        }
        for i, name in enumerate(self.names):
            for moment, suffix in ((self.start, "_start"), (self.end, "")):
                columns[f"{name}{suffix}"] = moment.predictions[i]
                columns[f"{name}{suffix}_proba"] = moment.proba[i].max(axis=1)
        return optional("pandas", "A frame", "table").DataFrame(columns)


class Disagreement(NamedTuple):
    """How far every member lies from every other.

    Attributes
    ----------
    names : list of str
    divergence, different : ndarray of shape (n_members, n_members)
        Entry (a, b) is the mean of ``KL(p_a || p_b)`` in nats, and the share of the samples to
        which a and b give different answers.
    """

    names: list
    divergence: np.ndarray
    different: np.ndarray

    def to_frame(self):
        """The divergences as a pandas DataFrame, first member down, second across."""
        pandas = optional("pandas", "A frame", "table")
        return pandas.DataFrame(self.divergence, self.names, self.names)


class Refit(NamedTuple):
    """Members fitted again with further rows: the ``estimator`` has them, frozen.

    ``before`` and ``after`` are the accuracies of the consensus on each set that was given.
    """

    estimator: object
    before: dict
    after: dict


class PairedAccuracy(NamedTuple):
    """Two classifiers, ``first`` and ``second``, on the same ``n_samples``.

    Attributes
    ----------
    first_accuracy, second_accuracy, difference : float
        The last is first less second.
    low, high : float
        Bootstrap interval of the difference.
    p_value, adjusted_p_value : float
        Exact McNemar test, two-sided: could the two be equally accurate? And the same after
        Holm's correction for all the pairs compared.
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
    """Compare all pairs of classifiers, of which (n_members, n_samples) answers are correct."""
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
    # Q. McNemar (1947), Note on the sampling error of the difference between correlated
    # proportions; S. Holm (1979), A simple sequentially rejective multiple test procedure.
    adjusted = holm([each[-1] for each in compared]).tolist()
    corrected = zip(compared, adjusted, strict=True)
    return [PairedAccuracy._make([*each, p]) for each, p in corrected]


def nearest_rows(samples, rows):
    """Which rows are nearest to a sample, each once, in units of the features' spread."""
    scaler = StandardScaler().fit(rows)
    nearest = NearestNeighbors(n_neighbors=1).fit(scaler.transform(rows))
    return np.unique(nearest.kneighbors(scaler.transform(samples), return_distance=False))
