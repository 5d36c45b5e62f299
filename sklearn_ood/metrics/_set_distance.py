"""How far apart two classifiers' best guesses lie in a hierarchy of the classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import linkage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import shortest_path


def prediction_set_distance(
    a: ArrayLike,
    b: ArrayLike,
    hierarchy: Any = None,
    *,
    n: int | Sequence[int] = (1, 3, 5),
    classes: ArrayLike | None = None,
    class_means: ArrayLike | None = None,
) -> NDArray:
    """Mean distance, along a hierarchy, of the likeliest classes of two classifiers.

    ``d = mean over pairs (i, j) of H(i, j)`` with i among the n likeliest classes of the first
    and j among those of the second; H is half the length of the shortest path (V. Palaniappan
    et al., GeValDi, 2023, eq. 3). Of shape (n_samples, len(n)), or (n_samples,) for a single n.

    Parameters
    ----------
    a, b : array-like of shape (n_samples, n_classes)
        Probabilities, or anything that orders the classes; of equal ones the first comes first.
    hierarchy : networkx graph, dict or None, default=None
        A graph that has every class as a node, undirected paths count; or a nested dict
        (``{"animal": {"cat": {}, "dog": {}}}``; lists may stand for the lowest level) whose
        keys hold every class once. None learns Ward's agglomerative tree from ``class_means``.
    n : int or tuple of int, default=(1, 3, 5)
        Sizes of the sets; with fewer classes than that, all of them.
    classes : array-like of shape (n_classes,), default=None
        Label of each column; None is 0, 1, ... A ValueError says which is not in the hierarchy,
        or has no path to the others.
    class_means : array-like of shape (n_classes, n_features), default=None
        A typical input of each class, where ``hierarchy`` is None.

    Examples
    --------
    >>> from sklearn_ood.metrics import prediction_set_distance
    >>> hierarchy = {"animal": ["cat", "dog"], "vehicle": ["car"]}
    >>> a, b = [[0.7, 0.2, 0.1]], [[0.1, 0.2, 0.7]]
    >>> prediction_set_distance(a, b, hierarchy, n=(1, 2), classes=["car", "cat", "dog"])
    array([[2.  , 1.25]])
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(
            f"Got a of shape {a.shape} and b of shape {b.shape}, but expected two arrays of "
            "shape (n_samples, n_classes)."
        )
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("Got NaN in a or b, but numbers are needed to order the classes.")
    sizes: Any = tuple(np.atleast_1d(n))
    if not sizes or not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
        raise ValueError(f"Got n={n!r}, but expected whole numbers >= 1.")
    labels = np.arange(a.shape[1]) if classes is None else np.asarray(classes)
    if len(labels) != a.shape[1]:
        raise ValueError(
            f"Got {len(labels)} classes for probabilities of {a.shape[1]}; expected one label "
            "a column."
        )
    distance = class_distances(hierarchy, labels, class_means)
    first, second = (np.argsort(-p, axis=1, kind="stable") for p in (a, b))
    columns = [_mean_distance(first[:, :size], second[:, :size], distance) for size in sizes]
    return columns[0] if isinstance(n, Integral) else np.column_stack(columns)


def class_distances(hierarchy, classes, class_means=None):
    """Half the shortest path between all pairs of classes, of shape (n_classes, n_classes)."""
    if hierarchy is None:
        edges, nodes = _ward_tree(classes, class_means)
    elif isinstance(hierarchy, Mapping):
        edges, nodes = _dict_edges(hierarchy)
    elif hasattr(hierarchy, "edges") and hasattr(hierarchy, "nodes"):
        nodes = list(hierarchy.nodes)
        position = {node: i for i, node in enumerate(nodes)}
        edges = [[position[node] for node in edge[:2]] for edge in hierarchy.edges]
    else:
        raise TypeError(
            f"Got hierarchy of type {type(hierarchy).__name__}, but expected a networkx graph, "
            "a nested dict or None."
        )
    places = _places(nodes, np.asarray(classes).tolist())
    start, end = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(start)), (start, end)), shape=[len(nodes)] * 2).tocsr()
    length = shortest_path(graph, directed=False, unweighted=True, indices=places)
    distance = 0.5 * length[:, places]
    if np.isinf(distance).any():
        i, j = np.argwhere(np.isinf(distance))[0]
        raise ValueError(
            f"Got a hierarchy without a path from class {classes[i]!r} to class "
            f"{classes[j]!r}; join them by a common root."
        )
    return distance


def _mean_distance(first, second, distance):
    pairs = product(first.T, second.T)
    return sum(distance[a, b] for a, b in pairs) / (first.shape[1] * second.shape[1])


def _ward_tree(classes, class_means):
    if class_means is None:
        raise ValueError(
            "Got hierarchy=None and class_means=None, but the tree is learned from the "
            "classes' means; pass class_means or a hierarchy."
        )
    means = np.asarray(class_means, dtype=np.float64)
    if means.ndim != 2 or len(means) != len(classes):
        raise ValueError(
            f"Got class_means of shape {means.shape} for {len(classes)} classes, but expected "
            "one row a class."
        )
    children = linkage(means, "ward")[:, :2].astype(int) if len(means) > 1 else np.empty((0, 2))
    parents = len(means) + np.arange(len(children))
    nodes = [*np.asarray(classes).tolist(), *(object() for _ in parents)]
    return np.column_stack([children.ravel(), np.repeat(parents, 2)]), nodes


def _dict_edges(hierarchy):
    """Edges and nodes of a nested dict, under a root of its own that no class is called."""
    nodes, edges, waiting = [object()], [], [(0, hierarchy)]
    while waiting:
        parent, children = waiting.pop()
        below = children if isinstance(children, Mapping) else dict.fromkeys(children or ())
        for name, inner in below.items():
            edges.append((parent, len(nodes)))
            waiting.append((len(nodes), inner))
            nodes.append(name)
    return edges, nodes


def _places(nodes, labels):
    counts, place = Counter(nodes), {node: i for i, node in enumerate(nodes)}
    found = {label: counts[label] for label in labels}
    for wrong, words in ((0, "without the classes"), (2, "in several places with")):
        named = [label for label, n in found.items() if min(n, 2) == wrong]
        if named:
            raise ValueError(
                f"Got a hierarchy {words} {named[:10]}, but each class must be in it once."
            )
    return np.array([place[label] for label in labels])
