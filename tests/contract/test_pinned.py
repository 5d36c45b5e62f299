"""Scores of every estimator as they were before the rooms were rebuilt.

``python tests/contract/test_pinned.py`` in the folder of the project writes them anew. They
hold for processors that compute the same bits; on others the test is skipped.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from contract.estimators import ESTIMATORS
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from torch import nn

from sklearn_ood import (
    CombinedClassifier,
    ConfidentClassifier,
    COOLClassifier,
    DAEConfidence,
    GANOutliers,
    GenerativeClassifier,
    NoveltyDetector,
    RejectClassifier,
    SelectiveClassifier,
    SoftmaxClassifier,
)
from sklearn_ood.generators import GAN, VAE

FILE = Path(__file__).with_name("pinned.npz")
TINY = {"max_epochs": 3, "batch_size": 32, "random_state": 0, "device": "cpu"}
SMALL_GAN = GANOutliers(n_channels=4, latent_dim=4)

ON_IMAGES = {
    "softmax": SoftmaxClassifier("small_cnn", **TINY),
    "softmax_energy": SoftmaxClassifier(
        score_function="energy", temperature="calibrate", **TINY
    ),
    "odin": SoftmaxClassifier(epsilon=0.1, **TINY),
    "cool": COOLClassifier(n_units_per_class=3, **TINY),
    "confident": ConfidentClassifier(outliers="boundary", **TINY),
    "confident_gan": ConfidentClassifier(outliers=SMALL_GAN, **TINY),
    "reject": RejectClassifier(outliers={"mixup": 1, "noise": 2}, **TINY),
    "dae": DAEConfidence(**TINY),
    "dae_typical": DAEConfidence(curvature="hutchinson", typicality=True, **TINY),
    "pca": GenerativeClassifier("pca", random_state=0),
    "vae": GenerativeClassifier(VAE(2, max_epochs=3, random_state=0), random_state=0),
    "gan": GenerativeClassifier(
        GAN(2, max_epochs=3, min_steps=0, random_state=0), random_state=0
    ),
    "combined": CombinedClassifier(random_state=0),
    "selective": SelectiveClassifier(SoftmaxClassifier(**TINY), coverage=0.8, random_state=0),
}
ON_ROWS = {
    "default": CombinedClassifier(random_state=0),
    "one_class": NoveltyDetector(CombinedClassifier(random_state=0), random_state=0),
    **{f"common_{i:02}": estimator for i, estimator in enumerate(ESTIMATORS)},
}
CASES = [*(("rows", name) for name in ON_ROWS), *(("images", name) for name in ON_IMAGES)]


def rows():
    X, y = load_iris(return_X_y=True)
    return X[::2], y[::2], np.concatenate([X[1::4], X[1::4] * 3])


def images():
    X, y = load_digits(n_class=4, return_X_y=True)
    X = (X / 16).reshape(-1, 1, 8, 8).astype(np.float32)
    return X[:240], y[:240], np.concatenate([X[240:270], 1 - X[240:270]])


def _with_seed(estimator):
    estimator = clone(estimator)
    return estimator.set_params(
        **{
            name: 0
            for name, value in estimator.get_params().items()
            if name.rpartition("__")[2] == "random_state" and value is None
        }
    )


def answers(kind, name):
    """What a fitted estimator says of new rows."""
    X, y, X_new = rows() if kind == "rows" else images()
    estimator = _with_seed((ON_ROWS if kind == "rows" else ON_IMAGES)[name])
    if isinstance(estimator, NoveltyDetector):
        X, y = X[y == 0], None
    estimator.fit(X, y)
    methods = ("score_samples", "decision_function", "predict_log_proba", "transform")
    return {
        method: np.asarray(getattr(estimator, method)(X_new))
        for method in methods
        if hasattr(estimator, method)
    }


def fingerprint():
    """Bits that depend on how this processor computes: what plain torch and numpy learn."""
    X, y, _ = images()
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flat = [nn.Flatten(), nn.Linear(64, 33), nn.ReLU(), nn.Linear(33, 4)]
        convolved = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        convolved += [nn.Flatten(), nn.Linear(256, 4)]
        networks = [nn.Sequential(*layers) for layers in (flat, convolved)]
    logits = []
    for network in networks:
        optimizer = torch.optim.Adam(network.parameters())
        for batch in torch.arange(len(y)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(X[batch]), y[batch]).backward()
            optimizer.step()
        logits.append(network(X).detach().double().log_softmax(1).numpy())
    rows = X.flatten(1).double().numpy()
    return np.concatenate([*logits, np.linalg.eigh(rows.T @ rows)[1][:, -4:]])


@pytest.fixture(scope="module")
def pinned():
    with np.load(FILE) as file:
        arrays = dict(file)
    if not np.array_equal(arrays.pop("fingerprint"), fingerprint()):
        pytest.skip("pinned on a processor with other rounding")
    return arrays


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_scores_are_as_pinned(kind, name, pinned):
    for method, values in answers(kind, name).items():
        expected = pinned[f"{kind}/{name}/{method}"]
        np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-12, err_msg=method)


if __name__ == "__main__":
    torch.set_num_threads(1)
    kept = {
        f"{kind}/{name}/{method}": values
        for kind, name in CASES
        for method, values in answers(kind, name).items()
    }
    np.savez_compressed(FILE, fingerprint=fingerprint(), **kept)
