import numpy as np
import torch

from sklearn_ood._parameters import fitted
from sklearn_ood.detectors._linear import LinearScore, projected, total


class KLMatching(LinearScore):
    """Minus the divergence of a row's probabilities from the nearest class's usual ones.

    :math:`-\\min_k KL(p(x) \\| d_k)`, at most 0, where :math:`d_k` is the mean probability
    vector of the training rows that are predicted to be of class k [1]_.

    References
    ----------
    .. [1] D. Hendrycks et al., "Scaling out-of-distribution detection for real-world
       settings", ICML 2022.

    Examples
    --------
    >>> from sklearn_ood.detectors import KLMatching
    >>> KLMatching().fit([[0.0], [1.0], [7.0]], ["a", "a", "b"]).score_samples([[5.0]]).shape
    (1,)
    """

    log_templates_: np.ndarray = fitted()

    def _learn(self, known):
        def sums(block, some):
            p = self._logits(block).softmax(dim=1)
            weighted = some[:, None] * p
            return p.new_zeros(p.shape[1], p.shape[1]).index_add_(0, p.argmax(dim=1), weighted)

        # Those of a class sum to the number of its rows.
        found = total(sums, known.rows, known.weights)
        found = found[found.sum(dim=1) > 0]
        templates = found / found.sum(dim=1, keepdim=True)
        lowest = torch.finfo(templates.dtype).tiny
        self.log_templates_ = templates.clamp(min=lowest).log().cpu().numpy()

    def _score(self, features, logits):
        log_p = logits.double().log_softmax(dim=1)
        p = log_p.exp()
        cross = projected(p.to(features.dtype), self.log_templates_)
        return (cross.amax(dim=1) - (p * log_p).sum(dim=1)).clamp(max=0)
