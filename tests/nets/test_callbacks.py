"""What skorch's callbacks and iterators ask of a net."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from skorch.callbacks import (
    BatchScoring,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    TrainEndCheckpoint,
)
from skorch.dataset import ValidSplit
from torch import nn

from sklearn_ood import (
    ConfidentClassifier,
    COOLClassifier,
    DAEConfidence,
    RejectClassifier,
    SoftmaxClassifier,
)
from sklearn_ood.nets._batches import ArrayBatches
from sklearn_ood.nets._evaluation import Arrays

X, Y = load_iris(return_X_y=True)
ORDER = np.random.default_rng(0).permutation(len(X))
TINY = {"max_epochs": 3, "hidden_layer_sizes": (16,), "random_state": 0, "device": "cpu"}


@pytest.mark.parametrize("kind", [SoftmaxClassifier, COOLClassifier, RejectClassifier])
@pytest.mark.parametrize("use_caching", [True, False])
def test_scores_of_epochs_are_the_accuracy(kind, use_caching):
    scores = [
        EpochScoring("accuracy", name="valid_acc", lower_is_better=False),
        EpochScoring("accuracy", name="train_acc", on_train=True, use_caching=True),
        BatchScoring("accuracy", name="batch_acc", lower_is_better=False),
    ]
    if not use_caching:  # skorch gives a scorer the rows alone, then
        scores = [EpochScoring(lambda net, X, y: (net.predict(X) == 0).mean(), name="zeros")]
        scores[0].set_params(use_caching=False)
    model = kind(early_stopping=True, lr=0.05, net_params={"callbacks": scores}, **TINY)
    history = model.fit(X, Y).net_.history
    if not use_caching:
        assert all(0 <= share <= 1 for share in history[:, "zeros"])
        return
    assert history[-1, "valid_acc"] == pytest.approx(history[-1, "batch_acc"])
    assert history[-1, "train_acc"] > 0.25
    n_held_out = 15
    assert (history[-1, "valid_acc"] * n_held_out) % 1 == pytest.approx(0, abs=1e-6)
    assert np.abs(history[-1, "valid_acc"] - model.score(X, Y)) < 0.35


KINDS = [SoftmaxClassifier, ConfidentClassifier, RejectClassifier, COOLClassifier]


@pytest.mark.parametrize("kind", [*KINDS, DAEConfidence])
def test_a_net_gives_probabilities_to_callbacks_and_of_arrays(kind):
    loss = EpochScoring("neg_log_loss", lower_is_better=False, name="nll")
    callbacks = {"net_params": {"callbacks": [loss]}}
    model = kind(early_stopping=True, **callbacks, **TINY).fit(X, Y)
    assert (np.array(model.net_.history[:, "nll"]) < 0).all()
    rows = X.astype(np.float32)
    for given in (rows, torch.from_numpy(rows)):
        proba = model.net_.predict_proba(given)
        np.testing.assert_allclose(proba, model.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(
    ("net_params", "error", "message"),
    [
        ({"callbacks": [EarlyStopping()]}, ValueError, "pass early_stopping=True"),
        ({"optimizer__momentum": 0.9}, TypeError, "net_params=.*'momentum'"),
        ({"module__depth": 2}, TypeError, "net_params=.*'depth'"),
    ],
)
@pytest.mark.parametrize("kind", [SoftmaxClassifier, DAEConfidence])
def test_parameters_of_skorch_that_do_not_fit_are_named(kind, net_params, error, message):
    with pytest.raises(error, match=message):
        kind(net_params=net_params, **TINY).fit(X, Y)


@pytest.mark.parametrize("kind", [SoftmaxClassifier, DAEConfidence, ConfidentClassifier])
@pytest.mark.parametrize("callback", [Checkpoint, TrainEndCheckpoint])
def test_checkpoints_are_written(kind, callback, tmp_path):
    callbacks = [callback(dirname=tmp_path)]
    kind(early_stopping=True, net_params={"callbacks": callbacks}, **TINY).fit(X, Y)
    assert list(tmp_path.glob("*params.pt"))


@pytest.mark.parametrize(("n_rows", "sizes"), [(9, [4, 5]), (8, [4, 4]), (10, [4, 4, 2])])
def test_a_single_last_row_joins_the_batch_before_it(n_rows, sizes):
    batches = ArrayBatches(Arrays(np.zeros((n_rows, 1), dtype=np.float32)), 4)
    assert [len(batch[0]) for batch in batches] == sizes
    batches = ArrayBatches(Arrays(np.zeros((n_rows, 1), dtype=np.float32)), 4, drop_last=True)
    assert [len(batch[0]) for batch in batches] == [4, 4]
    single = ArrayBatches(Arrays(np.zeros((3, 1), dtype=np.float32)), 1)
    assert [len(batch[0]) for batch in single] == [1, 1, 1]


def normalized(n_inputs, n_outputs):
    layers = nn.Linear(n_inputs, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, n_outputs)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("kind", [SoftmaxClassifier, COOLClassifier, RejectClassifier])
@pytest.mark.parametrize("n_rows", [128, 129, 130])
def test_batch_normalisation_whatever_the_number_of_rows(kind, n_rows):
    chosen = ORDER[:n_rows]
    model = kind(normalized, **TINY).fit(X[chosen], Y[chosen])
    assert np.isfinite(model.score_samples(X)).all()


@pytest.mark.parametrize("drop_last", [False, True])
def test_the_iterators_take_what_loaders_take(drop_last):
    params = {"iterator_train__drop_last": drop_last, "iterator_train__num_workers": 0}
    SoftmaxClassifier(net_params=params, **TINY).fit(X, Y)
    with pytest.raises(ValueError, match="num_workers=2"):
        SoftmaxClassifier(net_params={"iterator_train__num_workers": 2}, **TINY).fit(X, Y)


@pytest.mark.parametrize("optimizer", [torch.optim.LBFGS, torch.optim.Rprop])
def test_optimizers_that_know_no_weight_decay(optimizer):
    one, same = (SoftmaxClassifier(optimizer=optimizer, **TINY).fit(X, Y) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(X), same.predict_proba(X))
    with pytest.raises(TypeError, match="weight_decay"):
        SoftmaxClassifier(optimizer=optimizer, weight_decay=0.1, **TINY).fit(X, Y)


def test_what_skorch_knows_and_what_is_said_otherwise_here():
    without = SoftmaxClassifier(net_params={"callbacks": "disable"}, **TINY).fit(X, Y)
    plain = SoftmaxClassifier(**TINY).fit(X, Y)
    np.testing.assert_array_equal(without.predict_proba(X), plain.predict_proba(X))
    for split in (ValidSplit(5), ValidSplit(0.2, stratified=True)):
        with pytest.raises(ValueError, match="train_split.*early_stopping"):
            SoftmaxClassifier(net_params={"train_split": split}, **TINY).fit(X, Y)
