"""How strongly a row would pull at the last layer."""

from sklearn_ood.detectors._linear import LinearScore


class GradNorm(LinearScore):
    """Length of the gradient that would make the probabilities of a row uniform.

    The L1 norm of the gradient of :math:`KL(u \\| p)` with respect to the last layer's weights
    is :math:`\\|h\\|_1 \\sum_k |p_k - 1/K|` [1]_, for features h and probabilities p.

    References
    ----------
    .. [1] R. Huang, A. Geng and Y. Li, "On the importance of gradients for detecting
       distributional shifts in the wild", NeurIPS 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood.detectors import GradNorm
    >>> X, y = load_iris(return_X_y=True)
    >>> GradNorm().fit(X, y).score_samples(X).shape
    (150,)
    """

    def _score(self, features, logits):
        pull = (logits.softmax(dim=1) - 1 / logits.shape[1]).abs().sum(dim=1)
        return features.abs().sum(dim=1) * pull
