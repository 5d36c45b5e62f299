"""What a fitted selective classifier answers, and what it refuses."""

from __future__ import annotations

from html import escape
from numbers import Real
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval, InvalidParameterError
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _estimator_has, check_is_fitted

from sklearn_ood import _response
from sklearn_ood._optional import optional
from sklearn_ood._parameters import Parameterized, PositiveShare, Share, check_arguments, fitted
from sklearn_ood._response import answers_of, confidence_of
from sklearn_ood.data._blocks import block_by_block, in_blocks, is_lazy, lazily
from sklearn_ood.data._labels import check_same_kind, codes_in, labels_or

WAYS = (("threshold",), ("coverage",), ("cost",), ("risk", "ood_acceptance"))
CHOSEN_BY = (
    *(name for way in WAYS for name in way),
    *("delta", "guarantee_for", "loss", "reject_label"),
)


def check_limits(given):
    """Raise where parameters of :data:`CHOSEN_BY` contradict each other, or do nothing."""
    words = (" and ".join(f"{n}={given[n]}" for n in way if n in given) for way in WAYS)
    used = list(filter(None, words))
    if len(used) > 1:
        raise ValueError(
            f"Got {' together with '.join(used)}, which each set the threshold; keep one "
            "of coverage, cost, threshold, or the guarantees risk and ood_acceptance."
        )
    for name, of in (("guarantee_for", ("risk",)), ("loss", ("risk", "cost"))):
        if given.get(name, "all") != "all" and not given.keys() & set(of):
            raise ValueError(
                f"Got {name} without {' or '.join(of)}, to which it belongs; pass that too."
            )
    risk = given.get("risk", 0.5)
    numbers = as_array("risk", risk)
    is_number = numbers.dtype.kind in "iuf" and numbers.ndim < 2 and numbers.size
    if not is_number or not (np.diff(np.hstack([0, numbers, 1])) > 0).all():
        raise InvalidParameterError(
            f"Got risk={risk!r}, but expected a number in (0, 1), or several that rise."
        )


def as_array(name, values):
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"Got {name}={values!r}, whose lines differ in length, but expected a number or an "
            "array of numbers."
        ) from error


def check_groups(groups, guarantee_for, n_rows):
    """Raise where groups are missing, or nothing is promised for them."""
    if guarantee_for == "group" and np.shape(groups) != (n_rows,):
        came = "no groups" if groups is None else f"groups of shape {np.shape(groups)}"
        raise ValueError(
            f"Got {came}, but guarantee_for='group' promises the risk of each group; pass "
            f"groups=, one for each of {n_rows} rows."
        )
    if guarantee_for != "group" and groups is not None:
        raise ValueError(
            f"Got groups, but guarantee_for={guarantee_for!r} promises nothing for each of "
            "them; pass guarantee_for='group', or no groups."
        )


class Deciding(Parameterized):
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
        columns, in the order of the sorted labels, or of a frame by its names; or
        ``loss(y_true, y_pred)``, a number for each row. The risk is then the mean loss of the
        answers. None: 1 for a wrong answer. An answer to a row of none of the classes costs 1.
    cost : float in (0, 1), default=None
        What a refusal costs, where a wrong answer costs 1, or its ``loss``: the threshold that
        costs least on the calibration rows (Chow's rule), which promises nothing.
    threshold : float, default=None
        Used as it is.
    reject_label : label, default=None
        What ``predict`` returns for refused rows, for which hard votes and decision boundaries
        of scikit-learn have no class. None: "reject" for strings, else -1.

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
        "ood_acceptance" as asked for; each has ``limit``, ``bound`` and ``n_accepted``.
    chosen_by_ : dict
        The parameters that the threshold was chosen by.
    reject_label_ : label or None
        None where nothing can be refused.
    """

    coverage: PositiveShare | None = None
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

    def predict(self, X: ArrayLike, *, groups: ArrayLike | None = None) -> NDArray:
        """The class of each accepted row, and ``reject_label_`` for the others, (n_samples,).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            Or a ``torch.utils.data`` ``Dataset`` of images, or a ``DataLoader``.
        groups : array-like of shape (n_samples,), default=None
            For ``guarantee_for="group"``: a group that did not calibrate is refused.
        """
        check_is_fitted(self)
        if is_lazy(X) and groups is None:
            return lazily(self, "predict", X)
        answers, accepted = self.answers_and_accepted(X, groups=groups)
        # As an array the label brings its own type: unsigned classes must not wrap a -1.
        if self.reject_label_ is None:
            return answers
        return labels_or(self.reject_label_, answers, accepted)

    @block_by_block
    def answers(self, X: ArrayLike) -> NDArray:
        """The class that the estimator names for each row, also where it is refused."""
        check_is_fitted(self)
        if self.answers_by_largest_:
            return self._ask(X)[0]
        return answers_of(self.estimator_, X)

    def accept(self, X: ArrayLike, *, groups: ArrayLike | None = None) -> NDArray:
        """Mask of the rows that are answered; X and groups as for ``predict``."""
        check_is_fitted(self)
        self._check_promise()
        if is_lazy(X) and groups is None:
            return lazily(self, "accept", X)
        if self.guarantee_for == "all" and groups is None:
            return self.score_samples(X) >= np.ravel(self.threshold_)[-1]
        return self.answers_and_accepted(X, groups=groups)[1]

    def answers_and_accepted(
        self, X: ArrayLike, *, groups: ArrayLike | None = None
    ) -> tuple[NDArray, NDArray]:
        """``answers`` and ``accept`` of each row, at once; X and groups as for ``predict``."""
        check_is_fitted(self)
        self._check_promise()
        if self.reject_label_ is None and groups is None:
            answers = self.answers(X)
            return answers, np.ones(len(answers), dtype=bool)
        answers, confidence = self.answers_and_confidence(X)
        return answers, confidence >= self._thresholds_of(answers, groups)[-1]

    @block_by_block
    def score_samples(self, X: ArrayLike) -> NDArray:
        """The confidence that the threshold is compared with, (n_samples,)."""
        check_is_fitted(self)
        of_answer = self.detector_ is self.estimator_ and not self.answers_by_largest_
        return confidence_of(self.detector_, X, of_answer=of_answer)

    def answers_and_confidence(self, X: ArrayLike) -> tuple[NDArray, NDArray]:
        """``answers`` and ``score_samples`` of each row, at once."""
        check_is_fitted(self)
        return in_blocks(self._ask, X)

    @available_if(_estimator_has("predict_proba"))
    @block_by_block
    def predict_proba(self, X: ArrayLike) -> NDArray:
        """The estimator's probabilities, (n_samples, n_classes), also for refused rows."""
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(_estimator_has("decision_function"))
    @block_by_block
    def decision_function(self, X: ArrayLike) -> NDArray:
        """The estimator's evidence for each class, as it gives it, also for refused rows."""
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    def decide(
        self, X: ArrayLike, *, groups: ArrayLike | None = None, alpha: Share = 0.05
    ) -> Any:
        """What is answered to each row, or why it is refused, as a pandas DataFrame.

        It has the index of X, and the columns ``label``, the class that is named, also where it
        is refused; ``confidence``; ``accepted``; ``reason``, empty where accepted, "strange"
        for rows unlike the known ones, "no promise" for a class or group that is always
        refused, else "unsure". A detector refuses what is strange, unless p-values tell. Of
        several risks also ``risk``, the least that the answer keeps, NaN where it is refused.
        Of a :class:`CombinedClassifier` also ``p_value`` and ``member``, the member that speaks
        most against a strange row.

        Parameters
        ----------
        X, groups
            As for ``predict``.
        alpha : float in (0, 1), default=0.05
            Refused rows with a p-value up to it are strange.
        """
        check_is_fitted(self)
        check_arguments(self.decide, {"alpha": alpha})
        self._check_promise()
        pd = optional("pandas", "A frame", "table")
        judge = _response.unwrap(self.detector_)[0]
        is_combined = hasattr(judge, "answers_and_p_values")
        if is_combined:
            judged = judge.answers_and_p_values(_response.unwrap(self.detector_, X)[1])
            answers, confidence, p_values, scores = judged
            answers = answers if self.detector_ is self.estimator_ else self.answers(X)
        else:
            answers, confidence = self.answers_and_confidence(X)
        columns = {"label": answers, "confidence": confidence}
        strange = np.full(len(answers), self.detector_ is not self.estimator_)
        if is_combined:
            columns["p_value"], strange = p_values, p_values <= alpha
        thresholds = self._thresholds_of(answers, groups)
        kept = confidence >= thresholds
        unpromised = np.isposinf(thresholds[-1]) & (self.guarantee_for != "all")
        kinds = [kept[-1], unpromised, strange]
        reason = np.select(kinds, ["", "no promise", "strange"], "unsure")
        columns |= {"accepted": kept[-1], "reason": reason}
        if np.ndim(self.risk):
            least = np.asarray(self.risk)[kept.argmax(axis=0)]
            columns["risk"] = np.where(kept[-1], least, np.nan)
        if is_combined:
            names = np.array(list(judge.members_), dtype=object)
            columns["member"] = np.where(reason == "strange", names[scores.argmin(axis=1)], "")
        return pd.DataFrame(columns, getattr(X, "index", None) if hasattr(X, "iloc") else None)

    def _look(self, X):
        """Answers and confidence, and where the answers are the likeliest classes."""
        fitted = self.estimator_
        agrees = self.detector_ is fitted and _response.answers_by_largest(fitted, X)
        answers, confidence = self._ask(X, by_largest=np.all(agrees))
        return answers, confidence, np.broadcast_to(agrees, len(answers))

    def _ask(self, X, *, by_largest=False):
        if self.detector_ is self.estimator_:
            by_largest = by_largest or self.answers_by_largest_
            return _response.answers_and_confidence(self.estimator_, X, by_largest=by_largest)
        return answers_of(self.estimator_, X), confidence_of(self.detector_, X)

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
        given = {name: value for name, value in values.items() if value is not None}
        for name in given.keys() & {"loss", "risk"}:  # arrays are not equal at once
            if not callable(given[name]):
                given[name] = as_array(name, given[name]).tolist()
        return given

    @property
    def _limits(self):
        """What the threshold is chosen by on calibration rows."""
        return {n: v for n, v in self._given.items() if n in np.hstack(WAYS[1:])}

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

    def _parts(self, answers, groups):
        """Of what the risk is promised by itself, and the code of each row among these."""
        check_groups(groups, self.guarantee_for, len(answers))
        if self.guarantee_for == "all":
            return (None,), np.zeros(len(answers), dtype=int)
        if self.guarantee_for == "class":
            return self.classes_, codes_in(self.classes_, answers)
        check_same_kind(groups, self.groups_, "groups", "names")
        return self.groups_, codes_in(self.groups_, groups)

    def _thresholds_of(self, answers, groups):
        """What the confidence in each answer is compared with, in a line for each risk."""
        labels, part = self._parts(answers, groups)
        thresholds = np.reshape(self.threshold_, (-1, len(labels)))
        never_seen = np.full((len(thresholds), 1), np.inf)
        return np.hstack([thresholds, never_seen])[:, part]
