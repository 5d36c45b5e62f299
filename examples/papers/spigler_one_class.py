"""Spigler's figure 5: one class of images against the nine others.

    python examples/papers/spigler_one_class.py --rows 3000 --epochs 20
    python examples/papers/spigler_one_class.py --data fashion_mnist --rows 3000 --epochs 20

Ten problems a data set, each a dense autoencoder of the class, with typicality and without, and
a one-class SVM. The noise is the one with which three classes are told best from the others
among held-out training images.
"""

import numpy as np
from sklearn.metrics import roc_curve
from sklearn.svm import OneClassSVM

from lab import Store, parser
from sklearn_ood import DAEConfidence
from sklearn_ood.metrics import auroc
from spigler import N_HELD_OUT, chosen, train_and_test, without_typicality

NOISES = (0.05, 0.15, 0.3)
FALSE_POSITIVES = np.linspace(0, 1, 101)


def autoencoder(noise, args):
    """The network of one class."""
    return DAEConfidence(
        hidden_layer_sizes=(400,),
        lr=1e-3,
        noise=noise,
        curvature="off",
        typicality=True,
        weight_decay=args.weight_decay,
        lr_schedule=args.lr_schedule,
        max_epochs=args.epochs,
        batch_size=args.batch_size,
        random_state=args.seed,
    )


def chosen_noise(X, y, args, store, settings):
    """The noise with the best AUC of three classes on training images held out."""
    held_out, labels = X[-N_HELD_OUT:], y[-N_HELD_OUT:]
    X, y = X[:-N_HELD_OUT], y[:-N_HELD_OUT]
    means = {}
    for noise in NOISES:
        areas = []
        for digit in (2, 5, 8):
            model = autoencoder(noise, args).fit(X[y == digit][: args.rows // 2])
            areas.append(auroc(labels == digit, model.score_samples(held_out)))
        means[noise] = np.mean(areas)
    found = {f"noise {noise}": {"auroc": area} for noise, area in means.items()}
    store.put(found, "one class, noise", args.data, **settings)
    return max(means, key=means.get)


def main():
    cli = parser(__doc__, "spigler")
    cli.add_argument("--data", default="mnist", choices=("mnist", "fashion_mnist"))
    cli.add_argument("--rows", type=int, default=60_000, help="of each class")
    cli.add_argument("--epochs", type=int, default=20)
    cli.add_argument("--lr-schedule", choices=("cosine", "step"))
    cli.add_argument("--batch-size", type=int, default=64)
    cli.add_argument("--weight-decay", type=float, default=0.0)
    cli.add_argument("--noise", type=float, help="instead of one that is chosen")
    cli.add_argument("--seed", type=int, default=0)
    args = cli.parse_args()
    store = Store("spigler", args.results)
    X, y, X_test, y_test = train_and_test(args.data)
    names = ("rows", "epochs", "batch_size", "lr_schedule", "weight_decay")
    settings = chosen(args, *names)
    settings["noise"] = args.noise or chosen_noise(X, y, args, store, settings)
    curves = {}
    for digit in range(10):
        rows, inside = X[y == digit][: args.rows], y_test == digit
        typical = autoencoder(settings["noise"], args).fit(rows)
        scores = {
            "DAE": without_typicality(typical).score_samples(X_test),
            "DAE with typicality": typical.score_samples(X_test),
            "one-class SVM": OneClassSVM(nu=0.1, gamma=0.1).fit(rows).score_samples(X_test),
        }
        areas = {name: {"auroc": auroc(inside, score)} for name, score in scores.items()}
        store.put(areas, f"one class {args.data}", str(digit), **settings)
        for name, score in scores.items():
            rate, hits, _ = roc_curve(inside, score)
            curves.setdefault(name, []).append(np.interp(FALSE_POSITIVES, rate, hits))
    means = {name: {"hits": np.mean(each, axis=0).round(4)} for name, each in curves.items()}
    store.put(means, f"one class {args.data}", "all", **settings)


if __name__ == "__main__":
    main()
