"""Files of a checksum, a line of JSON with the versions, and an archive of skops."""

import hashlib
import io
import json
import os
import secrets
import warnings
import zipfile
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch

from sklearn_ood._version import __version__
from sklearn_ood.nets._training import resolve_device
from sklearn_ood.persistence._parts import GIVEN, name_of, with_parts
from sklearn_ood.persistence._reader import Refused, checked, require

FORMAT_VERSION, MAX_HEADER = 2, 4096
PACKAGES = ("scikit-learn", "torch", "numpy", "scipy", "skorch", "skops")


def save(estimator, path, *, modules=()):
    """Write an estimator into one file, without pickle.

    What is scikit-learn's is written by skops (an archive of arrays and one description);
    networks are their weights alone, stored for prediction: without optimizers and callbacks.
    The file has the versions of the packages and a checksum. It replaces an older one only when
    it is whole on the disk, with its mode; a symbolic link is followed.

    Parameters
    ----------
    estimator : estimator
        Of this package or of scikit-learn, fitted or not, also nested. Its parameters must be
        as they were in ``fit``, since networks are built again from them.
    path : str or path-like
    modules : sequence of networks, classes and functions, default=()
        Your own ones that the estimator holds, such as your network, its class or a
        ``functools.partial`` of it. Their code is not stored: give them to :func:`load` again.
        What they make must answer as the estimator's own networks.

    Raises
    ------
    TypeError
        If a part of the estimator cannot be stored; the message says which and what to do.
    OSError
        If the file cannot be written; an older file is then as it was.

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

    header, stream = {"format": FORMAT_VERSION, "versions": _versions()}, io.BytesIO()
    with _given(modules, "estimator", TypeError):
        with torch.device("meta"):
            data = skops.io.dumps(with_parts(estimator))
            reader = checked(data, is_ours=True)
        if modules:  # made anew, to see that they answer as the saved ones
            with torch.device("cpu"):
                checked(data, is_ours=True)
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("schema.json", json.dumps(reader.description))
        for name in sorted(reader.files):
            archive.writestr(name, reader.archive.read(name))
    data = json.dumps(header).encode() + b"\n" + stream.getvalue()
    _replace(Path(os.path.realpath(path)), _checksum(data) + data)


def load(path, *, modules=(), device="cpu"):
    """Read an estimator that :func:`save` wrote; no code from the file is run.

    A file holds names and values. The names are of an exact list (the estimators of this
    package and of scikit-learn, what these hold, a few functions) or in `modules`; attributes
    are parameters and what a class declares; networks are built by the estimator and only
    filled. All is checked before anything is made. The checksum finds accidents: whoever writes
    a file can compute it, and can still choose what the model predicts.

    Parameters
    ----------
    path : str or path-like
    modules : sequence of networks, classes and functions, default=()
        Your own ones that were given to :func:`save`. In place of a network, another of the
        same layers, which is copied, or its class: a callable ``(n_features_in,
        n_outputs)`` of the same name, which the parameter then is.
    device : str, default="cpu"
        Where the networks go; "auto" is CUDA where there is one.

    Raises
    ------
    ValueError
        If the file is damaged, truncated, a pickle, or of another format, names what is not
        allowed, or holds what does not fit together. Nothing was made then.

    Warns
    -----
    UserWarning
        If a package has another version than when the file was saved.
    """
    import skops.io  # slow to import

    device = resolve_device(device)
    with Path(path).open("rb") as file:
        checksum, data = file.read(64), file.read()
    with _given(modules, path, ValueError):
        what = "that is not a whole file of save; a pickle or a file of before is never opened"
        require(_checksum(data) == checksum, what, "get it again, or save it anew")
        header = json.loads(data[: data.index(b"\n", 0, MAX_HEADER)])
        newer = f"of format version {header['format']}, but {__version__} reads up to "
        is_known = header["format"] <= FORMAT_VERSION
        require(is_known, f"{newer}{FORMAT_VERSION}", "use a newer sklearn_ood")
        saved, here = header["versions"], _versions().items()
        others = [f"{p} {saved[p]} (here {v})" for p, v in here if saved.get(p, v) != v]
        with torch.device("meta"):
            names = checked(data).names
        with torch.device(device):
            estimator = skops.io.loads(data, trusted=sorted(names))
    if others:
        message = f"{path} was saved with {', '.join(others)}: it may predict otherwise."
        warnings.warn(message, stacklevel=2)
    return estimator


@contextmanager
def _given(modules, subject, error_type):
    """What the caller gives by name, while a file is read; every error says of what."""
    names = list(map(name_of, modules))
    token = GIVEN.set(dict(zip(names, modules, strict=True)))
    try:
        is_known = all(map(callable, modules)) and len(set(names)) == len(names)
        expected = "expected networks, classes or functions of different names"
        require(is_known, f"and modules={modules!r}", expected)
        yield
    except Exception as error:
        reason = f"that is damaged, contains itself or is not as it was fitted: {error!r}"
        reason = error if isinstance(error, Refused) else reason
        raise error_type(f"Got {subject} {reason}") from error
    finally:
        GIVEN.reset(token)


def _replace(path, data):
    """Put a file in place of another, whole or not at all, with its mode."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    is_new = not path.exists()
    temporary.touch(0o666 if is_new else 0o600, exist_ok=False)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod((temporary if is_new else path).stat().st_mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _checksum(data):
    return hashlib.sha256(data).hexdigest().encode()


def _versions():
    return {package: version(package) for package in PACKAGES} | {"sklearn_ood": __version__}
