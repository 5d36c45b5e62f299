"""Write a classifier as an ONNX graph, for programs that have neither Python nor torch."""

import copy
import json
import math
import warnings
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
# What is written as another type; text is found by its elements.
WIDE = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}


def to_onnx(estimator, path=None):
    """Write a fitted classifier as one ONNX graph, from rows to answers.

    The graph takes flat float32 rows, ``X`` of shape (n, n_features), and gives

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
        that need gradients (``epsilon > 0``, the curvature of DAEConfidence).

    See Also
    --------
    save : Keep an estimator for Python.

    Notes
    -----
    Networks compute in float32, as in Python, all else in double; another engine rounds its
    matrix products otherwise, which may decide a row whose score lies that near to the
    threshold. The graph does not check its input. A row with NaN gets a NaN score and is not
    accepted, unless a step before fills it in.

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
    onnx = _package("onnx")
    check_is_fitted(estimator)
    branches, threshold, reject_label = _resolve(estimator)
    steps, classifier = branches[0]
    first = steps[0][1] if steps else classifier
    names = getattr(first, "feature_names_in_", None)
    graph = onnx.GraphProto(name="sklearn_ood")
    rows = ("X", onnx.TensorProto.FLOAT, ("n", first.n_features_in_))
    graph.input.append(onnx.helper.make_tensor_value_info(*rows))
    sources = [_append_steps(onnx, graph, before) for before, _ in branches]
    decision = _Decision([each for _, each in branches], threshold, reject_label)
    _, *answers = _append(onnx, graph, _convert_net(decision), sources)
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
            "Got a SelectiveClassifier with guarantee_for='class', but a graph has one "
            "threshold; export its estimator_, and compare with threshold_ outside."
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
        self.register_buffer("threshold", torch.tensor(threshold, dtype=torch.float64))
        self.refuses = reject_label is not None
        self.cpu().eval()

    def forward(self, *rows):
        """Code of the class, behind all classes where it is refused, and its grounds."""
        said = [network(part) for network, part in zip(self.networks, rows, strict=True)]
        evidence, score = said[0][0], said[-1][1]
        code, accepted = evidence.argmax(dim=1), score >= self.threshold
        if self.refuses:
            code = torch.where(accepted, code, evidence.shape[1])
        return code, torch.softmax(evidence, dim=1), score, accepted


def _convert_net(decision):
    """Networks and the decision as a model: torch's own export."""
    _package("onnxscript")  # torch.onnx needs it
    runtime = _package("onnxruntime")
    widths = [each.n_features_in_ for each in decision.classifiers]
    rows = [torch.randn(5, width, generator=torch.Generator()) for width in widths]
    try:
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
        session = runtime.InferenceSession(program.model_proto.SerializeToString())
        _check_same(decision, session, rows)
    except Exception as error:  # of torch.onnx or of onnxruntime
        networks = [getattr(net.network, "network", net.network) for net in decision.networks]
        raise TypeError(
            f"Got {_types(decision.classifiers)} whose network ({_types(networks)}) torch.onnx "
            "cannot export for any number of rows; write its forward with tensor operations "
            f"alone, and with x.shape[0] in place of len(x): {error}"
        ) from error
    return program.model_proto


def _types(objects):
    return " and ".join(type(each).__name__ for each in objects)


def _check_same(decision, session, rows):
    """Raise unless a graph takes another number of rows than its trace, to the same answers."""
    feeds = {
        wanted.name: part.numpy()
        for wanted, part in zip(session.get_inputs(), rows, strict=True)
    }
    with torch.no_grad():
        _, *expected, _ = decision(*rows)
    for given, wanted in zip(session.run(None, feeds)[1:3], expected, strict=True):
        np.testing.assert_allclose(given, wanted.numpy(), rtol=1e-3, atol=1e-3)


def _append_steps(onnx, graph, steps):
    """Add the transformers that come before a network; the name of what they give out."""
    source = "X"
    for name, step in steps:
        model = _convert_step(onnx, name, step)
        part = onnx.compose.add_prefix(model, f"step{len(graph.node)}/")
        source = _append(onnx, graph, part, [source])[0].name
    return source


def _append(onnx, graph, model, sources):
    """Add a part that reads ``sources`` and return its outputs."""
    for source, wanted in zip(sources, model.graph.input, strict=True):
        kind = wanted.type.tensor_type.elem_type
        graph.node.append(onnx.helper.make_node("Cast", [source], [wanted.name], to=kind))
    graph.node.extend(model.graph.node)
    graph.initializer.extend(model.graph.initializer)
    return model.graph.output


def _convert_step(onnx, name, step):
    """A transformer as a model: by skl2onnx, in double where it can."""
    skl2onnx = _package("skl2onnx")
    types = skl2onnx.common.data_types
    errors = []
    for kind in (types.DoubleTensorType, types.FloatTensorType):
        rows = [("rows", kind([None, step.n_features_in_]))]
        try:
            model = skl2onnx.to_onnx(step, initial_types=rows, target_opset=OPSETS)
            onnx.checker.check_model(model, full_check=True)
        except Exception as error:  # skl2onnx raises whatever a converter stumbles over
            errors.append(error)
        else:
            return model
    raise TypeError(
        f"Got the step {name!r} ({type(step).__name__}), which skl2onnx cannot convert for "
        f"flat rows; leave it out and apply it before the graph: {errors[0]}"
    ) from errors[0]


def _append_labels(onnx, graph, classes, reject_label):
    """Add the label of each code, the reject label behind the classes, and return it."""
    labels = classes if reject_label is None else np.append(classes, reject_label)
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


def _package(name):
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"to_onnx needs the package {name}; install the extra: "
            "pip install 'sklearn-ood[onnx]'."
        ) from error
