"""What the scripts share: one store of results, the data, models kept, a command line."""

import argparse
import csv
import os
import sys
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np

from sklearn_ood.metrics import aurc_score, auroc, tnr_at_tpr
from sklearn_ood.nets._modules import mlp

sys.path.append(str(Path(__file__).parents[1]))
import data

CLASS_TABLES = ("pendigits_multiclass", "letter_recognition", "dry_bean")
ANOMALY_TABLES = (
    *("cardio", "cover", "letter", "mammography", "musk"),
    *("pendigits", "satimage-2", "shuttle", "thyroid"),
)
ADBENCH = (
    *("ALOI", "breastw", "campaign", "Cardiotocography", "celeba", "donors", "glass"),
    *("Hepatitis", "InternetAds", "landsat", "Lymphography", "mnist", "Pima", "skin", "smtp"),
    *("Stamps", "vertebral", "WBC", "WDBC", "wine", "WPBC", "yeast", *ANOMALY_TABLES),
)
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
        self.load()

    def load(self):
        """Read what is on record; another process may have written."""
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

    def runs_of(self, experiment):
        """Data, method, metric and values of all that an experiment has measured."""
        for (name, where, method, _, _, metric), values in self.lines.items():
            if name == experiment:
                yield where, method, metric, np.array(values, dtype=float)

    def numbers(self, method, *where, **settings):
        """``{metric: value}`` of a method's run."""
        return {
            key: float(value) for key, value in self.find(*where, **settings)[method].items()
        }

    def put(self, scores, experiment, data="", seed=0, **settings):
        """Write ``{method: {metric: value}}`` over what was there, and print it."""
        self.load()
        for method, metrics in scores.items():
            key = (experiment, data, method, str(seed), written(settings))
            for metric, value in metrics.items():
                values = np.ravel(value).tolist() if np.ndim(value) else [value]
                self.lines[(*key, metric)] = [str(each) for each in values]
            shown = [
                f"{name} {value:.4g}" for name, value in metrics.items() if not np.ndim(value)
            ]
            print(", ".join([experiment, data, method, str(seed), *shown]), flush=True)
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


def chosen(args, *names):
    """Some of the options of a command line."""
    return {name: getattr(args, name) for name in names}


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


def table(name, n_rows=None):
    """A table with its labels; for a trial, a random part of it."""
    X, y = data.load_tabular(name, return_X_y=True)
    return some_rows(X, y, n_rows) if n_rows else (X, y)


def anomaly_table(name):
    """A table of ADBench, with 0 for normal rows and 1 for anomalies."""
    file = next((data.data_folder(None) / "adbench").glob(f"*_{name}.npz"))
    with np.load(file) as arrays:
        return arrays["X"].astype(np.float64), arrays["y"].astype(np.int64)


def images(name, split="train"):
    """Images of a set, and their labels."""
    return data.load_images(name, split=split, return_X_y=True)


def test_images(name):
    """The test part of a set; Omniglot teaches nobody here, so that all of it tests."""
    return images(name, "all" if name == "omniglot" else "test")


def some_rows(X, y, n_rows, seed=0):
    """A random part of the rows, at most ``n_rows``; None is all of them, shuffled."""
    chosen = np.random.RandomState(seed).permutation(len(X))[:n_rows]
    return X[chosen], y[chosen]


def measured(inside, score, y=None, answers=None):
    """AUROC and TNR at 95 % TPR; with labels and answers also the AURC."""
    found = {"auroc": auroc(inside, score), "tnr95": tnr_at_tpr(inside, score)}
    return found if y is None else found | {"aurc": aurc_score(y, answers, score)}


def both(inside, outside):
    """Which rows are known, and the scores of all."""
    values = np.concatenate([inside, outside])
    return np.arange(len(values)) < len(inside), values


def sectors(offsets, n_sectors=36):
    """Which sector of the plane a point is in, seen from the origin."""
    share = (np.arctan2(offsets[:, 1], offsets[:, 0]) + np.pi) / (2 * np.pi)
    return (share * n_sectors).astype(int) % n_sectors


def toy_network(n_features, n_outputs, width=500):
    """The papers' 2-500-500 net: on the plane as it is."""
    return mlp((n_features,), n_outputs, (width, width))


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


def parser(doc, name, options="", part=None):
    """A command line that knows where results and trained models go.

    ``options`` are written as a command line with the defaults, which say the types: a number
    or None where there is no default, one value or more where there are several. ``part`` are
    the choices of a first argument.
    """
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if part is not None:
        made.add_argument("part", choices=part)
    cache = Path(tempfile.gettempdir()) / f"sklearn_ood_{name}"
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV files")
    made.add_argument("--cache", type=Path, default=cache, help="folder of what is trained")
    for option in options.split("--")[1:]:
        name, *values = option.split()
        values = [number(value) for value in values] or [None]
        kind = number if values[0] is None else type(values[0])
        default, many = (values, "+") if len(values) > 1 else (values[0], None)
        made.add_argument(f"--{name}", type=kind, nargs=many, default=default)
    return made


def number(text):
    """A number that a text says, whole where it can be, or the text."""
    for kind in (int, float, str):
        try:
            return kind(text)
        except ValueError:
            continue
