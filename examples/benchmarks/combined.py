"""Time to score images with the default combination, beside the bare forward pass of its net.

The target is ten forward passes and one product of all pairs of rows, test by training, in
the features of the hidden layer. Prints the split by member and writes
docs/results/combined_benchmark.json.

Run with ``python examples/benchmarks/combined.py [--rows 10000]``.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch

from sklearn_ood import CombinedClassifier, SoftmaxClassifier

sys.path.append(str(Path(__file__).parents[1]))
from data import load_images

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "combined_benchmark.json"
# Enough for the 10,000 images that the nearest neighbours remember.
N_ROWS = 12_500
N_TRAINING_ROWS, WIDTH, PRODUCT_ROWS = 60_000, 128, 2_000


def seconds(function, repeats):
    """Median wall time."""
    function()
    times = []
    for _ in range(repeats):
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return median(times)


def bare_forward(net, rows):
    """The network on float32 batches, and nothing else."""
    with torch.no_grad():
        for start in range(0, len(rows), 1024):
            net.module_(torch.from_numpy(rows[start : start + 1024]))


def product(n_rows):
    """Distances to all training rows in the hidden layer's features, in chunks."""
    rng = np.random.default_rng(0)
    known = rng.normal(size=(N_TRAINING_ROWS, WIDTH)).astype(np.float32)
    norm = (known**2).sum(1)
    for start in range(0, n_rows, PRODUCT_ROWS):
        n_chunk = min(PRODUCT_ROWS, n_rows - start)
        chunk = rng.normal(size=(n_chunk, WIDTH)).astype(np.float32)
        (norm - 2 * chunk @ known.T).min(axis=1)


def main():
    """Fit, time, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    X, y = load_images("mnist", split="train", return_X_y=True)
    X, y = X[:N_ROWS].astype(np.float32), y[:N_ROWS]
    shape = (1, 28, 28)
    net = SoftmaxClassifier(input_shape=shape, max_epochs=1, random_state=0)
    detector = CombinedClassifier(net, input_shape=shape, random_state=0).fit(X, y)
    rows = np.resize(X, (settings.rows, X.shape[1]))
    fitted = detector.classifier_
    times = {
        "bare forward": seconds(lambda: bare_forward(fitted.net_, rows), settings.repeats),
        "forward in batches": seconds(lambda: fitted.decision_function(rows), settings.repeats),
        "one distance product": seconds(lambda: product(settings.rows), 1),
        "score_samples": seconds(lambda: detector.score_samples(rows), settings.repeats),
    }
    for name, member in detector.members_.items():
        member = fitted if isinstance(member, str) else member
        times[f"member {name}"] = seconds(
            lambda member=member: member.score_samples(rows), settings.repeats
        )
    limit = 10 * times["bare forward"] + times["one distance product"]
    times["limit"] = limit
    for name, value in times.items():
        print(f"{name:24s} {value:7.2f} s  {value / times['bare forward']:6.2f} forward passes")
    print(f"within the limit: {times['score_samples'] <= limit}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    result = {"rows": settings.rows, "threads": settings.threads, "seconds": times}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
