"""Do p-values keep their level, and batches their false discovery rate: few rows, rare classes.

Every draw fits the combination anew, with light members, by ``calibration="auto"``: crosswise
below 1,000 rows, held out above. Known rows are a mixture of classes; the unknown lie apart.

- "clusters": eight classes of like frequency;
- "zipf": thirty classes, the k-th as frequent as 1 / k**1.5, so that most are rare or absent;
- "whole numbers": features of few values, so that scores tie;
- "categories": a frame with text and missing cells.

Writes docs/results/calibration_benchmark.json: the share of new known rows with a p-value of
at most 0.05 and 0.1, with its standard error, and the false discovery rate at 0.1 among 100
new rows of which 20 are unknown.

    python examples/benchmarks/calibration.py
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from sklearn_ood import CombinedClassifier, NeighborDistance, TableEncoder

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "calibration_benchmark.json"
KINDS = ("clusters", "zipf", "whole numbers", "categories")
ROWS = (20, 60, 200, 600, 2000)
N_KNOWN, N_BATCH, N_UNKNOWN, N_FEATURES = 200, 80, 20, 3


def drawn(kind, n_known, n_unknown, centres, rng):
    """Known rows with their classes, then unknown ones."""
    n_classes = 30 if kind == "zipf" else 8
    shares = 1 / np.arange(1, n_classes + 1) ** (1.5 if kind == "zipf" else 0.0)
    y = rng.choice(n_classes, size=n_known, p=shares / shares.sum())
    X = centres[y] + rng.normal(size=(n_known, N_FEATURES))
    X = np.vstack([X, rng.normal(size=(n_unknown, N_FEATURES)) + 12])
    if kind == "whole numbers":
        X = np.round(X / 2)
    if kind == "categories":
        X = pd.DataFrame(X, columns=list("abc"))
        X["kind"] = np.array(list("uvwxyz"))[np.clip(X["a"] + 3, 0, 5).astype(int)]
        X = X.mask(rng.random(X.shape) < 0.1)
    return X, y


def one_draw(kind, n_rows, seed):
    """Shares of new known rows at most 0.05 and 0.1, and of false discoveries."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.normal(size=(30, N_FEATURES))
    near = make_pipeline(TableEncoder(), NeighborDistance())
    members = [("own", "classifier"), ("near", near)]
    classifier = make_pipeline(TableEncoder(), GaussianNB())
    detector = CombinedClassifier(classifier, members, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rare classes
        detector.fit(*drawn(kind, n_rows, 0, centres, rng))
    p = detector.p_values(drawn(kind, N_KNOWN, 0, centres, rng)[0])
    called = detector.outliers_fdr(drawn(kind, N_BATCH, N_UNKNOWN, centres, rng)[0], alpha=0.1)
    false = called[:N_BATCH].sum() / max(1, called.sum())
    return (p <= 0.05).mean(), (p <= 0.1).mean(), false, called[N_BATCH:].mean()


def main():
    """Draw, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS)
    args = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for n_rows in args.rows:
        for kind in KINDS:
            draws = np.array([one_draw(kind, n_rows, seed) for seed in range(args.draws)])
            mean, error = draws.mean(axis=0), draws.std(axis=0) / np.sqrt(len(draws))
            names = ("p <= 0.05", "p <= 0.1", "false discoveries", "unknown found")
            found = {
                n: [round(m, 4), round(e, 4)]
                for n, m, e in zip(names, mean, error, strict=True)
            }
            results[f"{kind}, {n_rows} rows"] = found
            print(kind, n_rows, found, flush=True)
            RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
