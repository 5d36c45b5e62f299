"""From whatever the user has to flat rows and integer codes, or a clear error."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import isfinite, prod
from typing import Any, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.utils import assert_all_finite, check_consistent_length
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from sklearn_ood._parameters import forget, whole_numbers
from sklearn_ood._threads import one_loop_if
from sklearn_ood.data import _blocks
from sklearn_ood.data._labels import OUTLIER, checked_labels, encode_labels, hidden_entries

ARRAYS = "__array__", "__cuda_array_interface__", "__dataframe__", "shape"


class Part(NamedTuple):
    rows: Any
    codes: np.ndarray
    weight: np.ndarray | None

    @property
    def weights(self):
        """The weights, 1 where there are none."""
        return np.ones(len(self.codes)) if self.weight is None else self.weight

    def those(self, mask):
        if mask.all():
            return self
        weight = None if self.weight is None else self.weight[mask]
        return Part(_blocks.take_rows(self.rows, mask), self.codes[mask], weight)

    def at(self, places):
        return Part(*(None if each is None else each[places] for each in self))

    def drawn_places(self):
        """Places of as many rows, drawn by their weights, and one of each class at least."""
        if self.weight is None:
            return slice(None)
        order = np.random.RandomState(0).permutation(len(self.codes))
        places = _blocks.drawn_by(self.weight, order)
        first = np.unique(self.codes, return_index=True)[1]
        return np.append(places, first[~np.isin(self.codes[first], self.codes[places])])

    def drawn(self):
        return self.at(self.drawn_places())._replace(weight=None)


@dataclass(frozen=True)
class TrainingData:
    """Validated training rows, flat; codes in sorted ``classes``; weights > 0, or None."""

    rows: np.ndarray  # or a tensor, of an estimator that learns from tensors
    codes: np.ndarray  # OUTLIER of known outliers
    classes: np.ndarray
    input_shape: tuple  # (n_features,) of tables, (C, H, W) of images
    weight: np.ndarray | None = None

    @cached_property
    def known(self):
        return Part(self.rows, self.codes, self.weight).those(self.codes != OUTLIER)

    @property
    def outliers(self):
        return _blocks.take_rows(self.rows, self.codes == OUTLIER)


def validate_training_data(
    estimator,
    X,
    y,
    *,
    sample_weight=None,
    min_classes=2,  # where one is enough, rows without labels are of class 1
    keep_tensors=False,  # else they become arrays in host memory
    read_rows=None,  # (estimator, X, *, reset) -> rows; finite numbers by default
    dtype=None,  # float32 where that holds every number of X's type, else float64
):
    """Check ``X, y`` for ``fit`` and record ``n_features_in_`` and ``input_shape_``."""
    forget(estimator)
    X, y = _blocks.mapped_images(X, y)
    X, y = as_native(X, keep_tensors=keep_tensors), as_native(y)
    image_shape = _image_shape(X)
    if y is None and min_classes == 1:
        y = np.ones(_blocks.n_rows(X), dtype=np.int64)
    y = checked_labels(estimator, y)
    rows = (read_rows or partial(_flat_rows, dtype=dtype))(estimator, X, reset=True)
    check_consistent_length(rows, y)
    rows, y, weight = _with_weight(rows, y, sample_weight)
    ood_label, owner = getattr(estimator, "ood_label", None), type(estimator).__name__
    codes, classes = encode_labels(y, ood_label, owner=owner)
    _check_classes(estimator, classes, min_classes, sample_weight)
    estimator.input_shape_ = _resolve_input_shape(estimator, image_shape, rows.shape[1])
    return TrainingData(rows, codes, classes, estimator.input_shape_, weight)


def _with_weight(rows, y, sample_weight):
    """Rows and labels of some weight, and the weights; None where all are 1."""
    if sample_weight is None:
        return rows, y, None
    how = {"dtype": np.float64, "ensure_non_negative": True}
    weight = np.asarray(_blocks.unmasked(sample_weight))
    weight = _check_sample_weight(weight, y, **how)
    counts = weight > 0
    if not counts.all():
        rows, y, weight = _blocks.take_rows(rows, counts), y[counts], weight[counts]
    return rows, y, None if (weight == 1).all() else weight


def validate_rows(estimator, X, *, keep_tensors=False, read_rows=None, dtype=None, finite=True):
    """The rows of ``X`` for a fitted estimator, flat, or what is wrong with them."""
    check_is_fitted(estimator)
    X = as_native(X, keep_tensors=keep_tensors)
    image_shape, fitted_shape = _image_shape(X), tuple(estimator.input_shape_)
    if image_shape not in (None, fitted_shape):
        is_last = (image_shape[2], *image_shape[:2]) == fitted_shape
        hint = "channels come first: X.transpose(0, 3, 1, 2)" if is_last else "resize them"
        raise ValueError(
            f"Got X with images of shape {image_shape}, but {type(estimator).__name__} was "
            f"fitted on inputs of shape {fitted_shape}; {hint}."
        )
    read_rows = read_rows or partial(_flat_rows, dtype=dtype, finite=finite)
    return read_rows(estimator, X, reset=False)


def as_native(X, *, keep_tensors=False):
    """Tensors and CUDA arrays as tensors, without a copy, or as arrays; all else as it is."""
    _check_one_array(X)
    if hasattr(X, "column_names") and hasattr(X, "to_pandas"):
        return _frame_of(X)
    if not _blocks.is_tensor(X):
        if not hasattr(X, "__cuda_array_interface__"):
            return _blocks.computed(X)
        import torch  # loaded only where it is used: it is large

        X = torch.as_tensor(X, device="cuda")
    if X.is_complex() or X.layout != sys.modules["torch"].strided or X.is_meta:
        raise ValueError(
            f"Got a tensor of layout {X.layout} and type {X.dtype} on {X.device}, but expected "
            "real numbers in a dense one; use X.to_dense() or X.real, and a device with memory."
        )
    if keep_tensors:
        return X
    X = X.detach().cpu()
    return (X.float() if X.dtype == sys.modules["torch"].bfloat16 else X).numpy()


def _frame_of(X):
    """A table of pyarrow as a frame; one of Hugging Face's with the columns of its format."""
    how = getattr(X, "format", None) or {"type": None, "columns": list(X.column_names)}
    if how["type"] == "custom":
        raise TypeError(
            f"Got X as a {type(X).__name__} with a transform; pass what X.map gives, or of "
            "images a DataLoader whose collate_fn gives pairs (image, label)."
        )
    return X.to_pandas()[how["columns"]]


def _check_one_array(X):
    """Raise for what has its rows elsewhere, or in several arrays, or is no array at all."""
    if _blocks.is_dataset(X):
        raise TypeError(
            f"Got X as {type(X).__name__}, but this needs all rows at once; put NetFeatures "
            "around a trained network before it in a pipeline, or pass arrays."
        )
    first = next(iter(X), None) if isinstance(X, Sequence) else None
    image = next(iter(first), None) if isinstance(first, tuple) else first
    is_array = hasattr(image, "__array_interface__")  # as of PIL, without a shape
    shape = np.shape(image) if is_array else getattr(image, "shape", ())
    if len(shape) > 1:
        alone = first is image
        of, images = ("", "X") if alone else ("pairs with ", "[x for x, _ in X]")
        raise ValueError(
            f"Got X as a {type(X).__name__} of {of}{type(image).__name__} of shape "
            f"{tuple(shape)}, but expected one array of all; pass numpy.stack({images}) "
            f"or torch.stack({images}){'' if alone else ' as X, and the labels as y'}."
        )
    _blocks.check_collected(X)
    is_one = not isinstance(getattr(X, "shape", None), dict)  # as of several datasets
    is_array = is_one and any(hasattr(X, each) for each in ARRAYS)
    if not (X is None or isinstance(X, Sequence) or is_array):
        raise TypeError(
            f"Got a {type(X).__name__}, but expected an array, a frame or a tensor; of images "
            "also a DataLoader, or what extends torch.utils.data.Dataset."
        )


def _flat_rows(estimator, X, *, reset, dtype, finite=True):
    """Flat rows, where they are; a mapped file is looked at block by block."""
    if _blocks.is_tensor(X):
        rows = _tensor_rows(estimator, X, dtype, reset=reset)
        return check_finite(estimator, rows) if finite else rows
    if isinstance(X, _blocks.PagedRows):  # of a dataset, which looks at each batch
        _record_width(estimator, X.shape, reset=reset)
        return X
    name, dtype = type(estimator).__name__, dtype or _own_type(X)
    if not (finite or reset) and _is_in_form(estimator, X, dtype):
        return X
    _check_dates_and_masks(X)
    rows = X.reshape(len(X), prod(X.shape[1:])) if getattr(X, "ndim", 2) > 2 else X
    rows = _blocks.as_type(rows, dtype) if _blocks.is_mapped(X) else rows
    wanted = {"dtype": dtype, "order": "C", "ensure_all_finite": False}
    with _blocks.naming_columns(X):
        rows = validate_data(estimator, rows, reset=reset, **wanted)
        if not finite:
            return rows
        torch = sys.modules.get("torch")
        for block in _blocks.row_blocks(rows) if _blocks.is_mapped(rows) else [rows]:
            # Tried by torch's sum first, which takes all cores.
            is_summed = torch and block.flags.writeable
            with one_loop_if(False):
                is_finite = is_summed and torch.from_numpy(block).sum().isfinite()
            if not is_finite:
                with config_context(assume_finite=False):  # NaN would be as typical as any row
                    assert_all_finite(block, estimator_name=name, input_name="X")
    return rows


def _is_in_form(estimator, X, dtype):
    """Whether an array is what the rows would be, which costs more to find out for frames."""
    return (
        type(X) is np.ndarray
        and X.shape[1:] == (estimator.n_features_in_,)
        and len(X) > 0
        and X.dtype == dtype
        and X.flags.c_contiguous
        and not hasattr(estimator, "feature_names_in_")
    )


def _own_type(X):
    """float32 where that holds every number of X's type, else float64."""
    own = getattr(X, "dtype", None)
    single = isinstance(own, np.dtype) and np.can_cast(own, np.float32)
    return np.float32 if single else np.float64


def _check_dates_and_masks(X):
    """Raise for what numpy reads as a number and is none, and for dates beside numbers."""
    if type(X) is np.ndarray and X.dtype.kind not in "mM":
        return
    is_frame = hasattr(X, "columns") and hasattr(X, "to_numpy")
    names, types = (list(X.columns), list(X.dtypes)) if is_frame else ([], [])
    dates = [name for name, each in zip(names, types, strict=True) if _is_of_dates(each)]
    if 0 < len(dates) < len(names):
        raise TypeError(
            f"Got X with dates in the columns {dates} beside others, but expected numbers; "
            "make numbers of them, for instance days since a fixed one."
        )
    hidden = hidden_entries(X.to_numpy() if dates else X)
    if hidden.any():
        columns = np.flatnonzero(hidden.any(axis=0)) if hidden.ndim == 2 else []
        raise ValueError(
            f"Input X contains NaN: got {int(hidden.sum())} masked entries or dates that are "
            f"NaT, in the columns {[names[k] if names else int(k) for k in columns]}; fill "
            "them in or leave these rows out."
        )


def _is_of_dates(dtype):
    temporal = getattr(dtype, "is_temporal", None)
    return temporal() if temporal else getattr(dtype, "kind", None) in ("m", "M")


def _tensor_rows(estimator, X, dtype, *, reset):
    import torch

    if X.ndim < 2:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D tensor of shape {tuple(X.shape)} instead; one "
            "row is X.reshape(1, -1), one feature X.reshape(-1, 1)."
        )
    single = dtype == np.float32 or X.dtype == torch.float32 or X.dtype.itemsize < 4
    rows = X.detach().flatten(1).to(torch.float32 if single else torch.float64).contiguous()
    _record_width(estimator, tuple(rows.shape), reset=reset)
    return rows


def check_finite(estimator, rows):
    """A tensor of rows; a ValueError where one is NaN or infinite."""
    if not (isfinite(rows.sum().item()) or rows.isfinite().all()):
        raise ValueError(
            "Input X contains NaN or infinity; "
            f"{type(estimator).__name__} needs finite numbers."
        )
    return rows


def _record_width(estimator, shape, *, reset):
    shape_alone = np.broadcast_to(np.float32(0), shape)  # takes no memory
    validate_data(estimator, shape_alone, reset=reset, ensure_all_finite=False)


def _image_shape(X):
    """``(C, H, W)`` where X is a batch of images, None where it is rows."""
    if isinstance(X, _blocks.PagedRows):
        return X.image_shape
    n_dims = getattr(X, "ndim", 2)
    if isinstance(X, Sequence) or n_dims == 1:
        _check_no_texts(next(iter(X), None))
    if n_dims <= 2:
        return None
    if n_dims != 4:
        raise ValueError(
            f"Got X of shape {tuple(X.shape)} with {n_dims} dimensions, but expected rows, or "
            "images (n_samples, C, H, W); a single image is X[None], grey ones X[:, None], "
            "series (n_samples, C, times) X[:, :, None]."
        )
    return tuple(X.shape[1:])


def _check_no_texts(first):
    """Raise where X are texts, one a row."""
    if isinstance(first, str):
        raise ValueError(
            f"Got X of texts such as {first[:40]!r}, but expected a row of numbers, or of "
            "cells, for each; make numbers of them in a pipeline, such as "
            "make_pipeline(TfidfVectorizer(), TruncatedSVD(100), ...)."
        )


def _check_classes(estimator, classes, min_classes, sample_weight):
    name = type(estimator).__name__
    if len(classes) < min_classes:
        of = "" if sample_weight is None else " of some sample_weight"
        raise ValueError(
            f"Got y with {len(classes)} class{of} ({classes.tolist()}), but {name} needs at "
            f"least {min_classes} classes to tell apart; for one class use a method that "
            "models the inputs, such as GenerativeClassifier or DAEConfidence."
        )


def _resolve_input_shape(estimator, image_shape, n_features):
    wanted = getattr(estimator, "input_shape", None)
    if wanted is None:
        return image_shape or (n_features,)
    wanted = whole_numbers(wanted, "input_shape")
    if len(wanted) not in (1, 3):
        raise ValueError(f"Got input_shape={wanted}, but expected (n_features,) or (C, H, W).")
    size = prod(wanted)
    if size != n_features or image_shape not in (None, wanted):
        given = f"images of shape {image_shape}" if image_shape else f"{n_features} features"
        raise ValueError(
            f"Got X with {given}, but input_shape={wanted} needs {size} features; pass the "
            "shape (C, H, W) of one image, or leave it out where X has the images' own shape."
        )
    return wanted
