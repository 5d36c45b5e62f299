"""The denoising autoencoder's confidence on tables, beside the detectors people would pick.

``adbench``: trained on half of the normal rows, tested on the other half and the anomalies.
``tabular``: 30 % of the classes are left out of training and are the outliers of the test;
the autoencoder is trained jointly with a classifier, and for a random forest.

    python examples/papers/spigler_tables.py adbench
    python examples/papers/spigler_tables.py tabular --data dry_bean
"""

from functools import partial

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from lab import ANOMALY_TABLES, CLASS_TABLES, Store, measured, parser, table
from peers import detectors, score
from sklearn_ood import DAEClassifier, DAEConfidence, SoftmaxClassifier

DETECTORS = (
    *("isolation forest", "local outlier factor", "one-class SVM", "k-NN (5)"),
    *("PyOD AutoEncoder", "PyOD ECOD"),
)


def models(seed, n_rows, steps, with_classes):
    """Everything that is compared, by name."""
    epochs = int(np.clip(steps * 64 / n_rows, 5, 200))
    net = {
        "lr_schedule": "cosine",
        "hidden_layer_sizes": (128, 128),
        "max_epochs": epochs,
        "random_state": seed,
    }
    forest = RandomForestClassifier(random_state=seed)
    classifiers = {"softmax": SoftmaxClassifier(**net), "random forest": forest}
    ours = {
        "DAE": DAEConfidence(**net),
        "DAE with typicality": DAEConfidence(typicality=True, **net),
        "random forest and DAE": DAEClassifier(forest, **net),
        "random forest and DAE with typicality": DAEClassifier(forest, typicality=True, **net),
    }
    if not with_classes:
        classifiers, ours = {}, dict(list(ours.items())[:2])
    others = detectors(seed)
    return classifiers | ours | {name: others[name] for name in DETECTORS if name in others}


def judged(X, y, train, test, inside, seed, args):
    """AUROC and TNR of every model, on standardised rows; without ``y`` of one class."""
    scaler = StandardScaler().fit(X[train])
    rows, queries = scaler.transform(X[train]), scaler.transform(X[test])
    labels = None if y is None else y[train]
    found = {}
    for name, model in models(seed, len(train), args.steps, y is not None).items():
        model.fit(rows, None if name in DETECTORS else labels)
        found[name] = measured(inside, score(model, queries))
    return found


def adbench(name, seed, args):
    """Half of the normal rows train."""
    X, y = table(name)
    rng = np.random.RandomState(seed)
    normal, anomalies = rng.permutation(np.flatnonzero(y == 0)), np.flatnonzero(y == 1)
    half = len(normal) // 2
    train, rest = normal[:half][: args.rows], normal[half:][: args.rows]
    test = np.concatenate([rest, anomalies])
    return judged(X, None, train, test, y[test] == 0, seed, args)


def tabular(name, seed, args):
    """Classes left out."""
    X, y = table(name)
    rng = np.random.RandomState(seed)
    classes = rng.permutation(np.unique(y))
    unknown = np.isin(y, classes[: round(0.3 * len(classes))])
    known = np.flatnonzero(~unknown)
    train, test = train_test_split(known, test_size=0.3, stratify=y[known], random_state=seed)
    train = rng.permutation(train)[: args.rows]
    test = np.concatenate([test, np.flatnonzero(unknown)])
    return judged(X, y, train, test, ~unknown[test], seed, args)


SECTIONS = {
    "adbench": ("anomalies", adbench, ANOMALY_TABLES, 1),
    "tabular": ("classes left out", tabular, CLASS_TABLES, 3),
}


def main():
    cli = parser(__doc__, "spigler")
    cli.add_argument("section", choices=SECTIONS)
    cli.add_argument("--data", nargs="+", help="some of the tables")
    cli.add_argument("--rows", type=int, default=5_000, help="most rows to train on")
    cli.add_argument("--steps", type=int, default=4_000, help="of training, about")
    cli.add_argument("--splits", type=int)
    args = cli.parse_args()
    experiment, run, tables, n_splits = SECTIONS[args.section]
    store = Store("spigler", args.results)
    settings = {"rows": args.rows, "steps": args.steps}
    for name in args.data or tables:
        for seed in range(args.splits or n_splits):
            store.run(partial(run, name, seed, args), experiment, name, seed=seed, **settings)


if __name__ == "__main__":
    main()
