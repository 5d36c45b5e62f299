from typing import Annotated

import torch
from sklearn.utils._param_validation import StrOptions

from sklearn_ood.detectors._linear import SMALLEST, LinearScore
from sklearn_ood.nets._heads import SCORE_FUNCTIONS


class LogitScore(LinearScore):
    """A score function of :class:`SoftmaxClassifier`, of the logits of features.

    Parameters
    ----------
    score_function : str, default="energy"
        As there.

    Examples
    --------
    >>> from sklearn_ood.detectors import LogitScore
    >>> score = LogitScore(score_function="margin").fit([[0.0], [1.0], [7.0]], ["a", "a", "b"])
    >>> bool(score.score_samples([[0.5]]) > score.score_samples([[4.0]]))
    True
    """

    score_function: Annotated[str, StrOptions(set(SCORE_FUNCTIONS))] = "energy"

    def _score(self, features, logits):
        function = SCORE_FUNCTIONS[self.score_function]
        if self.score_function in ("generalized_entropy", "max_logit_pnorm"):
            return function(logits.double())
        scores = function(logits)
        if logits.dtype == torch.float32 and self.score_function in ("max_proba", "entropy"):
            sure = scores > -SMALLEST  # float32 has no odds that are much less
            if sure.any():
                scores[sure] = function(logits[sure].double())
        return scores
