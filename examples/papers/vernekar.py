"""Confident or reject: the toy experiments of Vernekar et al. (2019), over several seeds.

Two Gaussians in the plane; a net with two hidden layers of 500 learns them with outliers
from a ring around each (the paper's figure 3), from the box [-50, 50]^2 (figure 4), from our
boundary sampler, which sees the data alone, or from a joint GAN (figure 5). Measured on fresh
points: the share of the box that the confident net answers with more than .95, the share that
the reject net rejects, both along rays out to radius 10,000, and how many of 36 sectors of
each ring the made outliers reach.

Run ``python examples/papers/vernekar.py``; every seed is kept in
``docs/results/vernekar.json`` and not run again, and the tables and figures are drawn from it.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.base import clone

from sklearn_ood import BoundaryOutliers, ConfidentClassifier, GANOutliers, RejectClassifier
from sklearn_ood.datasets import make_two_gaussians

RESULTS = Path(__file__).parents[2] / "docs" / "results"
MEANS = np.array([[-10.0, 0.0], [10.0, 0.0]])
RADII = (20, 50, 100, 1000, 10_000)
BOUNDARY = BoundaryOutliers(quantile=0.998, between=0.2)
GAN = GANOutliers(lr=1e-3)
SOURCES = {"ring": "given", "box": "given", "boundary sampler": BOUNDARY, "joint GAN": GAN}
CLASSIFIERS = {
    "confident": ConfidentClassifier(),
    "reject": RejectClassifier(),
    "reject, beta 0.3": RejectClassifier(beta=0.3),
}
SECTORS = 36


def fit(kind, source, sigma, epochs, seed):
    outliers = {"ring": "boundary", "box": "box"}.get(source)
    X, y = make_two_gaussians(1000, sigma=sigma, outliers=outliers, random_state=seed)
    classifier = clone(CLASSIFIERS[kind]).set_params(
        outliers=SOURCES[source],
        hidden_layer_sizes=(500, 500),
        max_epochs=epochs,
        batch_size=128,
        ood_label=-1,
        random_state=seed,
    )
    return classifier.fit(X, y)


def rejected(classifier, X):
    """Whether each point is refused: the reject class wins, or no answer above .95."""
    scores = classifier.score_samples(X)
    return scores < (0 if isinstance(classifier, RejectClassifier) else np.log(0.95))


def measure(classifier, sigma, seed):
    X, y = make_two_gaussians(
        2000, sigma=sigma, outliers="box", n_outliers=20_000, random_state=1000 + seed
    )
    inside = y != -1
    right = classifier.predict(X[inside]) == y[inside]
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    rays = np.column_stack([np.cos(angle), np.sin(angle)])
    refused = {str(r): float(rejected(classifier, r * rays).mean()) for r in RADII}
    confidence = {str(r): float(largest_proba(classifier, r * rays).mean()) for r in RADII}
    answered = ~rejected(classifier, X[inside])
    reject = isinstance(classifier, RejectClassifier)
    return {
        "box answered": float(1 - rejected(classifier, X[~inside]).mean()),
        "accuracy": float((right & answered).mean() if reject else right.mean()),
        "class accuracy": float(right.mean()),
        "kept": float(answered.mean()),
        "rays refused": refused,
        "rays confidence": confidence,
    }


def largest_proba(classifier, X):
    return classifier.predict_proba(X).max(axis=1)


def sectors(points, sigma, reach=2.0):
    """Sectors of each ring with a point from 3 sigma to ``reach`` beyond it: two counts."""
    counts = []
    for mean in MEANS:
        x, y = (points - mean).T
        radius = np.hypot(x, y)
        near = (radius > 3 * sigma) & (radius <= 3 * sigma + reach)
        angle = np.arctan2(y[near], x[near]) + np.pi
        counts.append(len(np.unique((angle / (2 * np.pi) * SECTORS).astype(int) % SECTORS)))
    return counts


def kinds_for(source):
    """A joint GAN is the confident net's; less weight on outliers is for those close by."""
    if source == "joint GAN":
        return ["confident"]
    return [kind for kind in CLASSIFIERS if "beta" not in kind or source != "box"]


def made(classifier, source, sigma, seed):
    """2,000 outliers of a source that makes them: its own, or its trained generator's."""
    if source == "joint GAN":
        return classifier.sample_outliers(2000, random_state=seed)
    X, y = make_two_gaussians(1000, sigma=sigma, random_state=seed)
    return BOUNDARY(X, y, 2000, seed)


def run(kind, source, args, seed):
    classifier = fit(kind, source, args.sigma, args.epochs, seed)
    entry = measure(classifier, args.sigma, seed)
    if SOURCES[source] != "given":
        entry["sectors"] = sectors(made(classifier, source, args.sigma, seed), args.sigma)
    return entry


def update(path, key, compute):
    """Fill one entry of the results file, unless it is there."""
    results = json.loads(path.read_text()) if path.exists() else {}
    if key not in results:
        results[key] = compute()
        path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        print(key, results[key], flush=True)


def mean_of(entries, *keys):
    values = np.array([_descend(entry, keys) for entry in entries])
    return values.mean(), values.min(), values.max()


def _descend(entry, keys):
    for key in keys:
        entry = entry[key]
    return entry


def tables(results, args):
    """The results as Markdown."""
    runs = {
        (kind, source): [
            results[key]
            for seed in range(args.seeds)
            if (key := f"{kind}, {source}, {seed}") in results
        ]
        for source in SOURCES
        for kind in CLASSIFIERS
    }
    runs = {names: entries for names, entries in runs.items() if entries}
    lines = [
        "| outliers from | classifier | box answered | accuracy | class accuracy | ID kept |",
        "|---|---|---|---|---|---|",
    ]
    for (kind, source), entries in runs.items():
        cells = [
            "{:.3f} ({:.3f}-{:.3f})".format(*mean_of(entries, key))
            for key in ("box answered", "accuracy", "class accuracy", "kept")
        ]
        lines.append(f"| {source} | {kind} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| outliers from | classifier | " + " | ".join(f"r = {r:,}" for r in RADII) + " |",
        "|---|---|" + "---|" * len(RADII),
    ]
    for (kind, source), entries in runs.items():
        shown = "rays confidence" if kind == "confident" else "rays refused"
        means = [mean_of(entries, shown, str(r))[0] for r in RADII]
        lines.append(f"| {source} | {kind} | " + " | ".join(f"{m:.3f}" for m in means) + " |")
    lines += ["", "| made by | sectors of 36, mean | fewest |", "|---|---|---|"]
    for (kind, source), entries in runs.items():
        if "sectors" in entries[0]:
            counts = np.array([entry["sectors"] for entry in entries])
            lines.append(f"| {source} ({kind}) | {counts.mean():.1f} | {counts.min()} |")
    return "\n".join(lines)


def draw(args):
    """Figures 3, 4 and 5: one classifier of each kind, and what the sources make."""
    from matplotlib import pyplot as plt

    grid = np.stack(np.meshgrid(*[np.linspace(-50, 50, 201)] * 2), axis=-1).reshape(-1, 2)
    for number, source in ((3, "ring"), (4, "box")):
        figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
        X, y = make_two_gaussians(
            1000,
            sigma=args.sigma,
            outliers={"ring": "boundary"}.get(source, source),
            random_state=0,
        )
        axes[0].scatter(*X.T, c=y, s=2, cmap="viridis")
        axes[0].set(title=f"training data, {source}", xlim=(-50, 50), ylim=(-50, 50))
        for panel, kind in zip(axes[1:], ("confident", "reject"), strict=True):
            classifier = fit(kind, source, args.sigma, args.epochs, 0)
            shown = largest_proba(classifier, grid)
            if kind == "reject":
                shown = np.where(rejected(classifier, grid), 2, classifier.predict(grid))
            image = panel.imshow(
                shown.reshape(201, 201), extent=(-50, 50, -50, 50), origin="lower"
            )
            title = "largest probability" if kind == "confident" else "class (2: reject)"
            panel.set_title(f"{kind}: {title}")
            figure.colorbar(image, ax=panel)
        figure.savefig(RESULTS / f"vernekar_figure{number}.png", dpi=70)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    X, y = make_two_gaussians(1000, sigma=args.sigma, random_state=0)
    sources = ("joint GAN", "boundary sampler")
    gan = fit("confident", "joint GAN", args.sigma, args.epochs, 0)
    for panel, source in zip(axes, sources, strict=True):
        points = made(gan, source, args.sigma, 0)
        panel.scatter(*X.T, c=y, s=2, cmap="viridis")
        panel.scatter(*points.T, s=3, color="tab:red")
        panel.set(title=source, xlim=(-25, 25), ylim=(-15, 15))
    figure.savefig(RESULTS / "vernekar_figure5.png", dpi=70)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sigma", type=float, default=2.0)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS / "vernekar.json")
    args = parser.parse_args()
    for seed in range(args.seeds):
        for source in args.sources:
            for kind in kinds_for(source):
                update(
                    args.results,
                    f"{kind}, {source}, {seed}",
                    partial(run, kind, source, args, seed),
                )
    print(tables(json.loads(args.results.read_text()), args))
    if args.draw:
        draw(args)


if __name__ == "__main__":
    main()
