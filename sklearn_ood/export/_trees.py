"""Decision trees, forests and histogram boosting as one node of ONNX, in double."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier

from sklearn_ood.export._comparison import package
from sklearn_ood.export._flow import places_in, tensor, with_constants

TREES = """
trees (double[n, d] rows) => (float[n, k] out) {
    out = ai.onnx.ml.TreeEnsembleRegressor <aggregate_function = "SUM"> (rows)
}
"""
N_BITS = 32


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
    if isinstance(estimator, HistGradientBoostingClassifier):
        return _boosted(estimator, flow)
    if isinstance(estimator, (RandomForestClassifier, ExtraTreesClassifier)):
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
    return Tree(
        tree.feature,
        tree.threshold,
        tree.children_left,
        tree.children_right,
        tree.missing_go_to_left.astype(bool),
        tree.children_left == -1,
        shares,
    )


def _boosted(estimator, flow):
    """Stages of trees; a split by categories becomes one by an indicator, computed first."""
    state = estimator.__getstate__()
    stages, columns = state["_predictors"], _Columns.of(estimator, state["_preprocessor"])
    trees = [
        columns.tree(each, target, len(stage))
        for stage in stages
        for target, each in enumerate(stage)
    ]
    rows = torch.cat([flow.values, *columns.indicators(flow.values)], dim=1)
    gain = flow.to(rows).by_model(id(estimator), lambda: _model(trees))
    raw = gain + tensor(np.atleast_2d(state["_baseline_prediction"]))
    if raw.shape[1] == 1:
        raw = torch.cat([torch.zeros_like(raw), raw], dim=1)
    return raw.softmax(dim=1)


@dataclass
class _Columns:
    """Columns of histogram boosting: as it orders them, with categories, and their splits."""

    order: np.ndarray
    categories: dict
    splits: dict

    @classmethod
    def of(cls, estimator, preprocessor):
        is_category = estimator.is_categorical_
        if preprocessor is None or is_category is None:
            return cls(np.arange(estimator.n_features_in_), {}, {})
        found = np.flatnonzero(is_category)
        known = preprocessor.named_transformers_["encoder"].categories_
        known = (np.asarray(each, dtype=np.float64) for each in known)
        known = [each[~np.isnan(each)] for each in known]
        order = np.concatenate([found, np.flatnonzero(~np.asarray(is_category))])
        return cls(order, dict(zip(found.tolist(), known, strict=True)), {})

    def tree(self, predictor, target, n_targets):
        """One tree, whose splits by categories are noted."""
        nodes, width = predictor.nodes, len(self.order)
        feature, threshold = self.order[nodes["feature_idx"]], nodes["num_threshold"].copy()
        missing_left, is_leaf = (
            nodes[each].astype(bool) for each in ("missing_go_to_left", "is_leaf")
        )
        for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~is_leaf):
            bits = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
            left = np.flatnonzero((bits[:, None] >> np.arange(N_BITS, dtype=np.uint32)) & 1)
            split = int(feature[node]), tuple(left.tolist()), bool(missing_left[node])
            feature[node] = width + self.splits.setdefault(split, len(self.splits))
            threshold[node] = 0.5
        value = np.zeros((len(nodes), n_targets))
        value[:, target] = nodes["value"]
        left, right = (nodes[each].astype(np.int64) for each in ("left", "right"))
        return Tree(feature, threshold, left, right, missing_left, is_leaf, value)

    def indicators(self, rows):
        """Of each split whether rows go right; what is unknown goes as what is missing does."""
        owners, made = np.array([column for column, _, _ in self.splits], dtype=np.int64), []
        for column in np.unique(owners).tolist():
            known = self.categories[column]
            table = [
                [code not in left for code in range(len(known))] + [not missing_left]
                for owner, left, missing_left in self.splits
                if owner == column
            ]
            made.append(tensor(table).T[places_in(known, rows[:, column])])
        by_owner = np.argsort(np.argsort(owners, kind="stable"))
        return [torch.cat(made, dim=1)[:, torch.as_tensor(by_owner)]] if made else []


def _model(trees):
    """Sums of the trees' values, (n, n_targets), as a model of rows in double."""
    onnx = package("onnx")
    sizes = [len(tree.feature) for tree in trees]
    owner, own = (
        np.repeat(np.arange(len(trees)), sizes),
        np.concatenate(list(map(np.arange, sizes))),
    )
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
    model = with_constants(TREES)
    model.graph.node[0].attribute.extend(
        onnx.helper.make_attribute(
            name, value.tolist() if isinstance(value, np.ndarray) else value
        )
        for name, value in attributes.items()
    )
    return model
