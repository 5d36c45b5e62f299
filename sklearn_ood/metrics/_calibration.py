"""Does a confidence of 0.8 mean that 80 % of the answers are right?"""

import numpy as np

from sklearn_ood.metrics._blocks import as_answers, as_weights, differs
from sklearn_ood.metrics._docstrings import documented


@documented
def expected_calibration_error(y_true, y_pred, confidence, *, n_bins=20, sample_weight=None):
    r"""Expected calibration error: mean distance between confidence and accuracy.

    Rows are put into bins of equal width over [0, 1], each closed on the right (the first
    on both sides); then

    .. math:: \sum_b \frac{n_b}{n} |accuracy_b - confidence_b|.

    Empty bins count nothing. A row whose label the classifier was never taught is wrong
    whatever is answered, so its confidence ought to be 0.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_pred : array-like of shape (n_samples,)
        Answers of the classifier.
    confidence : array-like of shape (n_samples,)
        Probability of each answer, in [0, 1]: ``predict_proba(X).max(axis=1)``.
    n_bins : int, default=20
        At least 1.
    {sample_weight}

    Returns
    -------
    error : float
        In [0, 1]; lower is better.

    Raises
    ------
    ValueError
        If there is no row, lengths differ, a confidence is NaN or outside [0, 1], weights
        are not valid, or ``n_bins`` is no integer >= 1.

    References
    ----------
    .. [1] Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3.

    Examples
    --------
    >>> from sklearn_ood.metrics import expected_calibration_error
    >>> round(expected_calibration_error([0, 1, 1, 0], [0, 1, 1, 1], [0.9, 0.9, 0.9, 0.9]), 3)
    0.15
    """
    y_true, y_pred, confidence = as_answers(y_true, y_pred, confidence)
    right = ~differs(y_true, y_pred)
    weights = as_weights(sample_weight, y_true.size)
    if confidence.min() < 0 or confidence.max() > 1:
        raise ValueError(
            f"Got confidence from {confidence.min()} to {confidence.max()}, but expected "
            "probabilities in [0, 1]; pass predict_proba(X).max(axis=1)."
        )
    if not isinstance(n_bins, (int, np.integer)) or n_bins < 1:
        raise ValueError(f"Got n_bins={n_bins!r}, but expected an integer >= 1.")
    weights = np.ones(y_true.size) if weights is None else weights
    in_bin = np.clip(np.ceil(confidence * n_bins).astype(np.intp) - 1, 0, n_bins - 1)
    excess = np.bincount(in_bin, weights=weights * (confidence - right), minlength=n_bins)
    return float(np.abs(excess).sum() / weights.sum())
