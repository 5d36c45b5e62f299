"""How well a score tells rows of the known classes from rows of none."""

import numpy as np

from sklearn_ood.metrics._blocks import (
    as_numbers,
    as_rows,
    as_share,
    as_weights,
    count_blocks,
    of_counts,
)
from sklearn_ood.metrics._docstrings import documented

_ROUNDING = 1e-12


def in_or_out(is_in, score, *, sample_weight=None):
    """Arguments of ``count_blocks`` with the kinds in (0) and out (1) of distribution."""
    flags = as_rows("is_in", is_in)
    if not np.isin(flags, [0, 1]).all():
        raise ValueError(
            f"Got is_in with the values {np.unique(flags)[:5]}, but expected booleans: True "
            "where the row is in distribution."
        )
    flags = flags.astype(bool)
    score = as_numbers("score", score, flags.size)
    weights = as_weights(sample_weight, flags.size)
    counted = flags if weights is None else flags[weights > 0]
    if counted.all() or not counted.any():
        raise ValueError(
            f"Got {int(counted.sum())} rows in distribution and {int((~counted).sum())} "
            "outside, but at least one of each is needed to compare them."
        )
    return ~flags, 2, score, weights


def tnr_at_tpr_of_counts(counts, *, tpr=0.95):
    """TNR at a TPR of counts of shape (..., 2, n_blocks)."""
    tpr = as_share("tpr", tpr, zero=False)
    inside, outside = _rates(counts)
    first = np.argmax(inside >= tpr - _ROUNDING, axis=-1)[..., None]
    return 1 - np.take_along_axis(outside, first, -1)[..., 0]


def auroc_of_counts(counts):
    """AUROC of counts of shape (..., 2, n_blocks)."""
    inside, outside = counts[..., 0, :], counts[..., 1, :]
    above = np.cumsum(inside, axis=-1) - inside / 2
    pairs = inside.sum(axis=-1).astype(np.float64) * outside.sum(axis=-1)
    return (outside * above).sum(axis=-1) / pairs


def detection_accuracy_of_counts(counts):
    """Detection accuracy of counts of shape (..., 2, n_blocks)."""
    inside, outside = _rates(counts)
    return 0.5 + np.maximum(inside - outside, 0).max(axis=-1) / 2


def aupr_in_of_counts(counts):
    """Average precision of the inliers of counts of shape (..., 2, n_blocks)."""
    hits = np.cumsum(counts[..., 0, :], axis=-1)
    accepted = hits + np.cumsum(counts[..., 1, :], axis=-1)
    precision = np.divide(hits, accepted, out=np.zeros(hits.shape), where=accepted > 0)
    return (counts[..., 0, :] * precision).sum(axis=-1) / hits[..., -1]


def aupr_out_of_counts(counts):
    """Average precision of the outliers of counts of shape (..., 2, n_blocks)."""
    return aupr_in_of_counts(counts[..., ::-1, ::-1])


def _rates(counts):
    accepted = np.cumsum(counts, axis=-1)
    rates = accepted / accepted[..., -1:]
    return rates[..., 0, :], rates[..., 1, :]


@of_counts(in_or_out, tnr_at_tpr_of_counts)
def tnr_at_tpr(is_in, score, *, tpr=0.95, sample_weight=None):
    """Share of the outliers refused by a threshold that accepts this share of the inliers.

    The threshold is the largest t for which ``score >= t`` accepts at least a share ``tpr``
    of the in-distribution rows. Rows of equal score are accepted together, outliers among
    them: the result is one that a threshold really reaches, never an interpolation.

    Parameters
    ----------
    {scores}
    tpr : float, default=0.95
        In (0, 1].
    {sample_weight}

    Returns
    -------
    tnr : float
        In [0, 1]; higher is better. 0 for a constant score.

    Raises
    ------
    ValueError
        {bad_scores}
        Also if ``tpr`` is outside (0, 1].

    References
    ----------
    .. [1] Lee et al., "Training Confidence-calibrated Classifiers for Detecting
       Out-of-Distribution Samples", ICLR 2018, section 3.

    Examples
    --------
    >>> from sklearn_ood.metrics import tnr_at_tpr
    >>> tnr_at_tpr([True, True, False, False], [0.9, 0.6, 0.7, 0.1])
    0.5
    """
    rows = in_or_out(is_in, score, sample_weight=sample_weight)
    return float(tnr_at_tpr_of_counts(count_blocks(*rows).counts, tpr=tpr))


@of_counts(in_or_out, auroc_of_counts)
def auroc(is_in, score, *, sample_weight=None):
    """Area under the ROC curve: how often an inlier scores above an outlier.

    Ties count one half. The value is that of :func:`sklearn.metrics.roc_auc_score`, which
    does not take infinite scores.

    Parameters
    ----------
    {scores}
    {sample_weight}

    Returns
    -------
    score : float
        In [0, 1]; higher is better. 1/2 for a constant score.

    Raises
    ------
    ValueError
        {bad_scores}

    Examples
    --------
    >>> from sklearn_ood.metrics import auroc
    >>> auroc([True, True, False, False], [0.9, 0.6, 0.7, 0.1])
    0.75
    """
    rows = in_or_out(is_in, score, sample_weight=sample_weight)
    return float(auroc_of_counts(count_blocks(*rows).counts))


@of_counts(in_or_out, detection_accuracy_of_counts)
def detection_accuracy(is_in, score, *, sample_weight=None):
    r"""Accuracy of the best threshold when inliers and outliers are equally likely.

    .. math:: 1 - \min_t \tfrac12 [P_{in}(score \le t) + P_{out}(score > t)]

    Parameters
    ----------
    {scores}
    {sample_weight}

    Returns
    -------
    accuracy : float
        In [1/2, 1]; higher is better. 1/2 for a constant score.

    Raises
    ------
    ValueError
        {bad_scores}

    References
    ----------
    .. [1] Lee et al., "Training Confidence-calibrated Classifiers for Detecting
       Out-of-Distribution Samples", ICLR 2018, section 3.

    Examples
    --------
    >>> from sklearn_ood.metrics import detection_accuracy
    >>> detection_accuracy([True, True, False, False], [0.9, 0.6, 0.7, 0.1])
    0.75
    """
    rows = in_or_out(is_in, score, sample_weight=sample_weight)
    return float(detection_accuracy_of_counts(count_blocks(*rows).counts))


@of_counts(in_or_out, aupr_in_of_counts)
def aupr_in(is_in, score, *, sample_weight=None):
    """Area under the precision-recall curve with the inliers as the positives.

    A step function over the distinct scores, as
    :func:`sklearn.metrics.average_precision_score` has it: nothing is interpolated.

    Parameters
    ----------
    {scores}
    {sample_weight}

    Returns
    -------
    score : float
        In (0, 1]; higher is better. The share of inliers for a constant score.

    Raises
    ------
    ValueError
        {bad_scores}

    Examples
    --------
    >>> from sklearn_ood.metrics import aupr_in
    >>> round(aupr_in([True, True, False, False], [0.9, 0.6, 0.7, 0.1]), 3)
    0.833
    """
    rows = in_or_out(is_in, score, sample_weight=sample_weight)
    return float(aupr_in_of_counts(count_blocks(*rows).counts))


@of_counts(in_or_out, aupr_out_of_counts)
def aupr_out(is_in, score, *, sample_weight=None):
    """Area under the precision-recall curve with the outliers as the positives.

    They are ranked by the negative score; otherwise as :func:`aupr_in`.

    Parameters
    ----------
    {scores}
    {sample_weight}

    Returns
    -------
    score : float
        In (0, 1]; higher is better. The share of outliers for a constant score.

    Raises
    ------
    ValueError
        {bad_scores}

    Examples
    --------
    >>> from sklearn_ood.metrics import aupr_out
    >>> round(aupr_out([True, True, False, False], [0.9, 0.6, 0.7, 0.1]), 3)
    0.833
    """
    rows = in_or_out(is_in, score, sample_weight=sample_weight)
    return float(aupr_out_of_counts(count_blocks(*rows).counts))


@documented
def ood_report(is_in, score, *, tpr=0.95, sample_weight=None):
    """The five numbers by which Lee et al. compare detectors of outliers.

    Parameters
    ----------
    {scores}
    tpr : float, default=0.95
        In (0, 1], of :func:`tnr_at_tpr`.
    {sample_weight}

    Returns
    -------
    report : dict of str to float
        ``tnr_at_tpr``, ``auroc``, ``detection_accuracy``, ``aupr_in`` and ``aupr_out``.

    Raises
    ------
    ValueError
        {bad_scores}
        Also if ``tpr`` is outside (0, 1].

    References
    ----------
    .. [1] Lee et al., "Training Confidence-calibrated Classifiers for Detecting
       Out-of-Distribution Samples", ICLR 2018, table 1.

    Examples
    --------
    >>> from sklearn_ood.metrics import ood_report
    >>> report = ood_report([True, True, False, False], [0.9, 0.6, 0.7, 0.1])
    >>> for name, value in report.items():
    ...     print(f"{name:18} {value:.2f}")
    tnr_at_tpr         0.50
    auroc              0.75
    detection_accuracy 0.75
    aupr_in            0.83
    aupr_out           0.83
    """
    counts = count_blocks(*in_or_out(is_in, score, sample_weight=sample_weight)).counts
    return {
        "tnr_at_tpr": float(tnr_at_tpr_of_counts(counts, tpr=tpr)),
        "auroc": float(auroc_of_counts(counts)),
        "detection_accuracy": float(detection_accuracy_of_counts(counts)),
        "aupr_in": float(aupr_in_of_counts(counts)),
        "aupr_out": float(aupr_out_of_counts(counts)),
    }
