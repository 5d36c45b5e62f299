import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from sklearn_ood import RejectClassifier, SoftmaxClassifier
from sklearn_ood.nets._modules import Whitened


def whitened(X, fresh):
    layer = Whitened(X.shape[1])
    layer.learn(X.astype(np.float32), 0)
    return layer(torch.as_tensor(fresh, dtype=torch.float32)).numpy()


def test_standardised_columns_lie_beside_white_ones():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(8000, 3)) @ rng.normal(size=(3, 3)) * [1e-2, 1.0, 1e2] + 5.0
    train, fresh = X[:4000], X[4000:]
    seen = whitened(train, fresh)
    assert np.allclose(seen[:, :3], (fresh - train.mean(0)) / train.std(0), atol=1e-3)
    assert np.allclose(np.cov(seen[:, 3:], rowvar=False), np.eye(3), atol=0.1)
    standard = (train - train.mean(0)) / train.std(0)
    white = PCA(whiten=True).fit_transform(standard)
    alike = np.abs(np.corrcoef(whitened(train, train)[:, 3:], white, rowvar=False)[:3, 3:])
    assert np.allclose(np.sort(alike.max(axis=0)), 1, atol=0.02)


@pytest.mark.parametrize("n_rows", [12, 40, 400])
def test_new_rows_are_white_also_where_few_rows_teach(n_rows):
    rng = np.random.RandomState(0)
    X, fresh = rng.normal(size=(n_rows, 20)), rng.normal(size=(1000, 20))
    seen = whitened(X, fresh)[:, 20:]
    assert 0.5 < np.median(seen.std(axis=0)) < 2


def test_constant_columns_are_not_blown_up():
    X = np.random.RandomState(0).normal(size=(50, 3)) * [1, 0, 1] + 7.0
    seen = whitened(X, X + [0, 1e-3, 0])
    assert np.abs(seen).max() < 10


def test_a_net_sees_the_thin_direction():
    rng = np.random.RandomState(0)
    common, codes = rng.normal(size=(1000, 1)), rng.randint(2, size=1000)
    X = common + 0.003 * ((2 * codes - 1)[:, None] * [1, -1] + 0.2 * rng.normal(size=(1000, 2)))
    options = {"max_epochs": 10, "random_state": 0}
    reject = RejectClassifier(**options).fit(X[:800], codes[:800])
    assert reject.score(X[800:], codes[800:]) > 0.98
    assert SoftmaxClassifier(**options).fit(X[:800], codes[:800]).score(X, codes) < 0.9


def test_networks_of_users_get_the_rows_as_they_are():
    def network(n_features, n_outputs):
        return nn.Linear(n_features, n_outputs)

    X, y = np.random.RandomState(0).normal(size=(40, 3)), np.arange(40) % 2
    reject = RejectClassifier(network, outliers="noise", max_epochs=1, random_state=0)
    assert isinstance(reject.fit(X, y).net_.module_.network, nn.Linear)
