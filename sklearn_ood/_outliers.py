"""Where outlier samples come from: made from the data alone, or given.

A source is a callable ``(X, y, n, random_state) -> X_out``; the classes here are such
callables with parameters, and a name stands for one with its defaults.
"""

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state

MAX_WALK = 40
GROWTH = 1.25
# Of the mean variance: directions without variance get this much.
VARIANCE_FLOOR = 1e-3
# Least share of each of the two rows that a row between classes is made of.
BETWEEN_LOW = 0.2
# Share of the steps that follow the pooled scatter, not that of the own class.
POOLED_SHARE = 0.2


class BoundaryOutliers(BaseEstimator):
    """Rows just outside the classes, all around each of them and between them.

    A share ``between`` of the rows lies on segments between rows of two classes. The others
    start at a row and step as far and in such directions as its class, or all classes
    together, are scattered; what is still inside goes on until it is out. A point is inside
    while its distance to the ``n_neighbors``-th nearest row is within the ``quantile`` of
    the same distance of the rows themselves (each without itself), in the space in which the
    pooled scatter of the classes is white.

    Parameters
    ----------
    quantile : float in (0, 1), default=0.95
        Share of the data that is to count as inside. A small one lets outliers overlap the
        data, which teaches the ratio of the two densities also where data is; on tables with
        classes left out that ranked better than a tight boundary, which is what to take
        where the decision at score 0 matters.
    n_neighbors : int, default=10
        Neighbours of the density estimate.
    scales : tuple (low, high), default=(0.2, 2.0)
        First steps, in standard deviations of the class, drawn log-uniformly: the small ones
        end close to the boundary, the large ones cover what lies farther out.
    between : float in [0, 1], default=0.25
        Share of rows between classes.
    max_reference : int, default=10000
        Rows that distances are measured to; from more rows this many are drawn.

    References
    ----------
    .. [1] S. Vernekar et al., "Analysis of confident-classifiers for out-of-distribution
       detection", 2019: asks for samples that cover the whole boundary and leaves open how.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood import BoundaryOutliers
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> outliers = BoundaryOutliers(between=0.0)(X, np.zeros(200), 50, random_state=0)
    >>> outliers.shape
    (50, 2)
    >>> bool(np.linalg.norm(outliers, axis=1).min() > 1.0)
    True
    """

    def __init__(
        self,
        *,
        quantile=0.95,
        n_neighbors=10,
        scales=(0.2, 2.0),
        between=0.25,
        max_reference=10_000,
    ):
        self.quantile = quantile
        self.n_neighbors = n_neighbors
        self.scales = scales
        self.between = between
        self.max_reference = max_reference

    def __call__(self, X, y, n, random_state=None):
        """Draw n outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            In-distribution rows.
        y : array-like of shape (n_samples,)
            Their classes.
        n : int
        random_state : int, RandomState or None, default=None

        Returns
        -------
        ndarray of shape (n, n_features)
        """
        self._check_parameters()
        rng = check_random_state(random_state)
        X, (_, codes) = np.asarray(X, dtype=np.float64), np.unique(y, return_inverse=True)
        region = _Region(X, codes, self.quantile, self.n_neighbors, self.max_reference, rng)
        between = region.between(round(self.between * n) if codes.max() else 0, rng)
        around = region.walk_out(n - len(between), self.scales, rng)
        return rng.permutation(np.concatenate([around, between]))

    def _check_parameters(self):
        if not 0 < self.quantile < 1:
            raise ValueError(f"Got quantile={self.quantile!r}, but expected one in (0, 1).")
        if not 0 <= self.between <= 1:
            raise ValueError(f"Got between={self.between!r}, but expected a share in [0, 1].")
        if not 0 < self.scales[0] <= self.scales[1]:
            raise ValueError(
                f"Got scales={self.scales!r}, but expected (low, high) with 0 < low <= high."
            )
        if not self.n_neighbors >= 1:
            raise ValueError(f"Got n_neighbors={self.n_neighbors!r}, but expected >= 1.")


class UniformOutliers(BaseEstimator):
    """Rows spread evenly over a box.

    Parameters
    ----------
    low, high : float or array-like of shape (n_features,), default=None
        Corners of the box; by default those of the data, moved out by ``margin``.
    margin : float, default=0.5
        Share of the data's range that a default box is wider by, on each side.

    Examples
    --------
    >>> from sklearn_ood import UniformOutliers
    >>> UniformOutliers(low=-50, high=50)([[0.0, 0.0], [1.0, 1.0]], [0, 1], 4, 0).shape
    (4, 2)
    """

    def __init__(self, low=None, high=None, *, margin=0.5):
        self.low = low
        self.high = high
        self.margin = margin

    def __call__(self, X, y, n, random_state=None):
        """Draw n outliers; parameters as for :class:`BoundaryOutliers`."""
        X = np.asarray(X, dtype=np.float64)
        smallest, largest = X.min(axis=0), X.max(axis=0)
        reach = self.margin * (largest - smallest)
        low = smallest - reach if self.low is None else self.low
        high = largest + reach if self.high is None else self.high
        if not np.all(np.less_equal(low, high)):
            raise ValueError(
                f"Got low={self.low!r} and high={self.high!r}, but expected low <= high in "
                "every feature (and where one is left out, on the data's side of it)."
            )
        return check_random_state(random_state).uniform(low, high, size=(n, X.shape[1]))


class MixupOutliers(BaseEstimator):
    """Rows on the segments between rows of two classes.

    Parameters
    ----------
    low : float in (0, 0.5], default=0.2
        Least share that each of the two rows has.

    References
    ----------
    .. [1] H. Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.

    Examples
    --------
    >>> from sklearn_ood import MixupOutliers
    >>> MixupOutliers(low=0.5)([[0.0, 0.0], [1.0, 1.0]], ["a", "b"], 1, random_state=0)
    array([[0.5, 0.5]])
    """

    def __init__(self, *, low=0.2):
        self.low = low

    def __call__(self, X, y, n, random_state=None):
        """Draw n outliers; parameters as for :class:`BoundaryOutliers`."""
        if not 0 < self.low <= 0.5:
            raise ValueError(f"Got low={self.low!r}, but expected a share in (0, 0.5].")
        X, (_, codes) = np.asarray(X, dtype=np.float64), np.unique(y, return_inverse=True)
        return _mixup(X, codes, n, self.low, check_random_state(random_state))


class NoiseOutliers(BaseEstimator):
    """Gaussian noise with the mean and the standard deviation of each feature.

    Parameters
    ----------
    scale : float > 0, default=1.0
        Multiplies the standard deviations.

    Examples
    --------
    >>> from sklearn_ood import NoiseOutliers
    >>> NoiseOutliers(scale=2.0)([[0.0, 5.0], [1.0, 5.0]], [0, 1], 3, 0)[:, 1]
    array([5., 5., 5.])
    """

    def __init__(self, *, scale=1.0):
        self.scale = scale

    def __call__(self, X, y, n, random_state=None):
        """Draw n outliers; parameters as for :class:`BoundaryOutliers`."""
        if not self.scale > 0:
            raise ValueError(f"Got scale={self.scale!r}, but expected a number > 0.")
        X = np.asarray(X, dtype=np.float64)
        noise = check_random_state(random_state).normal(size=(n, X.shape[1]))
        return X.mean(axis=0) + self.scale * X.std(axis=0) * noise


class GANOutliers(BaseEstimator):
    """Samples of a GAN that is trained in turns with the classifier.

    Parameters
    ----------
    guided : bool, default=True
        Whether the loss on outliers enters the generator's loss too, so that it makes rows
        of low density (the joint GAN of [1]_); without, it imitates the data ("original").
    pull_away : float >= 0, default=0.0
        Weight of the pull-away term, which keeps the samples apart ([1]_, appendix D).
    latent_dim : int, default=100
        Size of the standard normal latents.
    lr : float, default=2e-4
        Adam's learning rate for generator and discriminator; it follows the classifier's
        ``lr_schedule``.
    hidden_layer_sizes : tuple of int, default=(500, 500)
        Dense layers of both networks, for rows.
    n_channels : int, default=128
        Channels of the narrowest hidden layer of the DCGAN, for images.
    generator : {"auto"} or callable, default="auto"
        ``(latent_dim, input_shape) -> nn.Module``.
    discriminator : {"auto"} or callable, default="auto"
        ``(input_shape) -> nn.Module`` with one logit for each input.

    References
    ----------
    .. [1] K. Lee et al., "Training confidence-calibrated classifiers for detecting
       out-of-distribution samples", ICLR 2018, equation 4 and algorithm 1. The generator's
       loss is the non-saturating one.
    """

    def __init__(
        self,
        *,
        guided=True,
        pull_away=0.0,
        latent_dim=100,
        lr=2e-4,
        hidden_layer_sizes=(500, 500),
        n_channels=128,
        generator="auto",
        discriminator="auto",
    ):
        self.guided = guided
        self.pull_away = pull_away
        self.latent_dim = latent_dim
        self.lr = lr
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_channels = n_channels
        self.generator = generator
        self.discriminator = discriminator


def _given(X, y, n, random_state=None):
    """The rows labelled ``ood_label``: stands in the table, is never called."""
    raise TypeError("The source 'given' takes its rows from y.")


SOURCES = {
    "given": _given,
    "gan": GANOutliers(),
    "original_gan": GANOutliers(guided=False),
    "boundary": BoundaryOutliers(),
    "uniform": UniformOutliers(),
    "mixup": MixupOutliers(),
    "noise": NoiseOutliers(),
}


def resolve_sources(outliers):
    """Sources and weights that an ``outliers`` parameter names.

    Parameters
    ----------
    outliers : str, callable, GANOutliers, or dict of these to weights

    Returns
    -------
    sources : list
        Callables, "given" as :func:`_given`, and at most one :class:`GANOutliers`.
    weights : list of float

    Raises
    ------
    ValueError
        For unknown names, weights that are not positive, or two GANs.

    Examples
    --------
    >>> from sklearn_ood._outliers import resolve_sources
    >>> resolve_sources({"boundary": 2, "uniform": 1})
    ([BoundaryOutliers(), UniformOutliers()], [2.0, 1.0])
    """
    pairs = list(outliers.items()) if isinstance(outliers, dict) else [(outliers, 1.0)]
    if not pairs:
        raise ValueError("Got outliers={}, but expected at least one source.")
    sources = [_source(outliers, name) for name, _ in pairs]
    if sum(isinstance(source, GANOutliers) for source in sources) > 1:
        raise ValueError(f"Got outliers={outliers!r}, but expected at most one GAN.")
    for source, weight in pairs:
        if not isinstance(weight, Real) or not 0 < weight < np.inf:
            raise ValueError(
                f"Got outliers with weight {weight!r} for {source!r}, but expected a finite "
                "number > 0; leave out what is not wanted."
            )
    return sources, [float(weight) for _, weight in pairs]


def sample_bank(source, data, n, random_state):
    """n outlier rows of one source, or all given ones, checked.

    Parameters
    ----------
    source : callable
    data : TrainingData
    n : int
    random_state : int or RandomState

    Returns
    -------
    ndarray of shape (n_outliers, n_features), float32

    Raises
    ------
    ValueError
        If there are none, or they have the wrong width or values that are not finite.
    """
    if source is _given:
        return _known_outliers(data)
    rows, codes = data.in_distribution
    outliers = np.asarray(source(rows, data.classes[codes], n, random_state))
    name = getattr(source, "__name__", type(source).__name__)
    if outliers.ndim < 2 or not len(outliers) or outliers[0].size != rows.shape[1]:
        raise ValueError(
            f"Got outliers of shape {outliers.shape} from {name}, but expected "
            f"({n}, {rows.shape[1]}): rows as wide as X."
        )
    outliers = outliers.reshape(len(outliers), -1).astype(np.float32)
    if not np.isfinite(outliers).all():
        raise ValueError(
            f"Got NaN or infinite outliers from {name}, but expected finite numbers."
        )
    return outliers


def _source(outliers, name):
    if isinstance(name, str) and name in SOURCES:
        return SOURCES[name]
    if callable(name) or isinstance(name, GANOutliers):
        return name
    raise ValueError(
        f"Got outliers={outliers!r}, but expected one of {sorted(SOURCES)}, a callable "
        "(X, y, n, random_state) -> X_out, GANOutliers(...), or a dict of these to weights."
    )


def _known_outliers(data):
    if len(data.outliers):
        return data.outliers
    raise ValueError(
        "Got outliers='given', but y has no row labelled ood_label; set ood_label to the "
        "label of the known outliers, or take outliers that are made, such as 'boundary'."
    )


class _Region:
    """Where the rows are: inside is what is as close to them as they are to each other."""

    def __init__(self, X, codes, quantile, n_neighbors, max_reference, rng):
        self.X, self.codes = X, codes
        self.to_white, self.from_white = within_class_whitening(X, codes)
        chosen = rng.permutation(len(X))[:max_reference]
        k = min(n_neighbors, len(chosen) - 1)
        self.tree = NearestNeighbors(n_neighbors=k).fit(X[chosen] @ self.to_white)
        distances, _ = self.tree.kneighbors()
        self.radius = np.quantile(distances[:, -1], quantile)

    def contains(self, rows):
        if not len(rows):
            return np.zeros(0, dtype=bool)
        distances, _ = self.tree.kneighbors(rows @ self.to_white)
        return distances[:, -1] <= self.radius

    def walk_out(self, n, scales, rng):
        """n rows outside: steps from random rows that grow until they are."""
        chosen = rng.randint(len(self.X), size=n)
        start = self.X[chosen]
        step = self._steps(self.codes[chosen], rng)
        step *= np.exp(rng.uniform(*np.log(scales), size=(n, 1)))
        inside = np.arange(n)
        for _ in range(MAX_WALK):
            inside = inside[self.contains(start[inside] + step[inside])]
            if not len(inside):
                break
            step[inside] *= GROWTH
        return start + step

    def _steps(self, codes, rng):
        """One standard deviation: half the steps as the row's own class is scattered.

        The difference of two random rows has twice their covariance, whatever their number
        and the number of features. The other half follows the pooled scatter, also where a
        class has no variance at all.
        """
        first, second = self._rows_of(codes, rng), self._rows_of(codes, rng)
        own = (self.X[first] - self.X[second]) / np.sqrt(2.0)
        pooled = rng.normal(size=own.shape) @ self.from_white
        use_pooled = (rng.uniform(size=len(codes)) < POOLED_SHARE) | ~own.any(axis=1)
        return np.where(use_pooled[:, None], pooled, own)

    def _rows_of(self, codes, rng):
        """A random row of each of the classes."""
        sizes = np.bincount(self.codes)
        start = np.cumsum(sizes) - sizes
        by_class = np.argsort(self.codes, kind="stable")
        return by_class[start[codes] + rng.randint(sizes[codes])]

    def between(self, n, rng):
        """At most n rows outside, on segments between rows of two classes."""
        rows = _mixup(self.X, self.codes, n, BETWEEN_LOW, rng)
        return rows[~self.contains(rows)]


def within_class_whitening(X, codes):
    """Matrices to and from the space where the pooled scatter of the classes is white.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    codes : ndarray of shape (n_samples,)

    Returns
    -------
    to_white, from_white : ndarray of shape (n_features, n_features)
        Symmetric. ``(X - class mean) @ to_white`` has the identity as covariance, but for
        directions of (nearly) no variance, which get ``VARIANCE_FLOOR`` of the mean one.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood._outliers import within_class_whitening
    >>> X = np.random.default_rng(0).normal(scale=[1.0, 20.0], size=(1000, 2))
    >>> to_white, _ = within_class_whitening(X, np.zeros(1000, dtype=int))
    >>> np.cov(X @ to_white, rowvar=False).round(1)
    array([[1., 0.],
           [0., 1.]])
    """
    sizes = np.bincount(codes)
    means = np.zeros((len(sizes), X.shape[1]))
    np.add.at(means, codes, X)
    centered = X - (means / sizes[:, None])[codes]
    variances, axes = np.linalg.eigh(centered.T @ centered / len(X))
    mean = variances.mean() if variances.mean() > 0 else 1.0
    roots = np.sqrt(np.maximum(variances, VARIANCE_FLOOR * mean))
    return (axes / roots) @ axes.T, (axes * roots) @ axes.T


def _mixup(X, codes, n, low, rng):
    """n rows on segments between rows of two classes."""
    by_class = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    first = rng.randint(len(X), size=n)
    # The rows of another class follow those of the own, in a circle.
    others = len(X) - sizes[codes[first]]
    if not others.all():
        raise ValueError("Got rows of one class, but rows between classes need two.")
    after = np.cumsum(sizes)[codes[first]] + rng.randint(others)
    second = by_class[after % len(X)]
    share = rng.uniform(low, 1.0 - low, size=(n, 1))
    return share * X[first] + (1.0 - share) * X[second]
