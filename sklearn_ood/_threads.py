"""Products of small matrices in one thread."""

from contextlib import ContextDecorator
from threading import Lock

from threadpoolctl import threadpool_limits

_lock = Lock()
# Of each that is inside; the first has the number of threads as it was.
_limits: list[threadpool_limits | None] = []


class OneThread(ContextDecorator):
    """Inside, products take one thread: for small matrices more of them wait, not compute.

    The number of threads is the process's: it is as found when the last has left.
    """

    def __enter__(self):
        with _lock:
            _limits.append(None if _limits else threadpool_limits(1, user_api="blas"))
        return self

    def __exit__(self, *exception):
        with _lock:
            if len(_limits) == 1:
                _limits[0].restore_original_limits()
            _limits.pop()
