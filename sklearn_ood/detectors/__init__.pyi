from ._comparison import compare_scores, scores_of_network
from ._fdbd import FDBD
from ._features import NetFeatures
from ._gradnorm import GradNorm
from ._kl_matching import KLMatching
from ._layers import last_linear
from ._linear import LinearScore
from ._logits import LogitScore
from ._mahalanobis import MahalanobisDistance
from ._nci import NCI
from ._neighbors import NeighborDistance
from ._nnguide import NNGuide
from ._shaping import ActivationShaping
from ._subspace import Subspace
from ._table_density import TableDensity

__all__ = [
    "FDBD",
    "NCI",
    "ActivationShaping",
    "GradNorm",
    "KLMatching",
    "LinearScore",
    "LogitScore",
    "MahalanobisDistance",
    "NNGuide",
    "NeighborDistance",
    "NetFeatures",
    "Subspace",
    "TableDensity",
    "compare_scores",
    "last_linear",
    "scores_of_network",
]
