"""Loaders for the real data of the papers: images and tables kept as npz files.

The files lie in the folder that ``data_home`` or ``$SKLEARN_OOD_DATA`` names, else in
scikit-learn's. ``help(load_images)``, ``help(load_tabular)`` and ``help(load_frame)`` say what
they hold.
"""

import io
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml, get_data_home
from sklearn.utils import Bunch

DATA_VARIABLE = "SKLEARN_OOD_DATA"
SPLITS = ("train", "test", "all")
DROP_DIGITS = {True: "looks_like_digit", "maybe": "maybe_digit", False: None}
DIGITS = tuple("0123456789")
FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
CIFAR = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


@dataclass(frozen=True)
class OpenML:
    """A set on OpenML, and how to tell that its rows are in their order."""

    name: str
    n_train: int
    test_counts: tuple


@dataclass(frozen=True)
class ImageSet:
    """Files of an image set, the first that is there counts, and what they hold."""

    files: tuple
    input_shape: tuple
    parts: tuple
    target_names: tuple
    openml: OpenML | None = None


MNIST_TEST_COUNTS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)

IMAGES = {
    "mnist": ImageSet(
        ("mnist.npz",),
        (1, 28, 28),
        ("train", "test"),
        DIGITS,
        OpenML("mnist_784", 60_000, MNIST_TEST_COUNTS),
    ),
    "fashion_mnist": ImageSet(
        ("fashion_mnist.npz",),
        (1, 28, 28),
        ("train", "test"),
        FASHION,
        OpenML("Fashion-MNIST", 60_000, (1000,) * 10),
    ),
    "omniglot": ImageSet(("omniglot28.npz",), (1, 28, 28), ("train", "test"), ()),
    "notmnist": ImageSet(("notmnist.npz",), (1, 28, 28), ("test",), tuple("ABCDEFGHIJ")),
    "cifar10": ImageSet(
        ("cifar10.npz", "cifar10_jpeg.npz"),
        (3, 32, 32),
        ("train", "test"),
        CIFAR,
        OpenML("CIFAR_10", 50_000, (1000,) * 10),
    ),
    "tinyimagenet": ImageSet(("tinyimagenet32_jpeg.npz",), (3, 32, 32), ("test",), ()),
}


@dataclass(frozen=True)
class Table:
    """File of a table; its first ``n_train`` rows are the training part, where it has one."""

    file: str
    n_train: int | None = None
    target_names: tuple = ()


TABLES = {
    "letter_recognition": Table("tabular/letter_recognition.npz", n_train=16_000),
    "pendigits_multiclass": Table(
        "tabular/pendigits_multiclass.npz", n_train=7_494, target_names=DIGITS
    ),
    "wine_quality": Table("tabular/wine_quality.npz"),
    "dry_bean": Table("tabular/dry_bean.npz"),
    **{
        file.partition("_")[2]: Table(f"adbench/{file}.npz", target_names=("normal", "anomaly"))
        for file in (
            *("1_ALOI", "4_breastw", "5_campaign", "6_cardio", "7_Cardiotocography"),
            *("8_celeba", "10_cover", "11_donors", "14_glass", "15_Hepatitis"),
            *("17_InternetAds", "19_landsat", "20_letter", "21_Lymphography"),
            *("23_mammography", "24_mnist", "25_musk", "28_pendigits", "29_Pima"),
            *("31_satimage-2", "32_shuttle", "33_skin", "34_smtp", "37_Stamps"),
            *("38_thyroid", "39_vertebral", "42_WBC", "43_WDBC", "45_wine"),
            *("46_WPBC", "47_yeast"),
        )
    },
}


# Tables with categories and missing cells, as they are in their CSV files.
FRAMES = ("credit_g", "horse_colic", "hypothyroid", "phoneme", "segment", "soybean")


def listed(names):
    """Names in quotes, by commas."""
    return ", ".join(repr(name) for name in names)


def look_up(name, known):
    """What is known under a name."""
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"Got name={name!r}, but expected one of {listed(known)}.")
    return known[name]


def check_split(split, available, name):
    """Refuse a part that the set has not."""
    if split not in SPLITS:
        raise ValueError(f"Got split={split!r}, but expected one of {listed(SPLITS)}.")
    if split != "all" and split not in available:
        offered = (*available, "all")
        raise ValueError(
            f"Got split={split!r}, but {name!r} has no such part. Take split= one of "
            f"{listed(offered)}."
        )


def data_folder(data_home):
    """Where data files lie: the argument, the environment's folder, scikit-learn's."""
    if data_home is not None:
        return Path(data_home).expanduser()
    if os.environ.get(DATA_VARIABLE):
        return Path(os.environ[DATA_VARIABLE]).expanduser()
    return Path(get_data_home())


def missing(loader, name, folder, files, advice=""):
    """The error that says which file belongs where."""
    return FileNotFoundError(
        f"{loader}({name!r}) found no file {' or '.join(files)} in {str(folder)!r}. Put it "
        f"there, pass the folder that has it as data_home, or set ${DATA_VARIABLE} to that "
        f"folder. help({loader}) says what the file holds.{advice}"
    )


def read(path, keys):
    """Some arrays of a file; all must be there."""
    with np.load(path, allow_pickle=False) as archive:
        absent = [key for key in keys if key not in archive]
        if absent:
            raise ValueError(
                f"Got {str(path)!r} with the arrays {listed(archive)}, but expected also "
                f"{listed(absent)}. Replace the file by a complete one."
            )
        return {key: archive[key] for key in keys}


def decode_jpegs(stream, offsets, input_shape):
    """Pixels, channels first, of images that lie end to end in a stream."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "Reading these images needs pillow. Install it with: "
            'pip install "sklearn-ood[images]"'
        ) from error
    channels, height, width = input_shape
    pixels = np.empty((len(offsets) - 1, height, width, channels), dtype=np.uint8)
    stream = memoryview(stream)
    for image, start, stop in zip(pixels, offsets[:-1], offsets[1:], strict=True):
        image[...] = Image.open(io.BytesIO(stream[start:stop])).convert("RGB")
    return pixels.transpose(0, 3, 1, 2)


def read_part(path, part, spec):
    """Pixels and labels of the training or the test part."""
    labels = (f"y_{part}",) if spec.target_names else ()
    if path.stem.endswith("_jpeg"):
        keys = (f"x_{part}_jpeg", f"x_{part}_offsets")
        arrays = read(path, keys + labels)
        pixels = decode_jpegs(arrays[keys[0]], arrays[keys[1]], spec.input_shape)
    else:
        arrays = read(path, (f"x_{part}", *labels))
        pixels = arrays[f"x_{part}"]
    pixels = pixels.reshape(len(pixels), -1)
    target = arrays[labels[0]].astype(np.int64) if labels else np.full(len(pixels), -1)
    return pixels, target


def read_parts(path, split, spec):
    """Pixels and labels of one part, or of training then test."""
    wanted = spec.parts if split == "all" else (split,)
    pixels, targets = zip(*(read_part(path, part, spec) for part in wanted), strict=True)
    if len(wanted) == 1:
        return pixels[0], targets[0]
    return np.concatenate(pixels), np.concatenate(targets)


def read_omniglot(path, split, drop_digits):
    """Pixels, characters, their names, and what else the file says of them."""
    if drop_digits not in DROP_DIGITS:
        raise ValueError(
            f'Got drop_digits={drop_digits!r}, but expected True, "maybe" or False.'
        )
    keys = ("x", "background", "alphabet", "alphabet_names", "character", "character_uid")
    flag = DROP_DIGITS[drop_digits]
    arrays = read(path, keys + ("drawer", "similar_digit") + ((flag,) if flag else ()))
    keep = np.ones(len(arrays["x"]), dtype=bool) if flag is None else ~arrays[flag]
    if split != "all":
        keep &= arrays["background"] == (split == "train")
    _, first = np.unique(arrays["character_uid"], return_index=True)
    target_names = [
        f"{arrays['alphabet_names'][alphabet]}/{character}"
        for alphabet, character in zip(
            arrays["alphabet"][first], arrays["character"][first], strict=True
        )
    ]
    extra = {key: arrays[key][keep] for key in ("alphabet", "drawer", "similar_digit")}
    extra["alphabet_names"] = list(arrays["alphabet_names"])
    pixels = arrays["x"][keep].reshape(np.count_nonzero(keep), -1)
    return pixels, arrays["character_uid"][keep].astype(np.int64), target_names, extra


def fetch(name, spec, folder):
    """Take a set from OpenML and keep it as a file."""
    source = spec.openml
    # Parsing without pandas takes far more time and memory, but needs no further package.
    parser = "auto" if find_spec("pandas") else "liac-arff"
    fetched = fetch_openml(source.name, version=1, as_frame=False, cache=False, parser=parser)
    x = np.asarray(fetched.data).astype(np.uint8)
    y = np.asarray(fetched.target).astype(np.int64)
    counts = np.bincount(y[source.n_train :], minlength=len(source.test_counts))
    if tuple(counts) != source.test_counts:
        raise ValueError(
            f"Got rows of {source.name!r} from OpenML that are not in the original order: "
            f"counts {tuple(counts.tolist())} of the classes in the test part, but expected "
            f"{source.test_counts}. Put {spec.files[0]} in {str(folder)!r} by hand instead."
        )
    shape = spec.input_shape[1:] if spec.input_shape[0] == 1 else spec.input_shape
    x = x.reshape(-1, *shape)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / spec.files[0]
    unfinished = path.with_suffix(".part.npz")
    np.savez_compressed(
        unfinished,
        x_train=x[: source.n_train],
        y_train=y[: source.n_train],
        x_test=x[source.n_train :],
        y_test=y[source.n_train :],
    )
    unfinished.replace(path)
    return path


def find_images(name, spec, data_home, download):
    """The set's file, fetched where that is wanted."""
    folder = data_folder(data_home)
    for file in spec.files:
        if (folder / file).is_file():
            return folder / file
    if spec.openml is None:
        raise missing("load_images", name, folder, spec.files)
    if not download:
        advice = " With download=True it is fetched from OpenML and kept there."
        raise missing("load_images", name, folder, spec.files, advice)
    return fetch(name, spec, folder)


def load_images(
    name,
    *,
    split="all",
    data_home=None,
    download=False,
    return_X_y=False,
    drop_digits=True,
):
    """Load an image set of the papers as flat rows with values from 0 to 1.

    ================== ============== ============ =============== ==========================
    name               shape          train        test            file
    ================== ============== ============ =============== ==========================
    ``mnist``          (1, 28, 28)    60,000       10,000          ``mnist.npz``
    ``fashion_mnist``  (1, 28, 28)    60,000       10,000          ``fashion_mnist.npz``
    ``omniglot``       (1, 28, 28)    18,520       12,940          ``omniglot28.npz``
    ``notmnist``       (1, 28, 28)                 10,000          ``notmnist.npz``
    ``cifar10``        (3, 32, 32)    50,000       10,000          ``cifar10.npz``, else
                                                                   ``cifar10_jpeg.npz``
    ``tinyimagenet``   (3, 32, 32)                 10,000          ``tinyimagenet32_jpeg.npz``
    ================== ============== ============ =============== ==========================

    The files hold ``x_train``, ``y_train``, ``x_test``, ``y_test`` as uint8 pixels, channels
    first, and integer labels. A JPEG file holds the images end to end in ``x_train_jpeg`` with
    ``x_train_offsets`` instead, and needs pillow. Omniglot is one array ``x`` with its
    characters' fields; train is its background set, test its evaluation set.

    Lossless CIFAR-10 and JPEG images of another set can be told apart by compression
    artefacts alone: compare like with like. ``filename`` says which file was read.

    Parameters
    ----------
    name : {"mnist", "fashion_mnist", "omniglot", "notmnist", "cifar10", "tinyimagenet"}
        The set.
    split : {"train", "test", "all"}, default="all"
        The part; "all" is train followed by test.
    data_home : str or path, default=None
        Folder of the files. None means the environment variable ``SKLEARN_OOD_DATA``, and
        where that is not set scikit-learn's :func:`~sklearn.datasets.get_data_home`.
    download : bool, default=False
        Whether to fetch a missing ``mnist``, ``fashion_mnist`` or ``cifar10`` from OpenML and
        keep it in the folder. The other sets are not there.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    drop_digits : {True, "maybe", False}, default=True
        Read for ``omniglot`` only: which characters to leave out because they look like a
        digit, as it should be where digits are in-distribution. True drops the 1,000 images
        flagged ``looks_like_digit`` and leaves 31,460; "maybe" drops the 2,040 flagged
        ``maybe_digit``; False keeps all 32,460. The table above is for True.

    Returns
    -------
    data : Bunch
        With ``data`` of shape (n_samples, C * H * W) and dtype float32, channels first;
        ``target`` of shape (n_samples,) and dtype int64, -1 where the set has no labels;
        ``input_shape`` (C, H, W); ``target_names``; ``filename``. Omniglot's target is the
        character, from 0 to 1622, and there are ``alphabet``, ``alphabet_names``, ``drawer``
        and ``similar_digit`` (-1 for none) besides.
    (data, target) : tuple
        If ``return_X_y``.

    Raises
    ------
    FileNotFoundError
        If the file is missing; the message says which file belongs where.
    ImportError
        If a JPEG file is read without pillow.
    ValueError
        If a parameter is none of its values, the set lacks the split, or the file is not
        complete.

    Examples
    --------
    >>> from data import load_images
    >>> X, y = load_images("mnist", split="test", return_X_y=True)  # doctest: +SKIP
    >>> X.shape  # doctest: +SKIP
    (10000, 784)
    """
    spec = look_up(name, IMAGES)
    check_split(split, spec.parts, name)
    path = find_images(name, spec, data_home, download)
    target_names, extra = list(spec.target_names), {}
    if name == "omniglot":
        pixels, target, target_names, extra = read_omniglot(path, split, drop_digits)
    else:
        pixels, target = read_parts(path, split, spec)
    data = np.divide(pixels, 255, dtype=np.float32)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        input_shape=spec.input_shape,
        target_names=target_names,
        filename=str(path),
        **extra,
    )


def read_table(path):
    """The arrays of a file, its parts joined."""
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
    ``mammography``, ``musk``, ``pendigits``, ``satimage-2``, ``shuttle``, ``thyroid`` and 22
    more. The two ``pendigits`` are the same measurements and must not count as independent;
    the two letter sets have different features.

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
    >>> from data import load_tabular
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
    arrays = read_table(path)
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


def load_frame(name, *, data_home=None):
    """Load a table as people have them: a frame of numbers, categories and missing cells.

    From the files ``mixed/<name>.csv``, with the label in the last column and an empty cell
    where a value is missing:

    =============== ====== ========= ========= ===============================================
    name            rows   columns   classes   what is in it
    =============== ====== ========= ========= ===============================================
    ``hypothyroid`` 3,772  29        4         7 numbers, 22 categories, an empty column; the
                                               rarest class has two rows
    ``soybean``     683    35        19        categories, 2,337 missing cells
    ``credit_g``    1,000  20        2         7 numbers, 13 categories
    ``horse_colic`` 299    27        3         codes and numbers, 1,602 missing cells
    ``segment``     2,310  19        7         numbers, one of them constant
    ``phoneme``     5,404  5         2         numbers
    =============== ====== ========= ========= ===============================================

    Parameters
    ----------
    name : str
        The set, as named above.
    data_home : str or path, default=None
        Folder that has ``mixed``, as for :func:`load_tabular`.

    Returns
    -------
    data : pandas.DataFrame of shape (n_samples, n_features)
    target : pandas.Series of shape (n_samples,)

    Raises
    ------
    FileNotFoundError
        If the file is missing; the message says where it belongs.
    ValueError
        If the name is not known.

    Examples
    --------
    >>> from data import load_frame
    >>> frame, y = load_frame("soybean")  # doctest: +SKIP
    >>> frame.shape  # doctest: +SKIP
    (683, 35)
    """
    import pandas as pd  # only frames need it

    if name not in FRAMES:
        raise ValueError(f"Got name={name!r}, but expected one of {listed(FRAMES)}.")
    folder, file = data_folder(data_home), f"mixed/{name}.csv"
    if not (folder / file).is_file():
        raise missing("load_frame", name, folder, (file,))
    frame = pd.read_csv(folder / file)
    return frame.iloc[:, :-1], frame.iloc[:, -1]
