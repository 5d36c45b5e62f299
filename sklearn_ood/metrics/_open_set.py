"""Open-set recognition: name the known classes and refuse the others, judged as one task."""

import numpy as np

from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.metrics._blocks import (
    as_answers,
    as_labels,
    as_weights,
    count_blocks,
    differs,
    of_counts,
)
from sklearn_ood.metrics._docstrings import documented


def right_unknown_or_wrong(y_true, y_pred, confidence, *, classes, sample_weight=None):
    """Arguments of ``count_blocks``: known and right (0), unknown (1), known and wrong (2)."""
    y_true, y_pred, confidence = as_answers(y_true, y_pred, confidence)
    weights = as_weights(sample_weight, y_true.size)
    unknown = codes_in(as_labels("classes", classes), y_true) == OUTLIER
    counted = unknown if weights is None else unknown[weights > 0]
    if counted.all() or not counted.any():
        raise ValueError(
            f"Got {int((~counted).sum())} rows with a label of classes and "
            f"{int(counted.sum())} without, but at least one of each is needed."
        )
    return np.where(unknown, 1, 2 * differs(y_true, y_pred)), 3, confidence, weights


def oscr_of_counts(counts):
    """OSCR of counts of shape (..., 3, n_blocks)."""
    right, unknown = counts[..., 0, :], counts[..., 1, :]
    above = np.cumsum(right, axis=-1) - right / 2
    n_right_wrong = counts[..., 0, :].sum(axis=-1) + counts[..., 2, :].sum(axis=-1)
    pairs = n_right_wrong.astype(np.float64) * unknown.sum(axis=-1)
    return (unknown * above).sum(axis=-1) / pairs


@of_counts(right_unknown_or_wrong, oscr_of_counts)
def oscr_score(y_true, y_pred, confidence, *, classes, sample_weight=None):
    """Open-set classification rate: area under correct answers against false answers.

    For every threshold, the share of the known rows that is answered and right (CCR) is
    drawn against the share of the unknown rows that is answered (FPR). The area is the
    probability that a known row is answered right with more confidence than an unknown
    row has; ties count one half. Higher is better.

    Parameters
    ----------
    {answers}
    {classes}
    {sample_weight}

    Returns
    -------
    score : float
        In [0, accuracy on the known rows].

    Raises
    ------
    ValueError
        If there is no known or no unknown row, lengths differ, a confidence is NaN, or
        weights are not valid.

    References
    ----------
    .. [1] Dhamija, Günther and Boult, "Reducing Network Agnostophobia", NeurIPS 2018.

    Examples
    --------
    >>> from sklearn_ood.metrics import oscr_score
    >>> oscr_score([0, 1, 7, 8], [0, 1, 1, 0], [0.9, 0.6, 0.7, 0.1], classes=[0, 1])
    0.75
    """
    rows = right_unknown_or_wrong(
        y_true, y_pred, confidence, classes=classes, sample_weight=sample_weight
    )
    return float(oscr_of_counts(count_blocks(*rows).counts))


@documented
def open_set_f_measure(y_true, y_pred, confidence, *, classes, threshold, sample_weight=None):
    """Macro F-measure over the known classes of a classifier that refuses below a threshold.

    A row is answered where ``confidence >= threshold``. For a class, precision is the
    share of right answers among those that name it, unknown rows included, and recall the
    share of its rows that is answered right. Their harmonic mean is averaged over the
    classes that have rows or are answered; a class with neither is left out.

    Parameters
    ----------
    {answers}
    {classes}
    threshold : float
        Lowest confidence that is answered.
    {sample_weight}

    Returns
    -------
    score : float
        In [0, 1]; higher is better. 0 when nothing is answered.

    Raises
    ------
    ValueError
        If there is no row, no row has a label of ``classes`` or is answered with one,
        lengths differ, a confidence or the threshold is NaN, or weights are not valid.

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
    y_true, y_pred, confidence = as_answers(y_true, y_pred, confidence)
    answered = confidence >= threshold
    weights = as_weights(sample_weight, y_true.size)
    weights = np.ones(y_true.size) if weights is None else weights
    classes = as_labels("classes", classes)
    truth, answer = codes_in(classes, y_true), codes_in(classes, y_pred)
    right = answered & (truth == answer)
    hits, rows, answers = (
        np.bincount(code + 1, weight, len(classes) + 1)[1:]  # the first is no class
        for code, weight in (
            (truth, weights * right),
            (truth, weights),
            (answer, weights * answered),
        )
    )
    seen = rows + answers > 0
    if not seen.any():
        raise ValueError(
            f"Got no row of the classes {classes[:5]} and no answer that names one, but the "
            "F-measure is a mean over them; check that classes holds labels of y_true."
        )
    return float(np.mean(2 * hits[seen] / (rows + answers)[seen]))


def openness(n_train, n_test, n_target=None):
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
