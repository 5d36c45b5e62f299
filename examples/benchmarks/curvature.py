"""The trace of a reconstruction's Jacobian: exact through the code, full, and estimated.

The paper's convolutional network with a tied decoder, trained briefly on MNIST so that its
code is as sparse as a real one. The exact trace is compared in float64 with the diagonal of
``torch.func.jacrev``'s full Jacobian, and timed beside it on the same images; the error of
Hutchinson's estimate is printed for a rising number of probes.

    python examples/benchmarks/curvature.py
"""

import argparse
import copy
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from sklearn_ood import DAEConfidence
from sklearn_ood.nets._curvature import exact_trace, hutchinson_trace

sys.path.append(str(Path(__file__).parents[1]))
from data import load_images

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "curvature_benchmark.json"
PROBES = (1, 4, 16, 64)


def full_trace(module, images, chunk_size=None):
    """Diagonal of the full Jacobian, image by image."""
    traces = []
    for image in images:
        jacobian = torch.func.jacrev(
            lambda row: module.reconstruct(row[None])[0], chunk_size=chunk_size
        )(image)
        traces.append(jacobian.diagonal().double().sum())
    return torch.stack(traces).detach()


def exact(module, images):
    return exact_trace(module.encode, module.decode, images, code_is_relu=module.code_is_relu)


def timed(function, *arguments):
    started = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - started


def main(n_train, n_exact, n_full, repeats):
    X, y = load_images("mnist", split="train", return_X_y=True)
    classifier = DAEConfidence(
        module="cnn", input_shape=(1, 28, 28), alpha=20.0, max_epochs=1, random_state=0
    ).fit(X[:n_train], y[:n_train])
    module = classifier.net_.module_
    images = torch.from_numpy(X[-n_exact:].copy())
    with torch.no_grad():
        active = (module.encode(images) != 0).double().sum(dim=1).mean().item()

    seconds = {"exact": [], "jacrev": [], "jacrev in chunks of 64": []}
    for _ in range(repeats):
        _, spent = timed(exact, module, images)
        seconds["exact"].append(spent / n_exact)
        _, spent = timed(full_trace, module, images[:n_full])
        seconds["jacrev"].append(spent / n_full)
        _, spent = timed(full_trace, module, images[:n_full], 64)
        seconds["jacrev in chunks of 64"].append(spent / n_full)
    seconds = {name: float(np.median(times)) for name, times in seconds.items()}

    double = copy.deepcopy(module).double()
    few = images[:n_full].double()
    true = full_trace(double, few)
    error = ((exact(double, few) - true) / true).abs().max().item()

    trace = exact(module, images)
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (max(PROBES), n_exact, 784), generator=generator) * 2.0 - 1
    estimates = {}
    for n_probes in PROBES:
        probes = signs[:n_probes]
        estimate, spent = timed(hutchinson_trace, module.reconstruct, images, probes)
        rmse = ((estimate - trace) / 784).square().mean().sqrt().item()
        estimates[n_probes] = {"rmse_of_gamma": rmse, "seconds_per_image": spent / n_exact}
    return {
        "threads": torch.get_num_threads(),
        "rows_trained_on": n_train,
        "active_code_units_of_400": active,
        "seconds_per_image": seconds,
        "times_faster": seconds["jacrev"] / seconds["exact"],
        "times_faster_than_in_chunks": seconds["jacrev in chunks of 64"] / seconds["exact"],
        "largest_relative_error_in_float64": error,
        "gamma": [(trace / 784 - 1).min().item(), (trace / 784 - 1).max().item()],
        "hutchinson": estimates,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--full-images", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    report = main(arguments.rows, arguments.images, arguments.full_images, arguments.repeats)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
