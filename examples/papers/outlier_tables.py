"""Tables with classes left out: nets taught by made outliers beside densities and neighbours.

Five splits a table leave 30 % of the classes out of training; their rows and 30 % of the
others' are the test. Features are standardised on the training part. Nobody sees an outlier
before the test: the nets learn from rows that the boundary sampler makes from the training
part. Judged by AUROC and by the share of left-out rows refused while 95 % of the known ones
are kept; the accuracy is on the known classes.

How long a net is trained decides most here, and differently for each table: some densities
want many epochs, others are overfitted soon. So every split chooses each net's epochs, the
max softmax's too, by AUROC on classes held out of its own training part (one inner split).
The other settings (two layers of 256, cosine schedule, the sampler's quantile of 0.05 and
steps of up to 20 standard deviations) are the same everywhere and were found on other inner
splits; ``--candidates`` prints such a comparison, which no test enters.

Run ``python examples/papers/outlier_tables.py TABLE [--splits 5]`` for each table; every split
is kept in ``docs/results/outlier_tables.json`` and not run again.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from joblib import Memory
from sklearn.ensemble import RandomForestClassifier
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler

from sklearn_ood import (
    BoundaryOutliers,
    ConfidentClassifier,
    RejectClassifier,
    SoftmaxClassifier,
)
from sklearn_ood.datasets import load_tabular
from sklearn_ood.metrics import auroc, tnr_at_tpr
from sklearn_ood.model_selection import LeaveClassesOut

TABLES = ("pendigits_multiclass", "letter_recognition", "dry_bean")
RESULTS = Path(__file__).parents[2] / "docs" / "results" / "outlier_tables.json"
NET = {
    "hidden_layer_sizes": (256, 256),
    "max_epochs": 80,
    "batch_size": 256,
    "lr": 2e-3,
    "lr_schedule": "cosine",
}
EPOCHS = (20, 80)
# Overlaps the data, reaches far beyond them.
LOOSE = BoundaryOutliers(quantile=0.05, scales=(0.2, 20.0))
NEAR = BoundaryOutliers(quantile=0.05)
TIGHT = BoundaryOutliers(quantile=0.95)
FOLDER = tempfile.TemporaryDirectory()
CACHE = Memory(FOLDER.name, verbose=0)


@CACHE.cache
def loose_outliers(X, y, n, random_state):
    """Two nets of one split, and of any number of epochs, learn from the same rows."""
    return LOOSE(X, y, n, random_state)


def nets(seed):
    return {
        "confident, boundary": ConfidentClassifier(
            outliers=loose_outliers, random_state=seed, **NET
        ),
        "reject, boundary": RejectClassifier(outliers=loose_outliers, random_state=seed, **NET),
        "max softmax": SoftmaxClassifier(random_state=seed, **NET),
    }


def candidates(seed):
    samplers = {"loose": LOOSE, "near": NEAR, "tight": TIGHT}
    return {
        f"{kind.__name__}, {name}, {epochs} epochs": kind(
            outliers=outliers, random_state=seed, **NET | {"max_epochs": epochs}
        )
        for kind in (ConfidentClassifier, RejectClassifier)
        for name, outliers in samplers.items()
        for epochs in EPOCHS
    }


def peers(X, y, seed):
    """Scores of what one would take instead, by name."""
    mixtures = [GaussianMixture(4, random_state=seed).fit(X[y == label]) for label in set(y)]
    nearest = NearestNeighbors(n_neighbors=1).fit(X)
    forest = RandomForestClassifier(200, random_state=seed).fit(X, y)
    return {
        "GaussianMixture(4) a class": lambda rows: np.max(
            [mixture.score_samples(rows) for mixture in mixtures], axis=0
        ),
        "LocalOutlierFactor": LocalOutlierFactor(novelty=True).fit(X).score_samples,
        "nearest training row": lambda rows: -nearest.kneighbors(rows)[0][:, 0],
        "random forest, max probability": lambda rows: forest.predict_proba(rows).max(axis=1),
    }


def run_split(X, y, train, test, seed):
    """The test of one split: every net with its epochs chosen, and the peers."""
    chosen = choose_epochs(X[train], y[train], nets(seed))
    classifiers = {
        name: net.set_params(max_epochs=chosen[name]) for name, net in nets(seed).items()
    }
    entry = judge_nets(X, y, train, test, classifiers)
    for name, epochs in chosen.items():
        entry[name]["epochs"] = epochs
    (rows, taught), (queries, labels) = standardised(X, y, train, test)
    inside = np.isin(labels, taught)
    for name, score in peers(rows, taught, seed).items():
        entry[name] = judge(inside, score(queries))
    return entry


def choose_epochs(X, y, classifiers):
    """The epochs of each net that rank classes held out of (X, y) best."""
    held_out = LeaveClassesOut(n_out=0.3, n_splits=1, test_size=0.3, random_state=1)
    inner, judged = next(held_out.split(X, y))
    areas = {name: {} for name in classifiers}
    for epochs in EPOCHS:
        for net in classifiers.values():
            net.set_params(max_epochs=epochs)
        for name, found in judge_nets(X, y, inner, judged, classifiers).items():
            areas[name][epochs] = found["auroc"]
    return {name: max(area, key=area.get) for name, area in areas.items()}


def judge_nets(X, y, train, test, classifiers):
    (rows, taught), (queries, labels) = standardised(X, y, train, test)
    inside = np.isin(labels, taught)
    entry = {}
    for name, classifier in classifiers.items():
        start = time.perf_counter()
        classifier.fit(rows, taught)
        entry[name] = judge(inside, classifier.score_samples(queries)) | {
            "accuracy": float((classifier.predict(queries) == labels)[inside].mean()),
            "seconds": time.perf_counter() - start,
        }
    return entry


def standardised(X, y, train, test):
    scaler = StandardScaler().fit(X[train])
    return (scaler.transform(X[train]), y[train]), (scaler.transform(X[test]), y[test])


def judge(inside, scores):
    return {
        "auroc": float(auroc(inside, scores)),
        "tnr": float(tnr_at_tpr(inside, scores)),
    }


def compare_candidates(X, y, train):
    """On classes held out of a training part, which a test never sees."""
    held_out = LeaveClassesOut(n_out=0.3, n_splits=2, test_size=0.3, random_state=1)
    for part, (inner, judged) in enumerate(held_out.split(X[train], y[train])):
        print(part, judge_nets(X[train], y[train], inner, judged, candidates(0)), flush=True)


def table(results, name):
    """Mean and standard deviation over the splits, as Markdown."""
    entries = [entry for key, entry in sorted(results.items()) if key.startswith(name)]
    lines = [
        f"{name}, {len(entries)} splits",
        "",
        "| score | AUROC | TNR at 95 % TPR | ID accuracy | epochs | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for method in sorted(entries[0], key=lambda m: -np.mean([e[m]["auroc"] for e in entries])):
        cells = [
            spread([entry[method].get(key) for entry in entries])
            for key in ("auroc", "tnr", "accuracy")
        ]
        cells.append(
            ", ".join(str(e[method]["epochs"]) for e in entries if "epochs" in e[method])
        )
        seconds = entries[0][method].get("seconds")
        cells.append("" if seconds is None else f"{seconds:.0f}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values):
    if values[0] is None:
        return ""
    return f"{np.mean(values):.3f} ({np.std(values):.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--candidates", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    X, y = load_tabular(args.table, return_X_y=True)
    splitter = LeaveClassesOut(n_out=0.3, n_splits=5, test_size=0.3, random_state=0)
    splits = list(splitter.split(X, y))
    if args.candidates:
        compare_candidates(X, y, splits[0][0])
        return
    results = json.loads(args.results.read_text()) if args.results.exists() else {}
    for number, (train, test) in enumerate(splits[: args.splits]):
        key = f"{args.table}, split {number}"
        if key not in results:
            results[key] = run_split(X, y, train, test, number)
            args.results.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
            print(key, results[key], flush=True)
    print(table(results, args.table))


if __name__ == "__main__":
    main()
