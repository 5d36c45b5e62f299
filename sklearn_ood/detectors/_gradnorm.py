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
    >>> from sklearn_ood.detectors import GradNorm
    >>> GradNorm().fit([[0.0], [1.0], [7.0]], ["a", "a", "b"]).score_samples([[5.0]]).shape
    (1,)
    """

    def _score(self, features, logits):
        pull = (logits.softmax(dim=1) - 1 / logits.shape[1]).abs().sum(dim=1)
        return features.abs().sum(dim=1) * pull
