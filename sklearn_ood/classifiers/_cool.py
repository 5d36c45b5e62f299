import torch
from torch import nn

from sklearn_ood._parameters import Count
from sklearn_ood.classifiers._network import NetClassifier
from sklearn_ood.nets._heads import AgreementHead


class CompetitiveCrossEntropy(nn.Module):
    """Cross entropy with the target mass shared equally by the true class's units."""

    def __init__(self, n_units_per_class, weight=None):
        super().__init__()
        self.n_units_per_class = n_units_per_class
        self.register_buffer("weight", weight)

    def class_logits(self, outputs):
        """One column for each class, of outputs or of their softmax."""
        return AgreementHead(self.n_units_per_class).logits(outputs)

    def forward(self, outputs, targets):
        units = torch.log_softmax(outputs, dim=1).unflatten(1, (-1, self.n_units_per_class))
        return nn.functional.nll_loss(units.mean(dim=2), targets, self.weight)


class COOLClassifier(NetClassifier):
    """Neural network with a competitive overcomplete output layer.

    Every class has several output units, all of which compete in one softmax and are taught
    the same share of the true class's probability. Near the training data the units of a
    class agree; far from it a few of them win, and the product over the class falls.

    ``decision_function`` is the class's agreement in log space: with w units p_1..p_w in a
    class, the sum of log(w p_j). ``score_samples`` is its maximum, in (-inf, 0]: the logarithm
    of the confidence of [1]_, normalised so that 1 is reached where the units share all
    probability equally. ``predict_proba`` is the agreement normalised over the classes.

    Parameters
    ----------
    n_units_per_class : int, default=10
        Outputs of the network for each class, class by class.

    References
    ----------
    .. [1] N. Kardan and K. O. Stanley, "Mitigating fooling with competitive overcomplete
       output layer neural networks", IJCNN 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import COOLClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = COOLClassifier(n_units_per_class=3, random_state=0).fit(X, y)
    >>> bool(classifier.score_samples(X).max() <= 0)
    True
    """

    n_units_per_class: Count = 10

    _min_classes = 1

    def n_outputs(self, n_classes):
        return n_classes * self.n_units_per_class

    def make_loss(self, class_weights):
        return CompetitiveCrossEntropy(self.n_units_per_class, class_weights)

    def make_head(self):
        return AgreementHead(self.n_units_per_class)
