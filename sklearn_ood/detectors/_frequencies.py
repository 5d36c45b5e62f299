"""How frequent the values of a column are in each class, and what new and missing ones say."""

from dataclasses import dataclass

import numpy as np

# Nats below what its column has on average: for a value that nobody has seen, and at most
# for a missing cell.
SURPRISE, MISSING_SURPRISE = 1.0, 0.5


@dataclass(frozen=True)
class Frequencies:
    """Log frequencies of the values of counted columns, in each class.

    Attributes
    ----------
    columns : ndarray of int of shape (n_counted,)
        Positions of the columns.
    values : list of ndarray of float
        The known values of each, sorted.
    log_p : ndarray of float of shape (n_cells, n_classes)
        Of every column its known values in order, any other, a missing cell.
    """

    columns: np.ndarray
    values: list
    log_p: np.ndarray

    @classmethod
    def of(cls, rows, codes, columns, smoothing):
        """Frequencies in each class, drawn to those in the table as by ``smoothing`` rows."""
        values = [np.unique(rows[~np.isnan(rows[:, j]), j]) for j in columns]
        empty = cls(columns, values, np.empty((0, 0)))
        tables = [
            _log_frequencies(place, codes, len(known), smoothing)
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
        """Sum over the columns, (n_samples, n_classes)."""
        sizes = np.array([len(known) + 2 for known in self.values], dtype=np.int64)
        cells = self.places(rows) + np.cumsum(sizes) - sizes
        total = np.zeros((len(rows), self.log_p.shape[1]))
        for cell in cells.T:
            total += self.log_p[cell]
        return total


def _log_frequencies(place, codes, n_known, smoothing):
    """Of one column, (n_known + 2, n_classes): known values, any other, missing cells."""
    n_classes = codes.max() + 1
    counts = np.zeros((n_known + 2, n_classes))
    np.add.at(counts, (place, codes), 1.0)
    overall = counts.sum(axis=1, keepdims=True) + 0.5
    counts += smoothing * overall / overall.sum()
    log_p = np.log(counts / counts.sum(axis=0))
    average = (np.exp(log_p) * log_p).sum(axis=0)
    log_p[n_known] = average - SURPRISE
    log_p[n_known + 1] = np.maximum(log_p[n_known + 1], average - MISSING_SURPRISE)
    return log_p
