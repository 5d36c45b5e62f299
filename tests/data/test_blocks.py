"""Rows that do not fit in memory: mapped files and dask's collections give the same answers."""

import subprocess
import sys
import textwrap
from inspect import getdoc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import (
    CombinedClassifier,
    COOLClassifier,
    DAEClassifier,
    DAEConfidence,
    GenerativeClassifier,
    MahalanobisDistance,
    NeighborDistance,
    NetFeatures,
    NoveltyDetector,
    RejectClassifier,
    SelectiveClassifier,
    SoftmaxClassifier,
    TableEncoder,
)
from sklearn_ood.data import _blocks

X, Y = load_digits(return_X_y=True)
X, Y = (X[:600] / 16).astype(np.float32), Y[:600]
NET = {"hidden_layer_sizes": (16,), "max_epochs": 2, "random_state": 0, "device": "cpu"}
HOLDING_OUT = NET | {"early_stopping": True, "ood_label": 9}
ESTIMATORS = [
    SoftmaxClassifier(**HOLDING_OUT, temperature="calibrate"),
    COOLClassifier(n_units_per_class=2, **HOLDING_OUT),
    DAEConfidence(curvature="off", **HOLDING_OUT),
    RejectClassifier(outliers={"given": 1, "uniform": 1}, **HOLDING_OUT),
    GenerativeClassifier("pca", random_state=0),
    CombinedClassifier(
        LogisticRegression(), [("near", NeighborDistance())], ood_label=9, random_state=0
    ),
    NetFeatures(SoftmaxClassifier(**NET)),
    NoveltyDetector(SoftmaxClassifier(**NET), random_state=0),
    SelectiveClassifier(
        make_pipeline(StandardScaler(), SoftmaxClassifier(**NET)), coverage=0.9, random_state=0
    ),
    SelectiveClassifier(
        SoftmaxClassifier(**NET), ood_acceptance=0.3, ood_label=9, random_state=0
    ),
]
METHODS = [
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score_samples",
    "accept",
    "answers",
    "p_values",
    "member_p_values",
    "transform",
]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 96 rows of the digits, and pages given back after each."""
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 96 * X[0].nbytes)
    monkeypatch.setattr(_blocks, "RESIDENT_BYTES", 2**16)


def mapped(path, rows, mode="r"):
    np.save(path, rows)
    return np.load(path, mmap_mode=mode)


def answers(estimator, rows):
    return {
        name: getattr(estimator, name)(rows) for name in METHODS if hasattr(estimator, name)
    }


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_a_mapped_file_is_learned_and_scored_as_an_array(estimator, tmp_path, small_blocks):
    rows = mapped(tmp_path / "rows.npy", X)
    expected = answers(clone(estimator).fit(X, Y), X)
    given = answers(clone(estimator).fit(rows, Y), rows)
    assert len(expected) >= 1
    for method, values in expected.items():
        assert given[method].shape == values.shape
        assert given[method].dtype == values.dtype
        if values.dtype.kind == "f":
            np.testing.assert_allclose(given[method], values, rtol=1e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(given[method], values)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.uint8])
def test_other_types_and_orders_of_mapped_files(tmp_path, small_blocks, dtype, mode):
    raw = (X * 16).astype(dtype)
    rows = mapped(tmp_path / "rows.npy", np.asfortranarray(raw), mode)
    fitted = SoftmaxClassifier(**NET).fit(rows, Y)
    expected = SoftmaxClassifier(**NET).fit(raw, Y)
    np.testing.assert_array_equal(fitted.score_samples(rows), expected.score_samples(raw))
    np.testing.assert_array_equal(rows, raw)


def test_mapped_images(tmp_path, small_blocks):
    images = X.reshape(-1, 1, 8, 8)
    rows = mapped(tmp_path / "rows.npy", images)
    net = SoftmaxClassifier("small_cnn", **NET | {"max_epochs": 1})
    np.testing.assert_array_equal(
        clone(net).fit(rows, Y).score_samples(rows),
        clone(net).fit(images, Y).score_samples(images),
    )


def test_changes_in_a_private_mapping_are_kept(tmp_path, small_blocks):
    rows = mapped(tmp_path / "rows.npy", np.zeros_like(X), "c")
    rows[:] = X
    fitted, expected = (SoftmaxClassifier(**NET).fit(each, Y) for each in (rows, X))
    np.testing.assert_array_equal(fitted.score_samples(rows), expected.score_samples(X))
    np.testing.assert_array_equal(rows, X)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_row_in_a_late_block_is_found(tmp_path, small_blocks, bad):
    spoiled = X.copy()
    spoiled[-1, 3] = bad
    rows = mapped(tmp_path / "rows.npy", spoiled)
    with pytest.raises(ValueError, match="NaN|infinity"):
        SoftmaxClassifier(**NET).fit(rows, Y)
    with pytest.raises(ValueError, match="NaN|infinity"):
        SoftmaxClassifier(**NET).fit(X, Y).score_samples(rows)


def test_what_is_mapped_and_what_is_not(tmp_path):
    rows = mapped(tmp_path / "rows.npy", X)
    for view in (rows, rows[5:], rows[::2], rows.T, np.asarray(rows).reshape(-1, 8, 8)):
        assert _blocks.is_mapped(view)
    for copy in (X, rows[[1, 2]], rows + 1, np.array(rows), X.tolist(), None):
        assert not _blocks.is_mapped(copy)
    empty = _blocks.take_rows(rows, np.zeros(len(rows), dtype=bool))
    assert empty.shape == (0, 64)
    with pytest.raises(ValueError, match="0 sample"):
        SoftmaxClassifier(**NET).fit(X, Y).predict(rows[:0])


def test_pages_go_back_before_too_many_are_resident(tmp_path, monkeypatch):
    given_back = []
    monkeypatch.setattr(_blocks, "give_back", given_back.append)
    monkeypatch.setattr(_blocks, "RESIDENT_BYTES", 100 * X[0].nbytes)
    monkeypatch.setattr(_blocks, "BYTES_AROUND_A_ROW", 9 * X[0].nbytes)
    rows = _blocks.PagedRows(mapped(tmp_path / "rows.npy", X))
    np.testing.assert_array_equal(rows.read(slice(0, 100)), X[:100])
    assert not given_back
    np.testing.assert_array_equal(rows.read(slice(100, 101)), X[100:101])
    assert len(given_back) == 1
    scattered = np.arange(0, 600, 20)
    np.testing.assert_array_equal(rows.read(scattered), X[scattered])
    assert len(given_back) == 4


LARGE = """
    import sys
    from pathlib import Path
    import numpy as np
    from sklearn_ood import SelectiveClassifier, SoftmaxClassifier
    from sklearn_ood.data import _blocks

    def resident(name):
        status = Path("/proc/self/status").read_text()
        return int(status.split(name + ":")[1].split()[0]) / 1024

    _blocks.BLOCK_BYTES, _blocks.RESIDENT_BYTES = 2**23, 2**25
    path, n_features = sys.argv[1], 256
    model = SelectiveClassifier(
        SoftmaxClassifier(
            max_epochs=1, batch_size=512, hidden_layer_sizes=(8,), random_state=0, device="cpu"
        ),
        coverage=0.9,
        random_state=0,
    )
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(3000, n_features)), np.arange(3000) % 2)
    with open(path, "wb") as file:
        for _ in range(25):
            file.write(rng.standard_normal((8192, n_features), dtype=np.float32).tobytes())
    X = np.memmap(path, dtype=np.float32, mode="r").reshape(-1, n_features)
    y = rng.integers(2, size=len(X))
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmHWM")
    model.fit(X, y)
    for method in (model.predict, model.score_samples, model.accept):
        assert len(method(X)) == len(X)
    print(X.nbytes / 2**20, resident("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_a_file_of_200_mib_adds_little_to_resident_memory(tmp_path):
    """The high-water mark of all resident memory, mapped pages too, in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(LARGE), str(tmp_path / "rows.f32")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    size, added = map(float, run.stdout.split())
    assert size == 200
    assert added < 100


dask_array = pytest.importorskip("dask.array")


def computed(lazy):
    return np.asarray(lazy.compute(scheduler="synchronous"))


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_a_dask_array_is_scored_lazily(estimator):
    fitted = clone(estimator).fit(X, Y)
    rows = dask_array.from_array(X, chunks=(250, 30))
    for method, values in answers(fitted, X).items():
        lazy = getattr(fitted, method)(rows)
        assert isinstance(lazy, dask_array.Array)
        assert lazy.shape == values.shape
        assert lazy.dtype == values.dtype
        assert len(lazy.chunks[0]) == 3
        given = computed(lazy)
        if values.dtype.kind == "f":
            np.testing.assert_allclose(given, values, rtol=1e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(given, values)


def test_a_dask_frame_keeps_its_names_and_empty_partitions():
    dask_frame = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame(X, columns=[f"pixel {k}" for k in range(64)])
    names = np.array([f"digit {k}" for k in Y])
    model = SelectiveClassifier(SoftmaxClassifier(**NET), coverage=0.9, random_state=0)
    model.fit(frame, names)
    rows = dask_frame.from_pandas(frame, npartitions=4)
    for method in ("predict", "accept", "score_samples", "predict_proba"):
        lazy = getattr(model, method)(rows)
        assert isinstance(lazy, dask_array.Array)
        np.testing.assert_array_equal(computed(lazy), getattr(model, method)(frame))
    bright = rows[rows["pixel 2"] > 2]
    assert computed(model.predict(bright)).shape == (0,)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(rows[rows.columns[::-1].tolist()])


@pytest.mark.parametrize(
    "model",
    [
        SelectiveClassifier(GaussianNB(), coverage=0.8, random_state=0),
        CombinedClassifier(GaussianNB(), members=[("far", MahalanobisDistance())]),
        NoveltyDetector(MahalanobisDistance(), random_state=0),
        MahalanobisDistance(),
        TableEncoder(),
    ],
)
def test_fit_computes_what_is_dasks_once(model):
    dask_frame = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame(X[:, 18:21], columns=["a", "b", "c"])
    n_computed = []

    def noted(part):
        n_computed.append(len(part))
        return part

    rows = dask_frame.from_pandas(frame, npartitions=1)
    rows = rows.map_partitions(noted, meta=frame.iloc[:0])
    labels = dask_frame.from_pandas(pd.Series(Y), npartitions=1)
    model.set_params(**{"random_state": 0} if "random_state" in model.get_params() else {})
    fitted, plain = clone(model).fit(rows, labels), clone(model).fit(frame, Y)
    assert sum(n_computed) == len(X)
    method = "transform" if hasattr(model, "transform") else "score_samples"
    np.testing.assert_array_equal(getattr(fitted, method)(frame), getattr(plain, method)(frame))


def test_dask_images_and_early_errors():
    images = X.reshape(-1, 1, 8, 8)
    net = SoftmaxClassifier("small_cnn", **NET | {"max_epochs": 1}).fit(images, Y)
    rows = dask_array.from_array(images, chunks=(250, 1, 4, 8))
    np.testing.assert_array_equal(computed(net.predict(rows)), net.predict(images))
    with pytest.raises(ValueError, match=r"\(1, 4, 16\)"):
        net.predict(dask_array.zeros((4, 1, 4, 16)))
    with pytest.raises(NotFittedError):
        SoftmaxClassifier().predict(rows)
    spoiled = dask_array.from_array(np.full((4, 1, 8, 8), np.nan, dtype=np.float32))
    lazy = net.score_samples(spoiled)
    with pytest.raises(ValueError, match="NaN"):
        computed(lazy)


@pytest.mark.parametrize("owner", [DAEConfidence, DAEClassifier])
def test_what_overrides_a_verb_without_a_word_has_its_parents_docstring(owner):
    assert getdoc(owner.predict).startswith("The most likely class of each row")
