"""What the classifiers around one net have in common."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_ood import (
    ConfidentClassifier,
    COOLClassifier,
    DAEConfidence,
    GANOutliers,
    GenerativeClassifier,
    RejectClassifier,
    SoftmaxClassifier,
    UniformOutliers,
)
from sklearn_ood.generators import VAE
from sklearn_ood.nets._modules import Scaling, units_of

X, Y = load_iris(return_X_y=True)
TINY = {"max_epochs": 2, "hidden_layer_sizes": (8,), "random_state": 0, "device": "cpu"}


@pytest.mark.parametrize(
    "model",
    [
        *(kind(**TINY) for kind in (SoftmaxClassifier, COOLClassifier, DAEConfidence)),
        RejectClassifier(outliers="noise", **TINY),
        GenerativeClassifier("gmm"),
        GenerativeClassifier(VAE(2, max_epochs=1)),
        make_pipeline(StandardScaler(), SoftmaxClassifier(**TINY)),
        GridSearchCV(SoftmaxClassifier(**TINY), {"lr": [1e-3]}, cv=2),
    ],
)
def test_a_fitted_one_is_shown_in_a_notebook(model):
    assert "<div" in model.fit(X, Y)._repr_html_()


def test_a_curve_that_was_not_recorded_is_no_attribute():
    model = SoftmaxClassifier(**TINY).fit(X, Y)
    assert len(model.loss_curve_) == 2
    assert not hasattr(model, "validation_loss_curve_")
    given = SoftmaxClassifier.from_module(nn.Linear(4, 3), [0, 1, 2], 4)
    assert not hasattr(given, "loss_curve_")
    assert "<div" in given._repr_html_()


class Returning(nn.Linear):
    """A linear layer whose outputs come in something else."""

    def __init__(self, wrap):
        super().__init__(4, 3)
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(super().forward(x))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Returning(lambda x: {"logits": x}), "returns dict, but expected a tensor of logits"),
        (Returning(lambda x: None), "returns NoneType, but expected a tensor of logits"),
    ],
)
def test_networks_that_give_no_logits(network, message):
    with pytest.raises(TypeError, match=message):
        SoftmaxClassifier.from_module(network, [0, 1, 2], 4)
    with pytest.raises(TypeError, match=message):
        SoftmaxClassifier(network, **TINY).fit(X, Y)


@pytest.mark.parametrize(
    "wrap", [lambda x: (x, None), lambda x: [x, x], lambda x: SimpleNamespace(logits=x)]
)
def test_networks_that_give_more_than_logits(wrap):
    model = SoftmaxClassifier.from_module(Returning(wrap), [0, 1, 2], 4, device="cpu")
    plain = SoftmaxClassifier.from_module(Returning(lambda x: x), [0, 1, 2], 4, device="cpu")
    plain.net_.module_.load_state_dict(model.net_.module_.state_dict())
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))


@pytest.mark.parametrize("shape", [(-1, 1), (-1,)])
def test_a_network_of_one_logit_is_told_how_to_have_two(shape):
    network = Returning(lambda x: x[:, :1].reshape(shape))
    with pytest.raises(ValueError, match=r"of one logit z.*torch\.stack\(\[0 \* z, z\]"):
        SoftmaxClassifier.from_module(network, [0, 1], 4)


def test_a_network_in_half_precision_that_diverges_says_so():
    class Small(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 1e-6

    network = Small(4, 3).half()
    with pytest.raises(ValueError, match=r"diverged.*train in float32, module\.float"):
        SoftmaxClassifier(network, **TINY | {"lr": 1e4}).fit(X, Y)


@pytest.mark.parametrize("weight", [{0: -1.0}, {1: np.nan}, {0: np.inf}, {0: 0, 1: 0, 2: 0}])
@pytest.mark.parametrize("kind", [SoftmaxClassifier, RejectClassifier])
def test_class_weights_that_teach_the_wrong_are_refused(kind, weight):
    with pytest.raises(ValueError, match="class_weight=.*finite numbers from 0 on"):
        kind(class_weight=weight, **TINY).fit(X, Y)


@pytest.mark.parametrize("kind", [SoftmaxClassifier, COOLClassifier])
def test_rows_whose_squares_overflow_are_learned_as_others(kind, recwarn):
    large, plain = (kind(**TINY).fit(unit * X, Y) for unit in (2.0**700, 2.0**80))
    scores = large.score_samples(2.0**700 * X), plain.score_samples(2.0**80 * X)
    np.testing.assert_array_equal(*scores)
    assert not recwarn.list


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_networks_of_other_types(dtype):
    model = SoftmaxClassifier(nn.Linear(4, 3).to(dtype), **TINY).fit(X, Y)
    assert model.predict_proba(X).dtype == np.float64


@pytest.mark.parametrize("kind", [SoftmaxClassifier, RejectClassifier])
def test_a_network_that_cannot_learn(kind):
    with pytest.raises(ValueError, match="none of whose weights can be trained"):
        kind(lambda d, k: nn.Linear(d, k).requires_grad_(False), **TINY).fit(X, Y)


@pytest.mark.parametrize(
    "parameters",
    [{"lr": 1e38}, {"lr": 10**30}, {"weight_decay": 1e300}, {"hidden_layer_sizes": (2**62,)}],
)
@pytest.mark.parametrize("kind", [SoftmaxClassifier, COOLClassifier, DAEConfidence])
def test_absurd_parameters_are_an_error_of_ours(kind, parameters):
    name = next(iter(parameters))
    with pytest.raises(ValueError, match=f"{name}|diverged"):
        kind(**TINY | parameters).fit(X, Y)
    with pytest.raises(ValueError, match="optimizer=\\[1\\]"):
        kind(optimizer=[1], **TINY).fit(X, Y)


@pytest.mark.parametrize(
    "parameters",
    [{"beta": 1e308}, {"alpha": 1e308}, {"beta": 1e308, "alpha": 1e308, "typicality": True}],
)
def test_no_weight_makes_nan_of_a_confidence(parameters):
    model = DAEConfidence(**TINY | parameters).fit(X[:100], Y[:100])
    far = np.r_[X, 1e3 * X]
    for method in (model.score_samples, model.decision_function, model.predict_proba):
        assert not np.isnan(method(far)).any()
    with pytest.raises(ValueError, match="beta=inf"):
        DAEConfidence(beta=np.inf, **TINY).fit(X, Y)


@pytest.mark.parametrize("kind", [SoftmaxClassifier, RejectClassifier])
def test_the_least_temperature_makes_no_nan(kind):
    model = kind(temperature=1e-320, **TINY).fit(X, Y)
    for method in (model.score_samples, model.decision_function, model.predict_proba):
        assert not np.isnan(method(X)).any()


def blobs(center, scale):
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=300)
    informative = np.where(y == 1, 20, 5) + 2 * rng.normal(size=300)
    return np.c_[center + scale * informative, rng.normal(size=300)], y


FAR = [(1.7e9, 1.0), (10132500.0, 0.01), (0.0, 1e30), (0.0, 1e-27), (-5e15, 100.0)]


@pytest.mark.parametrize(("center", "scale"), FAR)
def test_units_of_columns_that_float32_would_lose(center, scale):
    rows, _ = blobs(center, scale)
    constant = np.c_[rows, np.full((len(rows), 2), (3.0, 1e20))]
    for of in (constant, torch.from_numpy(constant)):
        found = units_of(of)
        assert found[0][1] == 0 == found[0][2]
        assert (found[1][1:] == 1).all()
    scaled = Scaling(*units_of(rows))
    inputs = scaled(torch.from_numpy(rows))
    assert inputs.dtype == torch.float32
    np.testing.assert_allclose(inputs[:, 0].std(correction=0), 1, rtol=1e-4)
    np.testing.assert_allclose(scaled.inverse(inputs), rows, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("rows", [X, 1e4 * X, X - 1e3, np.zeros((5, 2)), np.full((9, 1), 7.0)])
def test_other_rows_stay_as_they_are(rows):
    assert units_of(rows) is None
    assert units_of(1e30 * rows.astype(np.float32)) is None


@pytest.mark.parametrize(("center", "scale"), FAR)
@pytest.mark.parametrize(
    "model",
    [
        SoftmaxClassifier(),
        COOLClassifier(n_units_per_class=3),
        DAEConfidence(),
        RejectClassifier(outliers="mixup"),
        ConfidentClassifier(outliers=GANOutliers(hidden_layer_sizes=(8,), latent_dim=3)),
    ],
)
def test_rows_far_from_zero_or_one_are_learned_as_others(model, center, scale):
    model.set_params(**TINY | {"max_epochs": 20, "lr": 0.01})
    rows, labels = blobs(center, scale)
    assert model.fit(rows[:200], labels[:200]).score(rows[200:], labels[200:]) > 0.95
    scored = model.scored_network_(torch.from_numpy(rows))[0].detach().numpy()
    np.testing.assert_array_equal(scored.argmax(1), model.predict(rows))
    gradient = model.input_gradients(rows)
    assert (np.abs(gradient[:, 0] * scale).max() > 1e-3).all()
    if isinstance(model, ConfidentClassifier):
        made = model.sample_outliers(100, random_state=0)[:, 0]
        assert np.abs((made - rows[:, 0].mean()) / rows[:, 0].std()).mean() < 5


def test_sources_of_outliers_know_the_units_of_the_rows():
    rows, labels = blobs(1.7e9, 1.0)
    box = UniformOutliers(low=[1.7e9 + 40, -9], high=[1.7e9 + 60, 9])
    model = RejectClassifier(outliers=box, **TINY | {"max_epochs": 30, "lr": 0.02})
    inside, outside = rows[:5], rows[:5] + [50.0, 0.0]
    model.fit(rows, labels)
    assert model.score_samples(inside).min() > model.score_samples(outside).max()


@pytest.mark.parametrize("module", ["auto", torch.nn.Linear])
def test_arguments_of_a_module_are_no_parameters(module):
    with pytest.raises(ValueError, match=r"module__width.* set module=functools.partial\("):
        SoftmaxClassifier(module).set_params(module__width=3)
    assert SoftmaxClassifier().set_params(lr=0.5).lr == 0.5


class Trained(nn.Module):
    """A part that somebody trained, which others build on."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())

    def forward(self, rows):
        return self.layers(rows)


@pytest.mark.parametrize("kind", [SoftmaxClassifier, RejectClassifier, "a generator"])
def test_parts_that_callables_share_stay_as_they_are(kind):
    body = Trained()
    before = {name: each.clone() for name, each in body.state_dict().items()}
    if kind == "a generator":
        gan = GANOutliers(
            latent_dim=4,
            generator=lambda d, shape: nn.Sequential(body, nn.Linear(8, *shape)),
            discriminator=lambda shape: nn.Sequential(body, nn.Linear(8, 1)),
        )
        classifier = ConfidentClassifier(outliers=gan, **TINY)
    else:
        classifier = kind(lambda d, k: nn.Sequential(body, nn.Linear(8, k)), **TINY)
    first = classifier.fit(X[Y > 0], Y[Y > 0]).net_
    assert all(torch.equal(each, before[name]) for name, each in body.state_dict().items())
    trained = first.generator_ if kind == "a generator" else first.module_.network
    assert not torch.equal(trained[0].layers[0].weight, before["layers.0.weight"])


def test_folds_know_nothing_of_each_other_though_a_callable_shares_a_part():
    rng, body = np.random.default_rng(0), Trained()
    noise, labels = rng.normal(size=(40, 4)), np.arange(40) % 2
    classifier = SoftmaxClassifier(lambda d, k: nn.Sequential(body, nn.Linear(8, k)), **TINY)
    expected = [clone(classifier).fit(noise, labels).predict_proba(noise) for _ in range(2)]
    np.testing.assert_array_equal(*expected)
