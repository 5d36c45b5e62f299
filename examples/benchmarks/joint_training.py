"""Joint training of classifier and GAN beside a loop written by hand with the same steps.

Three steps a batch, as in algorithm 1 of Lee et al. (2018): discriminator, generator,
classifier, each with its Adam. Same networks, same data, same number of threads; the median
of the repeats and its ratio are printed. Data: random images, since only time is measured.

Run ``python examples/benchmarks/joint_training.py [--repeats 5]``.
"""

import argparse
import json
import math
import platform
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sklearn_ood import ConfidentClassifier, GANOutliers
from sklearn_ood.nets._modules import build_module

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "joint_training_benchmark.json"
BATCH_SIZE = 64
LATENT_DIM = 100
N_CHANNELS = 16


def data(n_rows):
    rng = np.random.RandomState(0)
    return rng.rand(n_rows, 1, 28, 28).astype(np.float32), rng.randint(10, size=n_rows)


def ours(X, y, epochs):
    classifier = ConfidentClassifier(
        outliers=GANOutliers(latent_dim=LATENT_DIM, n_channels=N_CHANNELS),
        max_epochs=epochs,
        batch_size=BATCH_SIZE,
        random_state=0,
    )
    start = time.perf_counter()
    classifier.fit(X, y)
    return time.perf_counter() - start


def by_hand(X, y, epochs):
    start = time.perf_counter()
    rows = X.reshape(len(X), -1)
    classifier = build_module("auto", 10, input_shape=(1, 28, 28))
    gan = GANOutliers(latent_dim=LATENT_DIM, n_channels=N_CHANNELS)
    generator, discriminator = gan.make_networks((1, 28, 28), rows)
    adam = {
        network: torch.optim.Adam(network.parameters(), rate, betas=(beta, 0.999))
        for network, rate, beta in (
            (classifier, 1e-3, 0.9),
            (generator, 2e-4, 0.5),
            (discriminator, 2e-4, 0.5),
        )
    }

    def step(network, loss):
        for other in adam.values():
            other.zero_grad()
        loss.backward()
        adam[network].step()

    def divergence(outputs):
        return -torch.log_softmax(outputs, dim=1).mean() - math.log(10)

    def realness(images, label):
        outputs = discriminator(images)
        return binary_cross_entropy_with_logits(outputs, torch.full_like(outputs, label))

    images, labels = torch.from_numpy(X), torch.from_numpy(y)
    for _ in range(epochs):
        for index in torch.randperm(len(images)).split(BATCH_SIZE):
            real, target = images[index], labels[index]
            fake = generator(torch.randn(len(real), LATENT_DIM))
            step(discriminator, realness(real, 1.0) + realness(fake.detach(), 0.0))
            step(generator, realness(fake, 1.0) + divergence(classifier(fake)))
            fresh = generator(torch.randn(len(real), LATENT_DIM)).detach()
            loss = cross_entropy(classifier(real), target) + divergence(classifier(fresh))
            step(classifier, loss)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1920)
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    X, y = data(args.rows)
    times = {"by hand": [], "ConfidentClassifier": []}
    for _ in range(args.repeats + 1):
        times["by hand"].append(by_hand(X, y, args.epochs))
        times["ConfidentClassifier"].append(ours(X, y, args.epochs))
    medians = {name: round(float(np.median(taken[1:])), 3) for name, taken in times.items()}
    result = {
        "seconds": medians,
        "ratio": round(medians["ConfidentClassifier"] / medians["by hand"], 3),
        "rows": args.rows,
        "epochs": args.epochs,
        "repeats": args.repeats,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()} CPU",
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=1))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
