"""Small problems in one thread."""

from contextlib import contextmanager
from threading import Lock

from threadpoolctl import threadpool_limits

_lock = Lock()
# Of each that is inside; the first has the number of threads as it was.
_limits: list[threadpool_limits | None] = []


@contextmanager
def one_thread():
    """Inside, products and loops take one thread: of small problems more wait, not compute.

    The threads of products are the process's: they are as found when the last has left. Those
    of OpenMP are the caller's own.
    """
    with _lock:
        _limits.append(None if _limits else threadpool_limits(1, user_api="blas"))
    try:
        with threadpool_limits(1, user_api="openmp"):
            yield
    finally:
        with _lock:
            if len(_limits) == 1:
                _limits[0].restore_original_limits()
            _limits.pop()
