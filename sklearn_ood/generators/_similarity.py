"""A similarity learned from pairs of rows of the same and of different classes."""

from dataclasses import field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from sklearn_ood._parameters import Count, Parameterized, Positive, RandomState, fitted
from sklearn_ood.data._rows import validate_training_data
from sklearn_ood.generators._training import StackedNet
from sklearn_ood.nets._modules import InputShape, build_module, size_of
from sklearn_ood.nets._training import make_net, seeded, train


class PairNet(nn.Module):
    """An embedding, and the distance at which a pair is as likely of one class as of two."""

    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding
        self.threshold = nn.Parameter(torch.ones(()))
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.embedding(x)


class SiameseNet(StackedNet):
    """Tells pairs of one class from pairs of two: all pairs of a batch."""

    def batch_loss(self, batch):
        n_classes, n, d = batch[1].shape
        embedded = self.module_(batch[1].reshape(-1, d))
        distance = torch.cdist(embedded, embedded).square() / embedded.shape[1]
        logit = self.module_.log_scale.exp() * (self.module_.threshold - distance)
        label = torch.arange(n_classes, device=embedded.device).repeat_interleave(n)
        same = label[:, None] == label
        other = ~torch.eye(len(label), dtype=torch.bool, device=embedded.device)
        pull = _mean_loss(logit, same & other)
        push = _mean_loss(-logit, ~same)
        return pull + push


def _mean_loss(logit, chosen):
    return (F.softplus(-logit) * chosen).sum() / chosen.sum().clamp_min(1)


class SiameseSimilarity(Parameterized):
    """Similarity of rows after an embedding that brings rows of one class together.

    A network is trained to tell pairs of the same class from pairs of different classes by
    the distance of their embeddings. Fitted, the object is a callable for
    ``GenerativeClassifier(similarity=...)``.

    Parameters
    ----------
    embedding_dim : int >= 1, default=16
        Length of an embedding.
    module : str, nn.Module or callable, default="auto"
        The embedding network, as in ``SoftmaxClassifier``.
    hidden_layer_sizes : tuple of int, default=(128,)
        Dense hidden layers.
    input_shape : tuple (C, H, W), default=None
        Shape of one image.
    max_epochs : int, default=10
        Passes over the largest class.
    batch_size : int, default=16
        Rows of each class in a batch; all their pairs are used.
    lr : float, default=1e-3
        Learning rate of Adam.
    device : str, default="auto"
        "auto" is CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Determines weights and batches.

    Attributes
    ----------
    net_ : skorch net
        The trained network.
    n_features_in_ : int
    input_shape_ : tuple of int

    References
    ----------
    R. Hadsell, S. Chopra and Y. LeCun (2006), Dimensionality reduction by learning an
    invariant mapping, for learning from pairs.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import SiameseSimilarity
    >>> X, y = load_iris(return_X_y=True)
    >>> similarity = SiameseSimilarity(max_epochs=2, random_state=0).fit(X, y)
    >>> rows = torch.tensor(X[[0, 1, 140]], dtype=torch.float32)
    >>> bool(similarity(rows[0], rows[1]) > similarity(rows[0], rows[2]))
    True
    """

    embedding_dim: Count = field(default=16, kw_only=False)
    module: Any = "auto"
    hidden_layer_sizes: Any = (128,)
    input_shape: Any = None
    max_epochs: Count = 10
    batch_size: Count = 16
    lr: Positive = 1e-3
    device: Any = "auto"
    random_state: RandomState = None

    input_shape_: tuple = fitted()

    def untrained_networks(self):
        """The networks that fit trains, as they are before: what a file is read into.

        Returns
        -------
        dict of str to nn.Module
            By the attribute that holds the trained one, itself or in a skorch net.
        """
        fitted_on = getattr(self, "input_shape_", None)
        return {} if fitted_on is None else {"net_": self.make_network(fitted_on)}

    def make_network(self, input_shape):
        """An untrained network, into which the state of a trained one fits.

        Parameters
        ----------
        input_shape : tuple of int

        Returns
        -------
        nn.Module
            From flat rows to embeddings.
        """
        embedding = build_module(
            self.module,
            size_of(input_shape),
            self.embedding_dim,
            input_shape=input_shape,
            hidden_layer_sizes=self.hidden_layer_sizes,
        )
        return PairNet(InputShape(embedding, input_shape))

    def fit(self, X, y):
        """Learn the embedding.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            Rows.
        y : array-like of shape (n_samples,)
            Labels of at least two classes.

        Returns
        -------
        self : object
        """
        self._validate_params()
        data = validate_training_data(self, X, y, min_classes=1)
        if len(data.classes) < 2:
            raise ValueError(
                f"Got y with {len(data.classes)} class, but SiameseSimilarity needs at least "
                "two to learn what makes rows different; use similarity='l2'."
            )
        with seeded(self.random_state):
            net = make_net(
                self.make_network(data.input_shape),
                net_class=SiameseNet,
                lr=self.lr,
                max_epochs=self.max_epochs,
                batch_size=self.batch_size,
                device=self.device,
            )
            self.net_ = train(net, data.rows, data.codes)
        return self

    def __call__(self, x, generated):
        """Minus the mean squared difference of the embeddings.

        Parameters
        ----------
        x, generated : tensors of shapes (..., n_features) that broadcast

        Returns
        -------
        tensor of shape (...)
        """
        return -(self._embed(x) - self._embed(generated)).square().mean(-1)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _embed(self, x):
        module = self.net_.module_
        embedded = module(x.reshape(-1, x.shape[-1]))
        return embedded.view(*x.shape[:-1], -1)
