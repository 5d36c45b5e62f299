"""Pictures of a confidence, in scikit-learn's style."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklearn_ood._parameters import inherits
from sklearn_ood._plotting import axes_and_figure
from sklearn_ood._response import LARGEST, answers_and_confidence, classes_of, unwrap
from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.metrics._blocks import as_answers, as_labels, differs, labels_for
from sklearn_ood.metrics._open_set import right_unknown_or_wrong
from sklearn_ood.metrics._selective import aurc_score, risk_coverage_curve

MARKED_AT_MOST = 200  # points that a threshold can reach


class _OfAnswers:
    from_predictions: Callable[..., Any]

    @classmethod
    def from_estimator(cls, estimator: Any, X: ArrayLike, y: ArrayLike, **kwargs: Any) -> Self:
        """Draw the answers of a fitted classifier to the rows of X, and their confidence.

        Parameters
        ----------
        estimator : object
            Fitted classifier. Its confidence is ``confidence`` or ``score_samples``, else what
            ``predict_proba`` gives the answer, else the margin of ``decision_function``.
        X : array-like of shape (n_samples, n_features)
            Rows to answer, those of unknown classes included.
        y : array-like of shape (n_samples,)
            True labels; an answer to a label that was never taught is an error.
        **kwargs
            Passed to :meth:`from_predictions`. ``name``, ``classes`` and ``threshold`` are
            those of the estimator, where these are drawn and not given.
        """
        given = {name: value for name, value in kwargs.items() if value is not None}
        settings = cls._settings_of(estimator) | given
        labels = labels_for(estimator, y)
        return cls.from_predictions(labels, *answers_and_confidence(estimator, X), **settings)

    @classmethod
    def _settings_of(cls, estimator):
        return {"name": type(unwrap(estimator)[0]).__name__}


@dataclass(kw_only=True, eq=False, repr=False)
class RiskCoverageDisplay(_OfAnswers):
    """Selective risk against coverage, with the curve of a perfect ranking beside it.

    Several curves share an axis: pass the first one's ``ax_`` as ``ax`` to the next.

    Parameters
    ----------
    coverage, risk : ndarray of shape (n_points,)
        As :func:`risk_coverage_curve` has them.
    aurc, name : float and str, default=None
        Area under the curve, and its name, shown in the legend.

    Attributes
    ----------
    ax_, figure_, line_, optimal_line_ : matplotlib Axes, Figure and two Line2D
        The last one is the dashed curve of a perfect ranking; None when not drawn.

    Examples
    --------
    >>> from sklearn_ood.metrics import RiskCoverageDisplay
    >>> display = RiskCoverageDisplay.from_predictions(
    ...     [0, 1, 1, 0], [0, 1, 0, 0], [0.9, 0.8, 0.1, 0.7], name="by hand"
    ... )
    >>> display.line_.get_label()
    'by hand (AURC = 0.0625)'
    """

    coverage: NDArray
    risk: NDArray
    aurc: float | None = None
    name: str | None = None

    def plot(
        self, ax: Any = None, *, name: str | None = None, optimal: bool = True, **kwargs: Any
    ) -> Self:
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.
        name : str, default=None
            What to call it in the picture.
        optimal : bool, default=True
            Whether to draw the curve of a perfect ranking.
        **kwargs
            Passed to matplotlib's ``plot`` for the curve.
        """
        self.ax_, self.figure_ = axes_and_figure(ax)
        area = None if self.aurc is None else f"AURC = {self.aurc:.3g}"
        name = self.name if name is None else name
        label = f"{name} ({area})" if name and area else name or area
        style = {"label": label, "marker": "." if len(self.risk) <= MARKED_AT_MOST else ""}
        (self.line_,) = self.ax_.plot(self.coverage, self.risk, **(style | kwargs))
        self.optimal_line_ = None
        if optimal:
            wrong = self.risk[-1]
            best = np.linspace(1 - wrong, 1, 200) if wrong < 1 else np.ones(1)
            curve = np.r_[0, best], np.r_[0, (best - 1 + wrong) / best]
            label = f"perfect ranking (risk {wrong:.3g} at coverage 1)"
            dashed = {"label": label, "alpha": 0.6}
            color = self.line_.get_color()
            (self.optimal_line_,) = self.ax_.plot(*curve, "--", color=color, **dashed)
        self.ax_.set(xlabel="Coverage", ylabel="Selective risk", xlim=(0, 1))
        self.ax_.set_ylim(bottom=0)
        if self.ax_.get_legend_handles_labels()[1]:
            self.ax_.legend(loc="upper left")
        return self

    @classmethod
    @inherits(aurc_score, plot)
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        confidence: ArrayLike,
        *,
        name: str | None = None,
        sample_weight: ArrayLike | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the curve of answers and their confidence.

        Parameters
        ----------
        **kwargs
            Passed to :meth:`plot`.
        """
        rows = y_true, y_pred, confidence
        coverage, risk, _ = risk_coverage_curve(*rows, sample_weight=sample_weight)
        aurc = aurc_score(*rows, sample_weight=sample_weight)
        return cls(coverage=coverage, risk=risk, aurc=aurc, name=name).plot(**kwargs)


@dataclass(kw_only=True, eq=False, repr=False)
class ConfidenceHistogramDisplay(_OfAnswers):
    """Confidence of right answers, wrong answers and answers to unknown classes.

    Parameters
    ----------
    confidence : ndarray of shape (n_samples,)
        Higher = more trustworthy; infinite values are drawn at the ends.
    right, is_in : ndarray of bool of shape (n_samples,)
        Where the answer is right, and where the row is of a known class.
    threshold : float, default=None
        Lowest confidence that is answered, drawn as a line.
    name : str, default=None
        Title of the picture.
    weights : ndarray of shape (n_samples,), default=None

    Attributes
    ----------
    ax_, figure_, bars_, line_ : matplotlib Axes, Figure, list of artists, and Line2D
        A histogram for each kind of row that occurs, and the threshold; None when there is
        none.

    Examples
    --------
    >>> from sklearn_ood.metrics import ConfidenceHistogramDisplay
    >>> display = ConfidenceHistogramDisplay.from_predictions(
    ...     [0, 1, 1, 7], [0, 1, 0, 0], [0.9, 0.8, 0.1, 0.7], classes=[0, 1], threshold=0.75
    ... )
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['known, right (2)', 'known, wrong (1)', 'unknown (1)', 'threshold 0.75']
    """

    confidence: NDArray
    right: NDArray
    is_in: NDArray
    threshold: float | None = None
    name: str | None = None
    weights: NDArray | None = None

    @classmethod
    def _settings_of(cls, estimator):
        threshold = getattr(unwrap(estimator)[0], "threshold_", None)
        threshold = threshold if np.ndim(threshold) == 0 else None  # one for each class
        own = {"classes": classes_of(estimator), "threshold": threshold}
        return super()._settings_of(estimator) | own

    @inherits(RiskCoverageDisplay.plot)
    def plot(
        self, ax: Any = None, *, name: str | None = None, bins: ArrayLike = 40, **kwargs: Any
    ) -> Self:
        """Draw the histograms, each of area one.

        Parameters
        ----------
        bins : int or array-like, default=40
            The same for all kinds of rows.
        **kwargs
            Passed to matplotlib's ``hist``.
        """
        self.ax_, self.figure_ = axes_and_figure(ax)
        shown = _within_finite(self.confidence)
        edges = np.histogram_bin_edges(shown, bins=bins)
        kinds = {
            "known, right": (self.right, "tab:blue"),
            "known, wrong": (self.is_in & ~self.right, "tab:orange"),
            "unknown": (~self.is_in, "tab:red"),
        }
        self.bars_, self.line_ = [], None
        for kind, (rows, color) in kinds.items():
            rows = rows if self.weights is None else rows & (self.weights > 0)
            if rows.any():
                style = {"alpha": 0.5, "density": True, "color": color}
                style["label"] = f"{kind} ({rows.sum()})"
                weights = None if self.weights is None else self.weights[rows]
                drawn = self.ax_.hist(shown[rows], edges, weights=weights, **(style | kwargs))
                self.bars_.append(drawn[2])
        if self.threshold is not None and np.isfinite(self.threshold):
            style = {"color": "black", "linestyle": "--"}
            label = f"threshold {self.threshold:.3g}"
            self.line_ = self.ax_.axvline(self.threshold, label=label, **style)
        title = (self.name if name is None else name) or ""
        self.ax_.set(xlabel="Confidence", ylabel="Density", title=title)
        self.ax_.legend()
        return self

    @classmethod
    @inherits(right_unknown_or_wrong, RiskCoverageDisplay.from_predictions)
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        confidence: ArrayLike,
        *,
        classes: ArrayLike,
        threshold: float | None = None,
        name: str | None = None,
        sample_weight: ArrayLike | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the confidence of answers.

        Parameters
        ----------
        threshold : float, default=None
            Lowest confidence that is answered.
        """
        labels, answers, shown, weights = as_answers(y_true, y_pred, confidence, sample_weight)
        is_in = codes_in(as_labels("classes", classes), labels) != OUTLIER
        settings = {"threshold": threshold, "name": name, "weights": weights}
        right = is_in & ~differs(labels, answers)
        return cls(confidence=shown, right=right, is_in=is_in, **settings).plot(**kwargs)


def _within_finite(confidence):
    """Infinite values, also as estimators' are read, moved to the ends of the others."""
    finite = confidence[np.abs(confidence) < LARGEST]
    if finite.size == 0:
        return np.sign(confidence)
    return np.clip(confidence, finite.min(), finite.max())
