"""What a threshold is chosen by, and the losses of the rows that it is chosen on."""

import warnings

import numpy as np
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.selective._risk import risk_thresholds
from sklearn_ood.selective._thresholds import (
    cost_threshold,
    coverage_threshold,
    ood_threshold,
)

WAYS = (("threshold",), ("coverage",), ("cost",), ("risk", "ood_acceptance"))
CHOSEN_BY = (*(name for way in WAYS for name in way), "delta", "guarantee_for", "loss")


def check_one_way(given):
    """Raise where parameters that are set contradict each other, or do nothing.

    Parameters
    ----------
    given : dict
        Of :data:`CHOSEN_BY`, those that are not None.
    """
    words = (" and ".join(f"{n}={given[n]}" for n in way if n in given) for way in WAYS)
    used = list(filter(None, words))
    if len(used) > 1:
        raise ValueError(
            f"Got {' together with '.join(used)}, which each set the threshold; keep one "
            "of coverage, cost, threshold, or the guarantees risk and ood_acceptance."
        )
    if given["guarantee_for"] != "all" and "risk" not in given:
        raise ValueError(
            f"Got guarantee_for={given['guarantee_for']!r} without risk, but it is the risk "
            f"that is promised for each {given['guarantee_for']}; pass risk too."
        )
    check_risk(given.get("risk", 0.5))
    if "loss" in given and not given.keys() & {"risk", "cost"}:
        raise ValueError(
            "Got loss without risk or cost, but only these look at losses; pass one of them."
        )


def check_risk(risk):
    """Raise unless it is a number in (0, 1), or several that rise."""
    limits = np.asarray(risk)
    is_number = limits.dtype.kind in "iuf" and limits.ndim < 2 and limits.size
    ends = np.hstack([0, limits, 1])
    if not is_number or not (np.diff(ends) > 0).all():
        raise InvalidParameterError(
            f"Got risk={risk!r}, but expected a number in (0, 1), or several that rise."
        )


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


def checked_loss(loss, classes):
    """The matrix of losses as numbers; as booleans where they are only 0 and 1."""
    if loss is None or callable(loss):
        return loss
    matrix = np.asarray(loss)
    numbers = matrix.dtype.kind in "biuf" and ((matrix >= 0) & (matrix <= 1)).all()
    if not numbers or matrix.shape != (len(classes),) * 2:
        raise ValueError(
            f"Got loss of shape {matrix.shape} and {matrix.dtype}, but expected numbers in "
            f"[0, 1] of shape {(len(classes),) * 2}: a line for each true class and a column "
            f"for each answer, in the order of the classes {classes.tolist()[:20]}."
        )
    return matrix.astype(bool) if np.isin(matrix, (0, 1)).all() else matrix.astype(np.float64)


def losses(loss, classes, truth, answer):
    """Of each row, from its label and its answer; 1 where it is of no class."""
    codes, answered = codes_in(classes, truth), codes_in(classes, answer)
    if loss is None:
        return codes != answered
    known = codes != OUTLIER
    if not callable(loss):
        return np.where(known, loss[codes, answered], np.ones(1, loss.dtype))
    found = np.asarray(loss(truth[known], answer[known]))
    numbers = found.dtype.kind in "biuf" and ((found >= 0) & (found <= 1)).all()
    if not numbers or found.shape != (known.sum(),):
        raise ValueError(
            f"Got an array of shape {found.shape} and {found.dtype} from loss, but expected a "
            f"number in [0, 1] for each of {known.sum()} rows."
        )
    # By type and not by value: which bound holds may not depend on the losses that were drawn.
    found = found.astype(np.float64 if found.dtype.kind == "f" else bool)
    cost = np.ones(len(known), dtype=found.dtype)
    cost[known] = found
    return cost


def chosen_threshold(rows, *, delta, **limits):
    """The threshold of a coverage or a cost, or that which keeps one promise or several.

    Parameters
    ----------
    rows : CalibrationRows
    delta : float in (0, 1)
        Shared equally by risk and outliers' acceptance.
    **limits
        ``coverage``, ``cost``, or of ``risk``, a number or several rising ones, and
        ``ood_acceptance`` one or both.

    Returns
    -------
    threshold : float, or ndarray of shape (n_parts,), (n_limits,) or (n_limits, n_parts)
    guarantees : dict of str to Guarantee
    """
    if "coverage" in limits:
        confidence, _, weight, _ = rows.those(~rows.outlier)
        return coverage_threshold(confidence, limits["coverage"], weight), {}
    if "cost" in limits:
        confidence, loss, weight, _ = rows.those(rows.calibrating)
        return cost_threshold(confidence, loss, limits["cost"], weight), {}
    delta = delta / len(limits)
    threshold, guarantees = -np.inf, {}
    if "ood_acceptance" in limits:
        confidence, _, weight, _ = rows.those(rows.outlier)
        threshold, guarantees["ood_acceptance"] = ood_threshold(
            confidence, limits["ood_acceptance"], delta, weight
        )
    if "risk" in limits:
        thresholds, promises = risk_thresholds(
            rows, np.atleast_1d(limits["risk"]), delta, threshold
        )
        guarantees |= {_name(each, limits["risk"]): each for each in promises}
        threshold = thresholds if np.ndim(limits["risk"]) else thresholds[0]
        threshold = threshold if rows.guarantee_for != "all" else threshold[..., 0]
    return threshold if np.ndim(threshold) else float(threshold), guarantees


def warn_of_untaught(classes, y, outlier):
    """Name the classes of which chance left no row to train on."""
    untaught = ~outlier & (codes_in(classes, y) == OUTLIER)
    if untaught.any():
        labels, counts = np.unique(y[untaught], return_counts=True)
        rows = _listed(labels, counts)
        warnings.warn(
            f"Of {len(labels)} classes all rows were drawn to calibrate and none trained "
            f"(rows of each: {rows}). No answer names "
            "these classes: answers to their rows count as wrong, as they will be; a "
            "smaller calibration or more rows make this rarer.",
            stacklevel=3,
        )


def warn_of_unpromised(guarantees):
    """Name the limits, and the classes or groups, of which nothing could be promised."""
    promises = [each for each in guarantees.values() if each.quantity != "ood_acceptance"]
    for limit in sorted({each.limit for each in promises if not each.n_accepted}):
        own = [each for each in promises if each.limit == limit]
        refused = [each for each in own if not each.n_accepted]
        rows = _listed([each.label for each in refused], [each.n_samples for each in refused])
        of, counted = {
            "all": ("", f"no answer keeps it (calibration rows: {own[0].n_samples})"),
            "class": (
                f"For the answers of {len(refused)} of {len(own)} classes ",
                f"all of them are refused (calibration rows with these answers: {rows})",
            ),
            "group": (
                f"For {len(refused)} of {len(own)} groups ",
                f"all of them are refused (their calibration rows: {rows})",
            ),
        }[own[0].guarantee_for]
        warnings.warn(
            f"{of}risk={limit} cannot be promised; {counted}. Ask for a larger risk or delta, "
            "or give more calibration rows.",
            stacklevel=5,
        )


def _listed(labels, counts):
    """The first ten labels with their numbers of rows."""
    shown = np.asarray(labels)[:10].tolist(), np.asarray(counts)[:10].tolist()
    return f"{dict(zip(*shown, strict=True))}{' and so on' * (len(labels) > 10)}"


def _name(promise, risk):
    """Of a promise among those of a fit."""
    limit = f" {promise.limit}" if np.ndim(risk) else ""
    of = "" if promise.guarantee_for == "all" else f" of {promise.label}"
    return f"{promise.quantity}{limit}{of}"
