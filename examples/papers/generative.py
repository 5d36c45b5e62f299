"""Generative classification knows when it does not know: the paper's experiments.

A model learns the digits (or Fashion-MNIST's clothes) and meets, among the test images, others
that it was never taught: 31,460 Omniglot characters, notMNIST's letters, clothes or digits.
Every answer to one of those is an error. The generative classifiers, a convolutional network,
simple scores and the hybrid (the network answers where the generative score is high) are
judged by risk-coverage curves, as in the paper's figure 9, and by AUROC and TNR at 95 % TPR.

Each model is one run, and keeps its scores in the folder ``--cache``:

    python examples/papers/generative.py mnist vae
    python examples/papers/generative.py mnist cnn
    python examples/papers/generative.py report

``report`` judges what has been run and writes ``docs/results/generative.json`` and
``generative.md``. The data are read from ``$SKLEARN_OOD_DATA``.
"""

import argparse
import copy
import time
from pathlib import Path

import joblib
import numpy as np
import torch
from generative_report import write_report
from net_peers import VirtualLogit, odin
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn_ood._scores import energy, max_proba

from sklearn_ood import GenerativeClassifier, NeighborDistance, NetFeatures, SoftmaxClassifier
from sklearn_ood.datasets import load_images
from sklearn_ood.generators import GAN, VAE, PCAGenerator

OUTSIDE = {
    "mnist": ("fashion_mnist", "omniglot", "notmnist"),
    "fashion_mnist": ("mnist", "notmnist"),
}
IMAGE = (1, 28, 28)
FULL = {"validation_fraction": 0, "random_state": 0}


class LitPixels:
    """How little light an image has: the crudest score of all."""

    def fit(self, X, y):
        self.typical_ = np.median(X.sum(1))
        return self

    def score_samples(self, X):
        return -np.abs(X.sum(1) - self.typical_).astype(np.float64)


def models(epochs, trained=None):
    """Everything that can be run, by name; ``trained`` gives the network of an earlier run."""
    conv = {"input_shape": IMAGE, "random_state": 0}
    return {
        "cnn": lambda: SoftmaxClassifier(
            module="small_cnn",
            input_shape=IMAGE,
            max_epochs=epochs or 5,
            batch_size=128,
            lr=2e-3,
            lr_schedule="cosine",
            random_state=0,
        ),
        "mlp": lambda: SoftmaxClassifier(
            hidden_layer_sizes=(256, 128),
            max_epochs=epochs or 8,
            batch_size=256,
            random_state=0,
        ),
        "vae": lambda: GenerativeClassifier(
            VAE(max_epochs=epochs or 20, random_state=0), **FULL
        ),
        "vae, conv": lambda: GenerativeClassifier(VAE(max_epochs=epochs or 10, **conv), **FULL),
        "vae, searched": lambda: GenerativeClassifier(
            VAE(max_epochs=epochs or 20, random_state=0), search="both", max_iter=15, **FULL
        ),
        "gan": lambda: GenerativeClassifier(
            GAN(max_epochs=epochs or 30, random_state=0), n_candidates=1024, max_iter=6, **FULL
        ),
        "knn": lambda: GenerativeClassifier("knn", **FULL),
        "pca, likelihood": lambda: GenerativeClassifier("pca", **FULL),
        "pca, l2": lambda: GenerativeClassifier("pca", "l2", **FULL),
        "pca 64, l2": lambda: GenerativeClassifier(PCAGenerator(64), "l2", **FULL),
        "isolation forest": lambda: IsolationForest(random_state=0),
        "lit pixels": LitPixels,
        "cnn conv features, knn": lambda: make_pipeline(
            NetFeatures(FrozenEstimator(trained("cnn")), "conv"),
            Normalizer(),
            GenerativeClassifier("knn", **FULL),
        ),
    }


class NetScores:
    """A trained network's scores, and those of others in the space of its layers."""

    def __init__(self, name, net, X, y):
        self.name, self.net = name, net
        hidden = NetFeatures(FrozenEstimator(net))
        one_class = NeighborDistance(50).fit(
            Normalizer().fit_transform(hidden.fit_transform(X))
        )
        self.others = {
            f"{name}, ODIN": odin(net),
            f"{name}, ViM": VirtualLogit(net).fit(X),
            f"{name} features, 50-NN": make_pipeline(hidden, Normalizer(), one_class),
            f"{name} features, pca": generated_in(hidden).fit(X, y),
        }
        if name == "cnn":
            conv = NetFeatures(FrozenEstimator(net), "conv")
            self.others[f"{name} conv features, pca"] = generated_in(conv).fit(X, y)

    def scores(self, X):
        """Labels, and the name and values of each score."""
        logits = self.net._logits(X)
        return logits.argmax(1), {
            self.name: max_proba(logits),
            f"{self.name}, energy": energy(logits),
        } | {name: other.score_samples(X) for name, other in self.others.items()}


def generated_in(features):
    """One linear generator a class, in the space of a network's features."""
    return make_pipeline(features, GenerativeClassifier("pca", **FULL))


def test_sets(taught):
    yield taught, load_images(taught, split="test", return_X_y=True)[0]
    for name in OUTSIDE[taught]:
        split = "all" if name == "omniglot" else "test"
        yield name, load_images(name, split=split, return_X_y=True)[0]


def run(taught, name, cache, epochs, rows_a_class, sets):
    """Fit and score one model, going on where an earlier run was stopped."""
    X, y = load_images(taught, split="train", return_X_y=True)
    if rows_a_class:
        chosen = np.concatenate([np.flatnonzero(y == k)[:rows_a_class] for k in range(10)])
        X, y = X[chosen], y[chosen]
    file = cache / f"{taught}-{name.replace(' ', '_')}"

    def trained(net):
        return joblib.load(cache / f"{taught}-{net}.joblib")[0]

    model, seconds = fitted(models(epochs, trained)[name], X, y, file.with_suffix(".joblib"))
    kept = read(file) or {"fit_seconds": seconds, "score_seconds": 0.0, "rows": len(X)}
    scored = NetScores(name, model, X, y) if name in ("cnn", "mlp") else None
    for test_name, rows in test_sets(taught):
        if f"score_{test_name}" in kept or (sets and test_name not in sets):
            continue
        begin = time.perf_counter()
        if scored is None:
            found = {name: judged(model, test_name, rows)} | bound(model, test_name, rows)
        else:
            labels, scores = scored.scores(rows)
            found = {
                other: {f"score_{test_name}": score, f"label_{test_name}": labels}
                for other, score in scores.items()
            }
        kept["score_seconds"] = float(kept["score_seconds"]) + time.perf_counter() - begin
        for other in sorted(found, key=lambda other: other == name):
            beside = cache / f"{taught}-{other.replace(' ', '_')}"
            seconds = {"score_seconds": kept["score_seconds"]}
            save(beside, kept | read(beside) | seconds | found[other])
        kept = read(file)
        print(test_name, "done", flush=True)
    if f"label_{taught}" in kept:
        truth = load_images(taught, split="test", return_X_y=True)[1]
        print("accuracy", np.mean(kept[f"label_{taught}"] == truth))


def bound(model, test_name, rows):
    """A VAE's other similarity: the evidence lower bound."""
    if not isinstance(model, GenerativeClassifier) or not isinstance(model.generator_, VAE):
        return {}
    model = copy.copy(model)
    model.similarity_ = "likelihood"
    return {"vae, likelihood": judged(model, test_name, rows)}


def judged(model, test_name, rows):
    """Scores, and labels where the model has any, of one test set."""
    if hasattr(model, "predict_proba"):
        evidence = model.decision_function(rows)
        return {
            f"score_{test_name}": evidence.max(1),
            f"label_{test_name}": model.classes_[evidence.argmax(1)],
        }
    return {f"score_{test_name}": model.score_samples(rows)}


def fitted(make, X, y, file):
    if file.exists():
        return joblib.load(file)
    begin = time.perf_counter()
    model = make().fit(X, y)
    kept = model, time.perf_counter() - begin
    joblib.dump(kept, file)
    print(f"fitted in {kept[1]:.1f} s", flush=True)
    return kept


def read(file):
    file = file.with_suffix(".npz")
    return dict(np.load(file)) if file.exists() else {}


def save(file, kept):
    np.savez(file.with_suffix(".npz"), **kept)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("taught", choices=[*OUTSIDE, "report"])
    parser.add_argument("model", nargs="?", choices=list(models(0)))
    parser.add_argument("--epochs", type=int, default=0, help="other than the model's own")
    parser.add_argument("--rows-a-class", type=int, default=0, help="train on fewer")
    parser.add_argument("--sets", nargs="*", help="score only these test sets now")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("scores"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.cache.mkdir(parents=True, exist_ok=True)
    if args.taught == "report":
        write_report(args.cache)
        return
    run(args.taught, args.model, args.cache, args.epochs, args.rows_a_class, args.sets)


if __name__ == "__main__":
    main()
