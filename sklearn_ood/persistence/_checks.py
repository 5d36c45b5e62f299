"""What a file describes, read as plain data and checked before skops makes anything of it.

An object is read as its shadow: of its class, with plain attributes, and never called.
"""

import io
import json
import zipfile
from dataclasses import is_dataclass
from importlib import resources
from inspect import signature
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import get_type_hints

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_ood.persistence._invariants import FITS, MAX_WIDTH, decision_tree

# The exact list of nodes of skops, and of this package's classes ("own").
LISTED = frozenset(resources.files(__package__).joinpath("types.txt").read_text().splitlines())
MAX_PARTS, MAX_DEPTH = 2**21, 200


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


def checked_names(data):
    """Names of all that skops makes of the estimator in an archive, when all is checked."""
    require(data.count(b"PK\x01\x02") < MAX_PARTS // 16, "with too many members")
    archive = zipfile.ZipFile(io.BytesIO(data))
    entries = [e for e in archive.infolist() if e.compress_type == zipfile.ZIP_STORED]
    sizes = {entry.filename: entry.file_size for entry in entries}
    is_plain = len(archive.infolist()) == len(sizes) and sum(sizes.values()) < len(data)
    require(is_plain, "with compressed, overlapping or equal members")
    schema = archive.read("schema.json")
    require(schema.count(b"{") + schema.count(b"[") < MAX_PARTS, "with too many parts")
    reader, description = Reader(archive), json.loads(schema)
    require(description["protocol"] == 2, "with another protocol of skops")
    estimator = reader.read(description, "estimator")
    kind = type(estimator).__name__
    require(isinstance(estimator, BaseEstimator), f"of type {kind}", "give an estimator")
    require(sizes.keys() == reader.files | {"schema.json"}, "with data that no part uses")
    return sorted(reader.names)


class Reader:
    """Reads nodes of skops; ``names`` are of classes and functions, ``files`` of arrays."""

    def __init__(self, archive):
        self.archive, self.names, self.files = archive, set(), set()
        self.shared, self.count = {}, 0

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
            plain = {name: self.read(each, f"{where}.{name}") for name, each in value.items()}
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
        content = plain.get("content")
        return PLAIN[loader](kind, content, plain) if loader in PLAIN else content


def array_of(data):
    """An array whose header says just what follows it, so that nothing more is allocated."""
    stream = io.BytesIO(data[:65536])
    major = min(np.lib.format.read_magic(stream)[0], 2)
    read_header = getattr(np.lib.format, f"read_array_header_{major}_0")
    shape, by_column, dtype = read_header(stream)
    require(not dtype.hasobject, "with an array of Python objects, which carries a pickle")
    order, writeable = "F" if by_column else "C", bytearray(data)  # torch warns of others
    array = np.ndarray(shape, dtype, writeable, stream.tell(), order=order)
    fits = dtype.itemsize and array.nbytes == len(data) - stream.tell()
    is_short = max(shape, default=0) <= max(MAX_WIDTH, array.nbytes)
    require(fits and is_short, "with an array cut short")
    return array


def dictionary(_, content, node):
    """Keys are of their types, which must come back as they were."""
    pairs = zip(node["key_types"], content.items(), strict=True)
    made = {key_type(key): value for key_type, (key, value) in pairs}
    require([*map(str, made)] == [*content], "with keys of other types")
    return made


def shadow(kind, state, _=None):
    """An object with these attributes: none hides a method, and they fit each other.

    All attributes of a dataclass, as of every class of this package, are declared.
    """
    known, is_declared = dict.fromkeys(signature(kind).parameters, object), is_dataclass(kind)
    known = get_type_hints(kind) | known if is_declared else known
    made, attributes = object.__new__(kind), state or {}
    for name, value in attributes.items():
        is_free = name.isidentifier() and not name.startswith("__") and not hasattr(kind, name)
        is_known = is_free and not is_declared
        is_known = isinstance(value, known[name]) if name in known else is_known
        what = f"of {kind.__name__} with the {type(value).__name__} {name}"
        require(is_known, f"{what}, which it does not declare", "declare it with fitted()")
        require(name not in FITS or FITS[name](value, state), f"{what} that does not fit")
    vars(made).update(attributes)
    return made


def tree(_, state, node):
    """The shadow of a decision tree: what others must know of it."""
    arguments = node["__reduce__"]["args"]
    require(decision_tree(state, *arguments), "with a corrupted tree")
    return SimpleNamespace(n_features=arguments[0], value=state["values"])


def loss(kind, state, node):
    """A loss is of numbers alone."""
    fits = not state and {*map(type, node["__reduce__"]["args"])} <= {int, float}
    require(fits, f"with a {kind.__name__} of something else than numbers")


def random_state(_, state, __):
    """A key and a position of the Mersenne twister."""
    kind, numbers = state["bit_generator"], state["state"]
    fits = (kind, numbers["key"].shape) == ("MT19937", (624,)) and 0 <= numbers["pos"] <= 624
    require(fits, "with a corrupted RandomState")


def random_numbers(_, state, __):
    """The usual kind, with a seed of the usual size."""
    numbers, seeds = state["bit_generator"], state["seed_seq"]
    fits = (numbers["bit_generator"], seeds["pool_size"]) == ("PCG64", 4)
    require(fits, "with another Generator than PCG64")


# How the content of a node is made plain, where it is not plain as it is.
PLAIN = {
    "TypeNode": lambda kind, *_: kind,
    "FunctionNode": lambda kind, *_: kind,
    "TupleNode": lambda kind, items, _: kind(*items) if hasattr(kind, "_fields") else (*items,),
    "NdArrayNode": lambda _, items, __: np.fromiter(items, dtype=object),
    "DictNode": dictionary,
    "ObjectNode": shadow,
    "TreeNode": tree,
    "LossNode": loss,
    "RandomStateNode": random_state,
    "RandomGeneratorNode": random_numbers,
}
