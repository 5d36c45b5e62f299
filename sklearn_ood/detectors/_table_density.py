from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from typing import Literal

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.utils import check_random_state
from torch.nn.functional import pad

from sklearn_ood._parameters import Count, Positive, RandomState, drawn_seed, fitted
from sklearn_ood.base import OODClassifier
from sklearn_ood.data._labels import some_of_each_class
from sklearn_ood.data._tables import TableColumns, read_table
from sklearn_ood.generators import GaussianMixtureGenerator, PCAGenerator
from sklearn_ood.generators._mixture import Form
from sklearn_ood.nets._evaluation import ROW_BLOCK, device_of, map_batches, rows_per_batch

MIXTURE_MAX_FEATURES = 64
# Of the mixtures beside the one whose form is chosen.
MORE_COMPONENTS = 8, 16
# Where a density underflows; a number, so that classes still compare.
LEAST = -1e150
# Nats below what its column has on average: for a value that nobody has seen, and at most
# for a missing cell.
SURPRISE, MISSING_SURPRISE = 1.0, 0.5


@dataclass(frozen=True)
class Frequencies:
    """Log frequencies (n_cells, n_classes) of the values of counted columns, in each class."""

    columns: np.ndarray
    values: list  # the known ones of each column, sorted
    log_p: np.ndarray  # of every column these, any other, a missing cell

    @classmethod
    def of(cls, known, columns, smoothing):
        """Frequencies in each class, drawn to those in the table as by ``smoothing`` rows."""
        rows, codes, weight = known
        values = [np.unique(rows[~np.isnan(rows[:, j]), j]) for j in columns]
        empty = cls(columns, values, np.empty((0, 0)))
        tables = [
            _log_frequencies(place, codes, weight, len(known), smoothing)
            for place, known in zip(empty.places(rows).T, values, strict=True)
        ]
        log_p = np.concatenate(tables) if tables else np.empty((0, codes.max() + 1))
        return cls(columns, values, log_p)

    def places(self, rows):
        """Position of each cell among its column's: known values, any other, missing."""
        places = np.empty((len(rows), len(self.columns)), dtype=np.int64)
        for place, j, known in zip(places.T, self.columns, self.values, strict=True):
            found = np.searchsorted(known, rows[:, j]).clip(max=len(known) - 1)
            place[:] = np.where(known[found] == rows[:, j], found, len(known))
            place[np.isnan(rows[:, j])] = len(known) + 1
        return places

    def log_likelihood(self, rows):
        sizes = np.array([len(known) + 2 for known in self.values], dtype=np.int64)
        cells = self.places(rows) + np.cumsum(sizes) - sizes
        total = np.zeros((len(rows), self.log_p.shape[1]))
        for cell in cells.T:
            total += self.log_p[cell]
        return total


def _log_frequencies(place, codes, weight, n_known, smoothing):
    """Of one column, (n_known + 2, n_classes): known values, any other, missing cells."""
    n_classes = codes.max() + 1
    counts = np.zeros((n_known + 2, n_classes))
    np.add.at(counts, (place, codes), 1.0 if weight is None else weight)
    overall = counts.sum(axis=1, keepdims=True) + 0.5
    counts += smoothing * overall / overall.sum()
    log_p = np.log(counts / counts.sum(axis=0))
    average = (np.exp(log_p) * log_p).sum(axis=0)
    # By the class, a new value of many would tell how few rows that has.
    log_p[n_known] = average @ (counts.sum(axis=0) / counts.sum()) - SURPRISE
    log_p[n_known + 1] = np.maximum(log_p[n_known + 1], average - MISSING_SURPRISE)
    return log_p


class TableDensity(OODClassifier):
    """Likelihood of a row of a table in each class, one factor a family of columns.

    Numbers have a density in each class, mixtures of Gaussians; each column of categories
    has its frequencies. So a rare combination of common values counts by its numbers, a rare
    category by its column, and a row that is strange in many columns by all of them.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Of the mixtures, see :class:`~sklearn_ood.generators.GaussianMixtureGenerator`; with
        several classes, "auto" is the mean density of the form chosen there, of 8 components
        and of 16. More than 64 columns of numbers have a PCA a class instead.
    smoothing : float > 0, default=0.1
        How many rows of each class are imagined to be as in the whole table.
    max_samples : int >= 1 or None, default=20000
        Learn numbers from at most this many rows, drawn at random.

    Attributes
    ----------
    columns_ : TableColumns
        Kind of each column, and its categories.
    densities_ : list of generators
        Of the numbers, their mean counts; none where there are no numbers.
    frequencies_ : Frequencies
        Of the categories, and of numbers that have no more than two values.

    Notes
    -----
    The evidence is the log-likelihood in nats, and ``score_samples`` that of the likeliest
    class. ``predict_proba`` is its softmax, which is overconfident.

    A category that no row had counts one nat less than its column does on average. A missing
    cell is a category of its own, but costs half a nat at most. Missing numbers count as they
    do on average, beside the density of the others; to learn the mixture they are drawn from
    the class's others.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_ood import TableDensity
    >>> frame = pd.DataFrame({"colour": ["red", "green"] * 30, "size": range(60)})
    >>> density = TableDensity(random_state=0).fit(frame)
    >>> scores = density.score_samples(pd.DataFrame({"colour": ["red"] * 2, "size": [9, 900]}))
    >>> bool(scores[0] > scores[1])
    True
    """

    n_components: Count | Literal["auto"] | Form = field(default="auto", kw_only=False)
    smoothing: Positive = 0.1
    max_samples: Count | None = 20_000
    n_jobs: int | None = None
    random_state: RandomState = None

    columns_: TableColumns = fitted()
    numbers_: np.ndarray = fitted()
    centre_: np.ndarray = fitted()
    scale_: np.ndarray = fitted()
    densities_: list = fitted()
    frequencies_: Frequencies = fitted()

    _needs_labels = False
    _read_rows = staticmethod(read_table)

    def fit(self, X, y=None, **params):
        """Learn the likelihood of each class; mixtures from rows drawn by ``sample_weight``.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
        """
        data = self._training_data(X, y, self._weight_in(params))
        rows = data.known.rows
        random_state = check_random_state(self.random_state)
        counted = self.columns_.is_category | _has_few_values(rows)
        present = ~np.isnan(rows).all(axis=0)
        counted_there = np.flatnonzero(counted & present)
        self.frequencies_ = Frequencies.of(data.known, counted_there, self.smoothing)
        self.numbers_ = np.flatnonzero(~counted & present)
        spread = np.nanstd(rows[:, self.numbers_], axis=0)
        self.centre_ = np.nanmean(rows[:, self.numbers_], axis=0)
        self.scale_ = np.where(spread > 0, spread, 1.0)
        self.densities_ = []
        if len(self.numbers_):
            rows, codes, _ = data.known.drawn()
            kept = some_of_each_class(codes, self.max_samples, random_state)
            first, *others = self._unfitted(len(data.classes), drawn_seed(random_state))
            numbers = _filled(self._standardised(rows[kept]), codes[kept], random_state)
            labels = data.classes[codes[kept]]
            self.densities_ = [first.fit(numbers, labels)]
            for each in others:
                same = first if _is_of(first, each) else each.fit(numbers, labels)
                self.densities_.append(same)
        self.classes_ = data.classes
        return self

    def chosen_params(self):
        """Parameters of another one whose mixtures are of the same forms."""
        return getattr(self.densities_[0], "chosen_params", dict)() if self.densities_ else {}

    def _unfitted(self, n_classes, seed):
        """The densities of numbers: one, or several whose mean errs less than each."""
        if len(self.numbers_) > MIXTURE_MAX_FEATURES:
            return [PCAGenerator()]
        several = n_classes > 1 and not isinstance(self.n_components, Integral)
        options = {"n_jobs": self.n_jobs, "random_state": seed}
        sizes = [self.n_components, *(MORE_COMPONENTS if several else ())]
        return [GaussianMixtureGenerator(size, **options) for size in sizes]

    def _evidence(self, rows):
        evidence = self.frequencies_.log_likelihood(rows)
        if self.densities_:
            numbers = self._standardised(rows)
            found = [_log_density(density, numbers) for density in self.densities_]
            evidence += logsumexp(found, axis=0) - np.log(len(found))
        return np.maximum(evidence - np.log(self.scale_).sum(), LEAST)

    def _standardised(self, rows):
        return (rows[:, self.numbers_] - self.centre_) / self.scale_


def _is_of(mixture, unfitted):
    """Whether a mixture, whose form was chosen, is what another would be once fitted."""
    chosen = mixture.n_components_, mixture.reg_covar_
    return chosen == (unfitted.n_components, unfitted.reg_covar)


def _has_few_values(rows):
    """Which columns have at most two values, which are counted as categories are."""
    low = np.nanmin(rows, axis=0, initial=np.inf)
    high = np.nanmax(rows, axis=0, initial=-np.inf)
    return ((rows == low) | (rows == high) | np.isnan(rows)).all(axis=0)


def _log_density(density, numbers):
    """Of standardised numbers, some of them missing, in each class."""
    core = density.core_
    if isinstance(density, PCAGenerator):
        numbers = np.nan_to_num(numbers)
    missing = np.isnan(numbers).any(axis=1)
    found = np.empty((len(numbers), core.n_classes))
    for some, log_density, width in (
        (~missing, core.log_density, core.floats_per_row),
        (missing, partial(log_density_of_some, core), core.n_features * core.floats_per_row),
    ):
        if some.any():
            where = {"device": device_of(core), "max_rows": rows_per_batch(width)}
            found[some] = map_batches(log_density, numbers[some], **where)
    return found


def _filled(numbers, codes, random_state):
    """Numbers in which a missing one is drawn from the others of its column and class."""
    filled = numbers.copy()
    for column in (filled[:, j] for j in np.flatnonzero(np.isnan(numbers).any(axis=0))):
        known, lost = np.flatnonzero(~np.isnan(column)), np.flatnonzero(np.isnan(column))
        known = known[np.argsort(codes[known], kind="stable")]
        counts = np.bincount(codes[known], minlength=codes.max() + 1)
        first = np.cumsum(counts) - counts
        alone = counts == 0  # a class without any takes those of all classes
        first[alone], counts[alone] = 0, len(known)
        place = first[codes[lost]] + random_state.rand(len(lost)) * counts[codes[lost]]
        column[lost] = column[known[place.astype(np.int64)]]
    return filled


def log_density_of_some(core, x):
    """Log densities (n, K) of rows with NaN: exact for a Gaussian, less half a nat for each."""
    d, used = core.n_features, core.weights > 0  # the others are padding
    covariance = core.covariance_root[used] @ core.covariance_root[used].mT
    seen = ~x.isnan()
    away = ((x - core.centre) / core.scale)[:, None] - core.means[used]
    both = (seen[:, :, None] & seen[:, None])[:, None]
    known = torch.where(both, covariance, torch.eye(d).to(covariance))
    # Solved in whole blocks, or where a row lies in memory would round it.
    wide = d + -d % ROW_BLOCK
    root = torch.eye(wide).to(known).repeat(*known.shape[:2], 1, 1)
    root[..., :d, :d] = torch.linalg.cholesky(known)
    away = pad(away.nan_to_num(), (0, wide - d))[..., None]
    white = torch.linalg.solve_triangular(root, away, upper=False)
    squares = torch.full((len(x), *used.shape), torch.inf).to(x)  # of padding
    squares[:, used] = white[..., 0].square().sum(2)
    return from_squares(core, seen, squares)


def from_squares(core, seen, squares):
    """Log densities (n, K) by the squared distances (n, K, W) of what is seen of each row."""
    squares = squares + (~seen).sum(dim=1)[:, None, None]
    log_scale = torch.diagonal(core.precision_root, dim1=2, dim2=3).log().sum(dim=2)
    constant = core.weights.log() + log_scale - core.scale.log().sum()
    log_density = constant - 0.5 * (squares + core.n_features * float(np.log(2 * np.pi)))
    return log_density.logsumexp(2)
