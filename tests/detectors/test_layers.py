import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from torch import nn

from sklearn_ood import NetFeatures, SoftmaxClassifier, Subspace
from sklearn_ood.detectors import last_linear
from sklearn_ood.detectors._layers import uncompiled

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
Y = np.arange(40) % 3


class TwoHeads(nn.Module):
    """The mean of two heads, as of networks that were distilled; or another way of both."""

    def __init__(self, join=lambda one, other: (one + other) / 2):
        super().__init__()
        self.first, self.second = nn.Linear(6, 4), nn.Linear(6, 5)
        self.head, self.distilled, self.join = nn.Linear(4, 3), nn.Linear(5, 3, False), join

    def forward(self, rows):
        one, other = self.head(self.first(rows)), self.distilled(self.second(rows).tanh())
        return self.join(one, other)


def test_the_mean_of_heads_is_one_linear_layer():
    classifier = SoftmaxClassifier.from_module(network := TwoHeads(), [0, 1, 2], 6)
    features = NetFeatures(FrozenEstimator(classifier)).fit(X)
    weight, bias = last_linear(classifier)
    with torch.no_grad():
        expected = network(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(features.transform(X) @ weight.T + bias, expected, atol=1e-6)
    assert features.layer_ == ("head", "distilled")
    assert len(Subspace(linear=(weight, bias)).fit(features.transform(X)).origin_) == 9


@pytest.mark.parametrize("join", [lambda one, other: one * other, torch.maximum, torch.add])
def test_what_is_no_mean_of_heads_is_none(join):
    classifier = SoftmaxClassifier.from_module(TwoHeads(join), [0, 1, 2], 6)
    with pytest.raises(ValueError, match="last linear layer 'distilled', nor the mean"):
        last_linear(classifier)


def test_of_many_layers_the_nearest_names_are_named():
    network = nn.Sequential(*[nn.Linear(6, 6) for _ in range(30)], nn.Linear(6, 3))
    classifier = SoftmaxClassifier.from_module(network, [0, 1, 2], 6)
    with pytest.raises(ValueError, match=r"\['17', .* or of 21 others") as error:
        NetFeatures(FrozenEstimator(classifier), layer="17x").fit(X)
    assert len(str(error.value)) < 200


def test_networks_are_compiled_again_after_two_threads_have_read_layers():
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph

    first, second = uncompiled(), uncompiled()
    for each in (first, second):
        each.__enter__()
    torch.compile(torch.sin, backend=backend)(torch.ones(2))
    for each in (first, second):  # the one that came first ends first
        each.__exit__(None, None, None)
    assert not compiled
    torch.compile(torch.cos, backend=backend)(torch.ones(2))
    assert compiled


class ImagesAndText(nn.Module):
    """As CLIP: text comes first, and images have a method."""

    def forward(self, text=None, images=None):
        return images.shape

    def get_image_features(self, images):
        return 2 * images


def test_images_beside_text():
    np.testing.assert_array_equal(NetFeatures(ImagesAndText()).fit(X).transform(X), 2 * X)


@pytest.mark.parametrize("network", [nn.Linear(5, 2), nn.Bilinear(6, 6, 2)])
def test_a_backbone_that_cannot_take_the_rows_is_refused_by_fit(network):
    with pytest.raises(ValueError, match=r"a backbone that cannot take inputs of shape \(6,\)"):
        NetFeatures(network).fit(X)
