"""How usual an image is as an image, whatever a network makes of it."""

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from sklearn_ood.combined._columns import ExtremeColumn, least_share
from sklearn_ood.data._blocks import block_by_block, take_rows
from sklearn_ood.data._rows import validate_rows, validate_training_data
from sklearn_ood.detectors._linear import EvidenceHead, RowFunction, batched
from sklearn_ood.generators import PCAGenerator
from sklearn_ood.nets._heads import ScoredNetwork

# With fewer rows for each component those that taught them lie nearer than new ones.
ROWS_OF_A_COMPONENT = 16
MAX_CELLS = 2**26  # that the components are learned from
LARGEST = float(np.finfo(np.float32).max)


class PrincipalRadii(BaseEstimator):
    """How usual a row is along the directions in which rows vary most, and beside them.

    Two numbers tell where a row lies under one PCA of all classes: the squared lengths of its
    likeliest latent vector and of what that does not generate. Too short is as strange as too
    long, for what is likeliest of all, such as one grey, is not what is drawn (E. Nalisnick et
    al., "Detecting out-of-distribution inputs to deep generative models using typicality",
    2019). The score is that of :class:`ExtremeColumn` on the two.
    """

    def __init__(self, n_components=128, random_state=None):
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, X, y=None, sample_weight=None):
        """Learn the components, and how long training rows are along and beside them."""
        how = {"sample_weight": sample_weight, "min_classes": 1}
        rows = validate_training_data(self, X, None, **how).known.drawn().rows
        n_rows, n_features = rows.shape
        # At most so many as half the features, and one for 16 rows that they learn from.
        most = min(n_rows, ROWS_OF_A_COMPONENT * self.n_components, MAX_CELLS // n_features)
        n_components = max(1, min(most // ROWS_OF_A_COMPONENT, n_features // 2))
        some = check_random_state(self.random_state).permutation(n_rows) < most
        self.generator_ = PCAGenerator(n_components).fit(take_rows(rows, some))
        lengths = batched(self._squared_lengths, rows)
        self.extreme_ = ExtremeColumn(random_state=self.random_state).fit(lengths)
        return self

    @block_by_block
    def score_samples(self, X):
        """Logarithm of the least share of training rows as short, or as long, at most 0."""
        lengths = batched(self._squared_lengths, validate_rows(self, X))
        return self.extreme_.score_samples(lengths)

    @property
    def scored_network_(self):
        """The score as a module of tensor operations, from rows in float64."""
        return ScoredNetwork(RowFunction(self._column), EvidenceHead())

    def _column(self, rows):
        known, tails = self.extreme_.columns_, self.extreme_.tails_
        return least_share(known, tails, self._squared_lengths(rows))[:, None]

    def _squared_lengths(self, rows):
        core, rows = self.generator_.core_, rows.clamp(-LARGEST, LARGEST)
        latents = core.encode(rows[None], prior_weight=1.0)
        left = rows - core.decode(latents)[0]
        squares = [each.double().square().sum(dim=1) for each in (latents[0], left)]
        return torch.stack(squares, dim=1)
