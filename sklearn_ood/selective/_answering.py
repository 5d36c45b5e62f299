"""What a fitted selective classifier answers, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._parameters import Share, check_arguments
from sklearn_ood._response import (
    answers_and_confidence,
    answers_by_largest,
    answers_of,
    confidence_of,
)
from sklearn_ood.data._blocks import block_by_block, in_blocks, is_lazy, lazily
from sklearn_ood.data._labels import labels_or
from sklearn_ood.selective._base import ConfidenceThreshold
from sklearn_ood.selective._decisions import decisions, look


def _inner_has(method):
    """Whether the classifier inside has ``method``, fitted or not."""

    def check(self):
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


class Answering(ConfidenceThreshold):
    """The verbs of a classifier that answers where its confidence is at least a threshold."""

    def decide(
        self, X: ArrayLike, *, groups: ArrayLike | None = None, alpha: Share = 0.05
    ) -> Any:
        """What is answered to each row, or why it is refused.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        groups : array-like of shape (n_samples,), default=None
            For ``guarantee_for="group"``.
        alpha : float in (0, 1), default=0.05
            Refused rows with a p-value up to it are strange.

        Returns
        -------
        pandas.DataFrame
            A line for each row, with the index of X: ``label``, the class that is named, also
            where it is refused; ``confidence``; ``accepted``; ``reason``, empty where accepted,
            "strange" for rows unlike the known ones, "no promise" for a class or group that is
            always refused, else "unsure". A detector refuses what is strange, unless p-values
            tell. Of several risks also ``risk``, the least that the answer keeps. Of a
            :class:`CombinedClassifier` also ``p_value`` and ``member``, the member that speaks
            most against a strange row.
        """
        check_is_fitted(self)
        check_arguments(self.decide, {"alpha": alpha})
        self._check_promise()
        looked = look(self, X)
        thresholds = self._thresholds_of(looked[0], groups)
        return decisions(self, getattr(X, "index", None), looked, thresholds, alpha)

    def predict(self, X: ArrayLike, *, groups: ArrayLike | None = None) -> NDArray:
        """The class of each accepted row, and ``reject_label_`` for the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            Or a ``torch.utils.data`` ``Dataset`` of images, or a ``DataLoader``.
        groups : array-like of shape (n_samples,), default=None
            For ``guarantee_for="group"``: a group that did not calibrate is refused.

        Returns
        -------
        ndarray of shape (n_samples,)
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
        """The class that the estimator names for each row, also where it is refused.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        if self.answers_by_largest_:
            return self._ask(X)[0]
        return answers_of(self.estimator_, X)

    def accept(self, X: ArrayLike, *, groups: ArrayLike | None = None) -> NDArray:
        """Which rows are answered.

        Parameters
        ----------
        X, groups
            As for ``predict``.

        Returns
        -------
        ndarray of bool of shape (n_samples,)
        """
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
        """``answers`` and ``accept`` of each row, at once.

        Parameters
        ----------
        X, groups
            As for ``predict``.

        Returns
        -------
        answers : ndarray of shape (n_samples,)
        accepted : ndarray of bool of shape (n_samples,)
        """
        check_is_fitted(self)
        self._check_promise()
        if self.reject_label_ is None and groups is None:
            answers = self.answers(X)
            return answers, np.ones(len(answers), dtype=bool)
        answers, confidence = self.answers_and_confidence(X)
        return answers, confidence >= self._thresholds_of(answers, groups)[-1]

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
