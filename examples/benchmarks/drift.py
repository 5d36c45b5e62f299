"""Alarms on a stream: false ones, and how late the right ones come, beside river's detectors.

- false alarms within 100,000 rows that do not change, among 200 streams;
- rows between a change (the mean of one of ten columns moves; a class that was not taught) at
  row 2,000 or 20,000 and the alarm, over 50 streams: the median, and how many streams had a
  false alarm before, or none within 5,000 rows.

``DriftMonitor`` has the alpha named; ADWIN and Page-Hinkley see the same scores, each divided
by the reference rows' standard deviation, with river's defaults and one stricter setting.
Needs ``pip install river``. Prints tables and writes docs/results/drift_benchmark.json.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
from river.drift import ADWIN, PageHinkley
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator

from sklearn_ood import DriftMonitor, GenerativeClassifier

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "drift_benchmark.json"
N_REFERENCE, HORIZON = 1000, 5000
RIVER = {
    "ADWIN": ADWIN,
    "ADWIN, delta=1e-5": partial(ADWIN, delta=1e-5),
    "Page-Hinkley": PageHinkley,
    "Page-Hinkley, threshold=500": partial(PageHinkley, threshold=500.0),
}


class Given(BaseEstimator):
    """The first column is the score: so that all detectors see the same."""

    def fit(self, X, y=None):
        self.n_features_in_ = 1
        return self

    def score_samples(self, X):
        return X[:, 0]


def first_alarm(name, reference, stream, seed):
    """Row of the first alarm, or None."""
    if name.startswith("DriftMonitor"):
        alpha = float(name.split("=")[1])
        frozen = FrozenEstimator(Given().fit(None))
        monitor = DriftMonitor(frozen, alpha=alpha, random_state=seed).fit(reference[:, None])
        return monitor.partial_fit(stream[:, None]).alarm_row_
    detector = RIVER[name]()
    scaled = (stream - reference.mean()) / reference.std()
    for row, value in enumerate(scaled.tolist()):
        detector.update(value)
        if detector.drift_detected:
            return row
    return None


def gaussian_scores(rng, n_rows, shift):
    """Log density of ten independent columns, of which one has moved."""
    rows = rng.normal(size=(n_rows, 10))
    rows[:, 0] += shift
    return -0.5 * (rows**2).sum(axis=1)


def digits_scores():
    """Scores of held-out rows of the digits taught, and of those that were not."""
    X, y = load_digits(return_X_y=True)
    taught = (y < 8) & (np.arange(len(y)) % 2 == 0)
    model = GenerativeClassifier("pca").fit(X[taught], y[taught])
    new = (y < 8) & ~taught
    return model.score_samples(X[new]), model.score_samples(X[y >= 8])


def delays(make, names, change, n_streams=50):
    """What became of each stream, by detector."""
    found = {}
    for name in names:
        rows = []
        for seed in range(n_streams):
            reference, before, after = make(np.random.default_rng(seed), change)
            rows.append(first_alarm(name, reference, np.append(before, after), seed))
        late = [row - change for row in rows if row is not None and row >= change]
        found[name] = {
            "median delay": float(np.median(late)) if late else None,
            "false before": sum(row is not None and row < change for row in rows),
            "none": sum(row is None for row in rows),
        }
        print(name, found[name], flush=True)
    return found


def main():
    names = ["DriftMonitor, alpha=0.01", "DriftMonitor, alpha=0.05", *RIVER]
    result = {"streams": {"false alarms": 200, "delays": 50}, "false alarms": {}}
    for name in names:
        alarms = 0
        for seed in range(200):
            rng = np.random.default_rng(seed)
            reference, stream = rng.normal(size=N_REFERENCE), rng.normal(size=100_000)
            alarms += first_alarm(name, reference, stream, seed) is not None
        result["false alarms"][name] = alarms / 200
        print(name, alarms / 200, flush=True)
    known, unknown = digits_scores()

    def gaussian(shift, rng, change):
        scores = gaussian_scores(rng, N_REFERENCE + change, 0.0)
        return (
            scores[:N_REFERENCE],
            scores[N_REFERENCE:],
            gaussian_scores(rng, HORIZON, shift),
        )

    def classes(share, rng, change):
        scores = rng.choice(known, size=N_REFERENCE + change + HORIZON)
        after = scores[N_REFERENCE + change :]
        strange = rng.random(HORIZON) < share
        after[strange] = rng.choice(unknown, size=strange.sum())
        return scores[:N_REFERENCE], scores[N_REFERENCE : N_REFERENCE + change], after

    changes = {f"mean + {shift}": partial(gaussian, shift) for shift in (1.0, 3.0)}
    changes |= {f"{share:.0%} unknown digits": partial(classes, share) for share in (0.1, 0.5)}
    for title, make in changes.items():
        for change in (2000, 20_000):
            print(title, change)
            result[f"{title} after {change} rows"] = delays(make, names, change)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
