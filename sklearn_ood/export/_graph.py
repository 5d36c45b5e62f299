"""Write a classifier as an ONNX graph, for programs that have neither Python nor torch."""

import json
from pathlib import Path

import numpy as np
import torch
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_ood._response import known_of, steps_and_inner, unwrap
from sklearn_ood.data._labels import labels_or
from sklearn_ood.export._answers import ROUNDING, answers
from sklearn_ood.export._comparison import (
    TOLERANCE,
    as_fitted,
    is_large,
    package,
    run,
    some_rows,
    taken,
    typical_rows,
    with_edges,
)
from sklearn_ood.export._flow import Flow, Parts
from sklearn_ood.export._steps import through
from sklearn_ood.export._writing import OUTPUTS, coded, feeds, usual_torch, written
from sklearn_ood.selective._classifier import SelectiveClassifier

__all__ = ["to_onnx"]

# The first whose default exporter is the one that is used here.
OLDEST_TORCH = parse_version("2.9")
# What is written as another type; text is found by its elements.
WIDE = {"b": np.bool_, "i": np.int64, "u": np.uint64, "f": np.float64}
# What a p-value may differ by: beside calibration rows it jumps.
STEP = 0.05


@usual_torch()
@torch.enable_grad()
def to_onnx(estimator, path=None, *, X=None):
    """Write a fitted classifier as one ONNX graph, from rows to answers.

    The graph takes flat rows in double, ``X`` of shape (n, n_features), or of a table with text
    one input for each column, by its name, of shape (n, 1): numbers in double, text as strings
    in which the empty one is missing. It gives

    - ``label`` (n,), int64, double, bool or string as the classes are: the reject label where
      a :class:`SelectiveClassifier` refuses;
    - ``probabilities`` (n, n_classes), double: columns in the order of ``classes_``;
    - ``score`` (n,), double: ``score_samples``;
    - ``accepted`` (n,), bool: true everywhere without a :class:`SelectiveClassifier`;
    - of a :class:`CombinedClassifier` also ``p_value`` and ``confidence`` (n,), double.

    Parameters
    ----------
    estimator : fitted estimator
        A :class:`SoftmaxClassifier`, :class:`ConfidentClassifier`, :class:`RejectClassifier`,
        :class:`COOLClassifier`, :class:`DAEConfidence`, :class:`TableClassifier` or
        :class:`TableDensity`; a classifier of scikit-learn; a score of features,
        :class:`NeighborDistance`, or :class:`GenerativeClassifier` with a density; a
        :class:`CombinedClassifier` of these, or the default one on tables; a
        :class:`SelectiveClassifier` around one (also with one as its ``detector``), or a
        pipeline or search that ends in one.
    path : str or path-like, default=None
        Where to write; None writes nothing.
    X : array-like or frame of shape (n_samples, n_features), default=None
        Rows, such as those of ``fit``, on which the graph is compared with the estimator;
        None makes some, typical as far as the steps can be inverted. Zeros, other norms, very
        large numbers and NaN are tried in any case. Of a table with text a frame of pandas.

    Returns
    -------
    onnx.ModelProto
        The graph; its metadata has the names of classes and features, and the threshold.

    Raises
    ------
    ImportError
        If the packages of the extra "onnx" are missing, or torch is older than 2.9.
    TypeError
        If a part, which is named, has no ONNX form: other estimators, a step that skl2onnx
        does not know, scores that need gradients (``epsilon > 0``, the curvature of
        DAEConfidence) or a search; or if it has one that gives something else.

    See Also
    --------
    save : Keep an estimator for Python.

    Notes
    -----
    Everything is computed in double where onnxruntime and skl2onnx can: convolutions and some
    steps are in float32. Another engine rounds its matrix products otherwise, which may decide
    a row whose score lies that near to the threshold: the graph accepts from 1e-6 below it, and
    a p-value is that of a score 1e-6 higher.

    The whole estimator is one torch module, exported once; trees are one node each. Encoders,
    imputers and Yeo and Johnson's power are written here, other steps and classifiers of
    scikit-learn by skl2onnx. What parts have in common, such as a network whose features
    several members read, is in the graph once.

    Every step by skl2onnx and the whole graph are run before anything is written, and must
    give what Python gives. Where Python refuses a row (it has NaN or an infinite number, and no
    step fills it in), score and probabilities are NaN, and the row is not accepted; so are
    numbers beyond 1e15 where the graph overflows in float32.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import SoftmaxClassifier, to_onnx
    >>> X, y = load_iris(return_X_y=True)
    >>> model = to_onnx(SoftmaxClassifier().fit(X, y))  # doctest: +SKIP
    >>> [output.name for output in model.graph.output]  # doctest: +SKIP
    ['label', 'probabilities', 'score', 'accepted']
    """
    if parse_version(torch.__version__) < OLDEST_TORCH:
        raise ImportError(
            f"to_onnx needs torch >= {OLDEST_TORCH}, but found {torch.__version__}; update it."
        )
    check_is_fitted(estimator)
    branches, threshold, reject_label = _resolve(estimator)
    steps, classifier = branches[0]
    first = steps[0][1] if steps else classifier
    names = getattr(first, "feature_names_in_", None)
    if X is None:
        rows = np.concatenate([typical_rows(*each) for each in branches])
    else:
        rows = some_rows(X, first.n_features_in_)
    values, texts = coded(rows)
    decision = Decision(branches, threshold, reject_label is not None, texts)
    labels = _labels(classifier.classes_, reject_label)
    model = written(decision, values, getattr(rows, "columns", None), labels)
    metadata = {
        "classes": json.dumps(classifier.classes_.tolist()),
        "threshold": repr(np.asarray(-np.inf if threshold is None else threshold).tolist()),
        "feature_names": json.dumps(None if names is None else names.tolist()),
    }
    package("onnx").helper.set_model_props(model, metadata)
    _check_graph(model, estimator, first, with_edges(rows), threshold)
    if path is not None:
        Path(path).write_bytes(model.SerializeToString())
    return model


class Decision(nn.Module):
    """What is answered, and whether; a branch is steps and who answers or decides."""

    def __init__(self, branches, threshold, may_reject, texts):
        super().__init__()
        self.branches, self.texts, self.parts = branches, texts, Parts()
        n_classes = len(branches[0][1].classes_)
        # Calibration rows lie exactly on it, so that many may where scores are discrete.
        least = np.broadcast_to(-np.inf if threshold is None else threshold, n_classes)
        near = ROUNDING * np.abs(least).clip(min=1)
        least = np.where(np.isfinite(least), least - near, least)
        self.register_buffer("least", torch.tensor(least))
        self.decides, self.may_reject = threshold is not None, may_reject

    def forward(self, values):
        """Code of the label, probabilities, score, what is accepted; p-value and confidence."""
        flow = Flow(values, self.parts, self.texts)
        said = [answers(each, through(steps, flow)) for steps, each in self.branches]
        answering, deciding = said[0], said[-1]
        is_confident = self.decides and deciding.confidence is not None
        score = deciding.confidence if is_confident else deciding.score
        log_proba = answering.log_proba
        proba = log_proba.exp() if answering.proba is None else answering.proba
        # Where Python refuses the row, in any part.
        valid = torch.stack([each.score.isfinite() for each in said]).all(dim=0)
        valid = valid & proba.isfinite().all(dim=1)
        best = log_proba.argmax(dim=1)
        score = torch.where(valid, score, torch.nan)
        accepted = score >= self.least[best]
        code = torch.where(accepted, best, len(self.least)) if self.may_reject else best
        proba = torch.where(valid[:, None], proba, torch.nan)
        numbers = () if answering.p_value is None else (answering.p_value, answering.confidence)
        more = (torch.where(valid, each, torch.nan) for each in numbers)
        return code, proba, score, accepted, *more


def _resolve(estimator, steps=()):
    """Who answers and who decides, each behind its steps, with threshold and reject label."""
    own, estimator = steps_and_inner(estimator)
    steps = [*steps, *(step for step in own if step[1] not in (None, "passthrough"))]
    if not isinstance(estimator, SelectiveClassifier):
        return [(steps, estimator)], None, None
    branches, threshold, _ = _resolve(estimator.estimator_, steps)
    if threshold is not None:
        raise TypeError(
            "Got a SelectiveClassifier around another one, but a graph has one threshold; "
            "export the inner or the outer one alone."
        )
    if np.ndim(estimator.risk) or estimator.guarantee_for == "group":
        raise TypeError(
            "Got a SelectiveClassifier with a threshold for each group or risk, but a graph "
            "has one, or one for each class; export its estimator_, and compare with "
            "threshold_ outside."
        )
    if estimator.detector_ is not estimator.estimator_:
        branches = [branches[0], _resolve(estimator.detector_, steps)[0][-1]]
    return branches, estimator.threshold_, estimator.reject_label_


def _labels(classes, reject_label):
    """The label of each code, with the reject label behind the classes, as ONNX has them."""
    labels = classes
    if reject_label is not None:
        known = np.arange(len(classes) + 1) < len(classes)
        labels = labels_or(reject_label, np.append(classes, classes[:1]), known)
    is_text = all(isinstance(label, str) for label in labels.tolist())
    kind = object if is_text else WIDE.get(labels.dtype.kind)
    if kind is None:
        raise TypeError(
            f"Got classes {labels.tolist()} of type {labels.dtype}, but ONNX has numbers, "
            "booleans and strings; encode the labels before fit."
        )
    return labels.astype(kind)


def _check_graph(model, estimator, first, rows, threshold):
    """Raise unless a graph gives what the estimator gives, and accepts nothing else."""
    asked = unwrap(estimator)[0]
    has_p_value = len(model.graph.output) == len(OUTPUTS)

    def answers(rows):
        inner, rows = unwrap(estimator, as_fitted(first, rows))
        score = known_of(inner, rows)
        accepts = getattr(inner, "accept", None)
        accepted = score > -np.inf if accepts is None else accepts(rows)
        said = inner.predict(rows), inner.predict_proba(rows), score, accepted
        if not has_p_value:
            return said
        combined, rows = unwrap(getattr(inner, "estimator_", inner), rows)
        return *said, combined.p_values(rows), combined.confidence(rows)

    takes, wanted = taken(answers, rows)
    given = run(model, feeds(rows))
    refused = np.isnan(given[2]) & ~given[3]
    overflows = refused & is_large(rows)
    differs, both = np.where(takes, refused & ~overflows, ~refused), takes & ~refused
    if both.any():
        label, proba, score, accepted, *more = (part[both] for part in given)
        label_, proba_, score_, accepted_, *more_ = (part[both[takes]] for part in wanted)
        codes = proba_.argmax(axis=1)
        limit = np.broadcast_to(-np.inf if threshold is None else threshold, proba.shape[1])
        best = np.partition(proba, -2, axis=1)[:, -2:] if proba.shape[1] > 1 else proba
        sure = ~np.isclose(score_, limit[codes], TOLERANCE, TOLERANCE)
        sure &= (best[:, -1] - best[:, 0] > TOLERANCE) | (proba.shape[1] == 1)
        sure &= np.abs(score_) < 1 / ROUNDING**2
        differs[both] = sure & ((label != label_) | (accepted != accepted_))
        differs[both] |= ~np.isclose(proba, proba_, 0, TOLERANCE).all(axis=1)
        near = np.isclose(score, score_, TOLERANCE, TOLERANCE)
        if has_p_value:  # whose logarithm is as steep as calibration rows are close
            near |= np.isclose(np.exp(score), np.exp(score_), TOLERANCE, STEP)
        differs[both] |= ~near
        for values, values_ in zip(more, more_, strict=True):
            differs[both] |= ~np.isclose(values, values_, TOLERANCE, STEP)
    if differs.any() or not both.any():
        raise TypeError(
            f"Got {type(asked).__name__}, whose graph answers {int(differs.sum())} of "
            f"{len(rows)} rows otherwise than Python, such as "
            f"{np.asarray(rows)[differs][:1, :8].tolist()}; it has no ONNX form that can be "
            "relied on."
        )
