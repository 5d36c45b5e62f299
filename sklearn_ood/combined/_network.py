"""The combination around a network that someone has trained: what it sees, in one call."""

from functools import partial

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from sklearn_ood._response import as_numpy
from sklearn_ood.classifiers._softmax import SoftmaxClassifier
from sklearn_ood.combined._radii import PrincipalRadii
from sklearn_ood.data._blocks import mapped_images
from sklearn_ood.data._labels import encode_labels
from sklearn_ood.detectors import (
    NCI,
    ActivationShaping,
    LogitScore,
    NetFeatures,
    Subspace,
    last_linear,
)

# As the members, chosen by classes held out and corrupted images, on three networks.
DEFAULTS = {"method": "average", "outlier_share": 0.0005}


def from_module(cls, network, X, y=None, *, classes=None, device="auto", **parameters):
    """A fitted combination around a network that is already trained, and is not trained again.

    Parameters
    ----------
    network : nn.Module
        From images to one logit for each class, alone, first in a tuple or as ``.logits``.
    X : array-like of shape (n_samples, C, H, W), Dataset or DataLoader
        Labelled images, a few thousand, that the network was not trained on: members learn
        from two thirds of them, and the others calibrate.
    y : array-like of shape (n_samples,), default=None
        Their labels; None takes those of a dataset.
    classes : array-like of shape (n_classes,), default=None
        The label of each output, in ascending order. None takes the sorted labels of ``y``,
        which must then show every class.
    device : {"auto"} or torch device, default="auto"
        Where the network runs.
    **parameters
        Of :class:`CombinedClassifier`; with flat rows ``input_shape``. ``method`` is "average"
        here: what lies far off in one respect may look known in all others. ``outlier_share``
        is 0.0005, with which ``confidence`` ranks known images nearly as the probability does.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from sklearn_ood import CombinedClassifier
    >>> y = np.arange(400) % 2
    >>> X = np.random.default_rng(0).normal(size=(400, 1, 8, 8)) + y[:, None, None, None]
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> model = CombinedClassifier.from_module(network, X, y, random_state=0)
    >>> list(model.members_)
    ['vim', 'nci', 'energy', 'react', 'pixels']
    """
    X, y = mapped_images(X, y)
    if y is None:
        raise ValueError(
            "Got no y, and X without labels; pass y, or a dataset of pairs (image, label)."
        )
    if classes is None:
        ood_label = parameters.get("ood_label")
        _, classes = encode_labels(as_numpy(y), ood_label, owner=cls.__name__)
    input_shape = parameters.get("input_shape") or np.shape(X)[1:]
    classifier = SoftmaxClassifier.from_module(network, classes, input_shape, device=device)
    return cls(FrozenEstimator(classifier), **DEFAULTS | parameters).fit(X, y)


def network_members():
    """Named members on the pixels, and the features of a network that ends linear."""
    scores = {"vim": Subspace, "nci": NCI, "energy": LogitScore, "react": ActivationShaping}
    on_features = [(name, partial(_on_features, score)) for name, score in scores.items()]
    return [*on_features, ("pixels", PrincipalRadii())]


def ends_linear(classifier):
    """Whether the members can be made: the outputs are those of the last linear layer."""
    try:
        last_linear(classifier)
    except ValueError:
        return False
    return True


def _on_features(score, classifier):
    return make_pipeline(NetFeatures(classifier), score(linear=last_linear(classifier)))
