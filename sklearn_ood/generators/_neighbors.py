"""The training rows themselves as the range of the generator."""

import numpy as np
import torch

from sklearn_ood._parameters import fitted
from sklearn_ood.generators._base import BaseGenerator, Core, learned
from sklearn_ood.search._latents import squared_distance

# Held at once.
MAX_DISTANCES = 2**25
# In standard deviations; its square fits into float32.
FARTHEST = 1e15


class NeighborCore(Core):
    """The rows of all classes; latents number those between two neighbouring ``offsets``."""

    prior = "uniform"
    is_differentiable = is_single = False

    def __init__(self, offsets, n_features, row_type):
        super().__init__(len(offsets) - 1, n_features)
        n_rows, sizes = int(offsets[-1]), np.diff(offsets)
        self.sizes = sizes.tolist()
        self.floats_per_row = max(n_rows * n_features // 64, self.floats_per_row)
        self.keep(first=offsets[:-1, None], count=sizes[:, None])
        self.reserve(getattr(torch, row_type), rows=(n_rows, n_features))
        self.reserve(centre=(n_features,), scale=())
        self.reserve(torch.float32, scaled=(n_rows, n_features), half_norm=(n_rows,))

    def place(self, z):
        """The rows that latents (K, c) number."""
        number = ((z + 1) / 2 * self.count).floor().clamp_min(0)
        return torch.minimum(number, self.count - 1).long() + self.first

    def decode(self, z):
        return self.rows[self.place(z[:, :, 0])] + 0 * z

    def learn(self, rows):
        """Take rows, sorted by class, and what distances to them need."""
        centre = rows.mean(0, dtype=np.float64)
        scaled = rows - centre
        scale = np.sqrt(np.square(scaled).mean()) or 1.0
        scaled /= scale
        half_norm = 0.5 * np.square(scaled).sum(1)
        return self.filled(
            rows=rows, centre=centre, scale=scale, scaled=scaled, half_norm=half_norm
        )

    def encode(self, x):
        n_classes, n, d = x.shape
        z = self.nearest(x.reshape(-1, d)).view(n_classes, n_classes, n, 1)
        return torch.diagonal(z).permute(2, 0, 1)

    def nearest(self, x, prior_weight=0.0, distance=squared_distance):
        width, dtype = self.n_features, x.dtype
        if distance is squared_distance:  # in one product, in float32 of standardised rows
            scaled = ((x - self.centre) / self.scale).clamp(-FARTHEST, FARTHEST)
            x, width = scaled.float(), 1
        parts = x.split(max(1, MAX_DISTANCES // (len(self.rows) * width)))
        place = torch.cat([self._place_of_nearest(part, distance) for part in parts], 1)
        return ((2 * place + 1) / self.count - 1).to(dtype)[:, :, None]

    def _place_of_nearest(self, x, distance):
        """Place, among the rows of each class, of the one nearest to each input, (K, n)."""
        if distance is squared_distance:
            inner = torch.addmm(self.half_norm, x, self.scaled.T, beta=-1)
            return torch.stack([part.argmax(1) for part in inner.split(self.sizes, 1)])
        of_classes = self.rows.to(x).split(self.sizes)
        return torch.stack([distance(x[:, None], rows).argmin(1) for rows in of_classes])


class NearestNeighborGenerator(BaseGenerator):
    """Generate the training rows of each class: the nearest-neighbour classifier's model.

    The latent is one number, uniform on [-1, 1], that numbers the rows of a class; gradients
    to it are zero. The nearest generation of an input is its nearest training row, under any
    similarity: generative classification with it is the 1-nearest-neighbour classifier.

    Attributes
    ----------
    rows_ : ndarray of shape (n_samples, n_features_in)
        Training rows, sorted by class.
    offsets_ : ndarray of shape (n_classes + 1,)
        Class k holds ``rows_[offsets_[k]:offsets_[k + 1]]``.
    row_type_ : str
        Their type.

    Examples
    --------
    >>> from sklearn_ood.generators import NearestNeighborGenerator
    >>> generator = NearestNeighborGenerator().fit([[0.0], [1.0], [5.0]])
    >>> generator.decode(generator.encode([[4.0]]))
    array([[5.]])
    """

    rows_ = learned("rows")

    offsets_: np.ndarray = fitted()
    row_type_: str = fitted()

    def make_core(self):
        return NeighborCore(self.offsets_, self.n_features_in_, self.row_type_)

    def _fit(self, rows, codes):
        rows = rows[np.argsort(codes, kind="stable")]
        self.offsets_ = np.concatenate([[0], np.cumsum(np.bincount(codes))])
        self.row_type_ = rows.dtype.name
        self.core_ = self.make_core().learn(rows)
        self.latent_dim_ = 1
