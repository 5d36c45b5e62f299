import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import TensorDataset

from sklearn_ood import (
    CombinedClassifier,
    DriftMonitor,
    MonitorDisplay,
    NeighborDistance,
    RiskMonitor,
    SelectiveClassifier,
    SoftmaxClassifier,
    load,
    save,
)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


@pytest.fixture
def normal():
    return np.random.default_rng(0).normal(size=(4000, 3))


def test_no_alarm_without_a_change_and_one_after_it(normal):
    monitor = DriftMonitor(KernelDensity(), random_state=0).fit(normal[:500])
    assert not monitor.partial_fit(normal[500:]).alarm_
    assert monitor.alarm_row_ is None
    monitor.partial_fit(normal[:200] + 1.5)
    assert 3500 <= monitor.alarm_row_ < 3600
    assert len(monitor.log_wealth_) == 3700


def test_rows_more_typical_than_before_are_a_change_too(normal):
    monitor = DriftMonitor(KernelDensity(), random_state=0).fit(normal[:500])
    assert monitor.partial_fit(normal[500:900] * 0.1).alarm_


@pytest.mark.parametrize("size", [1, 7, 600])
def test_the_alarm_does_not_depend_on_the_batches(normal, size):
    fitted = DriftMonitor(KernelDensity(), random_state=0).fit(normal[:300])
    stream = np.round(normal[300:1500], 1)  # ties, too
    whole = fitted.partial_fit(stream).log_wealth_
    fitted.restart()
    for start in range(0, len(stream), size):
        fitted.partial_fit(stream[start : start + size])
    np.testing.assert_allclose(fitted.log_wealth_, whole, rtol=1e-9, atol=1e-12)


def test_restart_forgets_the_stream(normal):
    monitor = DriftMonitor(KernelDensity(), random_state=0).fit(normal[:500])
    assert monitor.partial_fit(normal[:300] + 2).alarm_
    assert not monitor.restart().alarm_
    assert len(monitor.log_wealth_) == 0
    assert not monitor.partial_fit(normal[500:1500]).alarm_


def test_a_frozen_model_takes_all_rows_for_reference(digits):
    X, y = digits
    model = CombinedClassifier(
        LogisticRegression(), [("near", NeighborDistance())], random_state=0
    ).fit(X[:900], y[:900])
    monitor = DriftMonitor(FrozenEstimator(model), random_state=0).fit(X[900:1200])
    assert len(monitor.reference_scores_) == 300
    assert not monitor.partial_fit(X[1200:]).alarm_
    assert monitor.partial_fit(X[900:1000, ::-1]).alarm_


def test_the_alarm_comes_back_from_a_file(normal, tmp_path):
    monitor = DriftMonitor(NeighborDistance(), random_state=0).fit(normal[:400])
    monitor.partial_fit(normal[400:700])
    save(monitor, tmp_path / "monitor.ood")
    again = load(tmp_path / "monitor.ood")
    for each in (monitor, again):
        each.partial_fit(normal[700:800] + 3)
    assert again.alarm_row_ == monitor.alarm_row_ >= 300
    assert (again.log_wealth_ == monitor.log_wealth_).all()


@pytest.mark.parametrize(
    "estimator",
    [
        NeighborDistance(ood_label=-1),
        KernelDensity(),
        FrozenEstimator(KernelDensity().fit(np.zeros((1, 3)))),
    ],
)
def test_known_outliers_are_no_reference(normal, estimator):
    X, y = np.vstack([normal[:500], normal[:200] + 8]), np.repeat([1, -1], [500, 200])
    monitor = DriftMonitor(estimator, random_state=0).fit(X, y)
    scores = monitor.estimator_.score_samples(X[y == -1])
    assert len(np.intersect1d(monitor.reference_scores_, scores)) == 0
    assert not monitor.partial_fit(normal[500:]).alarm_


def test_labels_of_a_dataset_say_which_rows_are_outliers(normal):
    X = np.vstack([normal[:300], normal[:60] + 8]).astype(np.float32)
    y = np.repeat([0, 1, -1], [150, 150, 60])
    net = SoftmaxClassifier(max_epochs=2, ood_label=-1, random_state=0)
    monitor = DriftMonitor(net, random_state=0)
    data = (TensorDataset(torch.from_numpy(X), torch.from_numpy(y)),), (X, y)
    found, expected = (clone(monitor).fit(*each).reference_scores_ for each in data)
    np.testing.assert_array_equal(found, expected)


def test_scores_that_are_no_numbers_are_an_error(normal):
    class Silent(KernelDensity):
        def score_samples(self, X):
            return np.full(len(X), np.nan)

    with pytest.raises(ValueError, match="NaN.*Silent.score_samples"):
        DriftMonitor(Silent()).fit(normal[:100])


def test_labels_that_are_needed_are_asked_for(normal):
    with pytest.raises(ValueError, match="requires y"):
        DriftMonitor(LogisticRegression()).fit(normal[:100])


@pytest.fixture(scope="module")
def selective(digits):
    X, y = digits
    inner = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    return SelectiveClassifier(inner, risk=0.05, random_state=0).fit(X[:1000], y[:1000])


def test_a_promise_that_holds_raises_no_alarm(digits, selective):
    X, y = digits
    monitor = RiskMonitor(FrozenEstimator(selective)).fit(X, y)
    assert monitor.risk_ == 0.05
    monitor.partial_fit(X[1000:], y[1000:])
    assert not monitor.alarm_
    low, high = monitor.risk_interval_
    assert low <= monitor.n_errors_ / monitor.n_answered_ <= high
    assert monitor.n_answered_ == selective.accept(X[1000:]).sum()


@pytest.mark.parametrize("wrong", [-1, 99])
def test_answers_that_become_wrong_raise_the_alarm(digits, selective, wrong):
    X, y = digits
    monitor = RiskMonitor(FrozenEstimator(selective)).fit(X, y)
    changed = np.where(np.arange(797) % 4 == 0, wrong, y[1000:])
    assert monitor.partial_fit(X[1000:], changed).alarm_
    assert monitor.risk_interval_[0] > 0.05


def test_a_risk_is_needed(digits):
    X, y = digits
    with pytest.raises(ValueError, match="risk=None"):
        RiskMonitor(LogisticRegression(max_iter=500)).fit(X, y)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, np.nan, 1], "1 missing labels of 3"),
        ([0, None, 1], "1 missing labels of 3"),
        ([0, 1], "inconsistent numbers of samples"),
        (None, "y=None, but expected one value"),
    ],
)
def test_a_label_that_is_not_there_yet_is_no_error_of_the_answer(
    digits, selective, labels, message
):
    X, y = digits
    monitor = RiskMonitor(FrozenEstimator(selective)).fit(X, y)
    with pytest.raises(ValueError, match=message):
        monitor.partial_fit(X[:3], labels)
    assert monitor.n_answered_ == 0
    monitor.partial_fit(X[:3], y[:3, None])
    assert monitor.n_answered_ == selective.accept(X[:3]).sum()


@pytest.mark.parametrize("estimator", [LinearRegression(), IsolationForest()])
def test_a_risk_is_that_of_a_classifier(digits, estimator):
    with pytest.raises(TypeError, match="expected a classifier"):
        RiskMonitor(estimator, risk=0.1).fit(*digits)


def test_the_picture_shows_the_alarm(normal):
    pytest.importorskip("matplotlib").use("Agg")
    monitor = DriftMonitor(KernelDensity(), random_state=0).fit(normal[:500])
    monitor.partial_fit(np.vstack([normal[500:700], normal[:100] + 2]))
    display = MonitorDisplay.from_estimator(monitor)
    assert display.line_.get_ydata()[-1] > 2
    assert len(display.ax_.lines) == 3
