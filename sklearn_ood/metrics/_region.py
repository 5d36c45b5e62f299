"""Where in the plane of two features a classifier answers, and what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import _safe_indexing

from sklearn_ood._parameters import Count, check_arguments
from sklearn_ood._plotting import axes_and_figure, pyplot
from sklearn_ood._response import answers_and_accepted, classes_of
from sklearn_ood.data._labels import codes_in

MARGIN = 0.1  # of the range of each feature, around it
ANSWERED, REFUSED = 0.5, 0.08  # opacity


@dataclass(kw_only=True, eq=False, repr=False)
class AcceptedRegionDisplay:
    """The region of two features in which a classifier answers, coloured by its answers.

    As scikit-learn's ``DecisionBoundaryDisplay``, which takes every answer for a class, for
    what may refuse.

    Parameters
    ----------
    first, second : ndarray of shape (n_points,)
        Values of the two features, rising.
    answers, accepted : ndarray of shape (n_points, n_points)
        Codes of what is answered, and where it is, the second feature along the lines.
    classes : ndarray of shape (n_classes,)
    names : list of str
        Of the two features.

    Attributes
    ----------
    ax_, figure_, im_, contour_ : matplotlib Axes, Figure, AxesImage and contour set
        The answers, faint where they are refused, and the border of the accepted region; None
        where all is answered, or nothing.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn_ood import SelectiveClassifier
    >>> from sklearn_ood.metrics import AcceptedRegionDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = SelectiveClassifier(GaussianNB(), coverage=0.8, random_state=0).fit(X, y)
    >>> features = ["petal length (cm)", "petal width (cm)"]
    >>> display = AcceptedRegionDisplay.from_estimator(model, X, features=features)
    >>> display.ax_.get_xlabel(), bool(display.accepted.all())
    ('petal length (cm)', False)
    """

    first: NDArray
    second: NDArray
    answers: NDArray
    accepted: NDArray
    classes: NDArray
    names: list[str]

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        features: Sequence[int | str] = (0, 1),
        row: int = 0,
        group: Any = None,
        n_points: Count = 100,
        **kwargs: Any,
    ) -> Self:
        """Ask a fitted classifier on a grid of points.

        Parameters
        ----------
        estimator : classifier
            Usually a :class:`SelectiveClassifier`, also inside of a pipeline or a search.
        X : array-like of shape (n_samples, n_features)
            Rows whose range of the two features is drawn.
        features : pair of int or str, default=(0, 1)
            The two, as positions or as names of a frame's columns: numbers, or a ValueError.
        row : int, default=0
            The other features are those of this row of X.
        group : label, default=None
            The group of all points, for ``guarantee_for="group"``.
        n_points : int, default=100
            Of each feature.
        **kwargs
            Passed to :meth:`plot`.
        """
        check_arguments(cls.from_estimator, {"n_points": n_points})
        X = X if hasattr(X, "columns") else np.asarray(X)
        pair = _two_columns(X, features)
        first, second = (_axis(X, each, n_points) for each in pair)
        grid = np.column_stack([each.ravel() for each in np.meshgrid(first, second)])
        points = _safe_indexing(X, np.full(n_points**2, row))
        has_names = hasattr(points, "columns")
        if hasattr(points, "with_columns"):  # polars
            points = points.with_columns(**dict(zip(pair, grid.T, strict=True)))
        elif has_names:
            points = points.reset_index(drop=True)
            points[pair] = grid
        else:
            points = points.astype(np.result_type(points, np.float64), copy=True)
            points[:, pair] = grid
        groups = None if group is None else np.full(len(points), group)
        answers, accepted = answers_and_accepted(estimator, points, groups)
        classes, shape = classes_of(estimator), (n_points, n_points)
        return cls(
            first=first,
            second=second,
            answers=codes_in(classes, answers).reshape(shape),
            accepted=accepted.reshape(shape),
            classes=classes,
            names=[f"{each}" if has_names else f"Feature {each}" for each in pair],
        ).plot(**kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw answers and the border of the accepted region.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.
        **kwargs
            Passed to matplotlib's ``imshow``.
        """
        self.ax_, self.figure_ = axes_and_figure(ax)
        colors = pyplot().get_cmap("tab10")(np.arange(len(self.classes)) % 10)
        image = colors[self.answers]
        image[..., 3] = np.where(self.accepted, ANSWERED, REFUSED)
        ends = *self.first[[0, -1]], *self.second[[0, -1]]
        style = {"extent": ends, "origin": "lower", "aspect": "auto"}
        style["interpolation"] = "nearest"
        self.im_ = self.ax_.imshow(image, **(style | kwargs))
        self.contour_ = None
        if self.accepted.any() and not self.accepted.all():
            self.contour_ = self.ax_.contour(
                self.first, self.second, self.accepted, [0.5], colors="black", linewidths=1
            )
        for name, color in zip(self.classes.tolist(), colors, strict=True):
            self.ax_.scatter([], [], marker="s", color=color, alpha=ANSWERED, label=str(name))
        self.ax_.set(xlabel=self.names[0], ylabel=self.names[1])
        self.ax_.legend(title="Answer")
        return self


def _two_columns(X, features):
    """The two columns, by the names of a frame or as positions in an array."""
    columns = list(X.columns) if hasattr(X, "columns") else list(range(X.shape[-1]))
    found = [
        each if each in columns else columns[each] if each in range(len(columns)) else None
        for each in features
    ]
    if len(found) != 2 or None in found or len(X.shape) != 2:
        raise ValueError(
            f"Got features={features!r}, but expected two of the columns {columns[:20]}, by "
            "position or, of a frame, by name."
        )
    return found


def _axis(X, column, n_points):
    """Values of one feature, a little beyond those that there are."""
    values = np.asarray(X[column] if hasattr(X, "columns") else X[:, column])
    if values.dtype.kind not in "biuf" or not np.isfinite(values).any():
        raise ValueError(
            f"Got the feature {column!r} of type {values.dtype}, but expected one of numbers, "
            "of which some are finite."
        )
    values = values[np.isfinite(values)].astype(np.float64)
    low, high = values.min(), values.max()
    margin = MARGIN * (high - low or 1.0)
    return np.linspace(low - margin, high + margin, n_points)
