"""The searches behind :mod:`sklearn_ood.inspection._fooling`: all trials in one batch."""

import numpy as np
import torch
from scipy.special import expit
from sklearn.utils import check_random_state

from sklearn_ood._response import confidence_of

ROWS_PER_GRADIENT = 512
# A bound from another batch, in float32, may be off by this much.
BOUND_TOLERANCE = 1e-3


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
        self._activation = (weights + bias).astype(np.float32)
        self._moment = np.zeros(shape, dtype=np.float32)
        self._square = np.zeros(shape, dtype=np.float32)
        self._n_updates = 0

    def rows(self):
        """What the generators make: ndarray of shape (n_generators, n_features), float32."""
        return self.low + (self.high - self.low) * expit(self._activation)

    def update(self, gradient):
        """One step of Adam down the ``gradient`` of a loss with respect to ``rows()``."""
        share = expit(self._activation)
        gradient = gradient * (self.high - self.low) * share * (1 - share)
        self._n_updates += 1
        self._moment += 0.1 * (gradient - self._moment)
        self._square += 0.001 * (gradient**2 - self._square)
        moment_share = 1 - 0.9**self._n_updates
        square_share = 1 - 0.999**self._n_updates
        scale = np.sqrt(self._square / square_share) + 1e-8
        self._activation -= self.step / moment_share * self._moment / scale

    def keep(self, mask):
        """Drop the generators where ``mask`` is False."""
        for name in ("_activation", "_moment", "_square"):
            setattr(self, name, getattr(self, name)[mask])


class GradientSearch:
    """Trains the generators through the network of the estimator."""

    def __init__(
        self, estimator, classes, n_features, bounds, target, threshold, lr, random_state
    ):
        self.estimator, self.classes, self.scaled = estimator, classes, target == "scaled"
        self.threshold = threshold
        self.generator = FoolingGenerator(
            len(classes), n_features, bounds=bounds, lr=lr, random_state=random_state
        )

    def rows(self):
        return self.generator.rows()

    def confidence(self):
        """Confidence in the class aimed at, -inf where it cannot reach the threshold."""
        self._rows = self.rows()
        self._gradient, predicted, bounds = self._backward(self._rows)
        hit = (predicted == self.classes) & (bounds >= self.threshold - BOUND_TOLERANCE)
        confidence = np.full(len(hit), -np.inf)
        if hit.any():
            confidence[hit] = confidence_of(self.estimator, self._rows[hit])
        return confidence

    def keep(self, mask):
        self.generator.keep(mask)
        self.classes, self._gradient = self.classes[mask], self._gradient[mask]

    def update(self):
        self.generator.update(self._gradient)

    def _backward(self, rows):
        """Gradient of the cross entropy, the class predicted, and a bound of its confidence."""
        network = self.estimator.scored_network_
        device, parts = self.estimator.net_.device, []
        for start in range(0, len(rows), ROWS_PER_GRADIENT):
            part = slice(start, start + ROWS_PER_GRADIENT)
            with torch.enable_grad():
                batch = torch.as_tensor(rows[part], device=device).requires_grad_()
                outputs = network.network(batch).double()
                evidence, scores = network.head(outputs)
                attacked = evidence if self.scaled else network.head.log_outputs(outputs)
                index = torch.as_tensor(self.classes[part], device=device)[:, None]
                (gradient,) = torch.autograd.grad(-attacked.gather(1, index).sum(), batch)
            found = (gradient, attacked.argmax(dim=1), scores)
            parts.append([value.detach().cpu().numpy() for value in found])
        return map(np.concatenate, zip(*parts, strict=True))


class EvolutionSearch:
    """For each trial one parent, which the best of its offspring replaces if no worse."""

    def __init__(
        self, estimator, classes, n_features, bounds, target, n_offspring, random_state
    ):
        self.estimator, self.classes, self.scaled = estimator, classes, target == "scaled"
        self.low, self.high = (np.asarray(bound, dtype=np.float64) for bound in bounds)
        self.n_offspring, self.random_state = n_offspring, random_state
        self._parents = random_state.uniform(size=(len(classes), n_features))
        self._spread = np.full(len(classes), 0.2)
        self._fitness, self._confidence = self._judge(self._parents, classes)

    def rows(self):
        return self._rows(self._parents)

    def confidence(self):
        return self._confidence

    def keep(self, mask):
        for name in ("classes", "_parents", "_spread", "_fitness", "_confidence"):
            setattr(self, name, getattr(self, name)[mask])

    def update(self):
        n_trials, n_features = self._parents.shape
        noise = self.random_state.normal(size=(n_trials, self.n_offspring, n_features))
        offspring = self._parents[:, None] + self._spread[:, None, None] * noise
        offspring = offspring.clip(0, 1).reshape(-1, n_features)
        fitness, confidence = self._judge(offspring, np.repeat(self.classes, self.n_offspring))
        fitness = fitness.reshape(n_trials, -1)
        best = fitness.argmax(axis=1)
        index = np.arange(n_trials) * self.n_offspring + best
        better = fitness[np.arange(n_trials), best] >= self._fitness
        successes = (fitness > self._fitness[:, None]).mean(axis=1)
        self._spread *= np.exp((successes - 0.2) / 0.8 / np.sqrt(n_features + 1))
        self._spread = self._spread.clip(1e-6, 1.0)
        self._parents[better] = offspring[index[better]]
        self._fitness[better] = fitness[better, best[better]]
        self._confidence[better] = confidence[index[better]]

    def _rows(self, shares):
        return (self.low + (self.high - self.low) * shares).astype(np.float32)

    def _judge(self, shares, classes):
        """What the search makes large, and the confidence in the class aimed at."""
        rows = self._rows(shares)
        proba = np.asarray(self.estimator.predict_proba(rows), dtype=np.float64)
        hit = proba.argmax(axis=1) == classes
        confidence = np.full(len(rows), -np.inf)
        if hit.any():
            confidence[hit] = confidence_of(self.estimator, rows[hit])
        output = proba[np.arange(len(rows)), classes]
        if not self.scaled:
            return output, confidence
        # The confidence belongs to the class predicted: before the class aimed at is, its
        # probability leads the way, below any confidence.
        rank = np.arctan(confidence) / np.pi + 1.5
        return np.where(hit, rank, output), confidence
