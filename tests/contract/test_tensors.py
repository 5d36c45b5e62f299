"""Tensors in: the answers of the same rows as an array, without a copy through the host."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from sklearn_ood import (
    CombinedClassifier,
    ConfidentClassifier,
    COOLClassifier,
    DAEClassifier,
    DAEConfidence,
    GenerativeClassifier,
    GeValDi,
    NeighborDistance,
    NetFeatures,
    NoveltyDetector,
    RejectClassifier,
    SelectiveClassifier,
    SoftmaxClassifier,
)
from sklearn_ood.data._rows import validate_rows, validate_training_data
from sklearn_ood.generators import GaussianMixtureGenerator
from sklearn_ood.nets._training import Arrays

X, Y = load_digits(return_X_y=True)
X, Y = (X[:500] / 16).astype(np.float32), Y[:500]
NET = {"hidden_layer_sizes": (16,), "max_epochs": 2, "random_state": 0}
HOLDING_OUT = NET | {"early_stopping": True, "ood_label": 9}
DIRECT = [
    SoftmaxClassifier(temperature="calibrate", **HOLDING_OUT),
    SoftmaxClassifier("small_cnn", input_shape=(1, 8, 8), **NET | {"max_epochs": 1}),
    COOLClassifier(n_units_per_class=2, **HOLDING_OUT),
    DAEConfidence(typicality=True, **HOLDING_OUT),
    SelectiveClassifier(SoftmaxClassifier(**NET), coverage=0.9, random_state=0),
    SelectiveClassifier(
        SoftmaxClassifier(**NET), ood_acceptance=0.3, ood_label=9, random_state=0
    ),
    NoveltyDetector(SoftmaxClassifier(**NET), random_state=0),
    NetFeatures(SoftmaxClassifier(**NET)),
]
THROUGH_ARRAYS = [
    SoftmaxClassifier(epsilon=0.01, **NET),  # the moved rows are arrays
    ConfidentClassifier(outliers="boundary", **NET),
    RejectClassifier(outliers="given", **HOLDING_OUT),
    DAEClassifier(LogisticRegression(max_iter=1000), curvature="off", **NET),
    GenerativeClassifier("pca", random_state=0),
    NeighborDistance(),
    CombinedClassifier(LogisticRegression(), [("near", NeighborDistance())], random_state=0),
    GeValDi(
        [("net", SoftmaxClassifier(**NET)), ("pca", GenerativeClassifier("pca"))],
        generator=GaussianMixtureGenerator(1),
        random_state=0,
    ),
]
METHODS = [
    "predict",
    "predict_proba",
    "decision_function",
    "score_samples",
    "accept",
    "p_values",
    "transform",
]


@pytest.fixture
def no_copy_through_the_host(monkeypatch):
    """Tensors as large as X may become no arrays, and no copies elsewhere."""

    def guarded(name, original):
        def call(self, *args, **kwargs):
            assert self.numel() < X.size, f"Tensor.{name} of {tuple(self.shape)}"
            return original(self, *args, **kwargs)

        return call

    for name in ("numpy", "cpu", "tolist", "__array__"):
        monkeypatch.setattr(torch.Tensor, name, guarded(name, getattr(torch.Tensor, name)))


def same_answers(estimator, device="cpu"):
    expected = clone(estimator).fit(X, Y)
    rows = torch.from_numpy(X.copy()).to(device)
    fitted = clone(estimator).fit(rows, torch.from_numpy(Y).to(device))
    for method in filter(lambda name: hasattr(expected, name), METHODS):
        wanted, given = getattr(expected, method)(X), getattr(fitted, method)(rows)
        assert isinstance(given, np.ndarray)
        assert given.dtype == wanted.dtype
        if given.dtype.kind == "f" and method != "transform":
            assert given.dtype == np.float64
        if device == "cpu":
            # DAEConfidence learns with a variance that torch and numpy round differently.
            np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-6)
        else:
            assert given.shape == wanted.shape


def by_name(estimator):
    return repr(estimator).replace(" ", "").replace("\n", "")[:50]


@pytest.mark.parametrize("estimator", DIRECT, ids=by_name)
def test_tensors_are_learned_and_scored_where_they_are(estimator, no_copy_through_the_host):
    same_answers(estimator)


@pytest.mark.parametrize("estimator", [*DIRECT, *THROUGH_ARRAYS], ids=by_name)
def test_every_estimator_takes_tensors(estimator):
    same_answers(estimator)


def test_rows_are_the_tensor_itself_and_so_is_what_is_trained_on():
    rows, classifier = torch.from_numpy(X.copy()), SoftmaxClassifier(**NET)
    data = validate_training_data(classifier, rows, Y, keep_tensors=True)
    (stored,) = Arrays(data.known.rows).arrays
    assert stored.data_ptr() == data.rows.data_ptr() == rows.data_ptr()
    classifier.fit(X, Y)
    assert validate_rows(classifier, rows, keep_tensors=True).data_ptr() == rows.data_ptr()
    images = SoftmaxClassifier(**NET | {"max_epochs": 1}).fit(X.reshape(-1, 1, 8, 8), Y)
    unflat = rows.reshape(-1, 1, 8, 8)
    assert validate_rows(images, unflat, keep_tensors=True).data_ptr() == rows.data_ptr()
    with pytest.raises(ValueError, match=r"\(1, 4, 16\).*\(1, 8, 8\)"):
        images.predict(rows.reshape(-1, 1, 4, 16))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64, torch.uint8])
def test_other_types_of_tensors(dtype):
    rows = torch.from_numpy(16 * X).to(dtype)
    given = SoftmaxClassifier(**NET).fit(rows, Y).score_samples(rows)
    expected = SoftmaxClassifier(**NET).fit(rows.numpy(), Y).score_samples(rows.numpy())
    np.testing.assert_array_equal(given, expected)


def test_a_tensor_with_a_history_and_one_of_an_odd_order():
    rows = torch.from_numpy(X).requires_grad_()
    fitted = SoftmaxClassifier(**NET).fit(rows, Y)
    expected = fitted.score_samples(X)
    np.testing.assert_array_equal(fitted.score_samples(rows * 1), expected)
    turned = torch.from_numpy(np.ascontiguousarray(X.T)).T
    np.testing.assert_array_equal(fitted.score_samples(turned), expected)


ROWS = torch.zeros(4, 64)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS.fill_diagonal_(torch.nan).clone(), "NaN or infinity"),
        (torch.full((4, 64), torch.inf), "NaN or infinity"),
        (torch.zeros(4, 63), "63 features.*expecting 64"),
        (torch.zeros(0, 64), "0 sample"),
        (torch.zeros(64), "Expected 2D array, got 1D tensor"),
        (torch.zeros(4, 64).to_sparse(), "to_dense"),
        (torch.zeros(4, 64, dtype=torch.complex64), "real"),
        (torch.zeros(4, 8, 8), "3 dimensions"),
    ],
)
def test_tensors_that_cannot_be_learned_or_scored(rows, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(**NET).fit(X, Y).score_samples(rows)
    if rows.shape[-1] != 63:
        with pytest.raises(ValueError, match=message):
            SoftmaxClassifier(**NET).fit(rows, np.arange(len(rows)) % 2)


@pytest.mark.parametrize(
    ("y", "message"),
    [(None, "pass the labels"), (torch.arange(3), "inconsistent numbers of samples")],
)
def test_labels_that_do_not_fit_a_tensor(y, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(**NET).fit(torch.from_numpy(X), y)


def test_large_finite_numbers_are_no_infinity():
    rows = torch.from_numpy(X).clone()
    rows[0] = 3e38
    SoftmaxClassifier(**NET).fit(X, Y).score_samples(rows)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("estimator", [*DIRECT, *THROUGH_ARRAYS], ids=by_name)
def test_cuda_tensors(estimator):
    same_answers(estimator, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_other_cuda_arrays_are_read_where_they_are():
    class Foreign:
        def __init__(self, tensor):
            self.__cuda_array_interface__ = tensor.__cuda_array_interface__
            self.tensor = tensor

    rows = torch.from_numpy(X).cuda()
    fitted = SoftmaxClassifier(**NET).fit(Foreign(rows), Y)
    assert validate_rows(fitted, Foreign(rows), keep_tensors=True).data_ptr() == rows.data_ptr()
