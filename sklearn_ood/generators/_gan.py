from dataclasses import field
from functools import partial
from numbers import Real
from typing import Annotated

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from sklearn_ood._parameters import Count, Natural, NonNegative, Positive, whole_numbers
from sklearn_ood.generators._base import Core
from sklearn_ood.generators._training import NetGenerator, Network, StackedNet
from sklearn_ood.nets._stacked import Decoder, Discriminator, stacked_network

# How much of the averaged weights stays at each step, after the first ones.
AVERAGING = 0.99
# Of numbers uniform on [-1, 1].
LATENT_VARIANCE = 1 / 3


class GANCore(Core):
    """Generators (K, c, m) to (K, c, d), and discriminators, which also tell latents."""

    prior = "uniform"

    def __init__(self, gan, generator, discriminator):
        super().__init__(gan.n_classes_, gan.n_features_in_)
        self.latent_dim, self.label_smoothing = gan.latent_dim, gan.label_smoothing
        self.instance_noise, self.cycle_weight = gan.instance_noise, gan.cycle_weight
        self.gradient_penalty, self.variance = float(gan.gradient_penalty), 1.0
        shape = self.n_classes, 1, self.n_features
        self.player = Decoder(generator, shape, sigmoid=len(gan.input_shape_) == 3)
        self.decode = AveragedModel(self.player, avg_fn=_averaged).requires_grad_(False).eval()
        self.encode = Discriminator(discriminator, shape)

    def train(self, mode=True):
        """What generates keeps the statistics that batches had."""
        super().train(mode)
        self.decode.eval()
        return self

    def started(self, rows, codes):
        """Itself, with the range of the training rows, and each class's mean and variance."""
        means = np.stack([rows[codes == k].mean(0) for k in range(self.n_classes)])
        for network in (self.encode, self.player):
            network.mean.copy_(torch.as_tensor(means)[:, None])
        self.player.low.fill_(float(rows.min()))
        self.player.span.fill_(float(np.ptp(rows)) or 1.0)
        self.variance = float(np.square(rows - means[codes]).mean()) or 1.0
        return self

    def losses(self, real, noise_share):
        n_classes, n = real.shape[:2]
        # Batch normalisation needs two.
        z = 2 * torch.rand(n_classes, max(n, 2), self.latent_dim, device=real.device) - 1
        noise = noise_share * self.instance_noise * self.variance**0.5
        real = real.detach().requires_grad_(self.gradient_penalty > 0)
        on_real, found = self.encode.judged(real + noise * torch.randn_like(real))
        fake, again = self.player(torch.cat([z, found], 1)).split([z.shape[1], n], 1)
        on_fake, told = self.encode.judged(fake + noise * torch.randn_like(fake))
        of_real = _cross_entropy(on_real, 1 - self.label_smoothing)
        if self.gradient_penalty:
            (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
            steepness = slope.square().mean((1, 2)).sum() * (self.variance * self.n_features**2)
            of_real = of_real + self.gradient_penalty / 2 * steepness
        lost = _squared_error(told, z) / LATENT_VARIANCE
        lost = lost + _squared_error(again, real.detach()) / self.variance
        both = self.cycle_weight * lost
        # Non-saturating: make a fake look real rather than not look fake.
        return of_real + _cross_entropy(on_fake, 0) + both, _cross_entropy(on_fake, 1) + both

    def average(self):
        self.decode.update_parameters(self.player)


def _averaged(averaged, weights, n_averaged):
    return averaged.lerp(weights, max(1 - AVERAGING, 10 / (10 + int(n_averaged))))


def _cross_entropy(logits, target):
    """Mean over rows, sum over classes: each class learns as it would alone."""
    target = torch.full_like(logits, target)
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return losses.mean(1).sum()


def _squared_error(x, y):
    """Mean over rows and features, sum over classes."""
    return (x - y).square().mean((1, 2)).sum()


class GANNet(StackedNet):
    """One step of both players for each batch: each follows the gradient of its own loss."""

    def train_step_single(self, batch, **fit_params):
        gan, done = self.module_, (len(self.history) - 1) / self.max_epochs
        gan.average()
        with self.random:
            critic_loss, generator_loss = gan.losses(batch[1], 1 - done)
        critic_loss.backward(inputs=list(gan.encode.parameters()), retain_graph=True)
        generator_loss.backward(inputs=list(gan.player.parameters()))
        return {"loss": critic_loss, "generator_loss": generator_loss}


class GAN(NetGenerator):
    """Generate the rows of each class with a generative adversarial net.

    All classes' players are trained at the same time, as one stacked net, with one-sided label
    smoothing [2]_, instance noise that fades out [3]_, a gradient penalty on real rows [4]_,
    and weight normalisation. Of images the generator is DCGAN's [1]_: batch normalisation, and
    a sigmoid that spans the range of the training rows. What generates is the running average
    of the generators' weights. The discriminator also tells the latent that an input may be
    made of: latents that come back from generations differ [6]_, rows that come back are not
    left out [5]_. It is the encoder from which a search of latents starts.

    Parameters
    ----------
    latent_dim : int >= 1, default=15
        Length of the latent, uniform on [-1, 1].
    label_smoothing : float in [0, 1), default=0.1
        The discriminator's target for real rows is 1 less this.
    instance_noise : float >= 0, default=0.1
        Standard deviation of the noise on what the discriminator sees in the first epoch,
        relative to that of a class; it falls linearly to 0.
    gradient_penalty : float >= 0, default=0.02
        Weight of half the discriminator's squared gradient at real rows (R1), in units of the
        rows' total variance within classes.
    cycle_weight : float >= 0, default=3.0
        Weight of the squared errors of latents that the discriminator tells from generations,
        and of rows that are generated from the latents it tells, each in units of its variance.
    generator, discriminator : {"auto", "mlp", "conv"}, nn.Module or callable, default="auto"
        "auto" is "conv" for images, else "mlp". A module is copied for every class; a callable
        is called with (n_inputs, n_outputs) for every class. The discriminator has
        ``1 + latent_dim`` outputs: the logit that an input is real, and its latent.
    max_epochs : int, default=50
        Passes over the largest class, or more where these are fewer than ``min_steps``.
    min_steps : int >= 0, default=500
        Batches at least, so that small data is trained as long as large.
    batch_size : int, default=32
        Rows of each class in a batch.
    lr : float, default=1e-3
        Learning rate of Adam, whose first moment decays with 0.5; it falls to 0 as a cosine.

    Attributes
    ----------
    loss_curve_ : list of float
        The discriminators' loss, summed over the classes; ``net_.history`` has both.

    References
    ----------
    .. [1] A. Radford, L. Metz and S. Chintala (2015), DCGAN.
    .. [2] T. Salimans et al. (2016), Improved techniques for training GANs, section 3.4.
    .. [3] M. Arjovsky and L. Bottou (2017), Towards principled methods for training GANs.
    .. [4] L. Mescheder et al. (2018), Which training methods for GANs converge?, eq. 9.
    .. [5] T. Che et al. (2017), Mode regularized GANs, section 3.1.
    .. [6] X. Chen et al. (2016), InfoGAN, section 5.

    Examples
    --------
    >>> from sklearn_ood.generators import GAN
    >>> gan = GAN(1, max_epochs=2, min_steps=0, random_state=0)
    >>> gan.fit([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]).sample(3, random_state=0).shape
    (3, 2)
    """

    latent_dim: Count = field(default=15, kw_only=False)
    label_smoothing: Annotated[float, Interval(Real, 0, 1, closed="left")] = 0.1
    instance_noise: NonNegative = 0.1
    gradient_penalty: NonNegative = 0.02
    cycle_weight: NonNegative = 3.0
    generator: Network = "auto"
    discriminator: Network = "auto"
    max_epochs: Count = 50
    min_steps: Natural = 500
    batch_size: Count = 32
    lr: Positive = 1e-3

    def make_core(self):
        k, shape, m = self.n_classes_, self.input_shape_, self.latent_dim
        sizes = whole_numbers(self.hidden_layer_sizes, "hidden_layer_sizes")
        network = partial(stacked_network, normalize=True)
        return GANCore(
            self,
            network(self.generator, k, (m,), shape, sizes[::-1], parameter="generator"),
            network(self.discriminator, k, shape, (1 + m,), sizes, parameter="discriminator"),
        )

    def _train(self, make, training, validation=None, *, random):
        n_batches = -(-np.bincount(training[1]).max() // self.batch_size)
        max_epochs = max(self.max_epochs, -(-self.min_steps // n_batches))
        settings = {"max_epochs": max_epochs, "lr_schedule": "cosine", "net_class": GANNet}
        settings["net_params"] = {"optimizer__betas": (0.5, 0.999)}
        net = super()._train(make, training, random=random, **settings)
        net.module_.average()
        return net
