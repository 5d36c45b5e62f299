from dataclasses import field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from sklearn_ood._parameters import Count, fitted
from sklearn_ood.data._rows import validate_training_data
from sklearn_ood.generators._training import StackTrainer
from sklearn_ood.nets._evaluation import undisturbed
from sklearn_ood.nets._modules import InputShape, as_single, build_module
from sklearn_ood.nets._training import Seeded


class PairNet(nn.Module):
    """An embedding, and the distance at which a pair is as likely of one class as of two."""

    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding
        self.threshold = nn.Parameter(torch.ones(()))
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.embedding(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)

    def loss(self, x, epoch):
        """Cross entropy of telling pairs of one class from pairs of two, all of a batch."""
        embedded = self(x).flatten(0, 1)
        distance = torch.cdist(embedded, embedded).square() / embedded.shape[1]
        logit = self.log_scale.exp() * (self.threshold - distance)
        label = torch.arange(len(x), device=x.device).repeat_interleave(x.shape[1])
        same = label[:, None] == label
        push = _mean_loss(-logit, ~same)
        return _mean_loss(logit, same.fill_diagonal_(False)) + push


def _mean_loss(logit, chosen):
    return (F.softplus(-logit) * chosen).sum() / chosen.sum().clamp_min(1)


class SiameseSimilarity(StackTrainer):
    """Similarity of rows after an embedding that brings rows of one class together.

    A network is trained to tell pairs of the same class from pairs of different classes by
    the distance of their embeddings [1]_. Fitted, the object is a callable for
    ``GenerativeClassifier(similarity=...)``.

    Parameters
    ----------
    embedding_dim : int >= 1, default=16
        Length of an embedding.
    module : str, nn.Module or callable, default="auto"
        The embedding network, as in ``SoftmaxClassifier``.
    hidden_layer_sizes : tuple of int, default=(128,)
        Dense hidden layers.
    max_epochs : int, default=10
        Passes over the largest class.
    batch_size : int, default=16
        Rows of each class in a batch; all their pairs are used.

    References
    ----------
    .. [1] R. Hadsell, S. Chopra and Y. LeCun (2006), Dimensionality reduction by learning an
       invariant mapping.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood import SiameseSimilarity
    >>> X = torch.tensor([[0.0], [0.1], [0.9], [1.0]])
    >>> similarity = SiameseSimilarity(random_state=0).fit(X, [0, 0, 1, 1])
    >>> bool(similarity(X[0], X[1]) > similarity(X[0], X[2]))
    True
    """

    embedding_dim: Count = field(default=16, kw_only=False)
    module: Any = "auto"
    hidden_layer_sizes: Any = (128,)
    max_epochs: Count = 10
    batch_size: Count = 16

    input_shape_: tuple = fitted()

    def untrained_networks(self):
        """The network as it is before fit, by the attribute that holds it: to read files."""
        fitted_on = getattr(self, "input_shape_", None)
        return {} if fitted_on is None else {"net_": self.make_network(fitted_on)}

    def make_network(self, input_shape):
        """An untrained network from rows to embeddings: a trained one's state fits into it."""
        how = {"input_shape": input_shape, "hidden_layer_sizes": self.hidden_layer_sizes}
        embedding = build_module(self.module, self.embedding_dim, **how)
        return PairNet(InputShape(embedding, input_shape))

    @undisturbed
    def fit(self, X, y):
        """Learn the embedding.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Labels of at least two classes.
        """
        self._validate_params()
        data = validate_training_data(self, X, y, min_classes=1)
        if len(data.classes) < 2:
            raise ValueError(
                f"Got y with {len(data.classes)} class, but SiameseSimilarity needs at least "
                "two to learn what makes rows different; use similarity='l2'."
            )
        random, training = Seeded(self.random_state), (as_single(data.rows), data.codes)
        make = partial(self.make_network, data.input_shape)
        self.net_ = self._train(make, training, random=random)
        return self

    def __call__(self, x, generated):
        """Minus the mean squared difference of the embeddings of tensors (..., n_features)."""
        embed, device = self.net_.module_, self.net_.device
        x, made = (embed(part.to(device, torch.float32)) for part in (x, generated))
        return -(x - made).square().mean(-1).to(generated.device)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
