"""The sources of outliers by their names."""

from numbers import Real

import numpy as np

from sklearn_ood.outliers._base import OutlierSource
from sklearn_ood.outliers._boundary import BoundaryOutliers
from sklearn_ood.outliers._gan import GANOutliers
from sklearn_ood.outliers._sources import (
    CallableOutliers,
    GivenOutliers,
    MixupOutliers,
    NoiseOutliers,
    UniformOutliers,
)

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
    >>> from sklearn_ood.outliers._names import resolve_sources
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
