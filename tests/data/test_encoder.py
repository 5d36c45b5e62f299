import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.pipeline import make_pipeline

from sklearn_ood import (
    CombinedClassifier,
    NeighborDistance,
    NoveltyDetector,
    TableEncoder,
    load,
    save,
)

FRAME = pd.DataFrame(
    {
        "size": [1.0, 3.0, np.nan, 5.0, 3.0, 3.0],
        "colour": ["red", "red", "green", "green", None, "blue"],
        "constant": 7,
        "empty": np.nan,
    }
)
NAMES = ["size", "constant", "colour_green", "colour_red", "size_missing"]


def test_numbers_first_then_an_indicator_for_each_category():
    encoder = TableEncoder().fit(FRAME)
    encoded = encoder.transform(FRAME)
    assert encoder.get_feature_names_out().tolist() == NAMES
    np.testing.assert_allclose(encoded[:, 0].mean(), 0, atol=1e-12)
    np.testing.assert_array_equal(encoded[:, 1], 0)
    assert encoded[2, 0] == 0
    np.testing.assert_array_equal(encoded[:, 2:].sum(axis=1), [1, 1, 2, 1, 0, 0])


def test_what_is_new_lies_between_the_others():
    encoder = TableEncoder().fit(FRAME)
    new = FRAME[:1].assign(colour="violet")
    away = np.linalg.norm(encoder.transform(new) - encoder.transform(FRAME[:1]))
    between = np.linalg.norm(encoder.transform(FRAME[[False, True, False, True, False, False]]))
    assert 0 < away < between


@pytest.mark.parametrize("out", ["pandas", "polars"])
def test_frames_out(out):
    encoder = TableEncoder().set_output(transform=out)
    frame = FRAME if out == "pandas" else pl.from_pandas(FRAME)
    assert list(encoder.fit_transform(frame).columns) == NAMES


def test_arrays_have_names_too():
    encoder = TableEncoder().fit([[1.0, "a"], [2.0, "a"], [None, "b"], [4.0, "b"]])
    names = encoder.get_feature_names_out()
    assert names.tolist() == ["x0", "x1_a", "x1_b", "x0_missing"]


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"a": list("bbcc"), "a_b": [1.0, 2, 3, 4]}, ["a_b", "a_b_", "a_c"]),
        (
            {"a": ["missing", "missing", None, None, "rare", "rare"]},
            ["a_missing", "a_missing_", "a_rare"],
        ),
    ],
)
def test_no_name_is_there_twice(columns, names):
    encoder = TableEncoder().set_output(transform="polars")
    encoded = encoder.fit_transform(pl.DataFrame(columns))
    assert encoded.columns == names == encoder.get_feature_names_out().tolist()


def test_before_any_detector(tmp_path):
    steps = make_pipeline(TableEncoder(), NoveltyDetector(NeighborDistance()))
    steps.fit(FRAME)
    assert steps.predict(FRAME).shape == (6,)
    save(steps, tmp_path / "steps.ood")
    again = load(tmp_path / "steps.ood")
    np.testing.assert_array_equal(
        again.decision_function(FRAME), steps.decision_function(FRAME)
    )


def test_what_is_beyond_single_precision_is_far_and_no_error():
    X = np.random.default_rng(0).normal(size=(60, 2))
    encoded = TableEncoder().fit(X).transform([[1e300, 0.0], [-1e300, 0.0]])
    assert np.isfinite(encoded.astype(np.float32)).all()
    assert (np.abs(encoded[:, 0]) > 1e38).all()
    combined = CombinedClassifier(random_state=0).fit(X, X[:, 0] > 0)
    assert (combined.p_values([[1e300, 0.0], [0.0, 1e39]]) < 0.05).all()
