"""What any fitted estimator answers: its class, its probabilities, its confidence."""

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, NuSVC
from sklearn.utils.validation import _num_samples

SMALLEST_PROBA = np.finfo(np.float64).tiny
# The answer of these need not be the class of the largest probability.
_NOT_THE_LARGEST = (FixedThresholdClassifier, TunedThresholdClassifierCV, SVC, NuSVC)


def unwrap(estimator, X=None):
    """What is inside pipelines, searches and frozen estimators, and the rows as it gets them.

    These pass on only the method names that scikit-learn knows; the others (``accept``,
    ``answers``) have to be asked of the innermost estimator itself.
    """
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps[:-1] if X is not None else ():
            X = step.transform(X) if hasattr(step, "transform") else X
        return unwrap(estimator[-1], X)
    if isinstance(estimator, FrozenEstimator):
        return unwrap(estimator.estimator, X)
    if hasattr(estimator, "best_estimator_"):
        return unwrap(estimator.best_estimator_, X)
    return estimator, X


def is_frozen(estimator):
    """Whether ``fit`` leaves an estimator as it is: it, or each step of it, is frozen."""
    if isinstance(estimator, Pipeline):
        steps = (step for _, step in estimator.steps if step not in (None, "passthrough"))
        return all(map(is_frozen, steps))
    return isinstance(estimator, FrozenEstimator)


def knows_outliers(estimator, ood_label):
    """Whether an estimator, or a step of it, has an ``ood_label`` that is set."""
    parameters = estimator.get_params(deep=True).items()
    labels = (value for name, value in parameters if name.split("__")[-1] == "ood_label")
    own = [label for label in labels if ood_label is not None and label is not None]
    if any(label != ood_label for label in own):
        raise ValueError(
            f"Got ood_label={ood_label!r}, but the estimator inside has ood_label={own[0]!r}; "
            "pass the same label to both."
        )
    return bool(own)


def classes_of(estimator):
    """Labels that a fitted estimator was taught; a TypeError where it has none."""
    for each in (estimator, unwrap(estimator)[0]):
        if hasattr(each, "classes_"):
            return np.asarray(each.classes_)
    raise TypeError(
        f"Got estimator={estimator!r} without classes_, but the labels it was taught are "
        "needed to tell which rows are outside them; pass a fitted classifier."
    )


def answers_and_confidence(estimator, X, *, by_largest=False):
    """What a fitted classifier answers to each row, and its confidence in that answer.

    Steps before the classifier run once, and the classifier is asked once where it has
    ``answers_and_confidence`` itself, or the answer follows from its probabilities.

    Parameters
    ----------
    estimator : object
        A fitted classifier, or a pipeline or search that ends in one.
    X : array-like of shape (n_samples, n_features)
        Passed on as it is.
    by_largest : bool, default=False
        Whether the answer is known to be the class of the largest probability (or decision
        function); :func:`answers_by_largest` finds out.

    Returns
    -------
    answers : ndarray of shape (n_samples,)
        ``answers(X)`` of a classifier that may reject, else ``predict(X)``.
    confidence : ndarray of shape (n_samples,), float64
        The first of these that the estimator has: ``confidence(X)``; ``score_samples(X)``;
        ``predict_proba(X)`` of the answer; ``decision_function(X)`` of the answer, less the
        largest of the other classes (for two classes its absolute value).

    Raises
    ------
    TypeError
        If the estimator has none of these methods.
    ValueError
        If a method returns an array of another shape.
    """
    inner, X = unwrap(estimator, X)
    if hasattr(inner, "answers_and_confidence"):
        return inner.answers_and_confidence(X)
    if _own_confidence(inner):
        return answers_of(inner, X), confidence_of(inner, X)
    evidence = _evidence(inner, X)
    codes, classes = evidence.argmax(axis=1), np.asarray(inner.classes_)
    answers = classes[codes]
    if not by_largest:
        likeliest, answers = answers, answers_of(inner, X)
        others = np.flatnonzero(likeliest != answers)
        named = classes == answers[others, None]  # no column for a label that is no class
        codes[others] = np.where(named.any(axis=1), named.argmax(axis=1), codes[others])
    return answers, _confidence_in(inner, evidence, codes)


def answers_by_largest(estimator, X):
    """Where the answer is the class of the largest probability (or decision function).

    Nowhere for classifiers that choose otherwise: those with a threshold of their own, and
    support vector machines, whose probabilities come from a model beside them.
    """
    inner, X = unwrap(estimator, X)
    responds = hasattr(inner, "predict_proba") or hasattr(inner, "decision_function")
    if isinstance(inner, _NOT_THE_LARGEST) or _own_confidence(inner) or not responds:
        return np.zeros(_num_samples(X), dtype=bool)
    likeliest = np.asarray(inner.classes_)[_evidence(inner, X).argmax(axis=1)]
    return np.asarray(likeliest == answers_of(inner, X), dtype=bool)


def confidence_of(estimator, X, *, of_answer=False):
    """Confidence of a fitted estimator in each row, as in :func:`answers_and_confidence`.

    Unless it is asked what it answers (``of_answer``), the class of the largest probability
    (or decision function) is taken for the answer.
    """
    inner, X = unwrap(estimator, X)
    method = _own_confidence(inner)
    if method:
        return _one_column(inner, method, X).astype(np.float64)
    if of_answer:
        return answers_and_confidence(inner, X)[1]
    evidence = _evidence(inner, X)
    return _confidence_in(inner, evidence, evidence.argmax(axis=1))


def known_of(estimator, X):
    """How in-distribution rows are to a fitted estimator: its score, else its confidence."""
    inner, X = unwrap(estimator, X)
    if callable(getattr(inner, "score_samples", None)):
        return _one_column(inner, "score_samples", X).astype(np.float64)
    return confidence_of(inner, X)


def answers_of(estimator, X):
    """Class that a fitted classifier names for each row, also where it would reject."""
    inner, X = unwrap(estimator, X)
    return _one_column(inner, "answers" if hasattr(inner, "answers") else "predict", X)


def log_proba(classifier, X):
    """Logarithms of a fitted classifier's probabilities, all finite, in float64.

    Its own ``predict_log_proba`` is taken where that is exact: for classifiers that also have
    a ``confidence``. A probability of zero is read as the smallest normal float.
    """
    inner, _ = unwrap(classifier)
    if hasattr(inner, "predict_log_proba") and callable(getattr(inner, "confidence", None)):
        return classifier.predict_log_proba(X)
    if not hasattr(classifier, "predict_proba"):
        raise TypeError(
            f"Got {classifier!r}, which has no predict_proba, but its probabilities are "
            "needed; calibrate it (CalibratedClassifierCV), or take another classifier."
        )
    return np.log(np.maximum(_proba(classifier, X), SMALLEST_PROBA))


def log_softmax(evidence):
    """Log-probabilities that keep their precision where the probability is nearly one.

    For the largest column it is ``-log1p(sum of the others' odds)``, which is exact down to
    1e-308, where ``log(1 - tiny)`` would be 0.
    """
    evidence = np.asarray(evidence, dtype=np.float64)
    top = evidence.argmax(axis=1)[:, None]
    shifted = evidence - np.take_along_axis(evidence, top, axis=1)
    odds = np.exp(shifted)
    np.put_along_axis(odds, top, 0.0, axis=1)
    return shifted - np.log1p(odds.sum(axis=1, keepdims=True))


def clone_completed(estimator, *, random_state=None, input_shape=None):
    """An unfitted clone in which what was left open is filled in.

    Parameters
    ----------
    estimator : estimator
    random_state : int, RandomState or None, default=None
        For every ``random_state`` that is None, also inside of pipelines: the same int, or
        a seed of its own drawn from the RandomState.
    input_shape : tuple of int, default=None
        For every ``input_shape`` that is None, where it is an image's (C, H, W).
    """
    filled = {}
    for name, value in sorted(estimator.get_params(deep=True).items()):
        parameter = name.rpartition("__")[2]
        if parameter == "random_state" and value is None and random_state is not None:
            draws = isinstance(random_state, np.random.RandomState)
            filled[name] = random_state.randint(2**31 - 1) if draws else random_state
        if parameter == "input_shape" and value is None and len(input_shape or ()) == 3:
            filled[name] = input_shape
    completed = clone(estimator)
    return completed.set_params(**filled) if filled else completed  # what is frozen has none


def _own_confidence(estimator):
    """Name of the method that says how confident it is, or None."""
    methods = ("confidence", "score_samples")
    return next((each for each in methods if callable(getattr(estimator, each, None))), None)


def _evidence(estimator, X):
    """``predict_proba``, else ``decision_function``: one column for each class."""
    if hasattr(estimator, "predict_proba"):
        return _proba(estimator, X)
    if not hasattr(estimator, "decision_function"):
        raise TypeError(
            f"Got estimator={estimator!r}, which has no score_samples, predict_proba or "
            "decision_function, but a confidence comes from one of these; pass a classifier "
            "that has one (for SVC-like classifiers decision_function is enough)."
        )
    decision = np.asarray(estimator.decision_function(X), dtype=np.float64)
    if decision.ndim == 1:
        return np.column_stack([np.zeros(len(decision)), decision])
    if decision.ndim != 2:
        raise ValueError(
            f"Got decision_function of {type(estimator).__name__} with shape "
            f"{decision.shape}, but expected (n_samples,) or (n_samples, n_classes)."
        )
    return decision


def _proba(estimator, X):
    proba = estimator.predict_proba(X)
    if isinstance(proba, list) or np.ndim(proba) != 2:
        raise ValueError(
            f"Got predict_proba of {type(estimator).__name__} that is no array of shape "
            "(n_samples, n_classes), but a confidence needs one class label a row; "
            "multi-output classifiers are not supported."
        )
    return np.asarray(proba, dtype=np.float64)


def _confidence_in(estimator, evidence, codes):
    """The probability of a class, or by how much the decision function prefers it."""
    rows = np.arange(len(codes))
    chosen = evidence[rows, codes]
    if hasattr(estimator, "predict_proba") or evidence.shape[1] == 1:
        return chosen
    others = evidence.copy()
    others[rows, codes] = -np.inf
    return chosen - others.max(axis=1)


def _one_column(estimator, method, X):
    """One value a row; a column of answers, as some libraries give it, is one too."""
    values = np.asarray(getattr(estimator, method)(X))
    if values.shape[1:] == (1,) and method in ("answers", "predict"):
        return values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"Got an array of shape {values.shape} from {type(estimator).__name__}.{method}, "
            "but expected one value a row, shape (n_samples,)."
        )
    return values
