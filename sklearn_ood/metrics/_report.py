"""Who was answered, rightly or wrongly, and who was refused: class by class."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from sklearn_ood._optional import optional
from sklearn_ood._parameters import inherits
from sklearn_ood._plotting import axes_and_figure
from sklearn_ood._response import answers_and_accepted, classes_of, unwrap
from sklearn_ood.data._labels import OUTLIER, codes_in, foreign
from sklearn_ood.metrics import _blocks
from sklearn_ood.metrics._blocks import as_labels, as_mask, as_weights, differs, labels_for

COUNTS = ("rows", "answered", "right", "wrong", "refused")
OTHERS = UNKNOWN, REFUSED, ALL = "unknown", "refused", "all"
WIDE = 30  # letters that fit below a picture


def reject_confusion_matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    accepted: ArrayLike,
    *,
    classes: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> NDArray:
    """Confusion matrix with a column for refusals and a row for labels that are no class.

    True classes along the rows, the last one for all other labels; answers along the columns,
    the last one for refusals: (n_classes + 1, n_classes + 1).

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_pred : array-like of shape (n_samples,)
        The class that the classifier names for each row, refused or not.
    accepted : array-like of bool of shape (n_samples,)
        Which rows are answered; a ValueError says where one has an answer that is no class.
    classes : array-like of shape (n_classes,)
        The labels that the classifier was taught.
    sample_weight : array-like of shape (n_samples,), default=None
        Finite numbers >= 0; the matrix then has sums of them.

    Examples
    --------
    >>> from sklearn_ood.metrics import reject_confusion_matrix
    >>> answered = [True, True, False, True]
    >>> reject_confusion_matrix([0, 1, 1, 7], [0, 0, 1, 1], answered, classes=[0, 1])
    array([[1, 0, 0],
           [1, 0, 1],
           [0, 1, 0]])
    """
    labels, classes = as_labels("y_true", y_true), np.asarray(classes)
    named = as_labels("y_pred", y_pred, len(labels))
    answered = as_mask("accepted", accepted, len(labels))
    n_classes = len(classes)
    if len(set(classes.tolist())) < n_classes:
        raise ValueError(f"Got classes={classes.tolist()}, but expected each of them once.")
    truth, answer = codes_in(classes, labels), codes_in(classes, named)
    if unknown := foreign(named[answered], answer[answered]):
        raise ValueError(
            f"Got the answers {unknown} in y_pred, which are not among classes="
            f"{classes.tolist()}; mark refused rows in accepted."
        )
    truth = np.where(truth == OUTLIER, n_classes, truth)
    answer = np.where(answered, answer, n_classes)
    weights = as_weights(sample_weight, len(truth))
    return confusion_matrix(truth, answer, labels=range(n_classes + 1), sample_weight=weights)


def _shown(count):
    return f"{count:,.5g}" if isinstance(count, float) else f"{count:,}"


def names_of(classes):
    """Names of classes, and our own ones of what is none: in brackets where a class has it."""
    names = [str(each) for each in classes.tolist()]
    return names, {each: f"({each})" if each in names else each for each in OTHERS}


FORMATS = dict.fromkeys(COUNTS, _shown)
FORMATS |= dict.fromkeys(("coverage", "risk", "risk of answers"), "{:.1%}".format)


@dataclass(eq=False, repr=False)
class SelectiveReport:
    """What a classifier that may refuse did, class by class, and what it had promised.

    Print it, show it as the last line of a notebook's cell, or take :meth:`to_frame`: by
    pandas, the extra ``table``.

    Parameters
    ----------
    matrix, classes
        As :func:`reject_confusion_matrix` has them.
    promises : list
        Those of the classifier's ``guarantee_``.
    group_risks : dict of label to float
        The share of wrong answers in each group.
    n_effective : float, default=None
        Of weighted rows, how many answered ones of equal weight would say as much.
    """

    matrix: NDArray
    classes: NDArray
    promises: list[Any] = field(default_factory=list)
    group_risks: dict[Any, float] = field(default_factory=dict)
    n_effective: float | None = None

    @property
    def risk_interval(self) -> tuple[float, float]:
        """Clopper-Pearson 95 % confidence interval of the risk; about that, if weighted."""
        answered, wrong = self._answered_and_wrong(self.matrix)
        if not answered:
            return 0.0, 1.0
        n_rows = answered if self.n_effective is None else self.n_effective
        return _blocks.exact_interval(wrong / answered * n_rows, n_rows)

    def to_frame(self):
        """One line for each class, for "unknown" where there are such rows, and for "all".

        Of a class that is called so, ours is "(unknown)" or "(all)". The columns of the
        pandas.DataFrame are rows, answered, right, wrong, refused; coverage; the risk of the
        class's answered rows, and that of the answers that name it; NaN where there are none.
        """
        pd = optional("pandas", "A report", "table")
        names, others = names_of(self.classes)
        unknown = [others[UNKNOWN]] if self.matrix[-1].any() else []
        names += unknown
        right, wrong = _right_and_wrong(self.matrix)
        answered, refused = right + wrong, self.matrix[:, -1]
        rows = answered + refused
        counts = np.array([rows, answered, right, wrong, refused]).T[: len(names)]
        frame = pd.DataFrame(counts, names, COUNTS)
        frame = pd.concat([frame, pd.DataFrame([counts.sum(axis=0)], [others[ALL]], COUNTS)])
        named = self.matrix[:, :-1].sum(axis=0).tolist() + [0] * len(unknown)
        frame["coverage"] = frame["answered"] / frame["rows"]
        frame["risk"] = frame["wrong"] / frame["answered"]
        frame["risk of answers"] = 1 - frame["right"] / [*named, answered.sum()]
        return frame

    def __str__(self):
        table = self.to_frame().to_string(formatters=FORMATS, na_rep="")
        return "\n".join([table, "", *self._sentences()])

    def _repr_html_(self):
        table = self.to_frame().to_html(formatters=FORMATS, na_rep="")
        return table + "".join(f"<p>{escape(each)}</p>" for each in self._sentences())

    def _sentences(self):
        low, high = self.risk_interval
        coverage, risk = self.to_frame()[["coverage", "risk"]].to_numpy()[-1]
        answered = "nothing was answered" if np.isnan(risk) else f"{risk:.2%} of them wrong"
        interval = f"95 % interval {low:.2%} to {high:.2%}"
        yield f"Answered {coverage:.1%} of the rows; {answered} ({interval})."
        here, last = self._measured(), {_kind(each): each for each in self.promises}
        for promise in self.promises:  # of several limits the last one decides what is answered
            decides = last[_kind(promise)] is promise
            yield f"Promised: {promise}{here.get(_kind(promise), '') if decides else ''}."

    def _measured(self):
        """Of each kind of promise, what was found on these rows, if anything."""
        frame, unknown = self.to_frame(), self.matrix[-1]
        found = {("all", None, "risk"): frame["risk"].iloc[-1]}
        if unknown.any():
            found["all", None, "ood_acceptance"] = 1 - unknown[-1] / unknown.sum()
        of_class = zip(self.classes.tolist(), frame["risk of answers"].tolist(), strict=False)
        for kind, shares in (("class", of_class), ("group", self.group_risks.items())):
            found |= {(kind, label, "risk"): share for label, share in shares}
        here = {each: f"; here {share:.2%}" for each, share in found.items() if share >= 0}
        answered, wrong = self._answered_and_wrong(self.matrix[:-1])
        if unknown.any() and answered:
            known = f", and {wrong / answered:.2%} among the rows of known classes"
            here["all", None, "risk"] += known
        return here

    @staticmethod
    def _answered_and_wrong(matrix):
        right, wrong = (each.sum() for each in _right_and_wrong(matrix))
        return right + wrong, wrong


def _right_and_wrong(matrix):
    """Of each line, what is answered rightly and wrongly: sums, for differences round."""
    is_right = np.eye(*matrix[:, :-1].shape, dtype=bool)
    return [np.where(mask, matrix[:, :-1], 0).sum(axis=1) for mask in (is_right, ~is_right)]


def _kind(promise):
    return promise.guarantee_for, promise.label, promise.quantity


def selective_report(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> SelectiveReport:
    """Class by class: answered, right, wrong, refused; and what was promised.

    Parameters
    ----------
    estimator : classifier
        Fitted; usually a :class:`SelectiveClassifier`, also inside of a pipeline or a search.
        One that never refuses answers all rows.
    X : array-like of shape (n_samples, ...)
        Rows that were used neither to train nor to calibrate.
    y : array-like of shape (n_samples,)
        True labels; those that were never taught are the line "unknown".
    sample_weight : array-like of shape (n_samples,), default=None
        Finite numbers >= 0; numbers of rows are then sums of them.
    groups : array-like of shape (n_samples,), default=None
        For what promises the risk of each group.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood import SelectiveClassifier
    >>> from sklearn_ood.metrics import selective_report
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SelectiveClassifier(LogisticRegression(max_iter=500), coverage=0.8)
    >>> report = selective_report(model.fit(X[::2], y[::2]), X[1::2], y[1::2])
    >>> report.to_frame()["rows"].to_dict()
    {'0': 25, '1': 25, '2': 25, 'all': 75}
    """
    answers, accepted = answers_and_accepted(estimator, X, groups)
    classes = classes_of(estimator)
    settings = {"classes": classes, "sample_weight": sample_weight}
    y = labels_for(estimator, y)
    matrix = reject_confusion_matrix(y, answers, accepted, **settings)
    weights = as_weights(sample_weight, len(answers))
    counted, group_risks = accepted if weights is None else weights * accepted, {}
    inner = unwrap(estimator)[0]
    if groups is not None and hasattr(inner, "groups_"):
        labels, n_bins = inner.groups_.tolist(), len(inner.groups_) + 1
        codes = codes_in(labels, groups) + 1  # the first is of none
        lost = np.bincount(codes, counted * differs(y, answers), n_bins)
        with np.errstate(invalid="ignore"):
            risks = lost / np.bincount(codes, counted, n_bins)
        group_risks = dict(zip(labels, risks[1:].tolist(), strict=True))
    promises = getattr(inner, "guarantee_", {})
    n_effective = _blocks.n_effective(None if weights is None else counted)
    return SelectiveReport(matrix, classes, [*promises.values()], group_risks, n_effective)


@dataclass(eq=False, repr=False)
class RejectConfusionDisplay:
    """Confusion matrix with a column "refused" and a row "unknown".

    Parameters
    ----------
    matrix, classes
        As :func:`reject_confusion_matrix` has them.

    Attributes
    ----------
    ax_, figure_, im_ : matplotlib Axes, Figure and AxesImage
    """

    matrix: NDArray
    classes: NDArray

    def plot(self, *, ax=None, **kwargs) -> Self:
        """Draw the share of each true class, and the number of rows in every cell.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.
        **kwargs : dict
            For ``imshow``.
        """
        self.ax_, self.figure_ = axes_and_figure(ax)
        names, others = names_of(self.classes)
        total = self.matrix.sum(axis=1, keepdims=True)
        share = self.matrix / np.where(total > 0, total, 1)
        style = {"cmap": "Blues", "vmin": 0, "vmax": 1} | kwargs
        tilt = 30 if len("".join(names)) > WIDE else "horizontal"
        drawn = ConfusionMatrixDisplay(share, display_labels=[*names, others[REFUSED]])
        drawn.plot(ax=self.ax_, im_kw=style, xticks_rotation=tilt, colorbar=False)
        for text, count in zip(drawn.text_.flat, self.matrix.flat, strict=True):
            text.set_text(_shown(count.item()))
        self.ax_.set_yticks(range(len(share)), [*names, others[UNKNOWN]])
        self.ax_.set(xlabel="Answer", ylabel="Truth")
        self.im_ = drawn.im_
        return self

    @classmethod
    @inherits(reject_confusion_matrix, plot)
    def from_predictions(
        cls, y_true, y_pred, accepted, *, classes, sample_weight=None, ax=None, **kwargs
    ) -> Self:
        """Draw answers and refusals."""
        settings = {"classes": classes, "sample_weight": sample_weight}
        matrix = reject_confusion_matrix(y_true, y_pred, accepted, **settings)
        return cls(matrix, np.asarray(classes)).plot(ax=ax, **kwargs)

    @classmethod
    @inherits(selective_report, plot)
    def from_estimator(
        cls, estimator, X, y, *, sample_weight=None, groups=None, ax=None, **kwargs
    ) -> Self:
        """Draw what a fitted classifier answers and refuses."""
        settings = {"sample_weight": sample_weight, "groups": groups}
        report = selective_report(estimator, X, y, **settings)
        return cls(report.matrix, report.classes).plot(ax=ax, **kwargs)
