"""Where outliers come from: made from the data alone, by a GAN, or given."""

from sklearn_ood.outliers._boundary import BoundaryOutliers
from sklearn_ood.outliers._gan import GANOutliers
from sklearn_ood.outliers._sources import (
    GivenOutliers,
    MixupOutliers,
    NoiseOutliers,
    OutlierSource,
    UniformOutliers,
)
from sklearn_ood.outliers._training import OutlierLoss

__all__ = [
    "BoundaryOutliers",
    "GANOutliers",
    "GivenOutliers",
    "MixupOutliers",
    "NoiseOutliers",
    "OutlierLoss",
    "OutlierSource",
    "UniformOutliers",
]
