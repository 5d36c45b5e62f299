from typing import Annotated

import torch
from sklearn.utils._param_validation import StrOptions

from sklearn_ood._parameters import Positive
from sklearn_ood.classifiers._outlier import OutlierClassifier
from sklearn_ood.nets._heads import RejectHead
from sklearn_ood.outliers._training import OutlierLoss


def reject_loss(logits):
    """Cross entropy of rows that belong to the last, the reject class."""
    return -torch.log_softmax(logits, dim=1)[:, -1].mean()


class RejectLoss(OutlierLoss):
    """Cross entropy of rows, and of outliers, which belong to the last class."""

    outlier_loss = staticmethod(reject_loss)

    def class_logits(self, outputs):
        """Those of the classes alone."""
        return outputs[:, :-1]


class RejectClassifier(OutlierClassifier):
    """Neural network with one more output, for outliers: the reject class.

    Training minimises the cross entropy on the classes plus ``beta`` times the cross entropy
    of outliers, which belong to output K + 1. Unlike the classes' own confidence, the reject
    class can win in all of the far space [1]_. With f the net's K + 1 outputs divided by
    ``temperature``, ``decision_function`` is f_k - f_reject, the log-odds of each class
    against the reject class; ``predict`` never rejects, and ``predict_proba`` is over the K
    classes alone.

    Parameters
    ----------
    module : {"auto", "mlp", "small_cnn", "cnn", "vgg13", "alexnet"}, nn.Module or callable, \
            default="auto"
        As for :class:`SoftmaxClassifier`, with ``n_classes + 1`` outputs.
    beta : float > 0, default=1.0
        Weight of the outliers in the loss.
    score_function : {"margin", "1-reject"}, default="margin"
        Formula of ``score_samples``: "margin" is max_k f_k - f_reject, in (-inf, inf), and
        >= 0 exactly where the reject class does not win [1]_; "1-reject" is
        log(1 - p_reject), in (-inf, 0], the score of [2]_ on a scale that does not saturate.

    See Also
    --------
    ConfidentClassifier : Unsure of outliers instead of rejecting them.

    References
    ----------
    .. [1] S. Vernekar et al., "Analysis of confident-classifiers for out-of-distribution
       detection", 2019, section 4.
    .. [2] K. Lee, H. Lee, K. Lee and J. Shin, "Training confidence-calibrated classifiers for
       detecting out-of-distribution samples", ICLR 2018, appendix E.

    Examples
    --------
    >>> from sklearn_ood import RejectClassifier
    >>> from sklearn_ood.datasets import make_two_gaussians
    >>> X, y = make_two_gaussians(200, random_state=0)
    >>> classifier = RejectClassifier(random_state=0).fit(X, y)
    >>> classifier.predict([[-10, 0], [10, 0]])
    array([0, 1])
    >>> (classifier.score_samples([[-10, 0], [0, 40]]) >= 0).tolist()
    [True, False]
    """

    score_function: Annotated[str, StrOptions({"margin", "1-reject"})] = "margin"
    beta: Positive = 1.0

    def n_outputs(self, n_classes):
        return n_classes + 1

    def make_loss(self, class_weights):
        if class_weights is not None:
            class_weights = torch.cat([class_weights, torch.ones(1)])
        return RejectLoss(class_weights)

    def make_head(self):
        return RejectHead(self.score_function, self.temperature_)
