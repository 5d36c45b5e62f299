"""Transformers before a network as parts of a graph, each compared with its ``transform``."""

import copy

import numpy as np
from sklearn.preprocessing import PowerTransformer

from sklearn_ood.export._comparison import LARGE, TOLERANCE, package, run, transform, with_edges

# The newest operators that both torch's and scikit-learn's converters write.
OPSETS = {"": 18, "ai.onnx.ml": 3}
# Yeo and Johnson's transform in double, which skl2onnx has in float32 only.
YEO_JOHNSON = """
<ir_version: 8, opset_import: ["": 18]>
step (double[n, d] rows) => (double[n, d] out) {
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


def append_steps(onnx, graph, steps, rows):
    """Add the transformers that come before a network; the name of what they give out.

    Each is compared with Python on the rows, as they come to it, and on edge rows.
    """
    source = "X"
    for name, step in steps:
        model = _convert_step(onnx, name, step, with_edges(rows), np.arange(len(rows)))
        part = onnx.compose.add_prefix(model, f"step{len(graph.node)}/")
        source = append_part(onnx, graph, part, [source])[0].name
        _, rows = transform(step, rows)
    return source


def append_part(onnx, graph, model, sources):
    """Add a part that reads ``sources`` and return its outputs."""
    for source, wanted in zip(sources, model.graph.input, strict=True):
        kind = wanted.type.tensor_type.elem_type
        graph.node.append(onnx.helper.make_node("Cast", [source], [wanted.name], to=kind))
    graph.node.extend(model.graph.node)
    graph.initializer.extend(model.graph.initializer)
    return model.graph.output


def _convert_step(onnx, name, step, rows, usual):
    """A transformer as a model that gives the same: by skl2onnx, in double where it can."""
    types, errors = package("skl2onnx").common.data_types, []
    takes, wanted = transform(step, rows)
    for convert, kind, dtype in (
        (_yeo_johnson, types.DoubleTensorType, "f8"),
        (_by_skl2onnx, types.DoubleTensorType, "f8"),
        (_by_skl2onnx, types.FloatTensorType, "f4"),
    ):
        try:
            model = convert(onnx, step, kind)
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
    model = convert(_by_position(step), initial_types=inputs, target_opset=OPSETS)
    model = package("onnx.inliner").inline_local_functions(model)
    if {node.domain for node in model.graph.node} - set(OPSETS):
        raise ValueError("its graph needs functions of its own")
    return model


def _yeo_johnson(onnx, step, _kind):
    """A PowerTransformer; its scaling is read off from what it makes of zeros and ones."""
    if not isinstance(step, PowerTransformer) or step.method != "yeo-johnson":
        raise TypeError("another transform")
    powers = np.asarray(step.lambdas_, dtype=np.float64)
    _, (offset, at_ones) = transform(step, np.stack([0 * powers, 0 * powers + 1]))
    divisor = np.where(powers == 0, 1, powers)
    curved = np.where(powers == 0, np.log(2), np.expm1(powers * np.log(2)) / divisor)
    arrays = {"positive_power": powers, "negative_power": 2 - powers, "offset": offset}
    arrays["slope"] = (at_ones - offset) / curved
    model = package("onnx.parser").parse_model(YEO_JOHNSON)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(values, name) for name, values in arrays.items()
    )
    return model


def _by_position(step):
    """A ColumnTransformer that takes its columns by position where it has them by name."""
    if not (hasattr(step, "transformers_") and hasattr(step, "feature_names_in_")):
        return step
    place = {name: k for k, name in enumerate(step.feature_names_in_)}

    def positions(columns):
        if isinstance(columns, slice):
            names = [place.get(each, each) for each in (columns.start, columns.stop)]
            last = names[1] + 1 if isinstance(columns.stop, str) else names[1]  # by label
            return list(range(len(place)))[names[0] : last : columns.step]
        columns = np.atleast_1d(columns)
        if columns.dtype == bool:
            return np.flatnonzero(columns).tolist()
        return [place.get(each, each) for each in columns.tolist()]

    moved = copy.copy(step)
    moved.transformers_ = [(*part, positions(last)) for *part, last in step.transformers_]
    return moved


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
    """The model with one of its outputs, NaN where one of some columns is, or is too large."""
    make, graph, kept = onnx.helper.make_node, model.graph, model.graph.output[place]
    if len(columns):
        double = {"to": onnx.TensorProto.DOUBLE}
        arrays = {
            "guarded_": columns,
            "bound_": bound,
            "zero_": 0.0,
            "nan_": np.nan,
            "axis_": [1],
        }
        graph.initializer.extend(
            onnx.numpy_helper.from_array(np.asarray(values), name)
            for name, values in arrays.items()
        )
        graph.node.extend(
            [
                make("Gather", [graph.input[0].name, "guarded_"], ["columns_"], axis=1),
                make("Cast", ["columns_"], ["wide_columns_"], **double),
                make("Abs", ["wide_columns_"], ["size_"]),
                make("LessOrEqual", ["size_", "bound_"], ["is_valid_"]),
                make(
                    "Where",
                    ["is_valid_", "zero_", "nan_"],
                    ["zero_or_nan_"],
                ),
                make(
                    "ReduceSum",
                    ["zero_or_nan_", "axis_"],
                    ["nan_of_row_"],
                    keepdims=1,
                ),
                make("Cast", [kept.name], ["unguarded_"], **double),
                make("Add", ["unguarded_", "nan_of_row_"], ["guarded_output"]),
            ]
        )
        shape = ("n", None)
        kept = onnx.helper.make_tensor_value_info("guarded_output", double["to"], shape)
    kept = copy.deepcopy(kept)
    del graph.output[:]
    graph.output.append(kept)
    return model
