"""Write a classifier as an ONNX graph, for programs that have neither Python nor torch."""

import copy
import json
import math
import warnings
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_ood._version import __version__
from sklearn_ood.selective._classifier import SelectiveClassifier

__all__ = ["to_onnx"]

# The newest operators that both torch's and scikit-learn's converters write.
OPSETS = {"": 18, "ai.onnx.ml": 3}
# The first whose default exporter is the one that is used here.
OLDEST_TORCH = parse_version("2.9")
OUTPUTS = ("label", "probabilities", "score", "accepted")


def to_onnx(estimator, path=None):
    """Write a fitted classifier as one ONNX graph, from rows to answers.

    The graph takes flat float32 rows, ``X`` of shape (n, n_features), and gives four outputs:

    - ``label``, of shape (n,): int64, double, bool or string, as the classes are; the reject
      label where a :class:`SelectiveClassifier` refuses;
    - ``probabilities``, of shape (n, n_classes), double: columns in the order of ``classes_``;
    - ``score``, of shape (n,), double: ``score_samples``;
    - ``accepted``, of shape (n,), bool: true everywhere without a :class:`SelectiveClassifier`.

    Parameters
    ----------
    estimator : fitted estimator
        A :class:`SoftmaxClassifier`, :class:`ConfidentClassifier`, :class:`RejectClassifier`,
        :class:`COOLClassifier` or :class:`DAEConfidence`, a :class:`SelectiveClassifier` around
        one (also with one as its ``detector``), or a pipeline or search that ends in one of
        these. The pipeline's other steps are converted by skl2onnx.
    path : str or path-like, default=None
        Where to write; None writes nothing.

    Returns
    -------
    onnx.ModelProto
        The graph; its metadata has the names of classes and features, and the threshold.

    Raises
    ------
    ImportError
        If the packages of the extra "onnx" are missing, or torch is older than 2.9.
    TypeError
        If a part has no ONNX form; the message names it: other estimators, a step that
        skl2onnx does not know, scores that need gradients (``epsilon > 0``, the curvature of
        DAEConfidence).

    See Also
    --------
    save : Keep an estimator for Python.

    Notes
    -----
    Networks compute in float32, as in Python, all else in double: the numbers agree but for
    the rounding of another engine's matrix products, so that a row whose score lies that near
    to the threshold may be decided otherwise. The graph does not check its input. A row with
    NaN gets a NaN score and is not accepted, unless a step before fills it in.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import SoftmaxClassifier, to_onnx
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = SoftmaxClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> model = to_onnx(classifier)  # doctest: +SKIP
    >>> [output.name for output in model.graph.output]  # doctest: +SKIP
    ['label', 'probabilities', 'score', 'accepted']
    """
    _check_torch()
    onnx = _package("onnx")
    check_is_fitted(estimator)
    part = _resolve(estimator)
    builder = _Builder(onnx, part.n_features_in)
    answers = builder.answers(part.steps, part.classifier)
    score = answers["score"]
    if part.detector is not None:
        score = builder.answers(part.detector.steps, part.detector.classifier)["score"]
    model = builder.finish(part, answers["code"], answers["probabilities"], score)
    if path is not None:
        Path(path).write_bytes(model.SerializeToString())
    return model


@dataclass
class _Part:
    """What a graph is made of: steps before a classifier, and who decides what is accepted."""

    classifier: object
    steps: list = field(default_factory=list)
    detector: "_Part | None" = None
    threshold: float = -math.inf
    reject_label: object = None
    feature_names: list | None = None

    @property
    def n_features_in(self):
        return (self.steps[0][1] if self.steps else self.classifier).n_features_in_


def _resolve(estimator):
    """The parts of nested pipelines, searches and selective classifiers."""
    names = getattr(estimator, "feature_names_in_", None)
    if hasattr(estimator, "best_estimator_"):
        part = _resolve(estimator.best_estimator_)
    elif isinstance(estimator, FrozenEstimator):
        part = _resolve(estimator.estimator)
    elif isinstance(estimator, Pipeline):
        part = _resolve(estimator[-1])
        steps = [step for step in estimator.steps[:-1] if step[1] not in (None, "passthrough")]
        part.steps = steps + part.steps
        if part.detector is not None:
            part.detector.steps = steps + part.detector.steps
    elif isinstance(estimator, SelectiveClassifier):
        part = _resolve(estimator.estimator_)
        if part.threshold != -math.inf:
            raise TypeError(
                "Got a SelectiveClassifier around another one, but a graph has one threshold; "
                "export the inner or the outer one alone."
            )
        if estimator.detector_ is not estimator.estimator_:
            part.detector = _resolve(estimator.detector_)
        part.threshold, part.reject_label = estimator.threshold_, estimator.reject_label_
    else:
        part = _Part(estimator)
        _check_exportable(estimator)
    if names is not None:
        part.feature_names = [str(name) for name in names]
    return part


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


class _Answers(nn.Module):
    """A classifier as a torch module on the CPU: code of the class, probabilities, score."""

    def __init__(self, classifier):
        super().__init__()
        self.scored = copy.deepcopy(classifier.scored_network_).cpu().eval()

    def forward(self, rows):
        evidence, scores = self.scored(rows)
        return evidence.argmax(dim=1), torch.softmax(evidence, dim=1), scores


class _Builder:
    """Joins converted parts into one graph; the names of each begin with its number."""

    def __init__(self, onnx, n_features):
        self.onnx = onnx
        self.n_features = n_features
        self.nodes, self.initializers, self.n_parts = [], [], 0

    def answers(self, steps, classifier):
        """Names of ``code``, ``probabilities`` and ``score`` behind steps and a classifier."""
        current = "X"
        for name, step in steps:
            (current,) = self._append(_convert_step(self.onnx, name, step), current)
        outputs = self._append(_convert_net(classifier), current)
        return dict(zip(("code", "probabilities", "score"), outputs, strict=True))

    def finish(self, part, code, probabilities, score):
        helper, kinds = self.onnx.helper, self.onnx.TensorProto
        table, kind = _label_table(self.onnx, part.classifier.classes_, part.reject_label)
        self._constant("threshold", np.array(part.threshold))
        self.initializers.append(table)
        self.nodes += [
            helper.make_node("Identity", [probabilities], ["probabilities"]),
            helper.make_node("Identity", [score], ["score"]),
            helper.make_node("GreaterOrEqual", ["score", "threshold"], ["accepted"]),
        ]
        if part.reject_label is not None:
            self._constant("refused", np.array(len(part.classifier.classes_)))
            self.nodes.append(
                helper.make_node("Where", ["accepted", code, "refused"], ["answer"])
            )
            code = "answer"
        self.nodes.append(helper.make_node("Gather", ["labels", code], ["label"]))
        shapes = [("n",), ("n", len(part.classifier.classes_)), ("n",), ("n",)]
        types = [kind, kinds.DOUBLE, kinds.DOUBLE, kinds.BOOL]
        graph = helper.make_graph(
            self.nodes,
            "sklearn_ood",
            [helper.make_tensor_value_info("X", kinds.FLOAT, ("n", self.n_features))],
            [
                helper.make_tensor_value_info(*output)
                for output in zip(OUTPUTS, types, shapes, strict=True)
            ],
            self.initializers,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*opset) for opset in OPSETS.items()],
            ir_version=8,
            producer_name="sklearn_ood",
            producer_version=__version__,
        )
        metadata = {
            "classes": json.dumps(part.classifier.classes_.tolist()),
            "threshold": repr(float(part.threshold)),
            "feature_names": json.dumps(part.feature_names),
        }
        helper.set_model_props(model, metadata)
        self.onnx.checker.check_model(model, full_check=True)
        return model

    def _constant(self, name, value):
        self.initializers.append(self.onnx.numpy_helper.from_array(value, name))

    def _append(self, model, source):
        """Add a part that reads ``source`` and return the names of its outputs."""
        prefix, self.n_parts = f"part{self.n_parts}/", self.n_parts + 1
        graph = self.onnx.compose.add_prefix(model, prefix).graph
        (wanted,) = graph.input
        kind = wanted.type.tensor_type.elem_type
        self.nodes.append(self.onnx.helper.make_node("Cast", [source], [wanted.name], to=kind))
        self.nodes += graph.node
        self.initializers += graph.initializer
        return [output.name for output in graph.output]


def _convert_net(classifier):
    """A classifier's net and its score as a model: torch's own export."""
    _package("onnxscript")  # torch.onnx needs it
    runtime = _package("onnxruntime")
    answers = _Answers(classifier).eval()
    network = answers.scored.network
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own deprecations
            program = torch.onnx.export(
                answers,
                (torch.zeros(2, classifier.n_features_in_),),
                dynamo=True,
                opset_version=OPSETS[""],
                input_names=["rows"],
                output_names=["code", "probabilities", "score"],
                dynamic_shapes=({0: torch.export.Dim("n")},),
                verbose=False,
            )
        model = program.model_proto
        _check_same(answers, model, classifier.n_features_in_, runtime)
    except Exception as error:  # of torch.onnx or of onnxruntime
        raise TypeError(
            f"Got {type(classifier).__name__} whose network "
            f"({type(getattr(network, 'network', network)).__name__}) torch.onnx cannot export "
            "for any number of rows; write its forward with tensor operations alone, and with "
            f"x.shape[0] in place of len(x): {error}"
        ) from error
    return model


def _check_same(answers, model, n_features, runtime):
    """Raise unless a graph gives what a module gives, for another number of rows.

    The trace of a network may silently hold the number of rows that it was made with.
    """
    rows = torch.randn(5, n_features, generator=torch.Generator())
    session = runtime.InferenceSession(model.SerializeToString())
    _, probabilities, scores = session.run(None, {"rows": rows.numpy()})
    with torch.no_grad():
        _, *expected = answers(rows)
    for given, wanted in zip((probabilities, scores), expected, strict=True):
        np.testing.assert_allclose(given, wanted.numpy(), rtol=1e-3, atol=1e-3)


def _convert_step(onnx, name, step):
    """A transformer as a model: by skl2onnx, in double where it can."""
    skl2onnx = _package("skl2onnx")
    types = skl2onnx.common.data_types
    errors = []
    for kind in (types.DoubleTensorType, types.FloatTensorType):
        try:
            model = skl2onnx.to_onnx(
                step,
                initial_types=[("rows", kind([None, step.n_features_in_]))],
                target_opset=OPSETS,
            )
            onnx.checker.check_model(model, full_check=True)
        except Exception as error:  # skl2onnx raises whatever a converter stumbles over
            errors.append(error)
        else:
            return model
    raise TypeError(
        f"Got the step {name!r} ({type(step).__name__}), which skl2onnx cannot convert for "
        f"flat rows; leave it out and apply it before the graph: {errors[0]}"
    ) from errors[0]


def _label_table(onnx, classes, reject_label):
    """The labels as a tensor, the reject label behind the classes, and their type."""
    labels = np.asarray(classes)
    if reject_label is not None:
        labels = np.append(labels, np.asarray(reject_label, dtype=_kind_of(reject_label)))
    if all(isinstance(label, str) for label in labels.tolist()):
        text = [label.encode() for label in labels.tolist()]
        kind = onnx.TensorProto.STRING
        return onnx.helper.make_tensor("labels", kind, [len(text)], text), kind
    wide = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}
    if labels.dtype.kind not in wide:
        raise TypeError(
            f"Got classes {labels.tolist()} of type {labels.dtype}, but ONNX has numbers, "
            "booleans and strings; encode the labels before fit."
        )
    tensor = onnx.numpy_helper.from_array(labels.astype(wide[labels.dtype.kind]), "labels")
    return tensor, tensor.data_type


def _kind_of(label):
    return object if isinstance(label, str) else None


def _check_torch():
    if parse_version(torch.__version__) < OLDEST_TORCH:
        raise ImportError(
            f"to_onnx needs torch >= {OLDEST_TORCH}, but found {torch.__version__}; install a "
            "newer one."
        )


def _package(name):
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"to_onnx needs the package {name}; install the extra: "
            "pip install 'sklearn-ood[onnx]'."
        ) from error
