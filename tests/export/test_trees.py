"""Trees in a graph say what scikit-learn's say, with NaN and with categories."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier

from sklearn_ood import SelectiveClassifier, to_onnx
from sklearn_ood.export._comparison import run
from sklearn_ood.export._flow import Flow, Parts
from sklearn_ood.export._trees import tree_probabilities

pytest.importorskip("onnxruntime")

X, Y = load_breast_cancer(return_X_y=True)
RNG = np.random.default_rng(0)
WITH_NAN = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
KINDS = np.where(RNG.random(len(X)) < 0.1, np.nan, RNG.integers(0, 9, len(X)) * 1.5)
THREE = np.nan_to_num(KINDS).astype(int) % 3
CATEGORIES = np.column_stack([X[:, :3], KINDS, RNG.integers(3, 7, len(X))])
SMALL = {"max_iter": 20, "random_state": 0}


def flow_of(rows):
    return Flow(torch.tensor(rows), Parts(), [None] * rows.shape[1])


@pytest.mark.parametrize(
    ("estimator", "rows", "y"),
    [
        (RandomForestClassifier(20, random_state=0), X, Y),
        (ExtraTreesClassifier(20, min_samples_leaf=3, random_state=0), WITH_NAN, THREE),
        (DecisionTreeClassifier(random_state=0), WITH_NAN, Y),
        (HistGradientBoostingClassifier(**SMALL), WITH_NAN, Y),
        (HistGradientBoostingClassifier(**SMALL), WITH_NAN, THREE),
        (HistGradientBoostingClassifier(categorical_features=[3, 4], **SMALL), CATEGORIES, Y),
        (HistGradientBoostingClassifier(categorical_features=[3], **SMALL), CATEGORIES, THREE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_trees_say_the_same(estimator, rows, y):
    estimator.fit(rows, y)
    strange = np.concatenate([rows, rows[:60] + 0.3, rows[:60] * 1e6])  # unknown categories
    given = tree_probabilities(estimator, flow_of(strange)).numpy()
    np.testing.assert_allclose(given, estimator.predict_proba(strange), atol=1e-7)


@pytest.mark.parametrize(("kind", "missing"), [("text", 0.2), ("numbers", 0.2), ("truth", 0)])
def test_boosting_of_declared_categories(kind, missing):
    names = {"text": list("dabc"), "numbers": [7, 3, 5, 9], "truth": [True, False]}[kind]
    rng = np.random.default_rng(0)
    cells = pd.Series(rng.choice(names, len(X))).mask(rng.random(len(X)) < missing)
    frame = pd.DataFrame({"size": X[:, 0], "kind": cells.astype("category")})
    y = Y ^ (cells == names[0]).to_numpy()
    model = HistGradientBoostingClassifier(**SMALL).fit(frame, y)
    rows = frame[:40]  # the graph is tried on
    text = frame["kind"].astype(object).map(str, na_action="ignore").fillna("")
    feeds = {"size": X[:, :1], "kind": text.to_numpy(dtype=object)[:, None]}
    if kind != "text":
        feeds = {"X": frame.astype(float).to_numpy()}
    label, proba, *_ = run(to_onnx(model, X=rows), feeds)
    np.testing.assert_array_equal(label, model.predict(frame))
    np.testing.assert_allclose(proba, model.predict_proba(frame), atol=1e-7)


def test_a_forest_that_may_refuse():
    forest = RandomForestClassifier(20, random_state=0)
    model = SelectiveClassifier(forest, coverage=0.9, random_state=0).fit(X, Y)
    label, proba, score, accepted = run(to_onnx(model, X=X), {"X": X})
    np.testing.assert_array_equal(label, model.predict(X))
    np.testing.assert_array_equal(accepted, model.accept(X))
    np.testing.assert_allclose(proba, model.predict_proba(X), atol=1e-7)
    np.testing.assert_allclose(score, model.score_samples(X), atol=1e-7)
    assert 0 < accepted.mean() < 1


def test_what_has_no_trees_is_none_of_them():
    assert tree_probabilities(object(), flow_of(X)) is None
