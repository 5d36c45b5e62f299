"""How sure is a metric? Percentile intervals from resampled rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing, check_consistent_length, check_random_state
from sklearn.utils.validation import _num_samples

from sklearn_ood._parameters import Count, RandomState, Share, check_arguments
from sklearn_ood.metrics._blocks import block_of_rows, idle_starts

_CELLS_AT_ONCE = 2**16  # stays in the cache of one core


def bootstrap_interval(
    metric: Callable[..., float],
    *rows: ArrayLike,
    confidence_level: Share = 0.95,
    n_resamples: Count = 10_000,
    random_state: RandomState = None,
    **params: Any,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a metric over the rows.

    For the ranking metrics of this package the rows are sorted once and all resamples are
    computed together from how often each row was drawn. Any other metric is called once a
    resample.

    Parameters
    ----------
    metric : callable
        Called as ``metric(*rows, **params)``; returns a number.
    *rows : array-likes of shape (n_samples,)
        The metric's arguments, all of one length.
    confidence_level : float, default=0.95
        In (0, 1).
    n_resamples : int, default=10_000
        At least 1.
    random_state : int, RandomState instance or None, default=None
        Draws the resamples.
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
        If ``sample_weight`` is given.

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
    seed = check_random_state(random_state).randint(2**31 - 1)
    draws = n_resamples, np.random.Generator(np.random.SFC64(seed))
    if hasattr(metric, "resampled"):
        values = _values_at_once(metric.resampled(*rows, **params), *draws)
    else:
        values = _values_one_by_one(metric, rows, params, *draws)
    values = values[~np.isnan(values)]
    if values.size == 0:
        raise ValueError(
            f"Got no value of the metric in {n_resamples} resamples; give more rows of the "
            "kind that it needs."
        )
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _values_at_once(resampled, n_resamples, rng):
    """Values of a function of counts: of how often each cell's rows were drawn."""
    (kind, n_kinds, confidence, _), compute, joins_idle = resampled
    cell, n_blocks = _cells(kind, n_kinds, confidence, joins_idle)
    n_rows, n_cells, values = len(cell), n_kinds * n_blocks, []
    at_once = max(1, _CELLS_AT_ONCE // n_cells)
    for start in range(0, n_resamples, at_once):
        drawn = rng.integers(n_rows, size=(min(at_once, n_resamples - start), n_rows))
        cells = (cell.take(rows, mode="clip") for rows in drawn)
        counts = np.stack([np.bincount(each, minlength=n_cells) for each in cells])
        with np.errstate(invalid="ignore", divide="ignore"):
            values.append(compute(counts.reshape(-1, n_kinds, n_blocks)))
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


def _values_one_by_one(metric, rows, params, n_resamples, rng):
    check_consistent_length(*rows)
    n_rows = _num_samples(rows[0])
    draws = (rng.integers(n_rows, size=n_rows) for _ in range(n_resamples))
    resamples = ([_safe_indexing(each, drawn) for each in rows] for drawn in draws)
    return np.array([metric(*resample, **params) for resample in resamples])
