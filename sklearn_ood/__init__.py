"""scikit-learn-compatible classifiers that know when they do not know."""

from sklearn_ood._cool import COOLClassifier
from sklearn_ood._novelty import NoveltyDetector
from sklearn_ood._selective import SelectiveClassifier
from sklearn_ood._softmax import SoftmaxClassifier
from sklearn_ood._version import __version__

__all__ = [
    "COOLClassifier",
    "NoveltyDetector",
    "SelectiveClassifier",
    "SoftmaxClassifier",
    "__version__",
]
