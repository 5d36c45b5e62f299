"""The members of a combination: which there are, and how their scores are read.

A member is a fitted estimator, or a pipeline that ends in one; whatever it is, its score is
brought to one sign: higher looks more like the training rows.
"""

import numpy as np
from sklearn.base import is_classifier
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from sklearn_ood._response import confidence_of, log_proba, unwrap
from sklearn_ood.classifiers._generative import GenerativeClassifier
from sklearn_ood.classifiers._softmax import SoftmaxClassifier
from sklearn_ood.combined._network import ends_linear, network_members
from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.detectors._features import NetFeatures, features_once, layers_of
from sklearn_ood.detectors._neighbors import NeighborDistance
from sklearn_ood.detectors._outlier_factor import DistinctLocalOutlierFactor
from sklearn_ood.generators import GaussianMixtureGenerator, PCAGenerator

CLASSIFIER, DROP = "classifier", "drop"
IMAGE_COMPONENTS = 32
MIXTURE_SIZES = (8, 16)
MAX_NEIGHBOR_ROWS = 10_000


def check_members(members):
    """Raise unless these are pairs of a name and a member."""
    are_pairs = all(isinstance(each, (list, tuple)) and len(each) == 2 for each in members)
    if not members or not are_pairs:
        raise ValueError(
            f"Got members={members!r}, but expected None or a list of pairs (name, estimator)."
        )
    for name, member in members:
        if not (hasattr(member, "fit") or callable(member) or member in (CLASSIFIER, DROP)):
            raise TypeError(
                f"Got {member!r} as the member {name!r}, but expected an estimator, a callable "
                f"that makes one, {CLASSIFIER!r} or {DROP!r}."
            )


def resolve_members(members, classifier):
    """Named members without the dropped ones, made where they come from the classifier.

    Without a classifier, as with one class, what needs it is left out.
    """
    resolved = []
    for name, member in members:
        is_estimator = hasattr(member, "fit")
        if member == DROP or (classifier is None and not is_estimator):
            continue
        if not is_estimator and member != CLASSIFIER:
            member = member(FrozenEstimator(classifier))
            if not hasattr(member, "fit"):
                raise TypeError(
                    f"Got {member!r} made by the member {name!r}, but expected an estimator."
                )
        resolved.append((name, member))
    if not resolved:
        raise ValueError(
            f"Got members={members!r}, which leaves no member; with one class the classifier "
            "is none: give a density or another detector."
        )
    return resolved


def default_classifier(input_shape):
    """The classifier for images, or for tables."""
    if len(input_shape) == 3:
        return SoftmaxClassifier(input_shape=input_shape, max_epochs=5, lr_schedule="cosine")
    net = SoftmaxClassifier(hidden_layer_sizes=(128, 128), batch_size=256, max_epochs=60)
    forest = ExtraTreesClassifier(n_estimators=200)
    voters = [("forest", forest), ("net", make_pipeline(StandardScaler(), net))]
    return VotingClassifier(voters, voting="soft")


def default_members(input_shape, classifier):
    """Named members for images or tables; the classifier is None where there is one class."""
    if len(input_shape) == 3:
        n_components = min(IMAGE_COMPONENTS, max(1, int(np.prod(input_shape)) // 2))
        has_net = hasattr(classifier, "net_")
        has_conv = has_net and "conv" in layers_of(classifier.net_.module_)
        features = [("neighbors", _near_in_feature_maps)] if has_conv else []
        pixels = ("pixels", _densities(PCAGenerator(n_components)))
        if has_net and not has_conv and ends_linear(classifier):
            return [*network_members(), pixels]
        return [("confidence", CLASSIFIER), *features, pixels]
    mixture = ("mixture", _densities("gmm"))
    if classifier is not None:
        sizes = [GaussianMixtureGenerator(n) for n in MIXTURE_SIZES]
        others = [(f"mixture_{each.n_components}", _densities(each)) for each in sizes]
        return [("confidence", CLASSIFIER), mixture, *others]
    neighbors = make_pipeline(StandardScaler(), NeighborDistance())
    lof = make_pipeline(StandardScaler(), DistinctLocalOutlierFactor(novelty=True))
    return [mixture, ("neighbors", neighbors), ("lof", lof)]


def _densities(generator):
    """A density a class, which no row is held out from."""
    return GenerativeClassifier(generator, validation_fraction=0)


def _near_in_feature_maps(classifier):
    """The member on the last feature maps of a net that has its convolutions by name."""
    neighbors = NeighborDistance(max_samples=MAX_NEIGHBOR_ROWS)
    return make_pipeline(NetFeatures(classifier, layer="conv"), Normalizer(), neighbors)


@features_once
def score_table(members, classifier, X, conditional):
    """Score of each row by each member, (n_samples, n_members); infinities are clipped.

    With ``conditional="predicted"`` they are read at the class that the classifier predicts.
    """
    labels = log_p = None
    if classifier is not None:
        log_p = log_proba(classifier, X)
        if conditional == "predicted":
            labels = np.asarray(classifier.classes_)[log_p.argmax(axis=1)]
    scores = np.empty((len(X), len(members)))
    for column, (name, member) in zip(scores.T, members.items(), strict=True):
        asked = classifier if member == CLASSIFIER else member
        if member == CLASSIFIER and not hasattr(classifier, "score_samples"):
            column[:] = log_p.max(axis=1)  # the same, without asking it twice
        else:
            column[:] = member_scores(asked, X, labels)
        if np.isnan(column).any():
            raise ValueError(
                f"Got {int(np.isnan(column).sum())} NaN scores from the member {name!r}, but "
                "evidence needs numbers."
            )
    return np.nan_to_num(scores)


def member_scores(member, X, labels=None):
    """Score of each row by a fitted member, read at a class where it has one score a class.

    The first of these that it has: with labels, ``class_score_samples(X, labels)``; the
    logarithm of the labels' probability, or of the largest, for a classifier without
    ``score_samples``; minus ``decision_function`` for a PyOD detector, known by
    ``decision_scores_``; the confidence, as for any classifier.
    """
    last, X_last = unwrap(member, X)
    if labels is not None and hasattr(last, "class_score_samples"):
        return last.class_score_samples(X_last, labels)
    if is_classifier(last) and not hasattr(last, "score_samples"):
        log_p = log_proba(last, X_last)
        return log_p.max(axis=1) if labels is None else _at_labels(log_p, last, labels)
    if hasattr(last, "decision_scores_"):
        return -np.asarray(last.decision_function(X_last), dtype=np.float64)
    return confidence_of(last, X_last)


def _at_labels(log_p, member, labels):
    codes = codes_in(member.classes_, labels)
    if (codes == OUTLIER).any():
        missing = np.unique(np.asarray(labels)[codes == OUTLIER]).tolist()
        raise ValueError(
            f"Got the member {member!r}, which was not taught the classes {missing}, but it is "
            "read at the predicted class; fit it on all classes, or pass conditional='none'."
        )
    return log_p[np.arange(len(codes)), codes]
