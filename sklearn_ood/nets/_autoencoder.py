"""A classifier network and the denoising autoencoder that shares its encoder."""

import copy
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import skip_init

from sklearn_ood.nets._modules import size_of
from sklearn_ood.nets._training import Net

ACTIVATIONS = (
    *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU),
    *(nn.SiLU, nn.Softplus, nn.Tanh, nn.Sigmoid),
)
LARGEST_FLOAT = torch.finfo(torch.float32).max
GEOMETRY = ("kernel_size", "stride", "padding", "dilation")


class Autoencoder(nn.Module):
    """The layers of ``network`` before its last as encoder, a decoder, and the last layer."""

    def __init__(self, network, input_shape, tied, *, n_classes):
        super().__init__()
        self.input_shape = tuple(input_shape)
        self.encoder, output = _split(network)
        self.decoder = make_decoder(self.encoder, self.input_shape, tied)
        self.output = output if n_classes > 1 else None
        self.n_classes = n_classes
        self.code_size = size_of(_shapes(_layers(self.encoder), input_shape)[-1])
        self.code_is_relu = isinstance(_layers(self.encoder)[-1], nn.ReLU)

    def encode(self, rows):
        """Code of flat rows, flat: the top hidden layer."""
        return self.encoder(rows.reshape(rows.shape[0], *self.input_shape)).flatten(1)

    def decode(self, code):
        return self.decoder(code).flatten(1)

    def reconstruct(self, rows):
        return self.decode(self.encode(rows))

    def classify(self, code):
        """Logits for a code; an autoencoder alone gives one class, with certainty."""
        return code.new_zeros(code.shape[0], 1) if self.output is None else self.output(code)

    def forward(self, rows):
        return self.classify(self.encode(rows))


class DenoisingNet(Net):
    """Trains an :class:`Autoencoder` on rows with Gaussian noise of this standard deviation."""

    def __init__(self, *args, noise=0.2, reconstruction_weight=1.0, **kwargs):
        self.noise = noise
        self.reconstruction_weight = reconstruction_weight
        super().__init__(*args, **kwargs)

    def losses(self, batch):
        inputs, targets = batch
        code = self.module_.encode(inputs + self.noise * torch.randn_like(inputs))
        reconstruction = functional.mse_loss(self.module_.decode(code), inputs)
        if self.module_.output is None:
            return {"loss": reconstruction}
        logits = self.module_.classify(code)
        classification = self.criterion_(logits, targets)
        return {
            "loss": classification + self.reconstruction_weight * reconstruction,
            "y_pred": logits,
            "classification_loss": classification,
            "reconstruction_loss": reconstruction,
        }


def balance_weights(autoencoder):
    """Glorot's start: with torch's smaller weights units of convolutions fall silent."""
    for layer in (*autoencoder.encoder.modules(), *autoencoder.decoder.modules()):
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_uniform_(layer.weight)


class CodeStatistics(nn.Module):
    """What is typical of the codes of each class, and how far a code is from it."""

    def __init__(self, n_classes, n_units):
        super().__init__()
        # Within classes ``code @ whitening`` has the identity as covariance, and these means;
        # the squared norm's logarithm has these class means, and this standard deviation.
        shapes = {"means": (n_classes, n_units), "whitening": (n_units, n_units)}
        shapes |= {"log_norms": (n_classes,), "log_norm_scale": ()}
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @classmethod
    def fit(cls, code, classes):
        """Learn from codes (n, n_units): one covariance, shrunk (Ledoit and Wolf, 2004)."""
        code = code.astype(np.float64)
        members = np.eye(classes.max() + 1)[classes]
        shares = members / members.sum(axis=0)
        means = shares.T @ code
        from sklearn.covariance import ledoit_wolf  # slow to import

        covariance, _ = ledoit_wolf(code - means[classes], assume_centered=True)
        floor = np.finfo(np.float32).eps * max(np.trace(covariance) / len(covariance), 1e-12)
        factor = np.linalg.cholesky(covariance + floor * np.eye(len(covariance)))
        whitening = np.linalg.inv(factor).T
        log_norm = log_squared_norm(torch.from_numpy(code)).numpy()
        log_norms = shares.T @ log_norm
        scale = max(np.std(log_norm - log_norms[classes]), np.finfo(np.float32).eps)
        statistics = cls(len(means), code.shape[1])
        learned = (means @ whitening, whitening, log_norms, np.float64(scale))
        for buffer, values in zip(statistics.buffers(), learned, strict=True):
            buffer.copy_(torch.as_tensor(values))
        return statistics

    def forward(self, code):
        """Squared distances (n, 2) to the nearest class: Mahalanobis a unit, of log norms."""
        white = functional.linear(code, self.whitening.T)
        distances = torch.stack([(white - mean).square().sum(dim=1) for mean in self.means])
        deviation = (log_squared_norm(code)[:, None] - self.log_norms).abs().amin(dim=1)
        apart = distances.amin(dim=0) / code.shape[1]
        return torch.stack([apart, (deviation / self.log_norm_scale).square()], dim=1)


class ConfidenceNetwork(nn.Module):
    """Logits, reconstruction error, and with ``statistics`` the distances of the code."""

    def __init__(self, autoencoder, statistics):
        super().__init__()
        self.autoencoder = autoencoder
        self.statistics = statistics

    def forward(self, rows):
        code = self.autoencoder.encode(rows)
        logits = without_overflow(self.autoencoder.classify(code), nan=0.0).double()
        residual = without_overflow(self.autoencoder.decode(code) - rows).double()
        parts = [logits, residual.square().mean(dim=1, keepdim=True)]
        if self.statistics is not None:
            parts.append(self.statistics(without_overflow(code).double()))
        return torch.cat(parts, dim=1)


def log_squared_norm(code):
    return torch.log(code.square().sum(dim=1).clamp_min(np.finfo(np.float32).tiny))


def without_overflow(values, nan=LARGEST_FLOAT):
    """Infinite values as the largest of float32."""
    return torch.nan_to_num(values, nan=nan, posinf=LARGEST_FLOAT, neginf=-LARGEST_FLOAT)


def make_decoder(encoder, input_shape, tied):
    """The mirror image of the encoder; free where there is none, one hidden layer."""
    layers = _layers(encoder)
    shapes = _shapes(layers, input_shape)
    layers = layers[: len(layers) - isinstance(layers[-1], ACTIVATIONS)]
    between = list(zip(layers, pairwise(shapes), strict=False))
    mirrored = [_mirror(layer, *beside, tied) for layer, beside in reversed(between)]
    if None not in mirrored:
        unflatten = nn.Unflatten(1, shapes[-1]) if len(shapes[-1]) > 1 else nn.Identity()
        return nn.Sequential(unflatten, *mirrored)
    if tied:
        name = type(layers[-1 - mirrored.index(None)]).__name__
        raise ValueError(
            f"Got decoder='tied', but the module's {name} cannot be transposed; use "
            "decoder='free', or Linear, Conv2d, MaxPool2d, AvgPool2d, Flatten and activations."
        )
    code_size, input_size = size_of(shapes[-1]), size_of(input_shape)
    hidden = max(code_size, min(input_size, 4 * code_size))
    return nn.Sequential(nn.Linear(code_size, hidden), nn.ReLU(), nn.Linear(hidden, input_size))


class TransposedLinear(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.bias = nn.Parameter(torch.zeros(layer.in_features))

    def forward(self, code):
        return functional.linear(code, self.layer.weight.t(), self.bias)


def _split(network):
    if not isinstance(network, nn.Sequential) or len(network) < 2:
        raise ValueError(
            f"Got a module of type {type(network).__name__}, but DAEConfidence needs an "
            "nn.Sequential of the encoder's layers and, as its last child, the output layer."
        )
    encoder = network[:-1]
    if next(encoder.parameters(), None) is None:
        raise ValueError(
            "Got a network without hidden layers, but one is the code; add hidden_layer_sizes."
        )
    return encoder, network[-1]


def _layers(module):
    if not isinstance(module, nn.Sequential):
        return [] if isinstance(module, (nn.Dropout, nn.Dropout2d, nn.Identity)) else [module]
    return [layer for child in module for layer in _layers(child)]


@torch.no_grad()
def _shapes(layers, input_shape):
    """Shape of one row before the first layer and after each."""
    parameter = next((p for layer in layers for p in layer.parameters()), torch.zeros(()))
    row = torch.zeros(2, *input_shape, device=parameter.device, dtype=parameter.dtype)
    shapes = [tuple(input_shape)]
    for layer in layers:
        row = layer(row)
        shapes.append(tuple(row.shape[1:]))
    return shapes


def _mirror(layer, before, after, tied):
    """A layer from the shape ``after`` back to ``before``; None where there is none."""
    if isinstance(layer, nn.Linear):
        return TransposedLinear(layer) if tied else nn.Linear(after[-1], before[-1])
    if isinstance(layer, nn.Flatten):
        return nn.Unflatten(1, before) if len(before) > 1 else nn.Identity()
    if isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d)):
        return nn.Upsample(before[1:])
    if isinstance(layer, ACTIVATIONS):
        return copy.deepcopy(layer)
    is_conv = isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros"
    is_mirrored = is_conv and not isinstance(layer.padding, str)
    return _transposed(layer, before, after, tied) if is_mirrored else None


def _transposed(layer, before, after, tied):
    options = {name: getattr(layer, name) for name in (*GEOMETRY, "groups")}
    kernel, stride, padding, dilation = (np.array(options[name]) for name in GEOMETRY)
    seen = (np.array(after[1:]) - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1
    options["output_padding"] = tuple((np.array(before[1:]) - seen).tolist())
    channels = (layer.out_channels, layer.in_channels)
    if not tied:
        return nn.ConvTranspose2d(*channels, **options)
    mirror = skip_init(nn.ConvTranspose2d, *channels, **options)
    mirror.weight = layer.weight
    nn.init.zeros_(mirror.bias)
    return mirror
