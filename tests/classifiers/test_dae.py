import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_ood import DAEClassifier, DAEConfidence, NoveltyDetector
from sklearn_ood.datasets import inside_rings, make_rings
from sklearn_ood.nets._autoencoder import Autoencoder, CodeStatistics, make_decoder
from sklearn_ood.nets._modules import cnn

TINY = {
    "hidden_layer_sizes": (16, 16),
    "max_epochs": 30,
    "lr": 1e-2,
    "batch_size": 32,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), np.array(["a", "b", "c"])[y]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


@pytest.fixture(scope="module")
def fitted(iris):
    return DAEConfidence(**TINY).fit(*iris)


@pytest.fixture(scope="module")
def typical_digits(digits):
    X, y = digits
    return DAEConfidence(
        typicality=True, hidden_layer_sizes=(64,), max_epochs=30, random_state=0
    ).fit(X[:1200], y[:1200])


def _trace(classifier, rows):
    module = classifier.net_.module_
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: module.reconstruct(row[None])[0]))
    return torch.einsum("nii->n", jacobian(torch.as_tensor(rows))).detach().double().numpy()


@pytest.mark.parametrize("curvature", ["auto", "exact", "hutchinson", "off"])
def test_score_is_equation_3(iris, curvature):
    X, y = iris
    classifier = DAEConfidence(alpha=2.0, beta=5.0, curvature=curvature, n_probes=400, **TINY)
    classifier.fit(X, y)
    rows = X.astype(np.float32) * 2
    with torch.no_grad():
        reconstruction = classifier.net_.module_.reconstruct(torch.as_tensor(rows)).numpy()
    error = ((reconstruction - rows).astype(np.float64) ** 2).mean(axis=1)
    gamma = np.full(len(rows), -1.0) if curvature == "off" else _trace(classifier, rows) / 4 - 1
    log_c = -2.0 * error - 5.0 * np.maximum(gamma, 0)
    expected = classifier.predict_log_proba(rows) + log_c[:, None]
    tolerance = 0.3 if curvature == "hutchinson" else 1e-5
    np.testing.assert_allclose(classifier.decision_function(rows), expected, atol=tolerance)
    np.testing.assert_allclose(
        classifier.score_samples(rows), classifier.decision_function(rows).max(axis=1)
    )


def test_components_make_the_confidence(fitted, iris):
    parts = fitted.confidence_components(iris[0])
    expected = -fitted.alpha_ * parts.reconstruction_error + np.log(parts.curvature_factor)
    np.testing.assert_allclose(parts.log_confidence, expected)
    np.testing.assert_allclose(parts.curvature_factor, np.exp(-10 * parts.gamma.clip(0)))


def test_auto_alpha_keeps_the_chosen_share_above_the_threshold(digits):
    X, y = digits
    for coverage in (0.7, 0.95):
        classifier = DAEConfidence(
            coverage=coverage, validation_fraction=0.5, curvature="off", **TINY
        ).fit(X, y)
        error = classifier.confidence_components(X).reconstruction_error
        share = np.mean(np.exp(-classifier.alpha_ * error) >= 0.9)
        assert share == pytest.approx(coverage, abs=0.04)


def test_outliers_score_lower(fitted, iris):
    X, _ = iris
    uniform = np.random.default_rng(0).uniform(-6, 6, size=(300, 4))
    scores = fitted.score_samples(np.vstack([X, uniform]))
    assert roc_auc_score(np.arange(450) < 150, scores) > 0.95


@pytest.mark.parametrize("scale", [1e3, 1e12, 1e30])
@pytest.mark.parametrize("typicality", [False, True])
def test_far_rows_score_low_and_finite(iris, scale, typicality):
    X, y = iris
    classifier = DAEConfidence(typicality=typicality, **TINY).fit(X, y)
    far = np.sign(X) * scale
    scores, proba = classifier.score_samples(far), classifier.predict_proba(far)
    assert np.isfinite(scores).all()
    assert scores.max() < classifier.score_samples(X).min()
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert classifier.score_samples(2 * far).max() < scores.max()


def test_any_estimator_keeps_its_own_predictions(iris):
    X, y = iris
    forest = RandomForestClassifier(n_estimators=10, random_state=1)
    classifier = DAEClassifier(forest, **TINY).fit(X, y)
    alone = clone(forest).fit(X.astype(np.float32), y)
    np.testing.assert_array_equal(classifier.predict(X), alone.predict(X))
    np.testing.assert_allclose(classifier.predict_proba(X), alone.predict_proba(X), atol=1e-30)
    assert np.isfinite(classifier.decision_function(X)).all()


def test_open_seeds_of_the_estimator_are_set(iris):
    X, y = iris
    forest = RandomForestClassifier(n_estimators=3)
    first, second = (DAEClassifier(forest, **TINY).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.decision_function(X), second.decision_function(X))


@pytest.mark.parametrize("y", [None, "one"])
@pytest.mark.parametrize(
    "classifier",
    [DAEConfidence(**TINY), DAEClassifier(LogisticRegression(), **TINY)],
)
def test_one_class(iris, y, classifier):
    X, labels = iris
    inside = labels == "a"
    y = None if y is None else labels[inside]
    classifier = clone(classifier).fit(X[inside], y)
    assert classifier.classes_.tolist() == ([1] if y is None else ["a"])
    np.testing.assert_array_equal(classifier.predict_proba(X), 1)
    assert roc_auc_score(inside, classifier.score_samples(X)) > 0.99


def test_novelty_detector_without_labels(iris):
    X, _ = iris
    detector = NoveltyDetector(DAEConfidence(**TINY)).fit(X)
    assert (detector.predict(X + 20) == -1).all()
    assert (detector.predict(X) == 1).mean() > 0.8


def test_outlier_rows_are_left_out(iris, fitted):
    X, y = iris
    mixed = DAEConfidence(ood_label="out", **TINY)
    mixed.fit(np.vstack([X, X + 9]), np.append(y, ["out"] * 150))
    np.testing.assert_array_equal(mixed.score_samples(X), fitted.score_samples(X))


@pytest.mark.parametrize("curvature", ["exact", "hutchinson"])
def test_rows_do_not_depend_on_their_batch(digits, curvature):
    X, y = digits
    classifier = DAEConfidence(curvature=curvature, typicality=True, **TINY).fit(X, y)
    together = classifier.score_samples(X[:70])
    order = np.random.default_rng(0).permutation(70)
    np.testing.assert_allclose(
        classifier.score_samples(X[:70][order]), together[order], rtol=1e-9
    )
    np.testing.assert_allclose(classifier.score_samples(X[3:20]), together[3:20], rtol=1e-9)


def test_same_seed_same_bits_and_global_generator_left_alone(iris, fitted):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = DAEConfidence(**TINY).fit(*iris)
    scores = again.score_samples(iris[0])
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(scores, fitted.score_samples(iris[0]))


def test_blank_images_are_a_blind_spot_of_the_reconstruction_alone(typical_digits, digits):
    X, _ = digits
    error = typical_digits.confidence_components(X[1200:]).reconstruction_error
    blank = typical_digits.confidence_components(np.zeros((1, 64)))
    assert blank.reconstruction_error < np.quantile(error, 0.05)


@pytest.mark.parametrize("made", ["blank", "constant", "low contrast"])
def test_typicality_sees_what_is_too_simple(typical_digits, digits, made):
    X, _ = digits
    simple = {
        "blank": np.zeros((1, 64)),
        "constant": np.linspace(0.02, 1, 20)[:, None] * np.ones((1, 64)),
        "low contrast": 0.2 * X[1200:],
    }[made]
    real = typical_digits.confidence_components(X[1200:]).log_confidence
    refused = typical_digits.confidence_components(simple).log_confidence
    assert (
        roc_auc_score(np.arange(len(real) + len(simple)) < len(real), [*real, *refused]) > 0.95
    )


def test_images_with_every_decoder(digits):
    X, y = digits
    images = X[:200].reshape(-1, 1, 8, 8)
    for decoder in ("tied", "free"):
        classifier = DAEConfidence(decoder=decoder, **TINY | {"max_epochs": 2})
        classifier.fit(images, y[:200])
        assert classifier.confidence_components(images).gamma.shape == (200,)


def test_both_losses_are_recorded(fitted):
    assert fitted.net_.history[-1, "train_reconstruction_loss"] > 0
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]


def test_early_stopping(iris):
    classifier = DAEConfidence(early_stopping=True, n_iter_no_change=2, **TINY).fit(*iris)
    assert len(classifier.validation_loss_curve_) == classifier.n_iter_


def test_tied_decoder_is_the_transpose():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(5, 3), nn.ReLU())
    decoder = make_decoder(encoder, (5,), tied=True)
    code = torch.rand(2, 3)
    torch.testing.assert_close(decoder(code), code @ encoder[0].weight)
    n_weights = sum(
        p.numel()
        for p in Autoencoder(cnn((1, 28, 28), 10), (1, 28, 28), True, n_classes=10).parameters()
    )
    assert 1.30e6 < n_weights < 1.35e6


@pytest.mark.parametrize("decoder", ["tied", "free"])
def test_weights_of_a_named_network_start_balanced(iris, decoder):
    start = {"max_epochs": 1, "lr": 1e-12, "random_state": 0, "decoder": decoder}
    classifier = DAEConfidence(hidden_layer_sizes=(500,), **start).fit(*iris)
    weight = classifier.net_.module_.encoder.hidden[0].weight
    assert weight.abs().max().item() == pytest.approx((6 / 504) ** 0.5, rel=0.01)


def test_weights_of_a_given_network_are_kept(iris):
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    classifier = DAEConfidence(module=network, max_epochs=1, lr=1e-12).fit(*iris)
    torch.testing.assert_close(classifier.net_.module_.encoder[0].weight, network[0].weight)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("tied", [True, False])
def test_decoder_returns_to_the_shape_of_the_input(stride, tied):
    encoder = nn.Sequential(
        *(nn.Conv2d(2, 3, 3, stride=stride, padding=1), nn.LeakyReLU(0.2), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.5), nn.LazyLinear(7), nn.Tanh()),
    )
    encoder(torch.zeros(2, 2, 13, 11))
    decoder = make_decoder(encoder, (2, 13, 11), tied)
    assert decoder(torch.zeros(4, 7)).shape == (4, 2, 13, 11)


def test_free_decoder_takes_what_cannot_be_transposed(digits):
    X, y = digits
    module = nn.Sequential(nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10))
    parameters = {"module": module, "max_epochs": 2, "random_state": 0}
    DAEConfidence(decoder="free", **parameters).fit(X, y)
    with pytest.raises(ValueError, match=r"BatchNorm1d cannot be transposed.*decoder='free'"):
        DAEConfidence(decoder="tied", **parameters).fit(X, y)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(4, 3), "nn.Sequential"),
        (nn.Sequential(nn.Identity(), nn.Linear(4, 3)), "hidden layer"),
    ],
)
def test_module_without_an_encoder(module, message, iris):
    with pytest.raises(ValueError, match=message):
        DAEConfidence(module=module).fit(*iris)


def test_estimator_without_probabilities(iris):
    with pytest.raises(TypeError, match="predict_proba"):
        DAEClassifier(Perceptron()).fit(*iris)


@pytest.mark.parametrize(
    "parameters",
    [
        {"noise": 0.0},
        {"noise": -1.0},
        {"alpha": 0.0},
        {"alpha": -2.0},
        {"alpha": "best"},
        {"beta": -1.0},
        {"coverage": 1.0},
        {"reconstruction_weight": 0.0},
        {"n_probes": 0},
        {"n_probes": 1.5},
        {"decoder": "transposed"},
        {"curvature": "none"},
    ],
)
def test_bad_parameters_are_named(parameters, iris):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"Got {name}="):
        DAEConfidence(**parameters).fit(*iris)


def test_typical_codes_have_distances_of_one():
    generator = np.random.default_rng(0)
    classes = np.arange(3000) % 3
    code = generator.normal(size=(3000, 4)) @ generator.normal(size=(4, 4))
    code += 5 * classes[:, None] + 20
    typical = CodeStatistics.fit(code, classes)
    whitening, means = typical.whitening.numpy(), typical.means.numpy()
    white = code @ whitening - means[classes]
    np.testing.assert_allclose(np.cov(white.T), np.eye(4), atol=0.1)
    unusual = typical(torch.from_numpy(code))
    nearest = ((code[:, None] @ whitening - means) ** 2).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(unusual[:, 0], nearest[:, None].mean(axis=1) / 4, rtol=1e-9)
    np.testing.assert_allclose(unusual.mean(dim=0), 1, atol=0.4)
    assert typical(torch.zeros(1, 4).double())[0, 1] > 100


def test_log_outputs_and_scaled_outputs(typical_digits, digits):
    batch = torch.as_tensor(digits[0][1200:1250])
    with torch.no_grad():
        unscaled = typical_digits.scored_network_.log_outputs(batch)
        scaled, scores = typical_digits.scored_network_(batch)
    parts = typical_digits.confidence_components(batch.numpy())
    expected = typical_digits.predict_log_proba(batch.numpy())
    np.testing.assert_allclose(unscaled, expected, rtol=1e-5)
    factor = np.log(parts.curvature_factor)
    expected = typical_digits.decision_function(batch.numpy()) - factor[:, None]
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)
    bound = typical_digits.score_samples(batch.numpy()) - factor
    np.testing.assert_allclose(scores, bound, rtol=1e-5, atol=1e-5)


def test_another_estimator_has_no_gradient(iris):
    classifier = DAEClassifier(LogisticRegression(), **TINY).fit(*iris)
    assert not hasattr(classifier, "scored_network_")
    with pytest.raises(AttributeError, match="no gradient"):
        _ = classifier.scored_network_


def test_pickle_keeps_the_scores(typical_digits, digits):
    again = pickle.loads(pickle.dumps(typical_digits))
    np.testing.assert_array_equal(
        again.score_samples(digits[0][:50]), typical_digits.score_samples(digits[0][:50])
    )


def test_grid_search_in_a_pipeline(iris):
    X, y = iris
    pipeline = make_pipeline(StandardScaler(), DAEConfidence(**TINY | {"max_epochs": 5}))
    search = GridSearchCV(pipeline, {"daeconfidence__noise": [0.1, 0.4]}, cv=2).fit(X, y)
    assert search.predict(X).shape == y.shape


def test_the_default_answers_little_outside_the_rings():
    X, y = make_rings(600, random_state=0)
    inside, _ = make_rings(1000, random_state=1)
    axis = np.linspace(-2, 2, 60)
    plane = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    classifier = DAEConfidence(random_state=0).fit(X, y)
    cut = np.quantile(classifier.score_samples(inside), 0.05)
    outside = classifier.score_samples(plane[~inside_rings(plane)])
    assert (outside >= cut).mean() < 0.2
    assert (classifier.predict(X) == y).all()
