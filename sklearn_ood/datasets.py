"""Toy problems of the papers, in the plane, with known support; and a table with categories."""

from functools import partial
from numbers import Integral
from typing import Annotated, Literal

import numpy as np
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval

from sklearn_ood._optional import optional
from sklearn_ood._parameters import Natural, Positive, Several, ShareOrZero, check_arguments

__all__ = [
    "inside_rings",
    "inside_two_gaussians",
    "make_birds",
    "make_rings",
    "make_two_gaussians",
]

GAUSSIAN_MEANS = np.array([[-10.0, 0.0], [10.0, 0.0]])
GAUSSIAN_REACH = 3.0
RING_CENTERS = np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])

Integer = Annotated[int, Interval(Integral, None, None, closed="neither")]

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


def _with_outliers(X, y, n_outliers, draw, inside, ood_label, random_state):
    """Rows beside what ``draw(n)`` makes outside of their support, shuffled."""
    if ood_label in y:
        raise ValueError(
            f"Got ood_label={ood_label}, but that is a class. Choose an integer that is "
            f"none of 0..{y.max()}, for example -1."
        )
    outside = np.empty((0, 2))
    while len(outside) < n_outliers:
        drawn = draw(2 * (n_outliers - len(outside)) + 16)
        outside = np.concatenate([outside, drawn[~inside(drawn)]])
    X = np.concatenate([X, outside[:n_outliers]])
    y = np.concatenate([y, np.full(n_outliers, ood_label)])
    order = random_state.permutation(len(y))
    return X[order], y[order]


def inside_two_gaussians(X, *, sigma: Positive = 1.0):
    """Mask of points (n_samples, 2) that :func:`make_two_gaussians` has in-distribution.

    They are within three standard deviations, ``sigma``, of a mean, (-10, 0) or (10, 0).

    Examples
    --------
    >>> from sklearn_ood.datasets import inside_two_gaussians
    >>> inside_two_gaussians([[-10, 2.9], [-10, 3.1], [0, 0]])
    array([ True, False, False])
    """
    check_arguments(inside_two_gaussians, locals())
    return _within(X, GAUSSIAN_MEANS, 0.0, GAUSSIAN_REACH * sigma)


def make_two_gaussians(
    n_samples: Several = 1000,
    *,
    sigma: Positive = 1.0,
    outliers: Literal["boundary", "box"] | None = None,
    n_outliers: Natural | None = None,
    box: Positive = 50.0,
    ring_width: Positive = 1.0,
    ood_label: Integer = -1,
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
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    X, y : ndarray of shape (n_samples + n_outliers, 2), and (n_samples + n_outliers,) of int
        The labels are 0, 1, or ``ood_label``.

    References
    ----------
    .. [1] Vernekar et al., "Analysis of Confident-Classifiers for Out-of-Distribution
       Detection", 2019, section 5.1.
    .. [2] Lee et al., "Training Confidence-calibrated Classifiers for Detecting
       Out-of-Distribution Samples", ICLR 2018, figures 1 and 3.

    Examples
    --------
    >>> from sklearn_ood.datasets import make_two_gaussians
    >>> X, y = make_two_gaussians(100, outliers="boundary", n_outliers=20, random_state=0)
    >>> X.shape, sorted(set(y.tolist()))
    ((120, 2), [-1, 0, 1])
    """
    check_arguments(make_two_gaussians, locals())
    if outliers is None and n_outliers is not None:
        raise ValueError(
            f'Got n_outliers={n_outliers} with outliers=None; expected "boundary" or "box".'
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

    def draw(n):
        if outliers == "box":
            return random_state.uniform(-box, box, size=(n, 2))
        means = GAUSSIAN_MEANS[random_state.randint(2, size=n)]
        radius = _uniform_radius(reach, reach + ring_width, n, random_state)
        return _around(means, radius, random_state)

    inside = partial(inside_two_gaussians, sigma=sigma)
    return _with_outliers(X, y, n_outliers, draw, inside, ood_label, random_state)


def inside_rings(X, *, inner_radius: Positive = 0.6, thickness: Positive = 0.1):
    """Mask of the points (n_samples, 2) that lie on a ring of :func:`make_rings`.

    Parameters
    ----------
    X : array-like of shape (n_samples, 2)
    inner_radius : float > 0, default=0.6
    thickness : float > 0, default=0.1
        Outer minus inner radius; the outer one is at most 1.

    Examples
    --------
    >>> from sklearn_ood.datasets import inside_rings
    >>> inside_rings([[-1, 1.65], [-1, 1], [0, 0]])
    array([ True, False, False])
    """
    check_arguments(inside_rings, locals())
    if inner_radius + thickness > 1.0:
        raise ValueError(
            f"Got inner_radius={inner_radius} and thickness={thickness}, but expected a sum "
            "of at most 1: the centres are 2 apart and the rings would overlap."
        )
    return _within(X, RING_CENTERS, inner_radius, inner_radius + thickness)


def make_rings(
    n_samples: Annotated[int, Interval(Integral, 3, None, closed="left")] = 3000,
    *,
    inner_radius: Positive = 0.6,
    thickness: Positive = 0.1,
    n_outliers: Natural = 0,
    box: Positive = 2.0,
    ood_label: Integer = -1,
    random_state=None,
):
    """Three uniform rings in the plane, one a class, with an empty hole in each.

    The centres are (-1, 1), (1, 1) and (1, -1). A classifier that splits the plane among three
    classes is sure of itself in the holes and far away, where no row was ever seen
    (Spigler, "Denoising Autoencoders for Overgeneralization in Neural Networks", section IV.A).

    Parameters
    ----------
    n_samples : int >= 3, default=3000
        In-distribution rows, shared equally by the three classes (the first ones get what is
        left over), uniform in area.
    inner_radius, thickness
        As for :func:`inside_rings`.
    n_outliers : int >= 0, default=0
        Outlier rows to add, uniform in the box minus the rings.
    box : float > 0, default=2.0
        Half the side of the box.
    ood_label, random_state
        As for :func:`make_two_gaussians`, which also returns the same.

    Examples
    --------
    >>> from sklearn_ood.datasets import inside_rings, make_rings
    >>> X, y = make_rings(90, n_outliers=10, random_state=0)
    >>> bool((inside_rings(X) == (y != -1)).all())
    True
    """
    check_arguments(make_rings, locals())
    random_state = check_random_state(random_state)
    y = np.arange(n_samples) * 3 // n_samples
    inside = partial(inside_rings, inner_radius=inner_radius, thickness=thickness)
    inside(RING_CENTERS)  # raises where rings would overlap
    radii = inner_radius, inner_radius + thickness
    radius = _uniform_radius(*radii, n_samples, random_state)
    X = _around(RING_CENTERS[y], radius, random_state)

    def draw(n):
        return random_state.uniform(-box, box, size=(n, 2))

    return _with_outliers(X, y, n_outliers, draw, inside, ood_label, random_state)


def make_birds(
    n_samples: Natural = 1200,
    *,
    n_unknown: Natural = 0,
    missing: ShareOrZero = 0.08,
    random_state=None,
):
    """A table of birds as one has it: measures, categories, yes or no, and empty cells.

    Three species that overlap, so that some answers must be wrong, and a fourth to be left
    unknown. Everything is drawn; no bird was measured.

    Parameters
    ----------
    n_samples : int >= 0, default=1200
        Sparrows, finches and buntings, a third each on average.
    n_unknown : int >= 0, default=0
        Rows of a species of its own, "crossbill".
    missing : float in [0, 1), default=0.08
        Share of the cells that are empty on average, of all columns but ``ringed``.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    X : pandas.DataFrame of shape (n_samples + n_unknown, 6)
        ``mass`` in grams, ``wing`` and ``bill`` in millimetres, the categories ``habitat`` and
        ``diet``, and whether it is ``ringed``.
    y : ndarray of shape (n_samples + n_unknown,) of str
        Names of the species.

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
