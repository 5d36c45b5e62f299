from dataclasses import field
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sklearn_ood._parameters import Count, Natural, Positive, Share, whole_numbers
from sklearn_ood.generators._base import Core
from sklearn_ood.generators._training import NetGenerator, Network
from sklearn_ood.nets import _stacked


class VAECore(Core):
    """What a VAE learns: encoders (K, c, d) to (K, c, 2 m), decoders, and the noise."""

    is_encoder_trusted = True

    def __init__(self, vae, encoder, decoder):
        super().__init__(vae.n_classes_, vae.n_features_in_)
        self.kl_warmup_epochs = vae.kl_warmup_epochs
        self.is_bernoulli = vae.likelihood == "bernoulli"
        self.encode = _stacked.GaussianEncoder(encoder, self.n_features)
        self.decode = _stacked.Decoder(decoder, self.n_features, sigmoid=self.is_bernoulli)
        is_learned = vae.noise_variance == "fit"
        start = 0.0 if is_learned else float(np.log(vae.noise_variance))
        log_noise = torch.full((self.n_classes,), start)
        self.log_noise = nn.Parameter(log_noise, bool(is_learned) and not self.is_bernoulli)

    @torch.no_grad()
    def started(self, rows, codes):
        """Itself, with location and noise of the training rows as a start."""
        if not self.is_bernoulli:
            for network in (self.encode, self.decode):
                network.mean.copy_(torch.as_tensor(rows.mean(0)))
        if self.log_noise.requires_grad:
            self.log_noise.fill_(float(np.log(max(float(rows.var(0).mean()), 1e-6))))
        return self

    def log_density(self, x):
        """What stands for it: the bound at the encoder's mean, which mostly lies above it."""
        # No bound without the average over the encoder's distribution.
        bound = self.negative_elbo(x.expand(self.n_classes, -1, -1), sample=False)
        return -x.shape[1] * bound.T.double()

    def negative_elbo(self, x, kl_weight=1.0, *, sample=True):
        """Minus the evidence lower bound in nats a feature, for each class and row."""
        mean, log_variance = self.encode.distribution(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean) if sample else mean
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(2)
        if self.is_bernoulli:
            logits = self.decode.network(z)
            misfit = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(2)
        else:
            squared = (x - self.decode(z)).square().sum(2)
            log_noise = self.log_noise.clamp_min(-14.0)[:, None]
            constant = log_noise + float(np.log(2 * np.pi))
            misfit = 0.5 * (squared * torch.exp(-log_noise) + x.shape[2] * constant)
        return (misfit + kl_weight * divergence) / x.shape[2]

    def loss(self, x, epoch):
        """The same, with the weight of the latents' divergence warmed up in training."""
        weight = min(1.0, epoch / (self.kl_warmup_epochs + 1)) if self.training else 1.0
        losses = self.negative_elbo(x, weight).mean(1)
        # The sum keeps each class's gradient what it would be on its own.
        return losses.sum() if self.training else losses.mean()


class VAE(NetGenerator):
    """Generate the rows of each class with a variational autoencoder [1]_.

    All classes' networks are trained at the same time, as one stacked net.

    Parameters
    ----------
    latent_dim : int >= 1, default=10
        Length of the standard normal latent.
    conditional : bool, default=False
        One network that is told the class, so that all share one latent space [2]_, in place
        of one a class: it sees a further channel of an image, or number of a row, for each
        class.
    likelihood : {"gaussian", "bernoulli"}, default="gaussian"
        Squared error, or cross entropy for inputs between 0 and 1.
    noise_variance : float > 0 or "fit", default="fit"
        Variance of the Gaussian likelihood: smaller follows the data more closely, larger
        keeps the latents closer to their prior. "fit" learns one a class.
    encoder, decoder : {"auto", "mlp", "conv"}, nn.Module or callable, default="auto"
        "auto" is "conv" for images, else "mlp". A module is copied for every class; a callable
        is called with (n_inputs, n_outputs) for every class. The encoder has
        ``2 * latent_dim`` outputs, means and log variances.
    kl_warmup_epochs : int >= 0, default=3
        Epochs over which the weight of the latents' divergence rises to 1.
    early_stopping : bool, default=False
        Hold out a part of each class, stop when its bound no longer rises.
    validation_fraction : float, default=0.1
        The part held out.
    n_iter_no_change : int, default=5
        Epochs without progress before stopping.

    Attributes
    ----------
    loss_curve_ : list of float
        Minus the evidence lower bound in nats a feature, summed over the classes.

    References
    ----------
    .. [1] D. Kingma and M. Welling (2014), Auto-encoding variational Bayes, eq. 10.
    .. [2] K. Sohn, H. Lee and X. Yan (2015), Learning structured output representation using
       deep conditional generative models.

    Examples
    --------
    >>> from sklearn_ood.generators import VAE
    >>> vae = VAE(1, max_epochs=2, random_state=0).fit([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    >>> vae.encode([[0.2, 0.8]]).shape
    (1, 1)
    """

    latent_dim: Count = field(default=10, kw_only=False)
    conditional: bool = False
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    noise_variance: Positive | Literal["fit"] = "fit"
    encoder: Network = "auto"
    decoder: Network = "auto"
    kl_warmup_epochs: Natural = 3
    early_stopping: bool = False
    validation_fraction: Share = 0.1
    n_iter_no_change: Count = 5

    def make_core(self):
        k, shape, m = self.n_classes_, self.input_shape_, self.latent_dim
        sizes = whole_numbers(self.hidden_layer_sizes, "hidden_layer_sizes")
        network = _stacked.conditioned_network if self.conditional else _stacked.stacked_network
        encoder = network(self.encoder, k, shape, (2 * m,), sizes, parameter="encoder")
        decoder = network(self.decoder, k, (m,), shape, sizes[::-1], parameter="decoder")
        return VAECore(self, encoder, decoder)

    @property
    def noise_variance_(self):
        if self.likelihood == "bernoulli":
            return super().noise_variance_
        return self.core_.log_noise.detach().cpu().double().exp().numpy()

    def _fit(self, rows, codes):
        if self.likelihood == "bernoulli" and not (0 <= rows.min() <= rows.max() <= 1):
            raise ValueError(
                f"Got X from {rows.min():.3g} to {rows.max():.3g} and likelihood='bernoulli', "
                "but expected values in [0, 1]; scale X or use 'gaussian'."
            )
        super()._fit(rows, codes)
