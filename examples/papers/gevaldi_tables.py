"""A random forest against gradient boosting on tables, and evolution against gradients."""

import time

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from sklearn_ood import GeValDi, SoftmaxClassifier
from sklearn_ood.datasets import load_tabular
from sklearn_ood.generators import GaussianMixtureGenerator

N_SAMPLES, N_STEPS = 200, 50


def ascent_summary(found):
    """Divergence at every tenth of the run, drift, and how often answers differ."""
    start = found.start_predictions
    return {
        "n_samples": len(found),
        "n_steps": len(found.divergence_path) - 1,
        "divergence_at_tenths": found.divergence_path[found.steps].mean(1).tolist(),
        "drift": float(found.drift.mean()),
        "median_drift": float(np.median(found.drift)),
        "start_answers_differ": float((start[0] != start[1:]).any(0).mean()),
        "answers_differ": float(found.differ.mean()),
    }


def run_table(name):
    """Both comparisons on one table, standardised; a third of the rows is for tests."""
    X, y = load_tabular(name, return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=1 / 3, stratify=y, random_state=0
    )
    scaler = StandardScaler().fit(X_train)
    train, test = scaler.transform(X_train), scaler.transform(X_test)
    generator = GaussianMixtureGenerator(4, random_state=0).fit(train, y_train)
    begin = time.perf_counter()
    trees = compare_trees(generator, train, y_train, test, y_test)
    trees["seconds"] = time.perf_counter() - begin
    return {
        "rows": [len(train), len(test)],
        "trees": trees,
        "networks": compare_optimizers(generator, train, y_train),
    }


def compare_trees(generator, X, y, X_test, y_test):
    """Where a forest and boosting differ, confirmed by the nearest real test rows."""
    members = [
        ("forest", RandomForestClassifier(50, random_state=0, n_jobs=2).fit(X, y)),
        ("boosting", HistGradientBoostingClassifier(max_iter=30, random_state=0).fit(X, y)),
    ]
    settings = {"n_steps": N_STEPS, "prior_weight": 0.01, "prefit": True}
    gevaldi = GeValDi(members, generator, **settings).fit(X, y)
    found = gevaldi.maximally_different_samples(N_SAMPLES, random_state=0)
    answers = np.stack([member.predict(X_test) for _, member in members])
    differ, divergence = answers[0] != answers[1], -gevaldi.score_samples(X_test)
    neighbors = NearestNeighbors(n_neighbors=1).fit(X_test)
    of_start, of_end = (
        neighbors.kneighbors(rows, return_distance=False)[:, 0]
        for rows in (found.start_samples, found.samples)
    )
    return {
        "accuracy": {name: float(member.score(X_test, y_test)) for name, member in members},
        **ascent_summary(found),
        "real_rows": {
            "all": [float(differ.mean()), float(divergence.mean())],
            "nearest_to_the_starts": [
                float(differ[of_start].mean()),
                float(divergence[of_start].mean()),
            ],
            "nearest_to_the_samples": [
                float(differ[of_end].mean()),
                float(divergence[of_end].mean()),
            ],
        },
        "comparison": [pair._asdict() for pair in found.compare_accuracy(random_state=0)],
        "disagreement_on_test_rows": gevaldi.disagreement_matrix(X=X_test).divergence.tolist(),
    }


def compare_optimizers(generator, X, y):
    """Gradients, and evolution with 20 times the evaluations, on a pair of networks."""
    few = np.random.RandomState(0).permutation(len(X))[:3000]
    net = {"max_epochs": 15, "lr": 3e-3, "batch_size": 128}
    members = [
        ("wide", SoftmaxClassifier(hidden_layer_sizes=(64,), random_state=0, **net)),
        ("deep", SoftmaxClassifier(hidden_layer_sizes=(32, 32), random_state=1, **net)),
    ]
    members = [(name, member.fit(X[few], y[few])) for name, member in members]
    result = {}
    for optimizer, lr in (("adam", 0.05), ("adam", 0.1), ("evolution", None)):
        gevaldi = GeValDi(
            members,
            generator,
            optimizer=optimizer,
            lr=lr or 0.05,
            n_steps=N_STEPS,
            prior_weight=0.01,
            prefit=True,
        ).fit(X, y)
        found = gevaldi.maximally_different_samples(N_SAMPLES, random_state=0)
        key = optimizer if lr is None else f"{optimizer}, lr {lr}"
        result[key] = {
            "start": float(found.start_divergence.mean()),
            "divergence": float(found.divergence.mean()),
            "objective": float((found.divergence + 0.01 * found.log_prior).mean()),
        }
    best = max(value["divergence"] for key, value in result.items() if key != "evolution")
    result["ratio"] = result["evolution"]["divergence"] / best
    return result
