"""Who decides: answers and refusals."""

from sklearn_ood.selective._classifier import SelectiveClassifier
from sklearn_ood.selective._novelty import NoveltyDetector

__all__ = ["NoveltyDetector", "SelectiveClassifier"]
