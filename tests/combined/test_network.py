"""The combination around a network that someone has trained."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sklearn_ood import CombinedClassifier, SoftmaxClassifier, load, save
from sklearn_ood.detectors import compare_scores, scores_of_network
from sklearn_ood.metrics import aurc_score, auroc

SHAPE, K = (1, 8, 8), 3


def images(n, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % K
    X = 0.3 * rng.normal(size=(n, *SHAPE)).astype(np.float32)
    for code in range(K):
        X[y == code, :, 2 * code : 2 * code + 2] += 1
    return X, np.array(["a", "b", "c"])[y]


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 6, 3, 1, 1), nn.ReLU(), nn.AvgPool2d(2))
        self.head = nn.Linear(96, K)
        self.n_rows = 0

    def forward(self, rows):
        self.n_rows += len(rows)
        return self.head(self.first(rows).flatten(1))


@pytest.fixture(scope="module")
def network():
    X, y = images(300, 1)
    torch.manual_seed(0)
    net = SoftmaxClassifier(Network(), max_epochs=8, lr=1e-2, random_state=0).fit(X, y)
    return net.net_.module_.network


@pytest.fixture(scope="module")
def model(network):
    return CombinedClassifier.from_module(network, *images(400, 2), random_state=0)


def test_the_network_stays_as_it_is_and_every_kind_of_outlier_is_seen(network, model):
    before = deepcopy(network.state_dict())
    X, y = images(200, 3)
    again = CombinedClassifier.from_module(network, *images(400, 2), random_state=0)
    np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))
    for name, values in network.state_dict().items():
        torch.testing.assert_close(values, before[name], rtol=0, atol=0)
    assert model.score(X, y) > 0.95
    assert (model.p_values(X) <= 0.1).mean() < 0.2
    rng = np.random.default_rng(0)
    for outliers in (rng.random((100, *SHAPE)), X[:100].transpose(0, 1, 3, 2), 3 * X[:100]):
        scores = np.append(model.score_samples(X), model.score_samples(outliers))
        assert auroc(np.arange(300) < 200, scores) > 0.9


def test_features_are_evaluated_once_for_all_members(network, model):
    X, _ = images(160, 3)
    network.n_rows = 0
    model.score_samples(X)
    assert network.n_rows <= 2 * 160  # features, and the probabilities
    network.n_rows = 0
    CombinedClassifier.from_module(network, *images(400, 2), random_state=0)
    assert network.n_rows < 3 * 400


def test_flat_rows_and_a_saved_model(model, network, tmp_path):
    X, y = images(400, 2)
    flat = X.reshape(len(X), -1)
    same = CombinedClassifier.from_module(network, flat, y, input_shape=SHAPE, random_state=0)
    np.testing.assert_array_equal(same.score_samples(flat), model.score_samples(X))
    save(model, tmp_path / "model.ood", modules=[Network])
    loaded = load(tmp_path / "model.ood", modules=[Network()])
    np.testing.assert_array_equal(loaded.score_samples(X), model.score_samples(X))


def test_labels_that_miss_a_class(network):
    X, y = images(400, 2)
    few = y != "b"
    with pytest.raises(ValueError, match=r"expected \(2, 2\)"):
        CombinedClassifier.from_module(network, X[few], y[few])
    model = CombinedClassifier.from_module(network, X[few], y[few], classes=["a", "b", "c"])
    assert model.predict(X[y == "b"]).tolist().count("b") > 100
    outliers = CombinedClassifier.from_module(
        network, X, y, classes=["a", "b", "c"], ood_label="z"
    )
    assert outliers.classes_.tolist() == ["a", "b", "c"]


def test_a_network_without_a_linear_end_keeps_probability_and_pixels():
    end = nn.Sequential(nn.Conv2d(1, K, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = CombinedClassifier.from_module(end, *images(200, 2), random_state=0)
    assert list(model.members_) == ["confidence", "pixels"]


def test_compared_scores_are_those_of_each_alone(network):
    X, y = images(200, 2)
    outliers = {
        "noise": np.random.default_rng(0).random((80, *SHAPE)),
        "mirrored": X[..., ::-1],
    }
    classifier = SoftmaxClassifier.from_module(network, ["a", "b", "c"], SHAPE)
    network.n_rows = 0
    table = compare_scores(classifier, X, y, outliers, n_resamples=50, random_state=0)
    assert network.n_rows <= 16 * 30  # 480 images, each once, and the two that find the layer
    names = [*scores_of_network((np.eye(K), np.zeros(K)))]
    assert table.score.unique().tolist() == names
    assert len(table) == len(names) * (1 + 2 * len(outliers))
    assert (table.low <= table.value).all() and (table.value <= table.high).all()
    only = {"max_logit": clone(scores_of_network((np.eye(K), np.zeros(K)))["max_logit"])}
    one = compare_scores(
        classifier, X, y, outliers["noise"], scores=only, test_size=0.3, n_resamples=9
    )
    assert one.outliers.tolist() == ["", "unknown", "unknown"]
    assert one.metric.tolist() == ["aurc", "auroc", "tnr95"]
    again = compare_scores(classifier, X, y, outliers, n_resamples=50, random_state=0)
    np.testing.assert_array_equal(again.value, table.value)


def test_the_comparison_is_on_rows_that_taught_nothing(network):
    X, y = images(200, 2)
    classifier = SoftmaxClassifier.from_module(network, ["a", "b", "c"], SHAPE)
    names = scores_of_network((np.eye(K), np.zeros(K)))
    noise = np.random.default_rng(0).random((60, *SHAPE))
    table = compare_scores(
        classifier,
        X,
        y,
        noise,
        scores={"max_proba": names["max_proba"].set_params(linear=None)},
        n_resamples=9,
        random_state=0,
    )
    assert table.value.min() >= 0 and table.value.max() <= 1
    confidence = classifier.score_samples(X)
    assert aurc_score(y, classifier.predict(X), confidence) < 0.05
