import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_ood import NetFeatures, SoftmaxClassifier
from sklearn_ood.detectors._features import pooled


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    y = np.repeat(["bar", "dot"], 20)
    X = 0.1 * rng.normal(size=(40, 1, 12, 12)).astype(np.float32)
    X[:20, :, 2] += 1
    X[20:, :, 5:7, 5:7] += 2
    return X, y


@pytest.fixture(scope="module")
def fitted(images):
    return SoftmaxClassifier(max_epochs=2, hidden_layer_sizes=(6,), random_state=0).fit(*images)


def test_layers_of_a_frozen_classifier_are_those_of_its_module(images, fitted):
    X, _ = images
    network = fitted.net_.module_.network
    with torch.no_grad():
        conv = network.conv(torch.from_numpy(X))
        hidden = network.hidden(conv.flatten(1))
        logits = network.output(hidden)
    frozen = FrozenEstimator(fitted)
    expected = {"conv": conv, "hidden": hidden, "output": logits, "conv.0": network.conv[0]}
    for layer in ("conv", "hidden", "output"):
        features = NetFeatures(frozen, layer=layer).fit(X).transform(X)
        torch.testing.assert_close(
            torch.from_numpy(features), expected[layer].flatten(1), rtol=1e-4, atol=1e-5
        )
    inner = NetFeatures(frozen, layer="conv.0", pooling=2).fit(X).transform(X.reshape(40, -1))
    assert inner.shape == (40, 32 * 4)
    assert NetFeatures(frozen).fit(X).estimator_.net_ is fitted.net_


def test_whole_feature_maps_without_pooling(images, fitted):
    X, _ = images
    whole = NetFeatures(FrozenEstimator(fitted), layer="conv.0", pooling=None).fit_transform(X)
    assert whole.shape == (40, 32 * 144)
    averages = NetFeatures(FrozenEstimator(fitted), layer="conv.0", pooling=1).fit_transform(X)
    np.testing.assert_allclose(averages, whole.reshape(40, 32, 144).mean(2), atol=1e-5)


def test_pooling_leaves_small_maps_alone():
    maps = torch.rand(2, 4, 3, 2)
    torch.testing.assert_close(pooled(maps, 3), maps.flatten(1))


def test_a_row_does_not_depend_on_its_batch(images, fitted):
    X, _ = images
    features = NetFeatures(FrozenEstimator(fitted), layer="conv").fit(X)
    np.testing.assert_array_equal(features.transform(X)[7:8], features.transform(X[7:8]))


def test_same_seed_same_features_and_pickle(images):
    X, y = images
    net = SoftmaxClassifier(max_epochs=1, hidden_layer_sizes=(4,), random_state=3)
    first = NetFeatures(net).fit(X, y)
    second = clone(first).fit(X, y)
    np.testing.assert_array_equal(first.transform(X), second.transform(X))
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(first)).transform(X), first.transform(X)
    )
    assert first.get_feature_names_out().tolist() == [f"netfeatures{i}" for i in range(4)]


def test_in_a_pipeline_and_a_grid_search(images):
    X, y = images
    net = SoftmaxClassifier(
        max_epochs=2, hidden_layer_sizes=(4,), input_shape=(1, 12, 12), random_state=0
    )
    pipe = make_pipeline(NetFeatures(net), PCA(2), LogisticRegression())
    grid = {"netfeatures__layer": ["conv", "hidden"], "netfeatures__estimator__lr": [1e-2]}
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(X.reshape(40, -1), y)
    assert search.score(X.reshape(40, -1), y) > 0.9


def test_users_own_network(images):
    X, _ = images
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 5), nn.Tanh(), nn.Linear(5, 2))
    classifier = SoftmaxClassifier.from_module(network, ["bar", "dot"], (1, 12, 12))
    features = NetFeatures(FrozenEstimator(classifier), layer="2").fit_transform(X)
    assert features.shape == (40, 5)
    assert np.abs(features).max() <= 1


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        (NetFeatures(None), ValueError, "estimator=None"),
        (NetFeatures(LogisticRegression()), TypeError, "no net_"),
        (
            NetFeatures(SoftmaxClassifier(max_epochs=1), layer="deep"),
            ValueError,
            "layer='deep'",
        ),
        (NetFeatures(SoftmaxClassifier(max_epochs=1), pooling=0), ValueError, "pooling=0"),
    ],
)
def test_bad_parameters_say_what_to_do(images, features, error, message):
    X, y = images
    with pytest.raises(error, match=message):
        features.fit(X.reshape(40, -1), y)


def test_another_width_at_transform(images, fitted):
    X, _ = images
    features = NetFeatures(FrozenEstimator(fitted)).fit(X)
    with pytest.raises(ValueError, match="features"):
        features.transform(X.reshape(40, -1)[:, :100])
