"""Engines of joblib: two worker processes give the bits of one, and do the work."""

import os

import numpy as np
import pytest
from contract.processes import WhereFitted, process_id, process_of_fit
from joblib import Parallel, delayed, parallel_config
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from sklearn_ood import GenerativeClassifier, GeValDi, SelectiveClassifier, SoftmaxClassifier
from sklearn_ood.generators import GaussianMixtureGenerator
from sklearn_ood.metrics import (
    bootstrap_interval,
    expected_calibration_error,
    selective_scorer,
)
from sklearn_ood.model_selection import LeaveClassesOut

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

X, Y = load_iris(return_X_y=True)
NET = {"max_epochs": 5, "lr": 1e-2, "hidden_layer_sizes": (8,), "random_state": 0}


@pytest.fixture(scope="module")
def cluster():
    """Two processes, as a machine elsewhere would be."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield cluster


def on_cluster(compute):
    with parallel_config(backend="dask"):
        return compute()


def test_a_grid_search_with_classes_left_out(cluster):
    model = SelectiveClassifier(SoftmaxClassifier(**NET), coverage=0.9, random_state=0)

    def search():
        found = GridSearchCV(
            model,
            {"estimator__lr": [1e-2, 1e-3], "coverage": [0.8, 0.9]},
            cv=LeaveClassesOut(1, random_state=0),
            scoring={"aurc": selective_scorer("aurc"), "process": process_of_fit},
            refit="aurc",
            error_score="raise",
        ).fit(X, Y)
        return found, found.cv_results_

    serial, expected = search()
    distributed_search, results = on_cluster(search)
    for split in range(3):
        name = f"split{split}_test_aurc"
        np.testing.assert_array_equal(results[name], expected[name])
        assert os.getpid() not in results[f"split{split}_test_process"]
    assert distributed_search.best_params_ == serial.best_params_
    np.testing.assert_array_equal(
        distributed_search.best_estimator_.score_samples(X),
        serial.best_estimator_.score_samples(X),
    )


def test_the_fits_of_gevaldi(cluster):
    comparison = GeValDi(
        [("net", WhereFitted(**NET)), ("linear", LogisticRegression(max_iter=1000))],
        generator=GaussianMixtureGenerator(2),
        n_steps=5,
        random_state=0,
    )
    serial = clone(comparison).fit(X, Y)
    spread = on_cluster(lambda: clone(comparison).fit(X, Y))
    assert serial.estimators_[0].process_ == os.getpid() != spread.estimators_[0].process_
    np.testing.assert_array_equal(spread.score_samples(X), serial.score_samples(X))
    samples = [
        fitted.maximally_different_samples(10, random_state=0) for fitted in (serial, spread)
    ]
    np.testing.assert_array_equal(samples[0].end.samples, samples[1].end.samples)
    refit = serial.refit_with(samples[0], X, Y).estimator
    spread_refit = on_cluster(lambda: spread.refit_with(samples[1], X, Y).estimator)
    np.testing.assert_array_equal(spread_refit.score_samples(X), refit.score_samples(X))


def test_the_mixtures_of_a_generator(cluster):
    model = GenerativeClassifier(GaussianMixtureGenerator(2), random_state=0)
    spread = on_cluster(lambda: clone(model).fit(X, Y))
    np.testing.assert_array_equal(
        spread.score_samples(X), clone(model).fit(X, Y).score_samples(X)
    )


def test_a_bootstrap(cluster):
    classifier = SoftmaxClassifier(**NET).fit(X, Y)
    rows = Y, classifier.predict(X), classifier.predict_proba(X).max(axis=1)

    def interval():
        return bootstrap_interval(
            expected_calibration_error, *rows, n_resamples=64, random_state=0
        )

    assert tuple(on_cluster(interval)) == tuple(interval())
    where = on_cluster(lambda: bootstrap_interval(process_id, Y, n_resamples=64))
    assert os.getpid() not in where


def test_the_engine_of_ray():
    ray = pytest.importorskip("ray")
    joblib_backend = pytest.importorskip("ray.util.joblib")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=2**28,
        _node_ip_address="127.0.0.1",
    )
    try:
        joblib_backend.register_ray()
        model = GridSearchCV(
            SoftmaxClassifier(**NET),
            {"lr": [1e-2, 1e-3]},
            cv=LeaveClassesOut(1, random_state=0),
            scoring=selective_scorer("aurc"),
        )
        with parallel_config(backend="ray", n_jobs=2):
            processes = Parallel()(delayed(os.getpid)() for _ in range(4))
            spread = clone(model).fit(X, Y)
    finally:
        ray.shutdown()
    assert os.getpid() not in processes
    expected = model.fit(X, Y)
    np.testing.assert_array_equal(
        spread.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )
    np.testing.assert_array_equal(spread.score_samples(X), expected.score_samples(X))
