"""Images that are read batch by batch and never held: torch's datasets and their loaders."""

from copy import copy
from itertools import chain

import numpy as np
import torch
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)

from sklearn_ood.data._blocks import PagedRows

BATCH_BYTES = 2**26
SMALLEST_BATCH, LARGEST_BATCH = 16, 1024
# How a loader's workers read.
KEPT = "num_workers", "worker_init_fn", "multiprocessing_context"
SHUFFLING = RandomSampler, SubsetRandomSampler, WeightedRandomSampler
EXPECTED = (
    "but expected float images of one shape (C, H, W), each alone or with its label in a pair "
    "(image, label)"
)


def image_blocks(X):
    """The images of each batch, one after the other, as arrays."""
    for images, _ in _batches(X):
        yield images


def labels_in(X):
    """The label of each image; all are read, unless the dataset has them as ``targets``."""
    known = None if isinstance(X, DataLoader) else _targets_of(X)
    return _joined([label for _, label in _batches(X)], X) if known is None else known


class DatasetRows(PagedRows):
    """The images of a dataset as flat rows, read when they are asked for: for training.

    A loader says how they are read, with how many workers; batches and their order are the
    reader's. What the dataset draws at random is drawn anew in every pass.

    Attributes
    ----------
    shape : tuple (n_samples, n_features)
    image_shape : tuple
        Of one image.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, X):
        _check_countable(X)
        is_loader = isinstance(X, DataLoader)
        self._options = {name: getattr(X, name) for name in KEPT} if is_loader else {}
        self._collate = X.collate_fn if is_loader else _stacked
        self._dataset = X.dataset if is_loader else X
        self._index = _images_of(X) if is_loader else np.arange(len(X))
        self._generator = torch.Generator()  # goes on from pass to pass
        if not len(self._index):
            raise ValueError(f"Found {_name(X)} with 0 sample(s), but at least one is needed.")
        ((first, _),) = self._read([self._index[:1]])
        self.image_shape = first.shape[1:] if first.ndim == 4 else None
        self.shape = len(self._index), int(np.prod(first.shape[1:]))

    def __len__(self):
        return len(self._index)

    def read(self, index):
        """The rows ``index``, a slice or an array of positions."""
        ((images, _),) = self._read([self._index[index]])
        return self._flat(images)

    def batches(self, indices):
        """The rows of each index, one after the other, read ahead where there are workers."""
        wanted = [self._index[index] for index in indices]
        return (self._flat(images) for images, _ in self._read(wanted, **self._options))

    def labels(self):
        """The label of each image; all are read, unless the dataset has ``targets``."""
        known = _targets_of(self._dataset)
        if known is not None:
            return known[self._index]
        blocks = np.array_split(self._index, -(-len(self) // LARGEST_BATCH))
        return _joined(
            [label for _, label in self._read(blocks, **self._options)], self._dataset
        )

    def part(self, mask):
        """The rows where ``mask`` holds."""
        part, index = copy(self), self._index[mask]
        vars(part).update(_index=index, shape=(len(index), self.shape[1]))
        return part

    def _read(self, indices, **options):
        own = {"collate_fn": self._collate, "generator": self._generator}
        batches = [index.tolist() for index in indices]
        return map(_arrays, DataLoader(self._dataset, batch_sampler=batches, **own | options))

    def _flat(self, images):
        rows = images.reshape(len(images), -1).astype(np.float32, copy=False)
        if rows.shape[1] != self.shape[1] or not np.isfinite(rows.sum(dtype=np.float64)):
            raise ValueError(
                f"Got images of shape {images.shape[1:]}, or with NaN or infinity, but "
                f"expected finite ones of {self.shape[1]} numbers, as the first is."
            )
        return rows


def n_images(X):
    """How many images a dataset has, or a loader gives."""
    return len(X.sampler) if isinstance(X, DataLoader) else len(X)


def part_of(X, mask):
    """The images where ``mask`` holds, to be read as the others are."""
    index = np.flatnonzero(mask)
    if not isinstance(X, DataLoader):
        return Subset(X, index.tolist())
    X = _loader(X)
    order = _order_of(X)
    return DataLoader(
        Subset(X.dataset, [order[i] for i in index]),
        batch_size=X.batch_size or SMALLEST_BATCH,
        collate_fn=X.collate_fn,
        generator=torch.Generator(),
        **{name: getattr(X, name) for name in KEPT},
    )


def _batches(X):
    """Images and labels (None where there are none) of each batch, as arrays."""
    n_read = 0
    for images, labels in map(_arrays, _loader(X)):
        n_read += len(images)
        yield images, labels
    if not n_read:
        raise ValueError(f"Found {_name(X)} with 0 sample(s), but at least one is needed.")


def _arrays(batch):
    images, labels = _image_and_label(batch)
    images = _as_images(images)
    return images, None if labels is None else _as_labels(labels, len(images))


def _joined(labels, X):
    if any(label is None for label in labels):
        raise ValueError(
            f"Got {_name(X)} whose items have no labels, and no y; pass y, or a dataset of "
            "pairs (image, label)."
        )
    return np.concatenate(labels)


def _targets_of(dataset):
    """Labels that a dataset has beside its images, as those of torchvision do."""
    if isinstance(dataset, Subset):
        whole = _targets_of(dataset.dataset)
        return None if whole is None else whole[dataset.indices]
    targets = getattr(dataset, "targets", None)
    if targets is None or getattr(dataset, "target_transform", None) is not None:
        return None
    return _as_labels(targets, len(dataset))


def _images_of(loader):
    """Positions of the images that a loader gives, which may shuffle them."""
    if isinstance(loader.sampler, WeightedRandomSampler) or loader.drop_last:
        raise ValueError(
            "Got a DataLoader that draws images by weights or drops some, but each is seen "
            "once in every pass; pass one without, and class_weight to weigh classes."
        )
    if isinstance(loader.sampler, RandomSampler):
        return np.arange(len(loader.dataset))
    if isinstance(loader.sampler, SubsetRandomSampler):
        return np.asarray(loader.sampler.indices)
    return np.array(_order_of(loader))


def _order_of(loader):
    by_batch = chain.from_iterable(loader.batch_sampler)
    return list(loader.sampler if loader.batch_size else by_batch)


def _check_countable(X):
    if isinstance(X.dataset if isinstance(X, DataLoader) else X, IterableDataset):
        raise TypeError(
            f"Got {_name(X)}, an iterable dataset, but which image is which must be known; "
            "pass one with __getitem__ and __len__."
        )


def _loader(X):
    """A loader that gives every image once, in an order that is known."""
    _check_countable(X)
    if not isinstance(X, DataLoader):
        # A generator of its own leaves torch's global one as it was.
        own = {"collate_fn": _stacked, "generator": torch.Generator()}
        return DataLoader(X, batch_size=_batch_size(X), **own)
    if isinstance(X.sampler, SHUFFLING) or X.drop_last:
        raise ValueError(
            "Got a DataLoader that shuffles its images or drops some, but each gets an answer, "
            "in their order; pass one with shuffle=False and drop_last=False."
        )
    return X


def _batch_size(dataset):
    if not len(dataset):
        return 1
    n_bytes = _tensor(_image_and_label(dataset[0])[0]).nbytes
    size = min(LARGEST_BATCH, BATCH_BYTES // max(1, n_bytes))
    return max(SMALLEST_BATCH, size // SMALLEST_BATCH * SMALLEST_BATCH)


def _stacked(items):
    """One batch of a dataset's items."""
    images, labels = zip(*map(_image_and_label, items), strict=True)
    images = list(map(_tensor, images))
    shapes = sorted({tuple(image.shape) for image in images})
    if len(shapes) > 1:
        raise ValueError(
            f"Got images of the shapes {str(shapes[:4])[1:-1]} in one dataset, {EXPECTED}; "
            "resize or crop them in its transform."
        )
    unlabelled = any(label is None for label in labels)
    return torch.stack(images), None if unlabelled else default_collate(list(labels))


def _image_and_label(item):
    """What a dataset or a loader gives, as a pair."""
    if not isinstance(item, (tuple, list)):
        return item, None
    if len(item) not in (1, 2):
        raise ValueError(f"Got items of {len(item)} parts, {EXPECTED}.")
    return item[0], item[1] if len(item) == 2 else None


def _tensor(image):
    if isinstance(image, np.ndarray):
        return torch.from_numpy(image)
    if isinstance(image, torch.Tensor):
        return image
    raise TypeError(
        f"Got {type(image).__name__} as an image, {EXPECTED}; give the dataset a transform "
        "that makes tensors, such as torchvision's ToTensor()."
    )


def _as_images(images):
    images = _tensor(images).detach().cpu()
    shape = tuple(images.shape[1:])
    if not images.is_floating_point() or len(shape) not in (1, 3):
        hint = (
            "grey images need a channel axis: image[None]"
            if len(shape) == 2
            else "scale and convert them in its transform, as the network was trained"
        )
        raise ValueError(f"Got images of {images.dtype} and shape {shape}, {EXPECTED}; {hint}.")
    has_type = images.dtype != torch.bfloat16  # which numpy has not
    return (images if has_type else images.float()).numpy()


def _as_labels(labels, n_images):
    if isinstance(labels, torch.Tensor):
        labels = labels.detach().cpu()
    kind = type(labels).__name__
    labels = np.asarray(labels)
    if labels.dtype.kind not in "biufU" or labels.shape != (n_images,):
        raise ValueError(
            f"Got labels as {kind} of shape {labels.shape} for {n_images} images, but expected "
            "one number or text for each."
        )
    return labels


def _name(X):
    return f"X as {type(X).__name__}"
