"""Spigler's figure 2: three rings in the plane, and what is accepted outside them.

    python examples/papers/spigler_rings.py rings --noise 0.2
    python examples/papers/spigler_rings.py ideal --noise 0.2
    python examples/papers/spigler_rings.py default

``rings`` is the paper's network, ``ideal`` the best autoencoder that there is for this noise,
``default`` is ``DAEConfidence()``.
"""

import copy
from functools import partial

import numpy as np
from scipy.special import softmax

from lab import Store, both, chosen, kept, parser
from sklearn_ood import DAEConfidence
from sklearn_ood.datasets import inside_rings, make_rings
from sklearn_ood.metrics import auroc

ALPHA, BETA, N_RINGS, N_CENTERS = 40.0, 5.0, 32_000, 8_000


def rings_data(seed):
    """Rows to train on and to test on, and their rings."""
    random_state = np.random.RandomState(seed)
    train, test = (make_rings(n, random_state=random_state) for n in (N_RINGS, 3_000))
    return *train, *test


def fit_rings(cache, noise=0.2, steps=50_000, batch_size=64, seed=0):
    """The network of figure 2, and the seconds that it took."""
    X, y, *_ = rings_data(seed)
    epochs = max(1, round(steps * batch_size / N_RINGS))
    training = {"max_epochs": epochs, "batch_size": batch_size, "random_state": seed}
    constant = {"lr": 1e-3, "lr_schedule": None, "reconstruction_weight": 1.0}
    classifier = DAEConfidence(noise=noise, alpha=ALPHA, beta=BETA, **training, **constant)
    path = cache / f"rings-{noise}-{steps}-{seed}.joblib"
    return kept(path, lambda: classifier.fit(X, y))


def square():
    """A grid of 200 x 200 points from -2 to 2."""
    axis = np.linspace(-2, 2, 200)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def accepted_outside(score, inside):
    """Share of the plane outside the rings that a log-confidence accepts, and of the rings."""
    outside = square()[~inside_rings(square())]
    scores_in, scores_out = score(inside), score(outside)
    cuts = {"confidence 50%": np.log(0.5), "95% of the rings": np.quantile(scores_in, 0.05)}
    metrics = {"AUROC": auroc(*both(scores_in, scores_out))}
    for name, cut in cuts.items():
        metrics[f"at {name} outside accepted"] = (scores_out >= cut).mean()
        metrics[f"at {name} inside rejected"] = (scores_in < cut).mean()
    return metrics


def ideal_log_confidence(centers, noise, rows):
    """Log-confidence of the best denoising autoencoder there is, r(x) = E[row | noisy row].

    With Gaussian noise r is a mean of the training rows weighted by a kernel, and its
    Jacobian their covariance under the same weights, over the noise's variance.
    """
    found = []
    for some in np.array_split(rows, max(1, len(rows) // 500)):
        distances = ((some[:, np.newaxis] - centers) ** 2).sum(axis=2)
        weights = softmax(-distances / (2 * noise**2), axis=1)
        mean = weights @ centers
        spread = weights @ (centers**2).sum(axis=1) - (mean**2).sum(axis=1)
        gamma = spread / noise**2 / rows.shape[1] - 1
        error = ((mean - some) ** 2).mean(axis=1)
        found.append(-ALPHA * error - BETA * np.maximum(gamma, 0))
    return np.concatenate(found)


def rings(args, store):
    """Figure 2: share of the plane outside the rings that is accepted, and of the rings."""
    training = chosen(args, "noise", "steps", "batch_size", "seed")
    classifier, seconds = fit_rings(args.cache, **training)
    *_, inside, labels = rings_data(args.seed)
    metrics = accepted_outside(classifier.score_samples, inside)
    metrics |= {"seconds": seconds, "accuracy": classifier.score(inside, labels)}
    without = copy.copy(classifier).set_params(curvature="off")
    area = accepted_outside(without.score_samples, inside)["AUROC"]
    metrics["AUROC without curvature"] = area
    settings = chosen(args, "steps", "batch_size")
    store.put({"DAE tied": metrics}, "rings", f"noise {args.noise}", args.seed, **settings)


def ideal_rings(args, store):
    """The same of the ideal autoencoder."""
    train, _, inside, _ = rings_data(args.seed)
    score = partial(ideal_log_confidence, train[:N_CENTERS], args.noise)
    found = {"ideal autoencoder": accepted_outside(score, inside)}
    store.put(found, "rings", f"noise {args.noise}", args.seed, rows=N_CENTERS)


def default_rings(args, store):
    """The same of ``DAEConfidence()`` as it comes, by the rows that it learns from."""
    for n_rows in (1_000, 3_000, 10_000):
        X, y = make_rings(n_rows, random_state=args.seed)
        *_, inside, labels = rings_data(args.seed + 100)
        classifier = DAEConfidence(random_state=args.seed).fit(X, y)
        metrics = accepted_outside(classifier.score_samples, inside)
        metrics["accuracy"] = classifier.score(inside, labels)
        store.put({"DAE": metrics}, "rings, default settings", str(n_rows), args.seed)


SECTIONS = {"rings": rings, "ideal": ideal_rings, "default": default_rings}
OPTIONS = "--noise 0.2 --steps 50000 --batch-size 64 --seed 0"


def main():
    args = parser(__doc__, "spigler", OPTIONS, SECTIONS).parse_args()
    SECTIONS[args.part](args, Store("spigler", args.results))


if __name__ == "__main__":
    main()
