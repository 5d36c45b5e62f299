"""Pictures of the samples on which classifiers differ."""

import numpy as np

from sklearn_ood._plotting import pyplot
from sklearn_ood.inspection._explanation import draw_row


def new_figure(width, height):
    """An empty figure."""
    return pyplot().figure(figsize=(width, height), layout="constrained")


def draw_before_and_after(found, max_samples):
    """Samples before and after the ascent, the most divergent first, with all answers."""
    index = np.argsort(-found.divergence, kind="stable")[:max_samples]
    figure = new_figure(4.2, 1.5 * len(index))
    axes = figure.subplots(len(index), 2, squeeze=False)
    before, after = found.start_proba, found.proba
    for line, i in zip(axes, index, strict=True):
        for axis, rows, proba in (
            (line[0], found.start_samples, before),
            (line[1], found.samples, after),
        ):
            draw_row(axis, rows[i], found.input_shape)
            best = proba[:, i].argmax(axis=1)
            answers = [
                f"{name}: {found.classes[k]} ({proba[m, i, k]:.2f})"
                for m, (name, k) in enumerate(zip(found.names, best, strict=True))
            ]
            axis.set_title("\n".join(answers), fontsize=6)
        if found.y is not None:
            line[0].set_ylabel(str(found.y[i]), fontweight="bold", rotation=0, labelpad=10)
    return figure


def draw_curves(found, set_distances, sizes):
    """Mean and middle half of divergence and drift, and mean set distances, step by step."""
    figure = new_figure(10 if set_distances is not None else 7, 3)
    axes = figure.subplots(1, 2 + (set_distances is not None))
    curves = ((found.divergence_path, "Divergence (nats)"), (found.drift_path, "Drift"))
    for axis, (path, label) in zip(axes[:2], curves, strict=True):
        steps = np.arange(len(path))
        low, high = np.quantile(path, [0.25, 0.75], axis=1)
        axis.fill_between(steps, low, high, alpha=0.3, linewidth=0)
        axis.plot(steps, path.mean(axis=1))
        axis.set(xlabel="Step", ylabel=label)
    if set_distances is not None:
        for curve, n in zip(set_distances.T, sizes, strict=True):
            axes[2].plot(found.steps, curve, marker="o", markersize=3, label=f"n = {n}")
        axes[2].set(xlabel="Step", ylabel="Prediction set distance")
        axes[2].legend()
    return figure


def draw_map(found, regions, X, y):
    """Real rows by label beside the samples by region, on the same two components."""
    rows = found.samples if X is None else np.asarray(X).reshape(len(X), -1)
    from sklearn.decomposition import PCA  # slow to import

    components = PCA(2, random_state=0).fit(rows)
    figure = new_figure(10 if X is not None else 5.5, 4.5)
    axes = figure.subplots(1, 1 if X is None else 2, sharex=True, sharey=True, squeeze=False)[0]
    if X is not None:
        _scatter_by(
            axes[0], components.transform(rows), np.zeros(len(rows)) if y is None else y
        )
        axes[0].set_title("real rows")
    points = components.transform(found.samples)
    axes[-1].scatter(*points.T, s=4, color="0.8", label="in no region")
    for number, region in enumerate(regions):
        axes[-1].scatter(
            *points[region.index].T,
            s=6,
            color=f"C{number % 10}",
            label=f"{region.name} ({region.size})",
        )
    axes[-1].legend(fontsize=6, markerscale=2)
    axes[-1].set_title("maximally different samples")
    for axis in axes:
        axis.set(xlabel="First component", ylabel="Second component")
    return figure


def draw_regions(found, regions, max_regions):
    """Representative samples, one line a region."""
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
            draw_row(axis, found.samples[i], found.input_shape)
    return figure


def draw_changes(found, feature_names, max_features):
    """How much each feature changed, in standard deviations of the start."""
    n_features = found.samples.shape[1]
    names = np.arange(n_features) if feature_names is None else np.asarray(feature_names)
    if len(names) != n_features:
        raise ValueError(
            f"Got {len(names)} feature_names, but the samples have {n_features} features."
        )
    spread = found.start_samples.std(axis=0)
    change = (found.samples - found.start_samples) / np.where(spread > 0, spread, 1.0)
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


def _scatter_by(axis, points, y):
    for number, label in enumerate(np.unique(y)):
        at = np.asarray(y) == label
        axis.scatter(*points[at].T, s=4, color=f"C{number % 10}", label=str(label))
    axis.legend(fontsize=6, markerscale=2)
