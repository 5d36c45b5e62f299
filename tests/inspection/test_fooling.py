from copy import copy

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import TensorDataset

from sklearn_ood import (
    COOLClassifier,
    DAEConfidence,
    RejectClassifier,
    SoftmaxClassifier,
)
from sklearn_ood._response import confidence_of
from sklearn_ood.inspection import (
    FoolingDisplay,
    FoolingGenerator,
    fooling_rate,
    fooling_rate_on,
    fooling_scorer,
)

TINY = {"hidden_layer_sizes": (32,), "max_epochs": 15, "random_state": 0}
QUICK = {"n_trials": 3, "lr": 2e-3, "max_updates": 60, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


@pytest.fixture(scope="module")
def softmax(digits):
    return SoftmaxClassifier(**TINY).fit(*digits)


@pytest.fixture(scope="module")
def dae(digits):
    parameters = TINY | {"hidden_layer_sizes": (64,), "max_epochs": 30}
    return DAEConfidence(curvature="off", **parameters).fit(*digits)


def test_generator_is_a_dense_layer_trained_with_adam():
    torch.manual_seed(0)
    n_features, goal = 7, torch.rand(7, dtype=torch.float64)
    layer = torch.nn.Linear(n_features, n_features).double()
    inputs = torch.as_tensor(np.random.RandomState(0).uniform(size=n_features))
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    generator = FoolingGenerator(1, n_features, lr=1e-3, random_state=0)
    generator.activation = layer(inputs).detach().numpy()[None].astype(np.float32)
    for _ in range(200):
        optimizer.zero_grad()
        rows = torch.sigmoid(layer(inputs))
        np.testing.assert_allclose(generator.rows()[0], rows.detach(), atol=1e-5)
        ((rows - goal) ** 3).sum().backward()
        gradient = 3 * (rows.detach() - goal) ** 2
        optimizer.step()
        generator.update(gradient.numpy()[None])


def test_generators_start_like_a_dense_layer():
    generators = FoolingGenerator(50, 400, lr=1, random_state=0)
    assert generators.activation.var() == pytest.approx(1 / 9 + 1 / 1200, rel=0.05)
    assert generators.step.mean() == pytest.approx(201, rel=0.02)


@pytest.mark.parametrize("epsilon", [0.0, 0.05])
def test_result_is_what_the_classifier_says(softmax, epsilon):
    softmax = copy(softmax).set_params(epsilon=epsilon)
    result = fooling_rate(softmax, threshold=np.log(0.9), **QUICK)
    assert result.rate == result.fooled.mean() > 0.8
    assert result.updates[result.fooled].max() <= 60
    np.testing.assert_array_equal(
        softmax.predict(result.rows)[result.fooled], result.targets[result.fooled]
    )
    np.testing.assert_array_equal(
        softmax.score_samples(result.rows) >= np.log(0.9), result.fooled
    )
    assert result.rows.min() >= 0
    assert result.rows.max() <= 1
    assert result.images.shape == (30, 64)
    assert result.mean_updates == result.updates[result.fooled].mean()


def softmax_output(outputs):
    return torch.log_softmax(outputs.double(), dim=0)


def margin_to_the_reject_class(outputs):
    return (outputs[:-1] - outputs[-1]).double()


@pytest.mark.parametrize(
    ("kind", "target", "attacked"),
    [
        (SoftmaxClassifier, "unscaled", softmax_output),
        (RejectClassifier, "scaled", margin_to_the_reject_class),
    ],
)
def test_a_batch_of_trials_is_the_trials_one_by_one(digits, kind, target, attacked):
    classifier = kind(**TINY).fit(*digits)
    threshold = np.log(0.99) if kind is SoftmaxClassifier else 6.0
    together = fooling_rate(classifier, threshold=threshold, target=target, **QUICK)
    for trial in (0, 11, 29):
        aim = trial // 3
        generator = FoolingGenerator(30, 64, lr=QUICK["lr"], random_state=0)
        generator.keep(np.arange(30) == trial)
        for update in range(61):
            batch = torch.as_tensor(generator.rows()).requires_grad_()
            outputs = attacked(classifier.net_.module_(batch)[0])
            if (outputs[aim] >= threshold and outputs.argmax() == aim) or update == 60:
                break
            generator.update(torch.autograd.grad(-outputs[aim], batch)[0].numpy())
        assert update == together.updates[trial]
        np.testing.assert_allclose(generator.rows()[0], together.rows[trial], atol=1e-4)


def test_higher_thresholds_are_harder(softmax):
    low, high = (
        fooling_rate(softmax, threshold=np.log(share), **QUICK) for share in (0.6, 0.999)
    )
    assert (low.updates <= high.updates).all()


def test_denoising_autoencoder_is_not_fooled_where_the_network_is(softmax, dae):
    attack = QUICK | {"threshold": np.log(0.9), "max_updates": 150}
    assert fooling_rate(softmax, **attack).rate > 0.9
    assert fooling_rate(dae, **attack).rate < 0.1
    assert fooling_rate(dae, method="evolution", **attack | {"max_updates": 15}).rate < 0.1


@pytest.mark.parametrize("target", ["unscaled", "scaled"])
def test_every_net_classifier(digits, target, dae):
    cool = COOLClassifier(n_units_per_class=2, **TINY).fit(*digits)
    for classifier in (cool, dae):
        result = fooling_rate(classifier, threshold=-1e9, target=target, **QUICK)
        assert result.rate > 0.9


def test_cool_by_the_class_probability_and_by_its_own_agreement(digits):
    cool = COOLClassifier(n_units_per_class=5, **TINY).fit(*digits)
    attack = QUICK | {"threshold": 1.0, "max_updates": 200}
    plain, scaled = (
        fooling_rate(cool, target=target, **attack) for target in ("unscaled", "scaled")
    )
    agreement = [cool.score_samples(result.rows).mean() for result in (plain, scaled)]
    with torch.no_grad():
        units = [cool.net_.module_(torch.as_tensor(each.rows)) for each in (plain, scaled)]
    share = [each.softmax(dim=1).unflatten(1, (10, 5)).sum(dim=2).amax(dim=1) for each in units]
    assert agreement[0] < agreement[1]
    assert share[0].mean() > 0.98


def test_scaled_attack_reaches_a_higher_confidence(dae):
    attack = QUICK | {"threshold": 0.1, "n_trials": 2, "max_updates": 200, "lr": 1e-4}
    plain, scaled = (
        dae.score_samples(fooling_rate(dae, target=target, **attack).rows)
        for target in ("unscaled", "scaled")
    )
    assert scaled.mean() > plain.mean()


@pytest.mark.parametrize("target", ["unscaled", "scaled"])
@pytest.mark.parametrize(
    "classifier",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(n_estimators=10, random_state=0),
    ],
)
def test_evolution_fools_any_classifier(classifier, target):
    X, y = load_iris(return_X_y=True)
    classifier.fit(X, y)
    bounds = (X.min(axis=0), X.max(axis=0))
    result = fooling_rate(
        classifier,
        threshold=0.8,
        target=target,
        bounds=bounds,
        n_trials=4,
        max_updates=100,
        random_state=0,
    )
    assert result.rate > 0.9
    assert (result.rows >= bounds[0] - 1e-6).all()
    assert (result.rows <= bounds[1] + 1e-6).all()
    answered = classifier.predict(result.rows) == result.targets
    accepted = confidence_of(classifier, result.rows) >= 0.8
    np.testing.assert_array_equal(answered & accepted, result.fooled)


def test_same_seed_same_result(softmax):
    for method in ("gradient", "evolution"):
        attack = {"threshold": np.log(0.9), "method": method} | QUICK | {"max_updates": 5}
        first, second = fooling_rate(softmax, **attack), fooling_rate(softmax, **attack)
        np.testing.assert_array_equal(first.rows, second.rows)


def test_nothing_fooled(softmax):
    result = fooling_rate(softmax, threshold=1.0, **QUICK | {"max_updates": 2})
    assert result.rate == 0
    assert np.isnan(result.mean_updates)
    assert (result.updates == 2).all()
    assert "rate=0.000" in repr(result)


def test_rate_as_a_scorer():
    X, y = load_iris(return_X_y=True)
    scorer = fooling_scorer(n_trials=2, max_updates=30)
    scores = cross_val_score(LogisticRegression(max_iter=500), X, y, scoring=scorer, cv=2)
    classifier = LogisticRegression(max_iter=500).fit(X, y)
    assert ((scores <= 0) & (scores >= -1)).all()
    with_unknown = np.vstack([X, 100 * X]), np.append(y, np.full(150, 9))
    rate = fooling_rate_on(classifier, X, n_trials=2, max_updates=30)
    assert scorer(classifier, *with_unknown) == -rate


def test_display_of_images(digits):
    pytest.importorskip("matplotlib").use("Agg")
    X, y = digits
    classifier = SoftmaxClassifier(input_shape=(1, 8, 8), **TINY | {"max_epochs": 1}).fit(X, y)
    result = fooling_rate(classifier, threshold=0.5, **QUICK | {"max_updates": 2})
    display = FoolingDisplay(result).plot(n_rows=2)
    assert display.ax_.images[0].get_array().shape == (16, 80)


def test_display_of_a_table(softmax):
    result = fooling_rate(softmax, threshold=1.0, **QUICK | {"max_updates": 1})
    with pytest.raises(ValueError, match=r"\(C, H, W\)"):
        FoolingDisplay(result).plot()


@pytest.mark.parametrize(
    "parameters",
    [
        {"target": "both"},
        {"method": "random"},
        {"n_trials": 0},
        {"max_updates": 1.5},
        {"n_offspring": 0},
        {"lr": 0.0},
        {"bounds": (1.0, 0.0)},
        {"bounds": None},
        {"bounds": (0.0,)},
        {"bounds": (np.zeros(999), 1.0)},
        {"threshold": np.nan},
        {"threshold": None},
    ],
)
def test_bad_parameters_are_named(parameters, softmax):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"Got {name}="):
        fooling_rate(softmax, **({"threshold": 0.0} | parameters))


def test_estimators_that_cannot_be_searched():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(TypeError, match="no gradient"):
        fooling_rate(
            LogisticRegression(max_iter=500).fit(X, y), threshold=0.5, method="gradient"
        )
    with pytest.raises(TypeError, match="predict_proba"):
        fooling_rate(RidgeClassifier().fit(X, y), threshold=0.5)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("method", ["gradient", "evolution"])
def test_rows_keep_to_constraints(method):
    X, y = load_iris(return_X_y=True, as_frame=True)
    wanted = {
        "integer": ["sepal length (cm)"],
        "range": {"petal width (cm)": (0.5, 1.25)},
        "fixed": {"sepal width (cm)": 3.0},
    }
    model = SoftmaxClassifier(**TINY).fit(X, y)
    settings = {"bounds": (0, 8), "threshold": np.log(0.5), "method": method}
    result = fooling_rate(model, constraints=wanted, **QUICK, **settings)
    length, width, _, petal = result.rows.T
    assert (length == length.round()).all()
    assert (width == 3).all()
    assert petal.min() >= 0.5
    assert petal.max() <= 1.25
    with pytest.raises(ValueError, match="column 'height'"):
        fooling_rate(model, constraints={"integer": ["height"]}, **QUICK, **settings)


@pytest.mark.parametrize(
    "given",
    [
        lambda rows: rows.requires_grad_(),
        lambda rows: rows.bfloat16(),
        lambda rows: TensorDataset(rows, torch.zeros(len(rows), 3)),
    ],
    ids=["graph", "bfloat16", "dataset"],
)
def test_rows_that_bound_the_search_as_people_have_them(softmax, digits, given):
    rows = torch.from_numpy(digits[0][:50]).float().bfloat16().float()  # bfloat16 holds them
    few = {"n_trials": 1, "max_updates": 3}
    expected = fooling_rate_on(softmax, rows.numpy(), **few)
    assert fooling_rate_on(softmax, given(rows), **few) == expected


@pytest.mark.parametrize("bounds", [(-2, 2), (0.2, 0.7)])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_images_in_any_units_are_drawn(bounds, n_channels, caplog):
    plt = pytest.importorskip("matplotlib.pyplot")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, n_channels, 8, 8)), np.arange(30) % 2
    model = SoftmaxClassifier(hidden_layer_sizes=(2,), max_epochs=1, random_state=0).fit(X, y)
    result = fooling_rate(model, threshold=-0.1, bounds=bounds, n_trials=2, max_updates=2)
    drawn = FoolingDisplay(result).plot().ax_.images[0].get_array()
    plt.close("all")
    assert 0 <= drawn.min() < drawn.max() <= 1
    assert not caplog.records  # of matplotlib, which clips colours


def test_a_pipeline_that_picks_columns_by_name_is_attacked_with_frames(recwarn):
    X, y = load_iris(return_X_y=True, as_frame=True)
    columns = make_column_transformer((StandardScaler(), list(X.columns)))
    by_name, search = make_pipeline(columns, LogisticRegression()), {"max_updates": 5}
    by_place = make_pipeline(StandardScaler(), LogisticRegression())
    rates = [fooling_rate_on(each.fit(X, y), X, **search) for each in (by_name, by_place)]
    assert rates[0] == rates[1]
    sparse, plain = csr_array(X.to_numpy()), LogisticRegression(max_iter=500)
    dense = fooling_rate_on(plain.fit(X.to_numpy(), y), X.to_numpy(), **search)
    assert fooling_rate_on(plain, sparse, **search) == dense
    assert not [each for each in recwarn if "feature names" in str(each.message)]
    model, texts = make_pipeline(columns, plain), X.assign(text="a")
    with pytest.raises(TypeError, match="behind the encoder"):
        fooling_rate_on(model.fit(texts, y), texts, **search)
