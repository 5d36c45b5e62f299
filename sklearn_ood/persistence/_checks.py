"""A file's description, read as plain data and checked before skops makes anything of it."""

import io
import json
import math
from inspect import signature
from pkgutil import resolve_name

import numpy as np
from torch import nn

from sklearn_ood.persistence._invariants import NODES, STATE
from sklearn_ood.persistence._parts import GIVEN, LISTED, MAKE, declared, own_classes

MAX_PARTS, MAX_DEPTH, MAX_WIDTH, MAX_LAYERS = 2**20, 200, 2**24, 1000
PROTOCOL = 2  # of skops: older ones have other nodes
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
    archive : ZipFile
        With the arrays; ``files`` are the members that nodes used.
    schema : bytes
        The description; ``names`` are the classes and functions in it.
    """

    def __init__(self, archive, schema):
        require(schema.count(b"__loader__") < MAX_PARTS, f"more than {MAX_PARTS} parts")
        self.archive, self.files, self.names = archive, set(), set()
        self.shared, self.count = {}, 0
        description = json.loads(schema)
        require(description["protocol"] == PROTOCOL, "another protocol of skops")
        self.read(description, "estimator", 0)

    def read(self, value, where, depth):
        """Plain data of whatever JSON holds; ``where`` is what errors call it."""
        self.count += 1
        require(depth < MAX_DEPTH and self.count < MAX_PARTS, "too many or too deep parts")
        if isinstance(value, list):
            return [self.read(each, f"{where}.{i}", depth + 1) for i, each in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"__id__"}:  # a part that was read before, and is whole
            plain, size = self.shared[value["__id__"]]
            self.count += size
        elif "__loader__" not in value:
            plain = {k: self.read(v, f"{where}.{k}", depth + 1) for k, v in value.items()}
        else:
            before, plain = self.count, self.node(value, where, depth)
            require(value.get("__id__") not in self.shared, "two parts of one id")
            if "__id__" in value:
                self.shared[value["__id__"]] = plain, self.count - before
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
            self.files.add(node["file"])
            return array_of(self.archive.read(node["file"]))
        plain = {k: self.read(v, where, depth + 1) for k, v in node.items() if k not in NAMES}
        content = plain.get("content")
        if loader == "DictNode":
            kinds = [kind["__class__"] for kind in node["key_types"]["content"]]
            require(len(kinds) == len(content) and "bool" not in kinds, f"{where} of such keys")
        elif loader == "LossNode":
            are_numbers = {type(each) for each in plain["__reduce__"]["args"]} <= {int, float}
            require(are_numbers and not content, "a loss that is not made of numbers")
        elif loader == "ObjectNode":
            check_state(resolve_name(name), content or {})
        elif name == PART:
            require(node["content"]["__loader__"] == "TupleNode", "a part without order")
            return part_of(where, *content)
        require(name not in NODES or NODES[name](plain), f"{where} with indices out of bounds")
        return plain if "__reduce__" in plain else content


def array_of(data):
    """An array without a copy; its header must say just what follows it."""
    stream, numpy = io.BytesIO(data[:65536]), np.lib.format
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


def check_state(kind, state):
    """Raise where an attribute hides what the class defines, or does not fit the others."""
    parameters = signature(kind).parameters
    for name, value in state.items():
        hides = name not in parameters and hasattr(kind, name)
        strange = hides or name.startswith("__") or not name.isidentifier()
        require(not strange, f"the attribute {name!r} of a {kind.__name__}")
        fits = name not in STATE or STATE[name](value, state)
        require(fits, f"a {kind.__name__} whose {name} does not fit the rest")


def part_of(where, kind, *arguments):
    """A part that is of arrays and literals alone, or another's arguments if they may be."""
    require(kind in MAKE, f"a part of kind {kind!r}")
    given, name = GIVEN.get()[0], arguments[0]
    if kind not in ("own", "given"):
        return MAKE[kind](*arguments)
    if kind == "given" and name not in given:
        raise ValueError(refusal(name, where, "TypeNode"))
    if kind == "own":
        _, state, networks = arguments
        own = given.get(name) or own_classes().get(name)
        require(own is not None, f"{name}, which is none of sklearn_ood")
        require(isinstance(own, type) and not issubclass(own, nn.Module), f"a state of {name}")
        unknown = set() if name in given else state.keys() - declared(own).keys()
        require(not unknown, f"{name} and attributes that it does not declare: {unknown}")
        check_state(own, state if name in given else {n: state[n] for n in STATE if n in state})
        lists = [len(value) for value in state.values() if networks and type(value) is list]
        require(max(lists, default=0) <= MAX_LAYERS, f"{name} of too many layers")
    return arguments
