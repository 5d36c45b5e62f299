import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage

from sklearn_ood.metrics import prediction_set_distance
from sklearn_ood.metrics._set_distance import class_distances

ANIMALS = {"animal": {"cat": {}, "dog": {}, "bird": {"owl": None}}, "vehicle": ["car"]}
CLASSES = ["car", "cat", "dog", "owl"]


def brute_force(a, b, graph, classes, n):
    half = {
        (i, j): 0.5 * nx.shortest_path_length(graph, i, j) for i in classes for j in classes
    }
    values = []
    for first, second in zip(a, b, strict=True):
        tops = [np.asarray(classes)[np.argsort(-p, kind="stable")[:n]] for p in (first, second)]
        values.append(np.mean([half[i, j] for i in tops[0] for j in tops[1]]))
    return values


@given(st.integers(2, 12), st.integers(0, 2**16))
def test_is_equation_3_on_any_tree(n_classes, seed):
    rng = np.random.default_rng(seed)
    graph = nx.Graph([(i, int(rng.integers(i))) for i in range(1, 2 * n_classes)])
    classes = list(range(n_classes))
    a, b = rng.dirichlet(np.ones(n_classes), size=(2, 5))
    found = prediction_set_distance(a, b, graph, n=(1, 3))
    for column, n in zip(found.T, (1, 3), strict=True):
        np.testing.assert_allclose(column, brute_force(a, b, graph, classes, n))
    np.testing.assert_allclose(found, prediction_set_distance(b, a, graph, n=(1, 3)))


def test_edges_count_in_both_directions_and_unweighted():
    directed = nx.DiGraph([("root", "a"), ("root", "b")])
    directed["root"]["a"]["weight"] = 100
    assert class_distances(directed, ["a", "b"]).tolist() == [[0, 1], [1, 0]]


def test_nested_dict():
    expected = [[0, 2, 2, 2.5], [2, 0, 1, 1.5], [2, 1, 0, 1.5], [2.5, 1.5, 1.5, 0]]
    assert class_distances(ANIMALS, CLASSES).tolist() == expected


def test_learned_tree_is_wards():
    means = np.random.RandomState(0).normal(size=(6, 3))
    graph = nx.Graph()
    for step, (i, j, _, _) in enumerate(linkage(means, "ward")):
        graph.add_edges_from([(int(i), 6 + step), (int(j), 6 + step)])
    expected = class_distances(graph, list(range(6)))
    np.testing.assert_array_equal(class_distances(None, list(range(6)), means), expected)


def test_small_sets_of_all_classes_and_single_numbers():
    p = np.eye(4)
    everything = prediction_set_distance(p, p, ANIMALS, n=9, classes=CLASSES)
    np.testing.assert_allclose(everything, class_distances(ANIMALS, CLASSES).mean())
    assert prediction_set_distance(p, p, ANIMALS, n=1, classes=CLASSES).tolist() == [0] * 4
    assert prediction_set_distance(p, p, ANIMALS, classes=CLASSES).shape == (4, 3)
    for hierarchy in (None, {0: {}}):
        one = prediction_set_distance([[1.0]], [[1.0]], hierarchy, class_means=[[0.0]])
        assert one.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hierarchy": {"animal": ["cat", "dog"]}}, r"without the classes \['car', 'owl'\]"),
        (
            {"hierarchy": {**ANIMALS, "pet": ["dog"]}},
            r"in several places with \['dog'\]",
        ),
        (
            {"hierarchy": nx.Graph([("car", "cat"), ("dog", "owl")])},
            "without a path from class",
        ),
        ({"hierarchy": None}, "class_means=None"),
        ({"hierarchy": None, "class_means": np.zeros((2, 1))}, "one row a class"),
        ({"hierarchy": ANIMALS, "n": 0}, "Got n=0"),
        ({"hierarchy": ANIMALS, "a": np.full((4, 4), np.nan)}, "Got NaN in a or b"),
        ({"hierarchy": ANIMALS, "n": ()}, "expected whole numbers >= 1"),
        ({"hierarchy": ANIMALS, "classes": ["cat"]}, "1 classes for probabilities of 4"),
        ({"hierarchy": ANIMALS, "b": np.eye(3)}, r"b of shape \(3, 3\)"),
    ],
)
def test_wrong_arguments(arguments, message):
    good = {"a": np.eye(4), "b": np.eye(4), "classes": CLASSES}
    with pytest.raises(ValueError, match=message):
        prediction_set_distance(**good | arguments)


def test_a_wrong_kind_of_hierarchy():
    with pytest.raises(TypeError, match="hierarchy of type str"):
        prediction_set_distance(np.eye(4), np.eye(4), "wordnet", classes=CLASSES)
