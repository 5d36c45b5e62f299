"""Networks of all classes side by side: the class axis is a batch axis of the weights."""

import copy
from itertools import pairwise
from threading import Lock

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from sklearn_ood._parameters import called
from sklearn_ood.nets._modules import check_generation, doubled, halved, size_of

# ``functional_call`` puts other weights into a module that all threads share.
SWAPPING = Lock()
CHANNELS = (64, 32)


class StackedLinear(nn.Module):
    """One dense layer a class, (K, c, n_in) to (K, c, n_out); or weight-normalised."""

    def __init__(self, n_classes, n_in, n_out, normalize=False):
        super().__init__()
        bound = n_in**-0.5
        self.weight = nn.Parameter(torch.empty(n_classes, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_classes, 1, n_out).uniform_(-bound, bound))
        length = self.weight.detach().norm(dim=1, keepdim=True)
        self.length = nn.Parameter(length) if normalize else None

    def forward(self, x):
        weight = self.weight
        if self.length is not None:
            weight = weight * (self.length / weight.norm(dim=1, keepdim=True))
        return torch.baddbmm(self.bias, x, weight)


def stacked_mlp(n_classes, sizes, normalize=False):
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [StackedLinear(n_classes, n_in, n_out, normalize), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class StackedModule(nn.Module):
    """Any modules of one architecture, evaluated together by vectorising over them."""

    def __init__(self, modules):
        super().__init__()
        # Not of layers that update running statistics, which are not vectorised.
        parameters, buffers = stack_module_state(list(modules))
        for name, value in parameters.items():
            self.register_parameter(name.replace(".", "/"), nn.Parameter(value.detach()))
        for name, value in buffers.items():
            self.register_buffer(name.replace(".", "/"), value)
        # In a list, so that the prototype's own parameters are not counted as ours.
        self._prototype = [copy.deepcopy(modules[0])]

    def forward(self, x):
        own = (*self.named_parameters(), *self.named_buffers())
        state = {name.replace("/", "."): value for name, value in own}
        prototype = self._prototype[0].train(self.training)

        def call(state, x):
            return functional_call(prototype, state, (x,))

        with SWAPPING:
            return vmap(call, randomness="different")(state, x)


class StackedNetwork(nn.Module):
    """A stack of networks that takes and returns flat rows, (K, c, p) to (K, c, q)."""

    def __init__(self, stack, input_shape):
        super().__init__()
        self.stack = stack
        self.input_shape = tuple(input_shape)

    def forward(self, x):
        return self.stack(x.reshape(*x.shape[:2], *self.input_shape)).flatten(2)


class ConditionedNetwork(nn.Module):
    """One network of all classes, told the class beside each row: (K, c, p) to (K, c, q)."""

    def __init__(self, network, n_classes, n_cells):
        super().__init__()
        self.network, self.n_classes, self.n_cells = network, n_classes, n_cells

    def forward(self, x):
        told = torch.eye(self.n_classes, dtype=x.dtype, device=x.device)
        told = told.repeat_interleave(self.n_cells, 1)[:, None].expand(-1, x.shape[1], -1)
        rows = torch.cat([x, told], 2).flatten(0, 1)
        return self.network(rows[None])[0].unflatten(0, x.shape[:2])


class GaussianEncoder(nn.Module):
    """From inputs (K, c, d) to normal distributions of latents, of which it gives the mean."""

    def __init__(self, network, n_features):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.zeros(n_features))

    def distribution(self, x):
        return self.network(x - self.mean).chunk(2, dim=2)

    def forward(self, x):
        return self.distribution(x)[0]


class Discriminator(nn.Module):
    """From inputs (K, c, d) to latents (K, c, m) that they may be generated from."""

    def __init__(self, network, shape):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.zeros(shape))

    def judged(self, x):
        """Logits (K, c) that inputs are real, and latents between -1 and 1."""
        outputs = self.network(x - self.mean)
        return outputs[..., 0], torch.tanh(outputs[..., 1:])

    def forward(self, x):
        return self.judged(x)[1]


class Decoder(nn.Module):
    """From latents (K, c, m) to inputs (K, c, d): bounded by a sigmoid, or free."""

    def __init__(self, network, shape, *, sigmoid=False):
        super().__init__()
        self.network, self.sigmoid = network, sigmoid
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("span", torch.ones(()))

    def forward(self, z):
        outputs = self.network(z)
        if self.sigmoid:
            return self.low + self.span * torch.sigmoid(outputs)
        return outputs + self.mean


def stacked_network(
    network,
    n_classes,
    input_shape,
    output_shape,
    hidden_layer_sizes=(),
    *,
    normalize=False,
    parameter="network",
):
    """A network for every class, (K, c, p) to (K, c, q); either may be images."""
    n_inputs, n_outputs = size_of(input_shape), size_of(output_shape)
    sees_images, makes_images = len(input_shape) == 3, len(output_shape) == 3
    if network == "auto":
        network = "conv" if sees_images or makes_images else "mlp"
    if network == "mlp":
        stack = stacked_mlp(n_classes, (n_inputs, *hidden_layer_sizes, n_outputs), normalize)
        return StackedNetwork(stack, (n_inputs,))
    if network == "conv":
        if not (sees_images or makes_images):
            raise ValueError(
                f"Got {parameter}='conv', but no images; pass input_shape=(C, H, W)."
            )
        build = StackedConvolutions if sees_images else StackedTransposed
        stack = build(n_classes, input_shape, output_shape, normalize)
        return StackedNetwork(stack, input_shape)
    if isinstance(network, nn.Module):
        modules = [copy.deepcopy(network) for _ in range(n_classes)]
    else:
        input_shape = (n_inputs,)
        modules = [called(parameter, network, n_inputs, n_outputs) for _ in range(n_classes)]
    check_generation(modules[0], input_shape, output_shape, name=parameter)
    return StackedNetwork(StackedModule(modules), input_shape)


def conditioned_network(network, n_classes, input_shape, *shapes, **options):
    """One network for all classes: images get one more channel for each, rows a number."""
    first, *others = input_shape
    told = first + n_classes, *others
    made = stacked_network(network, 1, told, *shapes, **options)
    return ConditionedNetwork(made, n_classes, size_of(tuple(others)))


class WeightNormalized(nn.Module):
    """A convolution with weight normalisation; torch's own cannot be pickled."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.length = nn.Parameter(self._norm(layer.weight.detach()))

    def forward(self, x):
        weight = self.layer.weight
        weight = weight * (self.length / self._norm(weight))
        return functional_call(self.layer, {"weight": weight}, (x,))

    def _norm(self, weight):
        return torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)


class StackedConvolutions(nn.Module):
    """Two grouped convolutions that halve the image's size, then dense."""

    def __init__(self, n_classes, input_shape, output_shape, normalize):
        super().__init__()
        channels, height, width = input_shape
        k, (wide, narrow) = n_classes, CHANNELS
        norm = WeightNormalized if normalize else nn.Identity()
        self.convolutions = nn.Sequential(
            nn.ZeroPad2d((0, -width % 4, 0, -height % 4)),
            norm(halved(k * channels, k * narrow, groups=k)),
            nn.LeakyReLU(0.2),
            norm(halved(k * narrow, k * wide, groups=k)),
            nn.LeakyReLU(0.2),
        )
        n_inputs = wide * -(-height // 4) * -(-width // 4)
        self.dense = StackedLinear(k, n_inputs, size_of(output_shape), normalize)

    def forward(self, x):
        made = self.convolutions(x.transpose(0, 1).flatten(1, 2))
        return self.dense(made.unflatten(1, (len(x), -1)).flatten(2).transpose(0, 1))


class StackedTransposed(nn.Module):
    """The reverse: dense, two convolutions that double the size, and the padding cut off."""

    def __init__(self, n_classes, input_shape, output_shape, normalize):
        super().__init__()
        channels, height, width = output_shape
        k, (wide, narrow) = n_classes, CHANNELS
        norm = nn.BatchNorm2d if normalize else nn.Identity
        self.size = k * wide, -(-height // 4), -(-width // 4)
        self.dense = StackedLinear(k, *input_shape, size_of(self.size) // k)
        self.convolutions = nn.Sequential(
            norm(k * wide),
            nn.ReLU(),
            doubled(k * wide, k * narrow, groups=k),
            norm(k * narrow),
            nn.ReLU(),
            doubled(k * narrow, k * channels, groups=k),
            nn.ZeroPad2d((0, -(-width % 4), 0, -(-height % 4))),
        )

    def forward(self, z):
        made = self.convolutions(self.dense(z).transpose(0, 1).reshape(-1, *self.size))
        return made.unflatten(1, (len(z), -1)).transpose(0, 1)
