"""What every generator can do, written once."""

from abc import ABC, abstractmethod
from functools import partial
from operator import attrgetter
from typing import ClassVar

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted
from torch import nn

from sklearn_ood._parameters import Count, Parameterized, check_arguments, fitted
from sklearn_ood.data._labels import codes_in, foreign
from sklearn_ood.data._rows import validate_rows, validate_training_data
from sklearn_ood.metrics._blocks import as_labels
from sklearn_ood.nets._evaluation import device_of, map_batches, rows_per_batch, undisturbed
from sklearn_ood.search._latents import BOUNDS, by_class


class Core(nn.Module):
    """The generators of all K classes in one module: ``decode``, and what else each can do.

    ``decode`` makes of latents (K, c, m) generations (K, c, d). What else there may be:

    - ``encode``, from inputs (K, c, d) to a first guess of their latents (K, c, m);
    - ``nearest``, from inputs (n, d), the prior's weight and a distance to the latents
      (K, n, m) of the nearest generations: under any distance where there are no gradients,
      else under the penalised squared one;
    - ``log_density``, from inputs (n, d) to their log densities (n, K), or what stands for
      them.
    """

    # Standard normal, cut off at -2 and 2 ("truncated_normal"), or "uniform" on [-1, 1].
    prior = "normal"
    # Whether gradients of a generation reach its latent.
    is_differentiable = True
    # Whether what ``encode`` finds passes for the nearest; else a search may start there.
    is_encoder_trusted = False
    # Whether it takes float32 alone, as networks do; else it computes in what it gets.
    is_single = True

    def __init__(self, n_classes, n_features):
        super().__init__()
        self.n_classes, self.n_features = n_classes, n_features
        # Numbers held at once for each row that is scored, or latent that is decoded.
        self.floats_per_row = n_classes * n_features

    floats_per_latent = property(attrgetter("floats_per_row"))

    def generate(self, z, class_index):
        """What latents (n, m), which have a class each, generate: (n, d)."""
        return by_class(self.decode, z, class_index, self.n_classes)

    def reserve(self, dtype=torch.float64, **shapes):
        """Buffers of zeros, for what will be learned."""
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

    def keep(self, **arrays):
        """Buffers that follow from the arguments, so that a file need not hold them."""
        for name, array in arrays.items():
            self.register_buffer(name, torch.as_tensor(array), persistent=False)

    def filled(self, **arrays):
        self.load_state_dict({name: torch.as_tensor(a) for name, a in arrays.items()})
        return self


def learned(name):
    """A fitted attribute that shows a buffer of the core."""
    return property(lambda self: getattr(self.core_, name).cpu().numpy())


class BaseGenerator(Parameterized, ABC):
    """One generator a class: latent vectors in, inputs out.

    A generator of class k maps a latent vector ``z`` of ``latent_dim_`` numbers, drawn from
    a prior, to an input. Without labels there is one unconditional generator. A subclass
    supplies ``make_core`` and ``_fit(rows, codes)``, which sets ``core_`` and, at last,
    ``latent_dim_``.

    Attributes
    ----------
    core_ : nn.Module
        ``decode`` of all classes and, where the model has them, ``encode``, ``nearest`` and
        ``log_density``, as tensor functions.
    classes_ : ndarray of shape (n_classes,) or None
        Sorted labels; None when fitted without.
    n_classes_, latent_dim_, n_features_in_ : int
        How many generators there are, 1 without labels; lengths of a latent and of an input.
    noise_variance_ : ndarray of shape (n_classes,)
        Variance of an input's feature around its generation; 0 where the model has none.
    input_shape_ : tuple of int
        Shape of an input.
    """

    input_shape_: tuple = fitted()
    classes_: np.ndarray | None = fitted()
    n_classes_: int = fitted()
    latent_dim_: int = fitted()

    default_similarity = "l2"
    _holder = "core_"
    # Fitting a second time costs less than the rows held out of the first.
    is_quick = True
    # Some inputs cannot be generated, so that a distance says something.
    has_manifold = True

    @abstractmethod
    def make_core(self):
        """A core that has learned nothing, of the parameters and plain fitted attributes."""

    def untrained_networks(self):
        """Cores as they are before fit, by the attribute that holds them: for reading files."""
        return {self._holder: self.make_core()} if hasattr(self, "latent_dim_") else {}

    __metadata_request__fit: ClassVar = {"sample_weight": None}

    @undisturbed
    def fit(self, X, y=None, **params):
        """Learn to generate the rows of each class, drawn by their weights.

        Parameters
        ----------
        y : array-like of shape (n_samples,), default=None
            Labels: one generator is learned for each, or a single one without.
        """
        weight = self._weight_in(params)
        self._validate_params()
        data = validate_training_data(self, X, y, sample_weight=weight, min_classes=1)
        self.classes_ = None if y is None else data.classes
        self.n_classes_ = len(data.classes)
        rows, codes, _ = data.known.drawn()
        self._fit(rows, codes)
        return self

    def sample(self, n_samples: Count = 1, y=None, random_state=None):
        """Draw new inputs, (n_samples, n_features).

        Parameters
        ----------
        n_samples : int >= 1, default=1
        y : label or array-like of shape (n_samples,), default=None
            Which class to draw from: one label, or one a sample. Classes are drawn with
            equal probability by default.
        random_state : int, RandomState instance or None, default=None
        """
        check_is_fitted(self)
        check_arguments(self.sample, {"n_samples": n_samples})
        rng = check_random_state(random_state)
        if y is None:
            codes = rng.randint(self.n_classes_, size=n_samples)
        else:
            codes = self.class_index(y, n_samples)
        return self._map(self.core_.generate, self.draw_latents(n_samples, rng), codes)

    def draw_latents(self, n_samples=1, random_state=None):
        """Draw latent vectors (n_samples, latent_dim) from the prior, in float32."""
        check_is_fitted(self)
        rng, size = check_random_state(random_state), (n_samples, self.latent_dim_)
        if self.core_.prior == "normal":
            return rng.standard_normal(size=size).astype(np.float32)
        if self.core_.prior == "uniform":
            return rng.uniform(-1, 1, size=size).astype(np.float32)
        tail = ndtr(-BOUNDS["truncated_normal"])
        return ndtri(rng.uniform(tail, 1 - tail, size=size)).astype(np.float32)

    def decode(self, z, y=None):
        """Generate the inputs (n_samples, n_features) that belong to latent vectors.

        Parameters
        ----------
        z : array-like of shape (n_samples, latent_dim)
        y : label or array-like of shape (n_samples,), default=None
            The class of each; may be left out where there is one class only.
        """
        z = self._latents(z, self._number_type)
        return self._map(self.core_.generate, z, self.class_index(y, len(z)))

    def encode(self, X, y=None):
        """Latents (n_samples, latent_dim) of inputs: a quick guess, or exact where known.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        y : label or array-like of shape (n_samples,), default=None
            As for ``decode``.
        """
        rows = validate_rows(self, X)
        if not hasattr(self.core_, "encode"):
            raise AttributeError(
                f"{type(self).__name__} has no encoder; search its latents with "
                "GenerativeClassifier(search='optimize')."
            )
        encode = partial(by_class, self.core_.encode, n_classes=self.n_classes_)
        return self._map(encode, rows, self.class_index(y, len(rows)))

    def log_prior(self, z):
        """Log density (n_samples,) of latents (n_samples, latent_dim) under the prior."""
        z = self._latents(z, np.float64)
        return self.log_prior_tensor(torch.from_numpy(z)).numpy()

    def log_prior_tensor(self, z):
        """``log_prior`` as a differentiable torch function over the last axis of ``z``."""
        bound = BOUNDS.get(self.core_.prior, np.inf)
        if self.core_.prior == "uniform":
            each = torch.full_like(z, -float(np.log(2.0)))
        else:
            mass = float(np.log(1 - 2 * ndtr(-bound)))
            each = -0.5 * (z.square() + float(np.log(2 * np.pi))) - mass
        return each.where(z.abs() <= bound, -torch.inf).sum(-1)

    def class_index(self, y, n_samples):
        """Positions (n_samples,) in ``classes_`` of one label, one a row, or the only one."""
        if y is None:
            if self.n_classes_ > 1:
                raise ValueError(
                    f"Got y=None, but this generator was fitted with {self.n_classes_} "
                    "classes; say of which class, with one label or one a row."
                )
            return np.zeros(n_samples, dtype=np.int64)
        if self.classes_ is None:
            raise ValueError(
                f"Got y={y!r}, but this generator was fitted without labels; leave y out, or "
                "tell it the classes: classes=[1] where there is one."
            )
        y = as_labels("y", y, n_samples) if np.size(y) != 1 else np.full(n_samples, y)
        codes = codes_in(self.classes_, y)
        if unknown := foreign(y, codes):
            raise ValueError(
                f"Got y with the labels {unknown}, but expected labels from "
                f"classes_={self.classes_.tolist()}."
            )
        return codes

    @property
    def noise_variance_(self):
        return np.zeros(self.n_classes_)

    @property
    def _number_type(self):
        return np.float32 if self.core_.is_single else np.float64

    def _latents(self, z, dtype):
        check_is_fitted(self)
        z = check_array(z, dtype=dtype, input_name="z")
        if z.shape[1] != self.latent_dim_:
            raise ValueError(
                f"Got z with {z.shape[1]} columns, but expected latent_dim_={self.latent_dim_}."
            )
        return z

    @abstractmethod
    def _fit(self, rows, codes):
        """Learn from rows and their integer classes."""

    def _map(self, function, rows, codes):
        """Apply a function of rows or latents and their classes, in bounded memory."""
        labelled = np.column_stack([rows, codes]).astype(self._number_type)

        def of_batch(batch):
            return function(batch[:, :-1], batch[:, -1].long())

        size = rows_per_batch(max(labelled.shape[1], self.core_.floats_per_latent))
        values = map_batches(of_batch, labelled, device=device_of(self.core_), max_rows=size)
        if np.isfinite(values).all():
            return values
        raise ValueError(
            f"Got rows whose values {type(self).__name__} cannot hold in "
            f"{np.dtype(self._number_type)}, here or in fit; scale them (StandardScaler)."
        )

    def __sklearn_is_fitted__(self):
        return hasattr(self, "latent_dim_")
