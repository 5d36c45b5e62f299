"""Heads: from outputs to evidence and scores in log space, in float64, also for ONNX."""

import math

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from sklearn_ood import _response

LARGEST_LOGIT = 1e300


class Head(nn.Module):
    """Evidence (n, n_classes) of outputs, which a method overrides, and the score."""

    # Whether the score is the evidence for the best class, in the same unit.
    scores_best_class = True

    def evidence(self, outputs):
        """One number for each class, whose argmax is the answer and whose softmax is p."""
        return log_softmax(outputs)

    def score(self, outputs):
        """One number for each row."""
        return self.evidence(outputs).amax(dim=1)

    def log_proba(self, outputs):
        """Logarithms of the probabilities, exact also where they are nearly one."""
        return log_softmax(self.evidence(outputs))

    def logits(self, outputs):
        """What training pushes up for the class of a row: one column for each class."""
        return outputs

    def log_outputs(self, outputs):
        """What the network says, before the method's confidence scales it."""
        return torch.log_softmax(self.logits(outputs), dim=1)

    def forward(self, outputs):
        outputs = outputs.double()
        return self.evidence(outputs), self.score(outputs)


class SoftmaxHead(Head):
    """Log-probabilities of logits divided by ``temperature``, and a classic score of them."""

    def __init__(self, score_function="max_proba", temperature=1.0):
        super().__init__()
        self.score_function = score_function
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float64))

    @property
    def scores_best_class(self):
        return self.score_function == "max_proba"

    def evidence(self, outputs):
        return log_softmax(self.scaled(outputs))

    def score(self, outputs):
        return SCORE_FUNCTIONS[self.score_function](self.scaled(outputs))

    def log_outputs(self, outputs):
        return super().log_outputs(self.scaled(outputs))

    def scaled(self, outputs):
        """Outputs divided by the temperature, so that sums of them stay finite."""
        return (outputs / self.temperature).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)


class RejectHead(SoftmaxHead):
    """Log-odds of each class against the last output (Vernekar et al., 2019)."""

    @property
    def scores_best_class(self):
        return self.score_function == "margin"

    def evidence(self, outputs):
        logits = self.scaled(outputs)
        return logits[:, :-1] - logits[:, -1:]

    def score(self, outputs):
        evidence = self.evidence(outputs)
        if self.score_function == "margin":
            return evidence.amax(dim=1)
        odds = evidence.logsumexp(dim=1)  # log(1 - p_reject) = -log(1 + exp(-odds))
        return odds.clamp(max=0) - log1p(torch.exp(-odds.abs()))

    def logits(self, outputs):
        return outputs[:, :-1]


class AgreementHead(Head):
    """The sum of log(w p_j) over each class's w units, at most 0 (Kardan & Stanley, 2017)."""

    def __init__(self, n_units):
        super().__init__()
        self.n_units = n_units

    def evidence(self, outputs):
        return (self.log_units(outputs) + math.log(self.n_units)).sum(dim=2).clamp(max=0)

    def logits(self, outputs):
        return outputs.unflatten(1, (-1, self.n_units)).sum(dim=2)

    def log_outputs(self, outputs):
        return self.log_units(outputs).logsumexp(dim=2)

    def log_units(self, outputs):
        return log_softmax(outputs).unflatten(1, (-1, self.n_units))


class ConfidenceHead(Head):
    """Log-probabilities less weighted distances, which follow the logits (Spigler, eq. 5)."""

    def __init__(self, n_classes, weights):
        super().__init__()
        self.n_classes = n_classes
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float64))

    def evidence(self, outputs):
        distances = outputs[:, self.n_classes :]
        return self.log_proba(outputs) - (distances @ self.weights)[:, None]

    def log_proba(self, outputs):
        return log_softmax(self.logits(outputs))

    def logits(self, outputs):
        return outputs[:, : self.n_classes]


class ScoredNetwork(nn.Module):
    def __init__(self, network, head):
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, rows):
        return self.head(self.network(rows))

    def log_outputs(self, rows):
        return self.head.log_outputs(self.network(rows).double())


def log_softmax(logits):
    """Exact also where a probability is nearly one: for the largest, -log1p(others' odds)."""
    shifted, odds = _against_the_largest(logits)
    return shifted - log1p(odds.sum(dim=1, keepdim=True))


def _against_the_largest(logits):
    top, best = logits.max(dim=1, keepdim=True)
    shifted = logits - top
    return shifted, shifted.exp().scatter(1, best, 0.0)


def log1p(x):
    """Of ``x >= 0``, by Kahan's correction of log(1 + x): ONNX has no log1p."""
    if not torch.compiler.is_exporting():
        return torch.log1p(x)
    y = 1 + x
    return torch.where(y == 1, x, y.log() * x / torch.where(y == 1, 1.0, y - 1))


def max_proba(logits):
    """Logarithm of the largest probability, in (-inf, 0] (Hendrycks & Gimpel, 2017)."""
    return -log1p(_against_the_largest(logits)[1].sum(dim=1).double())


def entropy(logits):
    """Minus the entropy of the probabilities in nats, in [-log(n_classes), 0]."""
    shifted, odds = _against_the_largest(logits)
    others = odds.sum(dim=1).double()
    return (odds * shifted).sum(dim=1) / (1 + others) - log1p(others)


def margin(logits):
    """Difference of the two largest log-probabilities, in [0, inf)."""
    top = logits.topk(2, dim=1).values
    return top[:, 0] - top[:, 1]


def max_logit(logits):
    """The largest logit, in (-inf, inf)."""
    return logits.amax(dim=1)


def energy(logits):
    """Minus the free energy, logsumexp of the logits, in (-inf, inf) (Liu et al., 2020)."""
    return logits.logsumexp(dim=1)


def generalized_entropy(logits):
    """GEN: minus the sum of (p (1 - p))**0.1 over the 100 largest p (Liu et al., 2023)."""
    shifted, odds = _against_the_largest(logits)
    others = odds.sum(dim=1, keepdim=True)
    shifted = shifted.topk(100, dim=1).values if shifted.shape[1] > 100 else shifted
    log_p = shifted - log1p(others)
    # 1 - p of the largest p from the others' odds: ONNX has no expm1 that is exact there.
    rest = torch.where(shifted == 0, others / (1 + others), 1 - log_p.exp())
    log_rest = rest.clamp(min=torch.finfo(log_p.dtype).tiny).log()
    return -(0.1 * (log_p + log_rest)).exp().sum(dim=1)


def max_logit_pnorm(logits):
    """The largest centred logit over their 5-norm, in [0, 1] (Cattelan & Silva, 2024)."""
    centred = logits - logits.mean(dim=1, keepdim=True)
    largest = centred.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(logits.dtype).tiny)
    shares = centred / largest
    return shares.amax(dim=1) / shares.abs().pow(5).sum(dim=1).clamp(min=1e-300).pow(1 / 5)


CLASSIC = max_proba, entropy, margin, max_logit, energy
SCORE_FUNCTIONS = {f.__name__: f for f in (*CLASSIC, generalized_entropy, max_logit_pnorm)}


def fit_temperature(logits, codes):
    """Temperature, from 1/50 to 50, with the least cross entropy (Guo et al., 2017)."""
    rows = np.arange(len(codes))

    def cross_entropy(log_temperature):
        return -_response.log_softmax(logits / np.exp(log_temperature))[rows, codes].mean()

    bound = np.log(50.0)
    best = minimize_scalar(cross_entropy, bounds=(-bound, bound), method="bounded")
    return float(np.exp(best.x))
