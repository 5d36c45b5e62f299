"""Tables as people have them: the default classifier and the density, beside single ones.

    python examples/papers/mixed_tables.py known       # every class is taught
    python examples/papers/mixed_tables.py left-out    # 30 % of the classes are not

``known`` compares ``TableClassifier`` with what it is made of and might be made of, each by
itself on the same rows: at most ``--rows`` random rows teach, at most 4,000 others test. The
area under the risk-coverage curve (AURC) ranks by the largest probability. Anomaly tables are
read as two classes, wine as three grades. The seconds are those of the processor.

``left-out`` compares ``TableDensity`` with a Gaussian mixture a class and the nearest row, both
on a ``TableEncoder``: AUROC of rows of the classes left out; the same where 20 % more of the
test's cells are blank, and the share of known rows accepted then; the share accepted with a new
category in the column where that is worst, and in all. Without any, 95 % are accepted.
"""

import time
import warnings

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

import lab
from lab import data
from sklearn_ood import (
    GenerativeClassifier,
    NeighborDistance,
    TableClassifier,
    TableDensity,
    TableEncoder,
)
from sklearn_ood.metrics import aurc_score, auroc

ANOMALIES = (
    *("Cardiotocography", "mammography", "thyroid", "yeast", "Pima", "campaign"),
    *("landsat", "skin", "satimage-2", "shuttle", "WDBC", "vertebral"),
)
TABLES = (*data.FRAMES, *lab.CLASS_TABLES, "wine_quality", *ANOMALIES)
LEFT_OUT = ("soybean", "segment", "hypothyroid", *lab.CLASS_TABLES)
MAX_TEST_ROWS, ACCEPTED, BLANK, ROWS = 4000, 0.95, 0.2, "--rows 3000"


def frame(name):
    """A table without empty columns, and its labels."""
    X, y = lab.frame(name)
    return X.dropna(axis=1, how="all"), y


def singles(seed):
    """One classifier each; boosting and trees read categories as numbers of their own."""
    text = make_column_selector(dtype_exclude="number")
    places = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)

    def placed(estimator):
        coded = make_column_transformer((places, text), remainder="passthrough")
        return make_pipeline(coded, estimator)

    options = {"random_state": seed}
    return {
        "boosting": placed(HistGradientBoostingClassifier(**options)),
        "extra trees": placed(ExtraTreesClassifier(200, **options)),
        "random forest": placed(RandomForestClassifier(200, **options)),
        "net": make_pipeline(TableEncoder(), MLPClassifier((128,), max_iter=60, **options)),
        "logistic regression": make_pipeline(TableEncoder(), LogisticRegression(max_iter=300)),
    }


def fitted(model, X, y):
    """Seconds of the processor that a fit takes."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    return time.process_time() - start


@lab.Experiment("known", TABLES, options=ROWS)
def known(args, name, seed):
    """Accuracy, AURC and log loss of every classifier on one split."""
    X, y = frame(name)
    order = np.random.RandomState(seed).permutation(len(X))
    n_taught = min(args.rows, int(0.7 * len(X)))
    taught, test = order[:n_taught], order[n_taught : n_taught + MAX_TEST_ROWS]
    found = {}
    models = singles(seed) | {"default": TableClassifier(random_state=seed)}
    for label, model in models.items():
        seconds = fitted(model, X.iloc[taught], y[taught])
        proba, truth = model.predict_proba(X.iloc[test]), y[test]
        answers = model.classes_[proba.argmax(axis=1)]
        of_truth = (proba * (truth[:, None] == model.classes_)).sum(axis=1)
        found[label] = {
            "accuracy": (answers == truth).mean(),
            "aurc": aurc_score(truth, answers, proba.max(axis=1)),
            "log loss": -np.log(np.maximum(of_truth, 1e-6)).mean(),
            "fit seconds": seconds,
        }
    return found


@lab.Experiment("left_out", LEFT_OUT, seeds=5, options=ROWS)
def left_out(args, name, seed):
    """Unknown classes, blank cells and new categories, for every density on one split."""
    X, y = lab.some_pairs(*frame(name), args.rows, seed)
    taught, test = lab.left_out(y, seed)
    is_in, X_test = np.isin(y[test], y[taught]), X.iloc[test]
    blank = X_test.mask(np.random.RandomState(seed).rand(*X_test.shape) < BLANK)
    columns = list(X.select_dtypes(exclude="number"))
    mixture = GenerativeClassifier("gmm", validation_fraction=0, random_state=seed)
    models = {
        "TableDensity": TableDensity(random_state=seed),
        "Gaussian mixture a class": make_pipeline(TableEncoder(), mixture),
        "nearest row": make_pipeline(TableEncoder(), NeighborDistance()),
    }
    found = {}
    for label, model in models.items():
        seconds = fitted(model, X.iloc[taught], y[taught])
        scores, blanked = model.score_samples(X_test), model.score_samples(blank)
        threshold = np.quantile(scores[is_in], 1 - ACCEPTED)

        def accepted(rows, model=model, threshold=threshold):
            return (model.score_samples(rows[is_in]) >= threshold).mean()

        found[label] = {
            "auroc": auroc(is_in, scores),
            "auroc, blank": auroc(is_in, blanked),
            "accepted, blank": accepted(blank),
            "fit seconds": seconds,
        }
        if columns:
            new = [accepted(X_test.assign(**{each: "new"})) for each in columns]
            everywhere = X_test.assign(**dict.fromkeys(columns, "new"))
            found[label] |= {"accepted, one new": min(new)}
            found[label] |= {"accepted, all new": accepted(everywhere)}
    return found


if __name__ == "__main__":
    lab.main(__doc__, "mixed_tables")
