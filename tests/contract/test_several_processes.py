"""The example for several GPUs, on processes of the CPU: they learn what one process learns."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import DataParallel

from sklearn_ood import SoftmaxClassifier

pytest.importorskip("accelerate")
EXAMPLE = Path(__file__).parents[2] / "examples" / "several_gpus.py"
SETTINGS = {"optimizer": "sgd", "lr": 0.5, "max_epochs": 5, "hidden_layer_sizes": (16,)}

SCRIPT = """
    import json, runpy, sys
    import numpy as np
    import torch
    from accelerate import Accelerator, debug_launcher
    from sklearn.datasets import load_digits
    from sklearn_ood import SoftmaxClassifier

    torch.set_num_threads(1)
    example = runpy.run_path(sys.argv[1])
    X, y = load_digits(return_X_y=True)

    def work(folder, settings):
        accelerator = Accelerator(cpu=True)
        classifier = SoftmaxClassifier(batch_size=10**6, random_state=0, **settings)
        example["fit_together"](classifier, X[:400] / 16, y[:400], accelerator)
        scores = classifier.decision_function(X[400:500] / 16)
        np.save(f"{folder}/{accelerator.process_index}.npy", scores)

    if __name__ == "__main__":
        debug_launcher(work, (sys.argv[2], json.loads(sys.argv[3])), num_processes=2)
"""


def test_a_network_in_data_parallel_learns_the_same():
    """Where there is no GPU it is the network itself."""
    X, y = load_digits(return_X_y=True)
    settings = {"max_epochs": 2, "random_state": 0, "device": "cpu"}
    plain, wrapped = (
        SoftmaxClassifier(module, **settings).fit(X[:200] / 16, y[:200])
        for module in (torch.nn.Linear, lambda *size: DataParallel(torch.nn.Linear(*size)))
    )
    np.testing.assert_array_equal(
        wrapped.score_samples(X[200:300] / 16), plain.score_samples(X[200:300] / 16)
    )


@pytest.mark.slow
@pytest.mark.skipif(not EXAMPLE.exists(), reason="needs the folder of examples")
def test_two_processes_with_half_the_rows_learn_what_one_learns_with_all(tmp_path):
    script = tmp_path / "work.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(script), str(EXAMPLE), str(tmp_path), json.dumps(SETTINGS)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    first, second = (np.load(tmp_path / f"{rank}.npy") for rank in range(2))
    np.testing.assert_array_equal(first, second)
    X, y = load_digits(return_X_y=True)
    alone = SoftmaxClassifier(batch_size=10**6, random_state=0, device="cpu", **SETTINGS)
    alone.fit(X[:400] / 16, y[:400])
    np.testing.assert_allclose(
        first, alone.decision_function(X[400:500] / 16), rtol=1e-4, atol=1e-4
    )
    half = alone.fit(X[:400:2] / 16, y[:400:2]).decision_function(X[400:500] / 16)
    assert np.abs(first - half).max() > 1e-2
