import matplotlib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import SelectiveClassifier
from sklearn_ood.metrics import AcceptedRegionDisplay

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    matplotlib.pyplot.close("all")


@pytest.fixture(scope="module")
def rows():
    return make_blobs(600, centers=3, n_features=4, cluster_std=3.0, random_state=1)


def test_the_region_is_that_of_accept_and_its_colours_are_the_answers(rows):
    X, y = rows
    model = SelectiveClassifier(GaussianNB(), coverage=0.7, random_state=0).fit(X[:, :2], y)
    display = AcceptedRegionDisplay.from_estimator(model, X[:, :2], n_points=30)
    assert display.accepted.shape == display.answers.shape == (30, 30)
    for i, j in ((0, 0), (12, 20), (29, 3)):
        point = [[display.first[j], display.second[i]]]
        assert display.accepted[i, j] == model.accept(point)[0]
        assert display.classes[display.answers[i, j]] == model.answers(point)[0]
        opacity = display.im_.get_array()[i, j, 3]
        assert opacity == pytest.approx(0.5 if display.accepted[i, j] else 0.08)
    assert display.contour_ is not None
    assert display.first[0] < X[:, 0].min() < X[:, 0].max() < display.first[-1]
    assert display.ax_.get_ylabel() == "Feature 1"
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["0", "1", "2"]


def test_other_features_are_those_of_a_row_and_columns_have_names(rows):
    X, y = rows
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"]).assign(d=lambda f: f["d"].round())
    inner = SelectiveClassifier(GaussianNB(), coverage=0.7, random_state=0)
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), inner).fit(frame, y)
    ax = matplotlib.pyplot.figure().subplots()
    display = AcceptedRegionDisplay.from_estimator(
        model, frame, features=["d", 0], row=5, n_points=11, ax=ax
    )
    assert display.ax_ is ax
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("d", "a")
    point = frame.iloc[[5]].assign(d=display.first[3], a=display.second[8])
    expected = model[-1].accept(model[0].transform(point))[0]
    assert display.accepted[8, 3] == expected
    polars = pytest.importorskip("polars").from_pandas(frame)
    named = AcceptedRegionDisplay.from_estimator(
        model, polars, features=["d", 0], row=5, n_points=11
    )
    np.testing.assert_array_equal(named.accepted, display.accepted)
    frame.loc[3, "a"] = np.inf
    spread = AcceptedRegionDisplay.from_estimator(model, frame, features=["d", 0], n_points=3)
    assert np.isfinite(spread.second).all()
    with pytest.raises(ValueError, match="'a' .* of which some are finite"):
        AcceptedRegionDisplay.from_estimator(model, frame.assign(a=np.nan), features=["d", 0])


def test_a_classifier_that_never_refuses_and_one_that_does_for_a_group(rows):
    X, y = rows
    plain = LogisticRegression().fit(X, y)
    display = AcceptedRegionDisplay.from_estimator(plain, X, n_points=8, cmap=None)
    assert display.accepted.all()
    assert display.contour_ is None
    groups = np.where(np.arange(len(y)) < 590, "large", "small")
    model = SelectiveClassifier(FrozenEstimator(plain), risk=0.2, guarantee_for="group")
    with pytest.warns(UserWarning, match="'small': 10"):
        model.fit(X, y, groups=groups)
    for group, some in (("large", True), ("small", False)):
        display = AcceptedRegionDisplay.from_estimator(model, X, group=group, n_points=8)
        assert display.accepted.any() == some


@pytest.mark.parametrize("features", [(0,), (0, 9), ("a", "b"), (0, 1, 2)])
def test_features_that_are_not_there(rows, features):
    X, y = rows
    model = GaussianNB().fit(X, y)
    with pytest.raises(ValueError, match=r"Got features=.* expected two of the columns \[0, 1"):
        AcceptedRegionDisplay.from_estimator(model, X, features=features)


def test_features_that_are_no_numbers(rows):
    frame = pd.DataFrame({"a": [0.0, 1.0], "b": ["x", "y"]})
    model = GaussianNB().fit(*rows)
    with pytest.raises(ValueError, match="the feature 'b' of type"):
        AcceptedRegionDisplay.from_estimator(model, frame)
