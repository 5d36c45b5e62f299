"""The thresholds that keep a risk small, of all answers or of parts of them: pure functions."""

import numpy as np

from sklearn_ood.selective._bounds import fewest
from sklearn_ood.selective._sequences import FixedSequences
from sklearn_ood.selective._thresholds import Guarantee, n_effective


def risk_thresholds(rows, limits, delta, at_least=-np.inf):
    """The thresholds of most coverage whose selective risk is at most each of some limits.

    As selection with guaranteed risk (SGR, Geifman & El-Yaniv, 2017), with bounds that hold
    for any number of rows, tests few thresholds at a level of their own. SGR searches by
    bisection, where the next threshold to test depends on the same rows as the tests; here the
    order is fixed beforehand, which makes the promise exact: from each of J starts (the fewest
    rows that can pass, about twice as many ... all rows) coverage grows row by row as long as
    the test at level delta / J passes (fixed-sequence testing). Where there are several parts
    (the answers of each class, the rows of each group) or limits, all promises hold at once by
    Holm's correction. Parts of too few rows are not tested and take no level: how many rows
    there are says nothing of whether the answers are right.

    Only thresholds from ``at_least`` on are chosen, whatever that was chosen by: the promise
    holds for all thresholds that pass at once.

    Parameters
    ----------
    rows : CalibrationRows
    limits : sequence of float
        Rising.
    delta : float in (0, 1)
    at_least : float, default=-inf

    Returns
    -------
    thresholds : ndarray of shape (n_limits, n_parts)
        Falling along the limits; +inf where nothing can be promised. A ValueError has the best
        reachable bound, where that is everywhere.
    promises : list of Guarantee
        In that order.

    References
    ----------
    .. [1] Y. Geifman and R. El-Yaniv, "Selective classification for deep neural networks",
       NeurIPS 2017.
    .. [2] A. Angelopoulos et al., "Learn then test", 2021.
    .. [3] S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    .. [4] F. Bretz et al., "A graphical approach to sequentially rejective multiple test
       procedures", 2009.
    """
    confidence, loss, weight, part = rows.those(rows.calibrating)
    part = np.zeros(len(loss), dtype=int) if part is None else part
    n_limits, n_parts = len(limits), len(rows.labels)
    counts = np.tile(np.bincount(part, minlength=n_parts), n_limits)
    limit = np.repeat(np.asarray(limits, dtype=np.float64), n_parts)
    tested = _testable(counts, limit, delta)
    place = np.full(len(limit), -1)
    place[tested] = np.arange(len(tested))
    at = place[np.arange(n_limits)[:, None] * n_parts + part].ravel()
    arrays = (None if x is None else np.tile(x, n_limits) for x in (confidence, loss, weight))
    arrays = (None if x is None else x[at >= 0] for x in arrays)
    tests = FixedSequences(*arrays, at[at >= 0], limit[tested], delta)
    chosen, levels = tests.last_passed(at_least)
    passed = chosen >= 0
    if not passed.any():
        raise ValueError(_nothing_promised(rows, limit, delta, counts, tests, levels, at_least))
    steps, cells = chosen[passed], tested[passed]
    found = np.tile([[0.0], [0.0], [1.0], [np.inf]], len(limit))
    bounds = tests.bounds(steps, levels[passed])
    found[:, cells] = (
        tests.n_accepted[steps],
        tests.total[steps],
        bounds,
        tests.threshold[steps],
    )
    found = found.reshape(4, n_limits, n_parts)
    for each in range(1, n_limits):  # what is promised for a limit is so for larger ones
        better = found[0, each - 1] > found[0, each]
        found[:, each] = np.where(better, found[:, each - 1], found[:, each])
    return found[3], _promises(rows, limit, delta, counts, found[:3].reshape(3, -1))


def _testable(counts, limit, delta):
    """Those of which enough rows are there, tested together; at least one."""
    log_room = np.log(delta) - counts * np.log1p(-limit)
    falling = np.argsort(-log_room, kind="stable")
    enough = np.flatnonzero(log_room[falling] >= np.log(np.arange(1, len(counts) + 1)))
    return np.sort(falling[: 1 + (enough[-1] if len(enough) else 0)])


def _promises(rows, limit, delta, counts, found):
    """A Guarantee for each limit and part, from what was found for it."""
    *_, weight, part = rows.those(rows.calibrating)
    n_parts = len(rows.labels)
    n_limits = len(limit) // n_parts
    effective = np.full(n_parts, None)
    if weight is not None:
        part = np.zeros(len(weight), dtype=int) if part is None else part
        effective = n_effective(weight, part, n_parts)
    labels = np.asarray(rows.labels).tolist() * n_limits
    effective = effective.tolist() * n_limits
    whole = int if rows.loss.dtype == bool else float
    of_each = (each.tolist() for each in (limit, counts, *found))
    return [
        Guarantee(
            quantity=rows.quantity,
            limit=at_most,
            bound=bound,
            delta=delta,
            n_samples=n_rows,
            n_accepted=int(n_accepted),
            n_errors=whole(round(total, 9)),
            guarantee_for=rows.guarantee_for,
            label=label,
            n_effective=alike,
        )
        for at_most, n_rows, n_accepted, total, bound, label, alike in zip(
            *of_each, labels, effective, strict=True
        )
    ]


def _nothing_promised(rows, limit, delta, counts, tests, levels, at_least):
    """What to say where no threshold passes: how far it is, and what would help."""
    asked = np.unique(limit).tolist()
    what = f"risk={asked if len(asked) > 1 else asked[0]} with delta={delta:.3g}"
    help_ = "ask for a larger risk or delta, give more calibration rows"
    least = int(fewest(limit[-1], delta))
    if rows.guarantee_for != "all":
        n_enough = int((counts[-len(rows.labels) :] >= least).sum())
        parts = {"class": "class: {} classes are answered to", "group": "group: {} groups have"}
        return (
            f"No threshold can promise {what} for the answers of any "
            + parts[rows.guarantee_for].format(f"{n_enough} of {len(rows.labels)}")
            + f" enough of the {rows.calibrating.sum()} calibration rows (the most are "
            f"{counts.max()}, and it takes {least} without an error for one alone); {help_}, "
            "or a better confidence."
        )
    first = tests.first[-tests.n_starts[-1] :]
    allowed = tests.threshold >= at_least
    strictest = np.flatnonzero(tests.part == tests.part[-1])[:1]
    first = first[allowed[first]] if allowed[first].any() else strictest
    best = first[tests.p_values(tests.limit, first).argmin()]
    [bound] = tests.bounds(np.array([best]), levels[-1:])
    return (
        f"No threshold can promise {what} from {counts[-1]} calibration rows: the best "
        f"reachable bound is {bound:.3g}, accepting {tests.n_accepted[best]} rows with "
        f"{tests.total[best]:.4g} errors"
        f"{'' if allowed.all() else ' (ood_acceptance leaves no more)'}; {help_} (at least "
        f"{least}), or a better confidence."
    )
