"""The denoising autoencoder's confidence on tables, beside the detectors people would pick.

``adbench``: trained on half of the normal rows, tested on the other half and the anomalies.
``tabular``: 30 % of the classes are left out of training and are the outliers of the test;
the autoencoder is trained jointly with a classifier, and for a random forest.
``settings``: the same, for what might have been the defaults. ``one-class``: default settings
on small images of one digit at a time.

    python examples/papers/spigler_tables.py adbench
    python examples/papers/spigler_tables.py tabular --data dry_bean
    python examples/papers/spigler_tables.py settings --rows 1000 --splits 1
    python examples/papers/spigler_tables.py one-class --rows 400 --splits 1

``--rows`` is how many train at most, ``--steps`` how many steps about.
"""

from functools import partial

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from lab import ANOMALY_TABLES, CLASS_TABLES, Store, images, measured, parser, some_rows, table
from peers import detectors, score
from sklearn_ood import DAEClassifier, DAEConfidence, SoftmaxClassifier

DETECTORS = (
    *("isolation forest", "local outlier factor", "one-class SVM", "k-NN (5)"),
    *("PyOD AutoEncoder", "PyOD ECOD"),
)
ONE_LAYER = {"hidden_layer_sizes": (128,), "lr": 1e-3, "lr_schedule": None}
VARIANTS = {
    "one layer, constant learning rate, weight 1": ONE_LAYER | {"reconstruction_weight": 1.0},
    "weight 1": {"reconstruction_weight": 1.0},
    "default": {},
    "weight 20": {"reconstruction_weight": 20.0},
}


def models(seed, n_rows, steps, with_classes):
    """Everything that is compared, by name."""
    epochs = int(np.clip(steps * 64 / n_rows, 5, 200))
    net = {
        "lr_schedule": "cosine",
        "hidden_layer_sizes": (128, 128),
        "max_epochs": epochs,
        "random_state": seed,
    }
    dae = net | {"lr": 1e-3, "reconstruction_weight": 1.0}
    forest = RandomForestClassifier(random_state=seed)
    classifiers = {"softmax": SoftmaxClassifier(**net), "random forest": forest}
    ours = {
        "DAE": DAEConfidence(**dae),
        "DAE with typicality": DAEConfidence(typicality=True, **dae),
        "random forest and DAE": DAEClassifier(forest, **dae),
        "random forest and DAE with typicality": DAEClassifier(forest, typicality=True, **dae),
    }
    if not with_classes:
        classifiers, ours = {}, dict(list(ours.items())[:2])
    others = detectors(seed)
    return classifiers | ours | {name: others[name] for name in DETECTORS if name in others}


def judged(models, X, y, train, test, inside):
    """AUROC and TNR of every model, on standardised rows; without ``y`` of one class."""
    scaler = StandardScaler().fit(X[train])
    rows, queries = scaler.transform(X[train]), scaler.transform(X[test])
    labels = None if y is None else y[train]
    found = {}
    for name, model in models.items():
        model.fit(rows, None if name in DETECTORS else labels)
        found[name] = measured(inside, score(model, queries))
        if name in VARIANTS:
            known = queries[inside], y[test][inside]
            found[name]["accuracy"] = model.score(*known)
    return found


def adbench(name, seed, args):
    """Half of the normal rows train."""
    X, y = table(name)
    rng = np.random.RandomState(seed)
    normal, anomalies = rng.permutation(np.flatnonzero(y == 0)), np.flatnonzero(y == 1)
    half = len(normal) // 2
    train, rest = normal[:half][: args.rows], normal[half:][: args.rows]
    test = np.concatenate([rest, anomalies])
    compared = models(seed, len(train), args.steps, with_classes=False)
    return judged(compared, X, None, train, test, y[test] == 0)


def left_out(name, seed, args):
    """Rows and labels of a table; which train, which test, and which of these are known."""
    X, y = table(name)
    rng = np.random.RandomState(seed)
    classes = rng.permutation(np.unique(y))
    unknown = np.isin(y, classes[: round(0.3 * len(classes))])
    known = np.flatnonzero(~unknown)
    train, test = train_test_split(known, test_size=0.3, stratify=y[known], random_state=seed)
    train = rng.permutation(train)[: args.rows]
    test = np.concatenate([test, np.flatnonzero(unknown)])
    return X, y, train, test, ~unknown[test]


def tabular(name, seed, args):
    """Classes left out."""
    X, y, train, *split = left_out(name, seed, args)
    return judged(models(seed, len(train), args.steps, True), X, y, train, *split)


def variants(name, seed, args):
    """Classes left out, for settings of the autoencoder alone."""
    compared = {
        name: DAEConfidence(random_state=seed, **parameters)
        for name, parameters in VARIANTS.items()
    }
    return judged(compared, *left_out(name, seed, args))


def small_images(name):
    """Small images of digits in [0, 1]: training and test parts, each with its labels."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.4, random_state=0)
        return X, y, X_test, y_test
    parts = (some_rows(*images(name, part), 12_000) for part in ("train", "test"))
    halved = ((X.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)), y) for X, y in parts)
    return [array.reshape(len(array), -1).squeeze() for part in halved for array in part]


def one_class(name, seed, args):
    """Each digit against the others, with default settings: mean AUROC."""
    X, y, X_test, y_test = small_images(name)
    compared = {
        "one layer, constant learning rate": DAEConfidence(random_state=seed, **ONE_LAYER),
        "default": DAEConfidence(random_state=seed),
        "one-class SVM": OneClassSVM(),
        "one-class SVM, the paper's": OneClassSVM(nu=0.1, gamma=0.1),
    }
    areas = {name: [] for name in compared}
    for digit in range(10):
        rows, _ = some_rows(X[y == digit], y[y == digit], args.rows, seed)
        for name, model in compared.items():
            scores = model.fit(rows).score_samples(X_test)
            areas[name].append(measured(y_test == digit, scores)["auroc"])
    return {name: {"auroc": np.mean(each)} for name, each in areas.items()}


SECTIONS = {
    "adbench": ("anomalies", adbench, ANOMALY_TABLES, 1),
    "tabular": ("classes left out", tabular, CLASS_TABLES, 3),
    "settings": ("settings, classes left out", variants, CLASS_TABLES, 2),
    "one-class": ("one class, small images", one_class, ("digits", "mnist"), 2),
}


OPTIONS = "--rows 5000 --steps 4000 --splits"


def main():
    cli = parser(__doc__, "spigler", OPTIONS, SECTIONS)
    cli.add_argument("--data", nargs="+", help="some of the tables")
    args = cli.parse_args()
    experiment, run, tables, n_splits = SECTIONS[args.part]
    store = Store("spigler", args.results)
    settings = {"rows": args.rows, "steps": args.steps}
    for name in args.data or tables:
        for seed in range(args.splits or n_splits):
            store.run(partial(run, name, seed, args), experiment, name, seed=seed, **settings)


if __name__ == "__main__":
    main()
