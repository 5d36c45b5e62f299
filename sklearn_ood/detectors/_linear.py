"""Scores that need a row's features and what a linear layer makes of them: its logits."""

from abc import ABC, abstractmethod
from math import isfinite
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_array, gen_batches
from torch import nn
from torch.linalg import vector_norm
from torch.nn.functional import linear

from sklearn_ood._parameters import Parameterized, fitted
from sklearn_ood.data._blocks import block_by_block, of_rows, once, take_rows
from sklearn_ood.data._rows import check_finite, validate_rows, validate_training_data
from sklearn_ood.nets import _evaluation
from sklearn_ood.nets._evaluation import ROW_BLOCK, map_batches, rows_per_batch
from sklearn_ood.nets._heads import Head, ScoredNetwork, log_softmax

FLOATS_OF_LOGITS = 2**19  # as many as the processor's own memory holds
SMALLEST = 1e-30  # of a norm that divides; float32 has it, too


class LinearScore(Parameterized, ABC):
    """Template of a score of features, and of the logits of the last linear layer.

    A method overrides ``_learn`` and ``_score``, which are written in torch. The layer works in
    the features' type, as in the network; logarithms of probabilities, and all means, in
    float64. The features are those of :class:`NetFeatures`.

    Parameters
    ----------
    linear : tuple (weight, bias), default=None
        The network's last layer, as :func:`last_linear` gives it, of shapes
        ``(n_classes, n_features)`` and ``(n_classes,)``. None fits a logistic regression,
        which needs ``y``: for a backbone without a classifier.
    ood_label : label, default=None
        Rows of ``y`` with this label are outliers; they are left out.

    Attributes
    ----------
    weight_, bias_ : ndarray of shape (n_classes, n_features) and (n_classes,)
    """

    linear: tuple | None = None
    ood_label: Any = None

    input_shape_: tuple = fitted()
    weight_: np.ndarray = fitted()
    bias_: np.ndarray = fitted()

    # At a time; None by their width.
    _max_rows: ClassVar[int | None] = None

    def fit(self, X, y=None, sample_weight=None):
        """Learn what the score needs beside the layer.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,), default=None
            Labels; needed where ``linear`` is None.
        """
        self._validate_params()
        needs_labels = self._needs_labels
        how = {"sample_weight": sample_weight, "min_classes": 1 + needs_labels}
        data = validate_training_data(self, X, y, keep_tensors=True, **how)
        known = data.known
        layer = _fitted_layer(known) if needs_labels else self.linear
        if layer is not None:
            self.weight_, self.bias_ = _checked_layer(layer, known.rows.shape[1])
        self._learn(known)
        return self

    @block_by_block
    def score_samples(self, X):
        """How in-distribution each row is: higher is more."""
        rows = validate_rows(self, X, keep_tensors=True, finite=False)
        return batched(self._checked_score, rows, max_rows=self._max_rows, is_aligned=True)

    @property
    def scored_network_(self):
        """The score as a module of tensor operations, from features in float64."""
        function = RowFunction(lambda rows: self._score(rows, self._logits(rows))[:, None])
        return ScoredNetwork(function, EvidenceHead())

    def _learn(self, known):
        """Learn from the training rows with their codes and weights, block by block."""

    @abstractmethod
    def _score(self, features, logits):
        """One number for each row, of features and logits in the features' type."""

    @property
    def _needs_labels(self):
        return self.linear is None

    def _checked_score(self, batch):
        logits = self._logits(batch)
        if not isfinite(logits[:, 0].sum().item()):  # a product with what is not finite is not
            check_finite(self, batch)
        size = max(1, FLOATS_OF_LOGITS // logits.shape[1] // ROW_BLOCK) * ROW_BLOCK
        parts = (slice(start, start + size) for start in range(0, len(batch), size))
        return torch.cat([self._score(batch[part], logits[part]) for part in parts]).double()

    def _logits(self, features):
        return projected(features, self.weight_, self.bias_)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "input_shape_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self._needs_labels
        return tags


class RowFunction(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, rows):
        return self.function(rows)


class EvidenceHead(Head):
    """Of outputs that are the evidence, whose softmax at a temperature is p."""

    def __init__(self, temperature=1.0):
        super().__init__()
        self.temperature = float(temperature)

    def evidence(self, outputs):
        return outputs

    def log_proba(self, outputs):
        return log_softmax(outputs / self.temperature)


def as_tensor(array, beside):
    """A fitted array as a tensor of the type and on the device of another."""
    like = beside.dtype, beside.device

    def made():
        is_own = isinstance(array, torch.Tensor)  # else a mapped file's is read alone
        own = array if is_own else np.require(array, requirements="W")
        return torch.as_tensor(own, dtype=like[0], device=like[1])

    return of_rows(array, like, made)


def projected(rows, axes, offset=None):
    """``rows @ axes.T + offset``, in the rows' type."""
    axes, offset = as_tensor(axes, rows), offset if offset is None else as_tensor(offset, rows)
    product = linear if torch.compiler.is_exporting() else _evaluation.aligned_linear
    return product(rows, axes, offset)


def distance(rows, point):
    """Of each row from a point; NaN where the rows' type cannot hold it."""
    found = vector_norm(rows - as_tensor(point, rows), dim=1)
    return found.where(found.isfinite(), torch.nan).double()


@once
def batched(function, rows, **how):
    """``function`` of batches, where the rows are; again in float64 where it overflows."""
    how["device"] = getattr(rows, "device", "cpu")
    found = map_batches(function, rows, **how)
    lost = ~np.isfinite(found.reshape(len(found), -1)).all(axis=1)
    if lost.any():
        rows = take_rows(rows, lost)
        found[lost] = map_batches(lambda batch: function(batch.double()), rows, **how)
    return found


@torch.no_grad()
def total(function, rows, *others):
    """Sum of what ``function`` gives for all blocks of rows, and of arrays as long."""
    device, size = getattr(rows, "device", "cpu"), rows_per_batch(rows.shape[1])
    blocks, arrays = gen_batches(len(rows), size), (rows, *others)
    take = _evaluation.take_batch
    parts = ([take(each, block, device) for each in arrays] for block in blocks)
    return sum(function(block.double(), *some) for block, *some in parts)


def mean_of(function, known):
    """Mean over the rows of a part, by weight, of what ``function`` gives for each."""
    found = total(lambda block, some: some @ function(block), known.rows, known.weights)
    return found / known.weights.sum()


def unit(features):
    length = vector_norm(features, dim=1, keepdim=True, dtype=torch.float64)
    return features / length.clamp(min=SMALLEST).to(features)


def _fitted_layer(known):
    """Weights and bias of a logistic regression, one line a class also where there are two."""
    rows, codes, weight = known
    rows = rows.cpu().numpy() if isinstance(rows, torch.Tensor) else rows
    mean = np.average(rows.mean(axis=1, dtype=np.float64), weights=weight)
    variance = np.average(np.square(rows - mean).mean(axis=1), weights=weight)
    scale = np.sqrt(variance) or 1.0
    regression = LogisticRegression(max_iter=1000).fit(rows / scale, codes, weight)
    weight, bias = regression.coef_ / scale, regression.intercept_
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.append(-bias, bias) / 2
    return weight, bias


def _checked_layer(layer, n_features):
    shapes = [np.shape(each) for each in layer]
    is_pair = len(shapes) == 2 and len(shapes[1]) == 1
    if not is_pair or shapes[0] != (*shapes[1], n_features):
        raise ValueError(
            f"Got linear of shapes {shapes}, but expected a pair (weight, bias) of shapes "
            f"(n_classes, {n_features}) and (n_classes,), as last_linear(classifier) gives; X "
            "must be what this layer takes, as NetFeatures(classifier) gives by default."
        )
    how = {"dtype": np.float64, "ensure_2d": False, "input_name": "linear"}
    weight, bias = (check_array(each, **how) for each in layer)
    return weight, bias
