"""Write a classifier as an ONNX graph, for programs that have neither Python nor torch."""

import copy
import json
import math
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_ood._response import unwrap
from sklearn_ood._version import __version__
from sklearn_ood.data._labels import labels_or
from sklearn_ood.export._comparison import (
    LARGE,
    TOLERANCE,
    as_fitted,
    package,
    run,
    some_rows,
    taken,
    typical_rows,
    with_edges,
)
from sklearn_ood.export._steps import OPSETS, append_part, append_steps
from sklearn_ood.selective._classifier import SelectiveClassifier

__all__ = ["to_onnx"]

# The first whose default exporter is the one that is used here.
OLDEST_TORCH = parse_version("2.9")
# What is written as another type; text is found by its elements.
WIDE = {"b": np.bool_, "i": np.int64, "u": np.uint64, "f": np.float64}
# onnxruntime has them in float32 only.
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)
# How far below the threshold a score may be rounded, of scores up to 1 or as a share.
ROUNDING = 1e-6
LARGEST = torch.finfo(torch.float32).max


@contextmanager
def _usual_torch():
    """torch's global state as it is by default, and afterwards as it was found."""
    dtype, on_cpu = torch.get_default_dtype(), torch.get_default_device().type == "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        # A device as a context slows everything down.
        with torch.inference_mode(False), nullcontext() if on_cpu else torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


@_usual_torch()
@torch.enable_grad()
def to_onnx(estimator, path=None, *, X=None):
    """Write a fitted classifier as one ONNX graph, from rows to answers.

    The graph takes flat rows in double, ``X`` of shape (n, n_features), and gives

    - ``label`` (n,), int64, double, bool or string as the classes are: the reject label where
      a :class:`SelectiveClassifier` refuses;
    - ``probabilities`` (n, n_classes), double: columns in the order of ``classes_``;
    - ``score`` (n,), double: ``score_samples``;
    - ``accepted`` (n,), bool: true everywhere without a :class:`SelectiveClassifier`.

    Parameters
    ----------
    estimator : fitted estimator
        A :class:`SoftmaxClassifier`, :class:`ConfidentClassifier`, :class:`RejectClassifier`,
        :class:`COOLClassifier` or :class:`DAEConfidence`, a :class:`SelectiveClassifier` around
        one (also with one as its ``detector``), or a pipeline or search that ends in one of
        these. The pipeline's other steps are converted by skl2onnx.
    path : str or path-like, default=None
        Where to write; None writes nothing.
    X : array-like of shape (n_samples, n_features), default=None
        Rows, such as those of ``fit``, on which the graph is compared with the estimator;
        None makes some, typical as far as the steps can be inverted. Zeros, other norms, very
        large numbers and NaN are tried in any case.

    Returns
    -------
    onnx.ModelProto
        The graph; its metadata has the names of classes and features, and the threshold.

    Raises
    ------
    ImportError
        If the packages of the extra "onnx" are missing, or torch is older than 2.9.
    TypeError
        If a part has no ONNX form: other estimators, a step that skl2onnx does not know, scores
        that need gradients (``epsilon > 0``, the curvature of DAEConfidence); or if it has one
        that gives something else.

    See Also
    --------
    save : Keep an estimator for Python.

    Notes
    -----
    Everything is computed in double where onnxruntime and skl2onnx can: convolutions and some
    steps are in float32. Another engine rounds its matrix products otherwise, which may decide
    a row whose score lies that near to the threshold: the graph accepts from 1e-6 below it.

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
    onnx = package("onnx")
    check_is_fitted(estimator)
    branches, threshold, reject_label = _resolve(estimator)
    steps, classifier = branches[0]
    first = steps[0][1] if steps else classifier
    names = getattr(first, "feature_names_in_", None)
    graph = onnx.GraphProto(name="sklearn_ood")
    wanted = ("X", onnx.TensorProto.DOUBLE, ("n", first.n_features_in_))
    graph.input.append(onnx.helper.make_tensor_value_info(*wanted))
    width = first.n_features_in_
    made = [typical_rows(*b) if X is None else some_rows(X, width) for b in branches]
    sources = [
        append_steps(onnx, graph, before, rows)
        for (before, _), rows in zip(branches, made, strict=True)
    ]
    decision = _Decision([each for _, each in branches], threshold, reject_label)
    _, *answers = append_part(onnx, graph, _convert_net(decision), sources)
    label = _append_labels(onnx, graph, classifier.classes_, reject_label)
    graph.output.extend([label, *answers])
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid(*opset) for opset in OPSETS.items()],
        ir_version=8,
        producer_name="sklearn_ood",
        producer_version=__version__,
    )
    metadata = {
        "classes": json.dumps(classifier.classes_.tolist()),
        "threshold": repr(threshold),
        "feature_names": json.dumps(None if names is None else names.tolist()),
    }
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    _check_graph(model, estimator, first, with_edges(np.concatenate(made)), threshold)
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
        _check_exportable(estimator)
        return [(steps, estimator)], -math.inf, None
    branches, threshold, _ = _resolve(estimator.estimator_, steps)
    if threshold != -math.inf:
        raise TypeError(
            "Got a SelectiveClassifier around another one, but a graph has one threshold; "
            "export the inner or the outer one alone."
        )
    if np.ndim(estimator.threshold_):
        raise TypeError(
            "Got a SelectiveClassifier with a threshold for each class, group or risk, but a "
            "graph has one; export its estimator_, and compare with threshold_ outside."
        )
    if estimator.detector_ is not estimator.estimator_:
        branches = [branches[0], _resolve(estimator.detector_, steps)[0][-1]]
    return branches, float(estimator.threshold_), estimator.reject_label_


def _check_exportable(classifier):
    """Raise where the classifier is not one network, or its score needs gradients."""
    name = type(classifier).__name__
    if not hasattr(classifier, "scored_network_"):
        raise TypeError(
            f"Got {name}, which has no ONNX form here, but expected a classifier that is one "
            "network (SoftmaxClassifier, ConfidentClassifier, RejectClassifier, "
            "COOLClassifier, DAEConfidence) or a SelectiveClassifier, pipeline or search "
            "around one."
        )
    for parameter, without in (("epsilon", 0), ("curvature", "off")):
        value = getattr(classifier, parameter, without)
        if value != without:
            raise TypeError(
                f"Got {name}({parameter}={value!r}), whose score needs gradients, which ONNX "
                f"has not; take {parameter}={without!r}."
            )


class _Decision(nn.Module):
    """The classifier, and the detector if there is one, each on rows of its own."""

    def __init__(self, classifiers, threshold, reject_label):
        super().__init__()
        self.classifiers = classifiers
        self.networks = nn.ModuleList(
            copy.deepcopy(each.scored_network_) for each in classifiers
        )
        # Calibration rows lie exactly on it, so that many may where scores are discrete.
        threshold = (
            threshold - ROUNDING * max(1.0, abs(threshold))
            if threshold > -math.inf
            else threshold
        )
        self.register_buffer("threshold", torch.tensor(threshold, dtype=torch.float64))
        self.refuses = reject_label is not None
        self.type = torch.float32
        self.cpu().eval()

    def forward(self, *rows):
        """Code of the class, behind all classes where it is refused, and its grounds."""
        outputs, invalid = [], 0.0
        for scored, part in zip(self.networks, rows, strict=True):
            scaling, network = _scaling_and_network(scored.network)
            clipped = part.clamp(-LARGEST, LARGEST)  # as Python does
            single = clipped.float() if scaling is None else scaling(part)
            outputs.append(network(single.to(self.type)).double())
            # NaN where Python would refuse the row, whatever a network makes of it.
            invalid = invalid + (part * 0).sum(dim=1) + (single * 0).sum(dim=1).double()
        answering, deciding = self.networks[0].head, self.networks[-1].head
        log_proba = answering.log_proba(outputs[0])
        proba = log_proba.exp() + invalid[:, None]
        score = deciding(outputs[-1])[1] + invalid
        code, accepted = log_proba.argmax(dim=1), score >= self.threshold
        if self.refuses:
            code = torch.where(accepted, code, proba.shape[1])
        return code, proba, score, accepted


def _scaling_and_network(network):
    """What makes float32 rows of float64 ones, if it is there, and what takes these."""
    scales = isinstance(network, nn.Sequential) and hasattr(network[0], "center")
    return (network[0], network[1]) if scales else (None, network)


def _convert_net(decision):
    """Networks and the decision as a model, in double if onnxruntime has their operators."""
    package("onnxscript")  # torch.onnx needs it
    has_convolutions = any(isinstance(each, CONVOLUTIONS) for each in decision.modules())
    try:
        if has_convolutions:
            return _exported(decision)
        double = copy.deepcopy(decision).double()
        double.type = torch.float64
        try:
            return _in_short(_exported(double))
        except Exception:  # of torch.onnx or of onnxruntime: another operator of float32 only
            return _exported(decision)
    except Exception as error:
        networks = [getattr(net.network, "network", net.network) for net in decision.networks]
        raise TypeError(
            f"Got {_types(decision.classifiers)} whose network ({_types(networks)}) torch.onnx "
            "cannot export for any number of rows; write its forward with tensor operations "
            f"alone, and with x.shape[0] in place of len(x): {error}"
        ) from error


def _exported(decision):
    """torch's own export, which must take another number of rows than its trace."""
    widths = [each.n_features_in_ for each in decision.classifiers]
    rows = [torch.randn(5, width, generator=torch.Generator()).double() for width in widths]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        program = torch.onnx.export(
            decision,
            tuple(part[:2] for part in rows),
            opset_version=OPSETS[""],
            output_names=["code", "probabilities", "score", "accepted"],
            dynamic_shapes=(tuple({0: torch.export.Dim("n")} for _ in rows),),
            verbose=False,
        )
    model = program.model_proto
    names = [each.name for each in model.graph.input]
    _, *given, _ = run(model, dict(zip(names, (part.numpy() for part in rows), strict=True)))
    with torch.no_grad():
        _, *expected, _ = decision(*rows)
    for values, wanted in zip(given, expected, strict=True):
        np.testing.assert_allclose(values, wanted.numpy(), rtol=TOLERANCE, atol=TOLERANCE)
    return model


def _in_short(model):
    """A graph in double with its weights in float32, which holds them as they are."""
    onnx, kept = package("onnx"), []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        short = values.astype(np.float32) if values.dtype == np.float64 else values
        if values.dtype == np.float64 and values.size > 1 and (short == values).all():
            kept.append(onnx.numpy_helper.from_array(short, f"{tensor.name}/float"))
            wide = {"to": onnx.TensorProto.DOUBLE}
            cast = onnx.helper.make_node("Cast", [kept[-1].name], [tensor.name], **wide)
            model.graph.node.insert(0, cast)
        else:
            kept.append(tensor)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _types(objects):
    return " and ".join(type(each).__name__ for each in objects)


def _check_graph(model, estimator, first, rows, threshold):
    """Raise unless a graph gives what the estimator gives, and accepts nothing else."""

    def answers(rows):
        inner, rows = unwrap(estimator, as_fitted(first, rows))
        said = inner.predict(rows), inner.predict_proba(rows), inner.score_samples(rows)
        return *said, inner.accept(rows) if hasattr(inner, "accept") else said[2] > -np.inf

    takes, wanted = taken(answers, rows)
    given = run(model, {"X": rows})
    refused = np.isnan(given[2]) & ~given[3]
    overflows = refused & (np.abs(rows).max(axis=1) > LARGE)
    differs, both = np.where(takes, refused & ~overflows, ~refused), takes & ~refused
    if both.any():
        label, proba, score, accepted = (part[both] for part in given)
        label_, proba_, score_, accepted_ = (part[both[takes]] for part in wanted)
        best = np.partition(proba, -2, axis=1)[:, -2:]
        sure = ~np.isclose(score_, threshold, TOLERANCE, TOLERANCE)
        sure &= (best[:, 1] - best[:, 0] > TOLERANCE) & (np.abs(score_) < 1 / ROUNDING**2)
        differs[both] = sure & ((label != label_) | (accepted != accepted_))
        differs[both] |= ~np.isclose(proba, proba_, 0, TOLERANCE).all(axis=1)
        differs[both] |= ~np.isclose(score, score_, TOLERANCE, TOLERANCE)
    if differs.any() or not both.any():
        network = unwrap(estimator)[0]
        raise TypeError(
            f"Got {type(network).__name__}, whose graph answers {int(differs.sum())} of "
            f"{len(rows)} rows otherwise than Python, such as "
            f"{rows[differs][:1, :8].tolist()}; it has no ONNX form that can be relied on."
        )


def _append_labels(onnx, graph, classes, reject_label):
    """Add the label of each code, the reject label behind the classes, and return it."""
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
    table = onnx.numpy_helper.from_array(labels.astype(kind), "labels")
    graph.initializer.append(table)
    graph.node.append(onnx.helper.make_node("Gather", ["labels", "code"], ["label"]))
    return onnx.helper.make_tensor_value_info("label", table.data_type, ("n",))
