"""Toy problems of the papers, in the plane, with known support; and a table with categories."""

from numbers import Integral, Real
from typing import Annotated, Literal

import numpy as np
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval

from sklearn_ood._optional import optional
from sklearn_ood._parameters import Natural, Positive, check_arguments

__all__ = [
    "inside_rings",
    "inside_two_gaussians",
    "make_birds",
    "make_rings",
    "make_two_gaussians",
]

OUTLIER = -1  # their label
GAUSSIAN_MEANS = np.array([[-10.0, 0.0], [10.0, 0.0]])
GAUSSIAN_REACH = 3.0
RING_WIDTH = 1.0  # of the outliers around them
RING_CENTERS = np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
RING_RADII = 0.6, 0.7

SPECIES = np.array(["sparrow", "finch", "bunting", "crossbill"])
BIRD_MEANS = np.array([[28, 78, 12], [24, 84, 13], [27, 87, 10.5], [38, 96, 17]], dtype=float)
BIRD_DEVIATIONS = np.array([2.5, 3.0, 0.8])
BIRD_CATEGORIES = {
    "habitat": (
        np.array(["village", "hedge", "field", "forest"]),
        np.array([[6, 3, 1, 0], [3, 4, 1, 2], [0, 3, 6, 1], [0, 0, 0, 10]]) / 10,
    ),
    "diet": (
        np.array(["seeds", "insects", "fruit"]),
        np.array([[6, 3, 1], [7, 2, 1], [5, 5, 0], [10, 0, 0]]) / 10,
    ),
}


def _within(X, centers, inner, outer):
    """Mask of the points that lie around a centre, from an inner to an outer radius."""
    X = check_array(X, dtype=np.float64)
    if X.shape[1] != 2:
        raise ValueError(
            f"Got X with {X.shape[1]} columns, but expected 2: points of the plane."
        )
    radii = np.hypot(*(X[:, np.newaxis, :] - centers).transpose(2, 0, 1))
    return ((radii >= inner) & (radii <= outer)).any(axis=1)


def _around(centers, radius, random_state):
    """Points at these distances from their centres, in any direction."""
    angle = random_state.uniform(0.0, 2.0 * np.pi, size=len(radius))
    return centers + radius[:, np.newaxis] * np.column_stack([np.cos(angle), np.sin(angle)])


def _uniform_radius(inner, outer, n, random_state):
    """Of points that are uniform in area."""
    return np.sqrt(random_state.uniform(inner**2, outer**2, size=n))


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
    check_arguments(inside_two_gaussians, locals())
    return _within(X, GAUSSIAN_MEANS, 0.0, GAUSSIAN_REACH * sigma)


def make_two_gaussians(
    n_samples: Annotated[int, Interval(Integral, 2, None, closed="left")] = 1000,
    *,
    sigma: Positive = 1.0,
    outliers: Literal["boundary", "box"] | None = None,
    n_outliers: Natural | None = None,
    box: Positive = 50.0,
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
        Which outliers to add: uniform in the rings ``3 * sigma < r <= 3 * sigma + 1``
        around the means, or in ``[-box, box]`` squared, without what is in-distribution.
    n_outliers : int >= 0, default=None
        Outlier rows; None means ``n_samples``. The first figure of [2]_ has 100.
    box : float > 0, default=50.0
        Half the side of the box: 50 and 20 in the first figure of [2]_, 10 in its third.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    X : ndarray of shape (n_samples + n_outliers, 2)
    y : ndarray of shape (n_samples + n_outliers,) of int
        0, 1, or -1 for outliers.

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
    if outliers is None and n_outliers is not None:
        raise ValueError(
            f"Got n_outliers={n_outliers} with outliers=None, but expected outliers to say "
            'which outliers to draw: "boundary" or "box".'
        )
    # The half-plane of a mean belongs to its own disc, and a half box is convex: it lies in the
    # disc exactly when its corners do.
    corners = [[0.0, box], [-box, box]]
    if outliers == "box" and inside_two_gaussians(corners, sigma=sigma).all():
        raise ValueError(
            f"Got box={box} with sigma={sigma}, but expected a box that reaches beyond "
            f"{GAUSSIAN_REACH:g} sigma of the means. Take a larger box or a smaller sigma."
        )
    if n_outliers is None:
        n_outliers = 0 if outliers is None else n_samples
    random_state, reach = check_random_state(random_state), GAUSSIAN_REACH * sigma
    y = np.arange(n_samples) * 2 // n_samples
    mass = -np.expm1(-0.5 * GAUSSIAN_REACH**2)
    radius = sigma * np.sqrt(-2.0 * np.log1p(-mass * random_state.uniform(size=n_samples)))
    X = _around(GAUSSIAN_MEANS[y], radius, random_state)
    outside = np.empty((0, 2))
    while len(outside) < n_outliers:
        n_drawn = 2 * (n_outliers - len(outside)) + 16
        if outliers == "box":
            drawn = random_state.uniform(-box, box, size=(n_drawn, 2))
        else:
            means = GAUSSIAN_MEANS[random_state.randint(2, size=n_drawn)]
            radius = _uniform_radius(reach, reach + RING_WIDTH, n_drawn, random_state)
            drawn = _around(means, radius, random_state)
        drawn = drawn[~inside_two_gaussians(drawn, sigma=sigma)]
        outside = np.concatenate([outside, drawn])
    X = np.concatenate([X, outside[:n_outliers]])
    y = np.concatenate([y, np.full(n_outliers, OUTLIER)])
    order = random_state.permutation(len(y))
    return X[order], y[order]


def inside_rings(X):
    """Tell which points lie on a ring of :func:`make_rings`.

    Parameters
    ----------
    X : array-like of shape (n_samples, 2)

    Returns
    -------
    ndarray of shape (n_samples,) of bool

    Examples
    --------
    >>> from sklearn_ood.datasets import inside_rings
    >>> inside_rings([[-1, 1.65], [-1, 1], [0, 0]])
    array([ True, False, False])
    """
    return _within(X, RING_CENTERS, *RING_RADII)


def make_rings(
    n_samples: Annotated[int, Interval(Integral, 3, None, closed="left")] = 3000,
    *,
    random_state=None,
):
    """Three uniform rings in the plane, one a class, with an empty hole in each.

    The centres are (-1, 1), (1, 1) and (1, -1), the radii six and seven tenths. A classifier
    that splits the plane among three classes is sure of itself in the holes and far away, where
    no row was ever seen (:func:`inside_rings` says where).

    Parameters
    ----------
    n_samples : int >= 3, default=3000
        Shared equally by the three classes (the first ones get what is left over); [1]_ draws
        1,000 a class.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    X : ndarray of shape (n_samples, 2)
        Uniform in area on the rings.
    y : ndarray of shape (n_samples,) of int
        0, 1 or 2.

    References
    ----------
    .. [1] Spigler, "Denoising Autoencoders for Overgeneralization in Neural Networks",
       section IV.A.

    Examples
    --------
    >>> from sklearn_ood.datasets import inside_rings, make_rings
    >>> X, y = make_rings(90, random_state=0)
    >>> bool(inside_rings(X).all())
    True
    """
    check_arguments(make_rings, locals())
    random_state = check_random_state(random_state)
    y = np.arange(n_samples) * 3 // n_samples
    radius = _uniform_radius(*RING_RADII, n_samples, random_state)
    X, order = (
        _around(RING_CENTERS[y], radius, random_state),
        random_state.permutation(n_samples),
    )
    return X[order], y[order]


def make_birds(
    n_samples: Natural = 1200,
    *,
    n_unknown: Natural = 0,
    missing: Annotated[float, Interval(Real, 0, 1, closed="left")] = 0.08,
    random_state=None,
):
    """A table of birds as one has it: measures, categories, yes or no, and empty cells.

    Three species that overlap, so that some answers must be wrong, and a fourth to be left
    unknown. Everything is drawn; no bird was measured.

    Parameters
    ----------
    n_samples : int >= 0, default=1200
        Sparrows, finches and buntings, a third each in the mean.
    n_unknown : int >= 0, default=0
        Rows of a species of its own, "crossbill".
    missing : float in [0, 1), default=0.08
        Share of the cells that are empty.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    X : pandas.DataFrame of shape (n_samples + n_unknown, 6)
        ``mass`` in grams, ``wing`` and ``bill`` in millimetres, the categories ``habitat`` and
        ``diet``, and ``ringed``.
    y : ndarray of shape (n_samples + n_unknown,) of str
        Names of the species.

    Raises
    ------
    ImportError
        Without pandas.

    Examples
    --------
    >>> from sklearn_ood.datasets import make_birds
    >>> X, y = make_birds(300, n_unknown=20, random_state=0)
    >>> list(X.columns), int((y == "crossbill").sum())
    (['mass', 'wing', 'bill', 'habitat', 'diet', 'ringed'], 20)
    """
    check_arguments(make_birds, locals())
    pd = optional("pandas", "A table with names and categories", "table")
    random_state = check_random_state(random_state)
    unknown = len(SPECIES) - 1
    species = random_state.randint(unknown, size=n_samples)
    species = np.append(species, np.full(n_unknown, unknown))
    random_state.shuffle(species)
    measures = random_state.normal(BIRD_MEANS[species], BIRD_DEVIATIONS)
    columns = dict(zip(("mass", "wing", "bill"), measures.round(1).T, strict=True))
    for name, (levels, shares) in BIRD_CATEGORIES.items():
        drawn = random_state.random_sample((len(species), 1))
        columns[name] = levels[(drawn > np.cumsum(shares, axis=1)[species]).sum(axis=1)]
    columns["ringed"] = random_state.random_sample(len(species)) < 0.3
    X = pd.DataFrame(columns).astype(dict.fromkeys(BIRD_CATEGORIES, "category"))
    empty = random_state.random_sample((len(species), 5)) < missing
    X.iloc[:, :5] = X.iloc[:, :5].mask(empty)
    return X, SPECIES[species]
