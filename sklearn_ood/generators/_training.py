"""Training of the networks of all classes at once: what VAE and GAN have in common."""

import numpy as np
import torch
from torch.utils.data import Dataset

from sklearn_ood.data._labels import hold_out_each_class
from sklearn_ood.generators._base import BaseGenerator
from sklearn_ood.nets._evaluation import resolve_device
from sklearn_ood.nets._training import Net, make_net, seeded, train


class StackedRows(Dataset):
    """The i-th row of every class, side by side.

    An epoch is as long as the largest class; smaller ones begin again, so that every class
    has the same share of every batch.

    Parameters
    ----------
    arrays : Arrays
        Rows and their integer classes.
    n_classes : int
    """

    def __init__(self, arrays, n_classes):
        self.arrays = arrays
        codes = torch.as_tensor(arrays.arrays[1])
        self._order = torch.argsort(codes, stable=True)
        self._count = torch.bincount(codes, minlength=n_classes)[:, None]
        self._first = torch.cumsum(self._count, 0) - self._count
        self._length = int(self._count.max())

    def __len__(self):
        return self._length

    def batch(self, index):
        """Positions (b,) and rows (K, b, d)."""
        if isinstance(index, slice):
            index = torch.arange(self._length)[index]
        index = index.to(self._order.device)
        place = self._order[self._first + index % self._count]
        (rows, _) = self.arrays.batch(place.flatten())
        return index, rows.view(*place.shape, -1)


class StackedNet(Net):
    """A net whose batches hold the same number of rows of every class."""

    def get_iterator(self, dataset, training=False):
        stacked = StackedRows(dataset, self.module_.n_classes)
        return super().get_iterator(stacked, training=training)


class NetGenerator(BaseGenerator):
    """A generator that holds one trained net, `net_`, for all classes."""

    is_quick = False
    _net_class = StackedNet

    def _fit(self, rows, codes):
        self._check_parameters()
        self.input_shape_ = self._resolve_input_shape(rows.shape[1])
        with seeded(self.random_state) as seed:
            training, validation = self._hold_out(rows, codes, seed)
            net = make_net(
                self._build(training[0], training[1]),
                net_class=self._net_class,
                lr=self.lr,
                max_epochs=self.max_epochs,
                batch_size=self.batch_size,
                device=self.device,
                verbose=self.verbose,
                **self._net_options(),
            )
            self.net_ = train(net, *training, validation=validation)
        self.noise_variance_ = self._noise_variance()
        self.latent_dim_ = int(self.latent_dim)

    def _hold_out(self, rows, codes, seed):
        """Rows and codes to train on and to stop early by (None without)."""
        if not getattr(self, "early_stopping", False):
            return (rows, codes), None
        held_out = hold_out_each_class(codes, self.validation_fraction, seed)
        present = np.unique(codes[held_out])
        if len(present) < self.n_classes_:
            raise ValueError(
                f"Got early_stopping=True with validation_fraction={self.validation_fraction}, "
                "but a class is too small to hold rows out; use early_stopping=False."
            )
        return (rows[~held_out], codes[~held_out]), (rows[held_out], codes[held_out])

    def _net_options(self):
        return {}

    def _noise_variance(self):
        return np.zeros(self.n_classes_)

    def _resolve_input_shape(self, n_features):
        shape = (n_features,) if self.input_shape is None else tuple(self.input_shape)
        if int(np.prod(shape)) != n_features:
            raise ValueError(
                f"Got input_shape={self.input_shape} for X with {n_features} features; they "
                "must hold the same number of values."
            )
        return shape

    def _check_parameters(self):
        latent_dim = self.latent_dim
        if int(latent_dim) != latent_dim or latent_dim < 1:
            raise ValueError(
                f"Got latent_dim={latent_dim!r}, but expected a whole number >= 1."
            )
        resolve_device(self.device)

    @property
    def loss_curve_(self):
        """Training loss of each epoch, a list."""
        return self.net_.history[:, "train_loss"]

    @property
    def _device(self):
        return torch.device(self.net_.device)

    def _decode_stack(self, z):
        return self.net_.module_.generate(z)
