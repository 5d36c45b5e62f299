"""What a threshold is chosen by, and the losses of the rows that it is chosen on."""

import warnings

import numpy as np

from sklearn_ood.data._labels import OUTLIER, codes_in

WAYS = (("threshold",), ("coverage",), ("cost",), ("risk", "ood_acceptance"))
CHOSEN_BY = (*(name for way in WAYS for name in way), "delta", "guarantee_for", "loss")


def check_one_way(given):
    """Raise where parameters that are set contradict each other, or do nothing.

    Parameters
    ----------
    given : dict
        Of :data:`CHOSEN_BY`, those that are not None.
    """
    words = (" and ".join(f"{n}={given[n]}" for n in way if n in given) for way in WAYS)
    used = list(filter(None, words))
    if len(used) > 1:
        raise ValueError(
            f"Got {' together with '.join(used)}, which each set the threshold; keep one "
            "of coverage, cost, threshold, or the guarantees risk and ood_acceptance."
        )
    if given["guarantee_for"] == "class" and "risk" not in given:
        raise ValueError(
            "Got guarantee_for='class' without risk, but it is the risk that is promised for "
            "the answers of each class; pass risk too."
        )
    if "loss" in given and not given.keys() & {"risk", "cost"}:
        raise ValueError(
            "Got loss without risk or cost, but only these look at losses; pass one of them."
        )


def checked_loss(loss, classes):
    """The matrix of losses as numbers; as booleans where they are only 0 and 1."""
    matrix = np.asarray(loss)
    numbers = matrix.dtype.kind in "biuf" and ((matrix >= 0) & (matrix <= 1)).all()
    if not numbers or matrix.shape != (len(classes),) * 2:
        raise ValueError(
            f"Got loss of shape {matrix.shape} and {matrix.dtype}, but expected numbers in "
            f"[0, 1] of shape {(len(classes),) * 2}: a line for each true class and a column "
            f"for each answer, in the order of the classes {classes.tolist()[:20]}."
        )
    return matrix.astype(bool) if np.isin(matrix, (0, 1)).all() else matrix.astype(np.float64)


def losses(loss, truth, answer):
    """Of each row, from the codes of its class and its answer; 1 where it is of no class."""
    if loss is None:
        return truth != answer
    return np.where(truth == OUTLIER, np.ones(1, loss.dtype), loss[truth, answer])


def warn_of_untaught(classes, y, outlier):
    """Name the classes of which chance left no row to train on."""
    untaught = ~outlier & (codes_in(classes, y) == OUTLIER)
    if untaught.any():
        labels, counts = np.unique(y[untaught], return_counts=True)
        rows = _listed(labels, counts)
        warnings.warn(
            f"Of {len(labels)} classes all rows were drawn to calibrate and none trained "
            f"(rows of each: {rows}). No answer names "
            "these classes: answers to their rows count as wrong, as they will be; a "
            "smaller calibration or more rows make this rarer.",
            stacklevel=3,
        )


def warn_of_unpromised(guarantees):
    """Name the classes of which nothing could be promised."""
    classes = [each for each in guarantees.values() if each.label is not None]
    refused = [each for each in classes if not each.n_accepted]
    if refused:
        rows = _listed([each.label for each in refused], [each.n_samples for each in refused])
        warnings.warn(
            f"For the answers of {len(refused)} of {len(classes)} classes "
            f"risk={refused[0].limit} cannot be promised; all of them are refused (calibration "
            f"rows with these answers: {rows}). Ask for a larger risk or delta, or give more "
            "calibration rows.",
            stacklevel=4,
        )


def _listed(labels, counts):
    """The first ten labels with their numbers of rows."""
    shown = np.asarray(labels)[:10].tolist(), np.asarray(counts)[:10].tolist()
    return f"{dict(zip(*shown, strict=True))}{' and so on' * (len(labels) > 10)}"
