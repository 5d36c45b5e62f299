"""How trustworthy is each answer of a classifier: one rule for the whole package."""

import numpy as np
from sklearn.pipeline import Pipeline


def confidence_of(estimator, X):
    """Confidence of a fitted classifier in its answer to each row.

    The first of these that the estimator has:

    1. ``score_samples(X)``;
    2. the largest column of ``predict_proba(X)``;
    3. the margin of ``decision_function(X)``: its absolute value for two classes, the
       largest minus the second largest column for more.

    Parameters
    ----------
    estimator : object
        A fitted classifier, or a pipeline or search that ends in one.
    X : array-like of shape (n_samples, n_features)
        Rows to answer. Passed on as it is.

    Returns
    -------
    confidence : ndarray of shape (n_samples,), dtype float64
        Higher = more trustworthy. The unit is that of the method it came from.

    Raises
    ------
    TypeError
        If the estimator has none of the three methods.
    ValueError
        If the method returns an array of another shape.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood._response import confidence_of
    >>> classifier = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    >>> confidence_of(classifier, [[0.5], [9.0]]).round(2)
    array([0.5 , 0.98])
    """
    if hasattr(estimator, "score_samples"):
        return _one_column(estimator, "score_samples", estimator.score_samples(X))
    if hasattr(estimator, "predict_proba"):
        return _proba_confidence(estimator, estimator.predict_proba(X))
    if hasattr(estimator, "decision_function"):
        return _margin(estimator, estimator.decision_function(X))
    raise TypeError(
        f"Got estimator={estimator!r}, which has no score_samples, predict_proba or "
        "decision_function, but a confidence comes from one of these; pass a classifier "
        "that has one (for SVC-like classifiers decision_function is enough)."
    )


def answers_of(estimator, X):
    """Class that a fitted classifier names for each row, also where it would reject.

    Parameters
    ----------
    estimator : object
        A fitted classifier, or a pipeline or search that ends in one.
    X : array-like of shape (n_samples, n_features)
        Rows to answer.

    Returns
    -------
    answers : ndarray of shape (n_samples,)
        ``answers(X)`` where the estimator has it (a classifier that may reject), else
        ``predict(X)``.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood._response import answers_of
    >>> answers_of(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), [[0.1], [9.0]])
    array([0, 1])
    """
    last, X_last = last_step(estimator, X)
    if hasattr(last, "answers"):
        return np.asarray(last.answers(X_last))
    return np.asarray(estimator.predict(X))


def last_step(estimator, X):
    """Classifier inside pipelines and searches, and the rows as they reach it.

    Pipelines and searches pass on only the method names that scikit-learn knows; the
    others (``accept``, ``answers``) have to be asked of the classifier itself.

    Parameters
    ----------
    estimator : object
        A fitted estimator.
    X : array-like of shape (n_samples, n_features)
        Rows as the outermost estimator takes them.

    Returns
    -------
    last : object
        The innermost classifier; ``estimator`` itself when nothing wraps it.
    X_last : array-like
        ``X`` after the steps before it.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import MaxAbsScaler
    >>> from sklearn_ood._response import last_step
    >>> pipe = make_pipeline(MaxAbsScaler(), LogisticRegression())
    >>> last_step(pipe.fit([[0.0], [4.0]], [0, 1]), [[2.0]])
    (LogisticRegression(), array([[0.5]]))
    """
    if isinstance(estimator, Pipeline):
        X_last = estimator[:-1].transform(X) if len(estimator) > 1 else X
        return last_step(estimator[-1], X_last)
    if hasattr(estimator, "best_estimator_"):
        return last_step(estimator.best_estimator_, X)
    return estimator, X


def scores_log_p_value(estimator):
    """Whether ``score_samples`` is the logarithm of a calibrated p-value.

    Parameters
    ----------
    estimator : object
        An estimator, fitted or not, or a pipeline or search that ends in one.

    Returns
    -------
    bool
    """
    if isinstance(estimator, Pipeline):
        return scores_log_p_value(estimator[-1])
    if hasattr(estimator, "best_estimator_"):
        return scores_log_p_value(estimator.best_estimator_)
    return getattr(estimator, "_score_is_log_p_value", False)


def _one_column(estimator, method, values):
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(
            f"Got an array of shape {values.shape} from {type(estimator).__name__}.{method}, "
            "but expected one value a row, shape (n_samples,)."
        )
    return values


def _proba_confidence(estimator, proba):
    if isinstance(proba, list) or np.ndim(proba) != 2:
        raise ValueError(
            f"Got predict_proba of {type(estimator).__name__} that is no array of shape "
            "(n_samples, n_classes), but a confidence needs one class label a row; "
            "multi-output classifiers are not supported."
        )
    return np.asarray(proba, dtype=np.float64).max(axis=1)


def _margin(estimator, decision):
    decision = np.asarray(decision, dtype=np.float64)
    if decision.ndim == 1:
        return np.abs(decision)
    if decision.ndim != 2:
        raise ValueError(
            f"Got decision_function of {type(estimator).__name__} with shape "
            f"{decision.shape}, but expected (n_samples,) or (n_samples, n_classes)."
        )
    if decision.shape[1] == 1:
        return decision[:, 0]
    top_two = np.partition(decision, decision.shape[1] - 2, axis=1)[:, -2:]
    return top_two[:, 1] - top_two[:, 0]
