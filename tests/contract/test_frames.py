"""Frames of pandas and polars in, categorical targets among them, and frames out."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import (
    CombinedClassifier,
    DAEConfidence,
    DriftMonitor,
    GenerativeClassifier,
    GeValDi,
    NeighborDistance,
    NetFeatures,
    NoveltyDetector,
    RejectClassifier,
    SelectiveClassifier,
    SoftmaxClassifier,
    TableDensity,
    TableEncoder,
)
from sklearn_ood.combined._columns import ClassWhitening, ColumnRanks
from sklearn_ood.generators import GaussianMixtureGenerator
from sklearn_ood.inspection import churn_report
from sklearn_ood.metrics import (
    aurc_score,
    bootstrap_interval,
    selective_report,
    selective_scorer,
)
from sklearn_ood.model_selection import LeaveClassesOut

pl = pytest.importorskip("polars")

NET = {"max_epochs": 5, "lr": 1e-2, "hidden_layer_sizes": (8,), "random_state": 0}
COLUMNS = ["sepal length", "sepal width", "petal length", "petal width"]
X, CODES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[CODES]
INDEX = 7 + 3 * np.arange(len(X))
FRAMES = {
    "pandas": pd.DataFrame(X, columns=COLUMNS, index=INDEX),
    "polars": pl.DataFrame(X, schema=COLUMNS),
}
UNSORTED = ["virginica", "setosa", "versicolor"]
NAMED_TARGETS = {
    "pandas category": pd.Series(pd.Categorical(NAMES, categories=UNSORTED), index=INDEX),
    "pandas Categorical": pd.Categorical(NAMES, categories=[*UNSORTED, "never seen"]),
    "pandas string": pd.Series(NAMES, dtype="string"),
    "polars Categorical": pl.Series(NAMES.tolist()).cast(pl.Categorical),
    "polars Enum": pl.Series(NAMES.tolist()).cast(pl.Enum(UNSORTED)),
    "polars String": pl.Series(NAMES.tolist()),
}
NUMBERED_TARGETS = {
    "pandas category": pd.Series(pd.Categorical(CODES)),
    "pandas Int64": pd.Series(CODES, dtype="Int64"),
    "polars Int64": pl.Series(CODES),
}
ESTIMATORS = [
    SoftmaxClassifier(**NET),
    DAEConfidence(**NET),
    GenerativeClassifier("pca", random_state=0),
    NeighborDistance(),
    CombinedClassifier(
        LogisticRegression(),
        [("neighbors", NeighborDistance()), ("own", "classifier")],
        random_state=0,
    ),
    GeValDi(
        [
            ("net", SoftmaxClassifier(**NET)),
            ("pca", GenerativeClassifier("pca", random_state=0)),
        ],
        generator=GaussianMixtureGenerator(1),
        random_state=0,
    ),
    SelectiveClassifier(SoftmaxClassifier(**NET), coverage=0.9, random_state=0),
    NoveltyDetector(GenerativeClassifier("pca", random_state=0), random_state=0),
    NetFeatures(SoftmaxClassifier(**NET)),
]
METHODS = [
    "predict",
    "predict_proba",
    "decision_function",
    "score_samples",
    "accept",
    "p_values",
    "transform",
]


def by_name(estimator):
    return type(estimator).__name__


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=by_name)
def test_names_are_kept_and_checked_and_change_no_answer(estimator, kind):
    frame = FRAMES[kind]
    fitted = clone(estimator).fit(frame, NAMES)
    assert fitted.feature_names_in_.tolist() == COLUMNS
    plain = clone(estimator).fit(X, NAMES)
    for method in filter(lambda name: hasattr(fitted, name), METHODS):
        answer = getattr(fitted, method)(frame)
        assert isinstance(answer, np.ndarray)
        np.testing.assert_array_equal(answer, getattr(plain, method)(X))
        with pytest.raises(ValueError, match="feature names"):
            getattr(fitted, method)(frame[COLUMNS[::-1]])


@pytest.mark.parametrize("target", NAMED_TARGETS)
@pytest.mark.parametrize("estimator", ESTIMATORS[:-2], ids=by_name)
def test_categorical_targets_are_their_names(estimator, target):
    kind = target.split()[0]
    fitted = clone(estimator).fit(FRAMES[kind], NAMED_TARGETS[target])
    assert fitted.classes_.tolist() == sorted(UNSORTED)
    expected = clone(estimator).fit(X, NAMES)
    np.testing.assert_array_equal(fitted.predict(FRAMES[kind]), expected.predict(X))


@pytest.mark.parametrize("target", NUMBERED_TARGETS)
def test_numbered_targets_stay_numbers(target):
    fitted = SelectiveClassifier(SoftmaxClassifier(**NET), coverage=0.9, random_state=0)
    fitted.fit(FRAMES[target.split()[0]], NUMBERED_TARGETS[target])
    assert fitted.classes_.tolist() == [0, 1, 2]
    assert fitted.reject_label_ == -1


@pytest.mark.parametrize("out", ["pandas", "polars"])
def test_features_come_out_as_a_frame_with_the_rows_index(out):
    features = NetFeatures(SoftmaxClassifier(**NET)).set_output(transform=out)
    frame = features.fit(FRAMES[out], NAMES).transform(FRAMES[out])
    assert type(frame) is type(FRAMES[out])
    assert list(frame.columns) == features.get_feature_names_out().tolist()
    if out == "pandas":
        assert frame.index.equals(FRAMES[out].index)


@pytest.mark.parametrize("out", ["pandas", "polars"])
@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_that_scikit_learn_is_told_to_make_change_no_score(kind, out):
    steps = make_pipeline(TableEncoder(), ColumnRanks(20), ClassWhitening(), NeighborDistance())
    members = [("near", steps), ("mixture", TableDensity())]
    combined = CombinedClassifier(LogisticRegression(max_iter=500), members, random_state=0)
    expected = combined.fit(FRAMES[kind], NAMES).score_samples(FRAMES[kind])
    with config_context(transform_output=out):
        found = combined.fit(FRAMES[kind], NAMES).score_samples(FRAMES[kind])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("target", ["pandas category", "polars Categorical", "polars Enum"])
def test_outliers_ride_along_in_frames(target):
    """The label of the outliers is one of the categories; scorers and splits find them."""
    kind = target.split()[0]
    y = NAMED_TARGETS[target]
    steps = make_pipeline(
        StandardScaler().set_output(transform=kind),
        RejectClassifier(outliers="given", ood_label="virginica", **NET),
    )
    fitted = steps.fit(FRAMES[kind], y)
    assert fitted.classes_.tolist() == ["setosa", "versicolor"]
    assert selective_scorer("auroc")(fitted, FRAMES[kind], y) > 0.5
    answers = fitted.predict(FRAMES[kind]), fitted.score_samples(FRAMES[kind])
    expected = bootstrap_interval(aurc_score, NAMES, *answers, random_state=0, n_resamples=20)
    given = bootstrap_interval(aurc_score, y, *answers, random_state=0, n_resamples=20)
    assert tuple(given) == tuple(expected)
    search = GridSearchCV(
        make_pipeline(StandardScaler().set_output(transform=kind), SoftmaxClassifier(**NET)),
        {"softmaxclassifier__lr": [1e-2]},
        cv=LeaveClassesOut(1, random_state=0),
        scoring=selective_scorer("aurc"),
        error_score="raise",
    ).fit(FRAMES[kind], y)
    assert search.best_estimator_[-1].feature_names_in_.tolist() == COLUMNS


@pytest.mark.parametrize("selective", [False, True])
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_missing_label_is_an_error(missing, selective):
    y = pd.Series(NAMES, dtype=object)
    y[3] = missing
    estimator = SoftmaxClassifier(**NET)
    if selective:
        estimator = SelectiveClassifier(estimator, coverage=0.9)
    with pytest.raises(ValueError, match="1 missing labels of 150"):
        estimator.fit(FRAMES["pandas"], y)


def test_a_null_of_polars_is_an_error():
    y = NAMED_TARGETS["polars Categorical"].replace("virginica", None)
    with pytest.raises(ValueError, match="50 missing labels of 150"):
        SoftmaxClassifier(**NET).fit(FRAMES["polars"], y)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": pd.array([1.0, None], dtype="Float64")}), "NaN"),
        (pd.DataFrame({"a": pd.Categorical(["u", "v"])}), "convert string to float: 'u'"),
        (pl.DataFrame({"a": [1.0, None]}), "NaN"),
    ],
)
def test_columns_that_are_no_numbers(frame, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(**NET).fit(frame, [0, 1])


@pytest.mark.parametrize("cell", [np.nan, np.inf, "u", None])
@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize(
    "estimator", [SoftmaxClassifier(**NET), NeighborDistance(), GenerativeClassifier("pca")]
)
def test_columns_with_other_cells_are_named(estimator, kind, cell):
    column = [*X[:-1, 1].tolist(), cell]
    if isinstance(cell, str):
        column = [str(each) for each in column]
    if kind == "pandas":
        frame = FRAMES[kind].assign(**{COLUMNS[1]: column})
    else:
        frame = FRAMES[kind].with_columns(pl.Series(COLUMNS[1], column))
    with pytest.raises(ValueError, match=r"finite numbers in \['sepal width'\]: "):
        clone(estimator).fit(frame, NAMES)
    fitted = clone(estimator).fit(FRAMES[kind], NAMES)
    with pytest.raises(ValueError, match=r"finite numbers in \['sepal width'\]: "):
        fitted.score_samples(frame)


@pytest.mark.parametrize("make", [list, tuple])
def test_plain_sequences_are_rows_too(make):
    rows = make(map(make, X.tolist()))
    model = SelectiveClassifier(LogisticRegression(max_iter=500), coverage=0.9, random_state=0)
    model.fit(rows, make(NAMES.tolist()))
    expected = model.decide(X)
    pd.testing.assert_frame_equal(model.decide(rows), expected)
    assert selective_report(model, rows, make(NAMES.tolist())).matrix.sum() == len(X)
    assert churn_report(model, model, rows, make(NAMES.tolist())).different.sum() == 0


@pytest.mark.parametrize(
    "estimator", [TableDensity(2, random_state=0), NeighborDistance(), TableEncoder()]
)
def test_a_table_of_pyarrow_is_one_of_pandas(estimator):
    table = pytest.importorskip("pyarrow").table(pd.DataFrame(X, columns=COLUMNS))
    fitted, plain = (clone(estimator).fit(rows, NAMES) for rows in (table, FRAMES["pandas"]))
    assert fitted.feature_names_in_.tolist() == COLUMNS
    method = "transform" if isinstance(estimator, TableEncoder) else "score_samples"
    np.testing.assert_array_equal(
        getattr(fitted, method)(table), getattr(plain, method)(FRAMES["pandas"])
    )


@pytest.mark.parametrize("estimator", [TableDensity(), NeighborDistance(), TableEncoder()])
def test_a_frame_that_is_not_yet_read_says_how(estimator):
    with pytest.raises(TypeError, match=r"LazyFrame, without rows; pass X.collect\(\)"):
        estimator.fit(FRAMES["polars"].lazy(), NAMES)


@pytest.mark.parametrize("method", ["fit", "recalibrate", "predict", "decide"])
def test_a_frame_that_is_not_yet_read_says_how_to_who_decides(method):
    model = SelectiveClassifier(LogisticRegression(max_iter=500), coverage=0.8)
    model.fit(FRAMES["polars"], NAMES)
    labels = [NAMES] if method in ("fit", "recalibrate") else []
    with pytest.raises(TypeError, match=r"LazyFrame, without rows; pass X.collect\(\)"):
        getattr(model, method)(FRAMES["polars"].lazy(), *labels)
    with pytest.raises(TypeError, match=r"LazyFrame, without rows; pass X.collect\(\)"):
        CombinedClassifier().fit(FRAMES["polars"].lazy(), NAMES)


@pytest.mark.parametrize("method", ["p_values", "outliers_fdr", "explain", "member_p_values"])
def test_what_was_not_fitted_says_so(method):
    with pytest.raises(NotFittedError):
        getattr(CombinedClassifier(), method)(X)
    with pytest.raises(NotFittedError):
        GeValDi([("a", LogisticRegression())]).failure_regions(None)


@pytest.mark.parametrize("labels", [NAMES, CODES])
@pytest.mark.parametrize(
    "model",
    [
        NoveltyDetector(GenerativeClassifier("pca", random_state=0), random_state=0),
        DriftMonitor(GenerativeClassifier("pca", random_state=0), random_state=0),
        SelectiveClassifier(LogisticRegression(max_iter=500), coverage=0.8, random_state=0),
    ],
)
def test_labels_in_an_index(model, labels):
    given, expected = (clone(model).fit(X, y) for y in (pd.Index(labels), labels))
    scores = (m.estimator_.predict_proba(X) for m in (given, expected))
    np.testing.assert_array_equal(*scores)
