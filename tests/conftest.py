"""Shared set-up of the tests."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

# Before scipy is imported: lets scikit-learn's checks of other arrays than numpy's run.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
# Of workers, which inherit it, one takes each core: threads of several would wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

if find_spec("matplotlib"):
    import matplotlib

    matplotlib.use("Agg")


@pytest.fixture
def real_data():
    """Folder of the real data sets, for a test that needs the named files; skips without."""

    def find(*files):
        folder = Path(os.environ.get("SKLEARN_OOD_DATA", ""))
        for file in files:
            if not os.environ.get("SKLEARN_OOD_DATA") or not (folder / file).is_file():
                pytest.skip(f"needs {file} in the folder $SKLEARN_OOD_DATA")
        return folder

    return find
