"""A GAN whose samples teach a classifier: its networks, and all trained in turns."""

import math
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_argmin
from torch import nn
from torch.func import functional_call
from torch.nn.functional import softplus

from sklearn_ood._parameters import Count, NonNegative, Positive
from sklearn_ood.data._labels import class_means
from sklearn_ood.nets._evaluation import made_by
from sklearn_ood.nets._modules import InputShape, check_generation, doubled, halved, mlp
from sklearn_ood.outliers._sources import OutlierSource
from sklearn_ood.outliers._training import N_ASKED, OutlierNet

GAN_BETAS = (0.5, 0.999)
MIN_IMAGE_SIZE = 8
# Spread of a generator's samples, in the data's, below which they are all the same.
COLLAPSED = 1e-3


class GANOutliers(OutlierSource):
    """Samples of a GAN that is trained in turns with the classifier, both from the start.

    Parameters
    ----------
    guided : bool, default=True
        Whether the loss on outliers enters the generator's loss too, so that it makes rows
        of low density (the joint GAN of [1]_); without, it imitates the data ("original").
        In [1]_ the original GAN has learned to before the classifier begins: for that, give
        another classifier the samples of one that is trained,
        ``outliers=lambda X, y, n, seed: trained.sample_outliers(n, random_state=seed)``.
    pull_away : float >= 0, default=0.0
        Weight of the pull-away term, which keeps the samples apart ([1]_, appendix D).
    latent_dim : int, default=100
        Size of the standard normal latents.
    lr : float, default=2e-4
        Adam's learning rate for generator and discriminator; it follows the classifier's
        ``lr_schedule``.
    hidden_layer_sizes : tuple of int, default=(500, 500)
        Dense layers of both networks, for rows.
    n_channels : int, default=128
        Channels of the narrowest hidden layer of the DCGAN, for images.
    generator : {"auto"} or callable, default="auto"
        ``(latent_dim, input_shape) -> nn.Module``.
    discriminator : {"auto"} or callable, default="auto"
        ``(input_shape) -> nn.Module`` with one logit for each input.

    References
    ----------
    .. [1] K. Lee et al., "Training confidence-calibrated classifiers for detecting
       out-of-distribution samples", ICLR 2018, equation 4 and algorithm 1. The generator's
       loss is the non-saturating one.
    """

    guided: bool = True
    pull_away: NonNegative = 0.0
    latent_dim: Count = 100
    lr: Positive = 2e-4
    hidden_layer_sizes: tuple | list = (500, 500)
    n_channels: Count = 128
    generator: Any = "auto"
    discriminator: Any = "auto"

    def make_networks(self, input_shape, rows):
        """Untrained generator and discriminator, for the location and scale of the rows."""
        self._validate_params()
        generator = self._make_generator(input_shape, rows)
        return generator, InputShape(self._make_discriminator(input_shape, rows), input_shape)

    def _make_generator(self, input_shape, rows):
        if self.generator != "auto":
            network = made_by("generator", self.generator, self.latent_dim, input_shape)
            check_generation(network, (self.latent_dim,), input_shape, name="generator")
            return network
        if len(input_shape) == 3:
            low, high = float(rows.min()), float(rows.max())
            network = dcgan_generator(self.latent_dim, input_shape, self.n_channels)
            return nn.Sequential(network, nn.Sigmoid(), Affine(low, high - low))
        dense = mlp((self.latent_dim,), math.prod(input_shape), self.hidden_layer_sizes)
        return nn.Sequential(dense, Affine(rows.mean(axis=0), rows.std(axis=0)))

    def _make_discriminator(self, input_shape, rows):
        if self.discriminator != "auto":
            network = made_by("discriminator", self.discriminator, input_shape)
            check_generation(network, input_shape, (1,), name="discriminator")
            return network
        if len(input_shape) == 3:
            return dcgan_discriminator(input_shape, self.n_channels)
        scale = rows.std(axis=0)
        scale[scale == 0] = 1.0
        dense = mlp(input_shape, 1, self.hidden_layer_sizes)
        return nn.Sequential(Affine(-rows.mean(axis=0) / scale, 1.0 / scale), dense)

    def supply(self, net, data, n, random_state, as_inputs):
        return net.generate


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
        n_made = max(2, n)  # batch normalisation needs two
        latents = torch.randn(n_made, self.gan.latent_dim, device=self.device)
        return self.generator_(latents).flatten(1)[:n]

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
                # On copies of the classifier's statistics, which are not of fakes.
                copies = {name: each.clone() for name, each in self.module_.named_buffers()}
                said = functional_call(self.module_, copies, fakes)
                fooled = fooled + self.beta * self.criterion_.outlier_loss(said)
            if self.gan.pull_away:
                fooled = fooled + self.gan.pull_away * pull_away_term(fakes)
        _step(*generator, fooled)
        losses = {"discriminator_loss": judged, "generator_loss": fooled}
        return super().train_step(batch, **fit_params) | losses

    @torch.no_grad()
    def check(self, rows, codes):
        """Raise, too, if the generator makes one row again and again; warn if one class."""
        super().check(rows, codes)
        samples = self.generate(N_ASKED).cpu().numpy()
        spread, expected = (np.sqrt(part.var(axis=0).sum()) for part in (samples, rows))
        if not spread > COLLAPSED * expected:
            raise ValueError(
                f"The generator collapsed: its samples spread {spread:.2g}, the data "
                f"{expected:.2g}. Pass GANOutliers with a smaller lr or with pull_away > 0, "
                "or take outliers='boundary', which needs no generator."
            )
        nearest = np.unique(pairwise_distances_argmin(samples, class_means(rows, codes)))
        if len(nearest) == 1:
            warnings.warn(
                f"The generator collapsed onto one class: all of {N_ASKED} samples are "
                f"nearest to the mean of class number {nearest[0]}; pass GANOutliers "
                "pull_away > 0 or a smaller lr, train longer, or take outliers='boundary'.",
                ConvergenceWarning,
                stacklevel=2,
            )


def pull_away_term(rows):
    """Mean squared cosine of different rows (Zhao et al., 2017; Lee et al., appendix D)."""
    unit = nn.functional.normalize(rows, dim=1)
    squared = (unit @ unit.T).square()
    n = len(rows)
    return (squared.sum() - squared.diagonal().sum()) / (n * (n - 1))


def _step(network, optimizer, loss):
    optimizer.zero_grad()
    loss.backward(inputs=list(network.parameters()))
    optimizer.step()


class Affine(nn.Module):
    def __init__(self, shift, scale):
        super().__init__()
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))

    def forward(self, inputs):
        return self.shift + self.scale * inputs


def dcgan_generator(latent_dim, input_shape, n_channels=128):
    """The generator of Lee et al., appendix B: three doublings, cropped to the image."""
    channels, height, width = _image_size(input_shape)
    start, n = (-(-height // 8), -(-width // 8)), n_channels
    first = nn.ConvTranspose2d(latent_dim, 4 * n, start, bias=False)
    layers = [nn.Unflatten(1, (latent_dim, 1, 1)), first]
    for wide, narrow in ((4 * n, 2 * n), (2 * n, n), (n, channels)):
        layers += [nn.BatchNorm2d(wide), nn.ReLU(), doubled(wide, narrow, bias=False)]
    down, right = 8 * start[0] - height, 8 * start[1] - width
    crop = (-(right // 2), right // 2 - right, -(down // 2), down // 2 - down)
    return _dcgan_weights(nn.Sequential(*layers, nn.ZeroPad2d(crop)))


def dcgan_discriminator(input_shape, n_channels=128):
    channels, height, width = _image_size(input_shape)
    n = n_channels
    layers = [halved(channels, n, bias=False), nn.LeakyReLU(0.2)]
    for narrow, wide in ((n, 2 * n), (2 * n, 4 * n)):
        layers += [halved(narrow, wide, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(4 * n, 1, (height // 8, width // 8), bias=False), nn.Flatten()]
    return _dcgan_weights(nn.Sequential(*layers))


def _dcgan_weights(network):
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
    return network


def _image_size(input_shape):
    if min(input_shape[1:]) < MIN_IMAGE_SIZE:
        raise ValueError(
            f"Got images of shape {tuple(input_shape)}, but the generative network needs at "
            f"least {MIN_IMAGE_SIZE} x {MIN_IMAGE_SIZE}; pass generator= and discriminator= "
            "callables to GANOutliers, or use outliers='boundary'."
        )
    return input_shape
