"""A threshold on a confidence: what it is chosen by, and what is decided by it."""

from __future__ import annotations

from html import escape
from numbers import Real
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._parameters import Parameterized, Share, fitted
from sklearn_ood.data._labels import OUTLIER, checked_labels, codes_in, label_of_refusals
from sklearn_ood.data._rows import as_native
from sklearn_ood.selective._calibration import (
    CHOSEN_BY,
    WAYS,
    check_one_way,
    checked_loss,
)


class ConfidenceThreshold(Parameterized):
    """Of what answers a row where its confidence is at least a threshold.

    Parameters
    ----------
    coverage : float in (0, 1], default=None
        Answer at least this share of the in-distribution calibration rows.
    risk : float in (0, 1), default=None
        With probability ``1 - delta`` at most this share of the answers to new data like y's
        is wrong; an answer to an outlier is, and outliers count in their proportion.
    ood_acceptance : float in (0, 1), default=None
        With probability ``1 - delta`` at most this share of new outliers is answered. Needs
        outlier rows in ``y``, and promises nothing for outliers of another kind. Together
        with ``risk`` both promises hold at once with probability ``1 - delta``.
    delta : float in (0, 1), default=0.05
        Probability with which the guarantee may fail, over the draw of the calibration rows.
    guarantee_for : {"all", "class"}, default="all"
        What the risk is a share of: all answers, or the answers of each class, with a threshold
        for each class and all promises at once. A class of which it cannot be promised is
        refused, with a warning.
    loss : array-like of shape (n_classes, n_classes), default=None
        What each answer costs, in [0, 1]: true classes along the lines and answers along the
        columns, in the order of the sorted labels. The risk is then the mean loss of the
        answers. None: 1 for a wrong answer. An answer to a row of none of the classes costs 1.
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
    threshold_ : float, or ndarray of shape (n_classes,) for ``guarantee_for="class"``
        The least confidence that is accepted; -inf accepts everything, +inf nothing.
    guarantee_ : dict of str to Guarantee
        What holds with probability ``1 - delta``: keys "risk" ("loss" where that is given; for
        classes "risk of <label>") and "ood_acceptance" as asked for, with ``limit``, ``bound``,
        ``delta``, ``n_samples``, ``n_accepted``, ``n_errors`` and ``label``.
    chosen_by_ : dict
        The parameters that the threshold was chosen by.
    reject_label_ : label or None
        None where nothing can be refused.
    """

    coverage: Annotated[float, Interval(Real, 0, 1, closed="right")] | None = None
    risk: Share | None = None
    ood_acceptance: Share | None = None
    delta: Share = 0.05
    guarantee_for: Literal["all", "class"] = "all"
    loss: Any = None
    cost: Share | None = None
    threshold: Annotated[float, Interval(Real, None, None, closed="both")] | None = None
    reject_label: str | float | None = None

    classes_: np.ndarray = fitted()
    reject_label_: object = fitted()
    guarantee_: dict = fitted()
    chosen_by_: dict = fitted()
    threshold_: float | np.ndarray = fitted()

    def recalibrate(self, X: ArrayLike, y: ArrayLike, **limits: Any) -> Self:
        """Choose the threshold anew on labelled rows, without fitting the estimator again.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows that trained nothing, as new ones will be.
        y : array-like of shape (n_samples,)
            Labels; those that the estimator was not taught are outliers.
        **limits
            Parameters to set: coverage, risk, ood_acceptance, cost, threshold, delta,
            guarantee_for or loss. Where another way was set before, set that to None.

        Returns
        -------
        self
            As it was, where an error is raised.

        Raises
        ------
        ValueError
            As ``fit`` does.
        """
        check_is_fitted(self)
        if others := sorted(limits.keys() - set(CHOSEN_BY)):
            raise TypeError(f"Got {others}, but a threshold is chosen by {list(CHOSEN_BY)}.")
        before = self.__dict__.copy()
        try:
            self.set_params(**limits)
            self._validate_params()
            check_one_way(self._given)
            X, labels = indexable(X, checked_labels(self, as_native(y)))
            loss = None if self.loss is None else checked_loss(self.loss, self.classes_)
            self.reject_label_ = self._label_of_refusals(self.classes_)
            outlier = codes_in(self.classes_, labels) == OUTLIER
            every = np.full(len(outlier), True)
            self._choose_threshold(X, labels, every, outlier, every, loss)
        except BaseException:
            self.__dict__ = before
            raise
        return self

    def _choose_threshold(self, X, y, calibrating, outlier, unseen, loss):
        """Set the threshold and what it promises, from the rows that trained nothing."""
        raise NotImplementedError

    def _html_repr(self):
        """scikit-learn's diagram, and below it the threshold and what it promises."""
        diagram = super()._html_repr()
        if not hasattr(self, "threshold_"):
            return diagram
        lines = [f"Threshold: {self.threshold_}", *map(str, self.guarantee_.values())]
        return diagram + "".join(f"<p>{escape(line)}</p>" for line in lines)

    @property
    def _given(self):
        """Those parameters that the threshold is chosen by, where they are set."""
        values = {name: getattr(self, name) for name in CHOSEN_BY}
        if values["loss"] is not None:
            values["loss"] = np.asarray(values["loss"]).tolist()
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

    def _threshold_of(self, answers):
        """What the confidence in each answer is compared with."""
        if np.ndim(self.threshold_) == 0:
            return self.threshold_
        return self.threshold_[codes_in(self.classes_, answers)]

    def _label_of_refusals(self, classes):
        decides = bool(self._limits) or self.threshold is not None
        return label_of_refusals(self.reject_label, classes) if decides else None
