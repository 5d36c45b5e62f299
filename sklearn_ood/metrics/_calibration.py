"""Does a confidence of 0.8 mean that 80 % of the answers are right?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sklearn_ood._parameters import Count, check_arguments, inherits
from sklearn_ood.metrics._blocks import as_answers, differs
from sklearn_ood.metrics._selective import right_or_wrong


@inherits(right_or_wrong)
def expected_calibration_error(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    confidence: ArrayLike,
    *,
    n_bins: Count = 20,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Expected calibration error: mean distance between confidence and accuracy.

    Rows are put into bins of equal width over [0, 1], each closed on the right (the first
    on both sides); then

    .. math:: \sum_b \frac{n_b}{n} |accuracy_b - confidence_b|.

    Empty bins count nothing. A row whose label the classifier was never taught is wrong
    whatever is answered, so its confidence ought to be 0.

    Parameters
    ----------
    confidence : array-like of shape (n_samples,)
        Probability of each answer, in [0, 1]: ``predict_proba(X).max(axis=1)``.
    n_bins : int, default=20
        At least 1.

    Returns
    -------
    error : float
        In [0, 1]; lower is better.

    References
    ----------
    .. [1] Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3.

    Examples
    --------
    >>> from sklearn_ood.metrics import expected_calibration_error
    >>> round(expected_calibration_error([0, 1, 1, 0], [0, 1, 1, 1], [0.9, 0.9, 0.9, 0.9]), 3)
    0.15
    """
    check_arguments(expected_calibration_error, {"n_bins": n_bins})
    labels, answers, proba, weights = as_answers(y_true, y_pred, confidence, sample_weight)
    if proba.min() < 0 or proba.max() > 1:
        raise ValueError(
            f"Got confidence from {proba.min()} to {proba.max()}, but expected "
            "probabilities in [0, 1]; pass predict_proba(X).max(axis=1)."
        )
    weights = np.ones(labels.size) if weights is None else weights
    in_bin = np.clip(np.ceil(proba * n_bins).astype(np.intp) - 1, 0, n_bins - 1)
    excess = np.bincount(in_bin, weights * (proba - ~differs(labels, answers)))
    return float(np.abs(excess).sum() / weights.sum())
