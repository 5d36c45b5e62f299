from __future__ import annotations

import warnings
from dataclasses import field
from functools import partial
from numbers import Real
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import get_tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._parameters import Estimator, Parameterized, RandomState, Share, fitted
from sklearn_ood._response import (
    answers_and_confidence,
    answers_by_largest,
    answers_of,
    check_classifier,
    classes_of,
    confidence_of,
    is_frozen,
    ood_label_in,
)
from sklearn_ood.base import Wrapper, fitted_on, random_part
from sklearn_ood.data._blocks import block_by_block, in_blocks, indexable_rows, take_rows
from sklearn_ood.data._labels import (
    OUTLIER,
    check_same_kind,
    checked_labels,
    codes_in,
    encode_labels,
    label_of_refusals,
)
from sklearn_ood.data._rows import as_native, forget
from sklearn_ood.selective._thresholds import chosen_threshold


def _inner_has(method):
    """Whether the classifier inside has ``method``, fitted or not."""

    def check(self):
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


class SelectiveClassifier(Wrapper, ClassifierMixin, Parameterized):
    """Any classifier, that may also refuse to answer.

    A row is answered where the confidence is at least ``threshold_``, and gets the reject
    label elsewhere. Say where the threshold lies: by the share to answer (``coverage``), by
    the share of wrong answers (``risk``) and of outliers that may be answered
    (``ood_acceptance``), both with a guarantee, or itself. Else nothing is refused.

    Parameters
    ----------
    estimator : estimator
        A classifier, or a pipeline or search that ends in one. Its confidence is its
        ``confidence`` or ``score_samples``, else what its ``predict_proba`` gives the answer,
        else the margin of its ``decision_function``. A ``sklearn.frozen.FrozenEstimator``, or
        a pipeline of them, is not fitted again: all rows given to ``fit`` calibrate, and every
        label that it was not taught is an outlier.
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
    threshold : float, default=None
        Used as it is.
    detector : estimator, default=None
        Takes over the confidence, found as for ``estimator``, which still names the class;
        outlier detectors of scikit-learn and PyOD fit in.
    calibration : float in (0, 1), default=0.2
        Share of the rows, drawn at random whatever their labels, held out from training to
        choose the threshold. Nothing is held out where no threshold has to be chosen, or
        nothing trained. Of a class that loses all its rows so, answers count as wrong.
    ood_label : label, default=None
        Rows of ``y`` with this label are outliers; None is that of estimator or detector.
        They calibrate: for ``ood_acceptance`` all of them, unless estimator or detector have
        an ``ood_label`` that is set; then outliers take part in training, and only the
        held-out ones calibrate.
    reject_label : label, default=None
        What ``predict`` returns for refused rows. None: -1 for numbers, "reject" for strings.
    random_state : int, RandomState or None, default=None
        Chooses the held-out rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels that can be answered; the reject label is not among them.
    estimator_ : estimator
        The fitted classifier.
    detector_ : estimator
        The fitted source of confidence: ``estimator_`` where no detector was given.
    threshold_ : float
        The least confidence that is accepted; -inf accepts everything.
    guarantee_ : dict of str to Guarantee
        What holds with probability ``1 - delta``: keys "risk" and "ood_acceptance" as asked
        for, with ``limit``, ``bound``, ``delta``, ``n_samples``, ``n_accepted``, ``n_errors``.
    answers_by_largest_ : bool
        Whether the likeliest class was the answer to every calibration row, so that
        ``predict`` asks the classifier once.
    reject_label_ : label or None
        None where nothing can be refused.

    Notes
    -----
    The bounds are exact binomial (Clopper-Pearson) bounds; they assume that new rows come from
    the distribution of the calibration rows, and hold for any classifier and any confidence.
    Equal confidences are accepted together.

    Not covered, and not to be seen from here: steps outside that saw the calibration rows
    (put feature selection and target encoders inside), a search over ``random_state`` or
    ``calibration`` or around this estimator, rows that hang together, drift. At most a share
    ``delta`` of all fits is broken; of a useless classifier's few that succeed, all may be.

    References
    ----------
    .. [1] Geifman, El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood import SelectiveClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = SelectiveClassifier(LogisticRegression(C=0.1), risk=0.02, random_state=0)
    >>> classifier.fit(X / 16, y).guarantee_["risk"].bound <= 0.02
    True
    >>> noise = [[1.0, 0.0] * 32]
    >>> classifier.predict(noise).tolist(), bool(classifier.accept(noise)[0])
    ([-1], False)
    """

    estimator: Estimator = field(kw_only=False)
    coverage: Annotated[float, Interval(Real, 0, 1, closed="right")] | None = None
    risk: Share | None = None
    ood_acceptance: Share | None = None
    delta: Share = 0.05
    threshold: Annotated[float, Interval(Real, None, None, closed="both")] | None = None
    detector: Estimator | None = None
    calibration: Share = 0.2
    ood_label: Any = None
    reject_label: str | float | None = None
    random_state: RandomState = None

    estimator_: BaseEstimator = fitted()
    detector_: BaseEstimator = fitted()
    classes_: np.ndarray = fitted()
    reject_label_: object = fitted()
    guarantee_: dict = fitted()
    answers_by_largest_: bool = fitted()
    threshold_: float = fitted()

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit the estimator on one part of the rows and choose the threshold on the other.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Passed on to the estimator as it is; a dataset is read where it is scored.
        y : array-like of shape (n_samples,), default=None
            Labels, those of a dataset where None; ``ood_label`` is the outliers'.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If parameters contradict each other, the outliers' label was learned as a class,
            or no threshold can promise what was asked, with the best reachable bound.
        TypeError
            If the estimator is no classifier, or has no confidence.
        """
        forget(self)
        self._validate_params()
        self._check_one_way()
        check_classifier(self.estimator)
        X, y = indexable_rows(X, as_native(y))
        y = checked_labels(self, y)
        inside = [self.estimator] if self.detector is None else [self.estimator, self.detector]
        classes, outlier = self._classes_and_outliers(y)
        decides = bool(self._limits) or self.threshold is not None
        self.reject_label_ = label_of_refusals(self.reject_label, classes) if decides else None
        calibrating = self._held_out(len(y), inside)
        # Outliers reach those that know them; where none does, all of them are as good as new.
        knows = [ood_label_in(each) is not None for each in inside]
        training = [~calibrating if each else ~calibrating & ~outlier for each in knows]
        taught = list(map(partial(fitted_on, X=X, y=y), inside, training))
        self.estimator_, self.detector_ = taught[0], taught[-1]
        self.classes_ = classes_of(self.estimator_, ood_label_in(self))
        self._warn_of_untaught(y, outlier)
        unseen = calibrating if any(knows) else calibrating | outlier
        self._choose_threshold(X, y, calibrating, outlier, unseen)
        return self

    @block_by_block
    def predict(self, X: ArrayLike) -> NDArray:
        """The class of each accepted row, and ``reject_label_`` for the others.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        if self.reject_label_ is None:
            return self.answers(X)
        answers, confidence = self._ask(X)
        # As an array the label brings its own type: unsigned classes must not wrap a -1.
        return np.where(confidence >= self.threshold_, answers, np.asarray(self.reject_label_))

    @block_by_block
    def answers(self, X: ArrayLike) -> NDArray:
        """The class that the estimator names for each row, also where it is refused.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        if self.answers_by_largest_:
            return self._ask(X)[0]
        return answers_of(self.estimator_, X)

    @block_by_block
    def accept(self, X: ArrayLike) -> NDArray:
        """Which rows are answered.

        Returns
        -------
        ndarray of bool of shape (n_samples,)
        """
        return self.score_samples(X) >= self.threshold_

    @block_by_block
    def score_samples(self, X: ArrayLike) -> NDArray:
        """The confidence that the threshold is compared with.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        of_answer = self.detector is None and not self.answers_by_largest_
        return confidence_of(self.detector_, X, of_answer=of_answer)

    def answers_and_confidence(self, X: ArrayLike) -> tuple[NDArray, NDArray]:
        """``answers`` and ``score_samples`` of each row, at once.

        Returns
        -------
        answers : ndarray of shape (n_samples,)
        confidence : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return in_blocks(self._ask, X)

    @available_if(_inner_has("predict_proba"))
    @block_by_block
    def predict_proba(self, X: ArrayLike) -> NDArray:
        """The estimator's probabilities, also for refused rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(_inner_has("decision_function"))
    @block_by_block
    def decision_function(self, X: ArrayLike) -> NDArray:
        """The estimator's evidence for each class, also for refused rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "threshold_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags = get_tags(self.estimator).classifier_tags
        return tags

    @property
    def _limits(self):
        """What the threshold is chosen by."""
        names = ("coverage", "risk", "ood_acceptance")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _check_one_way(self):
        given = self._limits | ({} if self.threshold is None else {"threshold": self.threshold})
        ways = [["threshold"], ["coverage"], ["risk", "ood_acceptance"]]
        words = (" and ".join(f"{n}={given[n]}" for n in way if n in given) for way in ways)
        used = list(filter(None, words))
        if len(used) > 1:
            raise ValueError(
                f"Got {' together with '.join(used)}, which each set the threshold; keep one "
                "of coverage, threshold, or the guarantees risk and ood_acceptance."
            )

    def _classes_and_outliers(self, y):
        """The labels to be known, and a mask of the rows that have none of them."""
        ood_label = ood_label_in(self)
        if is_frozen(self.estimator):
            check_is_fitted(self.estimator)
            classes = classes_of(self.estimator)
            check_same_kind(y, classes)
        else:
            _, classes = encode_labels(y, ood_label)
        if not len(classes):
            raise ValueError(
                f"Got only outlier rows in y (all equal ood_label={ood_label!r}), but "
                f"{type(self).__name__} needs in-distribution rows; add rows of the classes to "
                "be known."
            )
        return classes, codes_in(classes, y) == OUTLIER

    def _held_out(self, n_rows, inside):
        """Mask of the rows to calibrate on; all, where nothing is to be trained."""
        if all(map(is_frozen, inside)):
            return np.ones(n_rows, dtype=bool)
        if not self._limits:
            return np.zeros(n_rows, dtype=bool)
        return random_part(n_rows, self.calibration, self.random_state, parameter="calibration")

    def _warn_of_untaught(self, y, outlier):
        """Name the classes of which chance left no row to train on."""
        untaught = ~outlier & (codes_in(self.classes_, y) == OUTLIER)
        if untaught.any():
            labels, counts = np.unique(y[untaught], return_counts=True)
            rows = dict(zip(labels[:10].tolist(), counts[:10].tolist(), strict=True))
            warnings.warn(
                f"Of {len(labels)} classes all rows were drawn to calibrate and none trained "
                f"(rows of each: {rows}{' and so on' * (len(labels) > 10)}). No answer names "
                "these classes: answers to their rows count as wrong, as they will be; a "
                "smaller calibration or more rows make this rarer.",
                stacklevel=3,
            )

    def _choose_threshold(self, X, y, calibrating, outlier, unseen):
        """From the rows that trained nothing; those that calibrate are like new ones."""
        self.guarantee_, self.answers_by_largest_ = {}, False
        threshold = -np.inf if self.threshold is None else float(self.threshold)
        if self.threshold is not None and self.detector is None:
            agrees = in_blocks(partial(answers_by_largest, self.estimator_), X)
            self.answers_by_largest_ = bool(agrees.all())
        if self._limits:
            rows = X if unseen.all() else take_rows(X, unseen)
            answers, confidence, agrees = in_blocks(self._look, rows)
            self.answers_by_largest_ = bool(agrees.all())
            error = codes_in(self.classes_, answers) != codes_in(self.classes_, y[unseen])
            if self.ood_acceptance is not None and not outlier[unseen].any():
                raise ValueError(
                    f"Got {int(outlier.sum())} outlier rows in y, none to calibrate on, but "
                    f"ood_acceptance={self.ood_acceptance} is promised from such rows "
                    f"(ood_label={ood_label_in(self)!r}); add outlier rows, or promise a risk "
                    "or a coverage instead."
                )
            kinds = error, outlier[unseen], calibrating[unseen]
            threshold, self.guarantee_ = chosen_threshold(
                confidence, *kinds, delta=self.delta, **self._limits
            )
        self.threshold_ = threshold

    def _look(self, X):
        """Answers and confidence, and where the answers are the likeliest classes."""
        agrees = self.detector is None and answers_by_largest(self.estimator_, X)
        answers, confidence = self._ask(X, by_largest=np.all(agrees))
        return answers, confidence, np.broadcast_to(agrees, len(answers))

    def _ask(self, X, *, by_largest=False):
        if self.detector is None:
            by_largest = by_largest or self.answers_by_largest_
            return answers_and_confidence(self.estimator_, X, by_largest=by_largest)
        return answers_of(self.estimator_, X), confidence_of(self.detector_, X)
