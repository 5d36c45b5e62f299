"""A file's description, read as plain data and checked before skops makes anything of it."""

import io
import json
import math
from functools import cache
from importlib import import_module
from inspect import signature

import numpy as np
from torch import nn

from sklearn_ood.persistence._invariants import NODES, STATE
from sklearn_ood.persistence._parts import (
    GIVEN,
    LISTED,
    MAKE,
    declared,
    own_classes,
)

MAX_PARTS, MAX_DEPTH, MAX_WIDTH, MAX_LAYERS = 2**20, 200, 2**24, 1000
LITERALS = (type(None), bool, int, float, str)
PART = "sklearn_ood.persistence._parts.Part"
NAMES = {"__class__", "__module__", "__loader__", "__id__"}


def require(condition, what):
    """Raise that a file is damaged, or made to harm."""
    if not condition:
        raise ValueError(f"Got a file with {what}: it is damaged, or not to be trusted.")


class Reader:
    """Reads nodes as plain data: an object as its state, a part as its arguments.

    Parameters
    ----------
    members : dict
        Bytes of the file's arrays by name; ``unread`` are those that no node used.
    """

    def __init__(self, members):
        self.members, self.unread = members, set(members)
        self.names, self.shared, self.count = set(), {}, 0

    def __call__(self, value, where="estimator", depth=0):
        """Plain data of whatever JSON holds; ``where`` is what errors call it."""
        self.count += 1
        require(depth < MAX_DEPTH and self.count < MAX_PARTS, "too many or too deep parts")
        if isinstance(value, list):
            return [self(item, f"{where}.{i}", depth + 1) for i, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"__id__"}:  # a part that was read before, and is whole
            plain, size = self.shared[value["__id__"]]
            self.count += size
        elif "__loader__" in value:
            before, plain = self.count, self.node(value, where, depth)
            require(value.get("__id__") not in self.shared, "two parts of one id")
            if "__id__" in value:
                self.shared[value["__id__"]] = plain, self.count - before
        else:
            plain = {
                key: self(item, f"{where}.{key}", depth + 1) for key, item in value.items()
            }
        return plain

    def node(self, node, where, depth):
        """Plain data of one of skops' nodes, which must be listed."""
        loader, name = node["__loader__"], f"{node['__module__']}.{node['__class__']}"
        if f"{loader} {name}" not in LISTED:
            raise ValueError(refusal(node["__class__"], where, loader))
        self.names.add(name)
        if loader == "JsonNode":
            value = json.loads(node["content"])
            require(type(value) in LITERALS, "a literal that is none")
            return value
        if loader == "NdArrayNode" and node["type"] == "numpy":
            return self.array(node["file"])
        plain = {k: self(v, where, depth + 1) for k, v in node.items() if k not in NAMES}
        content = plain.get("content")
        if loader == "DictNode":
            kinds = [kind["__class__"] for kind in node["key_types"]["content"]]
            require(len(kinds) == len(content) and "bool" not in kinds, f"{where} of such keys")
        elif loader == "LossNode":
            numbers = all(
                isinstance(each, (int, float)) for each in plain["__reduce__"]["args"]
            )
            require(numbers and not content, "a loss that is not made of numbers")
        elif loader == "ObjectNode":
            kind = getattr(import_module(node["__module__"]), node["__class__"])
            check_state(kind, content or {})
        elif name == PART:
            require(node["content"]["__loader__"] == "TupleNode", "a part without order")
            check_part(where, *content)
        require(name not in NODES or NODES[name](plain), f"{where} with indices out of bounds")
        return plain if "__reduce__" in plain else content

    def array(self, name):
        """An array of the file, without a copy; its header must say just what follows it."""
        data, numpy = self.members[name], np.lib.format
        self.unread.discard(name)
        stream = io.BytesIO(data[:65536])
        is_first = numpy.read_magic(stream) == (1, 0)
        read = numpy.read_array_header_1_0 if is_first else numpy.read_array_header_2_0
        shape, by_column, dtype = read(stream)
        require(not dtype.hasobject, "an array of Python objects, which carries a pickle")
        length = math.prod(shape) * dtype.itemsize
        fits = dtype.itemsize and length == len(data) - stream.tell()
        require(fits and max(shape, default=0) <= max(MAX_WIDTH, length), "an array cut short")
        flat = np.frombuffer(data, dtype, offset=stream.tell())
        return flat.reshape(shape, order="F" if by_column else "C")


def refusal(shown, where, loader):
    """What to do with a value that is not listed."""
    advice = "keep the model with joblib, or leave this part out"
    if loader in ("FunctionNode", "TypeNode"):
        advice = (
            f"pass modules=[{shown}] to save and to load, which then take it from you, or keep "
            "a network's state_dict() yourself"
        )
    return (
        f"Got {where} with {shown}, which is not among the classes and functions that a file "
        f"may hold: sklearn_ood's, scikit-learn's, arrays and plain containers; {advice}."
    )


@cache
def parameters(kind):
    """Names of a class's parameters."""
    return set(signature(kind).parameters)


def check_state(kind, state):
    """Raise where an attribute hides what the class defines, or does not fit the others."""
    for name in state:
        hides = name not in parameters(kind) and hasattr(kind, name)
        strange = hides or name.startswith("__") or not name.isidentifier()
        require(not strange, f"the attribute {name!r} of a {kind.__name__}")
    for name in STATE.keys() & state.keys():
        require(STATE[name](state), f"a {kind.__name__} whose {name} does not fit the rest")


def check_part(where, kind, *arguments):
    """Raise for a part of another kind, or whose arguments are not such a part's."""
    require(kind in MAKE, f"a part of kind {kind!r}")
    given = GIVEN.get()[0]
    if kind == "own":
        name, state, networks = arguments
        require(name in given or name in own_classes(), f"{name}, which is none of sklearn_ood")
        own = given.get(name) or own_classes()[name]
        require(isinstance(own, type) and not issubclass(own, nn.Module), f"a state of {name}")
        unknown = set() if name in given else state.keys() - declared(own).keys()
        require(not unknown, f"{name} and attributes that it does not declare: {unknown}")
        check_state(own, state if name in given else {n: state[n] for n in STATE if n in state})
        lists = [len(value) for value in state.values() if networks and type(value) is list]
        require(max(lists, default=0) <= MAX_LAYERS, f"{name} of too many layers")
        require(state.get("n_features_in_", 1) <= MAX_WIDTH, f"{name} of too many features")
    elif kind != "given":
        MAKE[kind](*arguments)  # of arrays and literals alone
    elif arguments[0] not in given:
        raise ValueError(refusal(arguments[0], where, "TypeNode"))
