from __future__ import annotations

from dataclasses import field
from functools import partial
from numbers import Real
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import get_tags, indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _num_samples, check_is_fitted

from sklearn_ood._parameters import Estimator, Parameterized, RandomState, fitted, inherits
from sklearn_ood._response import is_frozen, known_of, unwrap
from sklearn_ood.base import Wrapper, fitted_on
from sklearn_ood.data._blocks import block_by_block, in_blocks
from sklearn_ood.data._labels import hold_out_each_class
from sklearn_ood.data._rows import as_native, forget

# With contamination="auto": the share of the rows held out, and the share of them refused.
HELD_OUT = 0.2
REFUSED = 0.05


class NoveltyDetector(Wrapper, OutlierMixin, Parameterized):
    """Any estimator with a score as one of scikit-learn's outlier detectors.

    ``predict`` gives +1 for inliers and -1 for outliers; ``decision_function`` is
    ``score_samples - offset_``, negative for outliers.

    Parameters
    ----------
    estimator : estimator
        Anything with ``score_samples`` (or ``predict_proba`` or ``decision_function``): a
        classifier of this package, a density, a pipeline. A ``sklearn.frozen.FrozenEstimator``,
        or a pipeline of them, is not fitted again: all rows given to ``fit`` place ``offset_``.
    contamination : "auto" or float in (0, 0.5], default="auto"
        A number: the share of the training rows that lies below ``offset_``. "auto": a fifth
        of the rows is held out of training, and ``offset_`` is their 5 % quantile, so that
        about one in twenty new inliers is refused; prefer it for methods that remember their
        training rows, such as nearest neighbours. A :class:`CombinedClassifier` has calibrated
        itself: ``contamination`` (0.05 for "auto") is then the level of its p-value, the
        largest share of new inliers that is refused.
    random_state : int, RandomState or None, default=None
        Chooses the rows held out by "auto".

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
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

    estimator_: BaseEstimator = fitted()
    offset_: float = fitted()

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit the estimator and place ``offset_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples,), default=None
            Labels, where the estimator needs them.

        Returns
        -------
        self
        """
        forget(self)
        self._validate_params()
        X, y = indexable(X, as_native(y))
        if y is None and get_tags(self).target_tags.required:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed where its estimator "
                f"({type(self.estimator).__name__}) does, but the target y is None; pass "
                "the labels, or use an estimator that needs none."
            )
        held_out = self._hold_out(X, y)
        self.estimator_ = fitted_on(self.estimator, X, y, ~held_out)
        self.offset_ = self._place_offset(X, held_out)
        return self

    @inherits(fit)
    def fit_predict(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray:
        """Fit, and say of the training rows themselves which are outliers.

        Returns
        -------
        ndarray of shape (n_samples,)
            +1 for inliers, -1 for outliers.
        """
        return self.fit(X, y).predict(X)

    @block_by_block
    def predict(self, X: ArrayLike) -> NDArray:
        """+1 for inliers, -1 for outliers.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    @block_by_block
    def decision_function(self, X: ArrayLike) -> NDArray:
        """``score_samples(X) - offset_``: negative for outliers.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self.score_samples(X) - self.offset_

    @block_by_block
    def score_samples(self, X: ArrayLike) -> NDArray:
        """The estimator's score: higher is more in-distribution.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return known_of(self.estimator_, X)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "offset_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        required = get_tags(self.estimator).target_tags.required
        tags.target_tags.required = required and not is_frozen(self.estimator)
        return tags

    def _hold_out(self, X, y):
        """Mask of rows to place the offset on that train nothing."""
        n_rows = _num_samples(X)
        calibrated = hasattr(unwrap(self.estimator)[0], "p_values") or is_frozen(self.estimator)
        if calibrated or self.contamination != "auto" or n_rows < 1 / REFUSED:
            return np.zeros(n_rows, dtype=bool)
        labels = np.zeros(n_rows) if y is None else np.asarray(y)
        strata = np.unique(labels, return_inverse=True)[1]
        return hold_out_each_class(strata, HELD_OUT, self.random_state)

    def _place_offset(self, X, held_out):
        share = REFUSED if self.contamination == "auto" else self.contamination
        if hasattr(unwrap(self.estimator_)[0], "p_values"):
            return float(np.log(share))
        scores = in_blocks(partial(known_of, self.estimator_), X)
        return float(np.quantile(scores[held_out] if held_out.any() else scores, share))
