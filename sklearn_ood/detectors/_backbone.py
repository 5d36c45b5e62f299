"""A trained network without a classifier, whose outputs are features."""

from dataclasses import field
from typing import Any

import torch
from skorch import NeuralNet
from torch import nn

from sklearn_ood._parameters import Parameterized, fitted
from sklearn_ood.data._blocks import first_block
from sklearn_ood.data._rows import validate_training_data
from sklearn_ood.nets._evaluation import device_of
from sklearn_ood.nets._training import wrap_trained


class Backbone(Parameterized):
    """A network that is trained already, as an estimator that has ``net_``.

    Parameters
    ----------
    network : nn.Module
        From inputs to what :func:`embedding_of` reads.
    input_shape : tuple (C, H, W), default=None
        Shape of one image where X has flat rows.
    """

    network: nn.Module = field(kw_only=False)
    input_shape: Any = None

    input_shape_: tuple = fitted()
    net_: NeuralNet = fitted()

    def fit(self, X, y=None):
        """Note the shape of an input; the network stays as it is."""
        X = first_block(X)
        validate_training_data(self, X, None, min_classes=1, keep_tensors=True)
        embedding = Embedding(self.network, self.input_shape_)
        self.net_ = wrap_trained(embedding, device=device_of(self.network))
        return self

    def untrained_networks(self):
        """What a file is read into, where the network's class makes it."""
        network = self.network
        if not isinstance(network, nn.Module):
            network = network(self.n_features_in_, 0)
        return {"net_": Embedding(network, self.input_shape_)}


class Embedding(nn.Module):
    """Takes flat rows and gives the features that a backbone returns."""

    def __init__(self, network, input_shape):
        super().__init__()
        self.network, self.input_shape = network, tuple(input_shape)

    def forward(self, rows):
        weights = next(self.network.parameters(), rows)
        inputs = rows.reshape(rows.shape[0], *self.input_shape).to(weights.dtype)
        return embedding_of(self.network(inputs))


def embedding_of(outputs):
    """Features in what a backbone returns, of tokens their mean.

    ``.pooler_output`` or ``.last_hidden_state`` where it has them, the first of a tuple, or
    the tensor itself.
    """
    for name in ("pooler_output", "last_hidden_state"):
        if getattr(outputs, name, None) is not None:
            outputs = getattr(outputs, name)
    found = outputs[0] if isinstance(outputs, (tuple, list)) and outputs else outputs
    if not isinstance(found, torch.Tensor):
        raise TypeError(
            f"Got a network that returns {type(outputs).__name__}, but expected a tensor, a "
            "tuple that begins with one, or an object with .pooler_output or "
            ".last_hidden_state; wrap the network."
        )
    return found.mean(dim=1) if found.ndim == 3 else found
