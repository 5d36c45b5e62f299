"""Odd values of every parameter of every public estimator: it works, or an error names it.

The suite tries some, the same ones every time. The long run tries as many of each as the
environment says::

    SKLEARN_OOD_ODD_VALUES=100 pytest tests/contract/test_parameters.py -n 2
"""

import os
import warnings
from numbers import Integral
from zlib import crc32

import numpy as np
import pytest
import torch
from contract import estimators, test_fuzz
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from torch import nn
from typing_extensions import TypeAliasType

from sklearn_ood._parameters import Count, check_arguments

rng = np.random.default_rng(0)
Y = np.arange(60) % 3
X = rng.normal(size=(60, 4)) + 3.0 * Y[:, None]
QUICK = {"max_epochs": 1, "hidden_layer_sizes": (8,), "min_steps": 0, "n_estimators": 2}
INSTANCES = {
    type(each).__name__: each
    for each in (*test_fuzz.ESTIMATORS.values(), *estimators.ESTIMATORS)
}
VALUES = [
    *(None, True, False, np.bool_(True), 0, -1, 1, 2, 3.0, 0.5, -0.5, 1e-320, 1e308, 10**30),
    *(2**62, np.inf, -np.inf, np.nan, np.float64(np.nan), np.int64(2), np.int8(1)),
    *(np.float32(0.5), np.float64(2.0), np.uint8(0), np.str_("auto"), np.datetime64("2020")),
    *("", "auto", "nonsense", "2", b"x", 1 + 1j, object, object(), len, LogisticRegression),
    *([], [1], [1, 2], (4,), (0,), (-1,), (2.5,), ("a",), (1, 2, 2), [np.inf], [np.nan]),
    *((10**30,), [None], [[1, 2], [3]], {}, {"a": 1}, {1: 2.0}, {1}, range(3)),
    *(np.array([1, 2]), np.array(2), np.zeros((2, 2)), np.array([]), np.array(["a"])),
    *(torch.tensor(2.0), nn.ReLU(), LogisticRegression(), lambda *_, **__: None),
]
# A value of 1e308 is a number; what comes of it is infinite, as the errors say. The last is
# what every list of named estimators says in scikit-learn.
OTHER_WORDS = ("Training diverged", "NaN or infinite outputs", "No threshold can promise")
OTHER_WORDS += ("not enough values to unpack",)
N_VALUES = int(os.environ.get("SKLEARN_OOD_ODD_VALUES", 4))


def quick(estimator):
    """A clone that is fitted in no time."""
    model = clone(estimator)
    known = model.get_params(deep=True)
    return model.set_params(**{name: value for name, value in QUICK.items() if name in known})


def drawn(name, parameter):
    """Some of the values, others for each parameter."""
    order = np.random.default_rng(crc32(f"{name} {parameter}".encode())).permutation(
        len(VALUES)
    )
    return [VALUES[i] for i in order[:N_VALUES]]


def error_of(model, parameter, value):
    """What a fit and all questions say that is wrong, in a documented way; None if nothing."""
    try:
        use(model.set_params(**{parameter: value}))
    except (ValueError, TypeError) as error:
        return str(error)


def use(model):
    model.fit(X, Y)
    for method in ("predict", "score_samples", "transform", "predict_proba"):
        if hasattr(model, method):
            answers = np.asarray(getattr(model, method)(X[:5]))
            assert answers.dtype.kind != "f" or not np.isnan(answers).any()


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        (name, parameter)
        for name, each in INSTANCES.items()
        for parameter in each.get_params(False)
    ],
)
def test_an_odd_value_works_or_is_named(name, parameter):
    for value in drawn(name, parameter):
        if parameter == "n_jobs" and isinstance(value, Integral) and value not in (0, 1):
            continue  # it starts processes
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            said = error_of(quick(INSTANCES[name]), parameter, value)
        words = (parameter, *OTHER_WORDS)
        assert said is None or any(word in said for word in words), f"{value!r}: {said}"


def test_the_name_of_a_type_is_that_type():
    """As ``ArrayLike`` is from numpy 2.5 on, and ``type Size = ...`` in Python 3.12."""
    rows, size = TypeAliasType("Rows", np.ndarray | None), TypeAliasType("Size", Count)

    def draw(rows: rows, size: size | None = None):
        """Nothing."""

    check_arguments(draw, {"rows": X, "size": 2})
    check_arguments(draw, {"rows": None, "size": None})
    with pytest.raises(ValueError, match="Got size=0, but expected an int in the range"):
        check_arguments(draw, {"rows": X, "size": 0})
    with pytest.raises(ValueError, match="Got rows='x', but expected an instance of 'numpy"):
        check_arguments(draw, {"rows": "x", "size": 2})
