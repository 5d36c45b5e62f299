import numpy as np
import pytest
import torch

from sklearn_ood.search._constraints import ColumnConstraints

NAMES = ["age", "income", "red", "green", "blue", "country"]
WANTED = {
    "integer": ["age"],
    "range": {"age": (0.5, 90.2), "income": (0.1, np.inf)},
    "one_hot": [["red", "green", "blue"]],
    "fixed": {"country": 0.7},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_keep_to_them_and_are_the_nearest(dtype):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(500, 6, generator=rng, dtype=dtype) * 40
    keep = ColumnConstraints(WANTED, 6, NAMES)
    kept = keep(x)
    age, income, *colours, country = kept.numpy().T
    assert set(age.tolist()) <= set(range(1, 91))
    assert (income.astype(np.float64) >= 0.1).all()
    assert set(np.sum(colours, axis=0).tolist()) == {1.0}
    assert set(np.unique(colours).tolist()) == {0.0, 1.0}
    assert (country == country.dtype.type(0.7)).all()
    torch.testing.assert_close(keep(kept), kept, rtol=0, atol=0)
    distance = (kept - x).square().sum(1)
    for other in range(3):
        moved = kept.clone()
        moved[:, 2:5] = torch.eye(3, dtype=dtype)[other]
        moved[:, 0] = (moved[:, 0] + 1).clamp_max(90)
        assert (distance <= (moved - x).square().sum(1) + 1e-3).all()


def test_gradients_pass():
    x = torch.randn(4, 6, requires_grad=True)
    weights = torch.arange(24.0).view(4, 6)
    (weights * ColumnConstraints(WANTED, 6, NAMES)(x)).sum().backward()
    torch.testing.assert_close(x.grad, weights)


def test_nothing_wanted_is_nothing_moved():
    x = torch.randn(2, 3, 4)
    for wanted in (None, {}, {"integer": []}):
        torch.testing.assert_close(ColumnConstraints(wanted, 4)(x), x, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("constraints", "match"),
    [
        ({"whole": [0]}, r"constraints \['whole'\], but expected some of"),
        ({"integer": ["agee"]}, "column 'agee', but expected one of .*'age'"),
        ({"integer": [6]}, "column 6"),
        ({"integer": "age"}, "integer='age' in constraints, but expected a list of columns"),
        ({"range": [(0, 1)]}, "range=.* expected a dict by column"),
        ({"range": {"age": (3, 1)}}, "no number to the column 'age'"),
        ({"range": {"age": (0.2, 0.8)}, "integer": ["age"]}, "no number to the column 'age'"),
        ({"one_hot": [["red", "age"]], "fixed": {"age": 1}}, r"of the columns \['age'\]"),
        ({"one_hot": [["red", "blue"], ["blue", "green"]]}, r"of the columns \['blue'\]"),
    ],
)
def test_errors_name_the_column(constraints, match):
    with pytest.raises(ValueError, match=match):
        ColumnConstraints(constraints, 6, NAMES)
