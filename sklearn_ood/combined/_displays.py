"""Pictures of why rows look strange: which features say so, and which members."""

from typing import Self

import numpy as np

from sklearn_ood._plotting import new_figure
from sklearn_ood._response import unwrap

DIGIT = np.log(10)
LARGEST_EVIDENCE = 6  # of minus the decimal logarithm: the darkest red


def _combination(estimator, X):
    """The combination inside pipelines and what may refuse, and the rows as it gets them."""
    estimator, rows = unwrap(estimator, X)
    return unwrap(getattr(estimator, "detector_", estimator), rows)


class ExplanationDisplay:
    """Rows, and the features that speak against them: one panel a row.

    Parameters
    ----------
    explanation : Explanation

    Attributes
    ----------
    figure_, axes_ : matplotlib Figure, and Axes of shape (n_rows,)

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import CombinedClassifier, ExplanationDisplay, TableDensity
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = CombinedClassifier(members=[("density", TableDensity())], random_state=0)
    >>> mistyped = X[:1].assign(**{"petal length (cm)": 14.0})
    >>> display = ExplanationDisplay.from_estimator(model.fit(X, y), mistyped, plot=False)
    >>> display.explanation.evidence.idxmax(axis=1).tolist()
    ['petal length (cm)']
    """

    def __init__(self, explanation):
        self.explanation = explanation

    @classmethod
    def from_estimator(cls, estimator, X, *, max_rows=5, max_features=5, plot=True) -> Self:
        """What speaks against some rows, by a fitted combination.

        Parameters
        ----------
        estimator : CombinedClassifier
            Fitted; also inside a pipeline, a search, or what may refuse.
        X : array-like or frame of shape (n_samples, n_features)
            Rows; the first ``max_rows`` are drawn.
        max_rows, max_features : int, default=5
        plot : bool, default=True
            Whether to draw at once.
        """
        combined, rows = _combination(estimator, X[:max_rows])
        display = cls(combined.explain(rows))
        return display.plot(max_features=max_features) if plot else display

    def plot(self, *, max_features=5, figure=None) -> Self:
        """Draw a bar for each of the ``max_features`` that speak most against a row."""
        found = self.explanation
        against = [found.against(i, max_features) for i in range(len(found.rows))]
        heights = [max(len(features), 1) + 2 for features, _ in against]
        self.figure_ = figure = figure or new_figure(7, 0.28 * sum(heights) + 0.6)
        axes = figure.subplots(len(against), squeeze=False, height_ratios=heights)
        self.axes_ = axes[:, 0]
        lines = zip(self.axes_, against, found.summary.itertuples(), strict=True)
        for ax, (features, evidence), line in lines:
            ax.barh(range(len(features)), evidence / DIGIT, height=0.7)
            ax.set_yticks(range(len(features)), features)
            farthest = 1.05 * max(evidence.max(initial=0), 1.0) / DIGIT
            ax.set(xlim=(0, farthest), ylim=(max(len(features), 1) - 0.5, -0.5))
            ax.locator_params("x", nbins=5)
            title = f"{line.Index}: {line.label}, p = {line.p_value:.2g} by {line.member}"
            ax.set_title(title, loc="left", fontsize=10)
            ax.spines[["top", "right"]].set_visible(False)
            if not features:
                ax.text(0, 0, " no single feature", va="center")
        self.axes_[-1].set_xlabel(
            "evidence in decimal digits: p's gain with the value in brackets, and rarity"
        )
        return self


class MemberPValuesDisplay:
    """A table of p-values, darker for smaller: one line a row, one column a member.

    Parameters
    ----------
    p_values : ndarray of shape (n_rows, n_names)
    names, captions : sequence of str
        Of the columns, and of the rows.

    Attributes
    ----------
    figure_, ax_ : matplotlib Figure and Axes

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import CombinedClassifier, MemberPValuesDisplay, TableDensity
    >>> X, y = load_iris(return_X_y=True)
    >>> fitted = CombinedClassifier(members=[("density", TableDensity())]).fit(X, y)
    >>> display = MemberPValuesDisplay.from_estimator(fitted, X[:2], plot=False)
    >>> display.names, display.p_values.shape
    (['density', 'combined'], (2, 2))
    """

    def __init__(self, p_values, *, names, captions):
        self.p_values = p_values
        self.names = names
        self.captions = captions

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, max_rows=10, plot=True) -> Self:
        """P-values of the members and of their combination.

        Parameters
        ----------
        estimator, X, max_rows, plot
            As for :class:`ExplanationDisplay`; images, too.
        y : array-like of shape (n_samples,), default=None
            Their labels, to be written beside the predictions.
        """
        combined, rows = _combination(estimator, X[:max_rows])
        p_values = np.column_stack([combined.member_p_values(rows), combined.p_values(rows)])
        captions = [f"{label}" for label in combined.predict(rows)]
        if y is not None:
            captions = [f"{c} (is {t})" for c, t in zip(captions, y[:max_rows], strict=True)]
        display = cls(p_values, names=[*combined.members_, "combined"], captions=captions)
        return display.plot() if plot else display

    def plot(self, *, ax=None) -> Self:
        """Draw the table, on axes ``ax`` or in a figure of its own."""
        n_rows, n_names = self.p_values.shape
        ax = ax or new_figure(1.2 * n_names + 1.5, 0.35 * n_rows + 0.8).subplots()
        self.ax_, self.figure_ = ax, ax.figure
        evidence = -np.log10(np.maximum(self.p_values, np.finfo(np.float64).tiny))
        ax.imshow(evidence, cmap="Reds", vmin=0, vmax=LARGEST_EVIDENCE, aspect="auto")
        for i, j in np.ndindex(n_rows, n_names):
            color = "white" if evidence[i, j] > 4 else "black"
            text = f"{self.p_values[i, j]:.2g}"
            ax.text(j, i, text, ha="center", va="center", color=color)
        ax.set_xticks(range(n_names), self.names)
        ax.set_yticks(range(n_rows), self.captions)
        ax.xaxis.tick_top()
        return self
