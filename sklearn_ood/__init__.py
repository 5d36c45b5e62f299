"""scikit-learn-compatible classifiers that know when they do not know."""

from sklearn_ood._boundary import BoundaryOutliers
from sklearn_ood._combined import CombinedDetector
from sklearn_ood._confident import ConfidentClassifier
from sklearn_ood._cool import COOLClassifier
from sklearn_ood._dae import DAEConfidence
from sklearn_ood._features import NetFeatures
from sklearn_ood._generative import GenerativeClassifier
from sklearn_ood._gevaldi import GeValDi
from sklearn_ood._gradients import InputGradientsDisplay
from sklearn_ood._neighbors import NeighborDistance
from sklearn_ood._novelty import NoveltyDetector
from sklearn_ood._outliers import (
    GANOutliers,
    MixupOutliers,
    NoiseOutliers,
    UniformOutliers,
)
from sklearn_ood._reject import RejectClassifier
from sklearn_ood._selective import SelectiveClassifier
from sklearn_ood._siamese import SiameseSimilarity
from sklearn_ood._softmax import SoftmaxClassifier
from sklearn_ood._version import __version__
from sklearn_ood.export import to_onnx
from sklearn_ood.persistence import load, save

__all__ = [
    "BoundaryOutliers",
    "COOLClassifier",
    "CombinedDetector",
    "ConfidentClassifier",
    "DAEConfidence",
    "GANOutliers",
    "GeValDi",
    "GenerativeClassifier",
    "InputGradientsDisplay",
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
