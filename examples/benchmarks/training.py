"""What does scikit-learn's contract cost? Training and scoring beside a hand-written loop.

The same network (784-128-10), batch (128) and epochs on MNIST's 60,000 training images, on
the CPU. Every time is the median of several runs, interleaved, in one process. Beside it
skorch's own loader, scikit-learn's ``MLPClassifier``, PyOD's ``AutoEncoder`` where it is
installed, and what ``import sklearn_ood`` adds to importing its dependencies. Scoring is also
measured for a network 3072-128-10 on 60,000 images of 3 x 32 x 32, noise, which are read from
memory twice: once to see that all numbers are finite. That part is CPU time on one thread, as
the machine was busy; the other parts on record are of an earlier run.

    python examples/benchmarks/training.py [PART ...]
"""

import json
import platform
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset

from sklearn_ood import SoftmaxClassifier

sys.path.append(str(Path(__file__).parents[1]))
from data import load_images

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "training_benchmark.json"
EPOCHS, BATCH, REPEATS = 1, 128, 5
COLOUR = "scoring of 60,000 colour images, CPU time of one thread"


def network():
    return torch.nn.Sequential(
        torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
    )


def plain_loop(X, y):
    """The loop that one would write by hand, with tensors sliced by index."""
    net, loss_function = network(), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    rows, labels = torch.from_numpy(X), torch.from_numpy(y)
    net.train()
    for _ in range(EPOCHS):
        order, total = torch.randperm(len(rows)), 0.0
        for start in range(0, len(rows), BATCH):
            index = order[start : start + BATCH]
            optimizer.zero_grad()
            loss = loss_function(net(rows[index]), labels[index])
            loss.backward()
            optimizer.step()
            total += loss.item()
    return net


def ours(X, y):
    return SoftmaxClassifier(
        hidden_layer_sizes=(128,), max_epochs=EPOCHS, batch_size=BATCH, device="cpu"
    ).fit(X, y)


def skorch_default(X, y):
    net = NeuralNetClassifier(
        network(),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=EPOCHS,
        batch_size=BATCH,
        train_split=None,
        iterator_train__shuffle=True,
        dataset=Dataset,
        verbose=0,
    )
    return net.fit(X, y)


def scikit_learn(X, y):
    net = MLPClassifier((128,), batch_size=BATCH, max_iter=EPOCHS, n_iter_no_change=EPOCHS + 1)
    with np.errstate(all="ignore"):
        return net.fit(X, y)


def pyod_autoencoder(X, y):
    from pyod.models.auto_encoder import AutoEncoder

    return AutoEncoder(
        hidden_neuron_list=[128], epoch_num=EPOCHS, batch_size=BATCH, verbose=0
    ).fit(X)


def bare_forward(classifier, X):
    """Forward pass and softmax of the same network, in one call."""
    with torch.no_grad():
        logits = classifier.net_.module_(torch.from_numpy(X).flatten(1))
        return torch.softmax(logits, dim=1).max(dim=1).values.numpy()


def scoring(classifier, X):
    """Both ways to score all rows, by name."""
    return {
        "bare forward and softmax": lambda: bare_forward(classifier, X),
        "score_samples": lambda: classifier.score_samples(X),
    }


def of_images(n_images=60_000):
    """A classifier of colour images, and images."""
    layers = torch.nn.Flatten(), torch.nn.Linear(3072, 128), torch.nn.ReLU()
    net = torch.nn.Sequential(*layers, torch.nn.Linear(128, 10))
    images = np.random.default_rng(0).random((n_images, 3, 32, 32), dtype=np.float32)
    return SoftmaxClassifier.from_module(net, range(10), (3, 32, 32), device="cpu"), images


def median_seconds(functions, repeats, clock=time.perf_counter):
    """Median time of each function, run in turns so that none has the warmer machine."""
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = clock()
            function()
            times[name].append(clock() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def import_seconds(statement):
    command = [sys.executable, "-c", statement]
    return subprocess.run(command, check=True, capture_output=True)


def main():
    X, y = load_images("mnist", split="train", return_X_y=True)
    training = {
        "plain PyTorch loop": lambda: plain_loop(X, y),
        "SoftmaxClassifier": lambda: ours(X, y),
        "skorch, default loader": lambda: skorch_default(X, y),
        "MLPClassifier": lambda: scikit_learn(X, y),
    }
    if find_spec("pyod"):
        training["PyOD AutoEncoder"] = lambda: pyod_autoencoder(X, y)
    imports = {
        "torch, sklearn, skorch": lambda: import_seconds("import torch, sklearn, skorch"),
        "sklearn_ood": lambda: import_seconds("import sklearn_ood"),
    }
    parts = {
        "training": (lambda: training, REPEATS, time.perf_counter),
        "scoring": (lambda: scoring(ours(X, y), X), 11, time.perf_counter),
        COLOUR: (lambda: scoring(*of_images()), 7, time.process_time),
        "import": (lambda: imports, 5, time.perf_counter),
    }
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results["machine"] = f"{platform.machine()}, {torch.get_num_threads()} threads"
    for title in sys.argv[1:] or parts:
        if title == COLOUR:
            torch.set_num_threads(1)
        functions, repeats, clock = parts[title]
        seconds = median_seconds(functions(), repeats, clock)
        base = next(iter(seconds.values()))
        results[title] = {
            name: {"seconds": round(value, 4), "ratio": round(value / base, 3)}
            for name, value in seconds.items()
        }
        for name, value in seconds.items():
            print(f"{title:58}{name:28}{value:9.3f} s{value / base:8.2f}x")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
