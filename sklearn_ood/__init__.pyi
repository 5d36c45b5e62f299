from . import (
    classifiers,
    combined,
    datasets,
    detectors,
    generators,
    gevaldi,
    inspection,
    metrics,
    model_selection,
    monitoring,
    outliers,
    selective,
)
from ._version import __version__
from .classifiers._cool import COOLClassifier
from .classifiers._dae import DAEConfidence
from .classifiers._dae_classifier import DAEClassifier
from .classifiers._generative import GenerativeClassifier
from .classifiers._outlier import ConfidentClassifier, RejectClassifier
from .classifiers._softmax import SoftmaxClassifier
from .classifiers._table import TableClassifier
from .combined import CombinedClassifier, ExplanationDisplay, MemberPValuesDisplay
from .data._tables import TableEncoder
from .detectors._features import NetFeatures
from .detectors._mahalanobis import MahalanobisDistance
from .detectors._neighbors import NeighborDistance
from .detectors._subspace import Subspace
from .detectors._table_density import TableDensity
from .export import to_onnx
from .generators._similarity import SiameseSimilarity
from .gevaldi._gevaldi import GeValDi
from .inspection._explanation import InputGradientsDisplay
from .monitoring import DriftMonitor, MonitorDisplay, RiskMonitor
from .outliers import (
    BoundaryOutliers,
    GANOutliers,
    GivenOutliers,
    MixupOutliers,
    NoiseOutliers,
    UniformOutliers,
)
from .persistence import load, save
from .selective._arrays import p_values_from_scores, threshold_from_scores
from .selective._classifier import SelectiveClassifier
from .selective._novelty import NoveltyDetector

__all__ = [
    "BoundaryOutliers",
    "COOLClassifier",
    "CombinedClassifier",
    "ConfidentClassifier",
    "DAEClassifier",
    "DAEConfidence",
    "DriftMonitor",
    "ExplanationDisplay",
    "GANOutliers",
    "GeValDi",
    "GenerativeClassifier",
    "GivenOutliers",
    "InputGradientsDisplay",
    "MahalanobisDistance",
    "MemberPValuesDisplay",
    "MixupOutliers",
    "MonitorDisplay",
    "NeighborDistance",
    "NetFeatures",
    "NoiseOutliers",
    "NoveltyDetector",
    "RejectClassifier",
    "RiskMonitor",
    "SelectiveClassifier",
    "SiameseSimilarity",
    "SoftmaxClassifier",
    "Subspace",
    "TableClassifier",
    "TableDensity",
    "TableEncoder",
    "UniformOutliers",
    "__version__",
    "classifiers",
    "combined",
    "datasets",
    "detectors",
    "generators",
    "gevaldi",
    "inspection",
    "load",
    "metrics",
    "model_selection",
    "monitoring",
    "outliers",
    "p_values_from_scores",
    "save",
    "selective",
    "threshold_from_scores",
    "to_onnx",
]
