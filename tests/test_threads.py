from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_ood._threads import OneThread


def threads():
    """How many threads each library of products takes."""
    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def two_threads():
    with threadpool_limits(2, user_api="blas"):
        yield


def test_one_thread_inside_and_as_many_as_found_outside():
    assert set(threads()) == {2}
    with OneThread():
        assert set(threads()) == {1}
        with OneThread():
            pass
        assert set(threads()) == {1}
    assert set(threads()) == {2}


def test_an_error_leaves_them_as_found():
    with pytest.raises(KeyError), OneThread():
        raise KeyError
    assert set(threads()) == {2}


def test_whoever_leaves_last_restores_them():
    inside, left = Barrier(2), Barrier(2)

    def leaves_first():
        with OneThread():
            inside.wait()
        left.wait()

    def leaves_last():
        with OneThread():
            inside.wait()
            left.wait()

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(leaves_first), pool.submit(leaves_last)]:
            each.result()
    assert set(threads()) == {2}
