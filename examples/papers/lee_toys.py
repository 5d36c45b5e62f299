"""The toy experiments of Lee et al. (2018), figures 1 and 3, over several seeds.

Figure 1: two Gaussians and only 100 outliers, from the box [-50, 50]^2 or, nearer to the
data, from [-20, 20]^2: how much of the large box does the confident net still answer with
more than .95? Figure 3: a net taught with outliers of [-10, 10]^2 is held fixed while a GAN
learns the data; guided by the net, it should make points on the boundary. Measured: how far
its points are from the nearest mean, and how many of the two rings' 72 sectors they reach.

Run ``python examples/papers/lee_toys.py``; every seed is kept in
``docs/results/lee_toys.json`` and not run again. ``--draw`` draws the figures.
"""

import argparse
import json
from functools import cache, partial
from pathlib import Path

import numpy as np

from sklearn_ood import ConfidentClassifier, GANOutliers
from sklearn_ood.datasets import make_two_gaussians

RESULTS = Path(__file__).parents[2] / "docs" / "results"
MEANS = np.array([[-5.0, 0.0], [5.0, 0.0]])
SECTORS = 36
NET = {"hidden_layer_sizes": (500, 500), "ood_label": -1}
FIXED = 1e-12


def confident(box, seed, epochs):
    """A net that learns 100 outliers of a box."""
    X, y = make_two_gaussians(1000, outliers="box", n_outliers=100, box=box, random_state=seed)
    classifier = ConfidentClassifier(
        outliers="given", max_epochs=epochs, batch_size=128, random_state=seed, **NET
    )
    return classifier.fit(X, y)


def figure1(box, epochs, seed):
    classifier = confident(box, seed, epochs)
    X, y = make_two_gaussians(2000, outliers="box", n_outliers=20_000, random_state=1000 + seed)
    confidence = np.exp(classifier.score_samples(X))
    inside = y != -1
    near = ~inside & (np.abs(X) <= 20).all(axis=1)
    return {
        "box confident": float((confidence[~inside] > 0.95).mean()),
        "near box confident": float((confidence[near] > 0.95).mean()),
        "known confident": float((confidence[inside] > 0.95).mean()),
        "accuracy": float(classifier.score(X[inside], y[inside])),
    }


def pretrained(seed):
    """The net of figure 3, taught with the box [-10, 10]^2: half the scale of our toy."""
    X, y = make_two_gaussians(
        4000, sigma=2.0, outliers="box", box=20.0, n_outliers=4000, random_state=seed
    )
    classifier = ConfidentClassifier(
        outliers="given", max_epochs=20, batch_size=400, random_state=seed, **NET
    )
    return classifier.fit(X / 2, y), X[y != -1] / 2, y[y != -1]


@cache
def generated(guided, seed, epochs):
    """2,000 samples of a GAN that learns beside the fixed net."""
    taught, X, y = pretrained(seed)
    gan = ConfidentClassifier(
        taught.net_.module_.network,
        outliers=GANOutliers(guided=guided, lr=2e-3),
        lr=FIXED,
        max_epochs=epochs,
        batch_size=400,
        random_state=seed,
        **NET,
    )
    return gan.fit(X, y).sample_outliers(2000, random_state=seed), X, y


def figure3(guided, epochs, seed):
    samples, _, _ = generated(guided, seed, epochs)
    x, y = (samples[:, None] - MEANS).transpose(2, 0, 1)
    radius = np.hypot(x, y)
    nearest = radius.argmin(axis=1)
    ring = (radius.min(axis=1) > 3) & (radius.min(axis=1) <= 5)
    rows = np.flatnonzero(ring)
    angle = np.arctan2(y[rows, nearest[rows]], x[rows, nearest[rows]]) + np.pi
    sector = (angle / (2 * np.pi) * SECTORS).astype(int) % SECTORS
    return {
        "inside": float((radius.min(axis=1) <= 3).mean()),
        "ring": float(ring.mean()),
        "farther": float((radius.min(axis=1) > 5).mean()),
        "sectors": len(np.unique(sector + SECTORS * nearest[rows])),
    }


def update(path, key, compute):
    """Fill one entry of the results file, unless it is there."""
    results = json.loads(path.read_text()) if path.exists() else {}
    if key not in results:
        results[key] = compute()
        path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        print(key, results[key], flush=True)


def table(results, figure):
    """Mean and range over the seeds, as Markdown."""
    names = dict.fromkeys(key.rpartition(", ")[0] for key in results if figure in key)
    lines = []
    for name in names:
        entries = [entry for key, entry in results.items() if key.startswith(f"{name}, ")]
        if not lines:
            lines = [
                "| " + " | ".join((figure, "seeds", *entries[0])) + " |",
                "|---" * (2 + len(entries[0])) + "|",
            ]
        values = [np.array([entry[key] for entry in entries]) for key in entries[0]]
        cells = [f"{v.mean():.3f} ({v.min():.3f}-{v.max():.3f})" for v in values]
        lines.append("| " + " | ".join((name, str(len(entries)), *cells)) + " |")
    return "\n".join(lines)


def draw_figure1(args):
    from matplotlib import pyplot as plt

    grid = np.stack(np.meshgrid(*[np.linspace(-50, 50, 201)] * 2), axis=-1).reshape(-1, 2)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for panel, box in zip(axes, (50, 20), strict=True):
        scores = confident(box, 0, args.epochs).score_samples(grid)
        image = panel.imshow(
            np.exp(scores).reshape(201, 201), extent=(-50, 50, -50, 50), origin="lower"
        )
        panel.set_title(f"100 outliers of [-{box}, {box}]²")
        figure.colorbar(image, ax=panel)
    figure.savefig(RESULTS / "lee_figure1.png", dpi=70)


def draw_figure3(args):
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for panel, guided in zip(axes, (False, True), strict=True):
        samples, X, y = generated(guided, 0, args.gan_epochs)
        panel.scatter(*X[:1000].T, c=y[:1000], s=2)
        panel.scatter(*samples[:1000].T, s=3, color="tab:red")
        panel.set_title("joint GAN" if guided else "original GAN")
    figure.savefig(RESULTS / "lee_figure3.png", dpi=70)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--gan-epochs", type=int, default=100)
    parser.add_argument("--figures", nargs="+", choices=("1", "3"), default=("1", "3"))
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS / "lee_toys.json")
    args = parser.parse_args()
    for seed in range(args.seeds):
        for box in (50, 20) if "1" in args.figures else ():
            key = f"figure 1, 100 outliers of [-{box}, {box}]^2, {seed}"
            update(args.results, key, partial(figure1, box, args.epochs, seed))
        for guided in (False, True) if "3" in args.figures else ():
            key = f"figure 3, {'joint' if guided else 'original'} GAN, {seed}"
            update(args.results, key, partial(figure3, guided, args.gan_epochs, seed))
    results = json.loads(args.results.read_text())
    print(table(results, "figure 1"), table(results, "figure 3"), sep="\n\n")
    for number, draw in (("1", draw_figure1), ("3", draw_figure3)):
        if args.draw and number in args.figures:
            draw(args)


if __name__ == "__main__":
    main()
