from ._features import NetFeatures
from ._neighbors import NeighborDistance
from ._outlier_factor import DistinctLocalOutlierFactor

__all__ = ["DistinctLocalOutlierFactor", "NeighborDistance", "NetFeatures"]
