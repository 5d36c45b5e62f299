"""Small problems in one thread."""

import os
import sys
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from math import prod
from threading import Lock

from threadpoolctl import ThreadpoolController

# Cells up to which threads wait for each other longer than they compute.
FEW_CELLS = 2**12

_process, _lock = os.getpid(), Lock()
# Of each that is inside; the first has the number of threads as it was.
_limits: list = []


@contextmanager
def one_thread():
    """Inside, products and loops take one thread: of small problems more wait, not compute.

    The threads of products are the process's: they are as found when the last has left. Those
    of OpenMP are the caller's own.
    """
    with _lock:
        _limits.append(None if _limits else _limited("blas"))
    try:
        with _limited("openmp"):
            yield
    finally:
        with _lock:
            if len(_limits) == 1:
                _limits[0].restore_original_limits()
            _limits.pop()


def one_loop_if(is_small):
    """Inside, the caller's loops take one thread where little is computed, or after a fork."""
    # The other threads are lost by a fork, and loops that wait for them never end.
    is_forked = os.getpid() != _process
    return _limited("openmp") if is_small or is_forked else nullcontext()


def few_threads(X):
    """One thread for a table of few cells, and for lists, which are taken to be; no images."""
    shape = getattr(X, "shape", ())
    is_table = isinstance(shape, tuple) and len(shape) < 3 and {*map(type, shape)} <= {int}
    return one_loop_if(is_table and prod(shape) <= FEW_CELLS)


def _limited(user_api):
    return _libraries(len(sys.modules)).limit(limits=1, user_api=user_api)


@lru_cache(maxsize=1)
def _libraries(n_modules):
    """Those that compute in threads and are loaded by now: to look takes as long as a row."""
    return ThreadpoolController()
