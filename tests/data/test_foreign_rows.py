"""Rows and labels as they come: far from zero, masked, dates, tensors; none is changed."""

import os
import subprocess
import sys
import textwrap
from collections import UserList
from fractions import Fraction
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import (
    CombinedClassifier,
    GenerativeClassifier,
    NeighborDistance,
    NoveltyDetector,
    SelectiveClassifier,
    SoftmaxClassifier,
    TableClassifier,
    TableDensity,
    TableEncoder,
)
from sklearn_ood.data import _blocks
from sklearn_ood.data._labels import OUTLIER, codes_in, labels_or
from sklearn_ood.data._rows import validate_rows
from sklearn_ood.generators import VAE
from sklearn_ood.nets._modules import as_single

rng = np.random.default_rng(0)
Y = np.arange(120) % 3
X = rng.normal(size=(120, 3)) + 6.0 * Y[:, None]
DATES = np.datetime64("2024-01-01T00:00:00", "ns") + np.arange(120) * np.timedelta64(1, "h")
NET = SoftmaxClassifier(max_epochs=2, random_state=0, device="cpu")
NEIGHBORS = LocalOutlierFactor(novelty=True)
LINEAR = make_pipeline(StandardScaler(), LogisticRegression())
FROM_FLOAT64 = [
    NeighborDistance(),
    GenerativeClassifier("pca", random_state=0),
    GenerativeClassifier("gmm", random_state=0),
    GenerativeClassifier("knn", random_state=0),
    GenerativeClassifier("pca", similarity="l2", random_state=0),
    CombinedClassifier(LINEAR, random_state=0),
]
UNITS = {
    "seconds": (1.0, 1.7e9),
    "pascals": (0.1, 101325.0),
    "huge": (1e30, 0.0),
    "tiny": (1e-27, 0.0),
    "ids": (1.0, -4e12),
}


def in_units(rows, units):
    scale, shift = UNITS[units]
    return rows * scale + shift


@pytest.mark.parametrize("estimator", FROM_FLOAT64, ids=lambda e: repr(e)[:34])
def test_rows_in_any_unit_are_classified_alike(estimator):
    new = rng.normal(size=(60, 3)) + 6.0 * Y[:60, None]
    far, expected = np.concatenate([new, new + 40.0]), clone(estimator).fit(X, Y).predict(new)
    for units in UNITS:
        given = clone(estimator).fit(in_units(X, units), Y)
        answers = given.predict(in_units(new, units))
        np.testing.assert_array_equal(answers, expected, err_msg=units)
        order = given.score_samples(in_units(far, units))
        assert order[:60].min() > order[60:].max(), units


def test_generations_are_as_far_from_zero_as_the_rows():
    rows = in_units(X, "seconds")
    for name in ("pca", "gmm", "knn"):
        generator = GenerativeClassifier(name, random_state=0).fit(rows, Y).generator_
        made = generator.decode(generator.encode(rows, Y), Y)
        assert np.abs(made - rows).max() < 5
        spread = generator.sample(200, random_state=0).std(axis=0)
        np.testing.assert_allclose(spread, X.std(axis=0), rtol=0.3)


def test_networks_name_the_columns_that_float32_would_lose():
    rows = X.copy()
    rows[:, 1] += 1.7e9
    with pytest.raises(ValueError, match=r"columns \[1\] lose their differences"):
        VAE(2, max_epochs=1).fit(rows)
    with pytest.raises(ValueError, match=r"columns \[0, 1, 2\]"):
        as_single(X * 1e-42)
    assert as_single(X).dtype == np.float32
    assert as_single(np.full((5, 2), 1.7e9)).dtype == np.float32


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float64", "float64"),
        ("int64", "float64"),
        ("uint32", "float64"),
        ("float32", "float32"),
        ("float16", "float32"),
        ("uint8", "float32"),
        ("bool", "float32"),
    ],
)
def test_rows_keep_what_their_type_holds(dtype, expected):
    rows = (np.abs(X) > 1).astype(dtype)
    fitted = NeighborDistance().fit(rows, Y)
    assert validate_rows(fitted, rows).dtype == expected
    tensor = torch.from_numpy(rows)
    kept = validate_rows(fitted, tensor, keep_tensors=True)
    assert str(kept.dtype) == f"torch.{expected}"


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (np.ma.masked_array(X, mask=np.arange(360).reshape(120, 3) == 4), r"\[1\]"),
        (np.ma.masked_greater(X, 12), r"\[0, 1, 2\]"),
        (np.where(np.arange(120) == 7, np.datetime64("NaT", "ns"), DATES)[:, None], r"\[0\]"),
        ((DATES - DATES[0])[:, None] + np.timedelta64("NaT", "ns"), r"\[0\]"),
        (pd.DataFrame({"when": pd.Series(DATES).where(Y > 0)}), r"\['when'\]"),
    ],
)
def test_what_is_hidden_is_no_number(rows, columns):
    for estimator in (NeighborDistance(), NET, GenerativeClassifier("pca")):
        with pytest.raises(ValueError, match=f"NaN.*{columns}"):
            clone(estimator).fit(rows, Y)


@pytest.mark.parametrize("estimator", [TableDensity(1), TableEncoder(), TableClassifier(3)])
def test_what_is_masked_is_missing_where_missing_cells_are_taken(estimator):
    hidden = X.copy()
    hidden[::7, 1] = np.nan
    with_seed = {"random_state": 0} if "random_state" in estimator.get_params() else {}
    masked, missing = (
        clone(estimator).set_params(**with_seed).fit(rows, Y)
        for rows in (np.ma.masked_array(X, mask=np.isnan(hidden)), hidden)
    )
    ask = "transform" if hasattr(masked, "transform") else "score_samples"
    found, expected = getattr(masked, ask)(hidden), getattr(missing, ask)(hidden)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "estimator",
    [
        SelectiveClassifier(HistGradientBoostingClassifier(max_iter=3), coverage=0.8),
        NoveltyDetector(IsolationForest(n_estimators=5, random_state=0)),
        NoveltyDetector(TableDensity(1)),
    ],
)
def test_what_decides_passes_on_masked_entries_as_missing_ones(estimator):
    hidden = np.where(X > 12, np.nan, X)
    masked = np.ma.masked_greater(X, 12)
    with_seed = {"random_state": 0} if "random_state" in estimator.get_params() else {}
    estimator = clone(estimator).set_params(**with_seed)
    expected, found = estimator.fit(hidden, Y).predict(hidden), estimator.fit(masked, Y)
    np.testing.assert_array_equal(found.predict(masked), expected)


@pytest.mark.parametrize("fit_rows", [X, np.ma.masked_greater(X, 12)])
def test_what_decides_refuses_masked_entries_with_what_takes_no_missing_ones(fit_rows):
    for estimator in (SelectiveClassifier(LINEAR, coverage=0.8), NoveltyDetector(NEIGHBORS)):
        with pytest.raises(ValueError, match="NaN"):
            clone(estimator).fit(fit_rows, Y).predict(np.ma.masked_greater(X, 12))


@pytest.mark.parametrize("estimator", [NeighborDistance(), NET, GenerativeClassifier("pca")])
def test_tensors_without_memory_are_refused_by_name(estimator):
    with pytest.raises(ValueError, match="on meta.*device with memory"):
        clone(estimator).fit(torch.empty(X.shape, device="meta"), Y)
    fitted = clone(estimator).fit(X, Y)
    with pytest.raises(ValueError, match="on meta.*device with memory"):
        fitted.score_samples(torch.empty(X.shape, device="meta"))


@pytest.mark.parametrize("estimator", [NET, SelectiveClassifier(LINEAR, coverage=0.8)])
@pytest.mark.parametrize("names", [["a", "bb", "a longer name"], ["1", "2", "3"]])
def test_labels_of_numpys_text_of_any_length_are_text(estimator, names):
    y = np.array(names)[Y]
    expected = clone(estimator).set_params(random_state=0).fit(X, y).predict(X)
    fitted = clone(estimator).set_params(random_state=0)
    found = fitted.fit(X, y.astype(np.dtypes.StringDType())).predict(X)
    assert found.tolist() == expected.tolist()
    assert fitted.classes_.tolist() == sorted(names)


@pytest.mark.parametrize("estimator", [TableDensity(1), CombinedClassifier(LINEAR)])
@pytest.mark.parametrize("rows", [DATES[:, None], pd.DataFrame({"when": DATES})])
def test_tables_refuse_dates_by_name(estimator, rows):
    with pytest.raises((TypeError, ValueError), match="dates or times"):
        clone(estimator).fit(rows, Y)


def test_dates_alone_are_numbers_and_beside_others_an_error():
    fitted = NeighborDistance().fit(DATES[:, None], Y)
    assert fitted.score_samples(DATES[:3, None]).tolist() == [0, 0, 0]
    with pytest.raises(TypeError, match=r"dates in the columns \['when'\]"):
        NeighborDistance().fit(pd.DataFrame({"when": DATES, "x": X[:, 0]}), Y)
    unmasked = np.ma.masked_array(X, mask=False)
    assert NeighborDistance().fit(unmasked, Y).score(X, Y) == 1


@pytest.mark.parametrize(
    "y",
    [
        np.ma.masked_array(Y, mask=Y == 1),
        np.where(Y == 0, np.datetime64("NaT", "D"), DATES.astype("datetime64[D]")),
        np.array(["a", None, "b"], dtype=object)[Y],
    ],
)
def test_missing_labels_are_counted(y):
    with pytest.raises(ValueError, match="40 missing labels of 120"):
        NeighborDistance().fit(X, y)


class Duck:
    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return X[index]


@pytest.mark.parametrize("make", [NeighborDistance, TableClassifier])
@pytest.mark.parametrize(
    "rows",
    [Duck(), iter(X), {"a": X[:, 0]}, map(list, X)],
    ids=["duck", "iterator", "dict", "map"],
)
def test_what_is_no_table_says_what_is(make, rows):
    with pytest.raises(TypeError, match=f"Got a {type(rows).__name__}, but expected an array"):
        make().fit(rows, Y)


@pytest.mark.parametrize("kind", [list, tuple])
def test_pairs_of_image_and_label_say_how_to_part_them(kind):
    pairs = kind([(np.zeros((1, 8, 8)), 0), (np.ones((1, 8, 8)), 1)])
    with pytest.raises(ValueError, match=r"pairs with ndarray.*stack\(\[x for x, _ in X\]\)"):
        NET.fit(pairs, Y[:2])


@pytest.mark.parametrize("y", [np.eye(3)[Y], torch.eye(3)[torch.as_tensor(Y)]], ids=type)
@pytest.mark.parametrize("make", [NeighborDistance, lambda: SelectiveClassifier(GaussianNB())])
def test_one_hot_labels_say_how_to_part_them(make, y):
    with pytest.raises(ValueError, match=r"y should be a 1d array.*y\.argmax\(axis=1\)"):
        make().fit(X, y)


@pytest.mark.parametrize("labels", [Y == 1, Y, [Fraction(k, 3) for k in Y]])
@pytest.mark.parametrize("make", [NeighborDistance, lambda: SelectiveClassifier(GaussianNB())])
def test_labels_that_are_objects_say_what_to_make_of_them(make, labels):
    with pytest.raises(ValueError, match=r"objects such as .*y\.astype\(bool\)"):
        make().fit(X, np.array(list(labels), dtype=object))


@pytest.mark.parametrize("estimator", [*FROM_FLOAT64[:4], NET, NoveltyDetector(NET)], ids=str)
def test_rows_of_nan_are_refused_whatever_scikit_learn_assumes(estimator):
    fitted = clone(estimator).fit(X, Y)
    for bad in (np.nan, np.inf):
        rows = np.concatenate([X[:2], np.full((1, 3), bad)])
        with config_context(assume_finite=True), pytest.raises(ValueError, match="NaN|inf"):
            fitted.score_samples(rows)


@pytest.mark.parametrize("dtype", [np.uint64, np.int64])
def test_large_integers_as_labels_stay_what_they_are(dtype):
    names = np.array([2**53, 2**53 + 1, 2**53 + 2], dtype=dtype)
    for ood_label in (None, -1):
        fitted = NeighborDistance(ood_label=ood_label).fit(X, names[Y])
        np.testing.assert_array_equal(fitted.predict(X), names[Y])
    known = NeighborDistance(ood_label=2**53 + 1).fit(X, names[Y])
    assert known.classes_.tolist() == [2**53, 2**53 + 2]
    refusing = SelectiveClassifier(NeighborDistance(), coverage=0.5, random_state=0)
    answers = refusing.fit(X, names[Y]).predict(X)
    assert answers.dtype == np.int64
    assert set(answers.tolist()) <= {-1, *names.tolist()}


def test_codes_of_integers_that_floats_confuse():
    large = 2**53 + 1
    assert codes_in(np.array([large], dtype=np.uint64), [2**53, large]).tolist() == [OUTLIER, 0]
    assert codes_in([large], np.array([float(2**53)])).tolist() == [OUTLIER]
    assert codes_in([3, 5], np.array([5.0, 4.5])).tolist() == [1, OUTLIER]
    joined = labels_or(-1, np.array([2**64 - 1], dtype=np.uint64), np.array([True]))
    assert joined.tolist() == [2**64 - 1]


@pytest.mark.parametrize("estimator", [NeighborDistance(), NET, FROM_FLOAT64[1]], ids=str)
def test_tensors_of_half_precision_and_with_a_history(estimator):
    rows = torch.tensor(X, dtype=torch.bfloat16)
    expected = clone(estimator).fit(rows.float().numpy(), Y).score_samples(rows.float().numpy())
    labels = torch.tensor(Y, dtype=torch.bfloat16)
    for given in (rows, rows.clone().requires_grad_(), rows.float().requires_grad_() * 1):
        scores = clone(estimator).fit(given, labels).score_samples(given)
        np.testing.assert_array_equal(scores, expected)
    with pytest.raises(ValueError, match="to_dense"):
        clone(estimator).fit(torch.eye(120).to_sparse(), Y)


def test_array_api_dispatch_changes_nothing():
    code = """
        import numpy as np, torch
        from sklearn import config_context
        from sklearn.linear_model import LogisticRegression
        from sklearn_ood import *
        rng = np.random.default_rng(0)
        y = np.arange(60) % 2
        X = rng.normal(size=(60, 3)) + 3 * y[:, None]
        small = dict(max_epochs=2, random_state=0, device="cpu")
        with config_context(array_api_dispatch=True):
            for rows in (X, torch.tensor(X)):
                for model in (NeighborDistance(), GenerativeClassifier(random_state=0),
                              GenerativeClassifier("pca"), SoftmaxClassifier(**small),
                              CombinedClassifier(LogisticRegression(), random_state=0)):
                    labels = torch.tensor(y) if isinstance(rows, torch.Tensor) else y
                    scores = model.fit(rows, labels).score_samples(rows)
                    assert isinstance(scores, np.ndarray), type(model)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-2000:]


def test_a_full_temporary_folder_is_an_error_that_names_it(tmp_path, monkeypatch):
    np.save(tmp_path / "rows.npy", X.astype(np.float32))
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    monkeypatch.setattr(_blocks.tempfile, "tempdir", str(tmp_path))
    on_full = partial(open, "/dev/full", "wb")
    monkeypatch.setattr(_blocks.tempfile, "TemporaryFile", on_full)
    for estimator in (
        clone(NET).set_params(ood_label=2),
        SelectiveClassifier(NET, coverage=0.5),
    ):
        with pytest.raises(OSError, match=f"{tmp_path} has no room.*TMPDIR"):
            estimator.fit(rows, Y)


class Table:
    """A dataset of Hugging Face: what it gives has a format, its frame has all columns."""

    def __init__(self, frame, **how):
        self.frame, self.column_names = frame, list(frame)
        self.shape = frame.shape
        everything = {"type": None, "columns": list(frame)}
        self.format = everything | how

    def to_pandas(self):
        return self.frame


TABLE = pd.DataFrame(X, columns=["a", "b", "c"]).assign(label=Y)


def test_columns_that_a_format_leaves_out_are_no_features():
    chosen = Table(TABLE, type="torch", columns=["a", "b", "c"])
    fitted = TableClassifier(random_state=0).fit(chosen, Y)
    assert fitted.feature_names_in_.tolist() == ["a", "b", "c"]
    whole = Table(TABLE[["a", "b", "c"]])
    np.testing.assert_array_equal(fitted.predict_proba(whole), fitted.predict_proba(chosen))


class Picture:
    """An image of PIL: an array without a shape."""

    __array_interface__ = np.zeros((4, 4, 3), np.uint8).__array_interface__


OF_IMAGES = pd.DataFrame({"image": [np.zeros((1, 4, 4)).tolist()] * 9, "label": range(9)})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (Table(TABLE, type="custom"), "with a transform.* X.map"),
        (type("Parts", (dict,), {"shape": {}})(train=1), "Got a Parts, but expected an array"),
        (OF_IMAGES, r"cells .* in \['image'\].* DataLoader whose collate_fn gives pairs"),
        (Table(OF_IMAGES), r"in \['image'\].* DataLoader whose collate_fn gives pairs"),
        ([Picture()] * 9, r"a list of Picture of shape \(4, 4, 3\), but expected one array"),
        (UserList(np.zeros((9, 1, 4, 4))), r"UserList of ndarray of shape \(1, 4, 4\)"),
    ],
)
def test_what_holds_images_elsewhere_says_how_to_pass_them(rows, message):
    with pytest.raises((TypeError, ValueError), match=message):
        NET.fit(rows, Y[:9])
