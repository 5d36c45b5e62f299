"""One default for tables, anomalies and images: combined evidence beside all peers.

``CombinedClassifier(random_state=seed)`` throughout, its members alone, each member left out,
the other combinations, and what people would pick instead, on the same rows:

    python examples/papers/combined.py tables     # classes left out of at most 5,000 rows
    python examples/papers/combined.py whole      # of all rows of three tables, without peers
    python examples/papers/combined.py anomalies  # trained on normal rows only
    python examples/papers/combined.py images     # one of two sets beside three others

Peers train on all training rows; the combination holds a part of them out to calibrate itself.
AURC uses the labels of the combination's classifier for every score, so that scores and not
classifiers are compared. PyOD's detectors are among the peers where PyOD is installed.
"""

from functools import partial

import numpy as np
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import OneClassSVM

import lab
import sklearn_ood as ood
from peers import OneClass, named, odin, pyod, rescored, scaled, score, scores, virtual_logit
from sklearn_ood.combined._conformal import COMBINATIONS
from sklearn_ood.generators import GaussianMixtureGenerator, PCAGenerator
from sklearn_ood.metrics import aurc_score, auroc

TABLES = (*lab.CLASS_TABLES, "soybean", "segment", "hypothyroid")
TAUGHT, OUTSIDE = ("mnist", "fashion_mnist"), ("omniglot", "notmnist")
DETECTORS = (
    *("isolation forest", "local outlier factor", "one-class SVM", "nearest row", "k-NN (5)"),
    *("mean of five neighbors", "PyOD AutoEncoder", "PyOD ECOD", "PyOD COPOD"),
    "PyOD DeepSVDD",
)
SHARES = {"aurc_default": 0.01, "aurc_half": 0.5}
LEVEL, N_NEIGHBORS = 0.1, 10_000


def scored(detector, X):
    """Scores of a combination, its members, all but one of them, and other methods."""
    log_p, own = lab.members_of(detector, X), detector.method
    weights = dict(zip(log_p, detector.weights_, strict=True))
    found = {"combined": detector.score_samples(X)}
    for name in log_p:
        found[f"member: {name}"] = log_p[name]
        if others := {k: weight for k, weight in weights.items() if k != name}:
            found[f"without: {name}"] = lab.pooled(log_p, others, own)
    others = (method for method in COMBINATIONS if method != own)
    return found | {f"method: {each}": lab.pooled(log_p, weights, each) for each in others}


def table_peers(seed):
    """What people would pick for a table with classes."""
    four = GaussianMixtureGenerator(4, reg_covar=1e-2, random_state=seed)
    one = GaussianMixtureGenerator(1, reg_covar=1e-6, random_state=seed)
    net = ood.SoftmaxClassifier(batch_size=256, max_epochs=60, random_state=seed)
    known = named(seed, *DETECTORS)
    return {
        "Gaussian mixture a class": ood.GenerativeClassifier(four),
        "Gaussian a class": ood.GenerativeClassifier(one),
        "local outlier factor": scaled(known["local outlier factor"]),
        "nearest row": scaled(known["nearest row"]),
        "random forest": RandomForestClassifier(random_state=seed),
        "gradient boosting": HistGradientBoostingClassifier(max_iter=60, random_state=seed),
        "MLP, max softmax": scaled(net),
        "isolation forest": known["isolation forest"],
        "one-class SVM": scaled(OneClassSVM(nu=0.1)),
    } | pyod(seed)


def anomaly_peers(seed, n_features):
    """What people would pick for a table of normal rows."""
    known = named(seed, *DETECTORS, n_features=n_features)
    return {name: each if "forest" in name else scaled(each) for name, each in known.items()}


def image_peers(net, seed):
    """What people would pick for images; those that need a net share the combination's."""
    nearest = partial(OneClass, max_samples=N_NEIGHBORS, random_state=seed)
    pca, features = PCAGenerator(64), ood.NetFeatures(FrozenEstimator(net))
    autoencoder = pyod(seed).get("PyOD AutoEncoder")
    return {
        "max softmax": FrozenEstimator(net),
        "energy": rescored(net, score_function="energy"),
        "max logit": rescored(net, score_function="max_logit"),
        "ODIN": odin(net),
        "ViM": virtual_logit(net),
        "k-NN (50), hidden layer, 10,000 rows": make_pipeline(features, nearest(50)),
        "nearest of 10,000 training images, pixels": nearest(),
        "PCA a class, reconstruction": ood.GenerativeClassifier(
            pca, similarity="l2", validation_fraction=0
        ),
        "isolation forest, pixels": IsolationForest(random_state=seed),
    } | ({"PyOD AutoEncoder, pixels": autoencoder} if autoencoder else {})


@lab.Experiment("tables", TABLES, seeds=5, options="--rows 5000")
@lab.Experiment("whole", lab.CLASS_TABLES, seeds=5, options="--rows", part="whole")
def tables(args, name, seed):
    """Classes left out of some rows, beside peers, or of all rows."""
    X, y = lab.frame(name)
    if args.rows:
        X, y = lab.some_pairs(X, y, args.rows, 0)
    train, test = lab.left_out(y, seed)
    X, y, X_test, y_test = X.iloc[train], y[train], X.iloc[test], y[test]
    detector, seconds = lab.timed(lambda: ood.CombinedClassifier(random_state=seed).fit(X, y))
    answers, is_in = detector.predict(X_test), np.isin(y_test, detector.classes_)
    found = scored(detector, X_test)
    if args.part == "tables":
        rows, rows_test = X.to_numpy(), X_test.to_numpy()
        if name in lab.data.FRAMES:
            encoder = ood.TableEncoder().fit(X)
            rows, rows_test = encoder.transform(X), encoder.transform(X_test)
        found |= scores(table_peers(seed), rows, y, rows_test)
    metrics = {k: lab.measured(is_in, values, y_test, answers) for k, values in found.items()}
    metrics["combined"] |= lab.aurc_by_share(detector, X_test, y_test, SHARES) | {
        "accuracy": (answers == y_test)[is_in].mean(),
        "refused": (detector.p_values(X_test[is_in]) <= LEVEL).mean(),
        "fit seconds": seconds,
    }
    return metrics


@lab.Experiment("anomalies", lab.ADBENCH, seeds=3, options="--rows 5000")
def anomalies(args, name, seed):
    """Half of the normal rows train; the other half and the anomalies test."""
    X, y = lab.table(name)
    rng = np.random.RandomState(seed)
    normal = rng.permutation(np.flatnonzero(y == 0))[: 2 * args.rows]
    anomalies = rng.permutation(np.flatnonzero(y == 1))[: args.rows]
    train, rest = np.array_split(normal, 2)
    X, X_test, known = X[train], X[np.append(rest, anomalies)], X[rest]
    detector = ood.CombinedClassifier(random_state=seed).fit(X)
    found = scored(detector, X_test) | scores(anomaly_peers(seed, X.shape[1]), X, None, X_test)
    outside = np.arange(len(X_test)) >= len(rest)
    metrics = {
        k: {"auroc": auroc(~outside, v), "aupr": average_precision_score(outside, -v)}
        for k, v in found.items()
    }
    metrics["combined"]["refused"] = (detector.p_values(known) <= LEVEL).mean()
    return metrics


@lab.Experiment("images", TAUGHT, seeds=3, options="--rows 60000 --test-rows")
def images(args, name, seed):
    """One set taught; AUROC against each other set, AURC with it and on the set alone."""
    X, y = lab.some_rows(*lab.images(name), args.rows, seed)
    path = args.cache / f"{name}_{seed}_{args.rows}.joblib"
    detector = ood.CombinedClassifier(input_shape=lab.IMAGE, random_state=seed)
    detector, seconds = lab.kept(path, lambda: detector.fit(X, y))
    net = detector.classifier_
    models = {label: peer.fit(X, y) for label, peer in image_peers(net, seed).items()}

    def all_scores(rows):
        own = {"combined, confidence": detector.confidence(rows)} | scored(detector, rows)
        own["few lit pixels"] = -(rows > 0.5).sum(axis=1).astype(float)
        return own | {label: score(model, rows) for label, model in models.items()}

    X, y = lab.some_rows(*lab.test_images(name), args.test_rows, seed)
    answers, inside = net.predict(X), all_scores(X)
    metrics = {label: {"aurc": aurc_score(y, answers, v)} for label, v in inside.items()}
    for outside in sorted({*TAUGHT, *OUTSIDE} - {name}):
        X_out, _ = lab.some_rows(*lab.test_images(outside), args.test_rows, seed)
        truth = np.append(y, np.full(len(X_out), -1))
        all_answers = np.append(answers, net.predict(X_out))
        for label, values in all_scores(X_out).items():
            is_in, values = lab.both(inside[label], values)
            found = lab.measured(is_in, values, truth, all_answers)
            metrics[label] |= {f"{outside} {metric}": value for metric, value in found.items()}
    metrics["combined"] |= {
        "accuracy": (answers == y).mean(),
        "refused": (np.exp(inside["combined"]) <= LEVEL).mean(),
        "fit seconds": seconds,
    }
    return metrics


if __name__ == "__main__":
    lab.main(__doc__, "combined")
