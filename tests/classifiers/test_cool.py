import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.datasets import load_iris

from sklearn_ood import COOLClassifier
from sklearn_ood.classifiers._cool import CompetitiveCrossEntropy
from sklearn_ood.nets._evaluation import forward
from sklearn_ood.nets._heads import AgreementHead


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def fitted(iris):
    return COOLClassifier(n_units_per_class=4, max_epochs=60, random_state=0).fit(*iris)


def test_score_is_the_product_of_the_normalised_units(fitted, iris):
    X, _ = iris
    units = softmax(forward(fitted.net_, X.astype(np.float32)), axis=1).reshape(-1, 3, 4)
    confidence = np.prod(4 * units, axis=2)
    np.testing.assert_allclose(np.exp(fitted.decision_function(X)), confidence, rtol=1e-9)
    np.testing.assert_allclose(np.exp(fitted.score_samples(X)), confidence.max(axis=1))
    expected = confidence / confidence.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.predict_proba(X), expected, rtol=1e-6)


def test_classes_are_learned_and_far_rows_score_lower(fitted, iris):
    X, y = iris
    assert fitted.score(X, y) > 0.9
    assert fitted.score_samples(X * 1000).max() < np.median(fitted.score_samples(X))


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**16))
def test_agreement_is_zero_only_for_equal_shares(n_classes, n_units, seed):
    head = AgreementHead(n_units)
    logits = np.random.default_rng(seed).normal(size=(3, n_classes * n_units))
    evidence, score = head(torch.from_numpy(logits))
    assert (evidence <= 0).all()
    log_units = log_softmax(logits, axis=1).reshape(3, n_classes, n_units)
    expected = (log_units + np.log(n_units)).sum(axis=2)
    np.testing.assert_allclose(evidence, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(score, evidence.amax(dim=1))
    equal, _ = head(torch.zeros(1, n_units))
    np.testing.assert_allclose(equal, 0, atol=1e-14)


def test_agreement_stays_finite_where_the_product_underflows():
    outputs = torch.tensor([[0.0] * 10 + [-200.0] * 10])
    evidence, _ = AgreementHead(10)(outputs)
    assert evidence[0, 1] == pytest.approx(-2000)


def test_loss_is_cross_entropy_with_shared_targets():
    outputs = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2, 1, 0])
    shares = torch.zeros(5, 6)
    for unit in range(2):
        shares[torch.arange(5), 2 * targets + unit] = 0.5
    expected = torch.nn.functional.cross_entropy(outputs, shares)
    torch.testing.assert_close(CompetitiveCrossEntropy(2)(outputs, targets), expected)


def test_log_outputs_are_the_probabilities_of_the_classes(fitted, iris):
    batch = torch.as_tensor(iris[0], dtype=torch.float32)
    with torch.no_grad():
        scaled, _ = fitted.scored_network_(batch)
        unscaled = fitted.scored_network_.log_outputs(batch)
        units = fitted.net_.module_(batch).double().softmax(dim=1)
    np.testing.assert_allclose(scaled, fitted.decision_function(iris[0]), atol=1e-9)
    torch.testing.assert_close(unscaled.exp(), units.unflatten(1, (3, 4)).sum(dim=2))


def test_one_unit_a_class_is_a_softmax(iris):
    X, y = iris
    classifier = COOLClassifier(n_units_per_class=1, max_epochs=3, random_state=0).fit(X, y)
    np.testing.assert_allclose(classifier.decision_function(X), classifier.predict_log_proba(X))


def test_class_weight_and_early_stopping_reach_the_net(iris):
    classifier = COOLClassifier(
        class_weight="balanced", early_stopping=True, max_epochs=4, random_state=0
    ).fit(*iris)
    assert len(classifier.validation_loss_curve_) == classifier.n_iter_


@pytest.mark.parametrize(
    "parameters",
    [{"n_units_per_class": 0}, {"n_units_per_class": 1.5}],
)
def test_bad_parameters_are_named(parameters, iris):
    (name,) = parameters
    with pytest.raises(ValueError, match=name):
        COOLClassifier(**parameters).fit(*iris)
