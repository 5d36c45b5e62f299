"""The classifiers that are compared and the generator: fitted, and checked."""

import reprlib

import numpy as np
from joblib import Parallel, delayed
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_ood._response import clone_completed, fitted_foreign
from sklearn_ood.base import OODClassifier
from sklearn_ood.classifiers._softmax import SoftmaxClassifier
from sklearn_ood.generators import VAE, BaseGenerator, InterpolationGenerator

TABLE_MAX_FEATURES = 64


def default_members():
    """A wide and a deep network."""
    deep = SoftmaxClassifier(hidden_layer_sizes=(64, 64))
    return [("wide", SoftmaxClassifier()), ("deep", deep)]


def default_generator(n_features):
    """What keeps to the rows of a table for few features, a network for many."""
    return InterpolationGenerator() if n_features <= TABLE_MAX_FEATURES else VAE()


def names_of(estimators):
    """The names of a list of named members, or an error that says what is wrong with it."""
    try:
        names = [name for name, _ in estimators]
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Got estimators={estimators!r}, but expected a list of (name, classifier)."
        ) from error
    if len(names) < 2:
        raise ValueError(
            f"Got estimators with {len(names)} classifier(s), but at least two are needed to "
            "differ; for the doubts of a single one use SelectiveClassifier."
        )
    return names


def check_frozen(parts):
    """Raise unless members and generator, pairs of a name and a part, need no data."""
    done = FrozenEstimator | nn.Module
    to_fit = [name for name, part in parts if not isinstance(part, done)]
    if to_fit:
        raise ValueError(
            f"Got X=None, but {to_fit} have to be fitted; pass X and y, or put what is fitted "
            "into sklearn.frozen.FrozenEstimator."
        )
    check_is_fitted(dict(parts)["generator"])


def as_estimator(name, member, classes, input_shape):
    """A torch module as a frozen classifier of inputs of a shape; all else as it is."""
    if not isinstance(member, nn.Module):
        return member
    if classes is None:
        raise ValueError(
            f"Got the module {name!r}, but neither the generator nor y says which classes its "
            "outputs are; pass SoftmaxClassifier.from_module(module, classes, input_shape)."
        )
    return FrozenEstimator(SoftmaxClassifier.from_module(member, classes, input_shape))


def fit_clones(estimators, rows, labels, *, n_jobs=None, **completion):
    """Classifiers and generators: clones, completed and fitted, or what was frozen."""
    to_fit = [each for each in estimators if not isinstance(each, FrozenEstimator)]
    clones = [clone_completed(each, **completion) for each in to_fit]
    fitted = iter(Parallel(n_jobs=n_jobs)(delayed(_fit)(each, rows, labels) for each in clones))
    return [
        _inside(each) if isinstance(each, FrozenEstimator) else next(fitted)
        for each in estimators
    ]


def image_shape(members):
    """The shape of images that some member takes, or None."""
    shapes = [tuple(getattr(member, "input_shape_", ())) for member in members]
    return next((shape for shape in shapes if len(shape) == 3), None)


def check_fitted(names, members, generator, classes, n_features):
    """Raise unless all are for the same inputs and classes, and have what is compared."""
    if not isinstance(generator, BaseGenerator):
        raise TypeError(
            f"Got generator={generator!r}, but expected one from sklearn_ood.generators; a "
            "trained network goes into PretrainedGenerator."
        )
    for name, member in zip(names, members, strict=True):
        if not hasattr(member, "predict_proba"):
            raise TypeError(
                f"Got the classifier {name!r} ({type(member).__name__}) without predict_proba, "
                "but probabilities are compared; wrap it in CalibratedClassifierCV."
            )
        if not np.array_equal(member.classes_, classes):
            raise ValueError(
                f"Got the classifier {name!r} with classes_={_shown(member.classes_)}, but "
                f"expected {_shown(classes)}; all classifiers must know the same classes."
            )
    for name, part in zip([*names, "generator"], [*members, generator], strict=True):
        own = getattr(part, "n_features_in_", n_features)
        if own != n_features:
            raise ValueError(
                f"Got {name!r} for {own} features, but expected {n_features}; all classifiers "
                "and the generator must be for the same inputs."
            )
    unknown = [] if generator.classes_ is None else np.setdiff1d(generator.classes_, classes)
    if len(unknown):
        raise ValueError(
            f"Got a generator of the classes {_shown(unknown)}, but the classifiers know "
            f"{_shown(classes)}; it may generate no others."
        )


def class_means(rows, labels, classes):
    """Mean row of every class."""
    return np.stack([rows[labels == each].mean(axis=0, dtype=np.float64) for each in classes])


def _inside(frozen):
    """The fitted estimator that is frozen."""
    check_is_fitted(frozen.estimator)
    return frozen.estimator


def _fit(estimator, rows, labels):
    """Fitted to rows in the precision that it computes in."""
    single = isinstance(estimator, OODClassifier | BaseGenerator)
    return fitted_foreign(estimator, rows if single else rows.astype(np.float64), labels)


def _shown(classes):
    """The first classes, as text."""
    return reprlib.repr(np.asarray(classes).tolist())
