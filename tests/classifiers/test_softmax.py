import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from scipy.stats import entropy
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_blobs
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from sklearn_ood import SoftmaxClassifier
from sklearn_ood.nets._evaluation import forward


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X).astype(np.float32), y


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


@pytest.fixture(scope="module")
def fitted(iris):
    return SoftmaxClassifier(max_epochs=40, random_state=0).fit(*iris)


def tiny(**parameters):
    return SoftmaxClassifier(
        hidden_layer_sizes=(8,), **{"max_epochs": 2, "random_state": 0} | parameters
    )


def test_confidences_are_their_formulas(iris, fitted):
    X, _ = iris
    logits = forward(fitted.net_, X)
    log_p = log_softmax(logits, axis=1)
    top = np.sort(log_p, axis=1)
    centred = logits - logits.mean(axis=1, keepdims=True)
    expected = {
        "max_proba": top[:, -1],
        "entropy": -entropy(np.exp(log_p), axis=1),
        "margin": top[:, -1] - top[:, -2],
        "max_logit": logits.max(axis=1),
        "energy": logsumexp(logits, axis=1),
        "generalized_entropy": -((np.exp(log_p) * -np.expm1(log_p)) ** 0.1).sum(axis=1),
        "max_logit_pnorm": centred.max(axis=1) / np.linalg.norm(centred, 5, axis=1),
    }
    for confidence, value in expected.items():
        scores = fitted.set_params(score_function=confidence).score_samples(X)
        np.testing.assert_allclose(scores, value, rtol=1e-9, atol=1e-12)
    fitted.set_params(score_function="max_proba")
    np.testing.assert_allclose(fitted.decision_function(X).max(axis=1), top[:, -1], atol=1e-12)


def test_odin_is_the_score_at_the_moved_input(iris, fitted):
    X, _ = iris
    odin = copy.deepcopy(fitted).set_params(epsilon=0.05)
    odin.temperature_ = 10.0
    inputs = torch.from_numpy(X).requires_grad_()
    log_p = torch.log_softmax(odin.net_.module_(inputs) / 10, dim=1).max(dim=1).values
    (gradient,) = torch.autograd.grad(log_p.sum(), inputs)
    with torch.no_grad():
        moved = odin.net_.module_(inputs + 0.05 * gradient.sign()).numpy() / 10
    expected = log_softmax(moved.astype(float), axis=1).max(axis=1)
    np.testing.assert_allclose(odin.score_samples(X), expected, atol=1e-5)
    assert (odin.score_samples(X) > odin.set_params(epsilon=0.0).score_samples(X)).mean() > 0.9


def test_saturated_rows_can_still_be_told_apart():
    """Logits 60 and 80 apart both have probability 1.0 in float64, and other scores."""
    network = torch.nn.Linear(1, 2, bias=False)
    network.weight.data = torch.tensor([[1.0], [0.0]])
    classifier = SoftmaxClassifier.from_module(network, [0, 1], input_shape=1)
    X = [[60.0], [80.0]]
    assert (classifier.predict_proba(X)[:, 0] == 1.0).all()
    assert classifier.score_samples(X)[1] > classifier.score_samples(X)[0]


def test_two_classes_give_one_decision_column(iris):
    X, y = iris
    X, y = X[y > 0], y[y > 0]
    classifier = tiny(max_epochs=20).fit(X, y)
    decision = classifier.decision_function(X)
    assert decision.shape == (len(X),)
    expected = classifier.classes_[1 * (decision > 0)]
    np.testing.assert_array_equal(classifier.predict(X), expected)
    proba = classifier.predict_proba(X)
    np.testing.assert_allclose(decision, np.log(proba[:, 1]) - np.log(proba[:, 0]), rtol=1e-6)


def test_same_seed_same_bits_and_global_generators_untouched(iris):
    X, y = iris
    torch_state, numpy_state = torch.get_rng_state(), pickle.dumps(check_random_state(None))
    first, second = (tiny(dropout=0.5).fit(X, y).score_samples(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert pickle.dumps(check_random_state(None)) == numpy_state
    assert (tiny(random_state=1).fit(X, y).score_samples(X) != first).any()


@pytest.mark.parametrize("module", ["mlp", "small_cnn"])
def test_a_rows_score_does_not_depend_on_its_batch(digits, module):
    X, y = digits
    classifier = tiny(module=module, input_shape=(1, 8, 8), max_epochs=1).fit(X, y)
    whole = classifier.score_samples(X)
    for n_rows in (1, 2, 3, 17, 100):
        np.testing.assert_array_equal(classifier.score_samples(X[:n_rows]), whole[:n_rows])


def test_pickle_and_clone(iris, fitted):
    X, y = iris
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    refitted = clone(fitted).fit(X, y)
    np.testing.assert_array_equal(refitted.score_samples(X), fitted.score_samples(X))


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["setosa", "versicolor", "virginica"]),
        np.array(["a", "bb", "c"], dtype=object),
        np.array([30, 10, 20]),
        np.array([2.0, 0.0, 1.0]),
    ],
)
def test_labels_of_every_kind(iris, labels):
    X, y = iris
    classifier = SoftmaxClassifier(max_epochs=40, random_state=0).fit(X, labels[y])
    assert classifier.score(X, labels[y]) > 0.9
    np.testing.assert_array_equal(classifier.classes_, np.unique(labels))


def test_boolean_labels_and_frames(iris):
    X, y = iris
    frame = pd.DataFrame(X, columns=list("abcd"))
    classifier = tiny(max_epochs=20).fit(frame, pd.Series(y == 0))
    assert classifier.predict(frame).dtype == bool
    assert list(classifier.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names should match"):
        classifier.predict(frame[["b", "a", "c", "d"]])


def test_set_output_of_a_scaler_in_front_and_grid_search(iris):
    X, y = iris
    pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), tiny())
    grid = {
        "softmaxclassifier__lr": [1e-4, 3e-2],
        "softmaxclassifier__hidden_layer_sizes": [(4,), (8, 8)],
    }
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(pd.DataFrame(X), y)
    assert search.best_params_["softmaxclassifier__lr"] == 3e-2


def test_outlier_rows_form_no_class_and_are_not_trained_on(iris):
    X, y = iris
    with_outliers = tiny(ood_label=-1).fit(np.vstack([X, X + 50]), np.append(y, -np.ones(150)))
    without = tiny().fit(X, y)
    assert list(with_outliers.classes_) == [0, 1, 2]
    np.testing.assert_array_equal(with_outliers.score_samples(X), without.score_samples(X))


def test_images_of_four_dimensions_equal_flat_rows_with_a_shape(digits):
    X, y = digits
    images = X.reshape(-1, 1, 8, 8)
    from_images = tiny(max_epochs=1).fit(images, y)
    from_rows = tiny(max_epochs=1, input_shape=(1, 8, 8)).fit(X, y)
    assert from_images.input_shape_ == (1, 8, 8)
    np.testing.assert_array_equal(from_images.score_samples(images), from_rows.score_samples(X))
    np.testing.assert_array_equal(from_images.score_samples(X), from_rows.score_samples(X))
    tensor = torch.from_numpy(images)
    np.testing.assert_array_equal(from_images.score_samples(tensor), from_rows.score_samples(X))


def test_temperature_calibration_lowers_the_held_out_cross_entropy():
    X, y = make_blobs(600, centers=3, cluster_std=6.0, random_state=0)
    parameters = {"max_epochs": 200, "lr": 0.01, "validation_fraction": 0.3}
    hot = tiny(**parameters, temperature="calibrate").fit(X[:300], y[:300])
    assert hot.temperature_ != 1.0
    fixed = copy.deepcopy(hot)
    fixed.temperature_ = 1.0

    def cross_entropy(classifier):
        return -classifier.predict_log_proba(X[300:])[np.arange(300), y[300:]].mean()

    assert cross_entropy(hot) < cross_entropy(fixed)
    np.testing.assert_array_equal(hot.predict(X), fixed.predict(X))


def test_early_stopping_keeps_the_best_epoch(iris):
    X, y = iris
    classifier = tiny(
        max_epochs=200, lr=0.1, early_stopping=True, n_iter_no_change=3, validation_fraction=0.3
    ).fit(X, y)
    losses = classifier.validation_loss_curve_
    assert classifier.n_iter_ == len(losses) == len(classifier.loss_curve_) < 200
    assert np.argmin(losses) == len(losses) - 1 - 3


def test_class_weight_moves_the_border():
    X, y = make_blobs([400, 40], centers=[[0.0, 0.0], [1.5, 0.0]], random_state=0)
    plain, balanced = (
        tiny(max_epochs=30, class_weight=weight).fit(X, y) for weight in (None, "balanced")
    )
    assert (balanced.predict(X) == 1).sum() > 2 * (plain.predict(X) == 1).sum()


@pytest.mark.parametrize("lr_schedule", ["cosine", "step"])
def test_learning_rate_schedules_end_low(iris, lr_schedule):
    classifier = tiny(max_epochs=10, lr=0.01, lr_schedule=lr_schedule).fit(*iris)
    rates = classifier.net_.history[:, "event_lr"]
    assert rates[0] == 0.01
    assert rates[-1] <= 0.0011


def test_progress_bar_goes_to_the_standard_error(iris, capsys):
    tiny(verbose=1).fit(*iris)
    captured = capsys.readouterr()
    assert "it/s" in captured.err
    assert captured.out == ""
    tiny().fit(*iris)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", torch.optim.RMSprop])
def test_optimizers_and_parameters_for_skorch(iris, optimizer):
    classifier = tiny(optimizer=optimizer, net_params={"optimizer__eps": 1e-6})
    if optimizer == "sgd":
        classifier.set_params(net_params={"optimizer__momentum": 0.9})
    assert np.isfinite(classifier.fit(*iris).score_samples(iris[0])).all()


class OwnNetwork(torch.nn.Module):
    def __init__(self, n_features_in, n_outputs):
        super().__init__()
        self.layer = torch.nn.Linear(n_features_in, n_outputs)

    def forward(self, rows):
        return self.layer(rows)


def test_own_network_as_a_class_and_as_an_instance(iris):
    X, y = iris
    assert tiny(module=OwnNetwork, max_epochs=100, lr=0.02).fit(X, y).score(X, y) > 0.8
    network = OwnNetwork(4, 3)
    before = copy.deepcopy(network.state_dict())
    classifier = tiny(module=network).fit(X, y)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert not torch.equal(classifier.net_.module_.network.layer.weight, network.layer.weight)


def test_from_module_is_fitted_and_agrees_with_the_network(digits):
    X, _ = digits
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    classifier = SoftmaxClassifier.from_module(
        network, classes=list("abcdefghij"), input_shape=(1, 8, 8), score_function="energy"
    )
    with torch.no_grad():
        logits = network(torch.from_numpy(X).reshape(-1, 1, 8, 8)).numpy()
    np.testing.assert_array_equal(
        classifier.predict(X), np.array(list("abcdefghij"))[logits.argmax(axis=1)]
    )
    np.testing.assert_allclose(
        classifier.score_samples(X), logsumexp(logits.astype(float), axis=1), atol=1e-5
    )
    assert classifier.n_features_in_ == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("network", [0, 1], 4), "network of type str"),
        ((OwnNetwork(4, 3), [0, 2, 1], 4), r"classes=\[0, 2, 1\].*ascending"),
        ((OwnNetwork(4, 3), [0, 1], 4), r"shape \(2, 3\), but expected \(2, 2\)"),
        ((OwnNetwork(4, 3), [0, 1, 2], 5), r"cannot take inputs of shape \(5,\)"),
    ],
)
def test_from_module_checks_what_it_gets(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        SoftmaxClassifier.from_module(*arguments)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lr": 0.0}, r"lr=0\.0, but expected a float in the range"),
        ({"max_epochs": 0}, "max_epochs=0"),
        ({"batch_size": 2.5}, r"batch_size=2\.5, but expected an int in the range"),
        ({"weight_decay": -1.0}, r"weight_decay=-1\.0"),
        ({"optimizer": "adagrad"}, "optimizer='adagrad', but expected one of"),
        ({"lr_schedule": "linear"}, "lr_schedule='linear'"),
        ({"score_function": "certainty"}, "score_function='certainty', but expected one of"),
        ({"temperature": 0.0}, r"temperature=0\.0"),
        ({"epsilon": -0.1}, r"epsilon=-0\.1"),
        ({"module": "resnet"}, "module='resnet', but expected 'auto' or one of"),
        ({"module": "vgg13"}, r"module='vgg13' for rows of shape \(4,\).*input_shape"),
        ({"module": lambda n_features_in, n_outputs: None}, "returned NoneType"),
        ({"module": OwnNetwork(4, 7)}, r"shape \(2, 7\), but expected \(2, 3\)"),
        ({"module": 3}, "module=3, but expected"),
        ({"hidden_layer_sizes": (0,)}, r"hidden_layer_sizes=\(0,\)"),
        ({"input_shape": (1, 2, 3)}, r"4 features, but input_shape=\(1, 2, 3\) needs 6"),
        ({"input_shape": (2, 2)}, r"input_shape=\(2, 2\), but expected"),
        ({"early_stopping": True, "validation_fraction": 1.0}, r"validation_fraction=1\.0"),
        ({"device": "tpu9"}, "device='tpu9'"),
    ],
)
def test_parameters_out_of_range(iris, parameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        tiny().set_params(**parameters).fit(*iris)


def test_cuda_asked_for_where_there_is_none(iris):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match="device='cuda', but torch sees no CUDA device"):
        tiny(device="cuda").fit(*iris)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([[np.nan, 0.0], [1.0, 1.0]], [0, 1], "NaN"),
        ([[np.inf, 0.0], [1.0, 1.0]], [0, 1], "infinity"),
        (np.empty((0, 2)), [], "0 sample"),
        ([[0.0, 1.0]], [0], "1 class"),
        ([[0.0, 1.0], [2.0, 3.0]], [1, 1], r"1 class \(\[1\]\).*at least 2 classes"),
        ([[0.0, 1.0], [2.0, 3.0]], [-1, -1], "only outlier rows.*ood_label=-1"),
        ([[0.0, 1.0], [2.0, 3.0]], None, "requires y to be passed"),
        ([[0.0, 1.0], [2.0, 3.0]], [0.5, 1.5], "Unknown label type"),
        ([[0.0, 1.0], [2.0, 3.0]], [0, 1, 2], "inconsistent numbers of samples"),
        (np.zeros((4, 8, 8)), [0, 1, 0, 1], r"shape \(4, 8, 8\) with 3 dim.*\[:, None\]"),
    ],
)
def test_rows_that_cannot_be_trained_on(X, y, message):
    with pytest.raises(ValueError, match=message):
        tiny(ood_label=-1).fit(X, y)


def test_another_width_or_image_shape_at_predict(digits):
    X, y = digits
    classifier = tiny(max_epochs=1).fit(X.reshape(-1, 1, 8, 8), y)
    with pytest.raises(ValueError, match="X has 63 features.*expecting 64"):
        classifier.predict(X[:, :63])
    with pytest.raises(ValueError, match=r"shape \(1, 4, 16\).*fitted on.*\(1, 8, 8\)"):
        classifier.predict(X.reshape(-1, 1, 4, 16))


def test_image_shape_that_contradicts_the_parameter(digits):
    X, y = digits
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\), but input_shape=\(1, 4, 16\)"):
        tiny(input_shape=(1, 4, 16)).fit(X.reshape(-1, 1, 8, 8), y)


def test_diverged_training_raises(iris):
    X, y = iris
    with pytest.raises(ValueError, match="Training diverged: the loss of epoch"):
        tiny(optimizer="sgd", lr=1e30, max_epochs=5).fit(X * 1e6, y)


def test_unknown_parameter_name():
    with pytest.raises(TypeError, match="hidden_layers"):
        SoftmaxClassifier(hidden_layers=(3,))


def test_an_interrupted_fit_leaves_an_unfitted_estimator(iris):
    class Interrupt(torch.nn.Linear):
        def forward(self, rows):
            if self.training:
                raise KeyboardInterrupt
            return super().forward(rows)

    classifier = tiny().fit(*iris)
    classifier.set_params(module=Interrupt(4, 3))
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(*iris)
    with pytest.raises(ValueError, match="not fitted yet"):
        classifier.predict(iris[0])
