"""Generative adversarial nets of all classes, trained as one stacked net."""

import torch
from torch import nn
from torch.nn import functional as F

from sklearn_ood.generators._training import NetGenerator, StackedNet
from sklearn_ood.nets._stacked_networks import decoder_network, encoder_network


class StackedGAN(nn.Module):
    """Generators and discriminators of all classes.

    Parameters
    ----------
    generator, discriminator : StackedNetwork
        (K, c, m) to (K, c, d), and (K, c, d) to (K, c, 1).
    latent_dim : int
    mean : tensor of shape (d,)
        Added to a generation and taken off what the discriminator sees.
    label_smoothing, instance_noise : float
    max_epochs : int
        The instance noise has gone after these.
    """

    def __init__(
        self,
        generator,
        discriminator,
        latent_dim,
        mean,
        label_smoothing,
        instance_noise,
        max_epochs,
        n_classes,
    ):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.latent_dim, self.n_classes = latent_dim, n_classes
        self.label_smoothing, self.instance_noise = label_smoothing, instance_noise
        self.max_epochs = max_epochs
        self.register_buffer("mean", mean)

    def generate(self, z):
        """Inputs of (K, c, m) latents."""
        return self.generator(z) + self.mean

    def judge(self, x, noise):
        """Logits (K, c) that the inputs, blurred by Gaussian noise, are real."""
        return self.discriminator(x - self.mean + noise * torch.randn_like(x))[..., 0]


class GANNet(StackedNet):
    """One step of both players for each batch: each follows the gradient of its own loss."""

    def train_step_single(self, batch, **fit_params):
        gan, real = self.module_, batch[1]
        share = (len(self.history) - 1) / max(1, gan.max_epochs)
        noise = gan.instance_noise * (1 - share)
        z = 2 * torch.rand(*real.shape[:2], gan.latent_dim, device=real.device) - 1
        on_real = gan.judge(real, noise)
        on_fake = gan.judge(gan.generate(z), noise)
        target = torch.full_like(on_real, 1 - gan.label_smoothing)
        critic_loss = _cross_entropy(on_real, target) + _cross_entropy(
            on_fake, torch.zeros_like(on_fake)
        )
        # Non-saturating: make a fake look real rather than not look fake.
        generator_loss = _cross_entropy(on_fake, torch.ones_like(on_fake))
        _own_gradient(critic_loss, gan.discriminator, retain_graph=True)
        _own_gradient(generator_loss, gan.generator)
        return {"loss": critic_loss, "generator_loss": generator_loss}


def _cross_entropy(logits, target):
    """Mean over rows, sum over classes: each class learns as it would alone."""
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return losses.mean(1).sum()


def _own_gradient(loss, player, retain_graph=False):
    parameters = list(player.parameters())
    gradients = torch.autograd.grad(loss, parameters, retain_graph=retain_graph)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


class GAN(NetGenerator):
    """Generate the rows of each class with a generative adversarial net.

    All classes' players are trained at the same time as one stacked net, with one-sided
    label smoothing, instance noise that fades out, and weight normalisation, as in the
    paper. There is no encoder: latents are searched.

    Parameters
    ----------
    latent_dim : int >= 1, default=15
        Length of the latent, uniform on [-1, 1].
    label_smoothing : float in [0, 1), default=0.1
        The discriminator's target for real rows is 1 less this.
    instance_noise : float >= 0, default=0.1
        Standard deviation of the noise on what the discriminator sees in the first epoch,
        relative to that of the data; it falls linearly to 0.
    generator, discriminator : {"auto", "mlp", "conv"}, nn.Module or callable, default="auto"
        "auto" is "conv" where `input_shape` says images, else "mlp". A module is copied for
        every class; a callable is called with (n_inputs, n_outputs) for every class.
    hidden_layer_sizes : tuple of int, default=(256, 256)
        Hidden layers of an "mlp" discriminator; the generator has them reversed.
    input_shape : tuple (C, H, W), optional
        Shape of one image.
    max_epochs : int, default=50
        Passes over the largest class.
    batch_size : int, default=64
        Rows of each class in a batch.
    lr : float, default=5e-4
        Learning rate of Adam, whose first moment decays with 0.5.
    device : str, default="auto"
        "auto" is CUDA where there is one.
    verbose : int, default=0
        1 shows a progress bar.
    random_state : int, RandomState instance or None, default=None
        Determines weights, batches and noise.

    Attributes
    ----------
    net_ : skorch net
        The trained stack; its history holds both players' losses.
    noise_variance_ : ndarray of shape (n_classes,)
        Zeros.
    classes_, n_classes_, latent_dim_, n_features_in_
        As for every generator.
    loss_curve_ : list of float
        The discriminators' loss, summed over the classes.

    References
    ----------
    A. Radford, L. Metz and S. Chintala (2015), DCGAN. T. Salimans et al. (2016), Improved
    techniques for training GANs, section 3.4. M. Arjovsky and L. Bottou (2017), Towards
    principled methods for training GANs, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.generators import GAN
    >>> X = np.random.RandomState(0).rand(60, 4)
    >>> gan = GAN(latent_dim=2, hidden_layer_sizes=(8,), max_epochs=2, random_state=0).fit(X)
    >>> gan.sample(3, random_state=0).shape
    (3, 4)
    """

    prior = "uniform"
    _net_class = GANNet

    def __init__(
        self,
        latent_dim=15,
        label_smoothing=0.1,
        instance_noise=0.1,
        generator="auto",
        discriminator="auto",
        hidden_layer_sizes=(256, 256),
        input_shape=None,
        max_epochs=50,
        batch_size=64,
        lr=5e-4,
        device="auto",
        verbose=0,
        random_state=None,
    ):
        self.latent_dim = latent_dim
        self.label_smoothing = label_smoothing
        self.instance_noise = instance_noise
        self.generator = generator
        self.discriminator = discriminator
        self.hidden_layer_sizes = hidden_layer_sizes
        self.input_shape = input_shape
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def _check_parameters(self):
        super()._check_parameters()
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"Got label_smoothing={self.label_smoothing!r}, but expected a number in "
                "[0, 1)."
            )
        if not self.instance_noise >= 0:
            raise ValueError(
                f"Got instance_noise={self.instance_noise!r}, but expected a number >= 0."
            )

    def _build(self, rows, codes):
        options = {"hidden_layer_sizes": tuple(self.hidden_layer_sizes), "normalize": True}
        k, shape = self.n_classes_, self.input_shape_
        spread = float(rows.std(0).mean())
        return StackedGAN(
            decoder_network(
                self.generator, k, self.latent_dim, shape, parameter="generator", **options
            ),
            encoder_network(
                self.discriminator, k, shape, 1, parameter="discriminator", **options
            ),
            self.latent_dim,
            torch.as_tensor(rows.mean(0)),
            self.label_smoothing,
            self.instance_noise * spread,
            self.max_epochs,
            k,
        )

    def _net_options(self):
        return {"net_params": {"optimizer__betas": (0.5, 0.999)}}
