"""Labels and the integer codes behind them (OUTLIER of outliers): nothing but numpy."""

import warnings

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._missing import is_pandas_na, is_scalar_nan
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from sklearn_ood._parameters import check_label

OUTLIER = -1


def encode_labels(y, ood_label=None, *, owner="this"):
    """Codes of labels and their sorted classes; rows with ``ood_label`` form none."""
    outlier = is_label(y, ood_label)
    classes, inside = np.unique(y[~outlier], return_inverse=True)
    if not len(classes):
        raise ValueError(
            f"Got only outlier rows in y (all equal ood_label={ood_label!r}), but {owner} "
            "needs in-distribution rows to learn from; add rows of the classes to be known."
        )
    if ood_label is not None and not outlier.any():
        warnings.warn(
            f"Got ood_label={ood_label!r}, but no row of y has it, so that none is an outlier; "
            f"the classes are {classes[:10].tolist()}{' and others' * (len(classes) > 10)}.",
            stacklevel=2,
        )
    codes = np.full(len(y), OUTLIER, dtype=np.int64)
    codes[~outlier] = inside
    return codes, classes


def unique_labels(labels, name="y"):
    """Sorted labels, and the place of each row's among them; they must have an order."""
    try:
        return np.unique(labels, return_inverse=True)
    except TypeError as error:
        types = sorted({type(label).__name__ for label in labels})
        raise TypeError(
            f"Got {name} with labels of the types {', '.join(types)}, which have no common "
            "order; pass all as text or all as numbers."
        ) from error


def codes_in(classes, labels):
    """Position of each label in ``classes``, else ``OUTLIER``; text equals no number."""
    classes, labels = np.asarray(classes), np.asarray(labels)
    kind = classes.dtype.kind
    if kind != labels.dtype.kind or kind not in "biufU":  # numpy might round them to compare
        position = {label: code for code, label in enumerate(classes.tolist())}
        found = (position.get(label, OUTLIER) for label in labels.tolist())
        return np.fromiter(found, dtype=np.int64, count=labels.size)
    order = np.argsort(classes, kind="stable")
    place = order[np.searchsorted(classes[order], labels).clip(max=len(classes) - 1)]
    return np.where(classes[place] == labels, place, OUTLIER).astype(np.int64)


def foreign(labels, codes):
    return list(dict.fromkeys(np.asarray(labels)[codes == OUTLIER].tolist()))


def is_label(y, label):
    """Mask of the rows of ``y`` that carry ``label``; nothing carries None."""
    if label is None:
        return np.zeros(len(y), dtype=bool)
    check_label(label, "ood_label")
    return codes_in([label], y) == 0


def labels_or(other, labels, chosen):
    """Labels where they are chosen, else ``other``, in a type that holds all as they are."""
    other, dtype = np.asarray(other), labels.dtype
    if {dtype.kind, other.dtype.kind} == set("iu") and np.result_type(dtype, other).kind == "f":
        signed = int(max(labels.max(initial=0), other)) <= np.iinfo(np.int64).max
        dtype = np.int64 if signed else object
    return np.where(chosen, labels.astype(dtype), other)


def hidden_entries(values):
    """Mask of what numpy reads as a number and is none: masked entries, dates that are NaT."""
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.getmaskarray(values)
    if getattr(getattr(values, "dtype", None), "kind", None) in ("m", "M"):
        return np.asarray(np.isnat(values))
    return np.zeros(1, dtype=bool)


def check_no_label_missing(y, name="y", other="the label of known outliers (ood_label)"):
    """Raise for a missing label: None, NaN, pandas' NA, NaT, or a masked one."""
    hidden = hidden_entries(y if isinstance(y, np.ma.MaskedArray) else np.asarray(y))
    y, missing = np.asarray(y), int(hidden.sum())
    if y.dtype.kind == "f":
        missing += int(np.isnan(y).sum())
    elif y.dtype == object and y.ndim == 1:
        missing = sum(each is None or is_pandas_na(each) or is_scalar_nan(each) for each in y)
    if missing:
        raise ValueError(
            f"Got {name} with {missing} missing labels of {len(y)}, but every row needs one; "
            f"drop these rows, or give them {other}."
        )


def checked_labels(estimator, y) -> np.ndarray:
    """Labels of a classifier that needs them, as one array."""
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None; "
            "the classes have to be told apart: pass the labels of the rows."
        )
    y = y.detach().cpu().numpy() if hasattr(y, "detach") else y
    check_no_label_missing(y)
    y = np.asarray(y)  # numpy's own type first: pandas' whole numbers would become floats
    if y.ndim == 2 and y.shape[1] > 1:
        raise ValueError(
            f"y should be a 1d array, got an array of shape {y.shape} instead; of one-hot rows "
            "pass classes[y.argmax(axis=1)], of several labels a row one at a time."
        )
    y = column_or_1d(y, warn=True)
    y = y.astype(object) if y.dtype.kind == "T" else y  # text of any length, which few know
    if not len(y):
        raise ValueError(
            f"Found array with 0 sample(s) while a minimum of 1 is required by "
            f"{type(estimator).__name__}."
        )
    if y.dtype == object:
        unique_labels(y)  # scikit-learn's check sorts them, too
        if not isinstance(y[0], str):
            raise ValueError(
                f"Unknown label type: got y of objects such as {y[0]!r}, but expected text, or "
                "numbers in a type of their own: y.astype(bool), y.astype(int), y.astype(str)."
            )
    check_classification_targets(y)
    return y


def check_same_kind(y, classes, name="y", of="classes"):
    """Raise where labels are numbers and classes text, or the like; bytes are neither."""
    y, classes = np.asarray(y), np.asarray(classes)
    if len({_kind(y), _kind(classes)} - {None}) < 2:
        return
    labels = set(map(str, y.tolist()))
    if len(labels) > 1 or labels & set(map(str, classes.tolist())):
        raise ValueError(
            f"Got {name} with labels such as {y[:3].tolist()}, but the {of} that were learned "
            f"are {classes[:10].tolist()}; pass {name} in their kind, such as {of}[{name}]."
        )


def _kind(labels):
    """``str`` where all are text, ``bytes``, ``float`` where all are numbers, else None."""
    if labels.dtype.kind == "O":
        kinds = [k for k in (str, bytes) if all(isinstance(y, k) for y in labels.tolist())]
        return kinds[0] if kinds else None
    return ({"U": str, "S": bytes} | dict.fromkeys("biuf", float)).get(labels.dtype.kind)


def rank_in_class(codes):
    """How many rows of its own class come before each row."""
    order = np.argsort(codes, kind="stable")
    _, start, counts = np.unique(codes[order], return_index=True, return_counts=True)
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = np.arange(len(codes)) - np.repeat(start, counts)
    return rank


def hold_out_each_class(codes, fraction, random_state):
    """Mask of the same share of every class, never all of one; not to calibrate on."""
    shuffled = check_random_state(random_state).permutation(len(codes))
    _, stratum, counts = np.unique(codes[shuffled], return_inverse=True, return_counts=True)
    quota = np.minimum(np.round(fraction * counts), counts - 1)
    held_out = np.zeros(len(codes), dtype=bool)
    held_out[shuffled] = rank_in_class(stratum) < quota[stratum]
    if not held_out.any():
        raise ValueError(
            f"Got validation_fraction={fraction!r} for {len(codes)} rows, which holds out no "
            "row at all; give more rows for each class or a larger validation_fraction."
        )
    return held_out


def some_of_each_class(codes, most, random_state):
    """Places of at most so many random rows, all if None, and of one of each class at least."""
    order = check_random_state(random_state).permutation(len(codes))
    first = np.unique(codes[order], return_index=True)[1]
    return np.union1d(order[:most], order[first])


def label_of_refusals(label, classes):
    """What is answered where no class is: given, or of the classes' kind; none of them."""
    if classes.dtype.kind in "mM":
        raise ValueError(
            f"Got y with dates such as {classes[0]}, but a label of refusals is text or a "
            "number, as the classes must be; pass the dates as text: y.astype(str)."
        )
    check_label(label, "reject_label")
    classes = classes.tolist()
    given, is_text = label, all(isinstance(each, str) for each in classes)
    if label is None:
        label = "reject" if is_text else -1
    if is_text != isinstance(label, str):
        raise ValueError(
            f"Got reject_label={label!r} for the classes {classes[:20]}, but expected "
            f"{'a string' if is_text else 'a number'}, as the classes are."
        )
    if label in classes:
        raise ValueError(
            f"Got reject_label={given!r}, which stands for {label!r}, but that "
            f"is one of the classes {classes[:20]}; pass another reject_label."
        )
    return label


def class_means(X, codes):
    """Mean of the rows of each class: of zeros where a class has none."""
    sums = np.zeros((codes.max() + 1, X.shape[1]))
    np.add.at(sums, codes, X)
    return sums / np.maximum(np.bincount(codes), 1)[:, None]
