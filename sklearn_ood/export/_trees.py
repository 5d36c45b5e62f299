"""Decision trees, forests and histogram boosting as one node of ONNX, in double."""

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier

from sklearn_ood.export._builder import written
from sklearn_ood.export._comparison import package

FOREST = """
part (double[n, WIDTH] rows) => (double[n, K] out) {
    single = Cast<to = 1>(rows)
    wide = Cast<to = 11>(single)
    votes = ai.onnx.ml.TreeEnsembleRegressor(wide)
    wide_votes = Cast<to = 11>(votes)
    out = Div(wide_votes, n_trees)
}
"""
BOOSTING = """
part (double[n, WIDTH] rows) => (double[n, K] out) {
    INDICATORS
    wide = Concat<axis = 1>(PARTS)
    gain = ai.onnx.ml.TreeEnsembleRegressor(wide)
    wide_gain = Cast<to = 11>(gain)
    raw = Add(wide_gain, baseline)
    both = MatMul(raw, to_classes)
    out = Softmax<axis = 1>(both)
}
"""
INDICATOR = """
    cell@ = Gather<axis = 1>(rows, column@)
    equal@ = Equal(cell@, categories@)
    is@ = Cast<to = 11>(equal@)
    known@ = MatMul(is@, table@)
    found@ = ReduceSum<keepdims = 1>(is@, axis)
    absent@ = Sub(one, found@)
    unknown@ = MatMul(absent@, unknown_table@)
    part@ = Add(known@, unknown@)
"""
N_BITS = 32


@dataclass
class Tree:
    """Arrays of the nodes of one tree.

    Attributes
    ----------
    feature, left, right : ndarray of int
    threshold, missing_left, is_leaf : ndarray
    value : ndarray of shape (n_nodes, n_targets)
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    is_leaf: np.ndarray
    value: np.ndarray


def tree_model(estimator):
    """Probabilities of trees as a model; None of what has no trees."""
    if isinstance(estimator, HistGradientBoostingClassifier):
        return _boosting_model(estimator)
    if isinstance(estimator, (RandomForestClassifier, ExtraTreesClassifier)):
        found = estimator.estimators_
    elif isinstance(estimator, DecisionTreeClassifier):
        found = [estimator]
    else:
        return None
    # Votes are added in float32, which is exact where leaves are pure.
    text, n_trees = FOREST.replace("WIDTH", str(estimator.n_features_in_)), float(len(found))
    trees = [_of_sklearn(each.tree_) for each in found]
    return _with_trees(written(text, n_trees=n_trees), trees)


def _of_sklearn(tree):
    is_leaf = tree.children_left == -1
    shares = tree.value[:, 0] / tree.value[:, 0].sum(axis=1, keepdims=True)
    return Tree(
        tree.feature,
        tree.threshold,
        tree.children_left,
        tree.children_right,
        tree.missing_go_to_left.astype(bool),
        is_leaf,
        shares,
    )


def _boosting_model(estimator):
    """Stages of trees; a split by categories becomes one by an indicator, computed first."""
    state, width = estimator.__getstate__(), estimator.n_features_in_
    predictors, baseline = state["_predictors"], np.atleast_2d(state["_baseline_prediction"])
    n_targets = len(predictors[0])
    categories = _categories(state["_preprocessor"], estimator.is_categorical_)
    order = np.arange(width)
    if categories:
        is_category = np.asarray(estimator.is_categorical_)
        order = np.concatenate([np.flatnonzero(is_category), np.flatnonzero(~is_category)])
    splits: dict = {}
    trees = [
        _of_boosting(predictor, target, n_targets, order, width, splits)
        for stage in predictors
        for target, predictor in enumerate(stage)
    ]
    arrays, parts, lines = {"axis": np.array([1]), "one": 1.0}, ["rows"], []
    moved = np.arange(len(splits))
    for column in sorted({column for column, _, _ in splits}):
        mine = [k for k, (owner, _, _) in enumerate(splits) if owner == column]
        moved[mine] = np.arange(len(mine)) + sum(len(each) for each in _tables(arrays))
        sides = [list(splits)[k] for k in mine]
        known = categories[column]
        table = [[code not in left for _, left, _ in sides] for code in range(len(known))]
        arrays |= {
            f"column{column}": np.array([column]),
            f"categories{column}": known,
            f"table{column}": np.array(table, dtype=np.float64),
            f"unknown_table{column}": 1.0 - np.array([[each[2] for each in sides]]),
        }
        lines.append(INDICATOR.replace("@", str(column)))
        parts.append(f"part{column}")
    for tree in trees:
        of_split = tree.feature >= width
        tree.feature[of_split] = width + moved[tree.feature[of_split] - width]
    arrays["baseline"] = baseline
    arrays["to_classes"] = np.eye(n_targets) if n_targets > 1 else np.array([[0.0, 1.0]])
    text = BOOSTING.replace("WIDTH", str(width)).replace("INDICATORS", "".join(lines))
    return _with_trees(written(text.replace("PARTS", ", ".join(parts)), **arrays), trees)


def _tables(arrays):
    return (each.T for name, each in arrays.items() if name.startswith("table"))


def _categories(preprocessor, is_category):
    """Values of each column of categories, by its position; none without such columns."""
    if preprocessor is None or is_category is None:
        return {}
    encoder = preprocessor.named_transformers_["encoder"]
    found = (np.asarray(each, dtype=np.float64) for each in encoder.categories_)
    known = (each[~np.isnan(each)] for each in found)
    return dict(zip(np.flatnonzero(is_category).tolist(), known, strict=True))


def _of_boosting(predictor, target, n_targets, order, width, splits):
    nodes = predictor.nodes
    feature, threshold = order[nodes["feature_idx"]], nodes["num_threshold"].copy()
    missing_left = nodes["missing_go_to_left"].astype(bool)
    is_leaf = nodes["is_leaf"].astype(bool)
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~is_leaf):
        bits = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        left = np.flatnonzero((bits[:, None] >> np.arange(N_BITS, dtype=np.uint32)) & 1)
        split = int(feature[node]), tuple(left.tolist()), bool(missing_left[node])
        feature[node], threshold[node] = width + splits.setdefault(split, len(splits)), 0.5
    value = np.zeros((len(nodes), n_targets))
    value[:, target] = nodes["value"]
    left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    return Tree(feature, threshold, left, right, missing_left, is_leaf, value)


def _with_trees(model, trees):
    """The model, whose node of trees gets its attributes."""
    onnx = package("onnx")
    joined = {
        name: np.concatenate([getattr(tree, name) for tree in trees])
        for name in Tree.__dataclass_fields__
    }
    sizes = [len(tree.feature) for tree in trees]
    owner = np.repeat(np.arange(len(trees)), sizes)
    own = np.concatenate([np.arange(size) for size in sizes])
    is_leaf, n_targets = joined["is_leaf"], joined["value"].shape[1]
    inner = ~is_leaf
    leaf, target = np.nonzero(is_leaf[:, None] & np.ones(n_targets, dtype=bool))
    make = onnx.numpy_helper.from_array
    attributes = {
        "aggregate_function": "SUM",
        "n_targets": n_targets,
        "nodes_treeids": owner,
        "nodes_nodeids": own,
        "nodes_featureids": np.where(inner, joined["feature"], 0),
        "nodes_modes": np.where(inner, "BRANCH_LEQ", "LEAF"),
        "nodes_values_as_tensor": make(np.where(inner, joined["threshold"], 0.0)),
        "nodes_truenodeids": np.where(inner, joined["left"], 0),
        "nodes_falsenodeids": np.where(inner, joined["right"], 0),
        "nodes_missing_value_tracks_true": (inner & joined["missing_left"]).astype(np.int64),
        "target_treeids": owner[leaf],
        "target_nodeids": own[leaf],
        "target_ids": target,
        "target_weights_as_tensor": make(joined["value"][leaf, target]),
    }
    (node,) = (each for each in model.graph.node if each.op_type == "TreeEnsembleRegressor")
    node.attribute.extend(
        onnx.helper.make_attribute(
            name, each.tolist() if isinstance(each, np.ndarray) else each
        )
        for name, each in attributes.items()
    )
    return model
