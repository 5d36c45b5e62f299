"""The members of a combination: which there are by default, and how their scores are read.

A member is a fitted estimator, or a pipeline that ends in one; whatever it is, its score is
brought to one sign: higher looks more like the training rows.
"""

import numpy as np
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from sklearn_ood._plotting import pyplot
from sklearn_ood._response import confidence_of, log_proba, unwrap
from sklearn_ood.classifiers._generative import GenerativeClassifier
from sklearn_ood.classifiers._softmax import SoftmaxClassifier
from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.detectors._features import NetFeatures
from sklearn_ood.detectors._neighbors import DistinctLocalOutlierFactor, NeighborDistance
from sklearn_ood.generators import GaussianMixtureGenerator, PCAGenerator

CLASSIFIER = "classifier"
IMAGE_COMPONENTS = 32
MIXTURE_SIZES = (8, 16)
MAX_NEIGHBOR_ROWS = 10_000
DROP = "drop"


def is_word(member, *words):
    """Whether a member is one of these words instead of an estimator."""
    return isinstance(member, str) and member in words


def check_detectors(detectors):
    """Raise unless these are pairs of a name and an estimator, or a word for one."""
    pairs = isinstance(detectors, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in detectors
    )
    if not pairs or not detectors:
        raise ValueError(
            f"Got detectors={detectors!r}, but expected None or a list of pairs "
            "(name, estimator)."
        )
    for name, member in detectors:
        if not hasattr(member, "fit") and not is_word(member, CLASSIFIER, DROP):
            raise TypeError(
                f"Got {member!r} as the member {name!r}, but expected an estimator, "
                f"{CLASSIFIER!r} or {DROP!r}."
            )


def default_classifier(input_shape):
    """The classifier for images, or for tables."""
    if len(input_shape) == 3:
        return SoftmaxClassifier(input_shape=input_shape, max_epochs=5, lr_schedule="cosine")
    net = SoftmaxClassifier(hidden_layer_sizes=(128, 128), batch_size=256, max_epochs=60)
    from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier  # slow to import

    forest = ExtraTreesClassifier(n_estimators=200)
    voters = [("forest", forest), ("net", make_pipeline(StandardScaler(), net))]
    return VotingClassifier(voters, voting="soft")


def default_detectors(input_shape, classifier):
    """Names and unfitted members for images or tables.

    Parameters
    ----------
    input_shape : tuple of int
    classifier : fitted classifier or None
        None where there is one class.

    Returns
    -------
    list of (str, estimator or "classifier")
    """
    own = [] if classifier is None else [("confidence", CLASSIFIER)]
    if len(input_shape) == 3:
        pixels = [("pixels", _linear(int(np.prod(input_shape))))]
        return own + _convolutional(classifier) + pixels
    mixture = ("mixture", GenerativeClassifier("gmm", validation_fraction=0))
    if classifier is not None:
        return [*own, mixture, *(_mixture(size) for size in MIXTURE_SIZES)]
    neighbors = make_pipeline(StandardScaler(), NeighborDistance())
    lof = make_pipeline(StandardScaler(), DistinctLocalOutlierFactor(novelty=True))
    return [mixture, ("neighbors", neighbors), ("lof", lof)]


def _mixture(n_components):
    generator = GaussianMixtureGenerator(n_components)
    return f"mixture_{n_components}", GenerativeClassifier(generator, validation_fraction=0)


def _convolutional(classifier):
    """The member on the last feature maps of a net that has its convolutions by name."""
    if not hasattr(classifier, "net_"):
        return []
    network = getattr(classifier.net_.module_, "network", None)
    if not hasattr(network, "conv"):
        return []
    features = NetFeatures(FrozenEstimator(classifier), "conv")
    neighbors = NeighborDistance(max_samples=MAX_NEIGHBOR_ROWS)
    return [("neighbors", make_pipeline(features, Normalizer(), neighbors))]


def _linear(n_features):
    n_components = min(IMAGE_COMPONENTS, max(1, n_features // 2))
    return GenerativeClassifier(PCAGenerator(n_components), validation_fraction=0)


def complete(estimator, *, seed, input_shape, classifier=None):
    """Fill in what an unfitted member leaves open: seeds, the image shape, the classifier."""
    open_parameters = {
        name: seed
        for name, value in estimator.get_params().items()
        if value is None and name.split("__")[-1] == "random_state"
    }
    own = estimator.get_params(deep=False)
    if len(input_shape) == 3 and own.get("input_shape", input_shape) is None:
        open_parameters["input_shape"] = input_shape
    estimator.set_params(**open_parameters)
    if classifier is not None:
        for value in estimator.get_params().values():
            if isinstance(value, NetFeatures) and value.estimator is None:
                value.set_params(estimator=FrozenEstimator(classifier))
    return estimator


def member_scores(member, X, labels=None):
    """Score of each row by a fitted member, read at a class where it has one score a class.

    Parameters
    ----------
    member : estimator
        The first of these that it has is its score:

        1. with labels, ``class_score_samples(X, labels)``;
        2. with labels, the evidence for them, for a classifier of this package whose score
           is its best class's evidence;
        3. with labels, the logarithm of their probability, for a classifier without
           ``score_samples``;
        4. minus ``decision_function`` for a PyOD detector, known by ``decision_scores_``;
        5. the confidence, as for any classifier: ``score_samples``, the largest of
           ``predict_proba``, or ``decision_function``.
    X : ndarray of shape (n_samples, n_features)
    labels : ndarray of shape (n_samples,), default=None
        Class to read each row at.

    Returns
    -------
    ndarray of shape (n_samples,), float64

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood.combined._members import member_scores
    >>> member = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    >>> member_scores(member, [[9.0]], [0]) < member_scores(member, [[9.0]], [1])
    array([ True])
    """
    last, X_last = unwrap(member, X)
    if labels is not None and hasattr(last, "class_score_samples"):
        return last.class_score_samples(X_last, labels)
    if labels is not None and is_classifier(last) and not hasattr(last, "score_samples"):
        return _at_labels(log_proba(last, X_last), last, labels)
    if hasattr(last, "decision_scores_"):
        return -np.asarray(last.decision_function(X_last), dtype=np.float64)
    if is_classifier(last) and not hasattr(last, "score_samples"):
        return log_proba(last, X_last).max(axis=1)
    return confidence_of(last, X_last)


def own_confidence(classifier, X, log_proba):
    """Confidence of the classifier; not evaluated again where it is the largest probability."""
    if hasattr(classifier, "score_samples"):
        is_softmax = isinstance(classifier, SoftmaxClassifier)
        if not (is_softmax and classifier.confidence == "max_proba"):
            return confidence_of(classifier, X)
    return log_proba.max(axis=1)


def _at_labels(evidence, member, labels):
    codes = codes_in(member.classes_, labels)
    if (codes == OUTLIER).any():
        missing = np.unique(np.asarray(labels)[codes == OUTLIER]).tolist()
        raise ValueError(
            f"Got the member {member!r}, which was not taught the classes {missing}, but it is "
            "read at the predicted class; fit it on all classes, or pass conditional='none'."
        )
    return evidence[np.arange(len(codes)), codes]


def draw_p_values(p_values, captions, names):
    """A table of p-values, darker for smaller.

    Parameters
    ----------
    p_values : ndarray of shape (n_rows, n_names)
    captions : list of str
        One a row.
    names : list of str
        One a column.

    Returns
    -------
    matplotlib.figure.Figure
    """
    n_rows, n_names = p_values.shape
    size = (1.2 * n_names + 1.5, 0.35 * n_rows + 0.8)
    figure = pyplot().figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    evidence = -np.log10(np.maximum(p_values, np.finfo(np.float64).tiny))
    axes.imshow(evidence, cmap="Reds", vmin=0, vmax=6, aspect="auto")
    for i, j in np.ndindex(n_rows, n_names):
        color = "white" if evidence[i, j] > 4 else "black"
        axes.text(j, i, f"{p_values[i, j]:.2g}", ha="center", va="center", color=color)
    axes.set_xticks(range(n_names), names)
    axes.set_yticks(range(n_rows), captions)
    axes.xaxis.tick_top()
    return figure
