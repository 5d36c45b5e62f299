"""Loaders for real tables kept as npz files."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import Bunch

from sklearn_ood.datasets._files import check_split, data_folder, look_up, missing

DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class _Table:
    file: str
    n_train: int | None = None
    target_names: tuple = ()


TABLES = {
    "letter_recognition": _Table("tabular/letter_recognition.npz", n_train=16_000),
    "pendigits_multiclass": _Table(
        "tabular/pendigits_multiclass.npz", n_train=7_494, target_names=DIGITS
    ),
    "wine_quality": _Table("tabular/wine_quality.npz"),
    "dry_bean": _Table("tabular/dry_bean.npz"),
    **{
        file.partition("_")[2]: _Table(
            f"adbench/{file}.npz", target_names=("normal", "anomaly")
        )
        for file in (
            "6_cardio",
            "10_cover",
            "20_letter",
            "23_mammography",
            "25_musk",
            "28_pendigits",
            "31_satimage-2",
            "32_shuttle",
            "38_thyroid",
        )
    },
}


def _read_table(path):
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    if "X_train" in arrays:
        arrays["X"] = np.concatenate([arrays["X_train"], arrays["X_test"]])
        arrays["y"] = np.concatenate([arrays["y_train"], arrays["y_test"]])
    return arrays


def load_tabular(name, *, split="all", data_home=None, return_X_y=False):
    """Load a table with classes, or with normal rows and anomalies.

    With several classes, from the files ``tabular/<name>.npz``: ``letter_recognition`` (26
    letters), ``pendigits_multiclass`` (10 digits; other writers in test than in train),
    ``wine_quality`` (quality 3 to 9; ``is_red`` can serve as a shift) and ``dry_bean`` (7
    kinds, sorted: shuffle).

    With labels 0 for normal and 1 for an anomaly, from the files
    ``adbench/<number>_<name>.npz`` of [1]_: ``cardio``, ``cover``, ``letter``,
    ``mammography``, ``musk``, ``pendigits``, ``satimage-2``, ``shuttle`` and ``thyroid``. The
    two ``pendigits`` are the same measurements and must not count as independent; the two
    letter sets have different features.

    A file holds the rows ``X`` and integer labels ``y``, or ``X_train``, ``y_train``,
    ``X_test`` and ``y_test``; ``feature_names`` and ``class_names`` are optional.

    Parameters
    ----------
    name : str
        The set, as named above.
    split : {"train", "test", "all"}, default="all"
        The part. Only ``letter_recognition`` (the first 16,000 rows train) and
        ``pendigits_multiclass`` have a usual train and test part.
    data_home : str or path, default=None
        Folder that has ``tabular`` and ``adbench``. None means the environment variable
        ``SKLEARN_OOD_DATA``, and where that is not set scikit-learn's
        :func:`~sklearn.datasets.get_data_home`.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : Bunch
        With ``data`` of shape (n_samples, n_features) and dtype float64; ``target`` of shape
        (n_samples,) and dtype int64; ``feature_names``, empty where the file has none;
        ``target_names``, which ``target`` indexes, empty where the labels are numbers of their
        own; ``filename``; for ``wine_quality`` also ``is_red``.
    (data, target) : tuple
        If ``return_X_y``.

    Raises
    ------
    FileNotFoundError
        If the file is missing; the message says which file belongs where.
    ValueError
        If the name is not known or the set lacks the split.

    References
    ----------
    .. [1] Han, Hu, Huang, Jiang and Zhao, "ADBench: Anomaly Detection Benchmark", NeurIPS
       2022.

    Examples
    --------
    >>> from sklearn_ood.datasets import load_tabular
    >>> X, y = load_tabular("dry_bean", return_X_y=True)  # doctest: +SKIP
    >>> X.shape  # doctest: +SKIP
    (13611, 16)
    """
    spec = look_up(name, TABLES)
    check_split(split, () if spec.n_train is None else ("train", "test"), name)
    folder = data_folder(data_home)
    path = folder / spec.file
    if not path.is_file():
        raise missing("load_tabular", name, folder, (spec.file,))
    arrays = _read_table(path)
    rows = {
        "train": slice(None, spec.n_train),
        "test": slice(spec.n_train, None),
        "all": slice(None),
    }[split]
    data = arrays["X"][rows].astype(np.float64)
    target = arrays["y"][rows].astype(np.int64)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        feature_names=list(arrays.get("feature_names", ())),
        target_names=list(arrays.get("class_names", spec.target_names)),
        filename=str(path),
        **({"is_red": arrays["is_red"]} if "is_red" in arrays else {}),
    )
