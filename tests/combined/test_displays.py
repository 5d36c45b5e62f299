"""The picture of which member speaks against which row."""

import pytest
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import CombinedClassifier, MemberPValuesDisplay, NeighborDistance

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
