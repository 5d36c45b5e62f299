import numpy as np
import torch
from scipy.spatial.distance import cdist

from sklearn_ood._parameters import fitted
from sklearn_ood.detectors._linear import SMALLEST, LinearScore, as_tensor, distance, mean_of


class FDBD(LinearScore):
    """Mean distance to the other classes' boundaries, over that to the training mean.

    From features h of the predicted class k, the boundary of class j is
    :math:`|f_k - f_j| / \\|w_k - w_j\\|_2` away; their mean is divided by
    :math:`\\|h - \\mu\\|_2` [1]_.

    References
    ----------
    .. [1] L. Liu and Y. Qin, "Fast decision boundary based out-of-distribution detector",
       ICML 2024.

    Examples
    --------
    >>> from sklearn_ood.detectors import FDBD
    >>> FDBD().fit([[0.0], [1.0], [7.0]], ["a", "a", "b"]).score_samples([[5.0]]).shape
    (1,)
    """

    mean_: np.ndarray = fitted()
    weight_distances_: np.ndarray = fitted()

    def _learn(self, known):
        self.mean_ = mean_of(torch.clone, known).cpu().numpy()
        self.weight_distances_ = cdist(self.weight_, self.weight_).clip(SMALLEST)

    def _score(self, features, logits):
        between = as_tensor(self.weight_distances_, logits)
        top, best = logits.max(dim=1, keepdim=True)
        distances = ((top - logits) / between[best[:, 0]]).sum(dim=1) / (len(between) - 1)
        return distances / distance(features, self.mean_).clamp(min=SMALLEST)
