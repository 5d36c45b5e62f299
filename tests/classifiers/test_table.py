import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.metrics import log_loss

from sklearn_ood import SelectiveClassifier, TableClassifier, load, save
from sklearn_ood.classifiers._table import _boosted, pooling_weights
from sklearn_ood.data._rows import Part

SMALL = TableClassifier(10, random_state=0)


def mixed(n, seed=0):
    """A frame of every kind of column; the class is known from two of them."""
    rng = np.random.default_rng(seed)
    colour, size = rng.integers(3, size=n), rng.normal(size=n)
    y = np.where((colour == 1) ^ (size > 0.5), "yes", "no")
    frame = pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.1, np.nan, size),
            "colour": np.where(rng.random(n) < 0.1, None, np.array(["r", "g", "b"])[colour]),
            "flag": rng.random(n) < 0.5,
            "kind": pd.Categorical(rng.integers(4, size=n)),
            "constant": 7,
            "empty": np.full(n, np.nan),
            "name": [f"row {i}" for i in range(n)],
        }
    )
    return frame, y


@pytest.fixture(scope="module")
def fitted():
    return TableClassifier(30, random_state=0).fit(*mixed(400))


def test_frames_with_everything(fitted):
    frame, y = mixed(300, seed=1)
    assert (fitted.predict(frame) == y).mean() > 0.85
    assert fitted.feature_names_in_.tolist() == list(frame)
    np.testing.assert_array_equal(
        fitted.predict_proba(pl.from_pandas(frame)), fitted.predict_proba(frame)
    )


def test_what_was_never_seen_is_answered(fitted):
    frame, _ = mixed(5)
    strange = frame.assign(colour="violet", kind=9, flag=None, size=1e300, constant=None)
    blank = pd.DataFrame(None, index=range(2), columns=frame.columns, dtype=object)
    for rows in (strange, blank):
        assert np.isfinite(fitted.predict_log_proba(rows)).all()


def test_rare_classes_and_few_rows():
    frame, y = mixed(120)
    y = y.astype(object)
    y[:3] = ["once", "twice", "twice"]
    model = TableClassifier(10, random_state=0).fit(frame, y)
    assert model.classes_.tolist() == ["no", "once", "twice", "yes"]
    assert model.predict_proba(frame).shape == (120, 4)
    few = TableClassifier(10, random_state=0).fit(frame[:2], ["a", "b"])
    assert few.weights_.tolist() == [1 / 4] * 4
    assert few.predict(frame).shape == (120,)


def test_a_class_that_is_rare_among_many_rows(monkeypatch):
    monkeypatch.setattr("sklearn_ood.classifiers._table.MAX_TRIAL_ROWS", 100)
    monkeypatch.setattr("sklearn_ood.classifiers._table.TWO_PARTS", 100)
    X = np.random.default_rng(0).normal(size=(3000, 2))
    y = np.zeros(3000, dtype=int)
    X[:3], y[:3] = 9, 1
    model = TableClassifier(10, random_state=0).fit(X, y)
    assert model.predict([[0, 0], [9, 9]]).tolist() == [0, 1]


def test_nothing_to_learn_from():
    with pytest.raises(ValueError, match="2 columns, but expected one with a value"):
        SMALL.fit(np.full((4, 2), np.nan), [0, 1, 0, 1])


def test_probabilities_are_calibrated():
    X, y = load_breast_cancer(return_X_y=True)
    model = TableClassifier(50, random_state=0).fit(X[::2], y[::2])
    assert log_loss(y[1::2], model.predict_proba(X[1::2])) < 0.15


def test_weights_find_the_member_that_knows():
    rng = np.random.default_rng(0)
    codes = rng.integers(3, size=500)
    knows = np.log(np.full((500, 3), 0.1) + 0.7 * np.eye(3)[codes])
    others = rng.normal(size=(2, 500, 3))
    start = {"prior": np.array([0.5, 0.5, 0.0]), "strength": 5.0}
    weights = pooling_weights(np.stack([knows, *others]), codes, np.ones(len(codes)), **start)
    assert weights[0] > 1
    assert (weights[1:] < weights[0] / 4).all()


def test_outliers_are_left_out():
    X, y = load_iris(return_X_y=True)
    model = TableClassifier(10, random_state=0, ood_label=2).fit(X, y)
    assert model.classes_.tolist() == [0, 1]


def test_more_rows_than_one_tree_takes(monkeypatch):
    X, y = load_digits(n_class=3, return_X_y=True)
    for name in ("MAX_ROWS_A_TREE", "MAX_NET_ROWS", "MAX_TRIAL_ROWS"):
        monkeypatch.setattr(f"sklearn_ood.classifiers._table.{name}", 100)
    model = TableClassifier(30, random_state=0).fit(X[::2], y[::2])
    assert model.members_["trees"].max_samples == 100
    assert model.score(X[1::2], y[1::2]) > 0.95


def test_files_keep_the_bits(fitted, tmp_path):
    frame, _ = mixed(50, seed=2)
    save(fitted, tmp_path / "table.ood")
    again = load(tmp_path / "table.ood")
    np.testing.assert_array_equal(
        again.predict_log_proba(frame), fitted.predict_log_proba(frame)
    )


def test_a_frame_goes_through_the_selective_classifier():
    frame, y = mixed(400)
    model = SelectiveClassifier(SMALL, coverage=0.7, random_state=0).fit(frame, y)
    assert 0.5 < model.accept(frame).mean() < 0.95


def test_a_row_by_itself_has_the_same_bits():
    X, y = load_digits(return_X_y=True)
    model = TableClassifier(5, random_state=0).fit(X[:150], y[:150])
    alone = np.concatenate([model.predict_log_proba(row[None]) for row in X[150:182]])
    np.testing.assert_array_equal(alone, model.predict_log_proba(X[150:182]))


def test_a_linear_rule_is_found_in_few_rows():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(650, 10))
    on_line = X @ rng.normal(size=10)
    y = np.digitize(on_line, np.quantile(on_line, [0.25, 0.5, 0.75]))
    model = TableClassifier(20, random_state=0).fit(X[:150], y[:150])
    assert model.score(X[150:], y[150:]) > 0.8


@pytest.mark.parametrize(("n_told", "share"), [(1, 1.0), (8, 0.5)])
def test_splits_see_all_columns_where_one_decides(n_told, share):
    rows = np.random.RandomState(0).randn(600, 20)
    codes = (rows[:, :n_told].sum(axis=1) > 0.3).astype(np.int64)
    parts = Part(rows[:300], codes[:300], None), Part(rows[300:], codes[300:], None)
    is_category = np.zeros(20, dtype=bool)
    assert _boosted(parts[0], is_category, 0, {}, parts[1]).max_features == share
    given = {"max_features": 0.5}
    assert _boosted(parts[0], is_category, 0, given, parts[1]).max_features == 0.5


def test_boosting_takes_many_levels_in_order():
    row = np.arange(272)
    X = pd.DataFrame({"few": row % 16, "many": row % 17, "size": row}).astype({"size": float})
    X = X.astype({"few": "category", "many": "category"})
    model = TableClassifier(1, random_state=0).fit(X.sample(frac=1, random_state=0), row % 2)
    assert model.members_["boosting"].is_categorical_.tolist() == [True, False, False]


def test_numbers_beyond_single_precision_warn_of_nothing():
    X = np.array([[1e39, 0.0], [2e39, 1.0]] * 14 + [[1e39, np.nan], [2e39, np.nan]])
    with np.errstate(over="raise"):
        answers = SMALL.fit(X, [0, 1] * 15).predict(X)
    assert answers[:28].tolist() == [0, 1] * 14


def of_towns(n, seed=0):
    """Rows of many towns, some of them met once, whose class is mostly that of the town."""
    rng = np.random.default_rng(seed)
    town = rng.integers(150, size=n)
    y = np.where(rng.random(n) < 0.9, town % 3, rng.integers(3, size=n))
    names = pd.Series([f"town {i}" for i in town], dtype=object).where(rng.random(n) > 0.05)
    frame = pd.DataFrame({"town": names, "id": [f"{seed}-{i}" for i in range(n)]})
    return frame.assign(size=rng.normal(size=n)), np.array(["a", "b", "c"])[y]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_levels_of_a_column_of_many_tell_their_classes(n_classes):
    (frame, y), (new, y_new) = of_towns(900), of_towns(300, seed=1)
    keep, keep_new = y < "abcd"[n_classes], y_new < "abcd"[n_classes]
    model = TableClassifier(30, random_state=0).fit(frame[keep], y[keep])
    assert model.shares_.columns.tolist() == [0]  # of what does not come again nothing
    assert model.score(new[keep_new], y_new[keep_new]) > 0.83
    unseen = new.assign(town="nowhere")
    assert np.isfinite(model.predict_log_proba(unseen)).all()
