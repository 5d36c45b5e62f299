"""How the default members for tables were chosen: nothing here sees a test outlier.

A random part of each table trains. Rows held out are known; those of classes held out are
unknown; and so are rows held out that were corrupted:

- "shifted": one number by three to six standard deviations;
- "swapped": two cells taken from another row;
- "unit": one number a thousand times too large or too small;
- "other class": half of the cells taken from a row of another class;
- "missing": a third of the cells blank.

Every candidate combines the same fitted members, read at their best class. With several classes
(``classes``) tables of ``selective_tables.py`` teach, with one (``one``) the normal rows of
ADBench's tables, whose anomalies nobody sees.

    python examples/papers/member_selection.py classes
    python examples/papers/member_selection.py one
"""

from functools import partial

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, IsolationForest
from sklearn.pipeline import make_pipeline

from lab import Store, parser
from selective_tables import CLASSES, MIXED, TWO_CLASSES, frame
from sklearn_ood import CombinedClassifier, NeighborDistance, TableDensity, TableEncoder
from sklearn_ood.combined._columns import ColumnRanks, ExtremeColumn
from sklearn_ood.combined._conformal import COMBINATIONS, combine
from sklearn_ood.detectors import DistinctLocalOutlierFactor
from sklearn_ood.metrics import auroc

KINDS = ("shifted", "swapped", "unit", "other class", "missing")
CANDIDATES = (
    "mixture + nearest",
    "mixture + mixture_8 + nearest",
    "mixture + nearest + nearest_ranks",
    "mixture + nearest + extreme",
    "mixture + nearest + lof",
    "mixture + nearest + nearest_ranks + extreme",
    "nearest + nearest_ranks + extreme",
    "mixture + nearest + nearest_ranks + extreme + lof",
    "mixture + nearest_5 + nearest_ranks + extreme",
)
CANDIDATES += tuple(f"trees + {each}" for each in CANDIDATES)
CHOSEN = (
    "trees + mixture + nearest + nearest_ranks + extreme",
    "mixture + nearest + nearest_ranks + extreme",
)
ONE_CLASS = (
    *TWO_CLASSES,
    *("WDBC", "cardio", "donors", "glass", "letter", "pendigits", "skin"),
)
MAX_TEST_ROWS = 600


def encoded(*steps):
    return make_pipeline(TableEncoder(), *steps)


MEMBERS = {
    "trees": encoded(ExtraTreesClassifier(100, min_samples_leaf=2)),
    "mixture": TableDensity(),
    "mixture_8": TableDensity(8),
    "nearest": encoded(NeighborDistance()),
    "nearest_5": encoded(NeighborDistance(5)),
    "nearest_ranks": encoded(ColumnRanks(), NeighborDistance()),
    "extreme": encoded(ExtremeColumn()),
    "lof": encoded(DistinctLocalOutlierFactor(novelty=True)),
    "isolation": encoded(IsolationForest()),
}


def corrupted(kind, X, y, rows, labels, rng):
    """Rows, each corrupted in one way with the help of the training rows X, y."""
    n, d = rows.shape
    each, cells = np.arange(n), rows.to_numpy(dtype=object, copy=True)
    numbers = [
        j for j, dtype in enumerate(X.dtypes) if dtype.kind in "fiu" and X.iloc[:, j].std() > 0
    ]
    if kind in ("shifted", "unit"):
        if not numbers:
            return None
        chosen = rng.choice(numbers, n)
        values, spread = cells[each, chosen].astype(float), X.std(numeric_only=True)
        by = (
            [spread[X.columns[j]] for j in chosen]
            * rng.choice([-1, 1], n)
            * rng.uniform(3, 6, n)
        )
        new = values + by if kind == "shifted" else values * rng.choice([1e-3, 1e3], n)
        cells[each, chosen] = new
    elif kind == "missing":
        cells[rng.random((n, d)) < 1 / 3] = None
    else:
        other = rng.integers(len(X), size=n)
        replaced = np.zeros((n, d), dtype=bool)
        if kind == "swapped":
            replaced[each[:, None], rng.random((n, d)).argsort(axis=1)[:, :2]] = True
        else:
            replaced = rng.random((n, d)) < 0.5
            allowed = labels[:, None] != y
            other = (rng.random((n, len(X))) * allowed).argmax(axis=1)
        cells[replaced] = X.to_numpy(dtype=object)[other][replaced]
    types = {name: float if dtype.kind in "iu" else dtype for name, dtype in X.dtypes.items()}
    return pd.DataFrame(cells, columns=X.columns).astype(types)


def judged(detector, known, unknown):
    """AUROC of every candidate by what is unknown."""
    log_p = detector.member_score_samples(known)
    places = {name: j for j, name in enumerate(detector.members_)}
    found = {}
    for kind, rows in unknown.items():
        both = np.vstack([log_p, detector.member_score_samples(rows)])
        is_in = np.arange(len(both)) < len(known)
        for candidate in (*CANDIDATES, *places):
            names = candidate.split(" + ")
            if not places.keys() >= set(names):
                continue
            columns = both[:, [places[name] for name in names]]
            for method in COMBINATIONS if candidate in CHOSEN else ("fisher",):
                score = -combine(columns, method)
                found.setdefault(f"{candidate}, {method}", {})[kind] = auroc(is_in, score)
    return found


def run(part, name, seed, args):
    """One random part of a table."""
    X, y = frame(name)
    rng = np.random.default_rng(seed)
    if part == "one":
        X, y = X[y == 0], np.zeros((y == 0).sum())
    classes = rng.permutation(pd.unique(y))
    n_out = round(0.3 * len(classes)) if len(classes) > 2 else 0
    order = rng.permutation(len(X))
    is_out = np.isin(y[order], classes[:n_out])
    outside, inside = order[is_out][:MAX_TEST_ROWS], order[~is_out]
    n_train = min(args.rows, 4 * len(inside) // 5)
    train, test = inside[:n_train], inside[n_train:][:MAX_TEST_ROWS]
    test = test[np.isin(y[test], y[train])]
    X_train, y_train = X.iloc[train], y[train]
    members = [each for each in MEMBERS.items() if part == "classes" or each[0] != "trees"]
    nobody = DummyClassifier()  # no member asks for the class
    detector = CombinedClassifier(nobody, members, calibration=0.3, random_state=seed)
    detector.fit(X_train, y_train)
    kinds = KINDS if part == "classes" else [kind for kind in KINDS if kind != "other class"]
    unknown = {
        kind: corrupted(kind, X_train, y_train, X.iloc[test], y[test], rng) for kind in kinds
    }
    unknown = {kind: rows for kind, rows in unknown.items() if rows is not None}
    if len(outside):
        unknown["classes"] = X.iloc[outside]
    return judged(detector, X.iloc[test], unknown)


def main():
    cli = parser(__doc__, "member_selection")
    cli.add_argument("part", choices=("classes", "one"))
    cli.add_argument("--data", nargs="+")
    cli.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    cli.add_argument("--rows", type=int, default=2000, help="at most, to teach")
    args = cli.parse_args()
    names = args.data or (ONE_CLASS if args.part == "one" else MIXED + CLASSES + TWO_CLASSES)
    store = Store("member_selection", args.results)
    for seed in args.seeds:
        for name in names:
            compute = partial(run, args.part, name, seed, args)
            store.run(compute, args.part, name, seed=seed, rows=args.rows)


if __name__ == "__main__":
    main()
