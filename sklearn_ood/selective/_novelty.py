from functools import partial

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils.validation import _num_samples, check_is_fitted

from sklearn_ood._response import confidence_of, unwrap
from sklearn_ood.base import Wrapper
from sklearn_ood.data._blocks import block_by_block, in_blocks, take_rows
from sklearn_ood.data._labels import hold_out_each_class
from sklearn_ood.data._rows import as_native, forget


class NoveltyDetector(Wrapper, OutlierMixin, BaseEstimator):
    """Any estimator with a score as one of scikit-learn's outlier detectors.

    ``predict`` gives +1 for inliers and -1 for outliers; ``decision_function`` is
    ``score_samples - offset_``, negative for outliers.

    Parameters
    ----------
    estimator : estimator
        Anything with ``score_samples`` (or ``predict_proba`` or ``decision_function``): a
        classifier of this package, a density, a pipeline. ``y`` may be left out of ``fit``
        where it works without.
    contamination : "auto" or float in (0, 0.5], default="auto"
        A number: the share of the training rows that lies below ``offset_``. "auto": a fifth
        of the rows is held out of training, and ``offset_`` is their 5 % quantile, so that
        about one in twenty new inliers is refused. Prefer it for methods that remember
        their training rows, such as nearest neighbours. A :class:`CombinedClassifier` has
        calibrated itself on held-out rows: ``contamination`` (0.05 for "auto") is then the
        level of its p-value, the largest share of new inliers that is refused, whatever the
        share of the training rows.
    random_state : int, RandomState or None, default=None
        Chooses the rows held out by "auto".

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    offset_ : float
        The score at which an inlier becomes an outlier.
    n_features_in_, feature_names_in_
        As the estimator has them.

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

    _HELD_OUT = 0.2
    _REFUSED = 0.05

    def __init__(self, estimator, *, contamination="auto", random_state=None):
        self.estimator = estimator
        self.contamination = contamination
        self.random_state = random_state

    def fit(self, X, y=None):
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
        self._check_contamination()
        X, y = indexable(X, as_native(y))
        held_out = self._hold_out(X, y)
        estimator = self._fit_on(X, y, ~held_out)
        self.offset_ = self._place_offset(estimator, X, held_out)
        self.estimator_ = estimator
        return self

    def fit_predict(self, X, y=None):
        """Fit, and say of the training rows themselves which are outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples,), default=None

        Returns
        -------
        ndarray of shape (n_samples,)
            +1 for inliers, -1 for outliers.
        """
        return self.fit(X, y).predict(X)

    @block_by_block
    def predict(self, X):
        """+1 for inliers, -1 for outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    @block_by_block
    def decision_function(self, X):
        """``score_samples(X) - offset_``: negative for outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self.score_samples(X) - self.offset_

    @block_by_block
    def score_samples(self, X):
        """The estimator's score: higher is more in-distribution.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return confidence_of(self.estimator_, X)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = get_tags(self.estimator).target_tags.required
        return tags

    def _check_contamination(self):
        if isinstance(self.contamination, str) and self.contamination == "auto":
            return
        if isinstance(self.contamination, str) or not 0 < self.contamination <= 0.5:
            raise ValueError(
                f"Got contamination={self.contamination!r}, but expected 'auto' or a share in "
                "(0, 0.5]."
            )

    def _hold_out(self, X, y):
        n_rows = _num_samples(X)
        calibrated = hasattr(unwrap(self.estimator)[0], "p_values")
        if calibrated or self.contamination != "auto" or n_rows < 1 / self._REFUSED:
            return np.zeros(n_rows, dtype=bool)
        strata = np.zeros(n_rows, dtype=int)
        if y is not None:
            _, strata = np.unique(np.asarray(y), return_inverse=True)
        return hold_out_each_class(strata, self._HELD_OUT, self.random_state)

    def _fit_on(self, X, y, rows):
        index = np.flatnonzero(rows)
        X = X if rows.all() else take_rows(X, rows)
        if y is None:
            if get_tags(self.estimator).target_tags.required:
                raise ValueError(
                    f"{type(self).__name__} requires y to be passed where its estimator "
                    f"({type(self.estimator).__name__}) does, but the target y is None; pass "
                    "the labels, or use an estimator that needs none."
                )
            return clone(self.estimator).fit(X)
        return clone(self.estimator).fit(X, _safe_indexing(y, index))

    def _place_offset(self, estimator, X, held_out):
        is_auto = self.contamination == "auto"
        share = self._REFUSED if is_auto else self.contamination
        if hasattr(unwrap(estimator)[0], "p_values"):
            return float(np.log(share))
        scores = in_blocks(partial(confidence_of, estimator), X)
        return float(np.quantile(scores[held_out] if held_out.any() else scores, share))
