"""Where outlier samples come from: made from the data alone, or given.

A source is a callable ``(X, y, n, random_state) -> X_out``; the classes here are such
callables with parameters, and a name stands for one with its defaults.
"""

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from sklearn_ood.outliers._boundary import BoundaryOutliers, mixup_rows, rows_and_codes


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
        X, _ = rows_and_codes(X, y)
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
        X, codes = rows_and_codes(X, y)
        return mixup_rows(X, codes, n, self.low, check_random_state(random_state))


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
        X, _ = rows_and_codes(X, y)
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
    >>> from sklearn_ood.outliers._sources import resolve_sources
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
