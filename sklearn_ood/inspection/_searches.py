"""The searches of an attack: all trials in one batch, along gradients or by evolution."""

import numpy as np
import torch
from scipy.special import expit
from sklearn.utils import check_random_state

from sklearn_ood._optional import as_fitted
from sklearn_ood._parameters import drawn_seed
from sklearn_ood._response import confidence_of
from sklearn_ood.nets._evaluation import map_batches
from sklearn_ood.search._ascent import Evolution

# A search has the inputs of its trials (rows) and their confidence in the class aimed at, -inf
# where it is not predicted; update moves them, keep drops trials. It makes the confidence large
# (scaled), or the output for the class alone.

# A score from another batch, in float32, may be off by this much.
SCORE_TOLERANCE = 1e-3
FIRST_STEP = 0.2


class FoolingGenerator:
    """A batch of generators, each one dense sigmoid layer with an input uniform in [0, 1].

    Parameters
    ----------
    n_generators, n_features : int
    bounds : tuple (low, high) of float or ndarray of shape (n_features,), default=(0, 1)
        Range of the features; the sigmoid spans it.
    lr : float, default=1e-5
        Of Adam, which trains their weights.
    keep : callable, default=None
        Maps rows to the nearest ones that are allowed; gradients pass.
    random_state : int, RandomState or None, default=None

    Attributes
    ----------
    activation : ndarray of shape (n_generators, n_features), float32
        Before the sigmoid.
    """

    def __init__(
        self, n_generators, n_features, *, bounds=(0, 1), lr=1e-5, keep=None, random_state=None
    ):
        self.allowed = keep or np.asarray
        self.low, self.high = (np.asarray(bound, dtype=np.float32) for bound in bounds)
        random_state = check_random_state(random_state)
        shape = n_generators, n_features
        inputs = random_state.uniform(size=shape)
        # Its D^2 weights, trained with Adam, need not be held: the gradient of a weight is that
        # of its output times its input, which Adam divides by its size, so that all weights of
        # an output take the same step s, and its activation moves by s (||input||_1 + 1), the
        # bias included. One number and two moments for each output are the whole state.
        self.step = lr * (inputs.sum(axis=1, keepdims=True) + 1).astype(np.float32)
        # Weights and bias of a torch layer are uniform on +-1/sqrt(D): the sum of D of them,
        # each times an input, is normal but for terms of order 1/D.
        scale = np.sqrt((inputs**2).mean(axis=1, keepdims=True) / 3)
        start = random_state.normal(scale=scale, size=shape)
        start += random_state.uniform(-1, 1, size=shape) / np.sqrt(n_features)  # the bias
        self.activation = start.astype(np.float32)
        self.moment, self.square = np.zeros((2, *shape), dtype=np.float32)
        self.n_updates = 0

    def rows(self):
        """What the generators make: ndarray of shape (n_generators, n_features), float32."""
        return self.allowed(self.low + (self.high - self.low) * expit(self.activation))

    def update(self, gradient):
        """One step of Adam down the ``gradient`` of a loss with respect to ``rows()``."""
        share = expit(self.activation)
        gradient = gradient * (self.high - self.low) * share * (1 - share)
        self.n_updates += 1
        self.moment += 0.1 * (gradient - self.moment)
        self.square += 0.001 * (gradient**2 - self.square)
        scale = np.sqrt(self.square / (1 - 0.999**self.n_updates)) + 1e-8
        self.activation -= self.step / (1 - 0.9**self.n_updates) * self.moment / scale

    def keep(self, mask):
        """Drop the generators where ``mask`` is False."""
        self.activation, self.step = self.activation[mask], self.step[mask]
        self.moment, self.square = self.moment[mask], self.square[mask]


def confidence_where(hit, estimator, rows):
    """Confidence of the estimator in some rows, -inf in the others."""
    confidence = np.full(len(rows), -np.inf)
    if hit.any():
        confidence[hit] = confidence_of(estimator, as_fitted(estimator, rows[hit]))
    return confidence


class GradientSearch(FoolingGenerator):
    """Trains a generator for each trial through the network of the estimator."""

    def __init__(self, estimator, classes, scaled, threshold, **start):
        super().__init__(len(classes), int(estimator.n_features_in_), **start)
        self.estimator, self.classes, self.scaled = estimator, classes, scaled
        # Rows that are moved first (ODIN) may be scored higher than the network itself says.
        moved = getattr(estimator, "epsilon", 0) > 0
        self.lowest = -np.inf if moved else threshold - SCORE_TOLERANCE

    def confidence(self):
        rows = self.rows()
        self.gradient, predicted, scores = self._backward(rows)
        hit = (predicted == self.classes) & (scores >= self.lowest)
        return confidence_where(hit, self.estimator, rows)

    def update(self):
        super().update(self.gradient)

    def keep(self, mask):
        super().keep(mask)
        self.classes, self.gradient = self.classes[mask], self.gradient[mask]

    def _backward(self, rows):
        """Gradient of minus the output aimed at, the class predicted, and the score."""
        scored = self.estimator.scored_network_

        @torch.enable_grad()
        def of_batch(batch):
            batch, aims = batch[:, :-1].requires_grad_(), batch[:, -1:].long()
            outputs = scored.network(batch).double()
            evidence, scores = scored.head(outputs)
            attacked = evidence if self.scaled else scored.head.log_outputs(outputs)
            (gradient,) = torch.autograd.grad(-attacked.gather(1, aims).sum(), batch)
            return gradient, evidence.argmax(dim=1), scores

        aimed = np.column_stack([rows, self.classes]).astype(np.float32)
        return map_batches(of_batch, aimed, device=self.estimator.net_.device)


class EvolutionSearch:
    """An evolution strategy for each trial, in the unit box that spans the bounds."""

    def __init__(self, estimator, classes, scaled, n_offspring, *, bounds, keep, random_state):
        self.allowed = keep
        self.estimator, self.classes, self.scaled = estimator, classes, scaled
        self.low, self.high = (np.asarray(bound, dtype=np.float64) for bound in bounds)
        start = random_state.uniform(size=(len(classes), int(estimator.n_features_in_)))
        size = {"population_size": n_offspring, "step_size": FIRST_STEP}
        start = torch.from_numpy(start)
        rng = torch.Generator().manual_seed(drawn_seed(random_state))
        self.strategy = Evolution(start, *self._judge(start), rng=rng, **size)

    def rows(self):
        return self._inside(self.strategy.best.numpy())

    def confidence(self):
        return self.strategy.found[1].numpy()

    def update(self):
        proposals = self.strategy.ask().clamp(0, 1)
        self.strategy.tell(proposals, *self._judge(proposals))

    def keep(self, mask):
        self.strategy.keep(torch.from_numpy(mask))
        self.classes = self.classes[mask]

    def _inside(self, shares):
        """Rows at shares of the way from the lower bounds to the upper ones."""
        rows = self.low + (self.high - self.low) * shares
        return self.allowed(rows.astype(np.float32))

    def _judge(self, shares):
        """What the search makes large, and the confidence in the class aimed at."""
        rows = as_fitted(self.estimator, self._inside(shares.flatten(0, -2).numpy()))
        classes = np.repeat(self.classes, len(rows) // len(self.classes))
        proba = np.asarray(self.estimator.predict_proba(rows), dtype=np.float64)
        hit = proba.argmax(axis=1) == classes
        confidence = confidence_where(hit, self.estimator, rows)
        output = proba[np.arange(len(rows)), classes]
        # The confidence belongs to the class predicted: before the class aimed at is, its
        # probability leads the way, below any confidence.
        rank = np.arctan(confidence) / np.pi + 1.5
        value = np.where(hit & self.scaled, rank, output)
        return torch.from_numpy(value), torch.from_numpy(confidence)
