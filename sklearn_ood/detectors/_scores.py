"""Scores of features and of the logits that a linear layer makes of them: one class each."""

from numbers import Real
from typing import Annotated, Literal

import numpy as np
import torch
from scipy.spatial.distance import cdist
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_ood._parameters import Count, NonNegative, RandomState, fitted
from sklearn_ood.data._blocks import take_rows
from sklearn_ood.data._rows import check_finite
from sklearn_ood.detectors._linear import (
    SMALLEST,
    LinearScore,
    as_tensor,
    batched,
    distance,
    mean_of,
    projected,
    total,
    unit,
)
from sklearn_ood.nets._heads import SCORE_FUNCTIONS, log_softmax

Percentile = Annotated[float, Interval(Real, 0, 100, closed="left")]
MAX_QUANTILE_VALUES = 2**24  # in memory at once, for the percentile of all activations
LARGEST_GROWTH = 100.0  # of the exponent; that of activations that are not negative is small
BATCH_ROWS = 256


class LogitScore(LinearScore):
    """A score function of :class:`SoftmaxClassifier`, of the logits of features.

    Parameters
    ----------
    score_function : str, default="energy"
        As there.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood.detectors import LogitScore
    >>> X, y = load_iris(return_X_y=True)
    >>> LogitScore(score_function="margin").fit(X, y).score_samples(X).shape
    (150,)
    """

    score_function: Annotated[str, StrOptions(set(SCORE_FUNCTIONS))] = "energy"

    def _score(self, features, logits):
        of_logits = self.score_function in ("max_logit", "margin", "energy")
        return SCORE_FUNCTIONS[self.score_function](logits if of_logits else logits.double())


class ActivationShaping(LinearScore):
    """The energy of the logits of features that were shaped.

    Parameters
    ----------
    method : {"react", "ash", "scale"}, default="react"
        "react" clips them at a percentile of all training activations [1]_. "ash" (ASH-S) sets
        a row's own lower ones to zero [2]_, "scale" does not [3]_, and both multiply the row by
        the exponential of its sum over the sum of the upper ones.
    percentile : float in [0, 100), default=90
        Which activations are the upper ones.

    Attributes
    ----------
    ceiling_ : float
        Where "react" clips.

    Notes
    -----
    For convolutional networks, whose last activations are not negative. On transformers shaped
    energies are near chance, or below.

    References
    ----------
    .. [1] Y. Sun, C. Guo and Y. Li, "ReAct: out-of-distribution detection with rectified
       activations", NeurIPS 2021.
    .. [2] A. Djurisic et al., "Extremely simple activation shaping for out-of-distribution
       detection", ICLR 2023.
    .. [3] K. Xu et al., "Scaling for training time and post-hoc out-of-distribution detection
       enhancement", ICLR 2024.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood.detectors import ActivationShaping
    >>> X, y = load_iris(return_X_y=True)
    >>> ActivationShaping(method="scale", percentile=50).fit(X, y).score_samples(X).shape
    (150,)
    """

    method: Literal["react", "ash", "scale"] = "react"
    percentile: Percentile = 90

    ceiling_: float = fitted()

    def _learn(self, known):
        rows = known.drawn().rows
        step = -(-rows.shape[0] * rows.shape[1] // MAX_QUANTILE_VALUES)
        some = rows[::step]
        some = some if isinstance(some, np.ndarray) else some.cpu().numpy()
        self.ceiling_ = float(np.percentile(some, self.percentile))

    def _logits(self, features):
        return super()._logits(self._shaped(features))

    def _checked_score(self, batch):
        return super()._checked_score(check_finite(self, batch))  # before inf is clipped

    def _score(self, features, logits):
        return logits.logsumexp(dim=1)

    def _shaped(self, features):
        if self.method == "react":
            return features.clamp(max=self.ceiling_)
        n_features = features.shape[1]
        n_upper = n_features - round(n_features * self.percentile / 100)
        upper, where = features.topk(max(1, n_upper), dim=1, sorted=False)
        growth = features.sum(dim=1) / (upper.sum(dim=1) + SMALLEST)
        if self.method == "ash":
            features = features.new_zeros(features.shape).scatter(1, where, upper)
        return features * growth[:, None].clamp(-LARGEST_GROWTH, LARGEST_GROWTH).exp()


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

    def _learn(self, known):
        rows, _, weight = known

        def sums(block, some):
            p = self._logits(block).softmax(dim=1)
            weighted = some[:, None] * p
            return p.new_zeros(p.shape[1], p.shape[1]).index_add_(0, p.argmax(dim=1), weighted)

        weight = np.ones(len(rows)) if weight is None else weight
        found = total(sums, rows, weight)  # those of a class sum to the number of its rows
        found = found[found.sum(dim=1) > 0]
        templates = found / found.sum(dim=1, keepdim=True)
        lowest = torch.finfo(templates.dtype).tiny
        self.log_templates_ = templates.clamp(min=lowest).log().cpu().numpy()

    def _score(self, features, logits):
        log_p = log_softmax(logits.double())
        p = log_p.exp()
        cross = projected(p.to(features.dtype), self.log_templates_)
        return (cross.amax(dim=1) - (p * log_p).sum(dim=1)).clamp(max=0)


class NCI(LinearScore):
    """The features' projection on the weights of the predicted class, and their norm.

    With features h, their training mean :math:`\\mu` and the weights w of the predicted class
    it is :math:`w \\cdot (h - \\mu) / \\|h - \\mu\\|_2 + \\alpha \\|h\\|_1` [1]_.

    Parameters
    ----------
    alpha : float >= 0, default=1e-4
        Weight of the norm.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
    mean_logits_ : ndarray of shape (n_classes,)

    References
    ----------
    .. [1] L. Liu and Y. Qin, "Detecting out-of-distribution through the lens of neural
       collapse", CVPR 2025.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood.detectors import NCI
    >>> X, y = load_iris(return_X_y=True)
    >>> NCI().fit(X, y).score_samples(X).shape
    (150,)
    """

    alpha: NonNegative = 1e-4

    mean_: np.ndarray = fitted()
    mean_logits_: np.ndarray = fitted()

    def _learn(self, known):
        self.mean_ = mean_of(torch.clone, known.rows, known.weight).cpu().numpy()
        self.mean_logits_ = self.weight_ @ self.mean_ + self.bias_

    def _score(self, features, logits):
        top, best = logits.max(dim=1)
        at_mean = as_tensor(self.mean_logits_, logits)
        length = distance(features, self.mean_).clamp(min=SMALLEST)
        return (top - at_mean[best]) / length + self.alpha * features.abs().sum(dim=1)


class FDBD(LinearScore):
    """Mean distance to the other classes' boundaries, over that to the training mean.

    From features h of the predicted class k, the boundary of class j is
    :math:`|f_k - f_j| / \\|w_k - w_j\\|_2` away; their mean is divided by
    :math:`\\|h - \\mu\\|_2` [1]_.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
    weight_distances_ : ndarray of shape (n_classes, n_classes)

    References
    ----------
    .. [1] L. Liu and Y. Qin, "Fast decision boundary based out-of-distribution detector",
       ICML 2024.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood.detectors import FDBD
    >>> X, y = load_iris(return_X_y=True)
    >>> FDBD().fit(X, y).score_samples(X).shape
    (150,)
    """

    mean_: np.ndarray = fitted()
    weight_distances_: np.ndarray = fitted()

    def _learn(self, known):
        self.mean_ = mean_of(torch.clone, known.rows, known.weight).cpu().numpy()
        self.weight_distances_ = cdist(self.weight_, self.weight_).clip(SMALLEST)

    def _score(self, features, logits):
        between = as_tensor(self.weight_distances_, logits)
        top, best = logits.max(dim=1, keepdim=True)
        distances = ((top - logits) / between[best[:, 0]]).sum(dim=1) / (len(between) - 1)
        return distances / distance(features, self.mean_).clamp(min=SMALLEST)


class NNGuide(LinearScore):
    """A row's energy times its mean similarity to the most similar training rows.

    Similarity is the cosine to a training row times that row's energy [1]_.

    Parameters
    ----------
    n_neighbors : int >= 1, default=10
    max_samples : int >= 1 or None, default=10_000
        Remember at most this many training rows, drawn at random. Time and memory of scoring
        are proportional to it.
    random_state : int, RandomState or None, default=None
        Chooses the rows remembered.

    Attributes
    ----------
    bank_ : ndarray of shape (n_remembered, n_features), float32
        Unit-length features times their energy.

    References
    ----------
    .. [1] J. Park, Y. Jung and A. Teoh, "Nearest neighbor guidance for out-of-distribution
       detection", ICCV 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood.detectors import NNGuide
    >>> X, y = load_iris(return_X_y=True)
    >>> NNGuide().fit(X, y).score_samples(X).shape
    (150,)
    """

    n_neighbors: Count = 10
    max_samples: Count | None = 10_000
    random_state: RandomState = None

    bank_: np.ndarray = fitted()

    def _learn(self, known):
        rows = known.rows
        if self.max_samples is not None and len(rows) > self.max_samples:
            order = check_random_state(self.random_state).permutation(len(rows))
            rows = take_rows(rows, order < self.max_samples)

        def guides(batch):
            return (unit(batch) * self._logits(batch).logsumexp(dim=1, keepdim=True)).float()

        self.bank_ = batched(guides, rows)

    @property
    def _max_rows(self):
        return BATCH_ROWS

    def _score(self, features, logits):
        similarity = projected(unit(features), self.bank_)
        n_neighbors = min(self.n_neighbors, len(self.bank_))
        nearest = similarity.topk(n_neighbors, dim=1, sorted=False).values
        return nearest.mean(dim=1) * logits.logsumexp(dim=1)
