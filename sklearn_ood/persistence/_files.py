"""Keep an estimator in a file that runs no code when it is read."""

import hashlib
import json
import os
import platform
import secrets
import warnings
from importlib.metadata import version
from pathlib import Path

import safetensors
import safetensors.numpy
from sklearn.base import BaseEstimator

from sklearn_ood._version import __version__
from sklearn_ood.persistence._encoding import Reader, Writer, field
from sklearn_ood.persistence._kinds import KINDS

__all__ = ["load", "save"]

FORMAT_VERSION = 1
PACKAGES = ("scikit-learn", "torch", "numpy", "scipy", "skorch")


def save(estimator, path, *, modules=()):
    """Write an estimator into one file, without pickle.

    The file is in the safetensors format: weights and arrays under names that say where
    they belong, all else as JSON in its metadata, with the versions of the packages and a
    checksum. It replaces an older one only when it is whole on the disk.

    Parameters
    ----------
    estimator : estimator
        Of this package or of scikit-learn, fitted or not, also nested.
    path : str or path-like
    modules : sequence of classes and functions, default=()
        Your own ones that the estimator holds, such as the class of your network. Their
        code is not stored: give them to :func:`load` again.

    Raises
    ------
    TypeError
        If a part of the estimator cannot be stored; the message says which and what to do.
    OSError
        If the file cannot be written; an older file is then as it was.

    See Also
    --------
    load : Read it again.

    Notes
    -----
    Networks are stored for prediction: optimizers and callbacks are left out. Tensors are
    stored as CPU tensors.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import GenerativeClassifier, load, save
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = GenerativeClassifier("pca").fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(classifier, Path(folder) / "iris.ood")
    ...     again = load(Path(folder) / "iris.ood")
    >>> bool((again.score_samples(X) == classifier.score_samples(X)).all())
    True
    """
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(
            f"Got estimator of type {type(estimator).__name__}, but expected an estimator of "
            "sklearn_ood or scikit-learn."
        )
    writer = Writer(KINDS, modules)
    root = writer.node(estimator, "estimator")
    content = {"format": FORMAT_VERSION, "versions": _versions(), "estimator": root}
    document = json.dumps(content, allow_nan=False, separators=(",", ":"))
    metadata = {"sklearn_ood": document, "sha256": _checksum(document, writer.arrays)}
    _replace(Path(path), safetensors.numpy.save(writer.arrays, metadata))


def load(path, *, modules=(), device="cpu"):
    """Read an estimator that :func:`save` wrote; no code from the file is run.

    Parameters
    ----------
    path : str or path-like
    modules : sequence of classes and functions, default=()
        Your own ones that were given to :func:`save`.
    device : str, default="cpu"
        Where the networks go; "auto" is CUDA where there is one.

    Returns
    -------
    estimator

    Raises
    ------
    ValueError
        If the file is damaged or truncated, does not fit its checksum, is of a newer format,
        carries a pickle, or names a class or function that is not allowed.

    Warns
    -----
    UserWarning
        If a package has another version than when the file was saved.

    See Also
    --------
    save : Write the file.

    Notes
    -----
    Allowed are the classes of this package, the public estimators of scikit-learn, the layers
    of ``torch.nn``, and `modules`. The checksum finds accidents, and changes by whoever does
    not know it; it is no signature. Who can write the file can still choose what the model
    predicts.

    Examples
    --------
    See :func:`save`.
    """
    document, arrays = _read(Path(path))
    try:
        content = json.loads(document)
    except json.JSONDecodeError as error:
        raise ValueError(f"Got {path} whose description is damaged: {error}") from error
    file_format = field(content, "format", int)
    if file_format > FORMAT_VERSION:
        raise ValueError(
            f"Got {path} of format version {file_format}, but sklearn_ood {__version__} reads "
            f"up to {FORMAT_VERSION}; use a newer sklearn_ood."
        )
    _warn_of_other_versions(path, field(content, "versions", dict))
    reader = Reader(KINDS, arrays, modules, device)
    estimator = reader.value(field(content, "estimator", dict))
    if not isinstance(estimator, BaseEstimator):
        raise ValueError(f"Got {path} with a {type(estimator).__name__}, not an estimator.")
    if reader.unread:
        raise ValueError(f"Got {path} with data that no part uses: {sorted(reader.unread)}.")
    return estimator


def _read(path):
    """Description and arrays of a file, after the checks of its form and checksum."""
    with path.open("rb") as file:
        head = file.read(9)
    if head[:1] == b"\x80" and head[8:] != b"{":
        raise ValueError(f"Got {path}, which is a pickle: load never opens one; see save.")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"Got {path}, which is truncated, damaged or not from save: {error}"
        ) from error
    if not {"sklearn_ood", "sha256"} <= metadata.keys():
        raise ValueError(f"Got {path}, which holds weights, but no estimator of save.")
    document = metadata["sklearn_ood"]
    if _checksum(document, arrays) != metadata["sha256"]:
        raise ValueError(
            f"Got {path}, which does not fit its checksum: it was changed after save; get it "
            "again from where it was saved."
        )
    return document, arrays


def _replace(path, data):
    """Put a file in place of another, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _checksum(document, arrays):
    digest = hashlib.sha256(document.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _versions():
    versions = {package: version(package) for package in PACKAGES}
    return versions | {"sklearn_ood": __version__, "python": platform.python_version()}


def _warn_of_other_versions(path, saved):
    others = [
        f"{package} {saved[package]} (here {here})"
        for package, here in _versions().items()
        if package != "python" and saved.get(package, here) != here
    ]
    if others:
        warnings.warn(
            f"{path} was saved with {', '.join(others)}: the model may predict otherwise, or "
            "not at all.",
            UserWarning,
            stacklevel=3,
        )
