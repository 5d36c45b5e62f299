"""What skops does not write, or would restore without a check.

A part is written as the call ``Part(kind, *arguments)``, and read by that call, which gives
not a part but the value. Networks are parts of the estimator that holds them: it builds them
again from its parameters (``untrained_networks``), and the file only fills them.
"""

import io
import pickle
from contextvars import ContextVar
from copy import deepcopy
from functools import cache, reduce
from importlib import resources
from inspect import signature
from operator import attrgetter
from pkgutil import resolve_name
from typing import ClassVar, get_origin, get_type_hints

import numpy as np
import torch
from scipy.sparse import csc_array, csc_matrix, csr_array, csr_matrix
from sklearn.neighbors import BallTree, KDTree
from skorch import NeuralNet
from skorch.history import History

from sklearn_ood.nets._training import wrap_trained

# What the caller gave: networks, classes and functions by name, and the device to load to.
GIVEN: ContextVar[tuple[dict, str]] = ContextVar("given", default=({}, "cpu"))
# The exact list of nodes of skops, and of this package's classes ("own").
LISTED = frozenset(resources.files(__package__).joinpath("types.txt").read_text().splitlines())
SEARCH_TREES = {"KDTree": KDTree, "BallTree": BallTree}
SPARSE = {kind.__name__: kind for kind in (csr_matrix, csc_matrix, csr_array, csc_array)}


def require(condition, what, advice="it is damaged, or not to be trusted"):
    """Raise for a file that is damaged, or made to harm."""
    if not condition:
        raise ValueError(f"Got a file {what}: {advice}.")


class Part:
    """A value as the call that makes it."""

    def __new__(cls, kind, *arguments):
        """The value itself."""
        return MAKE[kind](*arguments)

    def __reduce__(self):
        return type(self), self.arguments


def part(*arguments):
    """The part itself, to be written."""
    made = object.__new__(Part)
    made.arguments = arguments
    return made


class Recipe:
    """A network parameter whose class the caller gives: made, with its weights, when asked."""

    def __init__(self, build, weights):
        self.build, self.weights, self.network = build, weights, self

    def __call__(self, n_features_in, n_outputs):
        self.network = filled(self.build(n_features_in, n_outputs), self.weights)
        return deepcopy(self.network)


def filled(network, weights):
    """The network with the weights of a file, which must be exactly its own."""
    tensors = {name: torch.tensor(values) for name, values in weights.items()}
    network.load_state_dict(tensors, strict=True)
    return network


def as_array(tensor):
    """A tensor as an array; numpy has no bfloat16, which float32 holds exactly."""
    plain = tensor.detach().cpu()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()


def weights_of(network):
    """State of a network as arrays."""
    return {name: as_array(tensor) for name, tensor in network.state_dict().items()}


def untrained_networks(estimator, device):
    """What the estimator builds; on "meta" nothing is allocated, however wide it is."""
    with torch.random.fork_rng(devices=[]), torch.device(device):
        return getattr(estimator, "untrained_networks", dict)()


def shapes(weights):
    """Shapes of tensors or arrays by name."""
    return {name: values.shape for name, values in weights.items()}


def state_of(estimator):
    """Attributes of an object of this package; its networks' weights and histories."""
    networks, state = {}, dict(vars(estimator))
    for path in untrained_networks(estimator, "meta"):
        held, history = attrgetter(path)(estimator), None
        if isinstance(held, NeuralNet):
            held, history = held.module_, list(held.history_)
        networks[path] = [weights_of(held), history]
        state.pop(path.partition(".")[0], None)
    check_own(estimator, state, networks)
    return state, networks


@cache
def own_classes():
    """The classes of this package that a file may hold, by name."""
    names = [line.removeprefix("own ") for line in LISTED if line.startswith("own ")]
    return {name: resolve_name(name) for name in names}


def known_names():
    """Those classes, and what the caller gives, by name."""
    return own_classes() | GIVEN.get()[0]


@cache
def declared(kind):
    """The attributes that a class of this package declares: parameters, and annotated ones."""
    hints = get_type_hints(kind).items()
    own = {name: hint for name, hint in hints if get_origin(hint) is not ClassVar}
    return own | dict.fromkeys(signature(kind).parameters, object)


def check_own(made, state, networks):
    """Raise for attributes that its class does not declare, weights of other networks."""
    kind, advice = type(made), "annotate it there, or name its network in untrained_networks"
    known = declared(kind) if kind in own_classes().values() else dict.fromkeys(state, object)
    for name, value in state.items():
        what = f"with the {type(value).__name__} {name}, which it does not declare"
        require(isinstance(value, known.get(name, ())), f"of {kind.__name__} {what}", advice)
    untrained = untrained_networks(made, "meta").items()
    built = {path: shapes(network.state_dict()) for path, network in untrained}
    fits = built == {path: shapes(weights) for path, (weights, _) in networks.items()}
    what = f"of {kind.__name__} with weights of other networks than its parameters describe"
    require(fits, what, "set them as they were in fit")


def restore_own(name, state, networks):
    """An object of this package, or of a class that the caller gives."""
    kind, (_, device) = known_names()[name], GIVEN.get()
    made = object.__new__(kind)
    vars(made).update(state)
    check_own(made, state, networks)
    for path, network in untrained_networks(made, "cpu").items():
        weights, history = networks[path]
        network = filled(network, weights).to(device).eval()
        if history is not None:
            network = wrap_trained(network, device=device)
            network.history_ = History(history)
        *holders, last = path.split(".")
        vars(reduce(getattr, holders, made))[last] = network
    recipes = {key: value.network for key, value in state.items() if isinstance(value, Recipe)}
    vars(made).update(recipes)
    return made


def restore_given(name, weights=None):
    """What the caller hands to load: as it is, or a network with its first weights."""
    given = GIVEN.get()[0][name]
    if weights is None:
        return given
    is_network = isinstance(given, torch.nn.Module)
    return filled(deepcopy(given), weights) if is_network else Recipe(given, weights)


def restore_sparse(kind, data, indices, indptr, shape):
    """A matrix whose indices lie inside it."""
    matrix = SPARSE[kind]((data, indices, indptr), shape=shape)
    matrix.check_format(full_check=True)
    return matrix


def restore_search_tree(kind, data, options):
    """A KDTree or BallTree, built again from its rows."""
    is_plain = np.isfinite(data).all() and options["metric"] != "pyfunc"
    require(is_plain, "with a search tree of NaN, or whose metric is called")
    return SEARCH_TREES[kind](data, **options)


MAKE = {
    "own": restore_own,
    "given": restore_given,
    "tensor": lambda values, dtype: torch.tensor(values).to(getattr(torch, dtype)),
    "sparse": restore_sparse,
    "search tree": restore_search_tree,
}


class Copier(pickle.Pickler):
    """Puts parts in place of what skops does not write."""

    def reducer_override(self, value):
        """How a value is copied; NotImplemented is as ever."""
        kind, names = type(value), self.names
        name = names.get(id(value), getattr(value, "__qualname__", ""))
        if isinstance(value, torch.nn.Module):
            return part, ("given", kind.__qualname__, weights_of(value))
        if id(value) in names or "<" in name:  # a lambda, or defined in a function
            return part, ("given", name)
        if id(kind) in names:
            return part, ("own", names[id(kind)], *state_of(value))
        if kind is torch.Tensor:
            return part, ("tensor", as_array(value), str(value.dtype).removeprefix("torch."))
        if kind in SEARCH_TREES.values():
            return part, ("search tree", kind.__name__, *rows_and_options(value))
        if kind in SPARSE.values():
            content = value.data, value.indices, value.indptr, value.shape
            return part, ("sparse", kind.__name__, *content)
        if kind is np.memmap:
            return np.array, (np.asarray(value),)
        return NotImplemented


def with_parts(estimator):
    """A copy that shares the arrays; pickle walks through it, and nothing leaves the memory."""
    stream, buffers = io.BytesIO(), []
    copier = Copier(stream, protocol=5, buffer_callback=buffers.append)
    copier.names = {id(value): name for name, value in known_names().items()}
    copier.dump(estimator)
    return pickle.loads(stream.getbuffer(), buffers=buffers)


def rows_and_options(tree):
    """What a KDTree or BallTree is built from again."""
    data, _, _, _, leaf_size, *_, metric, weights = tree.__getstate__()
    p, vector, *_ = metric.__getstate__()
    name = type(metric).__name__.removesuffix("Distance64").lower()
    options = {"leaf_size": leaf_size, "metric": name, "sample_weight": weights}
    if name == "minkowski":
        require(not vector.size, "with a search tree of weighted features", "scale them before")
        options["p"] = p
    return data, options
