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
splits; ``--candidates`` prints such a comparison, which no test enters.

``--defaults`` judges the classifiers as they come, beside a plain net as it comes: every
parameter is the default.

    python examples/papers/outlier_tables.py pendigits_multiclass   # and the other tables
"""

import tempfile
from functools import partial

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
NEAR = BoundaryOutliers(quantile=0.05)
TIGHT = BoundaryOutliers(quantile=0.95)
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


def run_split(X, y, train, test, seed):
    """The test of one split: every net with its epochs chosen, and the peers."""
    held_out = LeaveClassesOut(n_out=0.3, n_splits=1, test_size=0.3, random_state=1)
    inner = next(held_out.split(X[train], y[train]))
    trials = {}
    for epochs in EPOCHS:
        models = {name: net.set_params(max_epochs=epochs) for name, net in nets(seed).items()}
        trials[epochs] = judged(models, X[train], y[train], *inner)
    chosen = {
        name: net.set_params(max_epochs=max(EPOCHS, key=lambda e: trials[e][name]["auroc"]))
        for name, net in nets(seed).items()
    }
    return judged(chosen | peers(seed), X, y, train, test)


def compare_candidates(X, y, train):
    """On classes held out of a training part, which a test never sees."""
    candidates = {
        f"{kind.__name__}, {name}, {epochs} epochs": kind(
            outliers=outliers, beta=1.0, max_epochs=epochs, random_state=0, **NET
        )
        for kind in (ConfidentClassifier, RejectClassifier)
        for name, outliers in {"loose": LOOSE, "near": NEAR, "tight": TIGHT}.items()
        for epochs in EPOCHS
    }
    held_out = LeaveClassesOut(n_out=0.3, n_splits=2, test_size=0.3, random_state=1)
    for inner in held_out.split(X[train], y[train]):
        print(judged(candidates, X[train], y[train], *inner), flush=True)


def main():
    cli = parser(__doc__, "outlier_tables", "--splits 5 --rows", ("digits", *CLASS_TABLES))
    cli.add_argument("--candidates", action="store_true")
    cli.add_argument("--defaults", action="store_true")
    args = cli.parse_args()
    is_digits = args.part == "digits"
    X, y = load_digits(return_X_y=True) if is_digits else table(args.part, args.rows)
    splitter = LeaveClassesOut(n_out=0.3, n_splits=5, test_size=0.3, random_state=0)
    splits = list(splitter.split(X, y))
    if args.candidates:
        compare_candidates(X, y, splits[0][0])
        return
    store = Store("outlier_defaults" if args.defaults else "outlier_tables", args.results)
    for number, (train, test) in enumerate(splits[: args.splits]):
        compute, settings = partial(run_split, X, y, train, test, number), TRIALS
        if args.defaults:
            compute, settings = partial(judged, defaults(number), X, y, train, test), {}
        where = {"data": args.part, "seed": number, "rows": args.rows}
        store.run(compute, "classes left out", **where, **settings)


if __name__ == "__main__":
    main()
