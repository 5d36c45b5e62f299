"""The picture of which member speaks against which row."""

import pytest
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import (
    CombinedClassifier,
    MemberPValuesDisplay,
    NeighborDistance,
    SelectiveClassifier,
)

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def fitted():
    X, y = make_blobs(200, centers=3, random_state=0)
    members = [("confidence", "classifier"), ("near", NeighborDistance())]
    model = CombinedClassifier(LogisticRegression(), members, random_state=0)
    return make_pipeline(StandardScaler(), model).fit(X, y), X, y


def test_table_of_evidence(fitted):
    pipe, X, y = fitted
    display = MemberPValuesDisplay.from_estimator(pipe, X, y, max_rows=3)
    axes = display.figure_.axes[0]
    assert axes is display.ax_
    assert len(axes.texts) == 3 * 3
    assert axes.get_xticklabels()[-1].get_text() == "combined"
    assert axes.get_yticklabels()[0].get_text() == f"{pipe.predict(X)[0]} (is {y[0]})"


def test_drawn_later_on_given_axes(fitted):
    pipe, X, _ = fitted
    display = MemberPValuesDisplay.from_estimator(pipe, X, max_rows=2, plot=False)
    assert not hasattr(display, "ax_")
    _, ax = plt.subplots()
    assert display.plot(ax=ax).ax_ is ax
    assert len(ax.texts) == 2 * 3
    plt.close("all")


@pytest.mark.parametrize("holds", ["estimator", "detector"])
def test_inside_of_what_may_refuse_are_the_p_values_that_are_promised(fitted, holds):
    pipe, X, y = fitted
    inside = {"estimator": LogisticRegression().fit(X, y)} | {holds: pipe}
    frozen = {name: FrozenEstimator(each) for name, each in inside.items()}
    model = SelectiveClassifier(**frozen, threshold=0.0).fit(X, y)
    far = X[:2] + 50
    display = MemberPValuesDisplay.from_estimator(model, far, plot=False)
    assert display.p_values.shape == (2, 3)
    assert set(display.p_values[:, -1]) == {1 / (pipe[-1].n_calibration_ + 1)}
