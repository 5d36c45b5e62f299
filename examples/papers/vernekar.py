"""Confident or reject: the toy experiments of Vernekar et al. (2019), over several seeds.

Two Gaussians in the plane; a net with two hidden layers of 500 learns them with outliers
from a ring around each (the paper's figure 3), from the box [-50, 50]^2 (figure 4), from our
boundary sampler, which sees the data alone, or from a joint GAN (figure 5). Measured on fresh
points: the share of the box that the confident net answers with more than .95, the share that
the reject net rejects, both along rays out to radius 10,000, and how many of 36 sectors of
each ring the made outliers reach.

``--sigma`` and ``--width`` (of both layers) are tried at other values, too.

``--dimensions``: the classifiers as they come, on four Gaussians in 2 to 200 dimensions: how
many fresh rows are refused or named wrongly, and how many are refused far out. Distances are in
units of the radius that holds 99 % of a cluster.

    python examples/papers/vernekar.py
    python examples/papers/vernekar.py --sigma 1.0 --sources ring box --seeds 3
    python examples/papers/vernekar.py --width 50 --sources ring --seeds 3
    python examples/papers/vernekar.py --dimensions 2 3 10 20 50 200 --seeds 3
    python examples/papers/figures.py vernekar
"""

from functools import partial
from itertools import product

import numpy as np
from scipy.spatial.distance import cdist, pdist
from scipy.stats import chi2
from sklearn.base import clone

from lab import Store, chosen, parser, sectors, toy_network
from sklearn_ood import BoundaryOutliers, ConfidentClassifier, GANOutliers, RejectClassifier
from sklearn_ood.datasets import make_two_gaussians

MEANS = np.array([[-10.0, 0.0], [10.0, 0.0]])
TIMES = (1.25, 1.5, 2, 3, 10, 100, 1000, 10_000)
BATCH_SIZE = 128
DEFAULTS = {"reject": RejectClassifier, "confident": ConfidentClassifier}
RADII = (20, 50, 100, 1000, 10_000)
BOUNDARY = BoundaryOutliers(quantile=0.998, between=0.2)
GAN = GANOutliers(lr=1e-3)
SOURCES = {"ring": "given", "box": "given", "boundary sampler": BOUNDARY, "joint GAN": GAN}
CLOSE = ("ring", "boundary sampler")
CLASSIFIERS = {
    "confident": ConfidentClassifier(beta=1.0),
    "reject": RejectClassifier(beta=1.0),
    "reject, beta 0.3": RejectClassifier(beta=0.3),
}


def fit(kind, source, seed, sigma, epochs, width=500):
    """A classifier taught two Gaussians and outliers of a source."""
    outliers = {"ring": "boundary", "box": "box"}.get(source)
    X, y = make_two_gaussians(1000, sigma=sigma, outliers=outliers, random_state=seed)
    classifier = clone(CLASSIFIERS[kind]).set_params(
        module=partial(toy_network, width=width),
        outliers=SOURCES[source],
        max_epochs=epochs,
        batch_size=BATCH_SIZE,
        ood_label=-1,
        random_state=seed,
    )
    return classifier.fit(X, y)


def rejected(classifier, X):
    """Whether each point is refused: the reject class wins, or no answer above .95."""
    scores = classifier.score_samples(X)
    return scores < (0 if isinstance(classifier, RejectClassifier) else np.log(0.95))


def largest_proba(classifier, X):
    return classifier.predict_proba(X).max(axis=1)


def sectors_reached(points, sigma, reach=2.0):
    """Sectors of each ring with a point from 3 sigma to ``reach`` beyond it: two counts."""
    counts = []
    for mean in MEANS:
        radius = np.hypot(*(points - mean).T)
        near = (radius > 3 * sigma) & (radius <= 3 * sigma + reach)
        counts.append(len(np.unique(sectors(points[near] - mean))))
    return counts


def made(classifier, source, seed, sigma):
    """2,000 outliers of a source that makes them: its own, or its trained generator's."""
    if source == "joint GAN":
        return classifier.sample_outliers(2000, random_state=seed)
    X, y = make_two_gaussians(1000, sigma=sigma, random_state=seed)
    return BOUNDARY(X, y, 2000, seed)


def run(kind, source, seed, sigma, **settings):
    """All that is measured of one classifier."""
    classifier = fit(kind, source, seed, sigma, **settings)
    X, y = make_two_gaussians(
        2000, sigma=sigma, outliers="box", n_outliers=20_000, random_state=1000 + seed
    )
    inside = y != -1
    right = classifier.predict(X[inside]) == y[inside]
    answered = ~rejected(classifier, X[inside])
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    rays = np.column_stack([np.cos(angle), np.sin(angle)])
    metrics = {
        "box answered": 1 - rejected(classifier, X[~inside]).mean(),
        "accuracy": (right & answered).mean() if "reject" in kind else right.mean(),
        "class accuracy": right.mean(),
        "kept": answered.mean(),
    }
    metrics |= {f"refused at {r}": rejected(classifier, r * rays).mean() for r in RADII}
    metrics |= {f"confidence at {r}": largest_proba(classifier, r * rays).mean() for r in RADII}
    if SOURCES[source] != "given":
        counts = sectors_reached(made(classifier, source, seed, sigma), sigma)
        metrics |= {"sectors": np.mean(counts), "fewest sectors": min(counts)}
    return metrics


def kinds_for(source):
    """Less weight on outliers is for those close by."""
    return [kind for kind in CLASSIFIERS if "beta" not in kind or source in CLOSE]


def clusters(n_features, seed, n=2000, n_fresh=4000, apart=6.5):
    """Four Gaussians of unit variance: centres, training rows and fresh rows."""
    rng = np.random.RandomState(seed)
    centers = rng.uniform(-10, 10, size=(4, n_features))
    while pdist(centers).min() < apart:
        centers = rng.uniform(-10, 10, size=(4, n_features))
    y = rng.randint(4, size=n + n_fresh)
    X = centers[y] + rng.normal(size=(n + n_fresh, n_features))
    return centers, (X[:n], y[:n]), (X[n:], y[n:])


def around(centers, times, radius, seed, n=2000):
    """Rows at ``times`` the radius of a cluster, where no other is close."""
    rng = np.random.RandomState(seed)
    directions = rng.normal(size=(n, centers.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rows = centers[rng.randint(len(centers), size=n)] + times * radius * directions
    return rows[cdist(rows, centers).min(axis=1) > 0.99 * min(times, 2) * radius]


def run_dimensions(kind, n_features, seed):
    """A classifier with every parameter as it comes, near and far."""
    centers, known, (X, y) = clusters(n_features, seed)
    classifier = DEFAULTS[kind](random_state=seed).fit(*known)
    right = (classifier.predict(X) == y) & ~rejected(classifier, X)
    metrics = {"known lost": 1 - right.mean()}
    radius = np.sqrt(chi2.ppf(0.99, n_features))
    for times in TIMES:
        rows = around(centers, times, radius, seed)
        metrics[f"refused at {times:.0%}"] = rejected(classifier, rows).mean()
        metrics[f"confidence at {times:.0%}"] = largest_proba(classifier, rows).mean()
    return metrics


def dimensions(args):
    """Every dimension, every seed."""
    store = Store("vernekar", args.results)
    for seed, n_features in product(range(args.seeds), args.dimensions):
        for kind in DEFAULTS:
            compute = partial(run_dimensions, kind, n_features, seed)
            store.run(compute, "dimensions", str(n_features), kind, seed, rows=2000)


def main():
    cli = parser(__doc__, "vernekar", "--seeds 5 --sigma 2.0 --epochs 60 --width 500")
    cli.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    cli.add_argument("--dimensions", nargs="+", type=int, help="of four Gaussians")
    args = cli.parse_args()
    if args.dimensions:
        dimensions(args)
        return
    store = Store("vernekar", args.results)
    settings = chosen(args, "sigma", "epochs", "width")
    others = ", other settings" * ((args.sigma, args.width) != (2.0, 500))
    keys = chosen(args, "sigma", "epochs") | {"batch_size": BATCH_SIZE}
    keys["net"] = f"{args.width}-{args.width}"
    for seed, source in product(range(args.seeds), args.sources):
        for kind in kinds_for(source):
            compute = partial(run, kind, source, seed, **settings)
            store.run(compute, "two Gaussians" + others, source, kind, seed, **keys)


if __name__ == "__main__":
    main()
