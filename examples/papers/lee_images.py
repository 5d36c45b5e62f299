"""The image experiments of Lee et al. (2018): tables 1, 2, 3, 5 and 6, by name.

One net a way of training: cross entropy, the confidence loss with known outliers ("explicit"),
with an original GAN, with the joint GAN, with the joint GAN and the pull-away term, and the
K + 1 class net with known outliers. Each is judged by its own confidence and by ODIN. beta and
ODIN's temperature and step are chosen by AUROC on two classes held out of the training rows,
for the GANs once, with the joint GAN: no outlier of a test set is seen before the test.
``--seen`` names the set whose first half (or training part, where it has one) supplies the
known outliers; its other half is tested too.

The paper's run is::

    python examples/papers/lee_images.py --in cifar10 --out tinyimagenet --seen tinyimagenet \
        --net vgg13 --epochs 100 --lr 2e-4 --channels 128

Without a GPU take less (``--rows``, ``--epochs``, ``--net small_cnn``, ``--channels``). Every
run is kept in ``docs/results/lee_images.json`` under its settings and not run again.
"""

import argparse
import json
import time
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from sklearn_ood import ConfidentClassifier, GANOutliers, RejectClassifier
from sklearn_ood.datasets import load_images
from sklearn_ood.metrics import auroc, expected_calibration_error, ood_report
from sklearn_ood.model_selection import LeaveClassesOut

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "lee_images.json"
OOD = -1
METHODS = ("cross entropy", "explicit", "original GAN", "joint GAN", "joint GAN + PT", "K+1")
BETAS = (0.1, 1.0)
TEMPERATURES = (1.0, 1000.0)
STEPS = (0.0, 1e-3, 1e-2)
# TNR at 95 % TPR, AUROC, detection accuracy in %, CIFAR-10 in, TinyImageNet out, VGG13.
PAPER = {
    "cross entropy": "13.6 / 39.6 / 62.6",
    "explicit": "9.9 / 31.8 / 58.6 (taught SVHN)",
    "joint GAN": "35.0 / 72.0 / 76.4",
    "joint GAN + PT": "44.8 / 78.4 / 77.6",
}


@cache
def load(name, split):
    return load_images(name, split=split, return_X_y=True)


def known_outliers(seen):
    """Rows to train on, and rows to test on."""
    if seen == "tinyimagenet":
        rows, _ = load(seen, "test")
        return rows[: len(rows) // 2], rows[len(rows) // 2 :]
    return load(seen, "train")[0], load(seen, "test")[0]


def network(method, beta, args):
    gan = {"n_channels": args.channels, "lr": args.lr}
    shared = {
        "input_shape": args.shape,
        "max_epochs": args.epochs,
        "batch_size": args.batch_size,
        "lr": args.lr,
        "lr_schedule": "step",
        "ood_label": OOD,
        "random_state": args.seed,
    }
    if method == "K+1":
        return RejectClassifier(
            args.net, outliers="given", beta=1.0, confidence="1-reject", **shared
        )
    outliers = {
        "explicit": "given",
        "original GAN": GANOutliers(guided=False, **gan),
        "joint GAN": GANOutliers(**gan),
        "joint GAN + PT": GANOutliers(pull_away=1.0, **gan),
    }.get(method, "given")
    return ConfidentClassifier(args.net, beta=beta, outliers=outliers, **shared)


def training_rows(args):
    """A random part of the set and as many known outliers, which only two methods read."""
    X, y = load(args.inside, "train")
    chosen = np.random.RandomState(args.seed).permutation(len(X))[: args.rows]
    outliers, _ = known_outliers(args.seen)
    outliers = outliers[: len(chosen)]
    rows = np.concatenate([X[chosen], outliers])
    return rows, np.concatenate([y[chosen], np.full(len(outliers), OOD)])


def choose(method, args):
    """beta, temperature and step with which two classes, held out of training, rank lowest."""
    X, y = training_rows(args)
    held_out = LeaveClassesOut(
        n_out=2, n_splits=1, test_size=0.1, ood_label=OOD, random_state=args.seed
    )
    train, judged = next(held_out.split(X, y))
    inside = np.isin(y[judged], y[train])

    def area(classifier, temperature=1.0, step=0.0):
        return auroc(inside, scores(classifier, method, X[judged], temperature, step))

    betas = {"cross entropy": (0.0,), "K+1": (1.0,)}.get(method, BETAS)
    fitted = {beta: network(method, beta, args).fit(X[train], y[train]) for beta in betas}
    beta = max(betas, key=lambda beta: area(fitted[beta]))
    odin = max(product(TEMPERATURES, STEPS), key=lambda pair: area(fitted[beta], *pair))
    return {"beta": beta, "temperature": odin[0], "step": odin[1]}


def scores(classifier, method, X, temperature=1.0, step=0.0):
    """The net's own confidence, or with another temperature or a step what ODIN makes of it."""
    classifier.set_params(confidence="1-reject" if method == "K+1" else "odin", epsilon=step)
    classifier.temperature_ = temperature
    return classifier.score_samples(X)


def test_outliers(args):
    """Rows of every set, a random part of each."""
    sets = {name: load(name, "all" if name == "omniglot" else "test")[0] for name in args.out}
    sets[args.seen] = known_outliers(args.seen)[1]
    order = np.random.RandomState(args.seed)
    return {
        name: rows[order.permutation(len(rows))[: args.test_rows]]
        for name, rows in sets.items()
    }


def run(method, chosen, args):
    beta, odin = chosen["beta"], (chosen["temperature"], chosen["step"])
    start = time.perf_counter()
    classifier = network(method, beta, args).fit(*training_rows(args))
    seconds = time.perf_counter() - start
    X, y = (part[: args.test_rows] for part in load(args.inside, "test"))
    entry = chosen | {
        "accuracy": float(classifier.score(X, y)),
        "ece": float(calibration_error(classifier, X, y)),
        "seconds": round(seconds),
    }
    sets = test_outliers(args)
    for detector, pair in (("baseline", ()), ("ODIN", odin)):
        inside = scores(classifier, method, X, *pair)
        for name, rows in sets.items():
            both = np.concatenate([inside, scores(classifier, method, rows, *pair)])
            is_in = np.arange(len(both)) < len(inside)
            entry[f"{detector}, {name}"] = {
                key: float(value) for key, value in ood_report(is_in, both).items()
            }
    return entry


def calibration_error(classifier, X, y):
    probabilities = classifier.predict_proba(X)
    labels = classifier.classes_[probabilities.argmax(axis=1)]
    return expected_calibration_error(y, labels, probabilities.max(axis=1), n_bins=20)


def table(results, args):
    """What the paper's tables have, beside the paper where the sets are the same."""
    lines = [
        f"{args.inside} in, {args.net}, {args.rows or 'all'} rows, {args.epochs} epochs, "
        f"{args.test_rows or 'all'} rows of each test set, seed {args.seed}; "
        "TNR at 95 % TPR / AUROC / detection accuracy in %",
        "",
    ]
    beside_paper = args.inside == "cifar10"
    names = list(dict.fromkeys([args.seen, *args.out]))
    shown = [f"{name}{' (seen)' * (name == args.seen)}" for name in names]
    lines += [
        "| training | detector | beta or T, step | accuracy | ECE | "
        + " | ".join(shown)
        + (" | paper, Tiny |" if beside_paper else " |"),
        "|---" * (5 + len(names) + beside_paper) + "|",
    ]
    for method in METHODS:
        entry = results.get(key_of(method, args))
        for detector in ("baseline", "ODIN") if entry else ():
            reports = [entry[f"{detector}, {name}"] for name in names]
            cells = [
                " / ".join(
                    f"{100 * report[metric]:.1f}"
                    for metric in ("tnr_at_tpr", "auroc", "detection_accuracy")
                )
                for report in reports
            ]
            if beside_paper:
                cells.append(PAPER.get(method, "") if detector == "baseline" else "")
            settings = f"{entry['temperature']:g}, {entry['step']:g}"
            settings = f"{entry['beta']:g}" if detector == "baseline" else settings
            lines.append(
                f"| {method} | {detector} | {settings} | {100 * entry['accuracy']:.2f} | "
                f"{100 * entry['ece']:.2f} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines)


def key_of(method, args):
    settings = (
        args.inside,
        args.net,
        args.rows,
        args.test_rows,
        args.epochs,
        args.lr,
    )
    return f"{method}: " + ", ".join(map(str, (*settings, args.channels, args.seen, args.seed)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in", dest="inside", default="mnist", choices=("mnist", "cifar10"))
    parser.add_argument("--out", default=None, help="names of test outliers, by commas")
    parser.add_argument("--seen", default=None, help="the set of the known outliers")
    parser.add_argument("--net", default="small_cnn")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--test-rows", type=int, default=None, help="of every test set")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    gray = args.inside == "mnist"
    args.shape = (1, 28, 28) if gray else (3, 32, 32)
    args.seen = args.seen or ("fashion_mnist" if gray else "tinyimagenet")
    args.out = (args.out or ("notmnist,omniglot" if gray else "tinyimagenet")).split(",")
    results = json.loads(args.results.read_text()) if args.results.exists() else {}

    def keep(key, compute, *arguments):
        if key not in results:
            results[key] = compute(*arguments)
            args.results.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
            print(key, results[key], flush=True)
        return results[key]

    for method in args.methods:
        judged = "joint GAN" if "GAN" in method else method
        chosen = keep(f"choice, {key_of(judged, args)}", choose, judged, args)
        keep(key_of(method, args), run, method, chosen, args)
    print(table(results, args))


if __name__ == "__main__":
    main()
