"""The outputs of a network's layer."""

import sys
from contextlib import nullcontext, suppress
from dataclasses import field
from threading import get_ident
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, linear

from sklearn_ood._parameters import Count, Estimator, Parameterized, fitted, forget
from sklearn_ood._response import unwrap
from sklearn_ood.base import Wrapper
from sklearn_ood.data._blocks import block_by_block, first_block, of_rows
from sklearn_ood.data._rows import validate_rows, validate_training_data
from sklearn_ood.nets._evaluation import device_of, evaluate, some_rows
from sklearn_ood.nets._modules import HALF, InputShape
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
    input_shape : tuple (C, H, W), default=None
        Shape of one image where X has flat rows, for a backbone.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier, or what holds the backbone.
    layer_ : str or None
        The layer in use: the linear one whose input is taken, where ``layer`` is None.
    input_shape_ : tuple of int
        Shape of one input.

    See Also
    --------
    CombinedClassifier : Takes the last feature maps of its net by default.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neighbors import LocalOutlierFactor
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_ood import NetFeatures, SoftmaxClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> features = NetFeatures(SoftmaxClassifier(max_epochs=5, random_state=0))
    >>> features.fit_transform(X, y).shape
    (150, 128)
    >>> detector = make_pipeline(features, LocalOutlierFactor(novelty=True)).fit(X, y)
    """

    estimator: Estimator | nn.Module = field(kw_only=False)
    layer: str | None = None
    pooling: Count | None = 3
    batch_size: Count | None = None
    input_shape: Any = None

    estimator_: BaseEstimator = fitted()
    layer_: str | None = fitted()

    def fit(self, X, y=None):
        """Fit the classifier, unless it is frozen.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Labels; not needed for a frozen classifier.
        """
        forget(self)
        self._validate_params()
        estimator = clone(self._wrapped).fit(X, y)
        if not hasattr(estimator, "net_"):
            raise TypeError(
                f"Got estimator={self.estimator!r}, which has no net_ once fitted, but "
                "features come from a network; pass a classifier of this package that holds "
                "one, such as SoftmaxClassifier."
            )
        layer = self.layer
        if layer is None and not isinstance(estimator, Backbone):
            layer = _last_linear(estimator)[0]
        self.estimator_, self.layer_ = estimator, layer
        if self.layer is not None:
            with torch.no_grad():  # raises where it does not run
                rows = some_rows(estimator.n_features_in_, estimator.net_.device)
                self._read(estimator.net_.module_, rows)
        return self

    @block_by_block
    def transform(self, X):
        """The layer's outputs.

        Returns
        -------
        ndarray of shape (n_samples, n_activations), float32
        """
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
        """What is fitted: the classifier, or a backbone as an estimator."""
        if isinstance(self.estimator, nn.Module):
            return Backbone(self.estimator, input_shape=self.input_shape)
        return self.estimator

    @property
    def input_shape_(self):
        """Shape of one input."""
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
        layers = [find_layer(module, self.layer_)] if self.layer_ else []
        calls, outputs = calls_of(layers, module, batch)
        if layers and not calls:
            raise ValueError(
                f"Got layer={self.layer_!r}, which does not run where the network is "
                "evaluated, or in a part that was compiled, scripted, traced or exported, "
                "which is not seen into; pass a layer that runs, or the network as it was."
            )
        for taken, given in calls.values():
            outputs = taken if self.layer is None else given
        return pooled(outputs, self.pooling)

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
        names = "image_embeds", "pooler_output", "last_hidden_state"
        super().__init__(network, input_shape, names)

    def forward(self, rows):
        features = super().forward(rows.clone())  # whose first layers may work in place
        return features.mean(dim=1) if features.ndim == 3 else features


class LayerReader(nn.Module):
    """A network, of which ``read(network, rows)`` is wanted."""

    def __init__(self, network, read):
        super().__init__()
        self.network, self.read = network, read

    def forward(self, rows):
        return self.read(self.network, rows)


def last_linear(classifier):
    """The last layer of a network that ends in a linear one, as a pair of arrays.

    Parameters
    ----------
    classifier : fitted classifier of this package around a network
        Also frozen, or last in a pipeline.

    Returns
    -------
    weight : ndarray of shape (n_classes, n_features), float64
    bias : ndarray of shape (n_classes,), float64

    Raises
    ------
    ValueError
        If the network's outputs are not those of its last linear layer.

    Examples
    --------
    >>> from torch import nn
    >>> from sklearn_ood import SoftmaxClassifier
    >>> from sklearn_ood.detectors import last_linear
    >>> network = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> classifier = SoftmaxClassifier.from_module(network, [0, 1, 2], input_shape=2)
    >>> weight, bias = last_linear(classifier)
    >>> weight.shape, bias.shape
    ((3, 8), (3,))
    """
    classifier, _ = unwrap(classifier)
    name, makes_outputs = _last_linear(classifier)
    if not makes_outputs:
        raise ValueError(
            "Got a network whose outputs, one for each class, are not those of its last linear "
            f"layer {name!r}, but this score is made of that layer; pass a network that ends "
            "in it."
        )
    layer = find_layer(classifier.net_.module_, name)
    weight = layer.weight.detach().flatten(1).double().cpu().numpy()
    bias = np.zeros(len(weight)) if layer.bias is None else layer.bias.detach().double().cpu()
    return weight, np.asarray(bias)


@torch.no_grad()
def _last_linear(estimator):
    """Name of the linear layer that makes the outputs, else that runs last; if it makes them.

    A convolution of one pixel is one, too.
    """
    module, n_features = estimator.net_.module_, estimator.n_features_in_
    rows = some_rows(n_features, estimator.net_.device)
    names = {layer: name for name, layer in layers_of(module).items()}
    layers = [layer for layer in names if isinstance(layer, (nn.Linear, nn.Conv2d))]
    calls, outputs = calls_of(layers, module, rows)
    last = [layer for layer in calls if isinstance(layer, nn.Linear)]
    n_classes = len(estimator.classes_)  # of which others have more outputs
    ends = [layer for layer, call in calls.items() if _makes(layer, *call, outputs, n_classes)]
    # Whatever it gives: else a ReLU or a bound follows, which these rows do not meet.
    ends = [layer for layer in ends if _makes_any(layer, module, rows, n_classes)]
    if not (last or ends):
        raise ValueError(
            "Got a network without a linear layer that runs; pass one of "
            f"{sorted(names.values())} as layer, or the network as it was before it was "
            "compiled (in place: copy.deepcopy(network)), scripted, traced, exported or "
            "quantised."
        )
    return names[(ends or last)[-1]], bool(ends)


def _makes_any(layer, module, rows, n_classes):
    """Whether outputs are what a layer gives, also where that is something else."""
    random = torch.Generator().manual_seed(0)

    def moved(given):
        noise = torch.randn(given.shape, generator=random, device="cpu")
        return given + 100 * noise.to(given)

    calls, outputs = calls_of([layer], module, rows, moved)
    return _makes(layer, *calls[layer], outputs, n_classes, is_own=False)


def _makes(layer, taken, given, outputs, n_classes, is_own=True):
    """Whether outputs are what a layer gives, but for a number a row, as log-probabilities.

    And whether that is what its weights make of its inputs, where it is the layer's own.
    """
    weight, given, outputs = layer.weight, given.flatten(1), outputs[:, :n_classes]
    is_of_one_pixel = weight[0].numel() == weight.shape[1] == taken[0].numel()
    if not is_of_one_pixel or given.shape != outputs.shape:
        return False
    if is_own:
        bias = None if layer.bias is None else layer.bias.double()
        made = linear(taken.flatten(1).double(), weight.flatten(1).double(), bias)
        error = (given.double() - made).abs().max()
        if error > max(0.01, torch.finfo(given.dtype).eps ** 0.5) * made.abs().max():
            return False
    given, outputs = (each.double().log_softmax(1) for each in (given, outputs))
    return torch.allclose(given, outputs, rtol=1e-4, atol=1e-5)


def find_layer(module, name):
    """The layer with a name from ``layers_of``; a ValueError has the names."""
    layers = layers_of(module)
    if name not in layers:
        raise ValueError(f"Got layer={name!r}, but expected one of {sorted(layers)}.")
    return layers[name]


def layers_of(module):
    """All layers by name: of the user's network, which our modules have in ``network``."""
    named = getattr(module, "network", module).named_modules()
    return {name: layer for name, layer in named if name}


def calls_of(layers, module, batch, change=None):
    """What each of ``layers`` takes and gives, by layer, while ``module`` works on a batch.

    In the order in which they end, each of its last call; then the outputs of the module. The
    module goes on with what ``change`` makes of the output of a layer.
    """
    calls, own_thread = {}, get_ident()

    def note(layer, inputs, output):
        if get_ident() == own_thread:  # another may be at work on the same module
            output = change(output) if change else output
            calls.pop(layer, None)
            calls[layer] = _kept(inputs[0]), _kept(output)
            return output if change else None

    handles = []
    try:
        for layer in layers:
            with suppress(RuntimeError):  # of a scripted one
                handles.append(layer.register_forward_hook(note))
        with uncompiled():
            outputs = module(batch)
    finally:
        for handle in handles:
            handle.remove()
    return calls, outputs


def uncompiled():
    """While networks run as they did before they were compiled, and so with new hooks."""
    is_any = "torch._dynamo" in sys.modules
    return torch.compiler.set_stance("force_eager") if is_any else nullcontext()


def _kept(values):
    """Values as they are now: the next layer may work in place."""
    if isinstance(values, tuple):
        return tuple(map(_kept, values))
    return values.clone() if isinstance(values, torch.Tensor) else values


def pooled(features, side):
    """Feature maps averaged to ``side`` x ``side`` where they are larger, as flat rows."""
    features = features[0] if isinstance(features, tuple) else features
    features = features.float() if features.dtype in HALF else features
    if features.ndim == 4 and side is not None and max(features.shape[2:]) > side:
        features = adaptive_avg_pool2d(features, side)
    return features.flatten(1)
