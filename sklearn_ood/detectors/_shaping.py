from numbers import Real
from typing import Annotated, Literal

import numpy as np
from sklearn.utils._param_validation import Interval

from sklearn_ood._parameters import fitted
from sklearn_ood.data._rows import check_finite
from sklearn_ood.detectors._linear import SMALLEST, LinearScore

Percentile = Annotated[float, Interval(Real, 0, 100, closed="left")]
MAX_QUANTILE_VALUES = 2**24  # in memory at once, for the percentile of all activations
LARGEST_GROWTH = 100.0  # of the exponent; that of activations that are not negative is small


class ActivationShaping(LinearScore):
    """The energy of the logits of features that were shaped.

    For convolutional networks, whose last activations are not negative: on transformers shaped
    energies are near chance, or below.

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
    >>> from sklearn_ood.detectors import ActivationShaping
    >>> score = ActivationShaping(percentile=50).fit([[0.0], [1.0], [7.0]], ["a", "a", "b"])
    >>> score.ceiling_
    1.0
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

    def _checked_score(self, batch):
        return super()._checked_score(check_finite(self, batch))  # a ceiling hides infinity

    def _logits(self, features):
        return super()._logits(self._shaped(features))

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
