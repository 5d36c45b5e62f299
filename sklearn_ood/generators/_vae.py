"""Variational autoencoders of all classes, trained as one stacked net."""

from numbers import Real

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sklearn_ood.generators._training import NetGenerator, StackedNet
from sklearn_ood.nets._stacked_networks import decoder_network, encoder_network

LIKELIHOODS = ("gaussian", "bernoulli")


class StackedVAE(nn.Module):
    """Encoders, decoders and the noise of all classes.

    Parameters
    ----------
    encoder, decoder : StackedNetwork
        (K, c, d) to (K, c, 2 m), and (K, c, m) to (K, c, d).
    log_noise : tensor of shape (K,)
        Log variance of a feature around its generation.
    fit_noise : bool
    likelihood : {"gaussian", "bernoulli"}
    mean : tensor of shape (d,)
        Taken off an input before the encoder sees it.
    kl_warmup_epochs : int
    """

    def __init__(
        self, encoder, decoder, log_noise, fit_noise, likelihood, mean, kl_warmup_epochs
    ):
        super().__init__()
        self.kl_warmup_epochs = kl_warmup_epochs
        self.encoder, self.decoder = encoder, decoder
        self.log_noise = nn.Parameter(log_noise, requires_grad=fit_noise)
        self.likelihood = likelihood
        self.n_classes = len(log_noise)
        self.register_buffer("mean", mean)

    def encode(self, x):
        """Mean and log variance of the latents of (K, c, d) inputs."""
        return self.encoder(x - self.mean).chunk(2, dim=2)

    def generate(self, z):
        """Mean of the inputs of (K, c, m) latents."""
        output = self.decoder(z)
        return torch.sigmoid(output) if self.likelihood == "bernoulli" else output + self.mean

    def negative_elbo(self, x, kl_weight=1.0, *, sample=True):
        """Minus the evidence lower bound in nats a feature, for each class and row.

        With ``sample=False`` the latent is the encoder's mean rather than a draw around it.
        """
        mean, log_variance = self.encode(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean) if sample else mean
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(2)
        if self.likelihood == "bernoulli":
            output = self.decoder(z)
            misfit = F.binary_cross_entropy_with_logits(output, x, reduction="none").sum(2)
        else:
            squared = (x - self.generate(z)).square().sum(2)
            log_noise = self.log_noise.clamp_min(-14.0)[:, None]
            constant = log_noise + float(np.log(2 * np.pi))
            misfit = 0.5 * (squared * torch.exp(-log_noise) + x.shape[2] * constant)
        return (misfit + kl_weight * divergence) / x.shape[2]


class VAENet(StackedNet):
    """Maximises the evidence lower bound, the Kullback-Leibler term warmed up."""

    def batch_loss(self, batch):
        warmup = self.module_.kl_warmup_epochs if self.module_.training else 0
        weight = min(1.0, len(self.history) / (warmup + 1))
        losses = self.module_.negative_elbo(batch[1], weight).mean(1)
        # The sum keeps each class's gradient what it would be on its own.
        return losses.sum() if self.module_.training else losses.mean()


class VAE(NetGenerator):
    """Generate the rows of each class with a variational autoencoder.

    All classes' networks are trained at the same time as one stacked net; every batch
    holds the same number of rows of each class.

    Parameters
    ----------
    latent_dim : int >= 1, default=10
        Length of the standard normal latent.
    likelihood : {"gaussian", "bernoulli"}, default="gaussian"
        Squared error, or cross entropy for inputs between 0 and 1.
    noise_variance : float > 0 or "fit", default="fit"
        Variance of the Gaussian likelihood: smaller follows the data more closely, larger
        keeps the latents closer to their prior. "fit" learns one a class.
    encoder, decoder : {"auto", "mlp", "conv"}, nn.Module or callable, default="auto"
        "auto" is "conv" where `input_shape` says images, else "mlp". A module is copied for
        every class; a callable is called with (n_inputs, n_outputs) for every class. The
        encoder has ``2 * latent_dim`` outputs, means and log variances.
    hidden_layer_sizes : tuple of int, default=(256, 256)
        Hidden layers of an "mlp" encoder; the decoder has them reversed.
    input_shape : tuple (C, H, W), optional
        Shape of one image.
    kl_warmup_epochs : int >= 0, default=3
        Epochs over which the weight of the latents' divergence rises to 1.
    max_epochs : int, default=30
        Passes over the largest class.
    batch_size : int, default=64
        Rows of each class in a batch.
    lr : float, default=1e-3
        Learning rate of Adam.
    early_stopping : bool, default=False
        Hold out a part of each class, stop when its bound no longer rises.
    validation_fraction : float, default=0.1
        The part held out.
    n_iter_no_change : int, default=5
        Epochs without progress before stopping.
    device : str, default="auto"
        "auto" is CUDA where there is one.
    verbose : int, default=0
        1 shows a progress bar.
    random_state : int, RandomState instance or None, default=None
        Determines weights, batches and latent noise.

    Attributes
    ----------
    net_ : skorch net
        The trained stack.
    noise_variance_ : ndarray of shape (n_classes,)
        Given or fitted; zeros for "bernoulli".
    classes_, n_classes_, latent_dim_, n_features_in_
        As for every generator.
    loss_curve_ : list of float
        Minus the evidence lower bound in nats a feature, summed over the classes.

    References
    ----------
    D. Kingma and M. Welling (2014), Auto-encoding variational Bayes, eq. 10.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.generators import VAE
    >>> X = np.random.RandomState(0).rand(60, 4)
    >>> vae = VAE(latent_dim=2, hidden_layer_sizes=(8,), max_epochs=2, random_state=0).fit(X)
    >>> vae.decode(vae.encode(X)).shape
    (60, 4)
    """

    _net_class = VAENet

    def __init__(
        self,
        latent_dim=10,
        likelihood="gaussian",
        noise_variance="fit",
        encoder="auto",
        decoder="auto",
        hidden_layer_sizes=(256, 256),
        input_shape=None,
        kl_warmup_epochs=3,
        max_epochs=30,
        batch_size=64,
        lr=1e-3,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        device="auto",
        verbose=0,
        random_state=None,
    ):
        self.latent_dim = latent_dim
        self.likelihood = likelihood
        self.noise_variance = noise_variance
        self.encoder = encoder
        self.decoder = decoder
        self.hidden_layer_sizes = hidden_layer_sizes
        self.input_shape = input_shape
        self.kl_warmup_epochs = kl_warmup_epochs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def _check_parameters(self):
        super()._check_parameters()
        if self.likelihood not in LIKELIHOODS:
            raise ValueError(
                f"Got likelihood={self.likelihood!r}, but expected one of {LIKELIHOODS}."
            )
        fit = isinstance(self.noise_variance, str) and self.noise_variance == "fit"
        if not fit and not (isinstance(self.noise_variance, Real) and self.noise_variance > 0):
            raise ValueError(
                f"Got noise_variance={self.noise_variance!r}, but expected 'fit' or a number "
                "> 0."
            )

    def _build(self, rows, codes):
        if self.likelihood == "bernoulli" and not (0 <= rows.min() <= rows.max() <= 1):
            raise ValueError(
                f"Got X with values from {rows.min():.3g} to {rows.max():.3g} and "
                "likelihood='bernoulli', but expected values in [0, 1]; scale X or use "
                "'gaussian'."
            )
        options = {"hidden_layer_sizes": tuple(self.hidden_layer_sizes)}
        k, shape, m = self.n_classes_, self.input_shape_, self.latent_dim
        fit_noise = self.noise_variance == "fit" and self.likelihood == "gaussian"
        if fit_noise:
            noise = np.full(k, max(float(rows.var(0).mean()), 1e-6))
        else:
            noise = np.full(k, 1.0 if self.noise_variance == "fit" else self.noise_variance)
        mean = rows.mean(0) if self.likelihood == "gaussian" else np.zeros(rows.shape[1])
        return StackedVAE(
            encoder_network(self.encoder, k, shape, 2 * m, **options),
            decoder_network(self.decoder, k, m, shape, **options),
            torch.as_tensor(np.log(noise), dtype=torch.float32),
            fit_noise,
            self.likelihood,
            torch.as_tensor(mean, dtype=torch.float32),
            self.kl_warmup_epochs,
        )

    def _net_options(self):
        return {
            "early_stopping": self.early_stopping,
            "n_iter_no_change": self.n_iter_no_change,
        }

    def _noise_variance(self):
        if self.likelihood == "bernoulli":
            return np.zeros(self.n_classes_)
        return self.net_.module_.log_noise.detach().cpu().double().exp().numpy()

    def _log_density(self, x):
        """The evidence lower bound, with the reconstruction of the encoder's mean."""
        stacked = x.expand(self.n_classes_, -1, -1)
        bound = self.net_.module_.negative_elbo(stacked, sample=False)
        return -x.shape[1] * bound.T.double()

    def _encode_stack(self, x):
        return self.net_.module_.encode(x)[0]
