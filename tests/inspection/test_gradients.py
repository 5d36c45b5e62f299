import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from torch import nn

from sklearn_ood import (
    COOLClassifier,
    DAEClassifier,
    DAEConfidence,
    InputGradientsDisplay,
    RejectClassifier,
    SoftmaxClassifier,
)

X, y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def iris():
    return SoftmaxClassifier(max_epochs=5, random_state=0).fit(X, y)


@pytest.mark.parametrize("kind", [SoftmaxClassifier, RejectClassifier])
def test_plain_gradients_are_finite_differences_of_the_top_logit(kind):
    network = nn.Sequential(
        nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3 + (kind is RejectClassifier))
    )
    classifier = kind(network, max_epochs=2, random_state=0).fit(X, y)
    module = classifier.net_.module_.double()
    predicted = torch.as_tensor(classifier.classes_.searchsorted(predict(module, X)))

    def top_logits(rows):
        with torch.no_grad():
            return module(torch.as_tensor(rows)).gather(1, predicted[:, None])[:, 0].numpy()

    steps = 1e-5 * np.eye(4)
    expected = [(top_logits(X + step) - top_logits(X - step)) / 2e-5 for step in steps]
    module.float()
    assert np.allclose(classifier.input_gradients(X), np.transpose(expected), atol=1e-4)


def predict(module, rows):
    with torch.no_grad():
        return module(torch.as_tensor(rows))[:, :3].argmax(dim=1).numpy()


def test_guided_gradients_drop_what_is_negative_at_a_relu():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(2))
        network[0].bias.zero_()
        network[2].weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 0.0]]))
        network[2].bias.copy_(torch.tensor([5.0, 0.0]))
    classifier = SoftmaxClassifier.from_module(network, [0, 1], input_shape=2)
    point = np.array([[1.0, 1.0]])
    assert np.allclose(classifier.input_gradients(point), [[1.0, -2.0]])
    assert np.allclose(classifier.input_gradients(point, guided=True), [[1.0, 0.0]])
    assert np.allclose(classifier.input_gradients(point), [[1.0, -2.0]])


def test_a_rows_gradient_does_not_depend_on_its_batch(iris):
    together = iris.input_gradients(X, guided=True)
    assert np.array_equal(iris.input_gradients(X[7:8], guided=True)[0], together[7])


@pytest.mark.parametrize("layers", [1, 2])
def test_guided_gradients_pass_relus_that_work_in_place(layers):
    def deep(in_place):
        torch.manual_seed(0)
        hidden = [(nn.Linear(2, 2), nn.ReLU(inplace=in_place)) for _ in range(layers)]
        return nn.Sequential(*[layer for pair in hidden for layer in pair], nn.Linear(2, 2))

    X = np.random.default_rng(0).normal(size=(9, 2))
    of_copies, in_place = (
        SoftmaxClassifier.from_module(deep(each), [0, 1], 2) for each in (False, True)
    )
    expected = of_copies.input_gradients(X, guided=True)
    np.testing.assert_array_equal(in_place.input_gradients(X, guided=True), expected)
    assert in_place.module[1].inplace


def test_guided_without_relus_is_an_error():
    classifier = SoftmaxClassifier.from_module(nn.Linear(2, 2), [0, 1], input_shape=2)
    with pytest.raises(ValueError, match=r"without nn\.ReLU"):
        classifier.input_gradients([[0.0, 1.0]], guided=True)


def test_display_shows_images_and_rows(iris):
    pytest.importorskip("matplotlib")
    digits, target = load_digits(return_X_y=True)
    images = digits[:50].reshape(-1, 1, 8, 8)
    classifier = SoftmaxClassifier(max_epochs=1, random_state=0).fit(images, target[:50])
    display = InputGradientsDisplay.from_estimator(classifier, images[:3])
    assert display.axes_.shape == (2, 3)
    assert display.gradients.shape == (3, 1, 8, 8)
    assert [axes.get_title() for axes in display.axes_[0]] == list(
        map(str, classifier.predict(images[:3]))
    )
    rows = InputGradientsDisplay.from_estimator(iris, X[:2], guided=False)
    assert len(rows.axes_[0, 0].patches) == 4


@pytest.mark.parametrize("kind", [COOLClassifier, DAEConfidence])
def test_other_net_classifiers_have_them_too(kind):
    classifier = kind(max_epochs=1, random_state=0).fit(X, y)
    gradients = classifier.input_gradients(X)
    assert gradients.shape == X.shape
    assert np.abs(gradients).max() > 0


def test_no_net_no_gradients():
    classifier = DAEClassifier(LogisticRegression(max_iter=500), max_epochs=1).fit(X, y)
    with pytest.raises(TypeError, match="net of its own"):
        classifier.input_gradients(X)
