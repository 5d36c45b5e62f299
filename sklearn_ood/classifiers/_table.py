import warnings
from dataclasses import field

import numpy as np
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.utils import check_random_state

from sklearn_ood._parameters import Count, RandomState, drawn_seed, fitted
from sklearn_ood._response import log_softmax
from sklearn_ood._threads import one_loop_if, one_thread
from sklearn_ood.base import OODClassifier
from sklearn_ood.classifiers._table_shares import ClassShares
from sklearn_ood.data._labels import rank_in_class, some_of_each_class
from sklearn_ood.data._rows import Part
from sklearn_ood.data._tables import MAX_INDICATORS, Indicators, TableColumns, read_table
from sklearn_ood.nets._evaluation import ROW_BLOCK

# Rows on which the weights are found; up to so many each of five, or two, parts judges.
MAX_TRIAL_ROWS, FIVE_PARTS, TWO_PARTS = 3000, 500, 2000
# What a member says at least of every class: the trees vote by counting.
LEAST = {"boosting": 1e-5, "trees": 2e-3, "net": 1e-5, "linear": 1e-5}
# Boosting takes more levels of a column by how frequent they are: any split of many fits.
MAX_UNORDERED = 16
# The members that see numbers of like spread.
INDICATED = "net", "linear"
# Where the members' weights are drawn, and how strongly.
PRIOR_WEIGHTS, PRIOR_STRENGTH = np.array([0.5, 0.5, 0.0, 0.0]), 5.0
STAGE, MAX_STAGES, LEAST_GAIN, MANY_STAGES = 20, 300, 5e-4, 100
# Share of the columns that a split of boosting sees; all, where rows held out are as sure,
# in standard deviations, that this is better.
FEW_COLUMNS, SURE = 0.5, 3.0
# Of boosting, which has one for each class in every stage.
MAX_TREES = 8000
MAX_ROWS_A_TREE, MAX_NET_ROWS, NET_VISITS = 50_000, 50_000, 100_000
LINEAR_VISITS = 1_000_000
# Up to so many rows boosting learns, and answers, no slower in one thread: each of its many
# loops would start others, which wait for long beside other work.
MAX_ROWS_A_THREAD, MAX_ROWS_A_LOOP = 50_000, 5_000
FARTHEST = 10.0


class QuickTrees(ExtraTreesClassifier):
    """Randomised trees of validated numbers; starting threads takes longer than a row."""

    def fit(self, X, y, sample_weight=None):
        with np.errstate(over="ignore"):  # of sums that only tell where cells are missing
            return super().fit(X, y, sample_weight)

    def predict_proba(self, X):
        rows = np.ascontiguousarray(X, dtype=np.float32)
        return sum(tree.tree_.predict(rows) for tree in self.estimators_) / len(self)


def of_rows_a_tree(n_rows, most):
    return {"bootstrap": n_rows > most, "max_samples": most if n_rows > most else None}


class TableClassifier(OODClassifier):
    r"""Classify the rows of a table about as well as the best of four kinds of classifiers.

    Takes tables as people have them: arrays with or without NaN, and frames of pandas or
    polars with numbers, categories, text, booleans and missing cells, read as
    :class:`TableEncoder` says. Histogram gradient boosting, extremely randomised trees, a small
    network and logistic regression answer together.

    Parameters
    ----------
    n_estimators : int >= 1, default=200
        Trees of the forest.
    n_jobs : int or None, default=None
        Trees grown at the same time. Boosting takes one thread, of more than 50,000 rows those
        that OpenMP gives it.

    Attributes
    ----------
    members_ : dict of str to classifier
        The fitted "boosting", "trees", "net" and "linear", of positions of the classes.
    weights_ : ndarray of shape (n_members,)
        Weight of each, none negative; their sum is above 1 where members are too timid.
    columns_ : TableColumns
        Kind of each column, and its categories.
    indicators_ : Indicators
        The numbers that the network and the linear model see.
    shares_ : ClassShares
        What each level of a column of many says of the classes.

    Notes
    -----
    The evidence for a class is :math:`\sum_m w_m \log p_m(k \mid x)` less what normalises it: a
    logarithmic opinion pool (Genest and Zidek, "Combining probability distributions",
    Statistical Science 1986), calibrated as it is weighted. ``score_samples`` is the largest.

    The weights with the least log loss, drawn a little towards a half for boosting and for
    trees, come from rows that judge members fitted on others: five parts in turn of up to 500
    rows, two of up to 2,000, and above one half of at most 3,000. These rows also say after how
    many trees boosting stops and, where they are sure, that its splits see all columns, not
    half. The members are then fitted on all rows; of more than 50,000 each tree, the network
    and the linear model see so many. Columns that some of those judged saw empty are ignored.

    Of categories the 32 most frequent are told apart, more than 16 by boosting as by trees: in
    order of frequency. Beside a column of more than 32, where its levels tell of rows they were
    not counted from, stand logarithms of the classes' shares in the level by those in the
    table, smoothed as is best for such rows: target encoding, cross-fitted.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_ood import TableClassifier
    >>> frame = pd.DataFrame({"colour": ["red", "green", None] * 20, "size": range(60)})
    >>> y = ["apple", "pear", "pear"] * 20
    >>> classifier = TableClassifier(random_state=0).fit(frame, y)
    >>> classifier.predict(pd.DataFrame({"colour": ["red", "blue"], "size": [3, None]}))
    array(['apple', 'pear'], dtype='<U5')
    """

    n_estimators: Count = field(default=200, kw_only=False)
    n_jobs: int | None = None
    random_state: RandomState = None

    columns_: TableColumns = fitted()
    indicators_: Indicators = fitted()
    shares_: ClassShares = fitted()
    used_: np.ndarray = fitted()
    members_: dict = fitted()
    weights_: np.ndarray = fitted()

    _read_rows = staticmethod(read_table)

    def fit(self, X, y, **params):
        """Fit the members, and their weights on rows held out from them.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        """
        data = self._training_data(X, y, self._weight_in(params))
        rows, codes, weight = data.known
        random_state = check_random_state(self.random_state)
        seed, folds = drawn_seed(random_state), _folds(codes, random_state)
        self.used_ = _told_columns(rows, [learned for learned, _ in folds])
        known = Part(rows[:, self.used_], codes, weight)
        self.indicators_ = Indicators.of(self._common(known.rows), self._is_category)
        self.weights_, form = self._weighed(known, folds, seed)
        fits = self._fit_members(known, slice(None), None, seed, form)
        self.members_, self.shares_ = fits
        self.classes_ = data.classes
        return self

    def _weighed(self, known, folds, seed):
        """Weights of the members, and the form of boosting, by rows held out from them."""
        form = {"max_features": FEW_COLUMNS}
        if not folds:
            return np.full(len(LEAST), 1 / len(LEAST)), form | {"max_iter": STAGE}
        rows, codes, _ = known
        # Few rows do not tell the share of the columns, else the first to judge do for all.
        first = self._fit_members(known, *folds[0], seed, form if len(folds) > 2 else {})
        form = {"max_features": first[0]["boosting"].max_features}
        trials = [first, *(self._fit_members(known, *fold, seed, form) for fold in folds[1:])]
        log_p = [
            self._member_log_proba(*trial, rows[held], codes.max() + 1)
            for trial, (_, held) in zip(trials, folds, strict=True)
        ]
        judges = known.at(np.hstack([held for _, held in folds]))
        pull = {"prior": PRIOR_WEIGHTS, "strength": PRIOR_STRENGTH}
        weights = pooling_weights(np.hstack(log_p), judges.codes, judges.weights, **pull)
        n_stages = int(np.mean([members["boosting"].max_iter for members, _ in trials]))
        if len(rows) > MAX_TRIAL_ROWS:
            n_stages = max(n_stages, min(MANY_STAGES, _most_stages(codes)))
        return weights, form | {"max_iter": n_stages}

    def _fit_members(self, known, learned, held_out, seed, form):
        """The members on some rows, and the shares that they see beside them.

        Others, where there are some, say what the form of boosting does not.
        """
        taught, n_levels = known.at(learned), self.columns_.n_levels[self.used_]
        many = np.flatnonzero(n_levels > MAX_INDICATORS)
        shares, told = ClassShares.of(taught, many, n_levels, seed)
        lesson = taught._replace(rows=np.hstack([self._common(taught.rows), told]))
        judge = None if held_out is None else known.at(held_out)
        if judge is not None:
            judge = judge._replace(rows=self._seen(judge.rows, shares))
        unordered = self._is_category & (n_levels <= MAX_UNORDERED)
        unordered = np.pad(unordered, (0, told.shape[1]))
        trees = QuickTrees(self.n_estimators, n_jobs=self.n_jobs, random_state=seed)
        trees.set_params(**of_rows_a_tree(len(lesson.rows), MAX_ROWS_A_TREE))
        members = {
            "boosting": _boosted(lesson, unordered, seed, form, judge),
            "trees": trees.fit(*lesson),
        } | self._indicated_members(lesson, seed)
        return members, shares

    @one_thread()
    def _indicated_members(self, lesson, seed):
        seen, told, weight = lesson.at(some_of_each_class(lesson.codes, MAX_NET_ROWS, seed))
        numbers, n_rows = self._indicated(seen), len(seen)
        net = MLPClassifier(
            64,
            alpha=1e-3,
            batch_size=min(128, n_rows),
            learning_rate_init=3e-3,
            max_iter=int(np.clip(NET_VISITS // n_rows, 5, 40)),
            random_state=seed,
        )
        linear = LogisticRegression(max_iter=int(np.clip(LINEAR_VISITS // n_rows, 20, 200)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # are good enough by then
            fits = (each.fit(numbers, told, weight) for each in (net, linear))
            return dict(zip(INDICATED, fits, strict=True))

    def _member_log_proba(self, members, shares, rows, n_classes):
        """Logarithms (n_members, n_samples, n_classes) of the members' probabilities."""
        log_p = np.empty((len(members), len(rows), n_classes))
        missing = np.repeat(rows[-1:], -len(rows) % ROW_BLOCK, axis=0)
        padded = np.concatenate([rows, missing])  # or a row by itself is rounded otherwise
        padded = self._seen(padded, shares)
        numbers = self._indicated(padded)
        with one_loop_if(len(rows) <= MAX_ROWS_A_LOOP):
            for (name, member), values in zip(members.items(), log_p, strict=True):
                least, seen = LEAST[name], numbers if name in INDICATED else padded
                proba = member.predict_proba(seen)[: len(rows)]
                values[:] = np.log((1 - least) * proba + least / n_classes)
        return log_p

    def _evidence(self, rows):
        rows = rows[:, self.used_]
        n_classes = len(self.classes_)
        log_p = self._member_log_proba(self.members_, self.shares_, rows, n_classes)
        # A sum and no product, which would round a row by what is beside it.
        return log_softmax((self.weights_[:, None, None] * log_p).sum(axis=0))

    _log_proba = _evidence  # the evidence for a class is its log-probability

    def _seen(self, rows, shares):
        """What boosting and trees see of rows."""
        return np.hstack([self._common(rows), shares.encode(rows)])

    def _common(self, rows):
        """Rows in which all but a column's most frequent categories are one."""
        return np.where(self._is_category, np.minimum(rows, MAX_INDICATORS), rows)

    def _indicated(self, seen):
        """What the network and the linear model see of it."""
        numbers = np.hstack([self.indicators_.encode(seen), seen[:, len(self._is_category) :]])
        return numbers.clip(-FARTHEST, FARTHEST)

    @property
    def _is_category(self):
        return self.columns_.is_category[self.used_]


def _told_columns(rows, parts):
    """Mask of the columns that have a value in each part of the rows, and in all."""
    told = ~np.any([np.isnan(rows[part]).all(axis=0) for part in (..., *parts)], axis=0)
    if not told.any():
        raise ValueError("Got X with too few values in every column to hold some out.")
    return told


def _boosted(lesson, unordered, seed, form, judge):
    """Boosted trees of a form; what it does not say, the log loss of other rows does."""
    boosting = HistGradientBoostingClassifier(
        max_iter=STAGE,
        max_features=FEW_COLUMNS,
        categorical_features=unordered if unordered.any() else None,
        l2_regularization=1.0,  # or rare classes diverge
        min_samples_leaf=10,
        early_stopping=False,
        warm_start=True,
        random_state=seed,
    ).set_params(**form)
    most_stages = _most_stages(lesson.codes)
    with one_thread() if len(lesson.codes) <= MAX_ROWS_A_THREAD else one_loop_if(False):
        boosting.fit(*lesson)
        if judge is None:
            return boosting
        losses, best = _losses(boosting, judge), np.inf
        if "max_features" not in form:
            others = clone(boosting).set_params(max_features=1.0).fit(*lesson)
            gains = losses - _losses(others, judge)
            if gains.sum() > SURE * np.linalg.norm(gains):
                boosting, losses = others, losses - gains
        while boosting.max_iter < most_stages and losses.sum() <= best - LEAST_GAIN:
            best = losses.sum()
            boosting.set_params(max_iter=boosting.max_iter + STAGE).fit(*lesson)
            losses = _losses(boosting, judge)
    return boosting


def _losses(boosting, judge):
    """What each row adds to the mean log loss."""
    proba = np.maximum(boosting.predict_proba(judge.rows), LEAST["boosting"])
    return (
        -np.log(proba[np.arange(len(proba)), judge.codes]) * judge.weights / judge.weights.sum()
    )


def _most_stages(codes):
    return min(MAX_STAGES, max(STAGE, MAX_TREES // (codes.max() + 1)))


def _folds(codes, random_state):
    """Pairs of rows to learn from and rows that judge; no class is judged only."""
    n_rows, n_folds = len(codes), 5 if len(codes) <= FIVE_PARTS else 2
    order = random_state.permutation(len(codes))
    is_further = rank_in_class(codes[order]) > 1  # two of every class are among the rows
    order = order[np.argsort(is_further, kind="stable")][:MAX_TRIAL_ROWS]
    start = random_state.randint(n_folds, size=codes.max() + 1)
    codes = codes[order]
    fold = (rank_in_class(codes) + start[codes]) % n_folds
    judges = range(n_folds if n_rows <= TWO_PARTS else 1)
    held_out = [(fold == i) & np.isin(codes, codes[fold != i]) for i in judges]
    return [(order[~held], order[held]) for held in held_out if held.any()]


def pooling_weights(log_p, codes, row_weight, *, prior, strength):
    """Weights >= 0 of members' log-probabilities (m, n, K), with the least log loss."""
    n_members, n, _ = log_p.shape
    truth = log_p[:, np.arange(n), codes]

    def loss(weights):
        pooled = log_softmax(np.tensordot(weights, log_p, 1))
        away = weights - prior
        value = -pooled[np.arange(n), codes] @ row_weight + strength * away @ away
        expected = np.einsum("mnk,nk->mn", log_p, np.exp(pooled))
        slope = (expected - truth) @ row_weight + 2 * strength * away
        return value / n, slope / n

    start = np.full(n_members, 1 / n_members)
    return minimize(loss, start, jac=True, bounds=[(0, None)] * n_members).x
