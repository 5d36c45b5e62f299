"""Tables in a graph: columns of numbers and of text, their encoders, what reads them whole."""

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

from sklearn_ood.data._encoder import TableEncoder
from sklearn_ood.export._builder import Flow
from sklearn_ood.export._comparison import is_text

# A cell of text that is missing: ONNX has no other.
MISSING = ""
LARGEST = float(np.finfo(np.float32).max)
SELECTED = """
part (double[n, d] rows) => (double[n, m] out) {
    out = Gather<axis = 1>(rows, places)
}
"""
CODES = """
part (string[n, 1] cells) => (double[n, 1] codes) {
    found = ai.onnx.ml.LabelEncoder<KEYS, values_int64s = [PLACES], default_int64 = REST>(cells)
    codes = Cast<to = 11>(found)
}
"""
FILLED = """
part (string[n, 1] cells) => (string[n, 1] out) {
    is_missing = ai.onnx.ml.LabelEncoder<KEYS, values_int64s = [1], default_int64 = 0>(cells)
    mask = Cast<to = 9>(is_missing)
    out = Where(mask, value, cells)
}
"""
PLACES = """
part (double[n, 1] cells) => (double[n, 1] codes) {
    equal = Equal(cells, known)
    is_known = Cast<to = 11>(equal)
    weighted = MatMul(is_known, places)
    found = ReduceSum<keepdims = 1>(is_known, axis)
    absent = Sub(one, found)
    other = Mul(absent, rest)
    present = Add(weighted, other)
    is_missing = IsNaN(cells)
    codes = Where(is_missing, lost, present)
}
"""
ONE_HOT = """
part (double[n, 1] codes) => (double[n, K] out) {
    equal = Equal(codes, places)
    out = Cast<to = 11>(equal)
}
"""
REFUSED = """
part (double[n, 1] codes) => (double[n] out) {
    is_refused = Equal(codes, place)
    column = Where(is_refused, nan, zero)
    out = ReduceSum<keepdims = 0>(column, axis)
}
"""
REPLACED = """
part (double[n, 1] codes) => (double[n, 1] out) {
    is_refused = Equal(codes, place)
    out = Where(is_refused, value, codes)
}
"""
NUMBERS = """
part (double[n, d] rows) => (double[n, d] out) {
    above = Max(rows, lowest)
    clipped = Min(above, highest)
    is_nan = IsNaN(rows)
    out = Where(is_nan, rows, clipped)
}
"""
INDICATED = """
part (double[n, d] rows) => (double[n, K] out) {
    numbers = Gather<axis = 1>(rows, places)
    centred = Sub(numbers, centre)
    scaled = Div(centred, scale)
    is_missing = IsNaN(scaled)
    filled = Where(is_missing, zero, scaled)
    owners = Gather<axis = 1>(rows, columns)
    is_absent = IsNaN(owners)
    cells = Where(is_absent, minus, owners)
    equal = Equal(cells, codes)
    is_one = Cast<to = 11>(equal)
    marks = Mul(is_one, size)
    out = Concat<axis = 1>(filled, marks)
}
"""
AXIS = np.array([1])
# Codes of a cell that no category is equal to, and of a missing one.
UNKNOWN = -1.0


def add_columns(builder, frame):
    """One input for each column of a frame; their names by the column's."""
    types = builder.onnx.TensorProto
    for name in frame.columns:
        kind = types.STRING if is_text(frame[name]) else types.DOUBLE
        builder.add_input(str(name), kind, ("n", 1))
    return {name: str(name) for name in frame.columns}


def feeds(rows):
    """What a graph is given for rows: one array, or one for each column of a frame."""
    if not hasattr(rows, "columns"):
        return {"X": rows}
    given = {}
    for name in rows.columns:
        column = rows[name]
        if is_text(column):
            cells = [
                MISSING if cell is None or cell != cell else str(cell)
                for cell in column.tolist()
            ]
            values = np.array(cells, dtype=object)
        else:
            values = column.astype("float64").to_numpy()
        given[str(name)] = values[:, None]
    return given


def append_by_hand(builder, step, flow):
    """The step's output, or None where it has no form of our own on such rows."""
    for kinds, append in HANDS.items():
        if isinstance(step, kinds):
            return append(builder, step, flow)
    return None


def _select(builder, flow, columns, names=None):
    """Some columns of a flow, one tensor where they are of one kind."""
    if not isinstance(flow.tensor, dict):
        places = np.arange(flow.rows.shape[1])[_positions(columns, names)]
        (tensor,) = builder.append_text(SELECTED, flow.tensor, places=places)
        return Flow(tensor, flow.rows[:, places])
    chosen = flow.rows.columns[_positions(columns, flow.rows.columns)]
    rows = flow.rows[list(chosen)]
    tensors = {name: flow.tensor[name] for name in chosen}
    if any(is_text(rows[name]) for name in chosen):
        return Flow(tensors, rows)
    return Flow(
        builder.append_joined(list(tensors.values())), rows.astype("float64").to_numpy()
    )


def _positions(columns, names):
    """Columns of a ColumnTransformer by position."""
    if names is None or not _has_text(columns):
        return columns
    place = {name: k for k, name in enumerate(names)}
    if isinstance(columns, slice):
        last = None if columns.stop is None else place[columns.stop] + 1  # by label
        return slice(place.get(columns.start), last, columns.step)
    return [place[name] for name in np.atleast_1d(columns).tolist()]


def _has_text(columns):
    ends = [columns.start, columns.stop] if isinstance(columns, slice) else columns
    return any(isinstance(each, str) for each in np.atleast_1d(np.array(ends, dtype=object)))


def _append_column_transformer(builder, step, flow):
    from sklearn_ood.export._steps import append_steps  # they call each other

    parts, names = [], getattr(step, "feature_names_in_", None)
    for name, transformer, columns in step.transformers_:
        if (isinstance(transformer, str) and transformer == "drop") or not np.size(columns):
            continue
        inner = transformer.steps if hasattr(transformer, "steps") else [(name, transformer)]
        some = _select(builder, flow, columns, names)
        part = append_steps(builder, inner, some).tensor
        if isinstance(part, dict):
            raise TypeError(f"Got text in the columns {columns} of {name!r}; encode it.")
        parts.append(part)
    return builder.append_joined(parts)


def _columns(builder, flow):
    """Each column of a flow by itself, and whether it is of text."""
    if isinstance(flow.tensor, dict):
        return [(flow.tensor[name], is_text(flow.rows[name])) for name in flow.rows.columns]
    width = flow.rows.shape[1]
    return [(_select(builder, flow, [k]).tensor, False) for k in range(width)]


def _append_imputer(builder, step, flow):
    """Text alone: the most frequent, or a constant."""
    if not isinstance(flow.tensor, dict) or step.add_indicator:
        return None
    filled = {}
    for name, value in zip(flow.rows.columns, step.statistics_, strict=True):
        text = FILLED.replace("KEYS", _keys([MISSING]))
        (filled[name],) = builder.append_text(
            text, flow.tensor[name], value=np.array([str(value)], dtype=object)
        )
    return filled


def _append_codes(builder, tensor, text, categories, places, missing, rest):
    """Places of the cells of a column among its categories, as (n, 1), or what others get."""
    if text:
        known = [str(each) for each in categories] + [MISSING] * (missing is not None)
        where = [*places, *([] if missing is None else [missing])]
        text = CODES.replace("KEYS", _keys(known))
        text = text.replace("PLACES", ", ".join(str(int(each)) for each in where))
        return builder.append_text(text.replace("REST", str(int(rest))), tensor)[0]
    if any(isinstance(each, str) for each in categories):
        raise TypeError(
            "Got an encoder of text, but no rows with text to try the graph on; pass some rows "
            "of the table as X, a frame of pandas."
        )
    arrays = {
        "known": np.asarray(categories, dtype=np.float64)[None],
        "places": np.asarray(places, dtype=np.float64)[:, None],
        "lost": float(rest if missing is None else missing),
    }
    arrays |= {"axis": np.array([1]), "one": 1.0, "rest": float(rest)}
    return builder.append_text(PLACES, tensor, **arrays)[0]


def _append_encoder(builder, step, flow):
    """A OneHotEncoder or OrdinalEncoder; what Python would refuse is NaN."""
    is_one_hot, parts = isinstance(step, OneHotEncoder), []
    infrequent = getattr(step, "infrequent_categories_", None) or []
    if any(each is not None for each in infrequent):
        raise TypeError(f"Got {step}, whose infrequent categories have no ONNX form here.")
    for k, (tensor, text) in enumerate(_columns(builder, flow)):
        categories = step.categories_[k].tolist()
        present = [each for each in categories if each is not None and each == each]
        missing = len(present) if len(present) < len(categories) else None
        if missing is not None and not text:
            raise TypeError(f"Got {step} with missing numbers as a category; fill them in.")
        where = tensor, text, present, range(len(present)), missing, UNKNOWN
        codes = _append_codes(builder, *where)
        if step.handle_unknown == "error":
            refused = {"place": UNKNOWN, "nan": np.nan, "zero": 0.0, "axis": AXIS}
            builder.refusals += builder.append_text(REFUSED, codes, **refused)
        if is_one_hot:
            dropped = None if step.drop_idx_ is None else step.drop_idx_[k]
            places = np.arange(float(len(categories)))
            places = places if dropped is None else np.delete(places, dropped)
            codes = builder.append_text(ONE_HOT, codes, places=places[None])[0]
        else:
            values = {UNKNOWN: np.nan if step.unknown_value is None else step.unknown_value}
            if missing is not None:
                values[float(missing)] = step.encoded_missing_value
            for place, value in values.items():
                replaced = {"place": place, "value": float(value)}
                codes = builder.append_text(REPLACED, codes, **replaced)[0]
        parts.append(codes)
    return builder.append_joined(parts)


def append_table(builder, columns, flow):
    """Rows as :class:`TableColumns` reads them."""
    rows = flow.tensor
    if isinstance(rows, dict) or columns.is_category.any():
        read = zip(_columns(builder, flow), columns.kinds, columns.levels, strict=True)
        parts = [_append_column(builder, *column, *known) for column, *known in read]
        rows = builder.append_joined(parts)
    limits = {"lowest": -LARGEST, "highest": LARGEST}
    return builder.append_text(NUMBERS, rows, **limits)[0]


def _append_column(builder, tensor, text, kind, levels):
    is_category = kind == "category"
    if not is_category if text else not _are_numbers(levels):
        raise TypeError(
            "Got text in a column that held numbers in fit, or numbers in one of text; pass "
            "rows of the table as X, as they were for fit."
        )
    if not is_category:
        return tensor
    known = levels.tolist() if text else levels.astype(np.float64)
    where = tensor, text, known, range(len(levels)), UNKNOWN, len(levels)
    codes = _append_codes(builder, *where)
    return builder.append_text(REPLACED, codes, place=UNKNOWN, value=np.nan)[0]


def _are_numbers(levels):
    try:
        return np.isfinite(levels.astype(np.float64)).all()
    except ValueError:
        return False


def append_indicators(builder, indicators, tensor, size=1.0):
    """What :class:`Indicators` makes of rows that were read."""
    return builder.append_text(
        INDICATED,
        tensor,
        places=indicators.numbers,
        centre=indicators.centre,
        scale=indicators.scale,
        columns=indicators.columns,
        codes=indicators.codes.astype(np.float64)[None],
        size=float(size),
        zero=0.0,
        minus=-1.0,
    )[0]


def _append_table_encoder(builder, step, flow):
    rows = append_table(builder, step.columns_, flow)
    return append_indicators(builder, step.indicators_, rows, step.indicator_scale)


def _append_identity(builder, step, flow):
    return flow.tensor if step.func is None else None


def _keys(texts):
    quoted = (each.replace("\\", "\\\\").replace('"', '\\"') for each in texts)
    return "keys_strings = [" + ", ".join(f'"{each}"' for each in quoted) + "]"


HANDS = {
    ColumnTransformer: _append_column_transformer,
    (OneHotEncoder, OrdinalEncoder): _append_encoder,
    SimpleImputer: _append_imputer,
    TableEncoder: _append_table_encoder,
    FunctionTransformer: _append_identity,
}
