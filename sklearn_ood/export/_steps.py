"""Transformers as tensor operations, or by skl2onnx; each as scikit-learn's ``transform``."""

from functools import singledispatch

import numpy as np
import torch
from sklearn import preprocessing
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils._indexing import _get_column_indices

from sklearn_ood._optional import as_fitted
from sklearn_ood.combined._columns import FARTHEST, ClassWhitening, ColumnRanks
from sklearn_ood.combined._conformal import between, n_below
from sklearn_ood.data._tables import TableEncoder
from sklearn_ood.export._comparison import made_by, package, same_output
from sklearn_ood.export._flow import LARGEST, Flow, clipped, places_in, tensor

# The newest operators that both torch's and scikit-learn's converters write.
OPSETS = {"": 18, "ai.onnx.ml": 3}


def through(steps, flow):
    for name, step in steps:
        if step not in (None, "passthrough"):
            flow = transformed(step, flow, name)
    return flow


@singledispatch
def transformed(step, flow, name):
    if hasattr(step, "feature_network_"):
        return flow.to(flow.by_network(flow.parts.on_cpu(step, "feature_network_")))
    return converted(step, flow, name, "transform")


@transformed.register
def _(step: Pipeline, flow, name):
    return through(step.steps, flow)


@transformed.register
def _(step: ColumnTransformer, flow, name):
    parts, frame = [], as_fitted(step, np.empty((0, step.n_features_in_)))
    for name, transformer, columns in step.transformers_:
        places = _get_column_indices(frame, columns)
        if places and not (isinstance(transformer, str) and transformer == "drop"):
            part = through([(name, transformer)], flow.select(places))
            if any(part.texts):
                raise TypeError(f"Got text in the columns {columns} of {name!r}; encode it.")
            parts.append(part)
    return parts[0].to(torch.cat([part.values for part in parts], dim=1))


@transformed.register
def _(step: preprocessing.FunctionTransformer, flow, name):
    return flow if step.func is None else transformed.dispatch(object)(step, flow, name)


@transformed.register
def _(step: SimpleImputer, flow, name):
    values, missing = step.statistics_, step.missing_values
    is_plain = not step.add_indicator and isinstance(missing, float) and np.isnan(missing)
    if not is_plain or any(each != each for each in values):
        return transformed.dispatch(object)(step, flow, name)
    filling = [flow.places(column, [value])[0] for column, value in enumerate(values)]
    filled = torch.where(flow.values.isnan(), tensor(filling), flow.values)
    return Flow(filled, flow.parts, flow.texts)


@transformed.register
def _(step: preprocessing.PowerTransformer, flow, name):
    """Yeo and Johnson's power, whose scaling is read off zeros and ones."""
    if step.method != "yeo-johnson":
        return transformed.dispatch(object)(step, flow, name)
    powers = np.asarray(step.lambdas_, dtype=np.float64)
    offset, at_ones = made_by(step, np.outer([0.0, 1.0], np.ones(len(powers))), "transform")[1]
    offset, scaled_one = tensor(offset), tensor(at_ones - offset)

    def curve(size, power):
        is_log = power == 0
        raised = (size + 1) ** power - 1
        return torch.where(is_log, (size + 1).log(), raised / torch.where(is_log, 1.0, power))

    negative, powers = flow.values < 0, tensor(powers)
    curved = curve(flow.values.abs(), torch.where(negative, 2 - powers, powers))
    slope = scaled_one / curve(torch.ones_like(powers), powers)
    scaled = torch.where(negative, -curved, curved) * slope + offset
    return flow.guarded(scaled, allow_nan=True)


@transformed.register(preprocessing.OneHotEncoder)
@transformed.register(preprocessing.OrdinalEncoder)
def _(step, flow, name):
    infrequent = getattr(step, "infrequent_categories_", None) or []
    if any(each is not None for each in infrequent):
        raise TypeError(f"Got {step}, whose infrequent categories have no ONNX form here.")
    parts = []
    for column, categories in enumerate(step.categories_):
        present = [each for each in categories.tolist() if each is not None and each == each]
        cells, n_present = flow.values[:, column], len(present)
        place = places_in(flow.places(column, present), cells)
        is_unknown = (place == n_present) & ~cells.isnan()
        place = torch.where(is_unknown, len(categories), place)
        parts.append(tensor(_codes(step, column, n_present))[place])
    return flow.guarded(torch.cat(parts, dim=1), allow_nan=True)


def _codes(step, column, n_present):
    """Of each category of a column, of what is missing among these, and last of another."""
    n = len(step.categories_[column])
    if isinstance(step, preprocessing.OneHotEncoder):
        dropped = None if step.drop_idx_ is None else step.drop_idx_[column]
        codes = np.eye(n + 1, n)[:, np.arange(n) != dropped]
    else:
        codes = np.arange(n + 1.0)[:, None]
        codes[n_present:n] = step.encoded_missing_value
        codes[n] = np.nan if step.unknown_value is None else step.unknown_value
    if step.handle_unknown == "error":
        codes[n] = np.inf
    return codes


@transformed.register
def _(step: ColumnRanks, flow, name):
    values, known = flow.values, np.ascontiguousarray(step.quantiles_.T)
    levels = np.tile(step.references_, (len(known), 1))
    below = (n_below(known, values, strictly=strictly) for strictly in (False, True))
    shares = [between(known, levels, values, each) for each in below]
    lowest, highest = tensor(known[:, 0]), tensor(known[:, -1])
    share = torch.where(values == highest, 1.0, sum(shares) / 2)
    share = torch.where(values == lowest, 0.0, share)
    return flow.guarded(share + (values - values.clip(lowest, highest)) / tensor(np.sqrt(12)))


@transformed.register
def _(step: ClassWhitening, flow, name):
    return flow.guarded(flow.values.clamp(-FARTHEST, FARTHEST) @ tensor(step.axes_))


@transformed.register
def _(step: TableEncoder, flow, name):
    return indicated(step.indicators_, read(step.columns_, flow))


def indicated(indicators, flow):
    numbers = flow.select(indicators.numbers).values
    numbers = (numbers - tensor(indicators.centre)) / tensor(indicators.scale)
    numbers = clipped(numbers, LARGEST)
    codes = flow.select(indicators.columns).values.nan_to_num(-1.0)
    marks = (codes == tensor(indicators.codes)).double()
    made = torch.cat([numbers.nan_to_num(0.0), marks], dim=1)
    return flow.guarded(made, allow_nan=True)


def read(columns, flow):
    values = flow.values
    made = list(clipped(values, LARGEST).unbind(1))
    for column, (kind, levels) in enumerate(zip(columns.kinds, columns.levels, strict=True)):
        if kind == "empty":
            made[column] = torch.full_like(made[column], torch.nan)
        elif kind == "category":
            cells = values[:, column]
            code = places_in(flow.places(column, levels.tolist()), cells).double()
            made[column] = torch.where(cells.isnan(), torch.nan, code)
        elif flow.texts[column] is not None:
            raise TypeError(
                "Got text in a column that held numbers in fit; pass X as it was for fit."
            )
    return flow.guarded(torch.stack(made, dim=1), allow_nan=True)


def allows_nan(estimator):
    return get_tags(estimator).input_tags.allow_nan


def converted(step, flow, name, method):
    """Rows behind a method of a step, as skl2onnx writes it and Python confirms."""
    if any(each is not None for each in flow.texts):
        raise TypeError(
            f"Got text before the step {name!r} ({type(step).__name__}), which has no ONNX "
            "form for it; put an encoder before it, in a ColumnTransformer."
        )
    key = id(step), method
    model, bound, allow_nan = flow.parts.once(
        (*key, "model"), lambda: _model(step, flow, name, method)
    )
    made = flow.by_model(key, lambda: model)
    if bound is not None:
        is_beyond = (flow.values.abs() > bound).any(dim=1, keepdim=True)
        made = torch.where(is_beyond, torch.inf, made)
    return flow.guarded(made, allow_nan=allow_nan)


def _model(step, flow, name, method):
    """A model, in double where it can be; up to which numbers it holds, and whether of NaN."""
    types, errors, usual = package("skl2onnx").common.data_types, [], flow.values.numpy()
    usual = usual[np.isfinite(usual).all(axis=1)]
    for kind in (types.DoubleTensorType, types.FloatTensorType):
        try:
            model = _by_skl2onnx(step, kind)
            place, bound, keeps_nan = same_output(model, step, method, usual)
            del model.graph.output[place + 1 :], model.graph.output[:place]
            return model, bound, keeps_nan and allows_nan(step)
        except Exception as error:  # skl2onnx raises whatever a converter stumbles over
            errors.append(error)
    raise TypeError(
        f"Got the step {name!r} ({type(step).__name__}), which skl2onnx cannot convert for "
        "flat rows; register a converter for it (skl2onnx.update_registered_converter), or "
        f"leave it out and apply it before the graph: {errors[-1]}"
    ) from errors[-1]


def _by_skl2onnx(step, kind):
    inputs = [("rows", kind([None, step.n_features_in_]))]
    options = {id(step): {"zipmap": False}} if is_classifier(step) else None
    convert = package("skl2onnx").to_onnx
    model = convert(step, initial_types=inputs, target_opset=OPSETS, options=options)
    model = package("onnx.inliner").inline_local_functions(model)
    if {node.domain for node in model.graph.node} - set(OPSETS):
        raise ValueError("its graph needs functions of its own")
    package("onnx").checker.check_model(model, full_check=True)
    return model
