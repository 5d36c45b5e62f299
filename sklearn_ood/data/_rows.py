"""From whatever the user has to flat float32 rows and integer codes, or a clear error."""

import sys
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import (
    _num_samples,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from sklearn_ood.data._blocks import as_float32, is_mapped, is_tensor, row_blocks, take_rows
from sklearn_ood.data._labels import OUTLIER, check_no_label_missing, encode_labels


@dataclass(frozen=True)
class TrainingData:
    """Validated training rows.

    Attributes
    ----------
    rows : ndarray or tensor of shape (n_samples, n_features), float32
        A tensor where X was one and the estimator learns from tensors.
    codes : ndarray of shape (n_samples,), int64
        Index into ``classes`` of each row's class, ``OUTLIER`` for known outliers.
    classes : ndarray of shape (n_classes,)
        The in-distribution labels, sorted.
    input_shape : tuple of int
        ``(n_features,)`` for tables, ``(C, H, W)`` for images.
    """

    rows: np.ndarray
    codes: np.ndarray
    classes: np.ndarray
    input_shape: tuple

    @cached_property
    def in_distribution(self):
        """Rows and codes of the in-distribution part."""
        inside = self.codes != OUTLIER
        if inside.all():
            return self.rows, self.codes
        return take_rows(self.rows, inside), self.codes[inside]

    @property
    def outliers(self):
        """Rows of the known outliers."""
        return take_rows(self.rows, self.codes == OUTLIER)


def validate_training_data(estimator, X, y, *, min_classes=2, keep_tensors=False):
    """Check ``X, y`` for ``fit`` and record ``n_features_in_`` and ``input_shape_``.

    Parameters
    ----------
    estimator : estimator
        May have the parameters ``input_shape`` and ``ood_label``.
    X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
    y : array-like of shape (n_samples,) or None
        None is one class, labelled 1 as scikit-learn labels inliers; only where
        ``min_classes=1``.
    min_classes : int, default=2
        How many in-distribution classes the method needs.
    keep_tensors : bool, default=False
        Whether tensors stay where they are; else they become arrays in host memory.

    Returns
    -------
    TrainingData

    Raises
    ------
    ValueError
        For anything that could not be trained on; the message says what came.
    """
    forget(estimator)
    X, y = as_native(X, keep_tensors=keep_tensors), as_native(y)
    image_shape = _image_shape(X)
    if y is None and min_classes == 1:
        y = np.ones(_num_samples(X), dtype=np.int64)
    check_no_label_missing(y)
    if is_tensor(X):
        rows = _tensor_rows(estimator, X, reset=True)
        y = _check_targets(rows, y)
    else:
        rows, y = _array_rows(estimator, X, y)
    codes, classes = encode_labels(y, getattr(estimator, "ood_label", None))
    _check_classes(estimator, classes, min_classes)
    estimator.input_shape_ = _resolve_input_shape(estimator, image_shape, rows.shape[1])
    return TrainingData(rows, codes, classes, estimator.input_shape_)


def forget(estimator):
    """Drop what an earlier ``fit`` learned: an interrupted one must not leave a mixture."""
    kept = {name: value for name, value in vars(estimator).items() if not name.endswith("_")}
    estimator.__dict__ = kept  # at once, or an interrupt would leave a part


def validate_rows(estimator, X, *, keep_tensors=False):
    """Check ``X`` for a fitted estimator and return its rows, flat and float32.

    Tensors stay tensors, where they are, with ``keep_tensors=True``.

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    ValueError
        If the width or the image shape is not that of ``fit``; the message names both.
    """
    check_is_fitted(estimator)
    X = as_native(X, keep_tensors=keep_tensors)
    image_shape = _image_shape(X)
    if image_shape is not None and image_shape != tuple(estimator.input_shape_):
        raise ValueError(
            f"Got X with images of shape {image_shape}, but {type(estimator).__name__} was "
            f"fitted on inputs of shape {tuple(estimator.input_shape_)}; resize or convert "
            "the images as for fit."
        )
    if is_tensor(X):
        return _tensor_rows(estimator, X, reset=False)
    rows = validate_data(
        estimator, _flat(X), dtype=np.float32, order="C", reset=False, ensure_all_finite=False
    )
    _check_finite(estimator, rows)
    return rows


def as_native(X, *, keep_tensors=False):
    """Tensors and CUDA arrays as tensors, without a copy, or as arrays; all else as it is.

    Parameters
    ----------
    X : anything
    keep_tensors : bool, default=False
        Whether tensors stay where they are; else they become arrays in host memory.

    Returns
    -------
    anything, ndarray or tensor

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.data._rows import as_native
    >>> as_native(torch.ones(2))
    array([1., 1.], dtype=float32)
    """
    if not is_tensor(X):
        if not hasattr(X, "__cuda_array_interface__"):
            return X
        import torch  # loaded only where it is used: it is large

        X = torch.as_tensor(X, device="cuda")
    return X if keep_tensors else X.detach().cpu().numpy()


def _array_rows(estimator, X, y):
    """Rows and labels for ``fit``; a mapped file is looked at block by block."""
    mapped = is_mapped(X)
    rows, y = validate_data(
        estimator,
        as_float32(_flat(X)) if mapped else _flat(X),
        y,
        dtype=np.float32,
        order="C",
        ensure_min_samples=1,
        ensure_all_finite=not mapped,
    )
    if mapped:
        for block in row_blocks(rows):
            _check_finite(estimator, block)
    return rows, y


def _tensor_rows(estimator, X, *, reset):
    """A tensor's rows, flat and float32, where they are: what scikit-learn checks of arrays."""
    name = type(estimator).__name__
    import torch

    if X.layout != torch.strided or X.is_complex():
        raise ValueError(
            f"Got X as a tensor of layout {X.layout} and type {X.dtype}, but {name} needs real "
            "numbers in a dense one; use X.to_dense() or X.real."
        )
    if X.ndim < 2:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D tensor of shape {tuple(X.shape)} instead; one "
            "row is X.reshape(1, -1), one feature X.reshape(-1, 1)."
        )
    rows = X.detach().flatten(1).to(torch.float32).contiguous()
    for count, what in zip(rows.shape, ("sample", "feature"), strict=True):
        if not count:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={tuple(X.shape)}) while a minimum of 1 "
                f"is required by {name}."
            )
    validate_data(estimator, rows, reset=reset, skip_check_array=True)
    if not (rows.sum().isfinite() or rows.isfinite().all()):
        raise ValueError(f"Input X contains NaN or infinity; {name} needs finite numbers.")
    return rows


def _check_targets(rows, y):
    if y is None:
        raise ValueError("Got y=None, but the classes have to be told apart; pass the labels.")
    y = column_or_1d(y, warn=True)
    check_consistent_length(rows, y)
    return y


def _check_finite(estimator, rows):
    """scikit-learn's check, first tried by torch's sum, which takes all cores."""
    torch = sys.modules.get("torch")
    if torch and rows.flags.writeable and torch.from_numpy(rows).sum().isfinite():
        return
    assert_all_finite(rows, estimator_name=type(estimator).__name__, input_name="X")


def _image_shape(X):
    """``(C, H, W)`` where X is a batch of images, None where it is rows."""
    n_dims = getattr(X, "ndim", 2)
    if n_dims <= 2:
        return None
    if n_dims != 4:
        raise ValueError(
            f"Got X of shape {tuple(X.shape)} with {n_dims} dimensions, but expected rows of "
            "shape (n_samples, n_features) or images of shape (n_samples, C, H, W); grey "
            "images need a channel axis: X[:, None]."
        )
    return tuple(int(size) for size in X.shape[1:])


def _flat(X):
    return X.reshape(X.shape[0], -1) if getattr(X, "ndim", 2) > 2 else X


def _check_classes(estimator, classes, min_classes):
    name, ood_label = type(estimator).__name__, getattr(estimator, "ood_label", None)
    if len(classes) == 0:
        raise ValueError(
            f"Got only outlier rows in y (all equal ood_label={ood_label!r}), but {name} needs "
            "in-distribution rows to learn from; add rows of the classes to be known."
        )
    if len(classes) < min_classes:
        raise ValueError(
            f"Got y with {len(classes)} class ({classes.tolist()}), but {name} needs at least "
            f"{min_classes} classes to tell apart; for one class use a method that models the "
            "inputs, such as GenerativeClassifier or DAEConfidence."
        )


def _resolve_input_shape(estimator, image_shape, n_features):
    wanted = getattr(estimator, "input_shape", None)
    if wanted is None:
        return image_shape or (n_features,)
    wanted = tuple(int(size) for size in np.atleast_1d(wanted))
    if len(wanted) not in (1, 3) or min(wanted) < 1:
        raise ValueError(
            f"Got input_shape={wanted}, but expected (n_features,) or (C, H, W) with positive "
            "sizes."
        )
    if image_shape not in (None, wanted):
        raise ValueError(
            f"Got X with images of shape {image_shape}, but input_shape={wanted}; leave "
            "input_shape out where X has the images' own shape."
        )
    if int(np.prod(wanted)) != n_features:
        raise ValueError(
            f"Got X with {n_features} features, but input_shape={wanted} needs "
            f"{int(np.prod(wanted))}; pass the shape (C, H, W) of one image."
        )
    return wanted
