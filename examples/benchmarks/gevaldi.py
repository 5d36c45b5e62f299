"""GeValDi's ascent: all samples as one batch, beside the same ascent sample by sample.

Two networks and one decoder a class, of the sizes that MNIST needs, with random weights: the
time does not depend on what they know. The sample-by-sample loop is timed on a part of the
samples and extrapolated. Both run in turns, in one process.

Run with ``python examples/benchmarks/gevaldi.py``; writes
docs/results/gevaldi_benchmark.json.
"""

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from sklearn.frozen import FrozenEstimator
from torch import nn

from sklearn_ood import GeValDi, SoftmaxClassifier
from sklearn_ood.generators import PretrainedGenerator

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "gevaldi_benchmark.json"
N_CLASSES, LATENT_DIM, N_FEATURES = 10, 8, 784


def dense(*sizes):
    """Dense layers with ReLU between them."""
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def make_gevaldi(n_steps):
    """Two networks and ten decoders."""
    torch.manual_seed(0)
    classes = list(range(N_CLASSES))
    members = [
        (
            f"net{width}",
            SoftmaxClassifier.from_module(
                dense(N_FEATURES, width, N_CLASSES), classes, N_FEATURES, device="cpu"
            ),
        )
        for width in (64, 128)
    ]
    decoders = [dense(LATENT_DIM, 256, N_FEATURES) for _ in classes]
    generator = PretrainedGenerator.from_module(
        decoders, LATENT_DIM, classes=classes, device="cpu"
    )
    frozen = [(name, FrozenEstimator(member)) for name, member in members]
    return GeValDi(frozen, generator=FrozenEstimator(generator), n_steps=n_steps).fit()


def seconds(function):
    """Wall and processor time of one call; the latter does not mind other work."""
    begin = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


def main():
    """Time both, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--alone", type=int, default=10, help="samples of the timed loop")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    gevaldi = make_gevaldi(settings.steps)

    def batch():
        gevaldi.maximally_different_samples(settings.samples, random_state=0)

    def alone():
        for seed in range(settings.alone):
            gevaldi.maximally_different_samples(1, random_state=seed)

    gevaldi.maximally_different_samples(2)
    times = [(seconds(batch), seconds(alone)) for _ in range(settings.repeats)]
    factor = settings.samples / settings.alone
    result = {
        "samples": settings.samples,
        "steps": settings.steps,
        "timed_alone": settings.alone,
        "repeats": settings.repeats,
        "threads": settings.threads,
        "unit": "seconds, median of the repeats, one run",
        "torch": torch.__version__,
    }
    for i, clock in enumerate(("wall", "processor")):
        together = median(batch[i] for batch, _ in times)
        looped = factor * median(alone[i] for _, alone in times)
        result[clock] = {
            "batch": together,
            "sample_by_sample": looped,
            "ratio": looped / together,
        }
        print(
            f"{settings.samples:,} samples x {settings.steps} steps, {clock} time: batch "
            f"{together:.1f} s, sample by sample {looped:.1f} s, {looped / together:.1f} times "
            "faster (at least 10)"
        )
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    settings.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
