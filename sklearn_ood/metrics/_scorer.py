"""The metrics as scorers of scikit-learn's model selection."""

import numpy as np
from sklearn.utils import _safe_indexing

from sklearn_ood._response import answers_of, confidence_of, unwrap
from sklearn_ood.metrics import _calibration, _ood, _open_set, _selective
from sklearn_ood.metrics._blocks import as_labels, as_weights, differs

_RANKING = {
    "aurc": (_selective.aurc_score, -1),
    "eaurc": (_selective.eaurc_score, -1),
    "augrc": (_selective.augrc_score, -1),
    "risk_at_coverage": (_selective.risk_at_coverage, -1),
    "coverage_at_risk": (_selective.coverage_at_risk, 1),
}
_OUTLIERS = {
    "tnr_at_tpr": _ood.tnr_at_tpr,
    "auroc": _ood.auroc,
    "detection_accuracy": _ood.detection_accuracy,
    "aupr_in": _ood.aupr_in,
    "aupr_out": _ood.aupr_out,
    "ood_report": _ood.ood_report,
}
_OPEN_SET = {
    "oscr": _open_set.oscr_score,
    "open_set_f_measure": _open_set.open_set_f_measure,
}
_DECISIONS = ("selective_risk", "coverage")
_NAMES = (
    *_RANKING,
    *_OUTLIERS,
    *_OPEN_SET,
    "expected_calibration_error",
    *_DECISIONS,
    "fooling_rate",
)


def selective_scorer(metric="aurc", **kwargs):
    """Scorer that judges a classifier's answers together with its confidence in them.

    The confidence is the estimator's ``score_samples``, else its largest ``predict_proba``,
    else the margin of its ``decision_function``. A row whose label is not in ``classes_``
    is out of distribution: any answer to it is an error, and it is a negative of the
    metrics that tell outliers. So outlier rows ride along in the test folds, and nobody has
    to say which label is theirs.

    Parameters
    ----------
    metric : str, default="aurc"
        - ``"aurc"``, ``"eaurc"``, ``"augrc"``, ``"risk_at_coverage"`` (negated, since lower
          is better) and ``"coverage_at_risk"``;
        - ``"tnr_at_tpr"``, ``"auroc"``, ``"detection_accuracy"``, ``"aupr_in"``,
          ``"aupr_out"``, and ``"ood_report"``, a dict of these five for scikit-learn's
          functions that take several metrics;
        - ``"oscr"`` and ``"open_set_f_measure"`` (which needs ``threshold=``);
        - ``"expected_calibration_error"`` (negated), always of ``predict_proba``;
        - ``"selective_risk"`` (negated) and ``"coverage"`` of an estimator that decides
          itself with ``accept(X)``. With nothing accepted the risk is NaN, which a grid
          search ranks last;
        - ``"fooling_rate"`` (negated), of a search within the ranges of the rows of known
          classes, at the threshold that accepts 95 % of them
          (:func:`sklearn_ood.inspection._fooling.fooling_rate_on`).
    **kwargs
        Keyword arguments of the metric, such as ``coverage=0.8``.

    Returns
    -------
    scorer : callable
        Called as ``scorer(estimator, X, y, sample_weight=None)``; higher is better.

    Raises
    ------
    ValueError
        If the metric's name is not known. When called: if the metric needs outliers and no
        row has a label outside ``classes_``.
    TypeError
        When called: if the estimator lacks the method that the metric needs.

    See Also
    --------
    sklearn.metrics.make_scorer : Scorers that need no confidence.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn_ood.metrics import selective_scorer
    >>> scorer = selective_scorer("risk_at_coverage", coverage=0.8)
    >>> scorer
    selective_scorer('risk_at_coverage', coverage=0.8)
    >>> X, y = load_iris(return_X_y=True)
    >>> cross_val_score(LogisticRegression(max_iter=500), X, y, scoring=scorer).mean() > -0.02
    np.True_
    """
    if metric not in _NAMES:
        raise ValueError(f"Got metric={metric!r}, but expected one of {', '.join(_NAMES)}.")
    return _SelectiveScorer(metric, kwargs)


class _SelectiveScorer:
    def __init__(self, metric, kwargs):
        self.metric = metric
        self.kwargs = kwargs

    def __repr__(self):
        settings = "".join(f", {name}={value!r}" for name, value in self.kwargs.items())
        return f"selective_scorer({self.metric!r}{settings})"

    def __eq__(self, other):
        return isinstance(other, _SelectiveScorer) and repr(self) == repr(other)

    def __hash__(self):
        return hash(repr(self))

    def __call__(self, estimator, X, y, sample_weight=None):
        settings = dict(self.kwargs, sample_weight=sample_weight)
        if self.metric in _RANKING:
            function, sign = _RANKING[self.metric]
            return sign * function(
                y, answers_of(estimator, X), confidence_of(estimator, X), **settings
            )
        if self.metric in _OUTLIERS:
            is_in = self._is_in(estimator, X, y)
            return _OUTLIERS[self.metric](is_in, confidence_of(estimator, X), **settings)
        if self.metric in _OPEN_SET:
            self._is_in(estimator, X, y)
            return _OPEN_SET[self.metric](
                y,
                answers_of(estimator, X),
                confidence_of(estimator, X),
                classes=classes_of(estimator, X),
                **settings,
            )
        if self.metric == "fooling_rate":
            # Only this metric needs torch.
            from sklearn_ood.inspection import fooling_rate_on

            known = np.flatnonzero(_open_set.is_known(classes_of(estimator, X), y))
            return -fooling_rate_on(estimator, _safe_indexing(X, known), **self.kwargs)
        if self.metric in _DECISIONS:
            return _decision_score(self.metric, estimator, X, y, **settings)
        return -_calibration.expected_calibration_error(
            y, answers_of(estimator, X), _probability(estimator, X), **settings
        )

    def _is_in(self, estimator, X, y):
        is_in = _open_set.is_known(classes_of(estimator, X), y)
        if is_in.all() or not is_in.any():
            raise ValueError(
                f"Got y with {int((~is_in).sum())} of {is_in.size} rows outside the classes of "
                f"{type(estimator).__name__}, but {self.metric} compares rows inside and "
                "outside; keep rows of classes that were not taught in every test fold, for "
                "instance with LeaveClassesOut."
            )
        return is_in


def classes_of(estimator, X):
    """Labels that the estimator was taught."""
    if hasattr(estimator, "classes_"):
        return np.asarray(estimator.classes_)
    last, _ = unwrap(estimator, X)
    if not hasattr(last, "classes_"):
        raise TypeError(
            f"Got estimator={estimator!r} without classes_, but the labels it was taught are "
            "needed to tell which rows are outside them; pass a fitted classifier."
        )
    return np.asarray(last.classes_)


def _probability(estimator, X):
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"Got estimator={estimator!r} without predict_proba, but a calibration error "
            "judges probabilities."
        )
    return np.asarray(estimator.predict_proba(X), dtype=np.float64).max(axis=1)


def _decision_score(metric, estimator, X, y, sample_weight=None):
    last, X_last = unwrap(estimator, X)
    if not hasattr(last, "accept"):
        raise TypeError(
            f"Got estimator={estimator!r} without accept, but {metric} judges its decisions; "
            "wrap it in SelectiveClassifier, or score its ranking with 'aurc'."
        )
    accepted = np.asarray(last.accept(X_last), dtype=bool)
    weights = as_weights(sample_weight, accepted.size)
    weights = np.ones(accepted.size) if weights is None else weights
    answered = (weights * accepted).sum()
    if metric == "coverage":
        return float(answered / weights.sum())
    if answered == 0:
        return np.nan
    wrong = differs(as_labels("y", y, accepted.size), answers_of(estimator, X))
    return -float((weights * (accepted & wrong)).sum() / answered)
