"""A graph beside Python: rows to try both on, and what each makes of them."""

import warnings
from importlib import import_module

import numpy as np

# A graph and Python agree when they differ by no more, or by no larger share.
TOLERANCE = 1e-3
# What overflows in float32 beyond it may be refused by a graph that Python would answer.
LARGE = 1e15
N_ROWS, MAX_ROWS = 64, 1000
# Columns that are made NaN one by one; of more, every so many.
MAX_COLUMNS = 512


def package(name):
    """A package of the extra "onnx"."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"to_onnx needs the package {name}; install the extra: "
            "pip install 'sklearn-ood[onnx]'."
        ) from error


def run(model, feeds):
    """A model's outputs by onnxruntime."""
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    return runtime.InferenceSession(model.SerializeToString(), options).run(None, feeds)


def some_rows(X, n_features):
    """At most so many of a user's rows, flat and in float64."""
    X = np.asarray(X, dtype=np.float64)
    return X[:: -(-len(X) // MAX_ROWS)].reshape(-1, n_features)


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
    signs = np.where(np.random.default_rng(1).random(rows.shape[1]) < 0.5, -1.0, 1.0)
    sizes = np.array([0.0, 1e-6, 1e-3, 1e3, 1e17, 1e20, 1e30])
    columns = np.arange(0, rows.shape[1], -(-rows.shape[1] // MAX_COLUMNS))
    missing = np.repeat(rows[:1], len(columns), axis=0)
    missing[np.arange(len(columns)), columns] = np.nan
    return np.concatenate([rows, 10 * rows[:9], sizes[:, None] * signs, missing])


def taken(function, rows):
    """Which rows a function of Python takes, and its outputs for them, a tuple of arrays."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names of features, and of overflows
            return np.ones(len(rows), dtype=bool), tuple(map(np.asarray, function(rows)))
    except Exception:  # whatever a foreign estimator raises for rows that it refuses
        if len(rows) == 1:
            return np.zeros(1, dtype=bool), None
    parts = [taken(function, rows[half]) for half in np.array_split(np.arange(len(rows)), 2)]
    made = [outputs for _, outputs in parts if outputs is not None]
    joined = tuple(map(np.concatenate, zip(*made, strict=True))) if made else None
    return np.concatenate([each for each, _ in parts]), joined


def as_fitted(estimator, rows):
    """Rows as a frame where the estimator knows names and pandas is there."""
    names = getattr(estimator, "feature_names_in_", None)
    try:
        return rows if names is None else import_module("pandas").DataFrame(rows, columns=names)
    except ImportError:
        return rows


def transform(step, rows):
    """Which rows a step takes, and what it makes of these, dense."""

    def function(rows):
        made = step.transform(as_fitted(step, rows))
        return (made.toarray() if hasattr(made, "toarray") else np.asarray(made),)

    takes, outputs = taken(function, rows)
    return takes, None if outputs is None else outputs[0].astype(np.float64)
