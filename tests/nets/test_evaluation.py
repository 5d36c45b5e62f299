"""A row's numbers are the same bits whatever rows are beside it."""

import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_ood import COOLClassifier, DAEConfidence, RejectClassifier, SoftmaxClassifier

RNG = np.random.default_rng(0)
OPTIONS = {"max_epochs": 1, "random_state": 0, "device": "cpu"}


def assert_same_alone(method, X):
    together = method(X)
    for size in (1, 2, 7, 16, 33, 129):
        for start in (0, 1, len(X) // 3, len(X) - size):
            part = slice(start, start + size)
            np.testing.assert_array_equal(method(X[part]), together[part])


@pytest.mark.parametrize("n_features", [2, 13, 64])
@pytest.mark.parametrize("hidden", [(128,), (50,), (30, 17), (5,)])
@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_softmax_networks(n_features, hidden, n_classes):
    X = RNG.normal(size=(301, n_features)).astype(np.float32)
    sizes = (n_features, *hidden)
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    network = nn.Sequential(*layers, nn.Linear(hidden[-1], n_classes))
    classes = np.arange(n_classes)
    model = SoftmaxClassifier.from_module(network, classes, n_features, device="cpu")
    assert_same_alone(model.score_samples, X)
    assert_same_alone(model.predict_log_proba, X)


@pytest.mark.parametrize(
    "model",
    [
        SoftmaxClassifier(epsilon=0.1, hidden_layer_sizes=(30,), **OPTIONS),
        COOLClassifier(n_units_per_class=3, hidden_layer_sizes=(50,), **OPTIONS),
        RejectClassifier(outliers="noise", hidden_layer_sizes=(7,), **OPTIONS),
        DAEConfidence(hidden_layer_sizes=(50,), **OPTIONS),
        DAEConfidence(hidden_layer_sizes=(30, 17), typicality=True, **OPTIONS),
        DAEConfidence(curvature="hutchinson", hidden_layer_sizes=(50,), **OPTIONS),
        DAEConfidence(curvature="off", decoder="free", hidden_layer_sizes=(5,), **OPTIONS),
    ],
)
@pytest.mark.parametrize("shape", [(13,), (1, 9, 11)])
def test_classifiers(model, shape):
    X = RNG.normal(size=(201, *shape)).astype(np.float32)
    model.fit(X[:80], np.arange(80) % 3)
    assert_same_alone(model.score_samples, X)
    assert_same_alone(model.input_gradients, X)


def test_guided_gradients_do_not_touch_the_network_that_others_use():
    X = RNG.normal(size=(400, 8)).astype(np.float32)
    model = SoftmaxClassifier(epsilon=0.1, hidden_layer_sizes=(64, 64), **OPTIONS)
    model.fit(X, np.arange(400) % 3)
    expected, running = model.score_samples(X), threading.Event()

    def differentiate():
        while not running.is_set():
            model.input_gradients(X[:50], guided=True)

    thread = threading.Thread(target=differentiate)
    thread.start()
    try:
        for _ in range(20):
            np.testing.assert_array_equal(model.score_samples(X), expected)
    finally:
        running.set()
        thread.join()


def test_scores_of_rows_in_inference_mode_and_rows_that_require_a_gradient():
    X = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    model = SoftmaxClassifier(epsilon=0.1, **OPTIONS).fit(X, np.arange(20) % 2)
    expected = model.score_samples(X)
    np.testing.assert_array_equal(model.score_samples(X.clone().requires_grad_()), expected)
    with torch.inference_mode():
        of_mode = X.clone()
        np.testing.assert_array_equal(model.score_samples(of_mode), expected)
        again = SoftmaxClassifier(epsilon=0.1, **OPTIONS).fit(of_mode, np.arange(20) % 2)
    np.testing.assert_array_equal(again.score_samples(of_mode), expected)


class Mixing(nn.Linear):
    """It makes numbers itself, in float32."""

    def forward(self, rows):
        return super().forward(1000 * rows) @ torch.ones(2, 2)


class Turning(nn.Linear):
    def forward(self, rows):
        return nn.functional.linear(super().forward(1000 * rows), torch.eye(2))


@pytest.mark.parametrize("network", [Mixing(3, 2), Turning(3, 2)])
def test_rows_that_overflow_in_a_network_that_works_in_single_alone(network):
    classifier = SoftmaxClassifier.from_module(network, [0, 1], 3)
    rows = np.ones((2, 3), dtype=np.float32)
    assert np.isfinite(classifier.score_samples(rows)).all()
    rows[1] = 3e38
    with pytest.raises(ValueError, match="infinite outputs from the network"):
        classifier.score_samples(rows)
