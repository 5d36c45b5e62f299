"""The training rows themselves as the range of the generator."""

import numpy as np
import torch

from sklearn_ood.generators._base import BaseGenerator


class NearestNeighborGenerator(BaseGenerator):
    """Generate the training rows of each class: the nearest-neighbour classifier's model.

    The latent is one number, uniform on [-1, 1], that numbers the rows of a class. The
    nearest generation of an input is its nearest training row, found by matrix products.
    Generations are constant between the rows, so gradients to the latent are zero.

    Attributes
    ----------
    rows_ : ndarray of shape (n_samples, n_features_in)
        Training rows, sorted by class.
    offsets_ : ndarray of shape (n_classes + 1,)
        Class k holds ``rows_[offsets_[k]:offsets_[k + 1]]``.
    noise_variance_ : ndarray of shape (n_classes,)
        Zeros.
    latent_dim_ : int
        1.

    Notes
    -----
    Generative classification with this generator is the 1-nearest-neighbour classifier of
    the paper's section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.generators import NearestNeighborGenerator
    >>> generator = NearestNeighborGenerator().fit(np.array([[0.0], [1.0], [5.0]]))
    >>> generator.decode(generator.encode([[4.0]]))
    array([[5.]], dtype=float32)
    """

    prior = "uniform"

    def _fit(self, rows, codes):
        order = np.argsort(codes, kind="stable")
        self.rows_ = rows[order]
        self._half_norm = 0.5 * (self.rows_**2).sum(1)
        counts = np.bincount(codes, minlength=self.n_classes_)
        self.offsets_ = np.concatenate([[0], np.cumsum(counts)])
        self.noise_variance_ = np.zeros(self.n_classes_)
        self.latent_dim_ = 1

    @property
    def is_differentiable(self):
        """Whether gradients of a generation reach its latent: they do not."""
        return False

    def _decode_stack(self, z):
        first, count = self._first_and_count(z.device)
        place = ((z[:, :, 0] + 1) / 2 * count).floor().clamp_min(0)
        place = torch.minimum(place, count - 1).long() + first
        return torch.as_tensor(self.rows_, device=z.device)[place] + 0 * z

    def _encode_stack(self, x):
        n_classes, n, d = x.shape
        z = self._nearest_stack(x.reshape(-1, d), 0.0).view(n_classes, n_classes, n, 1)
        return torch.diagonal(z).permute(2, 0, 1)

    def _nearest_stack(self, x, prior_weight):
        first, count = self._first_and_count(x.device)
        place = self._nearest_row(x).T - first
        return ((2 * place + 1) / count - 1).to(x.dtype)[:, :, None]

    def _nearest_row(self, x, max_elements=2**25):
        """Position in `rows_` of the nearest row of each class, (n, K)."""
        rows = torch.as_tensor(self.rows_, device=x.device)
        half_norm = torch.as_tensor(self._half_norm, device=x.device)
        parts = x.split(max(1, max_elements // len(rows)))
        inner = (torch.addmm(half_norm, part, rows.T, beta=-1) for part in parts)
        return torch.cat([self._first_maximum(values) for values in inner])

    def _first_maximum(self, inner):
        """Where each class's segment of every row has its (first) maximum."""
        values = inner.cpu().numpy()
        starts, counts = self.offsets_[:-1], np.diff(self.offsets_)
        best = np.maximum.reduceat(values, starts, axis=1)
        is_best = values == np.repeat(best, counts, axis=1)
        n_rows = values.shape[1]
        place = np.where(is_best, np.arange(n_rows, dtype=np.int32), n_rows)
        place = np.minimum.reduceat(place, starts, axis=1)
        return torch.as_tensor(place, dtype=torch.long, device=inner.device)

    def _floats_per_row(self):
        return max(self.rows_.size // 64, self.n_classes_ * self.n_features_in_)

    def _first_and_count(self, device):
        offsets = torch.as_tensor(self.offsets_, device=device)
        return offsets[:-1, None], torch.diff(offsets)[:, None]
