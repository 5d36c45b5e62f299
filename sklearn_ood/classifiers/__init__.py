"""One method a file, and the templates to write one's own."""

from sklearn_ood.classifiers._network import NetClassifier
from sklearn_ood.classifiers._outlier import OutlierClassifier
from sklearn_ood.classifiers._softmax import LogitClassifier
from sklearn_ood.nets._heads import Head, SoftmaxHead

__all__ = ["Head", "LogitClassifier", "NetClassifier", "OutlierClassifier", "SoftmaxHead"]
