"""GeValDi: where classifiers differ most, the paper's experiments on MNIST and two tables.

Each part is one run that keeps its results in the folder ``--cache``; ``report`` joins what
has been run into ``docs/results/gevaldi.json`` and ``gevaldi.md``:

    python examples/papers/gevaldi.py models      # the VAE, two CNNs, a bagging ensemble
    python examples/papers/gevaldi.py pair        # the CNNs: ascent, drift, manifold
    python examples/papers/gevaldi.py ensemble    # Table 1, regions, retraining
    python examples/papers/gevaldi.py letter_recognition
    python examples/papers/gevaldi.py dry_bean
    python examples/papers/gevaldi.py report

The data are read from ``$SKLEARN_OOD_DATA``.
"""

import argparse
import time
from pathlib import Path

import joblib
import numpy as np
from gevaldi_report import write_report
from scipy.stats import fisher_exact
from sklearn.base import clone
from sklearn.ensemble import (
    BaggingClassifier,
)
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from torch import nn

from sklearn_ood import GenerativeClassifier, GeValDi, SoftmaxClassifier
from sklearn_ood.datasets import load_images
from sklearn_ood.generators import VAE

N_VAE_ROWS = 20_000
N_BAGGING_ROWS = 6_000
MNIST_ASCENT = {"n_steps": 100, "lr": 0.05, "prior_weight": 0.01}


def cnn(n_channels, n_dense):
    """Two strided convolutions and a dense layer."""

    def build(n_inputs, n_outputs):
        return nn.Sequential(
            nn.Conv2d(1, n_channels, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(n_channels, 2 * n_channels, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * n_channels * 49, n_dense),
            nn.ReLU(),
            nn.Linear(n_dense, n_outputs),
        )

    return build


def train_models(cache):
    """Fit what is not in the cache yet."""
    X, y = load_images("mnist", split="train", return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))
    few = order[:N_VAE_ROWS]
    image = {"input_shape": (1, 28, 28), "batch_size": 128, "lr": 2e-3, "lr_schedule": "cosine"}
    member = SoftmaxClassifier(
        hidden_layer_sizes=(32,), max_epochs=10, batch_size=64, random_state=0
    )
    models = {
        "vae": (
            VAE(8, hidden_layer_sizes=(200,), batch_size=200, lr=2e-3, random_state=0),
            few,
        ),
        "cnn_small": (
            SoftmaxClassifier(cnn(16, 64), max_epochs=6, random_state=0, **image),
            order,
        ),
        "cnn_large": (
            SoftmaxClassifier(cnn(24, 128), max_epochs=6, random_state=1, **image),
            order,
        ),
        "bagging": (
            BaggingClassifier(member, n_estimators=5, random_state=0),
            order[:N_BAGGING_ROWS],
        ),
        "judge": (GenerativeClassifier("pca", random_state=0), order[-N_VAE_ROWS:]),
    }
    for name, (model, rows) in models.items():
        path = cache / f"{name}.joblib"
        if path.exists():
            continue
        begin = time.perf_counter()
        model.fit(X[rows], y[rows])
        if name.startswith("cnn"):
            # The function that built the network cannot be pickled.
            model = SoftmaxClassifier.from_module(
                model.net_.module_.network, model.classes_, (1, 28, 28)
            )
        joblib.dump(model, path)
        print(f"{name}: {len(rows):,} rows, {time.perf_counter() - begin:.0f} s", flush=True)


def load(cache, *names):
    """Models from the cache."""
    return [joblib.load(cache / f"{name}.joblib") for name in names]


def ascent_summary(found):
    """Divergence at every tenth of the run, drift, and how often answers differ."""
    return {
        "n_samples": len(found),
        "n_steps": len(found.divergence_path) - 1,
        "divergence_at_tenths": found.divergence_path[found.steps].mean(1).tolist(),
        "drift": float(found.drift.mean()),
        "median_drift": float(np.median(found.drift)),
        "start_answers_differ": float(
            (found.start_predictions[0] != found.start_predictions[1:]).any(0).mean()
        ),
        "answers_differ": float(found.differ.mean()),
    }


def on_manifold(found, vae, judge, X):
    """Shares of the samples no lower than the 5th percentile of real test digits."""
    latents = vae.encode(X, judge.predict(X))
    prior = np.quantile(vae.log_prior(latents), 0.05)
    score = np.quantile(judge.score_samples(X), 0.05)
    scores = judge.score_samples(found.samples)
    return {
        "prior": float((found.log_prior >= prior).mean()),
        "judge": float((scores >= score).mean()),
        "both": float(((found.log_prior >= prior) & (scores >= score)).mean()),
    }


def run_pair(cache):
    """Two CNNs, their divergence by JS and by both orders of KL."""
    vae, small, large, judge = load(cache, "vae", "cnn_small", "cnn_large", "judge")
    X, y = load_images("mnist", split="test", return_X_y=True)
    members = [("small", small), ("large", large)]
    result = {"accuracy": {name: float(member.score(X, y)) for name, member in members}}
    for divergence, prior_weight, order in (
        ("js", 0.01, ("small", "large")),
        ("kl", 0.05, ("small", "large")),
        ("kl", 0.05, ("large", "small")),
    ):
        settings = MNIST_ASCENT | {"divergence": divergence, "prior_weight": prior_weight}
        gevaldi = GeValDi(members, vae, prefit=True, **settings).fit(X, y)
        begin = time.perf_counter()
        found = gevaldi.maximally_different_samples(500, pair=order, random_state=0)
        result[f"{divergence}, {order[0]} first"] = {
            "prior_weight": prior_weight,
            "seconds": time.perf_counter() - begin,
            **ascent_summary(found),
            "set_distance_at_tenths": found.set_distance_path().mean(1).T.tolist(),
            "on_manifold": on_manifold(found, vae, judge, X),
            "comparison": [pair._asdict() for pair in found.compare_accuracy(random_state=0)],
        }
    return result


def quality(classifier, X, y):
    """Accuracy, AUC (one against the rest) and F1, the last two averaged over classes."""
    proba = classifier.predict_proba(X)
    answers = classifier.classes_[proba.argmax(1)]
    return {
        "accuracy": accuracy_score(y, answers),
        "auc": roc_auc_score(y, proba, multi_class="ovr"),
        "f1": f1_score(y, answers, average="macro"),
    }


def run_ensemble(cache):
    """Table 1, regions of uncertainty, and retraining with the samples."""
    vae, bagging, judge = load(cache, "vae", "bagging", "judge")
    X, y = load_images("mnist", split="test", return_X_y=True)
    X_all, y_all = load_images("mnist", split="train", return_X_y=True)
    taught = np.random.RandomState(0).permutation(len(X_all))[:N_BAGGING_ROWS]
    X_taught, y_taught = X_all[taught], y_all[taught]
    members = [(f"net{i}", each) for i, each in enumerate(bagging.estimators_)]
    gevaldi = GeValDi(members, vae, prefit=True, **MNIST_ASCENT).fit(X_taught, y_taught)
    begin = time.perf_counter()
    found = gevaldi.maximally_different_samples(10_000, random_state=0)
    seconds = time.perf_counter() - begin
    test, different = quality(gevaldi, X, y), quality(gevaldi, found.samples, found.y)
    right = [round(test["accuracy"] * len(X)), round(different["accuracy"] * len(found))]
    table = [right, [len(X) - right[0], len(found) - right[1]]]
    starts = quality(gevaldi, found.start_samples, found.y)

    regions = gevaldi.failure_regions(found, min_samples=20)
    fresh = gevaldi.maximally_different_samples(2_000, random_state=1)
    sets = {"test": (X, y), "fresh": (fresh.samples, fresh.y)}
    refit = gevaldi.refit_with(found, X_taught, y_taught, evaluate=sets)
    again = [(name, clone(each).fit(X_taught, y_taught)) for name, each in members]
    control = GeValDi(again, vae, prefit=True).fit(X_taught, y_taught)
    without = {name: control.score(*rows) for name, rows in sets.items()}
    harder = refit.estimator.maximally_different_samples(2_000, random_state=2)
    return {
        "seconds": seconds,
        **ascent_summary(found),
        "test": test,
        "start": starts,
        "different": different,
        "drop_p_value": float(fisher_exact(table).pvalue),
        "on_manifold": on_manifold(found, vae, judge, X),
        "regions": [
            {"name": r.name, "size": r.size, "mean_divergence": r.mean_divergence}
            for r in regions
        ],
        "refit": {
            "before": refit.before,
            "with_samples": refit.after,
            "without_samples": without,
            "on_its_own_different_samples": refit.estimator.score(harder.samples, harder.y),
        },
    }


PARTS = {"pair": run_pair, "ensemble": run_ensemble}


def main():
    """Run one part, or report on all that have been run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["models", *PARTS, "report"])
    parser.add_argument("--cache", type=Path, default=Path("gevaldi_cache"))
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    if args.part == "models":
        train_models(args.cache)
    elif args.part == "report":
        write_report(
            {
                part: joblib.load(path)
                for part in PARTS
                if (path := args.cache / f"{part}.result").exists()
            }
        )
    else:
        joblib.dump(PARTS[args.part](args.cache), args.cache / f"{args.part}.result")


if __name__ == "__main__":
    main()
