"""The fooling protocol as one batch, beside trial by trial.

200 trials on the paper's convolutional network: ``sklearn_ood.inspection`` updates all that
have not fooled yet at once, and needs no weights of the generators; the protocol as it is
usually written trains one dense layer with Adam, one image at a time. Both make the same
number of updates of the same network at a threshold that is never reached, so that no trial
drops out; the time of trial by trial is extrapolated from a few trials. A second line shows
what dropping out saves at a threshold that is reached.

    python examples/benchmarks/fooling.py
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from sklearn_ood import SoftmaxClassifier
from sklearn_ood.inspection import fooling_rate

sys.path.append(str(Path(__file__).parents[1]))
from data import load_images

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "fooling_benchmark.json"


def trial_by_trial(classifier, digit, n_updates, lr=1e-5):
    """One trial, as one would write it: a layer, an optimiser, one image at a time."""
    layer = torch.nn.Linear(784, 784)
    start = torch.rand(784)
    optimizer = torch.optim.Adam(layer.parameters(), lr=lr)
    target = torch.tensor([digit])
    for _ in range(n_updates):
        image = torch.sigmoid(layer(start))[None]
        logits = classifier.net_.module_(image)
        if torch.softmax(logits, dim=1)[0, digit] > 1:
            break
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, target).backward()
        optimizer.step()


def timed(function, *arguments, **parameters):
    started = time.perf_counter()
    result = function(*arguments, **parameters)
    return result, time.perf_counter() - started


def main(n_train, n_updates, n_single):
    X, y = load_images("mnist", split="train", return_X_y=True)
    classifier = SoftmaxClassifier(
        module="cnn", input_shape=(1, 28, 28), max_epochs=1, random_state=0
    ).fit(X[:n_train], y[:n_train])
    _, batched = timed(
        fooling_rate, classifier, threshold=1.0, max_updates=n_updates, random_state=0
    )
    torch.manual_seed(0)
    _, single = timed(
        lambda: [trial_by_trial(classifier, digit, n_updates) for digit in range(n_single)]
    )
    reached, dropping = timed(
        fooling_rate,
        classifier,
        threshold=np.log(0.9),
        max_updates=10 * n_updates,
        random_state=0,
    )
    per_update = {
        "batched": batched / n_updates,
        "trial by trial, 200 trials": single / n_single / n_updates * 200,
    }
    return {
        "threads": torch.get_num_threads(),
        "updates": n_updates,
        "trials_timed_singly": n_single,
        "seconds_per_update_of_200_trials": per_update,
        "times_faster": per_update["trial by trial, 200 trials"] / per_update["batched"],
        "at_0.9": {
            "rate": reached.rate,
            "mean_updates": reached.mean_updates if reached.rate else None,
            "seconds": dropping,
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--single", type=int, default=5)
    arguments = parser.parse_args()
    report = main(arguments.rows, arguments.updates, arguments.single)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
