from ._classifier import SelectiveClassifier
from ._novelty import NoveltyDetector

__all__ = ["NoveltyDetector", "SelectiveClassifier"]
