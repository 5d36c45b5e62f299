"""Toy problems of the papers, in the plane, whose true support is known in closed form."""

from functools import partial
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_array, check_random_state

__all__ = ["inside_rings", "inside_two_gaussians", "make_rings", "make_two_gaussians"]

GAUSSIAN_MEANS = np.array([[-10.0, 0.0], [10.0, 0.0]])
GAUSSIAN_REACH = 3.0
RING_CENTERS = np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])


def _check_positive(**values):
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < np.inf:
            raise ValueError(f"Got {name}={value!r}, but expected a finite number > 0.")


def _check_count(minimum, **values):
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
            raise ValueError(f"Got {name}={value!r}, but expected an integer >= {minimum}.")


def _check_ood_label(ood_label, n_classes):
    if isinstance(ood_label, bool) or not isinstance(ood_label, Integral):
        raise ValueError(
            f"Got ood_label={ood_label!r}, but expected an integer, the kind of the classes."
        )
    if 0 <= ood_label < n_classes:
        raise ValueError(
            f"Got ood_label={ood_label}, but that is a class. Choose an integer that is "
            f"none of 0..{n_classes - 1}, for example -1."
        )


def _check_rings(inner_radius, thickness):
    _check_positive(inner_radius=inner_radius, thickness=thickness)
    if inner_radius + thickness > 1.0:
        raise ValueError(
            f"Got inner_radius={inner_radius} and thickness={thickness}, but expected a sum "
            "of at most 1: the centres are 2 apart and the rings would overlap."
        )


def _check_box_reaches_outside(box, sigma):
    # The half-plane of a mean belongs to its own disc, and a half box is convex: it lies in the
    # disc exactly when its corners do.
    if inside_two_gaussians([[0.0, box], [-box, box]], sigma=sigma).all():
        raise ValueError(
            f"Got box={box} with sigma={sigma}, but expected a box that reaches beyond "
            f"{GAUSSIAN_REACH:g} sigma of the means. Take a larger box or a smaller sigma."
        )


def _distances(X, centers):
    """Of points of the plane (rows) from centres (columns)."""
    X = check_array(X, dtype=np.float64)
    if X.shape[1] != 2:
        raise ValueError(
            f"Got X with {X.shape[1]} columns, but expected 2: points of the plane."
        )
    return np.hypot(*(X[:, np.newaxis, :] - centers).transpose(2, 0, 1))


def _polar(radius, random_state):
    """Points at these radii, in directions drawn at random."""
    angle = random_state.uniform(0.0, 2.0 * np.pi, size=len(radius))
    return radius[:, np.newaxis] * np.column_stack([np.cos(angle), np.sin(angle)])


def _uniform_annulus(n, inner, outer, random_state):
    return _polar(np.sqrt(random_state.uniform(inner**2, outer**2, size=n)), random_state)


def _uniform_box(box, random_state, n):
    return random_state.uniform(-box, box, size=(n, 2))


def _uniform_boundary(sigma, ring_width, random_state, n):
    inner = GAUSSIAN_REACH * sigma
    means = GAUSSIAN_MEANS[random_state.randint(2, size=n)]
    return means + _uniform_annulus(n, inner, inner + ring_width, random_state)


def _truncated_gaussian(n, sigma, random_state):
    # The radius of a 2-D Gaussian is Rayleigh, whose distribution function inverts in closed
    # form: cutting it at 3 sigma needs no rejection.
    mass = -np.expm1(-0.5 * GAUSSIAN_REACH**2)
    radius = sigma * np.sqrt(-2.0 * np.log1p(-mass * random_state.uniform(size=n)))
    return _polar(radius, random_state)


def _outside(n, draw, inside):
    """``n`` points that ``draw(n)`` makes and that are not inside."""
    kept = np.empty((0, 2))
    while len(kept) < n:
        candidates = draw(2 * (n - len(kept)) + 16)
        kept = np.concatenate([kept, candidates[~inside(candidates)]])
    return kept[:n]


def _with_outliers(X, y, outliers, ood_label, shuffle, random_state):
    X = np.concatenate([X, outliers])
    y = np.concatenate([y, np.full(len(outliers), ood_label)])
    order = random_state.permutation(len(y)) if shuffle else slice(None)
    return X[order], y[order]


def inside_two_gaussians(X, *, sigma=1.0):
    """Tell which points are in-distribution for :func:`make_two_gaussians`.

    Parameters
    ----------
    X : array-like of shape (n_samples, 2)
        Points of the plane.
    sigma : float > 0, default=1.0
        Standard deviation of the Gaussians.

    Returns
    -------
    inside : ndarray of shape (n_samples,) of bool
        True within three standard deviations of a mean, (-10, 0) or (10, 0).

    Examples
    --------
    >>> from sklearn_ood.datasets import inside_two_gaussians
    >>> inside_two_gaussians([[-10, 2.9], [-10, 3.1], [0, 0]])
    array([ True, False, False])
    """
    _check_positive(sigma=sigma)
    return _distances(X, GAUSSIAN_MEANS).min(axis=1) <= GAUSSIAN_REACH * sigma


def make_two_gaussians(
    n_samples=1000,
    *,
    sigma=1.0,
    outliers=None,
    n_outliers=None,
    box=50.0,
    ring_width=1.0,
    ood_label=-1,
    shuffle=True,
    random_state=None,
):
    """Two Gaussians in the plane, with known outliers around them or all over a box.

    The means are (-10, 0) and (10, 0), the covariance ``sigma**2`` times the identity, cut off
    at three standard deviations: what lies farther from both means is out-of-distribution.

    Parameters
    ----------
    n_samples : int >= 2, default=1000
        In-distribution rows, shared equally by the two classes (class 0 gets the odd one).
    sigma : float > 0, default=1.0
        Standard deviation. The text of [1]_ says 1; its released notebooks use 2.
    outliers : {None, "boundary", "box"}, default=None
        Which outliers to add. ``"boundary"``: uniform in the rings
        ``3 * sigma < r <= 3 * sigma + ring_width`` around the means. ``"box"``: uniform in
        ``[-box, box]`` squared. Both leave out what is in-distribution.
    n_outliers : int >= 0, default=None
        Outlier rows; None means ``n_samples``. The first figure of [2]_ has 100.
    box : float > 0, default=50.0
        Half the side of the box. The first figure of [2]_ compares 50 with 20, its third
        uses 10.
    ring_width : float > 0, default=1.0
        Width of the rings.
    ood_label : int, default=-1
        Label of the outlier rows; neither 0 nor 1.
    shuffle : bool, default=True
        Whether to shuffle the rows. Otherwise they come as class 0, class 1, outliers.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    X : ndarray of shape (n_samples + n_outliers, 2)
        The points.
    y : ndarray of shape (n_samples + n_outliers,) of int
        0, 1, or ``ood_label``.

    See Also
    --------
    inside_two_gaussians : The true support.

    References
    ----------
    .. [1] Vernekar et al., "Analysis of Confident-Classifiers for Out-of-Distribution
       Detection", 2019, section 5.1.
    .. [2] Lee et al., "Training Confidence-calibrated Classifiers for Detecting
       Out-of-Distribution Samples", ICLR 2018, figures 1 and 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.datasets import make_two_gaussians
    >>> X, y = make_two_gaussians(100, outliers="boundary", n_outliers=20, random_state=0)
    >>> X.shape
    (120, 2)
    >>> np.unique(y, return_counts=True)
    (array([-1,  0,  1]), array([20, 50, 50]))
    """
    _check_count(2, n_samples=n_samples)
    _check_positive(sigma=sigma, box=box, ring_width=ring_width)
    _check_ood_label(ood_label, len(GAUSSIAN_MEANS))
    if outliers not in (None, "boundary", "box"):
        raise ValueError(f'Got outliers={outliers!r}, but expected None, "boundary" or "box".')
    if n_outliers is None:
        n_outliers = n_samples
    elif outliers is None:
        raise ValueError(
            f"Got n_outliers={n_outliers} with outliers=None, but expected outliers to say "
            'which outliers to draw: "boundary" or "box".'
        )
    _check_count(0, n_outliers=n_outliers)
    if outliers == "box":
        _check_box_reaches_outside(box, sigma)
    random_state = check_random_state(random_state)
    y = np.arange(n_samples) * len(GAUSSIAN_MEANS) // n_samples
    X = GAUSSIAN_MEANS[y] + _truncated_gaussian(n_samples, sigma, random_state)
    draw = {
        "boundary": partial(_uniform_boundary, sigma, ring_width, random_state),
        "box": partial(_uniform_box, box, random_state),
    }.get(outliers)
    n_outliers = n_outliers if draw else 0
    points = _outside(n_outliers, draw, partial(inside_two_gaussians, sigma=sigma))
    return _with_outliers(X, y, points, ood_label, shuffle, random_state)


def inside_rings(X, *, inner_radius=0.6, thickness=0.1):
    """Tell which points lie on a ring of :func:`make_rings`.

    Parameters
    ----------
    X : array-like of shape (n_samples, 2)
        Points of the plane.
    inner_radius : float > 0, default=0.6
        Inner radius of every ring.
    thickness : float > 0, default=0.1
        Outer minus inner radius.

    Returns
    -------
    inside : ndarray of shape (n_samples,) of bool
        True where the point lies on one of the three rings.

    Examples
    --------
    >>> from sklearn_ood.datasets import inside_rings
    >>> inside_rings([[-1, 1.65], [-1, 1], [0, 0]])
    array([ True, False, False])
    """
    _check_rings(inner_radius, thickness)
    radii = _distances(X, RING_CENTERS)
    return ((radii >= inner_radius) & (radii <= inner_radius + thickness)).any(axis=1)


def make_rings(
    n_samples=3000,
    *,
    inner_radius=0.6,
    thickness=0.1,
    n_outliers=0,
    box=2.0,
    ood_label=-1,
    shuffle=True,
    random_state=None,
):
    """Three uniform rings in the plane, one a class, with an empty hole in each.

    The centres are (-1, 1), (1, 1) and (1, -1). A classifier that splits the plane among three
    classes is sure of itself in the holes and far away, where no row was ever seen.

    Parameters
    ----------
    n_samples : int >= 3, default=3000
        In-distribution rows, shared equally by the three classes (the first ones get what is
        left over); [1]_ draws 1,000 a class.
    inner_radius : float > 0, default=0.6
        Inner radius of every ring.
    thickness : float > 0, default=0.1
        Outer minus inner radius; ``inner_radius + thickness`` is at most 1.
    n_outliers : int >= 0, default=0
        Outlier rows to add, uniform in the box minus the rings.
    box : float > 0, default=2.0
        Half the side of the box the outliers come from.
    ood_label : int, default=-1
        Label of the outlier rows; none of 0, 1, 2.
    shuffle : bool, default=True
        Whether to shuffle the rows. Otherwise they come class by class, then the outliers.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    X : ndarray of shape (n_samples + n_outliers, 2)
        The points, uniform in area on the rings.
    y : ndarray of shape (n_samples + n_outliers,) of int
        0, 1, 2, or ``ood_label``.

    See Also
    --------
    inside_rings : The true support.

    References
    ----------
    .. [1] Spigler, "Denoising Autoencoders for Overgeneralization in Neural Networks",
       section IV.A.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.datasets import inside_rings, make_rings
    >>> X, y = make_rings(90, n_outliers=10, random_state=0)
    >>> np.bincount(y + 1)
    array([10, 30, 30, 30])
    >>> np.array_equal(inside_rings(X), y != -1)
    True
    """
    _check_count(3, n_samples=n_samples)
    _check_rings(inner_radius, thickness)
    _check_count(0, n_outliers=n_outliers)
    _check_positive(box=box)
    _check_ood_label(ood_label, len(RING_CENTERS))
    random_state = check_random_state(random_state)
    y = np.arange(n_samples) * len(RING_CENTERS) // n_samples
    outer_radius = inner_radius + thickness
    X = RING_CENTERS[y] + _uniform_annulus(n_samples, inner_radius, outer_radius, random_state)
    inside = partial(inside_rings, inner_radius=inner_radius, thickness=thickness)
    points = _outside(n_outliers, partial(_uniform_box, box, random_state), inside)
    return _with_outliers(X, y, points, ood_label, shuffle, random_state)
