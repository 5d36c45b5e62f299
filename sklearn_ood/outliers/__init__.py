"""Where outliers come from: made from the data alone, by a GAN, or given."""

from sklearn_ood.outliers._boundary import BoundaryOutliers
from sklearn_ood.outliers._sources import (
    GANOutliers,
    MixupOutliers,
    NoiseOutliers,
    UniformOutliers,
)

__all__ = [
    "BoundaryOutliers",
    "GANOutliers",
    "MixupOutliers",
    "NoiseOutliers",
    "UniformOutliers",
]
