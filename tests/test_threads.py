import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pandas as pd
import pytest
from skorch.callbacks import Callback
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_ood import SoftmaxClassifier
from sklearn_ood._threads import one_thread
from sklearn_ood.data._blocks import in_blocks


def threads():
    """How many threads each library of products, and OpenMP, takes."""
    return [each["num_threads"] for each in threadpool_info()]


@pytest.fixture(autouse=True)
def two_threads():
    with threadpool_limits(2):
        yield


def test_one_thread_inside_and_as_many_as_found_outside():
    assert set(threads()) == {2}
    with one_thread():
        assert set(threads()) == {1}
        with one_thread():
            pass
        assert set(threads()) == {1}
    assert set(threads()) == {2}


def test_an_error_leaves_them_as_found():
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert set(threads()) == {2}


def test_whoever_leaves_last_restores_them():
    inside, left = Barrier(2), Barrier(2)

    def leaves_first():
        with one_thread():
            inside.wait()
        left.wait()

    def leaves_last():
        with one_thread():
            inside.wait()
            left.wait()

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(leaves_first), pool.submit(leaves_last)]:
            each.result()
    assert set(threads()) == {2}


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame, list])
def test_loops_over_a_row_take_one_thread(kind):
    row = kind(np.zeros((1, 10)))
    assert 1 in in_blocks(lambda _: threads(), row)
    assert set(threads()) == {2}


@pytest.mark.parametrize("shape", [(5000, 10), (1, 1, 8, 8)])
def test_loops_over_many_rows_and_images_take_all_threads(shape):
    assert set(in_blocks(lambda _: threads(), np.zeros(shape))) == {2}


class Watcher(Callback):
    """Keeps how many threads there were in the last step."""

    def on_batch_end(self, net, **kwargs):
        self.threads = set(threads())


@pytest.mark.parametrize(
    ("small", "options"),
    [
        (True, {}),
        (False, {"hidden_layer_sizes": (2000, 2000)}),
        (False, {"module": "small_cnn", "input_shape": (1, 8, 8)}),
    ],
)
def test_small_networks_learn_in_one_thread(small, options):
    X, watcher = np.random.default_rng(0).normal(size=(40, 64)), Watcher()
    settings = {"max_epochs": 1, "device": "cpu", "net_params": {"callbacks": [watcher]}}
    classifier = SoftmaxClassifier(**settings, **options)
    classifier.fit(X, np.arange(40) % 2)  # loads what the limits are then known of
    with threadpool_limits(2):
        classifier.fit(X, np.arange(40) % 2)
    assert (1 in watcher.threads) == small


FORKED = """
import os, signal
import numpy as np
from sklearn_ood import CombinedClassifier, SoftmaxClassifier

X, y = np.random.default_rng(0).normal(size=(4000, 20)), np.arange(4000) % 2
net = SoftmaxClassifier(max_epochs=1, device="cpu").fit(X, y)
model = CombinedClassifier(net, [("net", net)], random_state=0).fit(X[:300], y[:300])
scores = [each.score_samples(X) for each in (net, model)]
if child := os.fork():
    raise SystemExit(os.waitpid(child, 0)[1])
signal.alarm(60)
for each, before in zip((net, model), scores, strict=True):
    assert (each.score_samples(X) == before).all()
assert (net.fit(X, y).score_samples(X) == scores[0]).all()
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_does_not_wait_for_threads_that_it_has_lost():
    several = os.environ | {"OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", FORKED]
    done = subprocess.run(command, capture_output=True, text=True, env=several, check=False)
    assert done.returncode == 0, done.stderr
