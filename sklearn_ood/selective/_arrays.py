"""A threshold with its promise from arrays alone, for systems that are no estimator."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sklearn_ood._parameters import Share, check_arguments
from sklearn_ood.data._labels import is_label
from sklearn_ood.selective._thresholds import Guarantee, chosen_threshold


def threshold_from_scores(
    confidence: ArrayLike,
    y_true: ArrayLike | None = None,
    y_pred: ArrayLike | None = None,
    *,
    coverage: Share | None = None,
    risk: Share | None = None,
    ood_acceptance: Share | None = None,
    delta: Share = 0.05,
    ood_label=None,
    loss: ArrayLike | None = None,
) -> tuple[float, dict[str, Guarantee]]:
    """The threshold for scores that some system gave to rows it was not trained on.

    For a detector of another library, a network in another language, a committee of people:
    what is needed is a score a row, higher for what is to be trusted more, and, to promise a
    risk, what was answered and what is true. Rows whose score is at least the threshold are
    accepted. :class:`SelectiveClassifier` does the same for an estimator.

    Parameters
    ----------
    confidence : array-like of shape (n_samples,)
        Scores, higher is more trustworthy; turn the sign of anomaly scores.
    y_true : array-like of shape (n_samples,), default=None
        True labels; for ``risk``, and for ``ood_acceptance`` with the label of outliers.
    y_pred : array-like of shape (n_samples,), default=None
        Answers; for ``risk``.
    coverage : float in (0, 1), default=None
        Accept at least this share of the rows that are no outliers.
    risk : float in (0, 1), default=None
        With probability ``1 - delta`` at most this share of the accepted new answers is wrong.
    ood_acceptance : float in (0, 1), default=None
        With probability ``1 - delta`` at most this share of new outliers is accepted.
    delta : float in (0, 1), default=0.05
        Probability with which the promises may fail, over the draw of these rows.
    ood_label : label, default=None
        Which rows of ``y_true`` are outliers.
    loss : array-like of shape (n_samples,), default=None
        What answering each row costs, in [0, 1]; for ``risk``, in the place of ``y_pred``: the
        mean loss of the accepted new rows.

    Returns
    -------
    threshold : float
    guarantees : dict of str to Guarantee
        As ``SelectiveClassifier.guarantee_``; empty for ``coverage``.

    Raises
    ------
    ValueError
        If no threshold can promise what was asked, with the best reachable bound; or if an
        array that is needed is missing, has another length, or a score is NaN.

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
    if not limits or (coverage is not None and len(limits) > 1):
        raise ValueError(
            f"Got {limits or 'no limit'}, but expected either coverage, or one or both of risk "
            "and ood_acceptance."
        )
    scores = np.asarray(confidence, dtype=np.float64)
    if scores.ndim != 1 or np.isnan(scores).any():
        raise ValueError(
            f"Got confidence of shape {scores.shape} with {int(np.isnan(scores).sum())} NaN, "
            "but expected one number a row, shape (n_samples,)."
        )
    by_answers = risk is not None and loss is None
    truth = _of_each_row(
        "y_true", y_true, scores, needed=by_answers or ood_acceptance is not None
    )
    answers = _of_each_row("y_pred", y_pred, scores, needed=by_answers)
    outlier = is_label(truth, ood_label)
    if ood_acceptance is not None and not outlier.any():
        raise ValueError(
            f"Got no row of y_true with ood_label={ood_label!r}, but ood_acceptance is "
            "promised from outliers; add such rows."
        )
    losses, quantity = np.asarray(truth != answers), "risk"
    if loss is not None:
        losses, quantity = np.asarray(loss, dtype=np.float64), "loss"
        if losses.shape != scores.shape or not ((losses >= 0) & (losses <= 1)).all():
            raise ValueError(
                f"Got loss of shape {losses.shape}, but expected a number in [0, 1] for each "
                f"of {len(scores)} scores."
            )
    how = limits | {"delta": delta, "quantity": quantity}
    return chosen_threshold(scores, losses, outlier, np.ones(len(scores), dtype=bool), **how)


def _of_each_row(name, values, scores, *, needed):
    """Labels as an array, one for each score; where none are needed, nothing in particular."""
    if values is None and not needed:
        return np.zeros(len(scores))
    if values is None or np.shape(values) != scores.shape:
        came = "None" if values is None else f"shape {np.shape(values)}"
        raise ValueError(
            f"Got {name} of {came}, but expected one label for each of {len(scores)} scores."
        )
    return np.asarray(values)
