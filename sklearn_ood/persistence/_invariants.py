"""Indices that compiled code follows without a look: each must lie inside its arrays.

Everything here reads plain data (arrays, lists, the state of an object as a dict), before
anything is made of it.
"""

import numpy as np
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.tree._tree import NODE_DTYPE

MAX_JOBS = 1024


def inside(indices, stop):
    """Whether all indices are at least 0 and below ``stop``."""
    return ((np.asarray(indices) >= 0) & (np.asarray(indices) < stop)).all()


def shape(matrix):
    """Shape of an array, or of the arguments of a sparse matrix."""
    return tuple(matrix.shape if isinstance(matrix, np.ndarray) else matrix[-1])


def depth_of(left, right, is_leaf):
    """Depth of a tree whose nodes are each a child of one before it; -1 for another graph."""
    inner, n = np.flatnonzero(~is_leaf), len(left)
    children = np.array([left[inner], right[inner]], dtype=np.int64)
    is_ordered = ((inner < children) & (children < n)).all()
    if not is_ordered or not len(np.unique(children)) == children.size == n - 1:
        return -1
    depth, parent = (np.arange(n) > 0).astype(int), np.zeros(n, dtype=int)
    parent[children] = inner
    while parent.any():  # each round doubles the steps towards the root
        depth, parent = depth + depth[parent], parent[parent]
    return depth.max()


def decision_tree(node):
    """Nodes in order, features and sizes that it says."""
    n_features, n_classes, n_outputs = node["__reduce__"]["args"]
    state, nodes, values = node["content"], node["content"]["nodes"], node["content"]["values"]
    if (nodes.dtype, nodes.ndim, values.dtype) != (NODE_DTYPE, 1, np.float64):
        return False
    is_leaf = nodes["left_child"] == -1
    depth = depth_of(nodes["left_child"], nodes["right_child"], is_leaf)
    return (
        (n_classes.dtype, n_classes.shape, n_classes.min() > 0) == (np.intp, (n_outputs,), True)
        and values.shape == (len(nodes), n_outputs, n_classes.max())
        and state["node_count"] == len(nodes) >= state["max_depth"] >= depth >= 0
        and inside(nodes["feature"][~is_leaf], n_features)
        and not np.isnan(nodes["threshold"][~is_leaf]).any()
    )


def boosted_tree(node):
    """Nodes in order, sets of categories that it holds."""
    nodes, binned, raw = node["content"].values()
    if (nodes.dtype, nodes.ndim) != (PREDICTOR_RECORD_DTYPE, 1):
        return False
    is_leaf = nodes["is_leaf"] != 0
    by_set = ~is_leaf & (nodes["is_categorical"] != 0)
    return (
        depth_of(nodes["left"], nodes["right"], is_leaf) >= 0
        and raw.shape == binned.shape == (len(raw), 8)
        and inside(nodes["bitset_idx"][by_set], len(raw))
        and not np.isnan(nodes["num_threshold"][~is_leaf & ~by_set]).any()
    )


def histogram_boosting(state):
    """The trees split by features that are there, and by categories only if such."""
    is_categorical = state["_bin_mapper"]["is_categorical_"] != 0
    nodes = np.concatenate([tree["nodes"] for trees in state["_predictors"] for tree in trees])
    inner = nodes[nodes["is_leaf"] == 0]
    return (
        len(is_categorical) == state["n_features_in_"]
        and inside(inner["feature_idx"], len(is_categorical))
        and is_categorical[inner["feature_idx"][inner["is_categorical"] != 0]].all()
    )


def gradient_boosting(state):
    """Every stage adds to columns that are there."""
    n_classes, start = len(state.get("classes_", "1")), state["init_"]
    n_columns = n_classes if n_classes > 2 else 1
    if start == "zero":
        n_started = n_classes
    elif "classes_" in state:
        n_started = len(start["class_prior_"]) if start["n_classes_"] == n_classes else 0
    else:
        n_started = start["n_outputs_"] * start["constant_"].size
    sizes = {len(stage) for stage in state["estimators_"]} | {state["n_trees_per_iteration_"]}
    trees = [tree for stage in state["estimators_"] for tree in stage]
    values = {tree["tree_"]["content"]["values"].shape[1:] for tree in trees}
    widths = {tree["n_features_in_"] for tree in trees}
    expected = ({n_columns}, {(1, 1)}, {state["n_features_in_"]}, n_classes)
    return (sizes, values, widths, n_started) == expected


def support_vectors(state):
    """What libsvm takes by pointers has the sizes that it expects."""
    n, n_classes = len(state["support_"]), len(state.get("classes_", "12"))
    n_pairs, counts, kernel = (
        n_classes * (n_classes - 1) // 2,
        state["_n_support"],
        state["kernel"],
    )
    names = ("dual_coef_", "_dual_coef_"), ("intercept_", "_intercept_"), ("_probA", "_probB")
    coefficients, intercepts, probabilities = ({shape(state[n]) for n in of} for of in names)
    return (
        (counts.shape, counts.dtype, counts.min() >= 0) == ((n_classes,), np.int32, True)
        and ("classes_" not in state or counts.sum() == n)
        and state["support_"].dtype == np.int32
        and inside(state["support_"], state["shape_fit_"][0])
        and (coefficients, intercepts) == ({(n_classes - 1, n)}, {(n_pairs,)})
        and (probabilities in ({(0,)}, {(n_pairs,)}))
        and isinstance(kernel, str)  # with a function's, support_ are columns of what it gives
        and (kernel == "precomputed" or shape(state["support_vectors_"])[0] == n)
        and (kernel == "precomputed" or has_width(state, "support_vectors_"))
    )


def neighbors(state):
    """Rows, labels and sizes belong together, and labels are those of classes."""
    n, y, classes = shape(state["_fit_X"])[0], state.get("_y"), state.get("classes_", [])
    sizes = [len(part) for part in (classes if isinstance(classes, list) else [classes])]
    codes = np.reshape(y, (len(y), -1)).T if sizes and y is not None else []
    return (
        has_width(state, "_fit_X")
        and n == state.get("n_samples_fit_", n) == (n if y is None else len(y))
        and all(inside(code, size) for code, size in zip(codes, sizes, strict=True))
    )


def one_hot(state):
    """The columns are as many as the categories need."""
    dropped, counts = state["_drop_idx_after_grouping"], []
    grouped = state["_infrequent_enabled"]
    for i, size in enumerate(map(len, state["categories_"])):
        group = state["_default_to_infrequent_mappings"][i] if grouped else None
        rare = state["_infrequent_indices"][i] if grouped else None
        if (group is None) != (rare is None) or not inside([] if rare is None else rare, size):
            return False
        size = size if group is None else int(group.max()) + 1
        drop = None if dropped is None else dropped[i]
        if drop is not None and not 0 <= drop < size:
            return False
        counts.append(size - (drop is not None))
    return counts == state["_n_features_outs"]


def has_width(state, name):
    """Whether a matrix has as many columns as there are features."""
    return shape(state[name])[1] == state["n_features_in_"]


def is_linkage(tree):
    """Whether each merge is of rows and merges before it."""
    ends = len(tree) + 1 + np.arange(len(tree))
    return inside(tree["left_node"], ends) and inside(tree["right_node"], ends)


# What must hold for the state of an object that has the attribute, or for a part of the name.
STATE = {
    "memory": lambda state: state["memory"] is None,  # a folder with pickles
    "n_features_in_": lambda state: 0 < state["n_features_in_"] < 2**31,
    "_n_threads": lambda state: 0 < state["_n_threads"] <= MAX_JOBS,
    "n_jobs": lambda state: abs(state["n_jobs"] or 0) <= MAX_JOBS,
    "tree_": lambda state: (
        isinstance(state["tree_"], list)  # a search tree
        or state["tree_"]["__reduce__"]["args"][0] == state["n_features_in_"]
    ),
    "cluster_centers_": lambda state: has_width(state, "cluster_centers_"),
    "vocabulary_": lambda state: (
        sorted(state["vocabulary_"].values()) == list(range(len(state["vocabulary_"])))
    ),
    "_single_linkage_tree_": lambda state: is_linkage(state["_single_linkage_tree_"]),
    "_predictors": histogram_boosting,
    "init_": gradient_boosting,
    "support_vectors_": support_vectors,
    "_fit_X": neighbors,
    "_n_features_outs": one_hot,
}
NODES = {
    "sklearn.tree._tree.Tree": decision_tree,
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": boosted_tree,
    "numpy.random.mtrand.RandomState": lambda node: (
        node["content"]["bit_generator"] == "MT19937"
        and node["content"]["state"]["key"].shape == (624,)
        and 0 <= node["content"]["state"]["pos"] <= 624
    ),
    "numpy.random._generator.Generator": lambda node: (
        node["content"]["bit_generator"]["bit_generator"] == "PCG64"
        and node["content"]["seed_seq"]["pool_size"] == 4
    ),
}
