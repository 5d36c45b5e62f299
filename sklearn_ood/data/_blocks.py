"""Rows that do not fit in memory: mapped files, torch's datasets, dask's collections."""

import mmap
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, TypeVar, cast

import numpy as np
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.validation import _num_samples

from sklearn_ood._parameters import inherits
from sklearn_ood._threads import few_threads

# Of one block of rows, and of the pages that may stay in memory.
BLOCK_BYTES = 2**26
RESIDENT_BYTES = 2**28
# Reading one row of a mapped file brings its neighbours in too: a huge page at most.
BYTES_AROUND_A_ROW = 2**21

# What was computed of the rows at hand, where several ask for it.
_SEEN: ContextVar[dict | None] = ContextVar("seen", default=None)

Method = TypeVar("Method", bound=Callable[..., Any])


def _takes_rows(X):
    """What every method says of its rows, where it says nothing else.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        Or a ``torch.utils.data`` ``Dataset`` of images, or a ``DataLoader``, read by batches.
    """


def block_by_block(method: Method) -> Method:
    """A method of rows: mapped files and datasets in blocks, dask's collections lazily."""

    @wraps(method)
    def answers(self, X):
        if is_lazy(X):
            return lazily(self, method.__name__, X)
        return in_blocks(partial(method, self), X, verbose=getattr(self, "verbose", 0))

    if method.__doc__:  # else it is its parent's
        answers = inherits(_takes_rows)(answers)
    return cast(Method, answers)


@np.errstate(under="ignore")  # a probability may be as small as it likes
def in_blocks(compute, X, *, verbose=0):
    """``compute(X)``, of a mapped file or a dataset block by block; its arrays are joined."""
    if is_dataset(X):
        blocks = _datasets().DatasetRows(X).image_blocks()
        if verbose:
            blocks = with_bar(blocks, total=n_rows(X), unit="image", count=len)
        parts = list(map(compute, blocks))
    elif is_mapped(X) and len(X):
        parts = [compute(block) for block in row_blocks(X)]
    else:
        with few_threads(X):
            return compute(unmasked(X))
    if isinstance(parts[0], tuple):
        return tuple(map(np.concatenate, zip(*parts, strict=True)))
    return np.concatenate(parts)


def unmasked(X):
    """A masked array as one whose masked entries are missing; all else as it is."""
    check_collected(X)
    if not isinstance(X, np.ma.MaskedArray):
        return X
    return X.astype(X.dtype if X.dtype.kind in ("f", "O") else np.float64).filled(np.nan)


def check_collected(X):
    """Raise for a frame of polars that is yet to be computed."""
    if hasattr(X, "collect_schema") and not hasattr(X, "to_numpy"):
        raise TypeError(f"Got X as a {type(X).__name__}, without rows; pass X.collect().")


def with_bar(items, *, total, unit, told=None, count=lambda item: 1):
    """The items, with a bar: how many of the units went by, and what is told of the next."""
    from tqdm.auto import tqdm  # only where it is asked for

    with tqdm(total=total, unit=unit) as bar:
        for item in items:
            bar.set_description(told and told(item))
            yield item
            bar.update(count(item))


def once(method):
    """While ``method`` runs, :func:`of_rows` computes the same of the same rows once."""

    @wraps(method)
    def run(*args, **kwargs):
        if _SEEN.get() is not None:
            return method(*args, **kwargs)
        token = _SEEN.set({})
        try:
            return method(*args, **kwargs)
        finally:
            _SEEN.reset(token)

    return run


def of_rows(X, key, compute):
    """What is computed of an object that holds rows, by this key, or was so before."""
    seen = _SEEN.get()
    if seen is None:
        return compute()
    key = key, id(X)
    if key not in seen:
        seen[key] = compute(), X  # with the rows, so that none others get their identity
    return seen[key][0]


def is_shared():
    """Whether a method runs that has others read the same rows, or parts of them."""
    return _SEEN.get() is not None


def row_blocks(X):
    """Copies of as many rows of a mapped file as make a block, one after the other."""
    size = _block_size(X)
    for start in range(0, len(X), size):
        yield np.array(X[start : start + size])
        give_back(X)


def _block_size(X):
    return max(1, BLOCK_BYTES // max(1, X[:1].nbytes))


def is_tensor(X):
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(X, torch.Tensor)


def is_dataset(X):
    """Whether X is a dataset of torch or a loader of one, without loading torch."""
    data = sys.modules.get("torch.utils.data")
    return data is not None and isinstance(X, (data.Dataset, data.DataLoader))


def first_block(X):
    """Some first rows of a dataset; all else as it is."""
    return next(_datasets().DatasetRows(X).image_blocks()) if is_dataset(X) else X


def indexable_rows(X, y, *, needs_labels=True):
    """X and y of one length; without y a dataset's labels (needed, or None: if it has some)."""
    if not is_dataset(X):
        return indexable(unmasked(computed(X)), computed(y))
    if y is None:
        rows = _datasets().DatasetRows(X)
        is_read = rows.is_labelled if needs_labels is None else needs_labels
        return X, rows.labels() if is_read else None
    if len(y) != n_rows(X):
        raise ValueError(
            f"Got {n_rows(X)} images in X, but {len(y)} labels in y; pass one for each image, "
            "or no y where the dataset has the labels."
        )
    return X, indexable(y)[0]


def labels_of(X, y):
    return _datasets().DatasetRows(X).labels() if y is None and is_dataset(X) else y


def training_rows(X, y):
    """The rows of a dataset, to be read when training asks for them, and the labels."""
    rows = _datasets().DatasetRows(X, in_order=False)
    return rows, rows.labels() if y is None else y


def mapped_images(X, y):
    """A dataset's images in a mapped temporary file, and the labels; dask's rows in memory."""
    if not is_dataset(X):
        return computed(X), computed(y)
    images, labels = _datasets().DatasetRows(X), []

    def read():
        for block, some in images.blocks():
            labels.append(some)
            yield block

    X = _written(read(), (len(images), *images.item_shape), images.dtype)
    return X, images.joined(labels) if y is None and images.is_labelled else y


def n_rows(X):
    check_collected(X)
    return _datasets().n_images(X) if is_dataset(X) else _num_samples(X)


def _datasets():
    """What reads datasets; it needs torch, which is there where a dataset is."""
    from sklearn_ood.data import _datasets

    return _datasets


def is_mapped(X):
    """Whether an array is a file mapped into memory, or a view of one."""
    return _mapped_file(X) is not None


def give_back(X):
    """Let the system take back the pages of a mapped file; they are read again when needed."""
    mapped = _mapped_file(X)
    # Changed pages of a private mapping ("c") would be lost.
    if mapped is not None and mapped.mode != "c" and hasattr(mapped.base, "madvise"):
        mapped.base.madvise(mmap.MADV_DONTNEED)


class PagedRows:
    """Rows of a mapped file, read so that few of its pages are resident at a time."""

    def __init__(self, rows):
        self.rows, self.shape = np.asarray(rows), rows.shape
        self._row_bytes, self._n_resident = rows[:1].nbytes, 0

    def __len__(self):
        return len(self.rows)

    def read(self, index):
        """A copy of the rows ``index``, a slice or an array of positions."""
        if isinstance(index, slice):
            self._count(self.rows[index].nbytes)
            return np.array(self.rows[index])
        part = np.empty((len(index), *self.shape[1:]), dtype=self.rows.dtype)
        around = self._row_bytes + BYTES_AROUND_A_ROW
        at_once = max(1, RESIDENT_BYTES // around)
        for start in range(0, len(index), at_once):
            chosen = index[start : start + at_once]
            self._count(around * len(chosen))
            part[start : start + at_once] = self.rows[chosen]
        return part

    def part(self, mask):
        return PagedRows(take_rows(self.rows, mask))

    def _count(self, n_bytes):
        """Give the pages back before more of them would be resident than may be."""
        self._n_resident += n_bytes
        if self._n_resident > RESIDENT_BYTES:
            give_back(self.rows)
            self._n_resident = n_bytes


def take_rows(X, mask):
    """The rows where ``mask`` holds; those of a mapped file in a temporary one."""
    if is_dataset(X):
        return _datasets().part_of(X, mask)
    if isinstance(X, PagedRows):
        return X.part(mask)
    if is_mapped(X):
        return _spilled(X, mask, X.dtype)
    if is_tensor(X):
        return X[sys.modules["torch"].as_tensor(mask, device=X.device)]
    if hasattr(X, "to_flat_index"):  # of pandas, which scikit-learn takes no part of
        return X[mask]
    return _safe_indexing(X, np.flatnonzero(mask))


def drawn_by(weight, order, offset=0.5):
    """Places of as many rows, each as often as its weight says: systematic resampling."""
    cumulated = np.cumsum(weight[order])
    at = (np.arange(len(order)) + offset) * (cumulated[-1] / len(order))
    found = np.searchsorted(cumulated, at, side="right")
    return order[found.clip(max=len(order) - 1)]  # if rounding exceeds


def as_type(X, dtype):
    """A mapped file whose rows are of a type, one after the other; itself where it is so."""
    if X.dtype == dtype and X.flags.c_contiguous:
        return X
    return _spilled(X, np.ones(len(X), dtype=bool), dtype)


@contextmanager
def naming_columns(X):
    """Say in which columns of a frame cells are no finite numbers, where that is an error."""
    try:
        yield
    except (TypeError, ValueError) as error:
        columns = [name for name in getattr(X, "columns", ()) if not _is_finite(X[name])]
        if not columns:
            raise
        said = f"Got X with cells that are no finite numbers in {columns}: {error}"
        first = [next(iter(X[name]), None) for name in columns]
        if any(hasattr(each, "__len__") and not isinstance(each, str) for each in first):
            said += (
                " Of images in cells pass one array of all, or a DataLoader whose collate_fn "
                "gives pairs (image, label)."
            )
        raise (TypeError if isinstance(error, TypeError) else ValueError)(said) from error


def _is_finite(column):
    try:
        return np.isfinite(np.asarray(column, dtype=np.float64)).all()
    except (TypeError, ValueError):
        return False


def is_lazy(X):
    return "dask" in sys.modules and hasattr(X, "dask") and hasattr(X, "npartitions")


def computed(X):
    """What is dask's in memory, so that nothing computes it again; all else as it is."""
    return X.compute() if is_lazy(X) else X


def lazily(estimator, method, X):
    """A method's answers to what is dask's, as an array of dask that computes nothing yet."""
    ask = getattr(estimator, method)
    if hasattr(X, "map_partitions"):
        import pandas as pd

        zeros = {name: pd.Series([0], dtype=dtype) for name, dtype in X.dtypes.items()}
        example = _example(ask, pd.DataFrame(zeros))
        return X.map_partitions(partial(_of_block, ask, example), meta=example)
    import dask.array as da

    example = _example(ask, np.zeros((1, *X.shape[1:]), dtype=X.dtype))
    features = list(range(1, X.ndim))
    X = X.rechunk(dict.fromkeys(features, -1))
    return da.map_blocks(
        partial(_of_block, ask, example),
        X,
        drop_axis=features,
        new_axis=list(range(1, example.ndim)),
        chunks=(X.chunks[0], *((size,) for size in example.shape[1:])),
        meta=example,
    )


def _example(ask, row):
    """An answer without rows: its type and width, and now the errors of a wrong X."""
    return np.asarray(ask(row))[:0]


def _of_block(ask, example, block):
    return ask(block) if len(block) else example


def _mapped_file(X):
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap) and isinstance(X.base, mmap.mmap):
            return X
        X = X.base
    return None


def _spilled(X, mask, dtype):
    shape = (int(np.count_nonzero(mask)), *X.shape[1:])
    size = _block_size(X)
    masks = (mask[start : start + size] for start in range(0, len(X), size))
    parts = (block[chosen] for block, chosen in zip(row_blocks(X), masks, strict=True))
    return _written(parts, shape, dtype)


def _written(parts, shape, dtype):
    """Arrays of rows in a temporary file, mapped, that goes with the array returned."""
    if not shape[0]:
        return np.empty(shape, dtype=dtype)
    with tempfile.TemporaryFile(buffering=0) as file:
        for part in parts:
            _write(file, np.ascontiguousarray(part, dtype=dtype), shape)
        return np.memmap(file, dtype=dtype, mode="r", shape=shape)


def _write(file, part, shape):
    """Write to the file, not into its mapping: on a full disk that kills the process."""
    left = memoryview(part).cast("B")
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        n_bytes = part[0].nbytes * shape[0]
        raise OSError(
            error.errno,
            f"Got {n_bytes / 2**20:.0f} MiB of rows for a temporary file, but the folder "
            f"{tempfile.gettempdir()} has no room for it ({error.strerror}); make room, or "
            "name another folder in the environment variable TMPDIR",
        ) from error
