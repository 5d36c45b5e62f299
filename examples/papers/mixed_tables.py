"""Tables as people have them: the defaults for tables, beside what people would pick.

``known`` compares ``TableClassifier`` with what it is made of and might be made of, each by
itself on the same rows: at most ``--rows`` random rows teach, at most 4,000 others test. The
area under the risk-coverage curve (AURC) ranks by the largest probability. Anomaly tables are
read as two classes, wine as three grades. The seconds are those of the processor.

``left-out`` compares ``TableDensity`` with a Gaussian mixture a class and the nearest row, both
on a ``TableEncoder``: AUROC of rows of the classes left out; the same where 20 % more of the
test's cells are blank, and the share of known rows accepted then; the share accepted with a new
category in the column where that is worst, and in all. Without any, 95 % are accepted.

``promise`` compares ``CombinedClassifier(random_state=seed)``, where every row is of a known
class, with the largest probability of what people would pick, and of its own classifier. Half
of each table trains, at most ``--rows`` rows; of the others two fifths as many calibrate the
promise, and at most 5,000 test. What takes no frames sees categories as indicators and numbers
standardised. ``risk`` is 1.5 times the error rate of the combination on the calibrating rows,
the same for all; ``coverage`` is what :class:`SelectiveClassifier` then answers, 0 where it can
promise nothing (``delta=0.05``), and ``risk`` what is wrong of it.

    python examples/papers/mixed_tables.py known
    python examples/papers/mixed_tables.py left-out
    python examples/papers/mixed_tables.py promise
"""

import warnings
from functools import partial
from time import process_time

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import lab
from lab import Experiment, data
from sklearn_ood import (
    CombinedClassifier,
    GenerativeClassifier,
    NeighborDistance,
    SelectiveClassifier,
    TableClassifier,
    TableDensity,
    TableEncoder,
)
from sklearn_ood.metrics import aurc_score, auroc

TWO_CLASSES = (
    *("Cardiotocography", "Pima", "campaign", "landsat", "mammography", "satimage-2"),
    *("shuttle", "thyroid", "yeast"),
)
CLASSES = (*data.FRAMES, *lab.CLASS_TABLES, "wine_quality", *TWO_CLASSES)
TABLES = (*CLASSES, "WDBC", "skin", "vertebral")
KNOWN = (*CLASSES, "breastw", "celeba", "cover")
LEFT_OUT = ("soybean", "segment", "hypothyroid", *lab.CLASS_TABLES)
MAX_TEST_ROWS, MAX_JUDGED_ROWS, ACCEPTED, BLANK = 4000, 5000, 0.95, 0.2
SHARES = {"aurc_none": 0.0, "aurc_twentieth": 0.05, "aurc_half": 0.5}
ROWS = "--rows 3000"


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


@Experiment("known", TABLES, options=ROWS)
def known(args, name, seed):
    """Accuracy, AURC and log loss of every classifier on one split."""
    X, y = frame(name)
    order = np.random.RandomState(seed).permutation(len(X))
    n_taught = min(args.rows, int(0.7 * len(X)))
    taught, test = order[:n_taught], order[n_taught : n_taught + MAX_TEST_ROWS]
    found = {}
    models = singles(seed) | {"default": TableClassifier(random_state=seed)}
    for label, model in models.items():
        _, seconds = lab.timed(partial(model.fit, X.iloc[taught], y[taught]), process_time)
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


@Experiment("left_out", LEFT_OUT, seeds=5, options=ROWS)
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
        _, seconds = lab.timed(partial(model.fit, X.iloc[taught], y[taught]), process_time)
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


def standardised(model):
    """The model behind numbers and indicators, standardised."""
    numbers = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    indicators = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (indicators, make_column_selector(dtype_exclude="number")),
    )
    return make_pipeline(columns, model)


def popular(seed):
    """What people would pick."""
    return {
        "gradient boosting": standardised(HistGradientBoostingClassifier(random_state=seed)),
        "random forest": standardised(RandomForestClassifier(200, random_state=seed)),
        "extra trees": standardised(ExtraTreesClassifier(200, random_state=seed)),
        "net": standardised(MLPClassifier(early_stopping=True, random_state=seed)),
        "logistic regression": standardised(LogisticRegression(max_iter=500)),
    }


def promised(model, risk, rows, labels, X, y):
    """What is answered, and how much of it wrongly, where at most ``risk`` may be wrong."""
    selective = SelectiveClassifier(FrozenEstimator(model), risk=risk)
    try:
        selective.fit(rows, labels)
    except ValueError:  # no threshold can promise it
        return {"coverage": 0.0, "risk": 0.0}
    accepted = selective.accept(X)
    wrong = selective.answers(X)[accepted] != y[accepted]
    return {"coverage": accepted.mean(), "risk": wrong.mean() if len(wrong) else 0.0}


@Experiment("known rows", KNOWN, seeds=3, options="--rows 2000", page="selective_tables")
def promise(args, name, seed):
    """Who ranks its own mistakes best, and what a promise costs, on one split."""
    X, y = lab.frame(name)
    n = min(args.rows, len(X) // 2)
    order = np.random.RandomState(seed).permutation(len(X))[: n + 2 * n // 5 + MAX_JUDGED_ROWS]
    parts = np.split(order, [n, n + 2 * n // 5])
    train, calibrate, (X, y) = ((X.iloc[part], y[part]) for part in parts)
    combined, seconds = lab.timed(lambda: CombinedClassifier(random_state=seed).fit(*train))
    models = {"combined": combined, "its probability": combined.classifier_}
    models |= {name: model.fit(*train) for name, model in popular(seed).items()}
    risk = max(1.5 * (1 - combined.score(*calibrate)), 1 / len(order))
    scores = {}
    for label, model in models.items():
        answers, ranks = model.predict(X), model.predict_proba(X).max(axis=1)
        ranks = combined.confidence(X) if model is combined else ranks
        scores[label] = {
            "aurc": aurc_score(y, answers, ranks),
            "accuracy": (answers == y).mean(),
            "wrong": (answers != y).sum(),
        } | promised(model, risk, *calibrate, X, y)
    answers = combined.predict(X)
    for metric, share in SHARES.items():
        ranks = combined.set_params(outlier_share=share).confidence(X)
        scores["combined"][metric] = aurc_score(y, answers, ranks)
    scores["combined"] |= {"fit seconds": seconds, "promise": risk}
    return scores


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    lab.main(__doc__, "mixed_tables")
