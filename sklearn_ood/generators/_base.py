"""What every generator can do, written once."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from sklearn_ood.data._rows import forget
from sklearn_ood.nets._evaluation import map_batches

PRIORS = ("normal", "uniform")


class BaseGenerator(BaseEstimator, ABC):
    """One generator a class: latent vectors in, inputs out.

    A generator of class k maps a latent vector ``z`` of `latent_dim_` numbers, drawn from
    a prior, to an input. Without labels there is one unconditional generator.

    A subclass supplies ``_fit(rows, codes)``, which sets `latent_dim_` last, and
    ``_decode_stack``. It may supply ``_encode_stack`` (a good first guess of the latent of
    an input), ``_nearest_stack`` (the exact answer in squared distance) and
    ``_log_density`` (of an input under each class, or a bound on it). The stacked methods
    treat all classes at once: their tensors begin with a class axis. ``decode_tensor``
    makes them differentiable functions of single latents with a class each.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,) or None
        Sorted labels; None when fitted without.
    n_classes_ : int
        Number of generators, 1 without labels.
    latent_dim_ : int
        Length of a latent vector.
    noise_variance_ : ndarray of shape (n_classes,)
        Variance of an input's feature around its generation; 0 where the model has none.
    n_features_in_ : int
        Length of an input.
    """

    prior = "normal"
    default_similarity = "l2"
    is_quick = True  # to fit: a second time costs less than the rows held out of the first

    def fit(self, X, y=None):
        """Learn to generate the rows of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            Training inputs; images are flattened.
        y : array-like of shape (n_samples,), optional
            Labels. One generator is learned for every distinct label, or a single one
            without labels.

        Returns
        -------
        self : object
            The fitted generator.

        Raises
        ------
        ValueError
            If X or y are not finite numbers of matching length, or a parameter does not
            fit the data.
        """
        forget(self)
        rows, codes = self._validate(X, y)
        self._fit(rows, codes)
        return self

    def sample(self, n_samples=1, y=None, random_state=None):
        """Draw new inputs.

        Parameters
        ----------
        n_samples : int >= 1, default=1
            How many.
        y : label or array-like of shape (n_samples,), optional
            Which class to draw from: one label, or one a sample. Classes are drawn with
            equal probability by default.
        random_state : int, RandomState instance or None, default=None
            Determines latents and classes.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Generated inputs.
        """
        check_is_fitted(self)
        rng = check_random_state(random_state)
        if y is None:
            codes = rng.randint(self.n_classes_, size=n_samples)
        else:
            codes = self._codes(y, n_samples)
        return self._decode(self._draw(rng, n_samples), codes)

    def decode(self, z, y=None):
        """Generate the inputs that belong to latent vectors.

        Parameters
        ----------
        z : array-like of shape (n_samples, latent_dim)
            Latent vectors.
        y : label or array-like of shape (n_samples,), optional
            The class of each; may be left out where there is one class only.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Generations.
        """
        check_is_fitted(self)
        z = check_array(z, dtype=np.float32, input_name="z")
        if z.shape[1] != self.latent_dim_:
            raise ValueError(
                f"Got z with {z.shape[1]} columns, but this generator has "
                f"latent_dim_={self.latent_dim_}; pass one row a latent vector."
            )
        return self._decode(z, self._codes(y, len(z)))

    def encode(self, X, y=None):
        """Find a latent vector for every input: a quick guess, or exact where known.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            Inputs.
        y : label or array-like of shape (n_samples,), optional
            The class whose generator is meant; may be left out where there is one only.

        Returns
        -------
        z : ndarray of shape (n_samples, latent_dim)
            Latent vectors.

        Raises
        ------
        AttributeError
            If this kind of generator has no encoder.
        """
        check_is_fitted(self)
        if not self.has_encoder:
            raise AttributeError(
                f"{type(self).__name__} has no encoder; search its latents with "
                "GenerativeClassifier(search='optimize')."
            )
        rows = self._rows(X)
        return self._map_by_class(self._encode_stack, rows, self._codes(y, len(rows)))

    def log_prior(self, z):
        """Log density of latent vectors under the prior.

        Parameters
        ----------
        z : array-like of shape (n_samples, latent_dim)
            Latent vectors.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            Of the standard normal, or of the uniform distribution on [-1, 1].
        """
        z = check_array(z, dtype=np.float64, input_name="z")
        return self.log_prior_tensor(torch.from_numpy(z)).numpy()

    def decode_tensor(self, z, class_index):
        """`decode` as a differentiable torch function.

        Parameters
        ----------
        z : tensor of shape (n, latent_dim)
            Latent vectors, on the generator's device.
        class_index : long tensor of shape (n,)
            Position of each one's class in `classes_`.

        Returns
        -------
        x : tensor of shape (n, n_features)
            Generations, with gradients to `z`.
        """
        return by_class(self._decode_stack, z, class_index, self.n_classes_)

    def log_prior_tensor(self, z):
        """`log_prior` as a differentiable torch function over the last axis of `z`."""
        if self.prior == "uniform":
            inside = (z.abs() <= 1).all(-1)
            constant = -z.shape[-1] * float(np.log(2.0))
            return torch.where(inside, constant, -torch.inf).to(z.dtype)
        return -0.5 * (z.square() + float(np.log(2 * np.pi))).sum(-1)

    @property
    def has_encoder(self):
        """Whether there is a first guess of an input's latent."""
        return type(self)._encode_stack is not BaseGenerator._encode_stack

    @property
    def has_nearest(self):
        """Whether the nearest generation in squared distance is known in closed form."""
        return type(self)._nearest_stack is not BaseGenerator._nearest_stack

    @property
    def has_density(self):
        """Whether the log density of an input is known, or a bound on it."""
        return type(self)._log_density is not BaseGenerator._log_density

    @property
    def is_differentiable(self):
        """Whether gradients of a generation reach its latent."""
        return True

    @property
    def has_manifold(self):
        """Whether some inputs cannot be generated, so that a distance says something."""
        return True

    def _floats_per_row(self):
        """Numbers held at once for each row that is scored: sets the size of batches."""
        return self.n_classes_ * self.n_features_in_

    @abstractmethod
    def _fit(self, rows, codes):
        """Learn from float32 rows and their integer classes."""

    @abstractmethod
    def _decode_stack(self, z):
        """Latents (K, c, m) to generations (K, c, d)."""

    def _encode_stack(self, x):
        """Inputs (K, c, d) to latents (K, c, m)."""
        raise NotImplementedError

    def _nearest_stack(self, x, prior_weight):
        """Inputs (n, d) to the minimiser (K, n, m) of the penalised squared distance."""
        raise NotImplementedError

    def _log_density(self, x):
        """Inputs (n, d) to log densities (n, K), in float64."""
        raise NotImplementedError

    @property
    def _device(self):
        return torch.device("cpu")

    def _validate(self, X, y):
        if y is None:
            rows = validate_data(self, _flat(X), dtype=np.float32)
            self.classes_, self.n_classes_ = None, 1
            return rows, np.zeros(len(rows), dtype=np.int64)
        rows, y = validate_data(self, _flat(X), y, dtype=np.float32)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.n_classes_ = len(self.classes_)
        return rows, codes.astype(np.int64)

    def _rows(self, X):
        return validate_data(self, _flat(X), dtype=np.float32, reset=False)

    def _codes(self, y, n_samples):
        """Integer classes for `y`: a label, one label a sample, or None."""
        if y is None:
            if self.n_classes_ > 1:
                raise ValueError(
                    f"Got y=None, but this generator was fitted with {self.n_classes_} "
                    "classes; say of which class, with one label or one a row."
                )
            return np.zeros(n_samples, dtype=np.int64)
        if self.classes_ is None:
            raise ValueError(
                f"Got y={y!r}, but this generator was fitted without labels; leave y out."
            )
        y = np.broadcast_to(np.asarray(y), (n_samples,))
        codes = np.searchsorted(self.classes_, y).clip(max=self.n_classes_ - 1)
        unknown = self.classes_[codes] != y
        if unknown.any():
            raise ValueError(
                f"Got y with the labels {np.unique(y[unknown]).tolist()}, but expected labels "
                f"from classes_={self.classes_.tolist()}."
            )
        return codes.astype(np.int64)

    def _draw(self, rng, n_samples):
        """Latents from the prior."""
        size = (n_samples, self.latent_dim_)
        if self.prior == "uniform":
            return rng.uniform(-1, 1, size=size).astype(np.float32)
        return rng.standard_normal(size=size).astype(np.float32)

    def _decode(self, z, codes):
        return self._map_by_class(self._decode_stack, z, codes)

    def _map_by_class(self, function, rows, codes):
        labelled = np.column_stack([rows, codes]).astype(np.float32)

        @torch.no_grad()
        def of_batch(batch):
            return by_class(function, batch[:, :-1], batch[:, -1].long(), self.n_classes_)

        values = map_batches(of_batch, labelled, device=self._device)
        if np.isfinite(values).all():
            return values
        raise ValueError(
            f"Got rows whose values {type(self).__name__} cannot hold in float32, here or when "
            "it was fitted; scale them, for instance with StandardScaler."
        )

    def __sklearn_is_fitted__(self):
        return hasattr(self, "latent_dim_")


def by_class(function, rows, class_index, n_classes):
    """Apply a function of stacks to rows that have a class each.

    Parameters
    ----------
    function : callable
        Maps (K, c, p) to (K, c, q), class by class.
    rows : tensor of shape (n, p)
    class_index : long tensor of shape (n,)
    n_classes : int

    Returns
    -------
    tensor of shape (n, q)

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.generators._base import by_class
    >>> scale = torch.tensor([1.0, 10.0]).view(2, 1, 1)
    >>> by_class(lambda x: scale * x, torch.ones(3, 1), torch.tensor([1, 0, 1]), 2)[:, 0]
    tensor([10.,  1., 10.])
    """
    order = torch.argsort(class_index, stable=True)
    label = class_index[order]
    count = torch.bincount(class_index, minlength=n_classes)
    width = int(count.max())
    offset = torch.cumsum(count, 0) - count
    place = torch.empty_like(order)
    place[order] = label * width + torch.arange(len(rows), device=rows.device) - offset[label]
    padded = rows.new_zeros(n_classes * width, rows.shape[1]).index_copy(0, place, rows)
    return function(padded.view(n_classes, width, -1)).flatten(0, 1)[place]


def _flat(X):
    return np.reshape(X, (len(X), -1)) if np.ndim(X) > 2 else X
