"""The combination around a network that someone has trained: what it sees, in one call."""

from functools import partial

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from sklearn_ood._parameters import fitted
from sklearn_ood.classifiers._generative import GenerativeClassifier
from sklearn_ood.classifiers._softmax import SoftmaxClassifier
from sklearn_ood.data._labels import encode_labels
from sklearn_ood.detectors import (
    NCI,
    ActivationShaping,
    LogitScore,
    MahalanobisDistance,
    NetFeatures,
    Subspace,
    last_linear,
)


def from_module(cls, network, X, y, *, classes=None, device="auto", **parameters):
    """A combination around a network that is already trained, which is not trained again.

    Parameters
    ----------
    network : nn.Module
        From images to one logit for each class, alone, first in a tuple or as ``.logits``.
    X : array-like of shape (n_samples, C, H, W)
        Labelled images, a few thousand, that the network was not trained on: members learn
        from two thirds of them, and the others calibrate.
    y : array-like of shape (n_samples,)
        Their labels.
    classes : array-like of shape (n_classes,), default=None
        The label of each output, in ascending order. None takes the sorted labels of ``y``,
        which must then show every class.
    device : {"auto"} or torch device, default="auto"
        Where the network runs.
    **parameters
        Of :class:`CombinedClassifier`; with flat rows ``input_shape``.

    Returns
    -------
    CombinedClassifier
        Fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from sklearn_ood import CombinedClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(400) % 2
    >>> X = rng.normal(size=(400, 1, 8, 8)) + y[:, None, None, None]
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> model = CombinedClassifier.from_module(network, X, y, random_state=0)
    >>> list(model.members_)
    ['mahalanobis', 'vim', 'nci', 'energy', 'react', 'pixels']
    >>> model.p_values(X[:3] + 5).shape
    (3,)
    """
    if classes is None:
        _, classes = encode_labels(np.asarray(y), parameters.get("ood_label"))
    input_shape = parameters.get("input_shape") or np.shape(X)[1:]
    classifier = SoftmaxClassifier.from_module(network, classes, input_shape, device=device)
    return cls(FrozenEstimator(classifier), **parameters).fit(X, y)


def network_members():
    """Named members on the features of a network that ends in a linear layer.

    Chosen by classes held out, and by corrupted images, on three networks.
    """
    scores = {
        "mahalanobis": lambda linear: MahalanobisDistance(normalize=False),
        "vim": lambda linear: Subspace(linear=linear),
        "nci": lambda linear: NCI(linear=linear),
        "energy": lambda linear: LogitScore(linear=linear),
        "react": lambda linear: ActivationShaping(linear=linear),
    }
    return [(name, partial(_on_features, make)) for name, make in scores.items()]


class TypicalDensity(GenerativeClassifier):
    """How near a row's likelihood is to the usual one: too likely is strange, too.

    To a density of pixels an image of one grey is the most likely of all [1]_.

    References
    ----------
    .. [1] E. Nalisnick et al., "Detecting out-of-distribution inputs to deep generative models
       using typicality", 2019.
    """

    typical_: float = fitted()

    def fit(self, X, y=None):
        """Learn a density a class, and the median likelihood of its rows."""
        super().fit(X, y)
        own = self.score_samples(X) if y is None else self.class_score_samples(X, y)
        self.typical_ = float(np.median(own))
        return self

    def _evidence(self, rows):
        likelihood = super()._evidence(rows)
        is_known = hasattr(self, "typical_")
        return -np.abs(likelihood - self.typical_) if is_known else likelihood


def ends_linear(classifier):
    """Whether the members can be made: the outputs are those of the last linear layer."""
    try:
        last_linear(classifier)
    except ValueError:
        return False
    return True


def _on_features(make, classifier):
    return make_pipeline(NetFeatures(classifier), make(last_linear(classifier)))
