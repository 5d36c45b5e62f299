from functools import partial

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import check_random_state, get_tags, indexable
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from sklearn_ood._response import answers_of, confidence_of
from sklearn_ood.base import Wrapper
from sklearn_ood.data._blocks import block_by_block, in_blocks, take_rows
from sklearn_ood.data._labels import (
    OUTLIER,
    check_no_label_missing,
    codes_in,
    encode_labels,
    hold_out_each_class,
    is_label,
)
from sklearn_ood.data._rows import as_native, forget
from sklearn_ood.selective._thresholds import coverage_threshold, ood_threshold, risk_threshold


def _inner_has(method):
    """Whether the classifier inside has ``method``, fitted or not."""

    def check(self):
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


class SelectiveClassifier(Wrapper, ClassifierMixin, BaseEstimator):
    """Any classifier, that may also refuse to answer.

    A row is answered where the confidence is at least ``threshold_``, and gets the reject
    label elsewhere. Say in one of four ways where the threshold lies: the share to answer
    (``coverage``), the share of wrong answers that is tolerable (``risk``) and of outliers
    that may be answered (``ood_acceptance``), both with a guarantee, or the ``threshold``
    itself. With none of them nothing is refused.

    Parameters
    ----------
    estimator : estimator
        A classifier, or a pipeline or search that ends in one. Its confidence is
        ``score_samples``, else the largest of ``predict_proba``, else the margin of
        ``decision_function``.
    coverage : float in (0, 1], default=None
        Answer at least this share of the in-distribution calibration rows.
    risk : float in (0, 1), default=None
        With probability ``1 - delta`` at most this share of the answers to new data is wrong.
        New data means data like y's: an answer to an outlier is wrong, and outliers count in
        the proportion in which they come.
    ood_acceptance : float in (0, 1), default=None
        With probability ``1 - delta`` at most this share of new outliers is answered. Needs
        outlier rows in ``y``, and promises nothing for outliers of another kind. Together
        with ``risk`` both promises hold at once with probability ``1 - delta``.
    delta : float in (0, 1), default=0.05
        Probability with which the guarantee may fail, over the draw of the calibration rows.
    threshold : float, default=None
        Used as it is.
    detector : estimator, default=None
        Takes over the confidence, while ``estimator`` still names the class. Its confidence
        is found as for ``estimator``; scikit-learn's outlier detectors fit in.
    calibration : float in (0, 1) or "prefit", default=0.2
        Share of each class held out from training to choose the threshold; nothing is held
        out where no threshold has to be chosen. "prefit": estimator and detector are fitted
        already and used as they are, and all rows given to ``fit`` calibrate.
    ood_label : label, default=None
        Rows of ``y`` with this label are outliers. They calibrate: for ``ood_acceptance`` all
        of them, unless estimator or detector have an ``ood_label`` of their own that is set.
        Only then do outliers take part in training, and only the held-out ones calibrate.
        With "prefit" every label that the estimator was not taught is an outlier.
    reject_label : label, default=None
        What ``predict`` returns for refused rows. None chooses -1 for numbers and "reject"
        for strings.
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
        for; each has ``limit``, ``bound``, ``delta``, ``n_samples``, ``n_accepted`` and
        ``n_errors``.
    reject_label_ : label or None
        None where nothing can be refused.
    n_features_in_, feature_names_in_
        As the estimator has them.

    Notes
    -----
    The bounds are exact binomial (Clopper-Pearson) bounds on held-out rows; they assume that
    new rows come from the distribution of the calibration rows and hold for any classifier
    and any confidence, however bad. Confidences that are equal are accepted together.

    References
    ----------
    .. [1] Y. Geifman and R. El-Yaniv, "Selective classification for deep neural networks",
       NeurIPS 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood import SelectiveClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> inner = LogisticRegression(C=0.1)
    >>> classifier = SelectiveClassifier(inner, risk=0.02, random_state=0).fit(X / 16, y)
    >>> classifier.guarantee_["risk"].bound <= 0.02
    True
    >>> noise = [[1.0, 0.0] * 32]
    >>> classifier.predict(noise).tolist(), bool(classifier.accept(noise)[0])
    ([-1], False)
    """

    def __init__(
        self,
        estimator,
        *,
        coverage=None,
        risk=None,
        ood_acceptance=None,
        delta=0.05,
        threshold=None,
        detector=None,
        calibration=0.2,
        ood_label=None,
        reject_label=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.coverage = coverage
        self.risk = risk
        self.ood_acceptance = ood_acceptance
        self.delta = delta
        self.threshold = threshold
        self.detector = detector
        self.calibration = calibration
        self.ood_label = ood_label
        self.reject_label = reject_label
        self.random_state = random_state

    def fit(self, X, y):
        """Fit the estimator on one part of the rows and choose the threshold on the other.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Passed on to the estimator as it is.
        y : array-like of shape (n_samples,)
            Labels; rows with the label ``ood_label`` are outliers.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If parameters contradict each other or are out of range, or if no threshold can
            promise what was asked; the message then has the best reachable bound.
        """
        forget(self)
        self._check_parameters()
        X, y = indexable(X, self._validate_labels(as_native(y)))
        training, calibrating = self._split(y)
        self._fit_inner(X, y, training)
        self._choose_threshold(X, y, calibrating)
        return self

    @block_by_block
    def predict(self, X):
        """The class of each accepted row, and ``reject_label_`` for the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        labels = self.answers(X)
        if self.reject_label_ is None:
            return labels
        # As an array the label brings its own type: unsigned classes must not wrap a -1.
        return np.where(self.accept(X), labels, np.asarray(self.reject_label_))

    @block_by_block
    def answers(self, X):
        """The class that the estimator names for each row, also where it is refused.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels from ``classes_``.
        """
        check_is_fitted(self)
        return answers_of(self.estimator_, X)

    @block_by_block
    def accept(self, X):
        """Which rows are answered.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of bool of shape (n_samples,)
        """
        return self.score_samples(X) >= self.threshold_

    @block_by_block
    def score_samples(self, X):
        """The confidence that the threshold is compared with.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return confidence_of(self.detector_, X)

    @available_if(_inner_has("predict_proba"))
    @block_by_block
    def predict_proba(self, X):
        """The estimator's probabilities, also for refused rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(_inner_has("decision_function"))
    @block_by_block
    def decision_function(self, X):
        """The estimator's evidence for each class, also for refused rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

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
    def _chooses(self):
        return any(
            limit is not None for limit in (self.coverage, self.risk, self.ood_acceptance)
        )

    def _check_parameters(self):
        ways = [
            [("threshold", self.threshold)],
            [("coverage", self.coverage)],
            [("risk", self.risk), ("ood_acceptance", self.ood_acceptance)],
        ]
        used = [
            " and ".join(f"{name}={value}" for name, value in way if value is not None)
            for way in ways
            if any(value is not None for _, value in way)
        ]
        if len(used) > 1:
            raise ValueError(
                f"Got {' together with '.join(used)}, which each set the threshold; keep one "
                "of coverage, threshold, or the guarantees risk and ood_acceptance."
            )
        for name, upper in (("coverage", True), ("risk", False), ("ood_acceptance", False)):
            value = getattr(self, name)
            if value is not None and not (0 < value < 1 or (upper and value == 1)):
                interval = "(0, 1]" if upper else "(0, 1)"
                raise ValueError(f"Got {name}={value!r}, but expected a number in {interval}.")
        if not 0 < self.delta < 1:
            raise ValueError(f"Got delta={self.delta!r}, but expected a number in (0, 1).")
        if self.threshold is not None and np.isnan(self.threshold):
            raise ValueError("Got threshold=nan, but expected a number.")
        prefit = isinstance(self.calibration, str) and self.calibration == "prefit"
        if not prefit and (isinstance(self.calibration, str) or not 0 < self.calibration < 1):
            raise ValueError(
                f"Got calibration={self.calibration!r}, but expected a fraction in (0, 1) or "
                "'prefit'."
            )

    def _validate_labels(self, y):
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None; "
                "pass the labels of the rows."
            )
        y = column_or_1d(y, warn=True)
        check_no_label_missing(y)
        check_classification_targets(y)
        if self.calibration == "prefit":
            check_is_fitted(self.estimator)
            return y
        _, classes = encode_labels(y, self.ood_label)
        if not len(classes):
            raise ValueError(
                f"Got only outlier rows in y (all equal ood_label={self.ood_label!r}), but "
                f"{type(self).__name__} needs in-distribution rows; add rows of the classes to "
                "be known."
            )
        self._reject_label(classes)
        return y

    def _split(self, y):
        """Masks of the rows to train on and to calibrate on."""
        everything = np.ones(len(y), dtype=bool)
        if self.calibration == "prefit":
            return ~everything, everything
        if not self._chooses:
            return everything, ~everything
        codes, _ = encode_labels(y, self.ood_label)
        random_state = check_random_state(self.random_state)
        held_out = hold_out_each_class(
            codes, self.calibration, random_state, parameter="calibration"
        )
        return ~held_out, held_out

    def _fit_inner(self, X, y, training):
        if self.calibration == "prefit":
            self.estimator_ = self.estimator
            self.detector_ = self.estimator if self.detector is None else self.detector
            check_is_fitted(self.detector_)
        else:
            self.estimator_ = self._fit_on(self.estimator, X, y, training)
            self.detector_ = (
                self.estimator_
                if self.detector is None
                else self._fit_on(self.detector, X, y, training)
            )
        self.classes_ = np.asarray(self.estimator_.classes_)

    def _fit_on(self, estimator, X, y, training):
        """A clone fitted on the training rows, with outliers only where it knows them."""
        rows = training
        if not _knows_outliers(estimator, self.ood_label):
            rows = training & ~is_label(y, self.ood_label)
        if rows.all():
            return clone(estimator).fit(X, y)
        return clone(estimator).fit(take_rows(X, rows), y[rows])

    def _choose_threshold(self, X, y, calibrating):
        self.guarantee_ = {}
        threshold = -np.inf if self.threshold is None else float(self.threshold)
        if self._chooses:
            threshold = self._calibrated_threshold(X, y, calibrating)
        rejects = self._chooses or self.threshold is not None
        self.reject_label_ = self._reject_label(self.classes_) if rejects else None
        self.threshold_ = threshold

    def _calibrated_threshold(self, X, y, calibrating):
        truth = codes_in(self.classes_, y)
        outliers = self._unseen_outliers(truth, calibrating)
        index = np.flatnonzero(calibrating | outliers)
        rows = X if len(index) == len(y) else take_rows(X, calibrating | outliers)
        truth, calibrating, outliers = truth[index], calibrating[index], outliers[index]
        confidence = in_blocks(partial(confidence_of, self.detector_), rows)
        if np.isnan(confidence).any():
            raise ValueError(
                f"Got {int(np.isnan(confidence).sum())} NaN confidences from "
                f"{type(self.detector_).__name__}, but a threshold needs numbers."
            )
        if self.coverage is not None:
            inside = truth != OUTLIER
            if not inside.any():
                raise ValueError(
                    "Got no in-distribution calibration rows, but coverage is counted on them; "
                    "pass rows of the known classes."
                )
            return coverage_threshold(confidence[inside], self.coverage)

        delta = self.delta / ((self.risk is not None) + (self.ood_acceptance is not None))
        threshold = -np.inf
        if self.ood_acceptance is not None:
            if not outliers.any():
                raise ValueError(
                    f"Got no outlier rows in y, but ood_acceptance={self.ood_acceptance} is "
                    f"promised from them (ood_label={self.ood_label!r}); add outlier rows, or "
                    "promise a risk or a coverage instead."
                )
            threshold, self.guarantee_["ood_acceptance"] = ood_threshold(
                confidence[outliers], self.ood_acceptance, delta
            )
        if self.risk is not None:
            answers = in_blocks(partial(answers_of, self.estimator_), rows)
            error = codes_in(self.classes_, answers) != truth
            threshold, self.guarantee_["risk"] = risk_threshold(
                confidence[calibrating],
                error[calibrating],
                self.risk,
                delta,
                at_least=threshold,
            )
        return threshold

    def _unseen_outliers(self, truth, calibrating):
        """Outlier rows that trained nothing: all of them where no estimator knows outliers."""
        outliers = truth == OUTLIER
        inside = [self.estimator] if self.detector is None else [self.estimator, self.detector]
        if any(_knows_outliers(estimator, self.ood_label) for estimator in inside):
            return outliers & calibrating
        return outliers

    def _reject_label(self, classes):
        """The label for refusals: given, or of the classes' kind and none of them."""
        is_text = all(isinstance(label, str) for label in classes.tolist())
        label = self.reject_label
        if label is None:
            if not (self._chooses or self.threshold is not None):
                return None
            label = "reject" if is_text else -1
        elif is_text != isinstance(label, str):
            kind = "a string" if is_text else "a number"
            raise ValueError(
                f"Got reject_label={label!r} for the classes {classes.tolist()}, but expected "
                f"{kind}, as the classes are."
            )
        if label in classes.tolist():
            raise ValueError(
                f"Got reject_label={self.reject_label!r}, which stands for {label!r}, but that "
                f"is one of the classes {classes.tolist()}; pass another reject_label."
            )
        return label


def _knows_outliers(estimator, ood_label):
    """Whether an estimator, or a step of it, has an ``ood_label`` that is set."""
    if ood_label is None:
        return False
    parameters = estimator.get_params(deep=True)
    own = [
        value
        for name, value in parameters.items()
        if name.split("__")[-1] == "ood_label" and value is not None
    ]
    if any(value != ood_label for value in own):
        raise ValueError(
            f"Got ood_label={ood_label!r}, but the estimator inside has ood_label={own[0]!r}; "
            "pass the same label to both."
        )
    return bool(own)
