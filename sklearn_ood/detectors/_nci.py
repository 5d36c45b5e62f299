import numpy as np
import torch

from sklearn_ood._parameters import NonNegative, fitted
from sklearn_ood.detectors._linear import SMALLEST, LinearScore, as_tensor, distance, mean_of


class NCI(LinearScore):
    """The features' projection on the weights of the predicted class, and their norm.

    With features h, their training mean :math:`\\mu` and the weights w of the predicted class
    it is :math:`w \\cdot (h - \\mu) / \\|h - \\mu\\|_2 + \\alpha \\|h\\|_1` [1]_.

    Parameters
    ----------
    alpha : float >= 0, default=1e-4
        Weight of the norm.

    References
    ----------
    .. [1] L. Liu and Y. Qin, "Detecting out-of-distribution through the lens of neural
       collapse", CVPR 2025.

    Examples
    --------
    >>> from sklearn_ood.detectors import NCI
    >>> NCI().fit([[0.0], [1.0], [7.0]], ["a", "a", "b"]).score_samples([[5.0]]).shape
    (1,)
    """

    alpha: NonNegative = 1e-4

    mean_: np.ndarray = fitted()
    mean_logits_: np.ndarray = fitted()

    def _learn(self, known):
        self.mean_ = mean_of(torch.clone, known).cpu().numpy()
        self.mean_logits_ = self.weight_ @ self.mean_ + self.bias_

    def _score(self, features, logits):
        top, best = logits.max(dim=1)
        at_mean = as_tensor(self.mean_logits_, logits)
        length = distance(features, self.mean_).clamp(min=SMALLEST)
        return (top - at_mean[best]) / length + self.alpha * features.abs().sum(dim=1)
