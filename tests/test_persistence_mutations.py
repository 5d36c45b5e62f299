"""Files with errors at random places and a right checksum: refused, or what loads answers."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from contract.estimators import SOFTMAX
from contract.persistence_files import nodes_of, npy, parts_of, write
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, OrdinalEncoder
from sklearn.svm import SVC

from sklearn_ood import (
    DAEConfidence,
    GenerativeClassifier,
    NeighborDistance,
    SelectiveClassifier,
    load,
    save,
)

X, Y = load_iris(return_X_y=True)
X, Y = X[::2].copy(), Y[::2]
CODES = np.column_stack([Y, X[:, 0]])
TABLE = make_pipeline(
    ColumnTransformer(
        [
            ("bins", make_pipeline(SimpleImputer(), KBinsDiscretizer()), [0, 1]),
            ("one hot", OneHotEncoder(handle_unknown="ignore", drop="first"), [2]),
            ("ordinal", OrdinalEncoder(), [3]),
        ]
    ),
    SelectKBest(k=5),
    SVC(),
)
BALLS = KNeighborsClassifier(algorithm="ball_tree", p=3, metric_params={"w": X[0]})
SEEDED = {"random_state": 0}
MUTATED = {
    "softmax": (clone(SOFTMAX).set_params(max_epochs=1), X),
    "autoencoder": (DAEConfidence(hidden_layer_sizes=(4,), max_epochs=1, **SEEDED), X),
    "forest": (RandomForestClassifier(2, max_depth=3, **SEEDED), X),
    "histograms": (HistGradientBoostingClassifier(max_iter=1, categorical_features=[0]), CODES),
    "boosting": (GradientBoostingClassifier(n_estimators=2, max_depth=2, **SEEDED), X),
    "isolation": (IsolationForest(n_estimators=2, max_samples=8, **SEEDED), X),
    "table": (TABLE, X.round()),
    "neighbors": (KNeighborsClassifier(), X),
    "search tree": (BALLS, X),
    "keys": (LogisticRegressionCV(cv=2, class_weight={0: 1, 1: 2, 2: 1}), X),
    "support vectors": (SVC(), X),
    "clusters": (KMeans(2, n_init=1, **SEEDED), X),
    "generative": (GenerativeClassifier("pca", **SEEDED), X),
    "selective": (SelectiveClassifier(NeighborDistance(), coverage=0.8, **SEEDED), X),
    "search": (GridSearchCV(CalibratedClassifierCV(SVC(), cv=2), {"cv": [2]}, cv=2), X),
}
JUNK = [None, True, -1, 0, 1, 2, 2**31, 2**63, 10**18, 0.5, float("nan"), float("inf"), "", "a"]
CALLS = ("predict", "predict_proba", "decision_function", "score_samples", "transform")
CALLS += ("kneighbors", "apply", "decision_path", "staged_predict", "class_score_samples")
USUAL = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, MemoryError)
USUAL += (RuntimeError, AssertionError, ImportError, OSError)
USUAL += (NameError,)  # of scikit-learn, with a parameter that fit would not have taken
KINDS = ("literal", "array", "shape", "swap", "drop", "loader", "bytes")


def changed_array(array, rng):
    """One item, or the shape, of an array changed."""
    if array.dtype.names and array.size:
        field = rng.choice(array.dtype.names)
        array[field][rng.integers(len(array))] = rng.integers(-3, 300) % 256
    elif array.dtype.kind in "biuf" and array.size:
        data = array.reshape(-1).view(np.uint8)
        data[rng.integers(data.size)] = rng.integers(256)
    return array


def other_shape(array, rng):
    shapes = [array[:-1] if array.ndim else array, array.T, array.reshape(-1), array[..., :1]]
    return shapes[rng.integers(4)]


def mutated(schema, members, rng):
    """One change: of a literal, an array, a shape, of the structure, of the text."""
    nodes, kind = list(nodes_of(schema)), rng.choice(KINDS)
    arrays = [name for name in members if name.endswith(".npy")]
    if kind == "literal":
        literals = [node for node in nodes if node["__loader__"] == "JsonNode"]
        rng.choice(literals)["content"] = json.dumps(JUNK[rng.integers(len(JUNK))])
    elif kind in ("array", "shape") and arrays:
        name, edit = rng.choice(arrays), changed_array if kind == "array" else other_shape
        members[name] = npy(edit(np.load(io.BytesIO(members[name])).copy(), rng))
    elif kind == "swap":
        one, other = (nodes[i] for i in rng.integers(1, len(nodes), 2))
        other = json.loads(json.dumps(other))
        one.clear()
        one.update(other)
    elif kind == "drop":
        states = [
            node for node in nodes if node["__loader__"] == "DictNode" and node["content"]
        ]
        state = states[rng.integers(len(states))]
        state["content"].pop(rng.choice(list(state["content"])))
        state["key_types"]["content"].pop()
    elif kind == "loader":
        one, other = (nodes[i] for i in rng.integers(len(nodes), size=2))
        one.update({key: other[key] for key in ("__loader__", "__module__", "__class__")})
    else:
        text = bytearray(json.dumps(schema).encode())
        text[rng.integers(len(text))] = rng.integers(256)
        schema = json.loads(bytes(text))
    return schema, members


def ending(path, rows):
    """How a file ends: refused, or loaded and every call gives numbers or a usual error."""
    try:
        estimator = load(path)
    except ValueError:
        return "refused"
    for name in CALLS:
        with contextlib.suppress(*USUAL):
            arguments = (rows, Y) if name == "class_score_samples" else (rows,)
            result = getattr(estimator, name)(*arguments)
            list(result) if name == "staged_predict" else np.shape(result)
    return "loaded"


def endings(name, folder, n, seed=0):
    """How n mutations of a file end; each is of one to three changes."""
    estimator, rows = MUTATED[name]
    path, rng, counts = Path(folder) / "model.ood", np.random.default_rng(seed), Counter()
    save(clone(estimator).fit(rows, Y), path)
    whole = path.read_bytes()
    while counts.total() < n:
        path.write_bytes(whole)
        schema, members = parts_of(path)
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, IndexError):
            for _ in range(rng.integers(1, 4)):
                schema, members = mutated(schema, members, rng)
        write(path, schema, members)
        path.with_name("last.ood").write_bytes(path.read_bytes())
        counts[ending(path, rows)] += 1
    return counts


def test_a_mutated_file_never_crashes(tmp_path):
    """In a process of its own; ``N_MUTATIONS`` in the environment says how many of each."""
    code = (
        "import sys, warnings; warnings.simplefilter('ignore'); "
        f"sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        "import test_persistence_mutations as tests; "
        f"[print(name, tests.endings(name, {str(tmp_path)!r}, "
        f"{os.environ.get('N_MUTATIONS', '10')}), flush=True) for name in tests.MUTATED]"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, (ran.stdout, ran.stderr[-2000:])
    print(ran.stdout)
