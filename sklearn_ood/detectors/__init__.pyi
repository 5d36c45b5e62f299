from ._features import NetFeatures
from ._neighbors import NeighborDistance
from ._outlier_factor import DistinctLocalOutlierFactor
from ._table_density import TableDensity

__all__ = ["DistinctLocalOutlierFactor", "NeighborDistance", "NetFeatures", "TableDensity"]
