"""Do classifiers, generator and parameters fit together? Errors that say what does not."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_ood.generators import BaseGenerator
from sklearn_ood.gevaldi._divergence import resolve_divergence

OPTIMIZERS = ("auto", "adam", "sgd", "evolution")


def check_parameters(estimator):
    """Raise where a parameter of `GeValDi` is out of its range."""
    resolve_divergence(estimator.divergence)
    if estimator.optimizer not in OPTIMIZERS:
        raise ValueError(
            f"Got optimizer={estimator.optimizer!r}, but expected one of {OPTIMIZERS}."
        )
    for name, smallest in (("n_steps", 0), ("n_starts", 1), ("population_size", 4)):
        value = getattr(estimator, name)
        if not isinstance(value, Integral) or value < smallest:
            raise ValueError(
                f"Got {name}={value!r}, but expected a whole number >= {smallest}."
            )
    for name in ("lr", "step_size"):
        value = getattr(estimator, name)
        if not isinstance(value, Real) or not value > 0:
            raise ValueError(f"Got {name}={value!r}, but expected a number > 0.")
    if not isinstance(estimator.prior_weight, Real) or not estimator.prior_weight >= 0:
        raise ValueError(
            f"Got prior_weight={estimator.prior_weight!r}, but expected a number >= 0."
        )
    mass = estimator.prior_mass
    if not isinstance(mass, Real) or not 0 < mass <= 1:
        raise ValueError(
            f"Got prior_mass={mass!r}, but expected a number in (0, 1]; 1 sets no bound."
        )


def check_names(estimators, reserved):
    """The names of a list of named members, or an error that says what is wrong with it.

    Parameters
    ----------
    estimators : list of (str, classifier)
    reserved : collection of str
        Names that are taken.

    Returns
    -------
    list of str
    """
    pairs = isinstance(estimators, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)
        for pair in estimators
    )
    if not pairs:
        raise TypeError(
            f"Got estimators={estimators!r}, but expected a list of (name, classifier)."
        )
    names = [name for name, _ in estimators]
    if len(names) < 2:
        raise ValueError(
            f"Got estimators with {len(names)} classifier(s), but at least two are needed to "
            "differ; for the doubts of a single one use SelectiveClassifier."
        )
    unfit = [
        name for name in names if names.count(name) > 1 or "__" in name or name in reserved
    ]
    if unfit:
        raise ValueError(
            f"Got estimators with the names {unfit}, but names must be distinct, without '__' "
            "and different from the parameters."
        )
    return names


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
    NotFittedError
        If it is not fitted.
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
    check_is_fitted(
        generator,
        msg="The generator is not fitted, but prefit=True takes it as it is; fit it first "
        "(PretrainedGenerator.from_module is fitted at once) or pass prefit=False.",
    )
    if n_features is not None and generator.n_features_in_ != n_features:
        raise ValueError(
            f"Got a generator of {generator.n_features_in_} features, but the classifiers take "
            f"{n_features}; both must be for the same inputs."
        )
    if classes is None or generator.classes_ is None:
        return
    unknown = [
        label for label in generator.classes_.tolist() if label not in set(classes.tolist())
    ]
    if unknown:
        raise ValueError(
            f"Got a generator of the classes {unknown[:10]}, which the classifiers do not "
            f"know; they know {_shortened(classes)}."
        )


def check_member(name, classifier, classes=None, n_features=None):
    """Raise unless a fitted classifier fits in with the others.

    Parameters
    ----------
    name : str
    classifier : estimator
    classes : ndarray, default=None
        What its ``classes_`` must be; None does not look.
    n_features : int, default=None
        What its ``n_features_in_`` must be, where it has one.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    TypeError
        If it has no ``predict_proba``.
    ValueError
        If its classes or its number of features are others.
    """
    check_is_fitted(
        classifier,
        msg=f"The classifier {name!r} is not fitted, but prefit=True takes the classifiers as "
        "they are; fit it first or pass prefit=False.",
    )
    if not hasattr(classifier, "predict_proba"):
        raise TypeError(
            f"Got the classifier {name!r} ({type(classifier).__name__}) without "
            "predict_proba, but divergences compare probabilities; wrap it in "
            "CalibratedClassifierCV."
        )
    if classes is not None and not np.array_equal(classifier.classes_, classes):
        raise ValueError(
            f"Got the classifier {name!r} with classes_={_shortened(classifier.classes_)}, but "
            f"expected {_shortened(classes)}; all classifiers must know the same classes."
        )
    own = getattr(classifier, "n_features_in_", n_features)
    if n_features is not None and own != n_features:
        raise ValueError(
            f"Got the classifier {name!r} for {own} features, but expected {n_features}; all "
            "classifiers and the generator must be for the same inputs."
        )


def _shortened(classes):
    classes = np.asarray(classes).tolist()
    return f"[{', '.join(map(repr, classes[:10]))}{', ...' if len(classes) > 10 else ''}]"
