"""What the scripts share: one store of results, experiments with a command line, the data.

A script lists its experiments and calls :func:`main`; what is on record is not run again.
"""

import argparse
import ast
import copy
import csv
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn import preprocessing, utils

import sklearn_ood as ood
from sklearn_ood._response import known_of
from sklearn_ood.combined._conformal import combine
from sklearn_ood.metrics import aurc_score, auroc, tnr_at_tpr
from sklearn_ood.nets._modules import mlp

sys.path.append(str(Path(__file__).parents[1]))
import data

CLASS_TABLES = ("pendigits_multiclass", "letter_recognition", "dry_bean")
ADBENCH = [name for name, each in data.TABLES.items() if each.file.startswith("adbench")]
IMAGE = (1, 28, 28)
WINE_GRADES = (5.5, 6.5)
RESULTS = Path(__file__).parents[2] / "docs" / "results"
KEYS = ("experiment", "data", "method", "seed", "settings")
PARTS = {}


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
        self.files = [Path(folder) / f"{name}{kind}.csv" for kind in ("", "_curves")]
        self.lines = {}
        self.load()

    def load(self):
        """Read what is on record; another process may have written."""
        for file in filter(Path.exists, self.files):
            _, *lines = csv.reader(file.read_text().splitlines())
            self.lines |= {tuple(line[:6]): line[6:] for line in lines}

    def find(self, experiment, data="", seed=0, **settings):
        """``{method: {metric: value}}`` of one run; empty where there was none.

        Without data, None, of all that the run has measured.
        """
        found, run = {}, (experiment, str(seed), written(settings))
        for (name, where, method, number, said, metric), values in self.lines.items():
            if data in (where, None) and (name, number, said) == run:
                found.setdefault(method, {})[metric] = numbers(values)
        return found

    def frame(self, experiment):
        """All that an experiment has measured; the value of a curve is a list."""
        lines = [[*key, numbers(values)] for key, values in self.lines.items()]
        found = pd.DataFrame(lines, columns=[*KEYS, "metric", "value"])
        return found[found["experiment"] == experiment]

    def put(self, scores, experiment, data="", seed=0, **settings):
        """Write ``{method: {metric: value}}`` over what was there, and print it.

        Without data, None, the keys are pairs of data and method.
        """
        self.load()
        for name, metrics in scores.items():
            where, method = name if data is None else (data, name)
            key = (experiment, where, method, str(seed), written(settings))
            for metric, value in metrics.items():
                self.lines[(*key, metric)] = [str(each) for each in np.ravel(value).tolist()]
            shown = [f"{k} {value:.4g}" for k, value in metrics.items() if not np.ndim(value)]
            print(", ".join([experiment, where, method, str(seed), *shown]), flush=True)
        for file, is_curve in zip(self.files, (False, True), strict=True):
            rows = [[*k, *v] for k, v in self.lines.items() if (len(v) > 1) == is_curve]
            if rows:
                replace(file, [[*KEYS, "metric", "value"], *rows])

    def run(self, compute, experiment, data="", method=None, seed=0, **settings):
        """``put`` what ``compute()`` returns, unless the run is on record.

        With a ``method``, ``compute`` returns the metrics of this one alone.
        """
        found = self.find(experiment, data, seed, **settings)
        if not found or method not in (None, *found):
            scores = compute() if method is None else {method: compute()}
            self.put(scores, experiment, data, seed, **settings)


@dataclass
class Experiment:
    """Runs of one function, one for every set of data, seed and method.

    As a decorator of ``run(args, data, seed)``, which returns ``{method: {metric: value}}``;
    where there are methods, of ``run(args, data, seed, method)``, which returns ``{metric:
    value}``. Where the name has the data, the keys of a run are pairs of what is data in the
    results, and method. A function may be of several experiments.

    Attributes
    ----------
    name : str
        In the results; ``{data}`` and options in it are filled in.
    data, methods : iterable of str
    seeds : int
        How many.
    options : str
        What the command line may set and the results name, as :func:`command_line` reads it.
    settings : dict or callable
        What the results name besides, or a function of options and method.
    effort : str
        Options that the results do not name.
    page : str
        Whose results these are, where they are not the script's.
    part : str
        What the command line calls it, where it is not the function's name.
    """

    name: str
    data: Iterable = ("",)
    methods: Iterable = (None,)
    seeds: int = 1
    options: str = ""
    settings: dict | Callable = field(default_factory=dict)
    effort: str = ""
    page: str | None = None
    part: str | None = None

    def __call__(self, run):
        self.run = run
        if run.__module__ == "__main__":
            PARTS[self.part or run.__name__.replace("_", "-")] = self
        return run

    def repeat(self, args, page):
        """Run what is not on record."""
        args.store = Store(self.page or page, args.results)
        options = [each.split()[0].replace("-", "_") for each in self.options.split("--")[1:]]
        methods = self.methods if None in self.methods else args.methods or self.methods
        seeds = map(int, args.seeds or range(self.seeds))
        for seed, where, method in product(seeds, args.data or self.data, methods):
            fixed = self.settings(args, method) if callable(self.settings) else self.settings
            args.recorded = chosen(args, *options) | fixed
            name = self.name.format(**vars(args) | {"data": where})
            compute = partial(self.run, args, where, seed, *[method] * (method is not None))
            where = None if "{data}" in self.name else where
            args.store.run(compute, name, where, method, seed, **args.recorded)


def main(doc, page):
    """The command line of a script: which of its experiments is run, and on what."""
    some = " --data + --seeds + --methods +"
    options = {name: (page, f"{e.options} {e.effort}{some}") for name, e in PARTS.items()}
    args = command_line(doc, options)
    PARTS[args.part].repeat(args, page)


def command_line(doc, parts):
    """Read a command line; ``parts`` have a page, that names a cache, and options each.

    The options are written as a command line with the defaults, which say the types: a number
    or None where there is none, ``+`` where it takes several texts.
    """
    cli = argparse.ArgumentParser(description=doc)
    cli.formatter_class = argparse.RawDescriptionHelpFormatter
    names = cli.add_subparsers(dest="part", required=True)
    for name, (page, options) in parts.items():
        part, folder = names.add_parser(name), Path(tempfile.gettempdir())
        part.add_argument("--results", type=Path, default=RESULTS)
        part.add_argument("--cache", type=Path, default=folder / f"sklearn_ood_{page}")
        for option in options.split("--")[1:]:
            option, default = [*map(number, option.split()), None][:2]
            kind = number if default is None else type(default)
            several = {"nargs": "+"} if default == "+" else {"type": kind, "default": default}
            part.add_argument(f"--{option}", **several)
    args = cli.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    return args


def chosen(args, *names):
    """Some of the options of a command line."""
    return {name: getattr(args, name) for name in names}


def number(text):
    """A number that a text says, whole where it can be, or the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def numbers(texts):
    """A number, or several."""
    values = [float(text) for text in texts]
    return values if len(values) > 1 else values[0]


def written(settings):
    """Settings as the store names them; what is a default None says nothing."""
    return "; ".join(f"{k}={v}" for k, v in sorted(settings.items()) if v is not None)


def replace(file, rows):
    """Write a CSV at once: an interrupted run leaves the file as it was."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part")
    with unfinished.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
    unfinished.replace(file)


def table(name, n_rows=None):
    """A table with its labels; for a trial, a random part of it."""
    X, y = data.load_tabular(name, return_X_y=True)
    return some_rows(X, y, n_rows) if n_rows else (X, y)


def frame(name):
    """A table as people have it, and its labels; wine has three grades."""
    if name in data.FRAMES:
        X, y = data.load_frame(name)
        return X, y.to_numpy().astype(str)
    X, y = table(name)
    return pd.DataFrame(X), np.digitize(y, WINE_GRADES) if name == "wine_quality" else y


def images(name, split="train"):
    """Images of a set, and their labels."""
    return data.load_images(name, split=split, return_X_y=True)


def test_images(name):
    """The test part of a set; Omniglot teaches nobody here, so that all of it tests."""
    return images(name, "all" if name == "omniglot" else "test")


def some_rows(X, y, n_rows, seed=0):
    """A random part of the rows, at most ``n_rows``; None is all of them, shuffled."""
    n_rows = None if n_rows is None else min(n_rows, len(y))
    return utils.shuffle(X, y, n_samples=n_rows, random_state=seed)


def in_colour(grey):
    """Grey 28 x 28 images as three equal channels of 32 x 32, with a black border."""
    padded = np.pad(grey.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2)))
    return np.repeat(padded[:, None], 3, axis=1)


def some_pairs(X, y, n_rows, seed):
    """A random part of a frame's rows, and of these the ones that are not alone in a class."""
    X, y = some_rows(X, y, n_rows, seed)
    labels, counts = np.unique(y, return_counts=True)
    in_pairs = np.isin(y, labels[counts > 1])
    return X[in_pairs], y[in_pairs]


def left_out(y, number, **settings):
    """One of five splits: 30 % of the classes, and 30 % of the others' rows, are the test."""
    usual = {"n_out": 0.3, "n_splits": 5, "random_state": 0}
    return list(ood.model_selection.LeaveClassesOut(**usual | settings).split(y, y))[number]


def measured(inside, score, y=None, answers=None):
    """AUROC and TNR at 95 % TPR; with labels and answers also the AURC."""
    found = {"auroc": auroc(inside, score), "tnr95": tnr_at_tpr(inside, score)}
    return found if answers is None else found | {"aurc": aurc_score(y, answers, score)}


def compared(models, X, y, train, test, answering=None, unlabelled=()):
    """Metrics of models by name, fitted to standardised rows, where some classes are unknown.

    ``answering`` names the model whose labels the AURC is of, which is then listed first;
    ``unlabelled`` those that see no labels.
    """
    scaler = preprocessing.StandardScaler().fit(X[train])
    rows, queries = scaler.transform(X[train]), scaler.transform(X[test])
    inside, answers, found = np.isin(y[test], y[train]), None, {}
    for name, model in models.items():
        labels = None if name in unlabelled else y[train]
        _, seconds = timed(model.fit, rows, labels)
        answers = model.predict(queries) if name == answering else answers
        found[name] = measured(inside, known_of(model, queries), y[test], answers)
        if isinstance(model, ood.RejectClassifier):
            found[name]["known refused"] = (model.score_samples(queries[inside]) < 0).mean()
        if labels is not None and hasattr(model, "classes_"):
            accuracy = model.score(queries[inside], y[test][inside])
            found[name] |= {"accuracy": accuracy, "seconds": seconds}
    return found


def members_of(detector, X):
    """Log p-values of a combination's members, by name."""
    return dict(zip(detector.members_, detector.member_score_samples(X).T, strict=True))


def pooled(log_p, weights, method="fisher"):
    """The evidence of some members, each as often as its weight says."""
    columns = np.column_stack([log_p[name] for name in weights])
    return -combine(columns, method, np.array([*weights.values()]))


def aurc_by_share(detector, X, y, shares):
    """AURC of a combination's confidence where it expects a share of unknown rows, by name."""
    answers, found = detector.predict(X), {}
    for name, share in shares.items():
        ranks = detector.set_params(outlier_share=share).confidence(X)
        found[name] = aurc_score(y, answers, ranks)
    return found


def altered(fitted, **attributes):
    """The same fitted estimator with other parameters or attributes."""
    fitted = copy.copy(fitted)
    vars(fitted).update(attributes)
    return fitted


def both(inside, outside):
    """Which rows are known, and the scores of all."""
    values = np.concatenate([inside, outside])
    return np.arange(len(values)) < len(inside), values


def joined(y, known, unknown):
    """Labels, -1 for what was not taught, and the answers and scores of both sets."""
    answers, score = map(np.concatenate, zip(known, unknown, strict=True))
    return np.append(y, np.full(len(score) - len(y), -1)), answers, score


def beside(name, y, known, unknown):
    """What is measured of answers and scores where a set that has a name is unknown."""
    truth, answers, score = joined(y, known, unknown)
    found = measured(truth >= 0, score, truth, answers)
    return {f"{name} {metric}": value for metric, value in found.items()}


def sectors_reached(points, means, low, high, n_sectors=36):
    """How many sectors of the ring around each mean, between two radii, have a point."""
    counts = []
    for mean in means:
        x, y = (points - mean).T
        radius, angle = np.hypot(x, y), np.arctan2(y, x)
        reached = angle[(radius > low) & (radius <= high)]
        counts.append(np.count_nonzero(np.histogram(reached, n_sectors, (-np.pi, np.pi))[0]))
    return counts


def grid(size, n):
    """n x n points of the box [-size, size]^2."""
    axis = np.linspace(-size, size, n)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def toy_network(n_features, n_outputs, width=500):
    """The papers' 2-500-500 net: on the plane as it is."""
    return mlp((n_features,), n_outputs, (width, width))


def timed(compute, *inputs, clock=time.perf_counter):
    """What ``compute(*inputs)`` returns, and the seconds it took."""
    start = clock()
    value = compute(*inputs)
    return value, clock() - start


def kept(path, compute, *inputs):
    """The same, from the file where it was kept before: training can go on later."""
    if path.exists():
        return joblib.load(path)
    value = timed(compute, *inputs)
    joblib.dump(value, path)
    return value
