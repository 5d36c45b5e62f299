from __future__ import annotations

from dataclasses import field
from functools import partial
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state, gen_batches, indexable
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from sklearn_ood import _response
from sklearn_ood._parameters import (
    Estimator,
    Parameterized,
    RandomState,
    Share,
    drawn_seed,
    fitted,
    forget,
)
from sklearn_ood.base import ScoreWrapper, fitted_beside, random_part
from sklearn_ood.data._blocks import in_blocks, n_rows, take_rows
from sklearn_ood.data._rows import as_native
from sklearn_ood.metrics._blocks import differs, labels_for
from sklearn_ood.monitoring import _martingale

CHUNK = 512  # rows compared with one another at once


class _Monitor(ScoreWrapper, Parameterized):
    """What watches a stream and may raise one alarm.

    Parameters
    ----------
    alpha : float in (0, 1), default=0.01
        Probability of a false alarm, ever, however long the stream is.

    Attributes
    ----------
    log_wealth_ : ndarray of shape (n_rows,)
        Natural logarithm of the evidence for a change after each row since ``fit`` or
        ``restart``. The alarm is at ``log(1 / alpha)``.
    alarm_row_ : int or None
        The first row, counted from 0, at which the alarm was reached.
    """

    estimator: Estimator = field(kw_only=False)
    alpha: Share = 0.01

    estimator_: BaseEstimator = fitted()
    log_open_: np.ndarray = fitted()
    log_wealth_: np.ndarray = fitted()
    alarm_row_: int | None = fitted()

    @property
    def alarm_(self) -> bool:
        """Whether the alarm was ever reached since ``fit`` or ``restart``."""
        check_is_fitted(self)
        return self.alarm_row_ is not None

    def restart(self) -> Self:
        """Forget the stream, and the alarm; what ``fit`` learned stays."""
        check_is_fitted(self)
        self._restart()
        return self

    def _checked(self, X, y):
        forget(self)
        self._validate_params()
        X, y = self._rows_and_labels(X, y)
        return X, y, np.ones(n_rows(X), dtype=bool)

    def _restart(self):
        self.log_open_ = np.full(self._n_bets, -np.inf)
        self.log_wealth_, self.alarm_row_ = np.empty(0), None

    def _bet(self, log_factors):
        """Bet on further rows, and raise the alarm at the first that reaches it."""
        n_before = len(self.log_wealth_)
        wealth, self.log_open_ = _martingale.mixture(log_factors, self.log_open_, n_before)
        self.log_wealth_ = np.append(self.log_wealth_, wealth)
        reached = np.flatnonzero(wealth >= -np.log(self.alpha))
        if self.alarm_row_ is None and len(reached):
            self.alarm_row_ = n_before + int(reached[0])

    def __sklearn_is_fitted__(self):
        return hasattr(self, "alarm_row_")


class DriftMonitor(_Monitor):
    """Whether a stream is still like the data that a model knows, asked after every row.

    Each row's score is ranked among the reference rows and all rows before it: as long as rows
    are exchangeable, such p-values are independent and uniform. A mixture of bets against that,
    begun anew at every row, is a test martingale: its chance of ever reaching ``1 / alpha`` is
    at most alpha, so that one may look after every row and false alarms do not add up (V. Vovk,
    "Testing randomness online", Statistical Science 2021; J. Shin, A. Ramdas and A. Rinaldo,
    "E-detectors", New England Journal of Statistics in Data Science 2024).
    :class:`MonitorDisplay` draws the evidence; :class:`RiskMonitor` needs labels, and watches
    the promise on the risk.

    After a change the new rows are ranked among more and more of their own kind: an alarm that
    does not come soon after a change may not come. ``restart`` forgets the stream.

    Parameters
    ----------
    estimator : estimator
        Anything with a score, as for :class:`NoveltyDetector`. A
        ``sklearn.frozen.FrozenEstimator`` is not fitted again: all rows given to ``fit`` are
        reference rows, which must be others than it was trained on.
    reference : float in (0, 1), default=0.2
        Share of the rows given to ``fit`` that train nothing, and are what the stream's rows
        are first ranked among.

    Attributes
    ----------
    reference_scores_ : ndarray of shape (n_reference,)
        Scores of the reference rows, ascending.
    seen_scores_ : ndarray of shape (n_reference + n_rows,)
        Those, and the scores of the stream so far: eight bytes a row.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KernelDensity
    >>> from sklearn_ood import DriftMonitor
    >>> rng = np.random.default_rng(0)
    >>> monitor = DriftMonitor(KernelDensity(), random_state=0).fit(rng.normal(size=(500, 2)))
    >>> monitor.partial_fit(rng.normal(size=(1000, 2))).alarm_
    False
    >>> monitor.partial_fit(rng.normal(1.5, size=(100, 2))).alarm_
    True
    """

    reference: Share = 0.2
    random_state: RandomState = None

    reference_scores_: np.ndarray = fitted()
    seen_scores_: np.ndarray = fitted()
    seed_: int = fitted()

    _n_bets = 2 * len(_martingale.POWERS)

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit the estimator on one part of the rows; the other is the reference.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples,), default=None
            Labels, where the estimator needs them. Known outliers, told as for
            :class:`NoveltyDetector`, are no reference rows.
        """
        X, y, kept = self._checked(X, y)
        random_state = check_random_state(self.random_state)
        outlier = self._known_outliers(X, y)
        if not _response.is_frozen(self.estimator):
            kept = random_part(len(kept), self.reference, random_state, parameter="reference")
        self.estimator_ = fitted_beside(self.estimator, kept, outlier, X=X, y=y)
        self.reference_scores_ = np.sort(self._scores(take_rows(X, kept & ~outlier)))
        self.seed_ = drawn_seed(random_state)
        self._restart()
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Look at further rows of the stream, in order; the first call of all is ``fit``.

        There may be as many or as few as there are: the alarm does not depend on the batches.
        Labels are ignored, but by ``fit``.
        """
        if not self.__sklearn_is_fitted__():
            return self.fit(X, y)
        scores = self._scores(X)
        for rows in gen_batches(len(scores), CHUNK):
            uniform = self._uniform(rows.stop - rows.start)
            ranked = _martingale.ranks(scores[rows], self.seen_scores_, uniform)
            p_values, self.seen_scores_ = ranked
            self._bet(_martingale.log_power_bets(p_values))
        return self

    def _scores(self, X):
        return in_blocks(partial(_response.known_of, self.estimator_), X)

    def _restart(self):
        super()._restart()
        self.seen_scores_ = self.reference_scores_

    def _uniform(self, n_rows):
        """Numbers that break ties: the same for a row, however the stream is cut."""
        stream = np.random.Philox(key=self.seed_).advance(len(self.log_wealth_))
        return np.random.Generator(stream).random((n_rows, 4))[:, 0]


class RiskMonitor(_Monitor):
    """Whether a promise on the risk still holds, as the labels of answered rows come in.

    The wealth is bet on errors among the answers: while each answer is wrong with at most the
    promised probability, it reaches ``1 / alpha`` with probability at most alpha, ever.

    Parameters
    ----------
    estimator : classifier
        Usually a fitted :class:`SelectiveClassifier` in a ``sklearn.frozen.FrozenEstimator``;
        what it refuses is not looked at. A classifier that never refuses answers all.
    risk : float in (0, 1), default=None
        Largest probability of a wrong answer; None is the risk that the estimator promises.

    Attributes
    ----------
    log_wealth_ : ndarray of shape (n_answers,)
        The evidence for a larger risk after each answer; rows that are refused are left out,
        also where ``alarm_row_`` is counted.
    risk_ : float
        The risk that is watched.
    n_answered_, n_errors_ : int
        Answers so far, and the wrong ones.
    risk_interval_ : tuple of float
        Bounds on the risk, which hold after every row at once with probability
        ``1 - alpha`` where it does not change (Robbins, 1970).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood import RiskMonitor, SelectiveClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = SelectiveClassifier(LogisticRegression(C=0.1), risk=0.05, random_state=0)
    >>> model = model.fit(X[:1200] / 16, y[:1200])
    >>> monitor = RiskMonitor(FrozenEstimator(model)).fit(X[1200:] / 16, y[1200:])
    >>> monitor.partial_fit(X[1200:] / 16, y[1200:]).alarm_
    False
    """

    risk: Share | None = None

    risk_: float = fitted()
    n_answered_: int = fitted()
    n_errors_: int = fitted()

    _n_bets = len(_martingale.ODDS)
    __metadata_request__partial_fit: ClassVar = {"groups": UNUSED}  # nothing is routed here

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the estimator, unless it is frozen; none of these rows is judged.

        A ValueError where no risk is given, and the estimator promises none.
        """
        _response.check_classifier(self.estimator)
        X, y, rows = self._checked(X, y)
        self.estimator_ = fitted_beside(self.estimator, ~rows, ~rows, X=X, y=y)
        promises = getattr(_response.unwrap(self.estimator_)[0], "guarantee_", {}).values()
        risks = [each.limit for each in promises if each.quantity == "risk"]
        if self.risk is None and not risks:
            raise ValueError(
                "Got risk=None, but the estimator promises no risk itself; pass risk=, or a "
                "SelectiveClassifier with a risk."
            )
        # The largest decides; what holds for each class does for all.
        self.risk_ = float(max(risks) if self.risk is None else self.risk)
        self._restart()
        return self

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None
    ) -> Self:
        """Judge the answers to further rows, in order; the first call of all is ``fit``.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples,)
            Their labels. An answer to a label that the classifier was not taught is wrong.
        groups : array-like of shape (n_samples,), default=None
            For what promises the risk of each group.
        """
        if not self.__sklearn_is_fitted__():
            return self.fit(X, y)
        X, y = indexable(X, as_native(y))
        answers, accepted = _response.answers_and_accepted(self.estimator_, X, groups)
        labels = labels_for(self.estimator_, y, len(answers))
        errors = differs(labels, answers)[accepted]
        self.n_answered_ += len(errors)
        self.n_errors_ += int(errors.sum())
        self._bet(_martingale.log_error_bets(errors, self.risk_))
        return self

    @property
    def risk_interval_(self) -> tuple[float, float]:
        """Bounds on the risk."""
        check_is_fitted(self)
        return _martingale.confidence_sequence(self.n_errors_, self.n_answered_, self.alpha)

    def _restart(self):
        super()._restart()
        self.n_answered_ = self.n_errors_ = 0
