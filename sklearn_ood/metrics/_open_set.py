"""Open-set recognition: name the known classes and refuse the others, judged as one task."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sklearn_ood._parameters import inherits
from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.metrics._blocks import (
    Rows,
    as_answers,
    as_labels,
    check_both_kinds,
    differs,
    mean_above,
    of_counts,
)
from sklearn_ood.metrics._selective import right_or_wrong


@inherits(right_or_wrong)
def right_unknown_or_wrong(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    confidence: ArrayLike,
    *,
    classes: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> Rows:
    """Rows of the kinds known and right (0), unknown (1), known and wrong (2).

    Parameters
    ----------
    classes : array-like of shape (n_classes,)
        The labels that the classifier was taught, its ``classes_``.

    Raises
    ------
    ValueError
        If no row is of these classes, or all are where both are compared; lengths differ, a
        number is NaN, or weights are not valid.
    """
    labels, answers, numbers, weights = as_answers(y_true, y_pred, confidence, sample_weight)
    known = codes_in(as_labels("classes", classes), labels) != OUTLIER
    check_both_kinds(known, weights, "with a label of classes", "without")
    return np.where(known, 2 * differs(labels, answers), 1), 3, numbers, weights


@of_counts(right_unknown_or_wrong)
def oscr_score(counts):
    """Open-set classification rate: area under correct answers against false answers.

    The share of the known rows that is answered and right (CCR) is drawn against the share
    of the unknown rows that is answered (FPR). The area is the probability that a known row
    is answered right with more confidence than an unknown row has; ties count one half.

    Returns
    -------
    score : float
        In [0, accuracy on the known rows]; higher is better.

    References
    ----------
    .. [1] Dhamija, Günther and Boult, "Reducing Network Agnostophobia", NeurIPS 2018.

    Examples
    --------
    >>> from sklearn_ood.metrics import oscr_score
    >>> oscr_score([0, 1, 7, 8], [0, 1, 1, 0], [0.9, 0.6, 0.7, 0.1], classes=[0, 1])
    0.75
    """
    right, unknown, wrong = np.moveaxis(counts, -2, 0)
    return mean_above(right, unknown, (right + wrong).sum(axis=-1))


@inherits(right_unknown_or_wrong)
def open_set_f_measure(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    confidence: ArrayLike,
    *,
    classes: ArrayLike,
    threshold: float,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Macro F-measure over the known classes of a classifier that refuses below a threshold.

    A row is answered where ``confidence >= threshold``. For a class, precision is the
    share of right answers among those that name it, unknown rows included, and recall the
    share of its rows that is answered right. Their harmonic mean is averaged over the
    classes that have rows or are answered; a class with neither is left out.

    Parameters
    ----------
    threshold : float
        Lowest confidence that is answered.

    Returns
    -------
    score : float
        In [0, 1]; higher is better. 0 when nothing is answered.

    References
    ----------
    .. [1] Spigler, "Denoising Autoencoders for Overgeneralization in Neural Networks",
       IEEE TPAMI 2019, section IV-C. The text does not say how the classes are averaged.

    Examples
    --------
    >>> from sklearn_ood.metrics import open_set_f_measure
    >>> score = open_set_f_measure(
    ...     [0, 1, 7, 8], [0, 1, 1, 0], [0.9, 0.6, 0.7, 0.1], classes=[0, 1], threshold=0.5
    ... )
    >>> round(score, 3)
    0.833
    """
    if np.ndim(threshold) or np.isnan(threshold):
        raise ValueError(f"Got threshold={threshold!r}, but expected one number.")
    labels, answers, numbers, weights = as_answers(y_true, y_pred, confidence, sample_weight)
    weights = np.ones(labels.size) if weights is None else weights
    known = as_labels("classes", classes)
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
    r"""How many classes of the test were never taught.

    .. math:: 1 - \sqrt{\frac{2 \, n_{train}}{n_{test} + n_{target}}}

    Parameters
    ----------
    n_train : int
        Number of classes taught, at least 1.
    n_test : int
        Number of classes in the test, the unknown ones included; at least ``n_train``.
    n_target : int, default=None
        Number of classes that have to be recognised, from ``n_train`` to ``n_test``. None
        is ``n_test``, which gives the form of Spigler, 1 - sqrt(n_train / n_test).

    Returns
    -------
    openness : float
        In [0, 1): 0 for a closed problem.

    Raises
    ------
    ValueError
        If the numbers are not in the order 1 <= n_train <= n_target <= n_test.

    References
    ----------
    .. [1] Scheirer et al., "Toward Open Set Recognition", IEEE TPAMI 2013.
    .. [2] Spigler, "Denoising Autoencoders for Overgeneralization in Neural Networks",
       IEEE TPAMI 2019, section IV-C.

    Examples
    --------
    >>> from sklearn_ood.metrics import openness
    >>> round(openness(2, 10), 3)
    0.553
    >>> round(openness(2, 10, n_target=2), 3)
    0.423
    """
    n_target = n_test if n_target is None else n_target
    if not 1 <= n_train <= n_target <= n_test:
        raise ValueError(
            f"Got n_train={n_train}, n_target={n_target}, n_test={n_test}, but expected "
            "1 <= n_train <= n_target <= n_test."
        )
    return float(1 - np.sqrt(2 * n_train / (n_test + n_target)))
