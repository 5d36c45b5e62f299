"""Which member speaks against which row."""

import numpy as np

from sklearn_ood._plotting import pyplot
from sklearn_ood._response import unwrap

LARGEST_EVIDENCE = 6  # of minus the decimal logarithm: the darkest red


class MemberPValuesDisplay:
    """A table of p-values, darker for smaller: one line a row, one column a member.

    Parameters
    ----------
    p_values : ndarray of shape (n_rows, n_names)
    names : sequence of str of length n_names
    captions : sequence of str of length n_rows

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    """

    def __init__(self, p_values, *, names, captions):
        self.p_values = p_values
        self.names = names
        self.captions = captions

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, max_rows=10, plot=True):
        """P-values of the members and of their combination.

        Parameters
        ----------
        estimator : CombinedClassifier
            Fitted; also inside a pipeline or a search.
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            Rows; the first ``max_rows`` are drawn.
        y : array-like of shape (n_samples,), default=None
            Their labels, to be written beside the predictions.
        max_rows : int, default=10
        plot : bool, default=True
            Whether to draw at once.

        Returns
        -------
        MemberPValuesDisplay

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn_ood import CombinedClassifier, MemberPValuesDisplay, NeighborDistance
        >>> X, y = load_iris(return_X_y=True)
        >>> members = [("confidence", "classifier"), ("near", NeighborDistance())]
        >>> fitted = CombinedClassifier(LogisticRegression(), members).fit(X, y)
        >>> display = MemberPValuesDisplay.from_estimator(fitted, X[:2], plot=False)
        >>> display.names, display.p_values.shape
        (['confidence', 'near', 'combined'], (2, 3))
        """
        combined, rows = unwrap(estimator, X[:max_rows])
        p_values = np.column_stack(
            [combined.member_p_values(rows), np.exp(combined.score_samples(rows))]
        )
        captions = [f"{label}" for label in combined.predict(rows)]
        if y is not None:
            captions = [f"{c} (is {t})" for c, t in zip(captions, y[:max_rows], strict=True)]
        display = cls(p_values, names=[*combined.members_, "combined"], captions=captions)
        return display.plot() if plot else display

    def plot(self, *, ax=None):
        """Draw the table.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; in a figure of its own by default.

        Returns
        -------
        self
        """
        n_rows, n_names = self.p_values.shape
        if ax is None:
            size = (1.2 * n_names + 1.5, 0.35 * n_rows + 0.8)
            ax = pyplot().figure(figsize=size, layout="constrained").subplots()
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
