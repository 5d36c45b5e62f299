from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import BaseEstimator

from sklearn_ood.data._tables import read_table, warn_of_columns

FRAME = {
    "size": [1.5, None, 3.0, 2.0],
    "colour": ["red", None, "blue", "red"],
    "ripe": [True, False, None, True],
    "nothing": [None, None, None, None],
}
READ = [
    [1.5, 0, 0, np.nan],
    [np.nan, np.nan, 1, np.nan],
    [3, 1, np.nan, np.nan],
    [2, 0, 0, np.nan],
]
FRAMES = {
    "pandas objects": pd.DataFrame(FRAME, dtype=object),
    "pandas": pd.DataFrame(FRAME).astype({"ripe": "boolean", "colour": "category"}),
    "pandas strings": pd.DataFrame(FRAME).astype({"ripe": "boolean", "colour": "string"}),
    "polars": pl.DataFrame(FRAME),
    "polars categories": pl.DataFrame(FRAME, schema_overrides={"colour": pl.Categorical}),
}


class Reader(BaseEstimator):
    pass


def read(X):
    reader = Reader()
    return read_table(reader, X, reset=True), reader


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_any_kind_are_the_same_numbers(kind):
    rows, reader = read(FRAMES[kind])
    expected = np.array(READ)
    if kind == "pandas objects":  # what is not declared boolean is a number
        expected[:, 2] = [1, 0, np.nan, 1]
    np.testing.assert_array_equal(rows, expected)
    assert reader.columns_.kinds[[0, 1, 3]].tolist() == ["number", "category", "empty"]
    assert reader.columns_.levels[1].tolist() == ["red", "blue"]
    assert reader.n_features_in_ == 4
    assert reader.feature_names_in_.tolist() == list(FRAME)


def test_arrays_and_lists():
    rows, reader = read([["a", 1], ["b", None], ["a", 3.5]])
    np.testing.assert_array_equal(rows, [[0, 1], [1, np.nan], [0, 3.5]])
    assert reader.columns_.is_category.tolist() == [True, False]
    rows, reader = read(np.array([[1.0, np.nan], [2.0, np.nan]]))
    assert reader.columns_.kinds.tolist() == ["number", "empty"]
    assert reader.columns_.n_levels.tolist() == [0, 0]


def test_new_categories_are_one_more():
    _, reader = read(pd.DataFrame({"a": ["x", "y", "x"]}))
    rows = read_table(reader, pd.DataFrame({"a": ["z", "y", None]}), reset=False)
    np.testing.assert_array_equal(rows, [[2], [1], [np.nan]])


def test_numbers_that_are_categories_stay_the_same_in_other_types():
    _, reader = read(pd.DataFrame({"a": pd.Categorical([1, 2, 1])}))
    for values in ([1, 2], [1.0, 2.0], pd.Categorical([1, 2]), np.array([1, 2], dtype=object)):
        rows = read_table(reader, pd.DataFrame({"a": values}), reset=False)
        np.testing.assert_array_equal(rows, [[0], [1]])


TRUTH = {
    "bool": [True, False, True],
    "boolean": pd.array([True, False, True], dtype="boolean"),
    "object": np.array([True, False, True], dtype=object),
    "category": pd.Categorical([True, False, True]),
    "numbers": [1, 0, 1],
    "text": ["True", "False", "True"],
    "json": ["true", "false", "true"],
    "polars": pl.Series([True, False, True]),
    "of numpy": np.array([*map(np.bool_, [True, False, True])], dtype=object),
}


@pytest.mark.parametrize("before", TRUTH)
def test_truth_values_may_change_their_type_after_fit(before):
    rows, reader = read(pd.DataFrame({"a": TRUTH[before]}))
    for after, values in TRUTH.items():
        if {before, after} == {"text", "json"}:
            continue  # texts that differ are other categories
        frame = (pl if after == "polars" else pd).DataFrame({"a": values})
        if reader.columns_.is_category[0] or after not in ("text", "json"):
            np.testing.assert_array_equal(read_table(reader, frame, reset=False), rows)
        else:
            with pytest.raises(
                ValueError, match="(?i)'(true|false)' in column 'a', which held"
            ):
                read_table(reader, frame, reset=False)


@pytest.mark.parametrize(
    "codes", [["01", "7", "A3", "01"], ["1.0", "7.0", "A3", "1.0"], ["1", "7", "A3", "1"]]
)
def test_codes_that_are_read_as_numbers_later_are_the_same(codes):
    _, reader = read(pd.DataFrame({"a": codes}))
    for values in ([7, 1, 8], [7.0, 1.0, 8.0], pd.Categorical([7, 1, 8]), [7, 1, "new"]):
        rows = read_table(reader, pd.DataFrame({"a": values}), reset=False)
        np.testing.assert_array_equal(rows, [[1], [0], [3]])


IDS = 2**60 + np.array([0, 0, 1, 1])
LONG = {
    "categories": pd.DataFrame({"id": pd.Series(IDS).astype("category")}),
    "text": pd.DataFrame({"id": IDS.astype(str)}),
    "objects": pd.DataFrame({"id": [*IDS.tolist(), "other"]}),
    "numbers": pd.DataFrame({"id": IDS}),
    "polars": pl.DataFrame({"id": IDS}),
}


@pytest.mark.parametrize("later", LONG)
@pytest.mark.parametrize("before", ["categories", "text", "objects"])
def test_whole_numbers_that_floats_round_are_different_categories(before, later):
    rows, reader = read(LONG[before])
    np.testing.assert_array_equal(rows[:4, 0], [0, 0, 1, 1])
    again = read_table(reader, LONG[later], reset=False)
    np.testing.assert_array_equal(again[:4, 0], [0, 0, 1, 1])
    for unseen in (pd.DataFrame({"id": [2**60 + 2]}), pd.DataFrame({"id": [str(2**60 - 1)]})):
        assert read_table(reader, unseen, reset=False).item() == reader.columns_.n_levels[0]


def test_texts_that_are_equal_numbers_are_told_apart():
    _, reader = read(pd.DataFrame({"a": ["01", "1", "1.0", "01", "1.0", "01"]}))
    assert reader.columns_.levels[0].tolist() == ["01", "1.0", "1"]
    rows = read_table(reader, pd.DataFrame({"a": ["1", "1.0", "01", "001"]}), reset=False)
    np.testing.assert_array_equal(rows, [[2], [1], [0], [1]])


def test_declared_categories_may_be_of_any_kind():
    parts = pd.cut(pd.Series([1.0, 9.0, 2.0, np.nan]), [0, 5, 10])
    days = pd.Series(pd.PeriodIndex(["2020-01-01", "2020-01-02", "2020-01-01", None], freq="D"))
    rows, _ = read(pd.DataFrame({"part": parts, "day": days.astype("category")}))
    np.testing.assert_array_equal(rows, [[0, 0], [1, 1], [0, 0], [np.nan, np.nan]])


def test_rare_categories_of_many_are_one(monkeypatch):
    monkeypatch.setattr("sklearn_ood.data._tables.MAX_LEVELS", 30)
    names = [f"id {i}" for i in range(40)] + ["often"] * 2
    rows, reader = read(pd.DataFrame({"a": names}))
    assert reader.columns_.n_levels.tolist() == [1]  # those as frequent as each other
    assert rows[-1, 0] == 0
    assert (rows == 1).sum() == 40


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        (pd.DataFrame({"when": pd.to_datetime(["2020-01-01"])}), ValueError, "dates.*'when'"),
        (pd.DataFrame({"when": [date(2020, 1, 1)]}), ValueError, "dates.*'when'"),
        (pl.DataFrame({"when": [date(2020, 1, 1)]}), ValueError, "dates.*'when'"),
        (pd.DataFrame({"both": [[1, 2]]}), TypeError, "several values in column 'both'"),
        (pl.DataFrame({"both": [[1, 2]]}), TypeError, "several values in column 'both'"),
        (pl.DataFrame({"both": [{"a": 1}]}), TypeError, "several values in column 'both'"),
        (
            pl.DataFrame({"both": [[1.0, 2.0]]}, schema={"both": pl.Array(pl.Float64, 2)}),
            TypeError,
            "several values in column 'both'",
        ),
        (pd.DataFrame({"far": [1.0, np.inf]}), ValueError, "infinity in column 'far'"),
        (pd.DataFrame({"raw": [b"x"]}), TypeError, "b'x'.*in column 'raw'"),
        (pd.DataFrame({"a": []}), ValueError, r"0 sample\(s\)"),
    ],
)
def test_columns_that_are_refused_by_name(frame, error, message):
    with pytest.raises(error, match=message):
        read(frame)


def test_text_among_known_numbers_is_refused():
    _, reader = read(pd.DataFrame({"age": [1, 2]}))
    with pytest.raises(ValueError, match="'old' in column 'age', which held numbers"):
        read_table(reader, pd.DataFrame({"age": ["old", None]}), reset=False)
    empty = read_table(reader, pd.DataFrame({"age": [None, None]}, dtype=object), reset=False)
    assert np.isnan(empty).all()


def test_what_was_empty_is_not_looked_at():
    _, reader = read(pd.DataFrame({"a": [1, 2], "b": [None, None]}))
    rows = read_table(reader, pd.DataFrame({"a": [1], "b": ["text"]}), reset=False)
    np.testing.assert_array_equal(rows, [[1, np.nan]])


def test_numbers_of_any_type_are_read_at_once_as_each_by_itself():
    rng = np.random.default_rng(0)
    types = ["int8", "float32", "uint64", "float64", "Int64", "bool"]
    frame = pd.DataFrame({kind: rng.integers(0, 2, 20).astype(kind.lower()) for kind in types})
    frame = frame.astype({"Int64": "Int64"}).assign(text=list("abcd" * 5))
    rows, reader = read(frame)
    alone = [read(frame[[name]])[0] for name in frame]
    np.testing.assert_array_equal(rows, np.hstack(alone))
    spoilt = frame.assign(float64=np.inf)
    with pytest.raises(ValueError, match="infinity in column 'float64'"):
        read_table(reader, spoilt, reset=False)


N_ROWS = 80
RNG = np.random.RandomState(0)
COUNTING = {
    "identifiers": np.arange(N_ROWS),
    "falling": -7 * np.arange(N_ROWS),
    "years": 1990 + np.arange(N_ROWS) / 4,
    "seconds": 1_600_000_000 + RNG.randint(1, 90, N_ROWS).cumsum(),
    "objects": np.arange(N_ROWS).astype(object),
}
MEASURED = {
    "unsorted": RNG.permutation(N_ROWS),
    "sorted": np.sort(RNG.rand(N_ROWS)),
    "sorted incomes": np.unique((1e6 * RNG.gamma(2, size=N_ROWS)).astype(int)),
    "ties": np.arange(N_ROWS) // 2,
    "missing": np.where(np.arange(N_ROWS) == 60, np.nan, np.arange(N_ROWS)),
    "infinite": np.append(np.arange(N_ROWS - 1), np.inf),
    "few": np.arange(49),
    "days": np.arange(N_ROWS) * np.timedelta64(1, "D"),
}


@pytest.mark.parametrize("name", COUNTING)
def test_a_column_that_counts_the_rows_is_named(name):
    X = pd.DataFrame({"size": RNG.rand(N_ROWS), name: COUNTING[name]})
    for table in (X, pl.DataFrame(X), X.to_numpy()):
        said = name if hasattr(table, "columns") else "1"
        with pytest.warns(UserWarning, match=f"^Got X whose column '{said}' counts.* drop it"):
            warn_of_columns(table)


@pytest.mark.parametrize("name", MEASURED)
def test_a_column_of_measurements_is_no_count(name, recwarn):
    warn_of_columns(pd.DataFrame({name: MEASURED[name]}))
    assert not recwarn


def test_text_that_does_not_come_again_is_named():
    names = [f"name {i}" if i % 20 else None for i in range(N_ROWS)]
    X = pd.DataFrame({"colour": ["red", "blue"] * 40, "who": names})
    for table in (X, pl.DataFrame(X)):
        with pytest.warns(UserWarning, match="column 'who' is text.* drop it") as told:
            warn_of_columns(table)
        assert len(told) == 1
    with pytest.warns(UserWarning, match="column '1' is text"):
        warn_of_columns(X.to_numpy(object))
