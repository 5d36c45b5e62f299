"""Tables with known rows only: who ranks its own mistakes best, and what a promise costs.

``CombinedClassifier(random_state=seed)`` beside the largest probability of what people would
pick, and of its own classifier. Half of each table trains, at most ``--rows`` rows; of the
others two fifths as many calibrate the promise, and at most 5,000 test. What takes no frames
sees categories as indicators and numbers standardised; ADBench's tables are read as two
classes.

    python examples/papers/selective_tables.py known                # all tables, three splits
    python examples/papers/selective_tables.py known --rows 500     # fewer rows that train

``risk`` is 1.5 times the error rate of the combination on the calibrating rows, the same for
all; ``coverage`` is what :class:`SelectiveClassifier` then answers, 0 where it can promise
nothing (``delta=0.05``), and ``risk`` what is wrong of it.
"""

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import lab
from sklearn_ood import CombinedClassifier, SelectiveClassifier
from sklearn_ood.metrics import aurc_score

MIXED = ("credit_g", "horse_colic", "hypothyroid", "phoneme", "segment", "soybean")
CLASSES = ("dry_bean", "letter_recognition", "pendigits_multiclass", "wine_quality")
TWO_CLASSES = (
    *("Cardiotocography", "Pima", "breastw", "campaign", "celeba", "cover", "landsat"),
    *("mammography", "satimage-2", "shuttle", "thyroid", "yeast"),
)
MAX_TEST_ROWS = 5000
SHARES = {"aurc_none": 0.0, "aurc_twentieth": 0.05, "aurc_half": 0.5}


def encoded(model):
    """The model behind numbers and indicators, standardised."""
    numbers = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    indicators = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (indicators, make_column_selector(dtype_exclude="number")),
    )
    return make_pipeline(columns, model)


def peers(seed):
    """What people would pick."""
    return {
        "gradient boosting": encoded(HistGradientBoostingClassifier(random_state=seed)),
        "random forest": encoded(RandomForestClassifier(200, random_state=seed)),
        "extra trees": encoded(ExtraTreesClassifier(200, random_state=seed)),
        "net": encoded(MLPClassifier(early_stopping=True, random_state=seed)),
        "logistic regression": encoded(LogisticRegression(max_iter=500)),
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


@lab.Experiment("known rows", MIXED + CLASSES + TWO_CLASSES, seeds=3, options="--rows 2000")
def known(args, name, seed):
    """One split of a table."""
    X, y = lab.frame(name)
    n = min(args.rows, len(X) // 2)
    order = np.random.RandomState(seed).permutation(len(X))[: n + 2 * n // 5 + MAX_TEST_ROWS]
    parts = np.split(order, [n, n + 2 * n // 5])
    train, calibrate, (X, y) = ((X.iloc[part], y[part]) for part in parts)
    combined, seconds = lab.timed(lambda: CombinedClassifier(random_state=seed).fit(*train))
    models = {"combined": combined, "its probability": combined.classifier_}
    models |= {name: model.fit(*train) for name, model in peers(seed).items()}
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
    lab.main(__doc__, "selective_tables")
