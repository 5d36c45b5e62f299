"""The samples on which classifiers differ most, and what they show."""

from dataclasses import dataclass

import numpy as np

from sklearn_ood.gevaldi._comparison import compare_accuracy
from sklearn_ood.gevaldi._disagreement import import_pandas
from sklearn_ood.gevaldi._members import log_proba
from sklearn_ood.gevaldi._plots import (
    draw_before_and_after,
    draw_changes,
    draw_curves,
    draw_map,
    draw_regions,
)
from sklearn_ood.metrics._set_distance import class_distances, set_distances, set_sizes
from sklearn_ood.search._ascent import checkpoints


@dataclass(frozen=True, eq=False)
class DifferentSamples:
    """Samples that climbed the divergence of classifiers.

    Attributes
    ----------
    samples, start_samples : ndarray of shape (n_samples, n_features)
        What the latents generate at the end and at the start of the ascent.
    latents, start_latents : ndarray of shape (n_samples, latent_dim)
    y : ndarray of shape (n_samples,) or None
        The class whose generator was climbed; None for a generator without classes.
    names : list of str
        The members that were set apart.
    classes : ndarray of shape (n_classes,)
    log_proba, start_log_proba : ndarray of shape (n_members, n_samples, n_classes)
        Their predictions.
    divergence_path, drift_path : ndarray of shape (n_steps + 1, n_samples)
        Divergence, and ``||z - z_start|| / ||z||``, at the start and after every step. By
        evolution a step's state is the best so far.
    steps : ndarray of shape (n_checkpoints,)
        At most eleven steps, the first and the last among them.
    log_proba_path : ndarray of shape (n_checkpoints, n_members, n_samples, n_classes)
        Predictions after these.
    log_prior, start_log_prior : ndarray of shape (n_samples,)
        Log density of the latents.
    input_shape : tuple of int
    class_means : ndarray of shape (n_classes, n_features) or None
        Of the training rows.
    """

    samples: np.ndarray
    start_samples: np.ndarray
    latents: np.ndarray
    start_latents: np.ndarray
    y: np.ndarray | None
    names: list
    classes: np.ndarray
    log_proba: np.ndarray
    start_log_proba: np.ndarray
    divergence_path: np.ndarray
    drift_path: np.ndarray
    steps: np.ndarray
    log_proba_path: np.ndarray
    log_prior: np.ndarray
    start_log_prior: np.ndarray
    input_shape: tuple
    class_means: np.ndarray | None

    @classmethod
    def from_ascent(cls, ascent, start, kept, names, members, generator, codes, estimator):
        """From latents that have climbed.

        Parameters
        ----------
        ascent : Ascent
        start : tensor of shape (n, m)
            Where they started.
        kept : long tensor of shape (n_samples,)
            Which of the n to keep.
        names, members : list
            Those that were set apart.
        generator : generator
        codes : ndarray of shape (n_samples,)
            Position of each sample's class among those of the generator.
        estimator : GeValDi

        Returns
        -------
        DifferentSamples
        """
        latents, start_latents = (z[kept].cpu().numpy() for z in (ascent.z, start))
        y = None if generator.classes_ is None else generator.classes_[codes]
        samples, start_samples = (
            generator.decode(z, y).astype(np.float32) for z in (latents, start_latents)
        )
        return cls(
            samples=samples,
            start_samples=start_samples,
            latents=latents,
            start_latents=start_latents,
            y=y,
            names=list(names),
            classes=estimator.classes_,
            log_proba=log_proba(members, samples),
            start_log_proba=log_proba(members, start_samples),
            divergence_path=ascent.divergence[:, kept].double().cpu().numpy(),
            drift_path=ascent.drift[:, kept].double().cpu().numpy(),
            steps=checkpoints(len(ascent.divergence) - 1),
            log_proba_path=ascent.log_proba[:, :, kept].cpu().numpy(),
            log_prior=generator.log_prior(latents),
            start_log_prior=generator.log_prior(start_latents),
            input_shape=tuple(estimator.input_shape_),
            class_means=estimator.class_means_,
        )

    def __len__(self):
        return len(self.samples)

    @property
    def divergence(self):
        """Divergence of each sample, (n_samples,)."""
        return self.divergence_path[-1]

    @property
    def start_divergence(self):
        """Divergence of each sample before the ascent, (n_samples,)."""
        return self.divergence_path[0]

    @property
    def drift(self):
        """``||z - z_start|| / ||z||`` of each sample, (n_samples,)."""
        return self.drift_path[-1]

    @property
    def proba(self):
        """The members' probabilities, (n_members, n_samples, n_classes)."""
        return np.exp(self.log_proba)

    @property
    def start_proba(self):
        """The members' probabilities before the ascent."""
        return np.exp(self.start_log_proba)

    @property
    def predictions(self):
        """The members' answers, (n_members, n_samples)."""
        return self.classes[self.log_proba.argmax(axis=2)]

    @property
    def start_predictions(self):
        """The members' answers before the ascent."""
        return self.classes[self.start_log_proba.argmax(axis=2)]

    @property
    def differ(self):
        """Whether the members give different answers, (n_samples,)."""
        return (self.predictions != self.predictions[0]).any(axis=0)

    def condition(self):
        """The class that each sample was generated for.

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        ValueError
            If the generator has no classes.
        """
        if self.y is None:
            raise ValueError(
                "Got samples without condition labels: their generator was fitted without "
                "classes, so that nobody knows which answer is right; use a generator with "
                "one class for each label."
            )
        return self.y

    def compare_accuracy(self, *, confidence_level=0.95, n_resamples=10_000, random_state=None):
        """Which member is really better here, taking the condition for the label.

        Interval and test take the samples as independent. Samples of one class that climbed
        to the same summit are not: look at `plot_samples` before trusting a small p-value,
        and see that their latents have not run together.

        Parameters
        ----------
        confidence_level : float in (0, 1), default=0.95
            Of the bootstrap intervals.
        n_resamples : int >= 1, default=10_000
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        list of PairedAccuracy
            One a pair of members: accuracies, interval of their difference, exact McNemar
            test, corrected for the number of pairs.
        """
        return compare_accuracy(
            self.predictions == self.condition(),
            self.names,
            confidence_level=confidence_level,
            n_resamples=n_resamples,
            random_state=random_state,
        )

    def set_distance_path(self, hierarchy=None, *, n=(1, 3, 5)):
        """Course of the first two members' `prediction_set_distance` along the ascent.

        Parameters
        ----------
        hierarchy : networkx graph, dict or None, default=None
            None learns a tree from the means of the training rows.
        n : int or tuple of int, default=(1, 3, 5)
            Sizes of the sets.

        Returns
        -------
        ndarray of shape (n_checkpoints, n_samples, len(n))
            At `steps`.
        """
        sizes = set_sizes(n)
        distance = class_distances(hierarchy, self.classes, self.class_means)
        return np.stack(
            [set_distances(each[0], each[1], distance, sizes) for each in self.log_proba_path]
        )

    def to_frame(self):
        """One row a sample, as a pandas DataFrame.

        Returns
        -------
        DataFrame
            Condition, divergence before and after, drift, log prior, and each member's
            answer and its probability before and after.
        """
        columns = {
            "condition": self.y,
            "start_divergence": self.start_divergence,
            "divergence": self.divergence,
            "drift": self.drift,
            "log_prior": self.log_prior,
        }
        proba, start = self.proba.max(axis=2), self.start_proba.max(axis=2)
        for i, name in enumerate(self.names):
            columns |= {
                f"{name}_start": self.start_predictions[i],
                f"{name}_start_proba": start[i],
                name: self.predictions[i],
                f"{name}_proba": proba[i],
            }
        return import_pandas().DataFrame(columns)

    def plot_samples(self, *, max_samples=8):
        """Draw the most divergent samples before and after the ascent (figure 1).

        Parameters
        ----------
        max_samples : int, default=8

        Returns
        -------
        matplotlib.figure.Figure
            Two columns, before and after, with the members' answers.
        """
        return draw_before_and_after(self, max_samples)

    def plot_ascent(self, *, hierarchy=None, n=(1, 3, 5)):
        """Draw divergence, drift and set distance along the ascent (figures 2 and 3).

        Parameters
        ----------
        hierarchy, n
            As for `set_distance_path`. Set distances are left out where there is neither a
            hierarchy nor class means to learn one from.

        Returns
        -------
        matplotlib.figure.Figure
        """
        known = hierarchy is not None or self.class_means is not None
        distances = self.set_distance_path(hierarchy, n=n).mean(axis=1) if known else None
        return draw_curves(self, distances, set_sizes(n))

    def plot_map(self, regions, X=None, y=None):
        """Draw where the regions lie, on two principal components (figure 5).

        Parameters
        ----------
        regions : list of FailureRegion
        X : array-like of shape (n_rows, n_features), default=None
            Real rows, drawn beside; the components are theirs.
        y : array-like of shape (n_rows,), default=None
            Their labels.

        Returns
        -------
        matplotlib.figure.Figure
        """
        return draw_map(self, regions, X, y)

    def plot_regions(self, regions, *, max_regions=6):
        """Draw representative samples of each region (figure 6).

        Parameters
        ----------
        regions : list of FailureRegion
        max_regions : int, default=6

        Returns
        -------
        matplotlib.figure.Figure
        """
        return draw_regions(self, regions, max_regions)

    def plot_changes(self, *, feature_names=None, max_features=20):
        """Draw what the ascent changed in each feature: for tables.

        Parameters
        ----------
        feature_names : sequence of str, default=None
        max_features : int, default=20
            The features that changed most are drawn.

        Returns
        -------
        matplotlib.figure.Figure
            For each feature a bar of the mean absolute change, in standard deviations of the
            start, and the mean change as a point.
        """
        return draw_changes(self, feature_names, max_features)
