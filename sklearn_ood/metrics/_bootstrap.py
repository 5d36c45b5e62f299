"""How sure is a metric? Percentile intervals from resampled rows."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from sklearn_ood._parameters import Count, RandomState, Share, check_arguments
from sklearn_ood.metrics._blocks import as_rows, block_of_rows, idle_starts

_CELLS_AT_ONCE = 2**16  # stays in the cache of one core


def bootstrap_interval(
    metric: Callable[..., float],
    *rows: ArrayLike,
    confidence_level: Share = 0.95,
    n_resamples: Count = 10_000,
    random_state: RandomState = None,
    n_jobs: int | None = None,
    **params: Any,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a metric over the rows.

    For the ranking metrics of this package the rows are sorted once and all resamples are
    computed together from how often each row was drawn. Any other metric that takes
    ``sample_weight`` is called once a resample.

    Parameters
    ----------
    metric : callable
        Called as ``metric(*rows, sample_weight=..., **params)``; returns a number.
    *rows : array-likes of shape (n_samples,)
        The metric's arguments, all of one length.
    confidence_level : float, default=0.95
        In (0, 1).
    n_resamples : int, default=10_000
        At least 1.
    random_state : int, RandomState instance or None, default=None
        Draws the resamples.
    n_jobs : int, default=None
        Workers for metrics that are called once a resample; the interval is the same.
    **params
        Further keyword arguments of the metric; ``sample_weight`` is not one of them.

    Returns
    -------
    low, high : float
        Resamples in which the metric has no value (no outlier was drawn, say) are left out.

    Raises
    ------
    ValueError
        If the metric has no value on the rows, lengths differ or a parameter is out of range.
    TypeError
        If ``metric`` takes no ``sample_weight``, or it is given.

    References
    ----------
    .. [1] Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics
       7(1), 1979.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.metrics import aurc_score, bootstrap_interval
    >>> confidence = np.linspace(0, 1, 200)
    >>> wrong = np.sin(40 * confidence) > 1.6 * confidence
    >>> low, high = bootstrap_interval(
    ...     aurc_score, wrong, np.zeros(200), confidence, random_state=0
    ... )
    >>> bool(low < aurc_score(wrong, np.zeros(200), confidence) < high)
    True
    """
    settings = {"confidence_level": confidence_level, "n_resamples": n_resamples}
    check_arguments(bootstrap_interval, settings)
    if "sample_weight" in params:
        raise TypeError(
            "Got sample_weight, but the bootstrap weighs each row by how often it was drawn; "
            "leave it out."
        )
    seeds = np.random.SeedSequence(check_random_state(random_state).randint(2**31 - 1))
    if hasattr(metric, "resampled"):
        values = _values_at_once(metric.resampled(*rows, **params), n_resamples, seeds)
    else:
        values = _values_one_by_one(metric, rows, params, n_resamples, seeds, n_jobs)
    values = values[~np.isnan(values)]
    if values.size == 0:
        raise ValueError(
            f"Got no value of the metric in {n_resamples} resamples; give more rows of the "
            "kind that it needs."
        )
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _values_at_once(resampled, n_resamples, seeds):
    (kind, n_kinds, confidence, _), compute, joins_idle = resampled
    cell, n_blocks = _cells(kind, n_kinds, confidence, joins_idle)
    draw = _drawer(cell, np.random.Generator(np.random.SFC64(seeds)))
    at_once = max(1, _CELLS_AT_ONCE // (n_kinds * n_blocks))
    values = []
    for start in range(0, n_resamples, at_once):
        size = min(at_once, n_resamples - start)
        counts = draw(size, n_kinds * n_blocks).reshape(size, n_kinds, n_blocks)
        with np.errstate(invalid="ignore", divide="ignore"):
            values.append(compute(counts))
    return np.concatenate(values)


def _cells(kind, n_kinds, confidence, joins_idle):
    """Index of each row in the flattened (n_kinds, n_blocks) counts."""
    values, block = block_of_rows(confidence)
    n_blocks = len(values)
    if joins_idle:
        counts = np.bincount(kind * n_blocks + block, minlength=n_kinds * n_blocks)
        starts = idle_starts(counts.reshape(n_kinds, n_blocks))
        block = np.searchsorted(starts, block, side="right") - 1
        n_blocks = len(starts)
    return kind * n_blocks + block, n_blocks


def _drawer(cell, rng):
    """Function that draws the cell counts of many resamples."""
    used, n_rows_of = np.unique(cell, return_counts=True)
    n_rows = cell.size

    def by_cell(size, n_cells):
        counts = np.zeros((size, n_cells), dtype=np.int64)
        counts[:, used] = rng.multinomial(n_rows, n_rows_of / n_rows, size=size)
        return counts

    def by_row(size, n_cells):
        drawn = rng.integers(n_rows, size=(size, n_rows))
        cells = (cell.take(rows, mode="clip") for rows in drawn)
        return np.stack([np.bincount(each, minlength=n_cells) for each in cells])

    return by_cell if 10 * used.size < n_rows else by_row


def _values_one_by_one(metric, rows, params, n_resamples, seeds, n_jobs):
    if "sample_weight" not in signature(metric).parameters:
        raise TypeError(
            f"Got metric={metric!r}, which takes no sample_weight, but a resample is passed as "
            "weights: how often each row was drawn."
        )
    n_rows = as_rows("the first array", rows[0]).size

    def value(seed):
        drawn = np.random.default_rng(seed).integers(n_rows, size=n_rows)
        weight = np.bincount(drawn, minlength=n_rows).astype(np.float64)
        return metric(*rows, sample_weight=weight, **params)

    values = Parallel(n_jobs=n_jobs)(delayed(value)(seed) for seed in seeds.spawn(n_resamples))
    return np.array(values)
