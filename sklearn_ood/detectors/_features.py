from dataclasses import field
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from sklearn_ood._parameters import Count, Estimator, Parameterized, fitted, forget
from sklearn_ood._response import unwrap
from sklearn_ood.base import Wrapper
from sklearn_ood.data._blocks import block_by_block, first_block, of_rows
from sklearn_ood.data._rows import validate_rows, validate_training_data
from sklearn_ood.detectors._layers import calls_of, find_last_linear, find_layer
from sklearn_ood.nets._evaluation import device_of, evaluate, some_rows
from sklearn_ood.nets._modules import HALF, InputShape, taking
from sklearn_ood.nets._training import wrap_trained

LARGEST_FLOAT = np.finfo(np.float32).max


class NetFeatures(Wrapper, ClassNamePrefixFeaturesOutMixin, TransformerMixin, Parameterized):
    """What a network's layer says about each row, as features for any other method.

    First in a pipeline, it lets a density, a generative classifier or an outlier detector work
    in the network's space instead of pixels.

    Parameters
    ----------
    estimator : classifier with a net, or nn.Module
        A classifier of this package that has ``net_`` once fitted. It is cloned and fitted;
        ``sklearn.frozen.FrozenEstimator(classifier)`` takes a fitted one as it is. A
        ``nn.Module`` is a trained backbone without a classifier, and stays as it is.
    layer : str or None, default=None
        Whose output to take: the name of any module in ``named_modules()`` of the network, such
        as "conv", "hidden" and "output" of those known by name. None takes what the last
        linear layer takes; of a backbone, what it returns: a tensor, the first of a tuple,
        ``.image_embeds``, ``.pooler_output`` or ``.last_hidden_state``; of tokens their mean.
    pooling : int >= 1 or None, default=3
        Feature maps of shape (C, H, W) are averaged to (C, pooling, pooling) where they are
        larger, then flattened. None keeps them whole.
    batch_size : int >= 1 or None, default=None
        Rows that the network evaluates at once, rounded to a multiple of 16 with which a row's
        features do not depend on the rows beside it. None is as many as have a million
        numbers.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier, or what holds the backbone.
    layer_ : str, tuple of str or None
        The layer in use: the linear one whose input is taken, where ``layer`` is None; several
        where the network returns their mean.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neighbors import LocalOutlierFactor
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_ood import NetFeatures, SoftmaxClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> features = NetFeatures(SoftmaxClassifier(max_epochs=5, random_state=0))
    >>> detector = make_pipeline(features, LocalOutlierFactor(novelty=True)).fit(X, y)
    >>> detector[:-1].transform(X).shape
    (150, 128)
    """

    estimator: Estimator | nn.Module = field(kw_only=False)
    layer: str | None = None
    pooling: Count | None = 3
    batch_size: Count | None = None
    input_shape: Any = None

    estimator_: BaseEstimator = fitted()
    layer_: str | tuple | None = fitted()

    def fit(self, X, y=None):
        """Fit the classifier, unless it is frozen and needs no labels."""
        forget(self)
        self._validate_params()
        estimator = clone(self._wrapped).fit(X, y)
        if not hasattr(estimator, "net_"):
            raise TypeError(
                f"Got estimator={self.estimator!r}, which has no net_ once fitted; pass a "
                "classifier of this package that holds one, such as SoftmaxClassifier."
            )
        layer = self.layer
        if layer is None and not isinstance(estimator, Backbone):
            layer, *others = find_last_linear(estimator)[0]
            layer = (layer, *others) if others else layer
        self.estimator_, self.layer_ = estimator, layer
        if self.layer is not None:
            with torch.no_grad():  # raises where it does not run
                rows = some_rows(estimator.n_features_in_, estimator.net_.device)
                self._read(estimator.net_.module_, rows)
        return self

    @block_by_block
    def transform(self, X):
        """The layer's outputs, (n_samples, n_activations) in float32."""
        check_is_fitted(self)
        key = id(self.estimator_.net_), self.layer, self.layer_, self.pooling
        return of_rows(X, key, lambda: self._features(self._validated(X)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.target_tags.required = get_tags(self._wrapped).target_tags.required
        return tags

    @property
    def _wrapped(self):
        if isinstance(self.estimator, nn.Module):
            return Backbone(self.estimator, input_shape=self.input_shape)
        return self.estimator

    @property
    def input_shape_(self):
        return tuple(self.estimator_.input_shape_)

    @property
    def _n_features_out(self):
        return self._features(np.zeros((1, self.n_features_in_), dtype=np.float32)).shape[1]

    @property
    def feature_network_(self):
        """From flat rows to features, as one torch module; rows are as those of X."""
        estimator, _ = unwrap(self.estimator_)
        module = LayerReader(estimator.net_.module_, self._read)
        if getattr(estimator, "center_", None) is None:
            return module
        return nn.Sequential(estimator.scored_network_.network[0], module)

    def _read(self, module, batch):
        names = [self.layer_] if isinstance(self.layer_, str) else self.layer_ or ()
        layers = [find_layer(module, name) for name in names]
        calls, outputs = calls_of(layers, module, batch)
        if len(calls) < len(layers):
            raise ValueError(
                f"Got layer={self.layer_!r}, which does not run where the network is "
                "evaluated, or in a part that was compiled, scripted, traced or exported, "
                "which is not seen into; pass a layer that runs, or the network as it was."
            )
        place = 0 if self.layer is None else 1  # what it takes or gives
        read = [calls[layer][place] for layer in layers] or [outputs]
        return torch.cat([pooled(each, self.pooling) for each in read], dim=1)

    def _validated(self, X):
        return validate_rows(self, X, keep_tensors=True, dtype=np.float32)

    def _features(self, rows):
        if hasattr(self.estimator_, "scale_rows"):
            rows = self.estimator_.scale_rows(rows)
        features = evaluate(self.estimator_.net_, self._read, rows, self.batch_size)
        return features.clip(-LARGEST_FLOAT, LARGEST_FLOAT).astype(np.float32, copy=False)


class Backbone(Parameterized):
    """A network that is trained already, as an estimator that has ``net_``."""

    network: nn.Module = field(kw_only=False)
    input_shape: Any = None

    input_shape_: tuple = fitted()
    net_: NeuralNet = fitted()

    def fit(self, X, y=None):
        X = first_block(X)
        validate_training_data(self, X, None, min_classes=1, keep_tensors=True)
        embedding = Embedding(self.network, self.input_shape_)
        self.net_ = wrap_trained(embedding, device=device_of(self.network))
        with taking(self.input_shape_, "backbone"), torch.no_grad():
            self.net_.module_(some_rows(self.n_features_in_, self.net_.device))
        return self

    def untrained_networks(self):
        network = self.network
        if not isinstance(network, nn.Module):
            network = network(self.n_features_in_, 0)
        return {"net_": Embedding(network, self.input_shape_)}


class Embedding(InputShape):
    """From flat rows to the features that a backbone returns, of tokens their mean."""

    def __init__(self, network, input_shape):
        names = "image_embeds", "pooler_output", "last_hidden_state"
        super().__init__(network, input_shape, names)

    def forward(self, rows):
        features = super().forward(rows.clone())  # whose first layers may work in place
        return features.mean(dim=1) if features.ndim == 3 else features

    def outputs(self, inputs):
        """Of a network of images and text those of the images."""
        return getattr(self.network, "get_image_features", self.network)(inputs)


class LayerReader(nn.Module):
    """A network, of which ``read(network, rows)`` is wanted."""

    def __init__(self, network, read):
        super().__init__()
        self.network, self.read = network, read

    def forward(self, rows):
        return self.read(self.network, rows)


def pooled(features, side):
    """Feature maps averaged to ``side`` x ``side`` where they are larger, as flat rows."""
    features = features[0] if isinstance(features, tuple) else features
    features = features.float() if features.dtype in HALF else features
    if features.ndim == 4 and side is not None and max(features.shape[2:]) > side:
        features = adaptive_avg_pool2d(features, side)
    return features.flatten(1)
