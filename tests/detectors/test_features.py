import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch
from torch import nn

from sklearn_ood import (
    MahalanobisDistance,
    NetFeatures,
    NoveltyDetector,
    SoftmaxClassifier,
    Subspace,
    load,
    save,
)
from sklearn_ood.detectors import last_linear
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


class Residual(nn.Module):
    """The layers' names and the order of torchvision's ResNet."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 3, 1, 1), nn.BatchNorm2d(6)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 2)

    def forward(self, images):
        return self.fc(self.avgpool(torch.relu(self.bn1(self.conv1(images)))).flatten(1))


class Transformer(nn.Module):
    """A vision transformer, whose blocks have linear layers of their own."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 4, 4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.heads = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 2))

    def tokens(self, images):
        return self.blocks(self.patches(images).flatten(2).transpose(1, 2))

    def forward(self, images):
        return self.heads(self.tokens(images)[:, 0])


def mobile():
    """MobileNet's: the classifier is several layers, the last of which is linear."""
    features = nn.Sequential(nn.Conv2d(1, 6, 3, 2), nn.BatchNorm2d(6), nn.Hardswish())
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = nn.Sequential(nn.Linear(6, 5), nn.Hardswish(), nn.Dropout(), nn.Linear(5, 2))
    return nn.Sequential(features, pool, classifier)


class Returns(nn.Module):
    """A network in a class that returns its outputs in some other way."""

    def __init__(self, network, pack):
        super().__init__()
        self.network, self.pack = network, pack

    def forward(self, images):
        return self.pack(self.network(images))


def as_classifier(network):
    return SoftmaxClassifier.from_module(network, ["bar", "dot"], (1, 12, 12))


@pytest.mark.parametrize("network", [Residual(), Transformer(), mobile()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pack", [None, lambda out: (out, 0), lambda out: Bunch(logits=out)])
def test_features_and_last_layer_of_any_network_make_its_logits(images, network, dtype, pack):
    X, _ = images
    network = deepcopy(network).to(dtype)
    classifier = as_classifier(Returns(network, pack) if pack else network)
    features = NetFeatures(FrozenEstimator(classifier)).fit_transform(X)
    weight, bias = last_linear(FrozenEstimator(classifier))
    assert weight.shape == (2, features.shape[1])
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(X).to(dtype)).double().numpy()
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    np.testing.assert_allclose(features @ weight.T + bias, logits, atol=tolerance)
    proba = classifier.predict_log_proba(X)
    np.testing.assert_allclose(
        proba[:, 1] - proba[:, 0], logits[:, 1] - logits[:, 0], atol=tolerance
    )


@pytest.mark.parametrize(
    ("pack", "expected"),
    [
        (lambda tokens: tokens[:, 0], lambda tokens: tokens[:, 0]),
        (lambda tokens: tokens, lambda tokens: tokens.mean(1)),
        (lambda tokens: (tokens[:, 1], tokens), lambda tokens: tokens[:, 1]),
        (
            lambda tokens: Bunch(last_hidden_state=tokens, pooler_output=tokens[:, 2]),
            lambda tokens: tokens[:, 2],
        ),
        (
            lambda tokens: Bunch(last_hidden_state=tokens, image_embeds=tokens[:, 0]),
            lambda tokens: tokens[:, 0],
        ),
        (
            lambda tokens: Bunch(last_hidden_state=tokens, pooler_output=None),
            lambda tokens: tokens.mean(1),
        ),
    ],
)
def test_a_backbone_is_read_at_what_it_returns(images, pack, expected):
    X, y = images
    network = Transformer().eval()
    network.forward = network.tokens
    backbone = Returns(network, pack)
    features = NetFeatures(backbone).fit(X)
    with torch.no_grad():
        tokens = network.tokens(torch.from_numpy(X))
    found = features.transform(X)
    np.testing.assert_allclose(found, expected(tokens).numpy(), atol=1e-5)
    flat = NetFeatures(backbone, input_shape=(1, 12, 12)).fit(X.reshape(40, -1))
    np.testing.assert_array_equal(flat.transform(X.reshape(40, -1)), found)
    pipe = make_pipeline(NetFeatures(backbone), MahalanobisDistance()).fit(X, y)
    assert pipe.predict(X).shape == (40,)
    novelty = make_pipeline(NetFeatures(backbone), NoveltyDetector(Subspace(), random_state=0))
    assert set(novelty.fit(X).predict(X[:1])) <= {-1, 1}


def test_a_backbone_returns_something_else(images):
    X, _ = images
    with pytest.raises(TypeError, match="returns dict"):
        NetFeatures(Returns(mobile(), lambda out: {"x": out})).fit(X).transform(X)
    with pytest.raises(TypeError, match="returns dict"):
        as_classifier(Returns(mobile(), lambda out: {"x": out}))


@pytest.mark.parametrize("network", ["frozen", "trained", "backbone"])
def test_pipelines_where_metadata_are_routed(images, network, fitted):
    X, y = images
    small = SoftmaxClassifier(max_epochs=1, hidden_layer_sizes=(2,), random_state=0)
    given = {"frozen": FrozenEstimator(fitted), "trained": small, "backbone": Residual()}
    with config_context(enable_metadata_routing=True):
        last = LogisticRegression().set_fit_request(sample_weight=True)
        last.set_score_request(sample_weight=True)
        pipe = make_pipeline(NetFeatures(given[network]), last)
        assert (
            cross_val_score(pipe, X, y, cv=2, params={"sample_weight": np.ones(40)}).min() > 0
        )
        assert pipe.fit(X, y).predict(X).shape == (40,)
        asking = NetFeatures(small.set_fit_request(sample_weight=True))
        with pytest.raises((UnsetMetadataPassedError, TypeError), match="sample_weight"):
            make_pipeline(asking, LogisticRegression()).fit(X, y, sample_weight=np.ones(40))


def test_batches_of_a_size(images, fitted):
    X, _ = images
    seen = []
    network = fitted.net_.module_.network
    handle = network.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    try:
        all_at_once = NetFeatures(FrozenEstimator(fitted)).fit(X).transform(X)
        some = NetFeatures(FrozenEstimator(fitted), batch_size=16).fit(X)
        seen.clear()
        np.testing.assert_allclose(some.transform(X), all_at_once, atol=1e-6)
    finally:
        handle.remove()
    assert seen == [16, 16, 16]  # the last is filled up


def test_networks_that_end_in_no_linear_layer(images):
    X, _ = images
    pooled_maps = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="without a linear layer"):
        NetFeatures(FrozenEstimator(as_classifier(pooled_maps))).fit(X)
    with pytest.warns(UserWarning, match="outputs are probabilities, but expected logits"):
        frozen = FrozenEstimator(as_classifier(nn.Sequential(mobile(), nn.Softmax(1))))
    assert NetFeatures(frozen).fit_transform(X).shape == (40, 5)
    with pytest.raises(ValueError, match="not those of its last linear layer '0.2.3'"):
        last_linear(frozen)


class Heads(nn.Module):
    """Of which another may run last, or the outputs be made further."""

    def __init__(self, pack, *, last=None):
        super().__init__()
        self.body, self.pack = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.ReLU()), pack
        self.head = last or nn.Linear(6, 2, bias=False)
        self.second = nn.Linear(6, 2)

    def forward(self, images):
        pooled = self.body(images).mean((2, 3), keepdim=isinstance(self.head, nn.Conv2d))
        return self.pack(self.head(pooled).flatten(1), self.second(pooled.flatten(1)))


ENDS = {
    "another head": Heads(lambda first, second: (first, second)),
    "log-probabilities": Heads(lambda first, _: first.log_softmax(1)),
    "both": Heads(lambda first, second: (first.log_softmax(1), second)),
    "a convolution": Heads(lambda first, _: first, last=nn.Conv2d(6, 2, 1)),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_linear_layer_that_makes_the_outputs_is_found(images, name):
    X, _ = images
    classifier = as_classifier(ENDS[name])
    weight, bias = last_linear(classifier)
    features = NetFeatures(FrozenEstimator(classifier)).fit_transform(X)
    np.testing.assert_allclose(
        (features @ weight.T + bias) @ [-1, 1], classifier.decision_function(X), atol=1e-5
    )


@pytest.mark.parametrize("make", [lambda out: 4 * out, lambda out: out.tanh()])
def test_outputs_that_zeros_would_take_for_those_of_the_last_layer(make):
    network = as_classifier(Heads(lambda first, _: make(first)))
    assert not network.decision_function(np.zeros((1, 1, 12, 12))).any()
    with pytest.raises(ValueError, match="not those of its last linear layer 'second'"):
        last_linear(network)


class Cosine(nn.Linear):
    """Its outputs are of other weights than its own."""

    def forward(self, rows):
        return nn.functional.linear(rows, nn.functional.normalize(self.weight))


def doubled(layer):
    layer.register_forward_hook(lambda _, __, outputs: 2 * outputs)
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 2), nn.ReLU()),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 2), nn.Hardtanh(-9, 9)),
        lambda: Heads(lambda first, _: first, last=Cosine(6, 2, bias=False)),
        lambda: Heads(lambda first, _: first, last=doubled(nn.Linear(6, 2))),
    ],
    ids=["a ReLU follows", "a bound follows", "other weights", "a hook follows"],
)
def test_outputs_that_are_a_linear_layers_by_chance_or_not_by_its_weights(make):
    torch.manual_seed(0)
    network = make()
    if isinstance(network, nn.Sequential):
        network[1].bias.data += 3  # above zero, for the rows that are tried
    with pytest.raises(ValueError, match="not those of its last linear layer"):
        last_linear(as_classifier(network))


class WithAnother(nn.Module):
    """Its second head runs in training alone."""

    def __init__(self):
        super().__init__()
        self.body, self.head = mobile(), nn.Linear(2, 2)
        self.second = nn.Linear(2, 2)

    def forward(self, images):
        rows = self.body(images)
        return (self.head(rows), self.second(rows)) if self.training else self.head(rows)


def traced(network):
    return torch.jit.trace(network, torch.zeros(2, 1, 12, 12), check_trace=False)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (WithAnother, "second"),
        (lambda: traced(mobile().eval()), "1"),
        (lambda: torch.jit.script(mobile().eval()), "1"),
    ],
    ids=["not evaluated", "traced", "scripted"],
)
def test_a_layer_that_is_not_seen_to_run_gives_no_features(images, make, layer):
    network, (X, _) = make().eval(), images
    message = f"Got layer='{layer}', which does not run where the network is evaluated"
    for given in (network, FrozenEstimator(as_classifier(network))):
        with pytest.raises(ValueError, match=message):
            NetFeatures(given, layer=layer, input_shape=(1, 12, 12)).fit(X)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("given", [traced, torch.jit.script], ids=["traced", "scripted"])
def test_a_traced_backbone_is_copied(images, given):
    X, _ = images
    network = mobile().eval()
    features = NetFeatures(given(network)).fit_transform(X)
    with torch.no_grad():
        np.testing.assert_allclose(features, network(torch.from_numpy(X)), rtol=1e-4)


def in_place(is_so):
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=is_so), nn.Flatten()
    dense = nn.Linear(300, 4), nn.ReLU(inplace=is_so), nn.Linear(4, 2)
    return nn.Sequential(*layers, *dense).eval()


@pytest.mark.parametrize("layer", ["0", "1", "2", "4", "6", None])
def test_features_are_those_before_a_layer_that_works_in_place(images, layer):
    X, _ = images
    found, expected = (
        NetFeatures(FrozenEstimator(as_classifier(in_place(is_so))), layer=layer).fit_transform(
            X
        )
        for is_so in (True, False)
    )
    np.testing.assert_array_equal(found, expected)


class Overwriting(nn.Module):
    """It overwrites what its last layer took, as where memory is scarce."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(144, 2)

    def forward(self, images):
        rows = 2 * images.flatten(1)
        outputs = self.last(rows)
        rows.zero_()
        return outputs


def test_features_are_those_before_they_are_overwritten(images):
    X, _ = images
    features = NetFeatures(FrozenEstimator(as_classifier(Overwriting()))).fit_transform(X)
    np.testing.assert_array_equal(features, 2 * X.reshape(40, -1))


def compiled_in_place(network):
    network.compile(backend="eager")
    return network


def exported(network):
    example = (torch.zeros(2, 1, 12, 12),)
    batch = ({0: torch.export.Dim("n", max=4096)},)
    return torch.export.export(network, example, dynamic_shapes=batch).module()


@pytest.mark.parametrize(
    "given",
    [lambda network: torch.compile(network, backend="eager"), compiled_in_place, exported],
)
def test_compiled_and_exported_networks(images, given):
    X, _ = images
    network = mobile().eval()
    plain, classifier = as_classifier(deepcopy(network)), as_classifier(given(network))
    for _ in range(2):  # the second time of a compiled one is another
        np.testing.assert_allclose(
            classifier.predict_proba(X), plain.predict_proba(X), rtol=1e-5
        )
    if given is exported:  # has no layers
        return
    features = [
        NetFeatures(FrozenEstimator(each)).fit_transform(X) for each in (classifier, plain)
    ]
    np.testing.assert_allclose(*features, atol=1e-6)


@pytest.mark.parametrize("network", [mobile(), Residual()])
def test_a_network_that_its_owner_trains_further_is_evaluated(images, network):
    X, _ = images
    network = deepcopy(network)
    classifier, features = as_classifier(network), NetFeatures(network).fit(X)
    expected = classifier.score_samples(X), features.transform(X)
    network.train()
    np.testing.assert_array_equal(features.transform(X), expected[1])
    np.testing.assert_array_equal(classifier.score_samples(X), expected[0])
    assert not any(layer.training for layer in network.modules())


def test_hints_for_channels_last_and_unsorted_names(images):
    X, _ = images
    with pytest.raises(ValueError, match="channels come first"):
        SoftmaxClassifier.from_module(Residual(), [0, 1], (12, 12, 1))
    with pytest.raises(ValueError, match="channels come first"):
        as_classifier(Residual()).predict(X.transpose(0, 2, 3, 1))
    with pytest.raises(ValueError, match="numpy.argsort"):
        SoftmaxClassifier.from_module(Residual(), ["dot", "bar"], (1, 12, 12))


def test_a_saved_backbone_answers_as_before(images, tmp_path):
    X, _ = images
    pipe = make_pipeline(NetFeatures(Residual()), MahalanobisDistance()).fit(X)
    save(pipe, tmp_path / "model.ood", modules=[Residual()])
    loaded = load(tmp_path / "model.ood", modules=[Residual()])
    np.testing.assert_array_equal(loaded.score_samples(X), pipe.score_samples(X))
