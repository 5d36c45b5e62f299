"""Transformers before a network as parts of a graph, each compared with its ``transform``."""

import numpy as np
from sklearn.base import is_classifier
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import PowerTransformer

from sklearn_ood.export._builder import OPSETS, Flow, written
from sklearn_ood.export._comparison import LARGE, TOLERANCE, made_by, package, run, with_edges
from sklearn_ood.export._networks import InSingle, convert
from sklearn_ood.export._tables import append_by_hand
from sklearn_ood.export._trees import tree_model

# In double, which skl2onnx has in float32 only: filling in, and Yeo and Johnson's power.
IMPUTER = """
step (double[n, WIDTH] rows) => (double[n, WIDTH] out) {
    is_missing = IsNaN(rows)
    out = Where(is_missing, statistics, rows)
}
"""
YEO_JOHNSON = """
step (double[n, WIDTH] rows) => (double[n, WIDTH] out) {
    zero = Constant<value = double {0.0}>()
    one = Constant<value = double {1.0}>()
    size = Abs(rows)
    base = Add(size, one)
    is_negative = Less(rows, zero)
    power = Where(is_negative, negative_power, positive_power)
    is_log = Equal(power, zero)
    divisor = Where(is_log, one, power)
    raised = Pow(base, power)
    change = Sub(raised, one)
    curved = Div(change, divisor)
    logarithm = Log(base)
    value = Where(is_log, logarithm, curved)
    below = Neg(value)
    signed = Where(is_negative, below, value)
    scaled = Mul(signed, slope)
    out = Add(scaled, offset)
}
"""


def append_steps(builder, steps, flow):
    """Add the transformers that come before an estimator.

    Each is compared with Python on the rows, as they come to it, and on edge rows.
    """
    for name, step in steps:
        if step not in (None, "passthrough"):
            flow = append_step(builder, name, step, flow, "transform")
    return flow


def append_step(builder, name, step, flow, method):
    """Add what a method of a fitted estimator gives for rows."""
    _, rows = made_by(step, flow.rows, method)
    tensor = append_by_hand(builder, step, flow)
    if tensor is None and hasattr(step, "feature_network_"):
        kind = f"{type(step).__name__} around {type(step.estimator_).__name__}"
        model = convert(InSingle(step.feature_network_), step.n_features_in_, name=kind)
        (tensor,) = builder.append(model, flow.tensor)
    elif tensor is None:
        if isinstance(flow.tensor, dict):
            raise TypeError(
                f"Got text before the step {name!r} ({type(step).__name__}), which has no ONNX "
                "form for it; put an encoder before it, in a ColumnTransformer."
            )
        model = _converted(name, step, flow.rows, method)
        (tensor,) = builder.append(model, flow.tensor)
    # Text, whose columns keep their names.
    is_text = isinstance(tensor, dict) and not hasattr(rows, "columns")
    return Flow(tensor, type(flow.rows)(rows, columns=list(tensor)) if is_text else rows)


def _converted(name, step, rows, method):
    """A step as a model that gives the same: by skl2onnx, in double where it can."""
    types, errors = package("skl2onnx").common.data_types, []
    onnx, usual, rows = package("onnx"), np.arange(len(rows)), with_edges(rows)
    takes, wanted = made_by(step, rows, method)
    for write, kind, dtype in (
        (_by_hand, types.DoubleTensorType, "f8"),
        (_by_skl2onnx, types.DoubleTensorType, "f8"),
        (_by_skl2onnx, types.FloatTensorType, "f4"),
    ):
        try:
            model = write(onnx, step, kind)
            onnx.checker.check_model(model, full_check=True)
            given = run(model, {"rows": rows.astype(dtype)})
            return _only_output(onnx, model, *_same_output(given, takes, wanted, rows, usual))
        except Exception as error:  # skl2onnx raises whatever a converter stumbles over
            errors.append(error)
    raise TypeError(
        f"Got the step {name!r} ({type(step).__name__}), which skl2onnx cannot convert for "
        f"flat rows; leave it out and apply it before the graph: {errors[-1]}"
    ) from errors[-1]


def _by_skl2onnx(onnx, step, kind):
    inputs = [("rows", kind([None, step.n_features_in_]))]
    convert = package("skl2onnx").to_onnx
    options = {id(step): {"zipmap": False}} if is_classifier(step) else None
    model = convert(step, initial_types=inputs, target_opset=OPSETS, options=options)
    model = package("onnx.inliner").inline_local_functions(model)
    if {node.domain for node in model.graph.node} - set(OPSETS):
        raise ValueError("its graph needs functions of its own")
    return model


def _by_hand(onnx, step, _kind):
    """Trees, a PowerTransformer (its scaling is read off zeros and ones), a SimpleImputer."""
    if (model := tree_model(step)) is not None:
        return model
    if isinstance(step, SimpleImputer) and not step.add_indicator:
        text, arrays = IMPUTER, {"statistics": np.asarray(step.statistics_, dtype=np.float64)}
    elif isinstance(step, PowerTransformer) and step.method == "yeo-johnson":
        powers = np.asarray(step.lambdas_, dtype=np.float64)
        ends = np.stack([0 * powers, 0 * powers + 1])
        _, (offset, at_ones) = made_by(step, ends, "transform")
        divisor = np.where(powers == 0, 1, powers)
        curved = np.where(powers == 0, np.log(2), np.expm1(powers * np.log(2)) / divisor)
        arrays = {"positive_power": powers, "negative_power": 2 - powers, "offset": offset}
        text, arrays["slope"] = YEO_JOHNSON, (at_ones - offset) / curved
    else:
        raise TypeError(f"{type(step).__name__} has no form of our own")
    return written(text.replace("WIDTH", str(step.n_features_in_)), **arrays)


def _same_output(given, takes, wanted, rows, usual):
    """Which output is that of ``transform``, and what must be made NaN in which columns.

    The columns whose NaN it loses; all, and what is larger than a bound, where its operators
    in float32 overflow.
    """
    if wanted is None:
        raise ValueError("its transform takes no row of flat numbers")
    finite, reasons, valid = np.isfinite(wanted).all(axis=1), [], takes.copy()
    valid[takes] = finite
    wanted, is_usual = wanted[finite], np.isin(np.flatnonzero(valid), usual)
    spread = wanted[is_usual].std(axis=0)
    scale = np.where(spread > 0, spread, np.abs(wanted[is_usual]).max(axis=0))
    allowed = TOLERANCE * (scale + np.where(is_usual[:, None], 0, np.abs(wanted)))
    for place, values in enumerate(given):
        if np.shape(values) != (len(rows), wanted.shape[1]):
            reasons.append(f"an output of shape {np.shape(values)}")
            continue
        values = np.asarray(values, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            agrees = (np.abs(values[valid] - wanted) <= allowed).all(axis=1)
        beyond = np.abs(rows[valid]).max(axis=1) > LARGE
        if (agrees | beyond).all():
            lost = ~valid & np.isfinite(values).all(axis=1)
            columns = np.isnan(rows[lost]).any(axis=0) | ~agrees.all()
            bound = np.finfo(np.float64).max if agrees.all() else LARGE
            return place, np.flatnonzero(columns), bound
        example = rows[valid][~agrees][0][:8].tolist()
        reasons.append(f"{(~agrees).sum()} of {len(agrees)} rows otherwise, as of {example}")
    raise ValueError(f"its graph gives {'; '.join(reasons)}")


def _only_output(onnx, model, place, columns, bound):
    """The model with one of its outputs, NaN where rows are too large, or NaN in columns."""
    make, graph, kept = onnx.helper.make_node, model.graph, model.graph.output[place]
    rows, double = graph.input[0], {"to": onnx.TensorProto.DOUBLE}
    lost = np.isin(np.arange(rows.type.tensor_type.shape.dim[1].dim_value), columns)
    arrays = {"bound_": bound, "lost_": lost, "zero_": 0.0, "nan_": np.nan, "axis_": [1]}
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(values), name)
        for name, values in arrays.items()
    )
    nodes = (
        ("Cast", [rows.name], "wide_", double),
        ("Abs", ["wide_"], "size_", {}),
        ("Greater", ["size_", "bound_"], "is_large_", {}),
        ("IsNaN", ["wide_"], "is_nan_", {}),
        ("And", ["is_nan_", "lost_"], "is_lost_", {}),
        ("Or", ["is_large_", "is_lost_"], "is_refused_", {}),
        ("Where", ["is_refused_", "nan_", "zero_"], "nan_or_zero_", {}),
        ("ReduceSum", ["nan_or_zero_", "axis_"], "nan_of_row_", {"keepdims": 1}),
        ("Cast", [kept.name], "unguarded_", double),
        ("Add", ["unguarded_", "nan_of_row_"], "guarded_", {}),
    )
    graph.node.extend(make(kind, given, [out], **more) for kind, given, out, more in nodes)
    del graph.output[:]
    shape = ("n", None)
    graph.output.append(onnx.helper.make_tensor_value_info("guarded_", double["to"], shape))
    return model
