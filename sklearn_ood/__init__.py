"""scikit-learn-compatible classifiers that know when they do not know."""

from sklearn_ood._version import __version__
from sklearn_ood.classifiers._confident import ConfidentClassifier
from sklearn_ood.classifiers._cool import COOLClassifier
from sklearn_ood.classifiers._dae import DAEClassifier, DAEConfidence
from sklearn_ood.classifiers._generative import GenerativeClassifier
from sklearn_ood.classifiers._reject import RejectClassifier
from sklearn_ood.classifiers._softmax import SoftmaxClassifier
from sklearn_ood.combined import CombinedClassifier, MemberPValuesDisplay
from sklearn_ood.detectors._features import NetFeatures
from sklearn_ood.detectors._neighbors import NeighborDistance
from sklearn_ood.export import to_onnx
from sklearn_ood.generators._similarity import SiameseSimilarity
from sklearn_ood.gevaldi._gevaldi import GeValDi
from sklearn_ood.inspection._gradients import InputGradientsDisplay
from sklearn_ood.outliers import (
    BoundaryOutliers,
    GANOutliers,
    GivenOutliers,
    MixupOutliers,
    NoiseOutliers,
    UniformOutliers,
)
from sklearn_ood.persistence._files import load, save
from sklearn_ood.selective._classifier import SelectiveClassifier
from sklearn_ood.selective._novelty import NoveltyDetector

__all__ = [
    "BoundaryOutliers",
    "COOLClassifier",
    "CombinedClassifier",
    "ConfidentClassifier",
    "DAEClassifier",
    "DAEConfidence",
    "GANOutliers",
    "GeValDi",
    "GenerativeClassifier",
    "GivenOutliers",
    "InputGradientsDisplay",
    "MemberPValuesDisplay",
    "MixupOutliers",
    "NeighborDistance",
    "NetFeatures",
    "NoiseOutliers",
    "NoveltyDetector",
    "RejectClassifier",
    "SelectiveClassifier",
    "SiameseSimilarity",
    "SoftmaxClassifier",
    "UniformOutliers",
    "__version__",
    "load",
    "save",
    "to_onnx",
]
