"""What answers cost; thresholds and p-values from arrays alone, of what is no estimator."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklearn_ood._parameters import Share, check_arguments
from sklearn_ood.data._blocks import is_tensor
from sklearn_ood.data._labels import OUTLIER, codes_in, is_label
from sklearn_ood.metrics._blocks import as_labels, as_numbers, as_weights, differs, in_range
from sklearn_ood.selective._deciding import as_array, check_limits
from sklearn_ood.selective._guarantees import Guarantee
from sklearn_ood.selective._thresholds import CalibrationRows, checked_weights, chosen_threshold


def threshold_from_scores(
    confidence: ArrayLike,
    y_true: ArrayLike | None = None,
    y_pred: ArrayLike | None = None,
    *,
    coverage: Share | None = None,
    risk: Any = None,
    ood_acceptance: Share | None = None,
    delta: Share = 0.05,
    ood_label=None,
    loss: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> tuple[Any, dict[str, Guarantee]]:
    """The threshold for scores that some system gave to rows it was not trained on.

    For a detector of another library, a network in another language, a committee of people. A
    row is accepted where its score is at least the threshold, a number of the scores' own type.
    :class:`SelectiveClassifier` does the same for an estimator.

    Parameters
    ----------
    confidence : array-like of shape (n_samples,)
        Scores, higher is more trustworthy; turn the sign of anomaly scores.
    y_true, y_pred : array-like of shape (n_samples,), default=None
        True labels and answers: both for ``risk``, and ``y_true`` with the label of outliers
        for ``ood_acceptance``.
    coverage, risk, ood_acceptance, delta
        As for :class:`SelectiveClassifier`.
    ood_label : label, default=None
        Which rows of ``y_true`` are outliers.
    loss : array-like of shape (n_samples,), default=None
        What answering each row costs, in [0, 1]; for ``risk``, in the place of ``y_pred``: the
        mean loss of the accepted new rows.
    sample_weight : array-like of shape (n_samples,), default=None
        How often there are such rows among new ones: ratios of densities.

    Returns
    -------
    threshold : float, or ndarray of shape (n_limits,)
        A ValueError has the best reachable bound, where none can promise what was asked.
    guarantees : dict of str to Guarantee
        As ``SelectiveClassifier.guarantee_``; empty for ``coverage``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood import threshold_from_scores
    >>> rng = np.random.default_rng(0)
    >>> scores = rng.random(500)
    >>> truth = np.zeros(500)
    >>> answers = (rng.random(500) > 0.7 + 0.5 * scores).astype(float)
    >>> threshold, promises = threshold_from_scores(scores, truth, answers, risk=0.1)
    >>> round(threshold, 2), promises["risk"].n_accepted
    (0.09, 453)
    """
    given = {"coverage": coverage, "risk": risk, "ood_acceptance": ood_acceptance}
    check_arguments(threshold_from_scores, {**given, "delta": delta})
    limits = {name: value for name, value in given.items() if value is not None}
    if not limits:
        raise ValueError(
            "Got no limit, but expected coverage, or one or both of risk and ood_acceptance."
        )
    check_limits(limits | ({} if loss is None else {"loss": "given"}))
    scores = as_numbers("confidence", confidence)
    n_rows, by_answers = len(scores), risk is not None and loss is None
    truth, lost = np.zeros(n_rows), np.zeros(n_rows, dtype=bool)
    if by_answers or ood_acceptance is not None or y_true is not None:
        truth = as_labels("y_true", y_true, n_rows)
    if by_answers:
        lost = differs(truth, as_labels("y_pred", y_pred, n_rows))
    elif loss is not None:
        lost = as_losses("loss", loss, (n_rows,), "one for each row")
    every, part = np.ones(n_rows, dtype=bool), np.zeros(n_rows, dtype=int)
    counted = scores, lost, is_label(truth, ood_label), every, part
    weight = checked_weights(sample_weight, n_rows)
    rows = CalibrationRows(*counted, weight, quantity="risk" if loss is None else "loss")
    threshold, guarantees = chosen_threshold(rows, delta=delta, **limits)
    return in_type_of(confidence, threshold), guarantees


def p_values_from_scores(
    calibration: ArrayLike,
    scores: ArrayLike,
    *,
    calibration_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> NDArray:
    """How surprising scores are among those of rows that some system was not trained on.

    Of new rows like those that calibrate, at most a share alpha has a p-value, in (0, 1], of
    alpha or less, on average over both. With weights, ratios of the densities of new rows to
    those that calibrate, it holds for new rows of that other density (R. Tibshirani, R. Barber,
    E. Candes and A. Ramdas, "Conformal prediction under covariate shift", NeurIPS 2019).

    Parameters
    ----------
    calibration : array-like of shape (n_calibration,)
        Scores of known rows that trained nothing, higher is more normal.
    scores : array-like of shape (n_samples,)
        Those of new rows.
    calibration_weight : array-like of shape (n_calibration,), default=None
        Weights of the rows that calibrate, finite and >= 0; both weights are given, or none.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the new rows, on the same scale. Without one of its own a row may have 0.

    Examples
    --------
    >>> from sklearn_ood import p_values_from_scores
    >>> p_values_from_scores([1.0, 2.0, 3.0, 4.0], [0.5, 3.5])
    array([0.2, 0.8])
    """
    if (calibration_weight is None) != (sample_weight is None):
        raise ValueError(
            "Got one of calibration_weight and sample_weight, but they are ratios of densities "
            "of rows that calibrate and of new ones; pass both, or none."
        )
    known, new = as_numbers("calibration", calibration), as_numbers("scores", scores)
    of_known, of_new = np.ones(len(known)), np.ones(len(new))
    if sample_weight is not None:
        of_known = as_numbers("calibration_weight", calibration_weight, len(known))
        of_new = as_numbers("sample_weight", sample_weight, len(new))
        both = in_range(as_weights(np.append(of_known, of_new), len(known) + len(new)))
        of_known, of_new = np.split(both, [len(known)])
    order = np.argsort(known)
    below = np.append(0, np.cumsum(of_known[order]))
    at_most = below[np.searchsorted(known[order], new, side="right")]
    with np.errstate(invalid="ignore"):  # without any weight a row says nothing
        found = (at_most + of_new) / (below[-1] + of_new)
    return np.where(np.isnan(found), 1.0, found)


def in_type_of(scores, threshold):
    # The least numbers of that type which are not below: numpy, torch and others compare in it,
    # and would round what lies just above a score to that score.
    if is_tensor(scores):
        dtype, kind = scores.dtype, "f" if scores.is_floating_point() else "i"
        finfo = sys.modules["torch"].finfo
    else:
        dtype, finfo = np.asarray(scores).dtype, np.finfo
        kind = dtype.kind
    step = 1.0
    if kind not in "iub":
        info = finfo(dtype if kind == "f" else np.float64)
        least = np.ldexp(1.0, np.frexp(threshold)[1] - 1)
        step = np.maximum(least, info.smallest_normal) * info.eps
    found = np.ceil(np.divide(threshold, step)) * step
    return found.astype(np.float64) if np.ndim(threshold) else float(found)


def as_losses(name, values, shape, each):
    """Numbers in [0, 1] of a shape, one ``each`` of something; whole numbers as booleans."""
    # By type and not by value: which bound holds may not depend on the losses drawn.
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
    if callable(loss):
        return loss
    each = (
        "a line for each true class and a column for each answer, in the order of the classes "
        f"{classes.tolist()[:20]}"
    )
    axes = [axis.tolist() for axis in getattr(loss, "axes", ())]
    if axes != [list(range(len(axis))) for axis in axes]:  # of a frame with names
        if any(set(axis) != set(classes.tolist()) for axis in axes):
            raise ValueError(f"Got loss with the names {axes}, but expected {each}.")
        loss = loss.loc[classes, classes]
    matrix = as_losses("loss", loss, (len(classes),) * 2, each)
    return matrix.astype(bool) if np.isin(matrix, (0, 1)).all() else matrix


def losses(loss, classes, truth, answer):
    """Of each row, from its label and its answer; 1 where it is of no class."""
    codes, answered = codes_in(classes, truth), codes_in(classes, answer)
    known = codes != OUTLIER
    if not callable(loss):
        return np.where(known, loss[codes, answered], np.ones(1, loss.dtype))
    found = loss(truth[known], answer[known])
    found = as_losses("what loss gives", found, (int(known.sum()),), "one for each row")
    cost = np.ones(len(known), dtype=found.dtype)
    cost[known] = found
    return cost
