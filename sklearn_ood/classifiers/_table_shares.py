"""What the many levels of a column say of the classes, as numbers to learn from."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import check_random_state

from sklearn_ood.data._labels import rank_in_class

# How many rows of each level are imagined, of classes as in the whole table.
SMOOTHINGS = 1.0, 4.0, 16.0, 64.0
# A row that is learned from is told of its level by the rows of the other parts.
N_PARTS = 5
# What a column has to tell of rows it has not seen: standard deviations, and nats in all.
SURE, LEAST_GAIN = 2.0, 1.0
# Numbers in all columns together; those of the most frequent classes.
MAX_SHARES = 64
LEAST_SHARE = 1e-9


@dataclass(frozen=True)
class ClassShares:
    """Shares of the classes among a level's rows, by those among all rows: target encoding.

    ``log_ratios`` are the logarithms, for each of ``columns`` an array (n_levels + 2, n_told):
    of its levels, of any other, of a missing cell; 0 where nothing is known. Of two classes it
    is one number, their difference.
    """

    columns: np.ndarray
    log_ratios: list

    @classmethod
    def of(cls, known, columns, n_levels, seed):
        """Shares for new rows, and the numbers (n_samples, n_numbers) to learn from.

        Of the columns that tell, beyond chance, which class a row has that they have not seen,
        each smoothed as is best for such rows.
        """
        rows, codes, weight = known.rows, known.codes, known.weights
        order = check_random_state(seed).permutation(len(rows))
        part = np.empty(len(rows), dtype=np.int64)
        part[order] = rank_in_class(codes[order]) % N_PARTS
        found = {
            j: _told(_places(rows[:, j], n_levels[j]), n_levels[j] + 2, part, codes, weight)
            for j in columns
        }
        found = {j: told for j, told in found.items() if told is not None}
        frequent = np.argsort(-np.bincount(codes, weights=weight), kind="stable")
        classes = np.sort(frequent[: max(2, MAX_SHARES // max(1, len(found)))])
        narrow = np.diff if codes.max() == 1 else lambda ratios: ratios[:, classes]
        tables = [narrow(table) for table, _ in found.values()]
        learned = [narrow(by_others) for _, by_others in found.values()]
        places = np.array([*found], dtype=np.int64)
        return cls(places, tables), np.hstack([np.empty((len(rows), 0)), *learned])

    def encode(self, rows):
        """Numbers for new rows, (n_samples, n_numbers)."""
        pairs = zip(self.columns, self.log_ratios, strict=True)
        told = [table[_places(rows[:, j], len(table) - 2)] for j, table in pairs]
        return np.hstack([np.empty((len(rows), 0)), *told])


def _places(column, n_levels):
    """Of the levels their own, any other that follows, then missing cells."""
    return np.nan_to_num(column, nan=n_levels + 1).astype(np.int64)


def _told(place, n_places, part, codes, weight):
    """Log ratios of a column's places, and of the rows as others tell; None if by chance."""
    counts = np.zeros((N_PARTS, n_places, codes.max() + 1))
    np.add.at(counts, (part, place, codes), weight)
    total = counts.sum(axis=0)
    share = np.maximum(total.sum(axis=0) / total.sum(), LEAST_SHARE)
    others = np.maximum(total - counts, 0.0)[part, place]
    tried = [_log_ratios(others, share, smoothing) for smoothing in SMOOTHINGS]
    gains = np.stack([weight * ratios[np.arange(len(codes)), codes] for ratios in tried])
    best = gains.sum(axis=1).argmax()
    if gains[best].sum() <= max(SURE * np.linalg.norm(gains[best]), LEAST_GAIN):
        return None
    return _log_ratios(total, share, SMOOTHINGS[best]), tried[best]


def _log_ratios(counts, share, smoothing):
    imagined = counts + smoothing * share
    return np.log(imagined / imagined.sum(axis=-1, keepdims=True)) - np.log(share)
