"""A fixed first layer that shows a net the thin directions of a table, too."""

import numpy as np
import torch
from torch import nn

from sklearn_ood.nets._evaluation import take_batch

MAX_ROWS = 20_000
# Of the mean variance: rounding, which is not blown up.
NO_VARIANCE = 1e-8


class Whitened(nn.Module):
    """Standardised columns and, beside them, whitened ones: (n, 2 * n_features).

    What columns share hides what tells rows apart where columns are nearly functions of one
    another; and a net learns slowly from what is small. ``learn`` sets both before training.
    """

    def __init__(self, n_features):
        super().__init__()
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("weight", torch.zeros(2 * n_features, n_features))

    def forward(self, rows):
        return nn.functional.linear(rows - self.center, self.weight)

    def learn(self, rows, seed):
        """Take means, deviations and axes from (at most ``MAX_ROWS``) rows."""
        order = np.random.RandomState(seed).permutation(len(rows))[:MAX_ROWS]
        rows = take_batch(rows, torch.from_numpy(order), torch.device("cpu")).double().numpy()
        center, scale = rows.mean(axis=0), _scale(rows.std(axis=0))
        white = white_axes((rows - center) / scale) / scale[:, None]
        self.center.copy_(torch.from_numpy(center))
        self.weight.copy_(torch.from_numpy(np.vstack([np.diag(1 / scale), white.T])))


def white_axes(rows):
    """Principal axes of centred rows, each divided by the standard deviation along it.

    The axes are those of every other row, the deviations those of the rest: along an axis
    that few rows determine, new rows vary more than these.
    """
    first, second = rows[::2], rows[1::2]
    _, axes = np.linalg.eigh(first.T @ first)
    return axes / _scale((second @ axes).std(axis=0))


def _scale(deviations):
    """Standard deviations to divide by: 1 where there is none."""
    least = np.sqrt(NO_VARIANCE * np.square(deviations).mean())
    return np.where(deviations > least, deviations, 1.0)
