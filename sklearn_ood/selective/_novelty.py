from __future__ import annotations

import warnings
from dataclasses import field
from functools import partial
from numbers import Real
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._parameters import Estimator, Parameterized, RandomState, fitted, forget
from sklearn_ood._response import LARGEST, is_frozen, known_of, unwrap
from sklearn_ood.base import Router, ScoreWrapper, fitted_beside, random_part
from sklearn_ood.data import _blocks
from sklearn_ood.selective._guarantees import warn_of_company
from sklearn_ood.selective._thresholds import checked_weights, coverage_threshold

# With contamination="auto": the share of the rows held out, and the share of them refused,
# which takes so many of them.
HELD_OUT = 0.2
REFUSED = 0.05
FEWEST = round(1 / REFUSED) - 1


class NoveltyDetector(Router, ScoreWrapper, OutlierMixin, Parameterized):
    """Any estimator with a score as one of scikit-learn's outlier detectors.

    ``predict`` gives +1 for inliers and -1 for outliers; ``decision_function`` is
    ``score_samples - offset_``, negative for outliers.

    Parameters
    ----------
    estimator : estimator
        Anything with ``score_samples``; a classifier with ``predict_proba`` or
        ``decision_function``; a detector of scikit-learn (``OutlierMixin``) or of PyOD, whose
        sign is turned: a classifier of this package, a density, a pipeline. A
        ``sklearn.frozen.FrozenEstimator``, or a pipeline of them, is not fitted again: all
        rows given to ``fit`` place ``offset_``.
    contamination : "auto" or float in (0, 0.5], default="auto"
        A number: the share of the training rows that lies below ``offset_``. "auto": a fifth
        of the rows, at least 19 or else half of them, is drawn at random and held out of
        training (of fewer than 20 rows none), and ``offset_`` is their 5 % quantile, placed so
        that one in twenty new inliers is refused on average (of fewer than 38 rows more are);
        prefer it for methods that remember their training rows, such as nearest neighbours.
        Known outliers count for neither. A :class:`CombinedClassifier` has calibrated itself:
        ``contamination`` (0.05 for "auto") is then the level of its p-value, the largest share
        of new inliers that is refused, at least ``1 / (n_calibration_ + 1)``.

    Attributes
    ----------
    offset_ : float
        The score at which an inlier becomes an outlier.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KernelDensity
    >>> from sklearn_ood import NoveltyDetector
    >>> X = np.random.RandomState(0).normal(size=(200, 2))
    >>> detector = NoveltyDetector(KernelDensity(), random_state=0).fit(X)
    >>> detector.predict([[0.0, 0.0], [9.0, 9.0]]).tolist()
    [1, -1]
    """

    estimator: Estimator = field(kw_only=False)
    contamination: (
        Literal["auto"] | Annotated[float, Interval(Real, 0, 0.5, closed="right")]
    ) = "auto"
    random_state: RandomState = None

    __metadata_request__fit: ClassVar = {"sample_weight": None}

    estimator_: BaseEstimator = fitted()
    offset_: float = fitted()

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, **params: Any) -> Self:
        """Fit the estimator and place ``offset_``.

        It is an error if y is None and needed, ``contamination`` is a level that the p-values
        of a :class:`CombinedClassifier` cannot reach, or nothing takes the weights: a frozen
        one is calibrated.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples,), default=None
            Labels, for an estimator that learns from them. Rows with an ``ood_label`` that is
            set inside are known outliers; so are those of -1, where y has only 1 and -1 as
            scikit-learn's outlier detectors say it, and the estimator needs no labels; and
            those of a class that a frozen classifier was not taught.
        **params : dict of str to array-like
            ``sample_weight``: how often there are such rows among new ones; the rows that place
            ``offset_`` count by it, and what is trained gets it, which must take it or be
            frozen. Where scikit-learn routes metadata, what is inside gets what it asks for.
        """
        forget(self)
        self._validate_params()
        X, y = self._rows_and_labels(X, y)
        own, inside = self._route(**params)
        weight = checked_weights(own.get("sample_weight"), _blocks.n_rows(X))
        outlier, held_out = self._known_outliers(X, y), self._hold_out(_blocks.n_rows(X))
        masks, given = (held_out, outlier), inside["estimator"]
        self.estimator_ = fitted_beside(self.estimator, *masks, X=X, y=y, **given)
        self.offset_ = self._place_offset(X, held_out, outlier, weight)
        return self

    def fit_predict(self, X: ArrayLike, y: ArrayLike | None = None, **params: Any) -> NDArray:
        return self.fit(X, y, **params).predict(X)

    @_blocks.block_by_block
    def predict(self, X: ArrayLike) -> NDArray:
        """+1 for inliers, -1 for outliers, (n_samples,)."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    @_blocks.block_by_block
    def decision_function(self, X: ArrayLike) -> NDArray:
        """``score_samples(X) - offset_``: negative for outliers."""
        return self.score_samples(X) - self.offset_

    @_blocks.block_by_block
    def score_samples(self, X: ArrayLike) -> NDArray:
        """The estimator's score, (n_samples,): higher is more in-distribution."""
        check_is_fitted(self)
        return known_of(self.estimator_, X)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "offset_")

    def _hold_out(self, n_rows):
        """Mask of rows to place the offset on that train nothing."""
        calibrated = hasattr(unwrap(self.estimator)[0], "p_values") or is_frozen(self.estimator)
        if calibrated or self.contamination != "auto" or n_rows < 1 / REFUSED:
            return np.zeros(n_rows, dtype=bool)
        share = max(HELD_OUT, min(FEWEST / n_rows, 0.5))
        return random_part(n_rows, share, self.random_state, parameter="contamination")

    def _warn_of_rows_by_heart(self, scores, share):
        """Warn where so many training rows have the best score that new ones have less."""
        if len(scores) > 1 and np.mean(scores == scores.max()) > max(1 - share, 0.5):
            warnings.warn(
                f"Got contamination={self.contamination!r}, but most training rows have the "
                f"best score that {type(self.estimator).__name__} gives, as methods do that "
                "remember these rows: nearly every new row would be refused; pass "
                "contamination='auto', which holds rows out where there are 20 or more.",
                stacklevel=4,
            )

    def _place_offset(self, X, held_out, outlier, weight):
        share = REFUSED if self.contamination == "auto" else self.contamination
        inner = unwrap(self.estimator_)[0]
        if hasattr(inner, "p_values"):
            return float(np.log(self._level(inner, share, weight)))
        placing = held_out & ~outlier if (held_out & ~outlier).any() else ~outlier
        rows = X if placing.all() else _blocks.take_rows(X, placing)
        ask = partial(known_of, self.estimator_)
        scores = _blocks.in_blocks(ask, rows)
        warn_of_company(self.estimator_, rows, scores, ask)
        if not held_out.any() and not is_frozen(self.estimator):
            self._warn_of_rows_by_heart(scores, share)
        weight = None if weight is None else weight[placing]
        offset = _quantile(scores, share, weight, of_new=self.contamination == "auto")
        if offset <= -LARGEST:
            warnings.warn(
                f"Got the least score there is, -inf, for {share:.0%} of the rows or more from "
                f"{type(inner).__name__}, so that no row is refused; take one whose scores "
                "reach farther, such as a density of a larger bandwidth.",
                stacklevel=3,
            )
        return offset

    def _level(self, calibrated, share, weight):
        """That of the p-values of what has calibrated itself, where they reach it."""
        name, n_rows = type(calibrated).__name__, calibrated.n_calibration_
        if weight is not None and is_frozen(self.estimator):
            raise TypeError(
                f"Got sample_weight, but {name} has calibrated its p-values itself, without "
                "weights; fit it with them, or with calibration_weight, and freeze it."
            )
        least = 1 / (n_rows + 1)
        if share < least and self.contamination != "auto":
            raise ValueError(
                f"Got contamination={share!r}, but no p-value of {name} is below {least:.3g}, "
                f"from {n_rows} calibration rows; pass that or more, or give more rows."
            )
        return max(share, least)


def _quantile(scores, share, weight, *, of_new):
    """Where such a share of the scores lies below, or of those of new rows on average."""
    if weight is None:
        return float(np.quantile(scores, share, method="weibull" if of_new else "linear"))
    if of_new:  # a new row may weigh as much as any
        scores, weight = np.append(scores, scores.min()), np.append(weight, 1.0)
    return coverage_threshold(scores, None, weight, 1 - share)
