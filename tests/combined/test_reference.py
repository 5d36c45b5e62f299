"""Rows of tables of any kind: kept, compared by Gower's distance, and put into others."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sklearn_ood.combined._explanation import (
    MISSING,
    N_NEAR,
    ReferenceRows,
    apart,
    cells_replaced,
    nearest,
    with_cells,
)
from sklearn_ood.data._tables import TableColumns


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    n = 40
    text = rng.choice(["a", "b", "c"], n).astype(object)
    text[3] = None
    number = rng.normal(size=n).round(1)
    number[5] = np.nan
    return pd.DataFrame(
        {
            "number": number,
            "count": rng.integers(5, size=n),
            "flag": rng.random(n) < 0.5,
            "text": text,
            "code": pd.Categorical(rng.integers(3, size=n)),
            "nullable": pd.array([None, *range(n - 1)], dtype="Int64"),
            "mixed": [*rng.choice([1, "x"], n - 1).tolist(), None],
            "empty": np.full(n, np.nan),
        }
    )


def same(a, b):
    return pd.isna(b) if pd.isna(a) else a == b


def gower(frame, a, b):
    """One pair, column by column, as Gower writes it."""
    total = 0
    for name in frame.columns:
        column, x, y = frame[name], frame[name].iloc[a], frame[name].iloc[b]
        if pd.isna(x) or pd.isna(y):
            total += pd.isna(x) != pd.isna(y)
        elif name in ("number", "count", "nullable"):
            rank = column.rank() - 0.5  # mean rank of equal cells
            total += abs(rank.iloc[a] - rank.iloc[b]) / column.notna().sum()
        else:
            total += x != y
    return total


def test_keeps_every_cell(frame):
    kept = ReferenceRows.of(frame, np.arange(len(frame)))
    rows = np.arange(len(frame))[::-1]
    for j, name in enumerate(frame.columns):
        cells = kept.cells(j, rows)
        assert all(map(same, cells, frame[name].iloc[::-1]))
    assert kept.codes[5, 0] == MISSING


def test_distances_are_gowers(frame):
    kept = ReferenceRows.of(frame, np.arange(len(frame)))
    positions = kept.positions()
    np.testing.assert_allclose(kept.locate(frame), positions)
    for a, b in [(0, 1), (0, 39), (3, 4), (5, 6), (7, 7)]:
        ours = apart(positions[a], positions[b]).sum()
        assert ours == pytest.approx(gower(frame, a, b))


def test_far_numbers_and_new_categories_count_as_one_difference(frame):
    kept = ReferenceRows.of(frame, np.arange(len(frame)))
    strange = frame[10:11].copy()
    strange["number"], strange["text"] = 1e30, "never seen"
    found = kept.locate(strange)
    assert found[0, 0] == 1
    in_all, but_one, _ = nearest(found, kept.positions())
    assert in_all[0] == but_one[0, 0] == 10


def test_nearest_is_that_of_a_loop(frame, monkeypatch):
    monkeypatch.setattr("sklearn_ood.combined._explanation.MAX_DISTANCES", 80)
    positions = ReferenceRows.of(frame, np.arange(len(frame))).positions()
    known = positions[7:]
    in_all, but_one, rarity = nearest(positions[:7], known)
    for i, row in enumerate(positions[:7]):
        cells = apart(row, known)
        assert cells[in_all[i]].sum() == pytest.approx(cells.sum(axis=1).min())
        for j in range(frame.shape[1]):
            others = np.delete(cells, j, axis=1).sum(axis=1)
            if not np.isnan(known[:, j]).all():
                others[np.isnan(known[:, j])] = np.inf
            assert others[but_one[i, j]] == pytest.approx(others.min())
            others = np.delete(cells, j, axis=1).sum(axis=1)
            near = cells[others <= np.sort(others)[N_NEAR - 1] + 1e-9, j]
            lift = np.log(np.mean(1 / (0.3 + cells[:, j])) / np.mean(1 / (0.3 + near)))
            lift = max(lift, 0) if cells[:, j].min() < 1 else np.log(len(known))
            assert rarity[i, j] == pytest.approx(lift)


@pytest.mark.parametrize("kind", ["pandas", "polars", "array"])
def test_one_cell_of_each_row_is_replaced(frame, kind):
    frame = frame.drop(columns="mixed")
    kept = ReferenceRows.of(frame, np.arange(len(frame)))
    tables = {
        "pandas": frame,
        "polars": pl.DataFrame(frame.astype({"code": int}).to_dict("list"), strict=False),
        "array": frame.to_numpy(dtype=object),
    }
    table = tables[kind]
    n_columns = frame.shape[1]
    rows, columns = np.repeat([2, 5], n_columns), np.tile(np.arange(n_columns), 2)
    donors = np.repeat([20, 0], n_columns)
    made = cells_replaced(table, rows, columns, kept, donors)
    assert type(made) is type(table)
    if kind == "pandas":
        changed = {"count", "empty"}  # an integer column that takes no missing cell stays one
        assert {n for n in frame if made[n].dtype != frame[n].dtype} <= changed
    cells = np.array(made, dtype=object)
    old = frame.to_numpy(dtype=object)
    for i, (row, column, donor) in enumerate(zip(rows, columns, donors, strict=True)):
        expected = old[row].copy()
        expected[column] = old[donor, column]
        assert all(map(same, cells[i], expected))
    assert same(np.array(table, dtype=object)[2, 0], old[2, 0])  # the table is as it was


def test_a_column_gets_wider_where_it_must():
    frame = pd.DataFrame({"count": [1, 2], "code": pd.Categorical(["a", "a"])})
    made = with_cells(frame, 0, np.array([True, False]), [1.5])
    made = with_cells(made, 1, np.array([False, True]), ["b"])
    assert made["count"].tolist() == [1.5, 2]
    assert made["code"].dtype.categories.tolist() == ["a", "b"]
    assert frame["count"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([True, False, True], ["True", "False", "True"]),
        (["True", "False", "True"], [1.0, 0.0, 1.0]),
        (pd.Categorical([7, 1, 7]), ["7", "1", "7"]),
        (["07", "A3", "07"], [7, "A3", 7]),
    ],
)
def test_cells_in_another_type_are_where_they_were(before, after):
    before, after = pd.DataFrame({"a": before}), pd.DataFrame({"a": after})
    known = ReferenceRows.of(before, np.arange(3))
    np.testing.assert_array_equal(known.locate(after), known.positions())


@pytest.mark.parametrize("known", ["01", "1", "1.0", 1])
def test_a_cell_is_where_the_members_read_it(known):
    frame = pd.DataFrame({"a": [known, known, "b", None]})
    cells = pd.DataFrame({"a": ["01", "1", "1.0", 1, 1.0, "001", "b", "new", None]})
    located = ReferenceRows.of(frame, np.zeros(4)).locate(cells)
    np.testing.assert_array_equal(located, TableColumns.of(frame).read(cells))
