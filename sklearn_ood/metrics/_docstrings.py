"""Entries that the docstrings of many metrics share; :func:`documented` fills them in.

{answers}
    y_true : array-like of shape (n_samples,)
        True labels. Labels the classifier was never taught may be of another type than
        its answers (an "unknown" among integers).
    y_pred : array-like of shape (n_samples,)
        Answers of the classifier, before any is rejected.
    confidence : array-like of shape (n_samples,)
        Higher = more trustworthy. Infinities are allowed, NaN is not.
{scores}
    is_in : array-like of shape (n_samples,)
        True where the row is in distribution.
    score : array-like of shape (n_samples,)
        Higher = more in-distribution. Infinities are allowed, NaN is not.
{classes}
    classes : array-like of shape (n_classes,)
        The labels that the classifier was taught, its ``classes_``.
{sample_weight}
    sample_weight : array-like of shape (n_samples,), default=None
        Finite numbers >= 0; only their ratios matter.
{bad_answers}
    If there is no row, lengths differ, a confidence is NaN, or weights are not valid.
{bad_scores}
    If there is no row of one of the two kinds, lengths differ, a score is NaN, or weights
    are not valid.
{estimator_rows}
    estimator : object
        Fitted classifier. Its confidence is ``confidence`` or ``score_samples``, else what
        ``predict_proba`` gives the answer, else the margin of ``decision_function``.
    X : array-like of shape (n_samples, n_features)
        Rows to answer, those of unknown classes included.
    y : array-like of shape (n_samples,)
        True labels; an answer to a label that was never taught is an error.
{name}
    name : str, default=None
        What to call it in the picture. None is the class of the estimator, where there is one.
{ax}
    ax : matplotlib Axes, default=None
        Axes to draw on; None makes new ones.
{optimal}
    optimal : bool, default=True
        Whether to draw the curve of a perfect ranking.
"""

import re
from inspect import cleandoc
from textwrap import dedent, indent

_PARTS = re.split(r"(?m)^(\{\w+\})\n", __doc__ or "")[1:]
_ENTRIES = {name: dedent(text) for name, text in zip(_PARTS[::2], _PARTS[1::2], strict=True)}


def documented(function):
    """Fill the entries that stand in braces on lines of their own into a docstring."""

    def entry(found):
        return indent(_ENTRIES[found[2]], found[1])

    text = cleandoc(function.__doc__ or "")
    function.__doc__ = re.sub(r"(?m)^( *)(\{\w+\})\n", entry, text + "\n")
    return function
