import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, check_cv, cross_validate

from sklearn_ood.model_selection import LeaveClassesOut


def labels(n_classes=5, rows=10):
    return np.repeat(np.arange(n_classes), rows)


def left_out(y, train, test):
    return sorted(set(np.asarray(y)[test].tolist()) - set(np.asarray(y)[train].tolist()))


@pytest.mark.parametrize("n_out", [1, 2, 3])
def test_test_part_has_all_rows_of_unknown_classes_and_a_share_of_the_others(n_out):
    y = labels(rows=10)
    splitter = LeaveClassesOut(n_out, test_size=0.3, random_state=0)
    for train, test in splitter.split(np.zeros((50, 1)), y):
        unknown = left_out(y, train, test)
        assert len(unknown) == n_out
        known = np.setdiff1d(np.arange(5), unknown)
        assert np.bincount(y[test], minlength=5)[unknown].tolist() == [10] * n_out
        assert np.bincount(y[test], minlength=5)[known].tolist() == [3] * len(known)
        np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(50))
        np.testing.assert_array_equal(train, np.sort(train))
        np.testing.assert_array_equal(test, np.sort(test))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 9), min_size=3, max_size=8),
    n_out=st.integers(1, 6),
    n_splits=st.integers(1, 12),
    test_size=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_properties(sizes, n_out, n_splits, test_size, seed):
    n_out = min(n_out, len(sizes) - 2)
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    splitter = LeaveClassesOut(n_out, n_splits, test_size=test_size, random_state=seed)
    times = np.zeros(len(sizes), dtype=int)
    splits = list(splitter.split(y, y))
    assert len(splits) == splitter.get_n_splits(y, y) == n_splits
    for train, test in splits:
        unknown = left_out(y, train, test)
        times[unknown] += 1
        assert len(unknown) == n_out
        assert not np.intersect1d(train, test).size
        known = np.setdiff1d(y, unknown)
        tested = np.bincount(y[test], minlength=len(sizes))[known]
        n = np.array(sizes)[known]
        wanted = np.clip(np.rint(test_size * n), 1, n - 1)
        np.testing.assert_array_equal(tested, wanted)
    assert times.sum() == n_out * n_splits
    assert times.max() - times.min() <= 1


@pytest.mark.parametrize(
    ("share", "n_classes", "expected"), [(0.3, 10, 3), (0.3, 7, 2), (0.01, 4, 1), (0.5, 4, 2)]
)
def test_share_of_the_classes(share, n_classes, expected):
    y = labels(n_classes)
    for train, test in LeaveClassesOut(share, random_state=0).split(y, y):
        assert len(left_out(y, train, test)) == expected


def test_every_row_of_a_known_class_can_be_tested():
    y = labels(3, rows=6)
    splits = LeaveClassesOut(n_splits=60, random_state=0).split(y, y)
    tested = np.zeros(len(y), dtype=int)
    for train, test in splits:
        unknown = left_out(y, train, test)
        tested[test[~np.isin(y[test], unknown)]] += 1
    assert (tested > 0).all()


@pytest.mark.parametrize("ood_label", [-1, 2])
def test_known_outliers_stay_in_training(ood_label):
    y = np.random.default_rng(0).permutation(labels(5))
    y = np.where(y == 2, ood_label, y)
    unknowns = set()
    splitter = LeaveClassesOut(n_splits=4, ood_label=ood_label, random_state=0)
    for train, test in splitter.split(y, y):
        assert (y[train] == ood_label).sum() == 10
        unknowns |= set(left_out(y, train, test))
    assert unknowns == {0, 1, 3, 4}


def test_without_an_outlier_label_minus_one_is_a_class():
    y = labels(3) - 1
    splits = LeaveClassesOut(n_splits=3, random_state=0).split(y, y)
    assert sorted(left_out(y, *split)[0] for split in splits) == [-1, 0, 1]


@pytest.mark.parametrize(
    "convert",
    [
        list,
        np.array,
        lambda y: np.array(y, dtype=object),
        pd.Series,
        lambda y: pd.Series(y, index=range(100, 100 + len(y))),
        lambda y: pd.Series(y, dtype="category"),
    ],
)
def test_string_labels_split_like_numbers(convert):
    y = np.random.default_rng(1).permutation(labels(4, rows=5))
    names = convert(np.array(["ant", "bee", "cat", "out"])[y].tolist())
    splitter = LeaveClassesOut(random_state=0)
    X = pd.DataFrame({"a": np.zeros(20)})
    for numbers, strings in zip(splitter.split(X, y), splitter.split(X, names), strict=True):
        np.testing.assert_array_equal(numbers[0], strings[0])
        np.testing.assert_array_equal(numbers[1], strings[1])
    with_label = LeaveClassesOut(ood_label="out", random_state=0)
    for train, test in with_label.split(X, names):
        assert (np.asarray(names)[train] == "out").sum() == 5
        assert "out" not in np.asarray(names)[test]


def test_outlier_label_of_another_kind_marks_no_row():
    y = np.array(["a", "b", "c"] * 4)
    splitter = LeaveClassesOut(ood_label=-1, n_splits=3, random_state=0)
    unknowns = [left_out(y, *split)[0] for split in splitter.split(y, y)]
    assert sorted(unknowns) == ["a", "b", "c"]


def test_same_seed_same_splits_at_every_call():
    y = labels()
    splitter = LeaveClassesOut(2, random_state=4)
    for first, second in zip(splitter.split(y, y), splitter.split(y, y), strict=True):
        np.testing.assert_array_equal(first[1], second[1])
    other = LeaveClassesOut(2, random_state=5).split(y, y)
    pairs = zip(splitter.split(y, y), other, strict=True)
    assert any(not np.array_equal(first[1], second[1]) for first, second in pairs)


def test_repr_names_the_parameters():
    shown = " ".join(repr(LeaveClassesOut(0.3, ood_label=-1)).split())
    assert shown == (
        "LeaveClassesOut(n_out=0.3, n_splits=5, ood_label=-1, random_state=None, test_size=0.3)"
    )


def test_grid_search_over_a_plain_classifier():
    X, y = load_iris(return_X_y=True)
    splitter = LeaveClassesOut(n_splits=3, random_state=0)
    assert check_cv(splitter, y, classifier=True) is splitter
    search = GridSearchCV(
        LogisticRegression(max_iter=200),
        {"C": [0.1, 1.0]},
        cv=splitter,
        scoring=make_scorer(accuracy_score),
        error_score="raise",
    ).fit(X, y)
    # 50 unknown rows beside 2 x 15 known ones: no more than 30 of 80 answers can be right.
    scores = search.cv_results_["mean_test_score"]
    assert ((scores > 0.3) & (scores <= 30 / 80)).all()
    assert clone(search).fit(X, y).best_params_ == search.best_params_


def test_cross_validate_shows_two_classes_to_the_classifier():
    X, y = load_iris(return_X_y=True, as_frame=True)
    names = y.map(dict(enumerate(["setosa", "versicolor", "virginica"])))
    results = cross_validate(
        LogisticRegression(max_iter=200),
        X,
        names,
        cv=LeaveClassesOut(n_splits=6, random_state=0),
        return_estimator=True,
        error_score="raise",
    )
    taught = [tuple(fitted.classes_) for fitted in results["estimator"]]
    assert {len(classes) for classes in taught} == {2}
    assert len(set(taught)) == 3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"n_out": 0},
            r"Got n_out=0, but expected an int in the range \[1, ",
        ),
        ({"n_out": -1}, "Got n_out=-1"),
        ({"n_out": True}, "Got n_out=True"),
        (
            {"n_out": 1.0},
            r"Got n_out=1\.0, but expected an int .* or a float in",
        ),
        ({"n_out": "two"}, "Got n_out='two'"),
        ({"n_out": 4}, "Got n_out=4 with 5 classes in y, which leaves 1 to train on"),
        ({"n_out": 9}, "which leaves 0 to train on"),
        ({"n_out": 0.9}, r"Got n_out=0\.9 with 5 classes in y, which leaves 1"),
        (
            {"n_splits": 0},
            r"Got n_splits=0, but expected an int in the range \[1, ",
        ),
        ({"n_splits": 2.0}, r"Got n_splits=2\.0"),
        (
            {"test_size": 0.0},
            r"Got test_size=0\.0, but expected a float in the range \(0\.0, 1\.0\)",
        ),
        ({"test_size": 1}, "Got test_size=1"),
    ],
)
def test_bad_parameters(parameters, message):
    y = labels()
    with pytest.raises(ValueError, match=message):
        next(LeaveClassesOut(**parameters).split(y, y))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (labels(2), "Got n_out=1 with 2 classes in y"),
        (np.r_[labels(3), 7], "single row of the class 7"),
        (np.linspace(0, 1, 20), "Unknown label type"),
        (np.zeros((20, 2)), "y should be a 1d array"),
        (np.r_[0.0, 1.0, 2.0, np.nan].repeat(3), "3 missing labels"),
        (np.array(["a", "b", "c", np.nan] * 3, dtype=object), "3 missing labels"),
    ],
)
def test_bad_labels(y, message):
    X = np.zeros((20 if y is None else len(y), 1))
    with pytest.raises(ValueError, match=message):
        next(LeaveClassesOut().split(X, y))


def test_outlier_rows_do_not_count_as_a_class():
    y = labels(3) - 1
    with pytest.raises(ValueError, match="with 2 classes in y"):
        next(LeaveClassesOut(ood_label=-1).split(y, y))


def test_rows_of_x_and_y_must_agree():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        next(LeaveClassesOut().split(np.zeros((3, 1)), labels()))
