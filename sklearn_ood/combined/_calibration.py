"""Which rows train and which calibrate a combination: pure functions."""

from numbers import Integral, Real

import numpy as np

MIN_CALIBRATION, MIN_HALVES = 20, 2
AUTO_SHARE, AUTO_LEAST, AUTO_MOST = 0.2, 100, 10_000


def check_calibration(calibration):
    """Raise unless this is "auto", "prefit", a share, or a number of at least 20 rows."""
    if isinstance(calibration, str):
        known = calibration in ("auto", "prefit")
    elif isinstance(calibration, Integral):
        known = not isinstance(calibration, bool) and calibration >= MIN_CALIBRATION
    else:
        known = isinstance(calibration, Real) and 0 < calibration < 1
    if not known:
        raise ValueError(
            f"Got calibration={calibration!r}, but expected 'auto', 'prefit', a share in "
            f"(0, 1) or a number of rows >= {MIN_CALIBRATION}."
        )


def calibration_size(calibration, n_rows):
    """How many of ``n_rows`` rows calibrate.

    Examples
    --------
    >>> from sklearn_ood.combined._calibration import calibration_size
    >>> [calibration_size("auto", n) for n in (60, 400, 10_000, 60_000)]
    [30, 100, 2000, 10000]
    """
    if calibration == "auto":
        least = min(AUTO_LEAST, n_rows // 2)
        return int(min(max(AUTO_SHARE * n_rows, least), AUTO_MOST))
    if calibration == "prefit":
        return n_rows
    if isinstance(calibration, Integral):
        return min(int(calibration), n_rows)
    return round(calibration * n_rows)


def split_rows(codes, calibration, random_state):
    """Positions of the rows to train on and to calibrate on, both in random order.

    The split is not stratified, so that calibration rows and new rows are exchangeable. A
    class that chance would leave untrained is trained on, and not calibrated on.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Class of each row.
    calibration : "auto", "prefit", float or int
    random_state : RandomState

    Returns
    -------
    training, calibrating : ndarray of int

    Raises
    ------
    ValueError
        If members and combination cannot have a calibration row each.
    """
    order = random_state.permutation(len(codes))
    n_calibration = calibration_size(calibration, len(codes))
    training, calibrating = order[n_calibration:], order[:n_calibration]
    if calibration != "prefit":
        unseen = ~np.isin(codes[calibrating], codes[training])
        training = np.append(training, calibrating[unseen])
        calibrating = calibrating[~unseen]
    if len(calibrating) < MIN_HALVES:
        raise ValueError(
            f"Got n_samples={len(codes)} in-distribution rows with "
            f"calibration={calibration!r}, but members and combination need rows of "
            "their own to calibrate, and every class a row to train on; give more rows."
        )
    if calibration != "auto":
        check_enough(len(calibrating))
    return training, calibrating


def check_enough(n_rows):
    """Raise if so few rows calibrate that p-values would say next to nothing."""
    if n_rows < MIN_CALIBRATION:
        raise ValueError(
            f"Got {n_rows} calibration rows, but p-values need at least {MIN_CALIBRATION}: "
            "half of them for the members, half for the combination. Give more rows or a "
            "larger calibration."
        )
