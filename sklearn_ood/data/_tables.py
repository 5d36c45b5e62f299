"""Tables as people have them, as numbers: categories and missing cells among them."""

import warnings
from collections import Counter
from dataclasses import dataclass
from datetime import date, time, timedelta
from math import prod
from numbers import Integral, Real

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils._missing import is_pandas_na
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from sklearn_ood._parameters import Parameterized, fitted
from sklearn_ood.data._blocks import is_shared, of_rows, unmasked
from sklearn_ood.data._rows import as_native

# Of one column. The others count as one, as do new ones.
MAX_LEVELS = 10_000
NUMBER, CATEGORY, EMPTY = "number", "category", "empty"
# What reads a number may hold it in single precision, or square it.
LARGEST = float(np.finfo(np.float32).max)
# The largest whole number up to which floats hold all.
EXACT = 2**53
# Of one column; a category that is rarer has no indicator.
MAX_INDICATORS = 32
# Of fewer rows nothing is said; of text that more than such a share of the cells is new.
MIN_TOLD, MOSTLY = 50, 0.9
# Of the steps of a column that counts: how unlike, and of whole numbers how straight.
UNLIKE, STRAIGHT = 0.5, 0.99


@dataclass(frozen=True)
class TableColumns:
    """What the columns of a table hold, as it was found when they were first seen.

    Attributes
    ----------
    kinds : ndarray of str of shape (n_features,)
        "number", "category", or "empty" for a column without any value.
    levels : list of ndarray of str
        The categories of each column, the most frequent first; none of numbers.
    """

    kinds: np.ndarray
    levels: list

    @classmethod
    def of(cls, table):
        if _is_plain(table):
            empty = np.isnan(table).all(axis=0) if table.dtype.kind == "f" else False
            kinds = np.where(np.broadcast_to(empty, table.shape[1]), EMPTY, NUMBER)
            return cls(kinds, [np.empty(0, dtype="U1")] * table.shape[1])
        cells = [_cells(*named) for _, *named in _columns(table, range(table.shape[1]))]
        return cls(np.array(list(map(_kind, cells))), list(map(_levels, cells)))

    @property
    def is_category(self):
        return self.kinds == CATEGORY

    @property
    def n_levels(self):
        return np.array(list(map(len, self.levels)))

    def read(self, table):
        """A table as float64: numbers, places in ``levels``, NaN where a cell is missing."""
        if _is_plain(table) and not self.is_category.any():
            return np.clip(table, -LARGEST, LARGEST, dtype=np.float64)
        rows, is_plain = np.empty(table.shape), (self.kinds == NUMBER) & _plain_columns(table)
        if is_plain.any():  # at once, since a column by itself takes as long as many rows
            numbers = table.iloc[:, np.flatnonzero(is_plain)].to_numpy(np.float64)
            rows[:, is_plain] = np.clip(numbers, -LARGEST, LARGEST)
            is_plain &= not np.isinf(numbers).any()  # or its column is named
        for j, name, column in _columns(table, np.flatnonzero(~is_plain).tolist()):
            rows[:, j] = _numbers(name, column, self.kinds[j], self.levels[j])
        return rows


def check_frame(estimator, X, *, reset):
    """Raise for a frame of other names, or without rows or columns."""
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    if len(X) == 0 or X.shape[1] == 0:
        raise ValueError(
            f"Found array with {len(X)} sample(s) and {X.shape[1]} feature(s) while a "
            f"minimum of 1 is required by {type(estimator).__name__}."
        )


def warn_of_columns(table):
    """Warn of numbers that count the rows, and of text that does not come again."""
    if len(table) < MIN_TOLD or is_shared():
        return
    for _, name, column in _columns(table, range(table.shape[1])):
        if _steps(column[:MIN_TOLD]) is not None and _counts(_steps(column)):
            told = "counts the rows, so that every later row will lie beyond it and be strange"
            remedy = "drop it, unless it is what the rows are sorted by"
        elif _is_new_text(column):
            told = "is text of which nearly every cell is another, and tells of no new row"
            remedy = "drop it, or turn it into numbers or a few categories"
        else:
            continue
        warnings.warn(f"Got X whose column {name!r} {told}; {remedy}.", stacklevel=3)


def _steps(column):
    # From each number to the next where all rise or all fall, else None.
    cells = np.asarray(column)
    if cells.dtype.kind == "O" and not any(isinstance(cell, str) for cell in cells):
        cells = np.array(cells.tolist())
    if cells.dtype.kind not in "iuf" or np.isinf(cells).any():
        return None
    steps = np.diff(cells.astype(np.float64))
    return steps if (steps > 0).all() or (steps < 0).all() else None


def _counts(steps):
    # By like steps, as measurements that are sorted rarely do.
    if steps is None or steps.std() < UNLIKE * abs(steps.mean()):
        return steps is not None
    line = np.corrcoef(steps.cumsum(), np.arange(len(steps)))[0, 1]
    return abs(line) > STRAIGHT and (steps == np.floor(steps)).all()


def _is_new_text(column):
    cells = np.asarray(column)
    known = cells[:0] if cells.dtype.kind in "biuf" else cells
    texts = [cell for cell in known.tolist() if isinstance(cell, str)]
    return len(texts) >= MIN_TOLD and len({*texts}) > MOSTLY * len(texts)


def read_table(estimator, X, *, reset):
    """The rows of a table as numbers, for an estimator that keeps ``columns_``."""
    X = unmasked(as_native(X))
    if hasattr(X, "columns"):
        check_frame(estimator, X, reset=reset)
    else:
        X = X.reshape(len(X), prod(X.shape[1:])) if getattr(X, "ndim", 2) > 2 else X
        if not hasattr(X, "dtype") and np.asarray(X).dtype.kind in "US":
            X = np.array(X, dtype=object)  # or its numbers would be text
        X = validate_data(estimator, X, reset=reset, dtype=None, ensure_all_finite="allow-nan")
    if reset:
        warn_of_columns(X)
        estimator.columns_ = of_rows(X, "columns", lambda: TableColumns.of(X))
        if (estimator.columns_.kinds == EMPTY).all():
            raise ValueError(f"Got X with {X.shape[1]} columns, but expected one with a value.")
    columns = estimator.columns_
    if _is_plain(X):
        return columns.read(X)
    key = *columns.kinds, *(tuple(levels.tolist()) for levels in columns.levels)
    return of_rows(X, key, lambda: columns.read(X))


def _is_plain(table):
    return isinstance(table, np.ndarray) and table.dtype.kind in "biuf"


def _plain_columns(table):
    types = getattr(table, "dtypes", [None] * table.shape[1])
    return np.array([isinstance(each, np.dtype) and each.kind in "iuf" for each in types])


def _columns(table, places):
    names = getattr(table, "columns", range(table.shape[1]))
    by_place = getattr(table, "iloc", table)
    return ((j, str(names[j]), by_place[:, j]) for j in places)


def _cells(name, column, kind=None):
    """Cells of a column: float64 where they are numbers, else text or None."""
    values, declared = np.asarray(column), str(getattr(column, "dtype", "")).lower()
    # In a column that held numbers, declared categories and booleans are numbers, too.
    named = kind != NUMBER and declared.startswith(("bool", "cat", "enum"))
    is_text = named or (kind == CATEGORY and values.dtype.kind in "iuO")
    if values.ndim > 1:
        raise _refused(name, "cells that hold several values")
    if values.dtype.kind in "mM":
        raise _refused(name, f"dates or times ({values.dtype})", ValueError)
    if values.dtype.kind in "biuf" and not is_text:
        if np.isinf(values).any():
            raise ValueError(
                f"Got X with infinity in column {name!r}; expected finite numbers."
            )
        return values.astype(np.float64)
    cells = values.tolist()
    try:
        distinct = set(cells)
    except TypeError as error:
        raise _refused(name, "cells that hold several values") from error
    meaning = {cell: _meaning(cell, name, named) for cell in distinct}
    if is_text or any(isinstance(each, str) for each in meaning.values()):
        meaning = {cell: _as_text(cell, m) for cell, m in meaning.items()}
        return [meaning[cell] for cell in cells]
    return np.array([meaning[cell] for cell in cells], dtype=np.float64)  # None is NaN


def _meaning(cell, name, named):
    """A cell as text or a float; None where it is missing. Declared categories are text."""
    if is_missing(cell):
        return None
    if isinstance(cell, (Real, np.bool_)) or type(cell).__name__ == "Decimal":
        return float(cell)
    if named or isinstance(cell, str):
        return str(cell)
    if isinstance(cell, (date, time, timedelta)):
        raise _refused(name, f"dates or times such as {cell!r}", ValueError)
    raise _refused(name, f"{cell!r}")


def _as_text(cell, meaning):
    """What a cell means as text; whole numbers that floats round are themselves."""
    is_rounded = isinstance(cell, Integral) and abs(cell) > EXACT
    return None if meaning is None else str(int(cell) if is_rounded else meaning)


def _refused(name, found, kind=TypeError):
    return kind(
        f"Got X with {found} in column {name!r}, but expected numbers, text, booleans or "
        "missing cells; turn it into one of these (a date into days since another), or drop it."
    )


def _kind(cells):
    if isinstance(cells, list):
        return EMPTY if cells.count(None) == len(cells) else CATEGORY
    return EMPTY if np.isnan(cells).all() else NUMBER


def _levels(cells):
    counts = Counter(cells) if isinstance(cells, list) else Counter()
    del counts[None]
    frequent = sorted(counts, key=lambda level: (-counts[level], level))
    if len(frequent) > MAX_LEVELS:  # none of those that are as frequent as the next
        least = counts[frequent[MAX_LEVELS]]
        frequent = [level for level in frequent if counts[level] > least]
    return np.array(frequent, dtype=np.str_)


def _numbers(name, column, kind, levels):
    cells = _cells(name, column, kind) if kind != EMPTY else np.full(len(column), np.nan)
    if kind != CATEGORY:
        if isinstance(cells, list) and _kind(cells) != EMPTY:
            text = next(cell for cell in cells if cell is not None)
            raise ValueError(
                f"Got X with {text!r} in column {name!r}, which held numbers in fit; expected "
                "numbers or missing cells."
            )
        return np.clip(np.array(cells, dtype=np.float64), -LARGEST, LARGEST)
    if isinstance(cells, np.ndarray):
        cells = [None if np.isnan(cell) else str(cell) for cell in cells.tolist()]
    return positions_in(levels.tolist(), cells)


def positions_in(known, cells):
    """Position of each cell among known ones: NaN where it is missing, their number if new."""
    position = {cell: code for code, cell in enumerate(known)} | {None: np.nan}
    # Types may change: text that says a number is this number; "01" and "1" are different.
    if others := {*cells} - position.keys():
        texts = {_text(cell): code for code, cell in reversed([*enumerate(known)])}
        numbers = {_as_number(text): code for text, code in texts.items()}
        for cell in others:
            text = _text(cell)
            place = texts.get(_as_number(text), len(known))
            position[cell] = numbers.get(text, place)
    return np.array([position[cell] for cell in cells], dtype=np.float64)


def _text(cell):
    return cell if isinstance(cell, str) else _as_number(str(cell))


def _as_number(text):
    """Text as a number is written here, where it is one."""
    try:
        return str(float({"true": 1, "false": 0}.get(text.lower(), text)))
    except ValueError:
        return text


def is_missing(cell):
    """Whether a cell is None, NaN or pandas' NA."""
    return cell is None or is_pandas_na(cell) or cell != cell


def takes_tables(tags):
    """Tags of an estimator that reads tables as they are."""
    given = tags.input_tags
    given.allow_nan = given.categorical = given.string = True
    return tags


@dataclass(frozen=True)
class Indicators:
    """Standardised numbers, 0 if missing, and 0 or 1 for each frequent category of a column."""

    # The columns of numbers; then of which column and category each indicator is, -1: missing.
    numbers: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    columns: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, rows, is_category):
        missing = np.isnan(rows)
        present = ~missing.all(axis=0)
        numbers = np.flatnonzero(present & ~is_category)
        codes = np.where(missing, -1.0, rows)
        marked = [(j, _common(codes[:, j])) for j in np.flatnonzero(present & is_category)]
        marked += [(j, [-1]) for j in numbers if missing[:, j].any()]
        owner = np.repeat([j for j, _ in marked], [len(each) for _, each in marked])
        code = np.concatenate([np.empty(0), *(each for _, each in marked)])
        known = rows[:, numbers]
        centre, spread = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
        scale = np.where(spread > 0, spread, 1.0)
        return cls(numbers, centre, scale, owner.astype(np.int64), code.astype(np.int64))

    def encode(self, rows):
        """The rows, standardised numbers first, as (n_samples, n_columns) in float64."""
        numbers = np.nan_to_num((rows[:, self.numbers] - self.centre) / self.scale)
        numbers = numbers.clip(-LARGEST, LARGEST)
        codes = np.nan_to_num(rows[:, self.columns], nan=-1.0)
        return np.hstack([numbers, codes == self.codes])


def _common(codes):
    values, counts = np.unique(codes, return_counts=True)
    frequent = np.argsort(-counts, kind="stable")[:MAX_INDICATORS]
    return values[frequent[counts[frequent] > 1]]


class TableEncoder(TransformerMixin, Parameterized):
    """Numbers of like spread in place of a table: for densities, neighbours and networks.

    A column of numbers is standardised, and 0 where it is missing, which an indicator marks
    where training rows missed it. A column of categories becomes one indicator for each of its
    32 most frequent ones, a missing cell among them. What is new, or what a single training row
    had, has no indicator: such a row lies between the others, not infinitely far.

    Attributes
    ----------
    columns_ : TableColumns
        Kind of each column, and its categories.
    indicators_ : Indicators
        Means and standard deviations, and what each indicator stands for.

    Notes
    -----
    A column is taken for categories where it is text, boolean or declared so, and else for
    numbers; later it may come in another type. A category beyond the 10,000 most frequent, or a
    new one, is read as one more, rare one. Empty columns are left out; dates are refused.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_ood import TableEncoder
    >>> frame = pd.DataFrame({"size": [1.0, 3.0, None, 2.0], "colour": ["r", "g", "r", "g"]})
    >>> encoder = TableEncoder().set_output(transform="pandas")
    >>> encoder.fit_transform(frame).columns.tolist()
    ['size', 'colour_g', 'colour_r', 'size_missing']
    """

    columns_: TableColumns = fitted()
    indicators_: Indicators = fitted()

    def fit(self, X, y=None):
        """Learn the kinds of the columns, their spread and their categories.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
        y : None
            Ignored.
        """
        rows = read_table(self, X, reset=True)
        self.indicators_ = Indicators.of(rows, self.columns_.is_category)
        return self

    def transform(self, X):
        """The table as numbers, (n_samples, n_features_out) in float64."""
        check_is_fitted(self)
        return self.indicators_.encode(read_table(self, X, reset=False))

    def get_feature_names_out(self, input_features=None):
        """Names of what ``transform`` gives: "<column>", "<column>_<category>"; each once."""
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        learned, levels = self.indicators_, self.columns_.levels
        marked = zip(learned.columns.tolist(), learned.codes.tolist(), strict=True)
        marks = [f"{names[j]}_{[*levels[j], 'rare', 'missing'][code]}" for j, code in marked]
        once = {}
        for name in (*names[learned.numbers], *marks):
            while name in once:  # a column may be called as a category of another
                name += "_"
            once[name] = None
        return np.array([*once], dtype=object)

    def __sklearn_tags__(self):
        return takes_tables(super().__sklearn_tags__())
