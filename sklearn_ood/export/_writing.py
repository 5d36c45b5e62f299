"""From tensor operations to one model: by torch's exporter, with models put in their place."""

import copy
import warnings
from contextlib import contextmanager, nullcontext

import numpy as np
import torch

from sklearn_ood._version import __version__
from sklearn_ood.export._comparison import is_text, package, run
from sklearn_ood.export._flow import DOMAIN
from sklearn_ood.export._steps import OPSETS

# A cell of text that is missing: ONNX has no other.
MISSING = ""
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


def coded(rows):
    """Rows as numbers, text as its place among the texts of its column, and these texts."""
    if not hasattr(rows, "columns"):
        return rows, [None] * rows.shape[1]
    values, texts = [], []
    for cells in feeds(rows).values():
        known = None
        if cells.dtype == object:
            known = sorted({*cells[:, 0]} - {MISSING})
            places = {text: place for place, text in enumerate(known)} | {MISSING: np.nan}
            cells = np.array([[places[cell]] for cell in cells[:, 0]])
        values.append(cells)
        texts.append(known)
    return np.concatenate(values, axis=1), texts


def feeds(rows):
    """What a graph is given for rows: one array, or one for each column of a frame."""
    if not hasattr(rows, "columns"):
        return {"X": rows}
    given = {}
    for name in rows.columns:
        column = rows[name]
        if is_text(column):
            cells = (MISSING if cell is None or cell != cell else str(cell) for cell in column)
            values = np.array(list(cells), dtype=object)
        else:
            values = column.astype("float64").to_numpy()
        given[str(name)] = values[:, None]
    return given


def written(decision, values, columns, labels):
    """The model of a decision, tried on rows in numbers.

    Parameters
    ----------
    decision : nn.Module
        From double (n, d) to the code of a label, and the other outputs.
    values : ndarray of shape (n, d)
    columns : index or None
        Names of the inputs, one for each column; None is one input "X".
    labels : ndarray
    """
    onnx, _ = package("onnx"), package("onnxscript")  # torch.onnx needs it
    rows, parts = torch.tensor(values), decision.parts
    with torch.no_grad():
        for parts.is_single in (True, False):
            n_outputs = len(decision(rows))  # makes what a trace needs
        for parts.is_single in (False, True):
            try:
                model = _exported(decision, rows, OUTPUTS[:n_outputs])
                run(model, {"X": values[:3]})
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
    _prefix(model.graph, "/", kept=("X", *OUTPUTS))
    if columns is not None:
        _read_columns(onnx, model.graph, columns, decision.texts)
    _name_labels(onnx, model.graph, labels)
    model.producer_name, model.producer_version = "sklearn_ood", __version__
    onnx.checker.check_model(model, full_check=True)
    return model


def _exported(decision, rows, names):
    """By torch's exporter, from a trace of two rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        program = torch.onnx.export(
            decision,
            (rows[:2],),
            input_names=["X"],
            output_names=list(names),
            opset_version=OPSETS[""],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            verbose=False,
        )
    model, onnx = program.model_proto, package("onnx")
    _put_models(onnx, model.graph, list(decision.parts.models.values()))
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*opset) for opset in OPSETS.items())
    return model


def _put_models(onnx, graph, models):
    """Models in place of the operators that stand for them."""
    nodes = []
    for node in graph.node:
        if node.domain != DOMAIN:
            nodes.append(node)
            continue
        part = models[int(node.op_type.removeprefix("part"))]
        part = copy.deepcopy(part.graph)
        _prefix(part, f"{node.name}/")
        to = {"to": part.input[0].type.tensor_type.elem_type}
        nodes.append(onnx.helper.make_node("Cast", node.input, [part.input[0].name], **to))
        nodes += part.node
        to = {"to": onnx.TensorProto.DOUBLE}
        nodes.append(onnx.helper.make_node("Cast", [part.output[0].name], node.output, **to))
        graph.initializer.extend(part.initializer)
    del graph.node[:]
    graph.node.extend(nodes)


def _prefix(graph, prefix, kept=()):
    """Put a prefix before all names of a graph, also where an inner one reads the outer's."""

    def renamed(name):
        return prefix + name if name and name not in kept else name

    for each in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        each.name = renamed(each.name)
    for node in graph.node:
        node.name = renamed(node.name)
        node.input[:], node.output[:] = map(renamed, node.input), map(renamed, node.output)
        for attribute in node.attribute:
            _prefix(attribute.g, prefix, kept)


def _read_columns(onnx, graph, columns, texts):
    """One input for each column of a table, in which text is replaced by its place."""
    make, types, parts = onnx.helper.make_node, onnx.TensorProto, []
    del graph.input[:]
    for name, known in zip(map(str, columns), texts, strict=True):
        if name in OUTPUTS:
            raise TypeError(f"Got a column {name!r}, but an output is called so; rename it.")
        kind, part = types.DOUBLE if known is None else types.STRING, f"//{name}"
        graph.input.append(onnx.helper.make_tensor_value_info(name, kind, ("n", 1)))
        if known is None:
            parts.append(([], name))
            continue
        places = [*range(len(known)), np.nan]
        about = {
            "keys_strings": [*known, MISSING],
            "values_floats": places,
            "default_float": -1.0,
        }
        code = make("LabelEncoder", [name], [f"{part}/code"], domain="ai.onnx.ml", **about)
        parts.append(([code, make("Cast", [f"{part}/code"], [part], to=types.DOUBLE)], part))
    before = [node for made, _ in parts for node in made]
    before.append(make("Concat", [part for _, part in parts], ["X"], axis=1))
    nodes = [*before, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _name_labels(onnx, graph, labels):
    """The label in place of its code, the first output."""
    for node in graph.node:
        node.output[:] = ["/code" if name == "label" else name for name in node.output]
        node.input[:] = ["/code" if name == "label" else name for name in node.input]
    graph.initializer.append(onnx.numpy_helper.from_array(labels, "/labels"))
    graph.node.append(onnx.helper.make_node("Gather", ["/labels", "/code"], ["label"]))
    kind = onnx.helper.np_dtype_to_tensor_dtype(labels.dtype)
    graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("label", kind, ("n",)))
