"""Parts that the docstrings of many metrics share; :func:`documented` fills them in.

{answers}
    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels. Labels the classifier was never taught may be of another type than
        its answers (an "unknown" among integers).
    y_pred : array-like of shape (n_samples,)
        Answers of the classifier, before any is rejected.
    confidence : array-like of shape (n_samples,)
        Higher = more trustworthy. Infinities are allowed, NaN is not.
{scores}
    Parameters
    ----------
    is_in : array-like of shape (n_samples,)
        True where the row is in distribution.
    score : array-like of shape (n_samples,)
        Higher = more in-distribution. Infinities are allowed, NaN is not.
{tpr}
    tpr : float, default=0.95
        Share of the inliers to accept, in (0, 1].
{classes}
    classes : array-like of shape (n_classes,)
        The labels that the classifier was taught, its ``classes_``.
{sample_weight}
    sample_weight : array-like of shape (n_samples,), default=None
        Finite numbers >= 0; only their ratios matter.
{raises}
    Raises
    ------
    ValueError
        If there is no row (of each kind that is compared), lengths differ, a number is NaN,
        or weights or another parameter are out of range.
{estimator}
    Parameters
    ----------
    estimator : object
        Fitted classifier. Its confidence is ``confidence`` or ``score_samples``, else what
        ``predict_proba`` gives the answer, else the margin of ``decision_function``.
    X : array-like of shape (n_samples, n_features)
        Rows to answer, those of unknown classes included.
    y : array-like of shape (n_samples,)
        True labels; an answer to a label that was never taught is an error.
{ax}
    Parameters
    ----------
    ax : matplotlib Axes, default=None
        Axes to draw on; None makes new ones.
{name}
    name : str, default=None
        What to call it in the picture. None is the class of the estimator, where there is one.
{passed_on}
    **kwargs
        Passed to :meth:`plot`.

    Returns
    -------
    display
        Drawn.
{lee}
    References
    ----------
    .. [1] Lee et al., "Training Confidence-calibrated Classifiers for Detecting
       Out-of-Distribution Samples", ICLR 2018.
"""

import re
from collections.abc import Callable
from inspect import cleandoc
from textwrap import dedent, indent
from typing import TypeVar

F = TypeVar("F", bound=Callable)
_PARTS = re.split(r"(?m)^(\{\w+\})\n", __doc__ or "")[1:]
_ENTRIES = {name: dedent(text) for name, text in zip(_PARTS[::2], _PARTS[1::2], strict=True)}


def documented(function: F) -> F:
    """Fill the parts that stand in braces on lines of their own into a docstring."""

    def entry(found):
        return indent(_ENTRIES[found[2]], found[1])

    text = cleandoc(function.__doc__ or "")
    function.__doc__ = re.sub(r"(?m)^( *)(\{\w+\})\n", entry, text + "\n")
    return function
