from ._comparison import compare_scores, scores_of_network
from ._covariance import MahalanobisDistance, Subspace
from ._features import NetFeatures, last_linear
from ._linear import LinearScore
from ._neighbors import NeighborDistance
from ._scores import (
    FDBD,
    NCI,
    ActivationShaping,
    GradNorm,
    KLMatching,
    LogitScore,
    NNGuide,
)
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
