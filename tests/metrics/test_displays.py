import sys

import matplotlib
import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood.metrics import (
    ConfidenceHistogramDisplay,
    RiskCoverageDisplay,
    aurc_score,
    risk_coverage_curve,
)

matplotlib.use("Agg")

X, y = make_blobs(120, centers=4, cluster_std=2.0, random_state=0)
ROWS = ([0, 1, 1, 0, 7], [0, 1, 0, 0, 1], [0.9, 0.8, 0.8, 0.4, 0.2])


@pytest.fixture(scope="module")
def fitted():
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X[y < 3], y[y < 3])


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    matplotlib.pyplot.close("all")


def test_curve_shows_the_numbers():
    display = RiskCoverageDisplay.from_predictions(*ROWS, name="mine", color="green")
    coverage, risk, _ = risk_coverage_curve(*ROWS)
    assert np.array_equal(display.line_.get_xdata(), coverage)
    assert np.array_equal(display.line_.get_ydata(), risk)
    assert display.line_.get_marker() == "."
    assert display.line_.get_color() == "green"
    assert display.line_.get_label() == f"mine (AURC = {aurc_score(*ROWS):.3g})"
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_xlabel() == "Coverage"


def test_optimal_curve_is_dashed_and_is_the_perfect_ranking():
    display = RiskCoverageDisplay.from_predictions(*ROWS)
    line = display.optimal_line_
    assert line.get_linestyle() == "--"
    wrong = [0, 0, 0, 1, 1]
    coverage, risk, _ = risk_coverage_curve(wrong, np.zeros(5), [5, 4, 3, 2, 1])
    assert np.allclose(np.interp(coverage, *line.get_data()), risk, atol=1e-3)


def test_several_curves_share_an_axis(fitted):
    first = RiskCoverageDisplay.from_estimator(fitted, X, y)
    second = RiskCoverageDisplay.from_predictions(*ROWS, ax=first.ax_, optimal=False)
    assert second.ax_ is first.ax_
    assert second.figure_ is first.figure_
    assert second.optimal_line_ is None
    labels = [text.get_text() for text in first.ax_.get_legend().get_texts()]
    assert labels[0].startswith("LogisticRegression (AURC = ")
    assert len(labels) == 3


def test_many_points_are_not_marked():
    rng = np.random.default_rng(0)
    display = RiskCoverageDisplay.from_predictions(
        np.zeros(300), rng.integers(0, 2, 300), rng.random(300)
    )
    assert display.line_.get_marker() == ""


@pytest.mark.parametrize("answer", [0, 1])
def test_all_right_and_all_wrong_can_be_drawn(answer):
    display = RiskCoverageDisplay.from_predictions([1, 1], [answer, answer], [0.5, 0.6])
    assert set(display.line_.get_ydata()) == {1 - answer}
    display.figure_.canvas.draw()


def test_plot_again_under_another_name():
    display = RiskCoverageDisplay.from_predictions(*ROWS, name="one")
    assert display.plot(name="two") is display
    assert display.line_.get_label().startswith("two")


def test_histogram_counts_the_kinds(fitted):
    display = ConfidenceHistogramDisplay.from_estimator(fitted, X, y, threshold=0.8)
    answer = fitted.predict(X)
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert set(labels) == {
        "threshold 0.8",
        f"known, right ({((y < 3) & (answer == y)).sum()})",
        f"known, wrong ({((y < 3) & (answer != y)).sum()})",
        f"unknown ({(y == 3).sum()})",
    }
    assert display.line_.get_xdata()[0] == 0.8
    assert len(display.bars_) == 3
    assert display.ax_.get_title() == "LogisticRegression"


def test_histogram_takes_the_estimators_threshold(fitted):
    classifier = LogisticRegression().fit(X[y < 3], y[y < 3])
    classifier.threshold_ = 0.6
    display = ConfidenceHistogramDisplay.from_estimator(classifier, X, y)
    assert display.line_.get_xdata()[0] == 0.6
    assert ConfidenceHistogramDisplay.from_estimator(fitted, X, y).line_ is None


def test_histogram_of_infinite_confidence_and_missing_kinds():
    display = ConfidenceHistogramDisplay.from_predictions(
        [0, 1, 0], [0, 1, 0], [-np.inf, 0.5, 1.0], classes=[0, 1], threshold=-np.inf
    )
    assert len(display.bars_) == 1
    assert display.line_ is None


@pytest.mark.parametrize("infinite", [np.inf, 1e300])  # as it is, and as estimators' are read
def test_histogram_draws_infinite_values_at_the_ends(infinite):
    rows = [0, 1, 0, 0], [0, 1, 0, 0], [-infinite, 0.25, 1.0, infinite]
    display = ConfidenceHistogramDisplay.from_predictions(*rows, classes=[0, 1], bins=3)
    assert [bar.get_x() for bar in display.bars_[0]] == [0.25, 0.5, 0.75]


@pytest.mark.filterwarnings("error")
def test_histogram_has_no_rows_of_weight_0():
    display = ConfidenceHistogramDisplay.from_predictions(
        *ROWS, classes=[0, 1], sample_weight=[1, 1, 0, 1, 0]
    )
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["known, right (3)"]


def test_missing_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (
        lambda: RiskCoverageDisplay.from_predictions(*ROWS),
        lambda: ConfidenceHistogramDisplay.from_predictions(*ROWS, classes=[0, 1]),
    ):
        with pytest.raises(ImportError, match=r'pip install "sklearn-ood\[plot\]"'):
            draw()


def test_weights_are_drawn():
    weight = [2, 0, 1, 3, 1]
    display = RiskCoverageDisplay.from_predictions(*ROWS, sample_weight=weight)
    coverage, _, _ = risk_coverage_curve(*ROWS, sample_weight=weight)
    assert np.array_equal(display.line_.get_xdata(), coverage)
    often = [np.repeat(np.asarray(each), weight) for each in ROWS]
    settings = {"classes": [0, 1], "bins": [0.0, 0.5, 1.0]}
    weighted = ConfidenceHistogramDisplay.from_predictions(
        *ROWS, sample_weight=weight, **settings
    )
    repeated = ConfidenceHistogramDisplay.from_predictions(*often, **settings)
    heights = [
        [[bar.get_height() for bar in bars] for bars in each.bars_]
        for each in (weighted, repeated)
    ]
    np.testing.assert_allclose(*heights)
