"""Where outlier samples come from: made from the data alone, or given.

A source is a callable ``(X, y, n, random_state) -> X_out``; the classes here are such
callables with parameters, and a name stands for one with its defaults.
"""

from collections.abc import Callable
from dataclasses import field
from numbers import Real
from typing import Annotated, Any

import numpy as np
from sklearn.utils._param_validation import Interval

from sklearn_ood._parameters import Count, NonNegative, Positive
from sklearn_ood.nets._gan import build_discriminator, build_generator
from sklearn_ood.nets._modules import InputShape
from sklearn_ood.outliers._base import MadeOutliers, OutlierSource
from sklearn_ood.outliers._boundary import BoundaryOutliers, mixup_rows


class UniformOutliers(MadeOutliers):
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

    low: Any = field(default=None, kw_only=False)
    high: Any = field(default=None, kw_only=False)
    margin: NonNegative = 0.5

    def _make(self, X, codes, n, rng):
        smallest, largest = X.min(axis=0), X.max(axis=0)
        reach = self.margin * (largest - smallest)
        low = smallest - reach if self.low is None else self.low
        high = largest + reach if self.high is None else self.high
        if not np.all(np.less_equal(low, high)):
            raise ValueError(
                f"Got low={self.low!r} and high={self.high!r}, but expected low <= high in "
                "every feature (and where one is left out, on the data's side of it)."
            )
        return rng.uniform(low, high, size=(n, X.shape[1]))


class MixupOutliers(MadeOutliers):
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

    low: Annotated[float, Interval(Real, 0, 0.5, closed="right")] = 0.2

    def _make(self, X, codes, n, rng):
        return mixup_rows(X, codes, n, self.low, rng)


class NoiseOutliers(MadeOutliers):
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

    scale: Positive = 1.0

    def _make(self, X, codes, n, rng):
        noise = rng.normal(size=(n, X.shape[1]))
        return X.mean(axis=0) + self.scale * X.std(axis=0) * noise


class GANOutliers(OutlierSource):
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

    guided: bool = True
    pull_away: NonNegative = 0.0
    latent_dim: Count = 100
    lr: Positive = 2e-4
    hidden_layer_sizes: tuple | list = (500, 500)
    n_channels: Count = 128
    generator: Any = "auto"
    discriminator: Any = "auto"

    def make_networks(self, input_shape, rows):
        """Untrained generator and discriminator, for the location and scale of the rows."""
        self._validate_params()
        sizes = {"hidden_layer_sizes": self.hidden_layer_sizes, "n_channels": self.n_channels}
        return (
            build_generator(self.generator, self.latent_dim, input_shape, rows, **sizes),
            InputShape(
                build_discriminator(self.discriminator, input_shape, rows, **sizes), input_shape
            ),
        )

    def supply(self, net, data, n, random_state, as_inputs):
        """Fresh samples of the generator that is trained beside the classifier."""
        return net.generate


class GivenOutliers(OutlierSource):
    """Rows that are known to be outliers.

    Parameters
    ----------
    rows : array-like of shape (n_outliers, n_features), default=None
        None takes the rows of y that are labelled ``ood_label``.

    Examples
    --------
    >>> from sklearn_ood import GivenOutliers
    >>> GivenOutliers([[9.0, 9.0]])([[0.0, 0.0], [1.0, 1.0]], [0, 1], 5)
    array([[9., 9.]])
    """

    rows: Any = field(default=None, kw_only=False)

    def __call__(self, X, y, n, random_state=None):
        """All given rows, however many are asked for."""
        if self.rows is None or not len(self.rows):
            raise ValueError(
                "Got outliers='given', but y has no row labelled ood_label; set ood_label to "
                "the label of the known outliers, or take outliers that are made, such as "
                "'boundary'."
            )
        return np.asarray(self.rows)

    def sample(self, data, n, random_state):
        """The given rows, or those of the data that are labelled as outliers."""
        if self.rows is None:
            return GivenOutliers(data.outliers).sample(data, n, random_state)
        return super().sample(data, n, random_state)


class CallableOutliers(OutlierSource):
    """What a function ``(X, y, n, random_state) -> X_out`` makes."""

    function: Callable = field(kw_only=False)

    def __call__(self, X, y, n, random_state=None):
        """Call the function."""
        return self.function(X, y, n, random_state)

    def __repr__(self, N_CHAR_MAX=700):
        return getattr(self.function, "__name__", type(self.function).__name__)


SOURCES = {
    "given": GivenOutliers(),
    "gan": GANOutliers(),
    "original_gan": GANOutliers(guided=False),
    "boundary": BoundaryOutliers(),
    "uniform": UniformOutliers(),
    "mixup": MixupOutliers(),
    "noise": NoiseOutliers(),
}


def resolve_sources(outliers):
    """Lists of the sources, at most one of them a GAN, and weights that a parameter names.

    Examples
    --------
    >>> from sklearn_ood.outliers._sources import resolve_sources
    >>> resolve_sources({"boundary": 2, "uniform": 1})
    ([BoundaryOutliers(), UniformOutliers()], [2.0, 1.0])
    """
    pairs = list(outliers.items()) if isinstance(outliers, dict) else [(outliers, 1.0)]
    if not pairs:
        raise ValueError("Got outliers={}, but expected at least one source.")
    sources = [_source(outliers, source) for source, _ in pairs]
    if sum(isinstance(source, GANOutliers) for source in sources) > 1:
        raise ValueError(f"Got outliers={outliers!r}, but expected at most one GAN.")
    for source, weight in pairs:
        if not isinstance(weight, Real) or not 0 < weight < np.inf:
            raise ValueError(
                f"Got outliers with weight {weight!r} for {source!r}, but expected a finite "
                "number > 0; leave out what is not wanted."
            )
    return sources, [float(weight) for _, weight in pairs]


def _source(outliers, source):
    """The source that a name or a callable stands for."""
    if isinstance(source, str) and source in SOURCES:
        return SOURCES[source]
    if isinstance(source, OutlierSource):
        return source
    if callable(source):
        return CallableOutliers(source)
    raise ValueError(
        f"Got outliers={outliers!r}, but expected one of {sorted(SOURCES)}, a callable "
        "(X, y, n, random_state) -> X_out, GANOutliers(...), or a dict of these to weights."
    )
