"""Decision trees, forests and histogram boosting as one node of ONNX, in double."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn import ensemble
from sklearn.tree import DecisionTreeClassifier

from sklearn_ood.export._comparison import package
from sklearn_ood.export._flow import onnx_of, places_in, tensor


class Tree(NamedTuple):
    """Arrays of the nodes of one tree; ``value`` is of shape (n_nodes, n_targets)."""

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    is_leaf: np.ndarray
    value: np.ndarray


def tree_probabilities(estimator, flow):
    """Probabilities by trees; None of what has no trees."""
    if isinstance(estimator, ensemble.HistGradientBoostingClassifier):
        return _boosted(estimator, flow)
    if isinstance(estimator, (ensemble.RandomForestClassifier, ensemble.ExtraTreesClassifier)):
        trees = estimator.estimators_
    elif isinstance(estimator, DecisionTreeClassifier):
        trees = [estimator]
    else:
        return None
    single = flow.to(flow.values.float().double())
    # Votes are added in float32, which is exact where leaves are pure.
    votes = single.by_model(
        id(estimator), lambda: _model([_grown(each.tree_) for each in trees])
    )
    return votes / len(trees)


def _grown(tree):
    shares = tree.value[:, 0] / tree.value[:, 0].sum(axis=1, keepdims=True)
    left, right = tree.children_left, tree.children_right
    missing_left = tree.missing_go_to_left.astype(bool)
    return Tree(tree.feature, tree.threshold, left, right, missing_left, left == -1, shares)


def _boosted(estimator, flow):
    """Stages of trees; a split by a set of categories becomes one by an indicator."""
    state = estimator.__getstate__()
    rows = _codes_first(estimator, state["_preprocessor"], flow)
    splits, width = {}, estimator.n_features_in_
    trees = [
        _of_stage(tree, np.eye(len(stage))[target], splits, width)
        for stage in state["_predictors"]
        for target, tree in enumerate(stage)
    ]
    if splits:
        rows = torch.cat([rows, _indicators(splits, rows)], dim=1)
    gain = flow.to(rows).by_model(id(estimator), lambda: _model(trees))
    raw = gain + tensor(np.atleast_2d(state["_baseline_prediction"]))
    if raw.shape[1] == 1:
        raw = torch.cat([torch.zeros_like(raw), raw], dim=1)
    return raw.softmax(dim=1)


def _codes_first(estimator, preprocessor, flow):
    """Columns as histogram boosting has them: codes of categories (NaN of others), numbers."""
    rows = flow.values
    if preprocessor is None or estimator.is_categorical_ is None:
        return rows
    is_category, codes = np.asarray(estimator.is_categorical_), []
    known = preprocessor.named_transformers_["encoder"].categories_
    for column, categories in zip(np.flatnonzero(is_category), known, strict=True):
        present = [each for each in categories if each == each]
        code = places_in(flow.places(column, present), rows[:, column])
        codes.append(torch.where(code == len(present), torch.nan, code.double()))
    numbers = rows[:, torch.as_tensor(np.flatnonzero(~is_category))]
    return torch.cat([torch.stack(codes, dim=1), numbers], dim=1)


def _of_stage(tree, target, splits, width):
    """A tree that adds to one target; ``splits`` gets the place of each that is by a set."""
    nodes = tree.nodes
    feature, threshold = nodes["feature_idx"].copy(), nodes["num_threshold"].copy()
    missing_left, is_leaf = nodes["missing_go_to_left"].astype(bool), nodes["is_leaf"] == 1
    for node in np.flatnonzero(nodes["is_categorical"] & ~is_leaf):
        bits = tree.raw_left_cat_bitsets[nodes["bitset_idx"][node]].astype("<u4")
        goes_left = np.unpackbits(bits.view(np.uint8), bitorder="little").tolist()
        split = feature[node], (*goes_left, missing_left[node])
        feature[node] = width + splits.setdefault(split, len(splits))
        threshold[node] = 0.5
    left, right = (nodes[each].astype(np.int64) for each in ("left", "right"))
    value = nodes["value"][:, None] * target
    return Tree(feature, threshold, left, right, missing_left, is_leaf, value)


def _indicators(splits, rows):
    """Whether rows go right at each split by a set of codes, or by what is missing."""
    columns, goes_left = map(np.array, zip(*splits, strict=True))
    codes = rows[:, torch.as_tensor(columns)].nan_to_num(goes_left.shape[1] - 1).long()
    return tensor(1 - goes_left.T).gather(0, codes)


def _model(trees):
    """Sums of the trees' values, (n, n_targets), as a model of rows in double."""
    onnx = package("onnx")
    sizes = [len(tree.feature) for tree in trees]
    owner = np.repeat(np.arange(len(trees)), sizes)
    own = np.concatenate([np.arange(size) for size in sizes])
    nodes = Tree(*map(np.concatenate, zip(*trees, strict=True)))
    leaf, target = np.indices(nodes.value[nodes.is_leaf].shape).reshape(2, -1)
    leaf = np.flatnonzero(nodes.is_leaf)[leaf]
    inner, double = ~nodes.is_leaf, onnx.numpy_helper.from_array
    attributes = {
        "n_targets": nodes.value.shape[1],
        "nodes_treeids": owner,
        "nodes_nodeids": own,
        "nodes_featureids": np.where(inner, nodes.feature, 0),
        "nodes_modes": np.where(inner, "BRANCH_LEQ", "LEAF"),
        "nodes_values_as_tensor": double(np.where(inner, nodes.threshold, 0.0)),
        "nodes_truenodeids": np.where(inner, nodes.left, 0),
        "nodes_falsenodeids": np.where(inner, nodes.right, 0),
        "nodes_missing_value_tracks_true": (inner & nodes.missing_left).astype(np.int64),
        "target_treeids": owner[leaf],
        "target_nodeids": own[leaf],
        "target_ids": target,
        "target_weights_as_tensor": double(nodes.value[leaf, target]),
    }
    model = onnx_of("trees")
    for name, value in attributes.items():
        value = value.tolist() if isinstance(value, np.ndarray) else value
        model.graph.node[0].attribute.append(onnx.helper.make_attribute(name, value))
    return model
