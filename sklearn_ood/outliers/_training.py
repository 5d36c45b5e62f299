"""Nets that learn from outliers beside the data: drawn from banks, or made by a GAN."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, softplus

from sklearn_ood.nets._training import Net

GAN_BETAS = (0.5, 0.999)


class OutlierLoss(nn.Module):
    """Cross entropy on rows, and a loss on outliers.

    A method defines ``outlier_loss``, from outputs on outliers to a scalar; one whose loss on
    rows is another overrides ``forward``.

    Parameters
    ----------
    weight : tensor of shape (n_outputs,), default=None
        Weights of the classes.
    """

    def __init__(self, weight=None):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, outputs, targets, on_outliers):
        """Loss on rows with integer targets, and on outliers, which the net weighs."""
        return cross_entropy(outputs, targets, self.weight), self.outlier_loss(on_outliers)


class OutlierNet(Net):
    """Adds ``beta`` times the loss on outliers to the loss on rows.

    A step takes ``outlier_ratio`` outliers for each row; ``criterion`` is an
    :class:`OutlierLoss`.
    """

    def __init__(self, module, *args, beta, outlier_ratio, **kwargs):
        super().__init__(module, *args, **kwargs)
        self.beta = beta
        self.outlier_ratio = outlier_ratio

    def supply(self, draws, weights):
        """Take outliers from functions of how many, in the ratio of ``weights``."""
        self.draws_ = draws
        self.shares_ = np.cumsum(weights) / np.sum(weights)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """A trained net does not carry training data."""
        super().on_train_end(net, X=X, y=y, **kwargs)
        self.draws_ = self.shares_ = None

    @torch.no_grad()
    def draw(self, n):
        """n outliers, as device rows."""
        counts = np.diff(np.round(self.shares_ * n).astype(int), prepend=0)
        parts = zip(self.draws_, counts, strict=True)
        return torch.cat([draw(int(count)) for draw, count in parts if count])

    def losses(self, batch):
        """All terms of the loss on one batch and as many fresh outliers."""
        inputs, targets = batch
        outliers = self.draw(max(1, round(self.outlier_ratio * len(inputs))))
        outputs = self.module_(torch.cat([inputs, outliers]))
        class_loss, outlier_loss = self.criterion_(
            outputs[: len(inputs)], targets, outputs[len(inputs) :]
        )
        return {
            "loss": class_loss + self.beta * outlier_loss,
            "class_loss": class_loss,
            "outlier_loss": outlier_loss,
            "y_pred": outputs[: len(inputs)],
        }


class GANOutlierNet(OutlierNet):
    """Trains the networks of ``gan`` in turns with the classifier (Lee et al., algorithm 1)."""

    def __init__(self, module, *args, gan, **kwargs):
        super().__init__(module, *args, **kwargs)
        self.gan = gan

    def initialize_module(self):
        super().initialize_module()
        self.generator_, self.discriminator_ = self.networks
        return self

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self.players_ = tuple(
            (network, torch.optim.Adam(network.parameters(), self.gan.lr, betas=GAN_BETAS))
            for network in (self.generator_, self.discriminator_)
        )

    def on_train_end(self, net, X=None, y=None, **kwargs):
        super().on_train_end(net, X=X, y=y, **kwargs)
        self.players_ = None

    def on_epoch_begin(self, net, **kwargs):
        super().on_epoch_begin(net, **kwargs)
        decay = self.optimizer_.param_groups[0]["lr"] / self.lr
        for _, optimizer in self.players_:
            optimizer.param_groups[0]["lr"] = decay * self.gan.lr

    def generate(self, n):
        """n fresh samples of the generator, as flat rows."""
        latents = torch.randn(n, self.gan.latent_dim, device=self.device)
        return self.generator_(latents).flatten(1)

    def train_step(self, batch, **fit_params):
        generator, discriminator = self.players_
        with self.random:
            fakes = self.generate(max(2, len(batch[0])))
            on_real, on_fakes = map(self.discriminator_, (batch[0], fakes.detach()))
            judged = softplus(-on_real).mean() + softplus(on_fakes).mean()
        _step(*discriminator, judged)
        with self.random:
            fooled = softplus(-self.discriminator_(fakes)).mean()
            if self.gan.guided:
                fooled = fooled + self.beta * self.criterion_.outlier_loss(self.module_(fakes))
            if self.gan.pull_away:
                fooled = fooled + self.gan.pull_away * pull_away_term(fakes)
        _step(*generator, fooled)
        losses = {"discriminator_loss": judged, "generator_loss": fooled}
        return super().train_step(batch, **fit_params) | losses


def pull_away_term(rows):
    """Mean squared cosine between different rows (Zhao et al., 2017; Lee et al., appendix D).

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.outliers._training import pull_away_term
    >>> pull_away_term(torch.eye(3)).item(), pull_away_term(torch.ones(3, 1)).item()
    (0.0, 1.0)
    """
    unit = nn.functional.normalize(rows, dim=1)
    squared = (unit @ unit.T).square()
    n = len(rows)
    return (squared.sum() - squared.diagonal().sum()) / (n * (n - 1))


def _step(network, optimizer, loss):
    """One step of one network; the others, through which the loss goes, get no gradient."""
    optimizer.zero_grad()
    loss.backward(inputs=list(network.parameters()))
    optimizer.step()
