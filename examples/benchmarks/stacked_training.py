"""Ten variational autoencoders: trained as one stack, beside one after the other.

Both see the same rows for the same number of epochs with the same batches a class. The final
losses (minus the evidence lower bound in nats a feature, mean of the classes) differ only by
their random numbers. On a GPU, where small products leave most of the device idle, the stack
wins by more than on a CPU.

Run ``python examples/benchmarks/stacked_training.py [--rows 1000] [--epochs 3]`` with MNIST in
``$SKLEARN_OOD_DATA``.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from sklearn_ood.generators import VAE

sys.path.append(str(Path(__file__).parents[1]))
from data import load_images


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000, help="rows a class")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    X, y = load_images("mnist", split="train", return_X_y=True)
    chosen = np.concatenate([np.flatnonzero(y == k)[: args.rows] for k in range(10)])
    X, y = X[chosen], y[chosen]
    options = {"max_epochs": args.epochs, "device": args.device}
    VAE(max_epochs=1, device=args.device, random_state=0).fit(X[::10], y[::10])

    stacked_seconds, single_seconds, stacked_losses, single_losses = [], [], [], []
    for seed in range(args.repeats):
        begin = time.perf_counter()
        stacked = VAE(random_state=seed, **options).fit(X, y)
        stacked_seconds.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        singles = [VAE(random_state=seed, **options).fit(X[y == k]) for k in range(10)]
        single_seconds.append(time.perf_counter() - begin)
        stacked_losses.append(stacked.loss_curve_[-1] / 10)
        single_losses.append(np.mean([single.loss_curve_[-1] for single in singles]))

    result = {
        "rows_a_class": args.rows,
        "epochs": args.epochs,
        "device": args.device,
        "threads": args.threads,
        "stacked_seconds": round(min(stacked_seconds), 2),
        "one_after_the_other_seconds": round(min(single_seconds), 2),
        "speed_up": round(min(single_seconds) / min(stacked_seconds), 2),
        "stacked_loss": round(float(np.mean(stacked_losses)), 4),
        "one_after_the_other_loss": round(float(np.mean(single_losses)), 4),
        "loss_spread_between_seeds": round(float(np.std(single_losses)), 4),
        "torch": torch.__version__,
    }
    for name, value in result.items():
        print(f"{name:28s} {value}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
