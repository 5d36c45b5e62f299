"""How a row's probabilities differ from those usual for a class."""

import numpy as np
import torch
from torch.nn.functional import one_hot

from sklearn_ood._parameters import fitted
from sklearn_ood.detectors._linear import LinearScore, as_tensor, total


class KLMatching(LinearScore):
    """Minus the divergence of a row's probabilities from the nearest class's usual ones.

    :math:`-\\min_k KL(p(x) \\| d_k)`, at most 0, where :math:`d_k` is the mean probability
    vector of the training rows that are predicted to be of class k [1]_.

    Attributes
    ----------
    log_templates_ : ndarray of shape (n_predicted_classes, n_classes)

    References
    ----------
    .. [1] D. Hendrycks et al., "Scaling out-of-distribution detection for real-world
       settings", ICML 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood.detectors import KLMatching
    >>> X, y = load_iris(return_X_y=True)
    >>> bool((KLMatching().fit(X, y).score_samples(X) <= 0).all())
    True
    """

    log_templates_: np.ndarray = fitted()

    def _learn(self, rows):
        def sums(block):
            logits = self._logits(block)
            predicted = one_hot(logits.argmax(dim=1), logits.shape[1]).double()
            counts = predicted.sum(dim=0)[:, None]
            return torch.cat([predicted.T @ logits.softmax(dim=1), counts], dim=1)

        found = total(sums, rows)
        found = found[found[:, -1] > 0]
        templates = (found[:, :-1] / found[:, -1:]).clamp(min=torch.finfo(found.dtype).tiny)
        self.log_templates_ = templates.log().cpu().numpy()

    def _score(self, features, logits):
        log_p = logits.log_softmax(dim=1)
        p = log_p.exp()
        cross = p @ as_tensor(self.log_templates_, logits).T
        return -((p * log_p).sum(dim=1, keepdim=True) - cross).amin(dim=1).clamp(min=0)
