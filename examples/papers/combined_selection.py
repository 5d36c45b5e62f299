"""How the members for tables were chosen: by classes held out within training rows.

    python examples/papers/combined_selection.py   # about ten minutes on two cores

For each table, the training rows of the first three splits of ``combined.py tables`` are split
again by classes, twice each; what tests in a split of that script is not seen in the same
split here, though a class may test in one and teach in another. Every candidate combines
log p-values of the same fitted members. The result, in
``docs/results/combined_selection.json``, is shown by ``combined.py report``.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import CombinedDetector, GenerativeClassifier, NeighborDistance
from sklearn_ood._neighbors import DistinctLocalOutlierFactor
from sklearn_ood.datasets import load_tabular
from sklearn_ood.generators import GaussianMixtureGenerator
from sklearn_ood.metrics import aurc_score, auroc
from sklearn_ood.model_selection import LeaveClassesOut

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "combined_selection.json"
TABLES = ("dry_bean", "letter_recognition", "pendigits_multiclass")
N_OUTER, N_INNER, LEFT_OUT = 3, 2, 0.3
SIZES = {"mixture 1": 1e-3, "mixture 4": 1e-2, "mixture 8": 1e-2, "mixture 16": 1e-2}
CANDIDATES = (
    ("confidence", "mixture", "mixture 8", "mixture 16"),
    ("confidence", "mixture 4", "mixture 8", "mixture 16"),
    ("confidence", "mixture 1", "mixture 4", "mixture 8", "mixture 16"),
    ("confidence", "mixture 8", "mixture 16"),
    ("confidence", "mixture", "mixture 4"),
    ("confidence", "mixture", "mixture 8", "mixture 16", "neighbors"),
    ("confidence", "mixture", "neighbors"),
    ("confidence", "mixture", "local outlier factor"),
    ("confidence", "mixture", "neighbors", "local outlier factor"),
    ("confidence", "mixture", "pca"),
    ("confidence", "mixture"),
    ("mixture 4", "mixture 8", "mixture 16"),
    ("mixture",),
    ("neighbors",),
    ("5 neighbors",),
)


def members():
    """Everything that a candidate may consist of."""

    def generated(generator):
        return GenerativeClassifier(generator, validation_fraction=0)

    def scaled(estimator):
        return make_pipeline(StandardScaler(), estimator)

    return [
        ("confidence", "classifier"),
        ("mixture", generated("gmm")),
        ("neighbors", scaled(NeighborDistance())),
        ("5 neighbors", scaled(NeighborDistance(5))),
        ("pca", scaled(generated("pca"))),
        ("local outlier factor", scaled(DistinctLocalOutlierFactor(novelty=True))),
        *(
            (name, generated(GaussianMixtureGenerator(int(name.split()[1]), ridge)))
            for name, ridge in SIZES.items()
        ),
    ]


def inner_splits(X, y):
    """Rows to learn from and to judge by, within the training rows of each outer split."""
    outer = LeaveClassesOut(LEFT_OUT, n_splits=5, random_state=0)
    for seed, (training, _) in enumerate(outer.split(X, y)):
        if seed == N_OUTER:
            return
        inner = LeaveClassesOut(LEFT_OUT, n_splits=N_INNER, random_state=100 + seed)
        for learn, judge in inner.split(X[training], y[training]):
            yield seed, training[learn], training[judge]


def judged(names, log_p, y, answers, is_in):
    """AUROC and AURC of every candidate on one inner split."""
    judged = {}
    for candidate in CANDIDATES:
        score = log_p[:, [names.index(name) for name in candidate]].sum(axis=1)
        judged[" + ".join(candidate)] = {
            "auroc": float(auroc(is_in, score)),
            "aurc": float(aurc_score(y, answers, score)),
        }
    return judged


def main():
    results = {}
    for table in TABLES:
        X, y = load_tabular(table, return_X_y=True)
        results[table] = []
        for seed, learn, judge in inner_splits(X, y):
            detector = CombinedDetector(detectors=members(), random_state=seed)
            detector.fit(X[learn], y[learn])
            results[table].append(
                judged(
                    list(detector.detectors_),
                    detector._member_log_p(X[judge]),
                    y[judge],
                    detector.predict(X[judge]),
                    np.isin(y[judge], detector.classes_),
                )
            )
            print(table, seed, results[table][-1][" + ".join(CANDIDATES[0])], flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
