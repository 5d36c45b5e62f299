"""What was answered to rows that trained nothing: how surely, at what cost, and for whom."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_ood.data._labels import OUTLIER, check_no_label_missing, codes_in, unique_labels
from sklearn_ood.metrics._blocks import as_labels, as_weights


@dataclass(frozen=True, eq=False)
class CalibrationRows:
    """Rows that trained nothing, and what was answered to them.

    Attributes
    ----------
    confidence : ndarray of shape (n_samples,)
    loss : ndarray of shape (n_samples,)
        Whether answering would be wrong, or how costly, in [0, 1].
    outlier : ndarray of bool of shape (n_samples,)
        The rows that the outliers' acceptance is counted on; the others count for coverage.
    calibrating : ndarray of bool of shape (n_samples,)
        Rows as new ones come, outliers in their proportion: what the risk is counted on.
    weight : ndarray of shape (n_samples,), default=None
        How often there are such rows among new ones, relative to the largest weight.
    part : ndarray of int of shape (n_samples,)
        Codes of what is answered, or of groups: the risk of each is promised by itself.
    labels : sequence of length n_parts, default=(None,)
        The classes or groups of these codes.
    guarantee_for : {"all", "class", "group"}, default="all"
    quantity : {"risk", "loss"}, default="risk"
        What the mean loss is called.
    """

    confidence: np.ndarray
    loss: np.ndarray
    outlier: np.ndarray
    calibrating: np.ndarray
    part: np.ndarray
    weight: np.ndarray | None = None
    labels: Sequence[Any] = (None,)
    guarantee_for: str = "all"
    quantity: str = "risk"

    def those(self, mask):
        """Of some rows: confidence, loss and weight."""
        weight = None if self.weight is None else self.weight[mask]
        return self.confidence[mask], self.loss[mask], weight

    def of_parts(self):
        """The same of the calibrating rows of each part."""
        codes = range(len(self.labels))
        return [self.those(self.calibrating & (self.part == code)) for code in codes]


def as_array(name, values):
    """An array of numbers, or an error that names what is none."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"Got {name}={values!r}, whose lines differ in length, but expected a number or an "
            "array of numbers."
        ) from error


def as_losses(name, values, shape, each):
    """Numbers in [0, 1] of a shape, one ``each`` of something; whole numbers as booleans.

    By type and not by value: which bound holds may not depend on the losses that were drawn.
    """
    found = as_array(name, values)
    numbers = found.dtype.kind in "biuf" and ((found >= 0) & (found <= 1)).all()
    if not numbers or found.shape != shape:
        raise ValueError(
            f"Got {name} of shape {found.shape} and {found.dtype}, but expected numbers in "
            f"[0, 1] of shape {shape}: {each}."
        )
    return found.astype(np.float64 if found.dtype.kind == "f" else bool)


def checked_loss(loss, classes):
    """The matrix of losses as numbers; as booleans where they are only 0 and 1."""
    if loss is None or callable(loss):
        return loss
    each = (
        "a line for each true class and a column for each answer, in the order of the classes"
    )
    shown = f"{each} {classes.tolist()[:20]}"
    axes = getattr(loss, "axes", ())
    if len(axes) == 2 and all(set(axis) == set(classes.tolist()) for axis in axes):
        loss = loss.loc[classes, classes]  # a frame in another order
    matrix = as_losses("loss", loss, (len(classes),) * 2, shown)
    return matrix.astype(bool) if np.isin(matrix, (0, 1)).all() else matrix


def losses(loss, classes, truth, answer):
    """Of each row, from its label and its answer; 1 where it is of no class."""
    codes, answered = codes_in(classes, truth), codes_in(classes, answer)
    if loss is None:
        return codes != answered
    known = codes != OUTLIER
    if not callable(loss):
        return np.where(known, loss[codes, answered], np.ones(1, loss.dtype))
    found = loss(truth[known], answer[known])
    found = as_losses("what loss gives", found, (int(known.sum()),), "one for each row")
    cost = np.ones(len(known), dtype=found.dtype)
    cost[known] = found
    return cost


def checked_weights(sample_weight, n_rows, name="sample_weight"):
    """Weights relative to the largest; None where all count alike."""
    weight = as_weights(sample_weight, n_rows, name)
    return None if weight is None or np.ptp(weight) == 0 else weight / weight.max()


def check_groups(groups, guarantee_for, n_rows):
    """Raise where groups are missing, or nothing is promised for them."""
    if guarantee_for == "group" and np.shape(groups) != (n_rows,):
        came = "no groups" if groups is None else f"groups of shape {np.shape(groups)}"
        raise ValueError(
            f"Got {came}, but guarantee_for='group' promises the risk of each group; pass "
            f"groups=, one for each of {n_rows} rows."
        )
    if guarantee_for != "group" and groups is not None:
        raise ValueError(
            f"Got groups, but guarantee_for={guarantee_for!r} promises nothing for each of "
            "them; pass guarantee_for='group', or no groups."
        )


def group_labels(groups):
    """The groups that there are, of which none may be missing."""
    check_no_label_missing(groups, "groups", "a group of their own, such as 'unknown'")
    return unique_labels(as_labels("groups", groups), "groups")[0]


def warn_of_untaught(classes, y, outlier):
    """Name the classes of which chance left no row to train on."""
    untaught = ~outlier & (codes_in(classes, y) == OUTLIER)
    counts = Counter(np.sort(y[untaught]).tolist())
    if counts:
        warnings.warn(
            f"Of {len(counts)} classes all rows were drawn to calibrate and none trained (rows "
            f"of each: {first_of(counts)}). No answer names these classes: answers to their "
            "rows count as wrong, as they will be; a smaller calibration or more rows make "
            "this rarer.",
            stacklevel=3,
        )


def first_of(counts):
    """The first ten labels with their numbers of rows."""
    return f"{dict(list(counts.items())[:10])}{' and so on' * (len(counts) > 10)}"
