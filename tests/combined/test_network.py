"""The combination around a network that someone has trained."""

from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.utils.data import ConcatDataset, Subset

from sklearn_ood import (
    CombinedClassifier,
    COOLClassifier,
    NeighborDistance,
    NetFeatures,
    RejectClassifier,
    SoftmaxClassifier,
    Subspace,
    load,
    save,
)
from sklearn_ood.detectors import LogitScore, compare_scores, last_linear, scores_of_network
from sklearn_ood.metrics import auroc

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


def test_known_images_are_as_seldom_strange_as_said_with_more_features_than_images():
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 400), nn.ReLU(), nn.Linear(400, K))
    X_new, _ = images(600, 9)
    shares = [
        (CombinedClassifier.from_module(wide, *images(240, seed)).p_values(X_new) <= 0.1).mean()
        for seed in range(4)
    ]
    assert np.mean(shares) < 0.1 + 3 * np.sqrt(0.1 * 0.9 / 40 / len(shares))


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
    CombinedClassifier.from_module(network, *images(400, 2), calibration=0.2, random_state=0)
    assert network.n_rows < 3 * 400


def test_flat_rows_and_a_saved_model(model, network, tmp_path):
    X, y = images(400, 2)
    flat = X.reshape(len(X), -1)
    same = CombinedClassifier.from_module(network, flat, y, input_shape=SHAPE, random_state=0)
    np.testing.assert_array_equal(same.score_samples(flat), model.score_samples(X))
    save(model, tmp_path / "model.ood", modules=[network])
    loaded = load(tmp_path / "model.ood", modules=[Network()])
    np.testing.assert_array_equal(loaded.score_samples(X), model.score_samples(X))


def test_a_dataset_alone(network, model):
    X, y = images(400, 2)
    labelled = list(zip(torch.from_numpy(X), y.tolist(), strict=True))
    alone = CombinedClassifier.from_module(
        network, Subset(labelled, range(400)), random_state=0
    )
    np.testing.assert_array_equal(alone.score_samples(X), model.score_samples(X))
    with pytest.raises(ValueError, match="Got no y, and X without labels"):
        CombinedClassifier.from_module(network, Subset(list(X), range(400)))


def test_labels_that_miss_a_class(network):
    X, y = images(400, 2)
    few = y != "b"
    with pytest.raises(ValueError, match=r"expected \(2, 2\); one for each class"):
        CombinedClassifier.from_module(network, X[few], y[few])
    model = CombinedClassifier.from_module(network, X[few], y[few], classes=["a", "b", "c"])
    assert model.predict(X[y == "b"]).tolist().count("b") > 100
    untaught = CombinedClassifier.from_module(
        network, X, np.where(few, y, "a"), classes=["a", "b", "c"], random_state=0
    )  # answers "b" of images that calibrate, too
    assert np.isfinite(untaught.score_samples(X)).all()
    classes = ["a", "b", "c"]
    some = CombinedClassifier.from_module(network, X, y, classes=classes, ood_label="b")
    assert some.classes_.tolist() == classes


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, tokens):
        q, k, v = self.qkv(self.norm1(tokens)).unsqueeze(1).chunk(3, dim=-1)
        seen = nn.functional.scaled_dot_product_attention(q, k, v).squeeze(1)
        tokens = tokens + self.proj(seen)
        return tokens + self.mlp(self.norm2(tokens))


class VisionTransformer(nn.Module):
    """The layers' names and the order of timm's."""

    def __init__(self, width=8):
        super().__init__()
        self.patch_embed = nn.Conv2d(1, width, 4, 4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks, self.norm = nn.Sequential(Block(width)), nn.LayerNorm(width)
        self.head_drop, self.head = nn.Dropout(0.5), nn.Linear(width, K)

    def forward(self, images):
        tokens = self.patch_embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.head(self.head_drop(self.norm(self.blocks(tokens))[:, 0]))


class WithLogits(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixel_values):
        return SimpleNamespace(logits=self.network(pixel_values))


WRAPPED = {
    "transformer in training": lambda: VisionTransformer().train(),
    "logits": lambda: WithLogits(VisionTransformer()),
    "bfloat16": lambda: VisionTransformer().bfloat16(),
    "compiled": lambda: torch.compile(VisionTransformer(), backend="eager"),
    "data parallel": lambda: nn.DataParallel(VisionTransformer()),
    "no gradients": lambda: VisionTransformer().requires_grad_(False),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_networks_as_people_have_them(name):
    torch.manual_seed(0)
    own = WRAPPED[name]()
    seen = []
    last = [layer for layer in own.modules() if isinstance(layer, nn.Linear)][-1]
    last.register_forward_hook(lambda *_: seen.append(1))
    model = CombinedClassifier.from_module(own, *images(200, 2), random_state=0)
    assert list(model.members_) == ["vim", "nci", "energy", "react", "pixels"]
    X, _ = images(40, 3)
    np.testing.assert_array_equal(model.score_samples(X[5:21]), model.score_samples(X)[5:21])
    assert seen  # a hook of the user's own works, and ours are gone
    assert sum(len(vars(layer)["_forward_hooks"]) for layer in own.modules()) == 1


def test_a_network_without_a_linear_end_keeps_probability_and_pixels():
    end = nn.Sequential(nn.Conv2d(1, K, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.warns(UserWarning, match="none of its features"):
        model = CombinedClassifier.from_module(end, *images(200, 2), random_state=0)
    assert list(model.members_) == ["confidence", "pixels"]


@pytest.mark.parametrize("classifier", ["frozen", None])
def test_members_before_which_stands_a_backbone_see_images(network, classifier):
    X, y = images(200, 2)
    if classifier:
        classifier = FrozenEstimator(SoftmaxClassifier.from_module(network, [*"abc"], SHAPE))
    reads = NetFeatures(nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(2)))
    members = [("near", make_pipeline(reads, NeighborDistance()))]
    model = CombinedClassifier(classifier, members, random_state=0).fit(
        X, y if classifier else None
    )
    assert model.members_["near"][0].input_shape_ == SHAPE
    assert model.p_values(X[:1] * 50) < 0.02
    learned = [("net", make_pipeline(reads, SoftmaxClassifier(max_epochs=1)))]
    if classifier:  # what comes after the features is no image
        some = CombinedClassifier(classifier, learned, random_state=0).fit(X, y)
        assert some.members_["net"][-1].input_shape_ == (16,)


def test_compared_scores_are_those_of_each_alone(network):
    X, y = images(200, 2)
    noise = np.random.default_rng(0).random((80, *SHAPE))
    outliers = {"noise": noise, "mirrored": X[..., ::-1]}
    classifier = SoftmaxClassifier.from_module(network, ["a", "b", "c"], SHAPE)
    network.n_rows = 0
    table = compare_scores(classifier, X, y, outliers, n_resamples=50, random_state=0)
    # In sixteens; the layer is found twice by two rows, and by two whose logits are moved.
    assert network.n_rows == 208 + 80 + 208 + 2 * (2 + 2)
    layer = last_linear(classifier)
    names = list(scores_of_network(layer))
    assert table.score.unique().tolist() == names
    assert len(table) == len(names) * (1 + 2 * len(outliers))
    assert (table.low <= table.value).all()
    assert (table.value <= table.high).all()
    learn, judge = train_test_split(np.arange(200), test_size=0.5, random_state=0)
    features = NetFeatures(FrozenEstimator(classifier))
    vim = make_pipeline(features, Subspace(linear=layer)).fit(X[learn])
    scores = np.append(vim.score_samples(X[judge]), vim.score_samples(noise))
    of_vim = table[(table.score == "ViM") & (table.outliers == "noise")]
    assert of_vim.value.iloc[0] == auroc(np.arange(180) < 100, scores)


def test_one_score_and_outliers_without_a_name(network):
    X, y = images(200, 2)
    classifier = SoftmaxClassifier.from_module(network, ["a", "b", "c"], SHAPE)
    table = compare_scores(
        classifier, X, y, X[:50] + 3, scores={"mine": KernelDensity()}, n_resamples=9
    )
    assert table.outliers.tolist() == ["", "unknown", "unknown"]
    assert table.metric.tolist() == ["aurc", "auroc", "tnr95"]
    assert set(table.score) == {"mine"}


def compared(network, X, y, outliers=None):
    classifier = SoftmaxClassifier.from_module(network, ["a", "b", "c"], SHAPE)
    scores = {"one": LogitScore(linear=last_linear(classifier))}
    others = images(20, 3)[0] if outliers is None else outliers
    return compare_scores(
        classifier, X, y, others, scores=scores, n_resamples=9, random_state=0
    )


def test_scores_are_compared_on_datasets_and_their_labels(network):
    X, y = images(40, 2)
    labelled = [(torch.from_numpy(x), str(label)) for x, label in zip(X, y, strict=True)]
    expected = compared(network, X, y)
    assert compared(network, ConcatDataset([labelled]), None).equals(expected)
    assert compared(network, torch.from_numpy(X), y.tolist()).equals(expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": None}, "Got y=None"),
        ({"y": np.arange(40) % 3}, r"the classes that were learned are \['a', 'b', 'c'\]"),
        ({"y": np.array(["a", "z"] * 20)}, r"labels \['z'\].*not taught.*as outliers"),
        ({"y": np.array(["a", "b"] * 5)}, "inconsistent numbers"),
        ({"outliers": images(9)[0][:0]}, "0 sample"),
    ],
)
def test_what_scores_cannot_be_compared_on(network, given, message):
    X, y = images(40, 2)
    with pytest.raises(ValueError, match=message):
        compared(network, **{"X": X, "y": y} | given)


@pytest.mark.parametrize("method", [RejectClassifier, COOLClassifier])
def test_scores_of_logits_need_one_for_each_class(method):
    X, y = images(60, 2)
    classifier = method(max_epochs=1, random_state=0).fit(X, y)
    assert NetFeatures(FrozenEstimator(classifier)).fit_transform(X).shape == (60, 128)
    with pytest.raises(ValueError, match="outputs, one for each class, are not those"):
        compare_scores(classifier, X, y, X)
