"""The members of a combination: which there are, and how their scores are read."""

import warnings
from functools import partial

import numpy as np
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils.validation import validate_data

from sklearn_ood._response import is_frozen, known_of, log_proba, unwrap
from sklearn_ood.classifiers._generative import GenerativeClassifier
from sklearn_ood.classifiers._softmax import SoftmaxClassifier
from sklearn_ood.classifiers._table import QuickTrees, TableClassifier, of_rows_a_tree
from sklearn_ood.combined import _columns
from sklearn_ood.combined._network import ends_linear, network_members
from sklearn_ood.data._blocks import once, take_rows, unmasked
from sklearn_ood.data._labels import OUTLIER, codes_in, foreign
from sklearn_ood.data._tables import TableEncoder, check_frame, warn_of_columns
from sklearn_ood.detectors._features import NetFeatures
from sklearn_ood.detectors._layers import layers_of
from sklearn_ood.detectors._neighbors import NeighborDistance
from sklearn_ood.detectors._table_density import TableDensity
from sklearn_ood.generators import PCAGenerator
from sklearn_ood.selective._guarantees import warn_of_company

CLASSIFIER, DROP = "classifier", "drop"
IMAGE_COMPONENTS = 32
# That a member remembers, or that each of its trees and mixtures learns from.
MAX_ROWS, N_TREES = 10_000, 100
# How much the evidence of the default members for tables with classes counts, else 1.
WEIGHTS = {"trees": 2.0, "mixture": 3.0, "nearest_ranks": 0.5, "extreme": 0.5}


def keep_table(estimator, X, *, reset):
    """A frame or an array of objects as it came, for others to read, else float64 with NaN."""
    if hasattr(X, "columns"):
        check_frame(estimator, X, reset=reset)
    else:
        # In float32 a row's score by most methods would depend on the rows beside it.
        X = unmasked(X)
        dtype = None if np.asarray(X).dtype.kind in "OMm" else np.float64
        wanted = {"dtype": dtype, "ensure_all_finite": "allow-nan"}
        X = validate_data(estimator, X, reset=reset, **wanted)
    if reset:
        warn_of_columns(X)
    return X


def check_members(members):
    if members is None:
        return
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


def given(members):
    return {name: each for name, each in members or [] if hasattr(each, "fit")}


def resolve_members(members, classifier):
    """Named members without the dropped ones, made where they come from the classifier."""
    resolved = {}  # without a classifier, as with one class, what needs it is left out
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
        resolved[name] = member
    if not resolved:
        raise ValueError(
            f"Got members={members!r}, which leaves no member; with one class the classifier "
            "is none: give a density or another detector."
        )
    return resolved


def ask_classifier(members, input_shape):
    """Whether a member asks the classifier; the default for images does."""
    if members is None:
        return len(input_shape) == 3
    return any(not (hasattr(each, "fit") or each == DROP) for _, each in members)


def default_classifier(input_shape):
    if len(input_shape) == 3:
        return SoftmaxClassifier(input_shape=input_shape, max_epochs=5, lr_schedule="cosine")
    return TableClassifier()


def default_members(input_shape, classifier, labels):
    """Named members for images or tables; the classifier is None where no member asks one."""
    if len(input_shape) == 3:
        return image_members(input_shape, classifier)
    return table_members(len(labels), len(np.unique(labels)))


def image_members(input_shape, classifier):
    """Named members for images; the classifier is None where there is one class."""
    n_components = min(IMAGE_COMPONENTS, max(1, int(np.prod(input_shape)) // 2))
    has_net = hasattr(classifier, "net_")
    has_conv = has_net and "conv" in layers_of(classifier.net_.module_)
    features = [("neighbors", _near_in_feature_maps)] if has_conv else []
    if has_net and not has_conv:
        if ends_linear(classifier):
            return network_members()
        warnings.warn(
            "Got a network whose outputs are not those of a linear layer that can be read, so "
            "that members see the pixels and the probabilities, but none of its features; let "
            "it return one head's logits, take copy.deepcopy(network) of one that was compiled "
            "in place, or pass members, for instance with NetFeatures(layer=...).",
            stacklevel=2,
        )
    # A density a class, which no row is held out from.
    pixels = GenerativeClassifier(PCAGenerator(n_components), validation_fraction=0)
    return [("confidence", CLASSIFIER), *features, ("pixels", pixels)]


def table_members(n_rows, n_classes):
    """Named members for tables, that ask no classifier: it can then learn from all rows."""
    trees = QuickTrees(N_TREES, min_samples_leaf=2, **of_rows_a_tree(n_rows, MAX_ROWS))
    ranks = _columns.ColumnRanks(min(_columns.MAX_QUANTILES, n_rows))
    several = [("trees", make_pipeline(TableEncoder(), trees))]
    single = [("nearest", _near_in_table())]
    return [
        *(several if n_classes > 1 else single),
        ("mixture", TableDensity(max_samples=MAX_ROWS)),
        ("nearest_whitened", _near_in_table(_columns.ClassWhitening())),
        ("nearest_ranks", _near_in_table(ranks)),
        ("extreme", make_pipeline(TableEncoder(), _columns.ExtremeColumn(MAX_ROWS))),
    ]


def weights_of(members, *, are_default):
    chosen = WEIGHTS if are_default and "trees" in members else {}
    return np.array([chosen.get(name, 1.0) for name in members])


def _near_in_table(*steps):
    return make_pipeline(TableEncoder(), *steps, _columns.NearestRow(max_samples=MAX_ROWS))


def _near_in_feature_maps(classifier):
    """The member on the last feature maps of a net that has its convolutions by name."""
    neighbors = NeighborDistance(max_samples=MAX_ROWS)
    return make_pipeline(NetFeatures(classifier, layer="conv"), Normalizer(), neighbors)


def class_log_proba(classifier, X):
    """Log-probabilities of the classes (n_samples, n_classes); 0 where there is one class."""
    return np.zeros((len(X), 1)) if classifier is None else log_proba(classifier, X)


@once
def look(classifier, members, X, names=None):
    """Log-probabilities of the classes, and the members' scores at the likeliest of them."""
    log_p = class_log_proba(classifier, X)
    likeliest = log_p.argmax(axis=1)
    labels = None if classifier is None else np.asarray(classifier.classes_)[likeliest]
    names = list(members if names is None else names)
    asks_more = hasattr(classifier, "score_samples")
    scores = np.zeros((len(X), len(names)))
    for column, name in zip(scores.T, names, strict=True):
        member = members.get(name)
        if member is None:  # a model of one class has not all
            continue
        if member != CLASSIFIER:
            column[:] = member_scores(member, X, labels)
        elif asks_more:
            column[:] = classifier.score_samples(X)
        else:  # the same, without asking it twice
            column[:] = log_p.max(axis=1)
        if np.isnan(column).any():
            raise ValueError(
                f"Got {np.isnan(column).sum()} NaN from the member {name!r}; expected numbers."
            )
    return log_p, np.nan_to_num(scores)


def warn_of_company_in(classifier, members, X, scores, names):
    """Warn of members whose score of a row depends on the rows beside it."""
    for name, column in zip(names, scores.T, strict=True):
        if (member := members.get(name)) is not None:
            asked = classifier if member == CLASSIFIER else member
            warn_of_company(asked, X, column, partial(_score_of, classifier, {name: member}))


def _score_of(classifier, member, X):
    return look(classifier, member, X)[1][:, 0]


def member_scores(member, X, labels=None):
    """Score of each row by a fitted member, read at a class where it has one score a class."""
    # With labels class_score_samples, where it has that; the logarithm of the labels'
    # probability, or of the largest, for a classifier without score_samples; else its score.
    last, X_last = unwrap(member, X)
    if labels is not None and hasattr(last, "class_score_samples"):
        if is_frozen(member):
            return last.class_score_samples(X_last, labels)
        return _at_classes(last, X_last, np.asarray(labels))
    if is_classifier(last) and not hasattr(last, "score_samples"):
        log_p = log_proba(last, X_last)
        return log_p.max(axis=1) if labels is None else _at_labels(log_p, last, labels)
    return known_of(last, X_last)


def _at_classes(member, X, labels):
    """Scores at the labels; where no row taught the member the one answered, its best."""
    taught = codes_in(member.classes_, labels) != OUTLIER
    if taught.all():
        return member.class_score_samples(X, labels)
    scores = member.score_samples(X)
    if taught.any():
        scores[taught] = member.class_score_samples(take_rows(X, taught), labels[taught])
    return scores


def _at_labels(log_p, member, labels):
    codes = codes_in(member.classes_, labels)
    if missing := foreign(labels, codes):
        raise ValueError(
            f"Got the member {member!r}, which was not taught the classes {missing}, but it is "
            "read at the predicted class; fit it on all classes."
        )
    return log_p[np.arange(len(codes)), codes]
