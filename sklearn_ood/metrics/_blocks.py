"""Rows of equal confidence form one block; every ranking metric is a function of the counts.

Once each block's rows are counted by kind (right or wrong, in or out of distribution), the
order of the rows is gone, and the bootstrap counts the rows of many resamples at once.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from inspect import signature
from typing import Any, TypeAlias

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta
from sklearn.utils import _safe_indexing, check_consistent_length, check_random_state
from sklearn.utils.validation import _num_samples

from sklearn_ood._parameters import Count, RandomState, Share, check_arguments, inherits
from sklearn_ood._response import as_numpy, unwrap
from sklearn_ood.data._labels import check_no_label_missing, check_same_kind, hidden_entries

ROUNDING = 1e-12  # of shares
_CELLS_AT_ONCE = 2**16  # stays in the cache of one core
Labels: TypeAlias = ArrayLike
Numbers: TypeAlias = ArrayLike
Weights: TypeAlias = ArrayLike | None
# Of each row its kind, of how many kinds, its confidence and its weight.
Rows: TypeAlias = tuple[NDArray, int, NDArray, NDArray | None]


def of_counts(
    rows: Callable[..., Rows], *, joins_idle: bool = False
) -> Callable[[Callable], Callable[..., float]]:
    """Make a metric of rows of a function of counts (..., n_kinds, n_blocks), to (...)."""
    # rows makes the arguments of count_blocks; joins_idle: neighbouring blocks without errors
    # may be joined first.
    of_rows = signature(rows)
    *first, sample_weight = of_rows.parameters.values()

    def decorator(compute):
        own = [*signature(compute).parameters.values()][1:]
        settings = {each.name: each.default for each in own}
        own = [each.replace(annotation="float") for each in own]

        def resampled(*arguments, **params):
            """Rows, and the function of their counts: what the bootstrap resamples."""
            names = of_rows.parameters.keys() & params
            given = rows(*arguments, **{name: params.pop(name) for name in names})
            check_arguments(compute, settings | params)
            return given, partial(compute, **(settings | params)), joins_idle

        @wraps(compute)
        def metric(*arguments, **params):
            given, compute_with, _ = resampled(*arguments, **params)
            counts = count_blocks(*given)[1]
            if joins_idle:
                counts = np.add.reduceat(counts, idle_starts(counts), axis=-1)
            return float(compute_with(counts))

        parameters = [*first, *own, sample_weight]
        signed = of_rows.replace(parameters=parameters, return_annotation="float")
        vars(metric).update(resampled=resampled, __signature__=signed)
        return inherits(rows)(metric)

    return decorator


def as_rows(name, values, n_rows=None):
    """One-dimensional array of at least one row, or an error that names the argument."""
    if values is None:
        raise ValueError(f"Got {name}=None, but expected one value for each row.")
    if hidden := int(hidden_entries(values).sum()):
        raise ValueError(
            f"Got {name} with {hidden} entries that are masked or NaT, but each row needs a "
            "value; leave these rows out."
        )
    values = as_numpy(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(f"Got {name} of shape {values.shape}, but expected (n_samples,).")
    if values.size == 0:
        raise ValueError(f"Got {name} with 0 rows, but at least one is needed.")
    if n_rows is not None and values.size != n_rows:
        raise ValueError(
            f"Got {name} with {values.size} rows, but the rows before it are {n_rows}; "
            "pass arrays of the same length."
        )
    return values


def as_labels(name, values, n_rows=None):
    """Labels as rows; in a list of text and numbers each keeps its own type."""
    labels = as_rows(name, values, n_rows)
    if labels.dtype.kind in "US" and not hasattr(values, "dtype"):
        as_given = as_rows(name, np.array(values, dtype=object))
        labels = as_given if (as_given != labels).any() else labels
    check_no_label_missing(labels, name, "a label that is no class, such as 'unknown'")
    if isinstance(labels[0], bytes):
        raise TypeError(
            f"Got {name} of bytes such as {labels.tolist()[0]!r}, but expected text or "
            "numbers; decode them: np.char.decode of an array, or each.decode() of a list."
        )
    return labels


def labels_for(estimator, y, n_rows=None):
    """Labels as rows, in the kind of the classes that an estimator was taught."""
    labels = as_labels("y", y, n_rows)
    check_same_kind(labels, getattr(unwrap(estimator)[0], "classes_", labels))
    return labels


def as_numbers(name, values, n_rows=None):
    """Rows as float64 without NaN; infinities may stay."""
    values = as_rows(name, values, n_rows)
    if values.dtype.kind == "O":
        with suppress(TypeError, ValueError):
            values = values.astype(np.float64)
    if values.dtype.kind not in "biuf":
        raise ValueError(
            f"Got {name} of {values.dtype}, such as {values[:3].tolist()}, but expected a real "
            "number for each row."
        )
    values = values.astype(np.float64, copy=False)
    if np.isnan(values).any():
        which = "is not to be trusted at all may have -inf"
        which = "does not count has 0" if name.endswith("weight") else which
        raise ValueError(
            f"Got {name} with {int(np.isnan(values).sum())} NaN, but each row needs a number; "
            f"a row that {which}."
        )
    return values


def as_mask(name, values, n_rows=None):
    """Rows as booleans, which may come as 0 and 1."""
    flags = as_rows(name, values, n_rows)
    try:
        valid = np.isin(flags, [0, 1]).all()
    except TypeError:  # pandas' NA is neither
        valid = False
    if not valid:
        raise ValueError(
            f"Got {name} with the values {list(dict.fromkeys(flags.tolist()))[:5]}, but "
            "expected booleans, one for each row."
        )
    return flags.astype(bool)


def as_answers(y_true, y_pred, confidence, sample_weight=None):
    """Labels, answers, numbers and weights of the same rows."""
    y_true = as_labels("y_true", y_true)
    y_pred = as_labels("y_pred", y_pred, y_true.size)
    confidence = as_numbers("confidence", confidence, y_true.size)
    return y_true, y_pred, confidence, as_weights(sample_weight, y_true.size)


def as_weights(sample_weight, n_rows, name="sample_weight"):
    """Weights as float64, or None; negative, infinite and all-zero weights are errors."""
    if sample_weight is None:
        return None
    weights = as_numbers(name, sample_weight, n_rows)
    if weights.min() < 0 or not np.isfinite(weights).all() or not weights.any():
        raise ValueError(
            f"Got {name} from {weights.min()} to {weights.max()}, but expected finite "
            "numbers >= 0, not all of them 0."
        )
    return weights


def in_range(weights):
    """Weights, times a power of two where their products would overflow or vanish."""
    exponent = np.frexp(weights.max(initial=0))[1]
    return np.ldexp(weights, -exponent) if abs(exponent) > 300 else weights


def n_effective(weight):
    """How many rows of equal weight are as good as these; None without weights."""
    if weight is None:
        return None
    weight = in_range(weight)
    return float(weight.sum() ** 2 / max((weight**2).sum(), 1e-300))


def exact_interval(n_hits, n_rows):
    """Clopper-Pearson 95 % confidence interval of a share; of sums of weights about that."""
    n_others = n_rows - n_hits
    low, high = beta.ppf([0.025, 0.975], [n_hits, n_hits + 1], [n_others + 1, n_others])
    return float(np.nan_to_num(low, nan=0.0)), float(np.nan_to_num(high, nan=1.0))


def check_both_kinds(known, weights, inside, outside):
    """Raise unless rows with a weight are on both sides, which are called as given."""
    counted = known if weights is None else known[weights > 0]
    if counted.all() or not counted.any():
        raise ValueError(
            f"Got {int(counted.sum())} rows {inside} and {int((~counted).sum())} {outside}, "
            "but at least one of each is needed to compare them; keep both in every test part, "
            "for instance with LeaveClassesOut. Training rows are all inside: leave "
            "return_train_score=False, and error_score=nan in HalvingGridSearchCV."
        )


def differs(y_true, y_pred):
    """Where two label arrays differ; labels of different kinds (text, number) always do."""
    textual = [labels.dtype.kind in "USO" for labels in (y_true, y_pred)]
    if any(textual) and y_true.dtype.kind != y_pred.dtype.kind:
        y_true, y_pred = y_true.astype(object), y_pred.astype(object)
    return np.asarray(y_true != y_pred, dtype=bool)


def count_blocks(kind, n_kinds, confidence, weights=None):
    """Falling confidences, and the counts (n_kinds, n_blocks) of the rows with a weight."""
    if weights is not None:
        counted = weights > 0
        values, block = block_of_rows(confidence[counted])
        cell = kind[counted] * len(values) + block
        cells = np.bincount(cell, in_range(weights[counted]), n_kinds * len(values))
        return values, cells.reshape(n_kinds, len(values))
    # To sort each kind by itself is several times faster than an argsort with its gathers.
    values, total = np.unique(confidence, return_counts=True)
    counts = np.zeros((n_kinds, len(values)), dtype=np.int64)
    for each in range(1, n_kinds):
        found, n_found = np.unique(confidence[kind == each], return_counts=True)
        counts[each, np.searchsorted(values, found)] = n_found
    counts[0] = total - counts[1:].sum(axis=0)
    return values[::-1], counts[:, ::-1]


def block_of_rows(confidence):
    """Distinct confidences, highest first, and the index of the block of each row."""
    values, block = np.unique(confidence, return_inverse=True)
    return values[::-1], len(values) - 1 - block


def idle_starts(counts):
    """First block of every group to join: neighbours without errors, whose areas add up."""
    hit = counts[1] > 0
    return np.flatnonzero(hit | np.r_[True, hit[:-1]])


def mean_above(first, second, n_first):
    """How often one of ``n_first`` rows is above one of the second; ties count one half."""
    above = np.cumsum(first, axis=-1) - first / 2
    return (second * above).sum(axis=-1) / (n_first * second.sum(axis=-1, dtype=np.float64))


def at_first(reached, values):
    first = np.argmax(reached, axis=-1)[..., None]
    return np.take_along_axis(values, first, -1)[..., 0]


def bootstrap_interval(
    metric: Callable[..., float],
    *rows: ArrayLike,
    confidence_level: Share = 0.95,
    n_resamples: Count = 10_000,
    random_state: RandomState = None,
    n_jobs: int | None = None,
    **params: Any,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a metric over the rows, (low, high).

    For the ranking metrics of this package the rows are sorted once and all resamples are
    computed together from how often each row was drawn. Any other metric is called once with
    all rows, and once a resample. Resamples in which it is NaN or raises a ValueError (no
    outlier was drawn, say) are left out (Efron, "Bootstrap Methods", Annals of Statistics
    1979).

    Parameters
    ----------
    metric : callable
        Called as ``metric(*rows, **params)``; returns a number.
    *rows : array-likes of shape (n_samples,)
        The metric's arguments, all of one length.
    confidence_level : float in (0, 1), default=0.95
    n_resamples : int >= 1, default=10_000
    random_state : int, RandomState instance or None, default=None
    n_jobs : int, default=None
        Workers for metrics that are called once a resample; the interval does not depend on it.
    **params
        Further keyword arguments of the metric; ``sample_weight`` is not one of them.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.metrics import aurc_score, bootstrap_interval
    >>> confidence = np.linspace(0, 1, 200)
    >>> wrong = np.sin(40 * confidence) > 1.6 * confidence
    >>> rows = wrong, np.zeros(200), confidence
    >>> low, high = bootstrap_interval(aurc_score, *rows, random_state=0)
    >>> bool(low < aurc_score(*rows) < high)
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
        values = _values_one_by_one(metric, rows, params, *draws, n_jobs)
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


def _values_one_by_one(metric, rows, params, n_resamples, rng, n_jobs):
    """Values of any function of rows, each resample drawn here and judged by a worker."""
    check_consistent_length(*rows)
    given = np.asarray(metric(*rows, **params))  # what is wrong with all rows is an error
    if given.ndim or given.dtype.kind not in "biuf":
        raise TypeError(f"Got a metric that gives {given}, but expected a number.")
    n_rows = _num_samples(rows[0])
    draws = (rng.integers(n_rows, size=n_rows) for _ in range(n_resamples))
    values = (delayed(_value_of_rows)(metric, rows, params, drawn) for drawn in draws)
    return np.array(Parallel(n_jobs=n_jobs)(values))


def _value_of_rows(metric, rows, params, drawn):
    """The metric of the rows that were drawn; NaN where it has no value."""
    try:
        return metric(*(_safe_indexing(each, drawn) for each in rows), **params)
    except ValueError:
        return np.nan
