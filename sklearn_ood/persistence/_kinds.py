"""Every kind of value that a file can hold, and how it is written and read.

What is not in ``KINDS`` can be neither written nor read. Objects are made without a call of
their own code, and compiled ones are rebuilt from what they were made of.
"""

import math
from collections import OrderedDict

import numpy as np
import torch
from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss, HalfSquaredError
from sklearn.neighbors import BallTree, KDTree
from sklearn.tree._tree import Tree
from sklearn.utils import Bunch
from torch import nn

from sklearn_ood.nets._training import Net, restore_net, trained_state
from sklearn_ood.persistence._encoding import Kind, field
from sklearn_ood.persistence._names import not_allowed, refusal

CONTAINERS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
CONTAINERS |= {"size": torch.Size}
MAPPINGS = {"dict": dict, "ordered dict": OrderedDict, "bunch": Bunch}
SEARCH_TREES = {"KDTree": KDTree, "BallTree": BallTree}
METRICS = {
    "EuclideanDistance64": "euclidean",
    "ManhattanDistance64": "manhattan",
    "ChebyshevDistance64": "chebyshev",
    "MinkowskiDistance64": "minkowski",
}
LOSSES = {kind.__name__: kind for kind in (HalfBinomialLoss, HalfSquaredError)}
LOSSES["HalfMultinomialLoss"] = HalfMultinomialLoss
# safetensors has no strings, dates, records or foreign byte orders: their bytes are stored.
STORED = {np.dtype(kind + size) for kind in "iu" for size in "1248"}
STORED |= {np.dtype(code) for code in ("?", "f2", "f4", "f8")}


def _write_array(writer, array, where):
    by_column = array.flags.f_contiguous and not array.flags.c_contiguous
    dense = np.asarray(array.T if by_column else array, order="C")
    if array.dtype not in STORED:
        dense = np.frombuffer(dense.tobytes(), np.uint8)
    return {
        "array": writer.store(dense, where),
        "dtype": np.lib.format.dtype_to_descr(array.dtype),
        "shape": list(array.shape),
        "by_column": by_column,
    }


def _read_array(reader, node):
    name, shape = field(node, "array", str), tuple(field(node, "shape", list))
    dtype = _dtype(node.get("dtype"))
    if name not in reader.unread:
        raise ValueError(f"Got a file without the array {name!r} that it refers to.")
    stored = reader.unread.pop(name)
    if dtype not in STORED and stored.dtype == np.uint8:
        stored = np.frombuffer(stored.tobytes(), dtype)
    by_column = field(node, "by_column", bool)
    if stored.dtype != dtype or stored.size != math.prod(shape):
        raise ValueError(f"Got a file whose array {name!r} is not of the type that it says.")
    array = stored.reshape(shape[::-1] if by_column else shape).copy()
    return array.T if by_column else array


def _dtype(description):
    if isinstance(description, list):
        description = [
            tuple(tuple(entry) if isinstance(entry, list) else entry for entry in part)
            for part in description
        ]
    try:
        dtype = np.lib.format.descr_to_dtype(description)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Got a file with an array of dtype {description!r}.") from error
    if dtype.hasobject:
        raise ValueError("Got a file with an array of Python objects, which carries a pickle.")
    return dtype


def _write_objects(writer, array, where):
    return {"shape": list(array.shape), "items": writer.nodes(array.ravel().tolist(), where)}


def _read_objects(reader, node):
    items = reader.values(field(node, "items", list))
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        array[i] = item
    return array.reshape(field(node, "shape", list))


def _write_tensor(writer, tensor, where):
    values = tensor.detach().cpu()
    is_short = tensor.dtype == torch.bfloat16
    return {
        "values": writer.node(
            (values.view(torch.int16) if is_short else values).numpy(), where
        ),
        "bfloat16": is_short,
        "parameter": isinstance(tensor, nn.Parameter),
        "requires_grad": tensor.requires_grad,
    }


def _read_tensor(reader, node):
    tensor = torch.from_numpy(reader.instance(field(node, "values", dict), np.ndarray))
    tensor = tensor.view(torch.bfloat16) if field(node, "bfloat16", bool) else tensor
    requires_grad = field(node, "requires_grad", bool)
    if field(node, "parameter", bool):
        return nn.Parameter(tensor, requires_grad=requires_grad)
    return tensor.requires_grad_(requires_grad)


def _write_module(writer, module, where):
    return {
        "class": writer.names.name(type(module), where),
        "state": writer.state(vars(module), where),
    }


def _read_module(reader, node):
    kind = reader.of_class(node, nn.Module)
    module = object.__new__(kind)
    nn.Module.__setstate__(module, reader.state(node))
    return module


def _write_net(writer, net, where):
    state = writer.state(trained_state(net), where)
    return {"class": writer.names.name(type(net), where), "state": state}


def _read_net(reader, node):
    return restore_net(reader.of_class(node, Net), reader.state(node), reader.device)


def _write_decision_tree(writer, tree, where):
    _, sizes, state = tree.__reduce__()
    return {"sizes": writer.nodes(sizes, where), "state": writer.state(state, where)}


def _read_decision_tree(reader, node):
    n_features, n_classes, n_outputs = reader.values(field(node, "sizes", list))
    state = reader.state(node)
    nodes = state["nodes"]
    inner = np.flatnonzero(nodes["left_child"] != -1)
    for name in ("left_child", "right_child"):
        child = nodes[name][inner]
        if not ((inner < child) & (child < len(nodes))).all():
            raise ValueError("Got a file with a decision tree whose nodes are not in order.")
    split = nodes["feature"][inner]
    if state["node_count"] != len(nodes) or not ((split >= 0) & (split < n_features)).all():
        raise ValueError("Got a file with a decision tree of other features than it says.")
    tree = Tree(n_features, np.asarray(n_classes, dtype=np.intp), n_outputs)
    tree.__setstate__(state)
    return tree


def _write_search_tree(writer, tree, where):
    data, *_, metric, weights = tree.__getstate__()
    if type(metric).__name__ not in METRICS:
        raise TypeError(refusal(metric, f"{where}.dist_metric"))
    p, vector, *_ = metric.__getstate__()
    if METRICS[type(metric).__name__] == "minkowski" and vector.size:
        raise TypeError(refusal(metric, f"{where}.dist_metric"))
    return {
        "tree": type(tree).__name__,
        "data": writer.node(data, f"{where}.data"),
        "weights": writer.node(weights, f"{where}.weights"),
        "leaf_size": int(tree.__getstate__()[4]),
        "metric": METRICS[type(metric).__name__],
        "p": float(p),
    }


def _read_search_tree(reader, node):
    tree, metric = field(node, "tree", str), field(node, "metric", str)
    if tree not in SEARCH_TREES or metric not in METRICS.values():
        raise ValueError(not_allowed(f"{tree}(metric={metric!r})"))
    return SEARCH_TREES[tree](
        reader.value(node.get("data")),
        leaf_size=field(node, "leaf_size", int),
        metric=metric,
        sample_weight=reader.value(node.get("weights")),
        **({"p": field(node, "p", float)} if metric == "minkowski" else {}),
    )


def _write_random_state(writer, random_state, where):
    return {"state": writer.node(random_state.get_state(legacy=True), where)}


def _read_random_state(reader, node):
    name, key, position, *rest = reader.value(field(node, "state", dict))
    if name != "MT19937" or key.shape != (624,) or not 0 <= position <= 624:
        raise ValueError("Got a file with a random state that is none.")
    random_state = np.random.RandomState()
    random_state.set_state((name, key, position, *rest))
    return random_state


def _write_generator(writer, generator, where):
    return {"state": writer.node(generator.bit_generator.state, where)}


def _read_generator(reader, node):
    bits = np.random.PCG64()
    bits.state = reader.instance(field(node, "state", dict), dict)
    return np.random.Generator(bits)


def _write_loss(writer, loss, where):
    return {"loss": type(loss).__name__, "n_classes": loss.n_classes}


def _read_loss(reader, node):
    name = field(node, "loss", str)
    if name not in LOSSES:
        raise ValueError(not_allowed(name))
    if name == "HalfMultinomialLoss":
        return HalfMultinomialLoss(n_classes=field(node, "n_classes", int))
    return LOSSES[name]()


def _write_object(writer, value, where):
    return {
        "class": writer.names.name(type(value), where),
        "state": writer.state(vars(value), where),
    }


def _read_object(reader, node):
    kind = reader.of_class(node, object)
    if kind.__new__ is not object.__new__:
        raise ValueError(not_allowed(node["class"]))
    value = object.__new__(kind)
    vars(value).update(reader.state(node))
    return value


def _write_named_tuple(writer, value, where):
    return {
        "class": writer.names.name(type(value), where),
        "items": writer.nodes(value, where),
    }


def _read_named_tuple(reader, node):
    return reader.of_class(node, tuple)._make(reader.values(field(node, "items", list)))


def _container(name, kind):
    return Kind(
        lambda value: type(value) is kind,
        lambda writer, value, where: {"items": writer.nodes(value, where)},
        lambda reader, node: kind(reader.values(field(node, "items", list))),
    )


def _mapping(name, kind):
    def write(writer, value, where):
        return {
            "items": [
                [writer.node(key, f"{where} key"), writer.node(item, f"{where}.{key}")]
                for key, item in value.items()
            ]
        }

    def read(reader, node):
        items = field(node, "items", list)
        value = kind()
        value.update((reader.value(key), reader.value(item)) for key, item in items)
        return value

    return Kind(lambda value: type(value) is kind, write, read)


def _is_array(value):
    return type(value) in (np.ndarray, np.memmap)


KINDS = {
    **{name: _container(name, kind) for name, kind in CONTAINERS.items()},
    **{name: _mapping(name, kind) for name, kind in MAPPINGS.items()},
    "number": Kind(
        lambda value: type(value) is float,
        lambda writer, value, where: {"value": repr(value)},
        lambda reader, node: float(field(node, "value", str)),
    ),
    "array": Kind(
        lambda value: _is_array(value) and not value.dtype.hasobject, _write_array, _read_array
    ),
    "objects": Kind(
        lambda value: _is_array(value) and value.dtype == object, _write_objects, _read_objects
    ),
    "scalar": Kind(
        lambda value: isinstance(value, np.generic) and not value.dtype.hasobject,
        lambda writer, value, where: _write_array(writer, np.asarray(value), where),
        lambda reader, node: _read_array(reader, node)[()],
    ),
    "tensor": Kind(
        lambda value: type(value) in (torch.Tensor, nn.Parameter), _write_tensor, _read_tensor
    ),
    "name": Kind(
        lambda value: isinstance(value, (type, np.ufunc)) or hasattr(value, "__qualname__"),
        lambda writer, value, where: {"name": writer.names.name(value, where)},
        lambda reader, node: reader.names.find(field(node, "name", str)),
    ),
    "net": Kind(lambda value: isinstance(value, Net), _write_net, _read_net),
    "module": Kind(lambda value: isinstance(value, nn.Module), _write_module, _read_module),
    "decision tree": Kind(
        lambda value: type(value) is Tree, _write_decision_tree, _read_decision_tree
    ),
    "search tree": Kind(
        lambda value: type(value) in SEARCH_TREES.values(),
        _write_search_tree,
        _read_search_tree,
    ),
    "random state": Kind(
        lambda value: type(value) is np.random.RandomState,
        _write_random_state,
        _read_random_state,
    ),
    "random generator": Kind(
        lambda value: (
            type(value) is np.random.Generator and type(value.bit_generator) is np.random.PCG64
        ),
        _write_generator,
        _read_generator,
    ),
    "loss": Kind(lambda value: type(value) in LOSSES.values(), _write_loss, _read_loss),
    "named tuple": Kind(
        lambda value: isinstance(value, tuple) and hasattr(value, "_fields"),
        _write_named_tuple,
        _read_named_tuple,
    ),
    "object": Kind(
        lambda value: hasattr(value, "__dict__") and type(value).__new__ is object.__new__,
        _write_object,
        _read_object,
    ),
}
