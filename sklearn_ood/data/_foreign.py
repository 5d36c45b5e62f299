"""Rows and labels as other libraries have them."""

import sys
from collections.abc import Sequence

import numpy as np

from sklearn_ood.data._blocks import is_dataset, is_tensor
from sklearn_ood.data._labels import hidden_entries

ARRAYS = "__array__", "__cuda_array_interface__", "__dataframe__", "shape"


def as_native(X, *, keep_tensors=False):
    """Tensors and CUDA arrays as tensors, without a copy, or as arrays; all else as it is."""
    _check_one_array(X)
    if hasattr(X, "column_names"):  # a table of pyarrow
        return X.to_pandas()
    if not is_tensor(X):
        if not hasattr(X, "__cuda_array_interface__"):
            return X
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


def _check_one_array(X):
    """Raise for what has its rows elsewhere, or in several arrays, or is no array at all."""
    if is_dataset(X):
        raise TypeError(
            f"Got X as {type(X).__name__}, but this needs all rows at once; put NetFeatures "
            "around a trained network before it in a pipeline, or pass arrays."
        )
    first = next(iter(X), None) if isinstance(X, (list, tuple)) else None
    image = next(iter(first), None) if isinstance(first, tuple) else first
    if getattr(image, "ndim", 0) > 1:
        alone = first is image
        of, images = ("", "X") if alone else ("pairs with ", "[x for x, _ in X]")
        raise ValueError(
            f"Got X as a {type(X).__name__} of {of}{type(image).__name__} of shape "
            f"{tuple(image.shape)}, but expected one array of all; pass numpy.stack({images}) "
            f"or torch.stack({images}){'' if alone else ' as X, and the labels as y'}."
        )
    if hasattr(X, "collect_schema") and not hasattr(X, "to_numpy"):
        raise TypeError(f"Got X as a {type(X).__name__}, without rows; pass X.collect().")
    if not (X is None or isinstance(X, Sequence) or any(hasattr(X, each) for each in ARRAYS)):
        raise TypeError(
            f"Got a {type(X).__name__}, but expected an array, a frame or a tensor; of images "
            "also a torch.utils.data.Dataset, which a class of one's own has to extend, or a "
            "DataLoader."
        )


def check_dates_and_masks(X):
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
    """Whether a column of pandas or polars holds dates, times or differences of them."""
    temporal = getattr(dtype, "is_temporal", None)
    return temporal() if temporal else getattr(dtype, "kind", None) in ("m", "M")
