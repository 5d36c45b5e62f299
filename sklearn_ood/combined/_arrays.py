"""Formulas that are the same for arrays of numpy and for tensors, which a graph is made of."""

import numpy as np
import torch

from sklearn_ood.nets import _heads


def namespace(x):
    """The module of functions for an array or tensor."""
    return torch if isinstance(x, torch.Tensor) else np


def constants(like, *values):
    """Numbers or arrays in float64, for use with an array or tensor: graphs round bare ones."""
    xp = namespace(like)
    return [xp.asarray(value, dtype=xp.float64) for value in values]


def n_below(known, scores, *, strictly=False):
    """How many of ascending numbers are at most, or strictly below, each score.

    Parameters
    ----------
    known : ndarray of shape (n_known,) or (n_columns, n_known)
    scores : ndarray or tensor of shape (n_samples,) or (n_samples, n_columns)
    strictly : bool
    """
    if namespace(scores) is torch:
        (known,) = constants(scores, known)
        if known.ndim == 2:
            return _bisected(known, scores, strictly)
        cells = scores[:, None]
        return (known < cells if strictly else known <= cells).sum(dim=1)
    side = "left" if strictly else "right"
    if known.ndim == 1:
        return np.searchsorted(known, scores, side)
    columns = zip(known, scores.T, strict=True)
    return np.column_stack([np.searchsorted(*column, side) for column in columns])


def _bisected(known, scores, strictly):
    """By bisection in all columns at once, in little memory: graphs have no search."""
    (n_columns, size), found = known.shape, torch.zeros_like(scores, dtype=torch.int64)
    before, cells = torch.arange(n_columns) * size - 1, known.flatten()
    for k in reversed(range(size.bit_length())):
        further = found + 2**k
        probed = cells[before + further.clamp(max=size)]
        is_below = probed < scores if strictly else probed <= scores
        found = torch.where((further <= size) & is_below, further, found)
    return found


def between(known, levels, scores, above):
    """Levels at scores that lie just below ``known[above]``, by straight lines.

    Of columns ``known`` and ``levels`` are of shape (n_columns, n_known).
    """
    xp, size = namespace(scores), known.shape[-1]
    first = xp.arange(known.size // size) * size if known.ndim == 2 else 0
    right = first + xp.clip(above, 0, size - 1)
    left = first + xp.clip(above - 1, 0, size - 1)
    known, levels = constants(scores, known.ravel(), levels.ravel())
    low, high, level = known[left] / 2, known[right] / 2, levels[left]
    is_inside = high > low  # halves, or the difference may overflow
    share = (scores / 2 - low) / xp.where(is_inside, high - low, 1.0)
    rise = xp.where(is_inside, levels[right] - level, 0.0)
    return xp.minimum(level + xp.clip(share, 0, 1) * rise, levels[right])  # if rounding exceeds


def log1p(x):
    """Logarithm of 1 + x, for x >= 0."""
    return _heads.log1p(x) if namespace(x) is torch else np.log1p(x)
