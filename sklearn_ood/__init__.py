"""scikit-learn-compatible classifiers that know when they do not know."""

from sklearn_ood._softmax import SoftmaxClassifier
from sklearn_ood._version import __version__

__all__ = ["SoftmaxClassifier", "__version__"]
