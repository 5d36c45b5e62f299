"""Training of the networks of all classes at once: what VAE and GAN have in common."""

from dataclasses import field
from operator import attrgetter
from typing import Annotated, Any, Literal

import numpy as np
import torch

from sklearn_ood._parameters import Count, Parameterized, Positive, RandomState
from sklearn_ood.data._labels import hold_out_each_class
from sklearn_ood.generators._base import BaseGenerator
from sklearn_ood.nets import _training
from sklearn_ood.nets._evaluation import BatchedDataset, undisturbed
from sklearn_ood.nets._modules import as_single

Network = Literal["auto", "mlp", "conv"] | Annotated[Any, callable]


class StackedRows(BatchedDataset):
    """The i-th row of every class, side by side; smaller classes begin again."""

    def __init__(self, arrays):
        self.arrays = arrays
        codes = torch.as_tensor(arrays.arrays[1])
        self._order = torch.argsort(codes, stable=True)
        self._count = torch.bincount(codes)[:, None]
        self._first = torch.cumsum(self._count, 0) - self._count

    def __len__(self):
        return int(self._count.max())

    def batch(self, index):
        if isinstance(index, slice):
            index = torch.arange(len(self))[index]
        index = index.to(self._order.device)
        place = self._order[self._first + index % self._count]
        (rows, _) = self.arrays.batch(place.flatten())
        return index, rows.view(*place.shape, -1)


class StackedNet(_training.Net):
    """A net of stacked rows (K, b, d), whose module has ``loss(rows, epoch)``."""

    def get_iterator(self, dataset, training=False):
        return super().get_iterator(StackedRows(dataset), training=training)

    def losses(self, batch):
        return {"loss": self.module_.loss(batch[1], len(self.history))}


class StackTrainer(Parameterized):
    """What trains one net, ``net_``, on rows of all classes at the same time.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(256, 256)
        Hidden layers of an "mlp" that looks at inputs; those of one that makes them are
        reversed.
    max_epochs : int, default=30
        Passes over the largest class.
    batch_size : int, default=64
        Rows of each class in a batch.
    lr : float, default=1e-3
        Learning rate of Adam.

    Attributes
    ----------
    net_ : skorch net
        The trained net.
    loss_curve_ : list of float
        Training loss of each epoch.
    """

    hidden_layer_sizes: Any = (256, 256)
    input_shape: Any = None
    max_epochs: Count = 30
    batch_size: Count = 64
    lr: Positive = 1e-3
    device: Any = "auto"
    verbose: int = 0
    random_state: RandomState = None

    loss_curve_ = _training.recorded("train_loss")

    def _train(
        self, make, training, validation=None, *, random, net_class=StackedNet, **options
    ):
        """A net trained on rows and codes, with those parameters that are ``make_net``'s."""
        with _training.training_errors(self):
            with random:
                module = make()
            settings = _training.training_parameters(self) | options
            net = _training.make_net(module, net_class=net_class, **settings)
            return _training.train(net, *training, validation=validation, random=random)


class NetGenerator(StackTrainer, BaseGenerator):
    """A generator whose ``core_`` is the module of its net.

    Parameters
    ----------
    latent_dim : int >= 1
        Length of a latent.
    """

    is_quick = early_stopping = False
    _holder = "net_"
    latent_dim: Count = field(default=10, kw_only=False)

    core_ = property(attrgetter("net_.module_"))

    @undisturbed
    def _fit(self, rows, codes):
        rows, random, validation = as_single(rows), _training.Seeded(self.random_state), None
        if self.early_stopping:
            held_out = hold_out_each_class(codes, self.validation_fraction, random.seed)
            validation = rows[held_out], codes[held_out], None
            if len(np.unique(validation[1])) < self.n_classes_:
                raise ValueError(
                    "Got early_stopping=True, but a class is too small to hold out the share "
                    f"validation_fraction={self.validation_fraction}; use early_stopping=False."
                )
            rows, codes = rows[~held_out], codes[~held_out]

        def make():
            return self.make_core().started(rows, codes)

        self.net_ = self._train(make, (rows, codes), validation, random=random)
        self.latent_dim_ = int(self.latent_dim)
