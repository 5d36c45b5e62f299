"""The networks known by name, and the one way from a ``module`` parameter to a network."""

import warnings
from collections import OrderedDict
from contextlib import contextmanager, suppress
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from sklearn_ood._parameters import whole_numbers
from sklearn_ood.nets import _evaluation

# Share of a column's standard deviation that float32 may round away.
LOST = 0.01
# What may not be squared in float64.
LARGE = 1e150
FAR = 2.0**40  # from 1
# Rows that whitening is learned from.
MAX_ROWS = 20_000
# Of the mean variance: rounding, which is not blown up.
NO_VARIANCE = 1e-8
MISTAKES = (TypeError, AttributeError)  # where it wants another number or kind of inputs
HALF = (torch.float16, torch.bfloat16)  # which numpy has not, or not in full


def build_module(module, n_outputs, *, input_shape, hidden_layer_sizes=(128,), dropout=0.0):
    """The network that an estimator's ``module`` parameter describes."""
    if isinstance(module, nn.Module):
        network = _evaluation.copied(module)
    elif callable(module):
        network = _evaluation.made_by("module", module, size_of(input_shape), n_outputs)
    elif isinstance(module, str) and module in ("auto", *NETWORKS):
        network = _named_module(module, n_outputs, input_shape, hidden_layer_sizes, dropout)
    else:
        raise (ValueError if isinstance(module, str) else TypeError)(
            f"Got module={module!r}, but expected 'auto' or one of {sorted(NETWORKS)}, an "
            "nn.Module or a callable (n_features_in, n_outputs) -> nn.Module."
        )
    check_outputs(network, input_shape, n_outputs)
    return network


def _is_training(network):
    return getattr(network, "training", False)  # which a frozen one has not


def check_outputs(network, input_shape, n_outputs, *, name="module"):
    """Raise unless a user's network maps two inputs of ``input_shape`` to (2, n_outputs)."""
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"Got a {name} callable that returned {type(network).__name__}, not an nn.Module."
        )
    training = _is_training(network)
    rows = _evaluation.some_rows(size_of(input_shape), _evaluation.device_of(network))
    try:
        with taking(input_shape, name), torch.no_grad():
            evaluated = InputShape(network, input_shape).eval()
            outputs, again = evaluated(rows), evaluated(rows[:1].repeat(2, 1))
            is_kept = _evaluation.keeps_inputs(evaluated, rows[:1].expand(2, -1))
    finally:
        InputShape(network, input_shape).train(training)
    if not is_kept:
        raise ValueError(
            f"Got a {name} that changes its inputs in place, and with them X; let its first "
            "layers make copies: x = x - mean, not x -= mean, and nn.ReLU(inplace=False)."
        )
    _check_shape(outputs, input_shape, n_outputs, name)
    if name == "module" and not outputs.is_meta:
        _warn_of_outputs(outputs, again)


@contextmanager
def taking(input_shape, name):
    """While a user's network is tried; its errors are those of the inputs' shape."""
    try:
        yield
    except (torch.OutOfMemoryError, NoTensorError):
        raise
    except (RuntimeError, ValueError, AssertionError, LookupError, *MISTAKES) as error:
        is_last = len(input_shape) == 3 and input_shape[2] < min(input_shape[:2])
        raise ValueError(
            f"Got a {name} that cannot take inputs of shape {tuple(input_shape)}: {error} "
            "Check input_shape and the network's first layers, and that it takes nothing else"
            f"{'; channels come first, (C, H, W)' * is_last}."
        ) from error


def _check_shape(outputs, input_shape, n_outputs, name):
    if tuple(outputs.shape) != (2, n_outputs):
        of_one = "; of one logit z for the second class make torch.stack([0 * z, z], dim=1)"
        is_one = name == "module" and outputs.numel() == n_outputs == 2
        raise ValueError(
            f"Got a {name} that maps 2 inputs of shape {tuple(input_shape)} to outputs of "
            f"shape {tuple(outputs.shape)}, but expected (2, {n_outputs})"
            f"{'; one for each class of y or classes' if name == 'module' else ''}"
            f"{of_one if is_one else ''}."
        )


def _warn_of_outputs(outputs, again):
    """Warn of outputs that are not those of the row alone, and of probabilities."""
    if not torch.allclose(outputs[0], again[0], rtol=1e-2, atol=1e-2, equal_nan=True):
        warnings.warn(
            "Got a network that answers at random, or to a row by the rows beside it, also in "
            "evaluation; look for dropout or batch normalisation that is always on.",
            stacklevel=4,
        )
    sums_are_one = ((outputs.sum(1) - 1).abs() < 1e-3).all()
    if outputs.shape[1] > 1 and (outputs >= 0).all() and sums_are_one:
        warnings.warn(
            "Got a network whose outputs are probabilities, but expected logits, of which the "
            "probabilities are the softmax; leave the network's last softmax out.",
            stacklevel=4,
        )


def ascending(classes, name, *, at_least=1):
    """The labels of a network's classes, in the order in which scikit-learn keeps them."""
    classes = np.asarray(classes)
    if classes.ndim != 1 or len(classes) < at_least or not (classes[:-1] < classes[1:]).all():
        raise ValueError(
            f"Got classes={classes.tolist()}, but expected at least {at_least} distinct labels "
            "in ascending order: with order = numpy.argsort(classes) pass classes[order], and "
            f"a {name} whose classes are in this order, such as outputs[:, order]."
        )
    return classes


def check_generation(network, input_shape, output_shape, *, name):
    """Raise unless a user's network maps inputs to as many numbers as the shape holds."""
    if isinstance(network, nn.Module):
        network = nn.Sequential(network, nn.Flatten()).train(_is_training(network))
    check_outputs(network, input_shape, size_of(output_shape), name=name)


class Scaling(nn.Module):
    """Float32 rows of float64 ones, less ``center`` and divided by ``scale``."""

    def __init__(self, center, scale):
        super().__init__()
        self.register_buffer("center", torch.tensor(center, device="cpu"))
        self.register_buffer("scale", torch.tensor(scale, device="cpu"))

    def forward(self, rows):
        largest = torch.finfo(torch.float32).max
        return ((rows.double() - self.center) / self.scale).clamp(-largest, largest).float()

    def inverse(self, rows):
        return self.center + self.scale * rows


def units_of(rows):
    """Center and scale for columns that float32 would lose, 0 and 1 for others; or None."""
    if rows.dtype in (np.float32, torch.float32):
        return None
    rows = rows.cpu().numpy() if isinstance(rows, torch.Tensor) else rows
    spread, largest, varies, is_lost = _spread_in_single(rows)
    spread = np.where(varies, spread, 1.0)
    is_lost |= (largest > FAR) | (spread < 1 / FAR)
    if not is_lost.any():
        return None
    return np.where(is_lost, rows.mean(axis=0), 0.0), np.where(is_lost, spread, 1.0)


def as_single(rows):
    """Rows in float32, or a ValueError where their differences would be lost."""
    if rows.dtype == np.float32 or len(rows) < 2:
        return rows.astype(np.float32, copy=False)
    spread, largest, varies, lost = _spread_in_single(rows)
    lost |= varies & (spread < np.finfo(np.float32).tiny)
    lost |= largest > np.finfo(np.float32).max
    if lost.any():
        raise ValueError(
            f"Got X whose columns {np.flatnonzero(lost).tolist()} lose their differences in "
            "float32; shift and scale them first, for instance with StandardScaler."
        )
    return rows.astype(np.float32)


def _spread_in_single(rows):
    """Spread and largest value of each column; if it varies, and if float32 would lose that."""
    largest = np.abs(rows).max(axis=0)
    unit = np.where(largest > LARGE, largest, 1.0)  # or squares would overflow
    spread = (rows / unit if (unit > 1).any() else rows).std(axis=0) * unit
    varies = spread > len(rows) * np.finfo(np.float64).eps * largest
    lost = varies & (np.finfo(np.float32).eps * largest > LOST * spread)
    return spread, largest, varies, lost


class Whitened(nn.Module):
    """Standardised columns and, beside them, whitened ones: (n, 2 * n_features)."""

    # Where columns are nearly functions of one another, what they share hides what tells rows
    # apart; and a net learns slowly from what is small.
    def __init__(self, n_features):
        super().__init__()
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("weight", torch.zeros(2 * n_features, n_features))

    def forward(self, rows):
        return nn.functional.linear(rows - self.center, self.weight)

    def learn(self, rows, seed):
        """Take means, deviations and axes from (at most ``MAX_ROWS``) rows."""
        order = np.random.RandomState(seed).permutation(len(rows))[:MAX_ROWS]
        rows = _evaluation.take_batch(rows, torch.from_numpy(order), torch.device("cpu"))
        rows = rows.double().numpy()
        center, scale = rows.mean(axis=0), _scale(rows.std(axis=0))
        white = white_axes((rows - center) / scale) / scale[:, None]
        self.center.copy_(torch.from_numpy(center))
        self.weight.copy_(torch.from_numpy(np.vstack([np.diag(1 / scale), white.T])))


def white_axes(rows):
    """Principal axes of every other row, divided by the others' deviations along them."""
    # Along an axis that few rows determine, others vary more than these.
    first, second = rows[::2], rows[1::2]
    _, axes = np.linalg.eigh(first.T @ first)
    return axes / _scale((second @ axes).std(axis=0))


def _scale(deviations):
    """Standard deviations to divide by: 1 where there is none."""
    least = np.sqrt(NO_VARIANCE * np.square(deviations).mean())
    return np.where(deviations > least, deviations, 1.0)


class NoTensorError(TypeError):
    """Of a network that takes its inputs and returns something else."""


class InputShape(nn.Module):
    """Takes flat rows and hands them to ``network`` in the shape that it wants."""

    def __init__(self, network, input_shape, names=("logits",)):
        super().__init__()
        self.network = dict(network.named_children()).get("_orig_mod", network)
        self.input_shape, self.names = tuple(input_shape), names

    def train(self, mode=True):
        with suppress(NotImplementedError):  # of a network that was exported
            super().train(mode)
        return self

    def forward(self, rows):
        """Outputs of float32 or float64, whatever type the weights have."""
        if _is_training(self.network) and not self.training:  # its owner trains it, too
            self.eval()
        inputs = rows.reshape(rows.shape[0], *self.input_shape)
        inputs = inputs.to(_evaluation.number_type(self.network, inputs.dtype))
        outputs = self.outputs(inputs)
        for name in self.names:
            if getattr(outputs, name, None) is not None:
                outputs = getattr(outputs, name)
        found = outputs[0] if isinstance(outputs, (tuple, list)) and outputs else outputs
        if isinstance(found, torch.Tensor):
            return found.float() if found.dtype in HALF else found
        raise NoTensorError(
            f"Got a network that returns {type(outputs).__name__}, but expected a tensor of "
            "logits or features, a tuple that begins with one, or an object that has it in "
            f".{' or .'.join(self.names)}; wrap it."
        )

    def outputs(self, inputs):
        """What the network returns."""
        return self.network(inputs)


def mlp(input_shape, n_outputs, hidden_layer_sizes=(128,), dropout=0.0):
    return _network([], input_shape, n_outputs, hidden_layer_sizes, dropout)


def small_cnn(input_shape, n_outputs, hidden_layer_sizes=(128,), dropout=0.0):
    """Two 3x3 convolutions (32 and 64 channels), each pooled by 2, then dense layers.

    A side of one pixel stays, such as that of a series (C, 1, T).
    """
    conv, before, sides = [], input_shape[0], input_shape[1:]
    for width in (32, 64):
        pool = tuple(2 if _channels_are_last(input_shape) else min(2, side) for side in sides)
        conv += _conv_block(before, width, 3, pool=pool)
        before, sides = width, [side // by for side, by in zip(sides, pool, strict=True)]
    return _network(conv, input_shape, n_outputs, hidden_layer_sizes, dropout)


def cnn(input_shape, n_outputs):
    """The network of Spigler: two 5x5 convolutions (32 and 64 channels), dense 400."""
    conv = [*_conv_block(input_shape[0], 32, 5), *_conv_block(32, 64, 5)]
    return _network(conv, input_shape, n_outputs, (400,))


def vgg13(input_shape, n_outputs):
    """VGG with 13 layers and no batch normalisation (Lee et al., figure 6)."""
    conv = []
    for before, width in pairwise((input_shape[0], 64, 128, 256, 512, 512)):
        conv += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
        conv += _conv_block(width, width, 3)
    return _network(conv, input_shape, n_outputs, (512, 512), 0.5)


def alexnet(input_shape, n_outputs):
    """AlexNet for 32x32 images (Lee et al., appendix B)."""
    conv = [
        *_conv_block(input_shape[0], 64, 5, pool=3, stride=2),
        *_conv_block(64, 192, 5, pool=3, stride=2),
        *_conv_block(192, 384, 3),
        *_conv_block(384, 256, 3, ceil_mode=True),
        *_conv_block(256, 256, 3, ceil_mode=True),
    ]
    return _network(conv, input_shape, n_outputs, (2048, 1024), 0.5)


NETWORKS = {f.__name__: f for f in (mlp, small_cnn, cnn, vgg13, alexnet)}


def _named_module(name, n_outputs, input_shape, hidden_layer_sizes, dropout):
    is_image = len(input_shape) == 3
    if name == "auto":
        name = "small_cnn" if is_image else "mlp"
    if name != "mlp" and not is_image:
        raise ValueError(
            f"Got module={name!r} for rows of shape {tuple(input_shape)}, but this network "
            "needs images; pass input_shape=(C, H, W)."
        )
    if name in ("mlp", "small_cnn"):
        return NETWORKS[name](input_shape, n_outputs, hidden_layer_sizes, dropout)
    return NETWORKS[name](input_shape, n_outputs)


def _network(conv, input_shape, n_outputs, hidden_layer_sizes, dropout=0.0):
    """Children ``conv``, if any, ``hidden``: all dense layers but the last, and ``output``."""
    parts = OrderedDict(conv=nn.Sequential(*conv), flatten=nn.Flatten())
    hidden = []
    sizes = whole_numbers(hidden_layer_sizes, "hidden_layer_sizes")
    widths = _size_after(parts["conv"], input_shape), *sizes
    for before, after in pairwise(widths):
        hidden += [nn.Linear(before, after), nn.ReLU()]
        hidden += [nn.Dropout(dropout)] if dropout else []
    parts |= {"hidden": nn.Sequential(*hidden), "output": nn.Linear(widths[-1], n_outputs)}
    if not conv:
        del parts["conv"]
    return nn.Sequential(parts)


def _conv_block(n_inputs, n_outputs, kernel_size, pool=2, **pooling):
    conv = nn.Conv2d(n_inputs, n_outputs, kernel_size, padding=kernel_size // 2)
    return conv, nn.ReLU(), nn.MaxPool2d(pool, **pooling)


def halved(n_inputs, n_outputs, **options):
    return nn.Conv2d(n_inputs, n_outputs, 4, 2, 1, **options)


def doubled(n_inputs, n_outputs, **options):
    return nn.ConvTranspose2d(n_inputs, n_outputs, 4, 2, 1, **options)


def _size_after(conv, input_shape):
    """Width of the flattened output of ``conv``, or an error for too small images."""
    try:
        with torch.no_grad():
            return conv(torch.zeros(1, *input_shape)).numel()
    except RuntimeError as error:
        hint = "take 'small_cnn' or 'mlp', or larger images (vgg13 needs 32x32)"
        if _channels_are_last(input_shape):
            hint = "channels come first: X.transpose(0, 3, 1, 2)"
        size = tuple(input_shape)
        raise ValueError(
            f"Got input_shape={size}, images too small for this network ({error}); {hint}."
        ) from error


def _channels_are_last(input_shape):
    return input_shape[-1] <= 4 < min(input_shape[:-1])


def size_of(shape):
    return int(torch.Size(shape).numel())
