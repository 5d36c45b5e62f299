from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import field
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.semi_supervised import LabelPropagation, LabelSpreading, SelfTrainingClassifier
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from sklearn_ood import _response
from sklearn_ood._parameters import (
    Estimator,
    Parameterized,
    RandomState,
    Share,
    fitted,
    forget,
)
from sklearn_ood.base import Answering, Router, Wrapper, fitted_beside, random_part
from sklearn_ood.data import _labels
from sklearn_ood.data._blocks import in_blocks, indexable_rows, take_rows
from sklearn_ood.data._labels import OUTLIER, check_same_kind, checked_labels, codes_in
from sklearn_ood.metrics._blocks import as_labels
from sklearn_ood.selective._arrays import checked_loss, losses
from sklearn_ood.selective._deciding import CHOSEN_BY, Deciding, check_groups, check_limits
from sklearn_ood.selective._guarantees import first_of, warn_of_company, warn_of_unpromised
from sklearn_ood.selective._thresholds import CalibrationRows, checked_weights, chosen_threshold

UNLABELLED, SEMI_SUPERVISED = -1, (SelfTrainingClassifier, LabelPropagation, LabelSpreading)


class SelectiveClassifier(Router, Wrapper, Answering, Deciding):
    """Any classifier, that may also refuse to answer.

    A row is answered where the confidence is at least ``threshold_``, and gets the reject label
    elsewhere. Say where the threshold lies: by the share to answer (``coverage``), by the share
    of wrong answers (``risk`` [1]_) and of outliers that may be answered (``ood_acceptance``),
    with a guarantee, by what a refusal costs (``cost``), or itself. Else nothing is refused.

    Parameters
    ----------
    estimator : estimator
        A classifier, or a pipeline or search that ends in one. Its confidence is its
        ``confidence`` or ``score_samples``, else what its ``predict_proba`` gives the answer,
        else the margin of its ``decision_function``. A ``sklearn.frozen.FrozenEstimator``, or
        a pipeline of them, is not fitted again: all rows given to ``fit`` calibrate, and every
        label that it was not taught is an outlier. Of one that is semi-supervised in
        scikit-learn's way, rows of label -1 are unlabelled: they train, and do not calibrate.
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

    Attributes
    ----------
    detector_ : estimator
        The fitted source of confidence: ``estimator_`` where no detector was given.
    answers_by_largest_ : bool
        Whether the likeliest class was the answer to every calibration row, so that
        ``predict`` asks the classifier once.

    Notes
    -----
    The bounds are exact binomial (Clopper-Pearson) bounds, for a ``loss`` that is not 0 or 1
    Hoeffding-Bentkus bounds [2]_, for weighted rows those of bets [3]_; they assume that new
    rows come from the distribution of the calibration rows, or that weights, none above the
    largest given, say how much more frequent they are. They hold for any classifier and any
    confidence. Equal confidences are accepted together.

    Not covered, and not to be seen from here: steps outside that saw the calibration rows
    (put feature selection, target encoders, samplers inside), a search over ``random_state`` or
    ``calibration`` or around this estimator, rows that hang together, drift. At most a share
    ``delta`` of all fits is broken; of a useless classifier's few that succeed, all may be.

    References
    ----------
    .. [1] Geifman, El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.
    .. [2] Bates et al., "Distribution-free, risk-controlling prediction sets", J. ACM 2021.
    .. [3] Waudby-Smith, Ramdas, "Estimating means of bounded random variables by betting",
       JRSS B 2024.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood import SelectiveClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = SelectiveClassifier(LogisticRegression(C=0.1), risk=0.02, random_state=0)
    >>> classifier.fit(X / 16, y).guarantee_["risk"].bound <= 0.02
    True
    >>> classifier.predict([[1.0, 0.0] * 32]).tolist()  # noise
    [-1]
    """

    estimator: Estimator = field(kw_only=False)
    detector: Estimator | None = None
    calibration: Share = 0.2
    ood_label: Any = None
    random_state: RandomState = None

    _routes_to = ("estimator", "detector")
    __metadata_request__fit: ClassVar = {"sample_weight": None, "groups": None}

    estimator_: BaseEstimator = fitted()
    detector_: BaseEstimator = fitted()
    answers_by_largest_: bool = fitted()

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, **params: Any) -> Self:
        """Fit the estimator on one part of the rows and choose the threshold on the other.

        Where no threshold can promise what was asked, a ValueError has the best reachable
        bound. It is an error, too, if parameters contradict each other, the outliers' label was
        learned as a class, or the estimator is no classifier, has no confidence, or takes no
        weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Passed on to the estimator as it is; a dataset is read where it is scored.
        y : array-like of shape (n_samples,), default=None
            Labels, those of a dataset where None; ``ood_label`` is the outliers'.
        **params : dict of str to array-like
            ``sample_weight``: how often there are such rows among new ones (the ratio of
            densities, where new rows come from elsewhere); it weighs the rows that calibrate,
            and is passed on to what is trained, which must take it or be frozen. ``groups``:
            of ``guarantee_for="group"``. Where scikit-learn routes metadata, what is inside
            gets what it asks for, also of other names.
        """
        forget(self)
        self._validate_params()
        check_limits(self._given)
        _response.check_classifier(self.estimator)
        X, y = indexable_rows(X, y)
        y = checked_labels(self, y)
        own, routed = self._route(**params)
        if self.guarantee_for != "group" and any("groups" in each for each in routed.values()):
            own.pop("groups", None)
        unlabelled = self._unlabelled(y)
        classes, outlier = self._classes_and_outliers(y, unlabelled)
        told = self._told(y, classes, **own)
        calibrating, unseen = self._fit_inside(X, y, outlier, unlabelled, routed)
        check_same_kind(y, self.classes_)  # or each answer would be wrong
        warn_of_untaught(self.classes_, y, outlier | unlabelled)
        self._calibrate(X, y, unseen, outlier=outlier, calibrating=calibrating, **told)
        return self

    def recalibrate(self, X: ArrayLike, y: ArrayLike, **params: Any) -> Self:
        """Choose the threshold anew on labelled rows, without fitting the estimator again.

        It stays as it was where an error is raised, as by ``fit``.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows that trained nothing, as new ones will be.
        y : array-like of shape (n_samples,)
            Labels; those that the estimator was not taught are outliers.
        **params
            ``sample_weight`` and ``groups``, as for ``fit``; and parameters to set: coverage,
            risk, ood_acceptance, cost, threshold, delta, guarantee_for, loss or reject_label.
            Where another way was set before, set that to None.
        """
        check_is_fitted(self)
        own = {name: params.pop(name, None) for name in ("sample_weight", "groups")}
        if others := sorted(params.keys() - set(CHOSEN_BY)):
            raise TypeError(f"Got {others}, but a threshold is chosen by {list(CHOSEN_BY)}.")
        before = self.__dict__.copy()
        try:
            self.set_params(**params)
            self._validate_params()
            check_limits(self._given)
            X, y = indexable_rows(X, checked_labels(self, y))
            told = self._told(y, self.classes_, **own)
            check_same_kind(y, self.classes_)
            outlier = codes_in(self.classes_, y) == OUTLIER
            labelled = ~self._unlabelled(y)
            self._calibrate(X, y, labelled, outlier=outlier, calibrating=labelled, **told)
        except BaseException:
            self.__dict__ = before
            raise
        return self

    def __sklearn_is_fitted__(self):
        return hasattr(self, "threshold_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags = get_tags(self.estimator).classifier_tags
        return tags

    def _unlabelled(self, y):
        """Mask of the rows whose label nobody knows."""
        inner = _response.unwrap(self.estimator)[0]
        while isinstance(inner, Parameterized):  # hands labels on; of others -1 is a class
            held = getattr(inner, "estimator", getattr(inner, "classifier", None))
            inner = _response.unwrap(held)[0]
        knows = (
            isinstance(inner, SEMI_SUPERVISED) and _response.ood_label_in(self) != UNLABELLED
        )
        return _labels.is_label(y, UNLABELLED if knows else None)

    def _classes_and_outliers(self, y, unlabelled):
        """The labels to be known, and a mask of the rows that have another one."""
        if _response.is_frozen(self.estimator):
            check_is_fitted(self.estimator)
            classes = _response.classes_of(self.estimator)
            check_same_kind(y, classes)
        else:
            owner = type(self).__name__
            labels, ood_label = y[~unlabelled], _response.ood_label_in(self)
            _, classes = _labels.encode_labels(labels, ood_label, owner=owner)
        return classes, (codes_in(classes, y) == OUTLIER) & ~unlabelled

    def _fit_inside(self, X, y, outlier, unlabelled, routed):
        """Fit what is inside; masks of the rows that calibrate, and of those not trained on."""
        inside = list(self._inside().values())
        calibrating = np.full(len(y), all(map(_response.is_frozen, inside)))
        if self._limits and not calibrating.all():
            how = self.calibration, self.random_state
            calibrating = random_part(len(y), *how, parameter="calibration")
        calibrating &= ~unlabelled
        # Where none knows outliers, all of them are as good as new.
        knows = [_response.ood_label_in(each) is not None for each in inside]
        masks, parts = (calibrating, outlier), zip(inside, routed.values(), strict=True)
        taught = [fitted_beside(each, *masks, X=X, y=y, **given) for each, given in parts]
        self.estimator_, self.detector_ = taught[0], taught[-1]
        _response.check_told_no_classes(self.detector_)
        self.classes_ = _response.classes_of(self.estimator_, _response.ood_label_in(self))
        return calibrating, calibrating if any(knows) else calibrating | outlier

    def _told(self, y, classes, sample_weight=None, groups=None):
        """What is said of the rows, and of what answers cost, once it is checked."""
        decides = self._limits or self.threshold is not None
        refusal = _labels.label_of_refusals(self.reject_label, classes) if decides else None
        self.reject_label_ = refusal
        check_groups(groups, self.guarantee_for, len(y))
        if self.guarantee_for == "group":
            other = "a group of their own, such as 'unknown'"
            _labels.check_no_label_missing(groups, "groups", other)
            self.groups_ = _labels.unique_labels(as_labels("groups", groups), "groups")[0]
        weight, loss = checked_weights(sample_weight, len(y)), None
        if self.loss is not None:
            classes = np.sort(classes)
            loss = partial(losses, checked_loss(self.loss, classes), classes)
        return {"loss": loss, "weight": weight, "groups": groups}

    def _calibrate(self, X, y, unseen, *, outlier, calibrating, loss, weight, groups):
        """Choose the threshold, on the rows that trained nothing where it takes any."""
        self.answers_by_largest_, self.chosen_by_, limits = False, self._given, self._limits
        threshold, self.guarantee_ = -np.inf, {}
        if self.threshold is not None:
            threshold, unseen = float(self.threshold), np.ones(len(y), dtype=bool)
        if limits or (self.threshold is not None and self.detector_ is self.estimator_):
            new = X if unseen.all() else take_rows(X, unseen)
            answers, confidence, agrees = in_blocks(self._look, new)
            self.answers_by_largest_ = bool(agrees.all())
            warn_of_company(self.detector_, new, confidence, lambda row: self._ask(row)[1])
        if limits:
            of_new = None if groups is None else np.asarray(groups)[unseen]
            labels, part = self._parts(answers, of_new)
            truth, named = (codes_in(self.classes_, each) for each in (y[unseen], answers))
            lost = truth != named if loss is None else loss(y[unseen], answers)
            counted = confidence, lost, outlier[unseen], calibrating[unseen], part
            weight = None if weight is None else weight[unseen]
            promised = {"labels": labels, "guarantee_for": self.guarantee_for}
            quantity = "risk" if loss is None else "loss"
            rows = CalibrationRows(*counted, weight, quantity=quantity, **promised)
            threshold, self.guarantee_ = chosen_threshold(rows, delta=self.delta, **limits)
            if not all(each.n_accepted for each in self.guarantee_.values()):
                warn_of_unpromised(self.guarantee_)
        self.threshold_ = threshold


def warn_of_untaught(classes, y, outlier):
    """Name the classes of which chance left no row to train on."""
    untaught = ~outlier & (codes_in(classes, y) == OUTLIER)
    counts = Counter(np.sort(y[untaught]).tolist())
    if counts:
        warnings.warn(
            f"Of {len(counts)} classes all rows were drawn to calibrate and none trained (rows "
            f"of each: {first_of(counts)}). No answer names these classes: answers to their "
            "rows count as wrong, as they will be; a smaller calibration makes this rarer.",
            stacklevel=3,
        )
