"""A graph beside Python: rows to try both on, and what each makes of them."""

import warnings
from functools import partial

import numpy as np
from sklearn.utils import _safe_indexing

from sklearn_ood._optional import as_fitted, optional
from sklearn_ood._response import known_of, unwrap
from sklearn_ood.data._tables import is_missing

# A cell of text that is missing: ONNX has no other.
MISSING = ""
# A graph and Python agree when they differ by no more, or by no larger share.
TOLERANCE = 1e-3
# What a p-value may differ by at least: beside calibration rows it jumps.
STEP = 0.05
# Of scores that are larger, labels may differ: 1e-6 of them is more than a threshold's digits.
MOST_COMPARED = 1e12
# What overflows in float32 beyond it may be refused by a graph that Python would answer.
LARGE = 1e15
N_ROWS, MAX_ROWS = 64, 1000
# Columns that are made NaN one by one; of more, every so many.
MAX_COLUMNS = 512


def package(name):
    return optional(name, "to_onnx", "onnx")


def run(model, feeds):
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(model.SerializeToString(), options)
    kinds = {each.name: each.type for each in session.get_inputs()}
    feeds = {
        name: values.astype(np.float32) if kinds[name] == "tensor(float)" else values
        for name, values in feeds.items()
    }
    with np.errstate(over="ignore"):
        return session.run(None, feeds)


def is_text(column):
    categories = getattr(column.dtype, "categories", column)
    return getattr(categories.dtype, "kind", "O") not in "biuf"


def some_rows(X, branches, n_features):
    """Some of a user's rows, a frame where it has text; without any, typical ones."""
    if X is None:
        return np.concatenate([typical_rows(*each) for each in branches])
    if hasattr(X, "iloc") and any(is_text(X[name]) for name in X.columns):
        return X.iloc[:: -(-len(X) // MAX_ROWS)].reset_index(drop=True)
    X = np.asarray(X, dtype=np.float64)
    return X[:: -(-len(X) // MAX_ROWS)].reshape(-1, n_features)


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
            cells = (MISSING if is_missing(cell) else str(cell) for cell in column)
            values = np.array(list(cells), dtype=object)
        else:
            values = column.astype("float64").to_numpy()
        given[str(name)] = values[:, None]
    return given


def typical_rows(steps, classifier):
    """Rows that come to a network standardised, as far as the steps before can be inverted."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((N_ROWS, classifier.n_features_in_))
    for _, step in reversed(steps):
        try:
            before = np.asarray(step.inverse_transform(rows), dtype=np.float64)
        except Exception:  # whatever an estimator raises that cannot
            before = rows
        fits = before.shape == (N_ROWS, step.n_features_in_) and np.isfinite(before).all()
        rows = before if fits else rng.standard_normal((N_ROWS, step.n_features_in_))
    return rows


def with_edges(rows):
    """Rows, and beside them zeros, other norms, large and tiny numbers, and NaN in a column."""
    if hasattr(rows, "columns"):
        return _frame_with_edges(rows)
    signs = np.where(np.random.default_rng(1).random(rows.shape[1]) < 0.5, -1.0, 1.0)
    sizes = np.array([0.0, 1e-6, 1e-3, 1e3, 1e17, 1e20, 1e30])
    columns = np.arange(0, rows.shape[1], -(-rows.shape[1] // MAX_COLUMNS))
    missing = np.repeat(rows[:1], len(columns), axis=0)
    missing[np.arange(len(columns)), columns] = np.nan
    return np.concatenate([rows, 10 * rows[:9], sizes[:, None] * signs, missing])


def _frame_with_edges(frame):
    """Rows of a table, and beside them larger numbers, and one column's missing in each."""
    pandas, numbers = package("pandas"), frame.select_dtypes("number").columns
    larger = frame.head(9).copy()
    larger[numbers] = larger[numbers] * 10.0
    named = [name for name in numbers if isinstance(name, str)]
    missing = [frame.head(1).assign(**{name: np.nan}) for name in named]
    return pandas.concat([frame, larger, *missing], ignore_index=True)


def is_large(rows):
    """Which rows have a number beyond what float32 can square."""
    numbers = rows.select_dtypes("number") if hasattr(rows, "columns") else rows
    return np.abs(np.asarray(numbers, dtype=np.float64)).max(axis=1, initial=0) > LARGE


def taken(function, rows):
    """Which rows a function of Python takes, and its outputs for them, a tuple of arrays."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names of features, and of overflows
            return np.ones(len(rows), dtype=bool), tuple(map(np.asarray, function(rows)))
    except Exception:  # whatever a foreign estimator raises for rows that it refuses
        if len(rows) == 1:
            return np.zeros(1, dtype=bool), None
    halves = np.array_split(np.arange(len(rows)), 2)
    parts = [taken(function, _safe_indexing(rows, half)) for half in halves]
    made = [outputs for _, outputs in parts if outputs is not None]
    joined = tuple(map(np.concatenate, zip(*made, strict=True))) if made else None
    return np.concatenate([each for each, _ in parts]), joined


def made_by(step, rows, method):
    """Which rows a step takes, and what a method of it makes of these, dense."""

    def function(rows):
        made = getattr(step, method)(as_fitted(step, rows))
        return (made.toarray() if hasattr(made, "toarray") else np.asarray(made),)

    takes, outputs = taken(function, rows)
    made = None if outputs is None else outputs[0]
    # Text stays as it is.
    return takes, made if made is None or made.dtype.kind in "OU" else made.astype(np.float64)


def same_output(model, step, method, usual):
    """Which output is the method's, up to which numbers, and whether it keeps what is NaN."""
    rows, n_usual = with_edges(usual), len(usual)
    takes, wanted = made_by(step, rows, method)
    if wanted is None:
        raise ValueError("its transform takes no row of flat numbers")
    finite, valid, reasons = np.isfinite(wanted).all(axis=1), takes.copy(), []
    valid[takes] = finite
    wanted, is_usual = wanted[finite], np.flatnonzero(valid) < n_usual
    spread = wanted[is_usual].std(axis=0)
    scale = np.where(spread > 0, spread, np.abs(wanted[is_usual]).max(axis=0))
    allowed = TOLERANCE * (scale + np.where(is_usual[:, None], 0, np.abs(wanted)))
    for place, values in enumerate(run(model, {"rows": rows})):
        if np.shape(values) != (len(rows), wanted.shape[1]):
            reasons.append(f"an output of shape {np.shape(values)}")
            continue
        with np.errstate(invalid="ignore"):
            agrees = (np.abs(values[valid].astype(float) - wanted) <= allowed).all(axis=1)
        beyond = np.abs(rows[valid]).max(axis=1) > LARGE
        if (agrees | beyond).all():
            keeps_nan = not np.isfinite(values[~valid].astype(float)).all(axis=1).any()
            return place, None if agrees.all() else LARGE, keeps_nan
        example = rows[valid][~agrees][0][:8].tolist()
        reasons.append(f"{(~agrees).sum()} of {len(agrees)} rows otherwise, as of {example}")
    raise ValueError(f"its graph gives {'; '.join(reasons)}")


def of_python(estimator, first, rows):
    """Which rows an estimator takes, and its answers; its own error where it takes none."""
    answers = partial(_by_python, estimator, first)
    takes, wanted = taken(answers, rows)
    if wanted is None:
        answers(rows[:1])
    return takes, wanted


def check_graph(model, estimator, takes, wanted, rows, threshold):
    """Raise unless a graph gives what the estimator gives, and accepts nothing else."""
    asked, given = unwrap(estimator)[0], run(model, feeds(rows))
    combined = _combined_in(asked)
    refused = np.isnan(given[2]) & ~given[3]
    overflows = refused & is_large(rows)
    differs, both = np.where(takes, refused & ~overflows, ~refused), takes & ~refused
    if both.any():
        of_both = [part[both] for part in given], [part[both[takes]] for part in wanted]
        step = STEP if combined is None else max(STEP, 2 / combined.n_calibration_)
        differs[both] = _differ(*of_both, threshold, step)
    if differs.any() or not both.any():
        raise TypeError(
            f"Got {type(asked).__name__}, whose graph answers {int(differs.sum())} of "
            f"{len(rows)} rows otherwise than Python, such as "
            f"{np.asarray(rows)[differs][:1, :8].tolist()}; it has no reliable ONNX form."
        )


def _combined_in(asked):
    combined = unwrap(getattr(asked, "estimator_", asked))[0]
    return combined if hasattr(combined, "p_values") else None


def _by_python(estimator, first, rows):
    """What a graph gives, by the estimator; p-values and confidence by a combination."""
    inner, rows = unwrap(estimator, as_fitted(first, rows))
    score = known_of(inner, rows)
    accepts = getattr(inner, "accept", None)
    accepted = score > -np.inf if accepts is None else accepts(rows)
    said = inner.predict(rows), inner.predict_proba(rows), score, accepted
    combined = _combined_in(inner)
    if combined is None:
        return said
    _, rows = unwrap(getattr(inner, "estimator_", inner), rows)
    return *said, combined.p_values(rows), combined.confidence(rows)


def _differ(given, wanted, threshold, step):
    """Which rows differ by more than rounding; a p-value may by a step."""
    label, proba, score, accepted, *more = given
    label_, proba_, score_, accepted_, *more_ = wanted
    limit = np.broadcast_to(-np.inf if threshold is None else threshold, proba.shape[1])
    best = np.partition(proba, -2, axis=1)[:, -2:] if proba.shape[1] > 1 else proba
    sure = ~np.isclose(score_, limit[proba_.argmax(axis=1)], TOLERANCE, TOLERANCE)
    sure &= (best[:, -1] - best[:, 0] > TOLERANCE) | (proba.shape[1] == 1)
    sure &= np.abs(score_) < MOST_COMPARED
    differs = sure & ((label != label_) | (accepted != accepted_))
    differs |= ~np.isclose(proba, proba_, 0, TOLERANCE).all(axis=1)
    near = np.isclose(score, score_, TOLERANCE, TOLERANCE)
    if more:  # a log p-value, as steep as calibration rows are close
        near |= np.isclose(np.exp(score), np.exp(score_), TOLERANCE, step)
    for values, values_ in zip(more, more_, strict=True):
        near &= np.isclose(values, values_, TOLERANCE, step)
    return differs | ~near
