"""Keep an estimator in a file that runs no code when it is read."""

import hashlib
import io
import json
import os
import platform
import secrets
import shutil
import warnings
import zipfile
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from sklearn.base import BaseEstimator
from torch import nn

from sklearn_ood._version import __version__
from sklearn_ood.nets._training import resolve_device
from sklearn_ood.persistence._checks import Reader
from sklearn_ood.persistence._parts import GIVEN, require, with_parts

FORMAT_VERSION = 2
MAX_MEMBERS = 2**16
HEADER, SCHEMA = "sklearn_ood.json", "schema.json"
PACKAGES = ("scikit-learn", "torch", "numpy", "scipy", "skorch", "skops")


def save(estimator, path, *, modules=()):
    """Write an estimator into one file, without pickle.

    What is scikit-learn's is written by skops (an archive of arrays and one description);
    networks are their weights alone. The file has the versions of the packages and a
    checksum. It replaces an older one only when it is whole on the disk, with its mode; a
    symbolic link is followed.

    Parameters
    ----------
    estimator : estimator
        Of this package or of scikit-learn, fitted or not, also nested.
    path : str or path-like
    modules : sequence of networks, classes and functions, default=()
        Your own ones that the estimator holds, such as your network or its class. Their
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
    Networks are stored for prediction: optimizers and callbacks are left out. Parameters
    must be as they were in ``fit``, since networks are built again from them.

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
    import skops.io  # slow to import

    with _given(modules, "estimator", TypeError):
        advice = "save keeps estimators of sklearn_ood and scikit-learn"
        kind = type(estimator).__name__
        require(isinstance(estimator, BaseEstimator), f"of type {kind}", advice)
        archive, stream = _archive(skops.io.dumps(with_parts(estimator))), io.BytesIO()
        schema = _shared_once(archive.read(SCHEMA))
        reader = Reader(archive, schema)
        members = {name: archive.read(name) for name in sorted(reader.files)}
        header = {"format": FORMAT_VERSION, "python": platform.python_version()}
        members |= {SCHEMA: schema, HEADER: json.dumps(header | {"versions": _versions()})}
        with zipfile.ZipFile(stream, "w") as file:
            for name, data in members.items():
                file.writestr(zipfile.ZipInfo(name), data)
            file.comment = bytes(64)  # where the checksum will be
        data = stream.getvalue()[:-64]
        skops.io.get_untrusted_types(data=data)  # raises where skops cannot read it
    _replace(Path(os.path.realpath(path)), data + _checksum(data))


def load(path, *, modules=(), device="cpu"):
    """Read an estimator that :func:`save` wrote; no code from the file is run.

    Parameters
    ----------
    path : str or path-like
    modules : sequence of networks, classes and functions, default=()
        Your own ones that were given to :func:`save`. In place of a network, another of the
        same layers, which is copied, or a callable ``(n_features_in, n_outputs)`` of the
        same name that makes one.
    device : str, default="cpu"
        Where the networks go; "auto" is CUDA where there is one.

    Returns
    -------
    estimator

    Raises
    ------
    ValueError
        If the file is damaged or truncated, does not fit its checksum, is of a newer format,
        carries a pickle, names what is not allowed, or holds what does not fit together.

    Warns
    -----
    UserWarning
        If a package has another version than when the file was saved.

    See Also
    --------
    save : Write the file.

    Notes
    -----
    A file holds names and values, no code. The names are of an exact list (the estimators of
    this package and of scikit-learn, what these hold, a few functions) or in `modules`;
    attributes are parameters and what a class declares; networks are built by the estimator
    and only filled. All indices are checked before anything is made. The checksum finds
    accidents: whoever writes a file can compute it, and can still choose what the model
    predicts.

    Examples
    --------
    See :func:`save`.
    """
    import skops.io  # slow to import

    data = Path(path).read_bytes()
    with _given(modules, path, ValueError, str(resolve_device(device))):
        require(data[8:9] != b"{", "of format version 1", "it is read no more; save it anew")
        require(data[:1] != b"\x80", "that is a pickle", "load never opens one; see save")
        advice = "it is truncated, damaged or not from save; get it again where it was saved"
        require(_checksum(data[:-64]) == data[-64:], "that does not fit its checksum", advice)
        archive = _archive(data)
        header = json.loads(archive.read(HEADER))
        other = f"of format version {header['format']}, but {__version__} reads up to "
        advice = "use a newer sklearn_ood"
        require(header["format"] <= FORMAT_VERSION, f"{other}{FORMAT_VERSION}", advice)
        reader = Reader(archive, archive.read(SCHEMA))
        used = sorted(reader.files | {HEADER, SCHEMA})
        require(sorted(archive.namelist()) == used, "with data that no part uses, or twice")
        saved, here = header["versions"], _versions().items()
        others = [f"{p} {saved[p]} (here {v})" for p, v in here if saved.get(p, v) != v]
        if others:
            message = f"{path} was saved with {', '.join(others)}: it may predict otherwise."
            warnings.warn(message, stacklevel=2)
        estimator = skops.io.loads(data, trusted=sorted(reader.names))
        kind = type(estimator).__name__
        require(isinstance(estimator, BaseEstimator), f"with a {kind}, not an estimator")
    return estimator


@contextmanager
def _given(modules, subject, error_type, device="cpu"):
    """What the caller gives by name, while a file is read; every error says of what."""
    for value in modules:
        if not (isinstance(value, nn.Module) or hasattr(value, "__qualname__")):
            expected = "networks, classes or functions"
            raise TypeError(f"Got modules with {value!r}, but expected {expected}.")
    given = {getattr(each, "__qualname__", type(each).__qualname__): each for each in modules}
    if len(given) < len(modules):
        raise ValueError(f"Got modules={modules!r}, but expected different names.")
    token = GIVEN.set((given, device))
    try:
        yield
    except Exception as error:
        message = str(error).replace("Got a file", f"Got {subject}")
        if isinstance(error, RecursionError):
            message = f"Got {subject} that contains itself, or whose parts are too deep."
        elif not message.startswith("Got"):
            message = f"Got {subject} that is damaged, or cannot be stored: {error!r}"
        raise error_type(message) from error
    finally:
        GIVEN.reset(token)


def _archive(data):
    """An archive that is no larger than it looks."""
    require(data.count(b"PK\x01\x02") < MAX_MEMBERS, f"with more than {MAX_MEMBERS} members")
    archive = zipfile.ZipFile(io.BytesIO(data))
    found = archive.infolist()
    is_plain = {entry.compress_type for entry in found} <= {zipfile.ZIP_STORED}
    is_plain = is_plain and sum(entry.file_size for entry in found) < len(data)
    require(is_plain, "with compressed or overlapping members")
    return archive


def _shared_once(schema):
    """A description in which a part that occurs again is only referred to."""
    seen, plain = {}, ("JsonNode", "TypeNode", "FunctionNode")

    def refer(node):
        key = node.pop("__id__", None)
        if key in seen:
            return {"__id__": seen[key]}
        if key is not None and node["__loader__"] not in plain:
            node["__id__"] = seen[key] = len(seen) + 1
        return node

    description = json.loads(schema, object_hook=refer)
    return json.dumps(description, separators=(",", ":")).encode()


def _replace(path, data):
    """Put a file in place of another, whole or not at all, with its mode."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.touch(0o600 if path.exists() else 0o666, exist_ok=False)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _checksum(data):
    return hashlib.sha256(data).hexdigest().encode()


def _versions():
    return {package: version(package) for package in PACKAGES} | {"sklearn_ood": __version__}
