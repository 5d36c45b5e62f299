import numpy as np
import torch
from torch.linalg import vector_norm

from sklearn_ood._parameters import Count, fitted
from sklearn_ood.detectors._linear import LinearScore, as_tensor, mean_of, projected, total
from sklearn_ood.detectors._mahalanobis import gram


class Subspace(LinearScore):
    """Minus the length of what the principal subspace leaves over, alone or beside the logits.

    With the last linear layer it is ViM [1]_: the energy of the logits, less that length times
    the mean largest logit over the mean length, in (-inf, inf). Without, the length alone
    ("residual"), in (-inf, 0].

    Parameters
    ----------
    n_components : int >= 1 or None, default=None
        Dimensions of the subspace, fewer than there are features; None is half of them.
    linear : tuple (weight, bias), default=None
        The network's last layer, as :func:`last_linear` gives it; None is the residual alone.
        The subspace goes through the point where the logits are zero, or through the mean.

    Attributes
    ----------
    origin_ : ndarray of shape (n_features,)
    residual_axes_, residual_offset_ : ndarray of shape (n_features, n_left) and (n_left,)
        Directions outside the subspace, and minus the origin along them.
    scale_ : float
        What a unit of the residual's length costs.

    References
    ----------
    .. [1] H. Wang, Z. Li, L. Feng and W. Zhang, "ViM: out-of-distribution with virtual-logit
       matching", CVPR 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import Subspace
    >>> X, _ = load_iris(return_X_y=True)
    >>> detector = Subspace(n_components=2).fit(X)
    >>> bool(detector.score_samples(X - [0, 0, 0, 9]).max() < detector.score_samples(X).min())
    True
    """

    n_components: Count | None = None

    origin_: np.ndarray = fitted()
    residual_axes_: np.ndarray = fitted()
    residual_offset_: np.ndarray = fitted()
    scale_: float = fitted()

    @property
    def _needs_labels(self):
        return False

    def _learn(self, known):
        n_features = known.rows.shape[1]
        n_components = n_features // 2 if self.n_components is None else self.n_components
        if n_components >= n_features:
            raise ValueError(
                f"Got n_components={n_components} for X with n_features={n_features}, but "
                "expected fewer."
            )
        if self.linear is None:  # a layer whose logits tell nothing
            self.weight_, self.bias_, self.scale_ = np.zeros((1, n_features)), np.zeros(1), 1.0
            self.origin_ = mean_of(torch.clone, known).cpu().numpy()
        else:
            # Directions of less weight are the rounding of float32 weights.
            rounding = max(self.weight_.shape) * np.finfo(np.float32).eps
            self.origin_ = -np.linalg.pinv(self.weight_, rcond=rounding) @ self.bias_

        def scatter(block, some):
            return gram((block - as_tensor(self.origin_, block)) * some.sqrt()[:, None])

        around = total(scatter, known.rows, known.weights)
        axes = torch.linalg.eigh(around).eigenvectors.cpu().numpy()
        self.residual_axes_ = axes[:, : n_features - n_components]
        self.residual_offset_ = -self.origin_ @ self.residual_axes_
        if self.linear is not None:
            largest = mean_of(lambda block: self._logits(block).amax(dim=1), known)
            residual = mean_of(self._residual, known).clamp(min=1e-12)
            self.scale_ = float(largest / residual)

    def _score(self, features, logits):
        return logits.logsumexp(dim=1) - self.scale_ * self._residual(features)

    def _residual(self, features):
        axes = as_tensor(self.residual_axes_, features).T
        return vector_norm(projected(features, axes, self.residual_offset_), dim=1)
