"""Eight threads ask one fitted estimator for a minute: the same answers, and no memory kept.

Every thread calls ``predict`` and ``score_samples`` on parts of the rows and compares them, bit
for bit, with what one caller got before. Memory is the resident set, read once a second; the
first sixth of the time warms up. Prints and writes docs/results/soak_benchmark.json.

Run with ``python examples/benchmarks/soak.py [--seconds 60] [--threads 8]``.
"""

import argparse
import json
from itertools import count
from pathlib import Path
from threading import Event, Thread
from time import perf_counter, sleep

import numpy as np
import torch
from sklearn.datasets import load_digits

from sklearn_ood import (
    CombinedClassifier,
    DAEConfidence,
    SelectiveClassifier,
    SoftmaxClassifier,
)

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "soak_benchmark.json"
IMAGE = (1, 8, 8)
N_PARTS = 24


def resident_mib():
    """Memory of this process, in MiB; Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def estimators():
    """The classifiers that are asked, unfitted."""
    network = SoftmaxClassifier(input_shape=IMAGE, max_epochs=3, random_state=0)
    combined = CombinedClassifier(network, input_shape=IMAGE, random_state=0)
    return {
        "SelectiveClassifier(CombinedClassifier)": SelectiveClassifier(
            combined, coverage=0.9, random_state=0
        ),
        "DAEConfidence": DAEConfidence(max_epochs=3, typicality=True, random_state=0),
    }


def soak(model, rows, seconds, n_threads):
    """Ask for so long; calls, answers that differed, and MiB at the start, end and most."""
    parts = np.array_split(rows, N_PARTS)
    expected = [(model.predict(part), model.score_samples(part)) for part in parts]
    stop, n_calls, n_different = Event(), [0] * n_threads, [0] * n_threads

    def ask(own):
        for turn in count(own):
            if stop.is_set():
                return
            part, (labels, scores) = parts[turn % N_PARTS], expected[turn % N_PARTS]
            same = (model.predict(part) == labels).all()
            same &= (model.score_samples(part) == scores).all()
            n_calls[own] += 2
            n_different[own] += not same

    threads = [Thread(target=ask, args=(own,)) for own in range(n_threads)]
    for thread in threads:
        thread.start()
    memory, start = [], perf_counter()
    while perf_counter() - start < seconds:
        sleep(1.0)
        if perf_counter() - start > seconds / 6:
            memory.append(resident_mib())
    stop.set()
    for thread in threads:
        thread.join()
    tenth = max(1, len(memory) // 10)
    return {
        "calls": sum(n_calls),
        "answers that differ": sum(n_different),
        "MiB at first": round(float(np.median(memory[:tenth])), 1),
        "MiB at last": round(float(np.median(memory[-tenth:])), 1),
    }


def main():
    """Fit, ask, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=8)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    X = X / 16
    results = {"threads": settings.threads, "seconds": settings.seconds}
    for name, estimator in estimators().items():
        model = estimator.fit(X, y)
        results[name] = soak(model, X, settings.seconds, settings.threads)
        print(name, results[name])
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
