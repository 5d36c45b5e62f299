"""The denoising autoencoder's confidence on tables, beside scikit-learn's detectors.

``adbench``: trained on half of the normal rows, tested on the other half and the anomalies.
``tabular``: 30 % of the classes are left out of training and are the outliers of the test;
the autoencoder is trained jointly with a classifier, and for a random forest. AUROC and mean
ranks are printed and merged into ``docs/results/dae.json``.

    python examples/papers/spigler_tables.py adbench
    python examples/papers/spigler_tables.py tabular --data dry_bean
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from combined import pyod_peers
from scipy.stats import rankdata
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from sklearn_ood import DAEConfidence, SoftmaxClassifier
from sklearn_ood.datasets import load_tabular
from sklearn_ood.metrics import tnr_at_tpr

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "dae.json"
ANOMALY_TABLES = (
    *("cardio", "cover", "letter", "mammography", "musk"),
    *("pendigits", "satimage-2", "shuttle", "thyroid"),
)
CLASS_TABLES = ("pendigits_multiclass", "letter_recognition", "dry_bean")


class NeighborDistance:
    """Minus the distance to the k-th nearest training row."""

    def __init__(self, n_neighbors=5):
        self.neighbors = NearestNeighbors(n_neighbors=n_neighbors)

    def fit(self, X, y=None):
        self.neighbors.fit(X)
        return self

    def score_samples(self, X):
        return -self.neighbors.kneighbors(X)[0][:, -1]


def detectors(seed):
    """Detectors with the settings that their package, or the field, uses by default."""
    return {
        "IForest": IsolationForest(random_state=seed),
        "LOF": LocalOutlierFactor(novelty=True),
        "OneClassSVM": OneClassSVM(),
        "k-NN distance": NeighborDistance(),
        **{name: PyOD(detector) for name, detector in pyod_peers(seed).items()},
    }


class PyOD:
    """One of PyOD's detectors, whose scores rise with outlyingness, the other way round."""

    def __init__(self, detector):
        self.detector = detector

    def fit(self, X, y=None):
        self.detector.fit(X)
        return self

    def score_samples(self, X):
        return -self.detector.decision_function(X)


def autoencoder(estimator=None, **parameters):
    return DAEConfidence(
        estimator, **{"lr_schedule": "cosine", "hidden_layer_sizes": (128, 128)} | parameters
    )


def autoencoders(prefix, X, y, X_test, estimator=None, **settings):
    """Scores of the autoencoder, without typicality and with it."""
    variants = {prefix: False, f"{prefix} with typicality": True}
    return {
        name: autoencoder(estimator, typicality=typicality, **settings)
        .fit(X, y)
        .score_samples(X_test)
        for name, typicality in variants.items()
    }


def n_epochs(n_rows, steps):
    return int(np.clip(steps * 64 / n_rows, 5, 200))


def adbench(arguments):
    for name in arguments.data or ANOMALY_TABLES:
        started = time.perf_counter()
        X, y = load_tabular(name, return_X_y=True)
        rng = np.random.RandomState(arguments.seed)
        normal, anomalies = rng.permutation(np.flatnonzero(y == 0)), np.flatnonzero(y == 1)
        train = normal[: len(normal) // 2][: arguments.rows]
        test = np.concatenate([normal[len(normal) // 2 :][: arguments.rows], anomalies])
        scaler = StandardScaler().fit(X[train])
        X_train, X_test, inside = (
            scaler.transform(X[train]),
            scaler.transform(X[test]),
            y[test] == 0,
        )
        epochs = n_epochs(len(train), arguments.steps)
        settings = {"max_epochs": epochs, "random_state": arguments.seed}
        scores = autoencoders("DAE", X_train, None, X_test, **settings)
        for detector, model in detectors(arguments.seed).items():
            scores[detector] = model.fit(X_train).score_samples(X_test)
        areas = {method: float(roc_auc_score(inside, s)) for method, s in scores.items()}
        record("adbench", name, areas, time.perf_counter() - started)
    summarise("adbench", "auroc", rows=arguments.rows, steps=arguments.steps)


def tabular(arguments):
    for name in arguments.data or CLASS_TABLES:
        started = time.perf_counter()
        X, y = load_tabular(name, return_X_y=True)
        values = {}
        for split in range(arguments.splits):
            rng = np.random.RandomState(split)
            classes = rng.permutation(np.unique(y))
            unknown = np.isin(y, classes[: round(0.3 * len(classes))])
            train, test = train_test_split(
                np.flatnonzero(~unknown),
                test_size=0.3,
                stratify=y[~unknown],
                random_state=split,
            )
            train = rng.permutation(train)[: arguments.rows]
            test = np.concatenate([test, np.flatnonzero(unknown)])
            scaler = StandardScaler().fit(X[train])
            X_train, X_test = scaler.transform(X[train]), scaler.transform(X[test])
            scores = class_scores(X_train, y[train], X_test, split, arguments.steps)
            for method, score in scores.items():
                inside = ~unknown[test]
                pair = roc_auc_score(inside, score), tnr_at_tpr(inside, score)
                values.setdefault(method, []).append(pair)
        means = {method: np.mean(pairs, axis=0).tolist() for method, pairs in values.items()}
        record("tabular", name, means, time.perf_counter() - started)
    settings = {key: getattr(arguments, key) for key in ("rows", "steps", "splits")}
    summarise("tabular", "auroc", **settings)


def class_scores(X, y, X_test, seed, steps):
    epochs = n_epochs(len(X), steps)
    settings = {"max_epochs": epochs, "random_state": seed}
    softmax = SoftmaxClassifier(
        lr_schedule="cosine", hidden_layer_sizes=(128, 128), **settings
    ).fit(X, y)
    forest = RandomForestClassifier(random_state=seed)
    scores = {
        "softmax": softmax.score_samples(X_test),
        "random forest": forest.fit(X, y).predict_proba(X_test).max(axis=1),
        **autoencoders("DAE", X, y, X_test, **settings),
        **autoencoders("random forest and DAE", X, y, X_test, forest, **settings),
    }
    for detector, model in detectors(seed).items():
        scores[detector] = model.fit(X).score_samples(X_test)
    return scores


def record(section, name, value, seconds):
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results.setdefault(section, {})[name] = value
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(name, f"{seconds:.0f} s", json.dumps(value), flush=True)


def summarise(section, what, **settings):
    """Mean and mean rank of every method over the tables that all of them have."""
    results = json.loads(RESULTS.read_text())
    tables = {name: t for name, t in results[section].items() if name != "summary"}
    methods = list(next(iter(tables.values())))
    values = np.array([[np.ravel(t[m])[0] for m in methods] for t in tables.values()])
    ranks = np.array([rankdata(-row) for row in values])
    summary = {
        method: {"mean_" + what: float(mean), "mean_rank": float(rank)}
        for method, mean, rank in zip(
            methods, values.mean(axis=0), ranks.mean(axis=0), strict=True
        )
    }
    results[section]["summary"] = summary | {"tables": len(tables)} | settings
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=("adbench", "tabular"))
    parser.add_argument("--data", nargs="+", help="some of the tables")
    parser.add_argument("--rows", type=int, default=5_000, help="most rows to train on")
    parser.add_argument("--steps", type=int, default=4_000, help="of training, about")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    {"adbench": adbench, "tabular": tabular}[arguments.section](arguments)
