"""The layers of a network: which there are, what they take and give, the last linear one."""

import sys
from contextlib import ExitStack, contextmanager, suppress
from difflib import get_close_matches
from threading import Lock, get_ident

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear

from sklearn_ood._response import unwrap
from sklearn_ood.nets._evaluation import some_rows

# Held to change torch's stance, and what takes it back; who wants it eager.
STANCE, EAGER = Lock(), ExitStack()
USERS: set[object] = set()


def last_linear(classifier):
    """Weight (n_classes, n_features) and bias (n_classes,) of the layer that a network ends in.

    Of a network that returns the mean of several such heads their inputs are side by side.

    Parameters
    ----------
    classifier : fitted classifier of this package around a network
        Also frozen, or last in a pipeline.

    Raises
    ------
    ValueError
        If the network's outputs are not those of its last linear layer, nor of several.

    Examples
    --------
    >>> from torch import nn
    >>> from sklearn_ood import SoftmaxClassifier
    >>> from sklearn_ood.detectors import last_linear
    >>> network = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> classifier = SoftmaxClassifier.from_module(network, [0, 1, 2], input_shape=2)
    >>> weight, bias = last_linear(classifier)
    """
    classifier, _ = unwrap(classifier)
    names, make_outputs = find_last_linear(classifier)
    if not make_outputs:
        raise ValueError(
            "Got a network whose outputs, one for each class, are not those of its last linear "
            f"layer {names[-1]!r}, nor the mean of several; pass one that ends in it."
        )
    layers = [find_layer(classifier.net_.module_, name) for name in names]
    weights = [layer.weight.detach().flatten(1).double().cpu().numpy() for layer in layers]
    bias = np.zeros(len(weights[0]))
    for layer in layers:
        if layer.bias is not None:
            bias += layer.bias.detach().double().cpu().numpy() / len(layers)
    return np.hstack(weights) / len(layers), bias


@torch.no_grad()
def find_last_linear(estimator):
    """Names of the linear layers whose mean are the outputs, else of the last; if there are."""
    module, n_features = estimator.net_.module_, estimator.n_features_in_
    rows = some_rows(n_features, estimator.net_.device)
    names = {layer: name for name, layer in layers_of(module).items()}
    layers = [layer for layer in names if isinstance(layer, (nn.Linear, nn.Conv2d))]
    calls, outputs = calls_of(layers, module, rows)
    last = [layer for layer in calls if isinstance(layer, nn.Linear)]
    n_classes = len(estimator.classes_)  # of which others have more outputs
    heads = [layer for layer, (_, given) in calls.items() if given[0].numel() == n_classes]
    ends = [heads, *([each] for each in heads)] if len(heads) > 1 else [heads]
    ends = [each for each in ends if _make(each, calls, outputs, n_classes)]
    # Whatever they give: else a ReLU or a bound follows, which these rows do not meet.
    ends = [each for each in ends if _make_any(each, module, rows, n_classes)]
    if not (last or ends):
        raise ValueError(
            f"Got a network without a linear layer that runs; pass {_one_of(names.values())} "
            "as layer, or the network as it was before it was compiled (in place: "
            "copy.deepcopy(network)), scripted, traced, exported or quantised."
        )
    return [names[layer] for layer in (ends or [last[-1:]])[-1]], bool(ends)


def _make_any(layers, module, rows, n_classes):
    """Whether outputs are what layers give, also where that is something else."""
    random = torch.Generator().manual_seed(0)

    def moved(given):
        noise = torch.randn(given.shape, generator=random, device="cpu")
        return given + 100 * noise.to(given)

    calls, outputs = calls_of(layers, module, rows, moved)
    return _make(layers, calls, outputs, n_classes, is_own=False)


def _make(layers, calls, outputs, n_classes, is_own=True):
    """Whether outputs are the mean of what layers give, but for a number a row."""
    given = [calls[layer][1].flatten(1).double() for layer in layers]
    if not given or (is_own and not all(_is_linear(layer, *calls[layer]) for layer in layers)):
        return False
    mean, outputs = sum(given) / len(given), outputs[:, :n_classes].double()
    made, outputs = mean.log_softmax(1), outputs.log_softmax(1)  # as may be given
    return made.shape == outputs.shape and torch.allclose(made, outputs, rtol=1e-4, atol=1e-5)


def _is_linear(layer, taken, given):
    """Whether a layer gives what its weights make of what it takes, which is one pixel."""
    weight, bias = layer.weight, layer.bias
    if not weight[0].numel() == weight.shape[1] == taken[0].numel():
        return False
    bias = None if bias is None else bias.double()
    made = linear(taken.flatten(1).double(), weight.flatten(1).double(), bias)
    error = (given.flatten(1).double() - made).abs().max()
    return error <= max(0.01, torch.finfo(given.dtype).eps ** 0.5) * made.abs().max()


def find_layer(module, name):
    """The layer with a name from ``layers_of``; a ValueError has the nearest names."""
    layers = layers_of(module)
    if name not in layers:
        nearest = get_close_matches(name, layers, len(layers) or 1, cutoff=0)
        raise ValueError(f"Got layer={name!r}, but expected {_one_of(nearest)}.")
    return layers[name]


def _one_of(names, most=10):
    """The first of some names, and how many others there are."""
    names = list(names)
    others = f" or of {len(names) - most} others in named_modules()" * (len(names) > most)
    return f"one of {names[:most]}{others}"


def layers_of(module):
    """All layers by name: of the user's network, which our modules have in ``network``."""
    named = getattr(module, "network", module).named_modules()
    return {name: layer for name, layer in named if name}


def calls_of(layers, module, batch, change=None):
    """What each layer last took and gave, in order, and the outputs; ``change`` alters each."""
    calls, own_thread = {}, get_ident()

    def note(layer, inputs, output):
        if get_ident() == own_thread:  # another may be at work on the same module
            output = change(output) if change else output
            calls.pop(layer, None)
            calls[layer] = _kept(inputs[0]), _kept(output)
            return output if change else None

    handles = []
    try:
        for layer in layers:
            with suppress(RuntimeError):  # of a scripted one
                handles.append(layer.register_forward_hook(note))
        with uncompiled():
            outputs = module(batch)
    finally:
        for handle in handles:
            handle.remove()
    return calls, outputs


@contextmanager
def uncompiled():
    """While networks run as they did before they were compiled, and so with new hooks."""
    own = object()
    # One stance for all threads: each for itself would leave it set by another.
    try:
        with STANCE:
            if not USERS and "torch._dynamo" in sys.modules:
                EAGER.enter_context(torch.compiler.set_stance("force_eager"))
            USERS.add(own)
        yield
    finally:
        with STANCE:
            USERS.discard(own)
            if not USERS:
                EAGER.close()


def _kept(values):
    """Values as they are now: the next layer may work in place."""
    if isinstance(values, tuple):
        return tuple(map(_kept, values))
    return values.clone() if isinstance(values, torch.Tensor) else values
