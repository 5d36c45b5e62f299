"""Indices that compiled code follows without a look: each must lie inside its arrays.

Everything here reads plain data: arrays, literals, the state of an object as a dict, and
shadows in place of other objects.
"""

import numpy as np
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder
from sklearn.tree._tree import NODE_DTYPE
from sklearn.utils import check_array

BEFORE_BOOSTING = OrdinalEncoder, FunctionTransformer, check_array
MAX_WIDTH, MAX_JOBS, MAX_LAYERS = 2**24, 1024, 4000


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


def decision_tree(state, n_features, n_classes, n_outputs):
    """Nodes of one tree, with the features and sizes that it says."""
    nodes, values, n = state["nodes"], state["values"], state["node_count"]
    is_inner = nodes["left_child"] != -1
    is_whole, depth = is_tree(nodes["left_child"], nodes["right_child"], is_inner)
    expected = (n,), (n_outputs,), (n, n_outputs, n_classes.max())
    return (
        (nodes.dtype, values.dtype, n_classes.dtype) == (NODE_DTYPE, np.float64, np.intp)
        and (nodes.shape, n_classes.shape, values.shape) == expected
        and is_whole
        and depth <= state["max_depth"] <= n
        and inside(nodes["feature"][is_inner], n_features)
        and not (n_classes.min() < 1 or np.isnan(nodes["threshold"][is_inner]).any())
    )


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


def columns_of_boosting(columns, state):
    """Codes of the categories, then the numbers as they are: each column once."""
    if columns is None:
        return True
    names, steps, masks = zip(*vars(columns)["transformers_"][:2], strict=True)
    places = vars(columns)["_transformer_to_input_indices"]
    others = [step for _, step, _ in vars(columns)["transformers_"][2:]]
    each_once = list(range(state["n_features_in_"]))
    return (
        (*map(type, steps), vars(steps[1])["func"]["func"]) == BEFORE_BOOSTING
        and others in ([], ["drop"])
        and all(mask.dtype == bool and mask.shape == (len(each_once),) for mask in masks)
        and sorted(np.concatenate([*map(np.flatnonzero, masks)]).tolist()) == each_once
        and sorted(places[names[0]] + places[names[1]]) == each_once
    )


def gradient_boosting(start, state):
    """Every stage adds to columns that are there."""
    n, is_zero = state["n_trees_per_iteration_"], isinstance(start, str)
    first = {} if is_zero else vars(start)
    trees = [vars(tree) for stage in state["estimators_"] for tree in stage]
    sizes = {(each["n_features_in_"], each["tree_"].value.shape[1:]) for each in trees}
    n_started = first.get("n_classes_", 1), len(first.get("class_prior_", "1"))
    return (
        {len(stage) for stage in state["estimators_"]} == {n}
        and sizes == {(state["n_features_in_"], (1, 1))}
        and state["_loss"].is_multiclass == (n > 1)
        and (is_zero or ("Dummy" in type(start).__name__ and first["n_outputs_"] == 1))
        and (is_zero or n == 1 or n_started == (n, n))
    )


def support_vectors(vectors, state):
    """What libsvm takes by pointers has the sizes that it expects."""
    counts, support, weights = state["_n_support"], state["support_"], state["_dual_coef_"]
    n, k, width = len(support), len(counts), state["n_features_in_"]
    likely = state.get("_effective_probability")
    sizes, pairs = (state["_probA"].shape, state["_probB"].shape), (k * (k - 1) // 2,)
    return (
        isinstance(state["kernel"], str)  # a function's support_ are columns of what it gives
        and (state["kernel"] == "precomputed" or vectors.shape == (n, width))
        and (weights.shape, weights.size) == ((k - 1, n), (k - 1) * n)
        and state["_intercept_"].shape == pairs
        and (sizes == (pairs, pairs) or (sizes == ((0,), (0,)) and not likely))
        and counts.dtype == support.dtype == np.int32
        and counts.min() >= 0
        and ("classes_" not in state or counts.sum() == n)
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
    lists = state["categories_"], groups, rare, nothing if drops is None else drops
    return all(
        inside(range(len(categories)) if group is None else group, n + (drop is not None))
        and (group is None) == (few is None)
        and inside(0 if drop is None else drop, n + 1)
        for n, categories, group, few, drop in zip(n_columns, *lists, strict=True)
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
    "hidden_layer_sizes": lambda sizes, state: (
        (np.size(sizes) + 1) * state.get("n_classes_", 1) <= MAX_LAYERS
    ),
    "owner_": lambda owner, _: inside(owner, len(owner)),  # classes of components
    "_n_threads": lambda number, _: 0 < number <= MAX_JOBS,
    "n_jobs": lambda number, _: abs(number or 0) <= MAX_JOBS,
    "vocabulary_": lambda words, _: sorted(words.values()) == list(range(len(words))),
    "cluster_centers_": lambda rows, state: rows.shape[1] == state["n_features_in_"],
    "tree_": tree_of_its_width,
    "_single_linkage_tree_": linkage,
    "nodes": boosted_tree,
    "_predictors": histogram_boosting,
    "_preprocessor": columns_of_boosting,
    "init_": gradient_boosting,
    "support_vectors_": support_vectors,
    "_fit_X": neighbors,
    "_n_features_outs": one_hot,
}
