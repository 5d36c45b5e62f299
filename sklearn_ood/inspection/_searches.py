"""The searches of an attack: all trials in one batch, along gradients or by evolution."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from scipy.special import expit
from sklearn.utils import check_random_state

from sklearn_ood._response import confidence_of
from sklearn_ood.search._evolution import Evolution

ROWS_PER_GRADIENT = 512
# A score from another batch, in float32, may be off by this much.
SCORE_TOLERANCE = 1e-3
FIRST_STEP = 0.2


class FoolingGenerator:
    """A batch of generators, each one dense sigmoid layer with an input of random signs.

    Each generator maps a fixed input of D random signs through a D x D layer to D features
    and is trained with Adam. Its D^2 weights need not be held: the gradient of a weight is
    that of its output times a sign, so that all weights of an output take the same step, and
    the output's pre-activation moves by D + 1 times the step (D weights and the bias). One
    number and two moments for each output are the whole state, exactly.

    Parameters
    ----------
    n_generators : int
    n_features : int
    bounds : tuple (low, high) of float or ndarray of shape (n_features,), default=(0.0, 1.0)
        Range of the features; the sigmoid spans it.
    lr : float, default=1e-5
        Learning rate of Adam for the weights.
    random_state : int, RandomState or None, default=None
        Seed of the initial weights.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.inspection import FoolingGenerator
    >>> generator = FoolingGenerator(2, 3, lr=0.01, random_state=0)
    >>> before = generator.rows()
    >>> generator.update(np.ones((2, 3)))
    >>> bool((generator.rows() < before).all())
    True
    """

    def __init__(
        self, n_generators, n_features, *, bounds=(0.0, 1.0), lr=1e-5, random_state=None
    ):
        self.low, self.high = (np.asarray(bound, dtype=np.float32) for bound in bounds)
        self.step = lr * (n_features + 1)
        random_state = check_random_state(random_state)
        # Weights and bias of a torch layer are uniform on +-1/sqrt(D): the sum of D of them
        # with random signs is normal with variance 1/3 but for terms of order 1/D.
        shape = n_generators, n_features
        weights = random_state.normal(scale=3**-0.5, size=shape)
        bias = random_state.uniform(-1, 1, size=shape) / np.sqrt(n_features)
        self.activation = (weights + bias).astype(np.float32)
        self._moment = np.zeros(shape, dtype=np.float32)
        self._square = np.zeros(shape, dtype=np.float32)
        self._n_updates = 0

    def rows(self):
        """What the generators make: ndarray of shape (n_generators, n_features), float32."""
        return self.low + (self.high - self.low) * expit(self.activation)

    def update(self, gradient):
        """One step of Adam down the ``gradient`` of a loss with respect to ``rows()``."""
        share = expit(self.activation)
        gradient = gradient * (self.high - self.low) * share * (1 - share)
        self._n_updates += 1
        self._moment += 0.1 * (gradient - self._moment)
        self._square += 0.001 * (gradient**2 - self._square)
        moment_share = 1 - 0.9**self._n_updates
        square_share = 1 - 0.999**self._n_updates
        scale = np.sqrt(self._square / square_share) + 1e-8
        self.activation -= self.step / moment_share * self._moment / scale

    def keep(self, mask):
        """Drop the generators where ``mask`` is False."""
        for name in ("activation", "_moment", "_square"):
            setattr(self, name, getattr(self, name)[mask])


class Search(ABC):
    """Trials that move an input each towards a class, all of them together.

    Parameters
    ----------
    estimator : classifier
        Fitted.
    classes : ndarray of shape (n_trials,)
        Position of the class that each trial aims at.
    scaled : bool
        Whether the search makes the confidence large, or the class's output alone.
    """

    def __init__(self, estimator, classes, *, scaled):
        self.estimator, self.classes, self.scaled = estimator, classes, scaled

    @abstractmethod
    def rows(self):
        """The input of each trial: ndarray of shape (n_trials, n_features), float32."""

    @abstractmethod
    def confidence(self):
        """Confidence in the class aimed at; -inf where it is not predicted."""

    @abstractmethod
    def update(self):
        """Move every input."""

    def keep(self, mask):
        """Drop the trials where ``mask`` is False."""
        self.classes = self.classes[mask]

    def confidence_where(self, hit, rows):
        """Confidence of the estimator in some rows, -inf in the others."""
        confidence = np.full(len(rows), -np.inf)
        if hit.any():
            confidence[hit] = confidence_of(self.estimator, rows[hit])
        return confidence


class GradientSearch(Search):
    """Trains a generator for each trial through the network of the estimator."""

    def __init__(self, estimator, classes, generator, *, scaled, threshold):
        super().__init__(estimator, classes, scaled=scaled)
        self.generator = generator
        # Rows that are moved first (ODIN) may be scored higher than the network itself says.
        moved = getattr(estimator, "epsilon", 0) > 0
        self.lowest = -np.inf if moved else threshold - SCORE_TOLERANCE

    def rows(self):
        return self.generator.rows()

    def confidence(self):
        rows = self.rows()
        self.gradient, predicted, scores = self._backward(rows)
        hit = (predicted == self.classes) & (scores >= self.lowest)
        return self.confidence_where(hit, rows)

    def update(self):
        self.generator.update(self.gradient)

    def keep(self, mask):
        super().keep(mask)
        self.generator.keep(mask)
        self.gradient = self.gradient[mask]

    def _backward(self, rows):
        """Gradient of minus the output aimed at, the class predicted, and the score."""
        scored, device, parts = self.estimator.scored_network_, self.estimator.net_.device, []
        for start in range(0, len(rows), ROWS_PER_GRADIENT):
            part = slice(start, start + ROWS_PER_GRADIENT)
            with torch.enable_grad():
                batch = torch.as_tensor(rows[part], device=device).requires_grad_()
                outputs = scored.network(batch).double()
                evidence, scores = scored.head(outputs)
                attacked = evidence if self.scaled else scored.head.log_outputs(outputs)
                index = torch.as_tensor(self.classes[part], device=device)[:, None]
                (gradient,) = torch.autograd.grad(-attacked.gather(1, index).sum(), batch)
            found = (gradient, attacked.argmax(dim=1), scores)
            parts.append([value.detach().cpu().numpy() for value in found])
        return map(np.concatenate, zip(*parts, strict=True))


class EvolutionSearch(Search):
    """An evolution strategy for each trial, in the unit box that spans the bounds."""

    def __init__(self, estimator, classes, *, bounds, scaled, n_offspring, random_state):
        super().__init__(estimator, classes, scaled=scaled)
        self.low, self.high = (np.asarray(bound, dtype=np.float64) for bound in bounds)
        start = random_state.uniform(size=(len(classes), int(estimator.n_features_in_)))
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        fitness, self.best_confidence = self._judge(start, classes)
        self.strategy = Evolution(
            torch.from_numpy(start),
            torch.from_numpy(fitness),
            population_size=n_offspring,
            step_size=FIRST_STEP,
            rng=torch.Generator().manual_seed(seed),
        )

    def rows(self):
        return self._inside(self.strategy.best.numpy())

    def confidence(self):
        return self.best_confidence

    def update(self):
        proposals = self.strategy.ask().clamp(0, 1)
        n_trials, n_offspring, _ = proposals.shape
        repeated = np.repeat(self.classes, n_offspring)
        fitness, confidence = self._judge(proposals.flatten(0, 1).numpy(), repeated)
        fitness = torch.from_numpy(fitness).view(n_trials, n_offspring)
        improved, place = (found.numpy() for found in self.strategy.tell(proposals, fitness))
        self.best_confidence = np.where(improved, confidence[place], self.best_confidence)

    def keep(self, mask):
        super().keep(mask)
        self.strategy.keep(torch.from_numpy(mask))
        self.best_confidence = self.best_confidence[mask]

    def _inside(self, shares):
        """Rows at shares of the way from the lower bounds to the upper ones."""
        return (self.low + (self.high - self.low) * shares).astype(np.float32)

    def _judge(self, shares, classes):
        """What the search makes large, and the confidence in the class aimed at."""
        rows = self._inside(shares)
        proba = np.asarray(self.estimator.predict_proba(rows), dtype=np.float64)
        hit = proba.argmax(axis=1) == classes
        confidence = self.confidence_where(hit, rows)
        output = proba[np.arange(len(rows)), classes]
        if not self.scaled:
            return output, confidence
        # The confidence belongs to the class predicted: before the class aimed at is, its
        # probability leads the way, below any confidence.
        rank = np.arctan(confidence) / np.pi + 1.5
        return np.where(hit, rank, output), confidence
