"""Several scores as one p-value and one confidence."""

from sklearn_ood.combined._classifier import CombinedClassifier
from sklearn_ood.combined._displays import ExplanationDisplay, MemberPValuesDisplay
from sklearn_ood.combined._explanation import Explanation

__all__ = ["CombinedClassifier", "Explanation", "ExplanationDisplay", "MemberPValuesDisplay"]
