"""What fitted estimators answer, as parts of a graph: networks, combinations, foreign ones."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from sklearn_ood._response import SMALLEST_PROBA
from sklearn_ood.classifiers._table import TableClassifier
from sklearn_ood.combined._classifier import CombinedClassifier
from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.export._combination import Combination
from sklearn_ood.export._networks import Answering, convert
from sklearn_ood.export._pool import append_pool
from sklearn_ood.export._scores import scored
from sklearn_ood.export._steps import append_step, append_steps

CLASSIFIER = "classifier"
PROBABILITIES = """
part (double[n, K] proba) => (double[n, K] log_proba, double[n, K] copied, double[n] largest) {
    positive = Max(proba, tiny)
    log_proba = Log(positive)
    copied = Identity(proba)
    largest = ReduceMax<keepdims = 0>(proba, axis)
}
"""
LOGARITHMS = """
part (double[n, K] log_proba) => (double[n, K] proba, double[n] largest) {
    proba = Exp(log_proba)
    largest = ReduceMax<keepdims = 0>(log_proba, axis)
}
"""
AT_CLASS = """
part (double[n, K] evidence, double[n, L] log_proba) => (double[n] score) {
    likeliest = ArgMax<axis = 1, keepdims = 1>(log_proba)
    code = Gather(codes, likeliest)
    column = GatherElements<axis = 1>(evidence, code)
    score = Squeeze(column, axis)
}
"""
CERTAIN = """
part (double[n, d] rows) => (double[n, K] log_proba) {
    first = Gather<axis = 1>(rows, place)
    log_proba = Mul(first, zero)
}
"""
AXIS = np.array([1])


@dataclass(frozen=True)
class Answers:
    """Names of tensors.

    Attributes
    ----------
    log_proba, proba : str
        Of shape (n, n_classes).
    score, confidence : str
        Of shape (n,).
    evidence : str or None
        Of shape (n, n_classes), where a combination reads the score at a class.
    p_value : str or None
        Of shape (n,); only a combination has it.
    """

    log_proba: str
    proba: str
    score: str
    confidence: str
    evidence: str | None = None
    p_value: str | None = None


def append_answers(builder, estimator, flow):
    """Add what an estimator answers to rows.

    Parameters
    ----------
    builder : GraphBuilder
    estimator : fitted classifier or detector, pipeline or search
    flow : Flow

    Returns
    -------
    Answers
    """
    if isinstance(estimator, Pipeline):
        flow = append_steps(builder, estimator.steps[:-1], flow)
        return append_answers(builder, estimator[-1], flow)
    if isinstance(estimator, FrozenEstimator):
        return append_answers(builder, estimator.estimator, flow)
    if hasattr(estimator, "best_estimator_"):
        return append_answers(builder, estimator.best_estimator_, flow)
    if isinstance(estimator, CombinedClassifier):
        return _of_combination(builder, estimator, flow)
    if isinstance(estimator, TableClassifier):
        return _of_log_proba(builder, append_pool(builder, estimator, flow))
    if is_foreign(estimator):
        return _of_probabilities(builder, estimator, flow)
    return _of_scored(builder, estimator, flow)


def is_foreign(estimator):
    """Whether it is a classifier of which nothing but probabilities is known."""
    is_ours = hasattr(estimator, "score_samples")
    return is_classifier(estimator) and hasattr(estimator, "predict_proba") and not is_ours


def _of_scored(builder, estimator, flow):
    network, name = scored(estimator), type(estimator).__name__
    module = Answering(network)
    inner = getattr(network.network, "network", network.network)
    kind = name if module.is_plain else f"{name} whose network ({type(inner).__name__})"
    model = convert(module, estimator.n_features_in_, name=kind)
    log_proba, score, evidence = builder.append(model, flow.tensor)
    proba, _ = builder.append_text(LOGARITHMS, log_proba, axis=AXIS)
    at_class = hasattr(estimator, "class_score_samples") and network.head.scores_best_class
    return Answers(log_proba, proba, score, score, evidence if at_class else None)


def _of_probabilities(builder, estimator, flow):
    made = append_step(builder, type(estimator).__name__, estimator, flow, "predict_proba")
    log_proba, proba, largest = builder.append_text(
        PROBABILITIES, made.tensor, axis=AXIS, tiny=SMALLEST_PROBA
    )
    return Answers(log_proba, proba, largest, largest, log_proba)


def _of_log_proba(builder, log_proba):
    """Of a classifier whose evidence is its log-probability."""
    proba, largest = builder.append_text(LOGARITHMS, log_proba, axis=AXIS)
    return Answers(log_proba, proba, largest, largest, log_proba)


def _of_combination(builder, combined, flow):
    classifier = combined.classifier_
    if classifier is None:
        certain = {"place": np.array([0]), "zero": 0.0}
        (log_proba,) = builder.append_text(CERTAIN, flow.tensor, **certain)
        asked = None
    else:
        asked = append_answers(builder, classifier, flow)
        log_proba = asked.log_proba
    proba, largest = builder.append_text(LOGARITHMS, log_proba, axis=AXIS)
    read = partial(_of_member, builder, combined, flow, log_proba)
    scores = []
    for name, member in combined.members_.items():
        if member != CLASSIFIER:
            scores.append(read(name, member))
        else:
            scores.append(asked.score if asked.evidence != asked.log_proba else largest)
    widths, name = (len(combined.classes_), len(scores)), type(combined).__name__
    model = convert(Combination(combined), *widths, name=name)
    said = builder.append(model, log_proba, builder.append_columns(scores))
    p_value, score, confidence = said
    return Answers(log_proba, proba, score, confidence, None, p_value)


def _of_member(builder, combined, flow, log_proba, name, member):
    """Score of each row by a member, read at the likeliest class where members ask for it."""
    try:
        said = append_answers(builder, member, flow)
    except TypeError as error:
        raise TypeError(f"In the member {name!r}: {error}") from error
    is_asked = combined.is_asked_ and combined.classifier_ is not None
    if not is_asked or said.evidence is None:
        return said.score
    codes = codes_in(np.asarray(member.classes_), combined.classes_)
    if (codes == OUTLIER).any():
        raise TypeError(
            f"Got the member {name!r}, which was not taught all classes; fit it on all of them."
        )
    (score,) = builder.append_text(AT_CLASS, said.evidence, log_proba, codes=codes, axis=AXIS)
    return score
