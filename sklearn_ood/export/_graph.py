"""Write a classifier as an ONNX graph, for programs that have neither Python nor torch."""

import json
import warnings
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_ood._response import steps_and_inner
from sklearn_ood._version import __version__
from sklearn_ood.data._labels import labels_or
from sklearn_ood.export import _comparison
from sklearn_ood.export._answers import ROUNDING, answers
from sklearn_ood.export._flow import DOMAIN, Flow, Parts
from sklearn_ood.export._steps import OPSETS, through
from sklearn_ood.selective._classifier import SelectiveClassifier

__all__ = ["to_onnx"]

# What is written as another type; text is found by its elements.
WIDE = {"b": np.bool_, "i": np.int64, "u": np.uint64, "f": np.float64}
OUTPUTS = "label", "probabilities", "score", "accepted", "p_value", "confidence"


@contextmanager
def usual_torch():
    """torch's global state as it is by default, and afterwards as it was found."""
    dtype, on_cpu = torch.get_default_dtype(), torch.get_default_device().type == "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        # A device as a context slows everything down.
        with torch.inference_mode(False), nullcontext() if on_cpu else torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


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

    Where Python refuses a row (it has NaN or an infinite number, and no step fills it in),
    score and probabilities are NaN, and the row is not accepted; so are numbers beyond 1e15
    where the graph computes in float32.

    Parameters
    ----------
    estimator : fitted estimator
        A :class:`SoftmaxClassifier`, :class:`ConfidentClassifier`, :class:`RejectClassifier`,
        :class:`COOLClassifier`, :class:`DAEConfidence`, :class:`TableClassifier` or
        :class:`TableDensity`; a classifier of scikit-learn; :class:`MahalanobisDistance`,
        :class:`NeighborDistance`, or :class:`GenerativeClassifier` with a density; a
        :class:`CombinedClassifier` of these and of scores of features, or the default one on
        tables; a :class:`SelectiveClassifier` around one (also with one of all these as its
        ``detector``), or a pipeline or search that ends in one.
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
        If there are no classes, as of a detector alone, or if a part, which is named, has no
        ONNX form: other estimators, a step that skl2onnx does not know, scores that need
        gradients (``epsilon > 0``, the curvature of DAEConfidence) or a search; or if it has
        one that gives something else.

    Notes
    -----
    Everything is computed in double where onnxruntime and skl2onnx can: convolutions and some
    steps are in float32. Another engine rounds its matrix products otherwise, which may decide
    a row whose score lies that near to the threshold: the graph accepts from 1e-6 below it, and
    a p-value is that of a score 1e-6 higher.

    The estimator is one torch module, exported once, with other steps and classifiers of
    scikit-learn by skl2onnx. All is run before anything is written, and must give what Python
    gives.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import SoftmaxClassifier, to_onnx
    >>> X, y = load_iris(return_X_y=True)
    >>> model = to_onnx(SoftmaxClassifier().fit(X, y))  # doctest: +SKIP
    >>> [output.name for output in model.graph.output]  # doctest: +SKIP
    ['label', 'probabilities', 'score', 'accepted']
    """
    check_is_fitted(estimator)
    branches, threshold, reject_label = _resolve(estimator)
    steps, classifier = branches[0]
    if not hasattr(classifier, "classes_"):
        raise TypeError(
            f"Got {type(classifier).__name__}, which has no classes_ once fitted; export the "
            "CombinedClassifier or SelectiveClassifier that it is in."
        )
    first = steps[0][1] if steps else classifier
    names = getattr(first, "feature_names_in_", None)
    rows = _comparison.some_rows(X, branches, first.n_features_in_)
    values, texts = _comparison.coded(rows)
    decision = Decision(branches, threshold, reject_label is not None, texts)
    outputs = OUTPUTS[: decision.prepare(torch.tensor(values))]
    tried = _comparison.with_edges(rows)
    python = _comparison.of_python(estimator, first, tried)
    labels = _labels(classifier.classes_, reject_label)
    about = {
        "classes": json.dumps(classifier.classes_.tolist()),
        "threshold": repr(np.asarray(-np.inf if threshold is None else threshold).tolist()),
        "feature_names": json.dumps(None if names is None else names.tolist()),
    }
    columns = getattr(rows, "columns", None)
    model = _written(decision, values, outputs, columns, labels, about)
    _comparison.check_graph(model, estimator, *python, tried, threshold)
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
        near = np.where(np.isfinite(least), ROUNDING * np.abs(least).clip(min=1), 0.0)
        self.register_buffer("least", torch.tensor(least - near))
        self.decides, self.may_reject = threshold is not None, may_reject

    @torch.no_grad()
    def prepare(self, values):
        """Make what a trace needs, or raise where a part has no form; how many outputs."""
        self.parts.is_single = True
        n_outputs = len(self(values))
        self.parts.is_single = False
        with suppress(RuntimeError):  # of a network that makes numbers in float32 itself
            self(values)
        return n_outputs

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
    steps = [*steps, *own]
    if not isinstance(estimator, SelectiveClassifier):
        return [(steps, estimator)], None, None
    branches, threshold, _ = _resolve(estimator.estimator_, steps)
    if threshold is not None:
        raise TypeError(
            "Got two SelectiveClassifiers, but a graph has one threshold; export one alone."
        )
    chosen_by = estimator.chosen_by_
    if np.ndim(chosen_by.get("risk", 0)) or chosen_by["guarantee_for"] == "group":
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


def _written(decision, values, outputs, columns, labels, about):
    """The model of a decision, tried on rows: an input for each named column, or one "X"."""
    onnx = _comparison.package("onnx")
    _comparison.package("onnxscript")  # torch.onnx needs it
    rows, parts = torch.tensor(values), decision.parts
    with torch.no_grad():
        for parts.is_single in (False, True):
            try:
                model = _exported(decision, rows, outputs)
                _comparison.run(model, {"X": values[:3]})
                break
            # Of torch.onnx or onnxruntime, which have some operators in float32 only.
            except Exception as error:
                if parts.is_single:
                    names = ", ".join(sorted(parts.networks)) or "an estimator"
                    raise TypeError(
                        f"Got {names}, which torch.onnx cannot export for any number of rows; "
                        "write its forward with tensor operations alone, and with x.shape[0] "
                        f"in place of len(x): {error}"
                    ) from error
    for node in model.graph.node:
        del node.metadata_props[:]  # where in which file it was traced
    # Names that no column of a table has.
    model = onnx.compose.add_prefix(model, "/", inplace=True)
    graph = model.graph
    before = _inputs(onnx, graph, columns, decision.texts)
    nodes = [*before, *graph.node, *_outputs(onnx, graph, labels)]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.helper.set_model_props(model, about)
    model.producer_name, model.producer_version = "sklearn_ood", __version__
    onnx.checker.check_model(model, full_check=True)
    return model


def _exported(decision, rows, names):
    """By torch's exporter, from a trace of two rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        how = {"input_names": ["X"], "output_names": list(names), "verbose": False}
        shapes = ({0: torch.export.Dim("n")},)
        how |= {"opset_version": OPSETS[""], "dynamic_shapes": shapes}
        program = torch.onnx.export(decision, (rows[:2],), **how)
    model, onnx = program.model_proto, _comparison.package("onnx")
    opsets = [onnx.helper.make_opsetid(*opset) for opset in OPSETS.items()]
    for k, part in enumerate(decision.parts.models.values()):
        model.functions.append(_function(onnx, f"part{k}", part.graph, opsets))
    del model.opset_import[:]
    model.opset_import.extend([*opsets, onnx.helper.make_opsetid(DOMAIN, 1)])
    model = _comparison.package("onnx.inliner").inline_local_functions(model)
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    return model


def _function(onnx, name, graph, opsets):
    """A model as a function, from doubles to doubles."""
    make, (given,), (made,) = onnx.helper.make_node, graph.input, graph.output
    kind = given.type.tensor_type.elem_type
    nodes = [
        make("Cast", ["/given"], [given.name], to=kind),
        *(make("Constant", [], [each.name], value=each) for each in graph.initializer),
        *graph.node,
        make("Cast", [made.name], ["/made"], to=onnx.TensorProto.DOUBLE),
    ]
    return onnx.helper.make_function(DOMAIN, name, ["/given"], ["/made"], nodes, opsets)


def _inputs(onnx, graph, columns, texts):
    """Nodes that make rows of one input for each column, text replaced by its place."""
    make, types, nodes, parts = onnx.helper.make_node, onnx.TensorProto, [], []
    if columns is None:
        graph.input[0].name = "X"
        return [make("Identity", ["X"], ["/X"])]
    del graph.input[:]
    for name, known in zip(map(str, columns), texts, strict=True):
        if name in OUTPUTS:
            raise TypeError(f"Got a column {name!r}, but an output is called so; rename it.")
        kind, part = types.DOUBLE if known is None else types.STRING, f"//{name}"
        graph.input.append(onnx.helper.make_tensor_value_info(name, kind, ("n", 1)))
        parts.append(name if known is None else part)
        if known is None:
            continue
        about = {
            "keys_strings": [*known, _comparison.MISSING],
            "values_floats": [*range(len(known)), np.nan],
            "default_float": -1.0,
        }
        code = f"{part}/code"
        nodes.append(make("LabelEncoder", [name], [code], domain="ai.onnx.ml", **about))
        nodes.append(make("Cast", [code], [part], to=types.DOUBLE))
    return [*nodes, make("Concat", parts, ["/X"], axis=1)]


def _outputs(onnx, graph, labels):
    """Nodes that give the outputs their names, and the label in place of its code."""
    make, (label, *others) = onnx.helper.make_node, graph.output
    kind = onnx.helper.np_dtype_to_tensor_dtype(labels.dtype)
    label.CopyFrom(onnx.helper.make_tensor_value_info("label", kind, ("n",)))
    graph.initializer.append(onnx.numpy_helper.from_array(labels, "//labels"))
    nodes = [make("Gather", ["//labels", "/label"], ["label"])]
    for output in others:
        nodes.append(make("Identity", [output.name], [output.name.removeprefix("/")]))
        output.name = output.name.removeprefix("/")
    return nodes
