from __future__ import annotations

from dataclasses import field
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._parameters import Estimator, RandomState, Share, check_arguments, fitted
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
    labels_or,
)
from sklearn_ood.data._rows import as_native, forget
from sklearn_ood.selective._base import ConfidenceThreshold
from sklearn_ood.selective._calibration import (
    check_one_way,
    checked_loss,
    losses,
    warn_of_unpromised,
    warn_of_untaught,
)
from sklearn_ood.selective._decisions import decisions
from sklearn_ood.selective._thresholds import chosen_threshold


def _inner_has(method):
    """Whether the classifier inside has ``method``, fitted or not."""

    def check(self):
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


class SelectiveClassifier(Wrapper, ClassifierMixin, ConfidenceThreshold):
    """Any classifier, that may also refuse to answer.

    A row is answered where the confidence is at least ``threshold_``, and gets the reject
    label elsewhere. Say where the threshold lies: by the share to answer (``coverage``), by
    the share of wrong answers (``risk``) and of outliers that may be answered
    (``ood_acceptance``), both with a guarantee, by what a refusal costs (``cost``), or itself.
    Else nothing is refused.

    Parameters
    ----------
    estimator : estimator
        A classifier, or a pipeline or search that ends in one. Its confidence is its
        ``confidence`` or ``score_samples``, else what its ``predict_proba`` gives the answer,
        else the margin of its ``decision_function``. A ``sklearn.frozen.FrozenEstimator``, or
        a pipeline of them, is not fitted again: all rows given to ``fit`` calibrate, and every
        label that it was not taught is an outlier.
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
    random_state : int, RandomState or None, default=None
        Chooses the held-out rows.

    Attributes
    ----------
    estimator_ : estimator
        The fitted classifier.
    detector_ : estimator
        The fitted source of confidence: ``estimator_`` where no detector was given.
    answers_by_largest_ : bool
        Whether the likeliest class was the answer to every calibration row, so that
        ``predict`` asks the classifier once.

    Notes
    -----
    The bounds are exact binomial (Clopper-Pearson) bounds, for a ``loss`` that is not 0 or 1
    Hoeffding-Bentkus bounds [2]_; they assume that new rows come from the distribution of the
    calibration rows, and hold for any classifier and any confidence. Equal confidences are
    accepted together.

    Not covered, and not to be seen from here: steps outside that saw the calibration rows
    (put feature selection and target encoders inside), a search over ``random_state`` or
    ``calibration`` or around this estimator, rows that hang together, drift. At most a share
    ``delta`` of all fits is broken; of a useless classifier's few that succeed, all may be.

    References
    ----------
    .. [1] Geifman, El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.
    .. [2] Bates et al., "Distribution-free, risk-controlling prediction sets", J. ACM 2021.

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
    detector: Estimator | None = None
    calibration: Share = 0.2
    ood_label: Any = None
    random_state: RandomState = None

    estimator_: BaseEstimator = fitted()
    detector_: BaseEstimator = fitted()
    answers_by_largest_: bool = fitted()

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
        check_one_way(self._given)
        check_classifier(self.estimator)
        X, y = indexable_rows(X, as_native(y))
        y = checked_labels(self, y)
        inside = [self.estimator] if self.detector is None else [self.estimator, self.detector]
        classes, outlier = self._classes_and_outliers(y)
        loss = None if self.loss is None else checked_loss(self.loss, classes)
        self.reject_label_ = self._label_of_refusals(classes)
        calibrating = self._held_out(len(outlier), inside)
        # Outliers reach those that know them; where none does, all of them are as good as new.
        knows = [ood_label_in(each) is not None for each in inside]
        training = (~calibrating & (known | ~outlier) for known in knows)
        taught = list(map(partial(fitted_on, X=X, y=y), inside, training))
        self.estimator_, self.detector_ = taught[0], taught[-1]
        self.classes_ = classes_of(self.estimator_, ood_label_in(self))
        warn_of_untaught(self.classes_, y, outlier)
        unseen = calibrating if any(knows) else calibrating | outlier
        taught_codes = codes_in(classes, self.classes_)
        loss = None if loss is None else loss[np.ix_(taught_codes, taught_codes)]
        self._choose_threshold(X, y, calibrating, outlier, unseen, loss)
        return self

    def decide(self, X: ArrayLike, alpha: Share = 0.05) -> Any:
        """What is answered to each row, or why it is refused.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        alpha : float in (0, 1), default=0.05
            Refused rows with a p-value up to it are strange.

        Returns
        -------
        pandas.DataFrame
            A line for each row, with the index of X: ``label``, the class that is named, also
            where it is refused; ``confidence``; ``accepted``; ``reason``, empty where accepted,
            "strange" for rows unlike the known ones, "no promise" for a class that is always
            refused, else "unsure". A detector refuses what is strange, unless p-values tell.
            Of a :class:`CombinedClassifier` also ``p_value`` and ``member``, the member that
            speaks most against a strange row.
        """
        check_is_fitted(self)
        check_arguments(self.decide, {"alpha": alpha})
        self._check_promise()
        answers, confidence = self.answers_and_confidence(X)
        return decisions(self, X, answers, confidence, self._threshold_of(answers), alpha)

    @block_by_block
    def predict(self, X: ArrayLike) -> NDArray:
        """The class of each accepted row, and ``reject_label_`` for the others.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        self._check_promise()
        if self.reject_label_ is None:
            return self.answers(X)
        answers, confidence = self._ask(X)
        accepted = confidence >= self._threshold_of(answers)
        # As an array the label brings its own type: unsigned classes must not wrap a -1.
        return labels_or(self.reject_label_, answers, accepted)

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
        check_is_fitted(self)
        self._check_promise()
        if np.ndim(self.threshold_) == 0:
            return self.score_samples(X) >= self.threshold_
        answers, confidence = self._ask(X)
        return confidence >= self._threshold_of(answers)

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

    def _choose_threshold(self, X, y, calibrating, outlier, unseen, loss):
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
            answer, truth = (codes_in(self.classes_, each) for each in (answers, y[unseen]))
            if self.ood_acceptance is not None and not outlier[unseen].any():
                raise ValueError(
                    f"Got {int(outlier.sum())} outlier rows in y, none to calibrate on, but "
                    f"ood_acceptance={self.ood_acceptance} is promised from such rows "
                    f"(ood_label={ood_label_in(self)!r}); add outlier rows, or promise a risk "
                    "or a coverage instead."
                )
            kinds = losses(loss, truth, answer), outlier[unseen], calibrating[unseen]
            how = self._limits | {"delta": self.delta}
            if self.guarantee_for == "class":
                how |= {"answer": answer, "labels": self.classes_}
            if loss is not None:
                how["quantity"] = "loss"
            threshold, self.guarantee_ = chosen_threshold(confidence, *kinds, **how)
            warn_of_unpromised(self.guarantee_)
        self.chosen_by_, self.threshold_ = self._given, threshold

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
