"""Images that are read batch by batch and never held: torch's datasets and their loaders."""

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

BATCH_BYTES = 2**26
SMALLEST_BATCH, LARGEST_BATCH = 16, 1024
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
    """The label of each image, for which all of them are read."""
    labels = [label for _, label in _batches(X)]
    if any(label is None for label in labels):
        raise ValueError(
            f"Got {_name(X)} whose items have no labels, and no y; pass y, or a dataset of "
            "pairs (image, label)."
        )
    return np.concatenate(labels)


def n_images(X):
    """How many images a dataset has, or a loader gives."""
    return len(X.sampler) if isinstance(X, DataLoader) else len(X)


def part_of(X, mask):
    """The images where ``mask`` holds, to be read as the others are."""
    index = np.flatnonzero(mask)
    if not isinstance(X, DataLoader):
        return Subset(X, index.tolist())
    X = _loader(X)
    order = list(X.sampler) if X.batch_size else list(chain.from_iterable(X.batch_sampler))
    return DataLoader(
        Subset(X.dataset, [order[i] for i in index]),
        batch_size=X.batch_size or SMALLEST_BATCH,
        num_workers=X.num_workers,
        collate_fn=X.collate_fn,
        worker_init_fn=X.worker_init_fn,
        multiprocessing_context=X.multiprocessing_context,
        generator=torch.Generator(),
    )


def _batches(X):
    """Images and labels (None where there are none) of each batch, as arrays."""
    n_read = 0
    for batch in _loader(X):
        images, labels = _image_and_label(batch)
        images = _as_images(images)
        n_read += len(images)
        yield images, None if labels is None else _as_labels(labels, len(images))
    if not n_read:
        raise ValueError(f"Found {_name(X)} with 0 sample(s), but at least one is needed.")


def _loader(X):
    """A loader that gives every image once, in an order that is known."""
    dataset = X.dataset if isinstance(X, DataLoader) else X
    if isinstance(dataset, IterableDataset):
        raise TypeError(
            f"Got {_name(X)}, an iterable dataset, but which image is which must be known; "
            "pass one with __getitem__ and __len__."
        )
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
