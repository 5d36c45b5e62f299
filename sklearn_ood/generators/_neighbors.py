"""Generators of the training rows themselves, and of what lies between neighbouring ones."""

from dataclasses import field

import numpy as np
import torch

from sklearn_ood._parameters import Count, ShareOrZero, fitted
from sklearn_ood.generators._base import BaseGenerator, Core, learned
from sklearn_ood.search._latents import MAX_DISTANCES, nearest_of_classes, squared_distance

# In standard deviations; its square fits into float32.
FARTHEST = 1e15
LOF_NEIGHBORS = 20


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
        found = {"centre": centre, "scale": scale, "scaled": scaled, "half_norm": half_norm}
        return self.filled(rows=rows, **found)

    def encode(self, x):
        n_classes, n, d = x.shape
        if not x.stride(0):  # the same rows of all classes
            return self.nearest(x[0])
        z = self.nearest(x.reshape(-1, d)).view(n_classes, n_classes, n, 1)
        return torch.diagonal(z).permute(2, 0, 1)

    def nearest(self, x, prior_weight=0.0, distance=squared_distance):
        if distance is squared_distance:  # in one product, in float32 of standardised rows
            scaled = ((x - self.centre) / self.scale).clamp(-FARTHEST, FARTHEST).float()
            place = nearest_of_classes(scaled, self.scaled, self.half_norm, self.sizes)
        else:
            of_classes = self.rows.to(x).split(self.sizes)
            parts = x[:, None].split(max(1, MAX_DISTANCES // self.rows.numel()))
            near = ([distance(part, own).argmin(1) for own in of_classes] for part in parts)
            place = torch.cat([torch.stack(part) for part in near], 1)
        return ((2 * place + 1) / self.count - 1).to(x.dtype)[:, :, None]


class NearestNeighborGenerator(BaseGenerator):
    """Generate the training rows of each class: the nearest-neighbour classifier's model.

    The latent is one number, uniform on [-1, 1], that numbers the rows of a class; gradients
    to it are zero. The nearest generation of an input is its nearest training row, under any
    similarity: generative classification with it is the 1-nearest-neighbour classifier.

    Attributes
    ----------
    rows_, offsets_ : ndarray of shape (n_samples, n_features_in) and (n_classes + 1,)
        Class k holds ``rows_[offsets_[k]:offsets_[k + 1]]``, of the type ``row_type_``.

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


class InterpolationCore(Core):
    """Latents: which row, which of its neighbours, and how far from the one to the other."""

    prior = "uniform"
    is_differentiable = is_single = False
    is_encoder_trusted = True

    def __init__(self, offsets, n_features, row_type, n_neighbors):
        super().__init__(len(offsets) - 1, n_features)
        self.n_neighbors = n_neighbors
        self.rows_of = NeighborCore(offsets, n_features, row_type)
        self.reserve(torch.int64, neighbors=(int(offsets[-1]), n_neighbors))

    def decode(self, z):
        share = (z + 1) / 2
        place = self.rows_of.place(z[:, :, 0])
        which = (share[:, :, 1] * self.n_neighbors).long().clamp(0, self.n_neighbors - 1)
        other = self.neighbors[place].gather(2, which[:, :, None])[:, :, 0]
        start = self.rows_of.rows[place].to(z)
        return start + share[:, :, 2:] * (self.rows_of.rows[other].to(z) - start)

    def encode(self, x):
        row = self.rows_of.encode(x)
        return torch.cat([row, torch.full_like(row, 0), torch.full_like(row, -1)], 2)


class InterpolationGenerator(BaseGenerator):
    """Generate rows between a training row of a class and one of its nearest neighbours.

    This is SMOTE [1]_ as a generator: of three latents, uniform on [-1, 1], the first numbers
    the rows of a class along its first principal component, the second a row's neighbours, and
    the third is the place between the two. Rows that lie apart from their class are no start,
    so that what is generated keeps to the data however the latents are moved. Neighbours are in
    units of the features' standard deviations. An encoded row is the nearest training row.

    Parameters
    ----------
    n_neighbors : int >= 1, default=5
        Of a row within its class.
    contamination : float in [0, 1), default=0.1
        Share of each class's rows, those with the lowest local outlier factors, left out.

    References
    ----------
    .. [1] N. Chawla et al. (2002), SMOTE: synthetic minority over-sampling technique.

    Examples
    --------
    >>> from sklearn_ood.generators import InterpolationGenerator
    >>> generator = InterpolationGenerator(1, contamination=0).fit([[0.0], [1.0], [5.0], [6.0]])
    >>> rows = generator.sample(100, random_state=0)
    >>> bool(((rows <= 1) | (rows >= 5)).all())
    True
    """

    n_neighbors: Count = field(default=5, kw_only=False)
    contamination: ShareOrZero = 0.1

    offsets_: np.ndarray = fitted()
    row_type_: str = fitted()

    def make_core(self):
        parts = self.offsets_, self.n_features_in_, self.row_type_, self.n_neighbors
        return InterpolationCore(*parts)

    def _fit(self, rows, codes):
        spread = rows.std(axis=0, dtype=np.float64)
        scaled = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        classes = [np.flatnonzero(codes == k) for k in range(self.n_classes_)]
        kept = [index[_inner(scaled[index], self.contamination)] for index in classes]
        kept = [index[_along(scaled[index])] for index in kept]
        self.offsets_ = np.cumsum([0, *map(len, kept)])
        parts = zip(kept, self.offsets_, strict=False)
        found = [_neighbors(scaled[index], self.n_neighbors) + first for index, first in parts]
        self.row_type_, rows = rows.dtype.name, rows[np.concatenate(kept)]
        core = self.make_core()
        core.rows_of.learn(rows)
        core.neighbors.copy_(torch.from_numpy(np.concatenate(found)))
        self.core_, self.latent_dim_ = core, 3


def _inner(scaled, contamination):
    n_left = int(contamination * len(scaled))
    if not n_left:
        return np.arange(len(scaled))
    from sklearn.neighbors import LocalOutlierFactor  # slow to import

    lof = LocalOutlierFactor(min(LOF_NEIGHBORS, len(scaled) - 1)).fit(scaled)
    return np.sort(np.argsort(lof.negative_outlier_factor_, kind="stable")[n_left:])


def _along(scaled):
    centred = scaled - scaled.mean(axis=0)
    return np.argsort(centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1], kind="stable")


def _neighbors(scaled, n_neighbors):
    """The nearest other rows of each, over again where there are fewer; itself if alone."""
    from sklearn.neighbors import NearestNeighbors  # slow to import

    n_others = min(n_neighbors, len(scaled) - 1)
    if not n_others:
        return np.zeros((1, n_neighbors), dtype=np.int64)
    found = NearestNeighbors(n_neighbors=n_others).fit(scaled).kneighbors(return_distance=False)
    return found[:, np.arange(n_neighbors) % n_others]
