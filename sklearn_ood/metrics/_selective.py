"""Risk (share of the answers that is wrong) and coverage (share of the rows answered)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from sklearn_ood._parameters import ClosedShare, Count, PositiveShare, check_arguments, inherits
from sklearn_ood.metrics import _blocks
from sklearn_ood.metrics._blocks import Labels, Numbers, Rows, Weights, as_answers, of_counts


def right_or_wrong(
    y_true: Labels, y_pred: Labels, confidence: Numbers, *, sample_weight: Weights = None
) -> Rows:
    """Rows of the kinds right (0) and wrong (1).

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels. Labels the classifier was never taught may be of another type than its
        answers (an "unknown" among integers).
    y_pred : array-like of shape (n_samples,)
        Answers of the classifier, before any is rejected.
    confidence : array-like of shape (n_samples,)
        Higher = more trustworthy. Infinities are allowed, NaN is not.
    sample_weight : array-like of shape (n_samples,), default=None
        Finite numbers >= 0; only their ratios matter.

    Raises
    ------
    ValueError
        If there is no row, lengths differ, a confidence is NaN, or weights or another
        parameter are out of range.
    """
    labels, answers, numbers, weights = as_answers(y_true, y_pred, confidence, sample_weight)
    if weights is not None:  # for what takes them as counts: a row is not less than one
        weights = _blocks.in_range(weights)
        weights = weights / min(1.0, weights[weights > 0].mean())
    return _blocks.differs(labels, answers), 2, numbers, weights


@inherits(right_or_wrong)
def risk_coverage_curve(
    y_true: Labels, y_pred: Labels, confidence: Numbers, *, sample_weight: Weights = None
) -> tuple[NDArray, NDArray, NDArray]:
    """Selective risk at every coverage that a threshold can reach.

    Accepting the rows with ``confidence >= threshold`` takes or leaves all rows of equal
    confidence together, so there is one point for each distinct confidence and none in
    between (El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification",
    JMLR 2010).

    Returns
    -------
    coverage, risk, threshold : ndarray of shape (n_points,)
        Coverage rises to 1, where the risk is the error rate of the classifier; the threshold
        falls: it is the lowest confidence accepted.

    Examples
    --------
    >>> from sklearn_ood.metrics import risk_coverage_curve
    >>> coverage, risk, threshold = risk_coverage_curve(
    ...     [0, 1, 1, "unknown"], [0, 1, 0, 1], [0.9, 0.8, 0.8, 0.1]
    ... )
    >>> coverage, threshold
    (array([0.25, 0.75, 1.  ]), array([0.9, 0.8, 0.1]))
    >>> risk.round(2)
    array([0.  , 0.33, 0.5 ])
    """
    rows = right_or_wrong(y_true, y_pred, confidence, sample_weight=sample_weight)
    values, counts = _blocks.count_blocks(*rows)
    accepted, errors = _accepted(counts)
    return accepted / accepted[-1], errors / accepted, values


@of_counts(right_or_wrong, joins_idle=True)
def aurc_score(counts):
    r"""Area under the risk-coverage curve: the mean risk of the top 1, 2, ... n rows.

    In [0, 1], lower is better: 0 when all answers are right, the error rate when the confidence
    is constant (Geifman, Uziel and El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep
    Neural Classifiers", ICLR 2019). Inside a block of t rows with e errors and equal
    confidence, after n0 accepted rows with e0 errors, the expected risk over all orders of the
    block is used,

    .. math:: risk(n_0 + j) = \frac{e_0 + j e / t}{n_0 + j}, \quad j = 1, ..., t,

    so that the score does not depend on the order of the rows.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,), default=None
        Finite numbers >= 0, taken as counts: a weight of 2 is the same as the row twice.
        Where their mean is below 1, as of shares, it is made 1; above, their scale matters a
        little, as the number of rows does.

    Examples
    --------
    >>> from sklearn_ood.metrics import aurc_score
    >>> round(aurc_score([0, 1, 1, 0], [0, 1, 0, 0], [0.9, 0.8, 0.1, 0.7]), 4)
    0.0625
    """
    return _aurc(counts)


@of_counts(right_or_wrong, joins_idle=True)
def eaurc_score(counts):
    r"""Excess area under the risk-coverage curve: what a perfect ranking would save.

    :func:`aurc_score`, whose paper it is from, minus that of a ranking with all k errors last,
    which is exactly

    .. math:: \frac{1}{n} \sum_{j=1}^{k} \frac{j}{n - k + j}.

    In [0, 1), lower is better: 0 for a perfect ranking, hence also when all answers are right,
    and when all are wrong.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,), default=None
        As for :func:`aurc_score`.

    Examples
    --------
    >>> from sklearn_ood.metrics import eaurc_score
    >>> round(eaurc_score([0, 1, 1, 0], [0, 1, 0, 0], [0.9, 0.8, 0.75, 0.7]), 3)
    0.083
    """
    perfect = counts.sum(axis=-1)[..., None] * np.eye(2, dtype=counts.dtype)
    # The difference is never negative; only its rounding is.
    return np.maximum(_aurc(counts) - _aurc(perfect), 0.0)


@of_counts(right_or_wrong)
def augrc_score(counts):
    """Area under the generalised risk-coverage curve: the mean risk of a silent failure.

    The generalised risk is the share of *all* rows that is answered and wrong. With a the
    accuracy and f the AUROC of the confidence for telling right from wrong, the area is
    :math:`(1 - f) a (1 - a) + (1 - a)^2 / 2`; ties count one half. In [0, 1/2], lower is
    better: 0 when all answers are right, 1/2 when all are wrong (Traub et al., "Overcoming
    Common Flaws in the Evaluation of Selective Classification Systems", NeurIPS 2024).

    Examples
    --------
    >>> from sklearn_ood.metrics import augrc_score
    >>> augrc_score([0, 1, 1, 0], [0, 1, 0, 0], [0.9, 0.8, 0.1, 0.7])
    0.03125
    """
    total, errors = counts.sum(axis=-2), counts[..., 1, :]
    return _blocks.mean_above(errors, total, total.sum(axis=-1))


@of_counts(right_or_wrong)
def risk_at_coverage(counts, *, coverage: PositiveShare = 0.9):
    """Selective risk, in [0, 1], when at least this share of the rows is answered.

    It is the risk at the smallest coverage that a threshold can reach and that is not below
    the one asked for; rows of equal confidence are answered together.

    Parameters
    ----------
    coverage : float in (0, 1], default=0.9

    Examples
    --------
    >>> from sklearn_ood.metrics import risk_at_coverage
    >>> risk_at_coverage([0, 1, 1, 0], [0, 1, 0, 0], [0.9, 0.8, 0.1, 0.7], coverage=0.75)
    0.0
    """
    accepted, errors = _accepted(counts)
    enough = (accepted >= (coverage - _blocks.ROUNDING) * accepted[..., -1:]) & (accepted > 0)
    return _blocks.at_first(enough, errors / accepted)


@of_counts(right_or_wrong, joins_idle=True)
def coverage_at_risk(counts, *, risk: ClosedShare = 0.01):
    """Largest share of the rows that can be answered with at most this selective risk.

    In [0, 1]: 0 when no threshold reaches the risk. This judges a confidence on rows whose
    labels are known; it promises nothing about new rows.

    Parameters
    ----------
    risk : float in [0, 1], default=0.01

    Examples
    --------
    >>> from sklearn_ood.metrics import coverage_at_risk
    >>> coverage_at_risk([0, 1, 1, 0], [0, 1, 0, 0], [0.9, 0.8, 0.1, 0.7], risk=0.0)
    0.75
    """
    accepted, errors = _accepted(counts)
    within = errors <= (risk + _blocks.ROUNDING) * accepted
    return (accepted * within).max(axis=-1) / accepted[..., -1]


@inherits(right_or_wrong)
def expected_calibration_error(
    y_true: Labels,
    y_pred: Labels,
    confidence: Numbers,
    *,
    n_bins: Count = 20,
    sample_weight: Weights = None,
) -> float:
    r"""Expected calibration error: mean distance between confidence and accuracy.

    Rows are put into bins of equal width over [0, 1], each closed on the right (the first
    on both sides); then

    .. math:: \sum_b \frac{n_b}{n} |accuracy_b - confidence_b|

    (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3). In [0, 1], lower
    is better. A row whose label the classifier was never taught is wrong whatever is answered,
    so its confidence ought to be 0.

    Parameters
    ----------
    confidence : array-like of shape (n_samples,)
        Probability of each answer, in [0, 1]: ``predict_proba(X).max(axis=1)``.
    n_bins : int >= 1, default=20

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
    in_bin = np.searchsorted(np.arange(1, n_bins) / n_bins, proba)  # closed on the right
    excess = np.bincount(in_bin, weights * (proba - ~_blocks.differs(labels, answers)))
    return float(np.abs(excess).sum() / weights.sum())


def _aurc(counts):
    """The mean over a block in closed form."""
    errors = counts[..., 1, :]
    total = counts[..., 0, :] + errors
    after = np.cumsum(total, axis=-1)
    harmonic_after = _harmonic(after)
    # Every row of a block adds sum_j (j/t) / (n0 + j) inside the block, and 1 / i for every
    # later position i; both sums are differences of harmonic numbers.
    per_row = 1 + harmonic_after[..., -1:] - harmonic_after
    rise = np.diff(harmonic_after, axis=-1)
    rise *= after[..., :-1]
    rise /= np.where(total > 0, total, 1)[..., 1:]
    per_row[..., 1:] -= rise
    area = np.einsum("...i,...i->...", errors, per_row) / after[..., -1]
    return np.minimum(area, 1.0)  # only its rounding is above


def _accepted(counts):
    errors = np.cumsum(counts[..., 1, :], axis=-1)
    return np.cumsum(counts[..., 0, :], axis=-1) + errors, errors


def _harmonic(count):
    if count.dtype.kind == "i" and count.max() < 4 * count.size:
        table = np.zeros(count.max() + 1)
        np.cumsum(1.0 / np.arange(1, table.size), out=table[1:])
        return table[count]
    return digamma(count + 1.0) + np.euler_gamma
