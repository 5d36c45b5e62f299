"""What any fitted estimator answers: its class, its probabilities, its confidence."""

import re
from inspect import signature

import numpy as np
from sklearn import config_context
from sklearn.base import ClusterMixin, OutlierMixin, RegressorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC, NuSVC
from sklearn.utils.validation import _num_samples

from sklearn_ood._parameters import check_label

SMALLEST_PROBA = np.finfo(np.float64).tiny
# What infinite scores are read as, so that differences of two are numbers.
LARGEST = 1e300
METHODS = "confidence", "score_samples"
# The answer of these need not be the class of the largest probability.
_NOT_THE_LARGEST = (FixedThresholdClassifier, TunedThresholdClassifierCV, SVC, NuSVC)


def steps_and_inner(estimator):
    """Steps, by name, before what is inside pipelines, searches and frozen ones; and that."""
    if isinstance(estimator, Pipeline):
        steps, inner = steps_and_inner(estimator[-1])
        # No others: what has no transform, such as a sampler, changes rows in fit alone.
        own = [pair for pair in estimator.steps[:-1] if hasattr(pair[1], "transform")]
        return [*own, *steps], inner
    if isinstance(estimator, FrozenEstimator):
        return steps_and_inner(estimator.estimator)
    if hasattr(estimator, "best_estimator_"):
        return steps_and_inner(estimator.best_estimator_)
    if isinstance(estimator, BaseSearchCV) and estimator.refit:  # and not fitted
        return steps_and_inner(estimator.estimator)
    return [], estimator


def unwrap(estimator, X=None):
    """What is inside pipelines, searches and frozen ones, and the rows as it gets them."""
    steps, inner = steps_and_inner(estimator)
    if X is None or not steps:
        return inner, X
    rows = X
    for name, step in steps:
        rows = step.transform(rows)
        if _num_samples(rows) != (n_rows := _num_samples(X)):
            raise ValueError(
                f"Got the step {name!r} ({type(step).__name__}), which makes inconsistent "
                f"numbers of samples: [{n_rows}, {_num_samples(rows)}], but each row gets an "
                "answer; leave rows out before fit, and none of new ones."
            )
    return inner, rows


def is_frozen(estimator):
    """Whether ``fit`` leaves an estimator as it is: it, or each step of it, is frozen."""
    if isinstance(estimator, Pipeline):
        steps = (step for _, step in estimator.steps if step not in (None, "passthrough"))
        return all(map(is_frozen, steps))
    return isinstance(estimator, FrozenEstimator)


def ood_label_in(estimator):
    """The ``ood_label`` that is set in an estimator or in parts of it, None where none is."""
    if not hasattr(estimator, "get_params"):
        raise TypeError(
            f"Got {estimator!r} without get_params, but expected an estimator as scikit-learn "
            "has them, which can be cloned; derive it from sklearn.base.BaseEstimator."
        )
    parameters = estimator.get_params(deep=True).items()
    labels = [label for name, label in parameters if name.split("__")[-1] == "ood_label"]
    for label in labels:
        check_label(label, "ood_label")
    own = [label for label in labels if label is not None]
    if any(label != own[0] for label in own):
        raise ValueError(
            f"Got different labels of outliers, ood_label={own}, in {type(estimator).__name__} "
            "and what is inside; pass the same label to all that have one."
        )
    return own[0] if own else None


def check_classifier(estimator):
    """Raise for what says that it is something else, fitted or not."""
    if isinstance(unwrap(estimator)[0], (RegressorMixin, OutlierMixin, ClusterMixin)):
        raise TypeError(
            f"Got estimator={estimator!r}, but expected a classifier; a detector of outliers "
            "goes into the parameter detector, or into NoveltyDetector."
        )


def check_told_no_classes(estimator):
    """Raise for a fitted detector of PyOD that took classes for known outliers."""
    inner = unwrap(estimator)[0]
    labels = signature(inner.fit).parameters.get("y") if hasattr(inner, "fit") else None
    learns = labels is not None and labels.default is labels.empty
    if learns and hasattr(inner, "decision_scores_") and not is_frozen(estimator):
        raise TypeError(
            f"Got {type(inner).__name__}, which learns from y which rows are outliers, but "
            "here y has classes, of which it would take one for these; fit it with labels of "
            "its own, and pass it in a sklearn.frozen.FrozenEstimator."
        )


def classes_of(estimator, ood_label=None):
    """Labels that a fitted estimator was taught, of which the outliers' must be none."""
    for each in (estimator, unwrap(estimator)[0]):
        given = getattr(each, "classes_", None)
        if given is None:
            continue
        if any(map(np.ndim, given)) or len(set(given)) < len(given):
            raise ValueError(
                f"Got {type(each).__name__} with classes_={given!r}, but expected each label "
                "once, those of one output."
            )
        classes = np.asarray(given)
        if ood_label is not None and ood_label in classes.tolist():
            raise ValueError(
                f"Got ood_label={ood_label!r}, which {type(each).__name__} learned as one of "
                "its classes; ensembles and calibrators do not pass it on to what they hold: "
                "set it outside of them alone, so that outliers train nothing."
            )
        return classes
    raise TypeError(
        f"Got estimator={estimator!r} without classes_, but the labels it was taught are "
        "needed to tell which rows are outside them; pass a fitted classifier."
    )


def answers_and_confidence(estimator, X, *, by_largest=False):
    """What a fitted classifier answers to each row, and its confidence in that answer."""
    inner, X = unwrap(estimator, X)
    # The answers are answers(X) of a classifier that may reject, else predict(X). The
    # confidence is the first of these that it has: confidence(X); score_samples(X);
    # predict_proba(X) of the answer; decision_function(X) of the answer, less the largest of
    # the other classes (for two classes its absolute value). Steps run once, and the classifier
    # is asked once where it says both, or the answer follows from its probabilities, as
    # answers_by_largest found.
    if hasattr(inner, "answers_and_confidence"):
        return inner.answers_and_confidence(X)
    if _scored_by(inner):
        return answers_of(inner, X), confidence_of(inner, X)
    evidence = evidence_of(inner, X)
    codes, classes = evidence.argmax(axis=1), np.asarray(inner.classes_)
    answers = classes[codes]
    if not by_largest:
        likeliest, answers = answers, answers_of(inner, X)
        others = np.flatnonzero(likeliest != answers)
        codes[others] = (classes == answers[others, None]).argmax(axis=1)
    return answers, _confidence_in(inner, evidence, codes)


def answers_by_largest(estimator, X):
    """Where the answer is the class of the largest probability (or decision function)."""
    inner, X = unwrap(estimator, X)
    # Nowhere for those with a threshold of their own, and support vector machines, whose
    # probabilities come from a model beside them.
    responds = hasattr(inner, "predict_proba") or hasattr(inner, "decision_function")
    if isinstance(inner, _NOT_THE_LARGEST) or _scored_by(inner) or not responds:
        return np.zeros(_num_samples(X), dtype=bool)
    likeliest = np.asarray(inner.classes_)[evidence_of(inner, X).argmax(axis=1)]
    return np.asarray(likeliest == answers_of(inner, X), dtype=bool)


def confidence_of(estimator, X, *, of_answer=False, methods=METHODS):
    """Confidence of a fitted estimator in each row, as in :func:`answers_and_confidence`."""
    # methods are asked before anything else; then a PyOD detector, known by decision_scores_,
    # for minus its decision_function, and scikit-learn's outlier detectors for theirs: higher
    # is always more normal. NaN is an error; infinities are the largest numbers, in order.
    inner, X = unwrap(estimator, X)
    scored_by = _scored_by(inner, methods)
    if scored_by:
        method, sign = scored_by
        return sign * _numbers(inner, method, _one_a_row(inner, method, X))
    if of_answer:
        return answers_and_confidence(inner, X)[1]
    evidence = evidence_of(inner, X)
    return _confidence_in(inner, evidence, evidence.argmax(axis=1))


def known_of(estimator, X):
    """How in-distribution rows are to a fitted estimator: its score, else its confidence."""
    return confidence_of(estimator, X, methods=METHODS[::-1])


def answers_of(estimator, X):
    """Class that a fitted classifier names for each row, also where it would reject."""
    inner, X = unwrap(estimator, X)
    method = "answers" if hasattr(inner, "answers") else "predict"
    answers = _one_a_row(inner, method, X)
    classes = np.asarray(getattr(inner, "classes_", answers)).tolist()
    others = list(set(answers.tolist()) - set(classes))
    if others:
        raise ValueError(
            f"Got the answers {others[:5]} from {type(inner).__name__}.{method}, but expected "
            f"labels from its classes_={classes[:20]}; what may refuse has a method answers(X)."
        )
    return answers


def answers_and_accepted(estimator, X, groups=None):
    """Named classes, and the mask of the rows that are answered: all, unless it may refuse."""
    inner, X = unwrap(estimator, X)
    if hasattr(inner, "answers_and_accepted"):
        return inner.answers_and_accepted(X, **({} if groups is None else {"groups": groups}))
    answers = answers_of(inner, X)
    accepts = getattr(inner, "accept", None)
    return answers, np.ones(len(answers), dtype=bool) if accepts is None else accepts(X)


def evidence_of(estimator, X):
    """``predict_proba``, else ``decision_function``: one column for each class."""
    has_proba = hasattr(estimator, "predict_proba")
    method = "predict_proba" if has_proba else "decision_function"
    if not (hasattr(estimator, method) and hasattr(estimator, "classes_")):
        why, wanted = "", "predict_proba" if hasattr(estimator, "classes_") else "score_samples"
        try:
            getattr(estimator, wanted)
        except AttributeError as error:  # which may know the parameter that hides it
            why = f" {error.__cause__ or ''}".rstrip()
        raise TypeError(
            f"Got estimator={estimator!r} with no score_samples, but a confidence comes from "
            "it; of a classifier with classes_ also from predict_proba or decision_function, "
            "and of an outlier detector (sklearn.base.OutlierMixin) from decision_function."
            f"{why}"
        )
    values = _in_order(getattr(estimator, method)(X), estimator.classes_)
    has_several_outputs = isinstance(values, list) and len(values) and np.ndim(values[0]) > 1
    evidence = values = _numbers(estimator, method, [] if has_several_outputs else values)
    n_rows, n_classes = expected = _num_samples(X), len(estimator.classes_)
    valid = not has_proba or ((values > -1e-6) & (values < 1 + 1e-6)).all()
    if not has_proba and n_classes == 2 and values.shape in ((n_rows,), (n_rows, 1)):
        evidence = np.column_stack([np.zeros(n_rows), values.ravel()])
    elif not has_proba and n_classes > 2:
        valid = getattr(estimator, "decision_function_shape", "ovr") == "ovr"
    if not valid or evidence.shape != expected:
        span = f", from {values.min():.3g} to {values.max():.3g}" if values.size else ""
        kind = "probabilities" if has_proba else "numbers"
        raise ValueError(
            f"Got {method} of {type(estimator).__name__} of shape {values.shape}{span}, but "
            f"expected {kind} of shape {expected}, a column for each class: no list for "
            "several outputs, and of SVC decision_function_shape='ovr'."
        )
    return evidence


def log_proba(classifier, X):
    """Logarithms of a fitted classifier's probabilities, all finite, in float64."""
    inner, X = unwrap(classifier, X)
    # Its own is exact where it also has a confidence.
    if hasattr(inner, "predict_log_proba") and callable(getattr(inner, "confidence", None)):
        return inner.predict_log_proba(X)
    if not hasattr(inner, "predict_proba"):
        raise TypeError(
            f"Got {classifier!r}, which has no predict_proba, but its probabilities are "
            "needed; calibrate it (CalibratedClassifierCV), or take another classifier."
        )
    return np.log(np.maximum(evidence_of(inner, X), SMALLEST_PROBA))


@np.errstate(under="ignore")
def log_softmax(evidence):
    """Log-probabilities that keep their precision where the probability is nearly one."""
    evidence = np.asarray(evidence, dtype=np.float64)
    top = evidence.argmax(axis=1)[:, None]
    shifted = evidence - np.take_along_axis(evidence, top, axis=1)
    odds = np.exp(shifted)
    np.put_along_axis(odds, top, 0.0, axis=1)
    # The largest column is -log1p(sum of the others' odds), exact down to 1e-308.
    return shifted - np.log1p(odds.sum(axis=1, keepdims=True))


def fitted_foreign(estimator, *data, **fit_params):
    """Fitted to rows, and labels, as they are; where it wants float32, behind a step for it."""
    try:
        return estimator.fit(*data, **fit_params)
    except (TypeError, ValueError, RuntimeError) as error:  # as of skorch's, in words alone
        if not re.search("(?i)double|float64", str(error)):
            raise
        single = make_pipeline(FunctionTransformer(np.float32), clone(estimator))
        last = single.steps[-1][0]
        try:
            return single.fit(*data, **{f"{last}__{key}": v for key, v in fit_params.items()})
        except (TypeError, ValueError, RuntimeError):
            raise error from None


def fit_weights(estimator, weight):
    """What hands weights to ``fit`` of an estimator or of a pipeline's last step, if it can."""
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        return {f"{name}__{key}": value for key, value in fit_weights(last, weight).items()}
    asks = getattr(estimator, "set_fit_request", None)  # also for what fit takes as **params
    takes = [signature(each).parameters for each in (estimator.fit, asks) if each]
    named = weight is not None and any("sample_weight" in each for each in takes)
    return {"sample_weight": weight} if named else {}


def fitted_by_weight(estimator, X, y, weight):
    with config_context(enable_metadata_routing=False):
        return fitted_foreign(estimator, X, y, **fit_weights(estimator, weight))


def _in_order(values, classes):
    """Columns that are called as the classes, in their order."""
    names, wanted = (list(map(str, each)) for each in (getattr(values, "columns", ()), classes))
    made_up = list(map(str, range(len(names))))
    if names in (wanted, made_up) or sorted(names) != sorted(wanted):
        return values
    return np.asarray(values)[:, [names.index(each) for each in wanted]]


def _scored_by(estimator, methods=METHODS):
    """The method that scores rows whatever their class, and its sign; None where none does."""
    for method in methods:
        if callable(getattr(estimator, method, None)):
            return method, 1
    if hasattr(estimator, "decision_scores_"):
        return "decision_function", -1
    decides = isinstance(estimator, OutlierMixin) and hasattr(estimator, "decision_function")
    return ("decision_function", 1) if decides else None


def _confidence_in(estimator, evidence, codes):
    """The probability of a class, or by how much the decision function prefers it."""
    rows = np.arange(len(codes))
    chosen = evidence[rows, codes]
    if hasattr(estimator, "predict_proba") or evidence.shape[1] == 1:
        return chosen
    others = evidence.copy()
    others[rows, codes] = -np.inf
    return chosen - others.max(axis=1)


def _one_a_row(estimator, method, X):
    """One value a row; a column, as some libraries give it, is one too."""
    values, n_rows = as_numpy(getattr(estimator, method)(X)), _num_samples(X)
    if values.shape not in ((n_rows,), (n_rows, 1)):
        raise ValueError(
            f"Got an array of shape {values.shape} from {type(estimator).__name__}.{method}, "
            f"but expected one value a row, shape ({n_rows},)."
        )
    return values.reshape(n_rows)


def as_numpy(values):
    """As an array; a tensor leaves its graph and device."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
    return np.asarray(values)


def _numbers(estimator, method, values):
    """In float64, infinite ones as large as can be; an error where some are no numbers."""
    is_masked, values = np.ma.is_masked(values), as_numpy(values)
    if is_masked or values.dtype.kind not in "biuf" or np.isnan(values).any():
        raise ValueError(
            f"Got NaN, masked entries or no numbers from {type(estimator).__name__}.{method} "
            f"(an array of {values.dtype}), but a confidence needs real numbers."
        )
    return np.clip(values.astype(np.float64), -LARGEST, LARGEST)
