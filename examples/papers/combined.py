"""One default for tables, anomalies and images: combined evidence beside all peers.

``CombinedClassifier(random_state=seed)`` throughout, its members alone, each member left out,
the other combinations, and what people would pick instead, on the same rows:

    python examples/papers/combined.py tables     # classes left out of at most 5,000 rows
    python examples/papers/combined.py whole      # of all rows of three tables, without peers
    python examples/papers/combined.py anomalies  # trained on normal rows only
    python examples/papers/combined.py cap        # the same where many are, by rows remembered
    python examples/papers/combined.py images     # one of two sets beside three others

Peers train on all training rows; the combination holds a part of them out to calibrate itself.
AURC uses the labels of the combination's classifier for every score, so that scores and not
classifiers are compared. PyOD's detectors are among the peers where PyOD is installed.
"""

from unittest import mock

import numpy as np

import lab
import peers
import sklearn_ood as ood
from sklearn_ood._response import known_of
from sklearn_ood.combined import _columns, _members
from sklearn_ood.combined._conformal import COMBINATIONS
from sklearn_ood.metrics import aupr_out, aurc_score, auroc

TABLES = (*lab.CLASS_TABLES, "soybean", "segment", "hypothyroid")
TAUGHT, OUTSIDE = ("mnist", "fashion_mnist"), ("omniglot", "notmnist")
LARGE = "ALOI", "campaign", "celeba", "cover", "donors", "shuttle", "skin", "smtp"
CAPS = "2500", "10000", "40000"
SHARES = {"aurc_default": 0.01, "aurc_half": 0.5}
LEVEL = 0.1


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


@lab.Experiment("tables", TABLES, seeds=5, options="--rows 5000")
@lab.Experiment("whole", lab.CLASS_TABLES, seeds=5, options="--rows", part="whole")
def tables(args, name, seed):
    """Classes left out of some rows, beside peers, or of all rows."""
    X, y = lab.frame(name)
    if args.rows:
        X, y = lab.some_pairs(X, y, args.rows, 0)
    train, test = lab.left_out(y, seed)
    X, y, X_test, y_test = X.iloc[train], y[train], X.iloc[test], y[test]
    detector = ood.CombinedClassifier(random_state=seed).fit(X, y)
    answers, is_in = detector.predict(X_test), np.isin(y_test, detector.classes_)
    found = scored(detector, X_test)
    if args.part == "tables":
        is_mixed = name in lab.data.FRAMES
        encode = ood.TableEncoder().fit(X).transform if is_mixed else np.asarray
        found |= peers.scores(peers.of_table(seed), encode(X), y, encode(X_test))
    metrics = {k: lab.measured(is_in, values, y_test, answers) for k, values in found.items()}
    metrics["combined"] |= lab.aurc_by_share(detector, X_test, y_test, SHARES) | {
        "accuracy": (answers == y_test)[is_in].mean(),
        "refused": (detector.p_values(X_test[is_in]) <= LEVEL).mean(),
    }
    return metrics


def of_normal_rows(name, seed, n_train, n_test):
    """Rows to learn from, and others and anomalies that test; how many are no anomalies."""
    X, y = lab.table(name)
    rng = np.random.RandomState(seed)
    normal = rng.permutation(np.flatnonzero(y == 0))[: n_train + n_test]
    anomalies = rng.permutation(np.flatnonzero(y == 1))[:n_test]
    n_train = min(n_train, -(-len(normal) // 2))
    train, rest = normal[:n_train], normal[n_train:]
    return X[train], X[np.append(rest, anomalies)], len(rest)


@lab.Experiment("cap", LARGE, CAPS, 3, options="--rows 40000", effort="--test-rows 5000")
def cap(args, name, seed, most):
    """AUROC where members remember no more than so many rows."""
    X, X_test, n_known = of_normal_rows(name, seed, args.rows, args.test_rows)
    cells = int(most) * X.shape[1]
    with (
        mock.patch.object(_members, "MAX_ROWS", int(most)),
        mock.patch.object(_columns, "MAX_CELLS", max(_columns.MAX_CELLS, cells)),
    ):
        detector = ood.CombinedClassifier(random_state=seed).fit(X)
    values, took = lab.timed(detector.score_samples, X_test)
    return {
        "auroc": auroc(np.arange(len(X_test)) < n_known, values),
        "seconds of 1,000 rows": 1000 * took / len(X_test),
    }


@lab.Experiment("anomalies", lab.ADBENCH, seeds=3, options="--rows 5000")
def anomalies(args, name, seed):
    """Half of the normal rows train; the other half and the anomalies test."""
    X, X_test, n_known = of_normal_rows(name, seed, args.rows, args.rows)
    known = X_test[:n_known]
    detector = ood.CombinedClassifier(random_state=seed).fit(X)
    others = peers.of_anomalies(seed, X.shape[1])
    found = scored(detector, X_test) | peers.scores(others, X, None, X_test)
    inside = np.arange(len(X_test)) < n_known
    metrics = {
        k: {"auroc": auroc(inside, v), "aupr": aupr_out(inside, v)} for k, v in found.items()
    }
    metrics["combined"]["refused"] = (detector.p_values(known) <= LEVEL).mean()
    return metrics


@lab.Experiment("images", TAUGHT, seeds=3, options="--rows 60000 --test-rows")
def images(args, name, seed):
    """One set taught; AUROC against each other set, AURC with it and on the set alone."""
    X, y = lab.some_rows(*lab.images(name), args.rows, seed)
    path = args.cache / f"{name}_{seed}_{args.rows}.joblib"
    detector = ood.CombinedClassifier(input_shape=lab.IMAGE, random_state=seed)
    detector, _ = lab.kept(path, detector.fit, X, y)
    net = detector.classifier_
    models = {label: peer.fit(X, y) for label, peer in peers.of_images(net, seed).items()}

    def all_scores(rows):
        own = {"combined, confidence": detector.confidence(rows)} | scored(detector, rows)
        own["few lit pixels"] = -(rows > 0.5).sum(axis=1).astype(float)
        return own | {label: known_of(model, rows) for label, model in models.items()}

    X, y = lab.some_rows(*lab.test_images(name), args.test_rows, seed)
    answers, inside = net.predict(X), all_scores(X)
    metrics = {label: {"aurc": aurc_score(y, answers, v)} for label, v in inside.items()}
    for outside in sorted({*TAUGHT, *OUTSIDE} - {name}):
        X_out, _ = lab.some_rows(*lab.test_images(outside), args.test_rows, seed)
        others = net.predict(X_out)
        for label, values in all_scores(X_out).items():
            known = answers, inside[label]
            metrics[label] |= lab.beside(outside, y, known, (others, values))
    metrics["combined"] |= {
        "accuracy": (answers == y).mean(),
        "refused": (np.exp(inside["combined"]) <= LEVEL).mean(),
    }
    return metrics


if __name__ == "__main__":
    lab.main(__doc__, "combined")
