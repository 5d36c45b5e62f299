"""How easily inputs can be made that a classifier takes, with confidence, for a given class."""

from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Annotated, Literal, Self

import numpy as np
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._parameters import Count, Positive, RandomState, Share, check_arguments
from sklearn_ood._plotting import axes_and_figure
from sklearn_ood._response import confidence_of
from sklearn_ood.data._blocks import mapped_images
from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.data._rows import as_native
from sklearn_ood.inspection._searches import EvolutionSearch, GradientSearch
from sklearn_ood.search._constraints import ColumnConstraints


@dataclass(frozen=True, repr=False)
class FoolingResult:
    """Outcome of :func:`fooling_rate`, one entry for each trial.

    Attributes
    ----------
    rows : ndarray of shape (n_trials, n_features), float32
        Inputs at the end; where a trial fooled, the one that did.
    targets, fooled, updates : ndarray of shape (n_trials,)
        Classes aimed at, whether they were reached, and the updates until that, or the end.
    input_shape : tuple of int
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
    threshold: Annotated[float, Interval(Real, None, None, closed="both")],
    target: Literal["unscaled", "scaled"] = "unscaled",
    method: Literal["auto", "gradient", "evolution"] = "auto",
    bounds=(0.0, 1.0),
    constraints: dict | None = None,
    n_trials: Count = 20,
    max_updates: Count = 10_000,
    lr: Positive = 1e-5,
    n_offspring: Annotated[int, Interval(Integral, 2, None, closed="left")] = 16,
    random_state: RandomState = None,
) -> FoolingResult:
    """How often a search finds an input that the classifier accepts as a given class.

    For every class, searches from random starts look for an input that is predicted as the
    class with a confidence of at least ``threshold``; all trials are one batch (N. Kardan and
    K. O. Stanley, "Mitigating fooling with competitive overcomplete output layer neural
    networks", IJCNN 2017; G. Spigler, "Denoising autoencoders for overgeneralization in neural
    networks", IEEE TPAMI 2020, section IV-B).

    Parameters
    ----------
    estimator : classifier
        Fitted. Its confidence is ``confidence`` or ``score_samples``, else the largest
        ``predict_proba``.
    threshold : float
        In the unit of the confidence: for most of our classifiers a logarithm, such as
        ``np.log(0.9)``.
    target : {"unscaled", "scaled"}, default="unscaled"
        What the search makes large: the probability of the class, as in the papers, of
        COOL that of all its units together; or the class's evidence, which the confidence is
        computed from, such as log c(x) + log p(x), of COOL the units' agreement.
    method : {"auto", "gradient", "evolution"}, default="auto"
        "gradient" trains a generator for each trial through the network of one of our
        classifiers. "evolution" needs ``predict_proba`` only: a separable CMA evolution
        strategy for each trial. "auto" is "gradient" where it can be.
    bounds : tuple (low, high) of float or array of shape (n_features,), default=(0.0, 1.0)
        Range of the features.
    constraints : dict, default=None
        What the inputs keep to, as for :class:`~sklearn_ood.GeValDi`.
    n_trials : int, default=20
        For each class.
    max_updates : int, default=10000
        Updates, or generations, after which a trial is given up.
    lr : float, default=1e-5
        Learning rate of "gradient".
    n_offspring : int >= 2, default=16
        Candidates in each generation of "evolution".
    random_state : int, RandomState or None, default=None

    Examples
    --------
    A linear classifier is sure of whatever is far enough out:

    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood.inspection import fooling_rate
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> classifier = LogisticRegression().fit(X, X[:, 0] > 0)
    >>> search = {"threshold": 0.999, "max_updates": 50, "random_state": 0}
    >>> [fooling_rate(classifier, bounds=(-far, far), **search).rate for far in (1, 9)]
    [0.0, 1.0]
    """
    check_arguments(fooling_rate, locals())
    check_is_fitted(estimator)
    if method == "auto":
        method = "gradient" if hasattr(estimator, "scored_network_") else "evolution"
    _check_estimator(estimator, method)
    classes = np.repeat(np.arange(len(estimator.classes_)), n_trials)
    size, scaled = (len(classes), int(estimator.n_features_in_)), target == "scaled"
    _check_bounds(bounds, size[1])
    names = getattr(estimator, "feature_names_in_", None)
    keep = ColumnConstraints(constraints, size[1], names)
    start = {"bounds": bounds, "keep": keep, "random_state": check_random_state(random_state)}
    search: GradientSearch | EvolutionSearch
    if method == "gradient":
        search = GradientSearch(estimator, classes, scaled, threshold, lr=lr, **start)
    else:
        search = EvolutionSearch(estimator, classes, scaled, n_offspring, **start)
    rows, fooled, updates = _run(search, size, threshold, max_updates)
    shape = tuple(getattr(estimator, "input_shape_", size[1:]))
    return FoolingResult(rows, estimator.classes_[classes], fooled, updates, shape)


def fooling_rate_on(
    estimator, X, *, coverage: Share = 0.95, n_trials=5, max_updates=100, **parameters
):
    """The fooling rate of any classifier, in [0, 1], at the threshold that accepts rows like X.

    Parameters
    ----------
    estimator : classifier
        Fitted, with ``predict_proba``.
    X : array-like of shape (n_samples, n_features)
        In-distribution rows, whose ranges bound the search.
    coverage : float in (0, 1), default=0.95
        Share of the rows of X that is accepted.
    n_trials, max_updates, **parameters
        Of :func:`fooling_rate`; by default the confidence itself is attacked, by evolution.
    """
    check_arguments(fooling_rate_on, {"coverage": coverage})
    X = as_native(mapped_images(X, ())[0])  # no labels are asked for
    confidence = confidence_of(estimator, X)
    try:
        dense = X.toarray() if hasattr(X, "toarray") else X
        rows = np.asarray(dense, dtype=np.float64).reshape(len(confidence), -1)
    except (TypeError, ValueError) as error:
        raise TypeError(
            "Got X whose cells are not all numbers, but a search moves numbers; attack what "
            "comes behind the encoder, with its rows, or a model of the numbers alone."
        ) from error
    settings: dict = {"target": "scaled", "method": "evolution", "random_state": 0}
    settings |= {"n_trials": n_trials, "max_updates": max_updates} | parameters
    limits: dict = {"threshold": float(np.quantile(confidence, 1 - coverage))}
    limits["bounds"] = rows.min(axis=0), rows.max(axis=0)
    return fooling_rate(estimator, **limits, **settings).rate


def fooling_scorer(**parameters):
    """A scorer for searches and cross-validation: minus :func:`fooling_rate_on`, by parameters.

    Rows of classes that the estimator was not taught bound no search.
    """
    return partial(_minus_rate, parameters)


class FoolingDisplay:
    """The images of a :class:`FoolingResult`, a column for each class."""

    def __init__(self, result):
        self.result = result

    def plot(self, ax=None, *, n_rows=3) -> Self:
        """Draw up to ``n_rows`` images of each class; those that fooled come first."""
        if len(self.result.input_shape) != 3:
            raise ValueError(
                f"Got inputs of shape {self.result.input_shape}, but expected images "
                "(C, H, W); rows of a table are best read as numbers, from result.rows."
            )
        self.ax_, self.figure_ = axes_and_figure(ax)
        n_channels, height, width = self.result.input_shape
        labels = np.unique(self.result.targets)
        canvas = np.zeros((n_rows, height, len(labels), width, n_channels))
        for column, label in enumerate(labels):
            trials = np.flatnonzero(self.result.targets == label)
            trials = trials[np.argsort(~self.result.fooled[trials], kind="stable")][:n_rows]
            images = self.result.images[trials].transpose(0, 2, 3, 1)
            canvas[: len(trials), :, column] = images
        canvas = canvas.reshape(n_rows * height, -1, n_channels).squeeze()
        ends = [canvas.min(), canvas.max(), *([0, 1] if n_channels > 1 else [])]
        canvas = (canvas - min(ends)) / (max(ends) - min(ends) or 1)
        self.ax_.imshow(canvas, cmap="gray", vmin=0, vmax=1)
        self.ax_.set_xticks((np.arange(len(labels)) + 0.5) * width, labels)
        self.ax_.set(yticks=[], xlabel="Class aimed at")
        return self


def _run(search, size, threshold, max_updates):
    """Update the trials until they fool: their rows, whether they did, and when."""
    rows, active = np.zeros(size, dtype=np.float32), np.arange(len(search.classes))
    fooled, updates = np.zeros(len(rows), dtype=bool), np.full(len(rows), max_updates)
    for update in range(max_updates + 1):
        done = search.confidence() >= threshold
        if done.any() or update == max_updates:
            rows[active], fooled[active] = search.rows(), done
            updates[active[done]] = update
            active = active[~done]
            search.keep(~done)
        if not len(active) or update == max_updates:
            return rows, fooled, updates
        search.update()


def _minus_rate(parameters, estimator, X, y):
    """Minus the fooling rate, with the rows of taught classes for bounds."""
    known = np.flatnonzero(codes_in(estimator.classes_, y) != OUTLIER)
    return -fooling_rate_on(estimator, _safe_indexing(X, known), **parameters)


def _check_estimator(estimator, method):
    remedies = {"n_features_in_": "fit it on an array"}
    if method == "gradient":
        remedies["scored_network_"] = "it has no gradient, so that method='evolution' is left"
    else:
        remedies["predict_proba"] = "wrap it in CalibratedClassifierCV"
    for name, remedy in remedies.items():
        if not hasattr(estimator, name):
            raise TypeError(f"Got estimator={estimator!r}, but it needs {name}; {remedy}.")


def _check_bounds(bounds, n_features):
    """Raise unless these are finite and in order, for each feature."""
    try:
        low, high = (np.broadcast_to(bound, n_features).astype(np.float64) for bound in bounds)
        valid = np.isfinite(high - low).all() and (low <= high).all()
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            f"Got bounds={bounds!r}, but expected finite (low, high), low <= high: numbers, or "
            f"arrays of {n_features} of them."
        )
