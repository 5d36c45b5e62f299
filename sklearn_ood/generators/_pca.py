"""A linear generator a class: principal component analysis."""

from numbers import Integral

import numpy as np
import torch

from sklearn_ood.generators._base import BaseGenerator

AUTO_COMPONENTS = 100
PRIOR_ROWS = 10.0
# Tables may have nearly collinear features; for images single precision is enough.
DOUBLE_MAX_FEATURES = 256


class PCAGenerator(BaseGenerator):
    """Generate the rows of each class from a low-dimensional linear subspace.

    The generator of class k is ``G_k(z) = mean_k + W_k z``, with the columns of ``W_k``
    the leading principal axes scaled by the standard deviation along them, so that z is
    standard normal. The nearest generation of an input is its projection: a closed form.
    As a probabilistic model (isotropic noise around the subspace) it also has a density.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Dimension of the subspace, at most the number of features. "auto" is 100 or half the
        number of features, whichever is smaller (at least 1).

    Attributes
    ----------
    mean_ : ndarray of shape (n_classes, n_features_in)
        Mean of each class.
    components_ : ndarray of shape (n_classes, latent_dim, n_features_in)
        ``W_k`` transposed. A class with too few rows to span the subspace has zeros.
    noise_variance_ : ndarray of shape (n_classes,)
        Variance a feature outside the subspace, drawn to that of all classes together as
        far as a class has few rows.
    latent_dim_ : int
        Number of components.

    References
    ----------
    M. Tipping and C. Bishop (1999), Probabilistic principal component analysis, eq. 8: the
    maximum likelihood estimate of the noise.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood.generators import PCAGenerator
    >>> X, y = load_iris(return_X_y=True)
    >>> generator = PCAGenerator(n_components=2).fit(X, y)
    >>> generator.decode(generator.encode(X[:3], 0), 0).shape
    (3, 4)
    """

    default_similarity = "likelihood"

    def __init__(self, n_components="auto"):
        self.n_components = n_components

    def _fit(self, rows, codes):
        d = rows.shape[1]
        n_components = self._resolve_components(d)
        rows = rows.astype(np.float64)
        parts = [rows[codes == k] for k in range(self.n_classes_)]
        means, axes, residuals = zip(
            *(principal_axes(part, n_components) for part in parts), strict=True
        )
        counts = np.bincount(codes, minlength=self.n_classes_)
        self.noise_variance_ = _shrunk_noise(np.array(residuals), counts, d, n_components)
        self.mean_, self.components_ = np.stack(means), np.stack(axes)
        self._factorise()
        self.latent_dim_ = n_components

    def _resolve_components(self, d):
        if self.n_components == "auto":
            return min(AUTO_COMPONENTS, max(1, d // 2))
        if not isinstance(self.n_components, Integral) or self.n_components < 1:
            raise ValueError(
                f"Got n_components={self.n_components!r}, but expected 'auto' or a whole "
                "number >= 1."
            )
        if self.n_components > d:
            raise ValueError(
                f"Got n_components={self.n_components} for {d} features, but a subspace cannot "
                "have more dimensions than the data; use fewer, or 'auto'."
            )
        return int(self.n_components)

    def _factorise(self):
        """The squared lengths of the axes: they are orthogonal."""
        self._variance = (self.components_**2).sum(2)

    def _decode_stack(self, z):
        mean, components = (_like(z, a) for a in (self.mean_, self.components_))
        return torch.baddbmm(mean[:, None], z, components)

    def _encode_stack(self, x):
        return self._project(x, 0.0)

    def _nearest_stack(self, x, prior_weight):
        return self._project(x.expand(self.n_classes_, -1, -1), prior_weight)

    def _project(self, x, prior_weight):
        """Ridge regression on orthogonal axes, one division a coordinate."""
        mean, components, variance = (
            _like(x, a) for a in (self.mean_, self.components_, self._variance)
        )
        ridge = prior_weight * _like(x, self.noise_variance_)[:, None]
        inner = torch.bmm(x - mean[:, None], components.mT)
        length = variance + ridge
        shrink = torch.where(length > 0, 1 / length.clamp_min(1e-30), 0.0)
        return inner * shrink[:, None]

    def _log_density(self, x):
        """Eq. 4 of Tipping & Bishop through the matrix determinant and Woodbury lemmas."""
        d = x.shape[1]
        x = x.double() if d <= DOUBLE_MAX_FEATURES else x
        mean, components, variance = (
            _like(x, a) for a in (self.mean_, self.components_, self._variance)
        )
        noise = _like(x, self.noise_variance_)
        centred = x[None] - mean[:, None]
        inner = torch.bmm(centred, components.mT)
        explained = (inner.square() / (variance + noise[:, None])[:, None]).sum(2)
        distance = ((centred.square().sum(2) - explained) / noise[:, None]).double()
        distance = distance.where(distance.isfinite(), torch.inf)  # a sum overflowed
        log_determinant = (variance / noise[:, None]).log1p().sum(1) + d * noise.log()
        return -0.5 * (distance + log_determinant[:, None] + d * np.log(2 * np.pi)).T


def principal_axes(X, n_components):
    """Mean, scaled principal axes and the variance a feature that they leave out.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    n_components : int

    Returns
    -------
    mean : ndarray of shape (d,)
    axes : ndarray of shape (n_components, d)
        Orthogonal; the squared length of each is the variance along it (less the noise,
        Tipping & Bishop's eq. 7). Zeros where X spans fewer.
    noise : float
        Sum of the left out variances divided by ``d - n_components``.
    """
    n, d = X.shape
    mean = X.mean(0)
    centred = X - mean
    if n <= d:
        variance, left = np.linalg.eigh(centred @ centred.T / n)
        axes = (left[:, ::-1].T @ centred)[:n_components]
        length = np.linalg.norm(axes, axis=1, keepdims=True)
        axes = np.divide(axes, length, out=np.zeros_like(axes), where=length > 1e-12)
    else:
        variance, right = np.linalg.eigh(centred.T @ centred / n)
        axes = right[:, ::-1].T[:n_components]
    variance = variance[::-1].clip(min=0)[:n_components]
    total = (centred**2).sum() / n
    noise = max(total - variance.sum(), 0.0) / max(d - n_components, 1)
    if total:
        variance = np.where(variance > 1e-10 * total, variance, 0.0)
    scaled = np.zeros((n_components, d))
    scaled[: len(variance)] = axes * np.sqrt(np.maximum(variance - noise, 0))[:, None]
    return mean, scaled, noise


def _shrunk_noise(residuals, counts, d, n_components):
    """Noise of each class; one with few rows leans on all, and none is exactly zero."""
    pooled = np.average(residuals, weights=counts)
    noise = (counts * residuals + PRIOR_ROWS * pooled) / (counts + PRIOR_ROWS)
    floor = 1e-6 if pooled == 0 else 1e-3 * pooled
    return np.maximum(noise, max(floor, np.finfo(np.float32).tiny))


def _like(tensor, array):
    return torch.as_tensor(array, dtype=tensor.dtype, device=tensor.device)
