from ._classifier import CombinedClassifier
from ._displays import ExplanationDisplay, MemberPValuesDisplay
from ._explanation import Explanation

__all__ = ["CombinedClassifier", "Explanation", "ExplanationDisplay", "MemberPValuesDisplay"]
