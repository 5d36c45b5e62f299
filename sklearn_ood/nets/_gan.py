"""Generators and discriminators for learning from made outliers (Lee et al., 2018)."""

import math

import torch
from torch import nn

from sklearn_ood.nets._modules import check_generation, doubled, halved, mlp

MIN_IMAGE_SIZE = 8


def build_generator(
    generator, latent_dim, input_shape, rows, *, hidden_layer_sizes=(500, 500), n_channels=128
):
    """A network from latents (n, latent_dim) to inputs (n, *input_shape).

    ``rows`` are the data to imitate: images are made in the range of their values, rows in
    their location and scale. A callable gets ``(latent_dim, input_shape)``.
    """
    if generator != "auto":
        network = generator(latent_dim, input_shape)
        check_generation(network, (latent_dim,), input_shape, name="generator")
        return network
    if len(input_shape) == 3:
        low, high = float(rows.min()), float(rows.max())
        return nn.Sequential(
            dcgan_generator(latent_dim, input_shape, n_channels),
            nn.Sigmoid(),
            Affine(low, high - low),
        )
    dense = mlp((latent_dim,), math.prod(input_shape), hidden_layer_sizes)
    return nn.Sequential(dense, Affine(rows.mean(axis=0), rows.std(axis=0)))


def build_discriminator(
    discriminator, input_shape, rows, *, hidden_layer_sizes=(500, 500), n_channels=128
):
    """A network from inputs (n, *input_shape) to one logit each, high where they look real.

    A callable gets ``input_shape``.
    """
    if discriminator != "auto":
        network = discriminator(input_shape)
        check_generation(network, input_shape, (1,), name="discriminator")
        return network
    if len(input_shape) == 3:
        return dcgan_discriminator(input_shape, n_channels)
    scale = rows.std(axis=0)
    scale[scale == 0] = 1.0
    dense = mlp(input_shape, 1, hidden_layer_sizes)
    return nn.Sequential(Affine(-rows.mean(axis=0) / scale, 1.0 / scale), dense)


class Affine(nn.Module):
    """``shift + scale * inputs``, fixed."""

    def __init__(self, shift, scale):
        super().__init__()
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))

    def forward(self, inputs):
        return self.shift + self.scale * inputs


def dcgan_generator(latent_dim, input_shape, n_channels=128):
    """The generator of Lee et al., appendix B, for images of any size from 8x8 on.

    The first layer makes a map of an eighth of the image's size, 4x4 for 32x32 images; each
    of three more doubles it. What sticks out is cropped.
    """
    channels, height, width = _image_size(input_shape)
    start, n = (-(-height // 8), -(-width // 8)), n_channels
    layers = [
        nn.Unflatten(1, (latent_dim, 1, 1)),
        nn.ConvTranspose2d(latent_dim, 4 * n, start, bias=False),
    ]
    for wide, narrow in ((4 * n, 2 * n), (2 * n, n), (n, channels)):
        layers += [nn.BatchNorm2d(wide), nn.ReLU(), doubled(wide, narrow, bias=False)]
    down, right = 8 * start[0] - height, 8 * start[1] - width
    crop = (-(right // 2), right // 2 - right, -(down // 2), down // 2 - down)
    return _dcgan_weights(nn.Sequential(*layers, nn.ZeroPad2d(crop)))


def dcgan_discriminator(input_shape, n_channels=128):
    """The discriminator of Lee et al., appendix B, for images of any size from 8x8 on."""
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
