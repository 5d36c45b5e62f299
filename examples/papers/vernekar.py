"""Confident or reject: the toy experiments of Vernekar et al. (2019), over several seeds.

Two Gaussians in the plane; a net with two hidden layers of 500 learns them with outliers
from a ring around each (the paper's figure 3), from the box [-50, 50]^2 (figure 4), from our
boundary sampler, which sees the data alone, or from a joint GAN (figure 5). Measured on fresh
points: the share of the box that the confident net answers with more than .95, the share that
the reject net rejects, both along rays out to radius 10,000, and how many of 36 sectors of
each ring the made outliers reach.

``others``: the same with another ``--sigma`` or ``--width`` (of both layers).

``dimensions``: the classifiers as they come, on four Gaussians in 2 to 200 dimensions: how
many fresh rows are refused or named wrongly, and how many are refused far out. Distances are in
units of the radius that holds 99 % of a cluster.

    python examples/papers/vernekar.py gaussians
    python examples/papers/vernekar.py others --sigma 1.0 --data ring box
    python examples/papers/vernekar.py others --width 50 --data ring
    python examples/papers/vernekar.py dimensions
    python examples/papers/figures.py vernekar
"""

from functools import partial

import numpy as np
from scipy.spatial.distance import cdist, pdist
from scipy.stats import chi2
from sklearn.base import clone

import sklearn_ood as ood
from lab import Experiment, main, sectors_reached, toy_network
from sklearn_ood.datasets import make_two_gaussians

MEANS = np.array([[-10.0, 0.0], [10.0, 0.0]])
NET, DIMENSIONS = {"batch_size": 128}, ("2", "3", "10", "20", "50", "200")
DEFAULTS = {"reject": ood.RejectClassifier, "confident": ood.ConfidentClassifier}
BOUNDARY, GAN = ood.BoundaryOutliers(quantile=0.998, between=0.2), ood.GANOutliers(lr=1e-3)
SOURCES = {"ring": "given", "box": "given", "boundary sampler": BOUNDARY, "joint GAN": GAN}
TOY = {"options": "--sigma 2.0 --epochs 60", "effort": "--width 500"}
TOY["settings"] = lambda args, kind: NET | {"net": f"{args.width}-{args.width}"}
CLASSIFIERS = {
    "confident": ood.ConfidentClassifier(beta=1.0),
    "reject": ood.RejectClassifier(beta=1.0),
    "reject, beta 0.3": ood.RejectClassifier(beta=0.3),
}


def taught(source, seed, sigma):
    """Two Gaussians, and outliers where the source gives them."""
    outliers = {"ring": "boundary", "box": "box"}.get(source)
    return make_two_gaussians(1000, sigma=sigma, outliers=outliers, random_state=seed)


def fit(args, source, seed, kind):
    """A classifier taught two Gaussians and outliers of a source."""
    net = {"module": partial(toy_network, width=args.width), "max_epochs": args.epochs}
    net |= NET | {"ood_label": -1, "random_state": seed}
    classifier = clone(CLASSIFIERS[kind]).set_params(outliers=SOURCES[source], **net)
    return classifier.fit(*taught(source, seed, args.sigma))


def rejected(classifier, X):
    """Whether each point is refused: the reject class wins, or no answer above .95."""
    scores = classifier.score_samples(X)
    return scores < (0 if isinstance(classifier, ood.RejectClassifier) else np.log(0.95))


def largest_proba(classifier, X):
    return classifier.predict_proba(X).max(axis=1)


def made(classifier, source, seed, sigma):
    """2,000 outliers of a source that makes them: its own, or its trained generator's."""
    if source == "joint GAN":
        return classifier.sample_outliers(2000, random_state=seed)
    return BOUNDARY(*taught(source, seed, sigma), 2000, seed)


@Experiment("two Gaussians, other settings", SOURCES, CLASSIFIERS, 3, **TOY, part="others")
@Experiment("two Gaussians", SOURCES, CLASSIFIERS, 5, **TOY)
def gaussians(args, source, seed, kind):
    """All that is measured of one classifier; less weight on outliers is for those close by."""
    if "beta" in kind and source not in ("ring", "boundary sampler"):
        return {}
    classifier, sigma = fit(args, source, seed, kind), args.sigma
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
    for r in (20, 50, 100, 1000, 10_000):
        metrics[f"refused at {r}"] = rejected(classifier, r * rays).mean()
        metrics[f"confidence at {r}"] = largest_proba(classifier, r * rays).mean()
    if SOURCES[source] != "given":
        points = made(classifier, source, seed, sigma)
        counts = sectors_reached(points, MEANS, 3 * sigma, 3 * sigma + 2)
        metrics |= {"sectors": np.mean(counts), "fewest sectors": min(counts)}
    return metrics


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


@Experiment("dimensions", DIMENSIONS, DEFAULTS, seeds=3, settings={"rows": 2000})
def dimensions(args, n_features, seed, kind):
    """A classifier with every parameter as it comes, near and far."""
    n_features = int(n_features)
    centers, known, (X, y) = clusters(n_features, seed)
    classifier = DEFAULTS[kind](random_state=seed).fit(*known)
    right = (classifier.predict(X) == y) & ~rejected(classifier, X)
    metrics = {"known lost": 1 - right.mean()}
    radius = np.sqrt(chi2.ppf(0.99, n_features))
    for times in (1.25, 1.5, 2, 3, 10, 100, 1000, 10_000):
        rows = around(centers, times, radius, seed)
        metrics[f"refused at {times:.0%}"] = rejected(classifier, rows).mean()
    return metrics


if __name__ == "__main__":
    main(__doc__, "vernekar")
