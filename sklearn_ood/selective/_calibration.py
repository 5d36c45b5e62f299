"""What was answered to rows that trained nothing: how surely, at what cost, and for whom."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_ood.data._labels import OUTLIER, codes_in


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
    part : ndarray of int of shape (n_samples,), default=None
        Codes of what is answered, or of groups: the risk of each is promised by itself.
    labels : ndarray of shape (n_parts,), default=(None,)
        The classes or groups of these codes.
    guarantee_for : {"all", "class", "group"}, default="all"
    quantity : {"risk", "loss"}, default="risk"
        What the mean loss is called.
    """

    confidence: np.ndarray
    loss: np.ndarray
    outlier: np.ndarray
    calibrating: np.ndarray
    weight: np.ndarray | None = None
    part: np.ndarray | None = None
    labels: Any = (None,)
    guarantee_for: str = "all"
    quantity: str = "risk"

    def those(self, mask):
        """Of some rows: confidence, loss and weight."""
        weight = None if self.weight is None else self.weight[mask]
        return self.confidence[mask], self.loss[mask], weight

    def parts(self):
        """Masks of the calibrating rows of each part."""
        if self.part is None:
            return [self.calibrating]
        return [self.calibrating & (self.part == code) for code in range(len(self.labels))]


def as_array(name, values):
    """An array of numbers, or an error that names what is none."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"Got {name}={values!r}, whose lines differ in length, but expected a number or an "
            "array of numbers."
        ) from error


def are_losses(values):
    """Whether these are numbers in [0, 1]."""
    return values.dtype.kind in "biuf" and bool(((values >= 0) & (values <= 1)).all())


def as_losses(name, values, n_rows):
    """A loss for each row: booleans stay, and whole numbers become some.

    By type and not by value: which bound holds may not depend on the losses that were drawn.
    """
    found = as_array(name, values)
    if not are_losses(found) or found.shape != (n_rows,):
        raise ValueError(
            f"Got {name} of shape {found.shape} and {found.dtype}, but expected a number in "
            f"[0, 1] for each of {n_rows} rows."
        )
    return found.astype(np.float64 if found.dtype.kind == "f" else bool)


def checked_loss(loss, classes):
    """The matrix of losses as numbers; as booleans where they are only 0 and 1."""
    if loss is None or callable(loss):
        return loss
    matrix = as_array("loss", loss)
    if not are_losses(matrix) or matrix.shape != (len(classes),) * 2:
        raise ValueError(
            f"Got loss of shape {matrix.shape} and {matrix.dtype}, but expected numbers in "
            f"[0, 1] of shape {(len(classes),) * 2}: a line for each true class and a column "
            f"for each answer, in the order of the classes {classes.tolist()[:20]}."
        )
    return matrix.astype(bool if np.isin(matrix, (0, 1)).all() else np.float64)


def losses(loss, classes, truth, answer):
    """Of each row, from its label and its answer; 1 where it is of no class."""
    codes, answered = codes_in(classes, truth), codes_in(classes, answer)
    if loss is None:
        return codes != answered
    known = codes != OUTLIER
    if not callable(loss):
        return np.where(known, loss[codes, answered], np.ones(1, loss.dtype))
    found = as_losses("what loss gives", loss(truth[known], answer[known]), known.sum())
    cost = np.ones(len(known), dtype=found.dtype)
    cost[known] = found
    return cost


def checked_weights(sample_weight, n_rows):
    """Weights relative to the largest; None where all count alike."""
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_rows,) or not ((weight >= 0) & np.isfinite(weight)).all():
        raise ValueError(
            f"Got sample_weight of shape {weight.shape}, but expected a finite number >= 0 for "
            f"each of {n_rows} rows."
        )
    if not weight.any():
        raise ValueError("Got sample_weight of zeros only; some rows must count.")
    return None if (weight == weight[0]).all() else weight / weight.max()


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


def warn_of_untaught(classes, y, outlier):
    """Name the classes of which chance left no row to train on."""
    untaught = ~outlier & (codes_in(classes, y) == OUTLIER)
    if untaught.any():
        labels, counts = np.unique(y[untaught], return_counts=True)
        warnings.warn(
            f"Of {len(labels)} classes all rows were drawn to calibrate and none trained "
            f"(rows of each: {listed(labels, counts)}). No answer names "
            "these classes: answers to their rows count as wrong, as they will be; a "
            "smaller calibration or more rows make this rarer.",
            stacklevel=3,
        )


def listed(labels, counts):
    """The first ten labels with their numbers of rows."""
    shown = np.asarray(labels)[:10].tolist(), np.asarray(counts)[:10].tolist()
    return f"{dict(zip(*shown, strict=True))}{' and so on' * (len(labels) > 10)}"
