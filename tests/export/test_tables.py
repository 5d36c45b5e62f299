"""A table with text: one input a column, and everything behind it as in scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from sklearn_ood import (
    CombinedClassifier,
    SelectiveClassifier,
    TableClassifier,
    TableEncoder,
    to_onnx,
)
from sklearn_ood.export._comparison import feeds, run

pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")

N = 300
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "size": np.where(RNG.random(N) < 0.1, np.nan, 1e3 * RNG.normal(size=N)),
        "net weight": RNG.normal(size=N),
        "colour": RNG.choice(["red", 'a "green" one', "b\\c"], N),
        "is_new": RNG.random(N) < 0.5,
    }
)
Y = np.where((FRAME["net weight"] > 0) & (FRAME["colour"] != "red"), "no", "yes")
MISSING = FRAME.assign(colour=FRAME["colour"].where(RNG.random(N) > 0.1))
OF_MANY = MISSING.assign(town=np.char.add(Y, RNG.integers(40, size=N).astype(str)))
NUMBERS, TEXT = ["size", "net weight"], ["colour"]
FOREST = RandomForestClassifier(20, random_state=0)
FILLED = make_pipeline(SimpleImputer(), StandardScaler())
ISOLATED = make_pipeline(TableEncoder(), IsolationForest(n_estimators=5))


def columns(numbers, text, **options):
    return ColumnTransformer([("numbers", numbers, NUMBERS), ("text", text, TEXT)], **options)


def ordinal(**options):
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, **options)


@pytest.mark.parametrize(
    ("estimator", "frame"),
    [
        (make_pipeline(columns(SimpleImputer(), ordinal()), FOREST), FRAME),
        (
            make_pipeline(
                ColumnTransformer(
                    [("text", ordinal(), TEXT), ("numbers", "passthrough", NUMBERS)]
                ),
                HistGradientBoostingClassifier(categorical_features=[0], max_iter=20),
            ),
            FRAME,
        ),
        (
            make_pipeline(
                columns(
                    SimpleImputer(strategy="median"),
                    make_pipeline(
                        SimpleImputer(strategy="most_frequent"), OneHotEncoder(drop="first")
                    ),
                ),
                StandardScaler(),
                LogisticRegression(),
            ),
            MISSING,
        ),
        (make_pipeline(columns(FILLED, OneHotEncoder()), LogisticRegression()), MISSING),
        (make_pipeline(columns(FILLED, ordinal(encoded_missing_value=-2)), FOREST), MISSING),
        (make_pipeline(TableEncoder(), FOREST), MISSING),
        (TableClassifier(20, random_state=0), MISSING),
        (TableClassifier(20, random_state=0), OF_MANY),
    ],
    ids=[
        "ordinal",
        "boosting",
        "filled",
        "missing one hot",
        "codes",
        "encoder",
        "table",
        "a column of many categories",
    ],
)
def test_a_table_with_text_is_one_graph(estimator, frame):
    model = SelectiveClassifier(estimator, coverage=0.9, random_state=0).fit(frame, Y)
    graph = to_onnx(model, X=frame)
    assert [each.name for each in graph.graph.input] == list(frame.columns)
    label, proba, score, accepted = run(graph, feeds(frame))
    np.testing.assert_allclose(proba, model.predict_proba(frame), atol=1e-6)
    np.testing.assert_allclose(score, model.score_samples(frame), atol=1e-6)
    sure = np.abs(score - model.threshold_) > 1e-6
    np.testing.assert_array_equal(label[sure], model.predict(frame)[sure])
    np.testing.assert_array_equal(accepted[sure], model.accept(frame)[sure])


def test_the_default_combination_is_one_graph():
    """To label, probabilities, p-value, confidence and accepted, with new and missing cells."""
    combined = CombinedClassifier(TableClassifier(10), calibration=60, random_state=0)
    model = SelectiveClassifier(combined, coverage=0.9, random_state=0).fit(MISSING, Y)
    graph = to_onnx(model, X=MISSING)
    odd = MISSING.head(60).assign(colour="purple")
    odd.loc[:9, "size"], odd.loc[10:19, "net weight"], odd.loc[20:29, "colour"] = (
        np.nan,
        9,
        None,
    )
    rows = pd.concat([MISSING, odd], ignore_index=True)
    names = [each.name for each in graph.graph.output]
    given = dict(zip(names, run(graph, feeds(rows)), strict=True))
    combined = model.estimator_
    np.testing.assert_allclose(given["probabilities"], model.predict_proba(rows), atol=1e-4)
    np.testing.assert_allclose(given["confidence"], combined.confidence(rows), atol=1e-4)
    # A row that calibrated may lie on a step: trees' votes are added in float32.
    apart, step = (
        np.abs(given["p_value"] - combined.p_values(rows)),
        1 / (combined.n_calibration_ + 1),
    )
    assert apart.max() <= 1.01 * step
    assert (apart > 1e-4).mean() < 0.02
    sure = np.abs(given["score"] - model.threshold_) > 1e-4
    np.testing.assert_array_equal(given["label"][sure], model.predict(rows)[sure])
    np.testing.assert_array_equal(given["accepted"][sure], model.accept(rows)[sure])
    assert 0 < given["accepted"].mean() < 1
    assert given["p_value"][-60:].mean() < given["p_value"][:-60].mean()


def test_a_new_category_is_what_python_makes_of_it():
    new = FRAME.head(20).assign(colour="purple")
    for text, refuses in (
        (OneHotEncoder(handle_unknown="ignore"), False),
        (OneHotEncoder(), True),
    ):
        model = make_pipeline(columns(FILLED, text), FOREST).fit(FRAME, Y)
        _, proba, _, accepted = run(to_onnx(model, X=FRAME), feeds(new))
        assert (~accepted).all() == refuses
        if not refuses:
            np.testing.assert_allclose(proba, model.predict_proba(new), atol=1e-6)


def test_text_needs_rows_of_the_table():
    model = make_pipeline(columns(FILLED, OneHotEncoder()), FOREST).fit(FRAME, Y)
    with pytest.raises(TypeError, match="pass some rows of the table as X"):
        to_onnx(model)


def test_numbers_alone_are_one_input():
    rows = FRAME[NUMBERS].fillna(0)
    steps = ColumnTransformer([("first", StandardScaler(), [1])], remainder="passthrough")
    model = make_pipeline(steps, FOREST).fit(rows, Y)
    graph = to_onnx(model, X=rows)
    assert [each.name for each in graph.graph.input] == ["X"]
    _, proba, *_ = run(graph, {"X": rows.to_numpy()})
    np.testing.assert_allclose(proba, model.predict_proba(rows), atol=1e-7)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (
            CombinedClassifier(members=[("trees", ISOLATED)]),
            "In the member 'trees': Got IsolationForest",
        ),
        (
            make_pipeline(columns(FILLED, OneHotEncoder(min_frequency=200)), FOREST),
            "infrequent",
        ),
    ],
    ids=["density", "infrequent"],
)
def test_a_part_without_a_form_is_named(estimator, message):
    with pytest.raises(TypeError, match=message):
        to_onnx(estimator.fit(FRAME, Y), X=FRAME)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("dtype", ["string", object])
def test_a_missing_text_is_an_empty_one(missing, dtype):
    frame = pd.DataFrame({"a": pd.Series(["x", missing], dtype=dtype)})
    assert feeds(frame)["a"].tolist() == [["x"], [""]]
