import numpy as np
from sklearn.utils import check_random_state

from sklearn_ood._parameters import Count, RandomState, fitted
from sklearn_ood.data._blocks import take_rows
from sklearn_ood.detectors._linear import LinearScore, batched, projected, unit

BATCH_ROWS = 1024


class NNGuide(LinearScore):
    """A row's energy times its mean similarity to the most similar training rows.

    Similarity is the cosine to a training row times that row's energy [1]_.

    Parameters
    ----------
    n_neighbors : int >= 1, default=10
    max_samples : int >= 1 or None, default=10_000
        Remember at most this many training rows, drawn at random. Time and memory of scoring
        are proportional to it.

    References
    ----------
    .. [1] J. Park, Y. Jung and A. Teoh, "Nearest neighbor guidance for out-of-distribution
       detection", ICCV 2023.

    Examples
    --------
    >>> from sklearn_ood.detectors import NNGuide
    >>> NNGuide().fit([[0.0], [1.0], [7.0]], ["a", "a", "b"]).score_samples([[5.0]]).shape
    (1,)
    """

    n_neighbors: Count = 10
    max_samples: Count | None = 10_000
    random_state: RandomState = None

    bank_: np.ndarray = fitted()

    _max_rows = BATCH_ROWS

    def _learn(self, known):
        rows = known.rows
        if self.max_samples is not None and len(rows) > self.max_samples:
            order = check_random_state(self.random_state).permutation(len(rows))
            rows = take_rows(rows, order < self.max_samples)

        def guides(batch):
            return (unit(batch) * self._logits(batch).logsumexp(dim=1, keepdim=True)).float()

        self.bank_ = batched(guides, rows)

    def _score(self, features, logits):
        similarity = projected(unit(features), self.bank_)
        n_neighbors = min(self.n_neighbors, len(self.bank_))
        nearest = similarity.topk(n_neighbors, dim=1, sorted=False).values
        return nearest.mean(dim=1) * logits.logsumexp(dim=1)
