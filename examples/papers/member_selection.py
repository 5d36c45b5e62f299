"""How the default members were chosen: nothing here sees a test outlier.

A random part of each table trains. Rows held out are known; those of classes held out are
unknown; and so are rows held out that were corrupted:

- "shifted": one number by three to six standard deviations;
- "swapped": two cells taken from another row;
- "unit": one number a thousand times too large or too small;
- "other class": half of the cells taken from a row of another class;
- "missing": a third of the cells blank.

Every candidate combines the same fitted members, read at their best class; a number says how
often the evidence of one counts. With several classes (``classes``) tables of
``mixed_tables.py`` teach, with one (``one``) the normal rows of ADBench's tables, whose
anomalies nobody sees. ``inner`` leaves classes out of the training rows of the first three
splits of ``combined.py whole``, two splits of each. For the members of images (``selection``)
three digits are left out of 30,000 training images of MNIST, twice. ``parts`` leaves members
of ``TableClassifier`` out, and what levels say of classes where two columns are one of text.

    python examples/papers/member_selection.py classes
    python examples/papers/member_selection.py selection    # about ten minutes on two cores
"""

from functools import partial
from unittest import mock

import numpy as np
import pandas as pd
from sklearn import dummy, ensemble, neighbors, preprocessing
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

import lab
import sklearn_ood as ood
from mixed_tables import KNOWN, TWO_CLASSES
from peers import on_layer, rescored
from sklearn_ood._response import log_softmax
from sklearn_ood.classifiers import _table, _table_shares
from sklearn_ood.combined._columns import ClassWhitening, ColumnRanks, ExtremeColumn
from sklearn_ood.combined._conformal import COMBINATIONS
from sklearn_ood.generators import PCAGenerator
from sklearn_ood.metrics import auroc

KINDS = ("shifted", "swapped", "unit", "other class", "missing")
NEAREST = "nearest_whitened + nearest_ranks + extreme"
SETS = (
    *("mixture + nearest", "mixture + nearest + nearest_ranks + extreme"),
    *(f"mixture + {NEAREST}", f"nearest + mixture + {NEAREST}", f"mixture + {NEAREST} + lof"),
)
HALVED = "0.5 nearest_ranks + 0.5 extreme"
CHOSEN = (f"2 trees + 3 mixture + nearest_whitened + {HALVED}", SETS[3])
CANDIDATES = (
    *(*SETS, *(f"trees + {each}" for each in SETS), CHOSEN[0]),
    *(each.replace(f" + {part}", "") for each in CHOSEN for part in each.split(" + ")[-2:]),
    f"2 trees + 2 mixture + nearest_whitened + {HALVED}",
    f"2 trees + 3 mixture_8 + nearest_whitened + {HALVED}",
    f"2 trees + 3 mixture + nearest + {HALVED}",
)
PCA, ANGLE = "confidence + conv pca", "confidence + conv neighbors, angle"
IMAGE_CANDIDATES = (
    *(PCA, f"{PCA} + conv neighbors", f"{PCA} + pixel neighbors", f"{PCA} + pixel pca"),
    *(f"{PCA} + conv neighbors, angle", ANGLE, f"{ANGLE} + pixel pca"),
    f"{PCA} + conv neighbors, angle + pixel pca",
    "energy + conv pca + conv neighbors, angle",
    "energy + conv neighbors + hidden neighbors + pixel pca",
)
ONE_CLASS = (
    *(*TWO_CLASSES, "breastw", "celeba", "cover"),
    *("WDBC", "cardio", "donors", "glass", "letter", "pendigits", "skin"),
)
MAX_TEST_ROWS, ROWS = 600, {"options": "--rows 2000", "seeds": 3}


def encoded(*steps):
    return make_pipeline(ood.TableEncoder(), *steps)


class DistinctLocalOutlierFactor(neighbors.LocalOutlierFactor):
    """Of the distinct rows: where many are the same, all beside them would seem outliers."""

    def fit(self, X, y=None):
        return super().fit(np.unique(X, axis=0))


MEMBERS = {
    "trees": encoded(ensemble.ExtraTreesClassifier(100, min_samples_leaf=2)),
    "mixture": ood.TableDensity(),
    "mixture_8": ood.TableDensity(8),
    "nearest": encoded(ood.NeighborDistance()),
    "nearest_whitened": encoded(ClassWhitening(), ood.NeighborDistance()),
    "nearest_ranks": encoded(ColumnRanks(), ood.NeighborDistance()),
    "extreme": encoded(ExtremeColumn()),
    "lof": encoded(DistinctLocalOutlierFactor(novelty=True)),
    "isolation": encoded(ensemble.IsolationForest()),
}


def corrupted(kind, X, y, rows, labels, rng):
    """Rows, each corrupted in one way with the help of the training rows X, y."""
    n, d = rows.shape
    each, cells = np.arange(n), rows.to_numpy(dtype=object, copy=True)
    if kind in ("shifted", "unit"):
        spread = X.std(numeric_only=True)
        chosen = rng.choice(X.columns.get_indexer(spread.index[spread > 0]), n)
        by = rng.choice([-1, 1], n) * rng.uniform(3, 6, n) * spread[X.columns[chosen]]
        values = cells[each, chosen].astype(float)
        unit = kind == "unit"
        cells[each, chosen] = values * rng.choice([1e-3, 1e3], n) if unit else values + by
    elif kind == "missing":
        cells[rng.random((n, d)) < 1 / 3] = None
    else:
        other, replaced = rng.integers(len(X), size=n), np.zeros((n, d), dtype=bool)
        if kind == "swapped":
            replaced[each[:, None], rng.random((n, d)).argsort(axis=1)[:, :2]] = True
        else:
            replaced = rng.random((n, d)) < 0.5
            other = (rng.random((n, len(X))) * (labels[:, None] != y)).argmax(axis=1)
        cells[replaced] = X.to_numpy(dtype=object)[other][replaced]
    types = {name: float if dtype.kind in "iu" else dtype for name, dtype in X.dtypes.items()}
    return pd.DataFrame(cells, columns=X.columns).astype(types)


def weighted(candidate):
    """Members of a candidate by name, and how often each counts."""
    found = {}
    for part in candidate.split(" + "):
        weight, _, name = part.partition(" ")
        found |= {name: float(weight)} if weight[0].isdigit() else {part: 1.0}
    return found


def judged(detector, known, unknown, chosen):
    """AUROC of every candidate by what is unknown."""
    inside, found = lab.members_of(detector, known), {}
    outside = {kind: lab.members_of(detector, rows) for kind, rows in unknown.items()}
    for candidate in (*CANDIDATES, *inside):
        weights = weighted(candidate)
        if weights.keys() <= inside.keys():
            for method in COMBINATIONS if candidate == chosen else ("fisher",):
                pool = partial(lab.pooled, weights=weights, method=method)
                sets = {kind: lab.both(pool(inside), pool(p)) for kind, p in outside.items()}
                found[f"{candidate}, {method}"] = {k: auroc(*each) for k, each in sets.items()}
    return found


def at_random(X, y, n_rows, seed, rng):
    """Rows that train, and others, those of classes left out among them."""
    classes = rng.permutation(pd.unique(y))
    n_out = round(0.3 * len(classes)) if len(classes) > 2 else 0
    order = rng.permutation(len(X))
    is_out = np.isin(y[order], classes[:n_out])
    outside, inside = order[is_out], order[~is_out]
    n_train = min(n_rows, 4 * len(inside) // 5)
    return inside[:n_train], np.append(inside[n_train:], outside)


def within(X, y, n_rows, seed, rng):
    """The same within the training rows of a split of ``combined.py whole``."""
    taught, _ = lab.left_out(y, seed // 2)
    parts = lab.left_out(y[taught], seed % 2, n_splits=2, random_state=1 + seed // 2)
    return [rng.permutation(taught[part]) for part in parts]


@lab.Experiment("classes", KNOWN, **ROWS)
@lab.Experiment("one", ONE_CLASS, **ROWS, part="one")
@lab.Experiment("inner", lab.CLASS_TABLES, options="--rows 2000", seeds=6, part="inner")
def classes(args, name, seed):
    """Candidates on rows of a table that do not train, as they are and corrupted."""
    (X, y), rng, is_one = lab.frame(name), np.random.default_rng(seed), args.part == "one"
    X, y = (X[y == 0], y[y == 0]) if is_one else (X, y)
    divide = within if args.part == "inner" else at_random
    train, rest = divide(X, y, args.rows, seed, rng)
    is_known = np.isin(y[rest], y[train])
    test, outside = rest[is_known][:MAX_TEST_ROWS], rest[~is_known][:MAX_TEST_ROWS]
    taught = X.iloc[train], y[train]
    members = [each for each in MEMBERS.items() if not is_one or each[0] != "trees"]
    nobody = dummy.DummyClassifier()  # no member asks for the class
    how = {"calibration": 0.3, "random_state": seed}
    detector = ood.CombinedClassifier(nobody, members, **how).fit(*taught)
    has_numbers = taught[0].select_dtypes("number").shape[1] > 0
    needs = {"other class": not is_one, "shifted": has_numbers, "unit": has_numbers}
    kinds = [kind for kind in KINDS if needs.get(kind, True)]
    unknown = {kind: corrupted(kind, *taught, X.iloc[test], y[test], rng) for kind in kinds}
    if len(outside):
        unknown["classes"] = X.iloc[outside]
    return judged(detector, X.iloc[test], unknown, CHOSEN[is_one])


def pooled_losses(X, y, seed):
    """Log loss of the default classifier for tables, and without a member, on rows held out."""
    asked = mock.Mock(wraps=_table.pooling_weights)
    with mock.patch.object(_table, "pooling_weights", asked):
        ood.TableClassifier(random_state=seed).fit(X, y)
    (log_p, codes, weight), how = asked.call_args
    found, each, pooled = {}, np.arange(len(codes)), np.empty(log_p.shape[1:])
    for left_out in ("nothing", *_table.LEAST):
        used = np.array([member != left_out for member in _table.LEAST])
        how["prior"] = _table.PRIOR_WEIGHTS[used]
        for part in (each % 2 == 0, each % 2 == 1):  # by the weights best for the other rows
            known = log_p[used][:, ~part], codes[~part], weight[~part]
            weights = _table.pooling_weights(*known, **how)
            pooled[part] = np.tensordot(weights, log_p[used][:, part], 1)
        found[f"without {left_out}"] = {"log loss": -log_softmax(pooled)[each, codes].mean()}
    return found


@lab.Experiment("parts", KNOWN, options="--rows 1000")
def parts(args, name, seed):
    """The default classifier for tables without its parts; and columns joined, for shares."""
    X, y = lab.some_pairs(*lab.frame(name), args.rows, seed)
    pair = X.iloc[:, :2].map(str).agg(" ".join, axis=1)
    joined = X.iloc[:, 2:].rename(columns=str).assign(pair=pair)
    found = pooled_losses(X, y, seed)
    for sure, shares in ((_table_shares.SURE, "shares"), (np.inf, "no shares")):
        with mock.patch.object(_table_shares, "SURE", sure):
            found[f"a pair, {shares}"] = pooled_losses(joined, y, seed)["without nothing"]
    return found


def image_members(net):
    """Everything that a candidate for images may consist of; ``net`` is trained."""
    conv, hidden = (partial(on_layer, net, layer=layer) for layer in ("conv", "hidden"))
    nearest = ood.NeighborDistance(max_samples=10_000, random_state=0)
    # A generative classifier that needs no calibration of its own.
    pca = ood.GenerativeClassifier(PCAGenerator(32), validation_fraction=0)
    return {
        "energy": rescored(net, score_function="energy"),
        "conv pca": conv(pca),
        "conv neighbors": conv(nearest),
        "conv neighbors, angle": conv(preprocessing.Normalizer(), nearest),
        "hidden neighbors": hidden(nearest),
        "pixel pca": pca,
        "pixel neighbors": nearest,
    }


@lab.Experiment("selection", ("mnist",), seeds=2, effort="--rows 30000", page="combined")
def selection(args, name, seed):
    """One split of the images; the members learn and are calibrated on different rows."""
    X, y = lab.some_rows(*lab.images(name), args.rows, 7)
    learn, judge = lab.left_out(y, seed, n_splits=2, random_state=5)
    judge = judge[: int(0.23 * len(X))]
    calibrate, learn = np.split(learn[: int(0.6 * len(X))], [int(0.1 * len(X))])
    seeded = {"input_shape": lab.IMAGE, "random_state": seed}
    net = ood.SoftmaxClassifier(max_epochs=5, lr_schedule="cosine", **seeded)
    net.fit(X[learn], y[learn])
    members = [("confidence", "classifier")]
    for label, member in image_members(net).items():
        members.append((label, FrozenEstimator(clone(member).fit(X[learn], y[learn]))))
    detector = ood.CombinedClassifier(FrozenEstimator(net), members, **seeded)
    detector.fit(X[calibrate], y[calibrate])
    log_p, truth = lab.members_of(detector, X[judge]), y[judge]
    inside, answers = np.isin(truth, y[learn]), detector.predict(X[judge])
    return {
        each: lab.measured(inside, lab.pooled(log_p, weighted(each)), truth, answers)
        for each in (*IMAGE_CANDIDATES, *log_p)
    }


if __name__ == "__main__":
    lab.main(__doc__, "member_selection")
