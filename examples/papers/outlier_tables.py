"""Tables with classes left out: nets taught by made outliers beside densities and neighbours.

Five splits a table leave 30 % of the classes out of training; their rows and 30 % of the
others' are the test. Features are standardised on the training part. Nobody sees an outlier
before the test: the nets learn from rows that the boundary sampler makes from the training
part. Judged by AUROC and by the share of left-out rows refused while 95 % of the known ones
are kept; the accuracy is on the known classes.

How long a net is trained decides much here, and differently for each table: some densities
want many epochs, others are overfitted soon. So every split chooses each net's epochs, the
max softmax's too, by AUROC on classes held out of its own training part (one inner split).
The other settings (two layers of 256, cosine schedule, the sampler's quantile of 0.05 and
steps of up to 20 standard deviations) are the same everywhere and were found on other inner
splits.

``defaults`` judges the classifiers as they come, beside a plain net as it comes: every
parameter is the default. ``choice`` compares what might be the confident net's defaults, on
classes held out of the training part.

    python examples/papers/outlier_tables.py trials
    python examples/papers/outlier_tables.py defaults --data dry_bean --rows 4000
    python examples/papers/outlier_tables.py choice --data dry_bean --rows 4000
"""

import tempfile
from itertools import product

from joblib import Memory
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

import lab
from lab import Experiment
from peers import ClassMixtures, detectors
from sklearn_ood import (
    BoundaryOutliers,
    ConfidentClassifier,
    RejectClassifier,
    SoftmaxClassifier,
)
from sklearn_ood.model_selection import LeaveClassesOut

NET = {
    "hidden_layer_sizes": (256, 256),
    "batch_size": 256,
    "lr": 2e-3,
    "lr_schedule": "cosine",
}
EPOCHS = (20, 80)
TRIALS = {
    "inputs": "standardised, whitened",
    "epochs": "20 or 80",
    "net": "256-256",
    "batch_size": 256,
    "lr": 2e-3,
    "beta": 1.0,
}
# Overlaps the data, reaches far beyond them.
LOOSE = BoundaryOutliers(quantile=0.05, scales=(0.2, 20.0))
CANDIDATES = {"boundary": "boundary", "loose": LOOSE, "median": BoundaryOutliers(quantile=0.5)}
SETS, DEFAULTS = ("digits", *lab.CLASS_TABLES), "outlier_defaults"
FOLDER = tempfile.TemporaryDirectory()


@Memory(FOLDER.name, verbose=0).cache
def loose_outliers(X, y, n, random_state):
    """Two nets of one split, and of any number of epochs, learn from the same rows."""
    return LOOSE(X, y, n, random_state)


def nets(seed):
    """What learns from made outliers, and what does without."""
    settings = NET | {"random_state": seed}
    return {
        "confident, boundary": ConfidentClassifier(
            outliers=loose_outliers, beta=1.0, **settings
        ),
        "reject, boundary": RejectClassifier(outliers=loose_outliers, beta=1.0, **settings),
        "max softmax": SoftmaxClassifier(**settings),
    }


def peers(seed):
    """What one would take instead."""
    return {
        "GaussianMixture(4) a class": ClassMixtures(4, seed),
        "random forest": RandomForestClassifier(200, random_state=seed),
    } | {key: detectors(seed)[key] for key in ("local outlier factor", "nearest row")}


def rows_of(name, n_rows):
    """Rows and labels of a table, or of scikit-learn's digits."""
    return load_digits(return_X_y=True) if name == "digits" else lab.table(name, n_rows)


def held_out(X, y, train):
    """Of a training part, a split like that of the test: other classes are left out."""
    splitter = LeaveClassesOut(n_out=0.3, n_splits=1, test_size=0.3, random_state=1)
    return [train[part] for part in next(splitter.split(X[train], y[train]))]


@Experiment("classes left out", lab.CLASS_TABLES, seeds=5, options="--rows", settings=TRIALS)
def trials(args, name, seed):
    """The test of one split: every net with its epochs chosen, and the peers."""
    X, y = rows_of(name, args.rows)
    train, test = lab.left_out(y, seed)
    inner, tried = held_out(X, y, train), {}
    for epochs in EPOCHS:
        models = {name: net.set_params(max_epochs=epochs) for name, net in nets(seed).items()}
        tried[epochs] = lab.compared(models, X, y, *inner)
    chosen = {
        name: net.set_params(max_epochs=max(EPOCHS, key=lambda e: tried[e][name]["auroc"]))
        for name, net in nets(seed).items()
    }
    found = lab.compared(chosen | peers(seed), X, y, train, test)
    for name, net in chosen.items():
        found[name]["epochs"] = net.max_epochs
    return found


@Experiment("classes left out", SETS, seeds=3, options="--rows", page=DEFAULTS)
def defaults(args, name, seed):
    """What a user gets who sets nothing."""
    X, y = rows_of(name, args.rows)
    models = {
        "confident": ConfidentClassifier(random_state=seed),
        "reject": RejectClassifier(random_state=seed),
        "max softmax": SoftmaxClassifier(random_state=seed),
    }
    return lab.compared(models, X, y, *lab.left_out(y, seed))


@Experiment("choice", SETS, seeds=2, options="--rows", page=DEFAULTS)
def choice(args, name, seed):
    """Weights of the outliers and where they are, in the confident net."""
    X, y = rows_of(name, args.rows)
    models = {"max softmax": SoftmaxClassifier(random_state=seed)}
    for (label, outliers), beta in product(CANDIDATES.items(), (0.03, 0.1, 0.3)):
        settings = {"outliers": outliers, "beta": beta, "random_state": seed}
        models[f"{label}, beta {beta}"] = ConfidentClassifier(**settings)
    return lab.compared(models, X, y, *held_out(X, y, lab.left_out(y, seed)[0]))


if __name__ == "__main__":
    lab.main(__doc__, "outlier_tables")
