"""The denoising autoencoder's confidence in the plane and on tables, beside detectors.

``rings``: the paper's figure 2, three rings in the plane, and what is accepted outside them;
``ideal-rings``: by the best autoencoder that there is for this noise; ``default-rings``: by
``DAEConfidence()``. ``adbench``: trained on half of the normal rows, tested on the other half
and the anomalies. ``tabular``: 30 % of the classes are left out of training and are the
outliers of the test; the autoencoder is trained jointly with a classifier, and for a random
forest. ``settings``: the same, for what might have been the defaults. ``one-class``: default
settings on small images of one digit at a time.

    python examples/papers/spigler_tables.py rings --data "noise 0.1"
    python examples/papers/spigler_tables.py adbench --steps 3000 --rows 4000
    python examples/papers/spigler_tables.py tabular --data dry_bean

``--rows`` is how many train at most, ``--steps`` how many steps about.
"""

from functools import partial

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.svm import OneClassSVM

import lab
import sklearn_ood as ood
from peers import named
from sklearn_ood.datasets import inside_rings, make_rings
from sklearn_ood.metrics import auroc

TABLES = (
    *("cardio", "cover", "letter", "mammography", "musk"),
    *("pendigits", "satimage-2", "shuttle", "thyroid"),
)
ALPHA, BETA, N_RINGS, N_CENTERS = 40.0, 5.0, 32_000, 8_000
NOISES, TRAINING = ("noise 0.2", "noise 0.1"), "--steps 50000 --batch-size 64"
OPTIONS = {"options": "--rows 5000 --steps 4000"}
DETECTORS = (
    *("isolation forest", "local outlier factor", "one-class SVM", "k-NN (5)"),
    *("PyOD AutoEncoder", "PyOD ECOD"),
)
CONSTANT = {"lr": 1e-3, "lr_schedule": None}
ONE_LAYER = {"hidden_layer_sizes": (128,)} | CONSTANT
WEIGHT = {weight: {"reconstruction_weight": float(weight)} for weight in (1, 20)}
VARIANTS = {"one layer, constant learning rate, weight 1": ONE_LAYER | WEIGHT[1]}
VARIANTS |= {"weight 1": WEIGHT[1], "default": {}, "weight 20": WEIGHT[20]}


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
    weights = {"alpha": ALPHA, "beta": BETA, "reconstruction_weight": 1.0}
    classifier = ood.DAEConfidence(noise=noise, **weights, **training, **CONSTANT)
    return lab.kept(cache / f"rings-{noise}-{steps}-{seed}.joblib", classifier.fit, X, y)


def accepted_outside(score, inside):
    """Share of the plane outside the rings that a log-confidence accepts."""
    square = lab.grid(2, 200)
    outside = square[~inside_rings(square)]
    scores_in, scores_out = score(inside), score(outside)
    cuts = {"confidence 50%": np.log(0.5), "95% of the rings": np.quantile(scores_in, 0.05)}
    accepted = {f"at {k} outside accepted": (scores_out >= x).mean() for k, x in cuts.items()}
    return accepted | {"AUROC": auroc(*lab.both(scores_in, scores_out))}


@lab.Experiment("rings", NOISES, options=TRAINING)
def rings(args, noise, seed):
    """The paper's network."""
    training = float(noise.split()[1]), args.steps, args.batch_size, seed
    classifier, _ = fit_rings(args.cache, *training)
    _, _, inside, _ = rings_data(seed)
    metrics = accepted_outside(classifier.score_samples, inside)
    without = lab.altered(classifier, curvature="off")
    area = accepted_outside(without.score_samples, inside)["AUROC"]
    return {"DAE tied": metrics | {"AUROC without curvature": area}}


def ideal_log_confidence(centers, noise, rows):
    """Log-confidence of the best denoising autoencoder there is, r(x) = E[row | noisy row].

    With Gaussian noise r is a mean of the training rows weighted by a kernel, and its
    Jacobian their covariance under the same weights, over the noise's variance.
    """
    if len(rows) > 500:
        parts = np.array_split(rows, len(rows) // 500 + 1)
        return np.concatenate([ideal_log_confidence(centers, noise, some) for some in parts])
    weights = softmax(-cdist(rows, centers, "sqeuclidean") / (2 * noise**2), axis=1)
    mean = weights @ centers
    spread = weights @ (centers**2).sum(axis=1) - (mean**2).sum(axis=1)
    gamma = spread / noise**2 / rows.shape[1] - 1
    return -ALPHA * ((mean - rows) ** 2).mean(axis=1) - BETA * np.maximum(gamma, 0)


@lab.Experiment("rings", NOISES, settings={"rows": N_CENTERS})
def ideal_rings(args, noise, seed):
    """The ideal autoencoder."""
    train, _, inside, _ = rings_data(seed)
    score = partial(ideal_log_confidence, train[:N_CENTERS], float(noise.split()[1]))
    return {"ideal autoencoder": accepted_outside(score, inside)}


@lab.Experiment("rings, default settings", ("1000", "3000", "10000"), seeds=3)
def default_rings(args, n_rows, seed):
    """``DAEConfidence()`` as it comes, by the rows that it learns from."""
    X, y = make_rings(int(n_rows), random_state=seed)
    *_, inside, labels = rings_data(seed + 100)
    classifier = ood.DAEConfidence(random_state=seed).fit(X, y)
    metrics = accepted_outside(classifier.score_samples, inside)
    return {"DAE": metrics | {"accuracy": classifier.score(inside, labels)}}


def models(seed, n_rows, steps):
    """Classifiers, autoencoders alone and in a classifier, and detectors, by name."""
    epochs = int(np.clip(steps * 64 / n_rows, 5, 200))
    net = {"hidden_layer_sizes": (128, 128), "lr_schedule": "cosine", "max_epochs": epochs}
    dae = net | {"lr": 1e-3, "reconstruction_weight": 1.0, "random_state": seed}
    forest = RandomForestClassifier(random_state=seed)
    net = ood.SoftmaxClassifier(random_state=seed, **net)
    classifiers, alone = {"softmax": net, "random forest": forest}, {}
    for ending, typicality in (("", False), (" with typicality", True)):
        dae["typicality"] = typicality
        classifiers[f"random forest and DAE{ending}"] = ood.DAEClassifier(forest, **dae)
        alone[f"DAE{ending}"] = ood.DAEConfidence(**dae)
    return classifiers, alone, named(seed, *DETECTORS)


@lab.Experiment("anomalies", TABLES, **OPTIONS)
def adbench(args, name, seed):
    """Half of the normal rows train."""
    X, y = lab.table(name)
    rng = np.random.RandomState(seed)
    train, rest = np.split(rng.permutation(np.flatnonzero(y == 0)), [(y == 0).sum() // 2])
    train, test = train[: args.rows], np.append(rest[: args.rows], np.flatnonzero(y == 1))
    _, alone, others = models(seed, len(train), args.steps)
    of_one_class = alone | others
    return lab.compared(of_one_class, X, y, train, test, unlabelled=of_one_class)


def left_out(name, seed, n_rows):
    """A table without 30 % of the classes: rows, labels, which train and which test."""
    X, y = lab.table(name)
    rng = np.random.RandomState(seed)
    classes = rng.permutation(np.unique(y))
    unknown = np.isin(y, classes[: round(0.3 * len(classes))])
    known = np.flatnonzero(~unknown)
    train, test = train_test_split(known, test_size=0.3, stratify=y[known], random_state=seed)
    return X, y, rng.permutation(train)[:n_rows], np.append(test, np.flatnonzero(unknown))


@lab.Experiment("classes left out", lab.CLASS_TABLES, seeds=3, **OPTIONS)
def tabular(args, name, seed):
    """Classes left out."""
    *table, train, test = left_out(name, seed, args.rows)
    classifiers, alone, others = models(seed, len(train), args.steps)
    return lab.compared(classifiers | alone | others, *table, train, test, unlabelled=others)


@lab.Experiment("settings, classes left out", lab.CLASS_TABLES, **OPTIONS)
def settings(args, name, seed):
    """Classes left out, for settings of the autoencoder alone."""
    tried = {k: ood.DAEConfidence(random_state=seed, **each) for k, each in VARIANTS.items()}
    return lab.compared(tried, *left_out(name, seed, args.rows))


def small_images(name):
    """Small images of digits in [0, 1]: training and test parts, each with its labels."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.4, random_state=0)
        return X, y, X_test, y_test
    parts = (lab.some_rows(*lab.images(name, part), 12_000) for part in ("train", "test"))
    halved = ((X.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)), y) for X, y in parts)
    return [array.reshape(len(array), -1).squeeze() for part in halved for array in part]


@lab.Experiment("one class, small images", ("digits", "mnist"), **OPTIONS)
def one_class(args, name, seed):
    """Each digit against the others, with default settings: mean AUROC."""
    X, y, X_test, y_test = small_images(name)
    tried = {
        "one layer, constant learning rate": ood.DAEConfidence(random_state=seed, **ONE_LAYER),
        "default": ood.DAEConfidence(random_state=seed),
        "one-class SVM": OneClassSVM(),
        "one-class SVM, the paper's": OneClassSVM(nu=0.1, gamma=0.1),
    }
    found = {}
    for name, model in tried.items():
        areas = []
        for digit in range(10):
            rows, _ = lab.some_rows(X[y == digit], y[y == digit], args.rows, seed)
            areas.append(auroc(y_test == digit, model.fit(rows).score_samples(X_test)))
        found[name] = {"auroc": np.mean(areas)}
    return found


if __name__ == "__main__":
    lab.main(__doc__, "spigler")
