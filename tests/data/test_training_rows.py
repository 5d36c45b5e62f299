"""Networks that are trained on datasets: as on the same images as an array, never held."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch.utils.data import DataLoader, Dataset, Subset, WeightedRandomSampler

from sklearn_ood import (
    COOLClassifier,
    SelectiveClassifier,
    SoftmaxClassifier,
)


def images(n):
    y = np.arange(n) % 3
    X = np.random.default_rng(0).normal(size=(n, 1, 8, 8)).astype(np.float32)
    X[np.arange(n), 0, 2 * y] += 1
    return X, y


class Images(Dataset):
    def __init__(self, X):
        self.X = X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return torch.from_numpy(self.X[i])


class Pairs(Images):
    def __init__(self, X, y):
        super().__init__(X)
        self.y = y

    def __getitem__(self, i):
        return super().__getitem__(i), int(self.y[i])


class Counting(Pairs):
    """Says how often an image was read, and what is drawn anew each time."""

    def __init__(self, X, y, *, noise=False):
        super().__init__(X, y)
        self.n_read, self.noise = 0, noise

    def __getitem__(self, i):
        self.n_read += 1
        image, label = super().__getitem__(i)
        return image + self.noise * torch.rand(1), label


TRAINED = {"module": "small_cnn", "max_epochs": 2, "random_state": 0, "device": "cpu"}


@pytest.mark.parametrize(
    "make",
    [
        lambda data: data,
        lambda data: DataLoader(data, batch_size=50, num_workers=2),
        lambda data: DataLoader(data, shuffle=True),
        lambda data: Subset(data, range(len(data))),
    ],
    ids=["dataset", "workers", "shuffled", "subset"],
)
def test_training_on_a_dataset_is_that_on_its_images(make):
    X, y = images(120)
    some = TRAINED | {"early_stopping": True, "temperature": "calibrate"}
    wanted = SoftmaxClassifier(**some).fit(X, y)
    given = SoftmaxClassifier(**some).fit(make(Pairs(X, y)))
    assert given.loss_curve_ == wanted.loss_curve_
    assert given.temperature_ == wanted.temperature_
    np.testing.assert_array_equal(given.predict_proba(X), wanted.predict_proba(X))


@pytest.mark.parametrize(
    "estimator",
    [
        COOLClassifier(**TRAINED),
        SoftmaxClassifier(ood_label=2, **TRAINED),
        SelectiveClassifier(SoftmaxClassifier(**TRAINED), coverage=0.8, random_state=0),
    ],
    ids=lambda each: type(each).__name__,
)
def test_other_methods_train_on_a_dataset_too(estimator):
    X, y = images(120)
    wanted, given = clone(estimator).fit(X, y), clone(estimator).fit(Pairs(X, y))
    np.testing.assert_array_equal(given.predict(Pairs(X, y)), wanted.predict(X))


def test_images_are_read_in_every_pass_and_labels_once():
    X, y = images(120)
    data = Counting(X, y)
    data.targets = y.tolist()
    SoftmaxClassifier(**TRAINED).fit(data)
    first, n_compared_to_targets = 1, 15
    assert data.n_read == 2 * 120 + first + n_compared_to_targets
    data = Counting(X, y)
    SoftmaxClassifier(**TRAINED).fit(data, y)
    assert data.n_read == 2 * 120 + 1
    curve = (
        SoftmaxClassifier(**TRAINED | {"lr": 1e-9}).fit(Counting(X, y, noise=True)).loss_curve_
    )
    assert curve[0] != curve[1]


def test_training_on_a_dataset_says_what_is_wrong():
    X, y = images(60)
    with pytest.raises(ValueError, match="no labels, and no y"):
        SoftmaxClassifier(**TRAINED).fit(Images(X))
    drawn = DataLoader(Pairs(X, y), sampler=WeightedRandomSampler(np.ones(60), 60))
    with pytest.raises(ValueError, match="class_weight to weigh classes"):
        SoftmaxClassifier(**TRAINED).fit(drawn)
    X[7] = np.nan
    with pytest.raises(ValueError, match="with NaN or infinity"):
        SoftmaxClassifier(**TRAINED).fit(Pairs(X, y))


def test_a_bar_shows_how_many_images_were_scored(capsys):
    X, y = images(60)
    net = SoftmaxClassifier(**TRAINED, verbose=1).fit(X, y)
    capsys.readouterr()
    net.predict(Pairs(X, y))
    assert "60/60" in capsys.readouterr().err
    net.set_params(verbose=0).predict(Pairs(X, y))
    assert not capsys.readouterr().err
