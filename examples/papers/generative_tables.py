"""Tables with classes left out: generative classifiers beside scikit-learn's detectors.

Five splits a table leave 30 % of the classes out of training; their rows and 30 % of the
others' are the test. Features are standardised on the training part. Every score is judged
by how well it tells the classes that were taught from those left out, and by the area under
the risk-coverage curve (AURC) with one network's labels, an answer to a class left out being
an error. ``auto`` is ``GenerativeClassifier()`` as it comes: its mixture is chosen by
classes held out of the training part.

Run ``python examples/papers/generative_tables.py TABLE`` for each table, or single splits with
``--only 0 3``; the numbers are kept in ``docs/results/generative.json``.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler

from sklearn_ood import GenerativeClassifier, SoftmaxClassifier
from sklearn_ood.datasets import load_tabular
from sklearn_ood.generators import GaussianMixtureGenerator
from sklearn_ood.metrics import aurc_score, auroc, tnr_at_tpr
from sklearn_ood.model_selection import LeaveClassesOut

N_SPLITS = 5
TABLES = ("pendigits_multiclass", "letter_recognition", "dry_bean")
RESULTS = Path(__file__).parents[2] / "docs" / "results" / "generative.json"


def classifiers(seed):
    """Ours, by the name they have in the results."""
    four = GaussianMixtureGenerator(4, reg_covar=1e-3)
    return {
        "auto": GenerativeClassifier(random_state=seed),
        "gmm, 4 components": GenerativeClassifier(four, random_state=seed),
        "pca, likelihood": GenerativeClassifier("pca", random_state=seed),
        "pca, l2": GenerativeClassifier("pca", "l2", random_state=seed),
        "knn": GenerativeClassifier("knn", random_state=seed),
        "MLP, max softmax": SoftmaxClassifier(
            hidden_layer_sizes=(128, 128), max_epochs=60, batch_size=128, random_state=seed
        ),
        "random forest, max probability": RandomForestClassifier(200, random_state=seed),
    }


def densities(X, y, seed):
    """One scikit-learn mixture a class: the score is the best class's density."""

    def score(n_components):
        mixtures = [
            GaussianMixture(n_components, random_state=seed).fit(X[y == k])
            for k in np.unique(y)
        ]
        return lambda rows: np.max([m.score_samples(rows) for m in mixtures], axis=0)

    return {"GaussianMixture(4) a class": score(4), "GaussianMixture(1) a class": score(1)}


def detectors(X, seed):
    nearest = NearestNeighbors(n_neighbors=1).fit(X)
    return {
        "LocalOutlierFactor": LocalOutlierFactor(novelty=True).fit(X).score_samples,
        "IsolationForest": IsolationForest(random_state=seed).fit(X).score_samples,
        "nearest training row": lambda rows: -nearest.kneighbors(rows)[0][:, 0],
    }


def run_split(X, y, train, test, seed):
    scaler = StandardScaler().fit(X[train])
    rows, taught = scaler.transform(X[train]), y[train]
    queries, labels = scaler.transform(X[test]), y[test]
    inside = np.isin(labels, taught)
    scores, accuracy = {}, {}
    for name, classifier in classifiers(seed).items():
        classifier.fit(rows, taught)
        if hasattr(classifier, "score_samples"):
            scores[name] = classifier.score_samples(queries)
        else:
            scores[name] = classifier.predict_proba(queries).max(1)
        predicted = classifier.predict(queries)
        accuracy[name] = float(np.mean(predicted[inside] == labels[inside]))
        if name == "MLP, max softmax":
            answers = predicted
    for score_of in (densities(rows, taught, seed), detectors(rows, seed)):
        for name, score in score_of.items():
            scores[name] = score(queries)
    return {
        name: {
            "auroc": float(auroc(inside, score)),
            "tnr95": float(tnr_at_tpr(inside, score)),
            "aurc": float(aurc_score(labels, answers, score)),
            **({"accuracy": accuracy[name]} if name in accuracy else {}),
        }
        for name, score in scores.items()
    }


def mean_of(splits):
    return {
        name: {
            metric: round(float(np.mean([split[name][metric] for split in splits])), 4)
            for metric in splits[0][name]
        }
        for name in splits[0]
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--only", type=int, nargs="*", default=range(N_SPLITS), metavar="SPLIT")
    args = parser.parse_args()
    X, y = load_tabular(args.table, return_X_y=True)
    splitter = LeaveClassesOut(0.3, n_splits=N_SPLITS, random_state=0)
    for number, (train, test) in enumerate(splitter.split(X, y)):
        if number in args.only:
            keep(args.table, number, run_split(X, y, train, test, number))
    for name, row in json.loads(RESULTS.read_text())["tables"][args.table]["scores"].items():
        print(f"{name:32s} " + "  ".join(f"{key} {value:.4f}" for key, value in row.items()))


def keep(table, number, scores):
    """Add one split to the results, and take the mean of those that there are."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    entry = results.setdefault("tables", {}).setdefault(table, {"splits": {}})
    entry["splits"][str(number)] = scores
    entry["scores"] = mean_of(list(entry["splits"].values()))
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
