"""Encoders and decoders by name, for all classes at once."""

import copy

import torch
from torch import nn
from torch.func import functional_call

from sklearn_ood.nets._stacked import StackedModule, stacked_mlp

CHANNELS = (64, 32)
NAMES = ("auto", "mlp", "conv")


class StackedNetwork(nn.Module):
    """A stack of networks that takes and returns flat rows.

    Parameters
    ----------
    stack : nn.Module
        Maps (K, c, ...) to (K, c, ...).
    input_shape : tuple of int
        The shape in which one row enters the stack.
    """

    def __init__(self, stack, input_shape):
        super().__init__()
        self.stack = stack
        self.input_shape = tuple(input_shape)

    def forward(self, x):
        return self.stack(x.reshape(*x.shape[:2], *self.input_shape)).flatten(2)


def encoder_network(
    network,
    n_classes,
    input_shape,
    n_outputs,
    *,
    hidden_layer_sizes,
    normalize=False,
    parameter="encoder",
):
    """From inputs to latents, or to a discriminator's logit.

    Parameters
    ----------
    network : {"auto", "mlp", "conv"}, nn.Module or callable
        "auto" is "conv" for images, else "mlp". A module is copied for every class, a
        callable is called with (n_inputs, n_outputs) for every class.
    n_classes : int
    input_shape : tuple of int
        (n_features,) or (C, H, W).
    n_outputs : int
    hidden_layer_sizes : tuple of int
        Of "mlp".
    normalize : bool, default=False
        Weight normalisation.
    parameter : str, default="encoder"
        What the user calls the network, for errors.

    Returns
    -------
    StackedNetwork
    """
    n_inputs = int(torch.Size(input_shape).numel())
    name = _resolve(network, input_shape, parameter)
    if name == "mlp":
        stack = stacked_mlp(n_classes, (n_inputs, *hidden_layer_sizes, n_outputs), normalize)
        return StackedNetwork(stack, (n_inputs,))
    if name == "conv":
        modules = [_convolutions(input_shape, n_outputs, normalize) for _ in range(n_classes)]
    else:
        modules = _user_modules(network, n_classes, n_inputs, n_outputs)
    shape = input_shape if name == "conv" or isinstance(network, nn.Module) else (n_inputs,)
    return _checked(
        StackedNetwork(StackedModule(modules), shape), n_inputs, n_outputs, "encoder"
    )


def decoder_network(
    network,
    n_classes,
    latent_dim,
    input_shape,
    *,
    hidden_layer_sizes,
    normalize=False,
    parameter="decoder",
):
    """From latents to inputs; the parameters are those of `encoder_network`.

    "conv" is a small DCGAN: a dense layer, then two transposed convolutions that double
    the image's size, cut to the right one.
    """
    n_outputs = int(torch.Size(input_shape).numel())
    name = _resolve(network, input_shape, parameter)
    if name == "mlp":
        sizes = (latent_dim, *reversed(hidden_layer_sizes), n_outputs)
        return StackedNetwork(stacked_mlp(n_classes, sizes, normalize), (latent_dim,))
    if name == "conv":
        modules = [
            _transposed_convolutions(latent_dim, input_shape, normalize)
            for _ in range(n_classes)
        ]
    else:
        modules = _user_modules(network, n_classes, latent_dim, n_outputs)
    stack = StackedNetwork(StackedModule(modules), (latent_dim,))
    return _checked(stack, latent_dim, n_outputs, parameter)


class WeightNormalized(nn.Module):
    """A layer with weight normalisation: a learned length for each unit's direction.

    torch's own parametrizations cannot be pickled.
    """

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.length = nn.Parameter(self._norm(layer.weight.detach()))

    def forward(self, x):
        weight = self.layer.weight
        weight = weight * (self.length / self._norm(weight))
        return functional_call(self.layer, {"weight": weight}, (x,))

    def _norm(self, weight):
        return weight.flatten(1).norm(dim=1).view(-1, *(1,) * (weight.dim() - 1))


class Crop(nn.Module):
    """The upper left part of images."""

    def __init__(self, height, width):
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x):
        return x[..., : self.height, : self.width]


def _resolve(network, input_shape, parameter):
    if isinstance(network, str):
        if network not in NAMES:
            raise ValueError(
                f"Got {parameter}={network!r}, but expected one of {NAMES}, an nn.Module or a "
                "callable (n_inputs, n_outputs) -> nn.Module."
            )
        if network == "auto":
            return "conv" if len(input_shape) == 3 else "mlp"
        if network == "conv" and len(input_shape) != 3:
            raise ValueError(
                f"Got {parameter}='conv' for rows of {input_shape[0]} features, but "
                "convolutions need images; pass input_shape=(C, H, W)."
            )
        return network
    if not isinstance(network, nn.Module) and not callable(network):
        raise TypeError(
            f"Got {parameter}={network!r}, but expected one of {NAMES}, an nn.Module or a "
            "callable (n_inputs, n_outputs) -> nn.Module."
        )
    return "user"


def _user_modules(network, n_classes, n_inputs, n_outputs):
    if isinstance(network, nn.Module):
        return [copy.deepcopy(network) for _ in range(n_classes)]
    return [network(n_inputs, n_outputs) for _ in range(n_classes)]


def _checked(network, n_inputs, n_outputs, parameter):
    prototype = network.stack._prototype[0]
    x = torch.zeros(2, *network.input_shape)
    try:
        with torch.no_grad():
            shape = prototype(x).flatten(1).shape
    except RuntimeError as error:
        raise ValueError(
            f"Got {parameter} that cannot take inputs of shape {network.input_shape}: {error}"
        ) from error
    if tuple(shape) != (2, n_outputs):
        raise ValueError(
            f"Got {parameter} with an output of {shape[1]} numbers a row, but expected "
            f"{n_outputs}."
        )
    return network


def _convolutions(input_shape, n_outputs, normalize):
    channels, height, width = input_shape
    wide, narrow = CHANNELS
    norm = WeightNormalized if normalize else nn.Identity()
    size = wide * -(-height // 4) * -(-width // 4)
    bottom, right = -height % 4, -width % 4
    return nn.Sequential(
        nn.ZeroPad2d((0, right, 0, bottom)),
        norm(nn.Conv2d(channels, narrow, 4, 2, 1)),
        nn.LeakyReLU(0.2),
        norm(nn.Conv2d(narrow, wide, 4, 2, 1)),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        norm(nn.Linear(size, n_outputs)),
    )


def _transposed_convolutions(latent_dim, input_shape, normalize):
    channels, height, width = input_shape
    wide, narrow = CHANNELS
    norm = WeightNormalized if normalize else nn.Identity()
    size = (wide, -(-height // 4), -(-width // 4))
    return nn.Sequential(
        norm(nn.Linear(latent_dim, int(torch.Size(size).numel()))),
        nn.ReLU(),
        nn.Unflatten(1, size),
        norm(nn.ConvTranspose2d(wide, narrow, 4, 2, 1)),
        nn.ReLU(),
        norm(nn.ConvTranspose2d(narrow, channels, 4, 2, 1)),
        Crop(height, width),
    )
