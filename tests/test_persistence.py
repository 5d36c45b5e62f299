import errno
import json
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from contract.estimators import ESTIMATORS, SOFTMAX
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import safe_open
from safetensors.numpy import save as to_safetensors
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from torch import nn

from sklearn_ood import (
    CombinedClassifier,
    GenerativeClassifier,
    NetFeatures,
    NoveltyDetector,
    SelectiveClassifier,
    SiameseSimilarity,
    SoftmaxClassifier,
    load,
    save,
)
from sklearn_ood.generators import GAN, VAE, GaussianMixtureGenerator, NearestNeighborGenerator
from sklearn_ood.persistence import _files
from sklearn_ood.persistence._encoding import Reader, Writer
from sklearn_ood.persistence._kinds import KINDS

X, Y = load_iris(return_X_y=True)
X, Y = X[::2], Y[::2]
METHODS = ("predict", "predict_proba", "decision_function", "score_samples", "transform")
SHORT = clone(SOFTMAX).set_params(max_epochs=2)
SMALL = {"hidden_layer_sizes": (8,), "latent_dim": 2, "max_epochs": 1, "random_state": 0}
OTHERS = [
    *(
        GenerativeClassifier(generator, n_candidates=8, max_iter=3, random_state=0)
        for generator in (
            VAE(**SMALL),
            VAE(input_shape=(1, 2, 2), **SMALL),
            GAN(**SMALL),
            GAN(input_shape=(1, 2, 2), **SMALL),
            GaussianMixtureGenerator(),
            NearestNeighborGenerator(),
        )
    ),
    GenerativeClassifier("pca", similarity=SiameseSimilarity(max_epochs=1, random_state=0)),
    SelectiveClassifier(SHORT, coverage=0.8, random_state=0),
    SelectiveClassifier(
        LogisticRegression(), detector=NoveltyDetector(GaussianMixture(2)), coverage=0.9
    ),
    SelectiveClassifier(SOFTMAX, risk=0.9, random_state=0),
    CombinedClassifier(
        RandomForestClassifier(5),
        [("forest", IsolationForest(n_estimators=5)), ("net", SHORT)],
        random_state=0,
    ),
    clone(SHORT).set_params(
        module=nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)),
        early_stopping=True,
        lr_schedule="cosine",
        temperature="calibrate",
        class_weight="balanced",
    ),
    RandomForestClassifier(3, random_state=0),
    ExtraTreesClassifier(3, max_leaf_nodes=6, random_state=0),
    GradientBoostingClassifier(n_estimators=2, random_state=0),
    HistGradientBoostingClassifier(max_iter=2, random_state=0),
    VotingClassifier([("a", LogisticRegression()), ("b", SVC())]),
    KNeighborsClassifier(algorithm="ball_tree", metric="manhattan"),
    KNeighborsClassifier(p=3),
    LocalOutlierFactor(novelty=True),
    CalibratedClassifierCV(SVC(), cv=2),
    MLPClassifier((4,), max_iter=200, tol=1, random_state=0),
    make_pipeline(StandardScaler(), FunctionTransformer(np.arctan), PCA(2), SVC()),
    FrozenEstimator(LogisticRegression().fit(X, Y)),
]


@pytest.fixture(scope="module")
def classifier():
    return clone(SHORT).fit(X, Y)


@pytest.fixture
def saved(classifier, tmp_path):
    save(classifier, tmp_path / "model.ood")
    return tmp_path / "model.ood"


def assert_same_answers(ours, theirs, X=X):
    asked = [name for name in METHODS if hasattr(ours, name)]
    assert asked
    for name in asked:
        expected, got = getattr(ours, name)(X), getattr(theirs, name)(X)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


def slow(estimator):
    return isinstance(getattr(estimator, "generator", None), (VAE, GAN))


def change(path, edit=lambda content: None, extra=None, rename=None):
    """Write a file of our format anew with other content and a right checksum."""
    with safe_open(path, "numpy") as file:
        content = json.loads(file.metadata()["sklearn_ood"])
        names = file.keys()
        data = {name: file.get_tensor(name) for name in names} | (extra or {})
    edit(content)
    document = json.dumps(content)
    checksum = _files._checksum(document, data)
    path.write_bytes(to_safetensors(data, {"sklearn_ood": document, "sha256": checksum}))


@pytest.mark.parametrize("estimator", [*ESTIMATORS, *OTHERS], ids=lambda e: type(e).__name__)
def test_round_trip_is_exact(estimator, tmp_path):
    fitted = clone(estimator).fit(X, Y)
    save(fitted, tmp_path / "model.ood")
    again = load(tmp_path / "model.ood")
    assert type(again) is type(fitted)
    assert repr(again) == repr(fitted)
    assert vars(again).keys() == vars(fitted).keys()
    assert_same_answers(fitted, again, X[::8] if slow(estimator) else X)


def test_a_loaded_estimator_can_be_fitted_saved_and_pickled_again(classifier, saved, tmp_path):
    again = load(saved)
    assert again.loss_curve_ == classifier.loss_curve_
    save(again, tmp_path / "second.ood")
    assert_same_answers(classifier, load(tmp_path / "second.ood"))
    assert_same_answers(classifier, pickle.loads(pickle.dumps(again)))
    assert_same_answers(classifier, again.fit(X, Y))


def test_an_unfitted_estimator_is_kept_too(tmp_path):
    random_state = np.random.RandomState(3)
    save(SoftmaxClassifier(lr=0.5, random_state=random_state), tmp_path / "model.ood")
    again = load(tmp_path / "model.ood")
    assert again.lr == 0.5
    assert again.random_state.randint(10**9) == random_state.randint(10**9)


def test_shared_parts_stay_shared(tmp_path):
    features = NetFeatures(FrozenEstimator(clone(SHORT).fit(X, Y))).fit(X, Y)
    features.again_ = features.estimator
    save(features, tmp_path / "model.ood")
    again = load(tmp_path / "model.ood")
    assert again.again_ is again.estimator
    net = again.estimator.estimator.net_
    assert net.module is net.module_
    assert_same_answers(features, again)


def test_images_and_strings_and_frames(tmp_path):
    names = np.array(["setosa", "versicolor", "virginica"])[Y]
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    table = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, names)
    save(table, tmp_path / "table.ood")
    again = load(tmp_path / "table.ood")
    assert_same_answers(table, again, frame)
    np.testing.assert_array_equal(again.feature_names_in_, frame.columns)

    images = np.random.default_rng(0).normal(size=(30, 3, 8, 8))
    net = SoftmaxClassifier(max_epochs=1, hidden_layer_sizes=(8,), random_state=0)
    save(net.fit(images, names[20:50]), tmp_path / "net.ood")
    assert_same_answers(net, load(tmp_path / "net.ood"), images)


def test_a_network_from_cuda_loads_on_the_cpu(classifier, tmp_path):
    moved = clone(classifier).fit(X, Y)
    vars(moved.net_)["device"] = "cuda:1"
    save(moved, tmp_path / "model.ood")
    again = load(tmp_path / "model.ood")
    assert again.net_.device == "cpu"
    assert_same_answers(classifier, again)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_network_goes_to_the_device_that_load_names(tmp_path):
    fitted = clone(SHORT).set_params(device="cuda").fit(X, Y)
    save(fitted, tmp_path / "model.ood")
    assert load(tmp_path / "model.ood").net_.module_.network.output.weight.device.type == "cpu"
    assert_same_answers(fitted, load(tmp_path / "model.ood", device="auto"))


class MyNetwork(nn.Module):
    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_inputs, n_outputs)

    def forward(self, rows):
        return self.layer(rows)


@pytest.mark.parametrize("module", [MyNetwork, MyNetwork(4, 3)], ids=["class", "network"])
def test_a_network_of_ones_own_goes_by_its_class(module, tmp_path):
    path = tmp_path / "model.ood"
    fitted = clone(SHORT).set_params(module=module).fit(X, Y)
    with pytest.raises(
        TypeError, match=r"modules=\[MyNetwork\] to save and to load.*state_dict"
    ):
        save(fitted, path)
    assert not path.exists()
    save(fitted, path, modules=[MyNetwork])
    with pytest.raises(ValueError, match="own:MyNetwork.*not among the classes"):
        load(path)
    again = load(path, modules=[MyNetwork])
    assert type(again.net_.module_.network) is MyNetwork
    assert_same_answers(fitted, again)


def test_a_network_that_was_trained_elsewhere(tmp_path):
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3))
    trained = SoftmaxClassifier.from_module(network, classes=[0, 1, 2], input_shape=(4,))
    save(trained, tmp_path / "model.ood")
    assert_same_answers(trained, load(tmp_path / "model.ood"))


def test_what_cannot_be_stored_is_named(classifier, tmp_path):
    path = tmp_path / "model.ood"
    with pytest.raises(TypeError, match="Got estimator of type dict"):
        save({"a": 1}, path)
    with pytest.raises(TypeError, match=r"estimator\.func with .*<lambda>"):
        save(FunctionTransformer(lambda x: x), path)
    with pytest.raises(TypeError, match=r"estimator\.func with eval"):
        save(FunctionTransformer(eval), path)
    with pytest.raises(TypeError, match=r"_loss_function_ with Hinge.*joblib"):
        save(SGDClassifier().fit(X, Y), path)
    with pytest.raises(TypeError, match="expected classes or functions"):
        save(classifier, path, modules=[MyNetwork(1, 1)])
    with pytest.raises(ValueError, match="different names"):
        save(classifier, path, modules=[MyNetwork, MyNetwork])
    circle = LogisticRegression()
    circle.C = [circle]
    with pytest.raises(TypeError, match=r"estimator\.C\.0, which contains itself"):
        save(circle, path)
    assert not list(tmp_path.iterdir())


def test_a_changed_byte_is_noticed(saved):
    data = saved.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for place in (header, len(data) - 1, data.index(b"max_epochs")):
        saved.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ValueError, match="checksum"):
            load(saved)


def test_a_truncated_file_is_refused(saved):
    data = saved.read_bytes()
    for length in (0, 5, 100, len(data) // 2, len(data) - 1):
        saved.write_bytes(data[:length])
        with pytest.raises(ValueError, match="truncated, damaged or not from save"):
            load(saved)
    saved.write_bytes(data + b"more")
    with pytest.raises(ValueError, match="truncated, damaged"):
        load(saved)


def test_a_newer_format_is_refused(saved):
    change(saved, lambda content: content.update(format=2))
    with pytest.raises(ValueError, match="format version 2, but .* reads up to 1"):
        load(saved)


class Explosive:
    def __reduce__(self):
        return pytest.fail, ("the pickle was opened",)


def test_a_pickle_is_never_opened(saved):
    bomb = pickle.dumps(Explosive())
    change(saved, extra={"more": np.frombuffer(bomb, np.uint8)})
    with pytest.raises(ValueError, match="data that no part uses"):
        load(saved)
    saved.write_bytes(bomb)
    with pytest.raises(ValueError, match="is a pickle"):
        load(saved)


def test_an_array_of_python_objects_is_refused(saved):
    def edit(content):
        content["estimator"]["state"]["classes_"]["dtype"] = "|O"

    change(saved, edit)
    with pytest.raises(ValueError, match="carries a pickle"):
        load(saved)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "numpy.load",
        "sklearn.datasets.load_files",
        "sklearn.tests.test_base.MyEstimator",
        "sklearn.utils.parallel.Parallel",
        "torch.load",
        "torch.nn.Linear.forward",
        "sklearn_ood.load",
        "sklearn_ood.persistence._files.os",
        "sklearn_ood.nets._training.torch",
        "own:MyNetwork",
        "",
    ],
)
@pytest.mark.parametrize("place", ["object", "name"])
def test_only_names_of_the_list_are_made(name, place, saved):
    nodes = {
        "object": {"kind": "object", "id": 10**6, "class": name, "state": {}},
        "name": {"kind": "name", "id": 10**6, "name": name},
    }
    change(saved, lambda content: content["estimator"]["state"].update(module=nodes[place]))
    with pytest.raises(ValueError, match="not among the classes and functions"):
        load(saved)


def test_no_module_of_others_is_imported(saved, tmp_path, monkeypatch):
    (tmp_path / "sideeffect.py").write_text("class Bad: pass")
    monkeypatch.syspath_prepend(tmp_path)
    change(saved, lambda content: content["estimator"].update({"class": "sideeffect.Bad"}))
    with pytest.raises(ValueError, match="sideeffect.Bad"):
        load(saved)
    assert "sideeffect" not in sys.modules


@pytest.mark.parametrize(
    ("node", "match"),
    [
        ({"kind": "pickle", "id": 1}, "kind 'pickle'"),
        ({"kind": "same", "id": 10**6}, "does not hold"),
        ({"id": 1}, "no 'kind'"),
        ({"kind": "object", "id": 10**6, "class": "numpy.int64", "state": {}}, "not among"),
        ({"kind": "module", "id": 10**6, "class": "sklearn.svm.SVC", "state": {}}, "not among"),
        ({"kind": "module", "id": 1, "class": "torch.nn.None", "state": {}}, "installed here"),
        ({"kind": "array", "id": 1, "array": "a", "dtype": "f8", "shape": []}, "without the"),
        ({"kind": "array", "id": 1, "array": "a", "dtype": "what", "shape": []}, "dtype"),
        ({"kind": "search tree", "id": 1, "tree": "KDTree", "metric": "pyfunc"}, "pyfunc"),
        ({"kind": "loss", "id": 1, "loss": "eval"}, "eval"),
        ([1], "no 'kind'"),
    ],
)
def test_a_malformed_part_is_refused(node, match, saved):
    change(saved, lambda content: content["estimator"]["state"].update(lr=node))
    with pytest.raises(ValueError, match=match):
        load(saved)


def test_a_decision_tree_that_points_outside_is_refused(tmp_path):
    forest = RandomForestClassifier(1, random_state=0).fit(X, Y)
    dtype = forest.estimators_[0].tree_.__getstate__()["nodes"].dtype
    for name, value in (("left_child", 10**6), ("right_child", 0), ("feature", 4)):
        save(forest, tmp_path / "model.ood")
        with safe_open(tmp_path / "model.ood", "numpy") as file:
            (key,) = [key for key in list(file.keys()) if key.endswith(".nodes")]
            nodes = file.get_tensor(key).view(dtype).copy()
        nodes[name][0] = value
        change(tmp_path / "model.ood", extra={key: nodes.view(np.uint8)})
        with pytest.raises(ValueError, match="decision tree"):
            load(tmp_path / "model.ood")


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(to_safetensors({"a": np.zeros(2)}))
    with pytest.raises(ValueError, match="no estimator of save"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.ood")


def test_a_description_that_is_no_json_is_refused(saved):
    document = "{not json"
    metadata = {"sklearn_ood": document, "sha256": _files._checksum(document, {})}
    saved.write_bytes(to_safetensors({}, metadata))
    with pytest.raises(ValueError, match="whose description is damaged"):
        load(saved)


def test_a_file_of_something_else_than_an_estimator_is_refused(saved):
    something = Writer(KINDS).node([1, 2], "value")
    document = json.dumps({"format": 1, "versions": {}, "estimator": something})
    metadata = {"sklearn_ood": document, "sha256": _files._checksum(document, {})}
    saved.write_bytes(to_safetensors({}, metadata))
    with pytest.raises(ValueError, match="with a list, not an estimator"):
        load(saved)


def test_other_versions_are_warned_of(saved):
    change(saved, lambda content: content["versions"].update(torch="1.0"))
    with pytest.warns(UserWarning, match=r"saved with torch 1\.0 \(here"):
        load(saved)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_save_leaves_the_old_file(step, saved, monkeypatch):
    before = saved.read_bytes()

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_files.os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        save(LogisticRegression(), saved)
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def test_a_write_that_the_system_cuts_short_leaves_the_old_file(classifier, tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "model.ood"
    save(LogisticRegression(), path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            save(classifier, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_save_leaves_the_old_file(step, saved, monkeypatch):
    before = saved.read_bytes()

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_files.os, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(LogisticRegression(), saved)
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("no/model.ood", FileNotFoundError),
        ("file/model.ood", NotADirectoryError),
        ("folder", OSError),
        ("n" * 300, OSError),
    ],
)
def test_a_path_that_cannot_be_written(name, error, tmp_path):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    with pytest.raises(error):
        save(LogisticRegression(), tmp_path / name)
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_that_cannot_be_written_keeps_the_old_file(saved):
    before, folder = saved.read_bytes(), saved.parent
    folder.chmod(0o500)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(PermissionError):
            save(LogisticRegression(), saved)
    finally:
        folder.chmod(0o700)
    assert saved.read_bytes() == before


def test_saves_at_the_same_time_leave_one_whole_file(tmp_path):
    path = tmp_path / "model.ood"
    models = [LogisticRegression(C=float(i)) for i in range(1, 5)]
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda model: save(model, path), 5 * models):
            assert load(path).C in (1.0, 2.0, 3.0, 4.0)
    assert list(tmp_path.iterdir()) == [path]


def round_trip(value):
    writer = Writer(KINDS)
    node = json.loads(json.dumps(writer.node(value, "value"), allow_nan=False))
    return Reader(KINDS, writer.arrays).value(node)


KEYS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    KEYS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=6,
)


@settings(max_examples=20, deadline=None)
@given(VALUES)
def test_any_plain_value_comes_back(value):
    assert repr(round_trip(value)) == repr(value)


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(
        arrays.scalar_dtypes() | arrays.array_dtypes(),
        arrays.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=3),
    ),
    st.booleans(),
)
def test_any_array_comes_back(array, transposed):
    array = array.T if transposed else array
    again = round_trip(array)
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert again.tobytes() == array.tobytes()
    assert again.flags.writeable
    assert again.flags.f_contiguous >= array.flags.f_contiguous
    assert again.flags.c_contiguous >= array.flags.c_contiguous


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_any_tensor_comes_back(dtype):
    tensor = torch.arange(6).reshape(2, 3).to(dtype).T
    again = round_trip(tensor)
    assert again.dtype == dtype
    assert again.stride() == tensor.stride()
    assert torch.equal(again, tensor)


@pytest.mark.parametrize("value", [{1, "a", None}, frozenset({2.5, (1, 2)}), set()])
def test_sets_come_back(value):
    again = round_trip(value)
    assert type(again) is type(value)
    assert again == value


def test_numbers_and_scalars_come_back_with_their_type():
    values = [np.float32(0.1), np.float64(np.pi), np.str_("a"), np.bool_(True), float("inf")]
    again = round_trip(values)
    assert [type(value) for value in again] == [type(value) for value in values]
    assert again == values
    assert np.isnan(round_trip(float("nan")))
    assert str(round_trip(-0.0)) == "-0.0"
