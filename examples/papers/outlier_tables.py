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

from itertools import product

from sklearn.base import clone
from sklearn.datasets import load_digits

import lab
import sklearn_ood as ood
from peers import named

SETTINGS = {"inputs": "standardised, whitened", "epochs": "20 or 80", "net": "256-256"}
SETTINGS |= {"batch_size": 256, "lr": 2e-3, "beta": 1.0}
NET = {"hidden_layer_sizes": (256, 256), "batch_size": 256, "lr": 2e-3, "lr_schedule": "cosine"}
# Overlaps the data, reaches far beyond them.
LOOSE = ood.BoundaryOutliers(quantile=0.05, scales=(0.2, 20.0))
SOURCES = {"boundary": "boundary", "loose": LOOSE, "median": ood.BoundaryOutliers(quantile=0.5)}
EPOCHS = (20, 80)
NETS = {
    "confident, boundary": ood.ConfidentClassifier(outliers=LOOSE, beta=1.0, **NET),
    "reject, boundary": ood.RejectClassifier(outliers=LOOSE, beta=1.0, **NET),
    "max softmax": ood.SoftmaxClassifier(**NET),
}
PEERS = ("GaussianMixture(4) a class", "random forest", "local outlier factor", "nearest row")
SETS, DEFAULTS = ("digits", *lab.CLASS_TABLES), "outlier_defaults"


def nets(seed, epochs):
    """What learns from made outliers, and what does without, for some epochs each."""
    return {
        name: clone(NETS[name]).set_params(max_epochs=n, random_state=seed)
        for name, n in epochs.items()
    }


def rows_of(name, n_rows):
    """Rows and labels of a table, or of scikit-learn's digits."""
    return load_digits(return_X_y=True) if name == "digits" else lab.table(name, n_rows)


def held_out(y, train):
    """Of a training part, a split like that of the test: other classes are left out."""
    return [train[part] for part in lab.left_out(y[train], 0, n_splits=1, random_state=1)]


@lab.Experiment("classes left out", lab.CLASS_TABLES, (None,), 5, "--rows", SETTINGS)
def trials(args, name, seed):
    """The test of one split: every net with its epochs chosen, and the peers."""
    X, y = rows_of(name, args.rows)
    train, test = lab.left_out(y, seed)
    inner, tried = held_out(y, train), {}
    for n in EPOCHS:
        tried[n] = lab.compared(nets(seed, dict.fromkeys(NETS, n)), X, y, *inner)
    epochs = {name: max(EPOCHS, key=lambda n: tried[n][name]["auroc"]) for name in NETS}
    found = lab.compared(nets(seed, epochs) | named(seed, *PEERS), X, y, train, test)
    for name, n in epochs.items():
        found[name]["epochs"] = n
    return found


@lab.Experiment("classes left out", SETS, seeds=3, options="--rows", page=DEFAULTS)
def defaults(args, name, seed):
    """What a user gets who sets nothing."""
    X, y = rows_of(name, args.rows)
    models = {
        "confident": ood.ConfidentClassifier(random_state=seed),
        "reject": ood.RejectClassifier(random_state=seed),
        "max softmax": ood.SoftmaxClassifier(random_state=seed),
    }
    return lab.compared(models, X, y, *lab.left_out(y, seed))


@lab.Experiment("choice", SETS, seeds=2, options="--rows", page=DEFAULTS)
def choice(args, name, seed):
    """Weights of the outliers and where they are, in the confident net."""
    X, y = rows_of(name, args.rows)
    models = {"max softmax": ood.SoftmaxClassifier(random_state=seed)}
    for (label, outliers), beta in product(SOURCES.items(), (0.03, 0.1, 0.3)):
        settings = {"outliers": outliers, "beta": beta, "random_state": seed}
        models[f"{label}, beta {beta}"] = ood.ConfidentClassifier(**settings)
    return lab.compared(models, X, y, *held_out(y, lab.left_out(y, seed)[0]))


if __name__ == "__main__":
    lab.main(__doc__, "outlier_tables")
