"""May a new model take the place of an old one? Where their answers differ on real rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from scipy.stats import binomtest
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils.validation import _num_samples

from sklearn_ood._optional import optional
from sklearn_ood._parameters import Count, RandomState, check_arguments
from sklearn_ood._response import answers_and_accepted, classes_of, unwrap
from sklearn_ood.data._tables import TableColumns
from sklearn_ood.metrics._blocks import exact_interval, labels_for

OUTCOMES = ("right", "wrong", "refused")
RIGHT, WRONG, REFUSED = range(3)
SIGNIFICANT = 0.05
# Of the rules: the leaves of a shallow tree.
MAX_DEPTH, MAX_CATEGORIES = 3, 30
LEAST_ROWS, LEAST_SHARE = 10, 0.02
# Rows that a tree is grown on, and numbers held at once where it is applied.
MAX_GROWN, MAX_NUMBERS = 50_000, 2**22
MISSING = -1


class ChurnRegion(NamedTuple):
    """Rows that a rule describes, and how far two models agree on them.

    Parameters
    ----------
    rule : str
        In names of columns; "all rows" where there is no other.
    share : float
        Of the real rows.
    n_rows, n_different : int
        Of the rows that were kept to measure: all, and those with different answers.
    low, high : float
        Exact 95 % confidence interval of the share with different answers.
    only_old, only_new, p_value : int, int and float, or None
        Rows on which only that model is right, and the exact McNemar test of these two numbers,
        corrected for the number of regions (Holm); None where no labels were given.
    """

    rule: str
    share: float
    n_rows: int
    n_different: int
    low: float
    high: float
    only_old: int | None
    only_new: int | None
    p_value: float | None

    @property
    def churn(self) -> float:
        """Share of the rows kept to measure with different answers."""
        return self.n_different / self.n_rows


@dataclass(eq=False, repr=False)
class ChurnReport:
    """How two models differ on real rows. Print it, or show it as a notebook's last line.

    Parameters
    ----------
    different : ndarray of bool of shape (n_rows,)
        Where their answers differ; a refusal is an answer of its own.
    flips : ndarray of int of shape (3, 3), or None
        Of these rows: whether the old model is right, wrong or refuses (down), and the new
        one (across). None where no labels were given.
    regions : list of ChurnRegion
        All rows, divided by rules; that with the largest share of different answers first.
    unread : list of str
        Columns that no rule could use, such as dates.
    """

    different: NDArray
    flips: NDArray | None
    regions: list[ChurnRegion]
    unread: list[str]

    @property
    def churn(self) -> float:
        """Share of the rows with different answers."""
        return float(self.different.mean())

    @property
    def churn_interval(self) -> tuple[float, float]:
        """Exact (Clopper-Pearson) 95 % confidence interval of the churn."""
        return exact_interval(self.different.sum(), len(self.different))

    @property
    def p_value(self) -> float | None:
        """Exact McNemar test, two-sided: could both models be right equally often?"""
        return None if self.flips is None else mcnemar(*_only(self.flips))

    def to_frame(self):
        """The regions, one a line, as a pandas DataFrame."""
        pandas = optional("pandas", "A report", "table")
        return pandas.DataFrame(self.regions, columns=ChurnRegion._fields)

    def __str__(self):
        first, *others = self._sentences()
        tables = (f"\n{each.to_string()}\n" for each in self._tables())
        return "\n".join([first, *tables, *others])

    def _repr_html_(self):
        first, *others = (f"<p>{escape(each)}</p>" for each in self._sentences())
        return "".join([first, *(each.to_html() for each in self._tables()), *others])

    def _verdict(self):
        """Which model is better; of models that refuse, how often each alone is wrong."""
        old, new = _only(self.flips)
        if self._refuses():
            old, new = _only(self.flips, WRONG)
            return f"; only the new one is wrong on {new:,}, only the old one on {old:,}"
        if self.p_value > SIGNIFICANT:
            return ": these rows do not tell which is right more often"
        return f": the {'new' if new > old else 'old'} one is right more often on such rows"

    def _refuses(self):
        """Whether a model refuses rows on which they differ."""
        return bool(self.flips[REFUSED].any() or self.flips[:, REFUSED].any())

    def _tables(self):
        """Frames of the flips, where there are labels, and of the regions."""
        frame = self.to_frame()
        if self.flips is not None:
            names = OUTCOMES[: len(OUTCOMES) if self._refuses() else REFUSED]
            counts = [[f"{n:,}" for n in line[: len(names)]] for line in self.flips.tolist()]
            of_both = [[f"{model} {name}" for name in names] for model in ("old", "new")]
            yield type(frame)(counts[: len(names)], *of_both)
        shown = type(frame)(index=frame["rule"].tolist())
        shown["share of rows"] = frame["share"].map("{:.1%}".format).tolist()
        shown["answers differ"] = [f"{each.churn:.1%}" for each in self.regions]
        shown["95 % interval"] = [f"{each.low:.1%} to {each.high:.1%}" for each in self.regions]
        if self.flips is not None:
            shown["only old right"] = frame["only_old"].tolist()
            shown["only new right"] = frame["only_new"].tolist()
            shown["p"] = frame["p_value"].map("{:.2g}".format).tolist()
        yield shown.rename_axis(columns="rows where")

    def _sentences(self) -> Iterator[str]:
        low, high = self.churn_interval
        yield (
            f"Different answers to {self.different.sum():,} of {len(self.different):,} rows: "
            f"{self.churn:.2%} (95 % interval {low:.2%} to {high:.2%})."
        )
        if self.flips is not None:
            old, new = _only(self.flips)
            said = f"Only the new model is right on {new:,} rows, only the old one on {old:,}"
            yield f"{said} (exact McNemar test, p = {self.p_value:.2g}){self._verdict()}."
        if len(self.regions) > 1:
            yield "The rules were found on one half of the rows and measured on the other."
        if self.unread:
            yield f"The rules cannot use the columns {', '.join(self.unread)}."


def churn_report(
    old: Any,
    new: Any,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    max_regions: Count = 6,
    random_state: RandomState = None,
) -> ChurnReport:
    """May the new model replace the old one? Where they differ, and who is right there.

    The churn is the share of rows to which two models give different answers (M. Milani Fard et
    al., "Launch and iterate: reducing prediction churn", 2016); a row that the old one has
    right and the new one wrong is a negative flip (S. Yan et al., "Positive-congruent
    training", 2021). A shallow tree, grown on one half of the rows, divides them into regions
    by rules in the names of columns; the other half tells how far the models differ in each.

    Parameters
    ----------
    old, new : classifier
        Fitted, of any library; they may refuse (:class:`~sklearn_ood.SelectiveClassifier`).
        Each gets X as it is. A ValueError where they have no class in common.
    X : array-like or frame of shape (n_rows, n_features)
        Real rows that neither was fitted to. Of a sparse matrix or of texts there are no
        regions.
    y : array-like of shape (n_rows,), default=None
        Their labels, to tell who is right.
    groups : array-like of shape (n_rows,), default=None
        For models that promise the risk of each group.
    max_regions : int >= 1, default=6
    random_state : int, RandomState instance or None, default=None
        Divides the rows into halves.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn_ood.inspection import churn_report
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> old = GaussianNB().fit(X[::2], y[::2])
    >>> new = LogisticRegression(max_iter=500).fit(X[::2], y[::2])
    >>> report = churn_report(old, new, X[1::2], y[1::2], max_regions=2, random_state=0)
    >>> print(report.different.sum(), "of", len(report.different))
    2 of 75
    """
    check_arguments(churn_report, locals())
    known = [np.asarray(classes_of(model)).tolist() for model in (old, new)]
    if not set(known[0]) & set(known[1]):
        raise ValueError(
            f"Got old with classes {known[0][:10]} and new with {known[1][:10]}, but expected "
            "labels in common; teach both the same labels, in one type."
        )

    def said(model):
        needs_groups = getattr(unwrap(model)[0], "guarantee_for", None) == "group"
        return answers_and_accepted(model, X, groups if needs_groups else None)

    answers, accepted = map(np.asarray, zip(said(old), said(new), strict=True))
    answered = accepted.astype(bool)
    different = (answered[0] != answered[1]) | (answered[0] & (answers[0] != answers[1]))
    outcomes = None
    if y is not None:
        truth = labels_for(old, y, len(different))
        outcomes = np.where(answered, np.where(answers == truth, RIGHT, WRONG), REFUSED)
    columns = Columns.of(X)
    grown = check_random_state(random_state).permutation(len(different)) % 2 == 0
    rules = find_rules(columns, different, grown, max_regions)
    regions = _measured(rules, different, outcomes, ~grown | (len(rules) == 1))
    return ChurnReport(different, _flips(different, outcomes), regions, columns.unread)


def mcnemar(only_first, only_second):
    """Two-sided p-value of the exact test, from how many samples only one gets right."""
    return float(binomtest(int(only_first), max(1, int(only_first + only_second))).pvalue)


def holm(p_values):
    """p-values corrected for how many there are: any below alpha may be rejected."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)
    adjusted = np.arange(len(order), 0, -1) * p_values[order]
    return np.maximum.accumulate(adjusted).clip(max=1)[np.argsort(order)]


def _flips(different, outcomes):
    """Numbers of outcomes of the old and the new model where they differ, (3, 3)."""
    if outcomes is None:
        return None
    n, (old, new) = len(OUTCOMES), outcomes[:, different]
    return np.bincount(n * old + new, minlength=n * n).reshape(n, n)


def _only(flips, outcome=RIGHT):
    """On how many rows only the old, and only the new model has this outcome."""
    both = flips[outcome, outcome]
    return int(flips[outcome].sum() - both), int(flips[:, outcome].sum() - both)


def _measured(rules, different, outcomes, kept):
    """Regions, the one with the largest share of different answers first."""
    regions = []
    for rule, inside in rules:
        rows = inside & kept
        if not rows.any():
            continue
        n, n_different = int(rows.sum()), int((different & rows).sum())
        flips = _flips(different & rows, outcomes)
        judged = (None,) * 3 if flips is None else (*_only(flips), mcnemar(*_only(flips)))
        measured = n, n_different, *exact_interval(n_different, n), *judged
        regions.append(ChurnRegion(rule, float(inside.mean()), *measured))
    if outcomes is not None:
        adjusted = holm([each.p_value for each in regions]).tolist()
        pairs = zip(regions, adjusted, strict=True)
        regions = [each._replace(p_value=p) for each, p in pairs]
    return sorted(regions, key=lambda each: -each.churn)


class Columns(NamedTuple):
    """A table as numbers, and what a rule can ask of it."""

    values: np.ndarray  # numbers and positions of categories, NaN for missing numbers
    questions: list  # a column, a category's position or None for the number, their names
    unread: list

    @classmethod
    def of(cls, X):
        """Of a frame or an array; there is none to ask of sparse matrices and of texts."""
        values, questions, unread = [np.empty((_num_samples(X), 0))], [], []
        for name, part in _parts(X).items():
            try:
                found = TableColumns.of(part)
                read = found.read(part)
            except (TypeError, ValueError):
                unread.append(name)
                continue
            for column, levels in zip(read.T, found.levels, strict=True):
                place, codes = len(values) - 1, [(None, None)]
                if len(levels):
                    codes = [(MISSING, "missing"), *enumerate(levels[:MAX_CATEGORIES].tolist())]
                    column = np.where(np.isnan(column), MISSING, column)
                values.append(column[:, None])
                questions += [(place, code, name, level) for code, level in codes]
        return cls(np.hstack(values), questions, unread)

    def answers(self, rows):
        """What the questions have for answers in some rows: numbers, or whether 0 or 1."""
        places, codes, *_ = zip(*self.questions, strict=True)
        asked = np.array([np.nan if code is None else code for code in codes])
        taken = self.values[rows][:, places]
        return np.where(np.isnan(asked), taken, taken == asked)


def find_rules(columns, holds, grown, max_rules):
    """Rules, and masks of the rows that each describes, of which every row is in one."""
    rows = np.flatnonzero(grown)[:MAX_GROWN]
    if max_rules == 1 or not columns.questions or len(np.unique(holds[rows])) < 2:
        return [("all rows", np.ones(len(holds), dtype=bool))]
    from sklearn.tree import DecisionTreeClassifier  # slow to import

    least = max(LEAST_ROWS, int(LEAST_SHARE * len(rows)))
    settings = {"max_leaf_nodes": max_rules, "min_samples_leaf": least, "random_state": 0}
    tree = DecisionTreeClassifier(max_depth=MAX_DEPTH, **settings)
    tree.fit(columns.answers(rows), holds[rows])
    size = max(1, MAX_NUMBERS // len(columns.questions))
    blocks = gen_batches(len(holds), size)
    leaf = np.concatenate([tree.apply(columns.answers(block)) for block in blocks])
    return [(rule, leaf == node) for node, rule in _rules(tree.tree_, columns).items()]


def _parts(X):
    """Tables of one column, by its name; of an array x0, x1 and so on."""
    if hasattr(X, "columns"):
        return {str(name): X[[name]] for name in dict.fromkeys(X.columns)}
    if issparse(X) or np.ndim(X) < 2:
        return {}
    rows = np.asarray(X)
    rows = rows.reshape(len(rows), -1)
    return {f"x{j}": rows[:, [j]] for j in range(rows.shape[1])}


def _rules(tree, columns):
    """Of every leaf its rule: what each split above it asks, in words."""
    said, has_missing = {0: []}, np.isnan(columns.values).any(axis=0)
    for node in np.flatnonzero(tree.children_left >= 0):  # children come after their parent
        place, _, name, level = columns.questions[tree.feature[node]]
        for side, child in enumerate((tree.children_left[node], tree.children_right[node])):
            text = f"{name} {('<=', '>')[side]} {tree.threshold[node]:.4g}"
            if level is not None:
                text = f"{name} is {('not ', '')[side]}{level}"
            elif has_missing[place] and tree.missing_go_to_left[node] != side:
                text = f"({text} or missing)"
            said[child] = [*said[node], text]
    leaves = np.flatnonzero(tree.children_left < 0).tolist()
    return {leaf: " and ".join(said[leaf]) or "all rows" for leaf in leaves}
