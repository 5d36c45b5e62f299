"""The classifiers that are compared and the generator: fitted, checked, asked."""

import numpy as np
from joblib import Parallel, delayed
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_ood import _response
from sklearn_ood.base import OODClassifier
from sklearn_ood.classifiers._softmax import SoftmaxClassifier
from sklearn_ood.generators import VAE, BaseGenerator, GaussianMixtureGenerator

MIXTURE_MAX_FEATURES = 64


def log_proba(classifiers, rows):
    """Predictions of fitted classifiers.

    Parameters
    ----------
    classifiers : sequence of estimators
        All with the same classes.
    rows : ndarray of shape (n_samples, n_features)

    Returns
    -------
    ndarray of shape (n_members, n_samples, n_classes), float64
    """
    # In float32 a linear model would compute in float32, where probabilities sum to 1 by eye.
    rows = np.asarray(rows, dtype=np.float64)
    return np.stack([_response.log_proba(classifier, rows) for classifier in classifiers])


def default_members():
    """A wide and a deep network."""
    deep = SoftmaxClassifier(hidden_layer_sizes=(64, 64))
    return [("wide", SoftmaxClassifier()), ("deep", deep)]


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


def checked_pair(pair, names):
    """The names of two members to set apart, or an error."""
    first_and_second = list(pair)
    if len(set(first_and_second) & set(names)) != 2 or len(first_and_second) != 2:
        raise ValueError(
            f"Got pair={pair!r}, but expected the names of two different members from {names}."
        )
    return first_and_second


def check_frozen(parts):
    """Raise unless members and generator, pairs of a name and a part, need no data."""
    to_fit = [
        name for name, part in parts if not isinstance(part, (FrozenEstimator, nn.Module))
    ]
    if to_fit:
        raise ValueError(
            f"Got X=None, but {to_fit} have to be fitted; pass X and y, or put what is fitted "
            "already into sklearn.frozen.FrozenEstimator."
        )
    check_is_fitted(dict(parts)["generator"])


def fit_parts(named, generator, data, *, input_shape, random_state, n_jobs=None):
    """Members and generator: fitted clones, or what was frozen.

    Parameters
    ----------
    named : list of (str, classifier)
    generator : generator or None
        None is a mixture for few features, a network for many.
    data : TrainingData or None
        None where all are frozen.
    input_shape : tuple of int
    random_state : RandomState
    n_jobs : int or None, default=None

    Returns
    -------
    list of estimators
        The generator last.
    """
    if data is None:
        rows, labels, classes = None, None, generator.classes_
    else:
        rows, codes = data.in_distribution
        labels, classes = data.classes[codes], data.classes
    if generator is None:
        small = rows.shape[1] <= MIXTURE_MAX_FEATURES
        generator = GaussianMixtureGenerator() if small else VAE()
    members = [_as_classifier(*pair, classes, input_shape) for pair in named]
    parts = [*members, generator]
    to_fit = [part for part in parts if not isinstance(part, FrozenEstimator)]
    shared = {"input_shape": input_shape, "random_state": random_state, "n_jobs": n_jobs}
    fitted = iter(fit_clones(to_fit, rows, labels, **shared))
    return [
        _inside(part) if isinstance(part, FrozenEstimator) else next(fitted) for part in parts
    ]


def fit_clones(estimators, rows, labels, *, input_shape=None, random_state=None, n_jobs=None):
    """Clones of classifiers and generators, fitted to the same rows.

    Parameters
    ----------
    estimators : sequence of estimators
    rows : ndarray of shape (n_samples, n_features)
    labels : ndarray of shape (n_samples,)
    input_shape : tuple of int, default=None
        Given to those, also inside of pipelines, that have such a parameter, still None,
        where the rows are images.
    random_state : RandomState, default=None
        Seeds those, also inside of pipelines, that have a ``random_state`` of None.
    n_jobs : int or None, default=None

    Returns
    -------
    list of estimators
    """
    clones = [
        _response.clone_completed(each, random_state=random_state, input_shape=input_shape)
        for each in estimators
    ]
    return Parallel(n_jobs=n_jobs)(delayed(_fit)(each, rows, labels) for each in clones)


def image_shape(members):
    """The shape of images that some member takes, or None."""
    shapes = [tuple(getattr(member, "input_shape_", ())) for member in members]
    return next((shape for shape in shapes if len(shape) == 3), None)


def check_generator(generator, classes=None, n_features=None):
    """Raise unless a fitted generator fits the classifiers.

    Parameters
    ----------
    generator : generator
    classes : ndarray, default=None
        Those that the classifiers know.
    n_features : int, default=None
        Width of their inputs.

    Raises
    ------
    TypeError
        If it is no generator.
    ValueError
        If it has other classes or another width.
    """
    if not isinstance(generator, BaseGenerator):
        raise TypeError(
            f"Got generator={generator!r}, but expected one from sklearn_ood.generators; a "
            "trained network goes into PretrainedGenerator."
        )
    if n_features is not None and generator.n_features_in_ != n_features:
        raise ValueError(
            f"Got a generator of {generator.n_features_in_} features, but the classifiers take "
            f"{n_features}; both must be for the same inputs."
        )
    if classes is None or generator.classes_ is None:
        return
    unknown = [label for label in generator.classes_.tolist() if label not in classes.tolist()]
    if unknown:
        raise ValueError(
            f"Got a generator of the classes {unknown[:10]}, which the classifiers do not "
            f"know; they know {_shortened(classes)}."
        )


def check_members(names, members, classes, n_features):
    """Raise unless fitted classifiers have probabilities of the same classes and inputs.

    Parameters
    ----------
    names : list of str
    members : list of estimators
    classes : ndarray
        What ``classes_`` must be.
    n_features : int
        What ``n_features_in_`` must be, where it is known.

    Raises
    ------
    TypeError
        If one has no ``predict_proba``.
    ValueError
        If the classes or the number of features of one are others.
    """
    for name, member in zip(names, members, strict=True):
        if not hasattr(member, "predict_proba"):
            raise TypeError(
                f"Got the classifier {name!r} ({type(member).__name__}) without "
                "predict_proba, but divergences compare probabilities; wrap it in "
                "CalibratedClassifierCV."
            )
        if not np.array_equal(member.classes_, classes):
            raise ValueError(
                f"Got the classifier {name!r} with classes_={_shortened(member.classes_)}, but "
                f"expected {_shortened(classes)}; all classifiers must know the same classes."
            )
        own = getattr(member, "n_features_in_", n_features)
        if own != n_features:
            raise ValueError(
                f"Got the classifier {name!r} for {own} features, but expected {n_features}; "
                "all classifiers and the generator must be for the same inputs."
            )


def class_means(data):
    """Mean row of every class, (n_classes, n_features)."""
    rows, codes = data.in_distribution
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    sums = np.add.reduceat(rows[order], np.cumsum(counts) - counts, axis=0, dtype=np.float64)
    return sums / counts[:, None]


def _inside(frozen):
    """The fitted estimator that is frozen."""
    check_is_fitted(frozen.estimator)
    return frozen.estimator


def _fit(estimator, rows, labels):
    """Fitted to rows in the precision that it computes in."""
    single = isinstance(estimator, (OODClassifier, BaseGenerator))
    return estimator.fit(rows if single else rows.astype(np.float64), labels)


def _as_classifier(name, member, classes, input_shape):
    """A torch module as a frozen classifier of inputs of a shape; all else as it is."""
    if not isinstance(member, nn.Module):
        return member
    if classes is None:
        raise ValueError(
            f"Got the torch module {name!r}, but neither the generator nor y says which "
            "classes its outputs are; pass SoftmaxClassifier.from_module(module, classes, "
            "input_shape) instead."
        )
    return FrozenEstimator(SoftmaxClassifier.from_module(member, classes, input_shape))


def _shortened(classes):
    """At most ten of the classes, as text."""
    classes = np.asarray(classes).tolist()
    return f"[{', '.join(map(repr, classes[:10]))}{', ...' if len(classes) > 10 else ''}]"
