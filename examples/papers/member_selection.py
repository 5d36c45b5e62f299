"""How the default members for tables were chosen: nothing here sees a test outlier.

A random part of each table trains. Rows held out are known; those of classes held out are
unknown; and so are rows held out that were corrupted:

- "shifted": one number by three to six standard deviations;
- "swapped": two cells taken from another row;
- "unit": one number a thousand times too large or too small;
- "other class": half of the cells taken from a row of another class;
- "missing": a third of the cells blank.

Every candidate combines the same fitted members, read at their best class; a number says how
often the evidence of one counts. With several classes (``classes``) tables of
``selective_tables.py`` teach, with one (``one``) the normal rows of ADBench's tables, whose
anomalies nobody sees. ``inner`` leaves classes out of the training rows of the first three
splits of ``combined.py whole``, two splits of each.

    python examples/papers/member_selection.py classes
    python examples/papers/member_selection.py one
    python examples/papers/member_selection.py inner
"""

from functools import partial

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, IsolationForest
from sklearn.pipeline import make_pipeline

from lab import CLASS_TABLES, Store, parser
from selective_tables import CLASSES, MIXED, TWO_CLASSES, frame
from sklearn_ood import CombinedClassifier, NeighborDistance, TableDensity, TableEncoder
from sklearn_ood.combined._columns import ClassWhitening, ColumnRanks, ExtremeColumn
from sklearn_ood.combined._conformal import COMBINATIONS, combine
from sklearn_ood.detectors import DistinctLocalOutlierFactor
from sklearn_ood.metrics import auroc
from sklearn_ood.model_selection import LeaveClassesOut

KINDS = ("shifted", "swapped", "unit", "other class", "missing")
SETS = (
    "mixture + nearest",
    "mixture + nearest + nearest_ranks + extreme",
    "mixture + nearest_whitened + nearest_ranks + extreme",
    "nearest + mixture + nearest_whitened + nearest_ranks + extreme",
    "mixture + nearest_whitened + nearest_ranks + extreme + lof",
)
CHOSEN = {
    "classes": "2 trees + 3 mixture + nearest_whitened + 0.5 nearest_ranks + 0.5 extreme",
    "one": "nearest + mixture + nearest_whitened + nearest_ranks + extreme",
}
CANDIDATES = (
    *SETS,
    *(f"trees + {each}" for each in SETS),
    CHOSEN["classes"],
    "2 trees + 2 mixture + nearest_whitened + 0.5 nearest_ranks + 0.5 extreme",
    "2 trees + 3 mixture_8 + nearest_whitened + 0.5 nearest_ranks + 0.5 extreme",
    "2 trees + 3 mixture + nearest + 0.5 nearest_ranks + 0.5 extreme",
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
    "nearest_whitened": encoded(ClassWhitening(), NeighborDistance()),
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


def judged(detector, known, unknown, chosen):
    """AUROC of every candidate by what is unknown."""
    log_p = detector.member_score_samples(known)
    places = {name: j for j, name in enumerate(detector.members_)}
    found = {}
    for kind, rows in unknown.items():
        both = np.vstack([log_p, detector.member_score_samples(rows)])
        is_in = np.arange(len(both)) < len(known)
        for candidate in (*CANDIDATES, *places):
            pairs = [each.rpartition(" ") for each in candidate.split(" + ")]
            weights, names = (
                [float(each[0] or 1) for each in pairs],
                [each[2] for each in pairs],
            )
            if not places.keys() >= set(names):
                continue
            columns = both[:, [places[name] for name in names]]
            for method in COMBINATIONS if candidate == chosen else ("fisher",):
                score = -combine(columns, method, np.array(weights))
                found.setdefault(f"{candidate}, {method}", {})[kind] = auroc(is_in, score)
    return found


def at_random(X, y, seed, rng, args):
    """Rows that train, and others, those of classes left out among them."""
    classes = rng.permutation(pd.unique(y))
    n_out = round(0.3 * len(classes)) if len(classes) > 2 else 0
    order = rng.permutation(len(X))
    is_out = np.isin(y[order], classes[:n_out])
    outside, inside = order[is_out], order[~is_out]
    n_train = min(args.rows, 4 * len(inside) // 5)
    return inside[:n_train], np.append(inside[n_train:], outside)


def within(X, y, seed, rng, args):
    """The same within the training rows of a split of ``combined.py whole``."""
    taught, _ = list(LeaveClassesOut(0.3, 5, random_state=0).split(X, y))[seed // 2]
    inner = LeaveClassesOut(0.3, 2, random_state=1 + seed // 2)
    train, rest = list(inner.split(X.iloc[taught], y[taught]))[seed % 2]
    return rng.permutation(taught[train]), rng.permutation(taught[rest])


def run(part, name, seed, args):
    """One random part of a table."""
    X, y = frame(name)
    rng = np.random.default_rng(seed)
    if part == "one":
        X, y = X[y == 0], np.zeros((y == 0).sum())
    divide = within if part == "inner" else at_random
    train, rest = divide(X, y, seed, rng, args)
    is_known = np.isin(y[rest], y[train])
    test, outside = rest[is_known][:MAX_TEST_ROWS], rest[~is_known][:MAX_TEST_ROWS]
    X_train, y_train = X.iloc[train], y[train]
    members = [each for each in MEMBERS.items() if part != "one" or each[0] != "trees"]
    nobody = DummyClassifier()  # no member asks for the class
    detector = CombinedClassifier(nobody, members, calibration=0.3, random_state=seed)
    detector.fit(X_train, y_train)
    kinds = KINDS if part != "one" else [kind for kind in KINDS if kind != "other class"]
    unknown = {
        kind: corrupted(kind, X_train, y_train, X.iloc[test], y[test], rng) for kind in kinds
    }
    unknown = {kind: rows for kind, rows in unknown.items() if rows is not None}
    if len(outside):
        unknown["classes"] = X.iloc[outside]
    chosen = CHOSEN["one" if part == "one" else "classes"]
    return judged(detector, X.iloc[test], unknown, chosen)


def main():
    cli = parser(__doc__, "member_selection")
    cli.add_argument("part", choices=("classes", "one", "inner"))
    cli.add_argument("--data", nargs="+")
    cli.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    cli.add_argument("--rows", type=int, default=2000, help="at most, to teach")
    args = cli.parse_args()
    tables = {"one": ONE_CLASS, "inner": CLASS_TABLES}
    names = args.data or tables.get(args.part, MIXED + CLASSES + TWO_CLASSES)
    store = Store("member_selection", args.results)
    for seed in args.seeds:
        for name in names:
            compute = partial(run, args.part, name, seed, args)
            # What is on record without this word is of the default before.
            store.run(compute, f"{args.part}, weighted", name, seed=seed, rows=args.rows)


if __name__ == "__main__":
    main()
