"""The metrics as scorers of scikit-learn's model selection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._metadata_requests import UNUSED, _MetadataRequester

from sklearn_ood import _response
from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.metrics import _open_set, _selective
from sklearn_ood.metrics._blocks import as_weights, differs, labels_for


def selective_scorer(metric: str = "aurc", **kwargs: Any) -> _SelectiveScorer:
    """Scorer that judges a classifier's answers together with its confidence in them.

    It is called as ``scorer(estimator, X, y, sample_weight=None, groups=None)``; higher is
    better. A row whose label is not in ``classes_`` is out of distribution: any answer to it is
    an error. So outlier rows ride along in the test folds, and nobody has to say which label is
    theirs. The confidence is found as by :class:`SelectiveClassifier`; ``groups`` are for what
    promises the risk of each. Where scikit-learn routes metadata,
    ``set_score_request(sample_weight=True, groups=True)`` asks for them.

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
          search ranks last.
    **kwargs
        Keyword arguments of the metric, such as ``coverage=0.8``.

    Raises
    ------
    ValueError
        If the metric is not known. When called: if it needs outliers and there are none.
    TypeError
        If the metric takes no such argument. When called: if the estimator lacks the method
        that the metric needs.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn_ood.metrics import selective_scorer
    >>> scorer = selective_scorer("risk_at_coverage", coverage=0.8)
    >>> X, y = load_iris(return_X_y=True)
    >>> cross_val_score(LogisticRegression(max_iter=500), X, y, scoring=scorer).mean() > -0.02
    np.True_
    """
    if metric not in _METRICS:
        raise ValueError(f"Got metric={metric!r}, but expected one of {', '.join(_METRICS)}.")
    parameters = signature(_METRICS[metric][0]).parameters.values()
    taken = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
    taken -= {"sample_weight", "classes"}
    if others := sorted(kwargs.keys() - taken):
        raise TypeError(f"Got {others}, but {metric!r} takes {sorted(taken) or 'none'}.")
    return _SelectiveScorer(metric, tuple(kwargs.items()))


@dataclass(unsafe_hash=True, repr=False)
class _SelectiveScorer(_MetadataRequester):
    __metadata_request__score: ClassVar = {"estimator": UNUSED}  # the others may be routed

    metric: str
    settings: tuple[tuple[str, Any], ...]
    _metadata_request: object = field(init=False, compare=False)  # where it is routed

    def __repr__(self):
        settings = "".join(f", {name}={value!r}" for name, value in self.settings)
        return f"selective_scorer({self.metric!r}{settings})"

    def score(self, estimator, X, y, sample_weight=None, groups=None):
        function, sign, needs = _METRICS[self.metric]
        if groups is not None and needs is not _decisions:
            raise TypeError(
                f"Got groups, but {self.metric} asks for no decision that depends on them."
            )
        labels = labels_for(estimator, y)
        arguments = needs(self.metric, estimator, X, labels, groups) | dict(self.settings)
        value = function(**arguments, sample_weight=sample_weight)
        return value if sign > 0 else -value  # a report is no number

    __call__ = score


def _answers(metric, estimator, X, y, groups):
    answers, confidence = _response.answers_and_confidence(estimator, X)
    return {"y_true": y, "y_pred": answers, "confidence": confidence}


def _scores(metric, estimator, X, y, groups):
    is_in = codes_in(_response.classes_of(estimator), y) != OUTLIER
    return {"is_in": is_in, "score": _response.known_of(estimator, X)}


def _answers_and_classes(metric, estimator, X, y, groups):
    classes = _response.classes_of(estimator)
    arguments = _answers(metric, estimator, X, y, groups) | {"classes": classes}
    _open_set.right_unknown_or_wrong(**arguments)  # raises unless there are both
    return arguments


def _proba(metric, estimator, X, y, groups):
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"Got estimator={estimator!r} without predict_proba, which {metric} judges."
        )
    inner, X = _response.unwrap(estimator, X)
    answers, proba = _response.answers_of(inner, X), _response.evidence_of(inner, X)
    codes = codes_in(inner.classes_, answers)
    return {"y_true": y, "y_pred": answers, "confidence": proba[np.arange(len(codes)), codes]}


def _decisions(metric, estimator, X, y, groups):
    inner, X = _response.unwrap(estimator, X)
    if not hasattr(inner, "accept"):
        raise TypeError(
            f"Got estimator={estimator!r} without accept, but {metric} judges its decisions; "
            "wrap it in SelectiveClassifier, or score its ranking with 'aurc'."
        )
    answers, accepted = _response.answers_and_accepted(inner, X, groups)
    accepted = np.asarray(accepted, dtype=bool)
    return {"accepted": accepted, "wrong": differs(y, answers)}


def _coverage(accepted, wrong, *, sample_weight=None):
    return float(np.average(accepted, weights=as_weights(sample_weight, accepted.size)))


def _selective_risk(accepted, wrong, *, sample_weight=None):
    weights = as_weights(sample_weight, accepted.size)
    weights = accepted if weights is None else weights * accepted
    return float(np.average(wrong, weights=weights)) if weights.any() else np.nan


# Of each name the function, the sign that makes higher better, and what it needs.
_METRICS: dict[str, tuple[Callable[..., Any], int, Callable[..., dict[str, Any]]]] = {
    "aurc": (_selective.aurc_score, -1, _answers),
    "eaurc": (_selective.eaurc_score, -1, _answers),
    "augrc": (_selective.augrc_score, -1, _answers),
    "risk_at_coverage": (_selective.risk_at_coverage, -1, _answers),
    "coverage_at_risk": (_selective.coverage_at_risk, 1, _answers),
    "tnr_at_tpr": (_open_set.tnr_at_tpr, 1, _scores),
    "auroc": (_open_set.auroc, 1, _scores),
    "detection_accuracy": (_open_set.detection_accuracy, 1, _scores),
    "aupr_in": (_open_set.aupr_in, 1, _scores),
    "aupr_out": (_open_set.aupr_out, 1, _scores),
    "ood_report": (_open_set.ood_report, 1, _scores),
    "oscr": (_open_set.oscr_score, 1, _answers_and_classes),
    "open_set_f_measure": (_open_set.open_set_f_measure, 1, _answers_and_classes),
    "expected_calibration_error": (_selective.expected_calibration_error, -1, _proba),
    "selective_risk": (_selective_risk, -1, _decisions),
    "coverage": (_coverage, 1, _decisions),
}
