"""Fitted classifiers and detectors as torch modules: from flat rows to evidence and score."""

from functools import singledispatch

import torch
from torch.nn.functional import pad

from sklearn_ood.classifiers._generative import LARGEST, LEAST_SIMILARITY, GenerativeClassifier
from sklearn_ood.detectors import NeighborDistance
from sklearn_ood.detectors._linear import EvidenceHead, RowFunction
from sklearn_ood.nets._heads import ScoredNetwork


@singledispatch
def scored(estimator):
    """A module from flat rows in double to evidence and score, or a TypeError with the name.

    Parameters
    ----------
    estimator : fitted estimator

    Returns
    -------
    ScoredNetwork
    """
    name = type(estimator).__name__
    for parameter, without in (("epsilon", 0), ("curvature", "off")):
        value = getattr(estimator, parameter, without)
        if value != without:
            raise TypeError(
                f"Got {name}({parameter}={value!r}), whose score needs gradients, which ONNX "
                f"has not; take {parameter}={without!r}."
            )
    if not hasattr(estimator, "scored_network_"):
        raise TypeError(
            f"Got {name}, which has no ONNX form here, but expected a classifier that is one "
            "network, a classifier of scikit-learn, scores that are tensor operations, or a "
            "CombinedClassifier, SelectiveClassifier, pipeline or search around such."
        )
    return estimator.scored_network_


@scored.register
def _(estimator: GenerativeClassifier):
    if estimator.similarity_ != "likelihood":
        raise TypeError(
            f"Got GenerativeClassifier(similarity={estimator.similarity_!r}), whose nearest "
            "generations are searched for, which ONNX cannot; take similarity='likelihood' "
            "with the generator 'pca' or 'gmm'."
        )
    return ScoredNetwork(Likelihood(estimator), EvidenceHead(estimator.temperature_))


@scored.register
def _(estimator: NeighborDistance):
    return ScoredNetwork(Nearness(estimator), EvidenceHead(estimator.scale_))


class Likelihood(RowFunction):
    """Log-likelihood a feature, in each class, or how near it is to the typical one."""

    def __init__(self, estimator):
        super().__init__(None)
        self.core = estimator.generator_.core_
        self.typical = getattr(estimator, "typical_", None)
        self.register_buffer("least", torch.tensor(LEAST_SIMILARITY, dtype=torch.float64))

    def forward(self, rows):
        """Of rows in double."""
        rows = rows.clamp(-LARGEST, LARGEST)
        rows = rows.float() if self.core.is_single else rows
        density = self.core.log_density(rows).double() / rows.shape[1]
        density = torch.maximum(density, self.least)
        return density if self.typical is None else -(density - self.typical).abs()


class Nearness(RowFunction):
    """Minus the distance to the last of each class's nearest rows."""

    def __init__(self, estimator):
        super().__init__(None)
        sizes = list(map(len, estimator.rows_))
        most = max(sizes)
        rows = (
            pad(torch.as_tensor(rows), (0, 0, 0, most - len(rows))) for rows in estimator.rows_
        )
        self.register_buffer("rows", torch.stack(list(rows)).double())
        self.register_buffer("centre", torch.as_tensor(estimator.centre_))
        absent = torch.arange(most) >= torch.tensor(sizes)[:, None]
        lengths = self.rows.square().sum(dim=2)
        self.register_buffer("lengths", torch.where(absent, torch.inf, lengths).flatten())
        self.n_neighbors = min(estimator.n_neighbors, most)
        self.register_buffer(
            "is_found", torch.arange(self.n_neighbors) < torch.tensor(sizes)[:, None]
        )

    def forward(self, rows):
        """Of rows in double; what a product finds nearest is measured by itself."""
        n_classes, most, n_features = self.rows.shape
        rows = rows - self.centre
        apart = self.lengths - 2 * (rows @ self.rows.reshape(-1, n_features).T)
        found = apart.reshape(-1, n_classes, most).topk(self.n_neighbors, largest=False).indices
        places = found + most * torch.arange(n_classes)[:, None]
        nearest = self.rows.reshape(-1, n_features)[places]
        squares = (nearest - rows[:, None, None]).square().sum(dim=3)
        squares = torch.where(self.is_found, squares, 0.0)
        return -squares.amax(dim=2).sqrt()
