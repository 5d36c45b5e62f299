import math
from typing import Any

import torch

from sklearn_ood._parameters import NonNegative
from sklearn_ood.classifiers._outlier import OutlierClassifier
from sklearn_ood.outliers._training import OutlierLoss


def uniform_divergence(logits):
    """KL(uniform || softmax(logits)) in nats, the mean over the rows (Lee et al., eq. 1)."""
    return -torch.log_softmax(logits, dim=1).mean() - math.log(logits.shape[1])


class ConfidenceLoss(OutlierLoss):
    """Cross entropy of rows, and the divergence of outliers from the uniform distribution."""

    outlier_loss = staticmethod(uniform_divergence)


class ConfidentClassifier(OutlierClassifier):
    """Neural network that is taught to be unsure of outliers, given or made.

    Training minimises the cross entropy on the classes plus ``beta`` times the divergence
    KL(uniform || p) on outliers [1]_; the scores are those of :class:`SoftmaxClassifier`.
    Far away from all data a ReLU net is sure of itself all the same [2]_: where that
    matters take :class:`RejectClassifier`.

    Parameters
    ----------
    beta : float >= 0, default=1.0
        Weight of the divergence on outliers. 0 trains, bit for bit, what
        :class:`SoftmaxClassifier` trains.
    outliers : str, callable, OutlierSource, or dict of these to weights, default="gan"
        Where training takes its outliers from, as for :class:`RejectClassifier`.

    See Also
    --------
    RejectClassifier : An output of its own for outliers.

    References
    ----------
    .. [1] K. Lee, H. Lee, K. Lee and J. Shin, "Training confidence-calibrated classifiers for
       detecting out-of-distribution samples", ICLR 2018, equations 1, 3, 4, algorithm 1.
    .. [2] S. Vernekar et al., "Analysis of confident-classifiers for out-of-distribution
       detection", 2019, section 3.

    Examples
    --------
    >>> from sklearn_ood import ConfidentClassifier
    >>> from sklearn_ood.datasets import make_two_gaussians
    >>> X, y = make_two_gaussians(200, outliers="box", random_state=0)
    >>> classifier = ConfidentClassifier(outliers="given", ood_label=-1, random_state=0)
    >>> classifier.fit(X, y).predict([[-10, 0], [10, 0]])
    array([0, 1])
    >>> inside, outside = classifier.score_samples([[-10, 0], [40, 40]])
    >>> bool(inside > outside)
    True
    """

    beta: NonNegative = 1.0
    outliers: Any = "gan"

    def make_loss(self, class_weights):
        return ConfidenceLoss(class_weights)
