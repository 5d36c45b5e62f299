"""Threads that share an estimator, and fits that the user interrupts."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import numpy as np
import pytest
import torch
from contract.test_fuzz import ESTIMATORS, SMALL_VAE, SOFTMAX
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from sklearn_ood import CombinedClassifier, GenerativeClassifier

N_THREADS, N_CALLS = 8, 2
N_INTERRUPTS = 6
METHODS = ("predict", "score_samples", "predict_proba", "transform", "sample", "encode")
PACKAGE = "/sklearn_ood/"
LOCKED = "_threads.py", "_stacked.py"

rng = np.random.default_rng(0)
Y = np.arange(120) % 3
X = rng.normal(size=(120, 4)) + 3.0 * Y[:, None]
IMAGES = rng.normal(size=(60, 1, 8, 8)) + Y[:60, None, None, None]


def ready(estimator):
    """A clone, told which label the outliers have where it needs them."""
    model = clone(estimator)
    parameters = model.get_params()
    if "given" in str(parameters.get("outliers")) or parameters.get("ood_acceptance"):
        model.set_params(ood_label=2)
    return model


def answers(model, rows):
    """What every method gives that the estimator has."""
    return {
        name: getattr(model, name)(*_arguments(model, name, rows)) for name in _methods(model)
    }


def _methods(model):
    methods = [method for method in METHODS if hasattr(model, method)]
    if "encode" in methods and is_fitted(model) and not hasattr(model.core_, "encode"):
        methods.remove("encode")
    return methods


def _arguments(model, name, rows):
    if name == "sample":
        return (5, None, 0)
    return (rows, 0) if name == "encode" else (rows,)


def is_fitted(model):
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return True


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


IN_THREADS = {
    name: estimator
    for name, estimator in ESTIMATORS.items()
    if name in ("SoftmaxClassifier, calibrated", "COOLClassifier", "NetFeatures", "GeValDi")
    or name.startswith(("DAE", "Generative", "Combined", "Selective", "Novelty", "Neighbor"))
}
ON_IMAGES = {
    "features of a network": CombinedClassifier(SOFTMAX, random_state=0),
    "convolutional generators": GenerativeClassifier(
        clone(SMALL_VAE).set_params(encoder="conv", decoder="conv"), search="both", max_iter=2
    ),
}


@pytest.mark.parametrize("name", [*IN_THREADS, *ON_IMAGES])
def test_threads_get_what_one_caller_gets(name):
    if name in IN_THREADS:
        model, rows = ready(IN_THREADS[name]).fit(X, Y), X
    else:
        model, rows = clone(ON_IMAGES[name]).fit(IMAGES, Y[:60]), IMAGES
    parts = [rows[i::N_THREADS] for i in range(N_THREADS)]
    serial = [answers(model, part) for part in parts]
    start = Barrier(N_THREADS)

    def call(part):
        start.wait()
        return [answers(model, part) for _ in range(N_CALLS)]

    with ThreadPoolExecutor(N_THREADS) as pool:
        for expected, got in zip(serial, pool.map(call, parts), strict=True):
            for again in got:
                assert_equal(again, expected)


def lines_run(function, stop_at=None):
    """Run and count the lines of the package, as if Ctrl-C came before line ``stop_at``."""
    count = 0

    def trace(frame, event, _argument):
        nonlocal count
        # A tracer, but no signal, may stop between what a lock guards and its release.
        file = frame.f_code.co_filename
        if PACKAGE not in file or file.endswith(LOCKED):
            return None
        if event == "line":
            count += 1
            if count == stop_at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


# The default members, whose fits are long, are combined as others are.
@pytest.mark.parametrize("name", [name for name in ESTIMATORS if "defaults" not in name])
def test_an_interrupted_fit_leaves_no_mixture(name):
    """It is fitted to the old rows, or to the new ones, or to none; and can be fitted again."""
    old, new = (X[:45], Y[:45]), (2.0 - X[45:, :3], Y[45:])
    model = ready(ESTIMATORS[name])
    n_lines = lines_run(lambda: model.fit(*new))
    after = answers(model, new[0])
    before, state = answers(model.fit(*old), old[0]), torch.get_rng_state()
    n_interrupts = 0
    drawn = np.random.default_rng(0).integers(1, n_lines, size=N_INTERRUPTS)
    for stop_at in [*drawn.tolist(), n_lines - 2, n_lines - 1, n_lines]:
        try:
            lines_run(partial(model.fit, *new), stop_at)
        except KeyboardInterrupt:
            n_interrupts += 1
        assert torch.equal(torch.get_rng_state(), state)
        if not is_fitted(model):
            for method in _methods(model):
                with pytest.raises(NotFittedError):
                    getattr(model, method)(*_arguments(model, method, new[0]))
        elif model.n_features_in_ == 4:
            assert_equal(answers(model, old[0]), before)
        else:
            assert_equal(answers(model, new[0]), after)
        assert_equal(answers(model.fit(*old), old[0]), before)
    assert n_interrupts >= N_INTERRUPTS
