import io
import json
import pickle
import re
import struct
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sklearn
import skops.io
from contract.persistence_files import (
    HEADER,
    a_part,
    archive,
    change,
    literal,
    mapping,
    node,
    nodes_of,
    npy,
    parts_of,
    seal,
    sequence,
    state_of,
    write,
)
from contract.persistence_types import FILE, lines, ours
from sklearn.base import clone
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC
from sklearn.tree._tree import NODE_DTYPE

from sklearn_ood import (
    CombinedClassifier,
    NeighborDistance,
    NoveltyDetector,
    SelectiveClassifier,
    SoftmaxClassifier,
    load,
    save,
)
from sklearn_ood.generators import VAE
from sklearn_ood.persistence._reader import FUNCTIONS, RULES, SIGNS

X, Y = load_iris(return_X_y=True)
X, Y = X[::2].copy(), Y[::2]


@pytest.fixture(scope="module")
def classifier():
    return SoftmaxClassifier(max_epochs=1, hidden_layer_sizes=(16,), random_state=0).fit(X, Y)


@pytest.fixture
def saved(classifier, tmp_path):
    save(classifier, tmp_path / "model.ood")
    return tmp_path / "model.ood"


def refused(path, match="Got"):
    """Refused at once and in little memory, before skops makes anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skops.io, "loads", lambda *_, **__: pytest.fail("was made"))
        start = time.process_time()  # what others take of the machine is not counted
        with pytest.raises(ValueError, match=match):
            load(path)
        assert time.process_time() - start < 1
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=match):
                load(path)
            assert tracemalloc.get_traced_memory()[1] < 200e6
        finally:
            tracemalloc.stop()


NAMES = [
    "os.system",
    "posix.system",
    "builtins.eval",
    "builtins.exec",
    "builtins.getattr",
    "subprocess.Popen",
    "numpy.load",
    "functools.reduce",
    "importlib.import_module",
    "sklearn.datasets.load_files",
    "sklearn.externals._arff.load",
    "sklearn.tests.test_base.MyEstimator",
    "sklearn.utils.parallel.Parallel",
    "torch.load",
    "torch.nn.modules.linear.Identity",
    "torch.nn.qat.Linear",
    "torch.nn.quantized.Linear",
    "torch.nn.utils.parametrize.ParametrizationList",
    "sklearn_ood.load",
    "sklearn_ood.export._package",
    "sklearn_ood.persistence._parts.Recipe",
    "sklearn_ood.persistence._files.os",
    "sklearn_ood.nets._training.torch",
    "MyNetwork",
    "",
]
LOADERS = [
    "ObjectNode",
    "FunctionNode",
    "TypeNode",
    "MethodNode",
    "OperatorFuncNode",
    "ConstructorFromReduceNode",
    "LossNode",
    "TreeNode",
    "DictNode",
    "ListNode",
    "NdArrayNode",
    "CachedNode",
    "DefaultDictNode",
    "BytesNode",
    "PickleNode",
]
TRANSFORMER = "sklearn.preprocessing._function_transformer.FunctionTransformer"
TREE = "sklearn.tree._tree.Tree"
LISTED = {
    TRANSFORMER: "ObjectNode",
    "numpy.log": "FunctionNode",
    "builtins.int": "TypeNode",
    TREE: "TreeNode",
}


@pytest.mark.parametrize("name", NAMES)
def test_only_names_of_the_list_are_made(name, saved):
    schema, members = parts_of(saved)
    for loader in LOADERS:
        state_of(schema)["module"] = node(loader, name, content=mapping(), attrs=mapping())
        write(saved, schema, members)
        refused(saved, "not among the classes and functions")


@pytest.mark.parametrize("loader", LOADERS)
def test_a_listed_name_is_made_in_its_own_way_alone(loader, saved):
    schema, members = parts_of(saved)
    for name, right in LISTED.items():
        if loader != right:
            state_of(schema)["module"] = node(loader, name, content=mapping())
            write(saved, schema, members)
            refused(saved, "not among the classes and functions")


def test_no_module_of_others_is_imported(saved, tmp_path, monkeypatch):
    (tmp_path / "sideeffect.py").write_text("class Bad: pass")
    monkeypatch.syspath_prepend(tmp_path)
    bad = node("ObjectNode", "sideeffect.Bad", content=mapping())
    change(saved, lambda schema: state_of(schema).update(module=bad))
    refused(saved, "Bad")
    assert "sideeffect" not in sys.modules


def call_of(name):
    """A partial that calls a function, as a file would hold it to run it at predict."""
    content = {
        "func": node("FunctionNode", name),
        "args": sequence("tuple", literal("echo pwned")),
        "kwds": mapping(),
        "namespace": literal(None),
    }
    return node("PartialNode", "functools.partial", content=content)


def an_object(kind, **state):
    return node(
        "ObjectNode", f"{kind.__module__}.{kind.__qualname__}", content=mapping(**state)
    )


def array(file="1.npy", **fields):
    return node("NdArrayNode", "numpy.ndarray", **{"type": "numpy", "file": file} | fields)


def nested(depth, loader="list"):
    inner = literal(1)
    for _ in range(depth):
        inner = sequence(loader, inner)
    return inner


def doubled(depth):
    """A tuple of the same tuple twice, again and again: 2**depth hash steps."""
    inner = sequence("tuple", literal(1)) | {"__id__": 10**6}
    for i in range(10**6, 10**6 + depth):
        inner = sequence("tuple", inner, {"__id__": i}) | {"__id__": i + 1}
    return inner


# What stands in place of the parameter ``module`` of a saved SoftmaxClassifier.
VALUES = {
    "module by name": node("FunctionNode", "sklearn_ood.export._package"),
    "function that shadows a method": node(
        "ObjectNode",
        "torch.nn.modules.linear.Identity",
        content=mapping(to=call_of("os.system")),
    ),
    "call at predict": node(
        "ObjectNode", TRANSFORMER, content=mapping(func=call_of("os.system"))
    ),
    "method": node(
        "MethodNode",
        "sklearn.pipeline.Pipeline",
        content={"func": "fit", "obj": an_object(Pipeline)},
    ),
    "operator": node("OperatorFuncNode", "operator.methodcaller", attrs=sequence("tuple")),
    "memory of a size": node(
        "ConstructorFromReduceNode",
        "builtins.bytearray",
        content=sequence("tuple", literal(10**12)),
    ),
    "hidden method": an_object(LogisticRegression, predict=literal(1)),
    "hidden function": an_object(LogisticRegression, fit=node("FunctionNode", "numpy.log")),
    "dunder": an_object(LogisticRegression, __class__=literal("os")),
    "dunder of scikit-learn": an_object(LogisticRegression, __sklearn_tags__=literal(1)),
    "dunder dict": an_object(LogisticRegression, __dict__=mapping(a=literal(1))),
    "no identifier": an_object(LogisticRegression, **{"a b": literal(1)}),
    "state that is none": node(
        "ObjectNode", LogisticRegression.__module__ + ".LogisticRegression", content=nested(1)
    ),
    "folder of pickles": an_object(Pipeline, memory=literal("/tmp/pickles")),
    "jobs": an_object(RandomForestClassifier, n_jobs=literal(10**9)),
    "part of a set": node(
        "ConstructorFromReduceNode",
        "sklearn_ood.persistence._parts.Part",
        content=sequence("set", literal("given"), literal("a")),
    ),
    "threads": an_object(KMeans, _n_threads=literal(10**9)),
    "features": an_object(LogisticRegression, n_features_in_=literal(-1)),
    "deep list": nested(450),
    "deep tuple": nested(300, "tuple"),
    "doubled": doubled(40),
    "doubled in a set": sequence("set", doubled(40)),
    "part of itself": sequence("list", {"__id__": 10**6}) | {"__id__": 10**6},
    "unknown part": {"__id__": 10**9},
    "two of one id": sequence(
        "list",
        sequence("list") | {"__id__": 10**6},
        sequence("list", literal(1)) | {"__id__": 10**6},
    ),
    "unhashable id": {"__id__": {"a": 1}},
    "no literal": literal([1, 2]),
    "number without end": literal(1) | {"content": "9" * 10**6},
    "no JSON": literal(1) | {"content": "{"},
    "unknown kind": a_part("pickle", literal("a")),
    "given by nobody": a_part("given", literal("MyNetwork")),
    "own of elsewhere": a_part("own", literal("os.system"), mapping(), mapping()),
    "no arguments": a_part("own"),
    "no kind": node(
        "ConstructorFromReduceNode",
        "sklearn_ood.persistence._parts.Part",
        content=sequence("tuple"),
    ),
    "metric that is called": a_part(
        "search tree",
        literal("KDTree"),
        array(),
        mapping(metric=literal("pyfunc"), sample_weight=literal(None), leaf_size=literal(1)),
    ),
    "tree of another kind": a_part("search tree", literal("eval"), array(), mapping()),
    "matrix of another kind": a_part("sparse", literal("load_npz"), literal("a")),
    "tensor of no type": a_part("tensor", array(), literal("load")),
    "array elsewhere": array("/etc/passwd"),
    "array above": array("../../rows"),
    "array of a pickle": array(type="pickle"),
    "npz": node("SparseMatrixNode", "scipy.sparse._csr.csr_matrix", type="scipy", file="1.npy"),
    "keys of others": node(
        "DictNode", "builtins.dict", content={}, key_types=sequence("list", literal(1))
    ),
    "loss of text": node(
        "LossNode",
        "sklearn._loss._loss.CyHuberLoss",
        content=mapping(a=literal(1)),
        **{"__reduce__": {"args": sequence("tuple", literal("a"))}},
    ),
    "part that hides another": sequence(
        "list",
        node(
            "SliceNode",
            "builtins.slice",
            content={"start": sequence("list") | {"__id__": 10**6}, "stop": 1, "step": 1},
        ),
        an_object(LogisticRegression, predict=literal(1)) | {"__id__": 10**6},
    ),
    "part that hides in an unknown field": sequence(
        "list",
        sequence("list") | {"more": sequence("list") | {"__id__": 10**6}},
        an_object(LogisticRegression, predict=literal(1)) | {"__id__": 10**6},
    ),
    "older protocol": node(
        "FunctionNode", "numpy.log", content={"module_path": "os", "function": "system"}
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_an_attack_by_a_value_is_refused(name, saved):
    def edit(schema):
        state_of(schema)["module"] = VALUES[name]
        if name == "older protocol":
            schema["protocol"] = 0

    change(saved, edit, {"1.npy": npy(X)} if "1.npy" in json.dumps(VALUES[name]) else None)
    refused(saved)


def a_partial(args, kwds):
    content = {"func": node("FunctionNode", "numpy.log"), "args": args, "kwds": kwds}
    content |= {"namespace": literal(None)}
    return node("PartialNode", "functools.partial", content=content)


def keys_of(loader, name):
    kinds = sequence("list", node(loader, name))
    return node("DictNode", "builtins.dict", content={"a": literal(1)}, key_types=kinds)


def literals(values):
    return sequence("list", *map(literal, values))


def of_one_hash(n):
    """Whole numbers that all have the hash zero: each that is added looks at all others."""
    return [literal(i * sys.hash_info.modulus) for i in range(n)]


def tuples_of_one_hash(n):
    """Other tuples of one hash each, as minus one has the hash of minus two."""
    pairs = ([literal(-1 - (i >> bit & 1)) for bit in range(12)] for i in range(n))
    return [sequence("tuple", *pair) for pair in pairs]


def nested_types(n):
    inner = array() | {"__id__": 1}
    for i in range(n):
        inner = node("DTypeNode", "numpy.dtype", content=inner, __id__=i + 2)
    return inner


def tree_of(rows, weights, metric="euclidean", **options):
    content = [array(rows), literal(4), literal(metric), array(weights), mapping(**options)]
    return a_part("KDTree", *content)


def matrix_of(indices, width):
    shape = sequence("tuple", literal(1), literal(width))
    return a_part("csr_matrix", array("ones.npy"), array(indices), array("ends.npy"), shape)


FILES = {
    "1.npy": npy(X),
    "none.npy": npy(X[:0]),
    "ones.npy": npy(np.ones(1)),
    "rows.npy": npy(np.ones(len(X))),
    "minus.npy": npy(-np.ones(X.shape[1])),
    "zero.npy": npy(np.array([0], np.int32)),
    "nine.npy": npy(np.array([9], np.int32)),
    "below.npy": npy(np.array([-1], np.int32)),
    "ends.npy": npy(np.array([0, 1], np.int32)),
}
# What stands in place of a parameter that nothing is built of.
PARAMETERS = {
    "keys that are called": keys_of("FunctionNode", "numpy.log"),
    "keys that are made": keys_of("TypeNode", "torch.optim.sgd.SGD"),
    "keys of nothing": keys_of("TypeNode", "builtins.object"),
    "part of the same name inside": sequence("list", sequence("list") | {"__id__": 7})
    | {"__id__": 7},
    "two of one name that is false": sequence(
        "list", sequence("list") | {"__id__": 0}, sequence("list", literal(1)) | {"__id__": 0}
    ),
    "reference in a slice": node(
        "SliceNode", "builtins.slice", content={"start": {"__id__": 1}, "stop": 1, "step": 1}
    ),
    "reference to what was read": sequence("list", sequence("list") | {"__id__": 7})
    | {"more": {"__id__": 7}},
    "weights of other rows": tree_of("1.npy", "ones.npy"),
    "metric of a function": tree_of("1.npy", "ones.npy", "pyfunc", func=literal(1)),
    "index after the last column": matrix_of("nine.npy", 3),
    "index before the first column": matrix_of("below.npy", 3),
    "endless matrix": matrix_of("zero.npy", 10**18),
    "arguments that are a number": a_partial(literal(5), mapping()),
    "keywords that are a number": a_partial(sequence("tuple"), literal(3)),
    "dunder keywords": a_partial(sequence("tuple"), sequence("list")),
    "frozen lists": node(
        "ConstructorFromReduceNode",
        "builtins.frozenset",
        content=sequence("tuple", sequence("list", sequence("list"))),
    ),
    "frozen number": node(
        "ConstructorFromReduceNode", "builtins.frozenset", content=sequence("tuple", literal(5))
    ),
    "mask of another shape": node(
        "MaskedArrayNode",
        "numpy.ma.MaskedArray",
        content={"data": array(), "mask": array("ends.npy")},
    ),
    "type of a list": node("DTypeNode", "numpy.dtype", content=sequence("list")),
    "array that is the description": array("schema.json"),
    "state that is a list": node("ObjectNode", TRANSFORMER, content=[]),
    "knots of no order": a_part(
        "BSpline", array("ends.npy"), array("ends.npy"), literal(10**9), literal(True)
    ),
    "array that is read again and again": sequence(
        "list", *(array() | {"__id__": i} for i in range(1000))
    ),
    "array without a name that is read again": sequence("list", array(), array()),
    "brackets in a literal": literal("@brackets") | {"content": "@brackets"},
    "brackets after a space": literal(1) | {"content": " []"},
    "numbers that are no parts": sequence("list") | {"content": [1] * 10**5},
    "dictionaries that are no parts": sequence("list") | {"content": [{"a": 1}] * 10**5},
    "lists that are no parts": sequence("list") | {"content": [[]] * 10**5},
    "keys of one hash": a_part(
        "dict", sequence("list", *of_one_hash(5000)), sequence("list", *of_one_hash(5000))
    ),
    "items of one hash": sequence("set", *of_one_hash(5000)),
    "frozen items of one hash": node(
        "ConstructorFromReduceNode",
        "builtins.frozenset",
        content=sequence("tuple", sequence("list", *tuples_of_one_hash(4096))),
    ),
    "keys that are lists": a_part("dict", sequence("list", sequence("list")), literals([1])),
    "keys without a value": a_part("dict", literals([1, 2]), literals([1])),
    "keys that are numbers by name": keys_of("TypeNode", "builtins.int"),
    "fewer kinds of keys": mapping(a=literal(1), b=literal(2))
    | {"key_types": sequence("list", node("TypeNode", "builtins.str"))},
    "state with keys of others": node(
        "ObjectNode", TRANSFORMER, content=a_part("dict", literals([1]), literals([1]))
    ),
    "state that hides a method by a part": node(
        "ObjectNode",
        TRANSFORMER,
        content=a_part("dict", literals(["transform"]), literals([1])),
    ),
    "two of one name that differ where nobody reads": sequence(
        "list", literal(1) | {"__id__": 7}, literal(1) | {"__id__": 7, "more": 1}
    ),
    "types of types": nested_types(500),
    "optimizer that is made": a_part("torch.optim.SGD", literals([1])),
    "weights of fewer features": tree_of("1.npy", "rows.npy", "minkowski", w=array("ones.npy")),
    "weights below zero": tree_of("1.npy", "rows.npy", "minkowski", w=array("minus.npy")),
    "power that is none": tree_of("1.npy", "rows.npy", "minkowski", p=literal(float("nan"))),
    "search tree of no rows": a_part("cKDTree", array("none.npy"), literal(4)),
    "leaves of no rows": a_part("cKDTree", array(), literal(0)),
    "tensor of no number": a_part("Tensor", literal("a"), literal("float32")),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_an_attack_by_a_parameter_is_refused(name, tmp_path):
    path, text = tmp_path / "model.ood", json.dumps(PARAMETERS[name])
    save(LogisticRegression(), path)
    used = {file: data for file, data in FILES.items() if f'"{file}"' in text}
    schema, members = parts_of(path)
    schema["content"]["content"].update(C=PARAMETERS[name])
    text = json.dumps(schema).replace("@brackets", "\\u005b" + "\\u005b\\u005d," * 10**5)
    write(path, text, members | used)
    refused(path)


def test_a_header_of_any_other_form_is_refused(saved):
    _, members = parts_of(saved)
    right = json.loads(members.pop(HEADER))
    others = [{"format": 2}, right | {"format": "2"}, right | {"versions": [1]}, [1], None]
    data = saved.read_bytes().partition(b"\n")[2]
    for other in map(json.dumps, [*others, {}]):
        seal(saved, other.encode(), data)
        refused(saved)
    for other in (b"{", b"[" * 10**6, b"[%s1]" % (10**6 * b"{},"), b""):
        seal(saved, other, data)
        refused(saved)


def header(shape, descr="'<f8'", data=b""):
    """A file of numpy's own format that says what it likes."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n" + data


ARRAYS = {
    "huge": header("(4000000000, 40000000)"),
    "cut short": npy(X)[:-8],
    "longer": npy(X) + bytes(8),
    "no magic": b"PK\x03\x04" + npy(X),
    "empty": b"",
    "pickle": pickle.dumps(Path),
    "object": header("(1,)", "'|O'", bytes(8)),
    "call": header("(1,)", "eval('1')", bytes(8)),
    "items of no size": header("(900000000000,)", "'|V0'"),
    "negative": header("(-4,)"),
    "shape of text": header("'a'"),
    "wide and empty": header("(0, 99999999999)"),
    "unknown type": header("(1,)", "'what'", bytes(8)),
    "later version": b"\x93NUMPY\x09\x00" + npy(X)[8:],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_attack_by_an_array_is_refused(name, saved):
    change(saved, lambda s: state_of(s).update(module=array()), {"1.npy": ARRAYS[name]})
    refused(saved)


class Explosive:
    def __reduce__(self):
        return pytest.fail, ("the pickle was opened",)


def test_an_array_of_python_objects_is_refused(saved):
    stream = io.BytesIO()
    np.save(stream, np.array([Explosive()], dtype=object), allow_pickle=True)
    change(saved, lambda s: state_of(s).update(module=array()), {"1.npy": stream.getvalue()})
    refused(saved, "carries a pickle")


def arguments_of(schema):
    return schema["content"]


def weights_of(schema):
    return arguments_of(schema)[3]["content"]["net_"]["content"][0]["content"]


def sets(**state):
    return lambda schema: state_of(schema).update(state)


STATES = {
    "undeclared": sets(hook_=literal(1)),
    "hidden method": sets(predict=literal(1)),
    "dunder": sets(__class__=literal(1)),
    "another class": lambda s: arguments_of(s).__setitem__(1, literal("sklearn_ood.GeValDi")),
    "foreign class": lambda s: arguments_of(s).__setitem__(1, literal("torch.nn.Linear")),
    "no features": sets(n_features_in_=literal(0)),
    "features beyond memory": sets(n_features_in_=literal(10**15)),
    "many layers": sets(
        hidden_layer_sizes=sequence("tuple", *(literal(1) for _ in range(20000)))
    ),
}
# These are seen since their networks are built, where nothing is allocated.
NETWORKS = {
    "other classes": sets(classes_=literal("abc")),
    "shape of another type": sets(input_shape_=literal(4)),
    "shape beyond memory": sets(input_shape_=sequence("tuple", literal(10**15))),
    "wide layer": sets(hidden_layer_sizes=sequence("tuple", literal(10**12))),
    "one layer more": sets(hidden_layer_sizes=sequence("tuple", literal(16), literal(16))),
    "no layer": sets(hidden_layer_sizes=sequence("tuple")),
    "unknown network": sets(module=literal("exec")),
    "no weight": lambda s: weights_of(s).popitem(),
    "weights of text": lambda s: weights_of(s).update(
        dict.fromkeys(weights_of(s), literal("a"))
    ),
    "no network": lambda s: arguments_of(s).__setitem__(3, mapping()),
}


@pytest.mark.parametrize("name", [*STATES, *NETWORKS])
def test_an_attack_by_a_state_is_refused(name, saved):
    schema, members = parts_of(saved)
    (STATES | NETWORKS)[name](schema)
    for each in nodes_of(schema, "DictNode"):
        each["key_types"] = mapping(**each["content"])["key_types"]
    used = json.dumps(schema)
    write(saved, schema, {n: data for n, data in members.items() if n in used or n == HEADER})
    refused(saved)


def test_other_classes_are_refused_by_the_networks_shape(saved):
    def edit(schema):
        state_of(schema)["classes_"] = array()

    schema, members = parts_of(saved)
    edit(schema)
    used = json.dumps(schema)
    members = {n: data for n, data in members.items() if n in used or n == HEADER}
    write(saved, schema, members | {"1.npy": npy(np.arange(9))})
    refused(saved, "size mismatch")


def replaced(path, attribute, value, which=0):
    """Write a file anew with an attribute of an object, or a key of a dict, changed."""
    schema, members = parts_of(path)
    states = [each for each in nodes_of(schema, "DictNode") if attribute in each["content"]]
    old = states[which]["content"][attribute]
    if old["__loader__"] == "NdArrayNode" and callable(value):
        members[old["file"]] = npy(value(np.load(io.BytesIO(members[old["file"]])).copy()))
    else:
        states[which]["content"][attribute] = value(old) if callable(value) else literal(value)
    write(path, schema, members)


def put(field, value):
    """Another value in the first record."""

    def edit(records):
        records[field][0] = value
        return records

    return edit


def fill(value):
    return lambda values: np.full_like(values, value)


def first_columns(n):
    return lambda values: np.ascontiguousarray(values[:, :n])


VAES = VAE(hidden_layer_sizes=(), latent_dim=1, max_epochs=1, random_state=0)
TEXTS = ["apple bank", "bank cat", "apple dog"] * 25
FRAME = np.array([["a", "b"], ["b", "c"], ["a", "c"]] * 25, dtype=object)
FOREST = RandomForestClassifier(1, random_state=0)
BOOSTING = HistGradientBoostingClassifier(max_iter=1, categorical_features=[0])
STAGES = GradientBoostingClassifier(n_estimators=1)
NEIGHBORS = KNeighborsClassifier(algorithm="brute")
RANDOM = LogisticRegression(random_state=np.random.default_rng(0))
LEGACY = LogisticRegression(random_state=np.random.RandomState(0))
CODES = np.column_stack([Y, X[:, 0]])
COMBINED = CombinedClassifier(LogisticRegression(), [("near", NeighborDistance())])
SELECTIVE = SelectiveClassifier(LogisticRegression(), coverage=0.8)
SOFTMAX = SoftmaxClassifier(max_epochs=1)
INDICES = {
    "networks of classes": (VAES, X, "n_classes_", 10**9),
    "left child": (FOREST, X, "nodes", put("left_child", 10**6)),
    "right child": (FOREST, X, "nodes", put("right_child", 0)),
    "negative child": (FOREST, X, "nodes", put("left_child", -7)),
    "shared child": (FOREST, X, "nodes", lambda a: put("left_child", a["right_child"][0])(a)),
    "feature": (FOREST, X, "nodes", put("feature", 4)),
    "negative feature": (FOREST, X, "nodes", put("feature", -3)),
    "threshold": (FOREST, X, "nodes", put("threshold", np.nan)),
    "other fields": (FOREST, X, "nodes", lambda a: a["threshold"]),
    "fewer nodes": (FOREST, X, "nodes", lambda a: a[:-1]),
    "no node": (FOREST, X, "nodes", lambda a: a[:0]),
    "node count": (FOREST, X, "node_count", 10**9),
    "tree depth": (FOREST, X, "max_depth", 0, -1),
    "tree values": (FOREST, X, "values", lambda a: a[:, :, :1]),
    "value type": (FOREST, X, "values", lambda a: a.astype(np.float32)),
    "tree of fewer features": (FOREST, X, "n_features_in_", 1, 1),
    "forest of fewer features": (FOREST, X, "n_features_in_", 1, 0),
    "isolation of fewer features": (IsolationForest(n_estimators=3), X, "_max_features", 2),
    "boosted child": (BOOSTING, CODES, "nodes", put("left", 10**6)),
    "boosted feature": (BOOSTING, CODES, "nodes", put("feature_idx", 7)),
    "boosted threshold": (
        HistGradientBoostingClassifier(max_iter=1),
        X,
        "nodes",
        put("num_threshold", np.nan),
    ),
    "boosted set": (BOOSTING, CODES, "nodes", put("bitset_idx", 99)),
    "category of a number": (BOOSTING, CODES, "is_categorical_", fill(0), 1),
    "boosted columns": (BOOSTING, CODES, "_transformer_to_input_indices", lambda _: mapping()),
    "search tree": (KNeighborsClassifier(algorithm="kd_tree"), X, "_fit_X", fill(np.nan)),
    "neighbours' class": (NEIGHBORS, X, "_y", fill(10**6)),
    "neighbours' rows": (NEIGHBORS, X, "_y", lambda a: a[:-1]),
    "neighbours' number": (NEIGHBORS, X, "n_samples_fit_", 10**9),
    "neighbours' width": (NEIGHBORS, X, "_fit_X", first_columns(1)),
    "support counts": (SVC(), X, "_n_support", fill(10**6)),
    "support rows": (SVC(), X, "support_", fill(-1)),
    "support coefficients": (SVC(), X, "dual_coef_", lambda a: a[:1]),
    "support intercepts": (SVC(), X, "_intercept_", lambda a: a[:1]),
    "support by a function": (
        SVC(),
        X,
        "kernel",
        lambda _: node("FunctionNode", "numpy.absolute"),
    ),
    "support probabilities": (SVC(), X, "_effective_probability", True),
    "no support vectors": (SVC(), X, "support_vectors_", None),
    "support width": (SVC(), X, "support_vectors_", first_columns(2)),
    "fewer columns": (STAGES, X, "n_trees_per_iteration_", 1),
    "start of fewer columns": (STAGES, X, "class_prior_", lambda a: a[:1]),
    "centres": (KMeans(2, n_init=1), X, "cluster_centers_", first_columns(1)),
    "vocabulary": (CountVectorizer(), TEXTS, "vocabulary_", lambda _: mapping(a=literal(9))),
    "columns": (OneHotEncoder(), FRAME, "_n_features_outs", lambda _: nested(1)),
    "linkage": (HDBSCAN(copy=True), X, "_single_linkage_tree_", put("left_node", 10**6)),
    "random state": (LEGACY, X, "pos", 10**6),
    "random key": (LEGACY, X, "key", lambda a: a[:1]),
    "random gauss": (LEGACY, X, "gauss", "seed"),
    "random key type": (LEGACY, X, "key", lambda a: a.astype(np.int64)),
    "p-values that fall": (COMBINED, X, "levels", lambda a: a[::-1]),
    "p-values above one": (COMBINED, X, "levels", lambda a: a + 1),
    "fewer p-values": (COMBINED, X, "levels", lambda a: a[1:]),
    "scores that fall": (COMBINED, X, "values", lambda a: a[::-1]),
    "scores that are none": (COMBINED, X, "values", fill(np.nan)),
    "a tail that is none": (COMBINED, X, "tail_scale", np.nan),
    "an offset that is none": (NoveltyDetector(NeighborDistance()), X, "offset_", np.nan),
    "values of a tree": (FOREST, X, "values", fill(np.nan)),
    "values of boosting": (BOOSTING, CODES, "nodes", put("value", np.nan)),
    "steps": (IsotonicRegression(), X[:, 0], "y_thresholds_", lambda a: a[1:]),
    "steps that fall": (IsotonicRegression(), X[:, 0], "X_thresholds_", lambda a: a[::-1]),
    "an isolation's offset": (IsolationForest(n_estimators=1), X, "offset_", np.nan),
    "a threshold that is none": (SELECTIVE, X, "threshold_", np.nan),
    "a temperature that is none": (SOFTMAX, X, "temperature_", np.nan),
    "random kind": (RANDOM, None, "bit_generator", "seed"),
    "old random kind": (LEGACY, X, "bit_generator", "seed"),
}


@pytest.mark.parametrize("name", INDICES)
def test_an_index_outside_of_its_array_is_refused(name, tmp_path):
    estimator, rows, attribute, value, *which = INDICES[name]
    fitted = clone(estimator) if rows is None else clone(estimator).fit(rows, Y)
    save(fitted, tmp_path / "model.ood")
    load(tmp_path / "model.ood")
    replaced(tmp_path / "model.ood", attribute, value, *which)
    refused(tmp_path / "model.ood")


def test_the_numbers_of_classes_of_a_tree_are_a_row(tmp_path):
    save(clone(FOREST).fit(X, Y), tmp_path / "model.ood")
    schema, members = parts_of(tmp_path / "model.ood")
    (tree,) = nodes_of(schema, "TreeNode")
    members[tree["__reduce__"]["args"]["content"][1]["file"]] = npy(np.full((1, 1), 3))
    write(tmp_path / "model.ood", schema, members)
    refused(tmp_path / "model.ood", "do not fit")


@pytest.mark.parametrize("attribute", ["_n_support", "_probA", "shape_fit_", "_dual_coef_"])
def test_an_attribute_that_a_rule_reads_must_be_there(attribute, tmp_path):
    fitted = SVC().fit(X, Y)
    vars(fitted).pop(attribute)
    with pytest.raises(TypeError, match="Got"):
        save(fitted, tmp_path / "model.ood")


def test_support_vectors_are_counted_without_classes_too(tmp_path):
    fitted = SVC().fit(X, Y)
    vars(fitted)["_n_support"][0] += 1
    vars(fitted).pop("classes_")
    with pytest.raises(TypeError, match="SVC whose parts do not fit .*_n_support sum"):
        save(fitted, tmp_path / "model.ood")


def test_every_rule_is_two_sides_and_a_comparison():
    """What is done to a part is a function that is known, or a field of an array."""
    fields = {*NODE_DTYPE.names, *PREDICTOR_RECORD_DTYPE.names}
    for rule in [rule for rules in RULES.values() for rule in rules]:
        for comparison in rule.split(" or "):
            left, _, right = re.split(SIGNS, comparison)
            for side in (left, right):
                _, *steps = [side] if side.startswith(('"', "[")) else side.split()
                assert all(s in FUNCTIONS or hasattr(np, s) or s in fields for s in steps), rule


@pytest.mark.parametrize("column", [0, 1])
def test_columns_that_boosting_would_not_get_are_refused(column, tmp_path):
    """Compiled code reads as many columns as were fitted, whatever the encoders give."""
    fitted = clone(BOOSTING).fit(CODES, Y)
    for _, _, mask in vars(fitted)["_preprocessor"].transformers_[:2]:
        mask[column] = False
    with pytest.raises(TypeError, match="do not fit .*_preprocessor"):
        save(fitted, tmp_path / "model.ood")


def test_a_step_that_boosting_does_not_have_is_refused(tmp_path):
    fitted = clone(BOOSTING).fit(CODES, Y)
    vars(fitted)["_preprocessor"].transformers_[1][1].func = np.absolute
    with pytest.raises(TypeError, match="not|Got"):
        save(fitted, tmp_path / "model.ood")


def overlapping(entries, times):
    """An archive whose members are listed again and again, each under another name."""
    data, mark = archive(entries), b"PK\x01\x02"
    start, stop = data.index(mark), data.rindex(b"PK\x05\x06")
    listed = data[start:stop]
    copies = [listed.replace(b".npy", f".np{i}".encode()) for i in range(times)]
    counts = struct.pack("<HH", *2 * [times * listed.count(mark)])
    sizes = struct.pack("<LL", times * len(listed), start)
    return data[:start] + b"".join(copies) + data[stop : stop + 8] + counts + sizes + data[-2:]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_attack_by_the_archive_is_refused(saved):
    schema, members = parts_of(saved)
    header = members.pop(HEADER)
    entries = [*members.items(), ("schema.json", json.dumps(schema))]
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    attacks = {
        "bomb": archive([*entries, ("bomb", bytes(10**8))], zipfile.ZIP_DEFLATED),
        "overlapping": overlapping(entries, 4),
        "two of one name": archive([*entries, entries[0]]),
        "unused": archive([*entries, ("../../x", b"")]),
        "linked": archive([*entries, (link, b"/etc/passwd")]),
        "nothing": archive([]),
        "no schema": archive(members.items()),
        "many": archive([*entries, *((str(i), b"") for i in range(10000))]),
    }
    for name, data in attacks.items():
        assert zipfile.is_zipfile(io.BytesIO(data)), name
        seal(saved, header, data)
        refused(saved)


@pytest.mark.parametrize(
    "schema",
    [
        "{not json",
        "[]",
        "null",
        "{}",
        '"text"',
        "[" * 10**5,
        '{"a":' * 10**5,
        '{"protocol": 2}',
        '{"protocol": 2, "__loader__": "ListNode"}',
        b"\xff\xfe",
        '{"__loader__":1},' * 2**21,
    ],
    ids=range(11),
)
def test_a_description_that_is_none_is_refused(schema, saved):
    _, members = parts_of(saved)
    write(saved, schema, members)
    refused(saved)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.zeros(2))
    refused(path, "not a whole file")
    path.write_bytes(len(b'{"a":1}').to_bytes(8, "little") + b'{"a":1}')
    refused(path, "not a whole file")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.ood")


def test_a_file_of_something_else_than_an_estimator_is_refused(saved):
    _, members = parts_of(saved)
    other = sequence("list", literal(1)) | {"protocol": 2}
    write(saved, other, members)
    refused(saved, "of type list")


def test_every_class_of_this_package_is_on_the_list():
    assert {f"own {path}" for path in ours()} <= set(FILE.read_text().splitlines())


@pytest.mark.skipif(sklearn.__version__ != "1.9.1", reason="the list is of one version")
def test_the_list_is_exact_and_up_to_date():
    assert FILE.read_text().splitlines() == lines()
    assert all(len(line.split()) == 2 and "*" not in line for line in lines())
