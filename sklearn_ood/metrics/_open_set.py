"""How well rows of the known classes are told from rows of none, and named."""

from __future__ import annotations

from inspect import unwrap

import numpy as np
from numpy.typing import NDArray

from sklearn_ood._parameters import PositiveShare, check_arguments, inherits
from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.metrics import _blocks
from sklearn_ood.metrics._blocks import Labels, Numbers, Rows, Weights, as_answers, of_counts
from sklearn_ood.metrics._selective import right_or_wrong


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
    flags = _blocks.as_mask("is_in", is_in)
    numbers = _blocks.as_numbers("score", score, flags.size)
    weights = _blocks.as_weights(sample_weight, flags.size)
    _blocks.check_both_kinds(flags, weights, "in distribution", "outside")
    return ~flags, 2, numbers, weights


def _rates(counts: NDArray) -> NDArray:
    """Shares of the inliers and of the outliers that each threshold accepts."""
    accepted = np.cumsum(counts, axis=-1)
    return np.moveaxis(accepted / accepted[..., -1:], -2, 0)


@of_counts(in_or_out)
def tnr_at_tpr(counts, *, tpr: PositiveShare = 0.95):
    """Share of the outliers refused by a threshold that accepts this share of the inliers.

    The threshold is the largest t for which ``score >= t`` accepts at least a share ``tpr``
    of the in-distribution rows. Rows of equal score are accepted together, outliers among
    them: the result is one that a threshold really reaches, never an interpolation. In [0, 1],
    higher is better: 0 for a constant score. It is from the paper of :func:`ood_report`.

    Parameters
    ----------
    tpr : float in (0, 1], default=0.95
        Share of the inliers to accept.

    Examples
    --------
    >>> from sklearn_ood.metrics import tnr_at_tpr
    >>> tnr_at_tpr([True, True, False, False], [0.9, 0.6, 0.7, 0.1])
    0.5
    """
    inside, outside = _rates(counts)
    return 1 - _blocks.at_first(inside >= tpr - _blocks.ROUNDING, outside)


@of_counts(in_or_out)
def auroc(counts):
    """Area under the ROC curve: how often an inlier scores above an outlier.

    In [0, 1], higher is better: 1/2 for a constant score, as ties count one half. It is
    :func:`sklearn.metrics.roc_auc_score`, which does not take infinite scores.

    Examples
    --------
    >>> from sklearn_ood.metrics import auroc
    >>> auroc([True, True, False, False], [0.9, 0.6, 0.7, 0.1])
    0.75
    """
    inside, outside = np.moveaxis(counts, -2, 0)
    return _blocks.mean_above(inside, outside, inside.sum(axis=-1))


@of_counts(in_or_out)
def detection_accuracy(counts):
    r"""Accuracy of the best threshold when inliers and outliers are equally likely.

    .. math:: 1 - \min_t \tfrac12 [P_{in}(score \le t) + P_{out}(score > t)]

    In [1/2, 1], higher is better. It is from the paper of :func:`ood_report`.

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
    :func:`sklearn.metrics.average_precision_score` has it: nothing is interpolated. In (0, 1],
    higher is better: the share of inliers for a constant score.

    Examples
    --------
    >>> from sklearn_ood.metrics import aupr_in
    >>> round(aupr_in([True, True, False, False], [0.9, 0.6, 0.7, 0.1]), 3)
    0.833
    """
    return _average_precision(counts)


@of_counts(in_or_out)
def aupr_out(counts):
    """:func:`aupr_in` with the outliers as the positives, ranked by the negative score.

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
    is_in: Labels, score: Numbers, *, tpr: PositiveShare = 0.95, sample_weight: Weights = None
) -> dict[str, float]:
    """The five numbers by which Lee et al. compare detectors of outliers, by name.

    ``tnr_at_tpr``, ``auroc``, ``detection_accuracy``, ``aupr_in`` and ``aupr_out`` ("Training
    Confidence-calibrated Classifiers for Detecting Out-of-Distribution Samples", ICLR 2018).

    Examples
    --------
    >>> from sklearn_ood.metrics import ood_report
    >>> ood_report([True, True, False, False], [0.9, 0.6, 0.7, 0.1])["auroc"]
    0.75
    """
    check_arguments(ood_report, {"tpr": tpr})
    _, counts = _blocks.count_blocks(*in_or_out(is_in, score, sample_weight=sample_weight))
    report = {"tnr_at_tpr": unwrap(tnr_at_tpr)(counts, tpr=tpr)}
    for metric in (auroc, detection_accuracy, aupr_in, aupr_out):
        of_counts_alone = unwrap(metric)
        report[of_counts_alone.__name__] = of_counts_alone(counts)
    return {name: float(value) for name, value in report.items()}


@inherits(right_or_wrong)
def right_unknown_or_wrong(
    y_true: Labels,
    y_pred: Labels,
    confidence: Numbers,
    *,
    classes: Labels,
    sample_weight: Weights = None,
) -> Rows:
    """Rows of the kinds known and right (0), unknown (1), known and wrong (2).

    Parameters
    ----------
    classes : array-like of shape (n_classes,)
        The labels that the classifier was taught, its ``classes_``.

    Raises
    ------
    ValueError
        If no row is of these classes, or all are; lengths differ, a number is NaN, or weights
        are not valid.
    """
    labels, answers, numbers, weights = as_answers(y_true, y_pred, confidence, sample_weight)
    known = codes_in(_blocks.as_labels("classes", classes), labels) != OUTLIER
    _blocks.check_both_kinds(known, weights, "with a label of classes", "without")
    return np.where(known, 2 * _blocks.differs(labels, answers), 1), 3, numbers, weights


@of_counts(right_unknown_or_wrong)
def oscr_score(counts):
    """Open-set classification rate: area under correct answers against false answers.

    The share of the known rows that is answered and right (CCR) is drawn against the share
    of the unknown rows that is answered (FPR). The area is the probability that a known row
    is answered right with more confidence than an unknown row has; ties count one half. In
    [0, accuracy on the known rows], higher is better (Dhamija, Günther and Boult, "Reducing
    Network Agnostophobia", NeurIPS 2018).

    Examples
    --------
    >>> from sklearn_ood.metrics import oscr_score
    >>> oscr_score([0, 1, 7, 8], [0, 1, 1, 0], [0.9, 0.6, 0.7, 0.1], classes=[0, 1])
    0.75
    """
    right, unknown, wrong = np.moveaxis(counts, -2, 0)
    return _blocks.mean_above(right, unknown, (right + wrong).sum(axis=-1))


@inherits(right_unknown_or_wrong)
def open_set_f_measure(
    y_true: Labels,
    y_pred: Labels,
    confidence: Numbers,
    *,
    classes: Labels,
    threshold: float,
    sample_weight: Weights = None,
) -> float:
    """Macro F-measure over the known classes of a classifier that refuses below a threshold.

    A row is answered where ``confidence >= threshold``. For a class, precision is the share of
    right answers among those that name it, unknown rows included, and recall the share of its
    rows that is answered right. Their harmonic mean, in [0, 1], is averaged over the classes
    that have rows or are answered, of which Spigler (see :func:`openness`) says nothing.

    Parameters
    ----------
    threshold : float
        Lowest confidence that is answered.

    Raises
    ------
    ValueError
        If no row is of these classes and no answer names one; lengths differ, a number is
        NaN, or weights are not valid.

    Examples
    --------
    >>> from sklearn_ood.metrics import open_set_f_measure
    >>> answers, confidence = [0, 1, 1, 0], [0.9, 0.6, 0.7, 0.1]
    >>> given = {"classes": [0, 1], "threshold": 0.5}
    >>> round(open_set_f_measure([0, 1, 7, 8], answers, confidence, **given), 3)
    0.833
    """
    number = np.asarray(threshold)
    if number.ndim or number.dtype.kind not in "biuf" or np.isnan(number):
        raise ValueError(f"Got threshold={threshold!r}, but expected one number.")
    labels, answers, numbers, weights = as_answers(y_true, y_pred, confidence, sample_weight)
    weights = np.ones(labels.size) if weights is None else weights
    known = _blocks.as_labels("classes", classes)
    truth, answer = codes_in(known, labels), codes_in(known, answers)
    answered = weights * (numbers >= threshold)

    def of_each_class(codes, weights):
        return np.bincount(codes + 1, weights, len(known) + 1)[1:]  # the first is no class

    hits = of_each_class(truth, answered * (truth == answer))
    n_rows, n_answers = of_each_class(truth, weights), of_each_class(answer, answered)
    seen = n_rows + n_answers > 0
    if not seen.any():
        raise ValueError(
            f"Got no row of the classes {known[:5]} and no answer that names one, but the "
            "F-measure is a mean over them; check that classes holds labels of y_true."
        )
    return float(np.mean(2 * hits[seen] / (n_rows + n_answers)[seen]))


def openness(n_train: int, n_test: int, n_target: int | None = None) -> float:
    r"""How many classes of the test were never taught: in [0, 1), 0 for a closed problem.

    .. math:: 1 - \sqrt{\frac{2 \, n_{train}}{n_{test} + n_{target}}}

    (Scheirer et al., "Toward Open Set Recognition", IEEE TPAMI 2013).

    Parameters
    ----------
    n_train : int
        Number of classes taught, at least 1.
    n_test : int
        Number of classes in the test, the unknown ones included; at least ``n_train``.
    n_target : int, default=None
        Number of classes that have to be recognised, from ``n_train`` to ``n_test``. None
        is ``n_test``, which gives 1 - sqrt(n_train / n_test) (Spigler, "Denoising Autoencoders
        for Overgeneralization in Neural Networks", IEEE TPAMI 2019, section IV-C).

    Examples
    --------
    >>> from sklearn_ood.metrics import openness
    >>> round(openness(2, 10), 3)
    0.553
    """
    n_target = n_test if n_target is None else n_target
    if not 1 <= n_train <= n_target <= n_test:
        raise ValueError(
            f"Got n_train={n_train}, n_target={n_target}, n_test={n_test}, but expected "
            "1 <= n_train <= n_target <= n_test."
        )
    return float(1 - np.sqrt(2 * n_train / (n_test + n_target)))
