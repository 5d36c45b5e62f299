"""What a file describes, read as plain data and checked before skops makes anything of it."""

import io
import json
import re
import zipfile
from collections import Counter, defaultdict
from dataclasses import is_dataclass
from functools import cache
from inspect import signature
from operator import itemgetter
from pathlib import Path
from pkgutil import resolve_name
from string import Formatter
from typing import get_type_hints

import numpy as np
from sklearn.base import BaseEstimator


def table(name):
    lines = Path(__file__).with_name(name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


# The exact list of nodes of skops, and of this package's classes ("own").
LISTED = frozenset(table("types.txt"))
MAX_PARTS, MAX_DEPTH, MAX_WIDTH = 2**20, 200, 2**24
resolve = cache(resolve_name)


class Refused(Exception):
    """What is wrong with a file, and what to do."""


def require(condition, what, advice="it is damaged, or not to be trusted"):
    """Raise for a file that is damaged, or made to harm."""
    if not condition:
        raise Refused(f"{what}: {advice}.")


def require_listed(condition, name, where=("a part",)):
    """Raise for a name that is not listed, with what to do."""
    if not condition:
        what = f"where {'.'.join(where)} is {name}, not among the classes and functions that a "
        advice = f"if it is yours, pass modules=[{name}] to save and to load, or keep a "
        advice += "network's state_dict() yourself; else keep the model with joblib"
        require(condition, f"{what}file may hold", advice)


def one_description(is_ours):
    """A hook for JSON: one description of each part; of ours, which may differ, the first."""
    known: dict[int, dict] = {}

    def hook(node):
        if not isinstance(node.get("__loader__"), str):  # keys are a user's
            is_of_parts = all(isinstance(each, dict) for each in node.values())
            require(is_of_parts, "with a part of no description")
            return node
        first = known.setdefault(node["__id__"], node) if "__id__" in node else node
        require(is_ours or first == node, "with two parts of one name")
        return first

    return hook


def checked(data, is_ours=False):
    """The reader of an archive in which all is right; ours may have more than it needs."""
    require(data.count(b"PK\x01\x02") < MAX_PARTS // 8, "with too many members")
    archive = zipfile.ZipFile(io.BytesIO(data))
    entries = archive.infolist()
    sizes = {e.filename: e.file_size for e in entries if e.compress_type == zipfile.ZIP_STORED}
    is_plain = len(entries) == len(sizes) and sum(sizes.values()) < len(data)
    require(is_plain, "with compressed, overlapping or equal members")
    schema = archive.read("schema.json")
    require(schema.count(b"{") + schema.count(b"[") < MAX_PARTS, "with too many parts")
    reader = Reader(archive, json.loads(schema, object_hook=one_description(is_ours)))
    require(reader.description["protocol"] == 2, "with another protocol of skops")
    estimator = reader.read(reader.description, ("estimator",))
    what = f"of type {type(estimator).__name__}"
    require(isinstance(estimator, BaseEstimator), what, "give an estimator")
    is_used = is_ours or sizes.keys() == reader.files.keys() | {"schema.json"}
    require(is_used, "with data that no part uses")
    return reader


class Reader:
    """Reads nodes of skops; ``names`` are of classes and functions, ``files`` of arrays."""

    def __init__(self, archive, description):
        self.archive, self.description = archive, description
        self.names, self.files, self.plain = set(), {}, {}

    def read(self, value, where):
        """Plain data of whatever JSON holds, at the end of a way from the estimator."""
        require(len(where) < MAX_DEPTH, "with too deep parts")
        if isinstance(value, list):
            require(all(isinstance(each, dict) for each in value), "with a list of no parts")
            return [self.read(each, (*where, str(i))) for i, each in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if not isinstance(value.get("__loader__"), str):
            return {key: self.read(each, (*where, key)) for key, each in value.items()}
        if id(value) not in self.plain:
            self.plain[id(value)] = self.node(value, where)
        return self.plain[id(value)]

    def node(self, node, where):
        loader, name = node["__loader__"], f"{node['__module__']}.{node['__class__']}"
        require_listed(f"{loader} {name}" in LISTED, node["__class__"], where)
        self.names.add(name)
        if loader == "NdArrayNode" and node["type"] == "numpy":
            is_one = self.files.setdefault(node["file"], node) is node
            require(is_one, "with an array that is read again and again")
            array = array_of(self.archive.read(node["file"]))
            return array if name == "numpy.ndarray" else resolve(name)(array)
        fields = {key: self.read(each, where) for key, each in node.items()}
        content = fields.get("content")
        is_text = loader != "DictNode" or fields["key_types"] == [str] * len(content)
        require(is_text, "with keys that are no text, whose types skops would call")
        if loader in PLAIN:
            return PLAIN[loader](resolve(name), content)
        content = content | fields["__reduce__"] if "__reduce__" in fields else content
        return fitting(loader, content) if isinstance(content, dict) else content


def array_of(data):
    """An array as it lies in its file, whose header says just what follows it."""
    stream = io.BytesIO(data)
    major = min(np.lib.format.read_magic(stream)[0], 2)
    shape, is_fortran, dtype = getattr(np.lib.format, f"read_array_header_{major}_0")(stream)
    require(not dtype.hasobject, "with an array of Python objects, which carries a pickle")
    array = np.frombuffer(data, dtype, offset=stream.tell())
    require(max(shape, default=0) <= max(MAX_WIDTH, array.nbytes), "with an endless array")
    return array.reshape(shape, order="F" if is_fortran else "C")


def literal(_, text):
    """Text or a number: brackets, which are counted as parts, may be escaped in text."""
    is_plain = text.startswith('"') or not {*"[{"} & {*text}
    require(is_plain, "with a literal that is none")
    return json.loads(text)


def hashed(items):
    """Items for a set or as keys, not made for the same hash, which takes their square."""
    most = max(Counter(map(hash, items)).values(), default=0)
    require(most < 64, "with items of the same hash")
    return items


def shadow(kind, state):
    """An object with these attributes, never called: none hides a method, and they fit."""
    is_declared, made = is_dataclass(kind), object.__new__(kind)
    state = {} if state is None else state
    known = get_type_hints(kind) if is_declared else {}
    known |= dict.fromkeys(signature(kind).parameters, object)
    for name, value in state.items():
        is_free = name.isidentifier() and not name.startswith("__") and not hasattr(kind, name)
        is_known = isinstance(value, known.get(name, object if is_free > is_declared else ()))
        what = f"of {kind.__name__} with the {type(value).__name__} {name}"
        require(is_known, f"{what}, which it does not declare", "declare it with fitted()")
    vars(made).update(fitting(kind.__name__, state))
    return made


# How the content of a node is made plain, where it is not plain as it is.
PLAIN = {
    "TypeNode": lambda kind, _: kind,
    "FunctionNode": lambda kind, _: kind,
    "TupleNode": lambda kind, items: kind(*items) if hasattr(kind, "_fields") else (*items,),
    "NdArrayNode": lambda _, items: np.fromiter(items, dtype=object),
    "JsonNode": literal,
    "SetNode": lambda kind, items: kind(hashed(items)),
    "ConstructorFromReduceNode": lambda kind, items: kind(*map(hashed, items)),
    "DTypeNode": lambda _, array: array.dtype,
    "MaskedArrayNode": lambda kind, arrays: kind(**arrays),
    "PartialNode": lambda kind, call: kind(call["func"], *call["args"], **call["kwds"]),
    "ObjectNode": shadow,
}


def inner(nodes):
    is_boosted = "is_leaf" in nodes.dtype.names
    return nodes[nodes["is_leaf"] == 0 if is_boosted else nodes["left_child"] != -1]


def depth(nodes):
    """The longest way from the first node; infinite if not one way leads to each other."""
    children = [name for name in nodes.dtype.names if name.startswith(("left", "right"))]
    level, n_seen, n_levels = nodes[:1], 0, 0
    while len(level) and n_seen < len(nodes):
        n_seen, n_levels, parents = n_seen + len(level), n_levels + 1, inner(level)
        level = nodes[np.concatenate([parents[name] for name in children])]
    return n_levels - 1 if n_seen == len(nodes) and not len(level) else np.inf


def has_columns_for_codes(encoder):
    """Whether the columns of one-hot codes are as many as the codes of each feature need."""
    known, widths = encoder["categories_"], encoder["_n_features_outs"]
    names = "_default_to_infrequent_mappings", "_infrequent_indices", "_drop_idx_after_grouping"
    lists = [encoder.get(name) for name in names]
    lists = [[None] * len(known) if each is None else each for each in lists]
    return all(
        inside(range(len(words)) if group is None else group, n + (drop is not None)).all()
        and inside(0 if drop is None else drop, n + 1)
        and (group is None) == (few is None)
        for words, n, group, few, drop in zip(known, widths, *lists, strict=True)
    )


def inside(indices, stop):
    return np.less_equal(0, indices) & np.less(indices, stop)


# What is done to a part before it is compared, beside numpy's functions and fields.
FUNCTIONS = {
    "len": len,
    "codes": lambda words: list(words.values()),
    "ends": lambda merges: len(merges) + 1 + np.arange(len(merges)),
    "n_pairs": lambda items: len(items) * (len(items) - 1) // 2,
    "n_layers": lambda net: (np.size(net["hidden_layer_sizes"]) + 1) * net.get("n_classes_", 1),
    "n_in_stages": lambda stages: [len(stage) for stage in stages],
    "n_features": lambda trees: [tree.n_features_in_ for tree in np.hstack(trees)],
    "all_nodes": lambda trees: np.concatenate([tree.nodes for tree in np.hstack(trees)]),
    "by_set": lambda nodes: nodes[nodes["is_categorical"] != 0],
    "inner": inner,
    "depth": depth,
    "has_columns_for_codes": has_columns_for_codes,
}
COMPARISONS = {"==": np.array_equal, "<=": np.less_equal, "inside": inside, "in": np.isin}
SIGNS = f" ({'|'.join(COMPARISONS)}) "
RULES: dict[str, list[str]] = defaultdict(list)
for line in table("rules.txt"):
    key, rule = line.split(": ")
    RULES[key].append(rule)


def side(text, state):
    """What one side of a comparison says of an object's state."""
    try:
        return json.loads(text)
    except ValueError:
        path, *steps = text.split()
        value, _ = Formatter().get_field(path, (), state)
        for name in steps:
            value = (FUNCTIONS.get(name) or getattr(np, name, itemgetter(name)))(value)
        return value


def holds(comparison, state):
    left, sign, right = re.split(SIGNS, comparison)
    return np.all(COMPARISONS[sign](side(left, state), side(right, state)))


def fitting(name, state):
    """A state that keeps the rules of its kind and of its attributes."""
    known = defaultdict(lambda: None, state | {"self": state})
    for rule in [rule for key in (name, *state) for rule in RULES.get(key, ())]:
        is_kept = any(holds(comparison, known) for comparison in rule.split(" or "))
        require(is_kept, f"of {name} whose parts do not fit ({rule})")
    return state
