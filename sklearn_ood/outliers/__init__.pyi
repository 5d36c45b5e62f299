from ._boundary import BoundaryOutliers
from ._gan import GANOutliers
from ._sources import (
    GivenOutliers,
    MixupOutliers,
    NoiseOutliers,
    OutlierSource,
    UniformOutliers,
)
from ._training import OutlierLoss

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
