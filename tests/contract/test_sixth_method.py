"""A method of one's own: the page "Write your own method" is made from this file."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch.nn.functional import relu

from sklearn_ood import (
    BoundaryOutliers,
    CombinedClassifier,
    GeValDi,
    NeighborDistance,
    SelectiveClassifier,
    SoftmaxClassifier,
    load,
    save,
    to_onnx,
)
from sklearn_ood.classifiers import OutlierClassifier
from sklearn_ood.datasets import make_two_gaussians
from sklearn_ood.generators import GaussianMixtureGenerator
from sklearn_ood.inspection import fooling_rate
from sklearn_ood.outliers import OutlierLoss


class EnergyLoss(OutlierLoss):
    """Cross entropy, and a hinge on the free energy on either side (Liu et al., eq. 8)."""

    def __init__(self, weight, margin_in, margin_out):
        super().__init__(weight)
        self.margin_in, self.margin_out = margin_in, margin_out

    def forward(self, outputs, targets, on_outliers):
        class_loss, outside = super().forward(outputs, targets, on_outliers)
        inside = relu(-outputs.logsumexp(dim=1) - self.margin_in).square().mean()
        return class_loss, inside + outside

    def outlier_loss(self, on_outliers):
        return relu(self.margin_out + on_outliers.logsumexp(dim=1)).square().mean()


class EnergyClassifier(OutlierClassifier):
    """Neural network whose free energy is low on the classes and high on outliers.

    Parameters
    ----------
    margin_in : float, default=-25.0
        Energy that in-distribution rows are to stay below.
    margin_out : float, default=-7.0
        Energy that outliers are to stay above.
    """

    score_function: str = "energy"
    beta: float = 0.1
    margin_in: float = -25.0
    margin_out: float = -7.0

    def make_loss(self, class_weights):
        return EnergyLoss(class_weights, self.margin_in, self.margin_out)


X, Y = load_iris(return_X_y=True)
SMALL = {
    "outliers": BoundaryOutliers(between=0.5),
    "hidden_layer_sizes": (16,),
    "margin_in": -6.0,
    "margin_out": -1.0,
    "max_epochs": 60,
    "lr": 1e-2,
    "batch_size": 32,
    "random_state": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def fitted():
    return EnergyClassifier(**SMALL).fit(X, Y)


@pytest.mark.slow
@parametrize_with_checks([EnergyClassifier(**SMALL)])
def test_sklearn_checks(estimator, check):
    check(estimator)


def test_the_score_is_minus_the_free_energy(fitted):
    logits = fitted.net_.module_(torch.as_tensor(X, dtype=torch.float32)).detach().double()
    np.testing.assert_allclose(fitted.score_samples(X), torch.logsumexp(logits, 1), rtol=1e-6)
    assert fitted.score(X, Y) > 0.9
    assert {"train_class_loss", "train_outlier_loss"} <= fitted.net_.history[-1].keys()


def test_it_learns_from_known_outliers():
    rows, labels = make_two_gaussians(200, outliers="box", random_state=0)
    taught = EnergyClassifier(**SMALL | {"outliers": "given", "ood_label": -1})
    scores = taught.fit(rows, labels).score_samples(rows)
    assert roc_auc_score(labels != -1, scores) > 0.95


def test_its_docstring_has_the_parameters_of_the_template():
    assert "outliers : str, callable" in EnergyClassifier.__doc__
    assert "margin_in : float, default=-25.0" in EnergyClassifier.__doc__


def test_it_is_attacked_and_differentiated(fitted):
    attacked = fooling_rate(
        fitted, threshold=-1e9, n_trials=1, max_updates=5, target="scaled", random_state=0
    )
    assert attacked.fooled.shape == (3,)
    gradients = fitted.input_gradients(X[:5])
    assert gradients.shape == (5, 4)
    assert np.abs(gradients).sum() > 0


def test_it_is_compared():
    members = [("energy", EnergyClassifier(**SMALL)), ("softmax", SoftmaxClassifier(lr=0.02))]
    compared = GeValDi(
        members, generator=GaussianMixtureGenerator(1), n_steps=3, random_state=0
    )
    samples = compared.fit(X, Y).maximally_different_samples(n_samples=6)
    assert compared.optimizer_ == "adam"
    assert len(samples.end.samples) == 6


def test_it_is_combined_and_selects(fitted):
    combined = CombinedClassifier(
        EnergyClassifier(**SMALL),
        [("energy", "classifier"), ("neighbors", NeighborDistance())],
        random_state=0,
    ).fit(X, Y)
    assert (combined.p_values(X + 20) < 0.1).all()
    member = CombinedClassifier(LogisticRegression(max_iter=500), [("e", fitted)]).fit(X, Y)
    assert member.score(X, Y) > 0.9
    selective = SelectiveClassifier(EnergyClassifier(**SMALL), coverage=0.8, random_state=0)
    assert selective.fit(X, Y).accept(X).mean() > 0.6


def test_it_is_kept_in_a_file_bit_for_bit(fitted, tmp_path):
    save(fitted, tmp_path / "energy.ood", modules=[EnergyClassifier])
    again = load(tmp_path / "energy.ood", modules=[EnergyClassifier])
    np.testing.assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_it_is_exported(fitted):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    session = onnxruntime.InferenceSession(to_onnx(fitted).SerializeToString())
    label, probabilities, score, _ = session.run(None, {"X": X.astype(np.float64)})
    np.testing.assert_array_equal(label, fitted.predict(X))
    np.testing.assert_allclose(probabilities, fitted.predict_proba(X), atol=1e-4)
    np.testing.assert_allclose(score, fitted.score_samples(X), rtol=1e-4, atol=1e-4)
