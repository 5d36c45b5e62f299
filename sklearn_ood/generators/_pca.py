from dataclasses import field
from typing import Literal

import numpy as np
import torch
from sklearn.utils import gen_batches

from sklearn_ood._parameters import Count
from sklearn_ood.generators._base import BaseGenerator, Core, learned

AUTO_COMPONENTS = 100
COLUMNS_AT_ONCE = 4096  # of which double precision holds a copy
PRIOR_ROWS = 10.0
# Tables may have nearly collinear features; for images single precision is enough.
DOUBLE_MAX_FEATURES = 256


class PCACore(Core):
    """Subspaces of all classes, in float64; computed in the precision of what comes."""

    is_single = False

    def __init__(self, n_classes, n_features, latent_dim):
        super().__init__(n_classes, n_features)
        k, d, m = n_classes, n_features, latent_dim
        self.reserve(mean=(k, d), components=(k, m, d), noise_variance=(k,))
        self.reserve(variance=(k, m))  # squared lengths of the components

    def decode(self, z):
        return torch.baddbmm(self.mean.to(z)[:, None], z, self.components.to(z))

    def encode(self, x, prior_weight=0.0):
        """Ridge regression on orthogonal axes, one division a coordinate."""
        length = self.variance + prior_weight * self.noise_variance[:, None]
        axes = self.components * torch.where(length > 0, 1 / length, 0.0)[:, :, None]
        return torch.bmm(x - self.mean.to(x)[:, None], axes.to(x).mT)

    def nearest(self, x, prior_weight=0.0, distance=None):
        return self.encode(x.expand(self.n_classes, -1, -1), prior_weight)

    def log_density(self, x):
        """Eq. 4 of Tipping & Bishop through the matrix determinant and Woodbury lemmas."""
        d, noise = x.shape[1], self.noise_variance.sqrt()[:, None, None]
        x = x.double() if d <= DOUBLE_MAX_FEATURES else x
        centred = (x[None] - self.mean.to(x)[:, None]) / noise.to(x)
        centred = centred if d <= DOUBLE_MAX_FEATURES else centred.float()
        ratio = self.variance / self.noise_variance[:, None]
        inner = torch.bmm(centred, (self.components / noise).to(centred).mT)
        explained = (inner.square() / (ratio + 1).to(centred)[:, None]).sum(2)
        distance = (centred.square().sum(2) - explained).double()
        distance = distance.where(distance.isfinite(), torch.inf)  # a sum overflowed
        log_determinant = ratio.log1p().sum(1) + d * self.noise_variance.log()
        return -0.5 * (distance + log_determinant[:, None] + d * np.log(2 * np.pi)).T


class PCAGenerator(BaseGenerator):
    """Generate the rows of each class from a low-dimensional linear subspace.

    The generator of class k is ``G_k(z) = mean_k + W_k z``, with the columns of ``W_k``
    the leading principal axes, whose squared length is the variance along them less that of
    the noise, so that z is standard normal [1]_. The nearest generation of an input is its
    projection: a closed form. With isotropic noise around the subspace it also has a density.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Dimension of the subspace, at most the number of features. "auto" is 100 or half the
        number of features, whichever is smaller (at least 1).

    Attributes
    ----------
    mean_ : ndarray of shape (n_classes, n_features_in)
    components_ : ndarray of shape (n_classes, latent_dim, n_features_in)
        ``W_k`` transposed. A class with too few rows to span the subspace has zeros.
    noise_variance_ : ndarray of shape (n_classes,)
        Variance a feature outside the subspace, drawn to that of all classes together as
        far as a class has few rows.

    References
    ----------
    .. [1] M. Tipping and C. Bishop (1999), Probabilistic principal component analysis, eq. 8.

    Examples
    --------
    >>> from sklearn_ood.generators import PCAGenerator
    >>> generator = PCAGenerator(1).fit([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]])
    >>> generator.decode(generator.encode([[2.0, 2.0]])).round(6)
    array([[2., 2.]])
    """

    default_similarity = "likelihood"

    mean_ = learned("mean")
    components_ = learned("components")
    noise_variance_ = learned("noise_variance")

    n_components: Count | Literal["auto"] = field(default="auto", kw_only=False)

    def make_core(self):
        return PCACore(self.n_classes_, self.n_features_in_, self._resolved_components())

    def _fit(self, rows, codes):
        n_components = self._resolved_components()
        of_classes = (rows[codes == k].astype(np.float64) for k in range(self.n_classes_))
        parts = [principal_axes(own, n_components) for own in of_classes]
        columns = gen_batches(rows.shape[1], COLUMNS_AT_ONCE)
        spread = np.hstack([rows[:, some].var(0, dtype=np.float64) for some in columns])
        mean, components, residuals = map(np.stack, zip(*parts, strict=True))
        noise = _shrunk_noise(residuals, np.bincount(codes), spread.mean())
        found = {"mean": mean, "components": components, "noise_variance": noise}
        self.core_ = self.make_core().filled(variance=(components**2).sum(2), **found)
        self.latent_dim_ = n_components

    def _resolved_components(self):
        d = self.n_features_in_
        if self.n_components == "auto":
            return min(AUTO_COMPONENTS, max(1, d // 2))
        if self.n_components > d:
            raise ValueError(
                f"Got n_components={self.n_components} for {d} features, but a subspace cannot "
                "have more dimensions than the data; use fewer, or 'auto'."
            )
        return int(self.n_components)


def principal_axes(X, n_components):
    """Mean, principal axes as long as their variance less the noise (eq. 7), and the noise."""
    n, d = X.shape
    mean = X.mean(0)
    centred = X - mean
    if n <= d:
        variance, left = np.linalg.eigh(centred @ centred.T / n)
        axes = left[:, ::-1][:, :n_components].T @ centred
        length = np.linalg.norm(axes, axis=1, keepdims=True)
        axes /= np.where(length > 0, length, 1.0)
    else:
        variance, right = np.linalg.eigh(centred.T @ centred / n)
        axes = right[:, ::-1].T[:n_components]
    variance = variance[::-1].clip(min=0)[:n_components]
    total = (centred**2).sum() / n
    noise = max(total - variance.sum(), 0.0) / max(d - n_components, 1)
    variance = np.where(variance > 1e-10 * total, variance, 0.0)
    scaled = np.zeros((n_components, d))
    scaled[: len(variance)] = axes * np.sqrt(np.maximum(variance - noise, 0))[:, None]
    return mean, scaled, noise


def _shrunk_noise(residuals, counts, variance):
    """Noise of each class; one with few rows leans on all, and none is exactly zero."""
    pooled = np.average(residuals, weights=counts)
    noise = (counts * residuals + PRIOR_ROWS * pooled) / (counts + PRIOR_ROWS)
    floor = 1e-3 * pooled if pooled > 1e-12 * variance else 1e-6 * variance
    return np.maximum(noise, floor or 1e-6)
