"""A threshold on a confidence: what it is chosen by, and what is decided by it."""

from __future__ import annotations

from html import escape
from numbers import Real
from typing import Annotated, Any, Literal

import numpy as np
from sklearn.utils._param_validation import Interval

from sklearn_ood._parameters import Parameterized, Share, fitted
from sklearn_ood.data._labels import codes_in, label_of_refusals
from sklearn_ood.selective._calibration import (
    CHOSEN_BY,
    WAYS,
    check_groups,
    chosen_threshold,
    warn_of_unpromised,
)


class ConfidenceThreshold(Parameterized):
    """Of what answers a row where its confidence is at least a threshold.

    Parameters
    ----------
    coverage : float in (0, 1], default=None
        Answer at least this share of the in-distribution calibration rows.
    risk : float in (0, 1) or sequence of float, default=None
        With probability ``1 - delta`` at most this share of the answers to new data like y's
        is wrong; an answer to an outlier is, and outliers count in their proportion. Several,
        rising: a threshold for each, all promises at once. The last one decides what is
        answered, and ``decide`` says the least that each answer keeps.
    ood_acceptance : float in (0, 1), default=None
        With probability ``1 - delta`` at most this share of new outliers is answered. Needs
        outlier rows in ``y``, and promises nothing for outliers of another kind. Together
        with ``risk`` both promises hold at once with probability ``1 - delta``.
    delta : float in (0, 1), default=0.05
        Probability with which the guarantee may fail, over the draw of the calibration rows.
    guarantee_for : {"all", "class", "group"}, default="all"
        What the risk is a share of: all answers, the answers that name each class, or the
        answers in each of the ``groups`` given to ``fit`` and ``predict``; with a threshold for
        each and all promises at once. A class or group of which it cannot be promised is
        refused, with a warning; so is a group that was never seen.
    loss : array-like of shape (n_classes, n_classes) or callable, default=None
        What each answer costs, in [0, 1]: true classes along the lines and answers along the
        columns, in the order of the sorted labels; or ``loss(y_true, y_pred)``, a number for
        each row. The risk is then the mean loss of the answers. None: 1 for a wrong answer. An
        answer to a row of none of the classes costs 1.
    cost : float in (0, 1), default=None
        What a refusal costs, where a wrong answer costs 1, or its ``loss``: the threshold that
        costs least on the calibration rows (Chow's rule), which promises nothing.
    threshold : float, default=None
        Used as it is.
    reject_label : label, default=None
        What ``predict`` returns for refused rows. None: -1 for numbers, "reject" for strings.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels that can be answered; the reject label is not among them.
    groups_ : ndarray of shape (n_groups,)
        The groups that calibrated, for ``guarantee_for="group"``.
    threshold_ : float or ndarray
        The least confidence that is accepted; -inf accepts everything, +inf nothing. For
        ``guarantee_for`` "class" or "group" one for each, of several risks a line for each.
    guarantee_ : dict of str to Guarantee
        What holds with probability ``1 - delta``: keys "risk" ("loss" where that is given; of
        several limits "risk <limit>", for classes and groups "risk of <label>") and
        "ood_acceptance" as asked for, with ``limit``, ``bound``, ``delta``, ``n_samples``,
        ``n_accepted``, ``n_errors``, ``label`` and, of weighted rows, ``n_effective``.
    chosen_by_ : dict
        The parameters that the threshold was chosen by.
    reject_label_ : label or None
        None where nothing can be refused.
    """

    coverage: Annotated[float, Interval(Real, 0, 1, closed="right")] | None = None
    risk: Any = None
    ood_acceptance: Share | None = None
    delta: Share = 0.05
    guarantee_for: Literal["all", "class", "group"] = "all"
    loss: Any = None
    cost: Share | None = None
    threshold: Annotated[float, Interval(Real, None, None, closed="both")] | None = None
    reject_label: str | float | None = None

    classes_: np.ndarray = fitted()
    groups_: np.ndarray = fitted()
    reject_label_: object = fitted()
    guarantee_: dict = fitted()
    chosen_by_: dict = fitted()
    threshold_: float | np.ndarray = fitted()

    def _set_threshold(self, rows):
        """Choose the threshold, by calibration rows where it takes any."""
        threshold, self.guarantee_ = -np.inf, {}
        if self.threshold is not None:
            threshold = float(self.threshold)
        elif self._limits:
            limits = self._limits | {"delta": self.delta}
            threshold, self.guarantee_ = chosen_threshold(rows, **limits)
            warn_of_unpromised(self.guarantee_)
        self.chosen_by_, self.threshold_ = self._given, threshold

    def _html_repr(self):
        """scikit-learn's diagram, and below it the threshold and what it promises."""
        diagram = super()._html_repr()
        if not hasattr(self, "threshold_"):
            return diagram
        threshold = np.array2string(np.asarray(self.threshold_), precision=4)
        lines = [f"Threshold: {threshold}", *map(str, self.guarantee_.values())]
        return diagram + "".join(f"<p>{escape(line)}</p>" for line in lines)

    @property
    def _given(self):
        """Those parameters that the threshold is chosen by, where they are set."""
        values = {name: getattr(self, name) for name in CHOSEN_BY}
        for name in ("loss", "risk"):  # arrays are not equal at once
            if values[name] is not None and not callable(values[name]):
                values[name] = np.asarray(values[name]).tolist()
        return {name: value for name, value in values.items() if value is not None}

    @property
    def _limits(self):
        """What the threshold is chosen by on calibration rows."""
        names = [name for way in WAYS[1:] for name in way]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _check_promise(self):
        """Raise where parameters were set that the threshold was not chosen by."""
        now, then = self._given, self.chosen_by_
        if now != then:
            names = [name for name in CHOSEN_BY if now.get(name) != then.get(name)]
            words = (", ".join(f"{n}={each.get(n)}" for n in names) for each in (now, then))
            raise ValueError(
                "Got {}, but the threshold was chosen by {}; call recalibrate(X, y) with "
                "labelled rows that trained nothing, or fit.".format(*words)
            )

    def _thresholds_of(self, answers, groups):
        """What the confidence in each answer is compared with, in a line for each risk."""
        check_groups(groups, self.guarantee_for, len(answers))
        thresholds = np.atleast_2d(self.threshold_)
        if self.guarantee_for == "all":
            return thresholds.T if np.ndim(self.threshold_) else thresholds
        of_class = self.guarantee_for == "class"
        labels, each = (self.classes_, answers) if of_class else (self.groups_, groups)
        never_seen = np.full((len(thresholds), 1), np.inf)
        return np.hstack([thresholds, never_seen])[:, codes_in(labels, each)]

    def _label_of_refusals(self, classes):
        decides = bool(self._limits) or self.threshold is not None
        return label_of_refusals(self.reject_label, classes) if decides else None
