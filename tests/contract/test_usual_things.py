"""What people have: networks and estimators of others, wide tables, settings from files."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KernelDensity
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_ood import (
    CombinedClassifier,
    DAEClassifier,
    GenerativeClassifier,
    GeValDi,
    NeighborDistance,
    NoveltyDetector,
    RejectClassifier,
    SelectiveClassifier,
    SoftmaxClassifier,
    TableEncoder,
)

X, Y = load_iris(return_X_y=True)
TINY = {"max_epochs": 2, "random_state": 0}


def in_single(rows):
    if np.asarray(rows).dtype != np.float32:
        raise TypeError("expected scalar type Float but found Double")
    return rows


class SingleClassifier(ClassifierMixin, BaseEstimator):
    """Of another library, which takes float32 alone and answers in it."""

    def fit(self, X, y):
        self.inner_ = LogisticRegression(max_iter=500).fit(in_single(X), y)
        self.classes_ = self.inner_.classes_
        return self

    def predict(self, X):
        return self.inner_.predict(in_single(X))

    def predict_proba(self, X):
        return self.inner_.predict_proba(in_single(X)).astype(np.float32)


class SingleDensity(BaseEstimator):
    """A density that takes float32 alone."""

    def fit(self, X, y=None):
        self.inner_ = KernelDensity().fit(in_single(X))
        return self

    def score_samples(self, X):
        return self.inner_.score_samples(in_single(X)).astype(np.float32)


def skorch_net():
    layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    return NeuralNetClassifier(layers, criterion=nn.CrossEntropyLoss, max_epochs=2, verbose=0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("inner", [SingleClassifier(), skorch_net()])
@pytest.mark.parametrize(
    "around",
    [
        lambda inner: SelectiveClassifier(inner, coverage=0.8, random_state=0),
        lambda inner: CombinedClassifier(inner, random_state=0),
        lambda inner: CombinedClassifier(LogisticRegression(), [("m", inner)], random_state=0),
        lambda inner: GeValDi([("a", inner), ("b", LogisticRegression())], random_state=0),
        lambda inner: DAEClassifier(inner, **TINY),
    ],
)
def test_classifiers_that_take_float32_alone(around, inner, dtype):
    model = around(inner).fit(X.astype(dtype), Y)
    assert np.isfinite(model.score_samples(X.astype(dtype))).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_densities_that_take_float32_alone(dtype):
    rows, members = X.astype(dtype), [("density", SingleDensity())]
    for model in (NoveltyDetector(SingleDensity()), CombinedClassifier(None, members)):
        assert np.isfinite(model.fit(rows, np.ones(150)).score_samples(rows)).all()


def test_other_errors_of_members_are_theirs():
    class Broken(SingleClassifier):
        def fit(self, X, y):
            raise ValueError("no float64, and nothing else")

    with pytest.raises(ValueError, match="and nothing else"):
        SelectiveClassifier(Broken(), coverage=0.8).fit(X, Y)


class Answering(nn.Linear):
    """Gives its logits in one of the ways of other libraries."""

    def __init__(self, answer):
        super().__init__(4, 3)
        self.answer = answer

    def forward(self, rows):
        return self.answer(super().forward(rows))


@pytest.mark.parametrize(
    "answer",
    [
        lambda logits: (logits, logits.sum()),
        lambda logits: [logits],
        lambda logits: SimpleNamespace(logits=logits, loss=None),
    ],
)
def test_networks_that_give_more_than_logits(answer):
    network, plain = Answering(answer), nn.Linear(4, 3)
    plain.load_state_dict(network.state_dict())
    given, expected = (
        SoftmaxClassifier.from_module(each, [0, 1, 2], 4) for each in (network, plain)
    )
    np.testing.assert_array_equal(given.predict_proba(X), expected.predict_proba(X))
    assert SoftmaxClassifier(network, **TINY).fit(X, Y).loss_curve_[-1] > 0


@pytest.mark.parametrize("answer", [lambda logits: {"logits": logits}, lambda logits: None])
def test_networks_whose_answer_has_no_logits(answer):
    with pytest.raises(TypeError, match=r"expected a tensor of logits.*wrap it"):
        SoftmaxClassifier.from_module(Answering(answer), [0, 1, 2], 4).predict(X)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_networks_of_another_precision(dtype):
    classifier = SoftmaxClassifier.from_module(nn.Linear(4, 3).to(dtype), [0, 1, 2], 4)
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1.0)


@pytest.mark.parametrize(
    "sizes", [np.int64(8), [8], (np.int32(8),), np.array([8]), range(8, 9), np.array(8)[()]]
)
def test_sizes_of_layers_as_they_are_read_from_files(sizes):
    expected = SoftmaxClassifier(hidden_layer_sizes=(8,), **TINY).fit(X, Y)
    given = SoftmaxClassifier(hidden_layer_sizes=sizes, **TINY).fit(X, Y)
    np.testing.assert_array_equal(given.score_samples(X), expected.score_samples(X))


@pytest.mark.parametrize("parameters", [{"batch_size": 64.0}, {"max_epochs": np.float64(3)}])
def test_whole_numbers_as_floats_are_named(parameters):
    with pytest.raises(ValueError, match=r"Got \w+=.*, but expected an int"):
        SoftmaxClassifier(**parameters).fit(X, Y)


def test_a_network_without_weights_answers_but_cannot_be_trained():
    given = SoftmaxClassifier.from_module(nn.Identity(), range(4), 4)
    np.testing.assert_array_equal(given.predict(X), X.argmax(axis=1))
    with pytest.raises(ValueError, match="none of whose weights can be trained"):
        SoftmaxClassifier(nn.Linear(4, 3).requires_grad_(False), **TINY).fit(X, Y)


@pytest.mark.parametrize(
    "model",
    [
        CombinedClassifier(LogisticRegression(), random_state=0),
        GenerativeClassifier(random_state=0),
        RejectClassifier(outliers="boundary", device="cpu", **TINY),
    ],
)
def test_wide_tables_take_seconds(model):
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 2
    rows = rng.normal(size=(100, 2000)) + rng.normal(size=(2, 2000))[labels]
    far = rows[:20] + 30
    scores = model.fit(rows, labels).score_samples(np.r_[rows[:20], far])
    if not isinstance(model, RejectClassifier):
        assert scores[:20].min() > scores[20:].max()


@pytest.mark.parametrize("dispatch", [False, True])
def test_tables_in_tensors_are_numbers(dispatch):
    rows = X.astype(np.float32)
    expected = TableEncoder().fit_transform(rows, Y)
    with config_context(array_api_dispatch=dispatch):
        given = TableEncoder().fit(torch.from_numpy(rows), Y).transform(torch.from_numpy(rows))
    np.testing.assert_array_equal(given, expected)


class AnyOrder(ClassifierMixin, BaseEstimator):
    """Of another library, whose classes come in another order than sorted."""

    def __init__(self, order=slice(None)):
        self.order = order

    def fit(self, X, y):
        self.inner_ = LogisticRegression(max_iter=500).fit(X, y)
        self.classes_ = self.inner_.classes_[self.order]
        return self

    def predict(self, X):
        return self.inner_.predict(X)

    def predict_proba(self, X):
        return self.inner_.predict_proba(X)[:, self.order]


OTHER_ORDERS = [[2, 1, 0], [1, 2, 0]]
NEAR = ("near", NeighborDistance())


@pytest.mark.parametrize("order", OTHER_ORDERS)
@pytest.mark.parametrize("labels", [Y, np.array(["a", "b", "c"])[Y]])
@pytest.mark.parametrize(
    "around",
    [
        lambda inner: CombinedClassifier(inner, [NEAR], random_state=0),
        lambda inner: CombinedClassifier(inner, [NEAR, ("own", "classifier")], random_state=0),
        lambda inner: DAEClassifier(inner, **TINY),
    ],
)
def test_classes_in_another_order_are_answered_as_themselves(around, labels, order):
    expected, given = (around(AnyOrder(o)).fit(X, labels) for o in (slice(None), order))
    np.testing.assert_array_equal(given.predict(X), expected.predict(X))
    columns = np.argsort(given.classes_)
    np.testing.assert_allclose(given.predict_proba(X)[:, columns], expected.predict_proba(X))


@pytest.mark.parametrize("order", OTHER_ORDERS)
def test_losses_are_in_the_order_of_the_sorted_labels_whatever_that_of_the_classes(order):
    loss = np.array([[0, 0.3, 1], [1, 0, 0.2], [0.5, 0.9, 0]])
    losses = []
    for classes in (slice(None), order):
        model = SelectiveClassifier(AnyOrder(classes), risk=0.6, loss=loss, random_state=0)
        bounds = [model.fit(X[::2], Y[::2]).guarantee_["loss"].bound]
        bounds += [model.recalibrate(X[1::2], Y[1::2]).guarantee_["loss"].bound]
        model.set_params(estimator=FrozenEstimator(model.estimator_))
        losses.append([*bounds, model.fit(X[1::2], Y[1::2]).guarantee_["loss"].bound])
    assert losses[0] == losses[1]
    assert losses[0][1] == losses[0][2]


class TextClasses(AnyOrder):
    """Of another library, which makes text of labels that are none."""

    def fit(self, X, y):
        return super().fit(X, y.astype(str))


@pytest.mark.parametrize("labels", [Y > 0, Y])
def test_labels_that_a_classifier_learned_as_text_are_named(labels):
    model = SelectiveClassifier(TextClasses(), coverage=0.8, random_state=0)
    with pytest.raises(ValueError, match=r"Got y with labels such as .* that were learned are"):
        model.fit(X, labels)
