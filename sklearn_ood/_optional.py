"""Packages that not everyone needs, each in an extra of this one."""

from importlib import import_module


def optional(name, needed_by, extra):
    """A module, or an error that says what needs it and how to get it."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f"{needed_by} needs {package}, which is not installed; "
            f'pip install "sklearn-ood[{extra}]".'
        ) from error


def as_fitted(estimator, rows):
    """Rows as a frame where the estimator knows names and pandas is there."""
    names = getattr(estimator, "feature_names_in_", None)
    if hasattr(rows, "columns"):
        return rows
    try:
        return rows if names is None else import_module("pandas").DataFrame(rows, columns=names)
    except ImportError:
        return rows
