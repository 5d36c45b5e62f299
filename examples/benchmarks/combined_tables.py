"""What the default combination costs on tables, beside gradient boosting and extra trees.

Both in one run, by the processor's time, so that other work on the machine counts less.
Writes docs/results/combined_tables_benchmark.json after every size, and draws what it holds.

    python examples/benchmarks/combined_tables.py                    # all sizes
    python examples/benchmarks/combined_tables.py --sizes 5000x10    # some
    python examples/benchmarks/combined_tables.py --sizes            # the picture alone
"""

import argparse
import json
import resource
from pathlib import Path
from time import perf_counter, process_time

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from sklearn_ood import CombinedClassifier

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "combined_tables_benchmark.json"
SIZES = ("5000x10", "20000x10", "80000x10", "26000x111", "1000000x10")
N_SCORED, N_CLASSES, N_NUMBERS, LEVELS = 5_000, 4, 10, 7


def table(n_rows, n_columns):
    """Four classes of overlapping clusters; beyond ten columns indicators, as of categories."""
    rng = np.random.RandomState(0)
    y = rng.choice(N_CLASSES, size=n_rows, p=[0.5, 0.3, 0.15, 0.05])
    cluster = 3 * y + rng.randint(3, size=n_rows)
    centres, width = rng.normal(scale=1.5, size=(3 * N_CLASSES, N_NUMBERS)), 1.0
    X = centres[cluster] + width * rng.gamma(2.0, 0.7, size=(n_rows, N_NUMBERS))
    parts = [X]
    for _ in range((n_columns - N_NUMBERS) // LEVELS):
        shares = rng.dirichlet(np.ones(LEVELS), size=N_CLASSES).cumsum(axis=1)
        level = (rng.uniform(size=(n_rows, 1)) > shares[y]).sum(axis=1).clip(max=LEVELS - 1)
        parts.append(np.eye(LEVELS)[level])
    return np.hstack(parts), y


def cost(function):
    """Seconds of the processor, and by the clock."""
    clock, processor = perf_counter(), process_time()
    function()
    return process_time() - processor, perf_counter() - clock


def measured(size):
    """Fitting, scoring 5,000 rows and one row, by the processor's time."""
    X, y = table(*map(int, size.split("x")))
    boosting, trees = HistGradientBoostingClassifier(), ExtraTreesClassifier(200)
    combined = CombinedClassifier(random_state=0)
    fits = {
        each: cost(lambda each=each: each.fit(X, y))[0] for each in (boosting, trees, combined)
    }
    peers = fits[boosting] + fits[trees]
    rows, own = X[:N_SCORED], combined.classifier_
    classified = min(cost(lambda: own.predict_proba(rows))[0] for _ in range(3))
    scored = min(cost(lambda: combined.score_samples(rows))[0] for _ in range(3))
    judged = min(cost(lambda: combined.confidence(rows))[0] for _ in range(3))
    return {
        "boosting and trees, s": peers,
        "its classifier, s": cost(lambda: own.__class__(random_state=0).fit(X, y))[0],
        "combination, s": fits[combined],
        "fit, ratio": fits[combined] / peers,
        "5,000 rows scored, s": scored,
        "scored, ratio to its classifier": scored / classified,
        "confidence, ratio to its classifier": judged / classified,
        "one row, ms": 1e3
        * min(cost(lambda: combined.score_samples(X[:1]))[0] for _ in range(5)),
        "its confidence, ms": 1e3
        * min(cost(lambda: combined.confidence(X[:1]))[0] for _ in range(5)),
        "one row by its classifier, ms": 1e3
        * min(cost(lambda: own.predict_proba(X[:1]))[0] for _ in range(5)),
        "peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def draw(results):
    """Seconds of the fits against the rows: ten columns as lines, more as points."""
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    shapes = sorted(tuple(map(int, size.split("x"))) for size in results)
    for name in ("boosting and trees", "its classifier", "combination"):
        found = {shape: results["{}x{}".format(*shape)][f"{name}, s"] for shape in shapes}
        narrow = {n: seconds for (n, d), seconds in found.items() if d == N_NUMBERS}
        (line,) = ax.plot(list(narrow), list(narrow.values()), marker="o", label=name)
        wide = {n: seconds for (n, d), seconds in found.items() if d > N_NUMBERS}
        ax.plot(list(wide), list(wide.values()), "x", color=line.get_color())
    ax.set(xscale="log", yscale="log", xlabel="Rows (lines: 10 columns, crosses: 111)")
    ax.set_ylabel("Seconds of the processor to fit")
    ax.legend()
    figure.savefig(RESULTS.with_suffix(".png"), dpi=100)


def main():
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="*", default=SIZES)
    sizes = parser.parse_args().sizes
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for size in sizes:
        results[size] = {name: round(value, 3) for name, value in measured(size).items()}
        print(size, results[size], flush=True)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    draw(results)


if __name__ == "__main__":
    main()
