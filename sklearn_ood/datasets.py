"""Toy problems of the papers, in the plane, whose true support is known in closed form."""

from functools import partial
from numbers import Integral
from typing import Annotated, Literal

import numpy as np
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval

from sklearn_ood._parameters import Natural, Positive, check_arguments

__all__ = ["inside_rings", "inside_two_gaussians", "make_rings", "make_two_gaussians"]

GAUSSIAN_MEANS = np.array([[-10.0, 0.0], [10.0, 0.0]])
GAUSSIAN_REACH = 3.0
RING_CENTERS = np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])


Integer = Annotated[int, Interval(Integral, None, None, closed="neither")]


def _check_ood_label(ood_label, n_classes):
    if 0 <= ood_label < n_classes:
        raise ValueError(
            f"Got ood_label={ood_label}, but that is a class. Choose an integer that is "
            f"none of 0..{n_classes - 1}, for example -1."
        )


def _check_rings(inner_radius, thickness):
    if inner_radius + thickness > 1.0:
        raise ValueError(
            f"Got inner_radius={inner_radius} and thickness={thickness}, but expected a sum "
            "of at most 1: the centres are 2 apart and the rings would overlap."
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


def inside_two_gaussians(X, *, sigma: Positive = 1.0):
    """Tell which points are in-distribution for :func:`make_two_gaussians`.

    Parameters
    ----------
    X : array-like of shape (n_samples, 2)
    sigma : float > 0, default=1.0
        Standard deviation of the Gaussians.

    Returns
    -------
    ndarray of shape (n_samples,) of bool
        True within three standard deviations of a mean, (-10, 0) or (10, 0).

    Examples
    --------
    >>> from sklearn_ood.datasets import inside_two_gaussians
    >>> inside_two_gaussians([[-10, 2.9], [-10, 3.1], [0, 0]])
    array([ True, False, False])
    """
    check_arguments(inside_two_gaussians, {"sigma": sigma})
    return _distances(X, GAUSSIAN_MEANS).min(axis=1) <= GAUSSIAN_REACH * sigma


def make_two_gaussians(
    n_samples: Annotated[int, Interval(Integral, 2, None, closed="left")] = 1000,
    *,
    sigma: Positive = 1.0,
    outliers: Literal["boundary", "box"] | None = None,
    n_outliers: Natural | None = None,
    box: Positive = 50.0,
    ring_width: Positive = 1.0,
    ood_label: Integer = -1,
    shuffle=True,
    random_state=None,
):
    """Two Gaussians in the plane, with known outliers around them or all over a box.

    The means are (-10, 0) and (10, 0), the covariance ``sigma**2`` times the identity, cut off
    at three standard deviations: what lies farther from both means is out-of-distribution
    (:func:`inside_two_gaussians`).

    Parameters
    ----------
    n_samples : int >= 2, default=1000
        In-distribution rows, shared equally by the two classes (class 0 gets the odd one).
    sigma : float > 0, default=1.0
        Standard deviation. The text of [1]_ says 1; its released notebooks use 2.
    outliers : {None, "boundary", "box"}, default=None
        Which outliers to add: uniform in the rings ``3 * sigma < r <= 3 * sigma + ring_width``
        around the means, or in ``[-box, box]`` squared, without what is in-distribution.
    n_outliers : int >= 0, default=None
        Outlier rows; None means ``n_samples``. The first figure of [2]_ has 100.
    box : float > 0, default=50.0
        Half the side of the box: 50 and 20 in the first figure of [2]_, 10 in its third.
    ring_width : float > 0, default=1.0
    ood_label : int, default=-1
        Label of the outlier rows; neither 0 nor 1.
    shuffle : bool, default=True
        Whether to shuffle the rows. Otherwise they come as class 0, class 1, outliers.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    X : ndarray of shape (n_samples + n_outliers, 2)
    y : ndarray of shape (n_samples + n_outliers,) of int
        0, 1, or ``ood_label``.

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
    >>> np.unique(y, return_counts=True)
    (array([-1,  0,  1]), array([20, 50, 50]))
    """
    check_arguments(make_two_gaussians, locals())
    _check_ood_label(ood_label, len(GAUSSIAN_MEANS))
    if outliers is None and n_outliers is not None:
        raise ValueError(
            f"Got n_outliers={n_outliers} with outliers=None, but expected outliers to say "
            'which outliers to draw: "boundary" or "box".'
        )
    inside = partial(inside_two_gaussians, sigma=sigma)
    # The half-plane of a mean belongs to its own disc, and a half box is convex: it lies in the
    # disc exactly when its corners do.
    if outliers == "box" and inside([[0.0, box], [-box, box]]).all():
        raise ValueError(
            f"Got box={box} with sigma={sigma}, but expected a box that reaches beyond "
            f"{GAUSSIAN_REACH:g} sigma of the means. Take a larger box or a smaller sigma."
        )
    random_state = check_random_state(random_state)
    y = np.arange(n_samples) * len(GAUSSIAN_MEANS) // n_samples
    X = GAUSSIAN_MEANS[y] + _truncated_gaussian(n_samples, sigma, random_state)
    if outliers is None:
        n_outliers = 0
    elif n_outliers is None:
        n_outliers = n_samples
    draw = partial(_uniform_box, box, random_state)
    if outliers == "boundary":
        draw = partial(_uniform_boundary, sigma, ring_width, random_state)
    points = _outside(n_outliers, draw, inside)
    return _with_outliers(X, y, points, ood_label, shuffle, random_state)


def inside_rings(X, *, inner_radius: Positive = 0.6, thickness: Positive = 0.1):
    """Tell which points lie on a ring of :func:`make_rings`.

    Parameters
    ----------
    X : array-like of shape (n_samples, 2)
    inner_radius : float > 0, default=0.6
    thickness : float > 0, default=0.1
        Outer minus inner radius.

    Returns
    -------
    ndarray of shape (n_samples,) of bool

    Examples
    --------
    >>> from sklearn_ood.datasets import inside_rings
    >>> inside_rings([[-1, 1.65], [-1, 1], [0, 0]])
    array([ True, False, False])
    """
    check_arguments(inside_rings, locals())
    _check_rings(inner_radius, thickness)
    radii = _distances(X, RING_CENTERS)
    return ((radii >= inner_radius) & (radii <= inner_radius + thickness)).any(axis=1)


def make_rings(
    n_samples: Annotated[int, Interval(Integral, 3, None, closed="left")] = 3000,
    *,
    inner_radius: Positive = 0.6,
    thickness: Positive = 0.1,
    n_outliers: Natural = 0,
    box: Positive = 2.0,
    ood_label: Integer = -1,
    shuffle=True,
    random_state=None,
):
    """Three uniform rings in the plane, one a class, with an empty hole in each.

    The centres are (-1, 1), (1, 1) and (1, -1). A classifier that splits the plane among three
    classes is sure of itself in the holes and far away, where no row was ever seen
    (:func:`inside_rings` says where).

    Parameters
    ----------
    n_samples : int >= 3, default=3000
        In-distribution rows, shared equally by the three classes (the first ones get what is
        left over); [1]_ draws 1,000 a class.
    inner_radius : float > 0, default=0.6
    thickness : float > 0, default=0.1
        Outer minus inner radius; the outer one is at most 1.
    n_outliers : int >= 0, default=0
        Outlier rows to add, uniform in the box minus the rings.
    box : float > 0, default=2.0
        Half the side of the box.
    ood_label : int, default=-1
        Label of the outlier rows; none of 0, 1, 2.
    shuffle : bool, default=True
        Whether to shuffle the rows. Otherwise they come class by class, then the outliers.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    X : ndarray of shape (n_samples + n_outliers, 2)
        Uniform in area on the rings.
    y : ndarray of shape (n_samples + n_outliers,) of int
        0, 1, 2, or ``ood_label``.

    References
    ----------
    .. [1] Spigler, "Denoising Autoencoders for Overgeneralization in Neural Networks",
       section IV.A.

    Examples
    --------
    >>> from sklearn_ood.datasets import inside_rings, make_rings
    >>> X, y = make_rings(90, n_outliers=10, random_state=0)
    >>> bool((inside_rings(X) == (y != -1)).all())
    True
    """
    check_arguments(make_rings, locals())
    _check_rings(inner_radius, thickness)
    _check_ood_label(ood_label, len(RING_CENTERS))
    random_state = check_random_state(random_state)
    y = np.arange(n_samples) * len(RING_CENTERS) // n_samples
    outer_radius = inner_radius + thickness
    X = RING_CENTERS[y] + _uniform_annulus(n_samples, inner_radius, outer_radius, random_state)
    inside = partial(inside_rings, inner_radius=inner_radius, thickness=thickness)
    points = _outside(n_outliers, partial(_uniform_box, box, random_state), inside)
    return _with_outliers(X, y, points, ood_label, shuffle, random_state)
