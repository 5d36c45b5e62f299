"""Indices that compiled code follows without a look: each must lie inside its arrays.

Everything here reads plain data (arrays, lists, the state of an object as a dict), before
anything is made of it.
"""

import numpy as np
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.tree._tree import NODE_DTYPE

MAX_JOBS = 1024


def inside(indices, stop):
    """Whether all indices, if there are any, are at least 0 and below ``stop``."""
    indices = np.asarray([] if indices is None else indices)
    return ((indices >= 0) & (indices < stop)).all()


def depth_of(left, right, is_leaf):
    """Depth of a tree whose nodes are each a child of one before it; -1 for another graph."""
    parents, depths = np.flatnonzero(~is_leaf), [0] * len(left)
    children = np.array([left[parents], right[parents]], dtype=np.int64)
    is_each_once = np.array_equal(np.sort(children, axis=None), np.arange(1, len(left)))
    if not is_each_once or not (parents < children).all():
        return -1
    for parent, first, second in zip(parents.tolist(), *children.tolist(), strict=True):
        depths[first] = depths[second] = depths[parent] + 1
    return max(depths)


def decision_tree(node):
    """Nodes in order, features and sizes that it says."""
    n_features, n_classes, n_outputs = node["__reduce__"]["args"]
    state, nodes, values = node["content"], node["content"]["nodes"], node["content"]["values"]
    is_leaf = nodes["left_child"] == -1
    depth = depth_of(nodes["left_child"], nodes["right_child"], is_leaf)
    types = nodes.dtype, values.dtype, n_classes.dtype
    return (
        types == (NODE_DTYPE, np.float64, np.intp)
        and (nodes.ndim, n_classes.shape, n_classes.min() > 0) == (1, (n_outputs,), True)
        and values.shape == (len(nodes), n_outputs, n_classes.max())
        and state["node_count"] == len(nodes) >= state["max_depth"] >= depth >= 0
        and inside(nodes["feature"][~is_leaf], n_features)
        and not np.isnan(nodes["threshold"][~is_leaf]).any()
    )


def boosted_tree(node):
    """Nodes in order, sets of categories that it holds."""
    nodes, binned, raw = node["content"].values()
    is_leaf, is_by_set = nodes["is_leaf"] != 0, nodes["is_categorical"] != 0
    return (
        (nodes.dtype, nodes.ndim) == (PREDICTOR_RECORD_DTYPE, 1)
        and depth_of(nodes["left"], nodes["right"], is_leaf) >= 0
        and raw.shape == binned.shape == (len(raw), 8)
        and inside(nodes["bitset_idx"][~is_leaf & is_by_set], len(raw))
        and not np.isnan(nodes["num_threshold"][~is_leaf & ~is_by_set]).any()
    )


def legacy_random_numbers(node):
    """A key and a position of the Mersenne twister."""
    name, state = node["content"]["bit_generator"], node["content"]["state"]
    return (name, state["key"].shape) == ("MT19937", (624,)) and 0 <= state["pos"] <= 624


def random_numbers(node):
    """The usual kind, with a seed of the usual size."""
    name = node["content"]["bit_generator"]["bit_generator"]
    return (name, node["content"]["seed_seq"]["pool_size"]) == ("PCG64", 4)


def histogram_boosting(predictors, state):
    """The trees split by features that are there, and by categories only if such."""
    is_categorical = state["_bin_mapper"]["is_categorical_"] != 0
    nodes = np.concatenate([tree["nodes"] for trees in predictors for tree in trees])
    inner = nodes[nodes["is_leaf"] == 0]
    return (
        len(is_categorical) == state["n_features_in_"]
        and inside(inner["feature_idx"], len(is_categorical))
        and is_categorical[inner["feature_idx"][inner["is_categorical"] != 0]].all()
    )


def gradient_boosting(start, state):
    """Every stage adds to columns that are there."""
    n_classes = n_started = len(state.get("classes_", "1"))
    if start != "zero" and "classes_" in state:
        n_started = len(start["class_prior_"]) if start["n_classes_"] == n_classes else 0
    elif start != "zero":
        n_started = start["n_outputs_"] * start["constant_"].size
    sizes = {len(stage) for stage in state["estimators_"]} | {state["n_trees_per_iteration_"]}
    trees = [tree for stage in state["estimators_"] for tree in stage]
    values = {tree["tree_"]["content"]["values"].shape[1:] for tree in trees}
    widths = {tree["n_features_in_"] for tree in trees}
    n_columns = n_classes if n_classes > 2 else 1
    expected = ({n_columns}, {(1, 1)}, {state["n_features_in_"]}, n_classes)
    return (sizes, values, widths, n_started) == expected


def support_vectors(_, state):
    """What libsvm takes by pointers has the sizes that it expects."""
    n, n_classes = len(state["support_"]), len(state.get("classes_", "12"))
    counts, pairs = state["_n_support"], (n_classes * (n_classes - 1) // 2,)
    shapes = {"_n_support": (n_classes,), "intercept_": pairs, "_intercept_": pairs}
    shapes |= dict.fromkeys(("dual_coef_", "_dual_coef_"), (n_classes - 1, n))
    if state["kernel"] != "precomputed":
        shapes["support_vectors_"] = n, state["n_features_in_"]
    return (
        isinstance(state["kernel"], str)  # a function's support_ are columns of what it gives
        and all(state[name].shape == shape for name, shape in shapes.items())
        and state["_probA"].shape == state["_probB"].shape in ((0,), pairs)
        and counts.dtype == state["support_"].dtype == np.int32
        and counts.min() >= 0
        and ("classes_" not in state or counts.sum() == n)
        and inside(state["support_"], state["shape_fit_"][0])
    )


def neighbors(rows, state):
    """Rows, labels and sizes belong together, and labels are those of classes."""
    n, y, classes = rows.shape[0], state.get("_y"), state.get("classes_", [])
    sizes = [len(part) for part in (classes if isinstance(classes, list) else [classes])]
    codes = np.reshape(y, (len(y), -1)).T if sizes and y is not None else []
    return (
        rows.shape[1] == state["n_features_in_"]
        and n == state.get("n_samples_fit_", n) == (n if y is None else len(y))
        and all(inside(code, size) for code, size in zip(codes, sizes, strict=True))
    )


def one_hot(n_columns, state):
    """The columns are as many as the categories need."""
    nothing, drops, counts = [None] * len(n_columns), state["_drop_idx_after_grouping"], []
    names = ("_default_to_infrequent_mappings", "_infrequent_indices")
    groups, rare = (state[n] if state["_infrequent_enabled"] else nothing for n in names)
    each = state["categories_"], groups, rare, nothing if drops is None else drops
    for categories, group, indices, drop in zip(*each, strict=True):
        size = len(categories) if group is None else int(group.max()) + 1
        is_inside = inside(indices, len(categories)) and inside(drop, size)
        if not is_inside or (group is None) != (indices is None):
            return False
        counts.append(size - (drop is not None))
    return counts == n_columns


def linkage(merges, _):
    """Each merge is of rows and merges before it."""
    ends = len(merges) + 1 + np.arange(len(merges))
    return inside(merges["left_node"], ends) and inside(merges["right_node"], ends)


def tree_of_its_width(tree, state):
    """A decision tree has the features of its estimator; a search tree is whole by itself."""
    is_node = isinstance(tree, dict)
    return not is_node or tree["__reduce__"]["args"][0] == state["n_features_in_"]


# What must hold for an attribute and the state of its object, or for a node of the name.
STATE = {
    "memory": lambda folder, _: folder is None,  # of pickles
    "n_features_in_": lambda number, _: 0 < number < 2**31,
    "_n_threads": lambda number, _: 0 < number <= MAX_JOBS,
    "n_jobs": lambda number, _: abs(number or 0) <= MAX_JOBS,
    "vocabulary_": lambda words, _: sorted(words.values()) == list(range(len(words))),
    "cluster_centers_": lambda rows, state: rows.shape[1] == state["n_features_in_"],
    "tree_": tree_of_its_width,
    "_single_linkage_tree_": linkage,
    "_predictors": histogram_boosting,
    "init_": gradient_boosting,
    "support_vectors_": support_vectors,
    "_fit_X": neighbors,
    "_n_features_outs": one_hot,
}
NODES = {
    "sklearn.tree._tree.Tree": decision_tree,
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": boosted_tree,
    "numpy.random.mtrand.RandomState": legacy_random_numbers,
    "numpy.random._generator.Generator": random_numbers,
}
