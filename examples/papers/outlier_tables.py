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

``--defaults`` judges the classifiers as they come, beside a plain net as it comes: every
parameter is the default. ``--choice`` compares what might be the confident net's defaults, on
classes held out of the training part.

    python examples/papers/outlier_tables.py pendigits_multiclass   # and the other tables
    python examples/papers/outlier_tables.py dry_bean --defaults --rows 4000
    python examples/papers/outlier_tables.py dry_bean --choice --rows 4000 --splits 2
"""

import tempfile
from functools import partial
from itertools import product

import numpy as np
from joblib import Memory
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import StandardScaler

from lab import CLASS_TABLES, Store, measured, parser, table, timed
from peers import ClassMixtures, detectors, score
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


def defaults(seed):
    """What a user gets who sets nothing."""
    return {
        "confident": ConfidentClassifier(random_state=seed),
        "reject": RejectClassifier(random_state=seed),
        "max softmax": SoftmaxClassifier(random_state=seed),
    }


def peers(seed):
    """What one would take instead."""
    return {
        "GaussianMixture(4) a class": ClassMixtures(4, seed),
        "random forest": RandomForestClassifier(200, random_state=seed),
    } | {key: detectors(seed)[key] for key in ("local outlier factor", "nearest row")}


def judged(models, X, y, train, test):
    """AUROC and TNR of each, accuracy of the nets, all fitted on standardised rows."""
    scaler = StandardScaler().fit(X[train])
    rows, queries = scaler.transform(X[train]), scaler.transform(X[test])
    inside = np.isin(y[test], y[train])
    found = {}
    for name, model in models.items():
        _, seconds = timed(partial(model.fit, rows, y[train]))
        found[name] = measured(inside, score(model, queries))
        if isinstance(model, RejectClassifier):
            found[name]["known refused"] = (model.score_samples(queries[inside]) < 0).mean()
        if hasattr(model, "max_epochs"):
            accuracy = (model.predict(queries) == y[test])[inside].mean()
            epochs = model.max_epochs
            found[name] |= {"accuracy": accuracy, "epochs": epochs, "seconds": seconds}
    return found


def held_out(X, y):
    """A split of a training part like that of the test: other classes are left out."""
    splitter = LeaveClassesOut(n_out=0.3, n_splits=1, test_size=0.3, random_state=1)
    return next(splitter.split(X, y))


def run_split(X, y, train, test, seed):
    """The test of one split: every net with its epochs chosen, and the peers."""
    inner = held_out(X[train], y[train])
    trials = {}
    for epochs in EPOCHS:
        models = {name: net.set_params(max_epochs=epochs) for name, net in nets(seed).items()}
        trials[epochs] = judged(models, X[train], y[train], *inner)
    chosen = {
        name: net.set_params(max_epochs=max(EPOCHS, key=lambda e: trials[e][name]["auroc"]))
        for name, net in nets(seed).items()
    }
    return judged(chosen | peers(seed), X, y, train, test)


def choice(X, y, train, seed):
    """Weights of the outliers and where they are, in the confident net."""
    models = {"max softmax": SoftmaxClassifier(random_state=seed)}
    for (name, outliers), beta in product(CANDIDATES.items(), (0.03, 0.1, 0.3)):
        settings = {"outliers": outliers, "beta": beta, "random_state": seed}
        models[f"{name}, beta {beta}"] = ConfidentClassifier(**settings)
    return judged(models, X[train], y[train], *held_out(X[train], y[train]))


def main():
    cli = parser(__doc__, "outlier_tables", "--splits 5 --rows", ("digits", *CLASS_TABLES))
    for option in ("--defaults", "--choice"):
        cli.add_argument(option, action="store_true")
    args = cli.parse_args()
    is_digits = args.part == "digits"
    X, y = load_digits(return_X_y=True) if is_digits else table(args.part, args.rows)
    splitter = LeaveClassesOut(n_out=0.3, n_splits=5, test_size=0.3, random_state=0)
    is_default = args.defaults or args.choice
    store = Store("outlier_defaults" if is_default else "outlier_tables", args.results)
    experiment = "choice" if args.choice else "classes left out"
    settings = {} if is_default else TRIALS
    for number, (train, test) in zip(range(args.splits), splitter.split(X, y), strict=False):
        compute = partial(run_split, X, y, train, test, number)
        if args.defaults:
            compute = partial(judged, defaults(number), X, y, train, test)
        elif args.choice:
            compute = partial(choice, X, y, train, number)
        where = {"data": args.part, "seed": number, "rows": args.rows}
        store.run(compute, experiment, **where, **settings)


if __name__ == "__main__":
    main()
