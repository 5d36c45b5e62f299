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

        def counted(j):
            place = _places(rows[:, j], n_levels[j])
            return place, _counted(place, n_levels[j] + 2, part, codes, weight)

        best = {j: _best_smoothing(*counted(j), part, codes, weight) for j in columns}
        found = {j: smoothing for j, smoothing in best.items() if smoothing is not None}
        frequent = np.argsort(-np.bincount(codes, weights=weight), kind="stable")
        classes = np.sort(frequent[: max(2, MAX_SHARES // max(1, len(found)))])
        tables, learned = [], [np.empty((len(rows), 0))]
        for j, smoothing in found.items():
            place, counts = counted(j)
            total = counts.sum(axis=0)
            both = np.stack([total, *(total - counts).clip(min=0)])
            ratios = _log_ratios(both, _shares(total), smoothing)
            ratios = np.diff(ratios) if codes.max() == 1 else ratios[..., classes]
            tables.append(ratios[0])
            learned.append(ratios[part + 1, place])
        return cls(np.array([*found], dtype=np.int64), tables), np.hstack(learned)

    def encode(self, rows):
        """Numbers for new rows, (n_samples, n_numbers)."""
        pairs = zip(self.columns, self.log_ratios, strict=True)
        told = [table[_places(rows[:, j], len(table) - 2)] for j, table in pairs]
        return np.hstack([np.empty((len(rows), 0)), *told])


def _places(column, n_levels):
    """Of the levels their own, any other that follows, then missing cells."""
    return np.nan_to_num(column, nan=n_levels + 1).astype(np.int64)


def _counted(place, n_places, part, codes, weight):
    """The weight (n_parts, n_places, n_classes) of a column's rows."""
    counts = np.zeros((N_PARTS, n_places, codes.max() + 1))
    np.add.at(counts, (part, place, codes), weight)
    return counts


def _best_smoothing(place, counts, part, codes, weight):
    """That with which the other parts tell the classes of rows best; None if by chance."""
    others = (counts.sum(axis=0) - counts).clip(min=0)
    own, of_all = others[part, place, codes], others.sum(axis=2)[part, place]
    share = _shares(counts.sum(axis=0))[codes]
    tried = [np.log((own + n * share) / (of_all + n)) - np.log(share) for n in SMOOTHINGS]
    gains = weight * np.stack(tried)
    best = gains.sum(axis=1).argmax()
    is_sure = gains[best].sum() > max(SURE * np.linalg.norm(gains[best]), LEAST_GAIN)
    return SMOOTHINGS[best] if is_sure else None


def _shares(total):
    return np.maximum(total.sum(axis=0) / total.sum(), LEAST_SHARE)


def _log_ratios(counts, share, smoothing):
    imagined = counts + smoothing * share
    return np.log(imagined / imagined.sum(axis=-1, keepdims=True)) - np.log(share)
