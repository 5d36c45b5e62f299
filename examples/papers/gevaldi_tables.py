"""A random forest against gradient boosting on tables, and evolution against gradients."""

import time

import numpy as np
from scipy.stats import fisher_exact
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from sklearn_ood import GeValDi, SoftmaxClassifier
from sklearn_ood.datasets import load_tabular
from sklearn_ood.generators import GaussianMixtureGenerator

N_SAMPLES, N_STEPS, N_NETWORK_STEPS = 200, 50, 200
PAPER_DRIFT = 0.25


def ascent_summary(found):
    """Divergence at every tenth of the run, drift, and how often answers differ."""
    start, drift = found.start_predictions, found.drift_path.mean(1)
    last = int(np.flatnonzero(drift <= PAPER_DRIFT).max())
    divergence = found.divergence_path.mean(1)
    return {
        "n_samples": len(found),
        "n_steps": len(found.divergence_path) - 1,
        "divergence_at_tenths": divergence[found.steps].tolist(),
        "drift_at_tenths": drift[found.steps].tolist(),
        "at_the_papers_drift": {
            "step": last,
            "growth": float(divergence[last] / divergence[0]),
        },
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
        "networks": compare_optimizers(train, y_train),
    }


def compare_trees(generator, X, y, X_test, y_test):
    """Where a forest and boosting differ, confirmed by the nearest real test rows."""
    members = [
        ("forest", RandomForestClassifier(50, random_state=0, n_jobs=2).fit(X, y)),
        ("boosting", HistGradientBoostingClassifier(max_iter=30, random_state=0).fit(X, y)),
    ]
    gevaldi = GeValDi(members, generator, n_steps=N_STEPS, prefit=True).fit(X, y)
    found = gevaldi.maximally_different_samples(N_SAMPLES, random_state=0)
    answers = np.stack([member.predict(X_test) for _, member in members])
    differ, divergence = answers[0] != answers[1], -gevaldi.score_samples(X_test)
    neighbors = NearestNeighbors(n_neighbors=1).fit(X_test)

    def nearest(rows):
        return np.unique(neighbors.kneighbors(rows, return_distance=False))

    real = {
        "all": np.arange(len(X_test)),
        "nearest to the starts": nearest(found.start_samples),
        "nearest to the samples": nearest(found.samples),
    }
    near = differ[real["nearest to the samples"]]
    others = np.delete(differ, real["nearest to the samples"])
    table = [[near.sum(), (~near).sum()], [others.sum(), (~others).sum()]]
    return {
        "accuracy": {name: float(member.score(X_test, y_test)) for name, member in members},
        **ascent_summary(found),
        "real_rows": {
            key: [len(rows), float(differ[rows].mean()), float(divergence[rows].mean())]
            for key, rows in real.items()
        },
        "real_rows_p_value": float(fisher_exact(table, alternative="greater").pvalue),
        "comparison": [pair._asdict() for pair in found.compare_accuracy(random_state=0)],
        "disagreement_on_test_rows": gevaldi.disagreement_matrix(X=X_test).divergence.tolist(),
    }


def compare_optimizers(X, y):
    """Gradients, and evolution with 20 times the evaluations, on a pair of networks.

    The generator is one Gaussian a class: a mixture jumps between its components, where
    gradients cannot follow. A longer run shows whether gradients had arrived, one with 20
    starts what they reach with evolution's evaluations.
    """
    generator = GaussianMixtureGenerator(1, random_state=0).fit(X, y)
    few = np.random.RandomState(0).permutation(len(X))[:3000]
    net = {"max_epochs": 15, "lr": 3e-3, "batch_size": 128}
    members = [
        ("wide", SoftmaxClassifier(hidden_layer_sizes=(64,), random_state=0, **net)),
        ("deep", SoftmaxClassifier(hidden_layer_sizes=(32, 32), random_state=1, **net)),
    ]
    members = [(name, member.fit(X[few], y[few])) for name, member in members]
    result = []
    for name, n_steps, settings in (
        *((f"adam, lr {lr}", N_NETWORK_STEPS, {"lr": lr}) for lr in (0.02, 0.05, 0.1, 0.2)),
        ("adam, lr 0.05, longer", 5 * N_NETWORK_STEPS, {"lr": 0.05}),
        ("adam, lr 0.05, 20 starts", N_NETWORK_STEPS, {"lr": 0.05, "n_starts": 20}),
        ("evolution", N_NETWORK_STEPS, {"optimizer": "evolution", "population_size": 20}),
    ):
        gevaldi = GeValDi(members, generator, n_steps=n_steps, prefit=True, **settings)
        found = gevaldi.fit(X, y).maximally_different_samples(N_SAMPLES, random_state=0)
        proposals = settings.get("n_starts", settings.get("population_size", 1))
        result.append(
            {
                "optimizer": name,
                "evaluations": n_steps * proposals,
                "start": float(found.start_divergence.mean()),
                "divergence": float(found.divergence.mean()),
            }
        )
    *gradients, starts, evolution = result
    best = max(run["divergence"] for run in gradients)
    return {
        "runs": result,
        "ratio": evolution["divergence"] / best,
        "ratio_at_equal_evaluations": evolution["divergence"] / starts["divergence"],
    }
