"""Speed of the metrics, each beside the thing it must keep up with, in one run.

- ``aurc_score`` on 10 million rows beside ``np.argsort`` of the same confidences;
- a bootstrap interval of 10,000 resamples for 10,000 rows beside a loop that calls
  ``aurc_score`` on resampled rows (timed on a part of the resamples and extrapolated).

Prints a table and writes docs/results/metrics_benchmark.json.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from sklearn_ood.metrics import aurc_score, bootstrap_interval

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "metrics_benchmark.json"


def seconds(function):
    """Wall time of one call."""
    start = perf_counter()
    function()
    return perf_counter() - start


def interleaved(repeats, *functions):
    """Median wall time of each function, called in turns."""
    times = [[seconds(function) for function in functions] for _ in range(repeats)]
    return [median(column) for column in zip(*times, strict=True)]


def make_rows(n_rows, rng, scale):
    """Answers of which about one in ten is wrong, more often where the confidence is low."""
    confidence = rng.random(n_rows) ** 0.5
    wrong = rng.random(n_rows) < 0.3 * (1 - confidence)
    return np.zeros(n_rows, dtype=np.int64), wrong.astype(np.int64), scale(confidence)


def time_aurc(n_rows, repeats, rng):
    """Seconds of aurc_score and of argsort for confidences of several kinds."""
    kinds = {
        "probabilities": lambda c: c,
        "scores of both signs": lambda c: c - 0.5,
        "1,000 distinct values": lambda c: np.round(c, 3),
    }
    result = {}
    for kind, scale in kinds.items():
        y_true, y_pred, confidence = make_rows(n_rows, rng, scale)
        metric, argsort = interleaved(
            repeats,
            lambda rows=(y_true, y_pred, confidence): aurc_score(*rows),
            lambda confidence=confidence: np.argsort(confidence),
        )
        result[kind] = {"aurc_score": metric, "argsort": argsort, "ratio": metric / argsort}
    return result


def time_bootstrap(n_rows, n_resamples, n_looped, repeats, rng):
    """Seconds of the interval and of the loop, the latter extrapolated."""
    rows = make_rows(n_rows, rng, lambda c: c)

    def loop():
        for _ in range(n_looped):
            drawn = rng.integers(n_rows, size=n_rows)
            aurc_score(*(column[drawn] for column in rows))

    interval, looped = interleaved(
        repeats,
        lambda: bootstrap_interval(aurc_score, *rows, n_resamples=n_resamples, random_state=0),
        loop,
    )
    looped *= n_resamples / n_looped
    return {"bootstrap_interval": interval, "loop": looped, "ratio": looped / interval}


def main():
    """Time both, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    settings = parser.parse_args()
    rng = np.random.default_rng(0)
    bootstrap = time_bootstrap(10_000, settings.resamples, 500, settings.repeats, rng)
    aurc = time_aurc(settings.rows, settings.repeats, rng)
    for kind, times in aurc.items():
        print(
            f"aurc_score, {settings.rows:,} rows, {kind}: {times['aurc_score']:.2f} s, "
            f"argsort {times['argsort']:.2f} s, ratio {times['ratio']:.2f} (at most 2)"
        )
    print(
        f"bootstrap_interval, {settings.resamples:,} resamples of 10,000 rows: "
        f"{bootstrap['bootstrap_interval']:.2f} s, loop {bootstrap['loop']:.2f} s, "
        f"{bootstrap['ratio']:.1f} times faster (at least 5)"
    )
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "numpy": np.__version__,
        "rows": settings.rows,
        "resamples": settings.resamples,
        "repeats": settings.repeats,
        "unit": "seconds, median of the repeats, one run",
        "aurc_score": aurc,
        "bootstrap": bootstrap,
    }
    settings.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
