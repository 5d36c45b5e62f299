import contextlib
import copy
import errno
import json
import os
import pickle
import stat
import tempfile
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from contract.estimators import ESTIMATORS, SOFTMAX
from contract.persistence_files import HEADER, change, parts_of, write
from contract.test_sixth_method import EnergyClassifier
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
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
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.utils import all_estimators
from sklearn.utils._test_common.instance_generator import _construct_instances
from sklearn.utils.estimator_checks import (
    _enforce_estimator_tags_X,
    _enforce_estimator_tags_y,
)
from sklearn.utils.fixes import parse_version
from torch import nn

from sklearn_ood import (
    CombinedClassifier,
    GANOutliers,
    GenerativeClassifier,
    NetFeatures,
    NoveltyDetector,
    SelectiveClassifier,
    SiameseSimilarity,
    SoftmaxClassifier,
    load,
    save,
)
from sklearn_ood.generators import (
    GAN,
    VAE,
    GaussianMixtureGenerator,
    InterpolationGenerator,
    NearestNeighborGenerator,
    PretrainedGenerator,
)
from sklearn_ood.metrics import selective_scorer
from sklearn_ood.model_selection import LeaveClassesOut
from sklearn_ood.persistence import _files

X, Y = load_iris(return_X_y=True)
X, Y = X[::2].copy(), Y[::2]
METHODS = ("predict", "predict_proba", "decision_function", "score_samples", "transform")
ASKED = {"sample_weight": True}
SHORT = clone(SOFTMAX).set_params(max_epochs=2)
SMALL = {"hidden_layer_sizes": (8,), "latent_dim": 2, "max_epochs": 1, "random_state": 0}
OTHERS = [
    *(
        GenerativeClassifier(generator, n_candidates=8, max_iter=3, random_state=0)
        for generator in (
            VAE(**SMALL),
            VAE(input_shape=(1, 2, 2), **SMALL),
            GAN(min_steps=0, **SMALL),
            GAN(input_shape=(1, 2, 2), min_steps=0, **SMALL),
            GaussianMixtureGenerator(),
            NearestNeighborGenerator(),
            InterpolationGenerator(),
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
    assert asked or hasattr(ours, "log_wealth_")  # of a monitor, which answers by itself
    for name in asked:
        expected, got = getattr(ours, name)(X), getattr(theirs, name)(X)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


def slow(estimator):
    return isinstance(getattr(estimator, "generator", None), (VAE, GAN))


@pytest.mark.parametrize("estimator", [*ESTIMATORS, *OTHERS], ids=lambda e: type(e).__name__)
def test_round_trip_is_exact(estimator, tmp_path):
    fitted = clone(estimator).fit(X, Y)
    networks = [
        value
        for value in estimator.get_params(deep=False).values()
        if isinstance(value, nn.Module)
    ]
    save(fitted, tmp_path / "model.ood", modules=networks)
    again = load(tmp_path / "model.ood", modules=networks)
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
    frozen = FrozenEstimator(clone(SHORT).fit(X, Y))
    both = VotingClassifier([("a", frozen), ("b", frozen)]).fit(X, Y)
    save(both, tmp_path / "model.ood")
    again = load(tmp_path / "model.ood")
    first, second = (estimator for _, estimator in again.estimators)
    assert first is second
    net = first.estimator.net_
    assert net.module is net.module_
    assert_same_answers(both, again)


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
    moved.set_params(device="cuda:1")
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
    with pytest.raises(ValueError, match="MyNetwork, not among the classes"):
        load(path)
    again = load(path, modules=[MyNetwork])
    assert type(again.net_.module_.network) is MyNetwork
    assert_same_answers(fitted, again)


def test_a_network_that_was_trained_elsewhere(tmp_path):
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3))
    trained = SoftmaxClassifier.from_module(network, classes=[0, 1, 2], input_shape=(4,))
    save(trained, tmp_path / "model.ood", modules=[network])
    empty = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3))
    again = load(tmp_path / "model.ood", modules=[empty])
    assert_same_answers(trained, again)
    assert torch.equal(again.module[0].weight, network[0].weight)
    assert not torch.equal(empty[0].weight, network[0].weight)
    other = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 3))
    with pytest.raises(ValueError, match="size mismatch"):
        load(tmp_path / "model.ood", modules=[other])


class Activated(MyNetwork):
    """What it does with its layer is no part of a state dict."""

    def __init__(self, n_inputs, n_outputs, activation=torch.relu, dtype=None):
        super().__init__(n_inputs, n_outputs)
        self.activation = activation
        self.layer.to(dtype)

    def forward(self, rows):
        return self.activation(super().forward(rows))


class Counting(MyNetwork):
    """It learns a number that is no part of a state dict."""

    n_batches = 0

    def forward(self, rows):
        self.n_batches += self.training
        return super().forward(rows) * (1 + self.n_batches)


@pytest.mark.parametrize(
    ("module", "given", "message"),
    [
        (Activated(4, 3, torch.tanh), Activated, "answers otherwise"),
        (Counting, Counting, "answers otherwise"),
        (Activated(4, 3, dtype=torch.bfloat16), Activated, "of another type of numbers"),
        (
            nn.Sequential(nn.Linear(4, 3)),
            nn.Sequential(nn.Linear(4, 3), nn.Tanh()),
            "otherwise",
        ),
        (MyNetwork(4, 3), nn.Linear(4, 3), "MyNetwork, not among"),
    ],
    ids=["an argument", "an attribute", "a type", "a layer without weights", "another class"],
)
def test_a_network_that_would_answer_otherwise_is_not_saved(module, given, message, tmp_path):
    fitted = clone(SHORT).set_params(module=module).fit(X, Y)
    with pytest.raises(TypeError, match=message):
        save(fitted, tmp_path / "model.ood", modules=[given])
    assert not list(tmp_path.iterdir())


def test_a_network_that_would_answer_otherwise_is_not_loaded(tmp_path):
    path, tanh = tmp_path / "model.ood", Activated(4, 3, torch.tanh)
    fitted = clone(SHORT).set_params(module=tanh).fit(X, Y)
    save(fitted, path, modules=[tanh])
    assert_same_answers(fitted, load(path, modules=[Activated(4, 3, torch.tanh)]))
    for other in (Activated, Activated(4, 3, torch.sigmoid)):
        with pytest.raises(ValueError, match="answers otherwise: pass the network itself"):
            load(path, modules=[other])


@pytest.mark.parametrize("is_cloned", [False, True])
def test_arguments_of_a_network_go_by_a_partial(is_cloned, tmp_path):
    path, made = tmp_path / "model.ood", partial(Activated, activation=torch.tanh)
    estimator = clone(SHORT).set_params(module=made)
    fitted = (clone(estimator) if is_cloned else estimator).fit(X, Y)
    with pytest.raises(TypeError, match="functools.partial of Activated: pass that partial"):
        save(fitted, path, modules=[Activated])
    save(fitted, path, modules=[made])
    assert_same_answers(fitted, load(path, modules=[made]))
    with pytest.raises(ValueError, match="answers otherwise"):
        load(path, modules=[partial(Activated, activation=torch.sigmoid)])


def test_a_generator_that_was_trained_elsewhere(tmp_path):
    networks = [nn.Sequential(nn.Linear(2, 4), nn.Tanh()) for _ in range(2)]
    trained = PretrainedGenerator.from_module(networks, 2, classes=[0, 1])
    path = tmp_path / "model.ood"
    with pytest.raises(TypeError, match=r"modules=\[Sequential\]"):
        save(trained, path)
    save(trained, path, modules=networks[:1])
    again = load(path, modules=[nn.Sequential(nn.Linear(2, 4), nn.Tanh())])
    latents = np.random.default_rng(0).normal(size=(6, 2))
    for label in (0, 1):
        expected = trained.decode(latents, label)
        np.testing.assert_array_equal(again.decode(latents, label), expected)
    with pytest.raises(ValueError, match="Sequential, not among the classes"):
        load(path)


def test_metadata_routing_and_output_and_names_are_kept(tmp_path):
    with sklearn.config_context(enable_metadata_routing=True):
        features = NetFeatures(clone(SHORT)).set_output(transform="pandas")
        features.fit(pd.DataFrame(X, columns=list("abcd")), Y)
        save(features, tmp_path / "model.ood")
        again = load(tmp_path / "model.ood")
    rows = pd.DataFrame(X, columns=list("abcd"))
    pd.testing.assert_frame_equal(again.transform(rows), features.transform(rows))


@pytest.mark.parametrize(
    "make",
    [
        lambda inner: SelectiveClassifier(inner, coverage=0.8, random_state=0),
        lambda inner: GridSearchCV(
            inner, {"C": [1.0]}, cv=2, scoring=selective_scorer().set_score_request(**ASKED)
        ),
    ],
)
def test_what_asks_for_metadata_still_does(make, tmp_path):
    weight = np.where(Y == 1, 9.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = make(LogisticRegression(max_iter=500).set_fit_request(**ASKED))
        if isinstance(model, SelectiveClassifier):
            model.set_fit_request(**ASKED)
        save(model.fit(X, Y, sample_weight=weight), tmp_path / "model.ood")
        again = load(tmp_path / "model.ood")
        assert_same_answers(model, again)
        assert_same_answers(model, again.fit(X, Y, sample_weight=weight))
        plain = clone(again).fit(X, Y)
    assert not np.array_equal(plain.predict_proba(X), again.predict_proba(X))


@pytest.mark.parametrize(
    "model",
    [
        GridSearchCV(
            LogisticRegression(max_iter=500),
            {"C": [0.1, 1.0]},
            scoring=selective_scorer("risk_at_coverage", coverage=0.8),
            cv=LeaveClassesOut(n_splits=2, random_state=0),
        ),
        GridSearchCV(
            CalibratedClassifierCV(LogisticRegression(max_iter=500), method="temperature"),
            {"cv": [2, 3]},
            scoring={"aurc": selective_scorer(), "accuracy": "accuracy"},
            refit="aurc",
        ),
    ],
)
def test_searches_keep_how_they_judged(model, tmp_path):
    save(model.fit(X, Y), tmp_path / "model.ood")
    again = load(tmp_path / "model.ood")
    assert_same_answers(model, again)
    assert repr(again) == repr(model)
    assert again.score(X, Y) == model.score(X, Y)
    assert again.fit(X, Y).best_score_ == model.best_score_


def local_class():
    class Local(EnergyClassifier):
        pass

    return Local


@pytest.mark.parametrize("kind", [EnergyClassifier, local_class()])
@pytest.mark.parametrize(
    "around", [lambda inner: inner, make_pipeline], ids=["alone", "inside"]
)
def test_a_method_of_ones_own_goes_by_its_class(kind, around, tmp_path):
    fitted = around(kind(max_epochs=1, random_state=0)).fit(X, Y)
    with pytest.raises(TypeError, match=kind.__name__):
        save(fitted, tmp_path / "model.ood")
    save(fitted, tmp_path / "model.ood", modules=[kind])
    again = load(tmp_path / "model.ood", modules=[kind])
    assert type(again) is type(fitted)
    assert_same_answers(fitted, again)
    with pytest.raises(ValueError, match=kind.__name__):
        load(tmp_path / "model.ood")


@pytest.mark.parametrize("is_cloned", [False, True])
def test_partials_of_several_classes_are_told_apart(is_cloned, tmp_path):
    made = [partial(Activated, activation=torch.tanh), partial(MyNetwork)]
    both = VotingClassifier(
        [(str(i), clone(SHORT).set_params(module=m)) for i, m in enumerate(made)]
    )
    fitted = (clone(both) if is_cloned else both).fit(X, Y)
    save(fitted, tmp_path / "model.ood", modules=made)
    assert_same_answers(fitted, load(tmp_path / "model.ood", modules=made[::-1]))


def shift(by):
    return lambda rows: rows + by


@pytest.mark.parametrize("other", [shift(2), partial(shift(2))], ids=["bare", "in a partial"])
def test_another_function_of_the_same_name_is_not_the_given_one(other, tmp_path):
    path, given = tmp_path / "model.ood", shift(1)
    steps = make_pipeline(FunctionTransformer(given), FunctionTransformer(other)).fit(X)
    with pytest.raises(TypeError, match="<lambda>(, not among|: pass that partial)"):
        save(steps, path, modules=[given])
    steps[1].set_params(func=given)
    save(steps, path, modules=[given])
    assert_same_answers(steps, load(path, modules=[given]))


def test_what_cannot_be_stored_is_named(classifier, tmp_path):
    path = tmp_path / "model.ood"
    with pytest.raises(TypeError, match="Got estimator of type dict"):
        save({"a": 1}, path)
    with pytest.raises(TypeError, match=r"<lambda>, not among the classes and functions"):
        save(FunctionTransformer(lambda x: x), path)
    with pytest.raises(TypeError, match=r"estimator\.func is eval"):
        save(FunctionTransformer(eval), path)
    with pytest.raises(TypeError, match="cannot be stored|Got"):
        save(LogisticRegression(random_state=threading.Event()), path)
    with pytest.raises(TypeError, match="expected networks, classes or functions"):
        save(classifier, path, modules=["MyNetwork"])
    with pytest.raises(TypeError, match="different names"):
        save(classifier, path, modules=[MyNetwork, MyNetwork])
    for table in (pd.DataFrame([[0, 0.5]]), pd.Series([0.1]), pl.DataFrame({"a": [1]})):
        with pytest.raises(TypeError, match=type(table).__name__ + r": .* to_numpy\(\)"):
            save(SelectiveClassifier(LogisticRegression(), loss=table), path)
    circle = LogisticRegression()
    circle.C = [circle]
    with pytest.raises(TypeError, match="contains itself"):
        save(circle, path)
    assert not list(tmp_path.iterdir())


def test_a_changed_byte_is_noticed(saved):
    data = saved.read_bytes()
    for place in (len(data) // 2, len(data) - 1, data.index(b"max_epochs")):
        saved.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ValueError, match="not a whole file"):
            load(saved)


def test_a_truncated_file_is_refused(saved):
    data = saved.read_bytes()
    for length in (0, 5, 100, len(data) // 2, len(data) - 1):
        saved.write_bytes(data[:length])
        with pytest.raises(ValueError, match="not a whole file"):
            load(saved)
    saved.write_bytes(data + b"more")
    with pytest.raises(ValueError, match="not a whole file"):
        load(saved)


def with_header(path, **changes):
    schema, members = parts_of(path)
    header = json.loads(members[HEADER]) | changes
    write(path, schema, members | {HEADER: json.dumps(header).encode()})


def test_a_newer_format_is_refused(saved):
    with_header(saved, format=3)
    with pytest.raises(ValueError, match="format version 3, but .* reads up to 2"):
        load(saved)


class Explosive:
    def __reduce__(self):
        return pytest.fail, ("the pickle was opened",)


def test_a_pickle_is_never_opened(saved):
    bomb = pickle.dumps(Explosive())
    change(saved, extra={"more": bomb})
    with pytest.raises(ValueError, match="data that no part uses"):
        load(saved)
    saved.write_bytes(bomb)
    with pytest.raises(ValueError, match="a pickle or .* is never opened"):
        load(saved)


def test_other_versions_are_warned_of(saved):
    _, members = parts_of(saved)
    versions = json.loads(members[HEADER])["versions"]
    with_header(saved, versions=versions | {"torch": "1.0"})
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


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_the_mode_is_kept_and_a_link_is_followed(saved):
    saved.chmod(0o600)
    link = saved.with_name("link.ood")
    link.symlink_to(saved.name)
    save(LogisticRegression(C=7.0), link)
    assert link.is_symlink()
    assert load(saved).C == 7.0
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert sorted(path.name for path in saved.parent.iterdir()) == ["link.ood", "model.ood"]


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_new_file_has_the_mode_of_any_new_file(tmp_path):
    save(LogisticRegression(), tmp_path / "model.ood")
    (tmp_path / "other").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_what_follows_from_the_parameters_is_not_kept(classifier, tmp_path):
    changed = copy.deepcopy(classifier).set_params(hidden_layer_sizes=(3,))
    with pytest.raises(TypeError, match="not as it was fitted.*size mismatch"):
        save(changed, tmp_path / "model.ood")
    changed = copy.deepcopy(classifier)
    changed.more_ = 1
    with pytest.raises(TypeError, match="int more_, which it does not declare"):
        save(changed, tmp_path / "model.ood")
    assert not list(tmp_path.iterdir())


def test_random_numbers_are_as_if_nothing_was_loaded(saved):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    save(load(saved), saved)
    assert torch.equal(torch.rand(3), expected)


def test_a_generator_of_outliers_is_kept(tmp_path):
    gan = next(e for e in ESTIMATORS if isinstance(getattr(e, "outliers", 0), GANOutliers))
    fitted = clone(gan).set_params(max_epochs=1).fit(X, Y)
    save(fitted, tmp_path / "model.ood")
    again = load(tmp_path / "model.ood")
    expected = fitted.sample_outliers(5, random_state=0)
    np.testing.assert_array_equal(again.sample_outliers(5, random_state=0), expected)


TABLE = pd.DataFrame(X, columns=list("abcd")).assign(
    town=np.array(["x", "y", "z"])[np.arange(len(X)) % 3]
)
TABLE.iloc[::7, 0] = np.nan
COLUMNS = ColumnTransformer(
    [
        ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), list("abcd")),
        ("by type", OneHotEncoder(sparse_output=False), make_column_selector("town")),
        ("ordinal", OrdinalEncoder(), ["town"]),
        ("slice", SimpleImputer(strategy="median"), slice(0, 2)),
    ]
)
TABLES = [
    make_pipeline(COLUMNS, LogisticRegression()),
    make_pipeline(COLUMNS, SelectKBest(k=3), SVC()),
    make_pipeline(COLUMNS, KBinsDiscretizer(3, encode="onehot"), RandomForestClassifier(3)),
    make_pipeline(COLUMNS, KNeighborsClassifier()),
    make_pipeline(COLUMNS, CalibratedClassifierCV(SVC(), cv=2)),
    GridSearchCV(make_pipeline(COLUMNS, SVC()), {"svc__C": [1, 2]}, cv=StratifiedKFold(2)),
    HistGradientBoostingClassifier(max_iter=5),
    SelectiveClassifier(make_pipeline(COLUMNS, SVC()), coverage=0.9, random_state=0),
]


@pytest.mark.parametrize("table", TABLES, ids=lambda e: type(e).__name__)
def test_the_usual_table_comes_back(table, tmp_path):
    rows = TABLE.astype({"town": "category"})
    fitted = clone(table).fit(rows, Y)
    save(fitted, tmp_path / "model.ood")
    assert_same_answers(fitted, load(tmp_path / "model.ood"), rows)


# Of scikit-learn's estimators, those that do not come back.
LOST = {"Birch", "BisectingKMeans"}
# Their matrix products depend on how the arrays lie in memory: a copy differs as much.
BY_MEMORY = {"KernelRidge", "LabelPropagation", "LabelSpreading"}
TEXTS = ["apple bank cat", "bank cat dog", "apple dog egg"] * 5
RECORDS = [{"a": 1, "b": 2}, {"c": 3}] * 5
OF_THEIR_OWN = {
    "CountVectorizer": TEXTS,
    "TfidfVectorizer": TEXTS,
    "HashingVectorizer": TEXTS,
    "FeatureHasher": RECORDS,
    "DictVectorizer": RECORDS,
    "LabelEncoder": Y,
    "LabelBinarizer": Y,
    "MultiLabelBinarizer": [(1, 2), (3,)] * 5,
    "PatchExtractor": np.random.RandomState(0).rand(3, 8, 8),
}


def data_for(estimator, name):
    if name in OF_THEIR_OWN:
        return OF_THEIR_OWN[name], None
    if name == "IsotonicRegression":
        return X[:, 0], Y
    return (
        _enforce_estimator_tags_X(estimator, X),
        _enforce_estimator_tags_y(estimator, Y.copy()),
    )


def fitted_as_in_the_checks(kind):
    """An estimator as scikit-learn's own checks make it, fitted, and its data."""
    for estimator in _construct_instances(kind):
        if "random_state" in estimator.get_params(deep=False):
            estimator.set_params(random_state=0)
        rows, y = data_for(estimator, kind.__name__)
        with contextlib.suppress(ValueError):
            return estimator.fit(rows) if y is None else estimator.fit(rows, y), rows
    pytest.skip("not fitted by these data")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "kind"), all_estimators(), ids=lambda e: str(e))
def test_scikit_learns_estimators_come_back(name, kind, tmp_path):
    if not kind.__module__.startswith("sklearn.") or name == "FrozenEstimator":
        pytest.skip("cannot be constructed alone")
    fitted, rows = fitted_as_in_the_checks(kind)
    if name in LOST:
        with pytest.raises(TypeError):
            save(fitted, tmp_path / "model.ood")
        return
    save(fitted, tmp_path / "model.ood")
    again = load(tmp_path / "model.ood")
    assert vars(again).keys() == vars(fitted).keys()
    for method in (*METHODS, "kneighbors", "apply"):
        if not hasattr(fitted, method):
            continue
        try:
            expected = getattr(fitted, method)(rows)
        except Exception:  # not for these rows, or not without fit
            continue
        rtol = 1e-12 if name in BY_MEMORY else 0
        assert_same(getattr(again, method)(rows), expected, rtol)


def assert_same(got, expected, rtol):
    if isinstance(expected, (list, tuple)):
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other, rtol)
    elif hasattr(expected, "toarray"):
        assert_same(got.toarray(), expected.toarray(), rtol)
    else:
        if rtol:
            np.testing.assert_allclose(got, expected, rtol=rtol)
        else:
            np.testing.assert_array_equal(got, expected)
        assert np.asarray(got).dtype == np.asarray(expected).dtype


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
    """A value as a parameter of an estimator that is saved and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        save(LogisticRegression(C=value), Path(folder) / "model.ood")
        return load(Path(folder) / "model.ood").C


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEYS = SCALARS | st.tuples(SCALARS, st.integers())
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(KEYS, inner)
    ),
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
    assume(array.dtype.kind not in "mM" or array.dtype.isnative)  # pickle forgets the order
    titles = [len(field) > 2 for field in (array.dtype.fields or {}).values()]
    assume(not any(titles) or parse_version(np.__version__) >= parse_version("2.3"))
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
    assert torch.equal(again, tensor)


@pytest.mark.parametrize("value", [{1, "a", None}, frozenset({2.5, (1, 2)}), set()])
def test_sets_come_back(value):
    again = round_trip(value)
    assert type(again) is type(value)
    assert again == value


def test_keys_that_are_fields_of_a_file_come_back():
    value = {"__id__": 1, "__loader__": {"__id__": "a"}, "." * 300: 2}
    assert round_trip(value) == value


@pytest.mark.parametrize(
    "value",
    [
        {True: 1, False: 2},
        {1: 2, "1": 3, 1.5: 4, None: 5},
        {(1, "a"): {(): {}}},
        {np.True_: 1, np.int8(3): 2, np.str_("a"): 3, np.float32(0.1): 4},
        {frozenset({1}): 1, int: 2, np.log: 3},
        OrderedDict([(2, "a"), (1, "b")]),
    ],
    ids=range(6),
)
def test_keys_of_any_type_come_back(value):
    again = round_trip(value)
    assert repr(again) == repr(value)
    assert again == value
    assert [type(key) for key in again] == [type(key) for key in value]


def test_estimators_as_keys_come_back():
    ((key, value),) = round_trip({SVC(C=3.0): LogisticRegression()}).items()
    assert (repr(key), repr(value)) == ("SVC(C=3.0)", "LogisticRegression()")


def test_weights_of_classes_that_are_truth_values_come_back(tmp_path):
    for estimator in (LogisticRegression(), RandomForestClassifier(2), SHORT):
        weighted = clone(estimator).set_params(class_weight={True: 2.0, False: 1.0})
        save(weighted.fit(X, Y > 0), tmp_path / "model.ood")
        again = load(tmp_path / "model.ood")
        assert again.class_weight == weighted.class_weight
        assert_same_answers(weighted, again)


def test_weights_of_features_of_a_search_tree_come_back(tmp_path):
    weights = {"w": np.array([1.0, 2.0, 0.5, 0.0])}
    fitted = KNeighborsClassifier(p=3, metric_params=weights, algorithm="ball_tree").fit(X, Y)
    save(fitted, tmp_path / "model.ood")
    again = load(tmp_path / "model.ood")
    np.testing.assert_array_equal(again.kneighbors(X), fitted.kneighbors(X))


@pytest.mark.parametrize("name", ["Adamax", "NAdam", "RMSprop"])
def test_optimizers_come_back(name, tmp_path):
    optimizer = getattr(torch.optim, name)
    fitted = clone(SHORT).set_params(optimizer=optimizer).fit(X, Y)
    save(fitted, tmp_path / "model.ood")
    again = load(tmp_path / "model.ood")
    assert again.optimizer is optimizer
    assert_same_answers(fitted, again)


def test_numbers_and_scalars_come_back_with_their_type():
    values = [np.float32(0.1), np.float64(np.pi), np.str_("a"), np.bool_(True), float("inf")]
    again = round_trip(values)
    assert [type(value) for value in again] == [type(value) for value in values]
    assert again == values
    assert np.isnan(round_trip(float("nan")))
    assert str(round_trip(-0.0)) == "-0.0"
