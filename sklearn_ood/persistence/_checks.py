"""A file's description, read as plain data and checked before skops makes anything of it."""

import io
import json
from inspect import signature
from pkgutil import resolve_name

import numpy as np
from torch import nn

from sklearn_ood.persistence import _parts as parts
from sklearn_ood.persistence._invariants import NODES, STATE
from sklearn_ood.persistence._parts import require

MAX_PARTS, MAX_DEPTH, MAX_WIDTH, MAX_LAYERS = 2**20, 200, 2**24, 1000
PROTOCOL = 2  # of skops: older ones have other nodes


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
        require(schema.count(b"__loader__") < MAX_PARTS, f"with more than {MAX_PARTS} parts")
        self.archive, self.files, self.names = archive, set(), set()
        self.shared, self.count = {}, 0
        description = json.loads(schema)
        require(description["protocol"] == PROTOCOL, "with another protocol of skops")
        self.read(description, "estimator", 0)

    def read(self, value, where, depth):
        """Plain data of whatever JSON holds; ``where`` is what errors call it."""
        if not isinstance(value, (list, dict)):
            return value
        self.count += 1
        require(depth < MAX_DEPTH and self.count < MAX_PARTS, "with too many or too deep parts")
        if isinstance(value, list):
            return [self.read(each, f"{where}.{i}", depth + 1) for i, each in enumerate(value)]
        if value.keys() == {"__id__"}:  # a part that was read before, and is whole
            plain, size = self.shared[value["__id__"]]
            self.count += size
        elif "__loader__" not in value:
            plain = {k: self.read(v, f"{where}.{k}", depth + 1) for k, v in value.items()}
        else:
            before, plain = self.count, self.node(value, where, depth)
            require(value.get("__id__") not in self.shared, "with two parts of one id")
            if "__id__" in value:
                self.shared[value["__id__"]] = plain, self.count - before
        return plain

    def node(self, node, where, depth):
        """Plain data of one of skops' nodes, which must be listed."""
        loader, name = node["__loader__"], f"{node['__module__']}.{node['__class__']}"
        require_listed(f"{loader} {name}" in parts.LISTED, node["__class__"], where)
        self.names.add(name)
        if loader == "JsonNode":
            value = json.loads(node["content"])
            require(not isinstance(value, (list, dict)), "with a literal that is none")
            return value
        if loader == "NdArrayNode" and node["type"] == "numpy":
            self.files.add(node["file"])
            return array_of(self.archive.read(node["file"]))
        plain = {key: self.read(each, where, depth + 1) for key, each in node.items()}
        content, fits = plain.get("content"), True
        if loader == "DictNode":
            kinds = [kind["__class__"] for kind in node["key_types"]["content"]]
            fits = len(kinds) == len(content) and "bool" not in kinds
        elif loader == "LossNode":
            fits = not content and set(map(type, plain["__reduce__"]["args"])) <= {int, float}
        elif loader == "ObjectNode":
            check_state(resolve_name(name), content or {})
        elif node["__class__"] == "Part":
            require(node["content"]["__loader__"] == "TupleNode", "with a part without order")
            return part_of(where, *content)
        fits = fits and (name not in NODES or NODES[name](plain))
        require(fits, f"with {where}, a {name} whose items do not fit each other")
        return plain if "__reduce__" in plain else content


def array_of(data):
    """An array without a copy; its header must say just what follows it."""
    stream, numpy = io.BytesIO(data[:65536]), np.lib.format
    is_first = numpy.read_magic(stream) == (1, 0)
    read = numpy.read_array_header_1_0 if is_first else numpy.read_array_header_2_0
    shape, by_column, dtype = read(stream)
    require(not dtype.hasobject, "with an array of Python objects, which carries a pickle")
    array = np.ndarray(shape, dtype, data, stream.tell(), order="F" if by_column else "C")
    fits = dtype.itemsize and array.nbytes == len(data) - stream.tell()
    is_short = max(shape, default=0) <= max(MAX_WIDTH, array.nbytes)
    require(fits and is_short, "with an array cut short")
    return array


def require_listed(condition, shown, where):
    """Raise for a value that is not listed, with what to do."""
    if not condition:
        raise ValueError(
            f"Got {where} with {shown}, which is not among the classes and functions that a "
            f"file may hold. If it is yours, pass modules=[{shown}] to save and to load, which "
            "then take it from you, or keep a network's state_dict() yourself; else leave it "
            "out, or keep the model with joblib."
        )


def check_state(kind, state):
    """Raise where an attribute is not declared, hides a method, or does not fit the others."""
    is_own = kind in parts.own_classes().values()
    known = parts.declared(kind) if is_own else signature(kind).parameters
    for name, value in state.items():
        hides = name not in known and (is_own or hasattr(kind, name))
        strange = hides or name.startswith("__") or not name.isidentifier()
        require(not strange, f"with the attribute {name!r} of a {kind.__name__}")
        fits = name not in STATE or STATE[name](value, state)
        require(fits, f"with a {kind.__name__} whose {name} does not fit the rest")


def part_of(where, kind, *arguments):
    """A part that is of arrays and literals alone, or another's arguments if they may be."""
    if kind not in ("own", "given"):
        return parts.MAKE[kind](*arguments)
    name, known = arguments[0], parts.known_names() if kind == "own" else parts.GIVEN.get()[0]
    found = known.get(name)
    require_listed(found is not None, name, where)
    if kind == "own":
        is_class = isinstance(found, type) and not issubclass(found, nn.Module)
        require(is_class, f"with a state of {name}")
        _, state, networks = arguments
        check_state(found, state)
        lists = [len(value) for value in state.values() if networks and type(value) is list]
        require(max(lists, default=0) <= MAX_LAYERS, f"with {name} of too many layers")
        n_features = state.get("n_features_in_", 1)
        require(n_features <= MAX_WIDTH, f"with {name} of too many features")
    return arguments
