"""A trained network without a classifier, whose outputs are features."""

from dataclasses import field
from typing import Any

from skorch import NeuralNet
from torch import nn

from sklearn_ood._parameters import Parameterized, fitted
from sklearn_ood.data._blocks import first_block
from sklearn_ood.data._rows import validate_training_data
from sklearn_ood.nets._evaluation import device_of
from sklearn_ood.nets._modules import InputShape
from sklearn_ood.nets._training import wrap_trained


class Backbone(Parameterized):
    """A network that is trained already, as an estimator that has ``net_``.

    Parameters
    ----------
    network : nn.Module
        From inputs to a tensor, a tuple that begins with one, ``.pooler_output`` or
        ``.last_hidden_state``.
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


class Embedding(InputShape):
    """From flat rows to the features that a backbone returns, of tokens their mean."""

    def __init__(self, network, input_shape):
        super().__init__(network, input_shape, ("pooler_output", "last_hidden_state"))

    def forward(self, rows):
        features = super().forward(rows)
        return features.mean(dim=1) if features.ndim == 3 else features
