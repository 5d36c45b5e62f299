"""What a file describes, read as plain data and checked before skops makes anything of it.

An object is read as its shadow: of its class, with plain attributes, and never called.
"""

import io
import json
import zipfile
from dataclasses import is_dataclass
from inspect import signature
from math import prod
from pkgutil import resolve_name
from typing import get_type_hints

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_ood.persistence._rules import broken_rule, table

# The exact list of nodes of skops, and of this package's classes ("own").
LISTED = frozenset(table("types.txt"))
MAX_PARTS, MAX_DEPTH, MAX_WIDTH = 2**21, 200, 2**24
# Whose names skops may read in another order than they are written in.
BY_VALUE = "JsonNode", "TypeNode", "FunctionNode"


class Refused(Exception):
    """What is wrong with a file, and what to do."""


def require(condition, what, advice="it is damaged, or not to be trusted"):
    """Raise for a file that is damaged, or made to harm."""
    if not condition:
        raise Refused(f"{what}: {advice}.")


def require_listed(condition, name, where="a part"):
    """Raise for a name that is not listed, with what to do."""
    what = f"where {where} is {name}, not among the classes and functions that a file may hold"
    advice = f"if it is yours, pass modules=[{name}] to save and to load, or keep a network's "
    require(condition, what, f"{advice}state_dict() yourself; else keep the model with joblib")


def checked(data, hook=None):
    """The reader of an archive when all is checked; with a hook for the JSON of a new one."""
    require(data.count(b"PK\x01\x02") < MAX_PARTS // 16, "with too many members")
    archive = zipfile.ZipFile(io.BytesIO(data))
    entries = [e for e in archive.infolist() if e.compress_type == zipfile.ZIP_STORED]
    sizes = {entry.filename: entry.file_size for entry in entries}
    is_plain = len(archive.infolist()) == len(sizes) and sum(sizes.values()) < len(data)
    require(is_plain, "with compressed, overlapping or equal members")
    schema = archive.read("schema.json")
    require(schema.count(b"{") + schema.count(b"[") < MAX_PARTS, "with too many parts")
    reader = Reader(archive, json.loads(schema, object_hook=hook))
    require(reader.description["protocol"] == 2, "with another protocol of skops")
    estimator = reader.read(reader.description, "estimator")
    kind = type(estimator).__name__
    require(isinstance(estimator, BaseEstimator), f"of type {kind}", "give an estimator")
    is_used = hook or sizes.keys() == reader.files | {"schema.json"}
    require(is_used, "with data that no part uses")
    return reader


def each_once():
    """A hook for what skops describes wherever it is held: only the first description stays."""
    seen = set()

    def refer(node):
        name = node.pop("__id__", None)
        if name in seen:
            return {"__id__": name}
        if name and node["__loader__"] not in BY_VALUE:
            seen.add(name)
            node["__id__"] = name
        return node

    return refer


class Reader:
    """Reads nodes of skops; ``names`` are of classes and functions, ``files`` of arrays."""

    def __init__(self, archive, description):
        self.archive, self.description = archive, description
        self.names, self.files, self.shared, self.count = set(), set(), {}, 0

    def read(self, value, where):
        """Plain data of whatever JSON holds; ``where`` is what errors call it."""
        if not isinstance(value, (list, dict)):
            return value
        self.count += 1
        is_small = self.count < MAX_PARTS and where.count(".") < MAX_DEPTH
        require(is_small, "with too many or too deep parts")
        if isinstance(value, list):
            return [self.read(each, f"{where}.{i}") for i, each in enumerate(value)]
        if value.keys() == {"__id__"}:  # a part that was read before, and is whole
            plain, size = self.shared[value["__id__"]]
            self.count += size
        elif "__loader__" not in value:
            plain = {key: self.read(each, f"{where}.{key}") for key, each in value.items()}
        else:
            before, plain = self.count, self.node(value, where)
            require(value.get("__id__") not in self.shared, "with two parts of one name")
            if "__id__" in value:
                self.shared[value["__id__"]] = plain, self.count - before
        return plain

    def node(self, node, where):
        """Plain data of one node, which must be listed."""
        loader, name = node["__loader__"], f"{node['__module__']}.{node['__class__']}"
        require_listed(f"{loader} {name}" in LISTED, node["__class__"], where)
        self.names.add(name)
        kind = resolve_name(name)
        if loader == "JsonNode":
            return json.loads(node["content"])
        if loader == "NdArrayNode" and node["type"] == "numpy":
            self.files.add(node["file"])
            array = array_of(self.archive.read(node["file"]))
            return array if kind is np.ndarray else kind(array)
        plain = {key: self.read(each, where) for key, each in node.items()}
        return PLAIN[loader](kind, plain) if loader in PLAIN else plain.get("content")


def array_of(data):
    """An array whose header says just what follows it, so that nothing more is allocated."""
    stream = io.BytesIO(data)
    major = min(np.lib.format.read_magic(stream)[0], 2)
    shape, _, dtype = getattr(np.lib.format, f"read_array_header_{major}_0")(stream)
    require(not dtype.hasobject, "with an array of Python objects, which carries a pickle")
    size = dtype.itemsize * prod(shape)
    is_whole = dtype.itemsize and size == len(data) - stream.tell()
    is_short = max(shape, default=0) <= max(MAX_WIDTH, size)
    require(is_whole and is_short, "with an array cut short")
    return np.load(io.BytesIO(data))


def dictionary(_, node):
    """Keys are of their types, which must come back as they were."""
    pairs = zip(node["key_types"], node["content"].items(), strict=True)
    made = {key_type(key): value for key_type, (key, value) in pairs}
    require([*map(str, made)] == [*node["content"]], "with keys of other types")
    return made


def shadow(kind, state):
    """An object with these attributes: none hides a method, and they fit each other.

    All attributes of a dataclass, as of every class of this package, are declared.
    """
    is_declared, made, state = is_dataclass(kind), object.__new__(kind), state or {}
    known = get_type_hints(kind) if is_declared else {}
    known |= dict.fromkeys(signature(kind).parameters, object)
    for name, value in state.items():
        is_free = name.isidentifier() and not name.startswith("__") and not hasattr(kind, name)
        is_known = (
            isinstance(value, known[name]) if name in known else is_free and not is_declared
        )
        what = f"of {kind.__name__} with the {type(value).__name__} {name}"
        require(is_known, f"{what}, which it does not declare", "declare it with fitted()")
    vars(made).update(fitting(kind.__name__, state))
    return made


def fitting(name, state):
    """A state that breaks no rule."""
    broken = broken_rule(name, state)
    require(broken is None, f"of {name} whose parts do not fit ({broken})")
    return state


# How the content of a node is made plain, where it is not plain as it is.
PLAIN = {
    "TypeNode": lambda kind, _: kind,
    "FunctionNode": lambda kind, _: kind,
    "TupleNode": lambda kind, node: (
        kind(*node["content"]) if hasattr(kind, "_fields") else (*node["content"],)
    ),
    "NdArrayNode": lambda _, node: np.fromiter(node["content"], dtype=object),
    "DictNode": dictionary,
    "ObjectNode": lambda kind, node: shadow(kind, node.get("content")),
    "RandomStateNode": lambda _, node: fitting("RandomState", node["content"]),
    "RandomGeneratorNode": lambda _, node: fitting("Generator", node["content"]),
    "TreeNode": lambda _, node: fitting("Tree", node["content"] | node["__reduce__"]),
    "LossNode": lambda _, node: fitting("Loss", node["content"] | node["__reduce__"]),
}
