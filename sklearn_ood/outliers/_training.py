"""Nets that learn from outliers beside the data: drawn from banks, or made by a GAN."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, softplus

from sklearn_ood.nets._training import Arrays, Net

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


class Bank:
    """Draws from outliers that were made beforehand.

    Parameters
    ----------
    rows : ndarray of shape (n_outliers, n_features)
    device : torch.device
    """

    def __init__(self, rows, device):
        self.arrays = Arrays(rows, device=device)

    def __call__(self, n):
        (rows,) = self.arrays.batch(torch.randint(len(self.arrays), (n,)))
        return rows


class OutlierNet(Net):
    """Adds ``beta`` times the loss on outliers to the loss on rows.

    Parameters
    ----------
    module : nn.Module
    beta : float
        Weight of the loss on outliers.
    outlier_ratio : float
        Outliers for each in-distribution row of a step.
    **kwargs
        Passed to ``skorch.NeuralNet``; ``criterion`` is an :class:`OutlierLoss`.
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
        }


class GANOutlierNet(OutlierNet):
    """Trains a GAN in turns with the classifier (Lee et al., 2018, algorithm 1).

    Parameters
    ----------
    module, **kwargs
        As for :class:`OutlierNet`.
    gan : GANOutliers
        How generator and discriminator are trained.
    networks : tuple of nn.Module
        Generator, from latents to inputs, and discriminator, from inputs to one logit.
    """

    def __init__(self, module, *args, gan, networks=None, **kwargs):
        super().__init__(module, *args, **kwargs)
        self.networks = networks
        self.gan = gan

    def initialize_module(self):
        super().initialize_module()
        self.generator_, self.discriminator_ = self.networks
        return self

    def initialize_optimizer(self):
        args, kwargs = self.get_params_for_optimizer(
            "optimizer", list(self.module_.named_parameters())
        )
        self.optimizer_ = self.optimizer(*args, **kwargs)
        self.generator_optimizer_, self.discriminator_optimizer_ = (
            torch.optim.Adam(network.parameters(), self.gan.lr, betas=GAN_BETAS)
            for network in (self.generator_, self.discriminator_)
        )
        return self

    def on_epoch_begin(self, net, **kwargs):
        super().on_epoch_begin(net, **kwargs)
        decay = self.optimizer_.param_groups[0]["lr"] / self.lr
        for optimizer in (self.generator_optimizer_, self.discriminator_optimizer_):
            optimizer.param_groups[0]["lr"] = decay * self.gan.lr

    def generate(self, n):
        """n fresh samples of the generator, as flat rows."""
        latents = torch.randn(n, self.gan.latent_dim, device=self.device)
        return self.generator_(latents).flatten(1)

    @torch.no_grad()
    def generate_detached(self, n):
        """The same for the classifier, which does not teach the generator."""
        return self.generate(n)

    def train_step(self, batch, **fit_params):
        fakes = self.generate(max(2, len(batch[0])))
        discriminator_loss = self._step_discriminator(batch[0], fakes.detach())
        generator_loss = self._step_generator(fakes)
        return super().train_step(batch, **fit_params) | {
            "discriminator_loss": discriminator_loss,
            "generator_loss": generator_loss,
        }

    def _step_discriminator(self, inputs, fakes):
        loss = softplus(-self._realness(inputs)).mean() + softplus(self._realness(fakes)).mean()
        return _step(self.discriminator_optimizer_, self.discriminator_, loss)

    def _step_generator(self, fakes):
        loss = softplus(-self._realness(fakes)).mean()
        if self.gan.guided:
            on_fakes = self.criterion_.outlier_loss(self.module_(fakes))
            loss = loss + self.beta * on_fakes
        if self.gan.pull_away:
            loss = loss + self.gan.pull_away * pull_away_term(fakes)
        return _step(self.generator_optimizer_, self.generator_, loss)

    def _realness(self, rows):
        return self.discriminator_(rows.reshape(len(rows), *self.module_.input_shape))


def pull_away_term(rows):
    """Mean squared cosine between different rows (Zhao et al., 2017; Lee et al., appendix D).

    Parameters
    ----------
    rows : tensor of shape (n_samples, n_features)

    Returns
    -------
    tensor, a scalar in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.outliers._training import pull_away_term
    >>> pull_away_term(torch.eye(3)).item(), pull_away_term(torch.ones(3, 1)).item()
    (0.0, 1.0)
    """
    unit = torch.nn.functional.normalize(rows, dim=1)
    squared = (unit @ unit.T).square()
    n = len(rows)
    return (squared.sum() - squared.diagonal().sum()) / (n * (n - 1))


def _step(optimizer, network, loss):
    """One step of one network; the others, through which the loss goes, get no gradient."""
    optimizer.zero_grad()
    loss.backward(inputs=list(network.parameters()))
    optimizer.step()
    return loss
