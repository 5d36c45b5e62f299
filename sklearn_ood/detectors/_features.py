"""The outputs of a network's layer."""

from dataclasses import field
from threading import get_ident

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils import get_tags
from torch.nn.functional import adaptive_avg_pool2d

from sklearn_ood._parameters import Count, Estimator, Parameterized, fitted
from sklearn_ood.base import Wrapper
from sklearn_ood.data._blocks import block_by_block
from sklearn_ood.data._rows import forget, validate_rows
from sklearn_ood.nets._evaluation import evaluate

LARGEST_FLOAT = np.finfo(np.float32).max


class NetFeatures(Wrapper, ClassNamePrefixFeaturesOutMixin, TransformerMixin, Parameterized):
    """What a network's layer says about each row, as features for any other method.

    First in a pipeline, it lets a density, a generative classifier or an outlier detector work
    in the network's space instead of pixels.

    Parameters
    ----------
    estimator : classifier with a net
        A classifier of this package that has ``net_`` once fitted. It is cloned and fitted;
        ``sklearn.frozen.FrozenEstimator(classifier)`` takes a fitted one as it is.
    layer : str, default="hidden"
        Whose output to take: "conv" (the convolutions), "hidden" (the dense layers but the
        last), "output" (the logits), where the network is one of those known by name, or the
        name of any module in ``named_modules()`` of the user's network.
    pooling : int >= 1 or None, default=3
        Feature maps of shape (C, H, W) are averaged to (C, pooling, pooling) where they are
        larger, then flattened. None keeps them whole.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier.
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

    estimator: Estimator = field(kw_only=False)
    layer: str = "hidden"
    pooling: Count | None = 3

    estimator_: BaseEstimator = fitted()

    def fit(self, X, y=None):
        """Fit the classifier, unless it is frozen.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        y : array-like of shape (n_samples,)
            Labels; not needed for a frozen classifier.

        Returns
        -------
        self
        """
        forget(self)
        self._validate_params()
        estimator = clone(self.estimator).fit(X, y)
        if not hasattr(estimator, "net_"):
            raise TypeError(
                f"Got estimator={self.estimator!r}, which has no net_ once fitted, but "
                "features come from a network; pass a classifier of this package that holds "
                "one, such as SoftmaxClassifier."
            )
        find_layer(estimator.net_.module_, self.layer)
        self.estimator_ = estimator
        return self

    @block_by_block
    def transform(self, X):
        """The layer's outputs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)

        Returns
        -------
        ndarray of shape (n_samples, n_activations), float32
        """
        return self._features(validate_rows(self, X, keep_tensors=True, dtype=np.float32))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.target_tags.required = get_tags(self.estimator).target_tags.required
        return tags

    @property
    def input_shape_(self):
        """Shape of one input."""
        return tuple(self.estimator_.input_shape_)

    @property
    def _n_features_out(self):
        return self._features(np.zeros((1, self.n_features_in_), dtype=np.float32)).shape[1]

    def _features(self, rows):
        def read(module, batch):
            layer = find_layer(module, self.layer)
            return pooled(output_of(layer, module, batch), self.pooling)

        features = evaluate(self.estimator_.net_, read, rows)
        return features.clip(-LARGEST_FLOAT, LARGEST_FLOAT).astype(np.float32, copy=False)


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


def output_of(layer, module, batch):
    """What ``layer`` gives out while ``module`` works on a batch; the rest is not kept."""
    captured, own_thread = [], get_ident()

    def capture(_layer, _inputs, output):
        if get_ident() == own_thread:  # another may be at work on the same module
            captured.append(output)

    handle = layer.register_forward_hook(capture)
    try:
        module(batch)
    finally:
        handle.remove()
    return captured[-1]


def pooled(features, side):
    """Feature maps averaged to ``side`` x ``side`` where they are larger, as flat rows."""
    if features.ndim == 4 and side is not None and max(features.shape[2:]) > side:
        features = adaptive_avg_pool2d(features, side)
    return features.flatten(1)
