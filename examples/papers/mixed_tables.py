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
promise nothing (``delta=0.05``), and ``risk`` what is wrong of it. MAPIE makes the same promise
around the combination's classifier; scikit-fallback promises nothing, and answers as large a
share by a random forest. Both are there where they are installed.

    python examples/papers/mixed_tables.py known
    python examples/papers/mixed_tables.py left-out
    python examples/papers/mixed_tables.py promise
"""

import warnings
from importlib.util import find_spec
from time import process_time

import numpy as np
from sklearn import ensemble
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import lab
import sklearn_ood as ood
from sklearn_ood.metrics import aurc_score, auroc

TWO_CLASSES = (
    *("Cardiotocography", "Pima", "campaign", "landsat", "mammography", "satimage-2"),
    *("shuttle", "thyroid", "yeast"),
)
CLASSES = (*lab.data.FRAMES, *lab.CLASS_TABLES, "wine_quality", *TWO_CLASSES)
TABLES = (*CLASSES, "WDBC", "skin", "vertebral")
KNOWN = (*CLASSES, "breastw", "celeba", "cover")
LEFT_OUT = ("soybean", "segment", "hypothyroid", *lab.CLASS_TABLES)
SHARES = {"aurc_none": 0.0, "aurc_twentieth": 0.05, "aurc_half": 0.5}
ROWS, DELTA = "--rows 3000", 0.05
NUMBERS = make_column_selector(dtype_include="number")
TEXT = make_column_selector(dtype_exclude="number")


def frame(name):
    """A table without empty columns, and its labels."""
    X, y = lab.frame(name)
    return X.dropna(axis=1, how="all"), y


def trees(seed):
    """Boosting and forests."""
    options = {"random_state": seed}
    return {
        "boosting": ensemble.HistGradientBoostingClassifier(**options),
        "extra trees": ensemble.ExtraTreesClassifier(200, **options),
        "random forest": ensemble.RandomForestClassifier(200, **options),
    }


def singles(seed):
    """One classifier each; boosting and trees read categories as numbers of their own."""
    places = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    placed = make_column_transformer((places, TEXT), remainder="passthrough")
    net = MLPClassifier((128,), max_iter=60, random_state=seed)
    others = {"net": net, "logistic regression": LogisticRegression(max_iter=300)}
    found = {name: make_pipeline(placed, each) for name, each in trees(seed).items()}
    return found | {k: make_pipeline(ood.TableEncoder(), each) for k, each in others.items()}


@lab.Experiment("known", TABLES, seeds=3, options=ROWS)
def known(args, name, seed):
    """Accuracy, AURC and log loss of every classifier on one split."""
    X, y = frame(name)
    order = np.random.RandomState(seed).permutation(len(X))
    n_taught = min(args.rows, int(0.7 * len(X)))
    taught, test = order[:n_taught], order[n_taught:][:4000]
    found = {}
    models = singles(seed) | {"default": ood.TableClassifier(random_state=seed)}
    for label, model in models.items():
        _, seconds = lab.timed(model.fit, X.iloc[taught], y[taught], clock=process_time)
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
    blank = X_test.mask(np.random.RandomState(seed).rand(*X_test.shape) < 0.2)
    columns, known = list(X.select_dtypes(exclude="number")), X_test[is_in]
    new = [[each] for each in columns] + [columns] * bool(columns)
    mixture = ood.GenerativeClassifier("gmm", validation_fraction=0, random_state=seed)
    found = {}
    for label, model in {
        "TableDensity": ood.TableDensity(random_state=seed),
        "Gaussian mixture a class": make_pipeline(ood.TableEncoder(), mixture),
        "nearest row": make_pipeline(ood.TableEncoder(), ood.NeighborDistance()),
    }.items():
        _, seconds = lab.timed(model.fit, X.iloc[taught], y[taught], clock=process_time)
        scores, blanked = model.score_samples(X_test), model.score_samples(blank)
        threshold = np.quantile(scores[is_in], 0.05)
        found[label] = {
            "auroc": auroc(is_in, scores),
            "auroc, blank": auroc(is_in, blanked),
            "accepted, blank": (blanked[is_in] >= threshold).mean(),
            "fit seconds": seconds,
        }
        if new:
            asked = (model.score_samples(known.assign(**dict.fromkeys(k, "new"))) for k in new)
            *one, everywhere = ((each >= threshold).mean() for each in asked)
            found[label] |= {"accepted, one new": min(one), "accepted, all new": everywhere}
    return found


def popular(seed):
    """What people would pick, behind numbers and indicators, standardised."""
    numbers = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    indicators = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer((numbers, NUMBERS), (indicators, TEXT))
    models = trees(seed)
    models["gradient boosting"] = models.pop("boosting")
    models["net"] = MLPClassifier(early_stopping=True, random_state=seed)
    models["logistic regression"] = LogisticRegression(max_iter=500)
    return {name: make_pipeline(columns, model) for name, model in models.items()}


def promised(model, risk, rows, labels, X, y):
    """What is answered, and how much of it wrongly, where at most ``risk`` may be wrong."""
    selective = ood.SelectiveClassifier(FrozenEstimator(model), risk=risk, delta=DELTA)
    try:
        selective.fit(rows, labels)
    except ValueError:  # no threshold can promise it
        return {"coverage": 0.0, "risk": 0.0}
    return answered(selective.answers(X), selective.accept(X), y)


def by_others(own, forest, risk, share, train, calibrate, X, y):
    """What MAPIE answers under the promise, and scikit-fallback of as large a share."""
    found = {}
    if find_spec("mapie"):
        accepted = own.predict_proba(X).max(axis=1) >= mapie_threshold(own, risk, *calibrate)
        found["MAPIE"] = answered(own.predict(X), accepted, y)
    if find_spec("skfb"):
        from skfb.estimators import RateFallbackClassifierCV

        columns = forest[:-1].fit(train[0])  # it takes no frames
        rate = RateFallbackClassifierCV(forest[-1], fallback_rate=1 - share, cv=2)
        answers = rate.fit(columns.transform(train[0]), train[1]).predict(columns.transform(X))
        accepted, answers = ~answers.get_dense_fallback_mask(), np.asarray(answers)
        found["scikit-fallback"] = answered(answers, accepted, y)
    return found


def mapie_threshold(model, risk, X, y):
    """The least on the probability with which MAPIE promises the risk; else none is above."""
    from mapie.risk_control import BinaryRisk, MultiClassificationLTTController

    error = BinaryRisk(lambda y, answers: y != answers, lambda y, answers: answers >= 0, False)
    options = {"confidence_level": 1 - DELTA, "classes": np.arange(len(model.classes_))}
    promise = model.predict_proba, [error], [risk]
    controller = MultiClassificationLTTController(*promise, **options)
    known = np.isin(y, model.classes_)  # it refuses other labels
    controller.calibrate(X[known], np.searchsorted(model.classes_, y[known]))
    return np.min(controller.valid_predict_params, initial=np.inf)


def answered(answers, accepted, y):
    """Which share is, and how much of it wrongly."""
    wrong = (answers != y)[accepted]
    return {"coverage": accepted.mean(), "risk": wrong.mean() if len(wrong) else 0.0}


@lab.Experiment("known rows", KNOWN, seeds=5, options="--rows 2000", page="selective_tables")
def promise(args, name, seed):
    """Who ranks its own mistakes best, and what a promise costs, on one split."""
    X, y = lab.frame(name)
    n = min(args.rows, len(X) // 2)
    order = np.random.RandomState(seed).permutation(len(X))[: n + 2 * n // 5 + 5000]
    parts = np.split(order, [n, n + 2 * n // 5])
    train, calibrate, (X, y) = ((X.iloc[part], y[part]) for part in parts)
    combined = ood.CombinedClassifier(random_state=seed).fit(*train)
    models = {"combined": combined, "its probability": combined.classifier_}
    models |= {name: model.fit(*train) for name, model in popular(seed).items()}
    risk = max(1.5 * (1 - combined.score(*calibrate)), 1 / len(order))
    scores = {}
    for label, model in models.items():
        answers, ranks = model.predict(X), model.predict_proba(X).max(axis=1)
        ranks = combined.confidence(X) if model is combined else ranks
        accuracy = {"accuracy": (answers == y).mean(), "wrong": (answers != y).sum()}
        scores[label] = accuracy | {"aurc": aurc_score(y, answers, ranks)}
        scores[label] |= promised(model, risk, *calibrate, X, y)
    scores["combined"] |= lab.aurc_by_share(combined, X, y, SHARES)
    own, forest = combined.classifier_, popular(seed)["random forest"]
    share = scores["combined"]["coverage"]
    return scores | by_others(own, forest, risk, share, train, calibrate, X, y)


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    lab.main(__doc__, "mixed_tables")
