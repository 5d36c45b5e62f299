"""How easily inputs can be made that a classifier takes, with confidence, for a given class."""

from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Annotated, Literal

import numpy as np
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._parameters import Count, Positive, RandomState, check_arguments
from sklearn_ood._plotting import axes_and_figure
from sklearn_ood._response import confidence_of
from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.inspection._searches import (
    EvolutionSearch,
    FoolingGenerator,
    GradientSearch,
    Search,
)


@dataclass(frozen=True, repr=False)
class FoolingResult:
    """Outcome of :func:`fooling_rate`, one entry for each trial.

    Attributes
    ----------
    rows : ndarray of shape (n_trials, n_features), float32
        The last input of each trial: where it fooled, the input that did.
    targets : ndarray of shape (n_trials,)
        The class that the trial aimed at.
    fooled : ndarray of shape (n_trials,), bool
    updates : ndarray of shape (n_trials,), int
        Updates made before the trial fooled, or before it was given up.
    input_shape : tuple of int
        Shape of one input.
    """

    rows: np.ndarray
    targets: np.ndarray
    fooled: np.ndarray
    updates: np.ndarray
    input_shape: tuple

    @property
    def rate(self):
        """Share of the trials that fooled, in [0, 1]."""
        return float(self.fooled.mean())

    @property
    def mean_updates(self):
        """Mean updates of the trials that fooled; NaN where none did."""
        return float(self.updates[self.fooled].mean()) if self.fooled.any() else float("nan")

    @property
    def images(self):
        """``rows`` in the shape of the inputs."""
        return self.rows.reshape(-1, *self.input_shape)

    def __repr__(self):
        return (
            f"FoolingResult(rate={self.rate:.3f}, mean_updates={self.mean_updates:.1f}, "
            f"n_trials={len(self.fooled)})"
        )


def fooling_rate(
    estimator,
    *,
    threshold,
    target: Literal["unscaled", "scaled"] = "unscaled",
    method: Literal["auto", "gradient", "evolution"] = "auto",
    bounds=(0.0, 1.0),
    n_trials: Count = 20,
    max_updates: Count = 10_000,
    lr: Positive = 1e-5,
    n_offspring: Annotated[int, Interval(Integral, 2, None, closed="left")] = 16,
    random_state: RandomState = None,
):
    """How often a search finds an input that the classifier accepts as a given class.

    For every class, ``n_trials`` searches from random starts look for an input that is
    predicted as the class with a confidence of at least ``threshold``. The trials of all
    classes are one batch, and those that have fooled drop out of it.

    Parameters
    ----------
    estimator : classifier
        Fitted. Its confidence is ``score_samples`` or else the largest ``predict_proba``.
    threshold : float
        In the unit of the confidence: for :class:`~sklearn_ood.SoftmaxClassifier`,
        :class:`~sklearn_ood.COOLClassifier` and :class:`~sklearn_ood.DAEConfidence` a
        logarithm, such as ``np.log(0.9)``.
    target : {"unscaled", "scaled"}, default="unscaled"
        What the search makes large: the class's output alone, as in [1]_ and [2]_, or the
        output that the confidence is computed from, such as log c(x) + log p(x).
    method : {"auto", "gradient", "evolution"}, default="auto"
        "gradient" trains a :class:`FoolingGenerator` for each trial through the network of
        one of our classifiers. "evolution" needs ``predict_proba`` only: a separable CMA
        evolution strategy for each trial. "auto" is "gradient" where it can be.
    bounds : tuple (low, high) of float or array of shape (n_features,), default=(0.0, 1.0)
        Range of the features that the search may use.
    n_trials : int, default=20
        Trials for each class.
    max_updates : int, default=10000
        Updates, or generations, after which a trial is given up.
    lr : float, default=1e-5
        Learning rate of "gradient".
    n_offspring : int >= 2, default=16
        Candidates in each generation of "evolution".
    random_state : int, RandomState or None, default=None
        Seed of the starts and of "evolution".

    Returns
    -------
    FoolingResult
        With ``rate``, ``mean_updates``, ``images`` and the outcome of each trial.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    TypeError
        If the estimator lacks what the method needs.

    References
    ----------
    .. [1] N. Kardan and K. O. Stanley, "Mitigating fooling with competitive overcomplete
       output layer neural networks", IJCNN 2017.
    .. [2] G. Spigler, "Denoising autoencoders for overgeneralization in neural networks",
       IEEE TPAMI 2020, section IV-B.

    Examples
    --------
    A linear classifier is sure of whatever is far enough out; within the range of the data
    it is not:

    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood.inspection._fooling import fooling_rate
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> classifier = LogisticRegression().fit(X, X[:, 0] > 0)
    >>> wide = fooling_rate(classifier, threshold=0.999, bounds=(-9, 9), random_state=0)
    >>> narrow = fooling_rate(
    ...     classifier, threshold=0.999, bounds=(-1, 1), max_updates=50, random_state=0
    ... )
    >>> wide.rate, narrow.rate
    (1.0, 0.0)
    """
    check_arguments(fooling_rate, locals())
    check_is_fitted(estimator)
    _check_bounds(bounds)
    if method == "auto":
        method = "gradient" if hasattr(estimator, "scored_network_") else "evolution"
    _check_estimator(estimator, method)
    classes = np.repeat(np.arange(len(estimator.classes_)), n_trials)
    size, scaled = (len(classes), int(estimator.n_features_in_)), target == "scaled"
    common = {"bounds": bounds, "random_state": check_random_state(random_state)}
    search: Search
    if method == "gradient":
        generator = FoolingGenerator(*size, lr=lr, **common)
        search = GradientSearch(
            estimator, classes, generator, scaled=scaled, threshold=threshold
        )
    else:
        search = EvolutionSearch(
            estimator, classes, scaled=scaled, n_offspring=n_offspring, **common
        )
    rows, fooled, updates = _run(search, size, threshold, max_updates)
    shape = tuple(getattr(estimator, "input_shape_", size[1:]))
    return FoolingResult(rows, estimator.classes_[classes], fooled, updates, shape)


def fooling_rate_on(estimator, X, *, coverage=0.95, n_trials=5, max_updates=100, **parameters):
    """The fooling rate of any classifier, at the threshold that accepts rows like X.

    Parameters
    ----------
    estimator : classifier
        Fitted, with ``predict_proba``.
    X : array-like of shape (n_samples, n_features)
        In-distribution rows: their ranges bound the search.
    coverage : float in (0, 1), default=0.95
        Share of the rows of X that the threshold accepts.
    n_trials, max_updates : int
        As in :func:`fooling_rate`.
    **parameters
        Further parameters of :func:`fooling_rate`; by default the confidence itself is
        attacked, without gradients.

    Returns
    -------
    float
        In [0, 1], lower is better.
    """
    confidence = confidence_of(estimator, X)
    rows = np.asarray(X, dtype=np.float64).reshape(len(confidence), -1)
    parameters = {"target": "scaled", "method": "evolution", "random_state": 0} | parameters
    return fooling_rate(
        estimator,
        threshold=float(np.quantile(confidence, 1 - coverage)),
        bounds=(rows.min(axis=0), rows.max(axis=0)),
        n_trials=n_trials,
        max_updates=max_updates,
        **parameters,
    ).rate


def fooling_scorer(**parameters):
    """A scorer for searches and cross-validation: minus the rate of :func:`fooling_rate_on`.

    Rows of classes that the estimator was not taught bound no search.

    Parameters
    ----------
    **parameters
        Of :func:`fooling_rate_on`.

    Returns
    -------
    callable
        Maps ``(estimator, X, y)`` to a number in [-1, 0], higher is better.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn_ood.inspection import fooling_scorer
    >>> scorer = fooling_scorer(n_trials=2, max_updates=30)
    >>> classifier = LogisticRegression(max_iter=500)
    >>> cross_val_score(classifier, *load_iris(return_X_y=True), scoring=scorer, cv=2).shape
    (2,)
    """
    return partial(_minus_rate, parameters)


class FoolingDisplay:
    """The inputs that a search has found, a column for each class.

    Parameters
    ----------
    result : FoolingResult
        Of images.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(self, result):
        self.result = result

    def plot(self, ax=None, *, n_rows=3):
        """Draw up to ``n_rows`` images of each class; those that fooled come first.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.
        n_rows : int, default=3

        Returns
        -------
        FoolingDisplay

        Raises
        ------
        ValueError
            If the inputs are no images.
        """
        if len(self.result.input_shape) != 3:
            raise ValueError(
                f"Got inputs of shape {self.result.input_shape}, but expected images "
                "(C, H, W); rows of a table are best read as numbers, from result.rows."
            )
        self.ax_, self.figure_ = axes_and_figure(ax)
        ax = self.ax_
        n_channels, height, width = self.result.input_shape
        labels = np.unique(self.result.targets)
        canvas = np.zeros((n_rows * height, len(labels) * width, n_channels))
        for column, label in enumerate(labels):
            trials = np.flatnonzero(self.result.targets == label)
            trials = trials[np.argsort(~self.result.fooled[trials], kind="stable")][:n_rows]
            for row, image in enumerate(self.result.images[trials]):
                place = np.s_[row * height : (row + 1) * height]
                canvas[place, column * width : (column + 1) * width] = image.transpose(1, 2, 0)
        ax.imshow(canvas.squeeze(), cmap="gray", vmin=canvas.min(), vmax=canvas.max())
        ax.set_xticks((np.arange(len(labels)) + 0.5) * width, labels)
        ax.set_yticks([])
        ax.set_xlabel("Class aimed at")
        return self


def _run(search, size, threshold, max_updates):
    """Update the trials until they fool: their rows, whether they did, and when."""
    rows = np.zeros(size, dtype=np.float32)
    fooled, updates = np.zeros(len(rows), dtype=bool), np.full(len(rows), max_updates)
    active = np.arange(len(rows))
    for update in range(max_updates + 1):
        done = search.confidence() >= threshold
        if done.any() or update == max_updates:
            rows[active] = search.rows()
        if done.any():
            fooled[active[done]], updates[active[done]] = True, update
            active = active[~done]
            search.keep(~done)
        if not len(active) or update == max_updates:
            break
        search.update()
    return rows, fooled, updates


def _minus_rate(parameters, estimator, X, y):
    """Minus the fooling rate, with the rows of taught classes for bounds."""
    known = np.flatnonzero(codes_in(estimator.classes_, y) != OUTLIER)
    return -fooling_rate_on(estimator, _safe_indexing(X, known), **parameters)


def _check_estimator(estimator, method):
    """Raise where the estimator lacks what the method needs."""
    if not hasattr(estimator, "n_features_in_"):
        raise TypeError(
            f"Got estimator={estimator!r} without n_features_in_, but the search needs to know "
            "how many features an input has; fit the classifier on an array."
        )
    if method == "gradient" and not hasattr(estimator, "scored_network_"):
        raise TypeError(
            f"Got method='gradient' for {type(estimator).__name__}, whose outputs have no "
            "gradient; use method='evolution'."
        )
    if method == "evolution" and not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"Got estimator={estimator!r}, which has no predict_proba to search with; wrap it "
            "in CalibratedClassifierCV."
        )


def _check_bounds(bounds):
    """Raise unless these are finite and in order."""
    low, high = (np.asarray(bound, dtype=np.float64) for bound in bounds)
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        raise ValueError(
            f"Got bounds={bounds!r}, but expected finite (low, high), low <= high."
        )
