"""What a file describes, read as plain data and checked before skops makes anything of it.

An object is read as its shadow: of its class, with plain attributes, and never called. What
compiled code follows without a look, as indices, is checked against the arrays they point to.
"""

import io
import json
import re
import zipfile
from dataclasses import is_dataclass
from importlib import resources
from inspect import signature
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import get_type_hints

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.tree._tree import NODE_DTYPE

# The exact list of nodes of skops, and of this package's classes ("own").
LISTED = frozenset(resources.files(__package__).joinpath("types.txt").read_text().splitlines())
MAX_PARTS, MAX_DEPTH, MAX_WIDTH, MAX_JOBS, MAX_LAYERS = 2**21, 200, 2**24, 1024, 1000


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
    is_known = all(re.fullmatch(r"\d+\.npy|schema\.json", name) for name in sizes)
    require(is_known, "with members that are no arrays")
    return sorted(reader.names)


class Reader:
    """Reads nodes of skops; ``names`` are of the classes and functions that they are of."""

    def __init__(self, archive):
        self.archive, self.names, self.shared, self.count = archive, set(), {}, 0

    def read(self, value, where):
        """Plain data of whatever JSON holds; ``where`` is what errors call it."""
        if not isinstance(value, (list, dict)):
            return value
        self.count += 1
        is_small = self.count < MAX_PARTS and where.count(".") < MAX_DEPTH
        require(is_small, "with too many or too deep parts")
        if isinstance(value, list):
            return [self.read(each, f"{where}.{i}") for i, each in enumerate(value)]
        if value.keys().isdisjoint(("__loader__", "__id__")):
            return {name: self.read(each, f"{where}.{name}") for name, each in value.items()}
        key, before = value.get("__id__") or object(), self.count
        if key not in self.shared:  # else it is the first of that name, as for skops
            self.shared[key] = None  # what contains itself finds no pair
            self.shared[key] = self.node(value, where), self.count - before
        plain, size = self.shared[key]
        self.count = before + size
        return plain

    def node(self, node, where):
        """Plain data of one node, which must be listed."""
        loader, name = node["__loader__"], f"{node['__module__']}.{node['__class__']}"
        require_listed(f"{loader} {name}" in LISTED, node["__class__"], where)
        self.names.add(name)
        kind, from_file = resolve_name(name), node.get("type") == "numpy"
        if loader == "JsonNode":
            return json.loads(node["content"])
        if loader == "NdArrayNode" and from_file:
            array = array_of(self.archive.read(node["file"]))
            return array if kind is np.ndarray else kind(array)
        plain = {key: self.read(each, where) for key, each in node.items()}
        return PLAIN.get(loader, lambda _, content, *__: content)(
            kind, plain.get("content"), plain
        )


def array_of(data):
    """An array without a copy; its header must say just what follows it."""
    stream = io.BytesIO(data[:65536])
    major = min(np.lib.format.read_magic(stream)[0], 2)
    read_header = getattr(np.lib.format, f"read_array_header_{major}_0")
    shape, by_column, dtype = read_header(stream)
    require(not dtype.hasobject, "with an array of Python objects, which carries a pickle")
    array = np.ndarray(shape, dtype, data, stream.tell(), order="F" if by_column else "C")
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
        is_known = isinstance(value, known[name]) if name in known else is_free > is_declared
        what = f"of {kind.__name__} with the {type(value).__name__} {name}"
        require(is_known, f"{what}, which it does not declare", "declare it with fitted()")
        require(name not in FITS or FITS[name](value, state), f"{what} that does not fit")
    vars(made).update(attributes)
    return made


def inside(indices, stop):
    """Whether all indices are at least 0 and below ``stop``."""
    indices = np.asarray(indices)
    return ((indices >= 0) & (indices < stop)).all()


def is_tree(left, right, is_inner):
    """Whether the first node leads to each other node, by one way; and the longest way."""
    level, n_seen, depth = np.zeros(1, dtype=np.intp), 0, -1
    while level.size and n_seen < len(left) and inside(level, len(left)):
        n_seen, depth, inner = n_seen + level.size, depth + 1, level[is_inner[level]]
        level = np.concatenate([left[inner], right[inner]])
    return n_seen == len(left) and not level.size, depth


def decision_tree(_, state, node):
    """The shadow of the nodes of one tree, with the features and sizes that it says."""
    nodes, values, n = state["nodes"], state["values"], state["node_count"]
    n_features, n_classes, n_outputs = node["__reduce__"]["args"]
    is_inner = nodes["left_child"] != -1
    is_whole, depth = is_tree(nodes["left_child"], nodes["right_child"], is_inner)
    types = (nodes.dtype, values.dtype, n_classes.dtype) == (NODE_DTYPE, np.float64, np.intp)
    expected = (n,), (n_outputs,), (n, n_outputs, n_classes.max())
    fits = (
        (nodes.shape, n_classes.shape, values.shape) == expected
        and is_whole
        and depth <= state["max_depth"] <= n
        and inside(nodes["feature"][is_inner], n_features)
        and not (n_classes.min() < 1 or np.isnan(nodes["threshold"][is_inner]).any())
    )
    require(types and fits, "with a corrupted tree")
    return SimpleNamespace(n_features=n_features, value=values)


def loss(kind, state, node):
    """A loss is of numbers alone."""
    fits = not state and {*map(type, node["__reduce__"]["args"])} <= {int, float}
    require(fits, f"with a {kind.__name__} of something else than numbers")


def random_state(_, state, __):
    """A key and a position of the Mersenne twister."""
    kind, key, position = state["bit_generator"], *map(state["state"].get, ("key", "pos"))
    fits = (kind, key.shape) == ("MT19937", (624,)) and 0 <= position <= 624
    require(fits, "with a corrupted RandomState")


def random_numbers(_, state, __):
    """The usual kind, with a seed of the usual size."""
    numbers, seeds = state["bit_generator"], state["seed_seq"]
    fits = (numbers["bit_generator"], seeds["pool_size"]) == ("PCG64", 4)
    require(fits, "with another Generator than PCG64")


def boosted_tree(nodes, state):
    """Nodes of one tree, with sets of categories that it holds."""
    sets, is_by_set = state["raw_left_cat_bitsets"], nodes["is_categorical"] != 0
    is_inner = nodes["is_leaf"] == 0
    return (
        is_tree(nodes["left"], nodes["right"], is_inner)[0]
        and sets.shape == state["binned_left_cat_bitsets"].shape == (len(sets), 8)
        and inside(nodes["bitset_idx"][is_inner & is_by_set], len(sets))
        and not np.isnan(nodes["num_threshold"][is_inner & ~is_by_set]).any()
    )


def histogram_boosting(predictors, state):
    """The trees split by features that are there, and by categories only if such."""
    is_categorical = vars(state["_bin_mapper"])["is_categorical_"] != 0
    nodes = np.concatenate([vars(tree)["nodes"] for trees in predictors for tree in trees])
    inner = nodes[nodes["is_leaf"] == 0]
    return (
        is_categorical.shape == (state["n_features_in_"],)
        and inside(inner["feature_idx"], len(is_categorical))
        and is_categorical[inner["feature_idx"][inner["is_categorical"] != 0]].all()
    )


def gradient_boosting(start, state):
    """Every stage adds to columns that are there."""
    n, first = state["n_trees_per_iteration_"], {} if start == "zero" else vars(start)
    trees = [vars(tree) for stage in state["estimators_"] for tree in stage]
    sizes = {(each["n_features_in_"], each["tree_"].value.shape[1:]) for each in trees}
    n_started = first.get("n_classes_", 1), len(first.get("class_prior_", "1"))
    return (
        {len(stage) for stage in state["estimators_"]} == {n}
        and sizes == {(state["n_features_in_"], (1, 1))}
        and state["_loss"].is_multiclass == (n > 1)
        and (not first or ("Dummy" in type(start).__name__ and first["n_outputs_"] == 1))
        and (not first or n == 1 or n_started == (n, n))
    )


def support_vectors(vectors, state):
    """What libsvm takes by pointers has the sizes that it expects."""
    counts, support, weights = state["_n_support"], state["support_"], state["_dual_coef_"]
    n, k, width = len(support), len(counts), state["n_features_in_"]
    sizes, pairs = (state["_probA"].shape, state["_probB"].shape), (k * (k - 1) // 2,)
    return (
        isinstance(state["kernel"], str)  # a function's support_ are columns of what it gives
        and (state["kernel"] == "precomputed" or vectors.shape == (n, width))
        and (weights.shape, weights.size) == ((k - 1, n), (k - 1) * n)
        and state["_intercept_"].shape == pairs
        and sizes in (((0,), (0,)), (pairs, pairs))
        and counts.dtype == support.dtype == np.int32
        and (counts.min() >= 0 and counts.sum() == n if "classes_" in state else True)
        and inside(support, state["shape_fit_"][0])
    )


def neighbors(rows, state):
    """Rows, labels and sizes belong together, and labels are those of classes."""
    n, labels = rows.shape[0], state.get("_y", rows)
    is_coded = "classes_" in state and labels.ndim == 1
    return (
        rows.shape == (labels.shape[0], state["n_features_in_"])
        and state.get("n_samples_fit_", n) == n
        and (not is_coded or inside(labels, len(state["classes_"])))
    )


def one_hot(n_columns, state):
    """The columns are as many as the categories need."""
    nothing, is_grouped = [None] * len(n_columns), state["_infrequent_enabled"]
    groups = state["_default_to_infrequent_mappings"] if is_grouped else nothing
    rare = state["_infrequent_indices"] if is_grouped else nothing
    drops = state["_drop_idx_after_grouping"]
    drops = nothing if drops is None else drops
    return all(
        inside(range(len(categories)) if group is None else group, n + (drop is not None))
        and (group is None) == (few is None)
        and inside(0 if drop is None else drop, n + 1)
        for n, categories, group, few, drop in zip(
            n_columns, state["categories_"], groups, rare, drops, strict=True
        )
    )


def linkage(merges, _):
    """Each merge is of rows and merges before it."""
    ends = len(merges) + 1 + np.arange(len(merges))
    return inside(merges["left_node"], ends) and inside(merges["right_node"], ends)


def tree_of_its_width(tree, state):
    """A decision tree has the features of its estimator; a search tree is whole by itself."""
    return getattr(tree, "n_features", None) in (None, state["n_features_in_"])


# What must hold for an attribute of an object, and its other attributes.
FITS = {
    "memory": lambda folder, _: folder is None,  # of pickles
    "n_features_in_": lambda number, _: 0 < number <= MAX_WIDTH,
    "hidden_layer_sizes": lambda sizes, _: np.size(sizes) <= MAX_LAYERS,
    "_n_threads": lambda number, _: 0 < number <= MAX_JOBS,
    "n_jobs": lambda number, _: abs(number or 0) <= MAX_JOBS,
    "vocabulary_": lambda words, _: sorted(words.values()) == list(range(len(words))),
    "cluster_centers_": lambda rows, state: rows.shape[1] == state["n_features_in_"],
    "tree_": tree_of_its_width,
    "_single_linkage_tree_": linkage,
    "nodes": boosted_tree,
    "_predictors": histogram_boosting,
    "init_": gradient_boosting,
    "support_vectors_": support_vectors,
    "_fit_X": neighbors,
    "_n_features_outs": one_hot,
}
# How the content of a node is made plain, where it is not plain as it is.
PLAIN = {
    "TypeNode": lambda kind, *_: kind,
    "FunctionNode": lambda kind, *_: kind,
    "TupleNode": lambda kind, items, _: kind(*items) if hasattr(kind, "_fields") else (*items,),
    "NdArrayNode": lambda _, items, __: np.fromiter(items, dtype=object),
    "DictNode": dictionary,
    "ObjectNode": shadow,
    "TreeNode": decision_tree,
    "LossNode": loss,
    "RandomStateNode": random_state,
    "RandomGeneratorNode": random_numbers,
}
