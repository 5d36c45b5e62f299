from ._fdbd import FDBD
from ._features import NetFeatures, last_linear
from ._gradnorm import GradNorm
from ._kl_matching import KLMatching
from ._linear import LinearScore
from ._mahalanobis import MahalanobisDistance
from ._nci import NCI
from ._neighbors import NeighborDistance
from ._nnguide import NNGuide
from ._outlier_factor import DistinctLocalOutlierFactor
from ._shaping import ActivationShaping
from ._subspace import Subspace

__all__ = [
    "FDBD",
    "NCI",
    "ActivationShaping",
    "DistinctLocalOutlierFactor",
    "GradNorm",
    "KLMatching",
    "LinearScore",
    "MahalanobisDistance",
    "NNGuide",
    "NeighborDistance",
    "NetFeatures",
    "Subspace",
    "last_linear",
]
