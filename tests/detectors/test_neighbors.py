"""How far it is to the training rows of each class."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import make_blobs

import sklearn_ood
from sklearn_ood import NeighborDistance

WITHOUT_TORCH = """
import sys
from types import ModuleType

package = sys.modules["sklearn_ood"] = ModuleType("sklearn_ood")
package.__path__ = [sys.argv[1]]
from sklearn_ood import detectors
from sklearn_ood.detectors import NeighborDistance

NeighborDistance().fit([[0.0], [1.0]], [0, 1]).score_samples([[2.0]])
assert "torch" not in sys.modules
assert "NetFeatures" in dir(detectors)
assert detectors.NetFeatures.__name__ == "NetFeatures"
assert "torch" in sys.modules
"""


@pytest.fixture(scope="module")
def blobs():
    X, y = make_blobs(600, centers=4, n_features=4, random_state=0)
    return X, np.array(["a", "b", "c", "d"])[y]


def test_neighbors_beyond_the_class_and_a_subsample(blobs):
    X, y = blobs
    few = NeighborDistance(n_neighbors=5, max_samples=8, random_state=0).fit(X, y)
    kept = sum(map(len, few.rows_))
    assert 8 <= kept <= 12
    assert np.isfinite(few.score_samples(X)).all()
    proba = NeighborDistance().fit(X, y).predict_proba(X)
    np.testing.assert_allclose(proba.sum(1), 1)
    with pytest.raises(ValueError, match="n_neighbors=0"):
        NeighborDistance(0).fit(X, y)
    with pytest.raises(ValueError, match="max_samples=0"):
        NeighborDistance(max_samples=0).fit(X, y)
    with pytest.raises(ValueError, match="not taught the classes"):
        few.class_score_samples(X[:1], ["z"])
    with pytest.raises(ValueError, match=r"not taught the classes \[7, 'z'\]"):
        few.class_score_samples(X[:2], np.array([7, "z"], dtype=object))
    with pytest.raises(ValueError, match="Got y with 1 rows"):
        few.class_score_samples(X[:2], ["z"])


def test_usable_without_loading_torch():
    command = [sys.executable, "-c", WITHOUT_TORCH, sklearn_ood.__path__[0]]
    subprocess.run(command, check=True, timeout=120)


@pytest.mark.parametrize("n_features", [4, 17, 40])
@pytest.mark.parametrize("n_neighbors", [1, 3])
def test_a_distance_does_not_depend_on_the_rows_beside_it(n_features, n_neighbors):
    rng = np.random.default_rng(0)
    rows, new = rng.normal(size=(2, 90, n_features)) + 1e6
    for dtype in (np.float32, np.float64):
        near = NeighborDistance(n_neighbors).fit(rows.astype(dtype), np.arange(90) % 3)
        whole = near.decision_function(new.astype(dtype))
        for size in (1, 7, 50):
            parts = [new[k : k + size].astype(dtype) for k in range(0, 90, size)]
            given = np.concatenate(list(map(near.decision_function, parts)))
            np.testing.assert_array_equal(given, whole)
