"""Samples on which classifiers differ: clusters that none can settle, and pictures."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.cluster import DBSCAN, HDBSCAN
from sklearn.preprocessing import StandardScaler

from sklearn_ood._parameters import Positive, Several, check_arguments
from sklearn_ood._plotting import draw_row, new_figure

MAX_COMPONENTS = 20
CONFUSABLE_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class FailureRegion:
    """One kind of input that the members cannot settle, of ``size`` samples.

    Attributes
    ----------
    confusable : list of labels
        Classes that get at least 10 % of the members' answers, the most frequent first.
    mean_divergence : float
    index, representatives : ndarray of int
        Which samples, and which, ten at most, are nearest its centre.
    """

    size: int
    confusable: list
    mean_divergence: float
    index: np.ndarray
    representatives: np.ndarray

    @property
    def name(self):
        """The confusable classes as one word, such as "9-5-3"."""
        return "-".join(map(str, self.confusable))


def find_regions(
    samples,
    generator,
    *,
    space: Literal["auto", "latent", "probability", "input"],
    min_samples: Several,
    eps: Positive | None,
):
    """Clusters of samples, the largest first."""
    check_arguments(find_regions, locals())
    if space == "auto":
        one_space = getattr(generator, "conditional", False) or generator.n_classes_ == 1
        space = "latent" if one_space else "probability"
    points = embed(samples, space)
    labels = cluster_labels(points, min_samples, eps)
    kept = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    kept.sort(key=len, reverse=True)
    return [_region(samples, points, index) for index in kept]


def embed(samples, space):
    """Points in which to cluster samples, (n_samples, n_dims)."""
    if space == "latent":
        return samples.end.latents
    if space == "probability":
        return np.sqrt(np.concatenate(list(samples.end.proba), axis=1))
    from sklearn.decomposition import PCA  # slow to import

    rows = StandardScaler().fit_transform(samples.end.samples)
    return PCA(min(MAX_COMPONENTS, *rows.shape), random_state=0).fit_transform(rows)


def cluster_labels(points, min_samples, eps=None):
    """Cluster of each point, -1 for noise: by DBSCAN of a radius, else by HDBSCAN."""
    if eps is not None:
        return DBSCAN(eps=eps, min_samples=min_samples).fit_predict(points)
    if len(points) < min_samples:
        return np.full(len(points), -1)
    return HDBSCAN(min_cluster_size=min_samples, copy=True).fit_predict(points)


def _region(samples, points, index):
    """What the samples of one cluster have in common."""
    centre = points[index].mean(axis=0)
    nearest = np.argsort(np.linalg.norm(points[index] - centre, axis=1), kind="stable")[:10]
    labels, counts = np.unique(samples.end.predictions[:, index], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    frequent = counts[order] >= CONFUSABLE_SHARE * counts.sum()
    return FailureRegion(
        size=len(index),
        confusable=labels[order][frequent].tolist(),
        mean_divergence=float(samples.end.divergence[index].mean()),
        index=index,
        representatives=index[nearest],
    )


def plot_samples(found, *, max_samples=8):
    """Draw the ``max_samples`` that diverge most, of :class:`DifferentSamples`."""
    index = np.argsort(-found.end.divergence, kind="stable")[:max_samples]
    figure = new_figure(4.2, 1.5 * len(index))
    axes = figure.subplots(len(index), 2, squeeze=False)
    for column, moment in zip(axes.T, (found.start, found.end), strict=True):
        answers, best = moment.predictions, moment.proba.max(axis=2)
        for axis, i in zip(column, index, strict=True):
            draw_row(axis, moment.samples[i], found.input_shape)
            named = zip(found.names, answers[:, i], best[:, i], strict=True)
            title = "\n".join(f"{name}: {answer} ({p:.2f})" for name, answer, p in named)
            axis.set_title(title, fontsize=6)
    if found.y is not None:
        for axis, label in zip(axes[:, 0], found.y[index], strict=True):
            axis.set_ylabel(str(label), fontweight="bold", rotation=0, labelpad=10)
    return figure


def plot_ascent(found, *, hierarchy=None, n=(1, 3, 5)):
    """Draw divergence, drift and set distance along the ascent of :class:`DifferentSamples`.

    Means, and the middle half of divergence and drift. Set distances, by ``hierarchy`` and
    ``n`` as ``set_distance_path`` has them, are left out where there is neither that nor class
    means.
    """
    ranked = hierarchy is not None or found.class_means is not None
    figure = new_figure(10 if ranked else 7, 3)
    axes = figure.subplots(1, 2 + ranked)
    curves = ((found.divergence_path, "Divergence (nats)"), (found.drift_path, "Drift"))
    for axis, (path, label) in zip(axes[:2], curves, strict=True):
        steps = np.arange(len(path))
        low, high = np.quantile(path, [0.25, 0.75], axis=1)
        axis.fill_between(steps, low, high, alpha=0.3, linewidth=0)
        axis.plot(steps, path.mean(axis=1))
        axis.set(xlabel="Step", ylabel=label)
    if ranked:
        distances = found.set_distance_path(hierarchy, n=n).mean(axis=1)
        for curve, size in zip(distances.T, np.atleast_1d(n), strict=True):
            axes[2].plot(found.steps, curve, marker="o", markersize=3, label=f"n = {size}")
        axes[2].set(xlabel="Step", ylabel="Prediction set distance")
        axes[2].legend()
    return figure


def plot_map(found, regions, X=None, y=None):
    """Draw where regions of :class:`DifferentSamples` lie, on two principal components.

    Those of real rows, where X is given, which are drawn beside, by their labels y.
    """
    from sklearn.decomposition import PCA  # slow to import

    rows = found.end.samples if X is None else np.asarray(X).reshape(len(X), -1)
    components = PCA(2, random_state=0).fit(rows)
    figure = new_figure(5.5 if X is None else 10, 4.5)
    axes = figure.subplots(1, 1 if X is None else 2, sharex=True, sharey=True, squeeze=False)[0]
    if X is not None:
        labels = np.zeros(len(rows)) if y is None else np.asarray(y)
        groups = [(str(label), labels == label) for label in np.unique(labels)]
        _scatter(axes[0], components.transform(rows), groups, "real rows")
    points = components.transform(found.end.samples)
    axes[-1].scatter(*points.T, s=4, color="0.8", label="in no region")
    groups = [(f"{region.name} ({region.size})", region.index) for region in regions]
    _scatter(axes[-1], points, groups, "maximally different samples")
    return figure


def plot_regions(found, regions, *, max_regions=6):
    """Draw representative samples of the first ``max_regions`` regions."""
    regions = regions[:max_regions]
    width = max((len(region.representatives) for region in regions), default=1)
    figure = new_figure(0.9 * width + 1, 1.1 * max(1, len(regions)))
    axes = figure.subplots(max(1, len(regions)), width, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, region in zip(axes, regions, strict=False):
        line[0].set_title(f"{region.name} ({region.size})", fontsize=7, loc="left")
        for axis, i in zip(line, region.representatives, strict=False):
            axis.set_axis_on()
            draw_row(axis, found.end.samples[i], found.input_shape)
    return figure


def plot_changes(found, *, feature_names=None, max_features=20):
    """Draw what the ascent of :class:`DifferentSamples` changed in each feature: for tables.

    For each feature, by ``feature_names``, a bar of the mean absolute change, in standard
    deviations of the start, and the mean change as a point; the ``max_features`` that changed
    most.
    """
    start, end = found.start.samples, found.end.samples
    n_features = end.shape[1]
    names = np.arange(n_features) if feature_names is None else np.asarray(feature_names)
    if len(names) != n_features:
        raise ValueError(
            f"Got {len(names)} feature_names, but the samples have {n_features} features."
        )
    spread = start.std(axis=0)
    change = (end - start) / np.where(spread > 0, spread, 1.0)
    size = np.abs(change).mean(axis=0)
    kept = np.argsort(-size, kind="stable")[:max_features][::-1]
    figure = new_figure(5.5, 1 + 0.25 * len(kept))
    axis = figure.subplots()
    place = np.arange(len(kept))
    axis.barh(place, size[kept], color="C0", alpha=0.5, label="mean size of the change")
    axis.plot(change.mean(axis=0)[kept], place, "o", color="C1", label="mean change")
    axis.axvline(0, color="0.5", linewidth=0.8)
    axis.set_yticks(place, [str(name) for name in names[kept]])
    axis.set_xlabel("Change in standard deviations of the start")
    axis.legend(fontsize=7)
    return figure


def _scatter(axis, points, groups, title):
    for number, (name, index) in enumerate(groups):
        axis.scatter(*points[index].T, s=5, color=f"C{number % 10}", label=name)
    axis.legend(fontsize=6, markerscale=2)
    axis.set(title=title, xlabel="First component", ylabel="Second component")
