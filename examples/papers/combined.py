"""One default for tables, anomalies and images: combined evidence beside all peers.

``CombinedClassifier(random_state=seed)`` throughout, its members alone, each member left out,
the other combinations, and what people would pick instead, on the same rows:

    python examples/papers/combined.py tables     # classes left out of at most 5,000 rows
    python examples/papers/combined.py whole      # of all rows of three tables, without peers
    python examples/papers/combined.py anomalies  # trained on normal rows only
    python examples/papers/combined.py images     # MNIST beside three other sets

Peers train on all training rows; the combination holds a part of them out to calibrate itself.
AURC uses the labels of the combination's classifier for every score, so that scores and not
classifiers are compared. PyOD's detectors are among the peers where PyOD is installed.
"""

from importlib.util import find_spec

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import OneClassSVM

import lab
from peers import OneClass, detectors, odin, pyod, rescored, scaled, score, virtual_logit
from sklearn_ood import (
    CombinedClassifier,
    GenerativeClassifier,
    NeighborDistance,
    NetFeatures,
    SoftmaxClassifier,
    TableEncoder,
)
from sklearn_ood.combined._conformal import COMBINATIONS, combine
from sklearn_ood.generators import GaussianMixtureGenerator, PCAGenerator
from sklearn_ood.metrics import aurc_score, auroc

TABLES = (*lab.CLASS_TABLES, "soybean", "segment", "hypothyroid")
OUTSIDE = ("fashion_mnist", "omniglot", "notmnist")
SHARES = {"aurc_default": 0.01, "aurc_half": 0.5}
MAX_NEIGHBOR_ROWS = 10_000
LEVEL = 0.1


def scored(detector, X):
    """Scores of a combination, its members, all but one of them, and other methods."""
    log_p, names = detector.member_score_samples(X), list(detector.members_)
    weights = detector.weights_
    found = {"combined": detector.score_samples(X)}
    for j, name in enumerate(names):
        found[f"member: {name}"] = log_p[:, j]
        if len(names) > 1:
            left = np.arange(len(names)) != j
            found[f"without: {name}"] = -combine(log_p[:, left], detector.method, weights[left])
    others = (method for method in COMBINATIONS if method != detector.method)
    return found | {f"method: {each}": -combine(log_p, each, weights) for each in others}


def table_peers(seed):
    """What people would pick for a table with classes."""
    four = GaussianMixtureGenerator(4, reg_covar=1e-2, random_state=seed)
    one = GaussianMixtureGenerator(1, reg_covar=1e-6, random_state=seed)
    net = SoftmaxClassifier(batch_size=256, max_epochs=60, random_state=seed)
    known = detectors(seed)
    return {
        "Gaussian mixture a class": GenerativeClassifier(four),
        "Gaussian a class": GenerativeClassifier(one),
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
    known = detectors(seed, n_features)
    return {name: each if "forest" in name else scaled(each) for name, each in known.items()}


def image_peers(net, seed):
    """What people would pick for images; those that need a net share the combination's."""
    some = {"max_samples": MAX_NEIGHBOR_ROWS, "random_state": seed}
    features = NetFeatures(FrozenEstimator(net))
    peers = {
        "max softmax": FrozenEstimator(net),
        "energy": rescored(net, score_function="energy"),
        "max logit": rescored(net, score_function="max_logit"),
        "ODIN": odin(net),
        "ViM": virtual_logit(net),
        f"k-NN (50), hidden layer, {MAX_NEIGHBOR_ROWS:,} rows": make_pipeline(
            features, OneClass(NeighborDistance(50, **some))
        ),
        f"nearest of {MAX_NEIGHBOR_ROWS:,} training images, pixels": OneClass(
            NeighborDistance(**some)
        ),
        "PCA a class, reconstruction": GenerativeClassifier(
            PCAGenerator(64), similarity="l2", validation_fraction=0
        ),
        "isolation forest, pixels": detectors(seed)["isolation forest"],
    }
    if find_spec("pyod"):
        peers["PyOD AutoEncoder, pixels"] = pyod(seed)["PyOD AutoEncoder"]
    return peers


@lab.Experiment("tables", TABLES, seeds=5, options="--rows 5000")
@lab.Experiment("whole", lab.CLASS_TABLES, seeds=5, options="--rows", part="whole")
def tables(args, name, seed):
    """Classes left out of some rows, beside peers, or of all rows."""
    X, y = lab.frame(name)
    if args.rows:
        X, y = lab.some_pairs(X, y, args.rows, 0)
    train, test = lab.left_out(y, seed)
    X, y, X_test, y_test = X.iloc[train], y[train], X.iloc[test], y[test]
    detector, seconds = lab.timed(lambda: CombinedClassifier(random_state=seed).fit(X, y))
    answers, is_in = detector.predict(X_test), np.isin(y_test, detector.classes_)
    found = scored(detector, X_test)
    if args.part == "tables":
        rows, rows_test = X.to_numpy(), X_test.to_numpy()
        if name in lab.data.FRAMES:
            encoder = TableEncoder().fit(X)
            rows, rows_test = encoder.transform(X), encoder.transform(X_test)
        for label, peer in table_peers(seed).items():
            found[label] = score(peer.fit(rows, y), rows_test)
    scores = {k: lab.measured(is_in, values, y_test, answers) for k, values in found.items()}
    for metric, share in SHARES.items():
        ranks = detector.set_params(outlier_share=share).confidence(X_test)
        scores["combined"][metric] = aurc_score(y_test, answers, ranks)
    scores["combined"] |= {
        "accuracy": (answers == y_test)[is_in].mean(),
        "refused": (detector.p_values(X_test[is_in]) <= LEVEL).mean(),
        "fit seconds": seconds,
    }
    return scores


@lab.Experiment("anomalies", lab.ADBENCH, seeds=3, options="--rows 5000")
def anomalies(args, name, seed):
    """Half of the normal rows train; the other half and the anomalies test."""
    X, y = lab.table(name)
    rng = np.random.RandomState(seed)
    normal = rng.permutation(np.flatnonzero(y == 0))[: 2 * args.rows]
    anomalies = rng.permutation(np.flatnonzero(y == 1))[: args.rows]
    train, rest = np.array_split(normal, 2)
    test = np.append(rest, anomalies)
    detector = CombinedClassifier(random_state=seed).fit(X[train])
    found = scored(detector, X[test])
    for label, peer in anomaly_peers(seed, X.shape[1]).items():
        found[label] = score(peer.fit(X[train]), X[test])
    scores = {
        label: {
            "auroc": auroc(y[test] == 0, values),
            "aupr": average_precision_score(y[test], -values),
        }
        for label, values in found.items()
    }
    scores["combined"]["refused"] = (detector.p_values(X[rest]) <= LEVEL).mean()
    return scores


@lab.Experiment("images", ("mnist",), seeds=3, options="--rows 60000 --test-rows")
def images(args, name, seed):
    """MNIST taught; AUROC against each other set, AURC with it and on MNIST alone."""
    X, y = lab.some_images(lab.images(name), args.rows, seed)
    path = args.cache / f"{name}_{seed}_{args.rows}.joblib"
    detector = CombinedClassifier(input_shape=lab.IMAGE, random_state=seed)
    detector, seconds = lab.kept(path, lambda: detector.fit(X, y))
    net = detector.classifier_
    models = {label: peer.fit(X, y) for label, peer in image_peers(net, seed).items()}

    def all_scores(rows):
        few = {"few lit pixels": -(rows > 0.5).sum(axis=1).astype(float)}
        peers = {label: score(model, rows) for label, model in models.items()}
        ranks = {"combined, confidence": detector.confidence(rows)}
        return scored(detector, rows) | ranks | peers | few

    X, y = lab.some_images(lab.test_images(name), args.test_rows, seed)
    answers, inside = net.predict(X), all_scores(X)
    scores = {label: {"aurc": aurc_score(y, answers, v)} for label, v in inside.items()}
    for outside in OUTSIDE:
        X_out, _ = lab.some_images(lab.test_images(outside), args.test_rows, seed)
        truth = np.append(y, np.full(len(X_out), -1))
        all_answers = np.append(answers, net.predict(X_out))
        for label, values in all_scores(X_out).items():
            is_in, values = lab.both(inside[label], values)
            found = lab.measured(is_in, values, truth, all_answers)
            scores[label] |= {f"{outside} {metric}": value for metric, value in found.items()}
    scores["combined"] |= {
        "accuracy": (answers == y).mean(),
        "refused": (np.exp(inside["combined"]) <= LEVEL).mean(),
        "fit seconds": seconds,
    }
    return scores


if __name__ == "__main__":
    lab.main(__doc__, "combined")
