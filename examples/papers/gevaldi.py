"""GeValDi: where classifiers differ most, the paper's experiments on MNIST and two tables.

Each part is one run that keeps its results in the folder ``--cache``; ``report`` joins what
has been run into ``docs/results/gevaldi.json`` and ``gevaldi.md``:

    python examples/papers/gevaldi.py train vae   # and cnn_16, cnn_12, bagging, judge
    python examples/papers/gevaldi.py pair        # the CNNs: ascent, drift, manifold
    python examples/papers/gevaldi.py ensemble    # Table 1 and regions
    python examples/papers/gevaldi.py retraining  # with the ensemble's samples
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
from gevaldi_tables import ascent_summary, run_table
from scipy.stats import fisher_exact, wilcoxon
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score
from torch import nn

from sklearn_ood import GenerativeClassifier, GeValDi, SoftmaxClassifier
from sklearn_ood.datasets import load_images
from sklearn_ood.generators import VAE

N_VAE_ROWS, N_JUDGE_ROWS, N_BAGGING_ROWS, N_CNN_EPOCHS = 50_000, 10_000, 10_000, 10
N_PAIR, N_DIFFERENT, N_FRESH, MIN_REGION = 500, 10_000, 2_000, 20
ASCENT = {"n_steps": 100, "lr": 0.05, "prior_weight": 0.0, "prior_mass": 0.9}
# Algorithm 1 as printed: what is left of the drift without Adam's scaling.
PLAIN = {"optimizer": "sgd", "lr": 0.3}


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


def train(name, cache):
    """Fit one of the models."""
    X, y = load_images("mnist", split="train", return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))
    settings = {
        "input_shape": (1, 28, 28),
        "max_epochs": N_CNN_EPOCHS,
        "batch_size": 128,
        "lr": 2e-3,
        "lr_schedule": "cosine",
    }
    member = SoftmaxClassifier(
        hidden_layer_sizes=(32,), max_epochs=10, batch_size=64, random_state=0
    )
    model, rows = {
        "vae": (VAE(8, max_epochs=15, random_state=0), order[:N_VAE_ROWS]),
        "cnn_16": (SoftmaxClassifier(cnn(16, 64), random_state=0, **settings), order),
        "cnn_12": (SoftmaxClassifier(cnn(12, 128), random_state=1, **settings), order),
        "bagging": (
            BaggingClassifier(member, n_estimators=5, random_state=0),
            order[:N_BAGGING_ROWS],
        ),
        "judge": (GenerativeClassifier("pca", random_state=0), order[-N_JUDGE_ROWS:]),
    }[name]
    begin = time.perf_counter()
    model.fit(X[rows], y[rows])
    if name.startswith("cnn"):
        # The function that built the network cannot be pickled.
        network = model.net_.module_.network
        model = SoftmaxClassifier.from_module(network, model.classes_, (1, 28, 28))
    joblib.dump(model, cache / f"{name}.joblib")
    print(f"{name}: {len(rows):,} rows, {time.perf_counter() - begin:.0f} s", flush=True)


def load(cache, *names):
    """Models from the cache."""
    return [joblib.load(cache / f"{name}.joblib") for name in names]


def on_manifold(found, vae, judge, X, y):
    """Shares of the samples no lower than the 5th percentile of real test digits."""
    latents = vae.encode(X, judge.predict(X))
    prior = np.quantile(vae.log_prior(latents), 0.05)
    score = np.quantile(judge.score_samples(X), 0.05)
    scores = judge.score_samples(found.samples)
    return {
        "prior": float((found.log_prior >= prior).mean()),
        "prior_at_the_start": float((found.start_log_prior >= prior).mean()),
        "judge": float((scores >= score).mean()),
        "both": float(((found.log_prior >= prior) & (scores >= score)).mean()),
        "judge_accuracy": judge.score(X, y),
        "judge_agrees": judge.score(found.samples, found.y),
        "judge_agrees_at_the_start": judge.score(found.start_samples, found.y),
    }


def run_pair(cache):
    """Two CNNs, their divergence by JS and by both orders of KL."""
    vae, first, second, judge = load(cache, "vae", "cnn_16", "cnn_12", "judge")
    X, y = load_images("mnist", split="test", return_X_y=True)
    members = [("cnn_16", first), ("cnn_12", second)]
    result = {"accuracy": {name: float(member.score(X, y)) for name, member in members}}
    for name, order, changes in (
        ("js", ("cnn_16", "cnn_12"), {}),
        ("kl, cnn_16 first", ("cnn_16", "cnn_12"), {"divergence": "kl"}),
        ("kl, cnn_12 first", ("cnn_12", "cnn_16"), {"divergence": "kl"}),
        ("js, plain gradients", ("cnn_16", "cnn_12"), PLAIN),
    ):
        gevaldi = GeValDi(members, vae, prefit=True, **ASCENT | changes).fit(X, y)
        begin = time.perf_counter()
        found = gevaldi.maximally_different_samples(N_PAIR, pair=order, random_state=0)
        result[name] = {
            "seconds": time.perf_counter() - begin,
            **ascent_summary(found),
            "set_distance_at_tenths": found.set_distance_path().mean(1).T.tolist(),
            "on_manifold": on_manifold(found, vae, judge, X, y),
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


def accuracy_path(found):
    """Accuracy of the consensus at every tenth of the ascent."""
    consensus = np.exp(found.log_proba_path).mean(1).argmax(2)
    return (found.classes[consensus] == found.y).mean(1).tolist()


def make_ensemble(cache, **changes):
    """The ensemble as GeValDi's members, with its training rows."""
    vae, bagging = load(cache, "vae", "bagging")
    X, y = load_images("mnist", split="train", return_X_y=True)
    rows = np.random.RandomState(0).permutation(len(X))[:N_BAGGING_ROWS]
    members = [(f"net{i}", each) for i, each in enumerate(bagging.estimators_)]
    settings = {"prefit": True, "input_shape": (1, 28, 28), **ASCENT, **changes}
    gevaldi = GeValDi(members, vae, **settings)
    return gevaldi.fit(X[rows], y[rows]), X[rows], y[rows]


def run_ensemble(cache):
    """Table 1, and regions of uncertainty."""
    vae, judge, witness = load(cache, "vae", "judge", "cnn_16")
    X, y = load_images("mnist", split="test", return_X_y=True)
    gevaldi, _, _ = make_ensemble(cache)
    begin = time.perf_counter()
    found = gevaldi.maximally_different_samples(N_DIFFERENT, random_state=0)
    seconds = time.perf_counter() - begin
    joblib.dump(found, cache / "ensemble_samples.joblib")
    test, start, different = (
        quality(gevaldi, rows, labels) | {"cnn_16": witness.score(rows, labels)}
        for rows, labels in (
            (X, y),
            (found.start_samples, found.y),
            (found.samples, found.y),
        )
    )
    right = [round(test["accuracy"] * len(X)), round(different["accuracy"] * len(found))]
    table = [right, [len(X) - right[0], len(found) - right[1]]]
    plain, _, _ = make_ensemble(cache, **PLAIN)
    plain = plain.maximally_different_samples(N_FRESH, random_state=0)
    # A class's samples may be alike, classes climb in generators of their own.
    recalls = [
        recall_score(labels, gevaldi.predict(rows), average=None)
        for rows, labels in ((X, y), (found.samples, found.y))
    ]
    return {
        "seconds": seconds,
        **ascent_summary(found),
        "accuracy_at_tenths": accuracy_path(found),
        "spread": [spread(z, found.y) for z in (found.start_latents, found.latents)],
        "plain": {**ascent_summary(plain), "accuracy_at_tenths": accuracy_path(plain)},
        "test": test,
        "start": start,
        "different": different,
        "drop_p_value": float(fisher_exact(table).pvalue),
        "drop_p_value_by_class": float(wilcoxon(*recalls).pvalue),
        "recalls": [each.tolist() for each in recalls],
        "on_manifold": on_manifold(found, vae, judge, X, y),
        "regions": [
            {"name": r.name, "size": r.size, "mean_divergence": r.mean_divergence}
            for r in gevaldi.failure_regions(found, min_samples=MIN_REGION)
        ],
    }


def run_retraining(cache):
    """Accuracy on test digits and on fresh samples, with and without the samples."""
    (vae,) = load(cache, "vae")
    found = joblib.load(cache / "ensemble_samples.joblib")
    gevaldi, X, y = make_ensemble(cache)
    fresh = gevaldi.maximally_different_samples(N_FRESH, random_state=1)
    test = load_images("mnist", split="test", return_X_y=True)
    sets = {"test": test, "fresh": (fresh.samples, fresh.y)}
    refit = gevaldi.refit_with(found, X, y, evaluate=sets)
    again = [(name, clone(each).fit(X, y)) for name, each in gevaldi.estimators]
    control = GeValDi(again, vae, prefit=True).fit(X, y)
    own = refit.estimator.maximally_different_samples(N_FRESH, random_state=2)
    return {
        "n_fresh": N_FRESH,
        "before": refit.before,
        "with_samples": refit.after,
        "without_samples": {name: control.score(*rows) for name, rows in sets.items()},
        "on_its_own_different_samples": refit.estimator.score(own.samples, own.y),
    }


def spread(latents, y):
    """Standard deviation of the latents within a class, averaged over classes."""
    return float(np.mean([latents[y == label].std(axis=0).mean() for label in np.unique(y)]))


MODELS = ("vae", "cnn_16", "cnn_12", "bagging", "judge")
PARTS = {
    "pair": run_pair,
    "ensemble": run_ensemble,
    "retraining": run_retraining,
    "letter_recognition": lambda cache: run_table("letter_recognition"),
    "dry_bean": lambda cache: run_table("dry_bean"),
}


def main():
    """Train a model, run one part, or report on all that have been run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["train", *PARTS, "report"])
    parser.add_argument("model", choices=MODELS, nargs="?", help="of train")
    parser.add_argument("--cache", type=Path, default=Path("gevaldi_cache"))
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    paths = {part: args.cache / f"{part}.result" for part in PARTS}
    if args.part == "train":
        train(args.model, args.cache)
    elif args.part == "report":
        done = {part: joblib.load(path) for part, path in paths.items() if path.exists()}
        sizes = {
            "vae": N_VAE_ROWS,
            "judge": N_JUDGE_ROWS,
            "bagging": N_BAGGING_ROWS,
            "cnn": 60_000,
        }
        facts = {"rows": sizes, "cnn_epochs": N_CNN_EPOCHS, "ascent": ASCENT, "plain": PLAIN}
        write_report({**facts, **done})
    else:
        joblib.dump(PARTS[args.part](args.cache), paths[args.part])


if __name__ == "__main__":
    main()
