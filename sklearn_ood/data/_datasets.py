"""Images that are read batch by batch and never held: torch's datasets and their loaders."""

from copy import copy
from itertools import chain, islice

import numpy as np
import torch
from torch.utils import data
from torch.utils.data import DataLoader, Subset, default_collate

from sklearn_ood.data._blocks import PagedRows

BATCH_BYTES = 2**26
SMALLEST_BATCH, LARGEST_BATCH = 16, 1024
MOST_PASSES = 16  # over a dataset, in one pass of a loader
# How a loader reads.
KEPT = "collate_fn", "num_workers", "worker_init_fn", "multiprocessing_context"
EXPECTED = (
    "but expected float images of one shape (C, H, W), each alone or with its label in a pair "
    "(image, label)"
)


def n_images(X):
    return len(_images_of(X, in_order=False))


def part_of(X, mask):
    chosen = _images_of(X)[mask].tolist()
    if not isinstance(X, DataLoader):
        return Subset(X, chosen)
    options = {name: getattr(X, name) for name in KEPT}
    return DataLoader(Subset(X.dataset, chosen), batch_size=SMALLEST_BATCH, **options)


class DatasetRows(PagedRows):
    """The images of a dataset as flat rows, read when they are asked for, as a loader says."""

    dtype = np.dtype(np.float32)

    def __init__(self, X, *, in_order=True):
        is_loader = isinstance(X, DataLoader)
        self._index = _images_of(X, in_order=in_order)
        self._options = {name: getattr(X, name) for name in KEPT} if is_loader else {}
        self._collate = self._options.pop("collate_fn", _stacked)
        self._dataset = X.dataset if is_loader else X
        self._generator = torch.Generator()  # goes on from pass to pass
        if not len(self._index):
            raise ValueError(f"Found {_name(X)} with 0 sample(s), but at least one is needed.")
        ((first, label),) = self._read([self._index[:1]])
        self.is_labelled, self.item_shape = label is not None, first.shape[1:]
        self.image_shape = self.item_shape if first.ndim == 4 else None
        self.shape = len(self._index), int(np.prod(self.item_shape))

    def __len__(self):
        return len(self._index)

    def read(self, index):
        ((images, _),) = self._read([self._index[index]])
        return self._flat(images)

    def batches(self, indices):
        """The rows of each index, one after the other, read ahead where there are workers."""
        wanted = [self._index[index] for index in indices]
        return (self._flat(images) for images, _ in self._read(wanted, **self._options))

    def blocks(self):
        """The images in their shape, as many at a time as make a block, and their labels."""
        size = min(LARGEST_BATCH, BATCH_BYTES // max(1, 4 * self.shape[1]))
        size = max(SMALLEST_BATCH, size // SMALLEST_BATCH * SMALLEST_BATCH)
        blocks = [self._index[start : start + size] for start in range(0, len(self), size)]
        for images, labels in self._read(blocks, **self._options):
            _check_one_shape([self.item_shape, images.shape[1:]])
            yield images, labels

    def image_blocks(self):
        return (images for images, _ in self.blocks())

    def labels(self):
        """The label of each image: the dataset's ``targets`` where items have them, or read."""
        known = _targets_of(self._dataset)
        if known is not None:
            some = self._index[:: 1 + len(self) // SMALLEST_BATCH]
            ((_, labels),) = self._read([some])
            if _are_labels(labels, known[some]):
                return known[self._index]
        return self.joined(labels for _, labels in self.blocks())

    def joined(self, blocks):
        """The labels of all blocks, which are looked at where somebody asks for them."""
        labels = list(blocks)
        if any(label is None for label in labels):
            raise ValueError(
                f"Got {_name(self._dataset)} whose items have no labels, and no y; pass y, or "
                "a dataset of pairs (image, label)."
            )
        return np.concatenate([_as_labels(*some) for some in labels])

    def part(self, mask):
        part, index = copy(self), self._index[mask]
        vars(part).update(_index=index, shape=(len(index), self.shape[1]))
        return part

    def _read(self, indices, **options):
        own = {"collate_fn": self._collate, "generator": self._generator}
        batches = [index.tolist() for index in indices]
        loader = DataLoader(self._dataset, batch_sampler=batches, **own | options)
        for batch, read in zip(batches, loader, strict=True):
            images, labels = _image_and_label(read)
            images = _as_images(images)
            if len(images) != len(batch):
                raise ValueError(
                    f"Got {len(images)} images of {len(batch)} items from a collate_fn or "
                    "__getitems__, but expected one of each; leave others out by a Subset."
                )
            yield images, None if labels is None else (labels, len(images))

    def _flat(self, images):
        rows = images.reshape(len(images), -1).astype(np.float32, copy=False)
        if rows.shape[1] != self.shape[1] or not np.isfinite(rows.sum(dtype=np.float64)):
            raise ValueError(
                f"Got images of shape {images.shape[1:]}, or with NaN or infinity, but "
                f"expected finite ones of {self.shape[1]} numbers, as the first is."
            )
        return rows


def _images_of(X, *, in_order=True):
    """Positions of the images that X gives."""
    is_loader = isinstance(X, DataLoader)
    dataset = X.dataset if is_loader else X
    if isinstance(dataset, data.IterableDataset) or not hasattr(dataset, "__len__"):
        raise TypeError(
            f"Got {_name(X)}, an iterable dataset or one without a length, but which image is "
            "which must be known; pass one with __getitem__ and __len__."
        )
    return _images_of_loader(X, in_order) if is_loader else np.arange(len(X))


def _images_of_loader(loader, in_order):
    """The same of a loader, which may shuffle those that train."""
    if loader.batch_sampler is None:
        raise ValueError("Got a DataLoader with batch_size=None, but expected one of batches.")
    batches, dataset = loader.batch_sampler, loader.dataset
    sampler = getattr(batches, "sampler", loader.sampler)
    # That of several processes shuffles so; the order of an epoch is always the same.
    shuffles = getattr(sampler, "shuffle", False)
    is_weighted = isinstance(sampler, data.WeightedRandomSampler)
    drops = getattr(batches, "drop_last", False) or is_weighted
    if isinstance(sampler, (data.RandomSampler, data.SubsetRandomSampler)):
        shuffles, index = True, np.asarray(getattr(sampler, "indices", range(len(dataset))))
        if isinstance(sampler, data.RandomSampler):
            drops = drops or sampler.replacement or sampler.num_samples != len(dataset)
    else:
        index, again = (_one_pass(batches, len(dataset)) for _ in range(2))
        if shuffles or not np.array_equal(index, again):
            shuffles, index = True, np.unique(index)  # as y, in the order of the dataset
            drops = drops or not np.array_equal(index, np.sort(again))
    if drops or (shuffles and in_order):
        raise ValueError(
            "Got a DataLoader that draws images by weights, drops some, or shuffles those that "
            "get answers, but each is read once a pass and answered in its place; pass one "
            "with drop_last=False and shuffle=False, and class_weight to weigh classes."
        )
    return index


def _one_pass(batches, n_images):
    """Positions of the images of all batches, one after the other."""
    most = MOST_PASSES * n_images + LARGEST_BATCH
    index = np.fromiter(islice(chain.from_iterable(batches), most), dtype=np.int64)
    if len(index) == most:
        raise ValueError(
            f"Got a DataLoader whose batches have no end, of a dataset of {n_images} images, "
            "but expected each of them once; pass one with a sampler that ends, or none."
        )
    return index


def _targets_of(dataset):
    """Labels that a dataset has beside its images, as those of torchvision do."""
    if isinstance(dataset, Subset):
        whole = _targets_of(dataset.dataset)
        return None if whole is None else whole[dataset.indices]
    targets, of_pairs = (getattr(dataset, each, None) for each in ("targets", "transforms"))
    of_labels = getattr(dataset, "target_transform", None)
    # torchvision's transform of images alone, as one of pairs, has none of labels.
    is_changed = of_labels is not None or getattr(of_pairs, "target_transform", of_pairs)
    if targets is None or is_changed:
        return None
    return _as_labels(targets, len(dataset))


def _are_labels(labels, targets):
    """Whether items' labels are their targets, or what is no label, or there are none."""
    try:
        return labels is None or np.array_equal(_as_labels(*labels), targets)
    except ValueError:
        return True


def _stacked(items):
    images, labels = zip(*map(_image_and_label, items), strict=True)
    images = list(map(_tensor, images))
    _check_one_shape(sorted({tuple(image.shape) for image in images}))
    unlabelled = any(label is None for label in labels)
    return torch.stack(images), None if unlabelled else list(labels)


def _check_one_shape(shapes):
    shapes = list(dict.fromkeys(map(tuple, shapes)))
    if len(shapes) > 1:
        raise ValueError(
            f"Got images of the shapes {str(shapes[:4])[1:-1]} in one dataset, {EXPECTED}; "
            "resize or crop them in its transform."
        )


def _image_and_label(item):
    """What a dataset or a loader gives, as a pair."""
    if isinstance(item, dict) or (isinstance(item, (tuple, list)) and len(item) not in (1, 2)):
        parts = f"the keys {list(item)}" if isinstance(item, dict) else f"{len(item)} parts"
        raise ValueError(
            f"Got items of {parts}, {EXPECTED}; wrap the dataset in one that gives pairs, or "
            "pass a DataLoader with a collate_fn that does."
        )
    if not isinstance(item, (tuple, list)):
        return item, None
    return item[0], item[1] if len(item) == 2 else None


def _tensor(image):
    if isinstance(image, np.ndarray):  # mirrored, of a file of another machine, not writable
        return torch.from_numpy(image.astype(image.dtype.newbyteorder("="), order="C"))
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
        hint = "scale and convert them in its transform, as the network was trained"
        if len(shape) == 2:
            hint = "grey images need a channel axis: image[None]"
        elif len(shape) == 3 and shape[2] <= 4 < min(shape[:2]):
            hint += ", with the channels first: image.permute(2, 0, 1)"
        raise ValueError(f"Got images of {images.dtype} and shape {shape}, {EXPECTED}; {hint}.")
    has_type = images.dtype != torch.bfloat16  # which numpy has not
    return (images if has_type else images.float()).numpy()


def _as_labels(labels, n_images):
    labels = default_collate(labels) if isinstance(labels, list) else labels
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
