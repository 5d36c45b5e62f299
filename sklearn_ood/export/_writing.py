"""From tensor operations to one model: by torch's exporter, with models put in their place."""

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
    # Names that no column of a table has.
    model = onnx.compose.add_prefix(model, "/", inplace=True)
    graph = model.graph
    before = _inputs(onnx, graph, columns, decision.texts)
    nodes = [*before, *graph.node, *_outputs(onnx, graph, labels)]
    del graph.node[:]
    graph.node.extend(nodes)
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
    opsets = [onnx.helper.make_opsetid(*opset) for opset in OPSETS.items()]
    for k, part in enumerate(decision.parts.models.values()):
        model.functions.append(_function(onnx, f"part{k}", part.graph, opsets))
    del model.opset_import[:]
    model.opset_import.extend([*opsets, onnx.helper.make_opsetid(DOMAIN, 1)])
    model = package("onnx.inliner").inline_local_functions(model)
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
            "keys_strings": [*known, MISSING],
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
