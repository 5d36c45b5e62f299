"""What the papers' scripts share: one store of results, the data, networks kept, a command line."""

import argparse
import csv
import os
import sys
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from data import load_images, load_tabular

__all__ = ["RESULTS", "Store", "kept", "load_images", "load_tabular", "parser", "timed"]

RESULTS = Path(__file__).parents[2] / "docs" / "results"
KEYS = ("experiment", "data", "method", "seed", "settings")


class Store:
    """Results as tidy lines: experiment, data, method, seed, settings, metric, value.

    Numbers go to ``<name>.csv``. What is a curve, a sequence of numbers, is one line of
    ``<name>_curves.csv``: the same columns, then as many values.

    Parameters
    ----------
    name : str
        Of the page in ``docs/results`` that shows them.
    folder : path
        Where the files are.
    """

    def __init__(self, name, folder=RESULTS):
        folder = Path(folder)
        self.files = folder / f"{name}.csv", folder / f"{name}_curves.csv"
        self.lines = {}
        for file in self.files:
            if file.exists():
                with file.open(newline="") as stream:
                    for line in list(csv.reader(stream))[1:]:
                        self.lines[tuple(line[:6])] = line[6:]

    def find(self, experiment, data="", seed=0, **settings):
        """``{method: {metric: text of the value}}`` of one run; empty where there was none."""
        found = {}
        for (*key, metric), values in self.lines.items():
            if key[:2] + key[3:] == [experiment, data, str(seed), written(settings)]:
                found.setdefault(key[2], {})[metric] = " ".join(values)
        return found

    def put(self, scores, experiment, data="", seed=0, **settings):
        """Write ``{method: {metric: value}}`` over what was there, and print it."""
        for method, metrics in scores.items():
            key = (experiment, data, method, str(seed), written(settings))
            for metric, value in metrics.items():
                values = np.ravel(value).tolist() if np.ndim(value) else [value]
                self.lines[(*key, metric)] = [str(each) for each in values]
            shown = {name: value for name, value in metrics.items() if not np.ndim(value)}
            print(experiment, data, method, seed, shown, flush=True)
        curves = {key for key, values in self.lines.items() if len(values) > 1}
        for file, is_curve in zip(self.files, (False, True), strict=True):
            rows = [[*k, *v] for k, v in self.lines.items() if (k in curves) == is_curve]
            if rows:
                replace(file, [[*KEYS, "metric", "value"], *rows])

    def run(self, compute, experiment, data="", method=None, seed=0, **settings):
        """``put`` what ``compute()`` returns, unless the run is on record.

        With a ``method``, ``compute`` returns the metrics of this one alone.
        """
        found = self.find(experiment, data, seed, **settings)
        if method in found or (method is None and found):
            return
        scores = compute()
        scores = scores if method is None else {method: scores}
        self.put(scores, experiment, data, seed, **settings)


def written(settings):
    """Settings as the store names them; what is a default None says nothing."""
    return "; ".join(f"{k}={v}" for k, v in sorted(settings.items()) if v is not None)


def replace(file, rows):
    """Write a CSV at once: an interrupted run leaves the file as it was."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part")
    with unfinished.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
    os.replace(unfinished, file)


def timed(compute):
    """What ``compute()`` returns, and the seconds it took."""
    start = time.perf_counter()
    value = compute()
    return value, time.perf_counter() - start


def kept(path, compute):
    """``timed(compute)``, from the file where it was kept before: training can go on later."""
    path = Path(path)
    if path.exists():
        return joblib.load(path)
    value = timed(compute)
    path.parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(value, path)
    return value


def parser(doc, name):
    """A command line that knows where results and trained models go."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV files")
    made.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / f"sklearn_ood_{name}"
    )
    return made
