"""Nets that learn from outliers beside the data."""

import warnings

import numpy as np
import torch
from scipy.stats import entropy
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_argmin
from torch import nn
from torch.nn.functional import cross_entropy

from sklearn_ood.data._labels import class_means
from sklearn_ood.nets._evaluation import forward
from sklearn_ood.nets._training import Net

# Rows that a trained net is asked about, and those of which the classes' means are taken.
N_ASKED, N_KNOWN = 256, 10_000
# Nats by which log-probabilities of different rows differ where a net says nothing.
SAME_ANSWER = 0.05
# Share of what was learned of the classes that is lost again at the end.
FORGOTTEN = 0.5
# Of what the nearest class mean names rightly, the share below which a net has learned little.
POOR = 0.65


class OutlierLoss(nn.Module):
    """Cross entropy on rows, and a loss on outliers.

    A method defines ``outlier_loss``, from outputs on outliers to a scalar; one whose loss on
    rows is another overrides ``forward``. ``weight`` (n_outputs,) weighs the classes.
    """

    def __init__(self, weight=None):
        super().__init__()
        self.register_buffer("weight", weight)

    def class_logits(self, outputs):
        """One column for each class; a method with others overrides it."""
        return outputs

    def forward(self, outputs, targets, on_outliers):
        """Loss on rows with integer targets, and on outliers, which the net weighs."""
        return cross_entropy(outputs, targets, self.weight), self.outlier_loss(on_outliers)


class OutlierNet(Net):
    """Adds ``beta`` times the loss on as many outliers, by an :class:`OutlierLoss`."""

    def __init__(self, module, *args, beta, unseen=0.0, **kwargs):
        super().__init__(module, *args, **kwargs)
        self.beta = beta
        self.unseen = unseen

    def supply(self, draws, weights):
        """Take outliers from functions of how many, in the ratio of ``weights``."""
        self.draws_ = draws
        self.shares_ = np.cumsum(weights) / np.sum(weights)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        super().on_train_end(net, X=X, y=y, **kwargs)
        self.draws_ = self.shares_ = None

    @torch.no_grad()
    def draw(self, n):
        counts = np.diff(np.round(self.shares_ * n).astype(int), prepend=0)
        parts = zip(self.draws_, counts, strict=True)
        return torch.cat([draw(int(count)) for draw, count in parts if count])

    def losses(self, batch):
        inputs, targets = batch
        outputs = self.module_(torch.cat([inputs, self.draw(len(inputs))]))
        outputs, on_outliers = outputs.tensor_split([len(inputs)])
        class_loss, outlier_loss = self.criterion_(outputs, targets, on_outliers)
        return {
            "loss": class_loss + self.beta * outlier_loss,
            "class_loss": class_loss,
            "outlier_loss": outlier_loss,
            "y_pred": outputs,
        }

    def check(self, rows, codes):
        """Warn if the net, as it was trained, says nothing of the classes, or forgot them."""
        asked, known = (slice(None, None, -(-len(rows) // n)) for n in (N_ASKED, N_KNOWN))
        outputs = torch.from_numpy(forward(self, rows[asked]))
        logits = getattr(self.criterion_, "class_logits", lambda outputs: outputs)(outputs)
        spread = float(torch.log_softmax(logits, dim=1).std(dim=0).max())
        right = np.mean(logits.argmax(dim=1).numpy() == codes[asked])
        means = class_means(rows[known], codes[known])
        easy = np.mean(pairwise_distances_argmin(rows[asked], means) == codes[asked])
        losses = self.history[:, "train_class_loss"]
        learned = entropy(np.bincount(codes)) - min(losses)
        if len(outputs) > 1 and not spread > SAME_ANSWER:
            found = f"its log-probabilities differ by {spread:.2g} nats from row to row"
        elif 0 < FORGOTTEN * learned < losses[-1] - min(losses):
            found = f"its loss on the classes rose from {min(losses):.2g} to {losses[-1]:.2g}"
        elif right < POOR * easy:
            found = f"it names {right:.0%} of its rows rightly, the nearest mean {easy:.0%}"
        else:
            return
        warnings.warn(
            f"The classifier says little of the classes: {found}, as deep networks without "
            "normalisation may of outliers that resemble the data; take a smaller beta or lr, "
            "batch normalisation, scaled inputs, or train longer.",
            ConvergenceWarning,
            stacklevel=2,
        )
