"""Write a classifier as an ONNX graph, for programs that have neither Python nor torch."""

import json
from pathlib import Path

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._response import known_of, unwrap
from sklearn_ood._version import __version__
from sklearn_ood.data._labels import labels_or
from sklearn_ood.export._answers import append_answers
from sklearn_ood.export._builder import Flow, GraphBuilder
from sklearn_ood.export._combination import ROUNDING
from sklearn_ood.export._comparison import (
    TOLERANCE,
    as_fitted,
    is_large,
    is_mixed,
    run,
    some_rows,
    taken,
    typical_rows,
    with_edges,
)
from sklearn_ood.export._networks import usual_torch
from sklearn_ood.export._steps import append_steps
from sklearn_ood.export._tables import add_columns, feeds
from sklearn_ood.selective._classifier import SelectiveClassifier

__all__ = ["to_onnx"]

# The first whose default exporter is the one that is used here.
OLDEST_TORCH = parse_version("2.9")
# What is written as another type; text is found by its elements.
WIDE = {"b": np.bool_, "i": np.int64, "u": np.uint64, "f": np.float64}
KINDS = {"b": "bool", "i": "int64", "u": "uint64", "f": "double", "O": "string"}
# What a p-value may differ by: beside calibration rows it jumps.
STEP = 0.05
COMMON_OUTPUTS = "label", "probabilities", "score", "accepted"
ADDED = "part (double[n] left, double[n] right) => (double[n] out) { out = Add(left, right) }"
DECISION = """
part (double[n, K] log_proba, double[n, K] proba, double[n] given)
    => (LABEL[n] label, double[n, K] probabilities, double[n] score, bool[n] accepted)
{
    best = ArgMax<axis = 1, keepdims = 0>(log_proba)
    least = Gather(thresholds, best)
    nothing = Mul(proba, zero)
    invalid = ReduceSum<keepdims = 0>(nothing, axis)
    score = Add(given, invalid)
    accepted = GreaterOrEqual(score, least)
    refusal = Gather(refused, best)
    code = Where(accepted, best, refusal)
    label = Gather(labels, code)
    probabilities = Identity(proba)
}
"""


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
        :class:`COOLClassifier`, :class:`DAEConfidence` or :class:`TableClassifier`; a
        classifier of scikit-learn; a score of features, :class:`NeighborDistance`, or
        :class:`GenerativeClassifier` with a density; a :class:`CombinedClassifier` of these; a
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
        If a part, which is named, has no ONNX form: other estimators (such as
        :class:`TableDensity`), a step that skl2onnx does not know, scores that need gradients
        (``epsilon > 0``, the curvature of DAEConfidence) or a search; or if it has one that
        gives something else.

    See Also
    --------
    save : Keep an estimator for Python.

    Notes
    -----
    Everything is computed in double where onnxruntime and skl2onnx can: convolutions and some
    steps are in float32. Another engine rounds its matrix products otherwise, which may decide
    a row whose score lies that near to the threshold: the graph accepts from 1e-6 below it, and
    a p-value is that of a score 1e-6 higher.

    Trees, histogram boosting and encoders of categories are converted here, other steps and
    classifiers by skl2onnx. What parts have in common, such as a network whose features
    several members read, is in the graph once.

    Every step and the whole graph are run before anything is written, and must give what
    Python gives. Where Python refuses a row (it has NaN or an infinite number, and no step
    fills it in), score and probabilities are NaN, and the row is not accepted; so are numbers
    beyond 1e15 where the graph overflows in float32.

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
    builder, width = GraphBuilder(), first.n_features_in_
    source = "X"
    if is_mixed(X):
        source = add_columns(builder, X)
    else:
        builder.add_input("X", builder.onnx.TensorProto.DOUBLE, ("n", width))
    made = [typical_rows(*each) if X is None else some_rows(X, width) for each in branches]
    said = []
    for (before, each), rows in zip(branches, made, strict=True):
        flow = append_steps(builder, before, Flow(source, rows))
        said.append(append_answers(builder, each, flow))
    _append_decision(builder, said, threshold, classifier.classes_, reject_label)
    model = builder.model(producer_name="sklearn_ood", producer_version=__version__)
    metadata = {
        "classes": json.dumps(classifier.classes_.tolist()),
        "threshold": repr(np.asarray(-np.inf if threshold is None else threshold).tolist()),
        "feature_names": json.dumps(None if names is None else names.tolist()),
    }
    builder.onnx.helper.set_model_props(model, metadata)
    tried = made[0] if is_mixed(X) else np.concatenate(made)
    _check_graph(model, estimator, first, with_edges(tried), threshold)
    if path is not None:
        Path(path).write_bytes(model.SerializeToString())
    return model


def _resolve(estimator, steps=()):
    """Who answers and who decides, each behind its steps, with threshold and reject label."""
    if isinstance(estimator, Pipeline):
        own = [step for step in estimator.steps[:-1] if step[1] not in (None, "passthrough")]
        return _resolve(estimator[-1], [*steps, *own])
    if isinstance(estimator, FrozenEstimator):
        return _resolve(estimator.estimator, steps)
    if hasattr(estimator, "best_estimator_"):
        return _resolve(estimator.best_estimator_, steps)
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


def _append_decision(builder, said, threshold, classes, reject_label):
    """Add label, probabilities, score and what is accepted; of a combination also its numbers.

    Who decides comes last in ``said``. Without a threshold everything is accepted.
    """
    types, n_classes = builder.onnx.TensorProto, len(classes)
    answering, deciding = said[0], said[-1]
    score = deciding.score if threshold is None else deciding.confidence
    labels, every = _labels(classes, reject_label), np.arange(n_classes)
    # Calibration rows lie exactly on it, so that many may where scores are discrete.
    least = np.broadcast_to(-np.inf if threshold is None else threshold, n_classes)
    lowered = np.where(np.isfinite(least), least - ROUNDING * np.abs(least).clip(min=1), least)
    for refusal in builder.refusals:
        (score,) = builder.append_text(ADDED, score, refusal)
    label, proba, score, accepted = builder.append_text(
        DECISION.replace("LABEL", KINDS[labels.dtype.kind]),
        *(answering.log_proba, answering.proba, score),
        labels=labels,
        thresholds=lowered,
        refused=every if reject_label is None else np.full(n_classes, n_classes),
        axis=np.array([1]),
        zero=0.0,
    )
    kind = builder.onnx.helper.np_dtype_to_tensor_dtype(labels.dtype)
    builder.add_output("label", label, kind, ("n",))
    builder.add_output("probabilities", proba, types.DOUBLE, ("n", n_classes))
    builder.add_output("score", score, types.DOUBLE, ("n",))
    builder.add_output("accepted", accepted, types.BOOL, ("n",))
    if answering.p_value is not None:
        builder.add_output("p_value", answering.p_value, types.DOUBLE, ("n",))
        builder.add_output("confidence", answering.confidence, types.DOUBLE, ("n",))


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
    has_p_value = len(model.graph.output) > len(COMMON_OUTPUTS)

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
        codes = np.searchsorted(asked.classes_, asked.classes_[proba_.argmax(axis=1)])
        limit = (
            -np.inf if threshold is None else np.broadcast_to(threshold, proba.shape[1])[codes]
        )
        best = np.partition(proba, -2, axis=1)[:, -2:] if proba.shape[1] > 1 else proba
        sure = ~np.isclose(score_, limit, TOLERANCE, TOLERANCE)
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
