"""How well a score tells rows of the known classes from rows of none."""

from __future__ import annotations

from inspect import unwrap

import numpy as np
from numpy.typing import NDArray

from sklearn_ood._parameters import inherits
from sklearn_ood.metrics._blocks import (
    Labels,
    Numbers,
    Rows,
    Weights,
    as_numbers,
    as_rows,
    as_share,
    as_weights,
    at_first,
    check_both_kinds,
    count_blocks,
    mean_above,
    of_counts,
)

_ROUNDING = 1e-12


def in_or_out(is_in: Labels, score: Numbers, *, sample_weight: Weights = None) -> Rows:
    """Rows of the kinds in (0) and out (1) of distribution.

    Parameters
    ----------
    is_in : array-like of shape (n_samples,)
        True where the row is in distribution.
    score : array-like of shape (n_samples,)
        Higher = more in-distribution. Infinities are allowed, NaN is not.
    sample_weight : array-like of shape (n_samples,), default=None
        Finite numbers >= 0; only their ratios matter.

    Raises
    ------
    ValueError
        If there is no row of one of the two kinds, lengths differ, a score is NaN, or weights
        or another parameter are out of range.
    """
    flags = as_rows("is_in", is_in)
    if not np.isin(flags, [0, 1]).all():
        raise ValueError(
            f"Got is_in with the values {np.unique(flags)[:5]}, but expected booleans: True "
            "where the row is in distribution."
        )
    flags = flags.astype(bool)
    numbers = as_numbers("score", score, flags.size)
    weights = as_weights(sample_weight, flags.size)
    check_both_kinds(flags, weights, "in distribution", "outside")
    return ~flags, 2, numbers, weights


def _rates(counts: NDArray) -> NDArray:
    """Shares of the inliers and of the outliers that each threshold accepts."""
    accepted = np.cumsum(counts, axis=-1)
    return np.moveaxis(accepted / accepted[..., -1:], -2, 0)


@of_counts(in_or_out, settings={"tpr": 0.95})
def tnr_at_tpr(counts, *, tpr):
    """Share of the outliers refused by a threshold that accepts this share of the inliers.

    The threshold is the largest t for which ``score >= t`` accepts at least a share ``tpr``
    of the in-distribution rows. Rows of equal score are accepted together, outliers among
    them: the result is one that a threshold really reaches, never an interpolation. It is
    from the paper of :func:`ood_report`.

    Parameters
    ----------
    tpr : float, default=0.95
        Share of the inliers to accept, in (0, 1].

    Returns
    -------
    tnr : float
        In [0, 1]; higher is better. 0 for a constant score.

    Examples
    --------
    >>> from sklearn_ood.metrics import tnr_at_tpr
    >>> tnr_at_tpr([True, True, False, False], [0.9, 0.6, 0.7, 0.1])
    0.5
    """
    tpr = as_share("tpr", tpr, zero=False)
    inside, outside = _rates(counts)
    return 1 - at_first(inside >= tpr - _ROUNDING, outside)


@of_counts(in_or_out)
def auroc(counts):
    """Area under the ROC curve: how often an inlier scores above an outlier.

    Ties count one half. The value is that of :func:`sklearn.metrics.roc_auc_score`, which
    does not take infinite scores.

    Returns
    -------
    score : float
        In [0, 1]; higher is better. 1/2 for a constant score.

    Examples
    --------
    >>> from sklearn_ood.metrics import auroc
    >>> auroc([True, True, False, False], [0.9, 0.6, 0.7, 0.1])
    0.75
    """
    inside, outside = np.moveaxis(counts, -2, 0)
    return mean_above(inside, outside, inside.sum(axis=-1))


@of_counts(in_or_out)
def detection_accuracy(counts):
    r"""Accuracy of the best threshold when inliers and outliers are equally likely.

    .. math:: 1 - \min_t \tfrac12 [P_{in}(score \le t) + P_{out}(score > t)]

    It is from the paper of :func:`ood_report`.

    Returns
    -------
    accuracy : float
        In [1/2, 1]; higher is better. 1/2 for a constant score.

    Examples
    --------
    >>> from sklearn_ood.metrics import detection_accuracy
    >>> detection_accuracy([True, True, False, False], [0.9, 0.6, 0.7, 0.1])
    0.75
    """
    inside, outside = _rates(counts)
    return 0.5 + np.maximum(inside - outside, 0).max(axis=-1) / 2


@of_counts(in_or_out)
def aupr_in(counts):
    """Area under the precision-recall curve with the inliers as the positives.

    A step function over the distinct scores, as
    :func:`sklearn.metrics.average_precision_score` has it: nothing is interpolated.

    Returns
    -------
    score : float
        In (0, 1]; higher is better. The share of inliers for a constant score.

    Examples
    --------
    >>> from sklearn_ood.metrics import aupr_in
    >>> round(aupr_in([True, True, False, False], [0.9, 0.6, 0.7, 0.1]), 3)
    0.833
    """
    return _average_precision(counts)


@of_counts(in_or_out)
def aupr_out(counts):
    """Area under the precision-recall curve with the outliers as the positives.

    They are ranked by the negative score; otherwise as :func:`aupr_in`.

    Returns
    -------
    score : float
        In (0, 1]; higher is better. The share of outliers for a constant score.

    Examples
    --------
    >>> from sklearn_ood.metrics import aupr_out
    >>> round(aupr_out([True, True, False, False], [0.9, 0.6, 0.7, 0.1]), 3)
    0.833
    """
    return _average_precision(counts[..., ::-1, ::-1])


def _average_precision(counts):
    hits, others = np.moveaxis(np.cumsum(counts, axis=-1), -2, 0)
    accepted = hits + others
    precision = np.divide(hits, accepted, out=np.zeros(hits.shape), where=accepted > 0)
    return (counts[..., 0, :] * precision).sum(axis=-1) / hits[..., -1]


@inherits(tnr_at_tpr)
def ood_report(
    is_in: Labels, score: Numbers, *, tpr: float = 0.95, sample_weight: Weights = None
) -> dict[str, float]:
    """The five numbers by which Lee et al. compare detectors of outliers.

    Returns
    -------
    report : dict of str to float
        ``tnr_at_tpr``, ``auroc``, ``detection_accuracy``, ``aupr_in`` and ``aupr_out``.

    References
    ----------
    .. [1] Lee et al., "Training Confidence-calibrated Classifiers for Detecting
       Out-of-Distribution Samples", ICLR 2018.

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
    _, counts = count_blocks(*in_or_out(is_in, score, sample_weight=sample_weight))
    report = {"tnr_at_tpr": unwrap(tnr_at_tpr)(counts, tpr=tpr)}
    for metric in (auroc, detection_accuracy, aupr_in, aupr_out):
        of_counts_alone = unwrap(metric)
        report[of_counts_alone.__name__] = of_counts_alone(counts)
    return {name: float(value) for name, value in report.items()}
