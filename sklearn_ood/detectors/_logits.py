"""The classic scores of a network's logits, made from its features."""

from typing import Annotated

from sklearn.utils._param_validation import StrOptions

from sklearn_ood.detectors._linear import LinearScore
from sklearn_ood.nets._heads import SCORE_FUNCTIONS


class LogitScore(LinearScore):
    """A score function of :class:`SoftmaxClassifier`, of the logits of features.

    Parameters
    ----------
    score_function : str, default="energy"
        As there.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood.detectors import LogitScore
    >>> X, y = load_iris(return_X_y=True)
    >>> LogitScore(score_function="margin").fit(X, y).score_samples(X).shape
    (150,)
    """

    score_function: Annotated[str, StrOptions(set(SCORE_FUNCTIONS))] = "energy"

    def _score(self, features, logits):
        of_logits = self.score_function in ("max_logit", "margin", "energy")
        return SCORE_FUNCTIONS[self.score_function](logits if of_logits else logits.double())
