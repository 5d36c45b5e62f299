"""Reasons for strange rows: the member, the features and the nearest training row."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_ood import (
    CombinedClassifier,
    ExplanationDisplay,
    NeighborDistance,
    SelectiveClassifier,
    TableDensity,
    TableEncoder,
)
from sklearn_ood.combined._explanation import ReferenceRows, changes_of
from sklearn_ood.datasets import make_birds

plt = pytest.importorskip("matplotlib.pyplot")


def small_model():
    classifier = make_pipeline(TableEncoder(), LogisticRegression())
    near = make_pipeline(TableEncoder(), NeighborDistance())
    members = [("confidence", "classifier"), ("density", TableDensity(1)), ("near", near)]
    return CombinedClassifier(classifier, members, random_state=0)


@pytest.fixture(scope="module")
def birds():
    X, y = make_birds(400, random_state=0)
    return small_model().fit(X, y), X, y


@pytest.fixture
def mistyped():
    """Birds with one measure that no bird has, and which it is."""
    X, _ = make_birds(30, missing=0.1, random_state=1)
    X.index = [f"bird {i}" for i in range(len(X))]
    wrong = np.array(["mass", "wing", "bill"])[np.arange(len(X)) % 3]
    for name in np.unique(wrong):
        X.loc[wrong == name, name] *= 10
    keep = X[["mass", "wing", "bill"]].notna().all(axis=1)
    return X[keep], wrong[keep]


def test_changes_are_those_of_a_loop(birds):
    model, X, y = birds
    kept = ReferenceRows.of(X[50:100], y[50:100])
    donors = np.random.default_rng(0).integers(50, size=(5, X.shape[1]))
    differs = np.random.default_rng(1).random(donors.shape) < 0.8
    changes = changes_of(model.score_samples, X[:5], kept, donors, differs)
    for i, j in np.ndindex(changes.shape):
        row = X[i : i + 1].astype(object)
        row.iat[0, j] = X.iloc[50 + donors[i, j], j : j + 1].tolist()[0]
        change = model.score_samples(row) - model.score_samples(X[i : i + 1])
        assert changes[i, j] == pytest.approx(change[0] if differs[i, j] else 0, abs=1e-9)


def test_changes_in_pieces(birds, monkeypatch):
    model, X, _ = birds
    whole = model.explain(X[:9]).changes
    monkeypatch.setattr("sklearn_ood.combined._explanation.MAX_CELLS", 13)
    pd.testing.assert_frame_equal(model.explain(X[:9]).changes, whole)


def test_names_the_column_that_was_mistyped(birds, mistyped):
    model, train, _ = birds
    X, wrong = mistyped
    found = model.explain(X)
    assert (found.changes.idxmax(axis=1) == wrong).all()
    report = found.to_frame()
    assert list(report.index) == list(found.nearest.index) == list(X.index)
    assert list(report.columns) == ["label", "p_value", "member", "nearest_label", "features"]
    np.testing.assert_array_equal(report["p_value"], model.p_values(X))
    np.testing.assert_array_equal(report["label"], model.predict(X))
    for (features, changes), name in zip(map(found.against, range(len(X))), wrong, strict=True):
        assert features[0].startswith(name)
        assert (np.diff(changes) <= 0).all()
        assert changes.min() >= changes.max() / 10
    filled = (each.astype(object).where(each.notna(), "") for each in (train, found.nearest))
    known, near = (set(each.itertuples(index=False, name=None)) for each in filled)
    assert known.issuperset(near)
    for frame in (found.nearest, found.expected):
        assert (frame.dtypes == X.dtypes).all()


def test_arrays_polars_and_one_row(birds, mistyped):
    _, X, y = birds
    numbers = ["mass", "wing", "bill"]
    full = X[numbers].dropna()
    model = CombinedClassifier(LogisticRegression(), [("near", NeighborDistance())])
    y = y[X[numbers].notna().all(axis=1)]
    strange, wrong = mistyped
    strange = strange[numbers]
    by_array = (
        model.set_params(random_state=0).fit(full.to_numpy(), y).explain(strange.to_numpy())
    )
    assert list(by_array.changes.columns) == ["x0", "x1", "x2"]
    found = np.array(numbers)[by_array.changes.to_numpy().argmax(axis=1)]
    assert (found == wrong).all()
    by_polars = model.fit(pl.DataFrame(full.to_dict("list")), y)
    by_polars = by_polars.explain(pl.DataFrame(strange.to_dict("list")))
    np.testing.assert_allclose(by_polars.changes, by_array.changes)
    np.testing.assert_allclose(by_polars.evidence, by_array.evidence)
    assert list(by_polars.rows.columns) == numbers
    assert len(model.explain(strange[:1]).to_frame()) == 1


def test_a_training_row_is_its_own_nearest(birds):
    model, X, y = birds
    found = model.explain(X[:20])
    pd.testing.assert_frame_equal(found.nearest, X[:20])
    assert (found.summary["nearest_label"] == y[:20]).all()
    assert not found.changes.where(found.rows == found.expected, 0).to_numpy().any()


def test_one_class_and_rows_that_are_given(mistyped):
    X, _ = make_birds(200, missing=0, random_state=0)
    model = CombinedClassifier(members=[("density", TableDensity(1))], random_state=0).fit(X)
    strange, wrong = mistyped
    assert (model.explain(strange).changes.idxmax(axis=1) == wrong).mean() > 0.9


def test_the_rows_kept_are_bounded(monkeypatch):
    monkeypatch.setattr("sklearn_ood.combined._explanation.MAX_ROWS", 50)
    X, y = make_birds(200, random_state=0)
    model = small_model().fit(X, y)
    assert model.reference_.codes.shape == (50, X.shape[1])
    assert len(model.explain(X[:3]).rows) == 3


def test_images_are_refused():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 1, 3, 3)), np.arange(60) % 2
    members = [("near", NeighborDistance())]
    model = CombinedClassifier(LogisticRegression(), members).fit(X, y)
    with pytest.raises(ValueError, match=r"Got images of shape \(1, 3, 3\)"):
        model.explain(X[:2])


def test_picture_through_whatever_is_around(birds, mistyped):
    _, X, y = birds
    strange, _ = mistyped
    same = FunctionTransformer()
    model = make_pipeline(
        same, SelectiveClassifier(small_model(), coverage=0.9, random_state=0)
    )
    search = GridSearchCV(model, {"selectiveclassifier__coverage": [0.9]}, cv=2).fit(X, y)
    display = ExplanationDisplay.from_estimator(search, strange, max_rows=2, max_features=3)
    assert len(display.axes_) == 2
    assert "bird 0" in display.axes_[0].get_title(loc="left")
    names = [text.get_text() for text in display.axes_[0].get_yticklabels()]
    assert names == display.explanation.against(0, 3)[0]
    ExplanationDisplay.from_estimator(search, X[:1], plot=False).plot()
    plt.close("all")


def tied(n, seed):
    """Two measures that say the same, a kind that follows from them, and what is missing."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    X = pd.DataFrame({"a": a, "b": a + 0.05 * rng.normal(size=n), "c": rng.normal(size=n)})
    X["d"] = a - 0.5 * X["c"] + 0.05 * rng.normal(size=n)
    X["kind"] = np.where(a < 0, "low", "high")
    X.loc[rng.random(n) < 0.1, "c"] = np.nan
    return X


@pytest.fixture(scope="module")
def of_tied():
    return CombinedClassifier(random_state=0).fit(tied(600, 0))


class TestEvidence:
    def test_a_cell_of_another_row_is_named(self, of_tied):
        X = tied(200, 1)
        X["b"] = X["b"].to_numpy()[::-1]
        X = X[(X["a"] - X["b"]).abs() > 1]
        found = of_tied.explain(X)
        assert (found.evidence.idxmax(axis=1) == "b").mean() > 0.9
        assert (found.evidence >= found.changes).all(axis=None)

    def test_rarity_finds_what_the_change_alone_does_not(self, of_tied):
        X = tied(300, 1)
        own, X["c"] = X["c"], X["c"].to_numpy()[::-1]
        found = of_tied.explain(X[(X["c"] - own).abs() > 0.2])
        by_change = (found.changes.idxmax(axis=1) == "c").mean()
        assert (found.evidence.idxmax(axis=1) == "c").mean() > by_change + 0.05

    def test_a_new_category_is_named(self, of_tied):
        found = of_tied.explain(tied(50, 2).assign(kind="none of these"))
        assert (found.evidence.idxmax(axis=1) == "kind").all()
        gained = (found.evidence - found.changes)["kind"]
        np.testing.assert_allclose(gained, np.log(len(of_tied.reference_.labels)))
        assert found.against(0)[0][0].startswith("kind none of these (")

    def test_a_cell_that_is_never_missing_elsewhere(self, of_tied):
        found = of_tied.explain(tied(50, 3).assign(b=np.nan))
        assert (found.evidence.idxmax(axis=1) == "b").mean() > 0.9
        assert np.isfinite(found.evidence).all(axis=None)
