"""What skops does not write, or restores without a check: written as a call of ``Part``."""

import io
import pickle
from collections import OrderedDict
from contextvars import ContextVar
from copy import deepcopy
from functools import partial, reduce
from operator import attrgetter

import numpy as np
import torch
from scipy.interpolate import BSpline
from scipy.sparse import csc_array, csc_matrix, csr_array, csr_matrix
from scipy.spatial import cKDTree
from sklearn.neighbors import BallTree, KDTree
from sklearn.utils._metadata_requests import MetadataRequest, MethodMetadataRequest
from skorch import NeuralNet
from skorch.history import History

from sklearn_ood.nets._autoencoder import Autoencoder
from sklearn_ood.nets._evaluation import device_of, some_rows
from sklearn_ood.nets._modules import InputShape, size_of
from sklearn_ood.nets._training import Seeded, wrap_trained
from sklearn_ood.persistence import _reader
from sklearn_ood.persistence._reader import require, require_listed

# What the caller gave: networks, classes and functions by name.
GIVEN: ContextVar[dict] = ContextVar("given")
DICTIONARIES = dict, OrderedDict
CALL = attrgetter("func", "args", "keywords")
# Share of the largest output by which a network may answer otherwise on another machine.
NEAR = 0.01
LIKE_IT = (
    "pass the network itself in modules, or a callable that makes one like it; what it "
    "computes with is stored where it is a parameter, a buffer or get_extra_state"
)
OWN = {line.rpartition(".")[2]: line[4:] for line in _reader.LISTED if line.startswith("own ")}


class Part(tuple):
    """A value as the call that makes it, which skops takes for a named tuple."""

    _fields = ()

    def __new__(cls, kind, *arguments):
        return MAKE[kind](*arguments)


# All is made on torch's default device; on "meta", to check a file, nothing is allocated.
def restore_own(name, state, networks):
    """An object of this package, or of a class that the caller gives."""
    kind = named(name)
    require_listed(isinstance(kind, type) and not issubclass(kind, torch.nn.Module), name)
    made = _reader.shadow(kind, state)
    with Seeded(0):
        built = getattr(made, "untrained_networks", dict)()
    require(built.keys() == networks.keys(), f"of {name} with other networks")
    for path, network in built.items():
        weights, history, said = networks[path]
        fill(network.eval(), weights, said, name)
        if history is not None:
            network = wrap_trained(network, device=str(torch.get_default_device()))
            network.history_ = History(history)
        *holders, last = path.split(".")
        vars(reduce(getattr, holders, made))[last] = network
    return made


def fill(network, weights, said, name):
    """Weights into a network that a caller may have made: like the one that was saved."""
    advice = (LIKE_IT,) if GIVEN.get() else ()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        require(not advice, f"of {name} with a network of other layers ({error})", *advice)
        raise
    both = weights, network.state_dict()
    before, now = ([getattr(each[path], "dtype", None) for path in weights] for each in both)
    require(before == now, f"of {name} with a network of another type of numbers", *advice)
    is_real = said and device_of(network).type != "meta"
    for now, before in zip(answers(network), said, strict=True) if is_real else ():
        is_so = torch.allclose(now, before, NEAR, NEAR * float(before.abs().max()))
        require(is_so, f"of {name} with a network that answers otherwise", *advice)


def answers(network):
    """What the parts of a network that a caller may make say of some rows."""
    parts = [each for each in network.modules() if isinstance(each, InputShape | Autoencoder)]
    rows = (some_rows(size_of(each.input_shape), device_of(each)) for each in parts)
    with torch.no_grad(), torch.device("cpu"):
        return [part(some).cpu() for part, some in zip(parts, rows, strict=True)]


def name_of(value):
    """Of a class or a function its own, of an object its class's, of a partial both's."""
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{name}({name_of(value.func)})" if isinstance(value, partial) else name


def is_given(value, name):
    """Whether the caller gave it; a partial is copied by clone, and is what it calls."""
    given = GIVEN.get().get(name)
    if isinstance(value, partial) and isinstance(given, partial):
        return CALL(value) == CALL(given)
    return given is value


def named(name):
    """The class of that name: the caller's, or one of this package; None if there is none."""
    return GIVEN.get().get(name) or (_reader.resolve(OWN[name]) if name in OWN else None)


def restore_given(name, weights=None):
    require_listed(name in GIVEN.get(), name)
    given = GIVEN.get()[name]
    if weights is None or not isinstance(given, torch.nn.Module):
        return given
    network = deepcopy(given).to(torch.get_default_device())
    network.load_state_dict(weights)
    return network


def restore_dictionary(kind, keys, values):
    return kind(zip(_reader.hashed(keys), values, strict=True))


def array_and_type(tensor):
    """What a tensor is made of; numpy has no bfloat16, and float32 holds it exactly."""
    plain = tensor.detach().cpu()
    plain = plain.float() if plain.dtype == torch.bfloat16 else plain
    return plain.numpy(), str(tensor.dtype).removeprefix("torch.")


def restore_tensor(values, dtype):
    return torch.tensor(values, dtype=getattr(torch, dtype))


def restore_matrix(kind, *content):
    """A sparse matrix whose indices lie inside it."""
    require(max(content[-1]) <= _reader.MAX_WIDTH, "with an endless matrix")
    matrix = kind(content[:-1], shape=content[-1])
    matrix.check_format(full_check=True)
    return matrix


def rows_and_options(tree):
    data, _, _, _, leaf_size, *_, metric, weights = tree.__getstate__()
    p, vector, *_ = metric.__getstate__()
    name = type(metric).__name__.removesuffix("Distance64").lower()
    options = {"p": p} | ({"w": vector} if vector.size else {})
    return data, leaf_size, name, weights, options if name == "minkowski" else {}


def restore_search_tree(kind, data, leaf_size, metric, weights, options):
    """A KDTree or BallTree, built again from finite rows; no function is its metric."""
    is_metric = isinstance(metric, str) and "func" not in options and options.get("p", 2) > 0
    require(is_metric, "with a metric that is called, or none")
    require(weights is None or weights.shape == (len(data),), "with other rows than weights")
    return kind(data, leaf_size, metric, weights, **options)


def restore_rows(data, leafsize):
    """A cKDTree, which would look for neighbours among no rows."""
    require(len(data), "with a search tree of no rows")
    return cKDTree(data, leafsize)


# What a value of a class is made of, and how it is made.
CALLS: dict[type, tuple] = {
    torch.Tensor: (array_and_type, restore_tensor),
    slice: (attrgetter("start", "stop", "step"), slice),
    BSpline: (attrgetter("t", "c", "k", "extrapolate"), BSpline),
    cKDTree: (attrgetter("data", "leafsize"), restore_rows),
}
for kind in KDTree, BallTree:
    CALLS[kind] = rows_and_options, partial(restore_search_tree, kind)
for kind in csr_matrix, csc_matrix, csr_array, csc_array:
    content = attrgetter("data", "indices", "indptr", "shape")
    CALLS[kind] = content, partial(restore_matrix, kind)
MAKE = {kind.__name__: make for kind, (_, make) in CALLS.items()}
MAKE |= {kind.__name__: partial(restore_dictionary, kind) for kind in DICTIONARIES}
MAKE |= {"own": restore_own, "given": restore_given}


class Copier(pickle.Pickler):
    """Puts parts in place of what skops does not write."""

    def persistent_id(self, value):
        """The part that a dictionary is whose keys are not all text; None is as ever."""
        kind = type(value)
        is_odd = kind in DICTIONARIES and not set(map(type, value)) <= {str}
        return (kind.__name__, list(value), [*value.values()]) if is_odd else None

    def reducer_override(self, value):
        """How a value is copied; NotImplemented is as ever."""
        kind, name = type(value), name_of(value)
        if isinstance(value, np.memmap):
            return np.asarray(value).__reduce_ex__(5)
        if callable(getattr(value, "to_numpy", None)):
            what, advice = f"where a part is a {kind.__module__}.{kind.__name__}", "to_numpy()"
            require(False, what, f"set that parameter to its {advice}, and fit again")
        if isinstance(value, MetadataRequest | MethodMetadataRequest):
            name = value.owner if isinstance(value.owner, str) else type(value.owner).__name__
            return object.__new__, (kind,), vars(value) | {"owner": name}  # which holds this
        if isinstance(value, torch.nn.Module):
            arguments = "given", kind.__qualname__, value.state_dict()
        elif is_given(value, name):
            arguments = "given", name
        elif isinstance(value, partial) and named(called := name_of(value.func)):
            what = f"where a part is a functools.partial of {called}"
            require(False, what, "pass that partial itself in modules")
        elif named(kind.__qualname__) is kind:
            arguments = "own", kind.__qualname__, *state_of(value)
        elif kind in CALLS:
            arguments = kind.__name__, *CALLS[kind][0](value)
        else:
            is_found = "<" not in getattr(value, "__qualname__", "")
            require_listed(is_found, name)  # else a lambda, or local to a function
            return NotImplemented
        return tuple.__new__, (Part, arguments)


class Copies(pickle.Unpickler):
    """Makes the copies. A subclass: Python 3.13.0 sets no function on an Unpickler."""

    def persistent_load(self, part):
        return tuple.__new__(Part, part)


def state_of(estimator):
    """Attributes of an object of this package; its networks' weights and histories."""
    networks, state = {}, dict(vars(estimator))
    for path in getattr(estimator, "untrained_networks", dict)():
        held, history = attrgetter(path)(estimator), None
        if isinstance(held, NeuralNet):
            held, history = held.module_, list(held.history_)
        networks[path] = held.state_dict(), history, said_by(held)
        state.pop(path.partition(".")[0], None)
    return state, networks


def said_by(network):
    """The answers to compare with, where a caller's own part may give others; else none."""
    said, again = (answers(network) if GIVEN.get() else [] for _ in range(2))
    return said if all(map(torch.equal, said, again)) else []


def with_parts(estimator):
    """A copy that shares the arrays; pickle walks through it, and nothing leaves the memory."""
    stream, buffers = io.BytesIO(), []
    Copier(stream, protocol=5, buffer_callback=buffers.append).dump(estimator)
    stream.seek(0)
    return Copies(stream, buffers=buffers).load()
